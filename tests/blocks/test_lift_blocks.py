"""Blocks leave no seams, whoever computes them."""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
from dask.array.utils import assert_eq
from distributed import Client
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_xr.blocks import Prior, lift_blocks, lifted_from
from lift_xr.models import Model, Pairs, train_method
from lift_xr.window import Window
from tests.clusters import two_workers
from tests.strategies import chunks

HEIGHT, WIDTH = 67, 41  # primes


def model(method: str = "linear") -> Model:
    """A small model that is cheap to fit, with the parts the blocks floor needs."""
    rng = np.random.default_rng(2)
    srf = np.full((3, 6), 1 / 6) + 0.1 * np.eye(3, 6)
    srf /= srf.sum(axis=1, keepdims=True)
    pairs = Pairs(rng.random((50, 6)).astype("float32"), srf, "1")
    network, _ = train_method(method, pairs, seed=0, device="cpu")
    arrays = {f"lift.{name}": array for name, array in network.arrays().items()}
    arrays["wavelength"] = np.linspace(400, 900, 6)
    return Model(arrays, {"kind": "dense", "network": network.settings(), "method": method})


@pytest.fixture(scope="module")
def fitted() -> Model:
    return model("sin-paper")


def mosaic() -> np.ndarray:
    values = np.random.default_rng(4).random((3, HEIGHT, WIDTH)).astype("float32")
    values[:, 5, 6] = np.nan
    return values


@pytest.fixture(scope="module")
def cluster() -> Iterator[Client]:
    with two_workers() as client:
        yield client


@settings(deadline=None, max_examples=30)
@given(chunks(HEIGHT), chunks(WIDTH))
def test_blocks_leave_no_seams(rows: tuple, columns: tuple) -> None:
    lifter = _sin()
    whole = lifter(mosaic())
    cut = lift_blocks(da.from_array(mosaic(), chunks=(3, rows, columns)), lifter)
    np.testing.assert_array_equal(cut.compute(), whole)


_SIN: list[Model] = []


def _sin() -> Model:
    """One fitted network for all examples that hypothesis draws."""
    if not _SIN:
        _SIN.append(model("sin-paper"))
    return _SIN[0]


@pytest.mark.parametrize("scheduler", ["synchronous", "threads", "processes"])
def test_every_scheduler_gives_the_same_bytes(fitted: Model, scheduler: str) -> None:
    lifted = lift_blocks(da.from_array(mosaic(), chunks=(3, 13, 11)), fitted)
    found = lifted.compute(scheduler=scheduler)
    np.testing.assert_array_equal(found, fitted(mosaic()))


def test_a_cluster_of_two_processes_gives_the_same_bytes(fitted: Model, cluster: Client) -> None:
    lifted = lift_blocks(da.from_array(mosaic(), chunks=(3, 13, 11)), fitted)
    with dask.config.set(scheduler=None):
        np.testing.assert_array_equal(cluster.compute(lifted).result(), fitted(mosaic()))


def test_chunks_and_dtype_are_as_declared(fitted: Model) -> None:
    lifted = lift_blocks(da.from_array(mosaic(), chunks=(3, 20, 40)), fitted)
    assert_eq(lifted, fitted(mosaic()))
    assert lifted.chunks == ((6,), (20, 20, 20, 7), (40, 1))
    assert lifted.dtype == np.float32


def test_the_same_work_has_the_same_name(fitted: Model) -> None:
    lazy = da.from_array(mosaic(), chunks=(3, 20, 20), name="mosaic")
    again = Model(dict(fitted.arrays), dict(fitted.about))
    assert lift_blocks(lazy, fitted).name == lift_blocks(lazy, again).name
    assert lift_blocks(lazy, fitted).name != lift_blocks(lazy, model("linear")).name


