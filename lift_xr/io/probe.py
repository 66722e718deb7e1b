"""One shard of a run, done for real but kept in memory: what it takes, and what it comes to."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
import zarr.storage

from lift_xr.blocks import Lifted, Prior, lift_blocks
from lift_xr.encode import encode_block
from lift_xr.io.blueprint import Blueprint
from lift_xr.io.create import create, flags_path, level_path
from lift_xr.io.shards import Index, Target, write_block
from lift_xr.memory import forget_peak, of_peak, of_this_process
from lift_xr.overview import halve
from lift_xr.packing import Packing
from lift_xr.plan import Pass
from lift_xr.windows import spans_of, windows

HERE = "synchronous"  # one thread, as a task has


@dataclass(frozen=True)
class Probe:
    """What one shard took.

    Parameters
    ----------
    index
        Its place in the grid of shards.
    pixels
        In it.
    read, lift, encode, codec
        Seconds: to read its window of the mosaic; to lift it; to quantise it, flag it and average
        its overviews; to compress all that.
    stored, raw
        Bytes of its pixels at every level of the pass, then of its flags: compressed, and not.
    memory
        Bytes by which this process grew at most; 0 where that cannot be told.
    """

    index: Index
    pixels: int
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


def probe_shard(fused: xr.DataArray, lifted: Lifted, each: Pass, packing: Packing) -> Probe:
    """Read, lift, encode and compress the shard in the middle of a scene, and forget it.

    Where the middle is nodata, another shard: what is empty would tell nothing.
    """
    forgets = forget_peak()
    before = of_this_process()
    index, window, read = _window(lifted, each)
    lifted_block, lift = _lift(lifted, each, index, window)
    encode = _encode(lifted_block, each, packing)
    contents: dict[str, Any] = {}
    store = zarr.storage.MemoryStore(contents)
    blueprint = Blueprint(fused, (each,), packing)
    create(blueprint, store)
    # A name of its own: arrays are kept open by the name of their run, this one's must not be.
    target = Target.of(store, uuid.uuid4().hex, each, packing, blueprint.trained)
    start = time.perf_counter()
    write_block(lifted_block, target, index)
    wrote = time.perf_counter() - start
    stored = tuple(_stored(contents, path) for path in _paths(each))
    contents.clear()
    return Probe(
        index=index,
        pixels=prod(lifted_block.shape[-2:]),
        read=read,
        lift=lift,
        encode=min(encode, wrote),
        codec=max(0.0, wrote - encode),
        stored=stored,
        raw=_raw(each, index),
        memory=max(0, of_peak() - before) if forgets else 0,
    )


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
    spans = [
        (spans_of(along, halo=lifted.model.halo)[at],)
        for along, at in zip(each.layouts[0].blocks[-2:], index[-2:], strict=True)
    ]
    window = windows(lifted.msi, *spans)
    if window.ndim == 4:
        window = window[index[0] : index[0] + 1]
    # By a name of its own: dask fuses a mosaic into what is lifted from it, and then misses it.
    alone: da.Array = da.map_blocks(_as_it_is, window, dtype=window.dtype, meta=window._meta)
    return alone


def _as_it_is(block: np.ndarray) -> np.ndarray:
    return block


def _lift(lifted: Lifted, each: Pass, index: Index, window: np.ndarray) -> tuple[np.ndarray, float]:
    """Lift a window as a block of its own, and cut off the halo."""
    starts, kept = [], []
    for along, at in zip(each.layouts[0].blocks[-2:], index[-2:], strict=True):
        (start, stop), (first, _) = spans_of(along)[at], spans_of(along, halo=lifted.model.halo)[at]
        starts.append(first)
        kept.append(slice(start - first, stop - first))
    prior = None if lifted.prior is None else _seen_from(lifted.prior, starts)
    _lift_alone(lifted, window[..., :1, :1], prior)  # what the first task of a process waits for
    begin = time.perf_counter()
    values = np.ascontiguousarray(_lift_alone(lifted, window, prior)[..., kept[0], kept[1]])
    return values, time.perf_counter() - begin


def _lift_alone(lifted: Lifted, window: np.ndarray, prior: Prior | None) -> np.ndarray:
    alone = da.from_array(window, chunks=window.shape, name=False)
    block = lift_blocks(alone, lifted.model, device=lifted.device, prior=prior)
    values: np.ndarray = block.compute(scheduler=HERE)
    return values


def _seen_from(prior: Prior, starts: list[int]) -> Prior:
    """The cube as it lies under a window that begins at ``starts``."""
    rows, columns = (offset - start for offset, start in zip(prior.offset, starts, strict=True))
    return Prior(prior.cells, prior.ratio, (rows, columns))


def _encode(block: np.ndarray, each: Pass, packing: Packing) -> float:
    start = time.perf_counter()
    codes: np.ndarray = encode_block(block, packing).codes
    for _ in each.layouts[1:]:
        codes = halve(codes, packing)
    return time.perf_counter() - start


def _paths(each: Pass) -> tuple[str, ...]:
    levels = (level_path(each.first + number) for number in range(len(each.layouts)))
    return (*levels, flags_path())


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
