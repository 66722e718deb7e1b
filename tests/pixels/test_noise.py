from __future__ import annotations

import numpy as np
import pytest

from lift_xr.noise import TILE, normals


@pytest.mark.parametrize("corner", [(0, 0), (63, 64), (130, 7), (1000, 5000)])
@pytest.mark.parametrize("shape", [(1, 1), (7, 130), (64, 64)])
def test_a_window_sees_its_part_of_the_plane(
    corner: tuple[int, int], shape: tuple[int, int]
) -> None:
    top, left = corner[0] // TILE * TILE, corner[1] // TILE * TILE
    whole = normals((4 * TILE, 4 * TILE), plane=2, corner=(top, left), seed=3)
    rows, columns = (slice(at % TILE, at % TILE + n) for at, n in zip(corner, shape, strict=True))
    np.testing.assert_array_equal(
        normals(shape, plane=2, corner=corner, seed=3), whole[rows, columns]
    )


def test_values_are_standard_normal() -> None:
    drawn = normals((500, 400), plane=0, corner=(0, 0), seed=0)
    assert drawn.mean() == pytest.approx(0, abs=0.01)
    assert drawn.std() == pytest.approx(1, abs=0.01)
    assert (drawn**4).mean() == pytest.approx(3, abs=0.1)


def test_planes_seeds_streams_and_tiles_are_independent() -> None:
    shape, corner = (64, 64), (0, 0)
    fields = [
        normals(shape, plane=0, corner=corner, seed=0),
        normals(shape, plane=1, corner=corner, seed=0),
        normals(shape, plane=0, corner=corner, seed=1),
        normals(shape, plane=0, corner=corner, seed=0, stream=1),
        normals(shape, plane=0, corner=(64, 0), seed=0),
        normals(shape, plane=0, corner=(0, 64), seed=0),
    ]
    correlation = np.corrcoef([field.ravel() for field in fields])
    assert np.abs(correlation - np.eye(len(fields))).max() < 0.06  # four deviations of 64 x 64
