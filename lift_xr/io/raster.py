"""GeoTIFF, COG, VRT and ENVI, lazily, with the spectral metadata their headers hold."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import dask.array as da
import numpy as np
import rasterio
import rioxarray
import xarray as xr
from dask.base import tokenize
from rasterio.enums import ColorInterp
from rasterio.env import get_gdal_config
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError

from lift_xr.bands import MASKED
from lift_xr.decode import decode
from lift_xr.errors import LayoutError, SpectralError
from lift_xr.packing import mask_transparent
from lift_xr.warn import warn_user

Alpha = Literal["mask", "keep"] | None
ENVI_DATA = ("", ".img", ".dat", ".bsq", ".bil", ".bip", ".envi", ".raw")

# GDAL keeps what it has read until it holds a twentieth of the machine's memory, in every process:
# a task's memory would grow with the scene. This much holds a row of blocks of a mosaic whose
# strips run from edge to edge. GDAL looks once, when it first reads; whoever set it is obeyed.
os.environ.setdefault("GDAL_CACHEMAX", "128")  # MB


def gdal_cache() -> int:
    """Ask GDAL how much it keeps at most of what it has read, in bytes, in this process."""
    found: int = get_gdal_config("GDAL_CACHEMAX")
    return found


def open_raster(source: str, *, block: int, alpha: Alpha = None) -> xr.DataArray:
    """Open a file that GDAL reads; see ``open_scene`` for ``alpha``.

    Returns
    -------
    (band, y, x), dtype of the file
        Lazy; nodata, scale and offset are in ``attrs`` and not applied, except where an alpha band
        had to be: pixels it makes transparent are NaN, and it is left out.
    """
    path = _data_file(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # open_scene counts pixels
            with rasterio.open(path) as opened:
                return _labelled(_lazy(path, block=block), opened, alpha)
    except RasterioIOError as error:
        raise LayoutError(
            f"{path} cannot be read as a raster ({error}); expected Zarr, GeoTIFF or ENVI. "
            f"Check it with: rio info {path}"
        ) from error


def _data_file(source: str) -> str:
    """Find the data beside an ENVI header: scene.hdr has scene or scene.img, a.img.hdr a.img."""
    if "://" in source or source.startswith("/vsi"):
        return source
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; expected a scene. Check the path")
    if path.suffix.lower() != ".hdr":
        return source
    stem = path.with_suffix("")
    candidates = [stem.with_name(stem.name + suffix) for suffix in ENVI_DATA]
    candidates += [stem.with_name(stem.name + suffix.upper()) for suffix in ENVI_DATA]
    found = [each for each in candidates if each.is_file()]
    if not found:
        raise LayoutError(
            f"{path.name} is an ENVI header without data; expected {stem.name}, {stem.name}.img, "
            f".dat, .bsq, .bil or .bip beside it. Move the data to {stem}.img"
        )
    return str(found[0])


def _lazy(path: str, *, block: int) -> xr.DataArray:
    with warnings.catch_warnings():
        # Scales that differ between bands are read below.
        warnings.filterwarnings("ignore", message="(Scales|Offsets) differ")
        # Without a lock every thread opens the file for itself, so reads run side by side.
        opened = rioxarray.open_rasterio(
            path, chunks={"band": -1, "y": block, "x": block}, lock=False
        )
    if not isinstance(opened, xr.DataArray):
        raise LayoutError(
            f"{path} holds several rasters; expected one. Open one of its subdatasets: "
            f"rasterio.open({path!r}).subdatasets lists them"
        )
    return opened


def _labelled(raster: xr.DataArray, source: Any, alpha: Alpha) -> xr.DataArray:
    """Exchange GDAL's free-form attributes for the few that mean something here."""
    envi = source.tags(ns="ENVI")
    raster = raster.drop_vars(("wavelength", "fwhm", "bbl"), errors="ignore")
    raster.attrs = _attrs(source, envi)
    raster = raster.assign_coords(_from_header(envi, source) or _from_band_tags(source))
    if source.crs is None and source.transform.is_identity:
        raster = raster.drop_vars(("y", "x", "spatial_ref"), errors="ignore")
    return raster if alpha == "keep" else _masked(raster, source, silent=alpha == "mask")


