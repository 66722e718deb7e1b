"""A stored array as the numbers it means, read and decoded only where it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
import zarr
from dask.base import tokenize

from lift_xr.packing import decode_block

READ = "read"  # begins the names of arrays that are read and nothing else


@dataclass(frozen=True)
class Decoded:
    """An array of a Zarr store, decoded to float32 as it is indexed.

    dask fuses a slice of a block into the read where nothing stands between the two. With the
    decoding inside the read, a spectrum or one band takes the chunks it lies in, not the shard.

    Parameters
    ----------
    array
        As stored: of a Zarr store, or anything indexed like one.
    nodata, scale, offset
        The packing that all bands share.
    stamp
        Tells two stores apart that were written to one place, one after the other.
    """

    array: Any
    nodata: tuple[float, ...]
    scale: float
    offset: float
    stamp: str = ""

    dtype = np.dtype("float32")

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the stored array."""
        return tuple(self.array.shape)

    @property
    def ndim(self) -> int:
        """Of the stored array."""
        return len(self.shape)

    def __getitem__(self, index: Any) -> np.ndarray:
        values = np.asarray(self.array[index])
        decoded = decode_block(
            values.reshape(1, 1, -1),  # whichever dimensions the index left
            nodata=self.nodata,
            scale=np.array([self.scale]),
            offset=np.array([self.offset]),
        )
        return decoded.reshape(values.shape)

    def __dask_tokenize__(self) -> Any:
        array = self.array
        zarrs = isinstance(array, zarr.Array)
        place = (str(array.store_path), array.metadata.to_dict()) if zarrs else (tokenize(array),)
        return (type(self).__name__, *place, self.stamp, self.nodata, self.scale, self.offset)


def blocks_of(stored: Any, edges: Sequence[int]) -> da.Array:
    """Cut a stored array into lazy blocks of ``edges``."""
    return cut(stored, tuple(edges), f"{READ}-{tokenize(stored, tuple(edges))}")


def source_of(data: da.Array) -> Any | None:
    """Find the stored array whose blocks an array is, and nothing else; None where it is more."""
    layer = data.dask.layers.get(f"original-{data.name}")
    if not data.name.startswith(f"{READ}-") or layer is None:
        return None
    (original,) = layer.values()
    return getattr(original, "value", original)


def read_apart(data: da.Array, index: tuple[slice, ...]) -> da.Array:
    """Index an array, reading no more than that even where other parts are computed along.

    dask fuses a slice into a read only where it is the one slice of it: two bands of a block,
    computed together, would read the block. Under names of their own they are two reads. What is
    more than a read is computed once, and indexed.
    """
    stored = source_of(data)
    if stored is None:
        return data[index]
    return cut(stored, data.chunks, f"{data.name}-{tokenize(index)}")[index]


def cut(stored: Any, chunks: tuple[Any, ...], name: str) -> da.Array:
    """Cut a stored array into lazy blocks, under a name."""
    blocks: da.Array = da.from_array(
        stored, chunks=chunks, name=name, meta=np.empty((0,) * stored.ndim, stored.dtype)
    )
    return blocks
