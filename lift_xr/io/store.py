"""Zarr stores: what lies where in ours, and reading any of them lazily by the shard."""

from __future__ import annotations

import os
from itertools import count, takewhile
from math import ceil, prod
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
import zarr.storage

from lift_xr.decode import PACKING, common_packing
from lift_xr.errors import LayoutError
from lift_xr.io.below import BelowStore
from lift_xr.io.geozarr import asset_paths, without_conventions
from lift_xr.io.lazy import Decoded, blocks_of
from lift_xr.scene import ALIASES

ABOUT = "lift_xr"  # the root attribute that makes a store ours
VERSION = 1  # of the layout
LEVEL = "0"  # the group of full resolution
VARIABLE = "reflectance"
RECIPE = "recipe"  # what a store holds instead of a cube, and the group of its labels
BESIDE = "hsi"  # the group that is a store of its own: the cube that a model looks at again
METADATA = ("zarr.json", ".zgroup", ".zarray", ".zmetadata")
UNSAFE = ("pickle", "dill", "cloudpickle")
GREATEST_EDGE = 2**27  # values along one axis; coordinates are read at once
GREATEST_CHUNK = 2**32  # bytes
GREATEST_BLOCKS = 10**7


def open_store(
    source: Any, *, variable: str | None, block: int, level: int = 0
) -> xr.Dataset | xr.DataArray:
    """Open one level of a Zarr store.

    Returns
    -------
    Dataset or DataArray
        The raster variables with their coordinates, or ``variable`` alone. dask blocks are whole
        shards, or whole chunks where there are none. float32 where all bands share one packing;
        else as stored, with the packing in ``attrs``.
    """
    root = open_root(source)
    group = _scene_group(root, source, level)
    rasters = _rasters(group)
    expect_safe(group)
    consolidated = root.metadata.consolidated_metadata is not None
    opened = xr.open_dataset(
        source,
        engine="zarr",
        group=group.path or None,
        chunks=None,
        decode_coords="all",
        consolidated=consolidated,
        mask_and_scale=dict.fromkeys(rasters, False),
    )
    for key, array in rasters.items():
        edges = _block_edges(opened[key], array, block)
        opened[key] = _with_blocks(opened[key], array, edges, stamp=_content_of(root))
    return opened if variable is None else _pick(opened, variable)


def levels(source: Any) -> tuple[tuple[int, int], ...]:
    """List the sizes, (y, x) in pixels, of what ``open_scene(source, level=n)`` opens.

    Returns
    -------
    (y, x) of each level
        Full resolution first. A store without overviews has one level.

    Raises
    ------
    FileNotFoundError, LayoutError
        As ``open_scene``.
    """
    root = open_root(source)
    about: Any = root.attrs.get(ABOUT)
    expect_whole(about, source)
    if isinstance(about, dict) and about.get("kind") == RECIPE and "0" not in root:
        height, width = about["settings"]["shape"][-2:]  # the mosaic lies elsewhere
        return ((height, width),)
    return tuple(_size_of(_group_at(root, path)) for path in _level_paths(root))


def local_path(store: Any) -> Path | None:
    """Return the path of a store on disk; None for other URLs and stores.

    Of ``file://`` too: what is written by its path is written whole or not at all, which through
    fsspec it is not.
    """
    if isinstance(store, zarr.storage.LocalStore):
        return Path(store.root)
    if isinstance(store, str | os.PathLike):
        place = os.fspath(store).removeprefix("file://")
        return Path(place) if "://" not in place else None
    return None


def found_anywhere(source: Any) -> Any:
    """Name a path so that workers in other folders find it; what is no path stays as it is.

    To Zarr a chunk that is not there is nodata: workers that looked for it elsewhere would read
    nodata without a word.
    """
    path = local_path(source)
    if path is None or not path.exists():
        return source
    if isinstance(source, zarr.storage.LocalStore):
        return zarr.storage.LocalStore(path.absolute(), read_only=source.read_only)
    return str(path.absolute())


