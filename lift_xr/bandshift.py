"""How far the bands of a cube lie apart, held against what was lifted from the mosaic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

GROUPS = 8  # of neighbouring bands, whose median is taken


def bands_apart(held: Sequence[npt.NDArray[Any]], seen: Sequence[npt.NDArray[Any]]) -> float:
    r"""How much farther some bands are displaced than others, in cells.

    A point spread that is found through the MSI's bands says nothing of those that no MSI band
    sees. A sensor of two detectors may have these somewhere else.

    Parameters
    ----------
    held, seen : (band, y, x), one of each a place
        The cube; what was lifted, through footprints. NaN where unknown.

    Returns
    -------
    float
        The greatest difference, along y or x, between the displacements of groups of bands; 0
        where there are too few cells to tell.

    Notes
    -----
    With :math:`h` the cube and :math:`s` the other, a displacement of :math:`d` cells is

    .. math:: h - s \approx d \cdot \nabla s + a s + b,

    by least squares for each band: the gradient-based registration of Lucas and Kanade (1981).
    """
    found = np.array(
        [
            _displacement([each[band] for each in held], [each[band] for each in seen])
            for band in range(len(held[0]))
        ]
    )
    groups = [np.median(some, axis=0) for some in np.array_split(found, GROUPS) if len(some)]
    return float(np.ptp(groups, axis=0).max())


def _displacement(
    held: Sequence[npt.NDArray[Any]], seen: Sequence[npt.NDArray[Any]]
) -> tuple[float, float]:
    """Along y and x, of one band: cells (y, x) of every place."""
    rows = np.concatenate([_equations(*pair) for pair in zip(held, seen, strict=True)])
    rows = rows[np.isfinite(rows).all(axis=1)]
    if len(rows) < rows.shape[1]:
        return 0.0, 0.0
    answer = np.linalg.lstsq(rows[:, :-1], rows[:, -1], rcond=None)[0]
    return float(answer[0]), float(answer[1])


def _equations(held: npt.NDArray[Any], seen: npt.NDArray[Any]) -> Array:
    """(cell, 5): both gradients, the level, one, and the difference; cells at the edge left out."""
    if min(seen.shape) < 3:
        return np.empty((0, 5))
    down, along = np.gradient(seen.astype("float64"))
    columns = (down, along, seen, np.ones_like(seen), held - seen)
    return np.stack([each[1:-1, 1:-1].ravel() for each in columns], axis=1)
