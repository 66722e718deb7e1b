"""Write a lazy scene to Zarr: create the store, fill it shard by shard, declare it complete."""

from __future__ import annotations

import json
import uuid
import warnings
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr
import zarr.codecs

from lift_xr.decode import PACKING
from lift_xr.encode import encode_block
from lift_xr.errors import LayoutError
from lift_xr.grid import Grid
from lift_xr.io.compute import compute_shards
from lift_xr.io.place import expect_place
from lift_xr.io.store import ABOUT, LEVEL, VARIABLE, VERSION
from lift_xr.packing import GREATEST_CODE, Packing
from lift_xr.plan import SHARD, Layout
from lift_xr.scene import expect_scene

REFLECTANCE_STEP = 1e-4
MARGIN = 0.25  # of the training range, on both sides: a mosaic has pixels the cube has not
CLIPPED_TOLERATED = 0.01
CONVENTIONS = "CF-1.11"
SPECTRAL_ATTRS = {
    "wavelength": {"standard_name": "radiation_wavelength", "long_name": "band centre"},
    "fwhm": {"long_name": "full width at half maximum"},
}


@dataclass(frozen=True)
class Target:
    """One array being written, small enough to travel with every task.

    Parameters
    ----------
    store
        Path, URL or zarr store.
    path
        Of the array in it.
    run
        Names this creation of the store, so that a process never writes through an older handle.
    """

    store: Any = field(compare=False)
    path: str
    run: str


def write_zarr(
    fused: xr.DataArray | xr.Dataset,
    store: Any,
    *,
    dtype: npt.DTypeLike = "uint16",
    scale_factor: float | None = None,
    add_offset: float | None = None,
    shard: int = SHARD,
    overwrite: bool = False,
    progress: bool = True,
) -> Any:
    """Compute a scene and write it, one task a shard.

    Parameters
    ----------
    fused : (band, y, x) or (time, band, y, x)
        From ``fuse`` or ``predict``, or any scene. Blocks that are not shards are rechunked,
        lazily; blocks of ``shard`` pixels need no rechunking.
    store
        A path, a URL or a zarr store.
    dtype
        ``"uint16"`` keeps codes, to be read as ``code * scale_factor + add_offset``; values beyond
        the 65,535 codes are clipped, and a warning says when they are many. ``"float32"`` keeps
        values.
    scale_factor, add_offset
        In the units of ``fused``. The default is 1e-4 and 0 where these are "1" (reflectance);
        else, what holds the range of the training cube with a quarter of it to spare either side.
    shard
        Shard edge in pixels.
    overwrite
        Replace a store that is there.
    progress
        Draw a progress bar in a terminal or notebook.

    Returns
    -------
    path, URL or zarr store
        ``store``, complete; ``open_scene`` reads it.

    Raises
    ------
    LayoutError
        A place that is taken or cannot be written in parallel; a scale that cannot be found.
    GridError, SpectralError
        When ``fused`` is no scene.
    """
    scene = expect_scene(fused, name="fused", block=shard)
    layout = Layout.of(scene.shape, _expect_dtype(dtype), shard=shard)
    packing = find_packing(scene.attrs, layout.dtype, scale_factor, add_offset)
    attrs = _plain_attrs(scene.attrs)
    expect_place(store, scene.data, overwrite=overwrite)
    target = create(scene.assign_attrs(attrs), store, layout, packing)
    clipped = fill(scene.data, target, layout, packing, progress=progress)
    finalize(store)
    _warn_of_clipping(clipped, packing, scene.size)
    return store


