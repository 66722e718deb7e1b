"""From one level of a pyramid to the next: the mean of two by two pixels, as they are stored."""

from __future__ import annotations

from typing import Any

import numpy as np

from lift_xr.packing import Codes, Packing

STRIP = 128  # rows averaged together, an even number: they stay in the cache between passes


def halve(stored: np.ndarray, packing: Packing) -> np.ndarray:
    """Average cells of 2 x 2 stored pixels, leaving nodata out.

    Parameters
    ----------
    stored : (..., y, x), as stored
        Codes, or float32. Codes need no decoding: scale and offset leave means where they are.
    packing
        Tells what stands for nodata.

    Returns
    -------
    (..., y, x), as stored
        Sizes halved and rounded up: a last row or column left over is averaged by itself. Nodata
        where all four pixels are. Codes are rounded to the nearest, ties to the even one.

    Examples
    --------
    >>> packing = Packing(np.dtype("uint16"), scale_factor=1e-4)
    >>> halve(np.uint16([[1, 2, 65535], [4, 65535, 9]]), packing)
    array([[2, 9]], dtype=uint16)
    """
    height, width = stored.shape[-2:]
    half = np.empty((*stored.shape[:-2], -(-height // 2), -(-width // 2)), stored.dtype)
    for slab in np.ndindex(stored.shape[:-2]):
        for top in range(0, height, STRIP):
            strip = _even(stored[slab][top : top + STRIP], packing)
            half[slab][top // 2 : (top + STRIP) // 2] = _means(strip, packing)
    return half


def _even(strip: np.ndarray, packing: Packing) -> np.ndarray:
    """Fill the last cells up with nodata; with what is in them, where nothing stands for nodata."""
    if not any(size % 2 for size in strip.shape):
        return strip
    if _missing_nothing(packing):
        return np.pad(strip, [(0, size % 2) for size in strip.shape], mode="edge")
    return np.pad(strip, [(0, size % 2) for size in strip.shape], constant_values=packing.fill)


def _missing_nothing(packing: Packing) -> bool:
    return isinstance(packing, Codes) and packing.nodata is None


def _means(strip: np.ndarray, packing: Packing) -> np.ndarray:
    # Sums of four codes of 16 bits are exact in float32, and a third of one never rounds to a tie.
    wide = np.dtype("float32" if packing.packed and strip.dtype.itemsize <= 2 else "float64")
    missing = strip == packing.fill if packing.packed else np.isnan(strip)
    if _missing_nothing(packing):
        missing = np.zeros_like(missing)
    values = strip.astype(wide)
    count: Any = 4
    if missing.any():
        values[missing] = 0
        count = _cells((~missing).astype(wide))
    with np.errstate(invalid="ignore", over="ignore"):  # a cell without pixels; infinite ones
        means = _cells(values) / count
        if missing.any():
            means[count == 0] = packing.fill
        if packing.packed:
            np.rint(means, out=means)
            if isinstance(packing, Codes) and packing.nodata is not None:
                means[(means == packing.fill) & (count != 0)] += 1  # codes of data may lie around
        stored: np.ndarray = means.astype(strip.dtype)
    return stored


def _cells(values: np.ndarray) -> np.ndarray:
    """Sum the four pixels of every cell; rows first, which lie side by side in memory."""
    pairs = values[0::2] + values[1::2]
    sums: np.ndarray = pairs[:, 0::2] + pairs[:, 1::2]
    return sums
