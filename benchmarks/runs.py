"""Train a method on a degraded scene and keep what came out: one CSV per method, resumable.

Every result is measured in a process of its own, on one thread, so that its memory and its seconds
are its own; as many run side by side as there are cores.
"""

from __future__ import annotations

import csv
import multiprocessing
import os
import resource
import subprocess
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import distributed  # noqa: F401  dask imports it when it first computes: a second of each child
import numpy as np
import published
import torch
import xarray as xr
from methods import find, sees_hsi
from real_scenes import RESULTS, scenes

import lift_xr

CASE = {"scene": "", "psf": "gaussian", "ratio": 4, "msi_bands": 4}
PROTOCOL = {"axis": "papers", "kernels": "published", "msi_snr": published.MSI_SNR}
KEY = (*CASE, *PROTOCOL)
SCORES = ("PSNR", "SAM", "SSIM", "RMSE", "ERGAS", "UIQI")
COSTS = ("training_s", "cpu_s", "lift_s", "parameters", "flops_per_pixel", "peak_mib")
FIELDS = (*KEY, "seed", *SCORES, *COSTS, "code", "note")
Identity = tuple[str, ...]
Results = dict[str, list[dict]]
"""By method, one for each row and seed."""


def run_missing(rows: list[dict], methods: Iterable[str], seeds: Iterable[int]) -> Results:
    """All results of each method, those of earlier runs read back from its CSV.

    What is missing of all methods waits in one queue, so that no core is idle while another method
    ends; every CSV is written after each result of its own.
    """
    rows = [PROTOCOL | row | {"seed": seed} for row in rows for seed in seeds]
    known = {method: earlier(method) for method in methods}
    missing = {
        method: [each for name, each in wanted(rows, method).items() if name not in done]
        for method, done in known.items()
    }
    number = Counter[str]()
    for method, found in side_by_side([(each, row) for each in missing for row in missing[each]]):
        known[method][identity(found)] = found
        write(results_of(method), known[method].values())
        number[method] += 1
        place = f"{number[method]}/{len(missing[method])}"
        told = [f"{found[name]:.2f}" for name in ("PSNR", "SAM", "ERGAS", "training_s", "cpu_s")]
        print(method, place, *identity(found), *told, found["note"], flush=True)
    found = {
        method: [
            done[identity(stands_for(row, method))] | {key: row[key] for key in KEY} for row in rows
        ]
        for method, done in known.items()
    }
    if len(used := versions(found)) > 1:
        print(f"Warning: these results are of {len(used)} versions of lift_xr: {', '.join(used)}")
    return found


def results_of(method: str) -> Path:
    """Where the results of a method are kept."""
    return RESULTS / f"{method}.csv"


def earlier(method: str) -> dict[Identity, dict]:
    """Results of earlier runs; what was refused is not among them, and so is tried again."""
    return {identity(each): each for each in read(results_of(method)) if not each.get("note")}


def wanted(rows: list[dict], method: str) -> dict[Identity, dict]:
    """What is to be measured, once where one result serves several rows."""
    return {identity(each): each for each in (stands_for(row, method) for row in rows)}