def find_packing(
    attrs: dict[Any, Any], dtype: np.dtype, scale_factor: float | None, add_offset: float | None
) -> Packing:
    """Choose scale and offset: as told, else by the units, else by the range of the training."""
    if dtype.kind == "f":
        if scale_factor is not None or add_offset is not None:
            raise LayoutError(
                "scale_factor or add_offset is given with dtype='float32'; expected neither, "
                "because float32 keeps values as they are. Use dtype='uint16' to pack them"
            )
        return Packing(dtype)
    scale, offset = _default_packing(attrs) if scale_factor is None else (scale_factor, 0.0)
    offset = offset if add_offset is None else add_offset
    if not (np.isfinite(scale) and np.isfinite(offset) and np.float32(scale) > 0):
        raise LayoutError(
            f"scale_factor is {scale} and add_offset {offset}; expected finite numbers and a scale "
            f"above 0. Use scale_factor={REFLECTANCE_STEP} for reflectance of 0-6.5"
        )
    # The offset is taken off and put on in float32: what is stored is what was taken off.
    return Packing(dtype, float(scale), float(np.float32(offset)))


def create(scene: xr.DataArray, store: Any, layout: Layout, packing: Packing) -> Target:
    """Write everything but pixels, and the word that the store is not complete."""
    attrs = scene.attrs
    about: dict[str, Any] = {
        "layout": VERSION,
        "complete": False,
        "version": version("lift-xr"),
        "run": uuid.uuid4().hex,
        "provenance": {key: attrs[key] for key in attrs if str(key).startswith(ABOUT)},
    }
    zarr.open_group(
        store, mode="w", zarr_format=3, attributes={"Conventions": CONVENTIONS, ABOUT: about}
    )
    template = _template(scene, layout)
    template.to_dataset(name=VARIABLE).to_zarr(
        store,
        group=LEVEL,
        mode="a",
        compute=False,  # coordinates and metadata only
        consolidated=False,
        zarr_format=3,
        encoding=_encoding(template, layout, packing),
    )
    return Target(store, f"{LEVEL}/{VARIABLE}", about["run"])


def fill(
    data: da.Array, target: Target, layout: Layout, packing: Packing, *, progress: bool
) -> int:
    """Compute every shard and write it where it belongs; say how many values were clipped."""
    if data.chunks != layout.blocks:
        data = data.rechunk(layout.blocks)
    statuses = da.map_blocks(
        write_shard,
        data,
        target=target,
        packing=packing,
        shard=layout.shard,
        chunks=tuple((1,) * len(along) for along in layout.blocks),
        dtype="int64",
        meta=np.empty((0,) * data.ndim, "int64"),
        name=f"write-{target.run}",
    )
    return compute_shards(statuses, show=progress)


def write_shard(
    block: np.ndarray,
    target: Target,
    packing: Packing,
    shard: tuple[int, ...],
    block_id: tuple[int, ...],
) -> np.ndarray:
    """Encode one block and write it as one whole shard; the status is its clipped values."""
    encoded = encode_block(block, packing)
    starts = [index * edge for index, edge in zip(block_id, shard, strict=True)]
    window = tuple(
        slice(start, start + size) for start, size in zip(starts, block.shape, strict=True)
    )
    _array(target)[window] = encoded.codes
    return np.full((1,) * block.ndim, encoded.clipped, "int64")


def finalize(store: Any) -> None:
    """Consolidate the metadata, then call the store complete: the last thing a run writes."""
    with warnings.catch_warnings():
        # Not in the specification yet, but read by every zarr-python 3 and by xarray.
        warnings.filterwarnings("ignore", message="Consolidated metadata", category=UserWarning)
        zarr.consolidate_metadata(store)
    root = zarr.open_group(store, mode="r+")
    about: Any = root.attrs[ABOUT]
    root.attrs[ABOUT] = {**about, "complete": True}


@lru_cache(maxsize=8)
def _array(target: Target) -> zarr.Array[Any]:
    """Open the array once a process, not once a task."""
    return zarr.open_array(target.store, path=target.path, mode="r+")


def _expect_dtype(dtype: npt.DTypeLike) -> np.dtype:
    found = np.dtype(dtype)
    if found not in (np.dtype("uint16"), np.dtype("float32")):
        raise LayoutError(
            f"dtype is {found}; expected 'uint16' (packed) or 'float32'. Use dtype='float32' to "
            "keep values as they are computed"
        )
    return found


