"""Kill runs with SIGKILL at random moments, finish them, and compare them with one left alone.

Three ways to be killed: the whole run (one process of two threads), one worker of a cluster of two
(the run goes on), and one of four processes that share a store (``part=(i, 4)``; the others go on).
Most kills come at any moment of the run. Some are aimed: at a shard that the process has just
begun, at the making of the store, and at its completion, once all shards are begun. Every kill has
a store of its own, which is then finished and compared file by file. A
diary that the tasks keep tells which shards were started; the record, as the process left it, which
were done. What was started and not done was in flight: no more than that may be started again. The
diary tells by their size the windows that are compared with what is written, which may be read
again: one before a process goes on with the work of others, and one of each of a part's neighbours.

    python benchmarks/kills.py --kills 51 --aimed 6
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import multiprocessing
import os
import random
import shutil
import signal
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import dask
import dask.array as da
import numpy as np
import xarray as xr

import lift_xr
from lift_xr import synthetic
from lift_xr.io.alike import EDGE
from lift_xr.io.record import all_progress

PROCESSES = multiprocessing.get_context("forkserver")
# Import once, not once a process; not every Python finds __main__ there.
PROCESSES.set_forkserver_preload(["distributed", "rioxarray", "lift_xr.models", "__main__"])
PARTS = 4
BEGUN = 0.05  # seconds between the beginning of a shard and its reading
NEVER = 1e6  # seconds
TASK = 0.2  # seconds that a task takes about, with these: a kill comes anywhere within
MAKING = 0.1  # seconds from the first file of a store to its first shard, about
COMPLETING = 1.0  # seconds from the beginning of the last shard to the end, about
SHARD, LOOK, OTHER = "shard", "look", "other"  # what a task reads, as the diary calls it
When = Literal["at any moment", "in a task", "as it is made", "as it is completed"]
ANY, *AIMED = get_args(When)
Index = tuple[int, ...]


@dataclass(frozen=True)
class Place:
    """Where one run reads, writes and keeps its diary."""

    inputs: Path
    store: Path
    diary: Path
    shard: int
    shards: int = 0  # once that is known

    def lines(self) -> list[tuple[str, str, Index]]:
        """Read the diary: who began with what, a shard or a look, and where."""
        lines = self.diary.read_text().splitlines() if self.diary.exists() else []
        return [(pid, what, (0, int(y), int(x))) for pid, what, y, x in map(str.split, lines)]

    def started(self) -> list[Index]:
        """List the shards that tasks began with, as often as they did."""
        return [index for _, what, index in self.lines() if what == SHARD]

    def looks(self) -> int:
        """Count the windows that were compared with what was written."""
        return sum(what == LOOK for _, what, _ in self.lines())

    def started_by(self, pid: int) -> set[Index]:
        """List the shards that one process began with."""
        return {index for by, what, index in self.lines() if (by, what) == (str(pid), SHARD)}

    def done(self) -> set[Index]:
        """List the shards of full resolution that the record calls done."""
        with contextlib.suppress(FileNotFoundError, KeyError):
            return set(map(tuple, np.argwhere(all_progress(self.store)[0].done)))
        return set()

    def left_by(self, pid: int) -> Left:
        """Read what a process left, which does nothing more."""
        started, done = self.started_by(pid), self.done()
        return Left(started - done, amid=bool(started) and len(done) < self.shards)


@dataclass(frozen=True)
class Moment:
    """When to kill: after so many seconds of the run, or within what it is aimed at."""

    seconds: float
    when: When


@dataclass(frozen=True)
class Left:
    """What a process left that was killed.

    Parameters
    ----------
    in_flight
        The shards that it had begun, and not recorded as done.
    amid
        Whether it had begun any, while not all were done: it was neither making the store, nor at
        overviews or the end.
    """

    in_flight: set[Index]
    amid: bool


Ending = Left | float  # what was left, or the seconds that a run took which had ended


@dataclass(frozen=True)
class Outcome:
    """What one kill did."""

    in_flight: int
    amid: bool
    redone: int
    compared: int
    wrongly: int
    same: bool

    @classmethod
    def of(cls, left: Left, place: Place, *, same: bool) -> Outcome:
        """Count the shards that were done again, and those of them that were not in flight."""
        started = place.started()
        again = Counter(started) - Counter(set(started))
        redone = sum(min(1, again[index]) for index in left.in_flight)
        wrongly = again.total() - redone
        return cls(len(left.in_flight), left.amid, redone, place.looks(), wrongly, same)


@dataclass(frozen=True)
class Noted:
    """A mosaic that writes down who reads which window: a shard, or less to look at.

    In one line that nobody else's can cut in two. A shard is begun some time before it is read, so
    that there is something to kill. It lies at ``path``, whose files everybody leaves word of.
    """

    data: Any
    diary: str
    edge: int
    path: str

    def __getattr__(self, name: str) -> Any:
        """Its shape and dtype, as dask asks for them."""
        if name not in ("shape", "dtype", "ndim"):
            raise AttributeError(name)
        return getattr(self.__dict__["data"], name)

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        """Read a window."""
        spans = [each.indices(size) for each, size in zip(index, self.shape, strict=True)][-2:]
        whole = all(
            start % self.edge == 0 and stop == min(start + self.edge, size)
            for (start, stop, _), size in zip(spans, self.shape[-2:], strict=True)
        )
        (y, _, _), (x, _, _) = spans
        look = all(stop - start == EDGE for start, stop, _ in spans)
        what = SHARD if whole else LOOK if look else OTHER
        with open(self.diary, "a", buffering=1) as file:
            file.write(f"{os.getpid()} {what} {y // self.edge} {x // self.edge}\n")
        time.sleep(BEGUN if whole else 0)
        return np.asarray(self.data[index].compute(scheduler="synchronous"))


def fused(place: Place) -> xr.DataArray:
    """The lifted mosaic, whose tasks keep a diary."""
    path = place.inputs / "msi.zarr"
    msi = lift_xr.open_scene(path)
    noted = da.from_array(
        Noted(msi.data, str(place.diary), place.shard, str(path)),
        chunks=(-1, place.shard, place.shard),
        name=f"noted-{place.diary.name}",
        meta=np.empty((0, 0, 0), "float32"),
    )
    model = lift_xr.load_model(place.inputs / "model.lift")
    return lift_xr.predict(model, msi.copy(data=noted), device="cpu")


def await_moment(
    place: Place, pid: int | None, over: Callable[[float], Any], moment: Moment
) -> None:
    """Wait for a moment of the run, or its end: ``over`` waits so long for that, and says so."""

    def wait_for(begun: Callable[[], bool], *, lasts: float) -> None:
        while not over(BEGUN / 20) and not begun():
            pass
        over(moment.seconds % lasts)

    if moment.when == "as it is made":
        wait_for(place.store.exists, lasts=MAKING)
    elif moment.when == "as it is completed":
        wait_for(lambda: len({*place.started()}) == place.shards, lasts=COMPLETING)
    else:
        over(moment.seconds)
    if moment.when == "in a task":
        before = len(place.started_by(pid or 0))
        wait_for(lambda: len(place.started_by(pid or 0)) > before, lasts=TASK)


def write(place: Place, *, threads: int = 2, **settings: Any) -> None:
    """Write the store, or what is left of it."""
    with dask.config.set(scheduler="threads", num_workers=threads):
        write_anywhere(place, **settings)


def write_anywhere(place: Place, **settings: Any) -> None:
    """Write it wherever dask runs tasks."""
    settings |= {"shard": place.shard, "progress": False}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* were clipped")  # no matter here, and said every time
        lift_xr.write_zarr(fused(place), place.store, **settings)


def kill_process(process: Any, place: Place, moment: Moment) -> Ending:
    """Kill a process at a moment of its run."""

    def over(seconds: float) -> bool:
        process.join(seconds)
        return not process.is_alive()

    start = time.perf_counter()
    await_moment(place, process.pid, over, moment)
    lasted = time.perf_counter() - start
    process.kill()
    process.join()
    return place.left_by(process.pid) if process.exitcode == -signal.SIGKILL else lasted


def kill_whole_run(place: Place, moment: Moment) -> Ending:
    """Kill the one process that writes, then finish what it left."""
    process = PROCESSES.Process(target=write, args=(place,), kwargs={"resume": True})
    process.start()
    left = kill_process(process, place, moment)
    write(place, resume=True)
    return left


def kill_one_part(place: Place, moment: Moment, *, which: int) -> Ending:
    """Kill one of the processes that share the store; the others go on, then it is run again."""
    run = partial(PROCESSES.Process, target=write, args=(place,))
    parts = [run(kwargs={"part": (i, PARTS), "threads": 1}) for i in range(1, PARTS + 1)]
    for each in parts:
        each.start()
    left = kill_process(parts[which % PARTS], place, moment)
    for each in parts:
        each.join()
    write(place, threads=1, part=(which % PARTS + 1, PARTS))
    return left


def kill_one_worker(place: Place, moment: Moment, *, which: int) -> Ending:
    """Kill a worker of a cluster while a run goes on: it finishes by itself."""
    # A cluster of its own: a worker that is killed while it starts does not come back.
    with two_workers() as client:
        return kill_one_of(client, place, moment, which=which)


def kill_one_of(client: Any, place: Place, moment: Moment, *, which: int) -> Ending:
    """Kill one of the workers at a moment of the run."""
    pid = sorted(client.run(os.getpid).values())[which % 2]
    left = list[Left]()
    over = threading.Event()
    start = time.perf_counter()

    def kill() -> None:
        await_moment(place, pid, over.wait, moment)
        if not over.is_set():
            left.append(kill_still(pid, place))

    killer = threading.Thread(target=kill)
    killer.start()
    write_anywhere(place)
    over.set()
    killer.join()
    return left[0] if left else time.perf_counter() - start


def kill_still(pid: int, place: Place) -> Left:
    """Stop a process, read what it leaves, then kill it: it runs nothing between the two.

    Others take over what it had in flight as soon as it is dead, maybe before that could be read.
    """
    os.kill(pid, signal.SIGSTOP)
    while not all(each.read_text().split(")")[-1].split()[0] == "T" for each in threads_of(pid)):
        time.sleep(BEGUN / 100)
    left = place.left_by(pid)
    os.kill(pid, signal.SIGKILL)
    return left


def threads_of(pid: int) -> list[Path]:
    """List where the system tells the states of the threads of a process."""
    return list(Path(f"/proc/{pid}/task").glob("*/stat"))


COLUMNS = (
    "killed",
    "when",
    "kills",
    "before or after shards",
    "same bytes",
    "in flight",
    "at most",
    "redone",
    "compared",
    "too many",
)
COMPARING = {"run": 1, "worker": 0, "part": 3 * (PARTS + 1)}
"""Processes that go on with a store compare a window of one shard that is done, before they do; and
parts one of each of their two neighbours."""

KILLS: dict[str, Callable[..., Ending]] = {
    "run": lambda place, moment, which: kill_whole_run(place, moment),
    "worker": kill_one_worker,
    "part": kill_one_part,
}


def main() -> None:
    """Kill, finish, compare; print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=51, help="at any moment, shared by the modes")
    parser.add_argument("--aimed", type=int, default=6, help="of each aim and mode, besides")
    parser.add_argument("--modes", default="run,worker,part")
    parser.add_argument("--edge", type=int, default=1280, help="of the mosaic, in pixels")
    parser.add_argument("--shard", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        inputs = prepare(Path(folder), told.edge, told.shard)
        place = Place(inputs, Path(folder, "whole.zarr"), Path(folder, "diary"), told.shard)
        write(place)
        whole, shards = files_of(place.store), len(place.started())
        place = replace(place, shards=shards)
        print(f"{shards} shards of {told.shard} x {told.shard} pixels, seed {told.seed}\n")
        print(f"| {' | '.join(COLUMNS)} |")
        print("|---|---" + "|---:" * (len(COLUMNS) - 2) + "|")
        modes = told.modes.split(",")
        for number, mode in enumerate(modes):
            kills = told.kills // len(modes) + (number < told.kills % len(modes))
            moments = random.Random(f"{told.seed} {mode}")
            lasts = length_of(KILLS[mode], place)
            for when in aims_of(mode):
                count = kills if when == ANY else told.aimed
                drawn = (Moment(moments.uniform(0, lasts), when) for _ in itertools.count())
                outcomes = trials(KILLS[mode], place, whole, drawn, kills=count, moments=moments)
                if outcomes:
                    print(row(mode, when, outcomes), flush=True)


def prepare(folder: Path, edge: int, shard: int) -> Path:
    """Make a mosaic and a model for it."""
    scene = synthetic.scene(shape=(edge, edge), ratio=20)
    model = lift_xr.fit(scene.hsi, scene.srf, method="linear", progress=False)
    model.save(folder / "model.lift")
    msi = (scene.msi / 255).assign_attrs(units="1").persist()  # its blocks are not shards
    lift_xr.write_zarr(msi, folder / "msi.zarr", shard=shard, progress=False)
    return folder


@contextlib.contextmanager
def two_workers() -> Any:
    """A client of a cluster with two workers."""
    from distributed import Client, LocalCluster

    with (
        dask.config.set(
            {"scheduler": None, "distributed.worker.multiprocessing-method": "forkserver"}
        ),
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50
        ) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(2, timeout=60)
        yield client


def aims_of(mode: str) -> list[When]:
    """When kills of a mode come: no worker makes the store."""
    return [when for when in get_args(When) if (mode, when) != ("worker", "as it is made")]


def trials(
    kill: Callable[..., Ending],
    place: Place,
    whole: dict[str, bytes],
    drawn: Iterator[Moment],
    *,
    kills: int,
    moments: random.Random,
) -> list[Outcome]:
    """Kill at one drawn moment after the other, until enough kills came before the run's end."""
    outcomes = list[Outcome]()
    while len(outcomes) < kills:
        outcome = trial(kill, place, whole, next(drawn), moments)
        outcomes += [] if outcome is None else [outcome]
    return outcomes


def length_of(kill: Callable[..., Ending], place: Place) -> float:
    """Time a run that ends before it is killed, in seconds."""
    folder = place.store.parent
    calm = replace(place, store=folder / "calm.zarr", diary=folder / "calm")
    lasted = kill(calm, Moment(NEVER, ANY), which=0)
    assert not isinstance(lasted, Left)
    shutil.rmtree(calm.store)
    return lasted


def trial(
    kill: Callable[..., Ending],
    place: Place,
    whole: dict[str, bytes],
    moment: Moment,
    moments: random.Random,
) -> Outcome | None:
    """Kill once, finish and compare; None if the run had ended."""
    folder, name = place.store.parent, f"{moments.random()}"
    here = replace(place, store=folder / f"{name}.zarr", diary=folder / name)
    left = kill(here, moment, which=moments.randrange(PARTS))
    outcome = None
    if isinstance(left, Left):
        outcome = Outcome.of(left, here, same=files_of(here.store) == whole)
    shutil.rmtree(here.store)
    return outcome


def row(mode: str, when: When, outcomes: list[Outcome]) -> str:
    """One row of the table."""
    says = {"run": "the whole run", "worker": "1 of 2 workers", "part": f"1 of {PARTS} parts"}
    cells = (
        says[mode],
        when,
        len(outcomes),
        sum(not each.amid for each in outcomes),
        sum(each.same for each in outcomes),
        sum(each.in_flight for each in outcomes),
        max(each.in_flight for each in outcomes),
        sum(each.redone for each in outcomes),
        sum(each.compared for each in outcomes),
        sum(each.wrongly + max(0, each.compared - COMPARING[mode]) for each in outcomes),
    )
    return f"| {' | '.join(map(str, cells))} |"


def files_of(store: Path) -> dict[str, bytes]:
    """Read a whole store."""
    files = (each for each in store.rglob("*") if each.is_file())
    return {str(each.relative_to(store)): each.read_bytes() for each in files}


if __name__ == "__main__":
    main()
