"""Blocks floor: exact quantiles of an array of any size, lazily, in two passes of bounded memory.

Once the sign is dealt with, float32 numbers sort like their bits. The first pass counts the upper
half of the bits, which tells the range a quantile lies in; the second counts the lower half there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import dask
import dask.array as da
import numpy as np
from numpy.typing import NDArray

BINS = 1 << 16
Counts = NDArray[np.int64]


class Places(NamedTuple):
    """Where the quantiles lie among the sorted values.

    Parameters
    ----------
    upper : (place,), int64
        Upper half of the bits of the value at each place; two places a quantile.
    rank : (place,), int64
        How many values of the same upper half come before it.
    between : (level,), float64
        How far the quantile lies from its first place to its second, 0-1; NaN without values.
    """

    upper: Counts
    rank: Counts
    between: NDArray[np.float64]


def quantiles(values: da.Array, levels: Sequence[float]) -> da.Array:
    """Quantiles of all values, linear between neighbours as in ``np.quantile``.

    Parameters
    ----------
    values : any shape, float32
        NaN is left out.
    levels
        Each in 0-1.

    Returns
    -------
    (level,), float64
        Lazy, and the same bits for any chunking; NaN where there are no values.
    """
    assert values.dtype == "float32", values.dtype
    upper = _counted(values, count_upper, rows=1)
    places = dask.delayed(find_places, pure=True)(upper, np.asarray(levels, "float64"))
    lower = _counted(values, count_lower, rows=2 * len(levels), places=places)
    found = dask.delayed(interpolate, pure=True)(lower, places)
    return da.from_delayed(found, (len(levels),), dtype="float64")


def _counted(
    values: da.Array, count: Callable[..., Counts], *, rows: int, **given: object
) -> da.Array:
    """Count in every block and add up: (row, bin)."""
    counts = values.map_blocks(
        count,
        chunks=(*((1,) * blocks for blocks in values.numblocks), (rows,), (BINS,)),
        new_axis=[values.ndim, values.ndim + 1],
        meta=np.empty((0,) * (values.ndim + 2), "int64"),
        **given,
    )
    return counts.sum(axis=tuple(range(values.ndim)), split_every=8)


def count_upper(block: NDArray[np.float32]) -> Counts:
    """Count the upper 16 bits of a block's values: (1, ..., 1, bin)."""
    counts = np.bincount(_sortable(block) >> 16, minlength=BINS)
    return counts.reshape((1,) * (block.ndim + 1) + (BINS,))


def count_lower(block: NDArray[np.float32], *, places: Places) -> Counts:
    """Count the lower 16 bits of the values at each place's upper half: (1, ..., place, bin)."""
    bits = _sortable(block)
    lower = [bits[bits >> 16 == upper] & (BINS - 1) for upper in places.upper]
    counts = np.stack([np.bincount(each, minlength=BINS) for each in lower])
    return counts.reshape((1,) * block.ndim + counts.shape)


def find_places(counts: Counts, levels: NDArray[np.float64]) -> Places:
    """Find the two values that each quantile lies between."""
    before = np.concatenate([[0], np.cumsum(counts[0])])
    last = before[-1] - 1
    if last < 0:
        nowhere = np.zeros(2 * len(levels), "int64")
        return Places(nowhere, nowhere, np.full(len(levels), np.nan))
    exact = levels * last
    first = np.floor(exact).astype("int64")
    places = np.stack([first, np.minimum(first + 1, last)], axis=1).ravel()
    upper = np.searchsorted(before, places, side="right") - 1
    return Places(upper, places - before[upper], exact - first)


def interpolate(counts: Counts, places: Places) -> NDArray[np.float64]:
    """Read the values at the places and interpolate between each two."""
    lower = [
        np.searchsorted(np.cumsum(row), rank, side="right")
        for row, rank in zip(counts, places.rank, strict=True)
    ]
    values = _from_sortable((places.upper << 16) + np.minimum(lower, BINS - 1))
    pairs: NDArray[np.float64] = values.astype("float64").reshape(-1, 2)
    steps: NDArray[np.float64] = np.diff(pairs, axis=1)[:, 0]
    return pairs[:, 0] + places.between * steps


def _sortable(block: NDArray[np.float32]) -> NDArray[np.int64]:
    """Bits of the values that are not NaN, as whole numbers that sort as the values do."""
    bits = block[~np.isnan(block)].view("uint32").astype("int64")
    return np.where(bits < 1 << 31, bits + (1 << 31), (1 << 32) - 1 - bits)


def _from_sortable(bits: NDArray[np.int64]) -> NDArray[np.float32]:
    plain = np.where(bits >= 1 << 31, bits - (1 << 31), (1 << 32) - 1 - bits)
    return plain.astype("uint32").view("float32")
