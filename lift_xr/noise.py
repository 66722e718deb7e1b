"""Pixels floor: Gaussian noise that belongs to the pixel, so that no chunking changes it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TILE = 64  # pixels a side: drawn whole, so small enough to waste little on a small block


def normals(
    shape: tuple[int, int], *, plane: int, corner: tuple[int, int], seed: int, stream: int = 0
) -> NDArray[np.float64]:
    """Draw standard normal values for a window of an endless plane.

    Parameters
    ----------
    shape
        Of the window, (y, x).
    plane
        Which plane: a band, say.
    corner
        Row and column of the window's first pixel.
    seed, stream
        Key of the generator. Streams of one seed are independent.

    Returns
    -------
    (y, x), float64
        The same value at the same pixel of a plane, whichever window it is seen through.

    Notes
    -----
    Philox is counter-based (Salmon et al. 2011, doi 10.1145/2063384.2063405): the counter holds
    plane and tile, the key holds seed and stream, so no tile needs those before it.

    Examples
    --------
    >>> whole = normals((100, 100), plane=3, corner=(0, 0), seed=1)
    >>> part = normals((30, 10), plane=3, corner=(60, 5), seed=1)
    >>> bool((whole[60:90, 5:15] == part).all())
    True
    """
    (top, left), (height, width) = corner, shape
    rows = range(top // TILE, (top + height - 1) // TILE + 1)
    columns = range(left // TILE, (left + width - 1) // TILE + 1)
    tiles = [[_tile([0, plane, row, column], [seed, stream]) for column in columns] for row in rows]
    top, left = top % TILE, left % TILE
    return np.block(tiles)[top : top + height, left : left + width]


def _tile(counter: list[int], key: list[int]) -> NDArray[np.float64]:
    generator = np.random.Generator(np.random.Philox(counter=counter, key=key))
    return generator.standard_normal((TILE, TILE))
