"""The cells of the cube beside a block of the mosaic, and where they lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Window:
    """What a model that looks at the cube again is given with a block.

    Parameters
    ----------
    cells : (band, y, x), float32
        NaN is nodata, and what lies outside the cube.
    ratio
        Pixels of the block along the edge of a cell.
    offset
        The pixel (y, x) of the block where the first cell begins: 0 or negative.
    """

    cells: npt.NDArray[np.float32]
    ratio: int
    offset: tuple[int, int]
