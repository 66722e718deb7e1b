"""Small scenes made in memory, and the way to the real ones."""

from __future__ import annotations

import importlib.util
import os
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import xarray as xr

WAVELENGTH = np.linspace(400.0, 1000.0, 13)


def located(
    height: int = 24, width: int = 24, bands: int = 4, *, spacing: float = 1.0
) -> xr.DataArray:
    """A scene whose bands encode its own y and x, so that any shift, seam or transpose shows.

    Band 0 grows down the rows, band 1 along the columns, the others mix the two; all in 0-1.
    """
    y, x = np.mgrid[:height, :width].astype("float32")
    down, along = y / max(height, 2), x / max(width, 2)
    mixed = [0.5 + 0.4 * np.sin(7 * (k + 1) * down + 3 * (k + 2) * along) for k in range(bands - 2)]
    return on_grid(np.stack([down, along, *mixed]).astype("float32"), spacing=spacing)


def on_grid(
    values: np.ndarray, *, spacing: float = 1.0, left: float = 0.0, top: float = 0.0
) -> xr.DataArray:
    """Label (band, y, x) values with pixel centres that fall with the row, without a CRS."""
    bands, height, width = values.shape
    coords = {
        "band": np.arange(1, bands + 1),
        "y": top - spacing * (np.arange(height) + 0.5),
        "x": left + spacing * (np.arange(width) + 0.5),
    }
    return xr.DataArray(values, dims=("band", "y", "x"), coords=coords)


def cube(height: int = 12, width: int = 12, *, spacing: float = 1.0, seed: int = 0) -> xr.DataArray:
    """A cube of three smooth materials in random proportions, 13 bands over 400-1000 nm."""
    rng = np.random.default_rng(seed)
    shape = WAVELENGTH / 1000
    materials = np.stack(
        [0.1 + 0.5 / (1 + np.exp(-(shape - 0.7) * 60)), 0.2 + 0.3 * shape, 0.5 - 0.4 * shape]
    )
    abundances = rng.dirichlet(np.ones(3), size=(height, width))
    values = np.einsum("kb,yxk->byx", materials, abundances).astype("float32")
    scene = on_grid(values, spacing=spacing)
    return scene.assign_coords(wavelength=("band", WAVELENGTH, {"units": "nm"}))


@lru_cache
def _shared(folder: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location("shared_scenes", Path(folder) / "scenes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shared_data() -> Path:
    """The folder of real scenes; the test that asks is skipped where there is none."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("LIFT_XR_DATA", default))
    if not (folder / "scenes.py").exists():
        pytest.skip(f"needs the real scenes: set LIFT_XR_DATA to their folder ({folder} is absent)")
    return folder


def shared_scenes() -> ModuleType:
    """The loader that lies beside the real scenes (`names`, `load`, `pairs`, `load_pair`)."""
    return _shared(str(shared_data()))
