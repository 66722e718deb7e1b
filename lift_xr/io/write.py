"""Write a lazy scene to Zarr: create the store, fill it shard by shard, declare it complete."""

from __future__ import annotations

import json
import threading
import uuid
import warnings
from contextlib import suppress
from dataclasses import replace
from os import PathLike
from typing import Any, Literal

import dask
import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr

from lift_xr.blocks import is_per_pixel, lifted_from
from lift_xr.decode import PACKING
from lift_xr.errors import LayoutError
from lift_xr.io import seal
from lift_xr.io.alike import expect_same_values
from lift_xr.io.blueprint import Blueprint, expect_same_run
from lift_xr.io.compute import TRIES, run_shards
from lift_xr.io.create import ROOT, as_store, clear, create, remove_debris
from lift_xr.io.embed import model_of
from lift_xr.io.engines import Index
from lift_xr.io.files import HoldingStore
from lift_xr.io.geozarr import without_conventions
from lift_xr.io.interrupt import Interrupted, stop_when_told
from lift_xr.io.kind import begun_on, expect_workers, kind_of_device
from lift_xr.io.log import expect_log, logging
from lift_xr.io.place import expect_place, fingerprint
from lift_xr.io.recipe import Mosaic, as_lifted, cube_beside, recipe_of
from lift_xr.io.record import CLIPPED, read_progress, remove_marks
from lift_xr.io.root import read_root
from lift_xr.io.scale import dtype_for, find_packing
from lift_xr.io.shards import (
    Target,
    record_failure,
    write_block,
    write_lifted,
    write_overview,
)
from lift_xr.io.store import place_beside
from lift_xr.plan import SHARD, Layout, Pass, expect_edge, passes_of
from lift_xr.progress import bar
from lift_xr.scene import expect_scene
from lift_xr.unmix import as_scene
from lift_xr.warn import warn_user
from lift_xr.windows import spans_of, windows

CLIPPED_TOLERATED = 0.01
NAMED = 5  # failed shards that a message names
FINISHES = 3  # tries: another process may be finishing the same store


