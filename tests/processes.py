"""Processes that start at once: forked from one server, which has imported everything before.

A Python of its own takes seconds to import torch, xarray and dask, and two hundred tests would wait
for it. What is forked has its own memory, signals and exit code all the same.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

PRELOAD = (
    *("torch", "matplotlib.pyplot", "distributed", "lift_xr.cli", "lift_xr.models.sin"),
    *("tests.doors.test_cores", "tests.doors.test_resume", __name__),  # whose functions are run
)
PROCESSES = multiprocessing.get_context("forkserver")


PROCESSES.set_forkserver_preload(list(PRELOAD))


def ready() -> None:
    """Start the server before dask does, unless it runs: who starts it says what it imports."""
    PROCESSES.set_forkserver_preload(list(PRELOAD))
    forkserver.ensure_running()


def another(function: Any, *arguments: Any, **settings: Any) -> Any:
    """``function(*arguments, **settings)`` in another process that has not started yet."""
    ready()
    return PROCESSES.Process(target=function, args=arguments, kwargs=settings)


@dataclass(frozen=True)
class Done:
    """What a script left: its exit code, and what it said."""

    returncode: int
    stdout: str
    stderr: str


def run_script(
    path: Path,
    *arguments: object,
    environment: Mapping[str, str] | None = None,
    forks: bool = False,
) -> Done:
    """Run a script to its end, as ``python path arguments`` would.

    With ``forks``, its own fresh processes are forks of it, which start at once as well.
    """
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder)
        around = dict(os.environ if environment is None else environment)
        running = another(be_script, path, [*map(str, arguments)], around, said, forks=forks)
        running.start()
        running.join()
        told = ((said / name).read_text() for name in ("stdout", "stderr"))
        return Done(running.exitcode, *told)


def be_script(
    path: Path, arguments: list[str], environment: dict[str, str], said: Path, *, forks: bool
) -> None:
    """Become the script: its arguments, its environment, its folder before all others."""
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [str(path), *arguments]
    sys.path.insert(0, str(path.parent))
    for number, name in ((1, "stdout"), (2, "stderr")):
        with (said / name).open("w") as file:
            os.dup2(file.fileno(), number)
    if forks:
        multiprocessing.get_context = forking
    runpy.run_path(str(path), run_name="__main__")


def forking(method: str | None = None, *, contexts: Any = multiprocessing.get_context) -> Any:
    """The context asked for, and in place of fresh processes one that forks."""
    return contexts("fork" if method == "spawn" else method)
