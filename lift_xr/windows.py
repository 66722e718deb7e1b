"""Windows of an array that may overlap, one a block, and each read by itself where it can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any

import dask
import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.blockwise import Blockwise

from lift_xr.packing import decode_block, mask_transparent, take_bands

Span = tuple[int, int]  # from, to
Spans = tuple[Span, ...]
PIXEL_BY_PIXEL = (
    decode_block,
    mask_transparent,
    take_bands,
)  # what may follow a read, whatever its blocks


def spans_of(widths: Sequence[int], *, halo: int = 0) -> Spans:
    """Tell where each block begins and ends, with ``halo`` more on both sides, inside the array.

    Examples
    --------
    >>> spans_of((4, 4, 2), halo=1)
    ((0, 5), (3, 9), (7, 10))
    """
    ends = list(accumulate(widths))
    starts = [end - width for end, width in zip(ends, widths, strict=True)]
    return tuple(
        (max(0, start - halo), min(ends[-1], end + halo))
        for start, end in zip(starts, ends, strict=True)
    )


def windows(array: da.Array, rows: Spans, columns: Spans) -> da.Array:
    """Cut an array into windows, one for every pair of a span of rows and one of columns.

    Parameters
    ----------
    array : (..., y, x)
        Leading axes keep their chunks. Chunks along y and x need not be those of the windows: an
        array that is only read and decoded is read window by window; of any other, each window is
        put together from the blocks it touches.
    rows, columns
        From and to, in pixels, inside the array; they may overlap, and leave gaps.

    Returns
    -------
    (..., y, x)
        One chunk a window, side by side: what overlaps is there twice.
    """
    if rows == spans_of(array.chunks[-2]) and columns == spans_of(array.chunks[-1]):
        return array
    reader = _reader_of(array)
    if reader is not None:
        return _read(array, reader, rows, columns)
    cut = _repeated(_repeated(array, rows, axis=-2), columns, axis=-1)
    widths = (*array.chunks[:-2], _widths(rows), _widths(columns))
    # In one step, and by tasks: dask would else shuffle the whole array over a cluster.
    return cut.rechunk(widths, method="tasks", threshold=np.inf)


def pieces(array: da.Array, edge: int) -> da.Array:
    """Cut the blocks of an array (..., y, x) that are longer than ``edge`` along y or x.

    What is only read and decoded is read piece by piece, so that no block is held whole.
    """
    rows, columns = (
        tuple(min(edge, width - start) for width in widths for start in range(0, width, edge))
        for widths in array.chunks[-2:]
    )
    return windows(array, spans_of(rows), spans_of(columns))


def _widths(spans: Spans) -> tuple[int, ...]:
    return tuple(stop - start for start, stop in spans)


def _repeated(array: da.Array, spans: Spans, *, axis: int) -> da.Array:
    """Lay slices along one axis side by side."""
    before = (slice(None),) * (array.ndim + axis)
    pieces = [array[(*before, slice(*span))] for span in spans]
    return da.concatenate(pieces, axis=axis) if len(pieces) > 1 else pieces[0]


@dataclass(frozen=True)
class _Reader:
    """What ``da.from_array`` was given, and what is done to every pixel after it is read."""

    source: Any
    steps: tuple[Any, ...] = ()

    def __call__(self, index: tuple[slice, ...]) -> np.ndarray:
        values = np.asarray(self.source[index])
        for step in self.steps:
            values = step(values)
        return values


def _reader_of(array: da.Array) -> _Reader | None:
    """Find out how an array is read; None where it is more than read and decoded."""
    name, steps = array.name, list[Any]()
    while (step := _step(array, name)) is not None:
        name, function = step
        steps.insert(0, function)
    source = _source(array, name)
    if source is None or _without_bands(source.shape) != _without_bands(array.shape):
        return None
    if steps and array.numblocks[-3:-2] != (1,):  # a step may want every band
        return None
    return _Reader(source, tuple(steps))


def _without_bands(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:-3], *shape[-2:])


def _step(array: da.Array, name: str) -> tuple[str, Any] | None:
    """Find what is done to the pixels of one layer to get those of ``name``, and call it."""
    layer = array.dask.layers.get(name)
    function = getattr(getattr(layer, "task", None), "func", None)
    if not isinstance(layer, Blockwise) or function not in PIXEL_BY_PIXEL:
        return None
    ((below, index),) = layer.indices
    assert index == layer.output_indices
    return below, partial(function, **layer.task.kwargs)


def _source(array: da.Array, name: str) -> Any | None:
    """Find what ``da.from_array`` was given to make the array of that name."""
    made, original = (array.dask.layers.get(each) for each in (name, f"original-{name}"))
    if not isinstance(made, Blockwise) or original is None or len(original) != 1:
        return None
    if made.task.kwargs.get("lock"):  # read side by side, or not at all: that is up to dask
        return None
    (task,) = original.values()
    source = getattr(task, "value", task)
    return source if hasattr(source, "shape") and hasattr(source, "__getitem__") else None


def _read(array: da.Array, reader: _Reader, rows: Spans, columns: Spans) -> da.Array:
    """Read every window by itself: one task each, which asks for no other."""
    leading = [_index(spans_of(widths)) for widths in array.chunks[:-2]]
    if reader.steps:
        leading[-1] = _index(((0, reader.source.shape[-3]),))
    windowed: da.Array = da.map_blocks(
        _read_window,
        dask.delayed(reader, name=f"windowed-{tokenize(array)}", traverse=False),
        spans=(*leading, _index(rows), _index(columns)),
        dtype=array.dtype,
        chunks=(*array.chunks[:-2], _widths(rows), _widths(columns)),
        meta=array._meta,
        name=f"window-{tokenize(array, rows, columns)}",
    )
    return windowed


def _index(spans: Spans) -> np.ndarray:
    return np.asarray(spans, "int64").reshape(-1, 2)


def _read_window(
    reader: _Reader, *, spans: tuple[np.ndarray, ...], block_id: tuple[int, ...] = ()
) -> np.ndarray:
    chosen = [along[index] for along, index in zip(spans, block_id, strict=True)]
    return reader(tuple(slice(int(start), int(stop)) for start, stop in chosen))
