"""The kind of device that computes a run: results differ in the last bits, so a run has one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import dask.array as da

from lift_xr.blocks import lifted_from
from lift_xr.device import find_device
from lift_xr.errors import LayoutError
from lift_xr.io.engines import client_in_charge, gone
from lift_xr.io.root import read_root
from lift_xr.warn import warn_user
from lift_xr.workers import expect_worker

PATIENCE = 10.0  # seconds: the first to be asked loads torch


@dataclass(frozen=True)
class Failed:
    """That a worker, asked what it computes on, could not tell."""

    error: Exception


def kind_of_device(data: da.Array, *, begun: str | None = None) -> str | None:
    """Settle on what computes a lifted scene, "cpu" or "cuda"; None for any other scene.

    Parameters
    ----------
    data
        What is written. Where it was lifted with ``device="auto"``, its run keeps to the kind it
        was begun on; a new one takes CUDA where everyone who computes has it.
    begun
        The kind that the run was begun on; None for a new run.

    Raises
    ------
    LayoutError
        Where the run was begun with CUDA, and somebody has none; where a cluster has no worker, and
        none comes within ten minutes, or what dask's setting ``lift_xr.wait-for-workers`` says.

    Warns
    -----
    UserWarning
        Where only some workers have CUDA, and nobody uses it.
    """
    lifted = lifted_from(data)
    if lifted is None:
        return None
    if lifted.device != "auto":
        return lifted.device
    if begun == "cpu":
        return begun
    found = _kinds()
    if begun == "cuda" and found["cpu"]:
        raise LayoutError(
            f"the run was begun on device 'cuda', and {_share(found, 'cpu')} no CUDA device; "
            "expected one kind for all shards, because the results of two differ in the last bits. "
            "Go on where it was begun, or use overwrite=True to begin again"
        )
    if len(found) > 1:
        warn_user(
            f"{_share(found, 'cuda')} a CUDA device and others have none: all of them compute on "
            "the CPU, because the results of two kinds differ in the last bits. "
            "Use predict(model, msi, device='cuda') with workers that all have one"
        )
    return "cpu" if found["cpu"] else "cuda"


def begun_on(store: Any) -> str | None:
    """Read the kind of device that the run of a store was begun on; None where it has none."""
    about = read_root(store)
    settings = about["settings"] if about is not None else None
    return settings.get("device") if isinstance(settings, dict) else None


def _kinds() -> Counter[str]:
    """Count who would compute on which kind: this process, or the workers of the cluster."""
    client = client_in_charge()
    if client is None:
        return Counter([find_device("auto")])
    kinds: Counter[str] = Counter()
    while not kinds:  # all that were asked may have died meanwhile
        expect_worker(client)
        workers = list(client.scheduler_info(n_workers=-1)["workers"])
        try:
            told = client.sync(_asked, client, workers)
        except OSError as error:
            raise gone() from error
        kinds = Counter(_answers(told))
    return kinds


async def _asked(client: Any, workers: Sequence[str]) -> list[Any]:
    """What all workers answer, or those that do while others are silent.

    A worker that was stopped, or whose machine is gone, is silent until the scheduler gives it up,
    after minutes. Who has not answered some seconds after the first has no say; if it cannot
    compute as the run does, its shards fail there and are tried again.
    """
    ask = partial(client.run, _own_kind, on_error="return")
    at_once = asyncio.ensure_future(ask())
    if workers and not (await asyncio.wait([at_once], timeout=PATIENCE))[0]:
        at_once.cancel()
        each = [asyncio.ensure_future(ask(workers=[worker])) for worker in workers]
        await asyncio.wait(each, return_when=asyncio.FIRST_COMPLETED)
        heard, silent = await asyncio.wait(each, timeout=PATIENCE)
        for waiting in silent:
            waiting.cancel()
        return [answer for one in heard for answer in one.result().values()]
    return list((await at_once).values())


def _own_kind() -> str | Failed:
    """On a worker; what fails here is told from failing to ask it."""
    try:
        return find_device("auto")
    except Exception as error:
        return Failed(error)


def _answers(told: Iterable[str | Failed | Exception]) -> Iterator[str]:
    """Yield what workers answer; who could not be reached has no say, any other error is one."""
    for each in told:
        if isinstance(each, Failed):
            raise each.error
        if isinstance(each, str):
            yield each
        elif not isinstance(each, OSError):  # of which distributed's CommClosedError is one
            raise each


def _share(found: Counter[str], kind: str) -> str:
    if found.total() == 1:
        return "this process has" if client_in_charge() is None else "the worker has"
    return f"{found[kind]} of {found.total()} workers have"
