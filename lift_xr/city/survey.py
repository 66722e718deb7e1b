"""Pixels floor: what three instruments see of the made-up city, made when an array is sliced.

All three read the same tiles: the truth mixes their endmembers in every band, the mosaic in the few
bands of a camera, the cube blurs and thins out the weights before it mixes them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from lift_xr import noise
from lift_xr.city import landscape, lattice, materials
from lift_xr.city.canvas import TILE, Extreme
from lift_xr.city.landscape import Tile
from lift_xr.threads import one_blas_thread

MOSAIC_STREAM, CUBE_STREAM = 1, 2  # of the noise
FILL = 0  # the mosaic's value for no data
HALF_SIGMAS = 2 * np.sqrt(2 * np.log(2))  # full width at half maximum of a Gaussian, in sigmas
REACH = 3.0  # sigmas of the point spread that count
HIGHEST = 255  # of 8 bits

Index = tuple[slice | int, slice | int, slice | int]


@dataclass(frozen=True)
class Endmembers:
    """Spectra of every extreme of every material, in the sun and under the sky.

    ``direct`` and ``diffuse`` are (extreme, band), reflectance: together they are the material in
    full light; in a shadow only the second is left.
    """

    names: tuple[Extreme, ...]
    direct: np.ndarray
    diffuse: np.ndarray

    @classmethod
    def of(cls, wavelength: np.ndarray, fwhm: np.ndarray) -> Endmembers:
        """The library on the bands of one instrument, in nm."""
        library = materials.library(wavelength, fwhm)
        names = tuple((name, k) for name, family in library.items() for k in range(len(family)))
        spectra = np.array([spectrum for family in library.values() for spectrum in family])
        diffuse = spectra * materials.sky(wavelength)
        return cls(names, spectra - diffuse, diffuse)

    def through(self, srf: np.ndarray) -> Endmembers:
        """What a sensor of response (msi_band, band) records of them."""
        return Endmembers(self.names, self.direct @ srf.T, self.diffuse @ srf.T)

    @property
    def level(self) -> np.ndarray:
        """A band's typical reflectance, the mean of the library: (band,)."""
        mean: np.ndarray = (self.direct + self.diffuse).mean(axis=0)
        return mean

    def mixing(self, tile: Tile) -> np.ndarray:
        """The matrix from a tile's planes to bands: (band, plane), float32."""
        rows = [self.names.index(extreme) for extreme in tile.extremes]
        return np.concatenate([self.direct[rows], self.diffuse[rows]]).T.astype("float32")


