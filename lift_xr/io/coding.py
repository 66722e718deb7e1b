"""Values to the numbers of a file: as they are, packed, or as bright as a picture shows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import dask
import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr

from lift_xr.encode import encode_block
from lift_xr.errors import LayoutError
from lift_xr.io.lazy import read_apart
from lift_xr.io.lifting import LiftedArray
from lift_xr.io.scale import find_packing
from lift_xr.packing import Packing

DTYPES = ("float32", "uint16", "uint8")
SAMPLES, SAMPLE = 4, 256  # windows along each axis, pixels along the edge of one
DARKEST, BRIGHTEST = 1, 255  # of a picture, where 0 is nodata


@dataclass(frozen=True)
class Image:
    """The bands to be written, to be computed window by window.

    Parameters
    ----------
    chosen : (band, y, x)
        With their labels.
    pixels : (band, y, x)
        Of all bands, chosen or not.
    runs
        Which of them are chosen, neighbours together.
    """

    chosen: xr.DataArray
    pixels: da.Array
    runs: tuple[slice, ...]

    @classmethod
    def of(cls, scene: xr.DataArray, positions: Sequence[int]) -> Image:
        """Choose bands of a scene, in any order."""
        runs: list[list[int]] = []
        for position in positions:
            if not runs or position != runs[-1][-1] + 1:
                runs.append([])
            runs[-1].append(position)
        cuts = tuple(slice(run[0], run[-1] + 1) for run in runs)
        return cls(scene.isel(band=list(positions)), scene.data, cuts)

    def window(self, rows: slice, columns: slice) -> da.Array:
        """Cut out a window, lazily; of blocks that are merely read, no other band is read."""
        if isinstance(self.pixels, LiftedArray):  # which takes them all together
            bands = [band for run in self.runs for band in range(run.start, run.stop)]
            return self.pixels[bands, rows, columns]
        parts = [(run, rows, columns) for run in self.runs]
        return da.concatenate([read_apart(self.pixels, part) for part in parts])


@dataclass(frozen=True)
class Coding:
    """How values become the numbers of a file.

    Parameters
    ----------
    dtype
        Of the file.
    nodata
        What NaN becomes.
    encode
        A block of (band, y, x) to ``dtype``.
    scale, offset
        By which readers turn the numbers into values again.
    """

    dtype: str
    nodata: float
    encode: Callable[[np.ndarray], np.ndarray]
    scale: float = 1.0
    offset: float = 0.0


def expect_dtype(
    dtype: npt.DTypeLike | None, limits: tuple[float, float] | None, *, picture: bool
) -> str:
    """Name the type of the file: as told, else bytes for a picture and float32 for values."""
    found = ("uint8" if picture else "float32") if dtype is None else np.dtype(dtype).name
    if found not in DTYPES:
        raise LayoutError(
            f"dtype is {found}; expected 'float32' (values), 'uint16' (packed) or 'uint8' (a "
            "picture). Use dtype='float32'"
        )
    if limits is not None:
        _expect_limits(limits, found)
    return found


def find_coding(image: Image, kind: str, limits: tuple[float, float] | None) -> Coding:
    """Settle how bands are encoded; without ``limits``, a picture reads a sample of them."""
    if kind == "uint8":
        low, high = _limits(image) if limits is None else _repeated(limits, len(image.chosen))
        return Coding("uint8", 0, lambda block: _picture(block, low, high))
    if kind == "uint16":
        packing = find_packing(image.chosen.attrs, np.dtype(kind), None, None)
        return _packed(packing)
    return Coding("float32", np.nan, lambda block: block)


def _packed(packing: Packing) -> Coding:
    return Coding(
        "uint16",
        packing.fill,
        lambda block: encode_block(block, packing).codes,
        packing.scale_factor,
        packing.add_offset,
    )


def _repeated(limits: tuple[float, float], bands: int) -> tuple[np.ndarray, np.ndarray]:
    return np.full(bands, limits[0]), np.full(bands, limits[1])


def _limits(image: Image) -> tuple[np.ndarray, np.ndarray]:
    """Find what is dark and what is bright in each band, from windows all over the scene."""
    rows, columns = (_spaced(size) for size in image.chosen.shape[1:])
    windows = [image.window(*corner) for corner in product(rows, columns)]
    pixels = [window.reshape(len(window), -1) for window in dask.compute(*windows)]
    found = [_spread(band[np.isfinite(band)]) for band in np.concatenate(pixels, axis=1)]
    return np.array([low for low, _ in found]), np.array([high for _, high in found])


def _spaced(size: int) -> list[slice]:
    starts = {int(start) for start in np.linspace(0, max(size - SAMPLE, 0), SAMPLES)}
    return [slice(start, start + SAMPLE) for start in sorted(starts)]


def _spread(values: np.ndarray) -> tuple[float, float]:
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, (2, 98))
    return float(low), float(high if high > low else low + 1)


def _picture(block: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Stretch each band between its limits; nodata is 0, which no value becomes."""
    steps = ((BRIGHTEST - DARKEST) / (high - low)).astype("float32")
    bright = (block - low.astype("float32")[:, None, None]) * steps[:, None, None] + DARKEST
    bright = np.clip(np.rint(bright), DARKEST, BRIGHTEST)
    picture: np.ndarray = np.nan_to_num(bright, nan=0.0).astype("uint8")
    return picture


def _expect_limits(limits: tuple[float, float], kind: str) -> None:
    if kind != "uint8":
        raise LayoutError(
            f"limits are {limits} with dtype {kind}; expected them with a picture only. "
            "Use dtype='uint8', or leave limits out"
        )
    if not (np.isfinite(limits).all() and limits[0] < limits[1]):
        raise LayoutError(
            f"limits are {limits}; expected the darkest value and a greater one, the brightest, in "
            "the units of scene. Use limits=(0.0, 0.4)"
        )
