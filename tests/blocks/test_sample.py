"""The draw of training pixels depends on the cube and the seed, not on its blocks."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_xr.sample import MERGE, Sample, TooFewDrawn, draw_pixels, scramble
from tests.strategies import chunks

HEIGHT, WIDTH = 23, 17


def cube(nodata: float = 0.0) -> np.ndarray:
    values = np.arange(3 * HEIGHT * WIDTH, dtype="float32").reshape(3, HEIGHT, WIDTH)
    hidden = np.random.default_rng(0).random((HEIGHT, WIDTH)) < nodata
    values[1, hidden] = np.nan
    return values


def draw(values: np.ndarray, blocks: tuple, *, count: int | None, seed: int = 0) -> Sample:
    lazy = da.from_array(values, chunks=(3, *blocks))
    (sample,) = dask.compute(draw_pixels(lazy, count=count, seed=seed))
    return sample


@settings(deadline=None, max_examples=25)
@given(chunks(HEIGHT), chunks(WIDTH), st.sampled_from([1, 40, 1000]))
def test_any_chunking_draws_the_same_pixels(rows: tuple, columns: tuple, count: int) -> None:
    values = cube(nodata=0.3)
    whole = draw(values, (HEIGHT, WIDTH), count=count)
    cut = draw(values, (rows, columns), count=count)
    np.testing.assert_array_equal(whole.pixels, cut.pixels)
    np.testing.assert_array_equal(whole.beside, cut.beside)
    assert (whole.total, whole.valid, whole.infinite) == (cut.total, cut.valid, cut.infinite)


def test_all_pixels_come_in_the_order_of_the_image() -> None:
    values = cube()
    sample = draw(values, (5, 4), count=None)
    np.testing.assert_array_equal(sample.pixels, values.reshape(3, -1).T)


def test_the_neighbours_lie_to_the_right_and_below() -> None:
    values = cube()
    values[1, 5, 6] = np.nan
    sample = draw(values, (5, 4), count=None)
    places = [(y, x) for y in range(HEIGHT) for x in range(WIDTH) if (y, x) != (5, 6)]
    sides = dict(zip(places, sample.beside, strict=True))
    np.testing.assert_array_equal(sides[2, 3], [values[:, 2, 4], values[:, 3, 3]])
    np.testing.assert_array_equal(sides[5, 5], [values[:, 5, 5], values[:, 6, 5]])
    np.testing.assert_array_equal(sides[HEIGHT - 1, WIDTH - 1], [values[:, -1, -1]] * 2)


def test_nodata_is_left_out_and_costs_no_pixels_while_there_are_enough() -> None:
    sample = draw(cube(nodata=0.5), (7, 7), count=100)
    assert sample.pixels.shape == (100, 3)
    assert np.isfinite(sample.pixels).all()
    assert sample.valid < sample.total == HEIGHT * WIDTH


@settings(deadline=None, max_examples=25)
@given(chunks(HEIGHT), chunks(WIDTH), st.sampled_from([1, 20, 60]), st.sampled_from([0, 0.5]))
def test_keeping_less_on_the_way_draws_the_same_or_says_so(
    rows: tuple, columns: tuple, count: int, nodata: float
) -> None:
    values = cube(nodata=nodata)
    lazy = da.from_array(values, chunks=(3, rows, columns))
    wanted = draw(values, (HEIGHT, WIDTH), count=count)
    try:
        (found,) = dask.compute(draw_pixels(lazy, count=count, seed=0, spare=3.0))
    except TooFewDrawn:
        assert count == 1 or nodata
        return
    np.testing.assert_array_equal(found.pixels, wanted.pixels)
    np.testing.assert_array_equal(found.beside, wanted.beside)
    assert (found.total, found.valid) == (wanted.total, wanted.valid)


def test_what_was_seen_is_counted() -> None:
    values = cube()
    values[2, 3, 4] = np.inf
    values[0] = np.nan
    sample = draw(values, (10, 10), count=5)
    assert sample.infinite == 1
    assert sample.valid == 0
    assert sample.finite.tolist() == [0, HEIGHT * WIDTH, HEIGHT * WIDTH - 1]


def test_the_draw_covers_the_image_evenly() -> None:
    values = np.zeros((1, 200, 200), "float32")
    values[0, :, 100:] = 1
    (sample,) = dask.compute(draw_pixels(da.from_array(values), count=4000, seed=1))
    assert abs(sample.pixels.mean() - 0.5) < 4 * 0.5 / np.sqrt(4000)


def test_another_seed_draws_other_pixels() -> None:
    first, second = (draw(cube(), (9, 9), count=50, seed=seed) for seed in (0, 1))
    assert (first.pixels != second.pixels).any()


def test_no_two_pixels_tie() -> None:
    ranks = scramble(np.arange(100_000, dtype="uint64"), 7)
    assert len(np.unique(ranks)) == len(ranks)


def test_many_blocks_are_merged_a_few_at_a_time() -> None:
    lazy = da.zeros((2, 100, 100), chunks=(2, 10, 10), dtype="float32")
    graph = dict(draw_pixels(lazy, count=10, seed=0).__dask_graph__())
    merges = [key for key in graph if str(key).startswith("merge")]
    assert len(merges) >= 100 / MERGE
