"""Shards read back and compared with the record of the run; what differs is never decoded."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from zarr.abc.store import Store
from zarr.core.buffer import Buffer

from lift_xr.io.files import ABSENT, file_checksum
from lift_xr.io.record import UNREADABLE, checksum
from lift_xr.io.recorded import Array, Faults, Recorded
from lift_xr.io.seal import read_file
from lift_xr.io.verification import Index


class Reader:
    """Shards as they are stored, or None where they are not what was written.

    Parameters
    ----------
    target
        The store.
    passes
        By the first level of each.
    faults
        Where to note what is wrong.
    """

    def __init__(self, target: Store, passes: dict[int, Recorded], faults: Faults) -> None:
        self.target, self.passes, self.faults = target, passes, faults
        self.files: set[str] = set()  # looked at
        self.shards: set[tuple[str, Index]] = set()
        self._refused: set[tuple[str, Index]] = set()

    def shard(self, recorded: Recorded, path: str, index: Index) -> np.ndarray | None:
        """Read one shard: its files, then their values, each compared with the record."""
        array = recorded.arrays.get(path)
        if array is None or (path, index) in self._refused or not recorded.trusted(index):
            return None
        files = self._files(recorded, array, index)
        values = None if files is None else self._decoded(recorded, array, index, files)
        if values is not None and checksum(values) != recorded.progress.column(path)[index]:
            self.blame("values", "holds other values than were written", recorded, array, index)
            values = None
        if values is None:
            self._refused.add((path, index))
        self.shards.add((path, index))
        return values

    def blame(self, check: str, found: str, recorded: Recorded, array: Array, index: Index) -> None:
        """Note what is wrong with one shard; its file, where it is one."""
        files = list(recorded.files(array.path, index))
        file = files[0] if len(files) == 1 else ""
        self.faults.note(check, found, file=file, **recorded.place(array, index))

    def region(
        self, recorded: Recorded, array: Array, window: tuple[slice, ...]
    ) -> np.ndarray | None:
        """Read part of an array from whole shards; None where one of them is refused."""
        region = np.empty([each.stop - each.start for each in window], array.opened.dtype)
        for index in _shards_under(window, array.edges):
            stored = self.shard(recorded, array.path, index)
            if stored is None:
                return None
            there, here = _overlap(array.window(index), window)
            region[here] = stored[there]
        return region

    def _files(self, recorded: Recorded, array: Array, index: Index) -> dict[str, Buffer] | None:
        """Read files and compare their checksums; None if one of them is wrong."""
        files, right = {}, True
        sums = recorded.files(array.path, index)
        for key, expected in sums.items():
            content = read_file(self.target, key)
            found = file_checksum(content)
            if found != expected:
                right = False
                if not self.faults.blames(key):  # missing files are found without reading
                    where = recorded.place(array, index)
                    self.faults.note("files", difference(found, expected), file=key, **where)
            elif content is not None:
                files[key] = content
        self.files |= set(sums)
        return files if right else None

    def _decoded(
        self, recorded: Recorded, array: Array, index: Index, files: dict[str, Buffer]
    ) -> np.ndarray | None:
        try:
            return np.asarray(array.holding(files)[array.window(index)])
        except UNREADABLE as error:
            self.blame("values", f"cannot be decoded: {error}", recorded, array, index)
            return None


def difference(found: int, expected: int) -> str:
    """Say how a file differs from what was written, by the checksums of the two."""
    if found == ABSENT:
        return "is missing"
    if expected == ABSENT:
        return "was not written, for the shard is all nodata; expected no file"
    return f"has changed: its checksum is {found:08x}, and {expected:08x} was written"


def _shards_under(window: tuple[slice, ...], edges: Index) -> Iterator[Index]:
    """Yield the shards that a window touches."""
    pairs = list(zip(window, edges, strict=True))
    first = [each.start // edge for each, edge in pairs]
    count = [
        -(-each.stop // edge) - start for (each, edge), start in zip(pairs, first, strict=True)
    ]
    for step in np.ndindex(*count):
        yield tuple(start + by for start, by in zip(first, step, strict=True))


def _overlap(
    shard: tuple[slice, ...], window: tuple[slice, ...]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Find where two windows meet, counted from the corner of either."""
    there, here = [], []
    for one, other in zip(shard, window, strict=True):
        start, stop = max(one.start, other.start), min(one.stop, other.stop)
        there.append(slice(start - one.start, stop - one.start))
        here.append(slice(start - other.start, stop - other.start))
    return tuple(there), tuple(here)
