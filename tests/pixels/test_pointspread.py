"""The point spread is found again in images that were blurred with it."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage

from lift_xr import psf
from lift_xr.footprint import Footprint, Place
from lift_xr.pointspread import PointSpread, _over_cells, estimate_point_spread

RATIO = 4
CELLS = 24


def fine(seed: int = 0) -> np.ndarray:
    """Two bands of streets and fields: edges and flat parts, and a little texture."""
    random = np.random.default_rng(seed)
    size = CELLS * RATIO
    rough = scipy.ndimage.zoom(random.random((2, size // 6, size // 6)), (1, 6, 6), order=0)
    return rough + 0.1 * random.random((2, size, size))


def pair(kernel: np.ndarray, *, noise: float = 0.003) -> Place:
    image = fine()
    cells = Footprint(kernel, RATIO).over(image, (0, 0), (CELLS, CELLS))
    noisy = cells + noise * np.random.default_rng(1).normal(size=cells.shape)
    return Place(1.7 * noisy - 0.2, image, 0)  # of another gain and offset


def found(kernel: np.ndarray, **settings: float) -> PointSpread:
    estimate = estimate_point_spread([pair(kernel, **settings)], RATIO)
    assert estimate is not None
    assert estimate.kernel.sum() == pytest.approx(1)
    return estimate


def difference(estimate: np.ndarray, truth: np.ndarray) -> float:
    """Of what cells see, relative to the truth."""
    one, other = (Footprint(kernel, RATIO).weights for kernel in (estimate, truth))
    side = max(len(one), len(other))
    one, other = (np.pad(each, (side - len(each)) // 2) for each in (one, other))
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


@pytest.mark.parametrize("name", psf.names())
def test_each_of_the_ten_kernels_is_recovered(name: str) -> None:
    truth = psf.kernel(name, sigma=2.0, half_width=6)
    limit = 0.35 if name == "sinc" else 0.2 if name in ("hermite", "gabor") else 0.1
    assert difference(found(truth).kernel, truth) < limit


@pytest.mark.parametrize("sigma", [1.0, 2.5, 4.0])
def test_the_width_of_a_gaussian_is_found(sigma: float) -> None:
    estimate = found(psf.kernel("gaussian", sigma=sigma, half_width=8))
    np.testing.assert_allclose(np.hypot(estimate.sigma, 0.25), sigma, rtol=0.05)
    np.testing.assert_allclose(estimate.shift, 0, atol=0.1)


def test_cells_that_stand_for_their_corner_are_found_as_a_shift() -> None:
    centred = psf.kernel("gaussian", sigma=1.5, half_width=6)
    shifted = scipy.ndimage.shift(centred, (2, -1))
    estimate = found(shifted / shifted.sum())
    np.testing.assert_allclose(estimate.shift, (2, -1), atol=0.1)


def test_too_few_cells_tell_nothing() -> None:
    place = pair(np.ones((1, 1)))
    small = Place(place.hsi[:, :4, :4], place.msi[:, : 4 * RATIO, : 4 * RATIO], 0)
    assert estimate_point_spread([small], RATIO) is None


def test_cells_and_pixels_that_are_missing_are_left_out() -> None:
    truth = psf.kernel("gaussian", sigma=2.0, half_width=6)
    place = pair(truth)
    place.hsi[:, 3:5, 7] = np.nan
    place.msi[:, 40:44, 60:64] = np.nan
    estimate = estimate_point_spread([place], RATIO)
    assert estimate is not None
    assert difference(estimate.kernel, truth) < 0.1


def test_a_band_of_one_value_tells_nothing_and_does_no_harm() -> None:
    truth = psf.kernel("gaussian", sigma=2.0, half_width=6)
    place = pair(truth)
    place.msi[1] = 0.3
    estimate = estimate_point_spread([place], RATIO)
    assert estimate is not None
    assert difference(estimate.kernel, truth) < 0.15


@pytest.mark.parametrize(("reach", "ratio", "start"), [(3, 4, 0), (5, 3, 2), (1, 7, 5), (9, 2, 1)])
def test_cells_take_the_mean_of_what_a_kernel_spreads(reach: int, ratio: int, start: int) -> None:
    random = np.random.default_rng(reach)
    kernels, cells = random.random((2, 2 * reach + 1)), 6
    image = random.random((3, start + cells * ratio + 2 * reach + 1))
    found = _over_cells(image, kernels, ratio, start, cells)
    assert found.shape == (3, cells, 2)
    for number, kernel in enumerate(kernels):
        blurred = np.stack([np.convolve(row, kernel, "valid") for row in image])
        wanted = blurred[:, start : start + cells * ratio].reshape(3, cells, ratio).mean(axis=2)
        np.testing.assert_allclose(found[..., number], wanted, rtol=1e-12)


def test_places_of_different_brightness_tell_the_same_point_spread() -> None:
    """A dark place and a bright one have one offset, not one each."""
    kernel = psf.kernel("gaussian", sigma=2.0, half_width=6)
    places = []
    for seed, level in enumerate((0.0, 2.0, 5.0)):
        image = fine(seed) + level
        cells = Footprint(kernel, RATIO).over(image, (0, 0), (CELLS, CELLS))
        noise = 0.003 * np.random.default_rng(seed).normal(size=cells.shape)
        places.append(Place(cells + noise, image, 0))
    together = estimate_point_spread(places, RATIO)
    assert together is not None
    assert together.sigma == pytest.approx((2.0, 2.0), abs=0.1)
    assert together.shift == pytest.approx((0.0, 0.0), abs=0.05)
    assert together.residual < 0.02
