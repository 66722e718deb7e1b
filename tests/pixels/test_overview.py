from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lift_xr.overview import STRIP, halve
from lift_xr.packing import MISSING, Packing

CODES, FLOATS = Packing(np.dtype("uint16"), 1e-4), Packing(np.dtype("float32"))


def cell_means(values: np.ndarray) -> np.ndarray:
    """The witness: one cell after the other, in float64, NaN left out."""
    sizes = tuple(-(-size // 2) for size in values.shape)
    means = np.full(sizes, np.nan)
    for y, x in np.ndindex(sizes):
        cell = values[2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
        if not np.isnan(cell).all():
            means[y, x] = np.nanmean(cell.astype("float64"))
    return means


shapes = st.tuples(st.integers(1, 7), st.integers(1, 7))


@given(arrays.arrays("uint16", shapes, elements=st.sampled_from([0, 1, 2, 3, 65533, 65534, 65535])))
def test_codes_become_the_mean_of_those_that_are_data(codes):
    expected = np.rint(cell_means(np.where(codes == MISSING, np.nan, codes)))
    expected[np.isnan(expected)] = MISSING
    np.testing.assert_array_equal(halve(codes, CODES), expected)


@given(
    arrays.arrays(
        "float32", shapes, elements=st.one_of(st.just(np.nan), st.floats(-9, 9, width=32))
    )
)
def test_floats_become_the_mean_of_those_that_are_data(values):
    np.testing.assert_array_equal(halve(values, FLOATS), cell_means(values).astype("float32"))


def test_the_last_row_and_column_are_averaged_by_themselves():
    codes = np.uint16([[0, 4, 7], [2, 6, 9], [10, 20, 30]])
    assert halve(codes, CODES).tolist() == [[3, 8], [15, 30]]


def test_ties_go_to_the_even_code_so_that_levels_do_not_drift():
    codes = np.uint16([[0, 1, 1, 2], [0, 1, 1, 2]])
    assert halve(codes, CODES).tolist() == [[0, 2]]


@pytest.mark.parametrize("packing", [CODES, FLOATS])
def test_strips_leave_no_seams(packing):
    rng = np.random.default_rng(0)
    stored = rng.integers(0, 60000, (2, 2 * STRIP + 5, 9)).astype(packing.dtype)
    stored[:, 100:140, 3:] = packing.fill
    expected = np.stack(
        [cell_means(np.where(band == packing.fill, np.nan, band)) for band in stored]
    )
    expected = np.where(np.isnan(expected), packing.fill, expected)
    found = halve(stored, packing)
    assert found.dtype == packing.dtype
    rounded = np.rint(expected) if packing.packed else expected
    np.testing.assert_array_equal(found, rounded.astype(packing.dtype))


def test_infinite_pixels_pass_in_silence():
    values = np.float32([[np.inf, 1, np.inf, -np.inf], [1, 1, 1, 1]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(halve(values, FLOATS), [[np.inf, np.nan]])
