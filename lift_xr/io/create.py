"""Make a store: every group, array and coordinate of it, and the word that it is not complete.

Nothing of it depends on when or where it is made. So several processes may make one store at once,
and one that died half way is simply made again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from errno import ENOSYS, ENOTSUP, EPERM
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
import zarr
import zarr.codecs
from zarr.abc.store import Store
from zarr.core.buffer import Buffer, default_buffer_prototype
from zarr.core.sync import sync  # nothing public calls a store's methods from plain code
from zarr.storage import FsspecStore, LocalStore, MemoryStore

from lift_xr.encode import MEANINGS
from lift_xr.grid import Grid
from lift_xr.io.blueprint import Blueprint, about, expect_same_run, history
from lift_xr.io.embed import write_model
from lift_xr.io.files import names_of_files, without_bands
from lift_xr.io.geozarr import ConventionAttrs, convention_attrs
from lift_xr.io.record import RECORD, create_record
from lift_xr.io.root import DAMAGED, LIST, ROOT
from lift_xr.io.spare import SPARE, spare_of
from lift_xr.io.store import ABOUT, RECIPE, VARIABLE, local_path
from lift_xr.packing import Codes, Packing
from lift_xr.plan import Layout, Pass

QUALITY, FLAGS = "quality", "flags"
CONVENTIONS = "CF-1.11"
LINKLESS = (EPERM, ENOTSUP, ENOSYS)  # of disks without hard links, by which zarr makes a file once
SPECTRAL_ATTRS = {
    "wavelength": {"standard_name": "radiation_wavelength", "long_name": "band centre"},
    "fwhm": {"long_name": "full width at half maximum"},
}


def create(blueprint: Blueprint, store: Any) -> None:
    """Write whatever of the store is not there, or damaged; the root first: it tells whose it is.

    Raises
    ------
    LayoutError
        Where another run has begun there, at the same moment or before; nothing else is written.
    """
    contents = _contents(blueprint)
    target = as_store(store)
    _make(target, ROOT, contents.pop(ROOT))
    expect_same_run(store, blueprint)
    for key in sorted(contents):
        _make(target, key, contents[key])


def _make(target: Store, key: str, content: Buffer) -> None:
    """Write an object that is not there yet, or of which a machine without power left a part."""
    found = sync(target.get(key, default_buffer_prototype()))
    if found is not None:
        if not _is_whole(key, found.to_bytes(), content.to_bytes()):
            sync(target.set(key, content))
        return
    try:
        sync(target.set_if_not_exists(key, content))
    except OSError as error:
        if error.errno not in LINKLESS:
            raise
        if not sync(target.exists(key)):  # whoever else makes it makes the same
            sync(target.set(key, content))


def _is_whole(key: str, found: bytes, made: bytes) -> bool:
    """Whether an object is what a run makes; two of them say more at its end, and are JSON."""
    if key not in (ROOT, LIST):
        return found == made
    with suppress(ValueError):
        return bool(json.loads(found))
    return False


def clear(store: Any) -> None:
    """Remove a store; interrupted, it leaves one that is incomplete and can be removed again."""
    with suppress(*DAMAGED, FileNotFoundError):  # a damaged root says no more that it is complete
        root = zarr.open(store, mode="r+")
        about: Any = root.attrs.get(ABOUT)
        if isinstance(about, dict):
            root.attrs[ABOUT] = {**about, "complete": False}
    remove_all(store)


def as_store(store: Any) -> Store:
    """Open the zarr store of a path, URL or dictionary; a store is returned as it is."""
    path = local_path(store)
    if path is not None:
        return LocalStore(path.absolute())  # workers may run in other folders
    if isinstance(store, str):
        return FsspecStore.from_url(store)
    if isinstance(store, dict):
        return MemoryStore(store)
    assert isinstance(store, Store)
    return store


def remove_debris(store: Any) -> None:
    """Remove what writes that were killed left behind on a disk."""
    path = local_path(store)
    for debris in list(path.rglob("*.partial")) if path is not None else ():
        debris.unlink(missing_ok=True)


def level_path(level: int, variable: str = VARIABLE) -> str:
    """Find the pixels of a level in their store."""
    return f"{level}/{variable}"


def flags_path() -> str:
    """Find the quality flags in their store."""
    return f"{QUALITY}/{FLAGS}"


def index_within(path: str, index: tuple[int, ...]) -> tuple[int, ...]:
    """Turn what is said of (..., band, y, x) into what holds for an array: flags have no bands."""
    return (*index[:-3], *index[-2:]) if path == flags_path() else index


def paths_written(each: Pass, variable: str) -> tuple[str, ...]:
    """List the arrays that a task of a pass writes to; flags go with full resolution."""
    numbers = range(each.first, each.first + len(each.layouts))
    levels = tuple(level_path(number, variable) for number in numbers)
    return levels if each.first else (*levels, flags_path())


def files_written(each: Pass, variable: str) -> tuple[str, ...]:
    """List the files that a task of a pass writes, as ``io.files`` names them."""
    layouts = each.layouts if each.first else (*each.layouts, without_bands(each.layouts[0]))
    pairs = zip(paths_written(each, variable), layouts, strict=True)
    return tuple(name for path, layout in pairs for name in names_of_files(path, layout))


def remove_all(store: Any) -> None:
    """Delete everything of a store, the progress first and the root last, whatever they say."""
    sync(_clear(as_store(store)))


async def _clear(target: Store) -> None:
    names = [name async for name in target.list_dir("")]
    for name in sorted(names, key=lambda each: (each == ROOT, each != RECORD)):
        if not isinstance(target, LocalStore) or (Path(target.root) / name).is_dir():
            await target.delete_dir(name)
        if await target.exists(name):  # some object stores fail to delete what is not there
            await target.delete(name)


def _contents(blueprint: Blueprint) -> dict[str, Any]:
    """Make the store in memory: its keys and what they hold."""
    contents: dict[str, Any] = {}
    layouts = [layout for each in blueprint.passes for layout in each.layouts]
    told = convention_attrs(Grid.of(blueprint.scene), levels=max(1, len(layouts)))
    attrs = {
        "Conventions": CONVENTIONS,
        "history": history(blueprint),
        **(told.root if layouts else {}),
        ABOUT: about(blueprint),
    }
    root = zarr.open_group(MemoryStore(contents), mode="w", zarr_format=3, attributes=attrs)
    root.create_group(RECORD, attributes={SPARE: spare_of(attrs)})
    if layouts:
        _write_pixels(blueprint, root, layouts, told)
    if blueprint.model is not None:
        write_model(root, blueprint.model)
    if blueprint.product is not None:
        _write_labels(blueprint, root)
    return contents


def _write_pixels(
    blueprint: Blueprint, root: zarr.Group, layouts: Sequence[Layout], told: ConventionAttrs
) -> None:
    """Make the arrays that tasks fill, and the record of what is done."""
    scene = blueprint.scene
    for level, layout in enumerate(layouts):
        template = _template(_at_level(scene, level), layout.shape, blueprint.variable)
        template = template.assign_attrs(told.arrays[level])
        encoding = _encoding(template, layout, blueprint.packing)
        if isinstance(blueprint.packing, Codes):
            template = _as_codes(template, blueprint.packing)
        _write(template, root, str(level), encoding, told.groups[level])
    flags = _flags(scene, layouts[0])
    flags = flags.assign_attrs(told.arrays[0])
    _write(flags, root, QUALITY, _flags_encoding(flags, layouts[0]), told.groups[0])
    name = blueprint.variable
    for each in blueprint.passes:
        create_record(root, each, (*paths_written(each, name), *files_written(each, name)))


def _write_labels(blueprint: Blueprint, root: zarr.Group) -> None:
    """Write what a recipe's readers get, but for its pixels."""
    product = blueprint.labels
    template = _template(product, product.shape, VARIABLE)
    attrs = {"dims": [*map(str, product.dims)], "attrs": product.attrs}
    labels = template.drop_attrs(deep=False).to_dataset().drop_vars(VARIABLE).assign_attrs(attrs)
    labels.to_zarr(
        root.store,
        group=RECIPE,
        mode="a",
        consolidated=False,
        zarr_format=3,
        encoding=_of_coordinates(template),
    )


