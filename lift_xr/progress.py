"""Progress bars, drawn by rich in terminals, as text by tqdm in notebooks, by nobody elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

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
    with _drawn(title, total, Console(stderr=True)) if show else nullcontext(_nothing) as advance:
        yield advance


def _drawn(title: str, total: float, console: Console) -> AbstractContextManager[Advance]:
    """Choose what this console can show."""
    if console.is_jupyter:  # where rich draws nothing without ipywidgets
        return _in_notebook(title, total)
    return _in_terminal(title, total, console) if console.is_terminal else nullcontext(_nothing)


@contextmanager
def _in_terminal(title: str, total: float, console: Console) -> Iterator[Advance]:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as drawn:
        task = drawn.add_task(title, total=total)
        yield lambda done: drawn.update(task, completed=done)


@contextmanager
def _in_notebook(title: str, total: float) -> Iterator[Advance]:
    from tqdm import tqdm

    form = "{desc} {percentage:3.0f}% |{bar}| {elapsed}<{remaining}"
    with tqdm(total=total, desc=title, bar_format=form) as drawn:

        def advance(done: float) -> None:
            drawn.update(done - drawn.n)

        yield advance


def _nothing(done: float) -> None:
    """Draw nothing."""
