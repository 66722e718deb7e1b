"""The cube, interpolated, lands where the mosaic is."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from scipy.interpolate import RegularGridInterpolator

from lift_xr.baselines import bicubic, weights
from lift_xr.errors import GridError
from tests.scenes import cube, located, on_grid


def coarse(height: int = 8, width: int = 10, spacing: float = 4.0) -> xr.DataArray:
    """A random cube."""
    return cube(height, width, spacing=spacing)


def test_weights_sum_to_one_everywhere() -> None:
    places = np.linspace(-0.5, 7.5, 101)
    np.testing.assert_allclose(weights(places, 8).sum(axis=1), 1, atol=1e-6)


def test_a_plane_comes_back_exactly_away_from_the_rim() -> None:
    y, x = np.mgrid[:8, :10].astype("float32")
    plane = on_grid(np.stack([y, x, y + 2 * x]), spacing=4.0)
    plane = plane.assign_coords(wavelength=("band", [500.0, 600.0, 700.0], {"units": "nm"}))
    fine = bicubic(plane, located(32, 40, 3))
    inner = {"y": slice(6, -6), "x": slice(6, -6)}
    there = (np.arange(32) + 0.5) / 4 - 0.5
    np.testing.assert_allclose(
        fine.isel(band=0, **inner), np.tile(there[6:-6, None], (1, 28)), atol=1e-5
    )


def test_scipy_agrees_at_the_pixel_centres() -> None:
    hsi = coarse()
    at_centres = on_grid(np.zeros((1, 8, 10), "float32"), spacing=4.0)
    np.testing.assert_allclose(bicubic(hsi, at_centres), hsi, atol=1e-6)


def test_smooth_scenes_are_interpolated_as_scipy_does() -> None:
    y, x = np.mgrid[:12, :12].astype("float64")
    smooth = (np.sin(y / 4) * np.cos(x / 5))[None].astype("float32")
    hsi = on_grid(smooth, spacing=4.0).assign_coords(wavelength=("band", [500.0], {"units": "nm"}))
    fine = bicubic(hsi, located(48, 48, 3))[0]
    axis = np.arange(12.0)
    witness = RegularGridInterpolator((axis, axis), smooth[0], method="cubic")
    places = (np.arange(12, 36) + 0.5) / 4 - 0.5
    expected = witness(tuple(np.meshgrid(places, places, indexing="ij")))
    np.testing.assert_allclose(fine[12:36, 12:36], expected, atol=5e-3)


@pytest.mark.parametrize("chunk", [40, 13, 7])
def test_blocks_do_not_show(chunk: int) -> None:
    hsi, msi = coarse(), located(32, 40, 3)
    blocked = bicubic(hsi.chunk(y=3, x=4), msi.chunk(y=chunk, x=chunk))
    da.utils.assert_eq(blocked.data, bicubic(hsi, msi).to_numpy(), rtol=1e-5, atol=1e-6)


def test_nothing_is_computed_to_build_it() -> None:
    def explode(block: np.ndarray) -> np.ndarray:
        raise AssertionError("a block was computed")

    hsi = coarse().chunk()
    hsi = hsi.copy(data=hsi.data.map_blocks(explode, meta=np.empty((0, 0, 0), "float32")))
    assert bicubic(hsi, located(32, 40, 3)).shape == (13, 32, 40)


def test_labels_are_those_of_the_grid_and_of_the_bands() -> None:
    hsi, msi = coarse(), located(32, 40, 3)
    fine = bicubic(hsi, msi)
    xr.testing.assert_equal(fine["y"], msi["y"])
    np.testing.assert_array_equal(fine["wavelength"], hsi["wavelength"])


def test_outside_the_cube_is_nan() -> None:
    fine = bicubic(coarse(), on_grid(np.zeros((3, 40, 40), "float32")))
    assert np.isnan(fine[:, 32:]).all()
    assert np.isfinite(fine[:, :32]).all()


def test_a_hole_reaches_two_pixels_around() -> None:
    hsi = coarse()
    hsi[:, 4, 5] = np.nan
    fine = bicubic(hsi, located(32, 40, 3))
    assert np.isnan(fine[:, 18, 22]).all()
    assert np.isfinite(fine[:, :8]).all()


def test_grids_that_share_no_ground_are_refused() -> None:
    away = on_grid(np.zeros((3, 8, 8), "float32"), left=1e6)
    with pytest.raises(GridError, match="share no ground"):
        bicubic(coarse(), away)
