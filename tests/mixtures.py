"""A small pair of scenes, and models of it that mix endmembers."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

import lift_xr
from lift_xr.models import Model
from tests.scenes import cube, on_grid

RATIO = 4
RECIPE = lift_xr.MorphRecipe(endmembers=3, steps=20)


def pair(msi_bands: int = 3) -> tuple[xr.DataArray, xr.DataArray, np.ndarray]:
    """A cube of 8 x 8 cells, and a mosaic of 32 x 32 pixels of the same ground."""
    truth = cube(8 * RATIO, 8 * RATIO).assign_attrs(units="1")
    srf = np.random.default_rng(1).dirichlet(np.full(13, 0.5), msi_bands)
    values = truth.to_numpy()
    coarse = values.reshape(13, 8, RATIO, 8, RATIO).mean(axis=(2, 4))
    hsi = on_grid(coarse.astype("float32"), spacing=RATIO).assign_attrs(units="1")
    hsi = hsi.assign_coords(wavelength=truth["wavelength"].variable)
    msi = on_grid(np.tensordot(srf, values, axes=1).astype("float32"))
    msi[:, 5, 7] = np.nan
    return hsi, msi.assign_attrs(units="1"), srf


_FITTED: dict[Any, Model] = {}


def fitted(msi_bands: int = 3, constraint: Any = "none") -> Model:
    """One model of each kind for all tests."""
    key = msi_bands, constraint
    if key not in _FITTED:
        hsi, _, srf = pair(msi_bands)
        recipe = lift_xr.MorphRecipe(endmembers=3, constraint=constraint, steps=20)
        matrix = xr.DataArray(srf, dims=("msi_band", "band"))
        _FITTED[key] = lift_xr.fit(hsi, matrix, method=recipe)
    return _FITTED[key]


def given(msi_bands: int) -> dict[str, Any]:
    """The cube, where a model looks at it again."""
    return {"hsi": pair(msi_bands)[0]} if msi_bands == 1 else {}
