"""Make damaged shards ones that were never written, so that resuming the run writes them again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from zarr.abc.store import Store
from zarr.core.sync import sync

from lift_xr.errors import LayoutError
from lift_xr.io.create import as_store, remove_all
from lift_xr.io.embed import MODEL
from lift_xr.io.record import key_of_row
from lift_xr.io.root import DIFFERS, LIST, ROOT
from lift_xr.io.seal import read_file, reopen, write_file
from lift_xr.io.spare import SPARE, attrs_of
from lift_xr.io.store import BESIDE, is_beside, place_beside
from lift_xr.io.verification import Failure


def mark_damaged(store: Any, failures: Sequence[Failure]) -> int:
    """Call a store incomplete, and what is damaged not done; return how many things that is.

    Of a model nothing is left where any of it is damaged: half a model is none, and it is to be
    given or trained again. A damaged root is made again from the copy beside the record. The cube
    of a recipe is marked as the store of its own that it is; where its root is damaged, all of it
    is removed, to be written again.

    Parameters
    ----------
    store
        A path, a URL or a zarr store.
    failures
        What ``verify`` found.

    Raises
    ------
    LayoutError
        Where the root is damaged, and so is the copy: nothing tells any more which run to resume.
    """
    rootless = _is_rootless(failures)
    spare = _spare(store) if rootless else None
    beside = [outside(each) for each in failures if is_beside(each.path)]
    keys = _keys(each for each in failures if not is_beside(each.path))
    if not rootless and not keys and not _is_rootless(beside) and not _keys(beside):
        return 0
    # First: a repair cut short leaves a store that calls itself incomplete.
    if spare is None:
        damaged = any(each.check == "files" for each in failures)  # and may be all that differed
        reopen(store, forget=DIFFERS if damaged else "")
    else:
        write_file(as_store(store), ROOT, spare)
    _delete(as_store(store), keys)
    marked = len(keys) + rootless
    if _is_rootless(beside):
        remove_all(place_beside(store))
        return marked + 1
    return marked + (mark_damaged(place_beside(store), beside) if beside else 0)


def inside(failure: Failure) -> Failure:
    """Say of a failure in the store that lies in a store where it is, seen from the outer one."""
    file = f"{BESIDE}/{failure.file}" if failure.file else ""
    return replace(failure, path=f"{BESIDE}/{failure.path}".rstrip("/"), file=file)


def outside(failure: Failure) -> Failure:
    """Turn back what ``inside`` did."""
    path, file = (each.removeprefix(BESIDE).lstrip("/") for each in (failure.path, failure.file))
    return replace(failure, path=path, file=file)


def is_of_model(failure: Failure) -> bool:
    """Whether it is a file of the model that is damaged."""
    return failure.file.startswith(f"{MODEL}/")


def _is_rootless(failures: Iterable[Failure]) -> bool:
    """Whether the root is damaged, which tells the run."""
    return any(each.file == ROOT and each.check == "metadata" for each in failures)


def _spare(store: Any) -> bytes:
    """Make the root of an incomplete store from the copy beside the record."""
    content = read_file(as_store(store), LIST)
    try:
        told = json.loads(b"{}" if content is None else content.to_bytes())
        attrs = attrs_of(told["attributes"][SPARE])
    except (ValueError, KeyError, TypeError, RecursionError):
        attrs = None
    if attrs is None:
        raise LayoutError(
            f"{ROOT} of {store} is damaged, and so is the copy of it in {LIST}, so the run that "
            "wrote the store cannot be resumed; expected one of them. Write it again with "
            "overwrite=True"
        )
    root = {"attributes": attrs, "zarr_format": 3, "node_type": "group"}
    return json.dumps(root, indent=2).encode()


def _keys(failures: Iterable[Failure]) -> set[str]:
    """Name what is to be deleted: rows of the record, and the files that no task writes."""
    return {
        each.file if each.task is None else key_of_row(*each.task)
        for each in failures
        if each.task is not None or each.file not in ("", ROOT)
    }


def _delete(target: Store, keys: set[str]) -> None:
    if any(key.startswith(f"{MODEL}/") for key in keys):
        sync(target.delete(f"{MODEL}/{ROOT}"))  # first: without it there is no model
        sync(target.delete_dir(MODEL))
    for key in sorted(keys):
        sync(target.delete(key))
