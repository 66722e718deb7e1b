"""A finished store's small files, metadata and coordinates, sealed so that none changes unseen.

The checksums of all of them are kept beside the record; the root holds the digest of that list,
and of itself.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.abc.store import Store
from zarr.core.buffer import Buffer, default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import LocalStore

from lift_xr.io.create import as_store
from lift_xr.io.files import ABSENT, CHUNKS, array_of_file, file_checksum
from lift_xr.io.record import RECORD, content_digest
from lift_xr.io.root import LIST, ROOT, expect_still
from lift_xr.io.store import ABOUT, BESIDE, is_beside

FILES = "files"  # the attribute of the record's group that holds the list
SEAL = "seal"
LAST = ("content", "metadata", SEAL)  # what the root says last, once its run has ended
UNSEALED = "0" * 64  # stands for the root's own digest while it is taken


def list_files(store: Any) -> None:
    """Keep the checksums of all metadata and coordinates beside the record."""
    target = as_store(store)
    group = zarr.open_group(store, path=RECORD, mode="r+", use_consolidated=False)
    written = set(_names_in_record(group))
    sums = {key: file_checksum(read_file(target, key)) for key in _keys(store, written)}
    group.attrs[FILES] = {key: sums[key] for key in sorted(sums) if sums[key] != ABSENT}
    _to_disk(target, LIST)  # before the root is replaced: each is what the other is made again of


def reopen(store: Any, *, forget: str = "", **told: str) -> None:
    """Call a store incomplete; tell what else is to be known of its run, or no more."""
    root = zarr.open_group(store, mode="r+", use_consolidated=False)
    before: Any = root.attrs[ABOUT]
    kept = {key: each for key, each in before.items() if key not in (*LAST, forget)}
    root.attrs[ABOUT] = {**kept, "complete": False, **told}


def close(store: Any, consolidated: Buffer, run: str) -> None:
    """Consolidate a store and call it complete, in one step: the last thing a run writes.

    Parameters
    ----------
    store
        A path, a URL or a zarr store.
    consolidated
        Its root's metadata, with those of all that lies below.
    run
        Whose store it must still be, to the last moment.
    """
    target = as_store(store)
    root = json.loads(consolidated.to_bytes())
    listed = hashlib.sha256(_expect(read_file(target, LIST)).to_bytes()).hexdigest()
    told = root["attributes"][ABOUT]
    kept = {key: each for key, each in told.items() if key not in LAST}  # to be said in this order
    root["attributes"][ABOUT] = {
        **kept,
        "complete": True,
        "content": content_digest(store),
        "metadata": listed,
        SEAL: UNSEALED,
    }
    unsealed = json.dumps(root, indent=2)
    seal = hashlib.sha256(unsealed.encode()).hexdigest()
    sealed = unsealed.replace(f'"{SEAL}": "{UNSEALED}"', f'"{SEAL}": "{seal}"')
    expect_still(target, run)
    write_file(target, ROOT, sealed.encode())
    _to_disk(target, ROOT)


def is_sealed(root: bytes) -> bool:
    """Whether the root's metadata are, byte by byte, what a run left."""
    try:
        seal = str(json.loads(root)["attributes"][ABOUT][SEAL])
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
    unsealed = root.replace(f'"{SEAL}": "{seal}"'.encode(), f'"{SEAL}": "{UNSEALED}"'.encode())
    return hashlib.sha256(unsealed).hexdigest() == seal


def read_file(target: Store, key: str) -> Buffer | None:
    """Read one object of a store; None where it is not there."""
    return sync(target.get(key, default_buffer_prototype()))


def write_file(target: Store, key: str, content: bytes) -> None:
    """Write one object of a store."""
    sync(target.set(key, default_buffer_prototype().buffer.from_bytes(content)))


def _to_disk(target: Store, key: str) -> None:
    """Have a disk keep an object now: a machine without power would leave it empty."""
    if isinstance(target, LocalStore):
        with suppress(OSError), (Path(target.root) / key).open("rb") as file:
            os.fsync(file.fileno())


def _keys(store: Any, written: set[str]) -> Iterator[str]:
    """Name every object but the root, the list itself, and what the record answers for."""
    root = zarr.open_group(store, mode="r", use_consolidated=False)
    for path, node in root.members(max_depth=None):
        if is_beside(path) and path != BESIDE:
            continue  # sealed by itself, and its root answers for it
        if f"{path}/{ROOT}" != LIST:
            yield f"{path}/{ROOT}"
        if isinstance(node, zarr.Array) and path not in written and not path.startswith(RECORD):
            grid = zip(node.shape, node.shards or node.chunks, strict=True)
            for index in np.ndindex(*(ceil(size / edge) for size, edge in grid)):
                yield f"{path}/{node.metadata.encode_chunk_key(index)}"


def _names_in_record(group: zarr.Group) -> Iterator[str]:
    """Name the arrays whose files the record sums up."""
    for _, record in group.arrays():
        columns: Any = record.attrs["columns"]
        yield from (array_of_file(name) for name in columns if CHUNKS in name)


def _expect(content: Buffer | None) -> Buffer:
    """What is there unless another process takes it away, which ``finalize`` tries again after."""
    if content is None:
        raise FileNotFoundError("the metadata of the store are gone; expected to complete it")
    return content
