"""Files that rows of the record name and that are not there: their tasks are not done after all.

Disks for scratch are cleaned of old files, and a machine that lost its power leaves empty ones. A
shard without its file reads as nodata, so nothing later would notice. So a run looks before it
begins, and once more before it calls its store complete.

It does not look for files that are cut short, or full of zeros, as the same machine may leave of
what it wrote in its last half minute: to know them it would have to read them all, and to wait for
the disk at each shard would take longer than the rare repair. ``verify`` finds them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from zarr.abc.store import RangeByteRequest, Store
from zarr.core.buffer import default_buffer_prototype
from zarr.core.common import concurrent_map
from zarr.core.sync import sync  # nothing public calls a store's methods from plain code
from zarr.storage import LocalStore

from lift_xr.io.create import as_store, index_within
from lift_xr.io.files import ABSENT, CHUNKS, array_of_file, key_of_file, listed
from lift_xr.io.record import Progress, key_of_row, read_progress
from lift_xr.plan import Pass
from lift_xr.warn import warn_user

AT_ONCE = 32  # files of a remote store that are looked at together
Index = tuple[int, ...]


def forget_lost(store: Any, passes: Sequence[Pass]) -> list[tuple[int, Index]]:
    """Delete the rows of tasks of which a file is missing or empty; warn of such, and list them.

    What is coarser may have been made of the nodata that a lost file reads as: where any is lost,
    all levels of later passes are made again.

    Returns
    -------
    The first level of its pass and the place of its block, for every row that was deleted.
    """
    target, lost, tasks = as_store(store), list[str](), list[tuple[int, Index]]()
    for each in passes:
        progress = read_progress(store, each)
        files = _files(progress)
        gone = _gone(target, files)
        again = {*map(tuple, np.argwhere(progress.done))} if lost else {files[key] for key in gone}
        tasks += ((each.first, index) for index in sorted(again))
        lost += gone
    for task in reversed(tasks):  # the coarsest first, in case that this is cut short
        sync(target.delete(key_of_row(*task)))
    if lost:
        warn_user(
            f"{store} lacks {len(lost)} of the files that its run wrote, such as {lost[0]}: they "
            "are missing or empty. Each is written again by the part it belongs to, when that is "
            "run again, or by a run that is no part. Where something removes old files, as on "
            "disks for scratch, write to another place, or finish before it does"
        )
    return tasks


def _files(progress: Progress) -> dict[str, Index]:
    """Name the files that rows call written, and the task of each."""
    names = {at: name for at, name in enumerate(progress.columns) if CHUNKS in name}
    return {
        key_of_file(name, index_within(array_of_file(name), index)): index
        for index in map(tuple, np.argwhere(progress.done))
        for at, name in names.items()
        if progress.rows[index][at] != ABSENT
    }


def _gone(target: Store, keys: Collection[str]) -> list[str]:
    """Pick the files that are missing or empty; a listing may be old, so they are looked at."""
    there = _there(target, keys)
    suspects = [key for key in keys if key not in there]
    found = sync(concurrent_map([(target, key) for key in suspects], _holds, AT_ONCE))
    return [key for key, holds in zip(suspects, found, strict=True) if not holds]


async def _holds(target: Store, key: str) -> bool:
    """Whether there is a byte in a file."""
    content = await target.get(key, default_buffer_prototype(), RangeByteRequest(0, 1))
    return content is not None and len(content) > 0


def _there(target: Store, keys: Iterable[str]) -> set[str]:
    """Find those files that the store tells the size of, and tells quickly."""
    if isinstance(target, LocalStore):
        return {key for key in keys if _is_filled(Path(target.root) / key)}
    folders = sorted({array_of_file(key) + CHUNKS for key in keys})
    found = (each for folder in folders for each in listed(target, folder).items())
    return {key for key, told in found if told.get("size")}


def _is_filled(path: Path) -> bool:
    with suppress(OSError):
        return path.stat().st_size > 0
    return False
