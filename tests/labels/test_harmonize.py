import warnings

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from scipy.ndimage import gaussian_filter

from lift_xr.errors import GridError, LayoutError, SpectralError
from lift_xr.harmonize import IDENTITY, Harmonization, harmonize
from lift_xr.scene import expect_hsi, expect_msi
from lift_xr.srf import SRF, apply
from tests.scenes import on_grid, shared_data, shared_scenes

RATIO = 8
CELLS = 24
GAIN, OFFSET = np.array([0.004, 0.002, 0.003]), np.array([-0.1, 0.05, 0.0])


def fine(bands: int = 3, *, seed: int = 0) -> np.ndarray:
    """Reflectance with structure at several scales."""
    rng = np.random.default_rng(seed)
    size = CELLS * RATIO
    layers = [gaussian_filter(rng.normal(size=(size, size)), s) * s for s in (3, 9, 30)]
    image = np.sum(layers, axis=0)
    image = np.clip(0.4 + 0.1 * image / image.std(), 0.05, None)
    return np.stack([image ** (1 + 0.2 * band) for band in range(bands)]).astype("float32")


def averaged(image: np.ndarray) -> np.ndarray:
    return image.reshape(len(image), CELLS, RATIO, CELLS, RATIO).mean(axis=(2, 4))


def msi_lr(image: np.ndarray, *, blur: float = 4.0) -> xr.DataArray:
    """What the HSI shows through the SRF."""
    seen = gaussian_filter(image, (0, blur, blur))
    return on_grid(averaged(seen).astype("float32"), spacing=RATIO).chunk(y=10)


def raw(image: np.ndarray) -> xr.DataArray:
    """The mosaic in units of its own."""
    values = (image - OFFSET[:, None, None]) / GAIN[:, None, None]
    return on_grid(values.astype("float32")).chunk(y=50, x=70)


def test_regression_recovers_gain_and_offset():
    image = fine()
    found = harmonize(raw(image), msi_lr(image), method="regression")
    assert found.method == "regression"
    np.testing.assert_allclose(found.gain, GAIN, rtol=0.005)
    np.testing.assert_allclose(found.offset, OFFSET, atol=0.003)
    assert (found.correlation > 0.99).all()
    assert found.cells > 300


def test_the_default_regresses_scenes_of_one_place():
    image = fine()
    found = harmonize(raw(image), msi_lr(image))
    assert found.method == "regression"
    np.testing.assert_allclose(found.gain, GAIN, rtol=0.005)


def test_the_result_is_the_same_for_any_chunking():
    image = fine()
    one = harmonize(raw(image), msi_lr(image))
    other = harmonize(raw(image).chunk(y=33, x=192), msi_lr(image).chunk(y=5, x=7))
    np.testing.assert_array_equal(one.gain, other.gain)
    np.testing.assert_array_equal(one.offset, other.offset)


@pytest.mark.parametrize("blur", [0.0, 3.4, 6.0])
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_scenes_degraded_from_one_truth_are_left_alone(blur, noise):
    image = fine()
    rng = np.random.default_rng(1)
    coarse = msi_lr(image, blur=blur)
    coarse = coarse + noise * rng.normal(size=coarse.shape).astype("float32")
    msi = on_grid(image + noise * rng.normal(size=image.shape).astype("float32"))
    found = harmonize(msi, coarse)
    assert found.method == "none"
    assert (found.gain == 1).all()
    assert (found.offset == 0).all()
    assert "agree" in found.describe()


def test_regression_that_is_asked_for_is_done_however_little_it_changes():
    image = fine()
    found = harmonize(on_grid(image), msi_lr(image), method="regression")
    assert found.method == "regression"
    np.testing.assert_allclose(found.gain, 1, atol=0.005)


