"""Bands that lie apart are found, whatever else differs between the two images."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage

from lift_xr.bandshift import bands_apart
from lift_xr.models.rounds import most_apart


def scene(bands: int = 16, side: int = 30) -> np.ndarray:
    """Smooth, and alike in all bands, as scenes are."""
    rough = np.random.default_rng(2).random((3, side, side))
    smooth = np.stack([scipy.ndimage.gaussian_filter(each, 2) for each in rough])
    return np.tensordot(np.random.default_rng(3).random((bands, 3)) + 0.2, smooth, axes=1)


def moved(cube: np.ndarray, cells: float, bands: slice) -> np.ndarray:
    out = cube.copy()
    out[bands] = np.stack(
        [scipy.ndimage.shift(each, (0, cells), mode="nearest") for each in out[bands]]
    )
    return out


@pytest.mark.parametrize("cells", [0.2, -0.3])
def test_how_far_some_bands_lie_from_the_others(cells: float) -> None:
    cube = scene()
    found, by_chance = bands_apart([moved(cube, cells, slice(8, 16))], [cube])
    assert by_chance < 0.02
    assert found == pytest.approx(abs(cells), rel=0.15)


def test_what_all_bands_share_does_not_count() -> None:
    cube = scene()
    noisy = moved(1.1 * cube + 0.02, 0.3, slice(None))
    noisy += np.random.default_rng(4).normal(scale=0.001, size=cube.shape)
    assert bands_apart([noisy], [cube])[0] < 0.05


def test_unknown_cells_are_left_out_and_too_few_tell_nothing() -> None:
    cube = scene()
    holed = moved(cube, 0.2, slice(8, 16))
    holed[:, 5:12, 5:25] = np.nan
    assert bands_apart([holed], [cube])[0] == pytest.approx(0.2, rel=0.2)
    assert bands_apart([cube[:, :2, :2]], [cube[:, :2, :2]]) == (0, 0)


def few(cells: int, unknown: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A small cube, and what a network makes of it that does not know all; on one another."""
    random = np.random.default_rng(seed)

    def smooth(count: int, width: float) -> np.ndarray:
        rough = random.normal(size=(count, cells, cells))
        fields = np.stack([scipy.ndimage.gaussian_filter(each, width) for each in rough])
        return fields / fields.std(axis=(1, 2), keepdims=True)

    lifted = np.tensordot(random.random((16, 3)) + 0.2, smooth(3, 1.2), axes=1)
    missing = np.tensordot(random.normal(size=(16, 2)), smooth(2, 0.7), axes=1)
    return lifted + unknown * missing, lifted


@pytest.mark.parametrize(("cells", "unknown"), [(8, 0.06), (10, 0.08), (12, 0.12)])
def test_few_cells_are_not_refused_for_what_chance_brings(cells: int, unknown: float) -> None:
    refused = {0.0: 0, 0.3: 0}
    for seed in range(40):
        held, lifted = few(cells, unknown, seed)
        for shift in refused:
            apart, by_chance = bands_apart([moved(held, shift, slice(8, 16))], [lifted])
            refused[shift] += apart > most_apart(by_chance)
    assert refused[0.0] <= 5  # one in eight at most; by the distance alone, one in four
    assert refused[0.3] == 40
