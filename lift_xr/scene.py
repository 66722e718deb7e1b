"""What a scene is: dimensions by name, bands in nm, pixel centres, float32 with NaN for nodata.

Everything a user hands in passes ``expect_hsi`` or ``expect_msi`` once. They read names, units and
coordinates, never a pixel; what only the pixels can tell is said by ``expect_values``.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal, get_args

import dask.array as da
import numpy as np
import rioxarray  # noqa: F401  # the .rio accessor
import xarray as xr

from lift_xr.bands import shortened, to_nm, with_bands, without_bad_bands
from lift_xr.decode import decode
from lift_xr.errors import GridError, LayoutError, SpectralError
from lift_xr.grid import (
    COUNTED,
    Grid,
    GridMatch,
    cells,
    compare,
    expect_integer_ratio,
    expect_overlap,
    expect_same_crs,
    geotransform,
)
from lift_xr.plan import SHARD, expect_edge

__all__ = [
    "Grid",
    "GridMatch",
    "cells",
    "compare",
    "expect_hsi",
    "expect_integer_ratio",
    "expect_msi",
    "expect_overlap",
    "expect_same_crs",
    "expect_scene",
    "expect_values",
    "to_nm",
    "valid",
]

BadBands = Literal["drop", "keep"]
BLOCK = SHARD  # one task reads, lifts and writes it

ALIASES = {
    "band": ("band", "bands", "wavelength", "wavelengths", "channel", "channels"),
    "y": ("y", "lat", "latitude", "row", "rows", "northing"),
    "x": ("x", "lon", "longitude", "col", "column", "columns", "easting"),
}
SPECTRAL = ("wavelength", "fwhm", "good_wavelength", "bbl")


def expect_hsi(
    data: xr.DataArray | xr.Dataset,
    *,
    name: str = "hsi",
    bad_bands: BadBands = "drop",
    block: int = BLOCK,
) -> xr.DataArray:
    """Turn what the user calls a hyperspectral cube into a scene.

    Parameters
    ----------
    data : (band, y, x) in any order
        A DataArray, or a Dataset with one raster variable, with a ``wavelength`` coordinate whose
        ``units`` attribute is nm, um or m. Integers are decoded by their attributes. Without y and
        x coordinates, and without a CRS, pixels are counted: 0.5, 1.5, ...
    name
        What errors call it.
    bad_bands
        ``"drop"`` leaves out bands whose ``good_wavelength`` (or ``bbl``) is False.
    block
        Block edge, in pixels, where ``data`` is not a dask array yet.

    Returns
    -------
    (band, y, x), float32
        Lazy; NaN is nodata; ``wavelength`` and ``fwhm`` in nm.

    Raises
    ------
    SpectralError, GridError, LayoutError
        Bands, pixel centres or blocks that cannot be used.
    """
    if bad_bands not in get_args(BadBands):
        raise SpectralError(f"bad_bands is {bad_bands!r}; expected 'drop' or 'keep'")
    scene = expect_scene(data, name=name, block=block)
    if "time" in scene.dims:
        raise LayoutError(
            f"{name} has {scene.sizes['time']} times; expected one cube (band, y, x). "
            f"Use {name} = {name}.isel(time=0)"
        )
    if "wavelength" not in scene.coords:
        raise SpectralError(
            f"{name} has {scene.sizes['band']} bands without wavelengths; expected a coordinate "
            f"'wavelength' along band, in nm. Use {name} = {name}.assign_coords("
            "wavelength=('band', centres, {'units': 'nm'}))"
        )
    return without_bad_bands(scene, name=name) if bad_bands == "drop" else scene


def expect_msi(
    data: xr.DataArray | xr.Dataset, *, name: str = "msi", block: int = BLOCK
) -> xr.DataArray:
    """Turn what the user calls a multispectral mosaic into a scene.

    As ``expect_hsi``, with these differences: ``time`` may lead, (y, x) alone is one band, and
    wavelengths are not needed.

    Returns
    -------
    (band, y, x) or (time, band, y, x), float32
        Lazy; NaN is nodata. Blocks of a dask array keep their y and x edges.
    """
    return expect_scene(data, name=name, block=block)


def expect_scene(
    data: xr.DataArray | xr.Dataset, *, name: str = "scene", block: int = BLOCK
) -> xr.DataArray:
    """Turn data into a scene, with or without wavelengths: what both kinds have in common."""
    block = expect_edge(block, name="block")
    scene = raster_of(data, name=name)
    scene = with_dims(scene, name=name)
    _expect_pixels(scene, name=name)
    scene = _with_blocks(scene, block=block, name=name)
    scene = decode(scene, name=name)
    scene = with_bands(scene, name=name)
    return _with_grid(scene, name=name)


def valid(scene: xr.DataArray) -> xr.DataArray:
    """Tell where all bands hold data: (y, x), bool, lazy where the scene is; True is good."""
    finite = abs(scene) < np.inf  # False of NaN too
    return finite.all("band").drop_attrs()


def expect_values(
    *,
    count_valid: int,
    count_inf: int = 0,
    all_nan_bands: Sequence[Hashable] = (),
    name: str = "hsi",
) -> None:
    """Raise SpectralError unless the pixels, once read, can be trained on.

    Parameters
    ----------
    count_valid
        Pixels with data in every band that has any.
    count_inf
        Infinite values.
    all_nan_bands
        Bands that are NaN in every pixel, as ``scene.band`` names them.
    """
    if count_inf:
        raise SpectralError(
            f"{name} has {count_inf} infinite values; expected finite numbers, and NaN for nodata. "
            f"Use {name} = {name}.where(np.isfinite({name}))"
        )
    if all_nan_bands and count_valid:
        bands = list(all_nan_bands)
        raise SpectralError(
            f"{name} has {len(bands)} bands that are NaN in every pixel: {shortened(bands)}; "
            f"expected data in every band. Leave them out with {name} = {name}.drop_sel("
            f"band={bands}), or mark them bad with {name} = {name}.assign_coords("
            f"good_wavelength=~{name}.band.isin({bands}))"
        )
    if not count_valid:
        raise SpectralError(
            f"{name} has no pixel with data in all bands; expected some. Check its nodata value, "
            f"{name}.attrs.get('_FillValue'), and its extent, {name}.rio.bounds()"
        )


def raster_of(data: xr.DataArray | xr.Dataset, *, name: str) -> xr.DataArray:
    """Pick the one variable of a Dataset that has pixels, with all that describes its bands."""
    if isinstance(data, xr.DataArray):
        return data
    if not isinstance(data, xr.Dataset):
        raise LayoutError(
            f"{name} is a {type(data).__name__}; expected an xarray DataArray or Dataset. "
            f"Use {name} = xr.DataArray(values, dims=('band', 'y', 'x'))"
        )
    rasters = [key for key, each in data.data_vars.items() if _has_pixels(each)]
    if len(rasters) != 1:
        raise LayoutError(
            f"{name} is a Dataset with {len(rasters)} raster variables {rasters}; expected one. "
            f"Use {name} = {name}[{(rasters or ['reflectance'])[0]!r}]"
        )
    aside = [key for key in data.data_vars if key in SPECTRAL or not data[key].dims]
    return data.set_coords(aside)[rasters[0]]


def _has_pixels(variable: xr.DataArray) -> bool:
    return all(any(alias in variable.dims for alias in ALIASES[axis]) for axis in ("y", "x"))


def with_dims(scene: xr.DataArray, *, name: str) -> xr.DataArray:
    """Call the dimensions band, y and x, in this order; refuse those that have no place there."""
    for axis in ("y", "x"):
        scene = _renamed(scene, axis, name=name)
    if not any(alias in scene.dims for alias in ALIASES["band"]):
        scene = _as_one_band(scene)
    scene = _renamed(scene, "band", name=name)
    order = [dim for dim in ("time", "band", "y", "x") if dim in scene.dims]
    extra = [dim for dim in scene.dims if dim not in order]
    if extra:
        raise LayoutError(
            f"{name} has dimensions {scene.dims}; expected band, y and x, with time before them at "
            f"most. Use {name} = {name}.isel({extra[0]}=0)"
        )
    return scene.transpose(*order)


def _as_one_band(scene: xr.DataArray) -> xr.DataArray:
    """Give an image without bands one, with what was known of it when it was a band."""
    known = [key for key in SPECTRAL if key in scene.coords and scene[key].ndim == 0]
    coords = {key: scene[key].expand_dims("band").drop_vars(known) for key in known}
    return scene.drop_vars(known).expand_dims("band").assign_coords(coords)


def _renamed(scene: xr.DataArray, axis: str, *, name: str) -> xr.DataArray:
    """Call one dimension by its own name, whichever alias it came with."""
    found = [dim for dim in ALIASES[axis] if dim in scene.dims]
    if not found:
        raise GridError(
            f"{name} has dimensions {scene.dims}; expected one called {axis}. "
            f"Use {name} = {name}.rename({{...: {axis!r}}})"
        )
    alias = found[0]
    if alias == axis:
        return scene
    if axis in scene.coords and scene[axis].dims == (alias,):
        return scene.swap_dims({alias: axis}).drop_vars(alias, errors="ignore")
    if axis in scene.coords:
        scene = scene.drop_vars(axis)
    if alias.startswith("wavelength"):  # stays a coordinate, no longer an index
        scene = scene.swap_dims({alias: axis})
        plural = "wavelengths" in scene.coords and "wavelength" not in scene.coords
        return scene.rename(wavelengths="wavelength") if plural else scene
    return scene.rename({alias: axis})


def _expect_pixels(scene: xr.DataArray, *, name: str) -> None:
    empty = [dim for dim, size in scene.sizes.items() if size == 0]
    if empty:
        raise GridError(
            f"{name} has shape {dict(scene.sizes)}, so no pixels; expected at least one along "
            f"{', '.join(map(str, empty))}. Check the selection that made it"
        )


def _with_blocks(scene: xr.DataArray, *, block: int, name: str) -> xr.DataArray:
    """Give each block all bands; a dask array keeps its edges along y and x."""
    if scene.chunks is None:
        sizes = {"time": 1, "band": -1, "y": block, "x": block}
        cut = {dim: sizes[str(dim)] for dim in scene.dims}
        return scene.copy(data=scene.variable.chunk(cut).data)  # coordinates stay in memory
    if not isinstance(scene.data, da.Array):
        kind = f"{type(scene.data).__module__}.{type(scene.data).__name__}"
        raise LayoutError(
            f"{name} is backed by {kind}; expected a dask or numpy array. "
            f"Use {name} = {name}.compute()"
        )
    one_block = len(scene.chunksizes["band"]) == 1
    return scene if one_block else scene.chunk({"band": -1})


def _with_grid(scene: xr.DataArray, *, name: str) -> xr.DataArray:
    """Check the pixel centres and put the CRS under the name ``spatial_ref``."""
    absent = [axis for axis in ("y", "x") if axis not in scene.indexes]
    if absent:
        scene = _placed(scene, absent, name=name)
    mapping, crs = scene.rio.grid_mapping, scene.rio.crs
    if crs is not None:
        scene = scene.rio.write_crs(crs, grid_mapping_name="spatial_ref")
        if mapping != "spatial_ref":
            scene = scene.drop_vars(mapping, errors="ignore")
    Grid.of(scene, name=name)
    return scene


def _placed(scene: xr.DataArray, absent: Sequence[str], *, name: str) -> xr.DataArray:
    """Place a scene that has no coordinates: by its transform, else by counting."""
    transform = geotransform(scene)
    upright = transform is not None and transform[2] == transform[4] == 0
    if len(absent) == 1 or (scene.rio.crs is not None and not upright):
        turned = transform is not None and not upright
        found = "a rotated transform" if turned else f"no {' and '.join(absent)} coordinates"
        advice = f"{name}.rio.reproject({name}.rio.crs)" if turned else f"{name}.assign_coords(...)"
        raise GridError(
            f"{name} has {found}; expected pixel centres along y and x. Use {name} = {advice}"
        )
    left, dx, _, top, _, dy = transform or (0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    attrs = {} if transform else {"units": COUNTED}
    y = top + dy * (np.arange(scene.sizes["y"]) + 0.5)
    x = left + dx * (np.arange(scene.sizes["x"]) + 0.5)
    return scene.drop_vars(["y", "x"], errors="ignore").assign_coords(
        y=("y", y, attrs), x=("x", x, attrs)
    )
