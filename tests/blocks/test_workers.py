"""Training is one task, where the GPU is, and is heard of while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from dask.delayed import delayed
from distributed import Client, Nanny, Scheduler, SpecCluster, get_worker

from lift_xr.workers import has_gpu_worker, run_as_one_task
from tests.clusters import workers_start_at_once

LOOPBACK = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}


@pytest.fixture(scope="module")
def mixed() -> Iterator[Client]:
    """Two workers, of which one says it has a GPU."""
    workers = {
        name: {"cls": Nanny, "options": {"nthreads": 1, "resources": resources} | LOOPBACK}
        for name, resources in (("plain", {}), ("gpu", {"GPU": 1}))
    }
    scheduler = {"cls": Scheduler, "options": LOOPBACK}
    with (
        workers_start_at_once(),
        SpecCluster(workers=workers, scheduler=scheduler) as cluster,
        Client(cluster) as client,
    ):
        yield client


def where(number: int, *, report: Callable | None, add: int) -> tuple[str, int]:
    if report is not None:
        for step in (1, 2, 3):
            report(step, 3, 0.5)
    return str(get_worker().name), number + add


def test_the_task_goes_to_the_worker_with_a_gpu(mixed: Client) -> None:
    assert has_gpu_worker(mixed)
    found = {run_as_one_task(where, delayed(number), add=1) for number in range(6)}
    assert found == {("gpu", number + 1) for number in range(6)}


def test_progress_on_a_worker_is_heard_here(mixed: Client) -> None:
    told: list[tuple[int, int, float]] = []
    run_as_one_task(where, delayed(1), report=lambda *step: told.append(step), add=0)
    assert told == [(1, 3, 0.5), (2, 3, 0.5), (3, 3, 0.5)]


def test_large_settings_travel_by_themselves(mixed: Client) -> None:
    """A graph that held them would be warned of, and warnings are errors here."""
    large = np.arange(4_000_000.0)
    assert run_as_one_task(total, delayed(1), numbers=large) == large.sum() + 1


def total(number: int, *, report: Callable | None, numbers: np.ndarray) -> float:
    return float(numbers.sum() + number)


def test_an_error_on_a_worker_is_raised_here_as_it_was(mixed: Client) -> None:
    with pytest.raises(ZeroDivisionError):
        run_as_one_task(divide, delayed(1))


def divide(number: int, *, report: Callable | None) -> float:
    return number / 0


def test_without_a_cluster_the_task_runs_here() -> None:
    told: list[tuple[int, int, float]] = []

    def here(number: int, *, report: Callable, add: int) -> int:
        report(1, 1, 0.0)
        return number + add

    found = run_as_one_task(here, delayed(2), report=lambda *step: told.append(step), add=3)
    assert (found, told) == (5, [(1, 1, 0.0)])
