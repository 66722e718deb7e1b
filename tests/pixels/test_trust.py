"""What is said of the errors is true of errors that were not looked at."""

from __future__ import annotations

import numpy as np
import pytest

from lift_xr.footprint import Footprint, Overlay, Place
from lift_xr.models import Pairs, train_method
from lift_xr.models.projection import noise_of
from lift_xr.models.trust import AMPLIFIED, COVERAGE, Trust, calibrate

COVERAGE_OF_NOISE = 1.645  # standard deviations that hold 90 % of it


def mixtures(count: int, *, seed: int, sharp: float = 1.0) -> np.ndarray:
    """Spectra of four materials; those of a sharp image are purer."""
    random = np.random.default_rng(seed)
    pure = np.random.default_rng(7).random((4, 12))
    shares = random.dirichlet(np.full(4, 2 / sharp), count)
    return (shares @ pure).astype("float32")


def fitted(*, seed: int = 0) -> tuple[Pairs, object]:
    srf = np.kron(np.eye(3), np.full((1, 4), 0.25))
    pairs = Pairs(mixtures(400, seed=1), srf, "1")
    network, _ = train_method("linear", pairs, seed=seed, device="cpu")
    return pairs, network


@pytest.fixture(scope="module")
def trust() -> Trust:
    pairs, network = fitted()
    return calibrate(network, pairs, seed=0)


def as_block(pixels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(pixels.T[:, None].astype("float32"))


def test_the_interval_holds_nine_errors_of_ten(trust: Trust) -> None:
    pairs, network = fitted()
    truth = mixtures(3000, seed=5, sharp=2.0)
    msi = truth @ pairs.srf.T
    msi = msi + np.sqrt(noise_of(pairs)) * np.random.default_rng(6).standard_normal(msi.shape)
    error = np.abs(network(as_block(msi))[:, 0].T - truth)
    half = trust.error(trust.distance(as_block(msi)))[:, 0].T
    assert abs((error <= half).mean() - COVERAGE) < 0.05


def overlay_of(pairs: Pairs, *, brighter: float = 1) -> Overlay:
    """A place of a mosaic of other mixtures."""
    msi = (pairs.srf @ mixtures(1024, seed=9).T).reshape(3, 32, 32).astype("float32")
    place = Place(np.zeros((12, 8, 8), "float32"), brighter * msi, 0)
    return Overlay(Footprint(np.ones((1, 1)), 4), (place,))


def test_the_noise_of_the_cube_is_not_counted_as_error_where_a_mosaic_tells_of_it() -> None:
    pairs, _ = fitted()
    noise = 0.02 * np.random.default_rng(3).standard_normal(pairs.hsi.shape).astype("float32")
    noisy = Pairs(pairs.hsi + noise, pairs.srf, "1")
    network, _ = train_method("linear", noisy, seed=0, device="cpu")
    drawn = COVERAGE_OF_NOISE * np.sqrt(AMPLIFIED) * 0.02  # what the drawn spectra's would be
    told, alone = (calibrate(network, noisy, seed=0, overlay=o) for o in (overlay_of(pairs), None))
    half = [each.error(each.distance(as_block(noisy.msi))).mean() for each in (told, alone)]
    assert half[0] < 0.9 * drawn < half[1]


def test_a_mosaic_that_the_network_misses_by_more_widens_the_interval() -> None:
    pairs, network = fitted()
    short = network.then(0.9 * np.eye(12), np.zeros(12))  # misses a tenth of every band
    halves = [
        calibrate(short, pairs, seed=0, overlay=overlay_of(pairs, brighter=brighter)).half
        for brighter in (1, 4)
    ]
    np.testing.assert_allclose(halves[1], 4 * halves[0], rtol=1e-3)


def test_a_mosaic_that_the_network_never_misses_says_nothing() -> None:
    pairs, network = fitted()
    halves = [
        calibrate(network, pairs, seed=0, overlay=overlay_of(pairs, brighter=brighter)).half
        for brighter in (1, 4)
    ]
    np.testing.assert_array_equal(*halves)


def test_training_pixels_are_near_and_foreign_colours_far(trust: Trust) -> None:
    pairs, _ = fitted()
    near = trust.distance(as_block(pairs.msi))
    assert near.max() < 2
    far = trust.distance(as_block(pairs.msi + np.array([0.9, -0.9, 0.9])))
    assert far.min() > 10


def test_the_expected_error_never_falls_with_distance(trust: Trust) -> None:
    distance = np.linspace(0, 50, 500, dtype="float32")[None]
    error = trust.error(distance)
    assert (np.diff(error, axis=-1) >= 0).all()
    assert error[..., -1].max() > error[..., 0].max()


def test_nodata_has_no_distance_and_no_error(trust: Trust) -> None:
    block = np.full((3, 2, 2), 0.4, "float32")
    block[1, 0, 1] = np.nan
    block[2, 1, 0] = np.inf
    distance = trust.distance(block)
    assert np.isnan(distance).tolist() == [[False, True], [True, False]]
    assert (np.isnan(trust.error(distance)) == np.isnan(distance)).all()


def test_another_radiometry_is_the_same_place(trust: Trust) -> None:
    gain, offset = np.array([2.0, 0.5, 1.5]), np.array([0.1, 0.0, -0.2])
    block = np.random.default_rng(3).random((3, 4, 5)).astype("float32")
    other = ((block - offset[:, None, None]) / gain[:, None, None]).astype("float32")
    np.testing.assert_allclose(
        trust.after(gain, offset).distance(other), trust.distance(block), rtol=1e-4, atol=1e-5
    )


def test_it_comes_back_from_its_arrays_the_same(trust: Trust) -> None:
    block = np.random.default_rng(4).random((3, 6, 6)).astype("float32")
    again = Trust.from_arrays(trust.arrays())
    distance = trust.distance(block)
    np.testing.assert_array_equal(again.distance(block), distance)
    np.testing.assert_array_equal(again.error(distance), trust.error(distance))


def test_the_same_seed_measures_the_same(trust: Trust) -> None:
    pairs, network = fitted()
    again = calibrate(network, pairs, seed=0)
    for name, array in trust.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], array)


def test_one_msi_band_and_one_pixel_are_enough() -> None:
    srf = np.full((1, 12), 1 / 12)
    for count in (1, 2, 30):
        pairs = Pairs(mixtures(count, seed=2), srf, "1")
        network, _ = train_method("linear", pairs, seed=0, device="cpu")
        found = calibrate(network, pairs, seed=0)
        assert all(np.isfinite(array).all() for array in found.arrays().values())
