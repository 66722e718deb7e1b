"""What the root of a store says of the run that writes it; and where it is damaged, what to do."""

from __future__ import annotations

import json
from typing import Any

import zarr
from zarr.abc.store import Store
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync  # nothing public calls a store's methods from plain code

from lift_xr.errors import LayoutError
from lift_xr.io.record import RECORD
from lift_xr.io.spare import SPARE
from lift_xr.io.store import ABOUT

ROOT = "zarr.json"
LIST = f"{RECORD}/{ROOT}"  # beside it: a copy of what it says, and what all small files sum up to
DIFFERS = "differs"  # where parts of a run made different values: which of them, for people
# What zarr raises. Not every RuntimeError: a connection that was closed says nothing of the root.
DAMAGED = (ValueError, TypeError, KeyError, AttributeError, RecursionError)


def read_root(store: Any) -> dict[str, Any] | None:
    """Read what the root says of its run; None where no run of this version began a store.

    Raises
    ------
    LayoutError
        Where there is a record of a run, and the root is damaged or missing.
    """
    told = _attribute(store, "", ABOUT)
    if isinstance(told, dict) and "run" in told and isinstance(told.get("settings"), dict):
        return told
    if _attribute(store, RECORD, SPARE) is not None:
        raise damaged(store)
    return None


class Replaced(LayoutError):
    """What a run writes is not its store any more."""


def expect_still(target: Store, run: str) -> None:
    """Raise Replaced unless a store is still that of a run: others may remove it, or begin anew.

    Nor does any part of a run go on once one has found that they make different values. What the
    store itself raises says nothing of all that: it goes on as it is, for tasks to try again.
    """
    content = sync(target.get(ROOT, default_buffer_prototype()))
    told = {} if content is None else _told(content.to_bytes())
    if (found := told.get("run")) != run:
        raise Replaced(
            f"{target} is not the store of this run any more: "
            f"{'it was removed or damaged' if found is None else 'another run has begun there'} "
            "while this one went on; expected nobody else to write there. Nothing more is written. "
            "Give every run a place of its own"
        )
    if DIFFERS in told:
        raise Replaced(told[DIFFERS])


def _told(root: bytes) -> dict[str, Any]:
    """Read what a root tells of its run; nothing where it is damaged."""
    try:
        found = json.loads(root)["attributes"][ABOUT]
    except DAMAGED:
        return {}
    return found if isinstance(found, dict) else {}


def damaged(store: Any) -> LayoutError:
    """Say that a root is, and how to make it again."""
    return LayoutError(
        f"zarr.json of {store} is damaged or missing, though a run wrote the store; expected what "
        "the run left there. Make it again from its copy with verify(store, repair=True), then "
        "resume the run"
    )


def _attribute(store: Any, path: str, name: str) -> Any:
    try:
        group = zarr.open_group(store, path=path or None, mode="r", use_consolidated=False)
    except (FileNotFoundError, *DAMAGED):
        return None
    return group.attrs.get(name)