def test_a_ratio_need_not_be_whole():
    image = fine()
    msi = raw(image).isel(y=slice(None, -7), x=slice(3, None))
    coarse = msi_lr(image)
    y, x = coarse.y + 0.37, coarse.x * (1 + 1e-3)
    found = harmonize(msi, coarse.assign_coords(y=y, x=x))
    assert found.method == "regression"
    np.testing.assert_allclose(found.gain, GAIN, rtol=0.03)


def test_scenes_of_different_places_are_matched_by_their_moments():
    coarse = msi_lr(fine(seed=3), blur=0)
    far = coarse.assign_coords(x=coarse.x + 1e6)
    with pytest.warns(UserWarning, match="share no ground"):
        found = harmonize(raw(fine(seed=3)), far)
    assert found.method == "moments"
    assert found.correlation is None
    assert "no ground" in found.describe()
    np.testing.assert_allclose(found.gain, GAIN, rtol=0.02)
    np.testing.assert_allclose(found.offset, OFFSET, atol=0.01)


def test_moments_are_those_of_means_over_the_size_of_a_cell():
    image = fine()
    image = image + 0.1 * np.random.default_rng(0).normal(size=image.shape).astype("float32")
    found = harmonize(on_grid(image), msi_lr(image, blur=0), method="moments")
    np.testing.assert_allclose(found.gain, 1, atol=0.02)


def test_images_that_do_not_correlate_are_matched_by_their_moments():
    found = harmonize(raw(fine(seed=1)), msi_lr(fine(seed=2), blur=0))
    assert found.method == "moments"
    assert "do not correlate" in found.describe()
    np.testing.assert_allclose(found.gain, GAIN, rtol=0.5)


def test_scenes_without_coordinates_are_matched_by_their_moments():
    image = fine()
    scenes = [each.drop_vars(["y", "x"]) for each in (raw(image), msi_lr(image))]
    found = harmonize(*(expect_msi(each) for each in scenes))
    assert found.method == "moments"


def test_scenes_without_coordinates_that_agree_are_left_alone():
    image = fine()
    scenes = [each.drop_vars(["y", "x"]) for each in (on_grid(image), msi_lr(image))]
    assert harmonize(*(expect_msi(each) for each in scenes)).method == "none"


def test_none_is_the_identity():
    image = fine()
    assert harmonize(raw(image), msi_lr(image), method="none") is IDENTITY


def test_applying_it_gives_the_units_of_the_hsi():
    image = fine()
    msi = raw(image)
    matched = harmonize(msi, msi_lr(image)).apply(msi)
    assert matched.dims == msi.dims
    assert matched.dtype == "float32"
    assert isinstance(matched.data, da.Array)
    np.testing.assert_allclose(matched, image, atol=0.005)
    assert IDENTITY.apply(msi).equals(msi)


def test_the_description_is_one_line_that_tells_what_was_done_and_why():
    found = Harmonization(
        "regression", np.array([0.5, 2]), np.zeros(2), np.array([0.8, 0.9]), 400, "as asked"
    )
    assert found.describe() == (
        "regression: gain 0.5 to 2, offset 0, correlation 0.8 to 0.9 over 400 cells; as asked"
    )


def test_weak_bands_are_warned_about_by_name():
    image = fine()
    coarse = msi_lr(image)
    coarse[1] = msi_lr(fine(seed=5))[1]
    msi = raw(image).assign_coords(band=["red", "green", "blue"])
    with pytest.warns(UserWarning, match=r"correlate weakly in bands \['green'\] 0\.\d\d"):
        found = harmonize(msi, abs(coarse), method="regression")
    np.testing.assert_allclose(found.gain[[0, 2]], GAIN[[0, 2]], rtol=0.01)


@pytest.mark.parametrize("method", ["auto", "regression"])
def test_a_band_that_falls_where_the_hsi_rises_is_an_error(method):
    image = fine()
    coarse = msi_lr(image)
    coarse[2] = 1 - coarse[2]
    msi = raw(image).assign_coords(band=["red", "green", "blue"])
    with pytest.raises(SpectralError, match=r"\['blue'\]: gain -.*expected a positive.*srf.select"):
        harmonize(msi, coarse, method=method)


