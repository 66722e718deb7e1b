"""Write a lazy scene to Zarr: refuse what cannot be, settle how it is stored, make it, fill it."""

from __future__ import annotations

import json
from dataclasses import replace
from os import PathLike
from typing import Any, Literal

import dask
import numpy as np
import numpy.typing as npt
import xarray as xr

from lift_xr.decode import PACKING
from lift_xr.errors import LayoutError
from lift_xr.io.blueprint import Blueprint, expect_same_run
from lift_xr.io.create import as_store, clear, create
from lift_xr.io.edited import remove_word
from lift_xr.io.embed import model_of
from lift_xr.io.engines import client_in_charge
from lift_xr.io.fill import OthersLost, fill, is_complete
from lift_xr.io.geozarr import without_conventions
from lift_xr.io.kind import begun_on, kind_of_device
from lift_xr.io.log import expect_log
from lift_xr.io.place import expect_place, fingerprint
from lift_xr.io.recipe import Mosaic, as_lifted, cube_beside, recipe_of
from lift_xr.io.scale import dtype_for, find_packing
from lift_xr.io.store import place_beside
from lift_xr.plan import SHARD, expect_edge, passes_of
from lift_xr.scene import expect_scene
from lift_xr.uncertainty import expect_no_layers
from lift_xr.unmix import as_scene
from lift_xr.workers import expect_worker


def write_zarr(
    fused: xr.DataArray | xr.Dataset,
    store: Any,
    *,
    kind: Literal["cube", "recipe"] = "cube",
    msi: Mosaic = "copy",
    dtype: npt.DTypeLike | None = None,
    scale_factor: float | None = None,
    add_offset: float | None = None,
    shard: int = SHARD,
    overwrite: bool = False,
    resume: bool = False,
    part: tuple[int, int] | None = None,
    log: str | PathLike[str] | None = None,
    progress: bool = True,
) -> Any:
    """Compute a scene and write it, one task a shard, with overviews and quality flags.

    Of one run, no more tasks are at work on a machine than it has cores, however many threads dask
    or the workers of a cluster have; each task is one thread.

    Parameters
    ----------
    fused : (band, y, x) or (time, band, y, x)
        From ``fuse`` or ``predict``, or any scene, or the maps of ``unmix``: their endmembers
        become bands of a variable ``abundance``, the spectra an attribute of it. Of
        ``uncertainty``, one layer: ``told["expected_error"]``. Its blocks need
        not be shards: of a lifted scene each task reads the window of the mosaic that its shard
        needs, and no pixel is lifted twice; of any other, each task computes the blocks that its
        shard touches.
    store
        A path, a URL or a zarr store.
    kind
        ``"cube"`` writes the pixels, and beside them the model that lifted them, for
        ``load_model``, where ``fused`` is just what ``predict`` or ``fuse`` returned.
        ``"recipe"``, of which that is asked, writes the MSI, the model and the coordinates instead:
        a small part of the size, and ``open_scene`` lifts what is asked for, to the same float32.
    msi
        Of a recipe: ``"copy"`` writes the MSI into the store, as the integers it is stored as where
        ``fused`` shows them, else as float32; ``"address"`` writes where it lies, and a few of its
        pixels to know it again.
    dtype
        ``"uint16"`` keeps codes, to be read as ``code * scale_factor + add_offset``; values beyond
        the 65,535 codes are clipped, and a warning says when they are many. ``"float32"`` keeps
        values. None is float32 for maps of abundances that need not sum to one, which no range is
        known to hold, and uint16 for all else.
    scale_factor, add_offset
        In the units of ``fused``. The default is 1e-4 and 0 where these are "1" (reflectance); just
        what holds 0 to 1 for abundances that sum to one; else, what holds the range of the training
        cube with a quarter of it to spare either side.
    shard
        Shard edge in pixels. Where it is divisible by 4, a task writes the first two overviews of
        its shard too. The default suits HSI pixels of n MSI pixels where n divides 320: no chunk
        cuts one. For other n, ``lift_xr.plan(msi, model, hsi=hsi)`` names the shard that does.
    overwrite
        Replace a store that is there.
    resume
        Finish a store that an interrupted run of the same settings and inputs left: only what its
        record does not call done is computed, and a few pixels that are done, to be compared: other
        arithmetic on the same inputs is another run. The store becomes, byte by byte, the one that
        an uninterrupted run writes. Where nothing is there yet, begin. Of the inputs, too, a few
        pixels are compared, and of files at the place where they were, sizes and times: where these
        changed, a window in each of up to 64 shards is compared, and a warning says so. Whether
        anything was edited elsewhere ``lift_xr.verify(store, msi=msi, shards="all")`` tells.
    part
        ``(i, n)``: be the i-th of n processes, 1 to n, that write one store between them and know
        of each other by nothing else. Whichever finds all shards done completes the store; several
        that do at once share what is left, and write the same bytes. Parts on one machine take
        turns at its cores. A part resumes what it finds; run it again to finish it. ``(0, n)``
        begins the store for them, so that its model can be loaded from it, and writes no shard.
    log
        A file to which a line of JSON is added for every shard as it ends: ``level`` and ``index``
        say which, ``attempt`` how many tries it took; ``seconds`` in all, of these ``lift``,
        ``encode``, ``halve``, ``write``, and ``read`` for the rest; ``bytes`` before compression;
        ``host``, ``pid`` and ``peak_rss`` of the process that ran it; or ``error``. Side by side,
        parts need a file each.
    progress
        Draw a progress bar in a terminal or notebook.

    Returns
    -------
    path, URL or zarr store
        ``store``, complete, unless other parts are still at it; ``open_scene`` reads it. One that
        was complete before is left as it is: what it lost since is for :func:`verify` to find.

    Raises
    ------
    LayoutError
        A place that is taken or cannot be written in parallel; all layers of ``uncertainty`` at
        once; a scale that cannot be found; a run
        to resume that differs from this one, be it in the kind of device that computes; a recipe of
        what is not just lifted.
    GridError, SpectralError
        When ``fused`` is no scene.
    WriteFailed
        When shards were tried four times and failed; all others are written. Resume to try again.
        Of a part, also when it found files lost that other parts had written, and these have not
        written them again by its end: it says which parts to run again.
    ClusterGone
        When the scheduler of the cluster that does the work ends, or nobody reaches it for half a
        minute, or it has had no worker for as long as ``distributed.scheduler.no-workers-timeout``
        says. Resume to finish, on another.
    KeyboardInterrupt
        After Ctrl-C or SIGTERM, once the shards in flight are written. Resume to finish.
    """
    with dask.config.set({"array.rechunk.method": "tasks"}):  # never shuffled over a cluster
        fused = as_scene(expect_no_layers(fused))
        scene = expect_scene(fused, name="fused", block=expect_edge(shard))
        scene = as_lifted(scene)
    scene.attrs = _plain_attrs(scene.attrs)
    share = _expect_part(part, overwrite=overwrite)
    expect_log(log, store)
    joins = resume or part is not None
    found = expect_place(store, scene.data, overwrite=overwrite, resume=joins)
    joins = joins and found == "zarr"
    if share[0] > 0 and not (joins and is_complete(store)):
        expect_worker(client_in_charge())
    if _expect_kind(kind) == "recipe":
        blueprint = recipe_of(scene, shard=shard, msi=msi)
    else:
        blueprint = _cube_of(scene, dtype, shard, scale_factor, add_offset)
        device = kind_of_device(scene.data, begun=begun_on(store) if joins else None)
        blueprint = replace(blueprint, device=device)
    if joins:
        expect_same_run(store, blueprint)
    elif found == "zarr":
        clear(store)
    if not (joins and is_complete(store)):
        create(blueprint, store)
        lost = _write_beside(blueprint, store, shard=shard, part=part, progress=progress)
        if share[0] > 0:
            fill(blueprint, store, part=share, log=log, progress=progress)
        if lost is not None:
            raise lost
    else:  # whoever was killed as another completed the store may have left word in it
        remove_word(as_store(store))
    return store


