"""The shards of one task against each other: overviews, flags, and whatever else is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from lift_xr.encode import CLIPPED, NODATA
from lift_xr.io.create import flags_path
from lift_xr.io.recorded import Array, Faults, Recorded
from lift_xr.io.reread import Reader
from lift_xr.io.verification import Check, Index
from lift_xr.overview import halve
from lift_xr.packing import GREATEST_CODE, MISSING, Codes, Packing

OVERVIEWS, FLAGS = "overviews", "flags"


class Question(Protocol):
    """What else is asked of every shard of full resolution."""

    name: str

    def look(self, window: tuple[slice, ...], stored: np.ndarray, flags: np.ndarray) -> str:
        """Look at one shard; say what is wrong with it, or nothing."""

    def answer(self, faults: Faults) -> Check:
        """Say what was found, once all shards were looked at."""


def packing_of(array: Array) -> Packing:
    """Read how values are stored: packed, as they are, or as the codes of another file."""
    attrs: dict[str, Any] = dict(array.opened.attrs)
    dtype, fill = array.opened.dtype, array.opened.fill_value
    scale, offset = float(attrs.get("scale_factor", 1.0)), float(attrs.get("add_offset", 0.0))
    if dtype.kind == "f" or (dtype == np.uint16 and fill == MISSING):
        return Packing(dtype, scale, offset)
    nodata = attrs.get("_FillValue")
    return Codes(dtype, scale, offset, nodata=None if nodata is None else int(nodata))


def check_task(
    reader: Reader, recorded: Recorded, index: Index, questions: Sequence[Question]
) -> None:
    """Read the shards that a task wrote, finest first, and compare each with the one before."""
    before: np.ndarray | None = None
    for array in recorded.levels:
        stored = reader.shard(recorded, array.path, index)
        if stored is not None and array.level == 0:
            _check_pixels(reader, recorded, index, stored, questions)
        elif stored is not None and not _is_half(reader, recorded, array, index, stored, before):
            reader.blame(OVERVIEWS, "is not the mean of the level below", recorded, array, index)
        before = stored


def _check_pixels(
    reader: Reader,
    recorded: Recorded,
    index: Index,
    stored: np.ndarray,
    questions: Sequence[Question],
) -> None:
    """Compare full resolution with its flags, and with whatever else was given."""
    flags = reader.shard(recorded, flags_path(), index)
    if flags is None:
        return
    pixels, quality = recorded.levels[0], recorded.arrays[flags_path()]
    for wrong in _wrong_flags(flags, stored, packing_of(pixels)):
        reader.blame(FLAGS, wrong, recorded, quality, index)
    for question in questions:
        if wrong := question.look(pixels.window(index), stored, flags):
            reader.blame(question.name, wrong, recorded, pixels, index)


def _wrong_flags(flags: np.ndarray, stored: np.ndarray, packing: Packing) -> Iterator[str]:
    """Compare the flags of a shard with its pixels, as far as these tell."""
    missing, extreme = np.zeros(flags.shape, bool), np.zeros(flags.shape, bool)
    empty = isinstance(packing, Codes) and packing.nodata is None  # nothing stands for nodata
    for band in np.moveaxis(stored, -3, 0):  # a mask of all bands would be as large as the shard
        if not empty:
            missing |= (band == packing.fill) if packing.packed else np.isnan(band)
        extreme |= (band == 0) | (band == GREATEST_CODE) if packing.packed else False
    wrong = np.count_nonzero(missing != ((flags & NODATA) > 0))
    if wrong:
        yield f"is wrong about nodata in {wrong} pixels"
    wrong = np.count_nonzero(((flags & CLIPPED) > 0) & ~extreme)
    if wrong:
        yield f"calls {wrong} pixels clipped that are not"


def _is_half(
    reader: Reader,
    recorded: Recorded,
    array: Array,
    index: Index,
    stored: np.ndarray,
    before: np.ndarray | None,
) -> bool:
    """Whether a shard is the mean of what lies below it, as far as that can be read."""
    if array.level > recorded.first:
        return before is None or _same(halve(before, packing_of(array)), stored)
    source = _finest_but_one(reader, recorded)
    return source is None or all(
        _same(half, stored[..., rows, :])
        for rows, half in _halved(reader, *source, array.window(index))
    )


def _finest_but_one(reader: Reader, recorded: Recorded) -> tuple[Recorded, Array] | None:
    """Find the level that a pass was made from: the last one of the pass before."""
    for other in reader.passes.values():
        for array in other.levels:
            if array.level == recorded.first - 1:
                return other, array
    return None


def _halved(
    reader: Reader, recorded: Recorded, source: Array, window: tuple[slice, ...]
) -> Iterator[tuple[slice, np.ndarray]]:
    """Halve what lies below a window, strip by strip of whole shards; leave out what is damaged."""
    *rest, rows, columns = window
    height, width = source.shape[-2:]
    twice = slice(2 * columns.start, min(2 * columns.stop, width))
    for start in range(rows.start, rows.stop, source.edges[-2]):
        stop = min(start + source.edges[-2], rows.stop)
        wide = (*rest, slice(2 * start, min(2 * stop, height)), twice)
        region = reader.region(recorded, source, wide)
        if region is not None:
            yield slice(start - rows.start, stop - rows.start), halve(region, packing_of(source))


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
