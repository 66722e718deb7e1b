import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

from lift_xr.radiometry import moment_line, registered_line

RATIO = 8


def texture(size: int = 40 * RATIO, *, seed: int = 0) -> np.ndarray:
    """Structure at several scales, about 0.1-0.7."""
    rng = np.random.default_rng(seed)
    layers = [
        gaussian_filter(rng.normal(size=(size, size)), sigma) * sigma for sigma in (4, 12, 40)
    ]
    image = np.sum(layers, axis=0)
    return 0.4 + 0.1 * (image - image.mean()) / image.std()


def averaged(image: np.ndarray) -> np.ndarray:
    size = len(image) // RATIO
    return image.reshape(size, RATIO, size, RATIO).mean(axis=(1, 3))


def pair(gain: float = 1.0, offset: float = 0.0, *, sigma: float = 0.0, misplaced: float = 0.0):
    """The means of a fine image over cells, and what a sensor of another radiometry sees there."""
    image = texture()
    seen = gaussian_filter(image, sigma) if sigma else image
    seen = shift(seen, (misplaced * RATIO, -misplaced * RATIO / 2), order=1, mode="nearest")
    return averaged(image), gain * averaged(seen) + offset


@pytest.mark.parametrize(("gain", "offset"), [(1, 0), (0.02, -0.3), (250, 17)])
def test_exact_lines_are_recovered(gain, offset):
    line = registered_line(*pair(gain, offset))
    assert line.gain == pytest.approx(gain, rel=1e-6)
    assert line.offset == pytest.approx(offset, abs=1e-6 * gain)
    assert line.correlation == pytest.approx(1)


def test_a_psf_is_not_taken_for_gain():
    line = registered_line(*pair(2.0, 0.1, sigma=6))
    assert line.gain == pytest.approx(2.0, rel=0.002)
    assert line.offset == pytest.approx(0.1, abs=0.002)


def test_a_slope_from_cell_to_cell_would_be():
    fine, coarse = pair(1.0, sigma=6)
    assert np.polyfit(fine.ravel(), coarse.ravel(), 1)[0] < 0.95


def test_a_shift_of_half_a_cell_is_not_taken_for_gain():
    assert registered_line(*pair(2.0, misplaced=0.5)).gain == pytest.approx(2.0, rel=0.01)


def test_noise_on_both_images_attenuates_little():
    fine, coarse = pair(2.0, sigma=4)
    rng = np.random.default_rng(1)
    fine, coarse = (
        each + 0.2 * each.std() * rng.normal(size=each.shape) for each in (fine, coarse)
    )
    line = registered_line(fine, coarse)
    assert line.gain == pytest.approx(2.0, rel=0.05)
    assert abs(line.gain - 2) < 4 * line.gain_error


@pytest.mark.parametrize("spoilt", ["fine", "coarse", "both"])
def test_a_tenth_of_outliers_does_no_harm(spoilt):
    fine, coarse = pair(2.0, 0.1, sigma=4)
    rng = np.random.default_rng(2)
    for image, name in ((fine, "fine"), (coarse, "coarse")):
        if spoilt in (name, "both"):
            bad = rng.random(image.shape) < 0.1
            image[bad] = rng.uniform(0, 2 * image.max(), bad.sum())
    line = registered_line(fine, coarse)
    assert line.gain == pytest.approx(2.0, rel=0.03)
    assert line.offset == pytest.approx(0.1, abs=0.03)


def test_a_cloud_does_no_harm():
    fine, coarse = pair(2.0, 0.1, sigma=4)
    fine[5:18, 8:20] = 1.0
    line = registered_line(fine, coarse)
    assert line.gain == pytest.approx(2.0, rel=0.01)


def test_most_of_a_scene_may_be_one_dark_background():
    fine, coarse = pair(2.0, 0.1, sigma=4)
    fine[:, :27], coarse[:, :27] = 0.0, 0.1
    assert registered_line(fine, coarse).gain == pytest.approx(2.0, rel=0.01)


def test_unknown_cells_are_left_out():
    fine, coarse = pair(2.0, 0.1)
    fine[3], coarse[:, 7] = np.nan, np.nan
    line = registered_line(fine, coarse)
    assert line.gain == pytest.approx(2.0)
    assert line.cells < fine.size


def test_the_kernel_is_as_wide_as_the_cells_can_tell():
    fine, coarse = pair()
    reaches = [registered_line(fine[:n, :n], coarse[:n, :n]).reach for n in (40, 12, 6)]
    assert reaches == [2, 1, 0]


def test_a_falling_line_has_a_negative_gain_and_correlation():
    line = registered_line(*pair(-2.0, 1.0))
    assert line.gain == pytest.approx(-2.0)
    assert line.correlation == pytest.approx(-1)


def test_unrelated_images_do_not_correlate():
    line = registered_line(averaged(texture(seed=1)), averaged(texture(seed=2)))
    assert abs(line.correlation) < 0.5


def test_there_is_no_line_without_cells_or_contrast():
    fine, coarse = pair()
    assert registered_line(fine[:4, :4], coarse[:4, :4]) is None
    assert registered_line(np.full_like(fine, 0.3), coarse) is None
    assert registered_line(fine, np.full_like(coarse, 0.3)) is None
    assert registered_line(np.full_like(fine, np.nan), coarse) is None


def test_agreement_is_judged_by_gain_and_by_level():
    assert registered_line(*pair(1.0, 0.0, sigma=6)).agrees_with_identity(0.02)
    assert not registered_line(*pair(1.1, -0.04)).agrees_with_identity(0.02)
    assert not registered_line(*pair(1.0, 0.01)).agrees_with_identity(0.02)


def test_moments_match_images_in_any_order():
    fine, coarse = pair(2.0, 0.1)
    line = moment_line(fine.ravel(), np.random.default_rng(0).permutation(coarse.ravel()))
    assert line.gain == pytest.approx(2.0)
    assert line.offset == pytest.approx(0.1)
    assert np.isnan(line.correlation)
    assert line.reach is None


def test_moments_bear_a_few_outliers():
    fine, coarse = (each.ravel() for each in pair(2.0, 0.1))
    fine[::20] = 9.0
    assert moment_line(fine, coarse).gain == pytest.approx(2.0, rel=0.15)


def test_there_are_no_moments_without_values_or_contrast():
    assert moment_line(np.full(9, np.nan), np.arange(9.0)) is None
    assert moment_line(np.ones(9), np.arange(9.0)) is None
