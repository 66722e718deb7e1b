import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_xr.cells import GAP, STRIPE, cell_means, cell_pairs, partials, stripes, window_means
from tests import strategies
from tests.clusters import two_workers

HEIGHT, WIDTH = 23, 31


def image(dtype: str = "float32", bands: int = 2) -> np.ndarray:
    values = np.random.default_rng(0).random((bands, HEIGHT, WIDTH)) * 200
    return values.astype(dtype)


def by_hand(values: np.ndarray, rows: np.ndarray, columns: np.ndarray, shape: tuple) -> np.ndarray:
    """One cell after the other, as the definition says."""
    means = np.full((len(values), *shape), np.nan)
    for row, column in np.ndindex(*shape):
        cell = values[:, rows == row][:, :, columns == column].reshape(len(values), -1)
        cell = cell[:, np.isfinite(cell).all(axis=0)]
        if cell.size:
            means[:, row, column] = cell.astype("float64").mean(axis=1)
    return means.astype("float32")


def index(size: int, ratio: float, *, shift: float = 0.0) -> np.ndarray:
    cells = np.floor((np.arange(size) + 0.5) / ratio + shift).astype(int)
    return np.where(cells < int(size / ratio), cells, -1)


@pytest.mark.parametrize("ratio", [1, 3, 3.7, 10.5])
def test_means_are_those_taken_by_hand(ratio):
    rows, columns = index(HEIGHT, ratio), index(WIDTH, ratio)
    shape = rows.max() + 1, columns.max() + 1
    means, counts = cell_means(da.from_array(image(), chunks=(2, 7, 9)), rows, columns, shape)
    np.testing.assert_array_equal(means, by_hand(image(), rows, columns, shape))
    assert means.dtype == np.float32
    assert counts.sum() == (rows >= 0).sum() * (columns >= 0).sum()


@given(
    chunks=st.tuples(st.just((1, 1)), strategies.chunks(HEIGHT), strategies.chunks(WIDTH)),
    ratio=st.sampled_from([1, 2, 3.3, 7]),
)
@settings(max_examples=25, deadline=None)
def test_means_are_the_same_to_the_bit_for_any_chunking(chunks, ratio):
    rows, columns = index(HEIGHT, ratio), index(WIDTH, ratio)
    shape = rows.max() + 1, columns.max() + 1
    whole, _ = cell_means(da.from_array(image(), chunks=-1), rows, columns, shape)
    cut, _ = cell_means(da.from_array(image(), chunks=chunks), rows, columns, shape)
    np.testing.assert_array_equal(cut, whole)


def test_scenes_stored_upside_down_meet_the_same_cells():
    rows, columns = index(HEIGHT, 4), index(WIDTH, 4)
    shape = rows.max() + 1, columns.max() + 1
    upright, _ = cell_means(da.from_array(image(), chunks=(2, 8, 8)), rows, columns, shape)
    turned = da.from_array(image()[:, ::-1], chunks=(2, 8, 8))
    np.testing.assert_array_equal(cell_means(turned, rows[::-1], columns, shape)[0], upright)


def test_integers_are_summed_without_overflow():
    values = np.full((1, 64, 64), 250, "uint8")
    rows = np.repeat([0, 1], 32)
    means, counts = cell_means(da.from_array(values, chunks=(1, 20, 64)), rows, rows, (2, 2))
    assert (means == 250).all()
    assert (counts == 32 * 32).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_pixel_bad_in_one_band_is_left_out_of_all(bad):
    values = np.ones((2, 4, 4), "float32")
    values[1, 0, 0], values[0, 0, 0] = bad, 99
    rows = np.array([0, 0, 1, 1])
    means, counts = cell_means(da.from_array(values), rows, rows, (2, 2))
    assert (means == 1).all()
    assert counts.tolist() == [[3, 4], [4, 4]]


def test_cells_less_than_half_valid_are_nan():
    values = np.ones((1, 4, 4), "float32")
    values[0, 0, 0] = values[0, 0, 1] = values[0, 1, 0] = np.nan  # 1 of 4 left
    values[0, 2, 2] = values[0, 2, 3] = np.nan  # 2 of 4 left
    rows = np.array([0, 0, 1, 1])
    means, _ = cell_means(da.from_array(values), rows, rows, (2, 2))
    assert np.isnan(means[0]).tolist() == [[True, False], [False, False]]


