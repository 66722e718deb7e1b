"""The cube as its own prior: what one twice as coarse, interpolated, would say of each pixel.

A panchromatic mosaic is lifted with the cube beside it. How much the cube's blur hides has to be
learned where the truth is known, one step of scale up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import dask.array as da
import numpy as np
import numpy.typing as npt

from lift_xr.blocks import Prior, lift_blocks
from lift_xr.sample import EDGE, Sample
from lift_xr.upsampling import REACH, upsample
from lift_xr.window import Window
from lift_xr.windows import pieces

Array = npt.NDArray[np.float32]

PHASES = ((0, 0), (0, 1), (1, 0), (1, 1))
FEW = 2**16  # pixels
FACTOR = 2  # with 4, a cube of 12 x 12 cells leaves 9 to learn from: 0.2 to 0.5 dB less


def with_coarser(cube: da.Array) -> da.Array:
    """Lay under each pixel what a coarser cube says of it: ((1 + phase) * band, y, x), lazy.

    Parameters
    ----------
    cube : (band, y, x)
        NaN is nodata; a coarse cell is the mean of its valid pixels. Where pixels are few, each is
        seen from all four places it can have in a cell; where they are many, from one.
    """
    cube = pieces(cube, EDGE)
    shifts = PHASES if cube.shape[1] * cube.shape[2] <= FEW else PHASES[:1]
    layers = [cube, *(_interpolated(cube, shift) for shift in shifts)]
    return da.concatenate(layers).rechunk({0: -1})


def _interpolated(cube: da.Array, shift: tuple[int, int]) -> da.Array:
    """The cube as one with cells of two by two pixels, that begin earlier, would show it."""
    before = [(0, 0), *((each, 0) for each in shift)]
    moved = da.pad(cube, before, constant_values=np.nan) if any(shift) else cube
    beside = Prior(halved(moved), FACTOR, (-shift[0], -shift[1]))
    return lift_blocks(cube, _Interpolation(cube.shape[0]), device="cpu", prior=beside)


def split(sample: Sample, bands: int) -> tuple[Sample, Array]:
    """Take apart a sample of :func:`with_coarser`: the cube's, and (pixel, phase, band) below."""
    own = replace(
        sample,
        pixels=np.ascontiguousarray(sample.pixels[:, :bands]),
        beside=np.ascontiguousarray(sample.beside[:, :, :bands]),
        finite=sample.finite[:bands],
    )
    return own, sample.pixels[:, bands:].reshape(len(sample.pixels), -1, bands)


def halved(cube: da.Array) -> da.Array:
    """Means of two by two pixels, of three or fewer at the far edges and beside nodata."""
    even = tuple(_even(along) for along in cube.chunks[1:])
    cut = cube.rechunk((cube.chunks[0], *even))
    halves = tuple(tuple(-(-edge // FACTOR) for edge in along) for along in even)
    return cut.map_blocks(
        means, dtype=np.float32, chunks=(cube.chunks[0], *halves), meta=np.empty((0, 0, 0), "f4")
    )


def means(block: Array) -> Array:
    """Average (band, y, x) over cells of two by two; NaN where none is valid in every band."""
    _, height, width = block.shape
    valid = np.asarray(np.isfinite(block).all(axis=0))
    shape = -(-height // FACTOR), -(-width // FACTOR)
    total = np.zeros((len(block), *shape))
    count = np.zeros(shape)
    for row in range(FACTOR):
        for column in range(FACTOR):
            good = valid[row::FACTOR, column::FACTOR]
            here = np.s_[: good.shape[0], : good.shape[1]]
            total[:, *here] += np.where(good, block[:, row::FACTOR, column::FACTOR], 0)
            count[here] += good
    averaged = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return np.asarray(averaged, np.float32)


def _even(edges: tuple[int, ...]) -> tuple[int, ...]:
    """Chunks that end on whole coarse cells, near where these end."""
    ends = np.cumsum(edges)
    ends[:-1] += ends[:-1] % FACTOR
    ends = np.unique(np.minimum(ends, ends[-1]))
    return tuple(np.diff(ends, prepend=0).tolist())


@dataclass(frozen=True)
class _Interpolation:
    """Give what lies beside a block, interpolated, in its place."""

    bands: int
    halo: ClassVar[int] = 0
    prior: ClassVar[int] = REACH

    def __call__(self, block: Array, device: str = "cpu", prior: Window | None = None) -> Array:
        assert prior is not None
        return upsample(prior.cells, prior, block.shape[1:])
