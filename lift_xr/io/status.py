"""How far a run is, read from its record while it goes on; no pixel is touched."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from stat import S_ISREG
from typing import Any

import numpy as np

from lift_xr.errors import LayoutError
from lift_xr.io.clipping import share_clipped
from lift_xr.io.create import as_store
from lift_xr.io.files import listed
from lift_xr.io.pace import Pace, pace_of
from lift_xr.io.record import DONE, FAILING, RECORD, all_progress
from lift_xr.io.root import DIFFERS, ROOT, read_root
from lift_xr.io.store import local_path

WRITTEN = ("mtime", "LastModified", "last_modified", "updated", "created")  # as servers call it


@dataclass(frozen=True)
class Status:
    """How far a run is.

    Parameters
    ----------
    done, failing, left, total
        Tasks, one a shard of full resolution and a few for the overviews. Those that are failing
        were tried and given up; to resume tries them again. They are not among those left.
    rate
        Tasks a second, lately, without the pauses between. None where it cannot be told: of fewer
        than two tasks, and of stores that do not know when an object was written, such as those in
        memory. Of the first tasks, which threads end together: as if they were one round of many.
    eta
        Seconds until all are done if they go on to end as they did lately; None where that is not
        known. Where nobody is at work, and not for a break of minutes: if somebody began now.
    idle
        Seconds since the last task was done; None where that is not known.
    complete
        Whether the store is: its metadata consolidated, ready for readers.
    clipped
        The share of the values written so far that lay beyond what the packing can hold, and were
        stored as its limits: 0 to 1.
    differs
        Which parts of the run were found to make different values, so that none goes on; None where
        none were.
    failed
        Level and place in the grid of blocks of each that is failing, as in ``WriteFailed.failed``.
    """

    done: int
    failing: int
    left: int
    total: int
    rate: float | None
    eta: float | None
    idle: float | None
    complete: bool
    clipped: float = 0.0
    differs: str | None = None
    failed: tuple[tuple[int, tuple[int, ...]], ...] = ()


def status(store: Any) -> Status:
    """Say how far the run is that writes a store, from any process and at any time.

    Parameters
    ----------
    store
        A path, a URL or a zarr store that ``write_zarr`` began. Of a recipe whose model looks at
        the cube again, the cube is written first, and its few tasks are not counted.

    Raises
    ------
    FileNotFoundError
        Nothing is there.
    LayoutError
        It is no such store.
    """
    about = _expect_run(store)
    complete = about.get("complete") is True
    progress = all_progress(store)
    states = [each.states for each in progress.values()]
    done, failing = (
        sum(int((each == state).sum()) for each in states) for state in (DONE, FAILING)
    )
    total = sum(each.size for each in states)
    left = total - done - failing
    begun, times = _moments(store)
    idle = max(0.0, time.time() - times[-1]) if times else None  # of another clock, maybe
    pace = pace_of(times, begun=begun)
    return Status(
        done=done,
        failing=failing,
        left=left,
        total=total,
        rate=pace.rate if pace else None,
        eta=0.0 if complete else _eta(pace, left + failing, idle),
        idle=idle,
        complete=complete,
        clipped=share_clipped(store, progress[0]) if done and 0 in progress else 0.0,
        differs=about.get(DIFFERS),
        failed=tuple(
            (level, tuple(index))
            for level, each in sorted(progress.items())
            for index in np.argwhere(each.states == FAILING).tolist()
        ),
    )


def _expect_run(store: Any) -> dict[str, Any]:
    """Read what the root tells of the run, or raise if it is none that ``write_zarr`` began."""
    path = local_path(store)
    if path is not None and not path.exists():
        raise FileNotFoundError(f"{path} does not exist; expected a Zarr store. Check the path")
    about = read_root(store)
    if about is None:
        raise LayoutError(
            f"{store} is no store that write_zarr began; expected one, whose record tells how far "
            "it is. Look at it with open_scene(store)"
        )
    return about


def _eta(pace: Pace | None, left: int, idle: float | None) -> float | None:
    if pace is None or idle is None:
        return None
    return pace.seconds_for(left, idle=idle) if left else 0.0


def _moments(store: Any) -> tuple[float | None, list[float]]:
    """Read when the record was made, and each of its rows, the earliest first, as far as known."""
    found = [(name.rsplit("/", 1)[-1], moment) for name, moment in _written(store)]
    begun = min((moment for name, moment in found if name == ROOT), default=None)
    return begun, sorted(moment for name, moment in found if name.isdigit())


def _written(store: Any) -> Iterator[tuple[str, float]]:
    """Yield the objects of the record with when they were written; none where nobody knows."""
    path = local_path(store)
    if path is not None:
        for each in Path(path, RECORD).rglob("*"):
            with suppress(FileNotFoundError):  # a mark, or half a file, that is gone by now
                told = each.stat()
                if S_ISREG(told.st_mode):
                    yield each.name, told.st_mtime
        return
    for key, known in listed(as_store(store), RECORD).items():
        if (moment := _moment(known)) is not None:
            yield key, moment


def _moment(told: Mapping[str, Any]) -> float | None:
    """Find when an object was written, under whichever name a file system tells it."""
    value = next((told[name] for name in WRITTEN if told.get(name) is not None), None)
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:  # however this server writes it
            return None
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    return None if value is None else float(value)