def side_by_side(tasks: list[tuple[str, dict]]) -> Iterator[tuple[str, dict]]:
    """Measure rows of methods, as many at a time as there are cores; each is given when done."""
    waiting = iter(sorted(tasks, key=lambda task: -pixels_seen(*task)))  # the long ones not last
    running: dict[Connection, tuple[str, dict, multiprocessing.process.BaseProcess]] = {}
    while True:
        while len(running) < cores() and (task := next(waiting, None)) is not None:
            reply, child = begin(*task)
            running[reply] = *task, child
        if not running:
            return
        for reply in wait(list(running)):
            assert isinstance(reply, Connection)
            method, *measuring = running.pop(reply)
            yield method, measured_by(reply, *measuring)


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pixels_seen(method: str, row: dict) -> int:
    """How many pixels a method trains on, which its time depends on most."""
    sizes, ratio = load(row["scene"]).sizes, int(row["ratio"]) if sees_hsi(method) else 1
    return (sizes["y"] // ratio) * (sizes["x"] // ratio)


def stands_for(row: dict, method: str) -> dict:
    """Give the row whose result is this one's too: where a method never sees the cube, its PSF."""
    row = PROTOCOL | row
    if sees_hsi(method):
        return row
    sizes = load(row["scene"]).sizes
    used = [sizes[dim] // int(row["ratio"]) * int(row["ratio"]) for dim in ("y", "x")]
    alike = [
        ratio
        for ratio in published.HSI_SNR
        if [sizes[dim] // ratio * ratio for dim in ("y", "x")] == used
    ]
    return row | {"psf": "any", "kernels": "any", "ratio": min(alike)}


@lru_cache(maxsize=16)
def load(name: str) -> xr.DataArray:
    """One scene without its bad bands: the largest part of it that lacks no pixel."""
    cube = scenes().load(name)
    if "good_wavelength" in cube.coords:
        cube = cube.isel(band=cube["good_wavelength"].to_numpy())
    rows, columns = largest(np.isfinite(cube.to_numpy()).all(axis=0))
    return cube.isel(y=rows, x=columns)


def largest(valid: np.ndarray) -> tuple[slice, slice]:
    """Find the largest rectangle of valid pixels, given (y, x)."""
    height, width = valid.shape
    if valid.all():
        return slice(0, height), slice(0, width)
    best, found = 0, (slice(0), slice(0))
    above = np.zeros(width, int)  # valid pixels in a run that ends in this row
    for y in range(height):
        above = np.where(valid[y], above + 1, 0)
        for left in range(width):
            if left and above[left] == above[left - 1] and above[left]:
                continue
            low = np.minimum.accumulate(above[left:])
            areas = low * np.arange(1, width - left + 1)
            right = int(areas.argmax())
            if areas[right] > best:
                best = int(areas[right])
                found = slice(y - int(low[right]) + 1, y + 1), slice(left, left + right + 1)
    return found


def begin(method: str, row: dict) -> tuple[Connection, multiprocessing.process.BaseProcess]:
    """Have a child train on one degraded scene and score the lifted MSI against the truth."""
    load(row["scene"])  # here, so that children share it
    ours, theirs = multiprocessing.Pipe(duplex=False)
    context = multiprocessing.get_context("fork")  # nothing has computed here, so no thread is lost
    child = context.Process(target=answer, args=(theirs, row, method, int(row["seed"])))
    child.start()
    theirs.close()
    return ours, child


def measured_by(
    reply: Connection, row: dict, child: multiprocessing.process.BaseProcess
) -> dict[str, Any]:
    """Take what a child found; a note where it ended without a word."""
    try:
        found = reply.recv()
    except EOFError:
        found = {"note": "its process ended"}
    child.join()
    empty = dict.fromkeys((*SCORES, *COSTS), float("nan"))
    kept = {key: row[key] for key in (*KEY, "seed")} | {"code": code(), "note": ""}
    return kept | empty | found


@lru_cache(maxsize=1)
def code() -> str:
    """The commit that changed last what results depend on, and a plus if it has changed since.

    That is ``lift_xr``, the methods that are the benchmark's own, and how it degrades. A dash where
    git does not know: one copy cannot be told from another.
    """
    here = Path(__file__).parent
    files = (Path(lift_xr.__file__).parent, here / "methods.py", here / "published.py")
    try:
        last = told_by("git", "-C", str(here), "log", "-1", "--format=%h", "--", *map(str, files))
        changed = told_by("git", "-C", str(here), "status", "--porcelain", "--", *map(str, files))
    except (OSError, subprocess.CalledProcessError):
        return "-"
    return f"{last}{'+' if changed else ''}" if last else "-"


def told_by(*command: str) -> str:
    """What a command prints, without the blanks around it."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def versions(found: Results) -> list[str]:
    """Which ``lift_xr`` the results are of; those of before it was written down are unknown."""
    return sorted({each.get("code") or "unknown" for results in found.values() for each in results})


def answer(reply: Connection, row: dict, method: str, seed: int) -> None:
    """Measure one result and send it; what a method refuses is sent as a note."""
    warnings.simplefilter("ignore")  # one band says little, and other things known here
    torch.set_num_threads(1)
    try:
        reply.send(measured(row, method, seed))
    except Exception as error:  # a long run goes on with the next row
        reply.send({"note": f"{type(error).__name__}: {error}".splitlines()[0][:200]})


def measured(row: dict, method: str, seed: int) -> dict[str, float]:
    """Scores and costs of one result; ``lift_s`` is CPU seconds for a million pixels."""
    case = published.case(
        load(row["scene"]),
        ratio=int(row["ratio"]),
        msi_bands=int(row["msi_bands"]),
        psf="delta" if row["psf"] == "any" else row["psf"],
        axis=row["axis"],
        kernels="published" if row["kernels"] == "any" else row["kernels"],
        msi_snr=float(row["msi_snr"]),
    )
    before = forget_peak()
    start, start_cpu = time.perf_counter(), time.process_time()
    trained = find(method)(case, seed)
    costs = {
        "training_s": time.perf_counter() - start,
        "cpu_s": time.process_time() - start_cpu,
        "parameters": trained.parameters,
        "flops_per_pixel": trained.flops,
    }
    start_cpu = time.process_time()
    lifted = trained.lift()
    spent = time.process_time() - start_cpu
    costs["peak_mib"] = peak_mib() - before
    costs["lift_s"] = spent * 1e6 / case.reference[0].size
    expect_finite(lifted)
    return {**published.scores(lifted, case.reference), **costs}


def expect_finite(lifted: published.Floats) -> None:
    """Refuse values that the scores, which leave missing pixels out, would forgive."""
    if wrong := int((~np.isfinite(lifted)).sum()):
        raise ValueError(f"{wrong:,} of {lifted.size:,} lifted values are not finite")


def forget_peak() -> float:
    """Let the peak memory of this process start again; give what is held now, in MiB."""
    if (clear := Path("/proc/self/clear_refs")).exists():  # Linux; elsewhere it cannot be done
        clear.write_text("5")
    return status_mib("VmRSS")


def peak_mib() -> float:
    """Most memory this process has held since, in MiB."""
    return max(status_mib("VmHWM"), status_mib("VmRSS"))


def status_mib(name: str) -> float:
    """Read one line of what Linux says about this process; elsewhere the peak since its start."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    (line,) = (each for each in status.read_text().splitlines() if each.startswith(name))
    return int(line.split()[1]) / 1024


def of(row: dict, found: list[dict]) -> list[dict]:
    """The results of one row, one for each seed."""
    row = PROTOCOL | row
    return [each for each in found if all(str(each[key]) == str(row[key]) for key in KEY)]


def mean(found: list[dict], name: str) -> float:
    """Mean of one column; NaN where earlier runs did not measure it."""
    values = [float(each[name]) for each in found if each.get(name) not in (None, "")]
    return float(np.mean(values)) if values else float("nan")


def identity(row: dict[str, Any]) -> Identity:
    """What one result is of."""
    return tuple(str(row[key]) for key in (*KEY, "seed"))


def read(path: Path) -> list[dict]:
    """Results of earlier runs."""
    if not path.exists():
        return []
    with path.open() as file:
        return [PROTOCOL | each for each in csv.DictReader(file)]


def write(path: Path, rows: Iterable[dict]) -> None:
    """Keep the results, in one step."""
    path.parent.mkdir(exist_ok=True, parents=True)
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    partial.replace(path)
