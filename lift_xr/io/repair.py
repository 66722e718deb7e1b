"""Make damaged shards ones that were never written, so that resuming the run writes them again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import zarr
from zarr.core.sync import sync

from lift_xr.errors import LayoutError
from lift_xr.io.create import ROOT, as_store
from lift_xr.io.record import RECORD
from lift_xr.io.seal import LAST
from lift_xr.io.store import ABOUT
from lift_xr.io.verification import Failure


def mark_damaged(store: Any, failures: Sequence[Failure]) -> int:
    """Call a store incomplete, and what is damaged not done; return how many things that is.

    Parameters
    ----------
    store
        A path, a URL or a zarr store.
    failures
        What ``verify`` found.

    Raises
    ------
    LayoutError
        Where the root's own metadata are damaged: nothing tells any more which run to resume.
    """
    if any(each.file == ROOT and each.check == "metadata" for each in failures):
        raise LayoutError(
            f"{ROOT} of {store} is damaged, so the run that wrote the store cannot be resumed; "
            "expected damage to other files. Write it again with overwrite=True"
        )
    files = {each.file for each in failures if each.task is None and each.file not in ("", ROOT)}
    rows = {_row(*each.task) for each in failures if each.task is not None}
    if files or rows:
        _reopen(store)  # first: a repair cut short leaves a store that calls itself incomplete
    target = as_store(store)
    for key in sorted(files | rows):
        sync(target.delete(key))
    return len(files | rows)


def _row(first: int, index: tuple[int, ...]) -> str:
    return f"{RECORD}/{first}/c/{'/'.join(map(str, index))}/0"


def _reopen(store: Any) -> None:
    root = zarr.open_group(store, mode="r+", use_consolidated=False)
    told: Any = root.attrs[ABOUT]
    kept = {key: each for key, each in told.items() if key not in LAST}
    root.attrs[ABOUT] = {**kept, "complete": False}
