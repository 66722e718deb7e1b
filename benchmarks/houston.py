"""Fuse a mosaic as large as Houston's, 83440 x 24040 pixels and 50 bands, and say what it took.

    python benchmarks/houston.py --shards 8
    python benchmarks/houston.py --shards 8 --file
    python benchmarks/houston.py --full --store houston.zarr --keep pyramid

The scene is made up, and its mosaic is painted where it is read: that is what "read" means here.
With ``--file`` the tiles under the shards are painted into a Zarr store before, and read from it.
With ``--shards`` some shards, spread over the mosaic, are written as one of many parts writes them;
then their steps are run by themselves on the same blocks, each as parallel as the run was. With
``--full`` everything is written: a run that was stopped goes on where it was when the same command
is given again. ``--keep pyramid`` is for disks that cannot hold it: see ``discarding.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from costs import alone
from discarding import attempts, discarded
from mosaic import Job, fit_on_cube, fit_on_part, write_cube, write_mosaic
from steps import STEPS, Index, Steps

import lift_xr

MEGA, GIGA = 1e6, 1e9
CELLS = 256  # edge of the part of the cube that the model of a few shards is fitted on
PURE = ("read", "maths", "codec and I/O")


def main() -> None:
    """Fit, fuse and report."""
    chosen = _arguments()
    with _store(chosen.store) as store:
        job = Job(
            shape=tuple(chosen.shape),
            ratio=chosen.ratio,
            method=chosen.method,
            shard=chosen.shard,
            threads=chosen.threads,
            store=store,
            keep=chosen.keep if chosen.full else "all",
            file=store.with_name(store.stem + "-msi.zarr") if chosen.file else None,
        )
        print(f"{job.scene()}\n{job.first_pass.tasks} shards, {job.threads} threads\n", flush=True)
        fit(job, chosen.cells or (None if chosen.full else CELLS))
        if chosen.full:
            _note(job, "plan", **alone(foreseen, job))
            _note(job, "fuse", **alone(fuse_all, job))
            report_full(job)
        else:
            if job.file is not None:
                alone(write_mosaic, job, only=some(job, chosen.shards)[2])
            report_part(job, alone(fuse_some, job, chosen.shards, chosen.pairs))


def fit(job: Job, cells: int | None) -> None:
    """Make the model, if an earlier attempt has not: from a part of the cube, or all of it."""
    if job.model.exists():
        return
    if cells is None:
        _note(job, "hsi", **alone(write_cube, job).plain())
        _note(job, "fit", **alone(fit_on_cube, job).plain())
    else:
        _note(job, "fit", **alone(fit_on_part, job, cells).plain())


def fuse_all(job: Job) -> dict[str, Any]:
    """Write what is not written yet; an interrupted run exits as the command line does."""
    load = os.getloadavg()
    try:
        costs = job.write(resume=True)
    except KeyboardInterrupt:
        raise SystemExit(75) from None
    return costs.plain() | {"pid": os.getpid(), "load": [load, os.getloadavg()]}


def fuse_some(job: Job, shards: int, pairs: int) -> dict[str, Any]:
    """Write some shards as a part of many, then their steps by themselves; several times."""
    middle, parts, indices = some(job, shards)
    runs = []
    for _ in range(pairs):
        shutil.rmtree(job.store, ignore_errors=True)
        costs = job.write(part=(middle, parts))
        stored = {"bytes": _bytes(job.store), "files": _files(job.store)}
        steps = Steps(job, job.store).run(indices)
        runs.append(costs.plain() | stored | {"steps": steps.wall, "cpu_steps": steps.cpu})
    return {"indices": indices, "runs": runs} | foreseen(job)


def some(job: Job, shards: int) -> tuple[int, int, list[Index]]:
    """Find a part that has about so many shards, spread over the mosaic: ``(i, n)``, and which."""
    parts = max(1, job.first_pass.tasks // shards)
    middle = parts // 2 + 1
    return middle, parts, [*np.ndindex(job.first_pass.grid)][middle - 1 :: parts]


def foreseen(job: Job) -> dict[str, float]:
    """What ``lift_xr.plan`` says of all shards, after it has done one."""
    with job.in_threads():
        model = lift_xr.load_model(job.model)
        told = lift_xr.plan(job.msi(), model, shard=job.shard, device="cpu")
    return {
        "planned_mib": told.peak_memory / 2**20,
        "planned_s": told.seconds or float("nan"),
        "planned_gb": (told.stored_bytes or float("nan")) / GIGA,
        "files": told.files,
    }


def report_part(job: Job, found: dict[str, Any]) -> None:
    """What some shards took, what their steps take by themselves, and what all would take."""
    runs = found["runs"]
    area = sum(_megapixels(job, index) for index in found["indices"])
    names = ("wall_s", "cpu_s", "bytes", "files")
    wall, cpu, size, files = (median(run[name] for run in runs) for name in names)
    print(f"{len(found['indices'])} shards, {area:.2f} Mpx, {len(runs)} times; medians\n")
    table(
        {
            "wall, s": f"{wall:.2f}",
            "CPU, s": f"{cpu:.2f}",
            "Mpx/s": f"{area / wall:.3f}",
            "CPU s per Mpx": f"{cpu / area:.3f}",
            "peak memory, MiB": f"{max(run['peak_mib'] for run in runs):.0f}",
            "of it before the first shard": f"{min(run['base_mib'] for run in runs):.0f}",
            "planned, MiB": f"{found['planned_mib']:.0f}",
            "stored, GB": f"{size / GIGA:.3f}",
            "files": f"{files:.0f}",
        }
    )
    print("\nThe steps by themselves, on the same blocks\n\n| step | wall, s | CPU, s |")
    print("| --- | ---: | ---: |")
    for name in STEPS:
        seconds = (median(run[which][name] for run in runs) for which in ("steps", "cpu_steps"))
        print(f"| {name} | {' | '.join(f'{each:.2f}' for each in seconds)} |")
    print()
    for told, names in (("all steps", STEPS), (" + ".join(PURE), PURE)):
        for kind, whole, parts in (("wall", "wall_s", "steps"), ("CPU", "cpu_s", "cpu_steps")):
            ratios = [run[whole] / sum(run[parts][name] for name in names) for run in runs]
            print(f"{kind} / ({told}): {median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})")
    times = job.megapixels / area
    print(
        f"\nAll {job.first_pass.tasks} shards, by area: {times * wall / 3600:.2f} h of wall time, "
        f"{times * cpu / 3600:.2f} h of CPU time, {times * size / GIGA:.0f} GB, "
        f"up to {found['files']} files; plan says {found['planned_s'] / 3600:.2f} h and "
        f"{found['planned_gb']:.0f} GB"
    )


def report_full(job: Job) -> None:
    """What everything took, all attempts together."""
    log = discarded(job.store)
    ended = [line for line in _notes(job) if line["step"] == "fuse"]
    killed = attempts(job.store)
    for line in ended:
        killed.pop(line["pid"], None)
    runs = [*ended, *killed.values()]
    wall, cpu = (sum(run[name] for run in runs) for name in ("wall_s", "cpu_s"))
    gone = [line for line in log.values() if not _shard_file(job, line).exists()]
    planned = median(line["planned_s"] for line in _notes(job) if line["step"] == "plan")
    table(
        {
            "attempts": f"{len(runs)}",
            "wall, s": f"{wall:.0f}",
            "wall, s, as plan says": f"{planned:.0f}",
            "CPU, s": f"{cpu:.0f}",
            "Mpx/s": f"{job.megapixels / wall:.3f}",
            "CPU s per Mpx": f"{cpu / job.megapixels:.3f}",
            "peak memory, MiB": f"{max(run['peak_mib'] for run in runs):.0f}",
            "shards checked as written": f"{len(log)}",
            "seconds spent checking": f"{sum(line['check_s'] for line in log.values()):.0f}",
            "shards dropped": f"{len(gone)}",
            "GB dropped": f"{sum(line['bytes'] for line in gone) / GIGA:.2f}",
            "files kept": f"{_files(job.store)}",
            "GB kept": f"{_bytes(job.store) / GIGA:.2f}",
        }
    )


def table(rows: dict[str, str]) -> None:
    """Two columns of markdown."""
    print("| | |\n| --- | ---: |")
    for name, value in rows.items():
        print(f"| {name} | {value} |")


def _note(job: Job, step: str, **found: Any) -> None:
    """Keep what a step took beside the store, for the report and for the attempts to come."""
    line = json.dumps({"step": step, **found})
    print(line, flush=True)
    with job.beside("-runs.jsonl").open("a") as notes:
        notes.write(line + "\n")


def _notes(job: Job) -> list[dict[str, Any]]:
    return [json.loads(line) for line in job.beside("-runs.jsonl").read_text().splitlines()]


def _shard_file(job: Job, line: dict[str, Any]) -> Path:
    return job.store / line["array"] / "c" / Path(*map(str, line["shard"]))


def _megapixels(job: Job, index: Index) -> float:
    """Of one block."""
    along_y, along_x = job.first_pass.layouts[0].blocks[-2:]
    return along_y[index[-2]] * along_x[index[-1]] / MEGA


def _bytes(folder: Path) -> int:
    return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())


def _files(folder: Path) -> int:
    return sum(each.is_file() for each in folder.rglob("*"))


@contextmanager
def _store(given: Path | None) -> Iterator[Path]:
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "houston.zarr"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--shards", type=int, default=8, help="measure about so many (default 8)")
    which.add_argument("--full", action="store_true", help="write all of them")
    parser.add_argument("--store", type=Path, help="where to; a temporary folder if not given")
    parser.add_argument("--file", action="store_true", help="read the mosaic from a file")
    parser.add_argument("--keep", choices=("all", "pyramid", "sample"), default="all")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--pairs", type=int, default=3, help="repetitions, with --shards")
    parser.add_argument("--cells", type=int, help="fit on the middle of the cube, so many squared")
    parser.add_argument("--shape", type=int, nargs=2, default=(83440, 24040))
    parser.add_argument("--ratio", type=int, default=20)
    parser.add_argument("--shard", type=int, default=1280)
    parser.add_argument("--method", default="sin")
    return parser.parse_args()


if __name__ == "__main__":
    main()
