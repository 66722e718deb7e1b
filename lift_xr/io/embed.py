"""The model inside a store: arrays as Zarr arrays, the rest as JSON, and its response beside."""

from __future__ import annotations

import os
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr
from zarr.codecs import BytesCodec
from zarr.core.sync import sync  # nothing public calls a store's methods from plain code

from lift_xr.blocks import lifted_from
from lift_xr.io.store import METADATA, local_path
from lift_xr.models import Model
from lift_xr.models import load_model as load_file
from lift_xr.models.base import DTYPES, FORMAT

MODEL, SRF = "model", "srf"
GREATEST_MODEL = (
    2**28
)  # bytes; a fitted model is kilobytes, one with a cube's endmembers a few more
AXES = {"wavelength": ("band",), "fwhm": ("band",), "srf": ("msi_band", "band"), "range": ("end",)}


def model_of(data: da.Array) -> Model | None:
    """Find the model that lifted an array; None where it is not just what ``predict`` gave.

    That is also so of a crop and of whatever was computed from the lifted: its values are not the
    model's any more, or not all of them.
    """
    lifted = lifted_from(data)
    model = None if lifted is None else lifted.model
    return model if isinstance(model, Model) else None


def load_model(source: Any) -> Model:
    """The model that ``Model.save`` or ``write_zarr`` wrote.

    Parameters
    ----------
    source
        A ``.lift`` file; or a path, a URL or a zarr store that ``write_zarr`` began or finished
        from what ``predict`` or ``fuse`` returned.

    Raises
    ------
    FileNotFoundError
        Nothing is there.
    IsADirectoryError
        A folder that is no store.
    ValueError
        What is there is no model, holds none, is damaged, or comes from a later format. Nothing in
        it is ever executed. Nothing larger than a file is allocated, and of a store nothing larger
        than 256 MiB.
    """
    path = local_path(source)
    if path is not None and not _is_store(path):
        return load_file(path)
    return read_model(source)


def write_model(root: zarr.Group, model: Model) -> None:
    """Put a model and its response into a store that is being made; the same bytes every time."""
    about = dict(model.about)
    attrs = {"format": FORMAT, "digest": model.digest, "about": about}
    group = root.create_group(MODEL, attributes=attrs)
    for name in sorted(model.arrays):
        array = np.asarray(model.arrays[name])
        group.create_array(
            name,
            data=array.astype(array.dtype.newbyteorder("<")),
            chunks=tuple(max(1, size) for size in array.shape),
            compressors=None,
            dimension_names=AXES.get(name) or [f"{name}.{axis}" for axis in range(array.ndim)],
        )
    response = response_of(model)
    response.to_zarr(root.store, group=SRF, mode="a", consolidated=False, zarr_format=3)


def response_of(model: Model) -> xr.Dataset:
    """Lay out the response that a model was trained through: (msi_band, band), rows sum to one."""
    coords: dict[str, Any] = {
        "msi_band": np.array([str(name) for name in model.about["msi_bands"]], object),
        "band": _labels(model.about["bands"]),
    }
    for name in ("wavelength", "fwhm"):
        if name in model.arrays:
            coords[name] = ("band", model.arrays[name], {"units": "nm"})
    coords["wavelength"][2]["standard_name"] = "radiation_wavelength"
    attrs = {"long_name": "spectral response of the MSI's bands", "units": "1"}
    response = xr.Variable(("msi_band", "band"), model.arrays["srf"], attrs)
    plain: dict[str, Any] = {"_FillValue": None}
    found = xr.Dataset({"response": response}, coords)
    for each in found.variables.values():
        if each.dtype.kind in "iuf":
            each.encoding = plain | {"chunks": each.shape, "compressors": None}
    return found


def holds_model(source: Any) -> bool:
    """Say whether there is a model in a store, which may be unfinished or not there at all."""
    path = local_path(source)
    if path is not None and not _is_store(path):
        return False
    try:
        return _model_group(source).attrs.get("format") is not None
    except (ValueError, FileNotFoundError):
        return False


