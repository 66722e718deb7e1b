from __future__ import annotations

from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest

from lift_xr.packing import decode_block, mask_transparent, take_bands
from lift_xr.windows import pieces, spans_of, windows

HEIGHT, WIDTH = 23, 17
ROWS, COLUMNS = spans_of((8, 8, 7), halo=2), spans_of((9, 8))


class Watched:
    """Bytes in a file of four bands, that remembers what was read."""

    shape, dtype, ndim = (4, HEIGHT, WIDTH), np.dtype("uint8"), 3

    def __init__(self) -> None:
        self.read: list[tuple[int, ...]] = []
        self.values = np.random.default_rng(0).integers(0, 9, self.shape, dtype="uint8")

    def __getitem__(self, window: Any) -> np.ndarray:
        self.read.append(self.values[window].shape)
        return self.values[window]


def opened(source: Watched, *, lock: bool = False) -> da.Array:
    """What open_scene makes of such a file: read, decoded, its last band taken as alpha."""
    read = da.from_array(source, chunks=(-1, 10, 10), lock=lock)
    packing = {"nodata": (3,), "scale": np.full(4, 0.5), "offset": np.zeros(4)}
    nothing = np.empty((0, 0, 0), "float32")
    decoded = read.map_blocks(decode_block, **packing, dtype="float32", meta=nothing)
    chunks = ((3,), *read.chunks[1:])
    return decoded.map_blocks(
        mask_transparent, index=3, chunks=chunks, dtype="float32", meta=nothing
    )


@pytest.mark.parametrize("lock", [False, True])
def test_windows_hold_what_slices_hold_however_the_array_is_read(lock: bool) -> None:
    image = opened(Watched(), lock=lock)
    cut = windows(image, ROWS, COLUMNS)
    whole = image.compute()
    for i, rows in enumerate(ROWS):
        for j, columns in enumerate(COLUMNS):
            found = cut.blocks[0, i, j].compute()
            np.testing.assert_array_equal(found, whole[:, slice(*rows), slice(*columns)])


def test_what_is_read_and_decoded_is_read_once_a_window() -> None:
    source = Watched()
    image = opened(source)
    source.read.clear()  # dask looks at nothing of it, to learn what kind of array it is
    windows(image, ROWS, COLUMNS).compute()
    widths = [(4, below - above, right - left) for above, below in ROWS for left, right in COLUMNS]
    assert sorted(source.read) == sorted(widths)


def test_an_array_that_wants_a_lock_keeps_it() -> None:
    source = Watched()
    image = opened(source, lock=True)
    source.read.clear()
    windows(image, ROWS, COLUMNS).compute()
    assert set(source.read) <= {(4, rows, columns) for rows in (10, 3) for columns in (10, 7)}


def test_nothing_is_shuffled_over_a_cluster() -> None:
    lazy = da.ones((3, HEIGHT, WIDTH), chunks=(3, 5, 4)) * 2
    with dask.config.set({"array.rechunk.method": "p2p"}):
        cut = windows(lazy, spans_of((11, 12)), spans_of((17,)))
    assert not any("p2p" in name for name in cut.dask.layers)
    np.testing.assert_array_equal(cut, lazy)


def test_large_blocks_are_read_in_pieces_each_pixel_once_whatever_bands_are_taken() -> None:
    source = Watched()
    image = opened(source)
    kept = np.array([0, 2])
    taken = image.map_blocks(
        take_bands, kept=kept, chunks=((2,), *image.chunks[1:]), dtype="float32", meta=image._meta
    )
    expected = taken.compute()
    source.read.clear()
    cut = pieces(taken, 4)
    np.testing.assert_array_equal(cut.compute(), expected)
    assert max(height * width for _, height, width in source.read) == 16
    assert sum(height * width for _, height, width in source.read) == HEIGHT * WIDTH
    assert pieces(cut, 4) is cut
