"""Workers in the process group of their client: all hear its Ctrl-C, and it alone acts on it."""

from __future__ import annotations

import os
import signal
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil
from distributed import Worker, WorkerPlugin
from tornado.ioloop import PeriodicCallback

from lift_xr.io.interrupt import SIGNALS

NAME = "lift-xr-signals"
PATIENCE = 5.0  # seconds that a run waits for all workers to have heard of it
LOOK = 2000  # milliseconds between two looks whether the client is there


@contextmanager
def left_to_client(client: Any) -> Iterator[None]:
    """Have the workers that a terminal interrupts along with this process leave that to it.

    Ctrl-C goes to every process of a terminal's group, and so do a notebook's button and what
    ``timeout`` sends. The client ends its run once the shards in hand are written; a worker that
    took it for itself would die with its shard.

    Meant are workers by themselves, and those of a ``LocalCluster``, whose nannies run in
    this process. A nanny with a process of its own in the group, as ``dask worker &`` in a script
    has, takes Ctrl-C for itself and ends its worker: ``setsid`` gives it a group.

    A worker that does not answer keeps a run waiting for seconds, not until the scheduler gives it
    up: a run can do without what this is for.
    """
    heard, over = threading.Event(), threading.Event()
    told = (client, heard, over)
    telling = threading.Thread(target=_tell, args=told, name=NAME, daemon=True)
    try:
        telling.start()
        heard.wait(PATIENCE)
        yield
    finally:
        over.set()
        telling.join(PATIENCE)


def _tell(client: Any, heard: threading.Event, over: threading.Event) -> None:
    """Tell all workers, and at the end that it is over: both wait for the slowest of them."""
    plugin = _LeftToClient()
    with suppress(Exception):  # one of them died just now
        client.register_plugin(plugin)
    heard.set()
    over.wait()
    with suppress(Exception):  # the cluster is gone, and its workers with it
        client.unregister_worker_plugin(plugin.name)


class _LeftToClient(WorkerPlugin):  # type: ignore[misc]  # of distributed, which is untyped
    """Deafens the workers of a group, and those that join it, while the client is there."""

    def __init__(self) -> None:
        self.name = f"lift-xr-{uuid.uuid4().hex}"
        self.client, self.born = os.getpid(), psutil.Process().create_time()
        self.group, self.host = os.getpgrp(), socket.gethostname()

    def setup(self, worker: Worker) -> None:
        del worker
        self.looks = PeriodicCallback(self._look, LOOK)
        here = self.group == os.getpgrp() and self.host == socket.gethostname()
        main = threading.current_thread() is threading.main_thread()
        if here and main and self.client != os.getpid() and self._has_client():
            _deafen(self.name)
            self.looks.start()

    def teardown(self, worker: Worker) -> None:
        del worker
        self.looks.stop()
        _let_hear(self.name)

    def _look(self) -> None:
        if not self._has_client():  # it was killed, and could not say that its run is over
            self.looks.stop()
            _let_hear(self.name)

    def _has_client(self) -> bool:
        """Whether the client is there: the same process, and not what is left of it."""
        try:
            found = psutil.Process(self.client)
            return bool(found.create_time() == self.born and found.status() != psutil.STATUS_ZOMBIE)
        except psutil.Error:
            return False


# Of this process, while any run asks for it: runs that overlap need not end in any order.
_ASKED: set[str] = set()
_BEFORE: dict[int, Any] = {}


def _deafen(name: str) -> None:
    if not _ASKED:
        _BEFORE.update({each: signal.signal(each, signal.SIG_IGN) for each in SIGNALS})
    _ASKED.add(name)


def _let_hear(name: str) -> None:
    if name not in _ASKED:
        return
    _ASKED.remove(name)
    if not _ASKED:
        for number, handler in _BEFORE.items():
            # None is a handler that Python did not set, and cannot set again.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
