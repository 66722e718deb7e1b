"""Draw training pixels from a cube of any size, the same ones for any chunking."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask.delayed import Delayed, delayed

from lift_xr.windows import pieces

EDGE = 320  # pixels; a chunk of our stores, so that none is decoded twice
MERGE = 8  # samples joined in one task, so that no task holds more than this many
SPARE = 4.0  # times as many pixels as are wanted: enough, unless most of the cube is nodata


@dataclass(frozen=True, eq=False)
class Sample:
    """Pixels drawn from a cube, and what was seen while drawing.

    Attributes
    ----------
    pixels
        (pixel, band) float32, finite in every band.
    beside
        (pixel, 2, band) float32: the pixels to the right and below, or the pixel itself where
        these are nodata or outside the cube.
    rank
        (pixel,) uint64: the order of the draw. The lowest ranks of the whole cube are kept.
    total, valid, infinite
        Pixels looked at; finite in every band; infinite in some band.
    finite
        (band,): pixels that are finite in each band.
    """

    pixels: npt.NDArray[np.float32]
    beside: npt.NDArray[np.float32]
    rank: npt.NDArray[np.uint64]
    total: int
    valid: int
    infinite: int
    finite: npt.NDArray[np.int64]


class TooFewDrawn(RuntimeError):
    """Most of the cube is nodata: what was kept of each piece is not what the draw needs."""


def draw_pixels(
    cube: da.Array, *, count: int | None, seed: int, spare: float | None = None
) -> Delayed:
    """A uniform sample of the valid pixels of ``cube``, as one delayed :class:`Sample`.

    Every pixel has a rank that depends on its place and the seed alone; the ``count`` lowest ranks
    among valid pixels win. So the sample is the same for any chunking, nodata costs no pixels
    while there are enough, and no task holds more than a few times ``count`` of them. The cube is
    read in pieces of at most ``EDGE`` pixels, which are let go once they are drawn from.

    Computing it raises TooFewDrawn where ``spare`` was too little.

    Parameters
    ----------
    cube : (band, y, x)
        One chunk along the bands. Read once, block by block.
    count
        Pixels wanted; None takes all of them, in the order of the image.
    seed
        Of the draw.
    spare
        Keep, of all pieces together, only about this many times ``count`` pixels, nodata included,
        on the way to the lowest ranks; None keeps ``count`` of each.
    """
    assert cube.numblocks[0] == 1, "the bands must be in one chunk"
    limit = None  # of the rank
    if count is not None and spare is not None:
        share = spare * count / (cube.shape[1] * cube.shape[2])
        limit = round(share * 2**32) * 2**32 if share < 1 else None
    settings = {"width": cube.shape[2], "count": count, "seed": seed, "limit": limit}
    one_more = {0: 0, 1: (0, 1), 2: (0, 1)}  # row below and column to the right, for ``beside``
    cube = pieces(cube, EDGE)
    lent = da.overlap.overlap(cube, one_more, boundary="none", allow_rechunk=False)
    blocks = lent.to_delayed()[0]
    samples = [
        delayed(draw_from_block)(block, (top, rows), (left, columns), **settings)
        for row, top, rows in zip(blocks, _starts(cube.chunks[1]), cube.chunks[1], strict=True)
        for block, left, columns in zip(row, _starts(cube.chunks[2]), cube.chunks[2], strict=True)
    ]
    while len(samples) > 1:
        groups = batched_lists(samples, MERGE)
        samples = [delayed(merge)(group, count=count) for group in groups]
    return samples[0] if limit is None else delayed(enough)(samples[0], count=count)


def enough(sample: Sample, *, count: int) -> Sample:
    """The sample, if those of its pixels that were kept are as many as could be drawn."""
    if len(sample.pixels) < min(count, sample.valid):
        raise TooFewDrawn(f"{len(sample.pixels)} of {count}")
    return sample


def draw_from_block(
    block: npt.NDArray[np.float32],
    vertical: tuple[int, int],
    horizontal: tuple[int, int],
    *,
    width: int,
    count: int | None,
    seed: int,
    limit: int | None = None,
) -> Sample:
    """The pixels of one block with the lowest ranks, below ``limit``.

    ``vertical`` and ``horizontal`` are its start and length in the cube, without the row and the
    column it was lent.
    """
    (top, rows), (left, columns) = vertical, horizontal
    own = block[:, :rows, :columns]
    finite = np.isfinite(own)
    valid = finite.all(axis=0).reshape(-1)
    place = (top + np.arange(rows))[:, None] * width + (left + np.arange(columns))
    kept = np.flatnonzero(valid)
    rank = place.reshape(-1)[kept].astype(np.uint64)
    if count is not None:
        rank = scramble(rank, seed)
    below = np.arange(len(rank)) if limit is None else np.flatnonzero(rank < np.uint64(limit))
    best = below[np.argsort(rank[below])[:count]]
    row, column = np.divmod(kept[best], columns)
    return Sample(
        pixels=np.ascontiguousarray(block[:, row, column].T),
        beside=_beside(block, row, column),
        rank=rank[best],
        total=valid.size,
        valid=int(kept.size),
        infinite=int(np.isinf(own).any(axis=0).sum()),
        finite=finite.sum(axis=(1, 2)),
    )


def _beside(
    block: npt.NDArray[np.float32], row: npt.NDArray[np.int64], column: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """(pixel, 2, band): what lies to the right of each pixel and below it."""
    below, right = (
        np.minimum(row + 1, block.shape[1] - 1),
        np.minimum(column + 1, block.shape[2] - 1),
    )
    pixels, *sides = (block[:, y, x].T for y, x in ((row, column), (row, right), (below, column)))
    valid = [np.isfinite(side).all(axis=1, keepdims=True) for side in sides]
    kept = [np.where(good, side, pixels) for good, side in zip(valid, sides, strict=True)]
    return np.stack(kept, axis=1)


def merge(samples: list[Sample], *, count: int | None) -> Sample:
    """One sample of several, from as many different blocks."""
    rank = np.concatenate([each.rank for each in samples])
    best = np.argsort(rank)[:count]
    return Sample(
        pixels=np.concatenate([each.pixels for each in samples])[best],
        beside=np.concatenate([each.beside for each in samples])[best],
        rank=rank[best],
        total=sum(each.total for each in samples),
        valid=sum(each.valid for each in samples),
        infinite=sum(each.infinite for each in samples),
        finite=np.sum([each.finite for each in samples], axis=0),
    )


def scramble(values: npt.NDArray[np.uint64], seed: int) -> npt.NDArray[np.uint64]:
    """SplitMix64 (Steele and others, 2014): a bijection, so different pixels never tie."""
    mixed = values + np.uint64((seed * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) % 2**64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def batched_lists(items: list[Delayed], size: int) -> Iterator[list[Delayed]]:
    """``items`` in runs of at most ``size``."""
    return (list(items[start : start + size]) for start in range(0, len(items), size))


def _starts(chunks: tuple[int, ...]) -> list[int]:
    return [0, *np.cumsum(chunks)[:-1].tolist()]