@dataclass(frozen=True)
class Ground:
    """The part of the city that is surveyed: ``shape`` pixels, each ``spacing`` metres wide."""

    seed: int
    shape: tuple[int, int]
    spacing: float

    def tiles(self, rows: slice, columns: slice) -> Iterator[tuple[int, int, Tile]]:
        """Every tile that holds a pixel of a window, with the place of its first pixel."""
        for row in range(rows.start // TILE, -(-rows.stop // TILE)):
            for column in range(columns.start // TILE, -(-columns.stop // TILE)):
                tile = landscape.paint(self.seed, row, column, spacing=self.spacing)
                yield row * TILE, column * TILE, tile


@dataclass(frozen=True)
class View(ABC):
    """An array (band, y, x) that exists where it is looked at: what dask needs of one."""

    ground: Ground
    endmembers: Endmembers

    ndim: ClassVar[int] = 3
    dtype: ClassVar[np.dtype[Any]] = np.dtype("float32")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, rows, columns."""
        return (self.endmembers.level.size, *self.ground.shape)

    def __getitem__(self, index: Index) -> np.ndarray:
        bands, *asked = index
        rows, columns = (
            range(size)[part] for part, size in zip(asked, self.shape[1:], strict=True)
        )
        with one_blas_thread():
            values = self._window(_hull(rows), _hull(columns))
        return values[bands, _thinned(rows), _thinned(columns)]

    @abstractmethod
    def _window(self, rows: slice, columns: slice) -> np.ndarray:
        """All bands of a window: (band, y, x)."""

    def _gathered(
        self, rows: slice, columns: slice, see: Callable[[int, int, Tile], np.ndarray]
    ) -> np.ndarray:
        """A window put together from tiles, each seen whole: (band, y, x)."""
        size = (rows.stop - rows.start, columns.stop - columns.start)
        out = np.empty((self.shape[0], *size), self.dtype)
        for top, left, tile in self.ground.tiles(rows, columns):
            there_y, here_y = _overlap(rows, top, TILE)
            there_x, here_x = _overlap(columns, left, TILE)
            out[:, there_y, there_x] = see(top, left, tile)[:, here_y, here_x]
        return out


class Truth(View):
    """Reflectance as it is: (band, y, x), float32."""

    def _window(self, rows: slice, columns: slice) -> np.ndarray:
        return self._gathered(rows, columns, lambda top, left, tile: mixed(self.endmembers, tile))


@dataclass(frozen=True)
class Mosaic(View):
    """Eight-bit numbers of a camera: (msi_band, y, x), uint8.

    ``scale`` is the reflectance of one number, ``deviation`` (msi_band,) that of the noise, ``rim``
    the mean width in pixels of a ragged edge without data.
    """

    scale: float
    deviation: np.ndarray
    rim: float = 0.0

    dtype: ClassVar[np.dtype[Any]] = np.dtype("uint8")

    def _window(self, rows: slice, columns: slice) -> np.ndarray:
        return self._gathered(rows, columns, self._numbers)

    def _numbers(self, top: int, left: int, tile: Tile) -> np.ndarray:
        """What the camera writes of one tile."""
        seen = mixed(self.endmembers, tile)
        for plane, (values, deviation) in enumerate(zip(seen, self.deviation, strict=True)):
            values += deviation * noise.normals(
                (TILE, TILE),
                plane=plane,
                corner=(top, left),
                seed=self.ground.seed,
                stream=MOSAIC_STREAM,
            )
        lowest = FILL + 1 if self.rim else 0
        numbers = np.clip(np.rint(seen / self.scale), lowest, HIGHEST).astype("uint8")
        if self.rim:
            numbers[:, self._outside(top, left)] = FILL
        return numbers

    def _outside(self, top: int, left: int) -> np.ndarray:
        """Pixels of a tile that no flight line reached: (y, x), bool."""
        y, x = (first + np.arange(TILE) for first in (top, left))
        height, width = self.ground.shape
        inwards = np.minimum.outer(np.minimum(y, height - 1 - y), np.minimum(x, width - 1 - x))
        ragged = lattice.smooth(self.ground.seed, y + 0.5, x + 0.5, name="rim", scale=2 * self.rim)
        return inwards < self.rim * (1 + 0.5 * ragged)


@dataclass(frozen=True)
class Cube(View):
    """What a spectrometer with larger pixels sees: (band, y, x) of cells, float32.

    A cell is the mean over ``ratio`` x ``ratio`` pixels of the truth after a Gaussian blur of
    ``fwhm`` pixels; ``deviation`` (band,) is that of the noise.
    """

    ratio: int
    fwhm: float
    deviation: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, rows and columns of cells."""
        height, width = (size // self.ratio for size in self.ground.shape)
        return (self.endmembers.level.size, height, width)

    @property
    def response(self) -> np.ndarray:
        """Weights of the pixels in and around a cell along one axis; they sum to one."""
        sigma = self.fwhm / HALF_SIGMAS
        half = int(np.ceil(REACH * sigma))
        spread = np.exp(-0.5 * (np.arange(-half, half + 1) / max(sigma, 1e-6)) ** 2)
        return np.convolve(spread / spread.sum(), np.full(self.ratio, 1 / self.ratio))

    def _window(self, rows: slice, columns: slice) -> np.ndarray:
        response = self.response
        halo = (len(response) - self.ratio) // 2
        size = (rows.stop - rows.start, columns.stop - columns.start)
        seen = np.zeros((self.shape[0], *size))
        wide = (
            slice(s.start * self.ratio - halo, s.stop * self.ratio + halo) for s in (rows, columns)
        )
        for top, left, tile in self.ground.tiles(*wide):
            first_y, down = self._cells(top, response)
            first_x, along = self._cells(left, response)
            there_y, here_y = _overlap(rows, first_y, len(down))
            there_x, here_x = _overlap(columns, first_x, len(along))
            cells = down @ tile.planes @ along.T  # (plane, cell y, cell x)
            part = np.tensordot(self.endmembers.mixing(tile).astype("float64"), cells, axes=1)
            seen[:, there_y, there_x] += part[:, here_y, here_x]
        return self._noisy(seen, (rows.start, columns.start)).astype("float32")

    def _cells(self, first: int, response: np.ndarray) -> tuple[int, np.ndarray]:
        """The first cell that a tile's pixels reach along one axis, and their weights in each."""
        halo = (len(response) - self.ratio) // 2
        lowest = (first - halo) // self.ratio
        highest = (first + TILE - 1 + halo) // self.ratio
        cells = np.arange(lowest, highest + 1)
        tap = first + np.arange(TILE) - (cells[:, None] * self.ratio - halo)
        inside = (tap >= 0) & (tap < len(response))
        return lowest, np.where(inside, response[np.clip(tap, 0, len(response) - 1)], 0.0)

    def _noisy(self, seen: np.ndarray, corner: tuple[int, int]) -> np.ndarray:
        for plane, (values, deviation) in enumerate(zip(seen, self.deviation, strict=True)):
            values += deviation * noise.normals(
                values.shape, plane=plane, corner=corner, seed=self.ground.seed, stream=CUBE_STREAM
            )
        return seen


def mixed(endmembers: Endmembers, tile: Tile) -> np.ndarray:
    """Mix a whole tile: (band, y, x), float32.

    A matrix product may round a pixel by its place in the matrix; as tiles are never cut before,
    a pixel keeps its place.
    """
    flat = tile.planes.reshape(len(tile.planes), -1)
    values: np.ndarray = endmembers.mixing(tile) @ flat
    return values.reshape(-1, TILE, TILE)


def _hull(wanted: range | int) -> slice:
    """The shortest run that holds all wanted pixels."""
    if isinstance(wanted, int):
        return slice(wanted, wanted + 1)
    return slice(min(wanted), max(wanted) + 1) if wanted else slice(0, 0)


def _thinned(wanted: range | int) -> slice | int:
    """The wanted pixels of that run, in their order; an axis asked for one place goes."""
    return 0 if isinstance(wanted, int) else slice(None, None, wanted.step)


def _overlap(window: slice, first: int, size: int) -> tuple[slice, slice]:
    """Where a run of pixels from ``first`` on lies in a window, and the window in the run."""
    start, stop = max(window.start, first), min(window.stop, first + size)
    stop = max(start, stop)
    return slice(start - window.start, stop - window.start), slice(start - first, stop - first)
