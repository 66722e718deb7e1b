"""Block, shard and chunk sizes, and the passes that write a scene with its overviews.

A chunk is what a reader decodes, a shard is what one task writes, and a block of dask is as large
as a shard. A chunk of the default shard is 320 pixels wide, so it holds whole HSI cells where the
ratio of pixel sizes divides 320; for other ratios below 512 it does with
``shard=shard_edge(ratio)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod

import numpy as np
import numpy.typing as npt

from lift_xr.errors import LayoutError

LEAST_CHUNK, GREATEST_CHUNK = 256, 512  # pixels, the second excluded
SHARD = 1280  # pixels: four chunks of the most common ratio, 164 MB of 50 uint16 bands
CHUNKS_A_SHARD = 4  # along one edge
BANDS_A_CHUNK = 10  # a false-colour image reads three chunks, a spectrum bands / 10
BLOSC_LIMIT = 2**31 - 1  # bytes in one buffer
COARSEST = 512  # pixels: overviews go down to a longer side of 257-512
LEVELS_A_PASS = 3  # a shard's own, half and quarter of it
STRIP = 2**16  # pixels that a per-pixel model lifts at once: 13 MB of 50 bands, one tile of a GPU


@dataclass(frozen=True)
class Layout:
    """How one array is cut on disk.

    Parameters
    ----------
    shape
        (band, y, x), or (time, band, y, x).
    shard
        What one task writes: all bands of one time.
    chunk
        What is compressed together; whole chunks fill a shard.
    dtype
        As stored.
    """

    shape: tuple[int, ...]
    shard: tuple[int, ...]
    chunk: tuple[int, ...]
    dtype: np.dtype

    @classmethod
    def of(cls, shape: tuple[int, ...], dtype: npt.DTypeLike, *, shard: int = SHARD) -> Layout:
        """Lay out an array of ``shape`` in shards of ``shard`` pixels squared.

        Raises
        ------
        LayoutError
            A shard edge that is no positive whole number, or that leaves chunks above 2 GiB.
        """
        edge = expect_edge(shard)
        chunk_bands = spectral_chunk(shape[-3])
        rows, columns = (_cut(size, edge) for size in shape[-2:])
        once = (1,) * (len(shape) - 3)
        chunk = (*once, chunk_bands, rows[1], columns[1])
        bands = chunk_bands * ceil(shape[-3] / chunk_bands)
        layout = cls(shape, (*once, bands, rows[0], columns[0]), chunk, np.dtype(dtype))
        if prod(chunk) * layout.dtype.itemsize > BLOSC_LIMIT:
            raise LayoutError(
                f"shard={shard} leaves chunks of {prod(chunk) * layout.dtype.itemsize / 2**30:.1f} "
                f"GiB; expected at most 2 GiB. Use shard={SHARD}, or another multiple of 256"
            )
        return layout

    @property
    def blocks(self) -> tuple[tuple[int, ...], ...]:
        """Blocks of dask that are one shard each, cut short at the far edges."""
        pairs = zip(self.shape, self.shard, strict=True)
        return tuple(
            tuple(min(shard, size - start) for start in range(0, size, shard))
            for size, shard in pairs
        )

    @property
    def shards(self) -> int:
        """Shards in all: the tasks it takes to write them, and the files they leave."""
        return prod(len(along) for along in self.blocks)

    @property
    def sharded(self) -> bool:
        """Whether chunks go to disk by the shard; one shard alone is stored as its chunks."""
        return self.shards > 1


@dataclass(frozen=True)
class Pass:
    """One pass over a scene: each of its tasks writes one shard of every level in it.

    Parameters
    ----------
    first
        The finest of its levels; 0 is full resolution.
    layouts
        Of its levels. Their shards cover the same ground: the edge halves with the pixels.
    """

    first: int
    layouts: tuple[Layout, ...]

    @property
    def grid(self) -> tuple[int, ...]:
        """Tasks along every axis."""
        return tuple(len(along) for along in self.layouts[0].blocks)

    @property
    def tasks(self) -> int:
        """Tasks in all."""
        return prod(self.grid)


def passes_of(
    shape: tuple[int, ...], dtype: npt.DTypeLike, *, shard: int = SHARD
) -> tuple[Pass, ...]:
    """Plan how an array and its overviews are written.

    A level has half the rows and columns of the one before, rounded up. Overviews end where the
    longer side is at most 512 pixels. Where the edge of a shard halves evenly, up to two levels
    are written by the task that has the shard in hand; levels after that need a pass of their own,
    which reads the last level of the pass before.

    Examples
    --------
    >>> passes = passes_of((50, 83440, 24040), "uint16")
    >>> [(each.first, len(each.layouts), each.tasks) for each in passes]
    [(0, 3, 1254), (3, 3, 27), (6, 3, 2)]
    >>> [(each.first, each.tasks) for each in passes_of((3, 1000, 1000), "uint16", shard=125)]
    [(0, 64), (1, 16)]
    """
    shard = expect_edge(shard)
    shapes = [shape]
    while max(shapes[-1][-2:]) > COARSEST:
        shapes.append((*shape[:-2], *(ceil(size / 2) for size in shapes[-1][-2:])))
    together = 1
    while together < LEVELS_A_PASS and shard % 2**together == 0:
        together += 1
    passes = []
    for start in range(0, len(shapes), together):
        layouts = tuple(
            Layout.of(each, dtype, shard=shard // 2**level)
            for level, each in enumerate(shapes[start : start + together])
        )
        passes.append(Pass(start, layouts))
    return tuple(passes)


def chunk_edge(ratio: float) -> int:
    """Find the edge of a chunk that holds whole HSI cells: ratio * 2**m, at least 256 pixels.

    Examples
    --------
    >>> [chunk_edge(ratio) for ratio in (1, 4, 6, 20, 30, 10.5)]
    [256, 256, 384, 320, 480, 256]
    """
    if ratio != int(ratio) or not 1 <= ratio < GREATEST_CHUNK:
        return LEAST_CHUNK
    edge = int(ratio)
    while edge < LEAST_CHUNK:
        edge *= 2
    return edge


def shard_edge(ratio: float) -> int:
    """Find the edge of a shard, in pixels: four chunks.

    Examples
    --------
    >>> shard_edge(20)
    1280
    """
    return CHUNKS_A_SHARD * chunk_edge(ratio)


def spectral_chunk(bands: int) -> int:
    """Find the bands of a chunk: about ten, so that the last chunk is nearly full too.

    Examples
    --------
    >>> [spectral_chunk(bands) for bands in (3, 50, 128, 224)]
    [3, 10, 10, 11]
    """
    pieces = max(1, round(bands / BANDS_A_CHUNK))
    return ceil(bands / pieces)


def strips(rows: int, columns: int) -> tuple[int, ...]:
    """Cut a block into strips of whole rows, about ``STRIP`` pixels each.

    Examples
    --------
    >>> strips(1280, 640)
    (102, 102, 102, 102, 102, 102, 102, 102, 102, 102, 102, 102, 56)
    """
    high = max(1, STRIP // columns)
    return tuple(min(high, rows - start) for start in range(0, rows, high))


def expect_edge(edge: int, *, name: str = "shard") -> int:
    """Raise LayoutError unless the edge of a shard or block is a positive whole number."""
    if isinstance(edge, bool) or not isinstance(edge, int | np.integer) or edge < 1:
        raise LayoutError(
            f"{name} is {edge!r}; expected its edge as a whole number of pixels. Use {name}={SHARD}"
        )
    return int(edge)


def _cut(size: int, shard: int) -> tuple[int, int]:
    """Cut one axis into shards and chunks; a short axis gets smaller ones, not padding."""
    quarter = shard // CHUNKS_A_SHARD
    if shard % CHUNKS_A_SHARD or not LEAST_CHUNK <= quarter < GREATEST_CHUNK:
        fitting = (chunk for chunk in range(GREATEST_CHUNK - 1, 127, -1) if shard % chunk == 0)
        quarter = next(fitting, shard)
    chunk = min(quarter, size)
    return min(shard, chunk * ceil(size / chunk)), chunk