def test_building_the_graph_computes_nothing(fitted: Model) -> None:
    def refuse(*_: object) -> np.ndarray:
        raise AssertionError("a block was opened")

    lazy = da.from_array(mosaic(), chunks=(3, 20, 20)).map_blocks(
        refuse, dtype="float32", meta=np.empty((0, 0, 0), "float32")
    )
    assert lift_blocks(lazy, fitted).shape == (6, HEIGHT, WIDTH)


def test_tasks_are_no_more_than_blocks_and_three(fitted: Model) -> None:
    """Three values: the mosaic, the model, and the note, which dask drops or not as hashes fall."""
    lazy = da.from_array(OnDisk(), chunks=(3, 10, 10))
    lifted = lift_blocks(lazy, fitted)
    (optimised,) = dask.optimize(lifted)
    assert len(dict(optimised.__dask_graph__())) <= lifted.npartitions + 3
    np.testing.assert_array_equal(optimised.compute(), fitted(mosaic()))


class OnDisk:
    """An array that is read piece by piece, as a file is."""

    shape, dtype, ndim = (3, HEIGHT, WIDTH), np.dtype("float32"), 3

    def __getitem__(self, window: tuple[slice, ...]) -> np.ndarray:
        return mosaic()[window]


def test_leading_time_is_lifted_image_by_image(fitted: Model) -> None:
    images = np.stack([mosaic(), mosaic()[::-1].copy(), mosaic() / 2])
    lazy = da.from_array(images, chunks=(1, 3, 30, 30))
    expected = np.stack([fitted(image) for image in images])
    np.testing.assert_array_equal(lift_blocks(lazy, fitted).compute(), expected)


class CountedModel(Model):
    """Leaves a file behind each time it is unpickled."""

    def __setstate__(self, state: dict) -> None:
        folder = Path(os.environ["LIFT_XR_TEST_COUNT"])
        handle = (folder / f"{os.getpid()}.{len(list(folder.iterdir()))}").open("x")
        handle.close()
        self.__dict__.update(state)


def test_the_model_is_unpickled_once_per_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIFT_XR_TEST_COUNT", str(tmp_path))
    plain = model("linear")
    counted = CountedModel(plain.arrays, plain.about)
    with two_workers(env={"LIFT_XR_TEST_COUNT": str(tmp_path)}) as client:
        lazy = da.ones((3, 400, 400), chunks=(3, 20, 20), dtype="float32")
        client.compute(lift_blocks(lazy, counted).sum()).result()
    here = str(os.getpid())
    workers = [path.name.split(".")[0] for path in tmp_path.iterdir()]
    assert 1 <= len([pid for pid in workers if pid != here]) <= 2
    assert len(workers) == len(set(workers))


