"""Everything of a store but its pixels: is it all there, and is it what the run left."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from zarr.abc.store import Store
from zarr.core.buffer import Buffer
from zarr.core.sync import sync

from lift_xr.errors import LayoutError
from lift_xr.io.files import ABSENT, CHUNKS, file_checksum
from lift_xr.io.record import DONE, FAILING, RECORD, content_digest, firsts
from lift_xr.io.recorded import Faults, Recorded, read_record
from lift_xr.io.reread import difference
from lift_xr.io.root import LIST, ROOT
from lift_xr.io.seal import FILES, is_sealed, read_file
from lift_xr.io.store import ABOUT, BESIDE, is_beside, local_path


def expect_store(target: Store, store: Any) -> None:
    """Raise unless ``write_zarr`` began this store: a record lies in it, however damaged."""
    path = local_path(store)
    if path is not None and not path.exists():
        raise FileNotFoundError(f"{path} does not exist; expected a Zarr store. Check the path")
    if read_file(target, LIST) is None and about(target) is None:
        raise LayoutError(
            f"{store} is no store that write_zarr began; expected one, whose record tells what was "
            "written. Look at it with open_scene(store)"
        )


def about(target: Store) -> dict[str, Any] | None:
    """Read what the root says of the run; None where it says nothing that can be read."""
    found = _attributes(target, ROOT).get(ABOUT)
    return found if isinstance(found, dict) else None


def check_metadata(target: Store, faults: Faults) -> int:
    """Compare metadata and coordinates with what the run left; return how many files they are."""
    told = about(target) or {}
    if told and told.get("complete") is not True:
        return 0  # sealed by the last act of a run
    root = read_file(target, ROOT)
    if root is None or not is_sealed(root.to_bytes()):
        found = "is missing" if root is None else "is not what the run left, or was edited after it"
        faults.note("metadata", found, file=ROOT)
    listed = read_file(target, LIST)
    if listed is None or not (_is_listed(listed, told) or faults.blames(ROOT)):
        found = "is missing" if listed is None else "is not what the run left"
        faults.note("metadata", found, path=RECORD, file=LIST)
        return 2
    files = _attributes(target, LIST).get(FILES, {})
    for key, expected in files.items():
        found_sum = file_checksum(read_file(target, key))
        if found_sum != expected:
            path = key.rsplit("/", 1)[0].split(CHUNKS)[0]
            faults.note("metadata", difference(found_sum, expected), path=path, file=key)
    if not faults.found:
        _check_consolidated(target, faults)
    return len(files) + 2


def _is_listed(listed: Buffer, told: dict[str, Any]) -> bool:
    return hashlib.sha256(listed.to_bytes()).hexdigest() == told.get("metadata")


def _check_consolidated(target: Store, faults: Faults) -> None:
    """Compare what the root says of every array with what the array says of itself."""
    root = _parsed(target, ROOT)
    told = (root.get("consolidated_metadata") or {}).get("metadata", {})
    for path, consolidated in told.items():
        if is_beside(path) and path != BESIDE:
            continue  # verified as a store of its own
        here = _parsed(target, f"{path}/{ROOT}")
        here.pop("consolidated_metadata", None)  # of a store in the store, for its own readers
        if any(here.get(key) != consolidated.get(key) for key in here):
            file = f"{path}/{ROOT}"
            faults.note("metadata", "says otherwise than the root", path=path, file=file)


def read_passes(target: Store, faults: Faults) -> dict[int, Recorded]:
    """Read the record of every pass, but of those whose metadata are damaged."""
    found = {first: read_record(target, first, faults) for first in firsts(target)}
    return {first: each for first, each in found.items() if each is not None}


def check_record(target: Store, store: Any, faults: Faults) -> None:
    """Compare the whole record with the digest that the root keeps of it."""
    told = about(target) or {}
    if told.get("complete") is not True or faults.found:
        return  # what is damaged has been named already
    if content_digest(store) != told.get("content"):
        faults.note(
            "record", "is not, as a whole, what the run left: rows are exchanged", path=RECORD
        )


def check_complete(target: Store, passes: dict[int, Recorded], faults: Faults) -> int:
    """Ask whether every task is done and every file there; return how many files should be."""
    told = about(target)
    if told is not None and told.get("complete") is not True:
        faults.note("complete", "is not complete: its run was interrupted, or goes on", file=ROOT)
    return sum(_check_pass(target, each, faults) for each in passes.values())


def _check_pass(target: Store, recorded: Recorded, faults: Faults) -> int:
    first, over = recorded.first, (about(target) or {}).get("complete") is True
    states = recorded.progress.states
    for index in recorded.tasks:
        state, row = states[index], recorded.key_of_row(index)
        if state != DONE and not faults.blames(row):
            said = "was tried and failed" if state == FAILING else "is not done"
            file = row if over else ""
            faults.note("complete", said, file=file, level=first, index=index, task=(first, index))
    return sum(_check_files(target, recorded, path, faults) for path in recorded.arrays)


def _check_files(target: Store, recorded: Recorded, path: str, faults: Faults) -> int:
    """Compare the files of one array with those that the record names."""
    done = [index for index in recorded.tasks if recorded.trusted(index)]
    expected = {
        key: (sum_, index) for index in done for key, sum_ in recorded.files(path, index).items()
    }
    if not target.supports_listing:
        return len(expected)
    there = set(_listed(target, path + CHUNKS))
    for key, (sum_, index) in expected.items():
        if (sum_ == ABSENT) == (key in there):
            found = difference(ABSENT if sum_ != ABSENT else 0, sum_)
            faults.note("complete", found, file=key, **recorded.place(recorded.arrays[path], index))
    if len(done) == recorded.progress.done.size:
        for key in sorted(there - set(expected)):
            faults.note(
                "complete", "belongs to no shard; expected no such file", file=key, path=path
            )
    return sum(sum_ != ABSENT for sum_, _ in expected.values())


def _listed(target: Store, prefix: str) -> Iterator[str]:
    """Name the chunks and shards below a prefix, and nothing that others left there."""

    async def collect() -> list[str]:
        return [key async for key in target.list_prefix(f"{prefix}/")]

    for key in sync(collect()):
        if all(part.isdigit() for part in key.removeprefix(f"{prefix}/").split("/")):
            yield key


def _attributes(target: Store, key: str) -> dict[str, Any]:
    """Read the attributes of a node, none where it is missing or damaged."""
    found = _parsed(target, key).get("attributes")
    return found if isinstance(found, dict) else {}


def _parsed(target: Store, key: str) -> dict[str, Any]:
    content = read_file(target, key)
    try:
        found = json.loads(b"{}" if content is None else content.to_bytes())
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
