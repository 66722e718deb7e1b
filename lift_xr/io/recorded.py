"""A run as its record has it: its passes, the arrays that each wrote, and their checksums."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import zarr
from zarr.abc.store import Store
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from lift_xr.errors import LayoutError
from lift_xr.io.create import flags_path, index_within
from lift_xr.io.files import CHUNKS, array_of_file, key_of_file
from lift_xr.io.record import (
    FAILING,
    RECORD,
    ROW,
    UNREADABLE,
    Progress,
    is_done,
    key_of_row,
    open_record,
    read_rows,
    row_checksum,
    with_failing,
)
from lift_xr.io.root import ROOT
from lift_xr.io.seal import read_file
from lift_xr.io.verification import Failure, Index

GREATEST_SHARD = 16 * 2**30  # bytes


@dataclass
class Faults:
    """What was found wrong so far."""

    found: list[Failure] = field(default_factory=list)

    def note(self, check: str, found: str, **where: Any) -> None:
        """Remember a failure."""
        self.found.append(Failure(check, found, **where))

    def of(self, check: str) -> tuple[Failure, ...]:
        """List what one check found."""
        return tuple(each for each in self.found if each.check == check)

    def blames(self, file: str) -> bool:
        """Whether a file is known to be wrong."""
        return any(each.file == file for each in self.found)


@dataclass(frozen=True)
class Array:
    """One array of pixels or flags, opened by its own metadata.

    Parameters
    ----------
    path
        In the store.
    level
        Of the overviews; flags belong to full resolution.
    metadata
        As stored.
    """

    path: str
    level: int
    metadata: Buffer

    @cached_property
    def opened(self) -> zarr.Array[Any]:
        """The array without any of its files."""
        return self.holding({})

    def holding(self, files: dict[str, Buffer]) -> zarr.Array[Any]:
        """Open the array with some of its files, from memory."""
        held = {key.removeprefix(f"{self.path}/"): each for key, each in files.items()}
        return zarr.open_array(MemoryStore({ROOT: self.metadata, **held}), mode="r")

    @property
    def edges(self) -> Index:
        """Of a shard; of the array, where that is one shard."""
        return tuple(self.opened.shards or self.opened.shape)

    @property
    def shape(self) -> Index:
        """Of the array."""
        return tuple(self.opened.shape)

    def window(self, index: Index) -> tuple[slice, ...]:
        """Find the pixels of the shard that a task writes."""
        places = zip(index_within(self.path, index), self.edges, self.shape, strict=True)
        return tuple(slice(at * edge, min((at + 1) * edge, size)) for at, edge, size in places)


@dataclass(frozen=True)
class Recorded:
    """One pass as its record has it.

    Parameters
    ----------
    first
        The finest of its levels.
    progress
        Its rows.
    arrays
        What its tasks write, by path; without those whose metadata are damaged.
    """

    first: int
    progress: Progress
    arrays: dict[str, Array]

    @property
    def grid(self) -> Index:
        """Tasks along every axis."""
        return tuple(self.progress.rows.shape[:-1])

    @property
    def tasks(self) -> Iterator[Index]:
        """Every task."""
        return iter(np.ndindex(*self.grid))

    @property
    def levels(self) -> list[Array]:
        """The arrays of pixels, finest first."""
        pixels = (each for path, each in self.arrays.items() if path != flags_path())
        return sorted(pixels, key=lambda each: each.level)

    def files(self, path: str, index: Index) -> dict[str, int]:
        """The files of a shard, and what their checksums must be."""
        row = self.progress.rows[index]
        named = zip(self.progress.columns, row, strict=True)
        at = index_within(path, index)
        return {
            key_of_file(name, at): int(value)
            for name, value in named
            if CHUNKS in name and array_of_file(name) == path
        }

    def place(self, array: Array, index: Index) -> dict[str, Any]:
        """Say where a shard is, as failures tell it."""
        at = index_within(array.path, index)
        return {
            "path": array.path,
            "level": array.level,
            "index": at,
            "task": (self.first, index),
        }

    def key_of_row(self, index: Index) -> str:
        """Find the file of a row in its store."""
        return key_of_row(self.first, index)

    def trusted(self, index: Index) -> bool:
        """Whether a task is done and its row as it was written."""
        return is_done(self.progress.rows[index])


def read_record(target: Store, first: int, faults: Faults) -> Recorded | None:
    """Read one pass, noting rows that are not as they were written; None where that is hopeless."""
    path, file = f"{RECORD}/{first}", f"{RECORD}/{first}/{ROOT}"
    if read_file(target, file) is None or faults.blames(file):
        return None
    try:
        record, columns = open_record(target, path)
    except LayoutError as error:
        faults.note("metadata", f"is damaged: {error}", path=path, file=file)
        return None
    if columns[-1] != ROW:
        raise LayoutError(
            "the record of the store has no checksums of files: an earlier version wrote it; "
            "expected one of this version. Write it again with overwrite=True"
        )
    rows = read_rows(record, UNREADABLE)
    progress = Progress(with_failing(rows, record), columns)
    recorded = Recorded(first, progress, _arrays(target, columns, record.ndim - 1, faults))
    for index in recorded.tasks:
        row = progress.rows[index]
        begun = row.any() and not (row[0] == FAILING and not row[1:].any())
        if begun and row_checksum(row) != row[-1]:
            faults.note(
                "record",
                "is not the row that was written",
                path=f"{RECORD}/{first}",
                file=recorded.key_of_row(index),
                level=first,
                index=index,
                task=(first, index),
            )
    return recorded


def _arrays(target: Store, columns: tuple[str, ...], ndim: int, faults: Faults) -> dict[str, Array]:
    """Open what the tasks of a pass write, but for arrays whose metadata are damaged."""
    found: dict[str, Array] = {}
    for path in dict.fromkeys(array_of_file(name) for name in columns if CHUNKS in name):
        metadata = read_file(target, f"{path}/{ROOT}")
        if metadata is not None and not faults.blames(f"{path}/{ROOT}"):
            level = 0 if path == flags_path() else int(path.split("/")[0])
            array = Array(path, level, metadata)
            if wrong := _wrong_header(array, ndim - (path == flags_path())):
                faults.note("metadata", wrong, path=path, file=f"{path}/{ROOT}")
                continue
            _expect_small(array)
            found[path] = array
    return found


def _wrong_header(array: Array, ndim: int) -> str:
    """Say what is wrong with the metadata of an array that nobody has compared yet."""
    try:
        found = array.opened.ndim
    except UNREADABLE as error:
        return f"cannot be read: {error}"
    return "" if found == ndim else f"claims {found} dimensions; expected {ndim}"


def _expect_small(array: Array) -> None:
    """Refuse headers that would fill the memory."""
    size = prod(array.edges) * array.opened.dtype.itemsize
    if size > GREATEST_SHARD:
        raise LayoutError(
            f"{array.path} claims shards of {size / 2**30:.3g} GiB; expected at most "
            f"{GREATEST_SHARD / 2**30:g} GiB, to be held at once. The store is damaged: write it "
            "again, with overwrite=True"
        )
