from __future__ import annotations

import csv

import numpy as np
import pytest
import scipy.signal

from lift_xr import psf
from lift_xr.errors import GridError
from tests.scenes import shared_data


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("name", psf.names())
@pytest.mark.parametrize(("sigma", "half_width"), [(3.4, 7), (1.2, 4), (0.5, 0)])
def test_kernels_sum_to_one(name: str, published: bool, sigma: float, half_width: int) -> None:
    if name == "hermite" and half_width == 0:
        pytest.skip("a ring needs more than its centre")
    kernel = psf.kernel(name, sigma=sigma, half_width=half_width, published=published)
    assert kernel.shape == (2 * half_width + 1, 2 * half_width + 1)
    assert kernel.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], rtol=1e-12)


def test_published_kernels_are_those_of_the_tables() -> None:
    table = shared_data().parent / "notes/reference_results/psf_kernels_sigma3p4_15x15.csv"
    if not table.exists():
        pytest.skip(f"needs the evaluated kernels, {table}")
    with table.open() as lines:
        rows = list(csv.DictReader(lines))
    for name in psf.names():
        expected = np.array([float(row[name]) for row in rows]).reshape(15, 15)
        np.testing.assert_allclose(psf.kernel(name, published=True), expected, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "centre", "largest"),
    [
        ("gaussian", 0.014537578, 0.014537578),
        ("airy", 0.020333916, 0.19964423),
        ("sinc", 0.15433692, 0.15433692),
        ("hermite", 0, 0.007514524),
        ("gabor", 0.0096849786, 0.0096849786),
        ("delta", 1, 1),
    ],
)
def test_published_kernels_have_the_known_peaks(name: str, centre: float, largest: float) -> None:
    kernel = psf.kernel(name, published=True)
    assert kernel[7, 7] == pytest.approx(centre, rel=1e-6)
    assert kernel.max() == pytest.approx(largest, rel=1e-6)


@pytest.mark.parametrize("name", ["gaussian", "airy", "kolmogorov"])
def test_sigma_sets_the_half_maximum(name: str) -> None:
    formula = psf.FORMULAS[name]
    half = np.sqrt(2 * np.log(2))
    at = formula(np.zeros(2), np.array([0.0, half]))
    assert at[1] / at[0] == pytest.approx(0.5, abs=1e-6)


def test_airy_is_dark_where_j1_is_zero() -> None:
    first_ring = 3.831705970207512 * psf.GAUSSIAN_HALF / psf.AIRY_HALF
    assert psf.airy(np.zeros(1), np.array([first_ring]))[0] == pytest.approx(0, abs=1e-20)


def test_kolmogorov_seeing_is_0_976_wavelengths_over_fried_parameter() -> None:
    # The transfer function exp(-3.44 (wavelength f / r0)^(5/3)) in units of wavelength / r0.
    assert 2 * psf.KOLMOGOROV_HALF * 3.44**0.6 / (2 * np.pi) == pytest.approx(0.976, abs=1e-3)


def test_right_and_published_airy_differ_at_the_centre() -> None:
    right, published = psf.kernel("airy"), psf.kernel("airy", published=True)
    assert right[7, 7] == right.max()
    assert published[7, 7] < published.max() / 9


def test_unknown_names_and_sizes_are_refused() -> None:
    with pytest.raises(GridError, match="psf 'gausian' is unknown; expected one of gaussian, kol"):
        psf.kernel("gausian")
    with pytest.raises(GridError, match=r"sigma is 0 pixels; expected a positive .* sigma=3\.4"):
        psf.kernel("gaussian", sigma=0)
    with pytest.raises(GridError, match=r"half_width is -1 pixels; expected .* half_width=7"):
        psf.kernel("gaussian", half_width=-1)
    with pytest.raises(
        GridError, match=r"weights of psf 'hermite' sum to 0; expected .* half_width"
    ):
        psf.kernel("hermite", half_width=0)


@pytest.mark.parametrize("name", psf.names())
def test_spread_is_convolution(name: str) -> None:
    image = np.random.default_rng(0).random((2, 20, 23)).astype("float32")
    kernel = psf.kernel(name, sigma=2.0, half_width=3)
    expected = [scipy.signal.convolve2d(band, kernel, mode="valid") for band in image]
    np.testing.assert_allclose(psf.spread(image, kernel), expected, rtol=1e-5, atol=1e-6)


def test_a_point_becomes_the_kernel_the_right_way_up() -> None:
    kernel = np.arange(1.0, 16).reshape(3, 5)
    kernel /= kernel.sum()
    image = np.zeros((1, 7, 13), "float32")
    image[0, 3, 6] = 1
    np.testing.assert_allclose(psf.spread(image, kernel)[0, 1:4, 2:7], kernel, rtol=1e-6)


@pytest.mark.parametrize("name", psf.names())
def test_flat_images_stay_flat_around_gaps(name: str) -> None:
    image = np.full((1, 24, 24), 0.25, "float32")
    image[0, :9, 14:] = np.nan
    image[0, 12, 12] = np.nan
    blurred = psf.spread(image, psf.kernel(name, sigma=2.0, half_width=4))
    inside = image[:, 4:-4, 4:-4]
    np.testing.assert_array_equal(np.isnan(blurred), np.isnan(inside))
    np.testing.assert_allclose(blurred[~np.isnan(blurred)], 0.25, rtol=1e-6)


def test_gaps_do_not_touch_pixels_out_of_reach() -> None:
    image = np.random.default_rng(1).random((1, 30, 30)).astype("float32")
    holed = image.copy()
    holed[0, 15, 15] = np.nan
    kernel = psf.kernel("gaussian", sigma=1.0, half_width=3)
    whole, found = psf.spread(image, kernel), psf.spread(holed, kernel)
    far = np.ones((24, 24), bool)
    far[9:16, 9:16] = False
    np.testing.assert_array_equal(found[0, far], whole[0, far])
    assert np.isnan(found).sum() == 1
