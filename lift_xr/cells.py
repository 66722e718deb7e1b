"""Average fine pixels over coarse cells, whatever the ratio of the two."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import dask
import dask.array as da
import numpy as np
import numpy.typing as npt
from dask.delayed import Delayed

Index = npt.NDArray[np.int64]
Means = npt.NDArray[np.float32]

STRIPE = 64  # cells; neighbours are needed, so cells are left out by stripes and never one by one
GAP = 8  # empty cells between stripes that are not neighbours: wider than any window looked through


@dataclass(frozen=True, eq=False)
class Partial:
    """What one block knows: sums over the cells it touches."""

    rows: Index
    columns: Index
    sums: npt.NDArray[np.float64]  # (band, row, column)
    counts: npt.NDArray[np.int64]  # (row, column)


def cell_means(
    data: da.Array, rows: npt.NDArray[Any], columns: npt.NDArray[Any], shape: tuple[int, int]
) -> tuple[Means, npt.NDArray[np.int64]]:
    """Means of fine pixels over coarse cells. Computes, on the scheduler in force.

    Blocks are read once and never joined: each yields the sums of the cells it touches. Sums are
    float64, and added in the order of the image, so the means are the same for any chunking.

    Parameters
    ----------
    data : (band, y, x)
        Integer or float. A pixel that is not finite in some band is left out of all.
    rows, columns : (y,) and (x,)
        The cell each pixel row and column belongs to, in monotonic order; -1 for none.
    shape
        Cells along y and x.

    Returns
    -------
    means : (band, y, x) of the cells, float32
        NaN where less than half of a whole cell's pixels are valid.
    counts : (y, x) of the cells
        Valid pixels in each.
    """
    (computed,) = dask.compute(partials(data, rows, columns))
    return combine(computed, rows, columns, (data.shape[0], *shape))


def cell_pairs(
    coarse: da.Array,
    fine: da.Array,
    rows: npt.NDArray[Any],
    columns: npt.NDArray[Any],
    *,
    limit: int,
) -> tuple[Means, Means]:
    """Two images on one set of cells: the coarse one as it is, the fine one averaged. Computes.

    Beyond ``limit`` cells, evenly spread stripes of them stand for the rest. Which ones depends on
    the grids alone, never on the chunks; blocks without any are not read.

    Parameters
    ----------
    coarse, fine : (band, y, x)
        The two images; their bands need not agree.
    rows, columns
        The coarse row and column of each fine row and column, as ``cells`` of two grids says.
    limit
        Cells to keep, roughly.

    Returns
    -------
    (band, y, x) of ``coarse`` and of ``fine``, float32
        The cells kept, in the order of the image, with a few rows or columns of NaN wherever
        neighbours in the array are none on the ground.
    """
    down, along = thinned(rows, columns, coarse.shape[1:], limit=limit)
    indices = (down, along), (followed(down, rows), followed(along, columns))
    parts = dask.compute(
        *(partials(data, *each) for data, each in zip((coarse, fine), indices, strict=True))
    )
    shape = extent(down), extent(along)
    one, other = (
        combine(part, *each, (data.shape[0], *shape))[0]
        for data, part, each in zip((coarse, fine), parts, indices, strict=True)
    )
    return one, other


def window_means(data: da.Array, ratio: tuple[float, float], *, limit: int) -> Means:
    """Means over windows of ``ratio`` pixels from the first corner, thinned likewise. Computes."""
    counts = [int(size / side) for size, side in zip(data.shape[1:], ratio, strict=True)]
    index = [
        np.floor((np.arange(size) + 0.5) / side).astype(np.int64)
        for size, side in zip(data.shape[1:], ratio, strict=True)
    ]
    rows, columns = (
        np.where(each < count, each, -1) for each, count in zip(index, counts, strict=True)
    )
    down, along = thinned(rows, columns, (counts[0], counts[1]), limit=limit)
    shape = extent(down), extent(along)
    return cell_means(data, followed(down, rows), followed(along, columns), shape)[0]


def partials(data: da.Array, rows: npt.NDArray[Any], columns: npt.NDArray[Any]) -> list[Delayed]:
    """One delayed :class:`Partial` per block that touches a cell, in the order of the image."""
    data = data.rechunk({0: -1})
    blocks = data.to_delayed()[0]
    work = dask.delayed(partial_sums, pure=True)
    return [
        work(block, rows[down], columns[along])
        for line, down in zip(blocks, _spans(data.chunks[1]), strict=True)
        for block, along in zip(line, _spans(data.chunks[2]), strict=True)
        if (rows[down] >= 0).any() and (columns[along] >= 0).any()
    ]


def partial_sums(block: npt.NDArray[Any], rows: Index, columns: Index) -> Partial:
    """Sums of the valid pixels of one block over the cells it touches."""
    valid = np.isfinite(block).all(axis=0)
    values = np.where(valid, block, np.zeros((), block.dtype))
    (row_starts, row_cells), (column_starts, column_cells) = _runs(rows), _runs(columns)
    rows_in, columns_in = row_cells >= 0, column_cells >= 0
    sums, counts = (
        np.add.reduceat(
            np.add.reduceat(each, row_starts, axis=-2, dtype=kind),
            column_starts,
            axis=-1,
            dtype=kind,
        )[..., rows_in, :][..., columns_in]
        for each, kind in ((values, np.float64), (valid, np.int64))
    )
    return Partial(row_cells[rows_in], column_cells[columns_in], sums, counts)


def combine(
    parts: Iterable[Partial],
    rows: npt.NDArray[Any],
    columns: npt.NDArray[Any],
    shape: tuple[int, int, int],
) -> tuple[Means, npt.NDArray[np.int64]]:
    """Add the sums of all blocks in their order, and divide."""
    sums, counts = np.zeros(shape), np.zeros(shape[1:], np.int64)
    for part in parts:
        sums[:, part.rows[:, None], part.columns] += part.sums
        counts[part.rows[:, None], part.columns] += part.counts
    enough = counts * 2 >= max(whole(rows) * whole(columns), 1)
    means = np.where(enough, sums / np.maximum(counts, 1), np.nan)
    return means.astype(np.float32), counts


def whole(index: npt.NDArray[Any]) -> int:
    """Pixels along one side of a cell that lies wholly inside."""
    inside = index[index >= 0]
    return int(np.bincount(inside).max()) if inside.size else 0


def thinned(
    rows: npt.NDArray[Any], columns: npt.NDArray[Any], shape: tuple[int, int], *, limit: int
) -> tuple[Index, Index]:
    """The place each coarse row and column gets among those kept; -1 for those left out."""
    spans = [_covered(index) for index in (rows, columns)]
    sizes = [stop - start for start, stop in spans]
    factor = min(1.0, math.sqrt(limit / max(sizes[0] * sizes[1], 1)))
    down, along = (
        stripes(size, keep=math.ceil(size * factor), start=start, stop=stop)
        for size, (start, stop) in zip(shape, spans, strict=True)
    )
    return down, along


def stripes(size: int, *, keep: int, start: int, stop: int) -> Index:
    """Number about ``keep`` of the places ``start`` to ``stop``; the others of ``size`` get -1.

    >>> stripes(5, keep=3, start=1, stop=4).tolist()
    [-1, 0, 1, 2, -1]
    """
    index = np.full(size, -1, np.int64)
    if stop - start <= max(keep, STRIPE):
        index[start:stop] = np.arange(stop - start)
        return index
    count = max(keep // STRIPE, 1)
    tops = np.linspace(start, stop - STRIPE, count).astype(np.int64)
    for stripe, top in enumerate(tops):
        index[top : top + STRIPE] = stripe * (STRIPE + GAP) + np.arange(STRIPE)
    return index


def followed(places: Index, index: npt.NDArray[Any]) -> Index:
    """The place of each fine row, by way of the coarse row it lies in."""
    return np.where(index >= 0, places[index], -1)


def extent(index: npt.NDArray[Any]) -> int:
    """Places an index reaches, none where it is -1 throughout."""
    return int(index.max()) + 1


def _covered(index: npt.NDArray[Any]) -> tuple[int, int]:
    inside = index[index >= 0]
    return (int(inside.min()), int(inside.max()) + 1) if inside.size else (0, 0)


def _runs(index: npt.NDArray[Any]) -> tuple[Index, Index]:
    """Where each run of equal values starts, and its value."""
    starts = np.flatnonzero(np.diff(index, prepend=index[0] - 1))
    return starts, index[starts]


def _spans(chunks: tuple[int, ...]) -> list[slice]:
    edges = [0, *np.cumsum(chunks).tolist()]
    return [slice(start, stop) for start, stop in pairwise(edges)]
