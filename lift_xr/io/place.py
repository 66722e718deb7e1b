"""May a store be written here: what is there already, who can reach it, is it the input itself."""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from math import isqrt
from pathlib import Path
from typing import Any, Self

import dask.array as da
import numpy as np
import numpy.typing as npt
import zarr
import zarr.storage
from dask.blockwise import Blockwise
from dask.highlevelgraph import MaterializedLayer

from lift_xr.bands import CHOSEN, MASKED
from lift_xr.errors import LayoutError
from lift_xr.io.below import BelowStore
from lift_xr.io.engines import out_of_reach
from lift_xr.io.record import RECORD
from lift_xr.io.root import DAMAGED
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
    if found == "nothing" or overwrite:
        _expect_writable(store)
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
    """Tell the arrays that a graph reads from others, by a few pixels of each and use of bands.

    The same for any chunks, and wherever the same pixels lie: in files or in memory. Empty where
    the graph shows neither, such as of pixels that are made up block by block.
    """
    read = [each for each in sources(data) if len(each.shape) >= 2]
    read += [each for each in map(_Pieces.of, data.dask.layers.values()) if each is not None]
    if not read:
        return ""
    told = sorted(_sampled(each, edge=max(1, isqrt(SAMPLE // len(read)))) for each in read)
    told += sorted(_chosen(data))
    return hashlib.sha256("".join(told).encode()).hexdigest()


def _chosen(data: da.Array) -> Iterator[str]:
    """Yield the places of bands that somebody chose of what is read, and that hide pixels of it."""
    for name, layer in data.dask.layers.items():
        if name.startswith(f"{CHOSEN}-") and isinstance(layer, Blockwise):
            yield f"bands {layer.task.kwargs['kept'].tolist()}"
        if name.startswith(f"{MASKED}-") and isinstance(layer, Blockwise):
            yield f"alpha {layer.task.kwargs['index']}"


@dataclass(frozen=True)
class _Pieces:
    """An array in memory, as dask cut it: one array for every block."""

    blocks: Mapping[tuple[int, ...], npt.NDArray[Any]]
    starts: tuple[tuple[int, ...], ...]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, layer: Mapping[Any, Any]) -> Self | None:
        """Look through a layer; None where it holds anything but the pieces of an array."""
        if len(layer) < 2 or not isinstance(layer, MaterializedLayer):
            return None
        found = {key: getattr(task, "value", task) for key, task in layer.items()}
        if not all(isinstance(each, np.ndarray) and each.ndim >= 2 for each in found.values()):
            return None
        blocks = {key[1:]: each for key, each in found.items()}
        first = (0,) * (len(next(iter(blocks))))
        widths = []
        for axis in range(len(first)):
            along = sorted(place for place in blocks if not any(np.delete(place, axis)))
            widths.append([blocks[place].shape[axis] for place in along])
        starts = tuple((0, *accumulate(each)) for each in widths)
        return cls(blocks, starts, tuple(each[-1] for each in starts))

    @property
    def dtype(self) -> np.dtype:
        """Of all pieces."""
        return next(iter(self.blocks.values())).dtype

    def __getitem__(self, window: tuple[slice, ...]) -> npt.NDArray[Any]:
        """Put together a window that is one pixel wide."""
        *leading, y, x = window
        row, column = (
            bisect_right(along, each.start) - 1
            for along, each in zip(self.starts[-2:], (y, x), strict=True)
        )
        inside: Any = [
            slice(each.start - along[place], each.stop - along[place])
            for along, each, place in zip(self.starts[-2:], (y, x), (row, column), strict=True)
        ]
        places = sorted(place for place in self.blocks if place[-2:] == (row, column))
        parts = [self.blocks[place][(..., *inside)] for place in places]
        return parts[0] if len(parts) == 1 else self._stacked(places, parts)[tuple(leading)]

    def _stacked(
        self, places: list[tuple[int, ...]], parts: list[npt.NDArray[Any]]
    ) -> npt.NDArray[Any]:
        shape = (*self.shape[:-2], *parts[0].shape[-2:])
        whole = np.empty(shape, self.dtype)
        for place, part in zip(places, parts, strict=True):
            at = [self.starts[axis][index] for axis, index in enumerate(place[:-2])]
            spans = zip(at, part.shape, strict=False)
            whole[tuple(slice(start, start + size) for start, size in spans)] = part
        return whole


def _sampled(source: Any, *, edge: int) -> str:
    """Read pixels at the knots of a lattice of ``edge`` by ``edge`` over an array, all of a series.

    Bands and times are read whole: two acquisitions may begin with the same one.
    """
    values = []
    everything = (slice(None),) * (len(source.shape) - 2)
    for y, x in np.ndindex(edge, edge):
        places = zip((y, x), source.shape[-2:], strict=True)
        window = [slice(at := int((i + 0.5) / edge * size), at + 1) for i, size in places]
        values.append(np.asarray(source[(*everything, *window)]).tobytes())
    digest = hashlib.sha256(b"".join(values)).hexdigest()
    return f"{tuple(source.shape)} {source.dtype} {digest}"


def _occupant(store: Any) -> str:
    """Say what is at the place of a store: "nothing", "zarr" or "other"."""
    path = local_path(store)
    if path is not None:
        if not path.exists() or (path.is_dir() and _is_empty(path)):
            return "nothing"
        names = (*METADATA, f"{RECORD}/zarr.json")  # a root may be lost
        ours = path.is_dir() and any((path / name).exists() for name in names)
        return "zarr" if ours else "other"
    try:
        zarr.open(store, mode="r")
    except FileNotFoundError:
        return "nothing"
    except DAMAGED:
        return "zarr"
    return "zarr"


def _expect_writable(store: Any) -> None:
    """Refuse a folder that nothing can be written in."""
    path = local_path(store)
    if path is None:
        return
    place = next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        wrong = "may not be written by you" if place.is_dir() else "is not a folder"
        raise LayoutError(
            f"{store} cannot be written: {place} {wrong}; expected a folder to write in. "
            "Use another path"
        )


def _in_memory(store: Any) -> bool:
    """Whether a store is in the memory of this process, under whichever name."""
    if isinstance(store, BelowStore):
        return _in_memory(store.base)
    if isinstance(store, zarr.storage.FsspecStore):
        return "memory" in (store.fs.protocol, *store.fs.protocol)
    if type(getattr(store, "store", None)).__name__ == "MemoryStore":  # of obstore, wrapped
        return True
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


def raster_path(source: Any) -> str | None:
    """Find the file behind an array that rioxarray opened, once it is unwrapped."""
    (path, *_) = getattr(getattr(source, "manager", None), "_args", [None])
    return os.fspath(path) if isinstance(path, str | os.PathLike) else None


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
    return bool(read is store or read == store or str(read) == str(store))
