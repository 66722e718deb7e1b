"""Prove that a store is what its run wrote: files, values, overviews, flags, and the physics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import xarray as xr
from zarr.abc.store import Store

from lift_xr.errors import LayoutError
from lift_xr.io.codecs import a_codec_a_core
from lift_xr.io.create import as_store
from lift_xr.io.embed import holds_model, read_model
from lift_xr.io.inventory import (
    about,
    check_complete,
    check_metadata,
    check_record,
    expect_store,
    read_passes,
)
from lift_xr.io.origin import reopen
from lift_xr.io.physics import ask
from lift_xr.io.recheck import FLAGS, OVERVIEWS, Question, check_task, packing_of
from lift_xr.io.record import UNREADABLE
from lift_xr.io.recorded import Faults, Recorded
from lift_xr.io.repair import inside, mark_damaged
from lift_xr.io.reread import Reader
from lift_xr.io.root import ROOT
from lift_xr.io.seal import read_file
from lift_xr.io.store import BESIDE, RECIPE, open_store, place_beside
from lift_xr.io.verification import Check, Failure, Index, Verification
from lift_xr.models import Model
from lift_xr.progress import bar
from lift_xr.scene import BLOCK, expect_scene, raster_of

Scene = xr.DataArray | xr.Dataset


def verify(
    store: Any,
    *,
    msi: Scene | None = None,
    hsi: Scene | None = None,
    model: Model | None = None,
    shards: int | Literal["all"] = 8,
    seed: int = 0,
    device: str = "auto",
    repair: bool = False,
    progress: bool = True,
) -> Verification:
    """Re-read a store, shard by shard, and say whether it is what its run wrote.

    The cube that a recipe keeps for its model is a store in the store, verified as one. Whatever
    ``shards`` is, the metadata, the coordinates, the record of the run and the presence
    of every file are checked. Of the shards covered, every file is compared with its checksum, so
    that any changed byte is found; it is decoded, and its values are compared with theirs; the
    overviews are computed again from the level below; and the quality flags are compared with the
    pixels. One shard is in memory at a time.

    Parameters
    ----------
    store
        A path, a URL or a zarr store that ``write_zarr`` wrote. An incomplete one fails the check
        of completeness; what of it is written is checked.
    msi : (band, y, x) or (time, band, y, x)
        The mosaic it was made from: the shards covered are lifted again and compared, and seen
        through the sensor's response they are compared with the mosaic.
    hsi : (band, y, x)
        The cube: means of the shards over its cells are compared with it.
    model
        The model that made it; the default is the one that the store holds, if it holds one.
    shards
        How many tasks to cover of each pass, drawn at random, or ``"all"``. A task is a shard of
        full resolution with the overviews and flags written along, or one of a coarser level.
    seed
        Of the draw.
    device
        Where to lift again: ``"auto"`` is the CPU for a store that tells it was written on one,
        else what ``predict`` takes. Another kind of device rounds differently: then a few codes
        may be one step off, and no more.
    repair
        Mark what is damaged as not written, so that the run can be resumed: the same call with
        ``write_zarr(..., resume=True)`` writes it again, and nothing else, to the same bytes. A
        damaged model is removed: train the same one again, or load it from its own file.
    progress
        Draw a progress bar in a terminal or notebook.

    Returns
    -------
    Verification
        ``ok``, ``failures`` and the ``checks`` made:

        - *complete*: every task is done, every file is there, and none that should not be;
        - *metadata*: metadata and coordinates are, byte by byte, what the run left;
        - *record*: so are the rows of its record;
        - *files*, *values*: the shards are what was written, as stored and as decoded;
        - *overviews*: each level is the mean of the one below;
        - *flags*: nodata is flagged where it is and nowhere else;
        - *mosaic*, of a recipe that keeps its address: it is there, and the same where a few
          pixels are looked at;
        - *lifted again*: the model makes the same codes of the mosaic;
        - *sensor*: SRF(fused) against the mosaic. Judged where ``consistency`` is "msi" or "both";
        - *cells*: means over the cells of the HSI against the HSI, never judged: they differ by
          the blur of the sensor, by its noise, and by what changed between two acquisitions.

    Raises
    ------
    FileNotFoundError
        Nothing is there.
    LayoutError
        It is no such store, or ``model`` and ``msi`` are not those it was made with. Scenes for a
        store of maps: those are not compared.
    GridError, SpectralError
        Scenes that cannot be compared with it.

    Notes
    -----
    Checksums of 32 bits find any single changed byte and any burst of up to 32 bits; other damage
    escapes them once in four billion times. They are no defence against people who mean harm.
    """
    count = _expect_shards(shards)
    target, faults = as_store(store), Faults()
    expect_store(target, store)
    metadata = check_metadata(target, faults)
    passes = read_passes(target, faults)
    check_record(target, store, faults)
    files = check_complete(target, passes, faults)
    given = {"msi": msi, "hsi": hsi, "model": model}
    asked: tuple[Question, ...] = ()
    if not faults.of("metadata") and any(each is not None for each in given.values()):
        asked = _questions(store, about(target) or {}, passes, device=device, **given)
    reader, drawn = Reader(target, passes, faults), list(_draw(passes, count, seed))
    with bar("verifying", total=len(drawn), show=progress) as advance, a_codec_a_core():
        for done, (recorded, index) in enumerate(drawn, start=1):
            check_task(reader, recorded, index, asked)
            advance(done)
    covered = {"complete": (files, "files"), "metadata": (metadata, "files")}
    covered |= _covered(reader, drawn)
    checks = [Check(name, *covered[name], faults.of(name)) for name in covered]
    told = {} if faults.blames(ROOT) else _settings(target)
    if told.get("beside") is not None:
        checks = _with_beside(checks, store, target, shards=shards, seed=seed, progress=progress)
    checks += [each.answer(faults) for each in asked]
    if told.get("address") is not None:
        checks.append(_check_mosaic(store, told["address"]))
    found = Verification(str(store), tuple(checks))
    if repair:
        mark_damaged(store, found.failures)
    return found


def _settings(target: Store) -> dict[str, Any]:
    """Read what the root says of how the store was to be made."""
    settings = (about(target) or {}).get("settings")
    return settings if isinstance(settings, dict) else {}


def _with_beside(checks: list[Check], store: Any, target: Store, **how: Any) -> list[Check]:
    """Verify the store in a store too, and add what is found to the same checks."""
    root = f"{BESIDE}/{ROOT}"
    noted = any(each.file == root for check in checks for each in check.failures)
    if noted or read_file(target, root) is None:  # the root is sealed, or nothing is begun yet
        return checks
    try:
        beside = verify(place_beside(store), **how)
    except (LayoutError, FileNotFoundError) as error:
        damaged = Failure("metadata", f"is damaged: {error}", path=BESIDE, file=root)
        beside = Verification(root, (Check("metadata", 1, "files", (damaged,)),))
        return [_joined(each, beside) for each in checks]
    found = tuple(replace(e, failures=tuple(map(inside, e.failures))) for e in beside.checks)
    return [_joined(each, Verification(root, found)) for each in checks]


def _joined(check: Check, beside: Verification) -> Check:
    """Add to a check what the same one found in the store in the store."""
    for each in beside.checks:
        if each.name == check.name:
            failures = (*check.failures, *each.failures)
            return replace(check, covered=check.covered + each.covered, failures=failures)
    return check


def _check_mosaic(store: Any, address: Any) -> Check:
    """Ask whether the mosaic of a recipe lies where it lay, and is the same."""
    try:
        reopen(address, recipe=store)
    except UNREADABLE as error:
        failure = Failure("mosaic", f"cannot be lifted: {error}")
        return Check("mosaic", 1, "addresses", (failure,))
    return Check("mosaic", 1, "addresses")


def _expect_shards(shards: Any) -> int | None:
    """How many tasks of each pass to cover; None for all."""
    if shards == "all":
        return None
    if isinstance(shards, bool) or not isinstance(shards, int | np.integer) or shards < 1:
        raise LayoutError(
            f"shards is {shards!r}; expected a whole number from 1, or 'all'. Use shards=8"
        )
    return int(shards)


def _covered(reader: Reader, drawn: Sequence[tuple[Recorded, Index]]) -> dict[str, tuple[int, str]]:
    """Count what was looked at, for each check."""
    tasks = sum(each.progress.done.size for each in reader.passes.values())
    return {
        "record": (tasks, "tasks"),
        "files": (len(reader.files), "files"),
        "values": (len(reader.shards), "shards"),
        OVERVIEWS: (len(drawn), "tasks"),
        FLAGS: (sum(recorded.first == 0 for recorded, _ in drawn), "shards"),
    }


def _questions(
    store: Any,
    told: dict[str, Any],
    passes: dict[int, Recorded],
    *,
    model: Any = None,
    **given: Any,
) -> tuple[Question, ...]:
    """Make ready to compare with scenes, by the model that was given or that the store holds."""
    if told.get("kind") == RECIPE:
        raise LayoutError(
            f"{store} is a recipe, which is lifted whenever it is read; expected a store of pixels "
            "to compare with scenes. Leave out msi, hsi and model"
        )
    if 0 not in passes:
        raise LayoutError(
            f"{store} has no record of full resolution; expected one, to compare its pixels with "
            "scenes. Leave out msi, hsi and model, or resume the run that wrote it"
        )
    opened = open_store(store, variable=None, block=BLOCK)
    scene = expect_scene(raster_of(opened, name="store"), name="store")
    if model is None and given["msi"] is not None and holds_model(store):
        model = read_model(store)
    return ask(scene, packing_of(passes[0].levels[0]), told, model=model, **given)


def _draw(
    passes: dict[int, Recorded], count: int | None, seed: int
) -> Iterator[tuple[Recorded, Index]]:
    """Draw tasks that are done, so many of each pass."""
    for first, recorded in passes.items():
        done = [index for index in recorded.tasks if recorded.trusted(index)]
        if count is not None and count < len(done):
            random = np.random.default_rng([seed, first])
            chosen = sorted(random.choice(len(done), count, replace=False))
            done = [done[place] for place in chosen]
        yield from ((recorded, index) for index in done)
