"""The kind of device that computes a run: results differ in the last bits, so a run has one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import dask.array as da

from lift_xr.blocks import lifted_from
from lift_xr.device import find_device
from lift_xr.errors import LayoutError
from lift_xr.io.engines import client_in_charge
from lift_xr.io.root import read_root
from lift_xr.warn import warn_user
from lift_xr.workers import expect_worker


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
        kinds = Counter(_answers(client.run(find_device, "auto", on_error="return").values()))
    return kinds


def _answers(told: Iterable[Any]) -> Iterator[str]:
    """Yield what workers answer; who died just now has no say, and any other error is one."""
    from distributed.comm import CommClosedError  # where there is a client, distributed is there

    for each in told:
        if isinstance(each, Exception) and not isinstance(each, CommClosedError):
            raise each
        if isinstance(each, str):
            yield each


def _share(found: Counter[str], kind: str) -> str:
    if found.total() == 1:
        return "this process has" if client_in_charge() is None else "the worker has"
    return f"{found[kind]} of {found.total()} workers have"
