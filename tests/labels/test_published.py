from __future__ import annotations

import csv

import numpy as np
import pytest
import xarray as xr

from benchmarks import published
from lift_xr import SpectralError, psf
from tests.scenes import shared_data, shared_scenes

RESULTS = "notes/reference_results/reference_on_shared_scenes.csv"
SMALL = ("samson", "san_diego", "muufl_campus")


def scene(height: int = 35, width: int = 41, bands: int = 20) -> np.ndarray:
    rng = np.random.default_rng(3)
    smooth = np.cumsum(rng.normal(size=(bands, height, width)), axis=0)
    return (1000 + 100 * smooth).astype("float32")


def ridge(case: published.Case) -> np.ndarray:
    """Least squares from the MSI's bands to the HSI's, with an offset and a little ridge."""
    spectra = case.hsi.reshape(len(case.hsi), -1).astype("float64")
    colours = case.srf.astype("float64") @ spectra
    middle, target = colours.mean(1, keepdims=True), spectra.mean(1, keepdims=True)
    gram = (colours - middle) @ (colours - middle).T
    gram += 1e-3 * np.trace(gram) / len(gram) * np.eye(len(gram))
    weights = (spectra - target) @ (colours - middle).T @ np.linalg.inv(gram)
    lifted = np.tensordot(weights, case.msi - middle[:, :, None], axes=1) + target[:, :, None]
    return lifted.astype("float32")


def test_a_case_is_cropped_then_scaled() -> None:
    case = published.case(scene(), ratio=8, msi_bands=4)
    assert case.reference.shape == (20, 32, 40)
    assert case.hsi.shape == (20, 4, 5)
    assert case.msi.shape == (4, 32, 40)
    assert {each.dtype.name for each in (case.reference, case.hsi, case.msi, case.srf)} == {
        "float32"
    }
    kept = scene()[:, :32, :40]
    low, high = np.percentile(kept, [1, 99])
    expected = np.clip((kept - low) / (high - low), 0, 1)
    np.testing.assert_allclose(case.reference, expected, atol=1e-6)


def test_noise_is_drawn_in_the_order_of_the_original() -> None:
    case = published.case(scene(), ratio=8, msi_bands=4)
    kernel = psf.kernel("gaussian", published=True)
    clean = published.block_means(published.blurred(case.reference, kernel), 8)
    deviation = np.sqrt((clean.astype("float64") ** 2).mean(axis=(1, 2)) / 10**3)
    first = np.random.default_rng(42).normal(size=20)  # one value a band, then the next pixel
    np.testing.assert_allclose(case.hsi[:, 0, 0] - clean[:, 0, 0], first * deviation, atol=1e-6)
    colours = np.tensordot(case.srf, case.reference, axes=1)
    power = (colours.astype("float64") ** 2).mean(axis=(1, 2))
    first = np.random.default_rng(43).normal(size=4)
    found = case.msi[:, 0, 0] - colours[:, 0, 0]
    np.testing.assert_allclose(found, first * np.sqrt(power / 1e4), atol=1e-6)


def test_borders_are_darkened_by_the_zero_fill() -> None:
    flat = published.blurred(
        np.ones((1, 32, 32), "float32"), psf.kernel("gaussian", published=True)
    )
    assert flat[0, 0, 0] == pytest.approx(0.314, abs=0.005)
    assert flat[0, 16, 16] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("count", published.BANDS)
def test_assumed_responses_sum_to_one_over_the_sensors_range(count: int) -> None:
    srf = published.assumed_srf(count, 100)
    assert srf.shape == (count, 100)
    np.testing.assert_allclose(srf.sum(axis=1), 1, rtol=1e-5)
    assert (np.diff(srf.argmax(axis=1)) > 0).all()


@pytest.mark.parametrize("count", published.BANDS)
def test_assumed_responses_are_those_of_the_original(count: int) -> None:
    table = shared_data() / f"srf/other/reference_sampled/dc_mall_L191_b{count}.csv"
    if not table.exists():
        pytest.skip(f"needs the evaluated responses, {table}")
    expected = np.loadtxt(table, delimiter=",", skiprows=1, ndmin=2)[:, 2:].T
    np.testing.assert_allclose(published.assumed_srf(count, 191), expected, rtol=1e-4, atol=1e-7)


def test_missing_values_are_refused() -> None:
    holed = scene()
    holed[0, 0, 0] = np.nan
    with pytest.raises(
        ValueError, match=r"1 values that are not finite; the published .* cube\.isel"
    ):
        published.case(holed, ratio=8, msi_bands=4)


def test_scores_are_named_and_clipped_as_in_the_tables() -> None:
    case = published.case(scene(), ratio=4, msi_bands=4)
    found = published.scores(case.reference * 3 - 1, case.reference)
    assert list(found) == ["RMSE", "PSNR", "SSIM", "UIQI", "ERGAS", "SAM"]
    assert found == published.scores(np.clip(case.reference * 3 - 1, 0, 1), case.reference)
    assert published.scores(case.reference, case.reference)["PSNR"] == np.inf


def test_a_linear_map_scores_near_the_published_network() -> None:
    table = shared_data().parent / RESULTS
    if not table.exists():
        pytest.skip(f"needs the published figures, {table}")
    with table.open() as lines:
        rows = {
            (row["scene"], row["psf"], row["ratio"], row["msi_bands"]): row
            for row in csv.DictReader(lines)
        }
    better = []
    for name in SMALL:
        case = published.case(shared_scenes().load(name), ratio=8, msi_bands=4)
        found = published.scores(ridge(case), case.reference)["PSNR"]
        better.append(found - float(rows[name, "gaussian", "8", "4"]["PSNR"]))
    # The network overfits the 121 to 144 pixels of these scenes; the line does not.
    assert all(-1 < difference < 4 for difference in better)
    assert np.mean(better) == pytest.approx(2, abs=1)


def test_the_bands_lie_on_the_scenes_own_axis_where_that_is_asked_for() -> None:
    nm = np.linspace(400, 1000, 20)
    labelled = xr.DataArray(scene(), dims=("band", "y", "x")).assign_coords(
        wavelength=("band", nm, {"units": "nm"})
    )
    found = published.case(labelled, ratio=8, msi_bands=4, axis="own")
    np.testing.assert_allclose(found.wavelength, nm)
    np.testing.assert_allclose(found.srf @ nm, [480, 552, 666, 803], atol=8)
    assumed = published.case(labelled, ratio=8, msi_bands=4)
    np.testing.assert_allclose(assumed.wavelength[[0, -1]], [421, 893])
    with pytest.raises(SpectralError):  # the sixteen reach to 2373 nm
        published.case(labelled, ratio=8, msi_bands=16, axis="own")


def test_kernels_can_be_put_right() -> None:
    one, other = (
        published.case(scene(), ratio=8, msi_bands=4, psf="airy", kernels=kernels)
        for kernels in ("published", "right")
    )
    assert np.abs(one.hsi - other.hsi).max() > 0.01
    np.testing.assert_array_equal(one.msi, other.msi)