def _write(
    template: xr.DataArray,
    root: zarr.Group,
    group: str,
    encoding: dict[str, Any],
    attrs: dict[str, Any],
) -> None:
    template.to_dataset().assign_attrs(attrs).to_zarr(
        root.store,
        group=group,
        mode="a",
        compute=False,  # coordinates and metadata only
        consolidated=False,
        zarr_format=3,
        encoding=encoding,
    )


def _template(scene: xr.DataArray, shape: tuple[int, ...], variable: str) -> xr.DataArray:
    """Everything of the scene but its pixels: coordinates in memory, described as CF has it."""
    coords = {key: each.compute() for key, each in scene.coords.items() if each.ndim < 2}
    nothing = da.zeros(shape, dtype="float32", chunks=shape)
    template = xr.DataArray(
        nothing, coords=coords, dims=scene.dims, attrs=scene.attrs, name=variable
    )
    if template["band"].dtype.kind == "U":  # fixed-width text has no Zarr v3 specification
        template["band"] = template["band"].astype(object)
    for key, attrs in SPECTRAL_ATTRS.items():
        if key in coords:
            template[key].attrs |= attrs
    return _with_crs(template)


def _with_crs(template: xr.DataArray) -> xr.DataArray:
    if template.rio.crs is None:
        return template
    template = template.rio.write_coordinate_system()
    template["spatial_ref"].attrs["GeoTransform"] = _geotransform(Grid.of(template))
    return template


