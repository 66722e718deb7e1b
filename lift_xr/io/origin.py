"""Where a mosaic is read from and as what numbers it lies there, so that it can be read again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import rasterio
import zarr
from dask.blockwise import Blockwise
from rasterio.windows import Window

from lift_xr.errors import LayoutError
from lift_xr.io.lazy import Decoded, blocks_of, source_of
from lift_xr.io.place import fingerprint, innermost, raster_path
from lift_xr.io.store import GREATEST_CHUNK, GREATEST_EDGE, local_path
from lift_xr.packing import decode_block

STORED = ("uint8", "int8", "uint16", "int16", "uint32", "int32")  # types that are kept as they are


@dataclass(frozen=True)
class Raster:
    """The numbers of a raster file, read window by window as they are indexed.

    Parameters
    ----------
    path
        What GDAL opens.
    shape : (band, y, x)
    dtype
        As stored.
    """

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype

    ndim = 3

    @classmethod
    def of(cls, path: str) -> Raster:
        """Look at a file."""
        with rasterio.open(path) as file:
            return cls(path, (file.count, file.height, file.width), np.dtype(file.dtypes[0]))

    def __getitem__(self, index: Any) -> npt.NDArray[Any]:
        bands, *window = (
            slice(*each.indices(size)) for each, size in zip(index, self.shape, strict=True)
        )
        with rasterio.open(self.path) as file:
            numbers = [band + 1 for band in range(bands.start, bands.stop)]
            values: npt.NDArray[Any] = file.read(numbers, window=Window.from_slices(*window))
        return values

    def __dask_tokenize__(self) -> Any:
        return type(self).__name__, self.path, self.shape, str(self.dtype)


def stored_form(data: da.Array) -> Decoded | None:
    """Find the stored numbers that an array shows, and nothing else; None where it is more.

    Known are the arrays of Zarr stores, and the rasters that GDAL reads, as ``open_scene`` opens
    either, where all bands share one packing.
    """
    source = source_of(data)
    if source is not None:
        return source if isinstance(source, Decoded) else None
    layer = data.dask.layers.get(data.name)
    if not (data.name.startswith("decode-") and isinstance(layer, Blockwise)):
        return None
    settings = dict(getattr(layer.task, "kwargs", {}))
    raster = _raster_of(data, str(layer.indices[0][0]))
    if getattr(layer.task, "func", None) is not decode_block or raster is None:
        return None
    scale, offset = (np.unique(settings[key]) for key in ("scale", "offset"))
    if len(scale) != 1 or len(offset) != 1 or raster.shape != data.shape:
        return None
    return Decoded(raster, tuple(settings["nodata"]), float(scale[0]), float(offset[0]))


def codes_of(form: Decoded) -> bool:
    """Whether stored numbers can be copied as they are: integers, with one code for nodata."""
    return str(form.array.dtype) in STORED and len(form.nodata) <= 1


def describe(form: Decoded) -> dict[str, Any]:
    """Say, as JSON, where stored numbers lie, what they are, and by what they are known again."""
    array = form.array
    where = _raster_place(array) if isinstance(array, Raster) else _zarr_place(array)
    return {
        **where,
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        "nodata": list(form.nodata),
        "scale_factor": form.scale,
        "add_offset": form.offset,
        "fingerprint": fingerprint(_blocks(form)),
    }


def reopen(told: Any, *, recipe: Any) -> Decoded:
    """Open what ``describe`` described; see there.

    Raises
    ------
    FileNotFoundError
        It is not there any more.
    LayoutError
        It is not the same any more, or cannot be read.
    """
    form = _opened(_expect_told(told, recipe), recipe=recipe)
    found = describe(form)
    keys = [key for key in ("shape", "dtype", "fingerprint") if found[key] != told[key]]
    if keys:
        changes = "; ".join(f"its {_NAMES[key]} {_change(key, found, told)}" for key in keys)
        raise LayoutError(
            f"the mosaic at {_address(told)}, which the recipe {recipe} lifts, has changed: "
            f"{changes}. Put the mosaic of the recipe back, or write the recipe again"
        )
    return form


_NAMES = {"shape": "shape", "dtype": "type", "fingerprint": "pixels"}


def _change(key: str, found: Mapping[str, Any], told: Mapping[str, Any]) -> str:
    if key == "fingerprint":
        return "are others, where a few were looked at"
    return f"is {found[key]} and was {told[key]}"


def _expect_told(told: Any, recipe: Any) -> dict[str, Any]:
    """Refuse an address whose parts are missing or of other kinds than they should be."""
    numbers = ("scale_factor", "add_offset")
    try:
        good = all(isinstance(told[key], int | float) for key in numbers)
        good &= all(isinstance(each, int | float) for each in told["nodata"])
        good &= isinstance(told.get("path", told.get("store")), str)
        good &= {"shape", "dtype", "fingerprint"} <= set(told)
    except (KeyError, TypeError, AttributeError):
        good = False
    if not good:
        raise LayoutError(
            f"the recipe {recipe} does not say where its mosaic lies; expected an address and what "
            "lies there. The store is damaged: write it again"
        )
    found: dict[str, Any] = told
    return found


def _address(told: Mapping[str, Any]) -> Any:
    return told.get("path", told.get("store"))


def _opened(told: dict[str, Any], *, recipe: Any) -> Decoded:
    packing = (tuple(told["nodata"]), float(told["scale_factor"]), float(told["add_offset"]))
    try:
        if "path" in told:
            array: Any = Raster.of(told["path"])
        else:
            array = zarr.open_array(told["store"], path=str(told.get("array", "")), mode="r")
    except (rasterio.errors.RasterioIOError, FileNotFoundError) as problem:
        raise FileNotFoundError(
            f"{_address(told)}, the mosaic that the recipe {recipe} lifts, cannot be found "
            f"({problem}); expected it where it was. Put it back, or write the recipe again"
        ) from problem
    except (ValueError, KeyError, TypeError) as problem:
        raise LayoutError(
            f"{_address(told)}, the mosaic that the recipe {recipe} lifts, cannot be read "
            f"({problem}); expected an array of numbers. Put it back, or write the recipe again"
        ) from problem
    _expect_modest(array, recipe)
    return Decoded(array, *packing, stamp=str(told["fingerprint"]))


def _expect_modest(array: Any, recipe: Any) -> None:
    """Refuse headers that would fill the memory, and what is no array of numbers."""
    chunk = int(np.prod(getattr(array, "chunks", (1,)))) * array.dtype.itemsize
    modest = max(array.shape, default=0) <= GREATEST_EDGE and chunk <= GREATEST_CHUNK
    if not modest or array.dtype.kind not in "iuf" or array.ndim not in (3, 4):
        raise LayoutError(
            f"the mosaic of the recipe {recipe} is {array.dtype} of shape {array.shape}; expected "
            "numbers (band, y, x), in chunks that can be held. Write the recipe again"
        )


def _raster_place(array: Raster) -> dict[str, Any]:
    remote = "://" in array.path or array.path.startswith("/vsi")
    return {"path": array.path if remote else str(Path(array.path).resolve())}


def _zarr_place(array: zarr.Array[Any]) -> dict[str, Any]:
    path = local_path(array.store)
    if path is not None:
        where = str(path.resolve())
    else:
        where = str(array.store)
        if "://" not in where or where.startswith("memory:"):
            raise LayoutError(
                f"the mosaic lies in {where}, which no other process finds; expected a path or a "
                "URL. Use write_zarr(fused, store, kind='recipe', msi='copy')"
            )
    return {"store": where, "array": array.path}


def _blocks(form: Decoded) -> da.Array:
    return blocks_of(form, [max(1, size) for size in form.shape])


def _raster_of(data: da.Array, name: str) -> Raster | None:
    """Find the file behind an array that rioxarray opened, as xarray wraps it."""
    layer = data.dask.layers.get(f"original-{name}", {})
    for task in layer.values():
        source = getattr(task, "value", task)
        source = innermost(source)
        path = raster_path(source)
        if path is not None and getattr(source, "vrt_params", None) is None:
            return Raster.of(path)
    return None
