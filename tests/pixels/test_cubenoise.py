"""The noise of a cube is found, and taken from its spectra."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lift_xr.cubenoise import CubeNoise, learns_noise
from lift_xr.kernel import DenseNetwork
from lift_xr.models import Pairs
from lift_xr.models import pairs as models_pairs
from lift_xr.models.linear import LinearRecipe, fit_linear
from lift_xr.models.projection import obeying


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


@pytest.mark.parametrize(
    ("bands", "count", "learnt"),
    [(90, 150, True), (90, 900, True), (90, 901, False), (31, 150, False), (40, 150, True)],
)
def test_a_network_learns_the_noise_of_few_pixels_where_bands_tell_it(
    bands: int, count: int, learnt: bool
) -> None:
    assert learns_noise(bands, count) is learnt


def few_noisy(count: int = 150) -> tuple[Pairs, np.ndarray]:
    """Mixtures of three spectra in 90 bands, with noise, seen in three bands; and without noise."""
    random = np.random.default_rng(3)
    bumps = np.exp(-(((np.arange(90) - np.array([[15], [45], [75]])) / 20) ** 2))
    truth = random.dirichlet(np.ones(3), count) @ (0.2 + 0.6 * bumps)
    noisy = truth + 0.02 * random.standard_normal(truth.shape)
    srf = np.kron(np.eye(3), np.full((1, 30), 1 / 30))
    return Pairs(noisy.astype("float32"), srf, "1"), truth


def lift(network: DenseNetwork, msi: np.ndarray) -> np.ndarray:
    return network(np.ascontiguousarray(msi.T[:, None].astype("float32")))[:, 0].T


def test_an_answer_loses_the_noise_that_was_learnt_and_obeys_the_msi(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pairs, truth = few_noisy()
    network, _ = fit_linear(pairs, LinearRecipe(), seed=0, device="cpu", report=None)
    pattern = 0.01 * np.random.default_rng(4).standard_normal(90)
    network = network.then(np.eye(90), pattern)
    answer = obeying(network, pairs, seed=0)
    clear, gain = answer.network, answer.gain
    monkeypatch.setattr(models_pairs, "learns_noise", lambda *_: False)
    plain = obeying(network, replace(pairs), seed=0).network
    seen = truth @ pairs.srf.T
    error = [((lift(each, seen) - truth) ** 2).mean() for each in (clear, plain)]
    assert error[0] < 0.4 * error[1]
    assert gain.shape == (90, 3)
    noise = np.sqrt((seen**2).mean()) / 100  # 40 dB
    assert np.abs(lift(clear, seen) @ pairs.srf.T - seen).max() < noise


def test_what_no_component_holds_is_met_in_the_bands_that_the_msi_saw_it_in() -> None:
    """A material that the cube does not show."""
    pairs, truth = few_noisy()
    network, _ = fit_linear(pairs, LinearRecipe(), seed=0, device="cpu", report=None)
    clear = obeying(network, pairs, seed=0).network
    msi = truth @ pairs.srf.T + [0.2, -0.1, 0.1]
    missed = np.abs(lift(clear, msi) @ pairs.srf.T - msi).max()
    assert missed < 3 * np.sqrt((pairs.msi**2).mean()) / 100  # what `verify` allows


@pytest.mark.parametrize("noise", [0.0, 0.01, 1.0])
def test_the_gain_for_more_hides_it_from_every_band_of_the_msi(noise: float) -> None:
    """However little noise the bands have that one of the MSI's sees."""
    random = np.random.default_rng(5)
    pairs, truth = few_noisy()
    deviation = 0.02 * np.repeat([1.0, 1.0, noise], 30)
    hsi = (truth + deviation * random.standard_normal(truth.shape)).astype("float32")
    pairs = replace(pairs, hsi=hsi)
    network, _ = fit_linear(pairs, LinearRecipe(), seed=0, device="cpu", report=None)
    gain = obeying(network, pairs, seed=0).gain
    seen = pairs.srf @ (np.eye(90) - gain @ pairs.srf)
    assert np.linalg.norm(seen, axis=1).max() < 0.02 * np.linalg.norm(pairs.srf, axis=1).min()


def test_pixels_all_alike_have_no_noise_to_take() -> None:
    srf = np.kron(np.eye(3), np.full((1, 30), 1 / 30))
    pairs = Pairs(np.full((150, 90), 3e6, "float32"), srf, "")
    network, _ = fit_linear(pairs, LinearRecipe(), seed=0, device="cpu", report=None)
    assert pairs.clearing is None
    assert np.isfinite(lift(obeying(network, pairs, seed=0).network, pairs.msi)).all()
