"""May a store be written here: what is there already, who can reach it, is it the input itself."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from math import isqrt
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import zarr
import zarr.storage

from lift_xr.errors import LayoutError
from lift_xr.io.engines import out_of_reach
from lift_xr.io.store import METADATA, local_path

SAMPLE = 16  # pixels read to tell inputs apart, of all of them together


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
    if _in_memory(store) and out_of_reach():
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
    """Tell the arrays that a graph reads from others, by a few pixels of each.

    The same for any chunks, and wherever the same pixels lie. Empty where the graph does not
    show what it reads, such as of arrays in memory.
    """
    read = [each for each in sources(data) if len(each.shape) >= 2]
    told = sorted(_sampled(each, edge=max(1, isqrt(SAMPLE // len(read)))) for each in read)
    return hashlib.sha256("".join(told).encode()).hexdigest() if told else ""


def _sampled(source: Any, *, edge: int) -> str:
    """Read pixels at the knots of a lattice of ``edge`` by ``edge`` over an array."""
    values = []
    for y, x in np.ndindex(edge, edge):
        places = zip((y, x), source.shape[-2:], strict=True)
        window = [slice(at := int((i + 0.5) / edge * size), at + 1) for i, size in places]
        first = (slice(0, 1),) * (len(source.shape) - 3)
        values.append(np.asarray(source[(*first, *_all(source), *window)]).tobytes())
    digest = hashlib.sha256(b"".join(values)).hexdigest()
    return f"{source.shape} {source.dtype} {digest}"


def _all(source: Any) -> tuple[slice, ...]:
    """Every band, of an array that has bands."""
    return (slice(None),) * min(1, len(source.shape) - 2)


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


def _in_memory(store: Any) -> bool:
    """Whether a store is in the memory of this process, under whichever name."""
    if isinstance(store, zarr.storage.FsspecStore):
        return "memory" in (store.fs.protocol, *store.fs.protocol)
    held = isinstance(store, dict | zarr.storage.MemoryStore)
    return held or (isinstance(store, str) and store.startswith("memory:"))


def _is_empty(folder: Path) -> bool:
    """Whether there is nothing but what is left of a write that was killed."""
    return all(each.suffix == ".partial" for each in folder.iterdir())


def _arrays_read(data: da.Array) -> Iterator[zarr.Array[Any]]:
    """Yield the Zarr arrays that a graph reads, as far as it shows them."""
    for source in sources(data):
        source = innermost(source)
        if isinstance(source, zarr.Array):
            yield source


def innermost(source: Any) -> Any:
    """Take off what xarray and lift_xr wrap around an array that is read."""
    while hasattr(source, "array"):
        source = source.array
    return getattr(source, "_array", source)


def sources(data: da.Array) -> Iterator[Any]:
    """Yield the arrays that all blocks of a layer are cut from."""
    for layer in data.dask.layers.values():
        if len(layer) == 1:  # how dask and xarray keep them
            (task,) = layer.values()
            source = getattr(task, "value", task)
            if hasattr(source, "shape") and hasattr(source, "dtype"):
                yield source


def _same_place(read: Any, store: Any) -> bool:
    one, other = local_path(read), local_path(store)
    if one is not None and other is not None:
        return other.resolve() in (one.resolve(), *one.resolve().parents)
    return bool(read is store or str(read) == str(store))
