"""Fuse a mosaic as large as Houston's, 83440 x 24040 pixels and 50 bands, and say what it took.

    python benchmarks/houston.py --shards 8
    python benchmarks/houston.py --full --store houston.zarr --keep pyramid

The scene is made up, and its mosaic is painted where it is read; that is the "reading" here, about
as dear as decoding a compressed file. With ``--shards`` some shards, spread over the mosaic, are
written as one of many parts would write them; then their steps are run by themselves on the same
blocks, each as parallel as the run was. With ``--full`` everything is: a run that is stopped goes
on where it was when the same command is given again. ``--keep pyramid`` is for disks that cannot
hold 200 GB: see ``discarding.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import dask
import numpy as np
import xarray as xr
import zarr
from costs import Costs, alone, measured
from discarding import Discarding, discarded

import lift_xr
from lift_xr.encode import encode_block
from lift_xr.io.codecs import one_codec_at_a_time
from lift_xr.overview import halve
from lift_xr.packing import Packing
from lift_xr.plan import Pass, passes_of

MEGA, GIGA = 1e6, 1e9
CELLS = 256  # edge of the part of the cube that a model for a few shards is fitted on
CUBE_SHARD = 256
STEPS = ("read", "maths", "quantise", "halve", "checksum", "codec and I/O")


@dataclass(frozen=True)
class Job:
    """What to fuse and where to write it; travels to the processes that do it."""

    shape: tuple[int, int]
    ratio: int
    method: str
    shard: int
    threads: int
    store: Path
    keep: str

    def scene(self) -> lift_xr.synthetic.Scene:
        """The two inputs, lazy."""
        return lift_xr.synthetic.scene(self.shape, self.ratio, block=self.shard)

    def fused(self) -> xr.DataArray:
        """The result, lazy."""
        return lift_xr.predict(lift_xr.load_model(self.model), self.scene().msi, device="cpu")

    def target(self) -> Any:
        """The store: a folder, or one that drops what it has checked."""
        if self.keep == "all":
            return self.store
        dropped = (
            ("0/reflectance",) if self.keep == "pyramid" else ("0/reflectance", "1/reflectance")
        )
        return Discarding(self.store, dropped=dropped)

    @property
    def model(self) -> Path:
        """The fitted model's file, beside the store."""
        return self.store.with_name(f"{self.store.stem}.lift")

    @property
    def cube(self) -> Path:
        """The cube's store, beside the store."""
        return self.store.with_name(f"{self.store.stem}-hsi.zarr")

    @property
    def runs(self) -> Path:
        """One line of JSON for every step that ended."""
        return self.store.with_name(f"{self.store.stem}-runs.jsonl")

    @property
    def first_pass(self) -> Pass:
        """How full resolution is cut; the bands do not matter here."""
        return passes_of((1, *self.shape), "uint16", shard=self.shard)[0]


def main() -> None:
    """Fit, fuse and report."""
    chosen = _arguments()
    with _folder(chosen.store) as store:
        job = Job(
            tuple(chosen.shape),
            chosen.ratio,
            chosen.method,
            chosen.shard,
            chosen.threads,
            store,
            chosen.keep if chosen.full else "all",
        )
        print(f"{job.scene()}\n{job.first_pass.tasks} shards, {job.threads} threads\n", flush=True)
        if chosen.full and not chosen.cells:
            fit_in_full(job)
        elif not job.model.exists():
            _note(job, "fit", alone(fit_on_part, job, chosen.cells or CELLS))
        if chosen.full:
            report_full(job, alone(fuse_all, job))
        else:
            report_part(job, alone(fuse_some, job, chosen.shards, chosen.pairs))


def fit_in_full(job: Job) -> None:
    """Write the whole cube as the file a person would have, and fit on it."""
    for name, step, made in (("hsi", write_cube, job.cube), ("fit", fit_on_cube, job.model)):
        if name == "hsi" or not made.exists():
            _note(job, name, alone(step, job))


def write_cube(job: Job) -> Costs:
    """The cube, painted once; resumable like any other run."""
    with _threads(job):
        cube = job.scene().hsi
        return measured(
            lambda: lift_xr.write_zarr(
                cube, job.cube, dtype="float32", shard=CUBE_SHARD, resume=True, progress=False
            )
        )[1]


def fit_on_cube(job: Job) -> Costs:
    """The model, from every cell of the cube."""
    with _threads(job):
        return measured(lambda: _fit(job, lift_xr.open_scene(job.cube)))[1]


