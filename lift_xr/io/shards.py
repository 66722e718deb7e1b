"""What one task of a run does: write its shard of every level of a pass, then say so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
import zarr
from zarr.core.sync import sync  # nothing public calls a store's methods from plain code

from lift_xr.blocks import Lifter, lift_block
from lift_xr.encode import Encoded, empty_block, encode_block
from lift_xr.io.blueprint import Blueprint
from lift_xr.io.create import (
    as_store,
    files_written,
    flags_path,
    index_within,
    level_path,
    paths_written,
)
from lift_xr.io.files import NotingStore, array_of_file, key_of_file
from lift_xr.io.record import DAMAGE, checksum, done_row, is_done, mark_failing, record_path
from lift_xr.io.root import expect_still
from lift_xr.laps import lap
from lift_xr.overview import halve
from lift_xr.packing import Packing
from lift_xr.plan import Pass, strips
from lift_xr.windows import spans_of

Index = tuple[int, ...]


@dataclass(frozen=True)
class Target:
    """Where the tasks of one pass write, small enough to travel with every one of them.

    Parameters
    ----------
    store
        A zarr store.
    place
        Names it, so that a process opens each array once.
    run
        Names the run, so that no process writes through the handle of an earlier one.
    """

    store: Any = field(compare=False)
    place: str
    run: str
    each: Pass
    packing: Packing
    variable: str
    trained: tuple[float, float] = (-np.inf, np.inf)

    @classmethod
    def of(cls, store: Any, run: str, each: Pass, blueprint: Blueprint) -> Target:
        """Point the tasks of a pass to a path, URL or store."""
        opened = as_store(store)
        packing, name = blueprint.packing, blueprint.variable
        return cls(opened, str(opened), run, each, packing, name, blueprint.trained)

    def level_path(self, level: int) -> str:
        """Find the pixels of a level."""
        return level_path(level, self.variable)

    @property
    def files(self) -> tuple[str, ...]:
        """What a task writes, as ``io.files`` names it."""
        return files_written(self.each, self.variable)


def write_block(block: np.ndarray, target: Target, block_id: Index) -> np.ndarray:
    """Encode one block of full resolution; write it, its flags and its overviews.

    Returns
    -------
    One number
        The bytes that were written, before compression.
    """
    with lap("encode"):
        encoded = encode_block(block, target.packing, trained=target.trained)
    return _write_encoded(encoded, target, block_id)


def write_lifted(
    block: np.ndarray, target: Target, model: Lifter, device: str, block_id: Index
) -> np.ndarray:
    """Lift one block of a mosaic with a per-pixel model, encode and write it.

    Strip by strip: the float32 of a block, twice as large as what is stored, is never there whole.
    """
    encoded = empty_block((*block.shape[:-3], model.bands, *block.shape[-2:]), target.packing)
    for rows in spans_of(strips(*block.shape[-2:])):
        encoded = _with_strip(encoded, slice(*rows), block, target, model, device)
    return _write_encoded(encoded, target, block_id)


def _with_strip(
    encoded: Encoded, rows: slice, block: np.ndarray, target: Target, model: Lifter, device: str
) -> Encoded:
    """Lift and encode some rows; what that takes is gone before the next ones, and the writing."""
    lifted = lift_block(block[..., rows, :], model=model, device=device, block_id=(0, 0))
    with lap("encode"):
        part = replace(
            encoded, codes=encoded.codes[..., rows, :], flags=encoded.flags[..., rows, :]
        )
        part = encode_block(lifted, target.packing, trained=target.trained, into=part)
    return replace(encoded, clipped=part.clipped)


def _write_encoded(encoded: Encoded, target: Target, block_id: Index) -> np.ndarray:
    expect_still(target.store, target.run)
    written, sums = _write_levels(encoded.codes, target, block_id)
    with lap("write"):
        sums |= _write(encoded.flags, target, flags_path(), 0, block_id)
        _record(target, block_id, encoded.clipped, sums)
    return _told(block_id, written + encoded.flags.nbytes)


def is_written(index: Index, *, target: Target) -> bool:
    """Whether a task is done, maybe by another process, which writes the same store.

    Raises
    ------
    Replaced
        Where it is done, but by another run, which has begun in the place of this one.
    """
    try:
        done = is_done(np.asarray(_array(target, record_path(target.each))[index]))
    except DAMAGE:  # half a row is none
        return False
    if done:
        expect_still(target.store, target.run)  # after its row: a run's root is there before them
    return done


def write_overview(target: Target, block_id: Index) -> np.ndarray:
    """Halve what the last level of the pass before holds, and write it and its own overviews."""
    expect_still(target.store, target.run)
    written, sums = _write_levels(_read_half(target, block_id), target, block_id)
    with lap("write"):
        _record(target, block_id, 0, sums)
    return _told(block_id, written)


def record_failure(target: Target, index: Index) -> None:
    """Write down that the task of a block has failed for good."""
    mark_failing(_array(target, record_path(target.each)), index)


def _write_levels(
    stored: np.ndarray, target: Target, block_id: Index
) -> tuple[int, dict[str, int]]:
    """Write one block to every level of the pass; return how many bytes, and the checksums."""
    written, sums = 0, dict[str, int]()
    for number in range(len(target.each.layouts)):
        with lap("halve"):
            stored = stored if number == 0 else halve(stored, target.packing)
        path = target.level_path(target.each.first + number)
        with lap("write"):
            sums |= _write(stored, target, path, number, block_id)
            written += stored.nbytes
    return written, sums


def _write(
    stored: np.ndarray, target: Target, path: str, number: int, block_id: Index
) -> dict[str, int]:
    """Write one block to one array; return the checksums of its values and of its files."""
    array, index = _array(target, path), index_within(path, block_id)
    shard = index_within(path, target.each.layouts[number].shard)
    noted: Any = array.store
    files = [name for name in target.files if array_of_file(name) == path]
    keys = {name: key_of_file(name, index) for name in files}
    window = _window(index, shard, stored.shape)
    try:
        array[window] = stored
    except DAMAGE:  # zarr reads a shard at the edge before it writes it, and a broken one is there
        for key in keys.values():
            sync(noted.delete(key))
        array[window] = stored
    return {path: checksum(stored)} | {name: noted.take(key) for name, key in keys.items()}


def _read_half(target: Target, block_id: Index) -> np.ndarray:
    """Read the level before and halve it: a few bands of a row of its shards at a time.

    So that a task of an overview holds less than one that lifts, however coarse the overview.
    """
    source = _array(target, target.level_path(target.each.first - 1))
    layout = target.each.layouts[0]
    shape = tuple(along[index] for along, index in zip(layout.blocks, block_id, strict=True))
    *rest, bands, rows, columns = _window(block_id, layout.shard, shape)
    half = np.empty(shape, source.dtype)
    twice = slice(2 * columns.start, 2 * columns.stop)
    for strip in _cut(rows, (source.shards or source.chunks)[-2]):
        for few in _cut(bands, source.chunks[-3]):
            wide = (*rest, few, slice(2 * strip.start, 2 * strip.stop), twice)
            within = (_from(few, bands), _from(strip, rows))
            half[(..., *within, slice(None))] = halve(np.asarray(source[wide]), target.packing)
    return half


def _cut(along: slice, most: int) -> Iterator[slice]:
    for start in range(along.start, along.stop, most):
        yield slice(start, min(start + most, along.stop))


def _from(part: slice, whole: slice) -> slice:
    return slice(part.start - whole.start, part.stop - whole.start)


def _record(target: Target, block_id: Index, clipped: int, sums: dict[str, int]) -> None:
    paths = paths_written(target.each, target.variable)
    written = [sums[name] for name in (*paths, *target.files)]
    expect_still(target.store, target.run)  # again: a row would call another run's shard done
    _array(target, record_path(target.each))[block_id] = done_row(clipped, written)


def _told(block_id: Index, written: int) -> np.ndarray:
    """One number, as a block of the array of tasks."""
    return np.full((1,) * len(block_id), written, "int64")


def _window(block_id: Index, shard: Index, shape: Index) -> tuple[slice, ...]:
    """Where a block lies in its array."""
    starts = [index * edge for index, edge in zip(block_id, shard, strict=True)]
    return tuple(slice(start, start + size) for start, size in zip(starts, shape, strict=True))


@lru_cache(maxsize=32)
def _array(target: Target, path: str) -> zarr.Array[Any]:
    """Open an array once a process, not once a task; two threads may both open it."""
    return zarr.open_array(NotingStore(target.store), path=path, mode="r+")
