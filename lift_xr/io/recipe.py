"""A product shipped as its recipe: the mosaic, the model and the coordinates, instead of the cube.

A store that holds the mosaic is a scene as any other to whoever does not know recipes: its pixels
and overviews are written, recorded and verified as those of a cube are.
"""

from __future__ import annotations

from math import ceil, prod
from typing import Any, Literal, get_args

import dask.array as da
import numpy as np
import xarray as xr
import zarr
from dask.base import tokenize

from lift_xr.blocks import Lifted, Prior, lift_blocks, lifted_from
from lift_xr.errors import LayoutError
from lift_xr.grid import Grid
from lift_xr.io.blueprint import Blueprint
from lift_xr.io.embed import read_model
from lift_xr.io.lazy import READ, Decoded, blocks_of, cut, source_of
from lift_xr.io.lifting import Beside, LiftedArray, Lifting
from lift_xr.io.origin import codes_of, describe, reopen, stored_form
from lift_xr.io.place import fingerprint
from lift_xr.io.store import (
    ABOUT,
    GREATEST_BLOCKS,
    RECIPE,
    VARIABLE,
    expect_safe,
    expect_whole,
    open_root,
    open_store,
    place_beside,
)
from lift_xr.models import Model
from lift_xr.packing import Codes, Packing
from lift_xr.plan import passes_of
from lift_xr.scene import BLOCK

Mosaic = Literal["copy", "address"]
MOSAIC = "msi"  # the name by which the mosaic of a recipe is opened


def recipe_of(scene: xr.DataArray, *, shard: int, msi: Mosaic) -> Blueprint:
    """Plan the store of a recipe: the mosaic as the scene that is written, if it is.

    Raises
    ------
    LayoutError
        A scene that is more than lifted, or whose mosaic cannot be found again.
    """
    lifted = expect_lifted(scene)
    mosaic = _labelled(lifted, scene)
    inputs = fingerprint(scene.data)
    parts: dict[str, Any] = {"model": lifted.model, "product": scene, "beside": lifted.prior}
    if _expect_mosaic(msi) == "address":
        plain = Packing(np.dtype("float32"))
        return Blueprint(mosaic, (), plain, inputs, **parts, address=_address_of(lifted))
    form = stored_form(lifted.msi)
    packing = Packing(np.dtype("float32"))
    if form is not None and codes_of(form):
        nodata = int(form.nodata[0]) if form.nodata else None
        packing = Codes(form.array.dtype, form.scale, form.offset, nodata)
    passes = passes_of(mosaic.shape, packing.dtype, shard=shard)
    if form is not None and packing.packed:
        name = f"codes-{tokenize(form, passes)}"
        mosaic = mosaic.copy(data=cut(form.array, passes[0].layouts[0].blocks, name))
    return Blueprint(mosaic, passes, packing, inputs, **parts)


def cube_beside(scene: xr.DataArray, prior: Prior) -> xr.DataArray:
    """Label the cube that a recipe's model looks at again, to be written as a store in the store.

    Parameters
    ----------
    scene : (..., band, y, x)
        What the recipe makes.
    """
    grid = Grid.of(scene)
    height, width = prior.cells.shape[-2:]
    rows, columns = prior.offset
    coords: dict[Any, Any] = {
        key: each for key, each in scene.coords.items() if {*each.dims} <= {"band"}
    }
    coords["y"] = grid.top + grid.dy * (rows + prior.ratio * (np.arange(height) + 0.5))
    coords["x"] = grid.left + grid.dx * (columns + prior.ratio * (np.arange(width) + 0.5))
    return xr.DataArray(prior.cells, coords, ("band", "y", "x"), attrs={"units": "1"})


def expect_lifted(scene: xr.DataArray) -> Lifted:
    """Raise LayoutError unless a scene is just what ``predict`` or ``fuse`` returned."""
    lifted = lifted_from(scene.data)
    if lifted is None or not isinstance(lifted.model, Model):
        raise LayoutError(
            "fused is not just what predict or fuse returned: it is cut, computed or read from "
            "elsewhere; expected their result, of which the model and the mosaic are known. Use "
            "write_zarr(predict(model, msi), store, kind='recipe'), or kind='cube'"
        )
    return lifted


def as_lifted(scene: xr.DataArray) -> xr.DataArray:
    """Turn what a whole recipe makes into what ``predict`` returns; any other scene stays."""
    source = source_of(scene.data)
    if not isinstance(source, Lifting) or not source.whole:
        return scene
    chunks = [*scene.data.chunks]
    chunks[-3] = (source.msi.shape[-3],)
    read = cut(source.msi, tuple(chunks), f"{READ}-{tokenize(source.msi, chunks)}")
    prior = None
    if source.beside is not None:
        cells = blocks_of(source.beside.cells, [len(source.bands), BLOCK, BLOCK])
        prior = Prior(cells, source.beside.ratio, source.beside.offset)
    lifted = lift_blocks(read, source.model, device=source.device, prior=prior)
    return scene.copy(data=lifted)