def test_cells_that_reach_half_beyond_the_image_are_whole_cells_half_known():
    rows, columns = np.array([0, 1, 1, 1, 1]), np.array([0, 0, 0, 0])
    means, _ = cell_means(da.ones((1, 5, 4)), rows, columns, (2, 1))
    assert np.isnan(means[0]).tolist() == [[True], [False]]


def test_blocks_without_cells_are_not_read():
    rows = np.where(np.arange(40) < 10, np.arange(40) // 5, -1)
    assert len(partials(da.zeros((1, 40, 40), chunks=(1, 10, 20)), rows, np.zeros(40, int))) == 2


def test_what_a_block_hands_over_is_only_the_cells_it_touches():
    rows = np.arange(1000) // 10
    (part,) = dask.compute(partials(da.zeros((3, 1000, 1000), chunks=100), rows, rows))
    assert max(each.sums.size for each in part) == 3 * 10 * 10


def test_names_of_tasks_come_from_content():
    rows = np.arange(40) // 5
    twice = [
        [each.key for each in partials(da.zeros((1, 40, 40), chunks=20), rows, rows)] for _ in "12"
    ]
    assert twice[0] == twice[1]


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_means_do_not_depend_on_the_scheduler(scheduler):
    rows, columns = index(HEIGHT, 3.3), index(WIDTH, 3.3)
    shape = rows.max() + 1, columns.max() + 1
    data = da.from_array(image(), chunks=(1, 5, 6))
    with dask.config.set(scheduler=scheduler):
        means, _ = cell_means(data, rows, columns, shape)
    np.testing.assert_array_equal(means, by_hand(image(), rows, columns, shape))


def test_means_are_computed_by_a_cluster_too():
    rows = index(HEIGHT, 3)
    shape = rows.max() + 1, rows.max() + 1
    data = da.from_array(image(), chunks=(2, 9, 9))[:, :, :HEIGHT]
    here, _ = cell_means(data, rows, rows, shape)
    with two_workers():
        there, _ = cell_means(data, rows, rows, shape)
    np.testing.assert_array_equal(there, here)


def test_pairs_hold_the_coarse_image_as_it_is_beside_the_means_of_the_fine():
    fine, rows = da.from_array(image()), index(HEIGHT, 3)
    columns = index(WIDTH, 3)
    coarse = da.random.default_rng(1).random((5, 9, 12), chunks=4).persist()
    one, other = cell_pairs(coarse, fine, rows, columns, limit=1000)
    np.testing.assert_array_equal(one, coarse.compute()[:, :7, :10].astype("float32"))
    np.testing.assert_array_equal(other, by_hand(image(), rows, columns, (7, 10)))


def test_large_scenes_are_thinned_to_stripes_that_are_kept_apart():
    size = 1000
    coarse = da.ones((1, size, size), chunks=250) * da.arange(size, chunks=250)
    every = np.arange(size)
    one, other = cell_pairs(coarse, coarse, every, every, limit=200 * 200)
    assert one.shape == (1, 3 * STRIPE + 2 * GAP, 3 * STRIPE + 2 * GAP)
    np.testing.assert_array_equal(one, other)
    kept = one[0, 0][np.isfinite(one[0, 0])]
    assert kept[0] == 0
    assert kept[-1] == size - 1
    assert np.isnan(one[0, :, STRIPE : STRIPE + GAP]).all()


def test_stripes_never_overlap():
    for size in range(60, 400, 7):
        for keep in range(1, size + 1, 11):
            index = stripes(size, keep=keep, start=3, stop=size - 2)
            assert np.unique(index[index >= 0]).size == (index >= 0).sum()
            assert (np.diff(index[index >= 0]) > 0).all()
            assert (index >= 0).sum() <= max(keep, STRIPE)


def test_windows_hold_whole_ratios_only():
    values = da.from_array(np.arange(70, dtype="float32").reshape(1, 7, 10))
    means = window_means(values, (2.0, 3.0), limit=100)
    assert means.shape == (1, 3, 3)
    assert means[0, 0, 0] == np.mean([0, 1, 2, 10, 11, 12])
