import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from lift_xr.response import estimate_responses, lobes_over

WAVELENGTH = np.linspace(400, 1000, 41)


def lobe(centre: float, width: float) -> np.ndarray:
    response = np.exp2(-((2 * (WAVELENGTH - centre) / width) ** 2))
    return response / response.sum()


TRUE = np.stack([lobe(480, 60), lobe(560, 60), lobe(660, 50), lobe(840, 120)])


def scene(size: int = 48, materials: int = 12, *, seed: int = 0) -> np.ndarray:
    """Linear mixtures of smooth spectra: (band, y, x)."""
    rng = np.random.default_rng(seed)
    spectra = gaussian_filter(rng.normal(size=(materials, len(WAVELENGTH))), (0, 3))
    spectra = 0.3 + 0.15 * spectra / spectra.std()
    shares = np.exp(3 * gaussian_filter(rng.normal(size=(materials, size, size)), (0, 2, 2)) * 7)
    return np.einsum("kb,kyx->byx", spectra, shares / shares.sum(axis=0))


def seen(cube: np.ndarray, *, noise: float = 0.0) -> np.ndarray:
    image = np.einsum("mb,byx->myx", TRUE, cube)
    return image + noise * image.std() * np.random.default_rng(9).normal(size=image.shape)


def alike(estimate: np.ndarray) -> np.ndarray:
    return np.array([np.corrcoef(*rows)[0, 1] for rows in zip(estimate, TRUE, strict=True)])


def test_responses_of_a_linear_scene_are_recovered():
    cube = scene()
    found, correlation = estimate_responses(cube, seen(cube), WAVELENGTH)
    assert (alike(found) > 0.97).all()
    assert (correlation > 0.999).all()


def test_gain_offset_blur_and_noise_hardly_matter():
    cube = scene()
    image = 40 * seen(cube, noise=0.02) + 7
    found, _ = estimate_responses(gaussian_filter(cube, (0, 0.7, 0.7)), image, WAVELENGTH)
    assert (alike(found) > 0.9).all()
    assert np.abs(found @ WAVELENGTH - TRUE @ WAVELENGTH).max() < 15


def test_outliers_hardly_matter():
    cube = scene()
    image = seen(cube)
    image[:, np.random.default_rng(3).random(image.shape[1:]) < 0.05] = 3.0
    found, _ = estimate_responses(cube, image, WAVELENGTH)
    assert (alike(found) > 0.9).all()


def test_rows_are_non_negative_and_sum_to_one():
    cube = scene()
    for smoothness in (None, 1e-1, 1e-5):
        found, _ = estimate_responses(cube, seen(cube), WAVELENGTH, smoothness=smoothness)
        assert (found >= 0).all()
        np.testing.assert_allclose(found.sum(axis=1), 1)


def test_bands_may_come_in_any_order():
    cube, mixed = scene(), np.random.default_rng(0).permutation(len(WAVELENGTH))
    found, _ = estimate_responses(cube, seen(cube), WAVELENGTH)
    again, _ = estimate_responses(cube[mixed], seen(cube), WAVELENGTH[mixed])
    np.testing.assert_allclose(again, found[:, mixed], atol=1e-6)


def test_two_lobes_are_found_where_the_scene_tells_them_apart():
    cube = scene(materials=30)
    true = (lobe(450, 40) + lobe(900, 60)) / 2
    image = np.einsum("b,byx->yx", true, cube)[None]
    found, _ = estimate_responses(cube, image, WAVELENGTH)
    assert np.corrcoef(found[0], true)[0, 1] > 0.85


def test_unknown_cells_are_left_out():
    cube = scene()
    image = seen(cube)
    cube[:, :5], image[:, :, -3:] = np.nan, np.nan
    found, _ = estimate_responses(cube, image, WAVELENGTH)
    assert (alike(found) > 0.9).all()


@pytest.mark.parametrize("flat", ["hsi", "msi"])
def test_nothing_is_found_without_contrast(flat):
    cube = scene()
    image = seen(cube)
    (cube if flat == "hsi" else image)[:] = 0.4
    assert estimate_responses(cube, image, WAVELENGTH) is None


def test_nothing_is_found_from_a_handful_of_cells():
    cube = scene()[:, :4, :4]
    assert estimate_responses(cube, seen(cube), WAVELENGTH) is None


def test_every_lobe_sums_to_one_across_gaps_too():
    gaps = WAVELENGTH[(WAVELENGTH < 600) | (WAVELENGTH > 900)]
    np.testing.assert_allclose(lobes_over(gaps).rows.sum(axis=1), 1)
