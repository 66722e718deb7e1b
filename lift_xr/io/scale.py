"""How values are packed: the scale and offset asked for, else what units or training suggest."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lift_xr.decode import GREATEST
from lift_xr.errors import LayoutError
from lift_xr.packing import GREATEST_CODE, Packing

REFLECTANCE_STEP = 1e-4
CODES = 65_535  # steps of uint16
CONSTRAINT, BOUNDED = "lift_xr_constraint", "sum-to-one"  # what abundances obey, as unmix has it
SHARE_STEP = 1 / GREATEST_CODE  # of abundances that sum to one: none is above 1
MARGIN = 0.25  # of the training range, on both sides: a mosaic has pixels the cube has not


def find_packing(
    attrs: dict[Any, Any], dtype: np.dtype, scale_factor: float | None, add_offset: float | None
) -> Packing:
    """Choose scale and offset: as told, else by the units, else by the range of the training."""
    expect_scale(dtype, scale_factor, add_offset)
    if dtype.kind == "f":
        return Packing(dtype)
    scale, offset = _default_packing(attrs) if scale_factor is None else (scale_factor, 0.0)
    offset = offset if add_offset is None else add_offset
    _expect_numbers(scale, offset)
    # The offset is taken off and put on in float32: what is stored is what was taken off.
    return Packing(dtype, float(scale), float(np.float32(offset)))


def expect_scale(dtype: np.dtype, scale_factor: float | None, add_offset: float | None) -> None:
    """Raise LayoutError where what is asked for packs nothing, whatever the values are."""
    if dtype.kind == "f" and (scale_factor is not None or add_offset is not None):
        raise LayoutError(
            "scale_factor or add_offset is given with dtype='float32'; expected neither, "
            "because float32 keeps values as they are. Use dtype='uint16' to pack them"
        )
    _expect_numbers(1.0 if scale_factor is None else scale_factor, add_offset or 0.0)


def _expect_numbers(scale: float, offset: float) -> None:
    with np.errstate(over="ignore"):
        packs = np.float32(scale) > 0 and abs(offset) + CODES * abs(scale) <= GREATEST
    if not packs:  # nor does what is not a number
        raise LayoutError(
            f"scale_factor is {scale} and add_offset {offset}; expected finite numbers, a scale "
            f"above 0, and {CODES:,} steps of it within float32. "
            f"Use scale_factor={REFLECTANCE_STEP} for reflectance of 0-6.5"
        )


def dtype_for(attrs: dict[Any, Any], dtype: npt.DTypeLike | None) -> np.dtype:
    """The dtype asked for; else packed, but for abundances that no constraint holds in a range.

    Those of pixels unlike any of the cube lie anywhere, and nobody looks for them among clipped
    ones: half the space is not worth it.
    """
    if dtype is None:
        dtype = "float32" if attrs.get(CONSTRAINT, BOUNDED) != BOUNDED else "uint16"
    return expect_dtype(dtype)


def expect_dtype(dtype: npt.DTypeLike) -> np.dtype:
    """Raise LayoutError unless a dtype is one that a store can have."""
    try:
        found = np.dtype(dtype)
    except (TypeError, ValueError):
        raise _wrong_dtype(repr(dtype)) from None
    if found not in (np.dtype("uint16"), np.dtype("float32")):
        raise _wrong_dtype(str(found))
    return found


def _wrong_dtype(found: str) -> LayoutError:
    return LayoutError(
        f"dtype is {found}; expected 'uint16' (packed) or 'float32'. Use dtype='float32' to "
        "keep values as they are computed"
    )


def _default_packing(attrs: dict[Any, Any]) -> tuple[float, float]:
    if str(attrs.get("units", "")).strip() == "1":
        return REFLECTANCE_STEP, 0.0
    if attrs.get(CONSTRAINT) == BOUNDED:
        return SHARE_STEP, 0.0
    low, high = attrs.get("lift_xr_range", (np.nan, np.nan))
    if not high > low:
        raise LayoutError(
            f"fused has units {attrs.get('units')!r} and no range to find a scale_factor from; "
            "expected units '1' (reflectance) or a scale. Use write_zarr(..., scale_factor=..., "
            "add_offset=...) with 65535 * scale_factor above its range, or dtype='float32'"
        )
    margin = MARGIN * (high - low)
    return (high - low + 2 * margin) / GREATEST_CODE, low - margin
