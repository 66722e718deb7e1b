"""Threads are as many as cores, however many processes share a machine."""

from __future__ import annotations

import errno
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import accumulate
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr

from lift_xr.io import compute, cores, engines, write_zarr
from lift_xr.io.cores import SharedCores, shared_cores
from lift_xr.io.interrupt import Interrupted
from tests.clusters import two_workers
from tests.processes import another
from tests.scenes import on_grid


def test_threads_are_as_many_as_cores(monkeypatch):
    monkeypatch.setattr(cores, "CPU_COUNT", 8)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    assert cores.cores() == 8
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "4")
    assert cores.cores() == 4
    assert cores.cores(6) == 6  # who asks knows better than SLURM's variable
    assert cores.cores(16) == 8
    for allotted in ("64", "0"):
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", allotted)
        assert cores.cores() == 8


def test_no_core_is_taken_twice_and_none_is_idle(tmp_path):
    one, other = (SharedCores([0, 1, 2], tmp_path) for _ in range(2))
    assert [one.take(), other.take(), one.take()] == [True] * 3
    assert not other.take()
    one.give()
    assert other.take()
    other.close()  # as when its process dies
    assert [one.take(), one.take(), one.take()] == [True, True, False]
    one.close()


def test_who_has_no_core_comes_before_who_has_some(tmp_path):
    one, other = (SharedCores([0, 1], tmp_path) for _ in range(2))
    assert one.take()
    assert one.take()
    assert not other.take()
    one.give()
    assert not one.take()  # the other one waits for its first
    assert other.take()
    one.give()
    assert one.take()


def test_who_gives_back_its_last_core_lets_those_who_wait_go_first(tmp_path, monkeypatch):
    monkeypatch.setattr(cores, "PATIENCE", 2)
    one, other = (SharedCores([0], tmp_path) for _ in range(2))
    assert one.take()
    assert not other.take()
    one.give()
    assert not one.take()
    assert other.take()
    assert not one.take()
    other.give()
    assert not other.take()
    assert not other.take()
    assert other.take()  # one may be asleep


def test_processes_bound_to_different_cores_do_not_wait_for_each_other(tmp_path):
    one, other = SharedCores([0], tmp_path), SharedCores([1], tmp_path)
    assert one.take()
    assert other.take()


def test_where_nothing_can_be_locked_nobody_waits(tmp_path):
    (tmp_path / "file").touch()
    turns = SharedCores([0], tmp_path / "file")
    assert turns.take()
    assert turns.take()
    turns.give()


def test_where_the_file_system_locks_nothing_nobody_waits(tmp_path, monkeypatch):
    def flock(file: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(cores.fcntl, "flock", flock)
    turns = SharedCores([0], tmp_path)
    assert turns.take()
    assert turns.take()
    turns.give()
    turns.close()


def test_machines_that_share_a_folder_do_not_share_cores(tmp_path, monkeypatch):
    monkeypatch.setattr(cores.tempfile, "gettempdir", lambda: str(tmp_path))
    shared_cores().close()
    monkeypatch.setattr(cores.socket, "gethostname", lambda: "another")
    shared_cores().close()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_control_group_that_allows_less_than_affinity_counts(monkeypatch, tmp_path):
    monkeypatch.setattr(cores, "CPU_COUNT", 1)
    monkeypatch.setattr(cores.tempfile, "gettempdir", lambda: str(tmp_path))
    turns = shared_cores()
    assert turns.take()
    assert not turns.take()


def work(block: np.ndarray, *, diary: str) -> np.ndarray:
    """Stand for the lifting: write down when it begins and when it ends."""
    for change in ("+1", "-1"):
        with Path(diary).open("a") as file:
            file.write(f"{change}\n")
        time.sleep(0.03 if change == "+1" else 0)
    return block


def test_threads_of_a_worker_that_begin_together_share_one_set_of_locks(monkeypatch, tmp_path):
    made = []

    def slow() -> SharedCores:
        time.sleep(0.05)
        made.append(SharedCores([0, 1], tmp_path))
        return made[-1]

    monkeypatch.setattr(cores, "shared_cores", slow)
    cores._of_this_process.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        wait([pool.submit(hold_a_core) for _ in range(8)])
    cores._of_this_process.cache_clear()
    assert len(made) == 1


def hold_a_core() -> None:
    with cores.one_core():
        time.sleep(0.001)


def noted(diary: Path) -> xr.DataArray:
    """A scene of eight shards that are written down as they are computed."""
    values = np.random.default_rng(0).random((2, 160, 20), dtype="float32")
    lazy = da.from_array(values, chunks=(-1, 20, -1))
    data = lazy.map_blocks(work, diary=str(diary), dtype="float32", meta=values[:0])
    return on_grid(values).copy(data=data).assign_attrs(units="1")


def be_a_part(part: tuple[int, int], folder: Path) -> None:
    """One of several processes, on one core that all of them share."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cores.tempfile.tempdir = str(folder)
    with dask.config.set(scheduler="threads"):
        write_zarr(noted(folder / "diary"), folder / "s.zarr", shard=20, part=part)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs affinity")
def test_parts_on_one_machine_never_work_on_more_shards_than_it_has_cores(tmp_path):
    parts = [another(be_a_part, (i, 2), tmp_path) for i in (1, 2)]
    for each in parts:
        each.start()
    for each in parts:
        each.join()
    assert [each.exitcode for each in parts] == [0, 0]
    changes = list(map(int, (tmp_path / "diary").read_text().split()))
    assert len(changes) in range(2 * 8, 2 * 12 + 1)  # each looks at one or two again
    assert max(accumulate(changes)) == 1


def bind_to_one_core(folder: str) -> None:
    """Leave a worker one core, the same for all of them."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cores.tempfile.tempdir = folder


def busiest(diary: Path) -> int:
    return max(accumulate(map(int, diary.read_text().split())))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs affinity")
def test_workers_on_one_machine_never_work_on_more_shards_than_it_has_cores(tmp_path):
    with two_workers(threads_per_worker=3) as client:
        client.run(bind_to_one_core, str(tmp_path))
        write_zarr(noted(tmp_path / "diary"), tmp_path / "s.zarr", shard=20)
    assert busiest(tmp_path / "diary") == 1


def test_threads_of_a_process_are_never_more_than_cores(tmp_path, monkeypatch):
    monkeypatch.setattr(cores, "CPU_COUNT", 2)
    with dask.config.set(scheduler="threads", num_workers=8):
        write_zarr(noted(tmp_path / "diary"), tmp_path / "s.zarr", shard=20)
    assert busiest(tmp_path / "diary") == 2


def test_a_run_that_waits_for_a_core_can_be_stopped(tmp_path, monkeypatch):
    taken = SharedCores([0], tmp_path)
    assert taken.take()
    monkeypatch.setattr(compute, "TURN", 0.001)
    asked = []

    class Turns(SharedCores):
        def take(self) -> bool:
            asked.append(super().take())
            if len(asked) == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            return asked[-1]

    monkeypatch.setattr(engines, "shared_cores", lambda: Turns([0], tmp_path))
    scene = on_grid(np.ones((2, 40, 20), "float32")).chunk(y=20).assign_attrs(units="1")
    with pytest.raises(Interrupted, match="stopped with 1 of 2 shards left"):
        write_zarr(scene, tmp_path / "s.zarr", shard=20, part=(1, 2))
    assert asked == [False] * len(asked)
