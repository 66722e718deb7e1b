"""Write scenes of 1, 4, 16 and 64 times the area: what a pixel costs and what a process holds.

    python benchmarks/scaling.py --shard 640 --keep sample
    python benchmarks/scaling.py --shard 640 --keep sample --workers 2    processes, not threads

One model for all of them; every scene in a fresh process. Memory and time per pixel should not
depend on the size of the scene.

Mosaics are files, tiles of 512 x 512 pixels in Zarr stores, made before anything is measured;
``--mosaics FOLDER`` keeps them for the next time. ``--painted`` paints pixels where they are read
instead, which is no small part of the work, and what the painter remembers of its city grows with
what it has seen of it.

The smallest scene has 6 x 6 shards, so that what happens once a run is little of it: a store is
begun and sealed in about half a second, and at the end one thread has nothing left to do while
another has. All that is in what is reported; what a process takes to start Python and to import
is not. ``--edge 2`` is quicker, and shows the beginning of a store.

``--keep sample`` is for disks that cannot hold the largest store, 85 MB for every Mpx of 50 bands:
the shards of its two finest levels are removed as soon as they are written and recorded.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

import dask
import yaml
from costs import alone, cpu_seconds, forget_peak, peak_mib
from mosaic import Job, fit_on_part, write_mosaic

import lift_xr

ADVISED = Path(__file__).parents[1] / "examples" / "hpc" / "dask.yaml"
CELLS = 64  # along the edge of the cube that the model is fitted on
Found = dict[str, float]


def main() -> None:
    """Measure every size and print one line of a table for each."""
    chosen = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        jobs = {times: _job(chosen, times, Path(folder)) for times in chosen.times}
        smallest = jobs[min(jobs)]
        alone(fit_on_part, smallest, min(CELLS, smallest.shape[0] // smallest.ratio))
        for job in jobs.values():
            if job.file is not None:
                alone(write_mosaic, job)
        runs: dict[int, list[Found]] = {times: [] for times in jobs}
        for _ in range(chosen.repeats):  # in turn, so that a busy hour falls on all sizes
            for times, job in jobs.items():
                runs[times].append(alone(write, job, chosen.workers))
                shutil.rmtree(job.store)
                print(f"{times}: {runs[times][-1]}", file=sys.stderr, flush=True)
        report(jobs, runs)


def write(job: Job, workers: int) -> Found:
    """Write one scene with threads of this process, or with processes of one thread each."""
    if not workers:
        with job.in_threads():
            planned = foreseen(job)
        return job.write().plain() | planned
    with _cluster(workers) as client:
        planned = foreseen(job)
        client.run(import_all)
        client.run(forget_peak)
        before = client.run(cpu_seconds)
        costs = job.write().plain()
        after, peaks = client.run(cpu_seconds), client.run(peak_mib)
        spent = sum(after.values()) - sum(before.values())
        costs |= {"cpu_s": costs["cpu_s"] + spent, "peak_mib": max(peaks.values())}
        return costs | planned


def import_all() -> None:
    """Have a worker import now what its first task would, as a process with threads has by then."""
    import_module("lift_xr.io.shards")


def foreseen(job: Job) -> Found:
    """What ``lift_xr.plan`` says that a process will hold at most, before anything is read."""
    if not callable(lift_xr.plan):
        return {"planned_mib": float("nan")}
    model = lift_xr.load_model(job.model)
    planned = lift_xr.plan(job.msi(), model, shard=job.shard, probe=False, device="cpu")
    return {"planned_mib": planned.peak_memory / 2**20}


def report(jobs: dict[int, Job], runs: dict[int, list[Found]]) -> None:
    """The table, and by how much each column changes over the sizes."""
    print(
        "| area | shards | Mpx | wall s/Mpx | CPU s/Mpx | peak of a process, MiB | planned, MiB |"
    )
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    columns: dict[str, list[float]] = {"wall s/Mpx": [], "CPU s/Mpx": [], "peak memory": []}
    for times, job in jobs.items():
        wall, cpu = (
            median(run[name] for run in runs[times]) / job.megapixels
            for name in ("wall_s", "cpu_s")
        )
        peak, planned = (
            max(run[name] for run in runs[times]) for name in ("peak_mib", "planned_mib")
        )
        for column, value in zip(columns.values(), (wall, cpu, peak), strict=True):
            column.append(value)
        size = f"{times} | {job.first_pass.tasks} | {job.megapixels:.2f}"
        print(f"| {size} | {wall:.3f} | {cpu:.3f} | {peak:.0f} | {planned:.0f} |")
    print()
    for name, values in columns.items():
        change = 100 * (max(values) / min(values) - 1)
        print(f"{name}: largest over smallest {change:+.1f} % (goal: under 10)")


def _job(chosen: argparse.Namespace, times: int, folder: Path) -> Job:
    """A scene of so many times the area; its edges grow by the root."""
    edge = chosen.edge * chosen.shard * round(times**0.5)
    mosaics = chosen.mosaics or folder
    return Job(
        shape=(edge, edge),
        ratio=chosen.ratio,
        method=chosen.method,
        shard=chosen.shard,
        threads=None if chosen.workers else chosen.threads,
        store=folder / f"{times}.zarr",
        keep=chosen.keep,
        fitted=folder / "model.lift",
        file=None if chosen.painted else mosaics / f"mosaic-{edge}.zarr",
        checked=False,
    )


@contextmanager
def _cluster(workers: int) -> Iterator[Any]:
    """Workers that are set as ``examples/hpc/dask.yaml`` sets them."""
    from distributed import Client, LocalCluster

    settings = {"threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    advised = yaml.safe_load(ADVISED.read_text())
    with (
        dask.config.set(dask.config.merge(dask.config.config, advised)),
        LocalCluster(n_workers=workers, **settings) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, nargs="+", default=(1, 4, 16, 64), help="areas")
    parser.add_argument("--edge", type=int, default=6, help="of the smallest scene, in shards")
    parser.add_argument("--shard", type=int, default=1280, help="edge, a multiple of the ratio")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--workers", type=int, default=0, help="processes, instead of threads")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--ratio", type=int, default=20)
    parser.add_argument("--method", default="sin")
    parser.add_argument("--mosaics", type=Path, help="folder of mosaics, kept and used again")
    parser.add_argument("--painted", action="store_true", help="paint mosaics where they are read")
    parser.add_argument("--keep", choices=("all", "pyramid", "sample"), default="all")
    return parser.parse_args()


if __name__ == "__main__":
    main()