def is_recipe(source: Any) -> bool:
    """Say whether a store holds a recipe."""
    about = open_root(source).attrs.get(ABOUT)
    return isinstance(about, dict) and about.get("kind") == RECIPE


def open_recipe(source: Any, *, variable: str | None, block: int, level: int = 0) -> xr.DataArray:
    """Open what a recipe makes, lazily; or, as ``variable="msi"``, the mosaic it makes it of.

    Returns
    -------
    (..., band, y, x), float32
        Blocks are the shards of the mosaic, or as many chunks of it as fit in ``block``.
    """
    root = open_root(source)
    expect_whole(root.attrs.get(ABOUT), source)
    if variable not in (None, VARIABLE, MOSAIC):
        raise LayoutError(
            f"the recipe {source} has no variable {variable!r}; expected {VARIABLE!r}, what it "
            f"makes, or {MOSAIC!r}, what it makes it of. Use open_scene(..., variable={MOSAIC!r})"
        )
    labels, dims, attrs = _labels(source, root)
    mosaic = _mosaic(source, root, labels, block=block, level=level)
    if variable == MOSAIC:
        return mosaic
    model = read_model(source)
    _expect_fitting(source, labels, mosaic, model)
    if level and (model.halo or model.prior is not None):
        raise LayoutError(
            f"level is {level}, and the model of {source} looks at what lies around a pixel, which "
            "is something else in an overview; expected level 0. Use open_scene(..., level=0)"
        )
    form = source_of(mosaic.data)
    chunks = [*mosaic.data.chunks]
    chunks[-3] = (model.bands,)
    lifting = Lifting.of(form, model, beside=_beside(source, root, model, block))
    data = LiftedArray.of(lifting, chunks)
    coords = {key: each for key, each in labels.coords.items() if not {"y", "x"} & {*each.dims}}
    coords |= {key: mosaic.coords[key] for key in ("y", "x")}
    scene = xr.DataArray(data, coords, dims, attrs=attrs, name=VARIABLE)
    if "spatial_ref" in mosaic.coords:
        scene = scene.assign_coords(spatial_ref=mosaic.coords["spatial_ref"])
        scene.encoding["grid_mapping"] = "spatial_ref"
    return scene


def _labelled(lifted: Lifted, scene: xr.DataArray) -> xr.DataArray:
    """Label a mosaic as what is made of it, but for its bands."""
    coords: dict[Any, Any] = {
        key: each for key, each in scene.coords.items() if "band" not in each.dims
    }
    coords["band"] = [str(name) for name in lifted.model.about["msi_bands"]]
    attrs = {"long_name": "mosaic that the model in this store lifts"}
    mosaic = xr.DataArray(lifted.msi, coords, scene.dims, attrs=attrs, name=VARIABLE)
    mosaic.encoding = {key: scene.encoding[key] for key in scene.encoding if key == "grid_mapping"}
    return mosaic


def _address_of(lifted: Lifted) -> dict[str, Any]:
    """Say where the mosaic lies; a cube that is looked at again is copied whatever is asked."""
    form = stored_form(lifted.msi)
    if form is None:
        raise LayoutError(
            "the mosaic of fused is not just read from a Zarr store or a raster file as it lies "
            "there, so that no address leads to it; expected open_scene(...) and nothing after "
            "it. Use msi='copy'"
        )
    return describe(form)


def _beside(source: Any, root: zarr.Group, model: Model, block: int) -> Beside | None:
    """Open the cube that the model looks at again, if it does."""
    if model.prior is None:
        return None
    told: Any = root.attrs[ABOUT]
    where = told.get("settings", {}).get("beside")
    try:
        ratio, (row, column) = where["ratio"], where["offset"]
        whole = all(isinstance(each, int) for each in (ratio, row, column)) and ratio > 0
    except (KeyError, TypeError, ValueError):
        whole = False
    if not whole:
        raise _damaged(source, "it does not say where its cube lies under its mosaic")
    opened = open_store(place_beside(source), variable=VARIABLE, block=block)
    form = source_of(opened.data)
    if not isinstance(form, Decoded) or form.ndim != 3 or form.shape[0] != model.bands:
        raise _damaged(source, "its cube has other bands than its model")
    return Beside(form, ratio, (row, column))


