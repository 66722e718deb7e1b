"""Run the one big task, training, on the right worker, and hear of its progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import dask
from dask.delayed import Delayed
from dask.utils import parse_timedelta

from lift_xr.device import DEVICES, find_device
from lift_xr.errors import LayoutError

Result = TypeVar("Result")
Report = Callable[[int, int, float], None]

LARGE = 1_000_000  # bytes
WAIT = "lift_xr.wait-for-workers"  # a setting of dask's: how long to wait for the first


def run_as_one_task(
    function: Callable[..., Result], data: Delayed, *, report: Report | None = None, **settings: Any
) -> Result:
    """``function(data, report=..., **settings)`` as a single task.

    Without a distributed client it runs in this process. With one, ``data`` is computed on the
    cluster and stays there, and the task goes to a worker that advertises a ``GPU`` resource if
    any does: asking for a resource that nobody has would wait for ever. Large settings are sent by
    themselves, since a graph that holds them would go through the scheduler.
    """
    client = find_client()
    if client is None:
        (local,) = dask.compute(data)
        return function(local, report=report, **settings)
    remote = client.compute(data)
    resources = {"GPU": 1} if has_gpu_worker(client) else None
    settings = {name: _sent(client, each) for name, each in settings.items()}
    with _listening(client, report) as distant:
        future = client.submit(
            function, remote, report=distant, resources=resources, pure=False, **settings
        )
        result: Result = future.result()
    return result


def _sent(client: Any, setting: Any) -> Any:
    """Hand a large setting to the cluster; leave a small one as it is."""
    large = getattr(setting, "nbytes", 0) > LARGE
    return client.scatter(setting, hash=False) if large else setting


def find_client() -> Any | None:
    """The distributed client in charge, or None."""
    from distributed import default_client

    try:
        return default_client()
    except ValueError:
        return None


def expect_worker(client: Any | None) -> None:
    """Wait for the first worker of a cluster, if there is one, but not for ever.

    Raises
    ------
    LayoutError
        None came within ten minutes, or what dask's setting ``lift_xr.wait-for-workers`` says.
    """
    if client is None:
        return
    patience = parse_timedelta(dask.config.get(WAIT, "10 minutes"))
    try:
        client.wait_for_workers(1, timeout=patience)
    except TimeoutError as error:
        raise LayoutError(
            f"the cluster at {client.scheduler.address} had no worker for {patience:g} s; expected "
            "one, to train or to lift. Start workers, e.g. cluster.scale(4); or, while they stand "
            f"in a batch queue, wait longer with dask.config.set({{'{WAIT}': '6 hours'}})"
        ) from error


def expect_device(device: str) -> None:
    """Refuse an unknown device, and one this process lacks if this process is to compute."""
    if device not in DEVICES or find_client() is None:
        find_device(device)


def has_gpu_worker(client: Any) -> bool:
    """Whether some worker of the cluster advertises a ``GPU`` resource."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return any(worker.get("resources", {}).get("GPU", 0) >= 1 for worker in workers)


@dataclass(frozen=True)
class DistantReport:
    """Progress told by a worker to whoever listens to the topic."""

    topic: str

    def __call__(self, step: int, steps: int, loss: float) -> None:
        """Send one report; without a worker around there is nobody to tell."""
        from distributed import get_worker

        get_worker().log_event(self.topic, (step, steps, loss))


@contextmanager
def _listening(client: Any, report: Report | None) -> Iterator[DistantReport | None]:
    """Hand reports from a worker to ``report`` while the context lasts."""
    if report is None:
        yield None
        return
    topic = f"lift-xr-training-{id(report)}"
    client.subscribe_topic(topic, lambda event: report(*event[1]))
    try:
        yield DistantReport(topic)
    finally:
        client.unsubscribe_topic(topic)