def _default_packing(attrs: dict[Any, Any]) -> tuple[float, float]:
    if str(attrs.get("units", "")).strip() == "1":
        return REFLECTANCE_STEP, 0.0
    low, high = attrs.get("lift_xr_range", (np.nan, np.nan))
    if not high > low:
        raise LayoutError(
            f"fused has units {attrs.get('units')!r} and no range to find a scale_factor from; "
            "expected units '1' (reflectance) or a scale. Use write_zarr(..., scale_factor=..., "
            "add_offset=...) with 65535 * scale_factor above its range, or dtype='float32'"
        )
    margin = MARGIN * (high - low)
    return (high - low + 2 * margin) / GREATEST_CODE, low - margin


def _plain_attrs(attrs: dict[Any, Any]) -> dict[str, Any]:
    """Attributes as JSON says them, without those that packing sets."""
    kept = {
        str(key): value for key, value in attrs.items() if key not in (*PACKING, "grid_mapping")
    }
    for key, value in kept.items():
        try:
            kept[key] = json.loads(json.dumps(value, default=_plain))
        except TypeError as error:
            raise LayoutError(
                f"attribute {key!r} of fused is a {type(value).__name__}, which JSON cannot hold; "
                f"expected text, numbers or lists. Use fused.attrs[{key!r}] = str(...)"
            ) from error
    return kept


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(type(value).__name__)


def _template(scene: xr.DataArray, layout: Layout) -> xr.DataArray:
    """Everything of the scene but its pixels: coordinates in memory, described as CF has it."""
    coords = {key: each.compute() for key, each in scene.coords.items() if each.ndim < 2}
    nothing = da.zeros(layout.shape, dtype="float32", chunks=layout.shape)
    template = xr.DataArray(nothing, coords=coords, dims=scene.dims, attrs=scene.attrs)
    if template["band"].dtype.kind == "U":  # fixed-width text has no Zarr v3 specification
        template["band"] = template["band"].astype(object)
    for key, attrs in SPECTRAL_ATTRS.items():
        if key in coords:
            template[key].attrs |= attrs
    if scene.rio.crs is not None:
        template = template.rio.write_coordinate_system()
        template["spatial_ref"].attrs["GeoTransform"] = _geotransform(Grid.of(scene))
    return template


def _geotransform(grid: Grid) -> str:
    numbers = (grid.left, grid.dx, 0.0, grid.top, 0.0, grid.dy)
    return " ".join(repr(float(number)) for number in numbers)


def _encoding(template: xr.DataArray, layout: Layout, packing: Packing) -> dict[str, Any]:
    pixels: dict[str, Any] = {
        "dtype": packing.dtype,
        "chunks": layout.chunk,
        "shards": layout.shard if layout.sharded else None,
        "compressors": (zarr.codecs.BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"),),
        "_FillValue": packing.fill,
        "fill_value": packing.fill,
    }
    if packing.packed:
        pixels |= {"scale_factor": packing.scale_factor, "add_offset": packing.add_offset}
    if "spatial_ref" in template.coords:
        pixels["grid_mapping"] = "spatial_ref"
    whole = {
        str(key): {"chunks": each.shape, "_FillValue": None}
        for key, each in template.coords.items()
        if each.ndim == 1 and each.dtype.kind in "iuf"
    }
    return {VARIABLE: pixels, **whole}


def _warn_of_clipping(clipped: int, packing: Packing, size: int) -> None:
    if clipped > CLIPPED_TOLERATED * size:
        low, high = packing.limits
        warnings.warn(
            f"{clipped} of {size} values lay outside {low:g} to {high:g}, all that "
            f"scale_factor={packing.scale_factor:g} and add_offset={packing.add_offset:g} can "
            "store, and were clipped. Pass a larger scale_factor, a lower add_offset, or "
            "dtype='float32'",
            UserWarning,
            stacklevel=3,
        )
