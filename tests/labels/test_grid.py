from __future__ import annotations

import numpy as np
import pyproj
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from lift_xr.errors import GridError
from lift_xr.scene import (
    Grid,
    cells,
    compare,
    expect_integer_ratio,
    expect_msi,
    expect_overlap,
    expect_same_crs,
)
from tests.scenes import located, on_grid


def blank(height: int, width: int, **place: float) -> xr.DataArray:
    return on_grid(np.zeros((1, height, width), "float32"), **place)


def test_a_grid_knows_its_corner_step_and_bounds():
    grid = Grid.of(blank(4, 6, spacing=2.0, left=100.0, top=500.0))
    assert (grid.left, grid.top, grid.dx, grid.dy) == (100, 500, 2, -2)
    assert grid.bounds == (100, 492, 112, 500)
    assert grid.describe() == "no CRS, 4 x 6 pixels of 2 x 2 (y, x), x 100 to 112, y 492 to 500"


@pytest.mark.parametrize(
    ("left", "step", "dtype"),
    [
        (300000.0, 0.05, "float64"),
        (272056.3, 0.5, "float32"),
        (-95.4, 0.0002, "float64"),
        (-95.4, 0.0002, "float32"),
    ],
)
def test_a_step_far_from_the_origin_is_the_decimal_it_was(left, step, dtype):
    scene = blank(2, 24040, spacing=step, left=left)
    grid = Grid.of(scene.assign_coords(x=scene.x.astype(dtype)))
    assert grid.dx == step
    assert grid.left == pytest.approx(left, abs=float(np.spacing(np.dtype(dtype).type(abs(left)))))


def test_a_step_that_is_no_decimal_is_kept():
    third = Grid.of(blank(3, 7000, spacing=1 / 3))
    assert third.dx == pytest.approx(1 / 3, rel=1e-15)


def test_a_single_pixel_is_measured_by_its_transform():
    scene = located(1, 1).rio.write_crs("EPSG:32615")
    assert Grid.of(scene).dx == 1
    scene.spatial_ref.attrs["GeoTransform"] = "0 20 0 0 0 -20"
    assert (Grid.of(scene).dx, Grid.of(scene).dy) == (20, -20)


def test_grids_that_nest_are_told():
    match = compare(blank(4, 6, spacing=5.0), blank(20, 30))
    assert (match.ratio_y, match.ratio_x, match.ratio) == (5, 5, 5)
    assert match.integer_ratio
    assert match.same_origin
    assert match.aligned
    assert match.overlap == 1


def test_an_offset_of_whole_pixels_is_aligned_and_half_a_pixel_is_not():
    hsi = blank(4, 4, spacing=5.0)
    inside = compare(hsi, blank(10, 10, left=3.0, top=-2.0))
    assert inside.aligned
    assert not inside.same_origin
    assert inside.overlap == pytest.approx(0.25)
    assert not compare(hsi, blank(10, 10, left=3.5)).aligned


def test_a_ratio_must_be_one_whole_number_both_ways():
    msi = blank(20, 20)
    uneven = msi.isel(y=slice(0, 4)).assign_coords(y=[-2.5, -7.5, -12.5, -17.5])
    assert not compare(blank(4, 4, spacing=4.5), msi).integer_ratio
    assert not compare(uneven, msi).integer_ratio  # 5 down, 1 across
    assert not compare(blank(900, 900, spacing=5.001), msi).integer_ratio  # drifts off


@given(
    ratio=st.integers(1, 7),
    shift=st.tuples(st.integers(-9, 9), st.integers(-9, 9)),
    size=st.tuples(st.integers(1, 13), st.integers(1, 13)),
)
def test_every_msi_pixel_finds_the_cell_its_centre_lies_in(ratio, shift, size):
    hsi = blank(5, 4, spacing=float(ratio), left=1000.0, top=2000.0)
    msi = blank(*size, left=1000.0 + shift[1], top=2000.0 - shift[0])
    rows, columns = cells(hsi, msi)
    for found, start, count, last in (
        (rows, shift[0], size[0], 5),
        (columns, shift[1], size[1], 4),
    ):
        expected = (np.arange(count) + start) // ratio
        expected[(expected < 0) | (expected >= last)] = -1
        np.testing.assert_array_equal(found, expected)


def test_cells_are_found_at_any_ratio_and_either_direction():
    rows, _ = cells(blank(2, 1, spacing=2.5), blank(5, 1))
    assert rows.tolist() == [0, 0, 1, 1, 1]  # the third centre lies on the border
    upward = blank(4, 1).isel(y=slice(None, None, -1))
    assert cells(blank(2, 1, spacing=2.0), upward)[0].tolist() == [1, 1, 0, 0]


def test_a_scene_without_coordinates_is_nowhere():
    hsi = expect_msi(blank(2, 2).drop_vars(("y", "x")))
    msi = expect_msi(blank(4, 4).drop_vars(("y", "x")))
    assert compare(hsi, msi).overlap == 0
    assert (cells(hsi, msi)[0] == -1).all()
    with pytest.raises(GridError, match=r"hsi has no y and x coordinates.*hsi.assign_coords\("):
        expect_overlap(hsi, msi)


def test_scenes_far_apart_are_refused_with_both_places():
    with pytest.raises(GridError, match=r"share no ground.*hsi: .*x 0 to 4.*msi: .*x 50 to 54"):
        expect_overlap(blank(4, 4), blank(4, 4, left=50.0))
    expect_overlap(blank(4, 4), blank(4, 4, left=3.0))


def test_one_crs_or_none_is_expected_of_both():
    bare, utm = located(), located().rio.write_crs("EPSG:32615")
    expect_same_crs(bare, bare)
    expect_same_crs(utm, utm)
    with pytest.raises(GridError, match=r"msi = msi.rio.write_crs\('EPSG:32615'\)"):
        expect_same_crs(utm, bare)
    with pytest.raises(GridError, match=r"EPSG:32615 and msi has EPSG:32616.*rio.reproject"):
        expect_same_crs(utm, located().rio.write_crs("EPSG:32616"))
    assert compare(utm, located().rio.write_crs("EPSG:32616")).overlap == 0


def test_one_crs_in_two_spellings_is_one():
    utm = located().rio.write_crs("EPSG:32615")
    old = located().rio.write_crs(pyproj.CRS(32615).to_wkt("WKT1_GDAL"))
    expect_same_crs(utm, old)


def test_a_broken_ratio_is_refused_with_the_resolution_that_would_do():
    with pytest.raises(GridError, match=r"4.5 x 4.5 msi pixels.*resolution=1\.125.*consistency="):
        expect_integer_ratio(blank(4, 4, spacing=4.5), blank(18, 18))
    expect_integer_ratio(blank(4, 4, spacing=4.0), blank(16, 16))


def test_a_grid_needs_coordinates():
    with pytest.raises(GridError, match="msi has no y coordinate; expected pixel centres"):
        cells(located(), located().drop_vars("y"))
