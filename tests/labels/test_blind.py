import warnings

import numpy as np
import pytest
import xarray as xr
from scipy.ndimage import gaussian_filter

from lift_xr.blind import estimate_srf
from lift_xr.errors import GridError, LayoutError, SpectralError
from lift_xr.srf import SRF, apply
from tests.scenes import on_grid, shared_data, shared_scenes

RATIO, CELLS = 4, 36
WAVELENGTH = np.linspace(420, 980, 29)
SENSOR = SRF.gaussian(
    [480, 560, 660, 830], [60, 60, 60, 100], names=["blue", "green", "red", "nir"]
)


def truth(*, materials: int = 12, seed: int = 0) -> xr.DataArray:
    """Linear mixtures of smooth spectra at the resolution of the MSI."""
    rng = np.random.default_rng(seed)
    size = CELLS * RATIO
    spectra = gaussian_filter(rng.normal(size=(materials, len(WAVELENGTH))), (0, 2))
    spectra = 0.3 + 0.1 * spectra / spectra.std()
    shares = np.exp(20 * gaussian_filter(rng.normal(size=(materials, size, size)), (0, 5, 5)) * 5)
    values = np.einsum("kb,kyx->byx", spectra, shares / shares.sum(axis=0)).astype("float32")
    return on_grid(values).assign_coords(wavelength=("band", WAVELENGTH, {"units": "nm"}))


def pair(*, gain: float = 50.0, offset: float = 9.0) -> tuple[xr.DataArray, xr.DataArray]:
    """A blurred, coarse cube and a mosaic in units of its own."""
    fine = truth()
    msi = gain * apply(SENSOR.sample(fine), fine).drop_vars("wavelength") + offset
    blurred = fine.copy(data=gaussian_filter(fine.to_numpy(), (0, 2, 2)))
    return blurred.coarsen(y=RATIO, x=RATIO).mean(), msi


def test_a_response_is_recovered_without_knowing_psf_or_radiometry():
    hsi, msi = pair()
    found = estimate_srf(hsi, msi)
    true = SENSOR.sample(hsi)
    for estimate, expected in zip(found.values, true.values, strict=True):
        assert np.corrcoef(estimate, expected)[0, 1] > 0.95
    assert (found["correlation"] > 0.99).all()


def test_the_hsi_seen_through_it_is_the_msi_to_one_percent():
    hsi, msi = pair(gain=1, offset=0)
    seen = apply(estimate_srf(hsi, msi), hsi)
    expected = apply(SENSOR.sample(hsi), hsi)
    off = np.sqrt(((seen - expected) ** 2).mean(("y", "x")) / (expected**2).mean(("y", "x")))
    assert float(off.max()) < 0.01


def test_the_estimate_is_labelled_and_serves_as_an_srf():
    hsi, msi = pair()
    found = estimate_srf(hsi, msi)
    assert found.dims == ("msi_band", "band")
    assert found["wavelength"].attrs["units"] == "nm"
    np.testing.assert_allclose(found.sum("band"), 1)
    assert float(found.min()) >= 0
    srf = SRF.of(found)
    assert srf.bands == tuple(map(str, msi.band.values))
    np.testing.assert_allclose(srf.sample(hsi), found, atol=1e-6)
    np.testing.assert_allclose(srf.centres, found["msi_wavelength"])


def test_chunks_do_not_change_the_estimate():
    hsi, msi = pair()
    one = estimate_srf(hsi, msi)
    other = estimate_srf(hsi.chunk(y=7, x=36), msi.chunk(y=31, x=50))
    np.testing.assert_array_equal(one, other)


def test_a_part_of_the_ground_in_common_is_enough():
    hsi, msi = pair()
    found = estimate_srf(hsi.isel(y=slice(10, None)), msi.isel(x=slice(9, 130)))
    centres = SENSOR.sample(hsi)["msi_wavelength"].values
    np.testing.assert_allclose(found["msi_wavelength"], centres, atol=15)


def test_it_is_not_estimated_from_scenes_of_different_crs():
    hsi, msi = pair()
    with pytest.raises(GridError, match=r"no CRS and msi has EPSG:32615; expected one CRS"):
        estimate_srf(hsi, msi.rio.write_crs("EPSG:32615"))


def test_it_is_not_estimated_from_scenes_of_different_places():
    hsi, msi = pair()
    with pytest.raises(GridError, match="share no ground"):
        estimate_srf(hsi, msi.assign_coords(x=msi.x + 1e6))


def test_it_is_not_estimated_from_a_handful_of_cells():
    hsi, msi = pair()
    with pytest.raises(GridError, match=r"share 16 cells.*expected 40.*Pass srf=SRF.sensor"):
        estimate_srf(hsi.isel(y=slice(4), x=slice(4)), msi)


def test_it_is_not_estimated_without_contrast():
    hsi, msi = pair()
    with pytest.raises(SpectralError, match=r"no contrast in the 1296 cells.*SRF.sensor"):
        estimate_srf(hsi, xr.full_like(msi, 3.0))


def test_it_is_not_estimated_from_two_bands():
    hsi, msi = pair()
    with pytest.raises(SpectralError, match=r"hsi has 2 bands; expected 3"):
        estimate_srf(hsi.isel(band=[0, 9]), msi)


def test_it_is_not_estimated_from_several_times():
    hsi, msi = pair()
    with pytest.raises(LayoutError, match=r"2 times; expected one.*msi.isel\(time=0\)"):
        estimate_srf(hsi, msi.expand_dims(time=2))


def test_smoothness_must_be_positive():
    hsi, msi = pair()
    with pytest.raises(ValueError, match="smoothness is 0; expected a number above 0"):
        estimate_srf(hsi, msi, smoothness=0)


def test_bands_that_the_hsi_does_not_explain_are_warned_about():
    hsi, msi = pair()
    msi[2] = msi[2, ::-1, ::-1].values + 20 * np.random.default_rng(0).normal(size=msi[2].shape)
    with pytest.warns(UserWarning, match=r"little of msi bands red 0\.\d\d \(correlation\)"):
        estimate_srf(hsi, msi)


def test_the_response_of_ali_is_found_from_hyperion():
    hsi, msi = shared_scenes().load_pair("paris_hyperion_ali_ms")
    measured = SRF.from_csv(shared_data() / "srf" / "eo1_ali.csv")
    measured = measured.select(*(band for band in measured.bands if band != "PAN"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the longest band reaches beyond Hyperion
        true = measured.sample(hsi)
    found = estimate_srf(hsi, msi)
    off = abs(found["msi_wavelength"].values - true.values @ hsi["wavelength"].values)
    alike = [np.corrcoef(*rows)[0, 1] for rows in zip(found.values, true.values, strict=True)]
    assert off.max() < 35
    assert np.median(off) < 15
    assert min(alike) > 0.5
    assert np.median(alike) > 0.8
