"""An array made afresh has the same values, and no task in common."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from dask.array.utils import assert_eq

from lift_xr.afresh import made_afresh


def plus_one(array: da.Array) -> da.Array:
    return array.map_blocks(lambda block: block + 1)


ARRAYS = {
    "blocks": plus_one(da.ones((20, 20), chunks=5)),
    "slices": plus_one(da.arange(40, chunks=7))[3:30],
    "other blocks": plus_one(da.arange(40, chunks=7)).rechunk(9),
    "side by side": da.concatenate([da.ones(9, chunks=4)[:5], da.zeros(8, chunks=3)]),
    "one number": da.ones((20, 20), chunks=5).max(),
    "in memory": plus_one(da.arange(40, chunks=7)).persist(scheduler="synchronous"),
}


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS.keys())
def test_the_values_are_the_same_and_nothing_is_shared(array: da.Array) -> None:
    afresh = made_afresh(array)
    assert_eq(afresh, array)
    assert not {*afresh.__dask_keys__()} & {*array.__dask_keys__()} if array.ndim == 1 else True
    assert made_afresh(array).name == afresh.name != array.name


def test_every_block_is_made_for_each_of_the_two() -> None:
    made = []

    def load(block: np.ndarray) -> np.ndarray:
        made.append(block.shape)
        return block

    array = da.ones((20, 20), chunks=5).map_blocks(load, meta=np.empty((0, 0)))
    assert float((array + made_afresh(array.max())).sum().compute(scheduler="synchronous")) == 800
    assert len(made) == 2 * array.npartitions
