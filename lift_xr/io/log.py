"""A line of JSON for every shard that ends: which it was, what it cost, and who did it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

from lift_xr.errors import LayoutError
from lift_xr.io.engines import Finished
from lift_xr.io.store import local_path


def expect_log(log: str | PathLike[str] | None, store: Any) -> None:
    """Raise LayoutError unless lines can be added to a file that is not part of the store."""
    if log is None:
        return
    path, place = Path(log).resolve(), local_path(store)
    if not path.parent.is_dir() or path.is_dir():
        raise LayoutError(
            f"log is {log}, which is no place for a file; expected one in a folder that is there. "
            "Use log='run.jsonl'"
        )
    if place is not None and place.resolve() in (path, *path.parents):
        raise LayoutError(
            f"log is {log}, inside the store; expected a file beside it, because a store holds the "
            "same bytes whenever it is written. Use log='run.jsonl'"
        )


@contextmanager
def logging(log: str | PathLike[str] | None, level: int) -> Iterator[Callable[[Finished], None]]:
    """Add a line for every shard of a pass that is told of; nothing where there is no log."""
    if log is None:
        yield lambda _: None
        return
    # Lines are whole even where several processes add to one file of a local disk.
    with Path(log).open("a", buffering=1, encoding="utf-8") as file:
        yield lambda finished: print(line(finished, level), file=file)


def line(finished: Finished, level: int) -> str:
    """Write what became of a shard of a pass, which begins at ``level``, as JSON."""
    told: dict[str, Any] = {
        "time": round(time.time(), 3),
        "level": level,
        "index": list(map(int, finished.index)),
        "attempt": finished.tries,
    }
    if finished.ran is None:
        told["error"] = f"{type(finished.error).__name__}: {finished.error}"
    else:
        ran = finished.ran
        laps = {"read": ran.seconds - sum(ran.laps.values()), **ran.laps}
        told |= {name: round(each, 6) for name, each in {"seconds": ran.seconds, **laps}.items()}
        told |= {"bytes": ran.value, "host": ran.host, "pid": ran.pid, "peak_rss": ran.peak_rss}
    return json.dumps(told)
