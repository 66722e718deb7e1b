"""Progress bars, drawn by rich in terminals and notebooks and by nobody elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

Advance = Callable[[float], None]


@contextmanager
def bar(title: str, *, total: float, show: bool = True) -> Iterator[Advance]:
    """A bar on standard error; call what it yields with the amount done so far.

    Parameters
    ----------
    title
        Shown before the bar.
    total
        The amount that is everything.
    show
        False draws nothing. Nothing is drawn either where the output is neither a terminal nor a
        notebook, so that logs stay readable.
    """
    console = Console(stderr=True)
    visible = show and (console.is_terminal or console.is_jupyter)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not visible) as drawn:
        task = drawn.add_task(title, total=total)
        yield lambda done: drawn.update(task, completed=done)
