"""Were files of the mosaic edited while a run went on: everybody who takes part tells their state.

The run's token knows a few pixels of its inputs, wherever they lie, and no more: a mosaic is too
large to be read for that. Where it lies in files, their sizes and times are known too, and a file
that was written anew at its place may hold other pixels that nobody compares. A copy at another
place is the same mosaic; of object stores, and of what lies in memory, nothing is known.

What was seen lies beside the rows of the record, as objects that say all by their names, until the
store is complete: nothing of a finished store depends on when its inputs were written.
"""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from stat import S_ISDIR
from typing import Any

import dask.array as da
import rasterio
import zarr
from zarr.abc.store import Store
from zarr.core.sync import sync  # nothing public calls a store's methods from plain code

from lift_xr.io.create import as_store
from lift_xr.io.place import innermost, raster_path, sources
from lift_xr.io.record import RECORD
from lift_xr.io.seal import write_file
from lift_xr.io.store import local_path
from lift_xr.warn import warn_user

SEEN = f"{RECORD}/0/inputs"
NAMED = re.compile(r"([0-9a-f]{16})\.([0-9a-f]{16})")
MOST = 1000  # files that are looked at one by one: parts are many, and their file systems shared
TRIES = 3  # to leave word: who completes the store takes what is half written for debris
VIRTUAL = ".vrt"
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
        """Tell others who take part in the run, now or later, of the files as this one saw them."""
        target = as_store(self.store)
        for place, state in sorted(self.seen - _known(target)):
            _set(target, f"{SEEN}/{place}.{state}", b"seen\n")

    def differ(self) -> bool:
        """Whether others have seen files otherwise than this one has."""
        return _differ(_known(as_store(self.store)), dict(self.seen))

    def are_edited(self) -> bool:
        """Whether files were written anew since anybody saw them; looks at them again."""
        return _differ(self.seen | _known(as_store(self.store)), dict(_states(self.data)))

    def warn(self) -> None:
        """Tell the user, once, what is known of files that were edited and what is not."""
        if self.warned:
            return
        self.warned = True
        warn_user(
            f"files of the mosaic were written anew since {self.store} was begun. Shards of both "
            "may stand side by side: no more than a few pixels are compared. If the mosaic was "
            "edited, begin again at another path; to be sure that it was not, look with "
            "verify(store, msi=msi, shards='all') once the store is complete"
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
    path = getattr(source, "path", None)
    return os.fspath(path) if isinstance(path, str | os.PathLike) else raster_path(source)


def _state(path: str) -> str:
    """Tell the state of a file, or of all files below a folder, by their sizes and times."""
    told = []
    for each in sorted(_below(path) if os.path.isdir(path) else _of_raster(path)):
        with suppress(OSError):  # gone in the meantime: then its folder has another time
            found = os.stat(each)
            size = 0 if S_ISDIR(found.st_mode) else found.st_size
            told.append(f"{os.path.relpath(each, path)} {size} {found.st_mtime_ns}")
    return _digest("\n".join(told))


def _below(folder: str) -> list[str]:
    """List folders, and files unless they are too many: who replaces one changes its folder."""
    walked = list(os.walk(folder))
    folders = [place for place, _, _ in walked]
    files = [os.path.join(place, name) for place, _, names in walked for name in names]
    return folders + files if len(files) <= MOST else folders


def _of_raster(path: str) -> set[str]:
    """Name the files of a raster: of a virtual one, the first that it is made of, however deep."""
    found: set[str] = set()
    left = [path]
    while left and len(found) < MOST:
        each = left.pop()
        found.add(each)
        if each.lower().endswith(VIRTUAL):
            left += [inner for inner in _made_of(each) if inner not in found]
    return found


def _made_of(path: str) -> list[str]:
    """List the files that GDAL opens for a virtual raster."""
    with suppress(rasterio.errors.RasterioIOError), warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path) as opened:
            return [each for each in opened.files if not each.endswith(DERIVED)]
    return []


def _differ(seen: Iterable[tuple[str, str]], now: Mapping[str, str]) -> bool:
    return any(now.get(place, state) != state for place, state in seen)


def _known(target: Store) -> frozenset[tuple[str, str]]:
    """List what anybody has left word of; nothing of stores that cannot list."""

    async def collect() -> list[str]:
        return [name.strip("/") async for name in target.list_dir(SEEN)]

    found = map(NAMED.fullmatch, sync(collect()) if target.supports_listing else [])
    return frozenset((each[1], each[2]) for each in found if each)


def _set(target: Store, key: str, content: bytes) -> None:
    for attempt in range(1, TRIES + 1):
        try:
            write_file(target, key, content)
            return
        except FileNotFoundError:
            if attempt == TRIES:
                raise


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
