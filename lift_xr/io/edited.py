"""Were files of the mosaic edited while a run went on: everybody who takes part tells their state.

The run's token knows a few pixels of its inputs, wherever they lie, and no more: a mosaic is too
large to be read for that. Where it lies in files, their sizes and times are known too, and a file
that was written anew at its place may hold other pixels that nobody compares. A copy at another
place is the same mosaic; of object stores, and of what lies in memory, nothing is known.

What was seen lies beside the record as objects of no content but their names, until the store is
complete: nothing of a finished store depends on when its inputs were written.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import dask.array as da
import rasterio
import zarr
from zarr.abc.store import Store
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync  # nothing public calls a store's methods from plain code

from lift_xr.io.create import as_store
from lift_xr.io.place import innermost, sources
from lift_xr.io.record import RECORD
from lift_xr.io.store import local_path
from lift_xr.warn import warn_user

SEEN = f"{RECORD}/inputs"
NAMED = re.compile(r"([0-9a-f]{16})\.([0-9a-f]{16})")
MOST = 10_000  # files that are looked at one by one; of a folder of more, the folders in it
DERIVED = (".aux.xml", ".ovr")  # what viewers leave beside a raster


class Inputs:
    """The files that a run reads, and what those who take part in it have seen of them.

    Parameters
    ----------
    data
        What is written.
    store
        Where to.
    """

    def __init__(self, data: da.Array, store: Any) -> None:
        self.data, self.store = data, store
        self.seen = _states(data)
        self.warned = False

    def leave_word(self) -> None:
        """Tell others who take part in the run, now or later, of the files as they are."""
        target = as_store(self.store)
        for place, state in sorted(self.seen - _known(target)):
            content = default_buffer_prototype().buffer.from_bytes(b"seen\n")
            sync(target.set(f"{SEEN}/{place}.{state}", content))

    def are_edited(self) -> bool:
        """Whether files were written anew, since anybody has left word or since this one saw."""
        now = dict(_states(self.data))
        seen = self.seen | _known(as_store(self.store))
        return any(now.get(place, state) != state for place, state in seen)

    def warn(self) -> None:
        """Tell the user, once, what is known of files that were edited and what is not."""
        if self.warned:
            return
        self.warned = True
        warn_user(
            f"files of the mosaic were written anew since {self.store} was begun. The pixels that "
            "were compared are as they were; others may not be, and shards of both may stand side "
            "by side. If the mosaic was edited, begin again at another path; to be sure that it "
            'was not, use verify(store, msi=msi, shards="all") once the store is complete'
        )


def remove_word(target: Store) -> None:
    """Remove what was seen of the inputs, once all shards are done."""
    with suppress(OSError):  # another process removes the same just now
        sync(target.delete_dir(SEEN))


def _states(data: da.Array) -> frozenset[tuple[str, str]]:
    """Tell the files that a graph reads, as far as they are on this file system: (place, state)."""
    found = map(_path_of, map(innermost, sources(data)))
    paths = {str(Path(path).resolve()) for path in found if path and os.path.exists(path)}
    return frozenset((_digest(path), _state(path)) for path in paths)


def _path_of(source: Any) -> str | None:
    """Find where an array lies that is read: of Zarr, or of a raster as rioxarray opens it."""
    if isinstance(source, zarr.Array):
        root = local_path(source.store)
        return None if root is None else str(root / source.path)
    (path, *_) = getattr(getattr(source, "manager", None), "_args", [None])
    path = getattr(source, "path", path)
    return os.fspath(path) if isinstance(path, str | os.PathLike) else None


def _state(path: str) -> str:
    """Tell the state of a file, or of all files below a folder, by their sizes and times."""
    told = []
    for each in sorted(_below(path) if os.path.isdir(path) else _of_raster(path)):
        with suppress(OSError):  # gone in the meantime: then its folder has another time
            found = os.stat(each)
            size = 0 if os.path.isdir(each) else found.st_size
            told.append(f"{os.path.relpath(each, path)} {size} {found.st_mtime_ns}")
    return _digest("\n".join(told))


def _below(folder: str) -> list[str]:
    """List folders, and files unless they are too many: who replaces one changes its folder."""
    walked = list(os.walk(folder))
    folders = [place for place, _, _ in walked]
    files = [os.path.join(place, name) for place, _, names in walked for name in names]
    return folders + files if len(files) <= MOST else folders


def _of_raster(path: str) -> Iterator[str]:
    """Name the files of a raster: of a virtual one, those that it is made of."""
    files = [path]
    with suppress(rasterio.errors.RasterioIOError), rasterio.open(path) as opened:
        files += opened.files
    return (each for each in {*files} if not each.endswith(DERIVED))


def _known(target: Store) -> frozenset[tuple[str, str]]:
    """List what anybody has left word of; nothing of stores that cannot list."""

    async def collect() -> list[str]:
        return [name.strip("/") async for name in target.list_dir(SEEN)]

    found = map(NAMED.fullmatch, sync(collect()) if target.supports_listing else [])
    return frozenset((each[1], each[2]) for each in found if each)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
