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


@dataclass(frozen=True)
class Decoded:
    """An array of a Zarr store, decoded to float32 as it is indexed.

    dask fuses a slice of a block into the read where nothing stands between the two. With the
    decoding inside the read, a spectrum or one band takes the chunks it lies in, not the shard.

    Parameters
    ----------
    array
        As stored.
    nodata, scale, offset
        The packing that all bands share.
    stamp
        Tells two stores apart that were written to one place, one after the other.
    """

    array: zarr.Array[Any]
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
        place = (str(self.array.store_path), self.array.metadata.to_dict(), self.stamp)
        return (type(self).__name__, *place, self.nodata, self.scale, self.offset)


def blocks_of(stored: Decoded, edges: Sequence[int]) -> da.Array:
    """Cut a stored array into lazy blocks of ``edges``."""
    blocks: da.Array = da.from_array(
        stored,
        chunks=tuple(edges),
        name=f"read-{tokenize(stored, tuple(edges))}",
        meta=np.empty((0,) * stored.ndim, "float32"),
    )
    return blocks
