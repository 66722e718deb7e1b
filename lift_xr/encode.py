"""Float32 to what is stored, one block at a time, and what a reader should know of each pixel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lift_xr.packing import GREATEST_CODE, MISSING, Codes, Packing

NODATA, OUTSIDE, CLIPPED = 1, 2, 4
MEANINGS = {"nodata": NODATA, "outside_training_range": OUTSIDE, "clipped": CLIPPED}
STRIP = 2**16  # pixels encoded together: what a pass leaves in the cache, the next one finds there


@dataclass(frozen=True)
class Encoded:
    """One block as it is stored.

    Parameters
    ----------
    codes : (..., band, y, x), stored dtype
        NaN became ``packing.fill``; what lay beyond ``packing.limits``, the nearest limit.
    flags : (..., y, x), uint8
        ``NODATA`` where a band is NaN, ``OUTSIDE`` where one is beyond the range of the training,
        ``CLIPPED`` where one was clipped.
    clipped
        How many values were.
    """

    codes: npt.NDArray[np.integer] | npt.NDArray[np.float32]
    flags: npt.NDArray[np.uint8]
    clipped: int


def encode_block(
    block: np.ndarray, packing: Packing, *, trained: tuple[float, float] = (-np.inf, np.inf)
) -> Encoded:
    """Encode a block of (..., band, y, x).

    Parameters
    ----------
    trained
        The least and the greatest value the model was trained on, in the units of the block.
    """
    if isinstance(packing, Codes):
        return _as_it_is(block, packing)
    codes = block.astype(packing.dtype, copy=False) if not packing.packed else None
    packed = np.empty(block.shape, packing.dtype) if codes is None else None
    flags = np.empty((*block.shape[:-3], *block.shape[-2:]), "uint8")
    clipped = 0
    for image in np.ndindex(block.shape[:-3]):
        for rows in _strips(*block.shape[-2:]):
            strip = block[image][:, rows]
            least, greatest, flags[image][rows] = _survey(strip, packing, trained)
            if packed is not None:
                clipped += _encode_strip(strip, packing, (least, greatest), packed[image][:, rows])
    stored = codes if packed is None else packed
    assert stored is not None
    return Encoded(stored, flags, clipped)


def _as_it_is(block: np.ndarray, packing: Codes) -> Encoded:
    """Keep a block of codes, and flag its pixels of nodata."""
    assert block.dtype == packing.dtype, (block.dtype, packing.dtype)
    flags = np.zeros((*block.shape[:-3], *block.shape[-2:]), "uint8")
    if packing.nodata is not None:
        flags[(block == packing.nodata).any(axis=-3)] = NODATA
    return Encoded(block, flags, 0)


def _strips(height: int, width: int) -> Iterator[slice]:
    rows = max(1, STRIP // max(width, 1))
    return (slice(start, start + rows) for start in range(0, height, rows))


def _survey(
    strip: np.ndarray, packing: Packing, trained: tuple[float, float]
) -> tuple[float, float, np.ndarray]:
    """Find the least and the greatest code of a strip, before clipping, and flag its pixels."""
    least, greatest = np.minimum.reduce(strip, axis=0), np.maximum.reduce(strip, axis=0)
    nodata = np.isnan(least)
    flags = nodata.astype("uint8") * np.uint8(NODATA)
    if nodata.any():  # the slower pair, which looks past NaN
        least, greatest = np.fmin.reduce(strip, axis=0), np.fmax.reduce(strip, axis=0)
    # Comparisons with NaN are False: nodata is neither too low nor too high.
    flags[(least < trained[0]) | (greatest > trained[1])] |= OUTSIDE
    if not packing.packed:
        return 0.0, 0.0, flags
    least, greatest = (_scaled(values, packing) for values in (least, greatest))
    flags[(least < 0) | (greatest > GREATEST_CODE)] |= CLIPPED
    return (
        float(np.fmin.reduce(least, axis=None)),
        float(np.fmax.reduce(greatest, axis=None)),
        flags,
    )


def _encode_strip(
    strip: np.ndarray, packing: Packing, extremes: tuple[float, float], codes: np.ndarray
) -> int:
    """Encode a strip into ``codes``, band by band; say how many values were clipped."""
    scratch = np.empty(strip.shape[1:], "float32")  # one band: the block needs no float copy
    least, greatest = extremes
    clipped = 0
    for band, values in enumerate(strip):
        _scaled(values, packing, out=scratch)
        if least < 0 or greatest > GREATEST_CODE:
            clipped += int(np.count_nonzero(scratch < 0))
            clipped += int(np.count_nonzero(scratch > GREATEST_CODE))
            np.clip(scratch, 0, GREATEST_CODE, out=scratch)
        np.copyto(scratch, MISSING, where=np.isnan(scratch))
        np.copyto(codes[band], scratch, casting="unsafe")
    return clipped


def _scaled(values: np.ndarray, packing: Packing, out: np.ndarray | None = None) -> np.ndarray:
    """Divide into steps and round: each of these keeps the order, so extremes stay extremes."""
    if out is None:
        out = np.empty(values.shape, "float32")
    np.subtract(values, np.float32(packing.add_offset), out=out, casting="same_kind")
    out *= np.float32(1 / packing.scale_factor)
    np.rint(out, out=out)
    return out