def _as_codes(template: xr.DataArray, packing: Codes) -> xr.DataArray:
    """Describe integers that are kept as they are: xarray is not to encode them again."""
    told: dict[str, Any] = {"_FillValue": packing.nodata}
    if packing.scale_factor != 1 or packing.add_offset != 0:
        told |= {"scale_factor": packing.scale_factor, "add_offset": packing.add_offset}
    coded = template.astype(packing.dtype)
    return coded.assign_attrs({key: each for key, each in told.items() if each is not None})


def _at_level(scene: xr.DataArray, level: int) -> xr.DataArray:
    """The scene as coarse as a level is: the same corner, pixels doubled, none left out."""
    if level == 0:
        return scene
    grid, factor = Grid.of(scene), 2**level
    kept = {key: each for key, each in scene.coords.items() if not {"y", "x"} & {*each.dims}}
    sizes: dict[Any, int] = dict(scene.sizes)
    sizes |= {dim: -(-sizes[dim] // factor) for dim in ("y", "x")}
    shape = tuple(sizes[dim] for dim in scene.dims)
    coarse = xr.DataArray(
        da.zeros(shape, dtype="float32", chunks=shape), kept, scene.dims, attrs=scene.attrs
    )
    for dim, start, step in (("y", grid.top, grid.dy), ("x", grid.left, grid.dx)):
        centres = start + factor * step * (np.arange(sizes[dim]) + 0.5)
        coarse = coarse.assign_coords({dim: (dim, centres, scene[dim].attrs)})
    return coarse


def _flags(scene: xr.DataArray, layout: Layout) -> xr.DataArray:
    """The quality flags, described as CF has it."""
    axes = [axis for axis, dim in enumerate(scene.dims) if dim != "band"]
    dims, shape = [scene.dims[axis] for axis in axes], tuple(layout.shape[axis] for axis in axes)
    coords = {
        key: each.compute()
        for key, each in scene.coords.items()
        if each.ndim < 2 and "band" not in each.dims
    }
    attrs = {
        "long_name": "what to know of each pixel",
        "flag_masks": list(MEANINGS.values()),
        "flag_meanings": " ".join(MEANINGS),
    }
    nothing = da.zeros(shape, dtype="uint8", chunks=shape)
    return _with_crs(xr.DataArray(nothing, coords, dims, attrs=attrs, name=FLAGS))


def _geotransform(grid: Grid) -> str:
    numbers = (grid.left, grid.dx, 0.0, grid.top, 0.0, grid.dy)
    return " ".join(repr(float(number)) for number in numbers)


def _encoding(template: xr.DataArray, layout: Layout, packing: Packing) -> dict[str, Any]:
    pixels: dict[str, Any] = {
        "dtype": packing.dtype,
        "chunks": layout.chunk,
        "shards": layout.shard if layout.sharded else None,
        "fill_value": packing.fill,
    }
    if isinstance(packing, Codes):
        return _with_coordinates(template, pixels)
    pixels["_FillValue"] = packing.fill
    if packing.packed:
        pixels |= {"scale_factor": packing.scale_factor, "add_offset": packing.add_offset}
    return _with_coordinates(template, pixels)


def _flags_encoding(template: xr.DataArray, layout: Layout) -> dict[str, Any]:
    once = (1,) * (len(layout.shape) - 3)
    shard = (*once, *layout.shard[-2:]) if layout.sharded else None
    chunk = (*once, *layout.chunk[-2:])
    # No _FillValue: 0 says that nothing is wrong with a pixel, not that it is missing.
    return _with_coordinates(template, {"chunks": chunk, "shards": shard, "_FillValue": None})


def _with_coordinates(template: xr.DataArray, pixels: dict[str, Any]) -> dict[str, Any]:
    pixels["compressors"] = (zarr.codecs.BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"),)
    if "spatial_ref" in template.coords:
        pixels["grid_mapping"] = "spatial_ref"
    return {str(template.name): pixels, **_of_coordinates(template)}


def _of_coordinates(template: xr.DataArray) -> dict[str, Any]:
    """Each in one chunk: readers take them whole."""
    return {
        str(key): {"chunks": each.shape, "_FillValue": None}
        for key, each in template.coords.items()
        if each.ndim == 1 and each.dtype.kind in "iuf"
    }
