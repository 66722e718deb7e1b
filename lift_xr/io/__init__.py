"""Scenes in and out of files: ``open_scene`` reads, ``write_zarr`` and ``export`` write."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from lift_xr.errors import LayoutError, SpectralError
from lift_xr.io.cog import export
from lift_xr.io.embed import load_model
from lift_xr.io.engines import ClusterGone
from lift_xr.io.fill import WriteFailed
from lift_xr.io.foresee import plan
from lift_xr.io.foreseen import Plan
from lift_xr.io.raster import Alpha, open_raster
from lift_xr.io.recipe import is_recipe, open_recipe
from lift_xr.io.status import Status, status
from lift_xr.io.store import found_anywhere, levels, open_store
from lift_xr.io.verification import Check, Failure, Verification
from lift_xr.io.verify import verify
from lift_xr.io.write import write_zarr
from lift_xr.plan import expect_edge
from lift_xr.scene import BLOCK, expect_scene, raster_of, with_dims

__all__ = [
    "Check",
    "ClusterGone",
    "Failure",
    "Plan",
    "Status",
    "Verification",
    "WriteFailed",
    "export",
    "levels",
    "load_model",
    "open_scene",
    "plan",
    "status",
    "verify",
    "write_zarr",
]

RASTERS = {".tif", ".tiff", ".vrt"}
OTHERS = {".nc", ".nc4", ".h5", ".hdf5", ".he5"}


def open_scene(
    source: Any,
    *,
    variable: str | None = None,
    wavelength: npt.ArrayLike | None = None,
    fwhm: npt.ArrayLike | None = None,
    units: str | None = None,
    level: int | None = None,
    alpha: Alpha = None,
    block: int = BLOCK,
) -> xr.DataArray:
    """Open a scene lazily: Zarr, GeoTIFF and COG, VRT or ENVI.

    A recipe that ``write_zarr(..., kind="recipe")`` wrote opens as what it makes. Pixels are lifted
    when asked for: one band takes the hidden layers and a row of the last, a spectrum one chunk of
    the mosaic. Models that look at the cube again, and mixtures under constraints, make all bands
    of a pixel first.

    Parameters
    ----------
    source
        A path, a URL or a zarr store. A ``.zarr`` or a folder is Zarr; of ENVI, header or data.
    variable
        Which variable of a Zarr group that has several; ``"msi"``, of a recipe, for the mosaic
        that it lifts.
    wavelength, fwhm : (band,)
        Centre and width of each band, instead of what the file says.
    units
        Of ``wavelength`` and ``fwhm``, or of the file's own where it names none: nm, um or m.
    level
        Which overview of a Zarr store: pixels are 2**level as wide as those of full resolution,
        level 0 or None. ``levels`` lists the sizes. Of a recipe, the overview of the mosaic is
        lifted: near the mean of lifted pixels, but not that.
    alpha
        What a band is that a raster file marks as alpha: ``"mask"`` makes transparent pixels NaN
        and leaves the band out; ``"keep"`` takes it as data, for the near infrared of four-band
        images, which many programs write with that mark. The default masks, and warns.
    block
        Block edge in pixels. Blocks of a Zarr array are its shards; without
        shards, as many of its chunks as fit in ``block``.

    Returns
    -------
    (band, y, x) or (time, band, y, x), float32
        Scale and offset applied; NaN is nodata. As far as the file knows them: CRS, ``wavelength``
        and ``fwhm`` in nm, ``good_wavelength``.

    Raises
    ------
    FileNotFoundError
        Nothing is there.
    LayoutError
        Not a scene, no such level, a ``block`` that is no positive whole number, an unfinished
        store, or one that would have to run code to be read; a recipe whose mosaic has changed.
    SpectralError, GridError
        Wavelengths without units, pixels at no regular distance.

    Warns
    -----
    UserWarning
        A band is marked as alpha, and ``alpha`` does not say what it is.
    """
    block = expect_edge(block, name="block")
    where = found_anywhere(source)
    data = _opened(where, variable=variable, level=level, block=block, alpha=alpha)
    name = _name_of(source)
    scene = with_dims(raster_of(data, name=name), name=name)
    scene = _with_wavelengths(scene, wavelength, fwhm, units, name=name)
    return expect_scene(scene, name=name, block=block)


def _opened(
    source: Any, *, variable: str | None, level: int | None, block: int, alpha: Alpha
) -> xr.DataArray | xr.Dataset:
    if alpha not in (None, "mask", "keep"):
        raise ValueError(f"alpha is {alpha!r}; expected 'mask' or 'keep'")
    if _is_zarr(source):
        read = open_recipe if is_recipe(source) else open_store
        return read(source, variable=variable, block=block, level=level or 0)
    path = Path(source)
    if path.suffix.lower() in OTHERS:
        raise LayoutError(
            f"{path.name} is {path.suffix[1:]}; expected Zarr, GeoTIFF or ENVI. "
            f"Use xr.open_dataset({str(path)!r}, chunks={{}}) and pass one of its variables"
        )
    if level:
        raise _no_levels_here(path, level)
    return open_raster(os.fspath(source), block=block, alpha=alpha)


def _no_levels_here(path: Path, level: int) -> LayoutError:
    said = f"level is {level} and {path.name} is no Zarr store; expected level 0, full resolution"
    overview = f"rioxarray.open_rasterio({str(path)!r}, overview_level={level - 1})"
    more = f", or {overview} if it has overviews" if level > 0 else ""
    return LayoutError(f"{said}. Use open_scene(..., level=0){more}")


def _is_zarr(source: Any) -> bool:
    """Tell stores, folders and what is called .zarr from files; a URL is Zarr unless a raster."""
    if not isinstance(source, str | os.PathLike):
        return True
    path = Path(source)
    remote = "://" in os.fspath(source) and path.suffix.lower() not in RASTERS
    return remote or path.suffix.lower() == ".zarr" or path.is_dir()


def _name_of(source: Any) -> str:
    return Path(source).name if isinstance(source, str | os.PathLike) else "scene"


def _with_wavelengths(
    scene: xr.DataArray,
    wavelength: npt.ArrayLike | None,
    fwhm: npt.ArrayLike | None,
    units: str | None,
    *,
    name: str,
) -> xr.DataArray:
    """Put what the caller knows in place of what the file says."""
    for key, given in (("wavelength", wavelength), ("fwhm", fwhm)):
        if given is not None:
            values = np.asarray(given, dtype="float64")
            if values.shape != (scene.sizes["band"],):
                raise SpectralError(
                    f"{key} has shape {values.shape}; {name} has {scene.sizes['band']} bands: "
                    f"expected one number a band. Use open_scene(..., {key}=[...])"
                )
            attrs = {} if units is None else {"units": units}
            scene = scene.assign_coords({key: ("band", values, attrs)})
        elif key in scene.coords and units is not None:
            scene.coords[key].attrs.setdefault("units", units)
    if "wavelength" in scene.coords and not scene["wavelength"].attrs.get("units"):
        raise SpectralError(
            f"the wavelengths of {name} have no units; expected nm, um or m. "
            "Use open_scene(..., units='nm') if they are in nm"
        )
    return scene