class Neighbours:
    """The mean of each pixel's 3 x 3 window: looks one pixel sideways."""

    bands, halo, prior = 3, 1, None

    def __call__(self, block: np.ndarray, device: str = "cpu", prior: object = None) -> np.ndarray:
        padded = np.pad(block, ((0, 0), (1, 1), (1, 1)), mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
        return windows.mean(axis=(3, 4), dtype="float64").astype("float32")

    def __dask_tokenize__(self) -> str:
        return "Neighbours"


@settings(deadline=None, max_examples=10)
@given(chunks(HEIGHT), chunks(WIDTH))
def test_a_model_with_a_halo_leaves_no_seams_either(rows: tuple, columns: tuple) -> None:
    cut = lift_blocks(da.from_array(mosaic(), chunks=(3, rows, columns)), Neighbours())
    np.testing.assert_array_equal(cut.compute(), Neighbours()(mosaic()))


class Cellwise:
    """The cell a pixel lies in, and the mean of the cells around it: looks at the cube again."""

    bands, halo, prior = 2, 2, 1

    def __call__(
        self, block: np.ndarray, device: str = "cpu", prior: Window | None = None
    ) -> np.ndarray:
        assert prior is not None
        cells, (top, left) = prior.cells, prior.offset
        rows = (np.arange(block.shape[1]) - top) // prior.ratio
        columns = (np.arange(block.shape[2]) - left) // prior.ratio
        around = [cells[0, rows + dy][:, columns + dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
        own = cells[0, rows][:, columns]
        return np.stack([own, np.nanmean(around, axis=0)]).astype("float32") + 0 * block[:1]

    def __dask_tokenize__(self) -> str:
        return "Cellwise"


@settings(deadline=None, max_examples=10)
@given(chunks(HEIGHT), chunks(WIDTH), st.integers(-9, 5), st.integers(-5, 9))
def test_every_block_is_given_the_cells_it_lies_in(
    rows: tuple, columns: tuple, top: int, left: int
) -> None:
    cells = np.arange(1, 1 + 11 * 8, dtype="float32").reshape(1, 11, 8)
    prior = Prior(da.from_array(cells, chunks=(1, 3, 5)), 7, (top, left))
    image = np.zeros((3, HEIGHT, WIDTH), "float32")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a mean of no cells at all
        cut = lift_blocks(da.from_array(image, chunks=(3, rows, columns)), Cellwise(), prior=prior)
        found = cut.compute(scheduler="synchronous")
    expected = np.full((HEIGHT, WIDTH), np.nan, "float32")
    for y, x in np.ndindex(HEIGHT, WIDTH):
        row, column = (y - top) // 7, (x - left) // 7
        if 0 <= row < 11 and 0 <= column < 8:
            expected[y, x] = cells[0, row, column]
    np.testing.assert_array_equal(found[0], expected)
    again = lifted_from(cut).again(((2,), (HEIGHT,), (WIDTH,)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        np.testing.assert_array_equal(again.compute(scheduler="synchronous"), found)


@settings(deadline=None, max_examples=10)
@given(chunks(HEIGHT), chunks(WIDTH), chunks(HEIGHT), chunks(WIDTH))
def test_an_array_can_be_lifted_again_in_other_blocks(
    rows: tuple, columns: tuple, rows_again: tuple, columns_again: tuple
) -> None:
    for lifter in (_sin(), Neighbours()):
        cut = lift_blocks(da.from_array(mosaic(), chunks=(3, rows, columns)), lifter)
        again = lifted_from(cut).again(((lifter.bands,), rows_again, columns_again))
        assert again.chunks == ((lifter.bands,), rows_again, columns_again)
        np.testing.assert_array_equal(again.compute(), cut.compute())


def test_an_array_says_what_it_was_lifted_from(fitted: Model) -> None:
    lazy = da.from_array(mosaic(), chunks=(3, 20, 20))
    cut = lift_blocks(lazy, fitted, device="cpu")
    found = lifted_from(pickle.loads(pickle.dumps(cut)))
    assert (found.msi.name, found.msi.chunks, found.device) == (lazy.name, lazy.chunks, "cpu")
    assert found.model.digest == fitted.digest
    for other in (lazy, cut + 1, cut[:, :30], cut.rechunk(67)):
        assert lifted_from(other) is None


def test_a_mosaic_that_is_only_read_is_read_once_by_windows(fitted: Model) -> None:
    source = Counting()
    lazy = da.from_array(source, chunks=(3, 10, 41), meta=np.empty((0, 0, 0), "float32"))
    again = lifted_from(lift_blocks(lazy, fitted)).again(((6,), (32, 35), (20, 21)))
    np.testing.assert_array_equal(again.compute(scheduler="synchronous"), fitted(mosaic()))
    assert sorted(source.read) == sorted([(3, 32, 20), (3, 32, 21), (3, 35, 20), (3, 35, 21)])


class Counting(OnDisk):
    """Remembers how much was read each time."""

    def __init__(self) -> None:
        self.read: list[tuple[int, ...]] = []

    def __getitem__(self, window: tuple[slice, ...]) -> np.ndarray:
        values = super().__getitem__(window)
        self.read.append(values.shape)
        return values