def _cube_of(
    scene: xr.DataArray,
    dtype: npt.DTypeLike | None,
    shard: int,
    scale_factor: float | None,
    add_offset: float | None,
) -> Blueprint:
    """Plan the store of a scene's pixels, with the model that lifts them."""
    chosen = dtype_for(scene.attrs, dtype)
    passes = passes_of(scene.shape, chosen, shard=shard)
    packing = find_packing(scene.attrs, chosen, scale_factor, add_offset)
    model = model_of(scene.data)
    return Blueprint(scene, passes, packing, fingerprint(scene.data), model=model)


def _write_beside(
    blueprint: Blueprint,
    store: Any,
    *,
    shard: int,
    part: tuple[int, int] | None,
    progress: bool,
) -> OthersLost | None:
    """Write the cube of a recipe, as a store in the store, before the mosaic; none of a cube.

    What other parts lost of it is to be raised once this part of the mosaic is written too.
    """
    if blueprint.beside is None:
        return None
    cube = cube_beside(blueprint.labels, blueprint.beside)
    share: dict[str, Any] = {"resume": True} if part is None else {"part": part}
    place = place_beside(store)
    try:
        write_zarr(cube, place, dtype="float32", shard=shard, progress=progress, **share)
    except OthersLost as lost:
        return lost
    return None


def _expect_kind(kind: str) -> str:
    if kind not in ("cube", "recipe"):
        raise LayoutError(
            f"kind is {kind!r}; expected 'cube' (all pixels) or 'recipe' (the MSI and the model). "
            "Use kind='cube'"
        )
    return kind


def _expect_part(part: tuple[int, int] | None, *, overwrite: bool) -> tuple[int, int]:
    if part is None:
        return 1, 1
    i, n = part
    if not (0 <= i <= n and n >= 1):
        raise LayoutError(
            f"part is {part}; expected (i, n) with i from 1 to n, or 0 to begin the store. Use "
            f"part=(1, {max(n, 1)}) to part=({max(n, 1)}, {max(n, 1)}), one for every process"
        )
    if overwrite:
        raise LayoutError(
            f"part={part} is given with overwrite=True; expected one of them, because a part that "
            "comes late would remove what the others wrote. Remove the store first"
        )
    return i, n


def _plain_attrs(attrs: dict[Any, Any]) -> dict[str, Any]:
    """Attributes as JSON says them, without those that packing and the grid set anew."""
    told = without_conventions(attrs)
    kept = {str(key): told[key] for key in told if key not in (*PACKING, "grid_mapping")}
    for key, value in kept.items():
        try:
            kept[key] = json.loads(json.dumps(value, default=_plain))
        except TypeError as error:
            raise LayoutError(
                f"attribute {key!r} of fused is a {type(value).__name__}, which JSON cannot hold; "
                f"expected text, numbers or lists. Use fused.attrs[{key!r}] = str(...)"
            ) from error
    return kept


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(type(value).__name__)
