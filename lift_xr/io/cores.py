"""How many cores are ours, and turns at them for processes that share a machine by chance.

Processes that write one store between them, parts of a run or workers of a cluster, may run on one
machine or on many, and do not know. Each has its threads; so that all together never use more cores
than there are, a task begins when its process has taken a core. A core is a small file that is
locked: the system unlocks those of a process that dies.
"""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from dask.system import CPU_COUNT

QUEUE = "queue"  # held by a process that waits for its first core
TURN = 0.05  # seconds between two tries of who waits for a core
PATIENCE = 20  # times a process without a core lets those who wait go first; they may be asleep


def cores(asked: int | None = None) -> int:
    """Count the cores that are ours: dask knows affinity and control groups, SLURM may say less.

    Who has ``asked`` for a number of threads knows better than SLURM's variable, but gets no more
    than there are.
    """
    allotted = os.environ.get("SLURM_CPUS_PER_TASK", "")
    wanted = asked or (int(allotted) if allotted.isdecimal() else 0)
    return min(int(CPU_COUNT), wanted) if wanted else int(CPU_COUNT)


class SharedCores:
    """Turns at the cores of this machine, shared with other processes of the same person.

    Parameters
    ----------
    names
        Of the cores that this process may use. Only processes that name the same ones share them.
    folder
        Where the files are, on this machine alone. Where none can be made, or locked, every turn is
        given at once.
    """

    def __init__(self, names: Sequence[int], folder: Path) -> None:
        self._guard = threading.Lock()
        self._held: list[int] = []
        self._waits = False
        self._yielded = 0
        self._files: list[int] = []
        with suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if folder.lstat().st_uid != os.getuid():  # anybody may make it, where all write
                raise PermissionError(f"{folder} is somebody else's")
            self._queue = _open(folder / QUEUE)
            self._files = [self._queue, *(_open(folder / str(name)) for name in names)]
        self._cores = self._files[1:]

    def take(self) -> bool:
        """Take a core if one is free; who waits comes before who has, or had, some."""
        with self._guard:
            try:
                return not self._cores or self._taken()
            except OSError:  # not every file system locks: then nobody waits for anybody
                self._cores, self._held = [], []
                return True

    def give(self) -> None:
        """Give back a core that was taken."""
        with self._guard:
            if self._held:
                with suppress(OSError):
                    fcntl.flock(self._held.pop(), fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of all."""
        with self._guard:
            for each in self._files:
                os.close(each)
            self._files, self._cores, self._held = [], [], []

    def _taken(self) -> bool:
        if not self._waits and self._yielded < PATIENCE and self._others_wait():
            self._yielded += not self._held
            return False
        free = (each for each in self._cores if each not in self._held and _locked(each))
        core = next(free, None)
        if core is not None:
            self._held.append(core)
            self._yielded = 0
        self._wait(core is None and not self._held)
        return core is not None

    def _others_wait(self) -> bool:
        """Whether another process is in the queue: try to be there, and step out again."""
        if not _locked(self._queue):
            return True
        fcntl.flock(self._queue, fcntl.LOCK_UN)
        return False

    def _wait(self, waits: bool) -> None:
        """Stand in the queue, or step out of it."""
        if waits and not self._waits:
            self._waits = _locked(self._queue)
        elif self._waits and not waits:
            fcntl.flock(self._queue, fcntl.LOCK_UN)
            self._waits = False


def shared_cores() -> SharedCores:
    """Share the cores of this machine that this process may use."""
    bound = getattr(os, "sched_getaffinity", lambda _: range(CPU_COUNT))(0)
    # A control group may allow fewer than affinity does: then as many as it allows, the same ones.
    names = sorted(bound)[: int(CPU_COUNT)]
    folder = f"lift-xr-cores-{socket.gethostname()}-{os.getuid()}"  # machines may share a TMPDIR
    return SharedCores(names, Path(tempfile.gettempdir(), folder))


@contextmanager
def one_core() -> Iterator[None]:
    """Wait for a core, and hold it meanwhile: for tasks of a cluster, where nobody else counts."""
    with _first:  # a worker's threads begin together
        turns = _of_this_process()
    while not turns.take():
        time.sleep(TURN)
    try:
        yield
    finally:
        turns.give()


_first = threading.Lock()


@lru_cache(maxsize=1)
def _of_this_process() -> SharedCores:
    return shared_cores()


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _locked(file: int) -> bool:
    """Lock a file unless another process has."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
