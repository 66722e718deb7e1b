"""Where the seconds of a task go: named laps, added up in the thread that works on it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_HERE = threading.local()


@contextmanager
def laps() -> Iterator[dict[str, float]]:
    """Add up, by name, the seconds of the laps that this thread runs meanwhile.

    Examples
    --------
    >>> with laps() as spent, lap("lift"):
    ...     pass
    >>> list(spent)
    ['lift']
    """
    before = getattr(_HERE, "spent", None)
    spent: dict[str, float] = {}
    _HERE.spent = spent
    try:
        yield spent
    finally:
        _HERE.spent = before


@contextmanager
def lap(name: str) -> Iterator[None]:
    """Count the seconds inside as those of ``name``; where nobody adds up, count nothing."""
    start = time.perf_counter()
    try:
        yield
    finally:
        spent: dict[str, float] | None = getattr(_HERE, "spent", None)
        if spent is not None:
            spent[name] = spent.get(name, 0.0) + time.perf_counter() - start
