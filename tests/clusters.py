"""A real cluster on loopback, for what only separate processes can show."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dask
from distributed import Client, LocalCluster

from tests import processes


@contextmanager
def workers_start_at_once() -> Iterator[None]:
    """Have clusters fork their workers, and be the scheduler, while it lasts."""
    processes.ready()
    method = {"distributed.worker.multiprocessing-method": "forkserver"}
    with dask.config.set({"scheduler": None} | method):
        yield


@contextmanager
def two_workers_of_nobody(**settings: Any) -> Iterator[LocalCluster]:
    """Two worker processes, single-threaded by default, for whoever knows their scheduler."""
    settings = {"threads_per_worker": 1, "dashboard_address": "127.0.0.1:0", **settings}
    with workers_start_at_once(), LocalCluster(n_workers=2, **settings) as cluster:
        yield cluster


@contextmanager
def two_workers(**settings: Any) -> Iterator[Client]:
    """A client of them; it is the scheduler while it lasts."""
    with two_workers_of_nobody(**settings) as cluster, Client(cluster) as client:
        yield client