def fit_on_part(job: Job, cells: int) -> Costs:
    """The model, from the middle of the cube, painted for it."""
    cube = job.scene().hsi
    middle = {
        dim: slice(max(0, (cube.sizes[dim] - cells) // 2), (cube.sizes[dim] + cells) // 2)
        for dim in ("y", "x")
    }
    with _threads(job):
        part = cube.isel(middle).load()
        return measured(lambda: _fit(job, part))[1]


def _fit(job: Job, cube: xr.DataArray) -> None:
    model = lift_xr.fit(cube, job.scene().srf, method=job.method, device="cpu", progress=False)
    model.save(job.model)


def fuse_all(job: Job) -> dict[str, Any]:
    """Write what is not written yet."""
    before = len(discarded(job.store))
    with _threads(job):
        fused = job.fused()
        load = os.getloadavg()
        run = lambda: lift_xr.write_zarr(  # noqa: E731
            fused, job.target(), shard=job.shard, resume=True, progress=False
        )
        try:
            _, costs = measured(run)
        except KeyboardInterrupt:
            raise SystemExit(75) from None
    return {"costs": costs, "checked_before": before, "load": (load, os.getloadavg())}


def fuse_some(job: Job, shards: int, pairs: int) -> dict[str, Any]:
    """Write some shards as a part of many, then their steps by themselves; in turn, several times."""
    parts = max(1, job.first_pass.tasks // shards)
    mine = [*np.ndindex(job.first_pass.grid)][parts // 2 :: parts]
    with _threads(job):
        fused, runs = job.fused(), []
        for number in range(pairs):
            store = job.store.with_name(f"{job.store.stem}-{number}.zarr")
            run = lambda: lift_xr.write_zarr(  # noqa: E731
                fused, store, shard=job.shard, part=(parts // 2 + 1, parts), progress=False
            )
            _, costs = measured(run)
            found = {"costs": costs, "bytes": _bytes(store), "alone": Steps(job, store).run(mine)}
            runs.append(found)
    return {"runs": runs, "indices": mine}


class Steps:
    """The steps of a task, each by itself on as many blocks at once as the run had threads."""

    def __init__(self, job: Job, store: Path) -> None:
        self.job = job
        self.each = passes_of((1, *job.shape), "uint16", shard=job.shard)[0]
        self.model = lift_xr.load_model(job.model)
        scene = job.scene()
        self.msi = scene.msi.data
        self.scale, self.offset = (
            np.float32(scene.msi.attrs[name]) for name in ("scale_factor", "add_offset")
        )
        group = zarr.open_group(store, mode="r+")
        self.levels = [group[f"{level}/reflectance"] for level in range(len(self.each.layouts))]
        self.flags = group["quality/flags"]
        attrs = self.levels[0].attrs
        self.packing = Packing(np.dtype("uint16"), attrs["scale_factor"], attrs["add_offset"])

    def run(self, indices: list[tuple[int, ...]]) -> dict[str, float]:
        """Seconds of wall time that every step took for all blocks."""
        self.seconds = dict.fromkeys(STEPS, 0.0)
        at_once = self.job.threads
        with ThreadPoolExecutor(at_once) as pool, one_codec_at_a_time():
            for start in range(0, len(indices), at_once):
                self._batch(pool, indices[start : start + at_once])
        return self.seconds

    def _batch(self, pool: ThreadPoolExecutor, indices: list[tuple[int, ...]]) -> None:
        def step(name: str, work: Callable[..., Any], *each: Any) -> list[Any]:
            start = time.perf_counter()
            done = [*pool.map(work, *each)]
            self.seconds[name] += time.perf_counter() - start
            return done

        blocks = step("read", self._read, indices)
        lifted = step("maths", lambda block: self.model(block, "cpu"), blocks)
        encoded = step("quantise", lambda block: encode_block(block, self.packing), lifted)
        del blocks, lifted
        pyramids = step("halve", lambda each: self._pyramid(each.codes), encoded)
        step(
            "checksum",
            lambda each: [crc32(np.ascontiguousarray(level)) for level in each],
            pyramids,
        )
        step("codec and I/O", self._write, indices, pyramids, [each.flags for each in encoded])

    def _read(self, index: tuple[int, ...]) -> np.ndarray:
        block = self.msi.blocks[0, index[-2], index[-1]].compute(scheduler="synchronous")
        return block.astype("float32") * self.scale + self.offset

    def _pyramid(self, codes: np.ndarray) -> list[np.ndarray]:
        levels = [codes]
        while len(levels) < len(self.each.layouts):
            levels.append(halve(levels[-1], self.packing))
        return levels

    def _write(self, index: tuple[int, ...], levels: list[np.ndarray], flags: np.ndarray) -> None:
        for array, values in zip([*self.levels, self.flags], [*levels, flags], strict=True):
            edges = (array.shards or array.chunks)[-2:]
            starts = [place * edge for place, edge in zip(index[-2:], edges, strict=True)]
            y, x = (
                slice(at, at + size) for at, size in zip(starts, values.shape[-2:], strict=True)
            )
            array[..., y, x] = values


def report_part(job: Job, found: dict[str, Any]) -> None:
    """What some shards took, what their steps take by themselves, and what all would take."""
    runs, indices = found["runs"], found["indices"]
    area = sum(_area(job, index) for index in indices)
    total = job.shape[0] * job.shape[1] / MEGA
    costs: list[Costs] = [run["costs"] for run in runs]
    wall, cpu = (
        statistics.median(getattr(each, name) for each in costs) for name in ("wall_s", "cpu_s")
    )
    size = statistics.median(run["bytes"] for run in runs)
    print(f"{len(indices)} shards, {area:.2f} Mpx, {len(runs)} times; medians\n")
    _table(
        {
            "wall, s": f"{wall:.2f}",
            "CPU, s": f"{cpu:.2f}",
            "Mpx/s": f"{area / wall:.3f}",
            "CPU s per Mpx": f"{cpu / area:.3f}",
            "peak memory, MiB": f"{max(each.peak_mib for each in costs):.0f}",
            "of it above what the imports hold": f"{max(each.above_mib for each in costs):.0f}",
            "stored, GB": f"{size / GIGA:.3f}",
        }
    )
    steps = {name: statistics.median(run["alone"][name] for run in runs) for name in STEPS}
    print("\nThe steps by themselves, wall seconds for the same blocks\n")
    _table({name: f"{seconds:.2f}" for name, seconds in steps.items()})
    few = ("read", "maths", "codec and I/O")
    for told, names in (("all steps", STEPS), (" + ".join(few), few)):
        ratios = [run["costs"].wall_s / sum(run["alone"][name] for name in names) for run in runs]
        print(
            f"\nwall / ({told}): {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        )
    print(
        f"\nAll {job.first_pass.tasks} shards, by area: {total / area * wall / 3600:.2f} h of wall "
        f"time, {total / area * cpu / 3600:.2f} h of CPU time, {total / area * size / GIGA:.0f} GB"
    )


def report_full(job: Job, found: dict[str, Any]) -> None:
    """What everything took, earlier attempts included."""
    costs: Costs = found["costs"]
    log = discarded(job.store)
    here = len(log) - found["checked_before"]
    _note(job, "fuse", costs, shards_checked=here, load=found["load"])
    runs = [json.loads(line) for line in job.runs.read_text().splitlines()]
    fusing = [run for run in runs if run["step"] == "fuse"]
    wall, cpu = (sum(run[name] for run in fusing) for name in ("wall_s", "cpu_s"))
    kept, files = _bytes(job.store), sum(each.is_file() for each in job.store.rglob("*"))
    gone = [line for line in log.values() if not _shard_file(job, line).exists()]
    area = job.shape[0] * job.shape[1] / MEGA
    _table(
        {
            "attempts": str(len(fusing)),
            "wall, s": f"{wall:.0f}",
            "CPU, s": f"{cpu:.0f}",
            "Mpx/s": f"{area / wall:.3f}",
            "CPU s per Mpx": f"{cpu / area:.3f}",
            "peak memory, MiB": f"{max(run['peak_mib'] for run in fusing):.0f}",
            "shards checked": str(len(log)),
            "of wall time, checking (s, all threads)": f"{sum(each['check_s'] for each in log.values()):.0f}",
            "kept, GB": f"{kept / GIGA:.2f}",
            "files kept": str(files),
            "checked and dropped, GB": f"{sum(line['bytes'] for line in gone) / GIGA:.2f}",
            "shards dropped": str(len(gone)),
        }
    )


def _shard_file(job: Job, line: dict[str, Any]) -> Path:
    return job.store / line["array"] / "c" / Path(*map(str, line["shard"]))


def _note(job: Job, step: str, costs: Costs, **more: Any) -> None:
    line = {"step": step, **costs.plain(), **more}
    print(json.dumps(line), flush=True)
    with job.runs.open("a") as runs:
        runs.write(json.dumps(line) + "\n")


def _table(rows: dict[str, str]) -> None:
    print("| | |\n| --- | ---: |")
    for name, value in rows.items():
        print(f"| {name} | {value} |")


def _area(job: Job, index: tuple[int, ...]) -> float:
    """Megapixels of one block."""
    blocks = job.first_pass.layouts[0].blocks[-2:]
    rows, columns = (along[place] for along, place in zip(blocks, index[-2:], strict=True))
    return rows * columns / MEGA


def _bytes(folder: Path) -> int:
    return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())


@contextmanager
def _folder(store: Path | None) -> Iterator[Path]:
    if store is not None:
        yield store
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "houston.zarr"


def _threads(job: Job) -> Any:
    return dask.config.set(scheduler="threads", num_workers=job.threads)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--shards", type=int, default=8, help="measure about so many (default 8)")
    which.add_argument("--full", action="store_true", help="write all of them")
    parser.add_argument("--store", type=Path, help="where to; a temporary folder if not given")
    parser.add_argument("--keep", choices=("all", "pyramid", "sample"), default="all")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--pairs", type=int, default=3, help="repetitions, with --shards")
    parser.add_argument("--cells", type=int, help="edge of the part of the cube to fit on")
    parser.add_argument("--shape", type=int, nargs=2, default=(83440, 24040))
    parser.add_argument("--ratio", type=int, default=20)
    parser.add_argument("--shard", type=int, default=1280)
    parser.add_argument("--method", default="sin")
    return parser.parse_args()


if __name__ == "__main__":
    main()
