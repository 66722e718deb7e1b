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

from distributed import Worker, WorkerPlugin

from lift_xr.io.interrupt import SIGNALS


@contextmanager
def left_to_client(client: Any) -> Iterator[None]:
    """Have the workers that a terminal interrupts along with this process leave that to it.

    Ctrl-C goes to every process of a terminal's group, and so do a notebook's button and what
    ``timeout`` sends. The client ends its run once the shards in hand are written; a worker that
    took it for itself would die with its shard.
    """
    plugin = _LeftToClient()
    client.register_plugin(plugin)
    try:
        yield
    finally:
        with suppress(Exception):  # the cluster is gone, and its workers with it
            client.unregister_worker_plugin(plugin.name)


class _LeftToClient(WorkerPlugin):  # type: ignore[misc]  # of distributed, which is untyped
    """Deafens the workers of a group, and those that join it while the run goes on."""

    def __init__(self) -> None:
        self.name = f"lift-xr-{uuid.uuid4().hex}"
        self.client, self.group, self.host = os.getpid(), os.getpgrp(), socket.gethostname()

    def setup(self, worker: Worker) -> None:
        del worker
        self.before = {}
        here = self.group == os.getpgrp() and self.host == socket.gethostname()
        main = threading.current_thread() is threading.main_thread()
        if here and main and self.client != os.getpid():
            self.before = {each: signal.signal(each, signal.SIG_IGN) for each in SIGNALS}

    def teardown(self, worker: Worker) -> None:
        del worker
        for number, handler in self.before.items():
            signal.signal(number, handler)
