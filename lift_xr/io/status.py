"""How far a run is, read from its record while it goes on; no pixel is touched."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from math import prod
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import zarr
from zarr.core.sync import sync  # nothing public calls a store's methods from plain code
from zarr.storage import FsspecStore

from lift_xr.errors import LayoutError
from lift_xr.io.create import as_store
from lift_xr.io.record import CLIPPED, DONE, FAILING, RECORD, Progress, all_progress
from lift_xr.io.root import read_root
from lift_xr.io.store import LEVEL, local_path

RECENT = 256  # shards that tell how fast the run is now
WRITTEN = ("mtime", "LastModified", "last_modified", "updated", "created")  # as servers call it
STRIDES = 16, 32, 64  # shards: threads that begin together end together, and leave gaps
PAUSE = 10  # times what so many shards usually take: longer is no work, but nobody at work
SURE = 0.7  # of the spans must be work; else nobody can tell work in bursts from pauses


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
        than two tasks, of a few in two bursts or around a pause, and of stores that do not know
        when an object was written, such as those in memory.
    eta
        Seconds until all are done at that rate; None where that is not known.
    idle
        Seconds since the last task was done; None where that is not known.
    complete
        Whether the store is: its metadata consolidated, ready for readers.
    clipped
        The share of the values written so far that lay beyond what the packing can hold, and were
        stored as its limits: 0 to 1.
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


def status(store: Any) -> Status:
    """Say how far the run is that writes a store, from any process and at any time.

    Parameters
    ----------
    store
        A path, a URL or a zarr store that ``write_zarr`` began.

    Raises
    ------
    FileNotFoundError
        Nothing is there.
    LayoutError
        It is no such store.
    """
    complete = _expect_run(store)
    progress = all_progress(store)
    states = [each.states for each in progress.values()]
    done, failing = (
        sum(int((each == state).sum()) for each in states) for state in (DONE, FAILING)
    )
    total = sum(each.size for each in states)
    left = total - done - failing
    times = _times_of_rows(store)
    rate = _rate(times)
    return Status(
        done=done,
        failing=failing,
        left=left,
        total=total,
        rate=rate,
        eta=0.0 if complete else (left + failing) / rate if rate else None,
        idle=max(0.0, time.time() - times[-1]) if times else None,  # of another clock, maybe
        complete=complete,
        clipped=_clipped(store, progress[0]) if done and 0 in progress else 0.0,
    )


def _expect_run(store: Any) -> bool:
    """Say whether a store is complete, or raise if it is none that ``write_zarr`` began."""
    path = local_path(store)
    if path is not None and not path.exists():
        raise FileNotFoundError(f"{path} does not exist; expected a Zarr store. Check the path")
    about = read_root(store)
    if about is None:
        raise LayoutError(
            f"{store} is no store that write_zarr began; expected one, whose record tells how far "
            "it is. Look at it with open_scene(store)"
        )
    return about.get("complete") is True


def _clipped(store: Any, finest: Progress) -> float:
    """Divide the values that were clipped by those of all shards that are done."""
    path = next(name for name in finest.columns if name.startswith(f"{LEVEL}/"))
    pixels = zarr.open_array(store, path=path, mode="r")
    grid = finest.states.shape
    edges = pixels.shards if pixels.shards and prod(grid) > 1 else pixels.shape
    sizes = (
        [min(edge, size - edge * place) for place in range(count)]
        for edge, size, count in zip(edges, pixels.shape, grid, strict=True)
    )
    values = reduce(np.multiply.outer, map(np.array, sizes))
    written = int(values[finest.states == DONE].sum())
    return int(finest.column(CLIPPED).sum()) / written if written else 0.0


def _times_of_rows(store: Any) -> list[float]:
    """Read when each row of the record was written, the earliest first; none where nobody knows."""
    path = local_path(store)
    if path is not None:
        files = (each for each in Path(path, RECORD).rglob("*") if each.name.isdigit())
        return sorted(each.stat().st_mtime for each in files if each.is_file())
    target = as_store(store)
    if not isinstance(target, FsspecStore):
        return []
    try:
        found = sync(target.fs._find(f"{target.path}/{RECORD}", detail=True))
    except (NotImplementedError, OSError):  # not every server lists what it has
        return []
    rows = (told for key, told in found.items() if key.rsplit("/", 1)[-1].isdigit())
    return sorted(moment for each in rows if (moment := _moment(each)) is not None)


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


def _rate(times: list[float]) -> float | None:
    """Count tasks a second over the recent ones, without the pauses between them.

    Tasks that end in bursts leave gaps too, so what is judged is how long a stride of them takes.
    """
    recent = times[-RECENT:]
    strides = {max(1, min(each, len(recent) // 4)) for each in STRIDES}
    told = (_rate_of(recent, each) for each in sorted(strides))
    return next((each for each in told if each is not None), None)


def _rate_of(times: list[float], stride: int) -> float | None:
    spans = [later - earlier for earlier, later in zip(times, times[stride:], strict=False)]
    if not spans or max(spans) == 0:
        return None
    usual = median(each for each in spans if each > 0)
    working = [each for each in spans if each <= PAUSE * usual]
    spent = sum(working)
    told = spent > 0 and len(working) >= SURE * len(spans)
    return stride * len(working) / spent if told else None
