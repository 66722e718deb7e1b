"""What a lifted array is: the bands of its model, the grid of its mosaic, and how it came about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr

from lift_xr.models import Model


def label(lifted: Any, mosaic: xr.DataArray, model: Model) -> xr.DataArray:
    """Give the lifted array its bands, grid, units and history back."""
    fused = in_place_of(mosaic, lifted, along_bands(model)).rename("reflectance")
    return fused.assign_attrs(provenance(model))


def in_place_of(mosaic: xr.DataArray, lifted: Any, coords: Mapping[Any, Any]) -> xr.DataArray:
    """Label what was lifted with the grid and times of its mosaic, and other bands."""
    kept = {name: coord for name, coord in mosaic.coords.items() if "band" not in coord.dims}
    placed = xr.DataArray(lifted, dims=mosaic.dims, coords={**kept, **coords})
    if "spatial_ref" in placed.coords:
        placed.encoding["grid_mapping"] = "spatial_ref"
    return placed


def along_bands(model: Model) -> dict[Any, Any]:
    """Coordinates of the bands a model produces."""
    about = model.about
    coords: dict[Any, Any] = {"band": about["bands"]}
    for name in ("wavelength", "fwhm"):
        if name in model.arrays:
            coords[name] = ("band", model.arrays[name], {"units": "nm"})
    if about["good"] is not None:
        coords["good_wavelength"] = ("band", about["good"])
    return coords


def provenance(model: Model) -> dict[str, Any]:
    """How a result came about, for its attributes."""
    about = model.about
    told = {
        "units": about["units"],
        "lift_xr_version": about["versions"]["lift-xr"],
        "lift_xr_method": about["method"],
        "lift_xr_consistency": about["consistency"],
        "lift_xr_harmonize": about["harmonize"],
        "lift_xr_seed": about["seed"],
        "lift_xr_model": model.digest,
        "lift_xr_range": [float(limit) for limit in model.arrays["range"]],
    }
    return {name: value for name, value in told.items() if value is not None}
