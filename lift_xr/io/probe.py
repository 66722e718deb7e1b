"""One shard of a run, done for real but kept in memory: what it takes, and what it comes to."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import prod
from statistics import fmean
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
import zarr.storage

from lift_xr.blocks import Lifted, Prior, is_per_pixel, lift_blocks
from lift_xr.io.blueprint import Blueprint
from lift_xr.io.codecs import one_codec_at_a_time
from lift_xr.io.create import create, paths_written
from lift_xr.io.shards import Index, Target, write_block, write_lifted
from lift_xr.laps import lap, laps
from lift_xr.memory import RESERVE, forget_peak, of_peak, of_this_process
from lift_xr.packing import Packing
from lift_xr.plan import Pass
from lift_xr.windows import Span, spans_of, windows

HERE = "synchronous"  # one thread, as a task has
Timed = tuple[dict[str, float], tuple[int, ...]]
"""Of one task: the seconds of its laps, and the bytes it stored."""


@dataclass(frozen=True)
class Probe:
    """What one shard took, while other threads were busy with the same, as in a run.

    Parameters
    ----------
    index
        Its place in the grid of shards.
    pixels
        In it.
    threads
        How many did it side by side: cores share their memory and their power.
    read, lift, encode, codec
        Seconds: to read its window of the mosaic; to lift it; to quantise it, flag it and average
        its overviews; to compress all that. Means over the threads; but where reading it alone, for
        the first time, takes longer, that.
    stored, raw
        Bytes of its pixels at every level of the pass, then of its flags: compressed, and not.
    memory
        Bytes by which this process grew at most, for each thread, less those of first tasks; 0
        where that cannot be told.
    """

    index: Index
    pixels: int
    threads: int
    read: float
    lift: float
    encode: float
    codec: float
    stored: tuple[int, ...]
    raw: tuple[int, ...]
    memory: int

    @property
    def seconds(self) -> float:
        """All that a task does but writing to the disk."""
        return self.read + self.lift + self.encode + self.codec


def probe_shard(
    fused: xr.DataArray, lifted: Lifted, each: Pass, packing: Packing, threads: int = 1
) -> Probe:
    """Read, lift, encode and compress the shard in the middle of a scene, and forget it.

    So many threads do the same, each for itself. Where the middle is nodata, another shard: what is
    empty would tell nothing.
    """
    forgets = forget_peak()
    before = of_this_process()
    with one_codec_at_a_time():
        index, window, first_read = _window(lifted, each)
    prior = _prior_under(lifted, each, index)
    _lift(lifted, window[..., :1, :1], prior)  # what the first task of a process waits for
    del window
    blueprint = Blueprint(fused, (each,), packing)
    with ThreadPoolExecutor(threads) as pool:
        found = [*pool.map(lambda _: _timed_task(lifted, blueprint, index, prior), range(threads))]
    grown = of_peak() - before if forgets else 0
    return _probe_of(index, _raw(each, index), found, first_read=first_read, grown=grown)


def _probe_of(
    index: Index, raw: tuple[int, ...], found: list[Timed], *, first_read: float, grown: int
) -> Probe:
    """Put together what the same task took on each of some threads."""
    threads = len(found)
    spent = {name: fmean(laps[name] for laps, _ in found) for name in found[0][0]}
    return Probe(
        index=index,
        pixels=raw[-1],
        threads=threads,
        read=max(first_read, spent["read"]),
        lift=spent["lift"],
        encode=spent["encode"] + spent["halve"],
        codec=spent["write"],
        stored=found[0][1],
        raw=raw,
        memory=max(0, grown - RESERVE) // threads,
    )


def _timed_task(lifted: Lifted, blueprint: Blueprint, index: Index, prior: Prior | None) -> Timed:
    """Read the window of a task, and do it into a store of its own, which is emptied."""
    (each,) = blueprint.passes
    contents: dict[str, Any] = {}
    store = zarr.storage.MemoryStore(contents)
    create(blueprint, store)
    # A name of its own: arrays are kept open by the name of their place, this one's must not be.
    target = replace(Target.of(store, blueprint.run, each, blueprint), place=uuid.uuid4().hex)
    with laps() as spent, one_codec_at_a_time():
        with lap("read"):
            window = _cut(lifted, each, index).compute(scheduler=HERE)
        _run_task(lifted, target, index, window, prior)
    stored = tuple(_stored(contents, path) for path in paths_written(each, blueprint.variable))
    contents.clear()  # arrays that are kept open keep their stores
    return spent, stored


def _window(lifted: Lifted, each: Pass) -> tuple[Index, np.ndarray, float]:
    """Read the window of a shard that has data, the nearest to the middle first."""
    for index in _candidates(each.grid):
        start = time.perf_counter()
        window = _cut(lifted, each, index).compute(scheduler=HERE)
        seconds = time.perf_counter() - start
        if np.isfinite(window).any():
            break
    return index, window, seconds


def _candidates(grid: Index) -> Iterator[Index]:
    *once, rows, columns = grid
    first = (0,) * len(once)
    for y, x in ((2, 2), (1, 1), (3, 3), (1, 3), (3, 1)):  # quarters of the way
        yield (*first, y * rows // 4, x * columns // 4)


def _cut(lifted: Lifted, each: Pass, index: Index) -> da.Array:
    """The window of one shard, with the halo the model looks at."""
    rows, columns = _spans(each, index, lifted.model.halo)
    window = windows(lifted.msi, (rows,), (columns,))
    if window.ndim == 4:
        window = window[index[0] : index[0] + 1]
    # By a name of its own: dask fuses a mosaic into what is lifted from it, and then misses it.
    alone: da.Array = da.map_blocks(_as_it_is, window, dtype=window.dtype, meta=window._meta)
    return alone


def _as_it_is(block: np.ndarray) -> np.ndarray:
    return block


def _prior_under(lifted: Lifted, each: Pass, index: Index) -> Prior | None:
    """The cube as it lies under a window of the mosaic."""
    prior = lifted.prior
    if prior is None:
        return None
    corner = [start for start, _ in _spans(each, index, lifted.model.halo)]
    rows, columns = (offset - start for offset, start in zip(prior.offset, corner, strict=True))
    return Prior(prior.cells, prior.ratio, (rows, columns))


def _run_task(
    lifted: Lifted, target: Target, index: Index, window: np.ndarray, prior: Prior | None
) -> None:
    """Do what a task of the run does once it has its window."""
    if is_per_pixel(lifted.model):
        write_lifted(window, target, lifted.model, lifted.device, index)
        return
    wide = _spans(target.each, index, lifted.model.halo)
    rows, columns = (
        slice(start - first, stop - first)
        for (start, stop), (first, _) in zip(_spans(target.each, index, 0), wide, strict=True)
    )
    block = np.ascontiguousarray(_lift(lifted, window, prior)[..., rows, columns])
    write_block(block, target, index)


def _spans(each: Pass, index: Index, halo: int) -> list[Span]:
    """Rows and columns of a shard, and of a halo around it, inside the mosaic."""
    blocks = each.layouts[0].blocks[-2:]
    return [spans_of(along, halo=halo)[at] for along, at in zip(blocks, index[-2:], strict=True)]


def _lift(lifted: Lifted, window: np.ndarray, prior: Prior | None) -> np.ndarray:
    """Lift a window as a block of its own."""
    alone = da.from_array(window, chunks=window.shape, name=False)
    block = lift_blocks(alone, lifted.model, device=lifted.device, prior=prior)
    values: np.ndarray = block.compute(scheduler=HERE)
    return values


def _stored(contents: dict[str, Any], path: str) -> int:
    """Bytes of all chunks or shards of an array."""
    return sum(len(value) for key, value in contents.items() if key.startswith(f"{path}/c"))


def _raw(each: Pass, index: Index) -> tuple[int, ...]:
    """Bytes of one block at every level of a pass, then of its flags."""
    sizes = [
        prod(along[at] for along, at in zip(layout.blocks, index, strict=True))
        for layout in each.layouts
    ]
    first = each.layouts[0]
    values = [size * first.dtype.itemsize for size in sizes]
    return (*values, sizes[0] // first.shape[-3])
