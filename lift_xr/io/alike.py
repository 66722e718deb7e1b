"""Does a run that goes on make the values it made before: a few pixels that are done, made again.

The run's token knows the pixels that are read, but no arithmetic after them. What tells that apart
for any chunks, and wherever it was written down, is what it makes.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import dask.array as da
import numpy as np
import zarr

from lift_xr.blocks import lifted_from
from lift_xr.encode import encode_block
from lift_xr.errors import LayoutError
from lift_xr.io.blueprint import Blueprint
from lift_xr.io.compute import run_shards
from lift_xr.io.record import read_progress
from lift_xr.io.shards import Target
from lift_xr.windows import spans_of, windows

EDGE = 16  # pixels along the window that is compared
LOOKS = 8  # shards that are looked at for one with data in the window

Window = tuple[slice, ...]


def expect_same_values(
    blueprint: Blueprint, store: Any, *, stop: threading.Event, shared: bool
) -> None:
    """Raise LayoutError where a shard that is done holds other values than this run makes.

    One small window is computed. Nothing is compared where no shard is done, or where the values
    come from a device that only workers may have; and what cannot be computed is no difference.
    """
    on_cpu = blueprint.device in (None, "cpu")
    done = _done(blueprint, store) if blueprint.passes and on_cpu else np.empty((0, 0))
    if not len(done):
        return
    target = Target.of(store, blueprint.run, blueprint.passes[0], blueprint)
    written = _opened(target)
    looks = done[:: -(-len(done) // LOOKS)]
    middles = [_middle(tuple(map(int, index)), target) for index in looks]
    window = next((each for each in middles if _has_data(written[each], target)), middles[0])
    found = _count_other(_cut(blueprint, window), target, window, stop=stop, shared=shared)
    if found:
        rows, columns = window[-2:]
        raise LayoutError(
            f"{store} was begun by another run: of the pixels {rows.start} to {rows.stop} (y) and "
            f"{columns.start} to {columns.stop} (x), {found} values are others than were written, "
            "though their inputs look the same; expected the same arithmetic on the same inputs. "
            "Use that, another path, or overwrite=True to begin again. If it is the same, the "
            "store may be damaged: look with verify(store)"
        )


def _done(blueprint: Blueprint, store: Any) -> np.ndarray:
    return np.argwhere(read_progress(store, blueprint.passes[0]).done)


def _middle(index: tuple[int, ...], target: Target) -> Window:
    """Find the window in the middle of a shard."""
    spans = [
        spans_of(along)[at] for along, at in zip(target.each.layouts[0].blocks, index, strict=True)
    ]
    for axis in (-2, -1):
        start, stop = spans[axis]
        first = max(start, (start + stop - EDGE) // 2)
        spans[axis] = first, min(stop, first + EDGE)
    return tuple(slice(*span) for span in spans)


def _opened(target: Target) -> zarr.Array[Any]:
    return zarr.open_array(target.store, path=target.level_path(0), mode="r")


def _has_data(stored: Any, target: Target) -> bool:
    fill = target.packing.fill
    empty = np.isnan(stored) if np.isnan(fill) else stored == fill
    return not bool(np.all(empty))


def _cut(blueprint: Blueprint, window: Window) -> da.Array:
    """Cut the window from what is written; of a lifted scene, no more than it is lifted."""
    data: da.Array = blueprint.scene.data
    rows, columns = ((each.start, each.stop) for each in window[-2:])
    lifted = lifted_from(data)
    if lifted is None:
        cut = windows(data[(*window[:-2], ...)], (rows,), (columns,))
        return cut.rechunk(-1, method="tasks", threshold=np.inf)
    widths = [
        tuple(each for each in (first, last - first, size - last) if each)
        for (first, last), size in zip((rows, columns), data.shape[-2:], strict=True)
    ]
    again = replace(lifted, device="cpu").again((*data.chunks[:-2], *widths))
    return again[window]


def _count_other(
    block: da.Array, target: Target, window: Window, *, stop: threading.Event, shared: bool
) -> int:
    """Count the values that differ from those in the store; where tasks of the run would run."""
    counts = block.map_blocks(
        _other,
        target=target,
        window=window,
        chunks=tuple((1,) for _ in window),
        dtype="int64",
        meta=np.empty((0,) * block.ndim, "int64"),
    )
    (index,) = np.ndindex(counts.numblocks)
    ended = run_shards(counts, [index], stop=stop, shared=shared)
    return sum(each.ran.value for each in ended if each.ran is not None)


def _other(block: np.ndarray, *, target: Target, window: Window) -> np.ndarray:
    encoded = encode_block(block, target.packing, trained=target.trained)
    stored = np.asarray(_opened(target)[window])
    same = np.equal(encoded.codes, stored) | ((encoded.codes != encoded.codes) & (stored != stored))
    return np.full((1,) * block.ndim, np.count_nonzero(~same), "int64")
