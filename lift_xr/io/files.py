"""The files of a shard: what they are called, and what their bytes sum up to as they are written.

A shard is one file; an array of one shard is stored as its chunks. The checksum of the values says
that a shard decodes to what was computed; that of the file finds a changed byte which decoding
would not miss, and finds it without decoding.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from math import ceil
from typing import Any
from zlib import crc32

import numpy as np
from zarr.abc.store import Store
from zarr.core.buffer import Buffer
from zarr.core.sync import sync  # nothing public calls a store's methods from plain code
from zarr.storage import FsspecStore, ObjectStore, WrapperStore

from lift_xr.io.below import BelowStore
from lift_xr.plan import Layout

CHUNKS = "/c"  # what follows the path of an array in the names of its files
ABSENT = -1  # in place of a checksum: the values are all fill, and there is no file
Index = tuple[int, ...]


class NotingStore(WrapperStore[Store]):
    """A store that notes the checksum of what goes through it, so that nothing is read back."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._noted: dict[str, int] = {}

    async def set(self, key: str, value: Buffer) -> None:
        """Write an object."""
        await super().set(key, value)
        self._noted[key] = file_checksum(value)

    async def delete(self, key: str) -> None:
        """Remove an object, which is how a shard of nodata is written."""
        await super().delete(key)
        self._noted.pop(key, None)

    def take(self, key: str) -> int:
        """Return the checksum of an object written since it was last asked for, or ``ABSENT``."""
        return self._noted.pop(key, ABSENT)


class HoldingStore(WrapperStore[Store]):
    """A store that keeps what is written to it in memory, so that readers see nothing half made."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.held: dict[str, Buffer] = {}

    async def set(self, key: str, value: Buffer) -> None:
        """Hold an object back."""
        self.held[key] = value


def file_checksum(content: Buffer | None) -> int:
    """Sum up the bytes of a file."""
    return ABSENT if content is None else crc32(content.as_buffer_like())


def names_of_files(path: str, layout: Layout) -> tuple[str, ...]:
    """Name the files that a task writes of an array: one for all its shards, or every chunk.

    Examples
    --------
    >>> shape = (2, 400, 600)
    >>> names_of_files("0/reflectance", Layout.of(shape, "uint16", shard=256))
    ('0/reflectance/c',)
    >>> names_of_files("1/reflectance", Layout.of(shape, "uint16", shard=640))
    ('1/reflectance/c/0/0/0', '1/reflectance/c/0/0/1',
     '1/reflectance/c/0/1/0', '1/reflectance/c/0/1/1')
    """
    if layout.sharded:
        return (path + CHUNKS,)
    grid = [ceil(size / chunk) for size, chunk in zip(layout.shape, layout.chunk, strict=True)]
    return tuple(key_of_file(path + CHUNKS, index) for index in np.ndindex(*grid))


def key_of_file(name: str, index: Index) -> str:
    """Find the file of the shard at ``index`` in its store.

    Examples
    --------
    >>> key_of_file("0/reflectance/c", (0, 3, 1)), key_of_file("1/reflectance/c/0/0/1", (0, 0, 0))
    ('0/reflectance/c/0/3/1', '1/reflectance/c/0/0/1')
    """
    return f"{name}/{'/'.join(map(str, index))}" if name.endswith(CHUNKS) else name


def array_of_file(name: str) -> str:
    """Find the array that a file belongs to.

    Examples
    --------
    >>> array_of_file("quality/flags/c"), array_of_file("1/reflectance/c/0/0/1")
    ('quality/flags', '1/reflectance')
    """
    return name.removesuffix(CHUNKS) if name.endswith(CHUNKS) else name.split(f"{CHUNKS}/")[0]


def listed(target: Store, folder: str) -> dict[str, Mapping[str, Any]]:
    """Find the files below a folder in one go, and what the store tells of each; none if nothing.

    Asked anew: others write while this process remembers what it listed before.
    """
    with suppress(NotImplementedError, OSError):  # not every server lists what it has
        if isinstance(target, FsspecStore):
            return _listed_by_fsspec(target, folder)
        if isinstance(target, ObjectStore):
            return {each["path"]: each for some in target.store.list(folder) for each in some}
        if isinstance(target, BelowStore):
            found = listed(target.base, target.outside(folder))
            return {target.inside(key): told for key, told in found.items()}
    return {}


def _listed_by_fsspec(target: FsspecStore, folder: str) -> dict[str, Mapping[str, Any]]:
    root = target.path.strip("/")
    target.fs.invalidate_cache()
    found = sync(target.fs._find(f"{target.path}/{folder}", detail=True))
    return {key.strip("/").removeprefix(f"{root}/"): told for key, told in found.items()}


def without_bands(layout: Layout) -> Layout:
    """The same layout for an array without bands, such as the quality flags."""
    shape, shard, chunk = (
        (*each[:-3], *each[-2:]) for each in (layout.shape, layout.shard, layout.chunk)
    )
    return replace(layout, shape=shape, shard=shard, chunk=chunk)