def _expect_mosaic(msi: str) -> str:
    if msi not in get_args(Mosaic):
        raise LayoutError(
            f"msi is {msi!r}; expected 'copy' (into the store) or 'address' (where it lies). "
            "Use msi='copy'"
        )
    return msi


def _labels(source: Any, root: zarr.Group) -> tuple[xr.Dataset, list[str], dict[str, Any]]:
    """Read the coordinates of the product, its dimensions and its attributes."""
    group = root.get(RECIPE)
    if not isinstance(group, zarr.Group):
        raise _damaged(source, "it has no labels")
    expect_safe(group)
    consolidated = root.metadata.consolidated_metadata is not None
    try:
        labels = xr.open_dataset(
            source,
            engine="zarr",
            group=RECIPE,
            chunks=None,
            decode_coords="all",
            consolidated=consolidated,
        )
    except (ValueError, KeyError, TypeError) as problem:
        raise _damaged(source, f"its labels cannot be read ({problem})") from problem
    dims, attrs = labels.attrs.get("dims"), labels.attrs.get("attrs")
    if dims not in (["band", "y", "x"], ["time", "band", "y", "x"]) or not isinstance(attrs, dict):
        raise _damaged(source, "it does not say what it makes")
    if any(dim not in labels.sizes for dim in dims):
        raise _damaged(source, "its labels are not those of a scene")
    labels = labels.set_coords(list(labels.data_vars))
    return labels, dims, attrs


def _mosaic(
    source: Any, root: zarr.Group, labels: xr.Dataset, *, block: int, level: int
) -> xr.DataArray:
    """Open the mosaic, copied or where it lies."""
    told: Any = root.attrs[ABOUT]
    address = told.get("settings", {}).get("address")
    if address is None:
        opened = open_store(source, variable=VARIABLE, block=block, level=level)
        assert isinstance(opened, xr.DataArray)
        return opened
    if level != 0:
        raise LayoutError(
            f"level is {level!r} and {source} has but the address of its mosaic; expected level 0. "
            "Use open_scene(..., level=0), or write the recipe with msi='copy', which has overviews"
        )
    form = reopen(address, recipe=source)
    data = _blocks(form, block)
    coords = {key: each for key, each in labels.coords.items() if "band" not in each.dims}
    dims = labels.attrs["dims"]
    sizes = {dim: labels.sizes[dim] for dim in dims if dim != "band"}
    if [sizes.get(dim, size) for dim, size in zip(dims, data.shape, strict=True)] != [*data.shape]:
        raise _damaged(source, "its labels are not those of its mosaic")
    mosaic = xr.DataArray(data, coords, dims, name=VARIABLE)
    mosaic.encoding = {"dtype": form.array.dtype} | {
        "scale_factor": form.scale,
        "add_offset": form.offset,
        "_FillValue": form.nodata[0] if form.nodata else None,
    }
    return mosaic


def _blocks(form: Decoded, block: int) -> da.Array:
    """Cut a mosaic in as many of its chunks as fit in a block; all bands, one time."""
    units = getattr(form.array, "chunks", (*form.shape[:-2], 1, 1))
    edges = [unit * max(1, block // unit) for unit in units[-2:]]
    edges = [*(1,) * (form.ndim - 3), form.shape[-3], *edges]
    count = prod(ceil(size / edge) for size, edge in zip(form.shape, edges, strict=True))
    if count > GREATEST_BLOCKS:
        raise LayoutError(
            f"the mosaic would be {count} blocks; expected at most {GREATEST_BLOCKS}. "
            f"Use open_scene(..., block={4 * block})"
        )
    chunks = [
        tuple(min(edge, size - start) for start in range(0, size, edge))
        for size, edge in zip(form.shape, edges, strict=True)
    ]
    return cut(form, tuple(chunks), f"{READ}-{tokenize(form, edges)}")


def _expect_fitting(source: Any, labels: xr.Dataset, mosaic: xr.DataArray, model: Model) -> None:
    """Refuse parts that are not of one recipe, before any of them meets a pixel."""
    form = source_of(mosaic.data)
    if not isinstance(form, Decoded):
        raise _damaged(source, "its mosaic cannot be read as numbers with one packing")
    if form.shape[-3] != model.msi_bands or labels.sizes["band"] != model.bands:
        raise _damaged(
            source,
            f"its model makes {model.bands} bands of {model.msi_bands}, and it has "
            f"{form.shape[-3]} and labels {labels.sizes['band']}",
        )


def _damaged(source: Any, why: str) -> LayoutError:
    return LayoutError(
        f"{source} says it is a recipe, and {why}; expected a mosaic, a model and labels that fit "
        "together. The store is damaged: write it again"
    )
