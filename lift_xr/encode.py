"""Float32 to what is stored, one block at a time, and what a reader should know of each pixel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lift_xr.packing import GREATEST_CODE, MISSING, Codes, Packing

NODATA, OUTSIDE, CLIPPED = 1, 2, 4
MEANINGS = {"nodata": NODATA, "outside_training_range": OUTSIDE, "clipped": CLIPPED}
STRIP = 2**16  # pixels encoded together: what a pass leaves in the cache, the next one finds there
# Added to a float32 of less than 2**22, it leaves no bits for a fraction: the sum is rounded to
# whole numbers, ties to the even one as by rint, and its low 16 bits are those of the code.
WHOLE = np.float32(1.5 * 2**23)


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
    block: np.ndarray,
    packing: Packing,
    *,
    trained: tuple[float, float] = (-np.inf, np.inf),
    into: Encoded | None = None,
) -> Encoded:
    """Encode a block of (..., band, y, x).

    Parameters
    ----------
    trained
        The least and the greatest value the model was trained on, in the units of the block.
    into
        Whose codes and flags are written over, and counts of clipped values added to; new ones if
        not given.
    """
    if isinstance(packing, Codes):
        return _as_it_is(block, packing)
    into = into or _room_for(block, packing)
    codes, flags, clipped = into.codes, into.flags, into.clipped
    if not packing.packed and codes is not block:
        np.copyto(codes, block)
    for image in np.ndindex(block.shape[:-3]):
        for rows in _strips(*block.shape[-2:]):
            strip = block[image][:, rows]
            survey = _survey(strip, packing, trained)
            flags[image][rows] = survey.flags
            if packing.packed:
                clipped += _encode_strip(strip, packing, survey, codes[image][:, rows])
    return Encoded(codes, flags, clipped)


def empty_block(shape: tuple[int, ...], packing: Packing) -> Encoded:
    """Make room for a block of (..., band, y, x), to be encoded into."""
    flags = np.empty((*shape[:-3], *shape[-2:]), "uint8")
    return Encoded(np.empty(shape, packing.dtype), flags, 0)


def _room_for(block: np.ndarray, packing: Packing) -> Encoded:
    """Make room for codes; values that are kept as they are stay where they are."""
    if packing.packed or block.dtype != packing.dtype:
        return empty_block(block.shape, packing)
    return replace(empty_block(block.shape, packing), codes=block)


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


class _Survey(NamedTuple):
    """What is known of a strip before it is encoded.

    Parameters
    ----------
    least, greatest
        Codes, before clipping.
    missing
        Whether any value is NaN.
    flags : (y, x), uint8
        Of its pixels.
    """

    least: float
    greatest: float
    missing: bool
    flags: np.ndarray

    @property
    def clips(self) -> bool:
        """Whether some values cannot be stored."""
        return self.least < 0 or self.greatest > GREATEST_CODE


def _survey(strip: np.ndarray, packing: Packing, trained: tuple[float, float]) -> _Survey:
    least, greatest = np.minimum.reduce(strip, axis=0), np.maximum.reduce(strip, axis=0)
    nodata = np.isnan(least)
    missing = bool(nodata.any())
    flags = nodata.astype("uint8") * np.uint8(NODATA)
    if missing:  # the slower pair, which looks past NaN
        least, greatest = np.fmin.reduce(strip, axis=0), np.fmax.reduce(strip, axis=0)
    # Comparisons with NaN are False: nodata is neither too low nor too high.
    flags[(least < trained[0]) | (greatest > trained[1])] |= OUTSIDE
    if not packing.packed:
        return _Survey(0.0, 0.0, missing, flags)
    least, greatest = (np.rint(_in_steps(values, packing)) for values in (least, greatest))
    flags[(least < 0) | (greatest > GREATEST_CODE)] |= CLIPPED
    extremes = np.fmin.reduce(least, axis=None), np.fmax.reduce(greatest, axis=None)
    return _Survey(float(extremes[0]), float(extremes[1]), missing, flags)


def _encode_strip(strip: np.ndarray, packing: Packing, survey: _Survey, codes: np.ndarray) -> int:
    """Encode a strip into ``codes``, band by band; say how many values were clipped."""
    scratch = np.empty(strip.shape[1:], "float32")  # one band: the block needs no float copy
    clipped = 0
    for band, values in enumerate(strip):
        _in_steps(values, packing, out=scratch)
        if survey.clips or survey.missing:
            clipped += _clip(scratch)
        scratch += WHOLE
        np.copyto(codes[band], scratch.view("uint32"), casting="unsafe")
    return clipped


def _clip(steps: np.ndarray) -> int:
    """Bring what cannot be stored to the nearest code, and NaN to the one for it; count both ends.

    What rounds to a code is not clipped.
    """
    np.rint(steps, out=steps)
    clipped = np.count_nonzero(steps < 0) + np.count_nonzero(steps > GREATEST_CODE)
    np.clip(steps, 0, GREATEST_CODE, out=steps)
    np.copyto(steps, MISSING, where=np.isnan(steps))
    return int(clipped)


def _in_steps(values: np.ndarray, packing: Packing, out: np.ndarray | None = None) -> np.ndarray:
    """Divide into steps, which keeps the order, as rounding does: extremes stay extremes."""
    if out is None:
        out = np.empty(values.shape, "float32")
    if packing.add_offset:
        values = np.subtract(values, np.float32(packing.add_offset), out=out, casting="same_kind")
    np.multiply(values, np.float32(1 / packing.scale_factor), out=out, casting="same_kind")
    return out
