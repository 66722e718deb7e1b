"""What is done: one row of numbers for every task of a run, kept beside the pixels.

A shard of nodata leaves no file, so files prove nothing. A task writes its row after its shards,
in an object of its own: nothing is locked, and a task that dies leaves no row. Nothing in a row
depends on when, where or how often a task ran.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
import zarr

from lift_xr.plan import Pass

RECORD = "_progress"
FAILING, LEFT, DONE = -1, 0, 1  # the states of a task; what was never written reads as 0
STATE, CLIPPED, ROW = "state", "clipped_values", "row"
CHECKSUM = (
    "CRC-32: of an array, its stored values in C order; of a file, its bytes, -1 where there is "
    "none; of the row, the numbers before it as little-endian int64"
)


@dataclass(frozen=True)
class Progress:
    """The rows of one pass.

    Parameters
    ----------
    rows : (*grid, column), int64
        One row a task.
    columns
        ``state``, ``clipped_values``; the checksum of the values of every shard the task wrote, by
        the path of its array; that of every file it wrote, see ``io.files``; and that of the row.
    """

    rows: np.ndarray
    columns: tuple[str, ...]

    @property
    def states(self) -> np.ndarray:
        """``DONE``, ``LEFT`` or ``FAILING`` for every task."""
        return self.column(STATE)

    def column(self, name: str) -> np.ndarray:
        """One number for every task; those of a task that is not done are 0."""
        values: np.ndarray = self.rows[..., self.columns.index(name)]
        return values


def create_record(group: zarr.Group, each: Pass, written: Sequence[str]) -> None:
    """Make the record of a pass whose tasks write what ``written`` names: arrays, then files."""
    columns = [STATE, CLIPPED, *written, ROW]
    group.create_array(
        record_path(each),
        shape=(*each.grid, len(columns)),
        chunks=(*(1 for _ in each.grid), len(columns)),
        dtype="int64",
        fill_value=LEFT,
        compressors=None,
        dimension_names=[f"{each.first}.{axis}" for axis in range(len(each.grid) + 1)],
        attributes={"columns": columns, "checksum": CHECKSUM},
    )


def record_path(each: Pass) -> str:
    """Find the record of a pass in its store."""
    return f"{RECORD}/{each.first}"


def read_progress(store: Any, each: Pass) -> Progress:
    """Read the record of a pass: one small object for every task that has ended."""
    array = zarr.open_array(store, path=record_path(each), mode="r")
    columns: Any = array.attrs["columns"]
    return Progress(np.asarray(array[...]), tuple(columns))


def all_progress(store: Any) -> dict[int, Progress]:
    """Read the records of all passes, by the first level of each; none of a store half made."""
    found: dict[int, Progress] = {}
    try:
        group: Any = zarr.open_group(store, path=RECORD, mode="r", use_consolidated=False)
    except FileNotFoundError:
        return found
    for name, array in sorted(group.arrays(), key=lambda member: int(member[0])):
        found[int(name)] = Progress(np.asarray(array[...]), tuple(array.attrs["columns"]))
    return found


def content_digest(store: Any) -> str:
    """Name the pixels of a complete store: the digest of the checksums of all its shards."""
    digest = hashlib.sha256()
    for first, progress in all_progress(store).items():
        digest.update(f"{first} {progress.rows.shape}".encode())
        digest.update(progress.rows.astype("<i8").tobytes())
    return digest.hexdigest()


def checksum(stored: np.ndarray) -> int:
    """Sum up what a task stores in one array, as ``Progress`` keeps it."""
    contiguous: Any = np.ascontiguousarray(stored)
    return crc32(contiguous)


def done_row(clipped: int, checksums: Sequence[int]) -> np.ndarray:
    """Write down that a task is done."""
    row = np.array([DONE, clipped, *checksums, 0], "int64")
    row[-1] = row_checksum(row)
    return row


def row_checksum(row: np.ndarray) -> int:
    """Sum up a row of the record, but for its last number, which is this sum."""
    return checksum(row[:-1].astype("<i8"))


def mark_failing(array: zarr.Array[Any], index: tuple[int, ...]) -> None:
    """Write down that a task was tried and failed; whoever does it after all overwrites this.

    Nothing is written where another process has done it already.
    """
    if np.asarray(array[index])[0] == DONE:
        return
    row = np.zeros(array.shape[-1], "int64")
    row[0] = FAILING
    array[index] = row
