"""Coarse cells on fine pixels: cubic between their centres, to the bit the same in any window."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lift_xr.window import Window

Array = npt.NDArray[np.float32]

SHARPNESS = -0.5  # Keys' a: exact for quadratics
SUPPORT = 2  # cells on both sides of its own that a pixel is interpolated from
MENDED = 2  # rings of cells around valid ones that take their neighbours' mean
REACH = SUPPORT + MENDED  # what the outermost of them depends on


def upsample(cells: Array, window: Window, shape: tuple[int, int]) -> Array:
    r"""Interpolate cells at the pixels of a block.

    Parameters
    ----------
    cells : (coordinate, y, x)
        In place of those of ``window``, with ``REACH`` more around the block than cover it.
    window
        Says where they lie.
    shape
        Pixels of the block along y and x.

    Returns
    -------
    (coordinate, y, x), float32
        NaN where the cell that a pixel lies in is NaN.

    Notes
    -----
    Cubic convolution with :math:`a = -1/2` (Keys 1981, doi 10.1109/TASSP.1981.1163711), written
    out term by term: a matrix product rounds as its size says, and blocks would leave seams. Beside
    the edge of the cube, or a hole in it, a cell takes the mean of its valid neighbours.
    """
    valid = np.asarray(np.isfinite(cells).all(axis=0))
    mended = cells
    if not valid.all():
        mended = mend(cells, valid)
    down, along = (
        _places(edge, window.ratio, offset)
        for edge, offset in zip(shape, window.offset, strict=True)
    )
    rows = _mixed(mended, *down[1:], axis=1)
    fine = _mixed(rows, *along[1:], axis=2)
    if not valid.all():
        fine[:, ~valid[np.ix_(down[0], along[0])]] = np.nan
    return fine


def mend(cells: Array, valid: npt.NDArray[np.bool_]) -> Array:
    """Give each invalid cell the mean of its valid neighbours, ring after ring; the rest is 0."""
    filled = np.where(valid, cells, np.float32(0))
    for _ in range(MENDED):
        total, count = np.zeros_like(filled), np.zeros(valid.shape, np.float32)
        wide = np.pad(filled, ((0, 0), (1, 1), (1, 1)))
        known = np.pad(valid, 1).astype("float32")
        for row in range(3):
            for column in range(3):
                here = np.s_[row : row + valid.shape[0], column : column + valid.shape[1]]
                total += wide[:, *here]
                count += known[here]
        ring = ~valid & (count > 0)
        filled = np.where(ring, total / np.maximum(count, 1), filled)
        valid = valid | ring
    return np.asarray(filled, np.float32)


def _places(
    edge: int, ratio: int, offset: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Array]:
    """The cell each pixel lies in, the first of the four it is mixed from, and their weights."""
    cell, within = np.divmod(np.arange(edge) - offset, ratio)
    place = (within + 0.5) / ratio - 0.5  # from the centre of its cell
    before = place < 0
    first = cell - 1 - before
    return cell, first, keys(np.where(before, place + 1, place))


def keys(fraction: npt.NDArray[np.float64]) -> Array:
    """Weigh four cells around each place that lies a fraction after the second: (place, 4)."""
    far = np.abs(fraction[:, None] + 1 - np.arange(4))
    inner = ((SHARPNESS + 2) * far - (SHARPNESS + 3)) * far**2 + 1
    outer = SHARPNESS * (((far - 5) * far + 8) * far - 4)
    return np.where(far <= 1, inner, outer).astype("float32")


def _mixed(cells: Array, first: npt.NDArray[np.int64], weights: Array, *, axis: int) -> Array:
    along = (slice(None), None) if axis == 1 else (slice(None),)
    mixed: Array = np.take(cells, first, axis=axis) * weights[:, 0][along]
    for step in range(1, 4):
        mixed += np.take(cells, first + step, axis=axis) * weights[:, step][along]
    return mixed
