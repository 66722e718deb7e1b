"""How float32 values are stored, and stored numbers to float32, one block at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MISSING = 65535  # the last uint16: zarr's fill value and CF's _FillValue alike
GREATEST_CODE = MISSING - 1


@dataclass(frozen=True)
class Packing:
    """How float32 values are stored.

    Parameters
    ----------
    dtype
        ``uint16``, where a value is ``code * scale_factor + add_offset``, or ``float32``, as is.
    scale_factor, add_offset
        In the units of the values.
    """

    dtype: np.dtype
    scale_factor: float = 1.0
    add_offset: float = 0.0

    @property
    def packed(self) -> bool:
        """Whether values become codes."""
        return self.dtype.kind == "u"

    @property
    def fill(self) -> int | float:
        """What stands for nodata on disk."""
        return MISSING if self.packed else float("nan")

    @property
    def limits(self) -> tuple[float, float]:
        """The least and the greatest value that can be stored."""
        if not self.packed:
            return -np.inf, np.inf
        ends = (self.add_offset, GREATEST_CODE * self.scale_factor + self.add_offset)
        return min(ends), max(ends)


@dataclass(frozen=True)
class Codes(Packing):
    """Integers of another file, kept as they lie there.

    Parameters
    ----------
    nodata
        The code that stands for nodata; None where there is none.
    """

    nodata: int | None = None

    @property
    def packed(self) -> bool:
        """Whether values become codes: they are."""
        return True

    @property
    def fill(self) -> int:
        """What stands for nodata on disk; where nothing does, just a number."""
        return 0 if self.nodata is None else self.nodata

    @property
    def limits(self) -> tuple[float, float]:
        """None: nothing is clipped."""
        return -np.inf, np.inf


def decode_block(
    block: np.ndarray, *, nodata: Sequence[float], scale: np.ndarray, offset: np.ndarray
) -> np.ndarray:
    """Decode a block of (..., band, y, x), of any number type, to float32.

    Parameters
    ----------
    nodata
        Values that become NaN; each fits the type of the block.
    scale, offset : (band,), float64
        Multiplied, then added.
    """
    # float32 holds 16-bit codes exactly; wider ones are multiplied before they are rounded.
    wide = block.dtype.itemsize > 2 and block.dtype != np.float32
    values = block.astype("float64" if wide else "float32")
    with np.errstate(over="ignore"):  # a float64 nodata written for a float32 raster
        for code in nodata:
            values[block == block.dtype.type(code)] = np.nan
    if (scale != 1).any():
        values *= scale.astype(values.dtype)[:, None, None]
    if (offset != 0).any():
        values += offset.astype(values.dtype)[:, None, None]
    with np.errstate(over="ignore"):  # beyond float32 is infinite, and reported as such by fit
        return values.astype("float32", copy=False)


def mask_transparent(block: np.ndarray, *, index: int) -> np.ndarray:
    """Make NaN of the pixels where band ``index`` of a block is 0, and leave that band out."""
    opaque = block[index] > 0
    return np.where(opaque, np.delete(block, index, axis=0), np.float32(np.nan))


def take_bands(block: np.ndarray, *, kept: np.ndarray) -> np.ndarray:
    """Leave out all bands of a block (..., band, y, x) but those at the places ``kept``."""
    return np.take(block, kept, axis=-3)