def place_beside(store: Any) -> Any:
    """Name the store in a store that holds the cube which a recipe's model looks at again."""
    path = local_path(store)
    if path is not None:
        return path / BESIDE
    if isinstance(store, str):
        return f"{store.rstrip('/')}/{BESIDE}"
    if isinstance(store, zarr.storage.FsspecStore):
        below = f"{store.path}/{BESIDE}"
        return zarr.storage.FsspecStore(store.fs, store.read_only, below, store.allowed_exceptions)
    return BelowStore(zarr.storage.MemoryStore(store) if isinstance(store, dict) else store, BESIDE)


def is_beside(path: str) -> bool:
    """Whether what lies at a path of a store is part of the store in it."""
    return path == BESIDE or path.startswith(f"{BESIDE}/")


def open_root(source: Any) -> zarr.Group:
    """Open the root of a store, or raise FileNotFoundError or LayoutError."""
    path = local_path(source)
    if path is not None and not path.exists():
        raise FileNotFoundError(f"{path} does not exist; expected a Zarr store. Check the path")
    try:
        return zarr.open_group(source, mode="r")
    except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
        raise LayoutError(
            f"{source} cannot be opened as a Zarr group ({error}); expected a group with one "
            "raster variable. Check it with zarr.open(...)"
        ) from error


def _scene_group(root: zarr.Group, source: Any, level: int) -> zarr.Group:
    """Find the group that holds one level; the root, of a store without levels."""
    expect_whole(root.attrs.get(ABOUT), source)
    paths = _level_paths(root)
    whole = isinstance(level, int | np.integer) and not isinstance(level, bool)
    if not whole or not 0 <= level < len(paths):
        raise _no_such_level(level, source, coarsest=len(paths) - 1)
    return _group_at(root, paths[level])


def _no_such_level(level: Any, source: Any, *, coarsest: int) -> LayoutError:
    if not coarsest:
        return LayoutError(
            f"level is {level!r} and {source} has no overviews; expected level 0, full "
            "resolution. Use open_scene(..., level=0)"
        )
    return LayoutError(
        f"level is {level!r} and {source} has levels 0 to {coarsest}; expected one of them, 0 "
        f"being full resolution. Use open_scene(..., level={coarsest}) for the coarsest"
    )


def _level_paths(root: zarr.Group) -> tuple[str, ...]:
    """List the groups of the levels: as declared, else those numbered from 0, else the root."""
    if _rasters(root):
        return ("",)
    declared = asset_paths(root.attrs)
    if declared and all(isinstance(root.get(path), zarr.Group) for path in declared):
        return declared
    groups = set(root.group_keys())
    numbered = tuple(takewhile(groups.__contains__, map(str, count())))
    return numbered or ("",)


def _group_at(root: zarr.Group, path: str) -> zarr.Group:
    group = root[path] if path else root
    assert isinstance(group, zarr.Group)
    return group


def _size_of(group: zarr.Group) -> tuple[int, int]:
    """Measure the largest raster of a group along y and x, by the names of its dimensions."""
    return max((_height_and_width(each) for each in _rasters(group).values()), default=(0, 0))


def _height_and_width(array: zarr.Array[Any]) -> tuple[int, int]:
    attrs: dict[str, Any] = dict(array.attrs)
    named = getattr(array.metadata, "dimension_names", None)  # of version 3
    dims = list(named or attrs.get("_ARRAY_DIMENSIONS", ()))
    found = [(dims.index(dim), axis) for axis in ("y", "x") for dim in ALIASES[axis] if dim in dims]
    places = {axis: place for place, axis in found}
    return array.shape[places.get("y", -2)], array.shape[places.get("x", -1)]


def _content_of(root: zarr.Group) -> str:
    """Read what names the pixels of a store of ours: the digest of all their checksums."""
    about = root.attrs.get(ABOUT)
    return str(about.get("content", "")) if isinstance(about, dict) else ""


def expect_whole(about: Any, source: Any) -> None:
    """Refuse stores of ours that a later version wrote, or that no run has finished."""
    if not isinstance(about, dict):
        return
    if about.get("layout") != VERSION:
        raise LayoutError(
            f"{source} has layout {about.get('layout')}; expected {VERSION}, the one this version "
            "of lift_xr knows. Use pip install --upgrade lift-xr"
        )
    if about.get("complete") is not True:
        raise LayoutError(
            f"{source} is incomplete: its run was interrupted, and what is missing would read as "
            "nodata; expected a store with every shard written. "
            "Finish it with write_zarr(fused, store, resume=True)"
        )


