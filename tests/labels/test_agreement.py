"""A fused scene is held against the two images it was made from."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from lift_xr import GridError, SpectralError, degrade, hsi_agreement, msi_agreement
from lift_xr.metrics import ergas, rmse, sam
from tests.scenes import cube

MATRIX = np.zeros((2, 13))
MATRIX[0, :4] = MATRIX[1, 6:10] = 0.25


def pair(ratio: int = 4) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """A scene of 24 x 24 pixels, and the cube and the mosaic that it was seen as."""
    truth = cube(24, 24)
    return truth, *degrade(truth, ratio=ratio, srf=MATRIX)


def test_the_truth_agrees_with_what_was_made_of_it() -> None:
    truth, hsi, msi = pair()
    seen = msi_agreement(truth, msi, MATRIX)
    np.testing.assert_allclose(seen.rmse, 0, atol=1e-7)
    np.testing.assert_allclose(seen.correlation, 1)
    np.testing.assert_array_equal(seen.pixels, 24 * 24)
    coarse = hsi_agreement(truth, hsi)
    np.testing.assert_allclose(coarse.rmse, 0, atol=1e-6)
    assert float(coarse.sam) < 1e-3
    assert float(coarse.ergas) < 1e-3
    np.testing.assert_array_equal(coarse.pixels, 6 * 6)


def test_agreement_with_the_msi_is_that_of_numpy() -> None:
    truth, _, msi = pair()
    fused = truth + 0.05 * np.random.default_rng(0).normal(size=truth.shape)
    found = msi_agreement(fused, msi, MATRIX)
    seen = np.tensordot(MATRIX, fused.values, axes=1)
    expected = np.sqrt(((seen - msi.values) ** 2).mean(axis=(1, 2)))
    np.testing.assert_allclose(found.rmse, expected, rtol=1e-5)
    for k in range(2):
        correlation = np.corrcoef(seen[k].ravel(), msi.values[k].ravel())[0, 1]
        assert float(found.correlation[k]) == pytest.approx(correlation, abs=1e-6)


def test_agreement_with_the_hsi_is_that_of_the_metrics() -> None:
    truth, hsi, _ = pair()
    fused = (truth * 1.1 + 0.02).assign_attrs(truth.attrs)
    seen, _ = degrade(fused, ratio=4, srf=MATRIX)
    found = hsi_agreement(fused, hsi)
    np.testing.assert_allclose(found.rmse, rmse(seen, hsi), rtol=1e-5)
    assert float(found.sam) == pytest.approx(float(sam(seen, hsi)), rel=1e-5)
    assert float(found.ergas) == pytest.approx(float(ergas(seen, hsi, ratio=4)), rel=1e-5)


def test_correlation_is_blind_to_gains_and_offsets() -> None:
    truth, _, msi = pair()
    found = msi_agreement(truth, msi * 3 + 100, MATRIX)
    np.testing.assert_allclose(found.correlation, 1, atol=1e-6)
    assert (found.rmse > 99).all()


def test_a_flat_band_has_no_correlation() -> None:
    truth, _, msi = pair()
    flat = msi.where(msi.band == msi.band[0], 0.3)
    np.testing.assert_array_equal(
        np.isnan(msi_agreement(truth, flat, MATRIX).correlation), [False, True]
    )


def test_agreement_is_lazy_and_the_same_for_any_chunking() -> None:
    truth, hsi, msi = pair()
    fused = truth * 1.1
    whole = [msi_agreement(fused, msi, MATRIX), hsi_agreement(fused, hsi)]
    cut = fused.chunk(band=5, y=7, x=(10, 14)), hsi.chunk(y=5), msi.chunk(x=9)
    lazy = [msi_agreement(cut[0], cut[2], MATRIX), hsi_agreement(cut[0], cut[1])]
    for one, other in zip(whole, lazy, strict=True):
        assert all(isinstance(each.data, da.Array) for each in other.values())
        xr.testing.assert_allclose(one, other, rtol=1e-6)


def test_missing_pixels_are_left_out_of_both_agreements() -> None:
    truth, hsi, msi = pair()
    hole = truth.where(~((truth.y == truth.y[9]) & (truth.x == truth.x[2])))
    np.testing.assert_array_equal(msi_agreement(hole, msi, MATRIX).pixels, 24 * 24 - 1)
    found = hsi_agreement(hole, hsi, psf="delta")
    np.testing.assert_array_equal(found.pixels, 35)
    assert np.isfinite(found.rmse).all()


def test_a_part_of_the_scene_is_compared_with_its_part_of_the_cube() -> None:
    truth, hsi, _ = pair()
    part = truth.isel(y=slice(5, 24), x=slice(0, 15))  # 4 x 3 whole cells lie within
    found = hsi_agreement(part, hsi, psf="delta")
    np.testing.assert_array_equal(found.pixels, 12)
    clean, _ = degrade(truth, ratio=4, srf=MATRIX, psf="delta")
    assert float(hsi_agreement(part, clean, psf="delta").rmse.max()) < 1e-6


def test_a_cube_whose_rows_run_the_other_way_is_the_same_cube() -> None:
    truth, hsi, _ = pair()
    expected = hsi_agreement(truth * 1.2, hsi)
    xr.testing.assert_allclose(
        hsi_agreement(truth * 1.2, hsi.isel(y=slice(None, None, -1))), expected
    )


def test_bands_are_matched_by_wavelength() -> None:
    truth, hsi, _ = pair()
    some = truth.isel(band=[7, 2]).assign_coords(band=[1, 2])
    np.testing.assert_allclose(hsi_agreement(some, hsi).rmse, 0, atol=1e-6)


def test_what_cannot_be_compared_is_refused() -> None:
    truth, hsi, msi = pair()
    nm = truth.wavelength
    with pytest.raises(SpectralError, match="hsi has no band at 403"):
        hsi_agreement(truth.assign_coords(wavelength=("band", nm.data + 3, nm.attrs)), hsi)
    with pytest.raises(GridError, match="whole number"):
        hsi_agreement(truth, hsi.assign_coords(x=hsi.x * 1.1))
    with pytest.raises(GridError, match="no whole pixel of hsi"):
        hsi_agreement(truth.isel(y=slice(1, 4)), hsi)
    with pytest.raises(GridError, match="fused has 12 x 24"):
        msi_agreement(truth.isel(y=slice(12)), msi, MATRIX)
    with pytest.raises(SpectralError, match="msi has 1 bands"):
        msi_agreement(truth, msi.isel(band=[0]), MATRIX)
