"""Stored numbers to reflectance: nodata to NaN, then scale and offset, lazily and in float."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize

from lift_xr.errors import SpectralError
from lift_xr.packing import decode_block

NODATA = ("_FillValue", "missing_value", "nodata")
PACKING = (*NODATA, "scale_factor", "add_offset")
GREATEST = float(np.finfo("float32").max)


def decode(scene: xr.DataArray, *, name: str = "scene") -> xr.DataArray:
    """Apply and drop the packing attributes of a dask-backed scene.

    Parameters
    ----------
    scene : (..., band, y, x)
        ``_FillValue``, ``missing_value`` and ``nodata`` in ``attrs`` become NaN; ``scale_factor``
        and ``add_offset`` there, one number or one a band, are applied after that. What
        ``encoding`` holds was applied by whoever read the file.

    Returns
    -------
    (..., band, y, x), float32
        Lazy, without the attributes it applied.

    Raises
    ------
    SpectralError
        Values or attributes that are not numbers; a scale that loses or overflows them.
    """
    scale, offset = (
        _per_band(scene, key, default, name=name)
        for key, default in (("scale_factor", 1.0), ("add_offset", 0.0))
    )
    _expect_range(scene.dtype, scale, offset, name=name)
    settings: dict[str, Any] = {
        "nodata": _codes(scene.attrs, scene.dtype, name=name),
        "scale": scale,
        "offset": offset,
    }
    kept = {key: value for key, value in scene.attrs.items() if key not in PACKING}
    decoded = scene.copy(data=_decode(scene.data, settings))
    placed = {key: scene.encoding[key] for key in scene.encoding if key == "grid_mapping"}
    decoded.attrs, decoded.encoding = kept, placed
    return decoded


def common_packing(attrs: dict[Any, Any], dtype: np.dtype, *, name: str) -> dict[str, Any] | None:
    """Read the packing that all bands share, one number each.

    Returns
    -------
    dict or None
        None where bands differ, or the pixels are no numbers: ``decode`` deals with those.

    Raises
    ------
    SpectralError
        Attributes that are not numbers.
    """
    defaults = {"scale_factor": 1.0, "add_offset": 0.0}
    values = [_numbers(attrs.get(key, each), key, name=name) for key, each in defaults.items()]
    if dtype.kind not in "iuf" or any(each.size != 1 for each in values):
        return None
    scale, offset = (each.astype("float64").reshape(1) for each in values)
    _expect_range(dtype, scale, offset, name=name)
    return {
        "nodata": _codes(attrs, dtype, name=name),
        "scale": float(scale[0]),
        "offset": float(offset[0]),
    }


def _decode(data: da.Array, settings: dict[str, Any]) -> da.Array:
    scale, offset = settings["scale"], settings["offset"]
    plain = data.dtype == np.float32 and not settings["nodata"]
    if plain and (scale == 1).all() and (offset == 0).all():
        return data
    decoded: da.Array = da.map_blocks(
        decode_block,
        data,
        **settings,
        dtype="float32",
        meta=np.empty((0,) * data.ndim, "float32"),
        name=f"decode-{tokenize(data, settings)}",
    )
    return decoded


def _codes(attrs: dict[Any, Any], dtype: np.dtype, *, name: str) -> tuple[float, ...]:
    """List the nodata values ``dtype`` can hold: NaN needs no telling, -9999 is no uint8."""
    told = [_numbers(attrs[key], key, name=name) for key in NODATA if attrs.get(key) is not None]
    codes = {code.item() for each in told for code in each}
    if dtype.kind == "f":
        return tuple(sorted(code for code in codes if not np.isnan(code)))
    limits = np.iinfo(dtype)
    held = (code for code in codes if np.isfinite(code) and limits.min <= code <= limits.max)
    return tuple(sorted(int(code) for code in held if code == int(code)))


def _per_band(scene: xr.DataArray, key: str, default: float, *, name: str) -> np.ndarray:
    """Read one number for all bands, or one for each."""
    bands = scene.sizes["band"]
    values = _numbers(scene.attrs.get(key, default), key, name=name).astype("float64")
    if values.size not in (1, bands):
        raise SpectralError(
            f"{name} has {values.size} values of {key} for {bands} bands; expected one, or one a "
            f"band. Use {name}.attrs[{key!r}] = ..."
        )
    return np.broadcast_to(values, (bands,))


def _numbers(value: Any, key: str, *, name: str) -> np.ndarray:
    """Read an attribute as numbers, integers kept exact; text that spells a number will do."""
    try:
        values = np.atleast_1d(value)
        return values if values.dtype.kind in "iuf" else values.astype("float64")
    except (TypeError, ValueError):
        raise SpectralError(
            f"{name} has the attribute {key} {value!r:.60}; expected a number. "
            f"Use {name}.attrs[{key!r}] = ..., or del {name}.attrs[{key!r}]"
        ) from None


def _expect_range(dtype: np.dtype, scale: np.ndarray, offset: np.ndarray, *, name: str) -> None:
    """Refuse what cannot become float32, knowing the type of the numbers but not one of them."""
    if dtype.kind not in "iuf":
        raise SpectralError(
            f"{name} has dtype {dtype}; expected integers or floats. Use {name}.astype('float32')"
        )
    with np.errstate(over="ignore", under="ignore"):
        usable = np.isfinite(scale) & (scale.astype("float32") != 0) & np.isfinite(offset)
    if not usable.all():
        worst = int(np.argmin(usable))
        raise SpectralError(
            f"{name} has scale_factor {scale[worst]:g} and add_offset {offset[worst]:g}; expected "
            "finite numbers and a scale that float32 can tell from 0. "
            f"Use {name}.attrs['scale_factor'] = 1e-4, or the scale its provider states"
        )
    largest = _largest(dtype, scale, offset)
    if largest > GREATEST:
        raise SpectralError(
            f"{name} has scale_factor {np.abs(scale).max():g} and add_offset "
            f"{np.abs(offset).max():g}, so {dtype} reaches {largest:g}; expected at most "
            f"{GREATEST:.3g}, the largest float32. "
            f"Use {name}.attrs['scale_factor'] = 1e-4, or the scale its provider states"
        )


def _largest(dtype: np.dtype, scale: np.ndarray, offset: np.ndarray) -> float:
    """Find the largest magnitude of an integer type; of floats, only the settings are known."""
    if dtype.kind == "f":
        return float(max(np.abs(scale).max(), np.abs(offset).max()))
    limits = np.iinfo(dtype)
    top = max(abs(int(limits.min)), int(limits.max))
    with np.errstate(over="ignore"):
        return float((top * np.abs(scale) + np.abs(offset)).max())