def _attrs(source: Any, envi: Mapping[str, str]) -> dict[str, Any]:
    """Nodata, scale, offset and units; a reflectance scale factor of ENVI divides."""
    attrs: dict[str, Any] = {}
    nodata = sorted({code for code in source.nodatavals if code is not None})
    if nodata:
        attrs["_FillValue"] = nodata if len(nodata) > 1 else nodata[0]
    for key, values in (("scale_factor", source.scales), ("add_offset", source.offsets)):
        attrs[key] = values[0] if len(set(values)) == 1 else list(values)
    units = {unit for unit in source.units if unit}
    if len(units) == 1:
        attrs["units"] = units.pop()
    factor = float(envi.get("reflectance_scale_factor", 1))
    if factor != 1 and attrs["scale_factor"] == 1:
        attrs |= {"scale_factor": 1 / factor if factor else 0.0, "units": "1"}
    return attrs


def _from_header(envi: Mapping[str, str], source: Any) -> dict[str, Any]:
    """Read the spectral fields of an ENVI header."""
    if "wavelength" not in envi:
        return {}
    units = envi.get("wavelength_units")
    attrs = {"units": units} if units else {}
    coords: dict[str, Any] = {}
    for field, coord in (("wavelength",) * 2, ("fwhm",) * 2, ("bbl", "good_wavelength")):
        if field in envi:
            values = [float(number) for number in envi[field].strip("{} \n").split(",")]
            if len(values) != source.count:
                raise SpectralError(
                    f"the header lists {len(values)} values of {field} for {source.count} bands; "
                    f"expected one a band. Correct {field!r} in the header of {source.name}"
                )
            coords[coord] = ("band", np.array(values), {} if field == "bbl" else attrs)
    return coords


def _from_band_tags(source: Any) -> dict[str, Any]:
    """Read wavelengths that GDAL keeps band by band, where every band has one."""
    bands = range(1, source.count + 1)
    plain = [{key.lower(): text for key, text in source.tags(band).items()} for band in bands]
    imagery = [source.tags(band, ns="IMAGERY") for band in bands]
    units = plain[0].get("wavelength_units")
    told = _column(plain, "wavelength")
    if told is not None and units:
        coords = {"wavelength": ("band", told, {"units": units})}
        widths, width_units = _column(plain, "fwhm"), units
    else:
        centres = _column(imagery, "CENTRAL_WAVELENGTH_UM")
        attrs = {"units": "um"}
        if centres is None:
            centres, attrs = told, {}
        coords = {} if centres is None else {"wavelength": ("band", centres, attrs)}
        widths, width_units = _column(imagery, "FWHM_UM"), "um"
    if coords and widths is not None:
        coords["fwhm"] = ("band", widths, {"units": width_units})
    return coords


def _column(bands: list[dict[str, str]], key: str) -> np.ndarray | None:
    """One number a band, or None where a band lacks it or holds something else."""
    try:
        return np.array([float(band[key]) for band in bands])
    except (KeyError, ValueError):
        return None


def _masked(raster: xr.DataArray, source: Any, *, silent: bool) -> xr.DataArray:
    """Take the band marked as alpha, if there is one, as transparency; say so unless silent."""
    if ColorInterp.alpha not in source.colorinterp:
        return raster
    index = source.colorinterp.index(ColorInterp.alpha)
    if not silent:
        warn_user(
            f"band {index + 1} of {Path(source.name).name} is marked as alpha: taken as "
            "transparency and left out; if it is data, such as near infrared, pass alpha='keep'; "
            "pass alpha='mask' to take it as transparency without this warning"
        )
    return _without_alpha(decode(raster), index)


def _without_alpha(raster: xr.DataArray, index: int) -> xr.DataArray:
    """Turn transparent pixels into NaN and leave the alpha band out."""
    bands = np.delete(np.arange(raster.sizes["band"]), index)
    data = raster.data.map_blocks(
        mask_transparent,
        index=index,
        dtype="float32",
        chunks=((len(bands),), *raster.data.chunks[1:]),
        meta=np.empty((0, 0, 0), "float32"),
        name=f"{MASKED}-{tokenize(raster.data, index)}",
    )
    assert isinstance(data, da.Array)
    return raster.isel(band=bands).copy(data=data)