def _rasters(group: zarr.Group) -> dict[str, zarr.Array[Any]]:
    return {key: array for key, array in _arrays(group).items() if array.ndim >= 2}


def _arrays(group: zarr.Group) -> dict[str, zarr.Array[Any]]:
    """Read the headers of all arrays; zarr refuses pickled and other Python objects here."""
    try:
        return dict(group.arrays())
    except (ValueError, TypeError, KeyError) as error:
        raise LayoutError(
            f"the store holds an array that is not plain numbers or text ({error}); expected "
            "Zarr's own data types. Write it again without object arrays"
        ) from error


def expect_safe(group: zarr.Group) -> None:
    """Refuse what only running code could decode, and headers that would fill the memory."""
    for key, array in _arrays(group).items():
        codecs = str(array.metadata.to_dict()).lower()
        if array.dtype.kind == "O" or any(f"'{codec}'" in codecs for codec in UNSAFE):
            raise LayoutError(
                f"array {key!r} holds Python objects (dtype {array.dtype}), and reading them could "
                "run code; expected numbers. Write the store again without object arrays"
            )
        if max(array.shape, default=0) > GREATEST_EDGE:
            raise LayoutError(
                f"array {key!r} claims the shape {array.shape}; expected at most {GREATEST_EDGE} "
                "along each axis. The store is damaged: write it again"
            )
        size = prod(array.chunks) * array.dtype.itemsize
        if size > GREATEST_CHUNK:
            raise LayoutError(
                f"array {key!r} has chunks of {size / 2**30:.3g} GiB; expected at most "
                f"{GREATEST_CHUNK / 2**30:g} GiB, to be held at once. Write it again in smaller "
                "chunks, e.g. write_zarr(scene, 'chunked.zarr')"
            )


def _block_edges(variable: xr.DataArray, array: zarr.Array[Any], block: int) -> dict[Any, int]:
    """One shard a block; where there are none, as many chunks as fit in it. All bands, one time."""
    stored = array.shards or array.chunks
    fitting = 0 if array.shards else block
    edges: dict[Any, int] = {}
    for dim, unit in zip(variable.dims, stored, strict=True):
        if dim in (*ALIASES["y"], *ALIASES["x"]):
            edges[dim] = unit * max(1, fitting // unit)
        else:
            edges[dim] = 1 if dim == "time" else variable.sizes[dim]
    blocks = prod(ceil(variable.sizes[dim] / edge) for dim, edge in edges.items())
    if blocks > GREATEST_BLOCKS:
        raise LayoutError(
            f"{variable.name} would be {blocks} blocks; expected at most {GREATEST_BLOCKS}. "
            f"Use open_scene(..., block={4 * block}), or larger shards"
        )
    return edges


def _with_blocks(
    variable: xr.DataArray, array: zarr.Array[Any], edges: dict[Any, int], *, stamp: str
) -> xr.DataArray:
    """Exchange the pixels of a variable for lazy blocks of them."""
    variable = variable.copy(deep=False)
    variable.attrs = without_conventions(variable.attrs)
    packing = common_packing(variable.attrs, variable.dtype, name=str(variable.name))
    if packing is None:
        return variable.copy(data=variable.variable.chunk(edges).data)
    stored = Decoded(array, **packing, stamp=stamp)
    decoded = variable.copy(data=blocks_of(stored, [edges[dim] for dim in variable.dims]))
    decoded.attrs = {key: each for key, each in variable.attrs.items() if key not in PACKING}
    # As xarray has it: attrs are to be applied, encoding was.
    decoded.encoding |= {key: each for key, each in variable.attrs.items() if key in PACKING}
    return decoded


def _pick(opened: xr.Dataset, variable: str) -> xr.DataArray:
    found = sorted(map(str, opened.data_vars))
    if variable not in found:
        raise LayoutError(
            f"the store has no variable {variable!r}; expected one of {found}. "
            f"Use open_scene(..., variable={(found or [VARIABLE])[0]!r})"
        )
    return opened[variable]
