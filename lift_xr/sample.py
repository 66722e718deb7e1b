"""Draw training pixels from a cube of any size, the same ones for any chunking."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

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
    cube = pieces(cube, EDGE)
    settings = {"width": cube.shape[2], "count": count, "seed": seed, "limit": limit}
    blocks = cube.to_delayed()[0]
    drawn = [
        [
            delayed(draw_from_block)(block, (top, left), **settings)
            for block, left in zip(row, _starts(cube.chunks[2]), strict=True)
        ]
        for row, top in zip(blocks, _starts(cube.chunks[1]), strict=True)
    ]
    samples = [
        delayed(beside_of)(
            own,
            below=drawn[i + 1][j] if i + 1 < len(drawn) else None,
            right=row[j + 1] if j + 1 < len(row) else None,
        )
        for i, row in enumerate(drawn)
        for j, own in enumerate(row)
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


@dataclass(frozen=True, eq=False)
class Drawn:
    """What was drawn from one block, and the little of it that its neighbours ask for.

    Attributes
    ----------
    sample
        ``beside`` lies in the block; where it would lie outside, it is the pixel itself.
    row, column
        (pixel,): where in the block the pixels lie.
    first_row, first_column
        (band, column) and (band, row) of the block.
    shape
        (y, x) of the block.
    """

    sample: Sample
    row: npt.NDArray[np.int64]
    column: npt.NDArray[np.int64]
    first_row: npt.NDArray[np.float32]
    first_column: npt.NDArray[np.float32]
    shape: tuple[int, int]


def draw_from_block(
    block: npt.NDArray[np.float32],
    corner: tuple[int, int],
    *,
    width: int,
    count: int | None,
    seed: int,
    limit: int | None = None,
) -> Drawn:
    """The pixels of one block, that begins at ``corner``, with the lowest ranks below ``limit``."""
    (top, left), (rows, columns) = corner, block.shape[1:]
    finite = np.isfinite(block)
    valid = finite.all(axis=0).reshape(-1)
    place = (top + np.arange(rows))[:, None] * width + (left + np.arange(columns))
    kept = np.flatnonzero(valid)
    rank = place.reshape(-1)[kept].astype(np.uint64)
    if count is not None:
        rank = scramble(rank, seed)
    below = np.arange(len(rank)) if limit is None else np.flatnonzero(rank < np.uint64(limit))
    best = below[np.argsort(rank[below])[:count]]
    row, column = np.divmod(kept[best], columns)
    pixels = np.ascontiguousarray(block[:, row, column].T)
    right = block[:, row, np.minimum(column + 1, columns - 1)].T
    under = block[:, np.minimum(row + 1, rows - 1), column].T
    sample = Sample(
        pixels=pixels,
        beside=np.stack([_or(right, pixels), _or(under, pixels)], axis=1),
        rank=rank[best],
        total=valid.size,
        valid=int(kept.size),
        infinite=int(np.isinf(block).any(axis=0).sum()),
        finite=finite.sum(axis=(1, 2)),
    )
    # Copies: a view would hold the block until the neighbours are read.
    first_row, first_column = block[:, 0].copy(), block[:, :, 0].copy()
    return Drawn(sample, row, column, first_row, first_column, (rows, columns))


def beside_of(own: Drawn, *, below: Drawn | None, right: Drawn | None) -> Sample:
    """The sample of a block, with what lies beside it across its edges."""
    beside = own.sample.beside.copy()
    for side, other, at, along, edge in (
        (0, right, own.column, own.row, own.shape[1]),
        (1, below, own.row, own.column, own.shape[0]),
    ):
        if other is not None:
            there = other.first_column if side == 0 else other.first_row
            last = at == edge - 1
            beside[last, side] = _or(there[:, along[last]].T, own.sample.pixels[last])
    return replace(own.sample, beside=beside)


def _or(
    pixels: npt.NDArray[np.float32], instead: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Pixels (pixel, band) that are finite in every band, and others in place of the rest."""
    return np.where(np.isfinite(pixels).all(axis=1, keepdims=True), pixels, instead)


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
