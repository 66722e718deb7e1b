"""The noise of a cube is found, and taken from its spectra."""

from __future__ import annotations

import numpy as np
import pytest

from lift_xr.cubenoise import CubeNoise


def moments(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    return pixels.mean(axis=0), np.cov(pixels.T), len(pixels)


@pytest.mark.parametrize("count", [60, 400])
def test_noise_is_found_band_by_band_with_fewer_pixels_than_bands_too(count: int) -> None:
    random = np.random.default_rng(0)
    truth = random.dirichlet(np.ones(4), count) @ random.random((4, 90))
    deviation = np.linspace(0.005, 0.015, 90)
    noisy = truth + deviation * random.standard_normal(truth.shape)
    noise = CubeNoise.of(*moments(noisy))
    assert np.median(np.sqrt(noise.variance) / deviation) == pytest.approx(1, abs=0.15)
    left = ((noise.without(noisy) - truth) ** 2).mean()
    assert left < 0.5 * (deviation**2).mean()


def test_spectra_without_noise_stay_as_they_are() -> None:
    random = np.random.default_rng(1)
    truth = random.dirichlet(np.ones(4), 300) @ random.random((4, 40))
    noise = CubeNoise.of(*moments(truth))
    np.testing.assert_allclose(noise.without(truth), truth, atol=1e-5)
    assert noise.variance.max() < 1e-8


def test_too_few_pixels_or_pixels_all_alike_tell_of_no_noise() -> None:
    for pixels in (np.random.default_rng(2).random((3, 12)), np.full((50, 12), 0.3)):
        noise = CubeNoise.of(*moments(pixels))
        np.testing.assert_allclose(noise.without(pixels), pixels, rtol=1e-6)
        assert noise.variance.max() < 1e-20
