"""How far the bands of a cube lie apart, held against what was lifted from the mosaic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

GROUPS = 8  # of neighbouring bands, whose median is taken
PARTS = 4  # along y and x of a place, each left out in turn


def bands_apart(
    held: Sequence[npt.NDArray[Any]], seen: Sequence[npt.NDArray[Any]]
) -> tuple[float, float]:
    r"""How much farther some bands are displaced than others, and its standard error, in cells.

    A point spread that is found through the MSI's bands says nothing of those that no MSI band
    sees. A sensor of two detectors may have these somewhere else.

    Parameters
    ----------
    held, seen : (band, y, x), one of each a place
        The cube; what was lifted, through footprints. NaN where unknown.

    Returns
    -------
    float, float
        The greatest difference, along y or x, between the displacements of groups of bands, and how
        far chance moves the difference of these two; 0 where there are too few cells to tell.

    Notes
    -----
    With :math:`h` the cube and :math:`s` the other, a displacement of :math:`d` cells is

    .. math:: h - s \approx d \cdot \nabla s + a s + b,

    by least squares for each band: the gradient-based registration of Lucas and Kanade (1981). What
    a network does not know of neighbouring cells is alike, so the standard error is that of a
    jackknife over sixteen parts of the places, not over cells.
    """
    sums = np.sum([_sums(*pair) for pair in zip(held, seen, strict=True)], axis=0)
    whole = sums.sum(axis=0)
    found = _displacements(whole)
    axis = np.ptp(found, axis=0).argmax()
    most, least = found[:, axis].argmax(), found[:, axis].argmin()
    without = np.stack([_displacements(whole - part) for part in sums])[..., axis]
    error = np.sqrt((len(sums) - 1) * np.var(without[:, most] - without[:, least]))
    return float(found[most, axis] - found[least, axis]), float(error)


def _displacements(sums: Array) -> Array:
    """Along y and x (group, 2), from products of the equations of each band (band, 5, 5)."""
    answers = np.linalg.pinv(sums[:, :-1, :-1], hermitian=True) @ sums[:, :-1, -1:]
    enough = sums[:, -2, -2] >= sums.shape[-1]  # cells: of them, the sum of ones
    found = np.where(enough[:, None], answers[:, :2, 0], 0.0)
    groups = [some for some in np.array_split(found, GROUPS) if len(some)]
    return np.array([np.median(some, axis=0) for some in groups])


def _sums(held: npt.NDArray[Any], seen: npt.NDArray[Any]) -> Array:
    """(part, band, 5, 5): products of the equations of each band, summed over parts of a place."""
    rows, parts = _equations(held, seen)
    rows = np.where(np.isfinite(rows).all(axis=1, keepdims=True), rows, 0.0)
    of_parts = [rows[:, :, parts == part] for part in range(PARTS**2)]
    return np.stack([some @ some.transpose(0, 2, 1) for some in of_parts])


def _equations(held: npt.NDArray[Any], seen: npt.NDArray[Any]) -> tuple[Array, Array]:
    """(band, 5, cell): both gradients, the level, one, and the difference; and the cells' parts.

    Cells at the edge are left out.
    """
    if min(seen.shape[1:]) < 3:
        return np.empty((len(seen), 5, 0)), np.empty(0)
    down, along = np.gradient(seen.astype("float64"), axis=(1, 2))
    columns = (down, along, seen, np.ones_like(seen), held - seen)
    rows = np.stack([each[:, 1:-1, 1:-1].reshape(len(seen), -1) for each in columns], axis=1)
    first, second = (np.arange(size - 2) * PARTS // (size - 2) for size in seen.shape[1:])
    return rows, (first[:, None] * PARTS + second).ravel()
