"""May a store be written here: what is there already, who can reach it, is it the input itself."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask.array as da
import zarr
import zarr.storage

from lift_xr.errors import LayoutError
from lift_xr.io.compute import out_of_reach
from lift_xr.io.store import METADATA, local_path


def expect_place(
    store: Any, data: da.Array, *, overwrite: bool = False, resume: bool = False
) -> str:
    """Raise LayoutError unless ``store`` may be written, before anything there is touched.

    Returns
    -------
    str
        What is there: "nothing", or "zarr".
    """
    if overwrite and resume:
        raise LayoutError(
            "overwrite=True and resume=True are both given; expected one of them: to begin again, "
            "or to finish. Use resume=True to keep what is there"
        )
    text = os.fspath(store) if isinstance(store, str | os.PathLike) else ""
    if isinstance(store, zarr.storage.ZipStore) or text.lower().endswith(".zip"):
        raise LayoutError(
            "store is a zip file, which tasks cannot write side by side; expected a folder or an "
            "object store. Write a folder, then zip it"
        )
    if isinstance(store, zarr.storage.MemoryStore) and out_of_reach():
        raise LayoutError(
            "store is in this process's memory, which the workers of the cluster cannot reach; "
            "expected a path or an object store. Use write_zarr(fused, 'fused.zarr')"
        )
    found = _occupant(store)
    if found == "other":
        raise LayoutError(
            f"{store} exists and is not a Zarr store; expected a new place, so nothing of yours is "
            "lost. Use another path, or move it away"
        )
    if found == "zarr" and not (overwrite or resume):
        raise LayoutError(
            f"{store} already exists; expected a new place. Use another path, or pass "
            "overwrite=True to replace it, or resume=True to finish it"
        )
    if found == "zarr" and any(_same_place(read.store, store) for read in _arrays_read(data)):
        raise LayoutError(
            f"{store} is also what fused is computed from, so writing it would destroy its own "
            "input; expected another place. Use another path"
        )
    return found


def fingerprint(data: da.Array) -> str:
    """Tell apart, by their metadata, the Zarr arrays that a graph reads, wherever they lie."""
    told = {
        json.dumps([array.metadata.to_dict(), array.shape], sort_keys=True, default=str)
        for array in _arrays_read(data)
    }
    return hashlib.sha256("".join(sorted(told)).encode()).hexdigest() if told else ""


def _occupant(store: Any) -> str:
    """Say what is at the place of a store: "nothing", "zarr" or "other"."""
    path = local_path(store)
    if path is not None:
        if not path.exists() or (path.is_dir() and _is_empty(path)):
            return "nothing"
        ours = path.is_dir() and any((path / name).exists() for name in METADATA)
        return "zarr" if ours else "other"
    try:
        zarr.open(store, mode="r")
    except FileNotFoundError:
        return "nothing"
    return "zarr"


def _is_empty(folder: Path) -> bool:
    """Whether there is nothing but what is left of a write that was killed."""
    return all(each.suffix == ".partial" for each in folder.iterdir())


def _arrays_read(data: da.Array) -> Iterator[zarr.Array[Any]]:
    """Yield the Zarr arrays that a graph reads, as far as it shows them."""
    for layer in data.dask.layers.values():
        if len(layer) == 1:  # how dask and xarray keep the array that all blocks are cut from
            (task,) = layer.values()
            source = getattr(task, "value", task)
            while hasattr(source, "array"):
                source = source.array
            source = getattr(source, "_array", source)
            if isinstance(source, zarr.Array):
                yield source


def _same_place(read: Any, store: Any) -> bool:
    one, other = local_path(read), local_path(store)
    if one is not None and other is not None:
        return other.resolve() in (one.resolve(), *one.resolve().parents)
    return bool(read is store or str(read) == str(store))
