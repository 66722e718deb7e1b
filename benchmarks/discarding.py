"""A store for disks too small for the result: it checks full resolution as written, and drops it.

What is written is written: the product encodes every shard, puts it on disk and enters it in its
record. When the entry comes, the shard is read back from disk, decoded, and its checksum compared
with the one in the entry; a difference fails the task. Then the file goes, and a line in a log says
how large it was. A few whole shards are kept, for whoever wants to look at them.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import zarr
from costs import cpu_seconds, peak_mib
from zarr.abc.store import ByteRequest, RangeByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore, WrapperStore

RECORD = "_progress/0"
STATE, DONE = 0, 1  # the first column of an entry, and what it says of a task that is done

_BEGAN = time.monotonic()
# Not zarr's own threads, which the check waits for.
_CHECKS = ThreadPoolExecutor(16, "check")


class Damaged(RuntimeError):
    """What is on disk is not what the task says it wrote."""


class Discarding(WrapperStore[LocalStore]):
    """A folder that keeps everything but the arrays at ``dropped``.

    Parameters
    ----------
    root
        The folder; the log is a file beside it.
    dropped
        Paths of the arrays whose shards are checked and dropped.
    kept
        How many tasks keep their shards all the same.
    checked
        Without it, what is written is dropped unread: for runs whose own costs are asked for.
    read_only
        As zarr has it.
    """

    def __init__(
        self,
        root: Path | str,
        *,
        dropped: tuple[str, ...] = ("0/reflectance",),
        kept: int = 8,
        checked: bool = True,
        read_only: bool = False,
    ) -> None:
        super().__init__(LocalStore(root, read_only=read_only))
        self.root, self.dropped, self.kept, self.checked = Path(root), dropped, kept, checked

    def with_read_only(self, read_only: bool = False) -> Discarding:
        """The same store, to read or to write."""
        told: dict[str, Any] = {"dropped": self.dropped, "kept": self.kept}
        return Discarding(self.root, **told, checked=self.checked, read_only=read_only)

    def _with_store(self, store: LocalStore) -> Discarding:
        return self.with_read_only(store.read_only)

    async def set(self, key: str, value: Buffer) -> None:
        """Store a value; when a task enters that it is done, check its shards and drop them."""
        if key.startswith(f"{RECORD}/c/"):
            index = tuple(int(part) for part in key.split("/")[3:-1])
            entry = np.frombuffer(value.to_bytes(), "<i8")
            loop, drop = asyncio.get_running_loop(), self._check_and_drop
            await loop.run_in_executor(_CHECKS, drop if self.checked else self._drop, index, entry)
        await super().set(key, value)

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Read a value; of a shard that was dropped a byte: a run looks whether all is there."""
        found = await super().get(key, prototype, byte_range)
        dropped = any(key.startswith(f"{path}/c/") for path in self.dropped)
        if found is None and dropped and byte_range == RangeByteRequest(0, 1):
            return prototype.buffer.from_bytes(b"-")
        return found

    @property
    def log(self) -> Path:
        """One line of JSON for every shard that was checked."""
        return log_beside(self.root)

    def _drop(self, index: tuple[int, ...], _: np.ndarray) -> None:
        for path in self.dropped:
            (self.root / path / "c" / Path(*map(str, index))).unlink(missing_ok=True)

    def _check_and_drop(self, index: tuple[int, ...], entry: np.ndarray) -> None:
        if entry[STATE] != DONE:
            return
        folder = LocalStore(self.root)
        columns: Any = zarr.open_array(folder, path=RECORD, mode="r").attrs["columns"]
        for path in self.dropped:
            start = time.perf_counter()
            array = zarr.open_array(folder, path=path, mode="r")
            found = crc32(np.ascontiguousarray(array[_window(array, index)]))
            told = int(entry[columns.index(path)])
            if found != told:
                raise Damaged(f"shard {index} of {path} has checksum {found}; expected {told}")
            shard = self.root / path / "c" / Path(*map(str, index))
            size = shard.stat().st_size if shard.exists() else 0  # nodata leaves no file
            self._tell(path, index, size, time.perf_counter() - start)
            if index not in sampled(_grid(array), self.kept):
                shard.unlink(missing_ok=True)

    def _tell(self, path: str, index: tuple[int, ...], size: int, seconds: float) -> None:
        line = {"array": path, "shard": index, "bytes": size, "check_s": round(seconds, 4)}
        line |= {"pid": os.getpid(), "wall_s": time.monotonic() - _BEGAN, "cpu_s": cpu_seconds()}
        line |= {"peak_mib": peak_mib()}
        with self.log.open("a") as log:
            log.write(json.dumps(line) + "\n")


def log_beside(root: Path) -> Path:
    """Where the log of a store lies."""
    return root.with_name(f"{root.stem}-discarded.jsonl")


def discarded(root: Path) -> dict[tuple[str, tuple[int, ...]], dict[str, Any]]:
    """The last line of every shard in the log, by its array and its place."""
    return {(line["array"], tuple(line["shard"])): line for line in _lines(root)}


def attempts(root: Path) -> dict[int, dict[str, Any]]:
    """The last line of every process in the log: how far it came, if nothing else says so."""
    return {line["pid"]: line for line in _lines(root)}


def _lines(root: Path) -> list[dict[str, Any]]:
    log = log_beside(root)
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def sampled(grid: tuple[int, ...], count: int) -> frozenset[tuple[int, ...]]:
    """The tasks whose shards are kept: the same ones for everyone who asks."""
    everyone = [*np.ndindex(grid)]
    chosen = random.Random(0).sample(everyone, min(count, len(everyone)))
    return frozenset(chosen)


def _grid(array: zarr.Array[Any]) -> tuple[int, ...]:
    edges = array.shards or array.chunks
    return tuple(-(-size // edge) for size, edge in zip(array.shape, edges, strict=True))


def _window(array: zarr.Array[Any], index: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(_windows(array, index))


def _windows(array: zarr.Array[Any], index: tuple[int, ...]) -> Iterator[slice]:
    edges = array.shards or array.chunks
    for place, edge, size in zip(index, edges, array.shape, strict=True):
        yield slice(place * edge, min((place + 1) * edge, size))