class WriteFailed(RuntimeError):
    """Some shards could not be written; all others are.

    Parameters
    ----------
    message
        For people.
    failed
        What the last try of each raised, by the level and the place of its block in the grid of
        blocks.
    """

    def __init__(self, message: str, failed: dict[tuple[int, Index], BaseException]) -> None:
        super().__init__(message)
        self.failed = failed


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

    Parameters
    ----------
    fused : (band, y, x) or (time, band, y, x)
        From ``fuse`` or ``predict``, or any scene, or the maps of ``unmix``: their endmembers
        become bands of a variable ``abundance``, the spectra an attribute of it. Its blocks need
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
        an uninterrupted run writes. Where nothing is there yet, begin.
    part
        ``(i, n)``: be the i-th of n processes, 1 to n, that write one store between them and know
        of each other by nothing else. Whichever finds all shards done completes the store; several
        that do at once share what is left, and write the same bytes. Unless dask is told how many
        threads to use, parts on one machine take turns at its cores. A part resumes what it finds;
        run it again to finish it. ``(0, n)`` begins the store for them, so
        that its model can be loaded from it, and writes no shard.
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
        ``store``, complete, unless other parts are still at it; ``open_scene`` reads it.

    Raises
    ------
    LayoutError
        A place that is taken or cannot be written in parallel; a scale that cannot be found; a run
        to resume that differs from this one, be it in the kind of device that computes; a recipe of
        what is not just lifted.
    GridError, SpectralError
        When ``fused`` is no scene.
    WriteFailed
        When shards were tried four times and failed; all others are written. Resume to try again.
    KeyboardInterrupt
        After Ctrl-C or SIGTERM, once the shards in flight are written. Resume to finish.
    """
    with dask.config.set({"array.rechunk.method": "tasks"}):  # never shuffled over a cluster
        scene = expect_scene(as_scene(fused), name="fused", block=expect_edge(shard))
        scene = as_lifted(scene)
    scene.attrs = _plain_attrs(scene.attrs)
    share = _expect_part(part, overwrite=overwrite)
    expect_log(log, store)
    joins = resume or part is not None
    found = expect_place(store, scene.data, overwrite=overwrite, resume=joins)
    joins = joins and found == "zarr"
    if share[0] > 0 and not (joins and _is_complete(store)):
        expect_workers()
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
    if not (joins and _is_complete(store)):
        create(blueprint, store)
        expect_same_run(store, blueprint)  # another process may have begun at the same moment
        if blueprint.beside is not None:
            _write_beside(blueprint, store, shard=shard, part=part, progress=progress)
        if share[0] > 0:
            fill(blueprint, store, part=share, log=log, progress=progress)
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
) -> None:
    """Write the cube of a recipe, as a store in the store, before the mosaic."""
    assert blueprint.beside is not None
    cube = cube_beside(blueprint.labels, blueprint.beside)
    share: dict[str, Any] = {"resume": True} if part is None else {"part": part}
    place = place_beside(store)
    write_zarr(cube, place, dtype="float32", shard=shard, progress=progress, **share)


def _expect_kind(kind: str) -> str:
    if kind not in ("cube", "recipe"):
        raise LayoutError(
            f"kind is {kind!r}; expected 'cube' (all pixels) or 'recipe' (the MSI and the model). "
            "Use kind='cube'"
        )
    return kind


def fill(
    blueprint: Blueprint,
    store: Any,
    *,
    part: tuple[int, int] = (1, 1),
    log: str | PathLike[str] | None = None,
    progress: bool = True,
) -> None:
    """Write every shard that is not written, coarser levels last, and complete the store.

    Parts that find full resolution done at the same moment all go on to the coarser levels. Each
    begins at another place of them and passes over what another has done meanwhile; where two write
    the same shard, or the end of the store, they write the same bytes, each object in one step.
    """
    with stop_when_told() as stop:
        expect_same_values(blueprint, store, stop=stop, shared=part[1] > 1)
        for number in range(len(blueprint.passes)):
            _fill_pass(blueprint, store, number, part, stop, log, progress)
            if not _is_done(blueprint, store, number):
                return  # other parts are at it
    if blueprint.beside is not None and not _is_complete(place_beside(store)):
        return  # so are they at the cube
    if not _is_complete(store):  # or another part has just done it
        finalize(store)
    _warn_of_clipping(blueprint, store)


def finalize(store: Any) -> None:
    """Consolidate the metadata, then call the store complete: the last thing a run writes."""
    for finish in range(1, FINISHES + 1):
        try:
            remove_debris(store)
            remove_marks(as_store(store))
            _consolidate(store)
            return
        except FileNotFoundError:  # another process took what this one was writing for debris
            if finish == FINISHES:
                raise


def _consolidate(store: Any) -> None:
    seal.list_files(store)
    held = HoldingStore(as_store(store))
    with warnings.catch_warnings():
        # Not in the specification yet, but read by every zarr-python 3 and by xarray.
        warnings.filterwarnings("ignore", message="Consolidated metadata", category=UserWarning)
        zarr.consolidate_metadata(held)
    seal.close(store, held.held[ROOT])


def _fill_pass(
    blueprint: Blueprint,
    store: Any,
    number: int,
    part: tuple[int, int],
    stop: threading.Event,
    log: str | PathLike[str] | None,
    show: bool,
) -> None:
    """Run the tasks of one pass that are left and belong to this part."""
    each = blueprint.passes[number]
    target = Target.of(store, blueprint.run, each, blueprint)
    written = read_progress(store, each).done
    turns = _turns(each, part)
    todo = [index for index in turns if not written[index]]
    failed: dict[tuple[int, Index], BaseException] = {}
    done = 0
    title = "writing" if each.first == 0 else "writing overviews"
    with bar(title, total=len(todo), show=show) as advance, logging(log, each.first) as tell:
        tasks = _tasks(blueprint, target)
        for finished in run_shards(tasks, todo, stop=stop, shared=part[1] > 1):
            tell(finished)
            if finished.error is not None:
                failed[each.first, finished.index] = finished.error
                with suppress(Exception):  # a mark is for those who look; the row is not there
                    record_failure(target, finished.index)
            done += finished.error is None
            advance(done)
    if stop.is_set() and done < len(todo):
        left = len(todo) - done
        raise Interrupted(
            f"stopped with {left} of {each.tasks} shards left to this run; expected to go on later."
            f" Finish {store} with write_zarr(fused, store, resume=True)"
        )
    if failed:
        raise _write_failed(store, failed, unwritten=len(todo) - done)


def _turns(each: Pass, part: tuple[int, int]) -> list[Index]:
    """List the tasks of a part: its share of full resolution, all of what is coarser."""
    i, n = part
    turns = [index for index in np.ndindex(each.grid)]
    if each.first == 0:
        return turns[i - 1 :: n]
    begin = len(turns) * (i - 1) // n  # where no other part begins
    return [*turns[begin:], *turns[:begin]]


def _tasks(blueprint: Blueprint, target: Target) -> da.Array:
    """One element a task: computing it writes a shard."""
    layout = target.each.layouts[0]
    settings: dict[str, Any] = {
        "target": target,
        "chunks": tuple((1,) * len(along) for along in layout.blocks),
        "dtype": "int64",
        "meta": np.empty((0,) * len(layout.shape), "int64"),
        # A name of its own: a cluster that remembers an earlier run must not skip this one.
        "name": f"write-{uuid.uuid4().hex}",
    }
    if target.each.first:
        tasks: da.Array = da.map_blocks(write_overview, **settings)
        return tasks
    lifted = lifted_from(blueprint.scene.data)
    if lifted is not None and is_per_pixel(lifted.model):
        return da.map_blocks(
            write_lifted,
            windows(lifted.msi, *map(spans_of, layout.blocks[-2:])),
            model=dask.delayed(lifted.model, pure=True),
            device=blueprint.device or lifted.device,
            **settings,
        )
    data = _in_shards(blueprint.scene.data, layout, blueprint.device)
    return da.map_blocks(write_block, data, **settings)


def _in_shards(data: da.Array, layout: Layout, device: str | None) -> da.Array:
    """Cut what is written into one block a shard: below the lifting, where there is one."""
    lifted = lifted_from(data)
    if lifted is not None:
        return replace(lifted, device=device or lifted.device).again(layout.blocks)
    leading = dict(enumerate(layout.blocks[:-2]))
    data = data.rechunk(leading, method="tasks", threshold=np.inf)
    return windows(data, *map(spans_of, layout.blocks[-2:]))


def _is_complete(store: Any) -> bool:
    about = read_root(store)
    return about is not None and about.get("complete") is True


def _is_done(blueprint: Blueprint, store: Any, number: int) -> bool:
    return bool(read_progress(store, blueprint.passes[number]).done.all())


def _write_failed(
    store: Any, failed: dict[tuple[int, Index], BaseException], *, unwritten: int
) -> WriteFailed:
    named = [
        f"level {level} {index}: {type(error).__name__}: {error}"
        for (level, index), error in sorted(failed.items(), key=lambda each: each[0])
    ]
    more = f"; and {len(named) - NAMED} more" if len(named) > NAMED else ""
    error = WriteFailed(
        f"{unwritten} shards of {store} could not be written, {len(failed)} after {TRIES} tries "
        f"each ({'; '.join(named[:NAMED])}{more}); all others are. Try these again with "
        "write_zarr(fused, store, resume=True)",
        failed,
    )
    error.__cause__ = next(iter(failed.values()))
    return error


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


def _warn_of_clipping(blueprint: Blueprint, store: Any) -> None:
    firsts = blueprint.passes[:1]  # none, of a recipe that copies no pixel
    clipped = sum(int(read_progress(store, each).column(CLIPPED).sum()) for each in firsts)
    packing, size = blueprint.packing, blueprint.scene.size
    if clipped > CLIPPED_TOLERATED * size:
        low, high = packing.limits
        warn_user(
            f"{clipped} of {size} values lay outside {low:g} to {high:g}, all that "
            f"scale_factor={packing.scale_factor:g} and add_offset={packing.add_offset:g} can "
            "store, and were clipped. Pass a larger scale_factor, a lower add_offset, or "
            "dtype='float32'"
        )
