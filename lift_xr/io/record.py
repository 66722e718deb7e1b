"""What is done: one row of numbers for every task of a run, kept beside the pixels.

A shard of nodata leaves no file, so files prove nothing. A task writes its row after its shards,
in an object of its own: nothing is locked, and a task that dies leaves no row. Nothing in a row
depends on when, where or how often a task ran.

Who gives a task up leaves a mark beside the rows, never in them: another process may have the same
task in hand, and what it has done stays done.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import zarr
from zarr.abc.store import Store
from zarr.codecs import BytesCodec
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync  # nothing public calls a store's methods from plain code
from zarr.storage import LocalStore

from lift_xr.errors import LayoutError
from lift_xr.io.store import VARIABLE
from lift_xr.plan import Pass
from lift_xr.uncertainty import ERROR
from lift_xr.unmix import ABUNDANCE

RECORD = "_progress"
FAILING, LEFT, DONE = -1, 0, 1  # the states of a task; what was never written reads as 0
ROW_DTYPE = np.dtype("<i8")
PLAIN = (BytesCodec(endian="little"),)  # how a row is stored: its numbers, one after the other
NO_ROW = np.int64(-1)  # stands for every number of a row that is damaged beyond reading
STATE, CLIPPED, ROW = "state", "clipped_values", "row"
MARKS = "failing"  # beside the rows of a pass: an object for every task that was given up
PIXELS = rf"\d{{1,3}}/({VARIABLE}|{ABUNDANCE}|{ERROR})"
WRITTEN = re.compile(rf"({PIXELS}|quality/flags)(/c(/\d+)*)?")  # arrays and files
GREATEST_RECORD = 10**8  # numbers, all rows of a pass together
DAMAGE = (ValueError, TypeError, KeyError, RuntimeError)  # what zarr raises; RecursionError too
UNREADABLE = (*DAMAGE, OSError)
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
        """``DONE``, ``LEFT`` or ``FAILING`` for every task; of a damaged row ``LEFT``."""
        states = np.where(self.done, DONE, LEFT)
        for index in map(tuple, np.argwhere(self.column(STATE) == FAILING)):
            states[index] = LEFT if self.rows[index][1:].any() else FAILING
        return states

    @cached_property
    def done(self) -> np.ndarray:
        """True for every task that is done and whose row is as it was written."""
        done: np.ndarray = self.column(STATE) == DONE
        for index in map(tuple, np.argwhere(done)):
            done[index] = is_done(self.rows[index])
        return done

    @property
    def clipped(self) -> int:
        """How many values were clipped, in what is done."""
        return int(self.column(CLIPPED)[self.done].sum())

    def column(self, name: str) -> np.ndarray:
        """One number for every task, as its row says."""
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


def key_of_row(first: int, index: tuple[int, ...]) -> str:
    """Find the file of a row in its store."""
    return f"{RECORD}/{first}/c/{'/'.join(map(str, index))}/0"


def read_progress(store: Any, each: Pass) -> Progress:
    """Read the record of a pass: one small object for every task that has ended.

    A thousand take about a second of an object store, and much less of a disk: a run, which looks a
    few times as it begins and as it ends, asks anew each time, because others write meanwhile.
    """
    return _progress(store, record_path(each))


def all_progress(store: Any) -> dict[int, Progress]:
    """Read the records of all passes, by the first level of each; none of a store half made."""
    found: dict[int, Progress] = {}
    try:
        group: Any = zarr.open_group(store, path=RECORD, mode="r", use_consolidated=False)
    except FileNotFoundError:
        return found
    for first in firsts(group.store, group.path):
        found[first] = _progress(store, f"{RECORD}/{first}")
    return found


def firsts(target: Store, path: str = RECORD) -> list[int]:
    """List the passes that a record tells of, by the first level of each."""

    async def collect() -> list[str]:
        return [name.strip("/") async for name in target.list_dir(path)]

    return sorted(int(name) for name in sync(collect()) if re.fullmatch(r"\d{1,3}", name))


def open_record(store: Any, path: str) -> tuple[zarr.Array[Any], tuple[str, ...]]:
    """Open the rows of a pass and read their columns, trusting nothing that the header says.

    Raises
    ------
    FileNotFoundError
        There is none.
    LayoutError
        A header that is damaged, or not one of a record.
    """
    try:
        array = zarr.open_array(store, path=path, mode="r")
        columns: Any = array.attrs["columns"]
        wrong = _wrong_columns(columns) or _wrong_shape(array, len(columns))
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        wrong = f"cannot be read ({error})"
    if wrong:
        raise LayoutError(f"{path}/zarr.json of {store} {wrong}; {_DAMAGED}")
    return array, tuple(columns)


_DAMAGED = (
    "expected the record of a run, as write_zarr makes it. It is damaged: mark it with "
    "verify(store, repair=True), then resume the run; or write the store again"
)


def _wrong_columns(columns: Any) -> str:
    """Say what is wrong with the names of the columns: each is one of a file inside the store."""
    if not isinstance(columns, list) or columns[:2] != [STATE, CLIPPED]:
        return "does not name its columns"
    names = [each for each in columns[2:] if each != ROW]
    if not all(isinstance(each, str) and WRITTEN.fullmatch(each) for each in names):
        return "names columns that no run writes"
    return "" if len({*columns}) == len(columns) else "names a column twice"


def _wrong_shape(array: zarr.Array[Any], columns: int) -> str:
    """Say what is wrong with the shape of a record, before anything of that shape is made."""
    shape = tuple(array.shape)
    if prod(shape) > GREATEST_RECORD:
        return f"claims the shape {shape}, and at most {GREATEST_RECORD} numbers are a record"
    rows = len(shape) in (4, 5) and array.chunks == (*(1 for _ in shape[:-1]), columns)
    plain = array.dtype == np.int64 and not array.compressors and array.shards is None
    if not (rows and plain and shape[-1] == columns):
        return f"claims {array.dtype} of shape {shape}, for {columns} columns"
    return ""


def _progress(store: Any, path: str) -> Progress:
    array, columns = open_record(store, path)
    return Progress(with_failing(read_rows(array), array), columns)


def read_rows(array: zarr.Array[Any], damage: tuple[type[Exception], ...] = DAMAGE) -> np.ndarray:
    """Read all rows; one of another length becomes one that cannot be right, and so is not done.

    A machine that lost its power may leave a file without its end.
    """
    if isinstance(array.store, LocalStore) and getattr(array.metadata, "codecs", None) == PLAIN:
        return _rows_of_files(array, Path(array.store.root) / array.path, damage)
    try:
        return np.array(array[...])
    except damage:
        rows = np.full(array.shape, NO_ROW)
        for index in np.ndindex(*array.shape[:-1]):
            with suppress(*damage):
                rows[index] = array[index]
        return rows


def _rows_of_files(
    array: zarr.Array[Any], folder: Path, damage: tuple[type[Exception], ...]
) -> np.ndarray:
    """Read rows from a disk without zarr, which takes half a millisecond for each, there or not."""
    rows = np.full(array.shape, array.fill_value)
    for index in np.ndindex(*array.shape[:-1]):
        try:
            content = (folder / array.metadata.encode_chunk_key((*index, 0))).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            continue
        except damage:
            content = b""
        whole = len(content) == rows[index].nbytes
        rows[index] = np.frombuffer(content, ROW_DTYPE) if whole else NO_ROW
    return rows


def content_digest(store: Any) -> str:
    """Name the pixels of a complete store: the digest of the checksums of all its shards."""
    digest = hashlib.sha256()
    for first, progress in all_progress(store).items():
        digest.update(f"{first} {progress.rows.shape}".encode())
        digest.update(progress.rows.astype(ROW_DTYPE).tobytes())
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
    return checksum(row[:-1].astype(ROW_DTYPE))


def is_done(row: np.ndarray) -> bool:
    """Whether a row says that its task is done, and is as it was written."""
    return int(row[0]) == DONE and row_checksum(row) == int(row[-1])


def mark_failing(array: zarr.Array[Any], index: tuple[int, ...]) -> None:
    """Leave a mark that a task was tried and given up, unless somebody has done it.

    A row is written once, by who has done the task. So the mark of a process that comes late cannot
    hide it: the row is looked at after the mark is there, and a run is completed after its rows.
    """
    key, content = _key_of_mark(array.path, index), default_buffer_prototype().buffer
    sync(array.store.set(key, content.from_bytes(b"tried and failed\n")))
    if is_done(np.asarray(array[index])):
        sync(array.store.delete(key))


def with_failing(rows: np.ndarray, array: zarr.Array[Any]) -> np.ndarray:
    """Say of the rows of tasks that are not done which were tried and given up."""
    for index in _marks(array.store, array.path, dims=rows.ndim - 1):
        inside = all(at < size for at, size in zip(index, rows.shape, strict=False))
        if inside and not rows[index].any():  # never written
            rows[index][0] = FAILING
    return rows


def remove_marks(target: Store) -> None:
    """Remove the marks of tasks that failed, once all are done; one that is left hides nothing."""
    for first in firsts(target):
        with suppress(OSError):  # another process removes the same, or its own mark just now
            sync(target.delete_dir(f"{RECORD}/{first}/{MARKS}"))


def _key_of_mark(path: str, index: tuple[int, ...]) -> str:
    return f"{path}/{MARKS}/{'.'.join(map(str, index))}"


def _marks(target: Store, path: str, *, dims: int) -> list[tuple[int, ...]]:
    """List the tasks that carry a mark."""

    async def collect() -> list[str]:
        return [name.strip("/") async for name in target.list_dir(f"{path}/{MARKS}")]

    named = re.compile(r"\d{1,9}" + r"\.\d{1,9}" * (dims - 1))
    names = sync(collect()) if target.supports_listing else []
    return sorted(tuple(map(int, each.split("."))) for each in names if named.fullmatch(each))
