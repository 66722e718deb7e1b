"""Bands of a scene, or a picture of it, as a cloud-optimised GeoTIFF: for tools without Zarr."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import dask
import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.shutil
import xarray as xr
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

from lift_xr.bands import shortened
from lift_xr.errors import LayoutError, SpectralError
from lift_xr.grid import Grid
from lift_xr.io.codecs import one_codec_at_a_time
from lift_xr.io.coding import Coding, Image, expect_dtype, find_coding
from lift_xr.io.cores import cores
from lift_xr.progress import bar
from lift_xr.scene import expect_scene
from lift_xr.unmix import ABUNDANCE, as_scene

RGB = (650.0, 550.0, 470.0)  # nm, where red, green and blue are looked for
REACH = 50.0  # nm, how far from it the nearest band may lie
TILE = 512  # pixels along the edge of a tile of the result
SIDECARS = (".aux.xml", ".ovr", ".msk")  # that GDAL would read beside a file of this name

Picked = Literal["rgb"] | Sequence[int | str | float] | None


def export(
    scene: xr.DataArray | xr.Dataset,
    path: str | os.PathLike[str],
    *,
    bands: Picked = None,
    dtype: npt.DTypeLike | None = None,
    limits: tuple[float, float] | None = None,
    overviews: bool = True,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Compute bands of a scene and write them as a cloud-optimised GeoTIFF (COG).

    No more blocks are in memory at a time than there are cores. Beside the result there is room
    needed for as much again, while GDAL puts the tiles of a plain GeoTIFF in the order of a COG.

    Parameters
    ----------
    scene : (band, y, x)
        Any scene, or maps from ``unmix``. Of a large store, a coarse one will often do:
        ``open_scene(store, level=3)``.
    path
        Of a local file.
    bands
        ``"rgb"`` takes those nearest to 650, 550 and 470 nm. A list picks one by one: whole
        numbers and names as ``scene.band`` has them, decimals as wavelengths in nm, of which the
        nearest band is taken. The default takes all.
    dtype
        ``"float32"`` keeps values, the default; ``"uint16"`` packs them as ``write_zarr`` does,
        clipping what lies beyond; ``"uint8"`` makes a picture of them, 1-255 from dark to bright
        and 0 where there is no data, the default of ``bands="rgb"``.
    limits
        The values that are darkest and brightest in a picture. The default is found for each band:
        2 % of a sample of pixels are darker, 2 % brighter.
    overviews
        Make overviews down to one tile.
    overwrite
        Replace a file that is there.
    progress
        Draw a progress bar in a terminal or notebook.

    Returns
    -------
    Path
        Of the file, whole. Bands are described by their wavelength, which ``open_scene`` reads.

    Raises
    ------
    LayoutError
        A place that is taken; several times; limits that are none, or without a picture.
    SpectralError
        Bands that the scene does not have.
    """
    cube = _expect_one_time(expect_scene(as_scene(scene), name="scene"))
    target = _expect_target(path, overwrite=overwrite)
    kind = expect_dtype(dtype, limits, picture=isinstance(bands, str))
    image = Image.of(cube, _positions(cube, bands))
    coding = find_coding(image, kind, limits)
    with TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as folder:
        tiled, cog = Path(folder, "tiled.tif"), Path(folder, "cog.tif")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # a scene may lie nowhere
            _write_windows(image, tiled, coding, show=progress)
            _reorder(tiled, cog, overviews=overviews)
        for suffix in SIDECARS:
            target.with_name(target.name + suffix).unlink(missing_ok=True)
        cog.replace(target)
    return target


def _expect_one_time(scene: xr.DataArray) -> xr.DataArray:
    if "time" in scene.dims:
        raise LayoutError(
            f"scene has {scene.sizes['time']} times; expected one, (band, y, x), for one file. "
            "Use export(scene.isel(time=0), ...)"
        )
    return scene


def _expect_target(path: str | os.PathLike[str], *, overwrite: bool) -> Path:
    """Check that a file may be written at ``path``, before anything is computed."""
    if "://" in os.fspath(path):
        raise LayoutError(
            f"path is {os.fspath(path)}, a URL; expected a local file. "
            "Write it here and copy it there"
        )
    target = Path(path)
    if target.is_dir() or not target.parent.is_dir():
        raise LayoutError(
            f"{target} is a folder, or lies in one that does not exist; expected the name of a "
            "file. Use export(scene, 'scene.tif')"
        )
    if target.exists() and not overwrite:
        raise LayoutError(
            f"{target} already exists; expected a new file. "
            "Use another path, or pass overwrite=True to replace it"
        )
    return target


def _positions(scene: xr.DataArray, bands: Picked) -> list[int]:
    """Find the bands that are asked for."""
    if bands is None:
        return list(range(len(scene["band"])))
    if isinstance(bands, str):
        if bands != "rgb":
            raise SpectralError(
                f"bands is {bands!r}; expected 'rgb' or a list of bands. Use bands=[{bands!r}]"
            )
        bands = RGB
    if not len(bands):
        raise SpectralError("bands is empty; expected at least one band. Use bands=None for all")
    return [_position(scene, each) for each in bands]


