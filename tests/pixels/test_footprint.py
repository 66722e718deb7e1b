"""What a cell sees of the pixels, and what is known of pixels from cells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lift_xr import psf
from lift_xr.footprint import Footprint, Overlay, Place, brightness, darkness
from lift_xr.kriging import SIDE, Kriging, errors_held_out, held_out, spread_over_pixels

RANDOM = np.random.default_rng(0)
KERNEL = RANDOM.random((5, 3))
KERNEL /= KERNEL.sum()


def test_a_cell_sees_the_mean_of_the_blurred_pixels() -> None:
    image = RANDOM.random((2, 40, 48))
    blurred = psf.spread(np.pad(image, [(0, 0), (2, 2), (1, 1)]).astype("float32"), KERNEL)
    wanted = blurred.reshape(2, 10, 4, 12, 4).mean(axis=(2, 4))
    found = Footprint(KERNEL, 4).over(image, (0, 0), (10, 12))
    np.testing.assert_allclose(found[:, 1:-1, 1:-1], wanted[:, 1:-1, 1:-1], rtol=1e-5)


def test_missing_pixels_leave_a_flat_scene_flat() -> None:
    image = np.full((1, 16, 16), 0.3)
    image[0, 5:7] = np.nan
    found = Footprint(KERNEL, 4).over(image, (0, 0), (4, 4))
    np.testing.assert_allclose(found, 0.3)


def test_a_cell_without_half_of_its_pixels_is_not_known() -> None:
    image = np.ones((1, 8, 8))
    image[0, :3] = np.nan
    found = Footprint(KERNEL, 4).over(image, (0, 0), (2, 2))
    assert np.isnan(found[0, 0]).all()
    assert np.isfinite(found[0, 1]).all()


def test_the_window_may_begin_before_the_image_and_end_behind_it() -> None:
    image = RANDOM.random((1, 16, 16))
    footprint = Footprint(KERNEL, 4)
    whole = footprint.over(image, (0, 0), (4, 4))
    wider = footprint.over(image, (-8, -4), (7, 7))
    np.testing.assert_array_equal(wider[:, 2:6, 1:5], whole)
    assert np.isnan(wider[:, 0]).all()


def test_dimmed_cells_are_seen_as_dimmed_and_dark_ones_are_left_alone() -> None:
    seen = np.full((3, 1, 3), 0.5)
    seen[..., 2] = 0.001
    held = seen * np.array([0.7, 1.001, 2.0])
    gain = brightness(held, seen, darkness([seen]), 0.01)
    np.testing.assert_allclose(gain[0], [0.7, 1.0, 1.0], atol=0.02)


@pytest.mark.parametrize("places", [1, 4])
def test_fewer_cells_keep_the_pixels_that_they_saw(places: int) -> None:
    footprint, margin = Footprint(KERNEL, 4), 2
    whole = [_place(RANDOM.random((2, 60 * 4, 50 * 4)), footprint, margin) for _ in range(places)]
    overlay = Overlay(footprint, tuple(whole))
    some = overlay.within(9 * 12 * 12 * 16)
    assert sum(each.hsi[0].size for each in some.places) <= 9 * 12 * 12
    assert some.nbytes < overlay.nbytes
    for place in some.places:
        seen = footprint.over(place.msi, place.offset(4), place.hsi.shape[1:])
        np.testing.assert_allclose(seen, place.hsi, rtol=1e-9)
    assert overlay.within(10**9).places == overlay.places
    gap = replace(
        whole[0], hsi=np.where(np.arange(whole[0].hsi.shape[2]) < 20, np.nan, whole[0].hsi)
    )
    for place in Overlay(footprint, (gap,)).within(9 * 8 * 8 * 16).places:
        assert np.isfinite(place.hsi).any()


def _place(image: np.ndarray, footprint: Footprint, margin: int) -> Place:
    """The cells of an image but for a margin, and all its pixels."""
    inner = [size // footprint.ratio - 2 * margin for size in image.shape[1:]]
    first = margin * footprint.ratio
    return Place(footprint.over(image, (first, first), tuple(inner)), image, margin)


@pytest.mark.parametrize("reach", [0.5, 2.0])
def test_kriging_weighs_as_the_covariances_of_pixels_say(reach: float) -> None:
    footprint = Footprint(psf.kernel("gaussian", sigma=1.0, half_width=2), 2)
    known = RANDOM.random(SIDE**2) < 0.7
    found = Kriging(footprint, reach).weights(known, 0.1)
    np.testing.assert_allclose(found, _dense_weights(footprint, reach, known, 0.1), atol=1e-9)


def _dense_weights(
    footprint: Footprint, reach: float, known: np.ndarray, noise: float
) -> np.ndarray:
    """The same from the covariance of every pixel with every other."""
    ratio, size = footprint.ratio, SIDE * footprint.ratio + 2 * footprint.reach[0]
    at = np.arange(size)
    line = np.exp(-((at[:, None] - at) ** 2) / (2 * (reach * ratio) ** 2))
    covariance = np.kron(line, line)
    cells = np.zeros((SIDE**2, size, size))
    for number in range(SIDE**2):
        y, x = (ratio * each for each in divmod(number, SIDE))
        side = footprint.weights.shape[0]
        cells[number, y : y + side, x : x + side] = footprint.weights
    flat = cells.reshape(SIDE**2, -1)
    gram, cross = flat @ covariance @ flat.T, covariance @ flat.T
    first = footprint.reach[0] + SIDE // 2 * ratio
    own = slice(first, first + ratio)
    cross = cross.reshape(size, size, -1)[own, own].reshape(ratio**2, -1)
    out = np.zeros(cross.shape)
    inner = gram[np.ix_(known, known)] + noise * gram[0, 0] * np.eye(known.sum())
    out[:, known] = np.linalg.solve(inner, cross[:, known].T).T
    return out


def test_a_smooth_field_is_predicted_where_it_is_not_known() -> None:
    y, x = np.mgrid[:12, :12] / 12
    field = (np.sin(4 * y) + np.cos(3 * x))[None] - 0.8
    footprint = Footprint(np.ones((1, 1)), 4)
    errors, before, cells = errors_held_out(field, [Kriging(footprint, 2.0)], [0.01])
    assert cells == 144
    assert errors[0, 0, 0] < 0.05 * before[0]


def test_cells_held_out_are_what_their_neighbours_tell() -> None:
    fields = RANDOM.normal(size=(2, 7, 6))
    fields[:, 2, 3] = np.nan
    each = Kriging(Footprint(KERNEL, 4), 1.0), Kriging(Footprint(KERNEL, 4), 0.5)
    found = held_out(fields, each, [0.1, 1.0])
    assert (np.isnan(found) == np.isnan(fields)).all()
    for number, noise in enumerate((0.1, 1.0)):
        errors, *_ = errors_held_out(fields, [each[number]], [noise])
        left = np.nansum((found[number] - fields[number]) ** 2)
        assert left == pytest.approx(errors[0, 0, number])
    changed = fields.copy()
    changed[:, 4, 4] += 5
    assert held_out(changed, each, [0.1, 1.0])[0, 4, 4] == pytest.approx(found[0, 4, 4])


def test_what_is_far_from_known_cells_stays_as_it_is() -> None:
    fields = np.full((1, 9, 9), np.nan)
    fields[0, 0, 0] = 1.0
    spread = spread_over_pixels(fields, [Kriging(Footprint(np.ones((1, 1)), 2), 1.0)], [0.1])
    assert spread[0, 0, 0] > 0.5
    assert (spread[0, 6:] == 0).all()
