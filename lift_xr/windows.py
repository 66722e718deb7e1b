"""Windows of an array that may overlap, one a block, and each read by itself where it can be."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import dask
import dask.array as da
import numpy as np
from dask.base import tokenize

Span = tuple[int, int]  # from, to
Spans = tuple[Span, ...]


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
        array that is only read is read window by window; of any other, each window is put
        together from the blocks it touches.
    rows, columns
        From and to, in pixels, inside the array; they may overlap, and leave gaps.

    Returns
    -------
    (..., y, x)
        One chunk a window, side by side: what overlaps is there twice.
    """
    if rows == spans_of(array.chunks[-2]) and columns == spans_of(array.chunks[-1]):
        return array
    source = _read_from(array)
    if source is not None:
        return _read(array, source, rows, columns)
    cut = _repeated(_repeated(array, rows, axis=-2), columns, axis=-1)
    return cut.rechunk((*array.chunks[:-2], _widths(rows), _widths(columns)))


def _widths(spans: Spans) -> tuple[int, ...]:
    return tuple(stop - start for start, stop in spans)


def _repeated(array: da.Array, spans: Spans, *, axis: int) -> da.Array:
    """Lay slices along one axis side by side."""
    before = (slice(None),) * (array.ndim + axis)
    pieces = [array[(*before, slice(*span))] for span in spans]
    return da.concatenate(pieces, axis=axis) if len(pieces) > 1 else pieces[0]


def _read_from(array: da.Array) -> Any | None:
    """Find what ``da.from_array`` was given, where an array is nothing but that."""
    layer = array.dask.layers.get(f"original-{array.name}")
    if layer is None or len(layer) != 1:
        return None
    (task,) = layer.values()
    source = getattr(task, "value", task)
    same = getattr(source, "shape", None) == array.shape
    return source if same and hasattr(source, "__getitem__") else None


def _read(array: da.Array, source: Any, rows: Spans, columns: Spans) -> da.Array:
    """Read every window by itself: one task each, which asks for no other."""
    leading = tuple(_index(spans_of(widths)) for widths in array.chunks[:-2])
    windowed: da.Array = da.map_blocks(
        _read_window,
        dask.delayed(source, name=f"windowed-{tokenize(array)}", traverse=False),
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
    source: Any, *, spans: tuple[np.ndarray, ...], block_id: tuple[int, ...] = ()
) -> np.ndarray:
    chosen = [along[index] for along, index in zip(spans, block_id, strict=True)]
    return np.asarray(source[tuple(slice(int(start), int(stop)) for start, stop in chosen)])