def _position(scene: xr.DataArray, band: int | str | float) -> int:
    """Find one band: a decimal is a wavelength, anything else a label."""
    if isinstance(band, float | np.floating):
        return _nearest(scene, float(band))
    labels = scene["band"].to_numpy().tolist()
    if band in labels:
        return int(labels.index(band))
    raise SpectralError(
        f"scene has no band {band!r}; expected one of {shortened(labels)}, or a wavelength in nm "
        "as a decimal number. Use e.g. bands=[650.0, 550.0, 470.0]"
    )


def _nearest(scene: xr.DataArray, wavelength: float) -> int:
    if "wavelength" not in scene.coords:
        labels = scene["band"].to_numpy().tolist()
        raise SpectralError(
            f"scene has no wavelengths to find {wavelength:g} nm among; expected a coordinate "
            f"'wavelength', or bands by label: {shortened(labels)}. "
            f"Use bands={labels[:3]}, with dtype='uint8' for a picture"
        )
    centres = scene["wavelength"].to_numpy()
    position = int(np.argmin(np.abs(centres - wavelength)))
    if not abs(centres[position] - wavelength) <= REACH:
        raise SpectralError(
            f"the band of scene nearest to {wavelength:g} nm is at {centres[position]:g} nm; "
            f"expected one within {REACH:g} nm. Choose among {centres.min():g}-{centres.max():g} "
            "nm, e.g. bands=[...]"
        )
    return position


def _write_windows(image: Image, path: Path, coding: Coding, *, show: bool) -> None:
    """Compute the blocks into a plain GeoTIFF, as many at a time as there are cores."""
    windows = list(_windows(image.chosen.data.chunks))
    at_once = cores()
    with (
        rasterio.open(path, "w", **_profile(image.chosen, coding)) as target,
        bar("exporting", total=len(windows), show=show) as advance,
        one_codec_at_a_time(),
    ):
        _describe(target, image.chosen, coding)
        for done in range(0, len(windows), at_once):
            batch = windows[done : done + at_once]
            blocks = dask.compute(*(image.window(*window.toslices()) for window in batch))
            for window, block in zip(batch, blocks, strict=True):
                target.write(coding.encode(block), window=window)
            advance(done + len(batch))


def _windows(chunks: tuple[tuple[int, ...], ...]) -> Iterator[Window]:
    rows, columns = (np.cumsum((0, *along)).tolist() for along in chunks[1:])
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            yield Window(left, top, right - left, bottom - top)


def _profile(chosen: xr.DataArray, coding: Coding) -> dict[str, Any]:
    grid = Grid.of(chosen)
    placed = rasterio.Affine(grid.dx, 0, grid.left, 0, grid.dy, grid.top)
    return {
        "driver": "GTiff",
        "count": len(chosen),
        "height": grid.height,
        "width": grid.width,
        "dtype": coding.dtype,
        "nodata": coding.nodata,
        "crs": chosen.rio.crs,
        "transform": placed if grid.located else rasterio.Affine.identity(),
        "tiled": True,
        "blockxsize": 256,  # divides the usual blocks, so that no tile is written twice
        "blockysize": 256,
        "compress": "deflate",
        "zlevel": 1,  # read once, then deleted
        "bigtiff": "if_safer",
    }


def _describe(target: Any, chosen: xr.DataArray, coding: Coding) -> None:
    """Tell what the bands are, where GDAL keeps it: IMAGERY has wavelengths in micrometers."""
    target.scales, target.offsets = (
        (each,) * len(chosen) for each in (coding.scale, coding.offset)
    )
    if coding.dtype == "uint8" and len(chosen) == 3:
        target.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
    elif "units" in chosen.attrs:
        target.units = (str(chosen.attrs["units"]),) * len(chosen)
    labels = [str(label) for label in chosen["band"].to_numpy()]
    if chosen.name == ABUNDANCE:
        labels = [f"endmember {label}" for label in labels]
    if isinstance(chosen.attrs.get("long_name"), str):
        target.update_tags(long_name=chosen.attrs["long_name"])
    if "wavelength" in chosen.coords:
        labels = [f"{centre:g} nm" for centre in chosen["wavelength"].to_numpy()]
    target.descriptions = labels
    for coord, tag in (("wavelength", "CENTRAL_WAVELENGTH_UM"), ("fwhm", "FWHM_UM")):
        if coord in chosen.coords:
            for band, value in enumerate(chosen[coord].to_numpy(), start=1):
                target.update_tags(band, ns="IMAGERY", **{tag: f"{value / 1000:.9g}"})


def _reorder(tiled: Path, cog: Path, *, overviews: bool) -> None:
    """Let GDAL copy the tiles in the order of a COG, overviews first."""
    rasterio.shutil.copy(
        tiled,
        cog,
        driver="COG",
        compress="deflate",
        predictor="yes",
        blocksize=TILE,
        overviews="auto" if overviews else "none",
        overview_resampling="average",
        bigtiff="if_safer",
        num_threads=str(cores()),
    )