@pytest.mark.parametrize("method", ["auto", "regression"])
def test_differing_crs_are_an_error_that_says_how_to_go_on(method):
    image = fine()
    msi = raw(image).rio.write_crs("EPSG:32615")
    with pytest.raises(GridError, match=r"no CRS.*expected one CRS.*harmonize='moments'"):
        harmonize(msi, msi_lr(image), method=method)
    assert harmonize(msi, msi_lr(image), method="moments").method == "moments"
    assert harmonize(msi, msi_lr(image), method="none").method == "none"


def test_regression_of_scenes_that_share_no_ground_is_an_error():
    coarse = msi_lr(fine())
    with pytest.raises(GridError, match="share no ground"):
        harmonize(raw(fine()), coarse.assign_coords(x=coarse.x + 1e6), method="regression")


def test_regression_of_too_few_cells_is_an_error():
    image = fine()
    coarse = msi_lr(image).isel(y=slice(4), x=slice(4))
    with pytest.raises(GridError, match=r"fewer than 20 cells.*Pass harmonize='moments'"):
        harmonize(raw(image), coarse, method="regression")
    assert harmonize(raw(image), coarse).method == "moments"


@pytest.mark.parametrize("method", ["auto", "moments"])
def test_bands_without_contrast_are_an_error_that_names_them(method):
    image = fine()
    msi = raw(image)
    msi[1] = np.nan if method == "auto" else 7.0
    named = r"\[1, 2, 3\]" if method == "auto" else r"\[2\]"  # one NaN band spoils every pixel
    with pytest.raises(SpectralError, match=rf"no contrast, in bands {named}.*harmonize='none'"):
        harmonize(msi, msi_lr(image), method=method)


def test_several_times_are_an_error_that_says_how_to_choose_one():
    msi = raw(fine()).expand_dims(time=4)
    with pytest.raises(LayoutError, match=r"4 times; expected one.*Use msi.isel\(time=0\)"):
        harmonize(msi, msi_lr(fine()))


def test_differing_numbers_of_bands_are_an_error():
    with pytest.raises(SpectralError, match=r"2 bands and SRF\(hsi\) 3; expected the same"):
        harmonize(raw(fine())[:2], msi_lr(fine()))


def test_an_unknown_method_is_an_error_that_lists_those_known():
    with pytest.raises(ValueError, match="harmonize is 'histogram'; expected one of 'auto'"):
        harmonize(raw(fine()), msi_lr(fine()), method="histogram")


def test_hyperion_and_ali_are_matched_through_the_measured_response():
    hsi, msi = shared_scenes().load_pair("paris_hyperion_ali_ms")
    srf = SRF.from_csv(shared_data() / "srf" / "eo1_ali.csv")
    srf = srf.select(*(band for band in srf.bands if band != "PAN"))
    hsi, msi = expect_hsi(hsi), expect_msi(msi)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the longest band reaches beyond Hyperion
        coarse = apply(srf.sample(hsi), hsi)
    found = harmonize(msi, coarse)
    assert found.method == "regression"
    assert (found.correlation > 0.93).all()
    matched = found.apply(msi)
    off = abs(matched.mean(("y", "x")) - coarse.mean(("y", "x"))) / coarse.std(("y", "x"))
    assert float(off.max()) < 0.1


def test_neon_camera_values_become_reflectance():
    hsi, msi = (
        expect(each)
        for expect, each in zip(
            (expect_hsi, expect_msi), shared_scenes().load_pair("neon_osbs_pairs[12]"), strict=True
        )
    )
    coarse = apply(SRF.sensor("rgb-camera").sample(hsi), hsi)
    found = harmonize(msi, coarse)
    assert found.method == "regression"
    assert (found.correlation > 0.85).all()
    assert 4e-4 < found.gain.min() <= found.gain.max() < 1e-3