def read_model(source: Any) -> Model:
    """Read the model inside a store; see :func:`load_model`."""
    group = _model_group(source)
    attrs = group.attrs.asdict()
    if attrs.get("format") != FORMAT:
        raise ValueError(
            f"the model in {source} has format {attrs.get('format')!r}; this version reads "
            f"{FORMAT!r}. Update lift_xr"
        )
    arrays = _expect_small(group, source)
    about = attrs.get("about")
    if not isinstance(about, dict):
        raise ValueError(f"the model in {source} does not describe itself; {_DAMAGED}")
    try:
        values = {name: _read(array) for name, array in arrays.items()}
        model = Model.of(values, about)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as problem:
        raise ValueError(f"{source} does not hold a usable model: {problem}") from None
    if model.digest != attrs.get("digest"):
        raise ValueError(
            f"the model in {source} has digest {model.digest[:12]} and was written with "
            f"{str(attrs.get('digest'))[:12]}; {_DAMAGED}"
        )
    return model


_DAMAGED = "the store is damaged, or still being made. Use the model's file, if you saved one"


def _is_store(path: Path) -> bool:
    return path.is_dir() and any((path / name).exists() for name in METADATA)


def _labels(bands: list[Any]) -> npt.NDArray[Any]:
    labels = np.asarray(bands)
    return labels.astype(object) if labels.dtype.kind == "U" else labels


def _model_group(source: Any) -> zarr.Group:
    path = local_path(source)
    if path is not None and not path.exists():
        raise FileNotFoundError(
            f"{path} does not exist; expected a store or a model. Check the path"
        )
    try:
        return zarr.open_group(source, path=MODEL, mode="r", zarr_format=3, use_consolidated=False)
    except (ValueError, KeyError, TypeError, FileNotFoundError, RecursionError) as error:
        place = os.fspath(source) if isinstance(source, os.PathLike) else source
        raise ValueError(
            f"{place} holds no model; expected one beside the pixels, as write_zarr puts it there "
            "when it is given just what predict or fuse returned. Use the model's file, as "
            "model.save('sin.lift') writes it"
        ) from error


def _expect_small(group: zarr.Group, source: Any) -> Mapping[str, zarr.Array[Any]]:
    """Refuse, by their headers and the sizes of the objects, arrays that are not a model's."""
    stored = sync(group.store.getsize_prefix(f"{group.path}/"))
    if stored > GREATEST_MODEL:
        raise ValueError(f"the model in {source} has {stored} bytes; {_AT_MOST}")
    try:
        arrays = dict(group.arrays())
    except (ValueError, TypeError, KeyError) as problem:
        raise ValueError(f"the model in {source} holds no plain numbers: {problem}") from None
    claimed = sum(map(_claimed, arrays.values()))
    if claimed > GREATEST_MODEL:
        raise ValueError(f"the model in {source} claims {claimed} bytes; {_AT_MOST}")
    for name, array in arrays.items():
        plain = all(
            isinstance(codec, BytesCodec) for codec in getattr(array.metadata, "codecs", [0])
        )
        if array.dtype.name not in DTYPES or not plain:
            raise ValueError(
                f"array {name!r} of the model in {source} is not plain float32 or float64, as "
                "write_zarr stores it. Write the store again"
            )
    return arrays


_AT_MOST = f"a model in a store has at most {GREATEST_MODEL}. The store is damaged: write it again"


def _claimed(array: zarr.Array[Any]) -> int:
    """Add up what reading an array allocates: itself, and its chunks, which may be larger."""
    return (prod(array.shape) + prod(array.chunks)) * array.dtype.itemsize


def _read(array: zarr.Array[Any]) -> npt.NDArray[Any]:
    values = np.asarray(array[...])
    return values.astype(values.dtype.newbyteorder("="))
