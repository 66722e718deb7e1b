from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from dask.array.utils import assert_eq

from lift_xr.margins import with_margin, without_margin

CHUNKS = [
    (3, 17, 23),
    (3, 5, 4),
    (1, (1, 16), (22, 1)),
    (3, (7, 1, 2, 7), (1, 1, 1, 20)),
]


@pytest.mark.parametrize("chunks", CHUNKS)
@pytest.mark.parametrize("reach", [(0, 0), (1, 2), (7, 3), (20, 30)])
def test_every_block_sees_its_neighbourhood(chunks: tuple, reach: tuple[int, int]) -> None:
    values = np.random.default_rng(0).random((3, 17, 23))
    wide = with_margin(da.from_array(values, chunks=chunks), reach=reach, fill=-1.0)
    ends = without_margin(wide, reach=reach)
    around = [(0, 0), *((margin, margin) for margin in reach)]
    padded = np.pad(values, around, constant_values=-1)

    def sums(block: np.ndarray) -> np.ndarray:
        windows = np.lib.stride_tricks.sliding_window_view(
            block, (2 * reach[0] + 1, 2 * reach[1] + 1), axis=(1, 2)
        )
        return windows.sum(axis=(-2, -1))

    found = wide.map_blocks(sums, chunks=ends, meta=np.empty((0, 0, 0)))
    assert found.shape == values.shape
    assert_eq(found, sums(padded))


def test_names_are_the_same_twice() -> None:
    values = da.zeros((2, 30, 30), chunks=(2, 10, 10))
    names = {with_margin(values, reach=(2, 2), fill=np.nan).name for _ in range(2)}
    assert len(names) == 1
