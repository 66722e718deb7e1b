"""Run one task a shard, wherever dask runs tasks, and count them as they finish."""

from __future__ import annotations

from typing import Any

import dask
import dask.array as da
from dask.base import get_scheduler
from dask.callbacks import Callback

from lift_xr.progress import Advance, bar
from lift_xr.workers import find_client


def compute_shards(statuses: da.Array, *, show: bool) -> int:
    """Compute an array of one element a shard, and add the elements up.

    With a distributed client the tasks run on its workers, else on the scheduler that dask is set
    to, threads by default.
    """
    with bar("writing", total=statuses.size, show=show) as advance:
        client = _client_in_charge()
        if client is None:
            with _Counter(statuses.name, advance):
                return int(statuses.compute().sum())
        return _compute_on(client, statuses, advance)


def out_of_reach() -> bool:
    """Tell whether tasks run where this process's memory cannot be written."""
    if _client_in_charge() is not None:
        return True
    return "multiprocessing" in str(getattr(get_scheduler(), "__module__", ""))


def _client_in_charge() -> Any | None:
    """Find the distributed client, unless dask is told to use another scheduler."""
    chosen = dask.config.get("scheduler", None)
    told_otherwise = chosen is not None and chosen not in ("distributed", "dask.distributed")
    return None if told_otherwise else find_client()


def _compute_on(client: Any, statuses: da.Array, advance: Advance) -> int:
    from distributed import as_completed, futures_of

    running = client.persist(statuses)
    for done, future in enumerate(as_completed(futures_of(running)), start=1):
        if future.status == "error":
            error = future.exception()
            client.cancel(running)
            raise error
        advance(done)
    return int(running.compute().sum())


class _Counter(Callback):  # type: ignore[misc]  # dask is typed in part
    """Tells how many tasks of one array a local scheduler has finished."""

    def __init__(self, name: str, advance: Advance) -> None:
        super().__init__(posttask=self._count)
        self.name, self.advance, self.done = name, advance, 0

    def _count(self, key: Any, *_: Any) -> None:
        if isinstance(key, tuple) and key[0] == self.name:
            self.done += 1
            self.advance(self.done)
