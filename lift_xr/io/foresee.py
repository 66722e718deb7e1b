"""Foresee a run before it starts: count it, weigh it, time one shard, refuse what cannot be."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from math import ceil, inf, prod
from typing import Any

import dask
import numpy as np
import numpy.typing as npt
import xarray as xr
from dask.utils import parse_bytes

from lift_xr.blocks import Lifted, lifted_from
from lift_xr.errors import LayoutError
from lift_xr.fuse import predict
from lift_xr.grid import compare
from lift_xr.io import allowed
from lift_xr.io.allowed import Limit
from lift_xr.io.cores import cores
from lift_xr.io.engines import client_in_charge
from lift_xr.io.foreseen import Plan
from lift_xr.io.place import innermost, sources
from lift_xr.io.probe import Probe, probe_shard
from lift_xr.io.raster import gdal_cache
from lift_xr.io.scale import expect_dtype, find_packing
from lift_xr.io.store import local_path
from lift_xr.memory import (
    FLOAT,
    LOADED,
    RESERVE,
    held_by_halving,
    held_by_lifting,
    of_this_process,
)
from lift_xr.models import Model
from lift_xr.plan import SHARD, expect_edge, passes_of, shard_edge
from lift_xr.quantities import counted, size
from lift_xr.scene import expect_hsi, expect_msi
from lift_xr.warn import warn_user

GREATEST_TASKS = 500_000  # more, and a scheduler is busier with them than workers are
LEAST_SHARD = 16  # pixels: smaller ones are no advice


def plan(
    msi: xr.DataArray | xr.Dataset,
    model: Model,
    *,
    hsi: xr.DataArray | xr.Dataset | None = None,
    dtype: npt.DTypeLike = "uint16",
    shard: int = SHARD,
    workers: int | None = None,
    threads: int | None = None,
    memory: int | str | None = None,
    out: Any = None,
    device: str = "auto",
    probe: bool = True,
) -> Plan:
    """Foresee ``write_zarr(predict(model, msi, hsi=hsi), out)`` before it starts.

    Parameters
    ----------
    msi : (band, y, x) or (time, band, y, x)
        The mosaic, as ``predict`` takes it.
    model
        From ``fit`` or ``load_model``.
    hsi
        The cube, where the model looks at it again; else it tells which shard suits its cells.
    dtype, shard
        As ``write_zarr`` takes them.
    workers
        Processes that share the work, on one machine or many. The default is the workers of the
        distributed client, else 1: this process.
    threads
        Tasks side by side in each, one core each. The default is what the client's workers have,
        else what dask is set to, else the cores of this machine.
    memory
        What one worker may hold, in bytes or as in ``"4GB"``. The default is the limit of the
        client's workers, else, where this process does the work, what the machine has, its control
        groups allow and SLURM gave the job. With ``workers`` and neither, nothing is known to
        compare with, and the plan says so.
    out
        Where the store will go; a warning says when the disk has too little room.
    device
        As ``predict`` takes it; for the probe.
    probe
        Do one shard from the middle of the mosaic, in this process, to tell time and compressed
        size: on as many threads side by side as will share a machine, as far as this one has cores
        and memory for them. Without it no pixel is read.

    Returns
    -------
    Plan
        Shards, tasks, bytes per task, peak memory per worker, output size, files, seconds.

    Raises
    ------
    LayoutError
        A shard, chunks, tasks or memory that cannot be; the message names the setting to change.
    GridError, SpectralError, ValueError
        As ``predict`` does.

    Warns
    -----
    UserWarning
        When the disk of ``out`` has less room than the store will take; when a cluster has no
        worker yet, so that one like this process is foreseen.

    Examples
    --------
    >>> from lift_xr import fit, plan, synthetic
    >>> scene = synthetic.scene((83440, 24040), ratio=20)
    >>> model = fit(synthetic.scene((320, 320)).hsi, scene.srf, method="linear")
    >>> foreseen = plan(scene.msi, model, workers=4, threads=2, probe=False)
    >>> foreseen.shards, foreseen.tasks
    (1254, 1283)
    >>> foreseen.bytes_per_task
    537318400
    """
    shard, dtype = expect_edge(shard), expect_dtype(dtype)
    fused = predict(model, msi, hsi=hsi, device=device)
    lifted = lifted_from(fused.data)
    assert lifted is not None
    packing = find_packing(fused.attrs, dtype, None, None)
    where = _Workers.of(workers, threads, memory)
    draft = partial(_draft, fused, lifted, dtype=dtype, ratio=_ratio(hsi, msi), where=where)
    found = draft(shard=shard)
    _expect_few_tasks(found, shard)
    _expect_memory(found, shard, where, draft)
    if probe:
        beside = where.side_by_side(found)
        found = _with_probe(found, probe_shard(fused, lifted, found.passes[0], packing, beside))
        _expect_memory(found, shard, where, draft)
    _warn_of_little_room(found, out)
    return found


@dataclass(frozen=True)
class _Workers:
    """Who works: ``workers`` processes of ``threads`` tasks, each held to ``limit``.

    ``here`` is whether this process does; ``a_machine`` how many threads share a machine.
    """

    workers: int
    threads: int
    limit: Limit
    here: bool
    a_machine: int

    @classmethod
    def of(cls, workers: int | None, threads: int | None, memory: int | str | None) -> _Workers:
        """Take what is given, then what the distributed client has, then this machine."""
        client = client_in_charge()
        known = [] if client is None else [*client.scheduler_info(n_workers=-1)["workers"].values()]
        machines = len({each["host"] for each in known}) if workers is None else 0
        here = workers is None and not known
        if here and client is not None:
            warn_user("the cluster has no worker yet: foreseen is one that is as this process is")
        if workers is None:
            workers = len(known) or 1
        if threads is None:
            have = max((each["nthreads"] for each in known), default=0)
            threads = have or cores(dask.config.get("num_workers", None))
        limit = Limit(_bytes(memory) if memory is not None else inf)
        if memory is None and known:
            least = min(each["memory_limit"] or inf for each in known)
            limit = Limit(least, "what a worker has", "workers of {gb:g} GB each")
        elif memory is None and here:
            limit = allowed.memory()
        workers, threads = _expect_count(workers, "workers"), _expect_count(threads, "threads")
        # Of workers that are only spoken of, each may have a machine of its own.
        a_machine = ceil(workers / machines) * threads if machines else threads
        return cls(workers, threads, limit, here, a_machine)

    def side_by_side(self, foreseen: Plan) -> int:
        """Count the threads a probe keeps busy: those of a machine, as far as this one bears it."""
        room = min(allowed.memory().size, self.limit.size if self.here else inf)
        room -= max(foreseen.base, of_this_process() + RESERVE)  # the probe is done here
        fit = int(room // foreseen.bytes_per_task)
        return max(1, min(self.a_machine, foreseen.shards, cores(), fit))


def _draft(
    fused: xr.DataArray,
    lifted: Lifted,
    *,
    dtype: np.dtype,
    ratio: float | None,
    where: _Workers,
    shard: int,
    threads: int | None = None,
) -> Plan:
    """Put a plan together from shapes alone."""
    passes = passes_of(fused.shape, dtype, shard=shard)
    model, prior = lifted.model, lifted.prior
    read = [innermost(each) for each in sources(lifted.msi) if len(each.shape) >= 2]
    first = held_by_lifting(
        passes[0],
        msi_bands=lifted.msi.shape[-3],
        halo=model.halo,
        prior=None if prior is None else model.prior,
        ratio=1 if prior is None else prior.ratio,
        stored_as=max((np.dtype(each.dtype).itemsize for each in read), default=FLOAT),
    )
    later = [held_by_halving(each, before.layouts[-1]) for before, each in pairwise(passes)]
    by_gdal = [each for each in read if type(each).__module__.startswith("rioxarray")]
    cached = sum(prod(each.shape) * np.dtype(each.dtype).itemsize for each in by_gdal)
    # What this process has read or trained with until now stays, where it does the work itself.
    loaded = max(LOADED, of_this_process()) if where.here else LOADED
    return Plan(
        passes=passes,
        workers=where.workers,
        threads=where.threads if threads is None else threads,
        bytes_per_task=max(held.total for held in (first, *later)),
        base=loaded + RESERVE + min(cached, gdal_cache()),
        ratio=ratio,
        limit=where.limit.size,
    )


def _with_probe(foreseen: Plan, probe: Probe) -> Plan:
    """Add what a shard took; a model may hold more than its result."""
    held = max(foreseen.bytes_per_task, probe.memory)
    return replace(foreseen, probe=probe, bytes_per_task=held)


def _ratio(hsi: xr.DataArray | xr.Dataset | None, msi: xr.DataArray | xr.Dataset) -> float | None:
    """Pixels along the edge of a cell of the cube, both ways the same."""
    if hsi is None:
        return None
    match = compare(expect_hsi(hsi, bad_bands="keep"), expect_msi(msi))
    return float(match.ratio) if match.integer_ratio else match.ratio_y


# ---- what cannot be


def _expect_count(count: Any, name: str) -> int:
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
        raise LayoutError(f"{name} is {count!r}; expected a whole number from 1. Use {name}=1")
    return int(count)


def _bytes(memory: int | str) -> float:
    try:
        found = float(parse_bytes(memory))
    except (ValueError, TypeError):
        found = 0.0
    if not found > 0:
        raise LayoutError(
            f"memory is {memory!r}; expected bytes, or text such as '4GB'. Use memory='4GB'"
        )
    return found


def _expect_few_tasks(foreseen: Plan, shard: int) -> None:
    if foreseen.tasks > GREATEST_TASKS:
        raise LayoutError(
            f"shard={shard} makes {foreseen.tasks:,} tasks; expected at most {GREATEST_TASKS:,}, "
            f"one a shard. Use shard={_suited(foreseen.ratio)}"
        )


def _expect_memory(foreseen: Plan, shard: int, where: _Workers, draft: Callable[..., Plan]) -> None:
    """Raise LayoutError, saying what would fit, where a worker would hold more than it may."""
    if foreseen.peak_memory <= where.limit.size:
        return
    whose = f", {where.limit.whose}" if where.limit.whose else ""
    raise LayoutError(
        f"with shards of {shard} pixels, a worker of {counted(foreseen.threads, 'thread')} holds "
        f"up to {size(foreseen.peak_memory)} ({foreseen.parts}); expected at most "
        f"{size(where.limit.size)}{whose}. "
        f"Use {', or '.join(_what_fits(foreseen, shard, where, draft))}"
    )


def _what_fits(
    foreseen: Plan, shard: int, where: _Workers, draft: Callable[..., Plan]
) -> list[str]:
    """Name settings that would fit, each by itself; at least so much memory."""
    fits = []
    edge = shard
    while edge % 2 == 0 and edge > LEAST_SHARD:
        edge //= 2
        if draft(shard=edge).peak_memory <= where.limit.size:
            fits.append(f"shard={edge}")
            break
    room = (where.limit.size - foreseen.base) // foreseen.bytes_per_task
    if room >= 1:
        fits.append(f"threads={int(room)}")
    return [*fits, where.limit.ask_for(foreseen.peak_memory)]


def _suited(ratio: float | None) -> int:
    """Suggest a shard: the one whose chunks hold whole cells, where cells are known."""
    return SHARD if ratio is None or SHARD // 4 % ratio == 0 else shard_edge(ratio)


def _warn_of_little_room(foreseen: Plan, out: Any) -> None:
    place = None if out is None else local_path(out)
    if place is None:
        return
    there = next(each for each in (place.absolute(), *place.absolute().parents) if each.exists())
    free = shutil.disk_usage(there).free
    needed = foreseen.stored_bytes or foreseen.output_bytes
    if needed > free:
        told = "" if foreseen.stored_bytes else " before compression"
        warn_user(
            f"the store takes about {size(needed)}{told} and the disk of {there} has {size(free)} "
            "left; expected more room. Use another disk, or a part of the mosaic"
        )
