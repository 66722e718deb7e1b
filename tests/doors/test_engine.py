"""What a run does with its tasks, whatever runs them: windows, one task a shard, logs, devices."""

from __future__ import annotations

import asyncio
import json
import math
import os
import queue
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import dask
import dask.array as da
import numcodecs.blosc
import numpy as np
import obstore.store
import psutil
import pytest
import xarray as xr
import zarr
from distributed import Client, KilledWorker, LocalCluster, default_client
from distributed.comm import CommClosedError
from threadpoolctl import threadpool_info
from zarr.storage import FsspecStore, MemoryStore, ObjectStore

import lift_xr
from lift_xr import device, synthetic
from lift_xr.blocks import lifted_from
from lift_xr.errors import LayoutError
from lift_xr.io import (
    codecs,
    cog,
    compute,
    engines,
    export,
    group,
    kind,
    open_scene,
    status,
    write_zarr,
)
from lift_xr.io.compute import run_shards
from lift_xr.io.engines import ClusterGone
from lift_xr.io.fill import WriteFailed
from lift_xr.io.group import _LeftToClient, left_to_client
from lift_xr.io.interrupt import SIGNALS
from lift_xr.models import Model
from tests.clusters import two_workers
from tests.processes import another
from tests.scenes import located, on_grid

EDGE, SHARD = 160, 64
SHARDS = 9
BACKOFF = compute.BACKOFF  # as it is; tests of doors do not wait so long


@pytest.fixture(scope="module")
def city() -> Any:
    """A mosaic of bytes, with its cube and response."""
    return synthetic.scene(shape=(EDGE, EDGE), ratio=20)


@pytest.fixture(scope="module")
def model(city: Any) -> Model:
    with dask.config.set(scheduler="synchronous"):
        return lift_xr.fit(city.hsi, city.srf, method="linear", progress=False)


@pytest.fixture(scope="module")
def pixels(city: Any) -> np.ndarray:
    with dask.config.set(scheduler="synchronous"):
        return np.asarray(city.msi.data.compute())


class Watched:
    """An array on a disk, that remembers which windows were read."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels, self.read = pixels, list[tuple[int, ...]]()
        self.shape, self.dtype, self.ndim = pixels.shape, pixels.dtype, pixels.ndim

    def __getitem__(self, window: Any) -> np.ndarray:
        values = self.pixels[window]
        if values.shape[-1] > 1:  # not the few pixels that tell inputs apart
            self.read.append(values.shape)
        return values


def mosaic(city: Any, source: Any, chunk: int) -> xr.DataArray:
    """The mosaic, in the chunks of a file."""
    return city.msi.copy(data=da.from_array(source, chunks=(-1, chunk, chunk)))


def files_of(store: Path) -> dict[str, bytes]:
    files = (each for each in store.rglob("*") if each.is_file())
    return {str(each.relative_to(store)): each.read_bytes() for each in files}


# ------------------------------------------------------------------------------------------ windows


def test_a_mosaic_in_other_chunks_is_read_once_by_the_window_of_each_shard(
    tmp_path, city, model, pixels, monkeypatch
):
    watched, lifted, lift = Watched(pixels), list[int](), Model.__call__

    def count(self: Model, block: np.ndarray, *rest: Any) -> np.ndarray:
        lifted.append(block[0].size)
        return lift(self, block, *rest)

    monkeypatch.setattr(Model, "__call__", count)
    stores = {}
    for chunk in (SHARD, 50):
        watched.read.clear()
        lifted.clear()
        fused = lift_xr.predict(model, mosaic(city, watched, chunk), device="cpu")
        stores[chunk] = write_zarr(fused, tmp_path / f"{chunk}.zarr", shard=SHARD)
        assert len(watched.read) == SHARDS  # one read a task
        assert sum(math.prod(each) for each in watched.read) == pixels.size
        assert sum(lifted) == EDGE**2  # no pixel lifted twice
    assert files_of(stores[SHARD]) == files_of(stores[50])


def tasks_of(fused: xr.DataArray, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a cluster would be given to write a scene: its graph, and the keys of the shards."""
    seen: list[Any] = []

    class Spy(engines._Cluster):
        def __init__(self, client: Any, work: Any, todo: Any) -> None:
            super().__init__(self, work, todo)
            raise KeyboardInterrupt

        def get(self, graph: dict, keys: list, sync: bool) -> list[Any]:
            seen.extend([graph, keys])
            return keys

    monkeypatch.setattr(engines, "_Cluster", Spy)
    monkeypatch.setattr(engines, "client_in_charge", Mock)
    with pytest.raises(KeyboardInterrupt):
        write_zarr(fused, str(Path("unused.zarr")), shard=SHARD)
    return seen


@pytest.mark.parametrize("chunk", [SHARD, 50, 7])
@pytest.mark.parametrize("in_memory", [False, True])
def test_a_shard_is_one_task_on_a_cluster_and_nothing_travels_between_two(
    tmp_path, city, model, pixels, monkeypatch, chunk, in_memory
):
    monkeypatch.chdir(tmp_path)
    source = pixels if in_memory else Watched(pixels)
    fused = lift_xr.predict(model, mosaic(city, source, chunk), device="cpu")
    graph, keys = tasks_of(fused, monkeypatch)
    assert len(keys) == SHARDS
    blocks = fused.data.npartitions if in_memory else 0
    assert len(graph) <= SHARDS + blocks + 2  # the model, and the file
    assert not any(set(graph[key].dependencies) & set(keys) for key in keys)


def test_a_scene_that_was_not_lifted_is_put_together_in_the_tasks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = np.random.default_rng(0).random((3, EDGE, EDGE), dtype="float32")
    scene = on_grid(values).assign_attrs(units="1")
    lazy = scene.copy(data=da.from_array(Watched(values), chunks=(1, 50, 70)).map_blocks(np.sqrt))
    monkeypatch.setattr("distributed.shuffle.rechunk_p2p", None)
    graph, keys = tasks_of(lazy, monkeypatch)
    assert len(graph) <= len(keys) + 1
    monkeypatch.undo()
    found = open_scene(write_zarr(lazy, tmp_path / "s.zarr", shard=SHARD))
    np.testing.assert_allclose(found, np.sqrt(values), atol=0.501e-4)


def test_a_raster_in_other_blocks_is_read_by_windows_through_nodata_and_alpha(tmp_path, model):
    values = np.random.default_rng(1).integers(0, 255, (4, EDGE, EDGE), dtype="uint8")
    values[3] = np.where(values[3] > 99, 255, 0)
    scene = located(EDGE, EDGE, spacing=2.0)[:3].rio.write_crs(32615)
    raster = xr.DataArray(values, dims=scene.dims, coords={"y": scene.y, "x": scene.x})
    raster.rio.write_crs(32615).rio.to_raster(tmp_path / "m.tif", photometric="RGB", ALPHA="YES")

    def fused(block: int) -> xr.DataArray:
        opened = open_scene(tmp_path / "m.tif", block=block, alpha="mask")
        return lift_xr.predict(model, opened.assign_attrs(units="1"))

    stores = [
        write_zarr(fused(block), tmp_path / f"{block}.zarr", shard=SHARD, dtype="float32")
        for block in (SHARD, 50)
    ]
    lazy = fused(50)
    again = lifted_from(lazy.data).again(((50,), (64, 64, 32), (64, 64, 32)))
    names = set(again.dask.layers) - {name for name in again.dask.layers if "note-" in name}
    assert not any(name.startswith(("concatenate", "rechunk")) for name in names)
    one, other = map(files_of, stores)
    assert {n: one[n] for n in one if "/c/" in n} == {n: other[n] for n in other if "/c/" in n}


# ------------------------------------------------------------------------------------------ the log


def test_the_log_has_a_line_for_every_shard_with_what_it_cost(tmp_path, city, model, pixels):
    log = tmp_path / "run.jsonl"
    fused = lift_xr.predict(model, mosaic(city, pixels, SHARD), device="cpu")
    write_zarr(fused, tmp_path / "s.zarr", shard=SHARD, log=log)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert sorted(line["index"] for line in lines) == [
        [0, y, x] for y in range(3) for x in range(3)
    ]
    for line in lines:
        spent = [line[name] for name in ("read", "lift", "encode", "write")]
        assert all(each > 0 for each in spent)
        assert sum(spent) <= line["seconds"] + 1e-5  # each is rounded to a microsecond
        assert (line["level"], line["attempt"]) == (0, 1)
        assert line["peak_rss"] > 2**20
    assert sum(line["bytes"] for line in lines) == EDGE**2 * (2 * 50 + 1)


def test_the_log_counts_tries_and_keeps_errors_and_what_was_there(tmp_path):
    log = tmp_path / "run.jsonl"
    log.write_text("{}\n")
    tried: Counter[int] = Counter()

    def burn(block: np.ndarray, block_id: tuple[int, ...]) -> np.ndarray:
        tried[block_id[1]] += 1
        if block_id[1] == 0 or (block_id[1] == 1 and tried[1] < 3):
            raise OSError("on fire")
        return block

    values = np.random.default_rng(0).random((2, 30, 9), dtype="float32")
    lazy = da.from_array(values, chunks=(-1, 10, -1))
    data = lazy.map_blocks(burn, dtype="float32", meta=values[:0])
    with pytest.raises(WriteFailed):
        write_zarr(
            on_grid(values).copy(data=data).assign_attrs(units="1"),
            tmp_path / "s.zarr",
            shard=10,
            log=log,
        )
    first, *lines = map(json.loads, log.read_text().splitlines())
    assert first == {}
    told = {line["index"][1]: (line["attempt"], line.get("error")) for line in lines}
    assert told == {0: (4, "OSError: on fire"), 1: (3, None), 2: (1, None)}


@pytest.mark.parametrize("place", ["s.zarr/run.jsonl", "nowhere/run.jsonl", "."])
def test_a_log_is_a_file_beside_the_store(tmp_path, place):
    (tmp_path / "s.zarr").mkdir()
    with pytest.raises(LayoutError, match=r"log is .*Use log='run\.jsonl'"):
        write_zarr(located(), tmp_path / "s.zarr", dtype="float32", log=tmp_path / place)
    assert not list((tmp_path / "s.zarr").iterdir())


# ---------------------------------------------------------------------------------- kinds of device


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Pretend that this process sees a CUDA device, or none."""

    def see(cuda: bool) -> None:
        monkeypatch.setattr(device, "_cuda_works", lambda: cuda)

    return see


def test_a_run_keeps_to_the_kind_of_device_it_was_begun_on(tmp_path, city, model, pixels, seen):
    fused = lift_xr.predict(model, mosaic(city, pixels, 50))
    seen(False)
    store = write_zarr(fused, tmp_path / "s.zarr", shard=SHARD)
    whole = files_of(store)
    forget(store)
    seen(True)  # and would be taken, were the run not begun on the CPU
    assert kind.kind_of_device(fused.data) == "cuda"
    write_zarr(fused, store, shard=SHARD, resume=True)
    assert files_of(store) == whole
    insisting = lift_xr.predict(model, mosaic(city, pixels, 50), device="cuda")
    with pytest.raises(LayoutError, match='another run: device is "cuda" and was "cpu"'):
        write_zarr(insisting, store, shard=SHARD, resume=True)


def test_a_run_begun_with_cuda_does_not_go_on_without(city, model, pixels, seen):
    fused = lift_xr.predict(model, mosaic(city, pixels, 50))
    seen(False)
    with pytest.raises(LayoutError, match=r"begun on device 'cuda', and this process has no CUDA"):
        kind.kind_of_device(fused.data, begun="cuda")
    seen(True)
    assert kind.kind_of_device(fused.data, begun="cuda") == "cuda"
    assert kind.kind_of_device(located().chunk().data, begun="cuda") is None


class Asked:
    """A client whose workers answer as they are told to; None is silence."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.answers = list(answers)

    def wait_for_workers(self, count: int, timeout: float) -> None:
        assert count == 1

    def scheduler_info(self, n_workers: int) -> dict[str, Any]:
        return {"workers": dict.fromkeys(self.answers[0])}

    def sync(self, function: Any, *args: Any) -> Any:
        return asyncio.run(function(*args))

    async def run(self, function: Any, *, on_error: str, workers: Any = None) -> dict[str, Any]:
        assert on_error == "return"
        told = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        told = told if workers is None else {each: told[each] for each in workers}
        if None in told.values():
            await asyncio.Event().wait()
        return told


def test_where_some_workers_have_cuda_nobody_uses_it(city, model, pixels, monkeypatch):
    client = Asked({"a": "cuda", "b": "cpu", "c": "cuda"})
    monkeypatch.setattr(kind, "client_in_charge", lambda: client)
    fused = lift_xr.predict(model, mosaic(city, pixels, 50))
    with pytest.warns(UserWarning, match="2 of 3 workers have a CUDA device and others have none"):
        assert kind.kind_of_device(fused.data) == "cpu"
    with pytest.raises(LayoutError, match="and 1 of 3 workers have no CUDA"):
        kind.kind_of_device(fused.data, begun="cuda")


@pytest.mark.parametrize("what", ["cpu", "auto", "resumed", "not lifted"])
def test_a_cluster_without_workers_is_not_waited_for_for_ever(tmp_path, city, model, pixels, what):
    device = "cpu" if what == "cpu" else "auto"
    fused = lift_xr.predict(model, mosaic(city, pixels, 50), device=device)
    fused = fused + 0.0 if what == "not lifted" else fused
    resumed = what == "resumed"
    if resumed:
        forget(write_zarr(fused, tmp_path / "s.zarr", shard=SHARD))
    with (
        dask.config.set({"scheduler": None, "lift_xr.wait-for-workers": "20ms"}),
        LocalCluster(n_workers=0, processes=False, dashboard_address=None) as cluster,
        Client(cluster),
        pytest.raises(LayoutError, match=r"had no worker for 0.02 s; expected one.*cluster.scale"),
    ):
        write_zarr(fused, tmp_path / "s.zarr", shard=SHARD, resume=resumed)
    assert (tmp_path / "s.zarr").exists() == resumed


def test_neither_to_train_nor_to_plan_waits_for_ever(city, model, pixels):
    msi = mosaic(city, pixels, 50)
    with (
        dask.config.set({"scheduler": None, "lift_xr.wait-for-workers": "20ms"}),
        LocalCluster(n_workers=0, processes=False, dashboard_address=None) as cluster,
        Client(cluster),
    ):
        with pytest.raises(LayoutError, match=r"had no worker for 0.02 s; expected one, to train"):
            lift_xr.fit(city.hsi, city.srf, method="linear", progress=False)
        with pytest.warns(UserWarning, match="the cluster has no worker yet"):
            assert lift_xr.plan(msi, model, shard=SHARD, probe=False).workers == 1


def deaf() -> bool:
    return all(signal.getsignal(each) == signal.SIG_IGN for each in SIGNALS)


def one_if_deaf(block: np.ndarray) -> np.ndarray:
    return block + np.float32(deaf())


def test_workers_of_the_clients_group_leave_interrupts_to_it_while_a_run_goes_on(tmp_path):
    scene = on_grid(np.zeros((1, 40, 40), "float32")).assign_attrs(units="1").chunk(y=20, x=20)
    scene = scene.copy(data=scene.data.map_blocks(one_if_deaf, dtype="float32"))
    with two_workers() as client:
        with left_to_client(client):
            for worker in client.run(os.getpid).values():
                os.kill(worker, signal.SIGINT)
            assert [*client.run(deaf).values()] == [True, True]
        assert [*client.run(deaf).values()] == [False, False]
        store = write_zarr(scene, tmp_path / "s.zarr", shard=20)
        assert [*client.run(deaf).values()] == [False, False]
    assert (open_scene(store) == 1).all()


def test_runs_that_overlap_end_in_any_order(tmp_path):
    with two_workers() as client, ExitStack() as first, ExitStack() as second:
        first.enter_context(left_to_client(client))
        second.enter_context(left_to_client(client))
        first.close()
        assert [*client.run(deaf).values()] == [True, True]
        second.close()
        assert [*client.run(deaf).values()] == [False, False]


def telling(register_plugin) -> tuple[Any, list[str]]:
    """A client, and the names of the plugins that it was asked to take and to drop."""
    told = []

    def register(plugin):
        told.append(plugin.name)
        register_plugin()

    client = SimpleNamespace(register_plugin=register, unregister_worker_plugin=told.append)
    return client, told


def die() -> None:
    raise CommClosedError("in <TCP (closed) ...>: Stream is closed")


def test_a_worker_that_dies_as_it_is_told_ends_no_run():
    client, told = telling(die)
    with left_to_client(client):
        pass
    assert len(told) == 2
    assert told[0] == told[1]


def test_a_worker_that_does_not_answer_keeps_no_run_waiting(monkeypatch):
    monkeypatch.setattr(group, "PATIENCE", 0.01)
    answered = threading.Event()
    client, told = telling(answered.wait)
    with left_to_client(client):
        assert len(told) == 1
        (thread,) = [each for each in threading.enumerate() if each.name == group.NAME]
        answered.set()
    thread.join(30)
    assert len(told) == 2


def test_who_is_interrupted_while_it_waits_leaves_no_worker_deaf(monkeypatch):
    client, told = telling(lambda: None)
    waited = threading.Event.wait

    def wait(event, timeout=None):
        if timeout == group.PATIENCE:
            raise KeyboardInterrupt
        return waited(event, timeout)

    monkeypatch.setattr(threading.Event, "wait", wait)
    with pytest.raises(KeyboardInterrupt), left_to_client(client):
        pass
    assert len(told) == 2


@pytest.fixture
def hearing() -> Iterator[None]:
    """Leave signals as they were, whatever a test does to those of this process."""
    before = {each: signal.getsignal(each) for each in SIGNALS}
    yield
    group._ASKED.clear()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("hearing")
def test_workers_hear_again_once_their_client_is_gone(monkeypatch):
    monkeypatch.setattr(group, "LOOK", 10)

    async def outlive(client):
        plugin = _LeftToClient()
        plugin.client, plugin.born = client.pid, psutil.Process(client.pid).create_time()
        plugin.setup(None)
        assert deaf()
        client.kill()  # what is left of it stays, until somebody asks how it ended
        while deaf():
            await asyncio.sleep(0.01)
        plugin.setup(None)  # as the scheduler has it for a worker that joins
        assert not deaf()
        client.wait()
        plugin.setup(None)
        assert not deaf()

    with subprocess.Popen(["sleep", "60"]) as client:
        try:
            asyncio.run(outlive(client))
        finally:
            client.kill()


def test_what_workers_compute_on_is_told_by_those_that_answer(city, model, pixels, monkeypatch):
    fused = lift_xr.predict(model, mosaic(city, pixels, 50), device="auto")

    def found(*answers: dict[str, Any]) -> str | None:
        client = Asked(*answers)
        monkeypatch.setattr(kind, "client_in_charge", lambda: client)
        return kind.kind_of_device(fused.data)

    assert found({"a": "cpu", "b": CommClosedError("it died just now")}) == "cpu"
    assert found({"a": OSError("Timed out trying to connect"), "b": "cuda"}) == "cuda"
    with pytest.raises(ModuleNotFoundError):
        found({"a": "cpu", "b": ModuleNotFoundError("No module named 'lift_xr'")})
    with pytest.raises(OSError, match="libcudnn"):
        found({"a": "cpu", "b": kind.Failed(OSError("libcudnn.so: cannot open shared object"))})
    assert found({}, {"a": CommClosedError("it died just now")}, {"b": "cpu"}) == "cpu"


def test_a_worker_that_is_silent_keeps_nobody_waiting(city, model, pixels, monkeypatch):
    fused = lift_xr.predict(model, mosaic(city, pixels, 50), device="auto")
    monkeypatch.setattr(kind, "PATIENCE", 0.01)
    for answers in ({"a": None, "b": "cuda"}, {"a": "cpu", "b": None, "c": OSError("unreachable")}):
        client = Asked(answers)
        monkeypatch.setattr(kind, "client_in_charge", lambda client=client: client)
        assert kind.kind_of_device(fused.data) in answers.values()


def test_what_a_worker_cannot_tell_is_told_from_not_reaching_it(monkeypatch):
    monkeypatch.setattr(kind, "find_device", lambda asked: {"auto": "cpu"}[asked])
    assert kind._own_kind() == "cpu"
    monkeypatch.setattr(kind, "find_device", lambda asked: Path("/nowhere", asked).read_text())
    assert isinstance(kind._own_kind().error, FileNotFoundError)


def test_a_run_ends_where_no_worker_comes(tmp_path):
    statuses = da.ones((1, 3), chunks=1, dtype="int64")
    with (
        dask.config.set({"scheduler": None, "distributed.scheduler.no-workers-timeout": "50ms"}),
        LocalCluster(n_workers=0, processes=False, dashboard_address=None) as cluster,
        Client(cluster),
        pytest.raises(ClusterGone, match=r"no worker came .* start a cluster again"),
    ):
        list(run_shards(statuses, [(0, 0), (0, 1), (0, 2)], stop=threading.Event()))


def test_a_shard_that_killed_its_workers_is_not_tried_again():
    killing = KilledWorker("write", SimpleNamespace(address="tcp://a", name="a"), 3)
    told = []
    for error in (killing, ValueError("of a usual kind")):
        engine = object.__new__(engines._Cluster)
        engine.finished = queue.Queue()
        engine._tell((0, 0), SimpleNamespace(status="error", exception=lambda each=error: each))
        told.append(engine.finished.get_nowait())
    assert [each.final for each in told] == [True, False]
    run = compute._Run(engine, [(0, 0)], threading.Event())
    run.tries[0, 0] = 1
    assert [run._try_again(each) for each in told] == [False, True]


def die_once(flag: Path, block_id: tuple[int, int] = (0, 0)) -> np.ndarray:
    """A process that is killed while it has this block, once."""
    if block_id == (0, 1) and not flag.exists():
        flag.touch()
        os._exit(1)
    return np.ones((1, 1), "int64")


def test_a_process_that_is_killed_takes_no_other_shard_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(compute, "BACKOFF", 0.01)
    statuses = da.map_blocks(
        die_once, tmp_path / "flag", chunks=((1,), (1,) * 4), dtype="int64", meta=np.empty((0, 0))
    )
    with dask.config.set(scheduler="processes", num_workers=1):
        done = list(run_shards(statuses, [(0, i) for i in range(4)], stop=threading.Event()))
    assert sorted(each.index for each in done) == [(0, i) for i in range(4)]
    assert [each.error for each in done] == [None] * 4


def test_a_run_that_is_stopped_while_its_scheduler_is_gone_says_so():
    def processing():
        raise CommClosedError("ConnectionPool closing.")

    engine = object.__new__(engines._Cluster)
    engine.client = SimpleNamespace(status="running", processing=processing)
    with pytest.raises(engines.ClusterGone, match="start a cluster again"):
        engine.abandon()


def close_the_client(block: np.ndarray) -> np.ndarray:
    """What its user sees of a scheduler that has ended."""
    threading.Thread(target=default_client().close).start()
    time.sleep(0.2)
    return block


def test_a_cluster_that_goes_away_ends_the_run_and_nothing_is_lost(tmp_path):
    scene = on_grid(np.ones((1, 60, 60), "float32")).assign_attrs(units="1").chunk(y=20, x=20)
    going = scene.copy(data=scene.data.map_blocks(close_the_client, dtype="float32"))
    with (
        dask.config.set({"scheduler": None}),
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
        ) as cluster,
        Client(cluster),
        pytest.raises(engines.ClusterGone, match="start a cluster again, and finish with write_z"),
    ):
        write_zarr(going, tmp_path / "s.zarr", shard=20)
    assert not status(tmp_path / "s.zarr").complete


def test_a_mosaic_that_was_scaled_otherwise_is_another_run(tmp_path, city, model, pixels):
    msi = mosaic(city, pixels, 50)
    half, more = (lift_xr.predict(model, msi * np.float32(each)) for each in (0.5, 0.7))
    assert half.attrs == more.attrs
    store = write_zarr(half, tmp_path / "s.zarr", shard=SHARD)
    whole = files_of(store)
    forget(store)
    with pytest.raises(LayoutError, match="values are others than were written"):
        write_zarr(more, store, shard=SHARD, resume=True)
    write_zarr(half, store, shard=SHARD, resume=True)
    assert files_of(store) == whole


def forget(store: Path) -> None:
    """Make a whole store look as if a run had been killed before its first shard was written."""
    zarr.open_array(store, path="_progress/0", mode="r+")[0, 0, 0] = 0
    (store / "0/reflectance/c/0/0/0").unlink()
    root = zarr.open_group(store, mode="r+", use_consolidated=False)
    about = {key: each for key, each in root.attrs["lift_xr"].items() if key != "content"}
    root.attrs["lift_xr"] = {**about, "complete": False}


# ------------------------------------------------------------------------ places that are no folder


def elsewhere(place: str) -> Any:
    if place == "url":
        return f"memory://{id(object())}/s.zarr"
    if place == "fsspec":
        return FsspecStore.from_url(f"memory://{id(object())}/f.zarr")
    if place == "objects":
        return ObjectStore(obstore.store.MemoryStore())
    return {} if place == "dict" else MemoryStore()


@pytest.mark.parametrize("place", ["url", "fsspec", "objects", "memory", "dict"])
def test_stores_that_are_no_folders_are_written_resumed_read_and_exported(
    tmp_path, place, monkeypatch
):
    values = np.random.default_rng(0).random((3, 90, 70), dtype="float32")
    scene = on_grid(values).rio.write_crs(32615).assign_attrs(units="1")
    store = elsewhere(place)
    burning = scene.copy(data=da.from_array(values, chunks=(-1, 32, 32)).map_blocks(
        burn_last, dtype="float32", meta=values[:0]))  # fmt: skip
    with pytest.raises(WriteFailed, match="on fire"):
        write_zarr(burning, store, shard=32)
    found = status(store)
    assert (found.done, found.failing) == (8, 1)
    if place in ("url", "fsspec", "objects"):  # which tell when an object was written
        assert 0 <= found.eta < 600
        assert found.rate > 0
        assert 0 <= found.idle < 600
    else:
        assert found.rate is found.eta is found.idle is None
    write_zarr(scene.chunk(y=32, x=32, band=-1), store, shard=32, resume=True)
    assert status(store).complete
    np.testing.assert_allclose(open_scene(store), values, atol=0.501e-4)
    with pytest.raises(LayoutError, match="already exists"):
        write_zarr(scene, store, shard=32)
    assert lift_xr.verify(store, shards="all").ok
    export(open_scene(store), tmp_path / "s.tif", bands=None, progress=False)
    np.testing.assert_allclose(open_scene(tmp_path / "s.tif"), values, atol=0.501e-4)
    write_zarr(scene / 2, store, shard=32, overwrite=True)
    np.testing.assert_allclose(open_scene(store), values / 2, atol=0.501e-4)


def burn_last(block: np.ndarray, block_id: tuple[int, ...]) -> np.ndarray:
    if block_id == (0, 2, 2):
        raise OSError("on fire")
    return block


@pytest.mark.parametrize("place", ["url", "fsspec", "objects", "memory", "dict"])
def test_no_memory_is_written_from_other_processes(place):
    with (
        dask.config.set(scheduler="processes"),
        pytest.raises(LayoutError, match="in this process's memory"),
    ):
        write_zarr(located(), elsewhere(place), dtype="float32")


# ----------------------------------------------------------------------------------- the same bytes


def write_part(msi: Path, model: Path, store: Path, part: tuple[int, int] | None = None) -> None:
    """One process of a run, which knows nothing but these places."""
    fused = lift_xr.predict(lift_xr.load_model(model), open_scene(msi, block=SHARD), device="cpu")
    write_zarr(fused, store, shard=SHARD, part=part, progress=False)


def test_four_parts_threads_and_a_cluster_write_the_same_bytes_of_a_network(city, tmp_path):
    msi, model = tmp_path / "msi.zarr", tmp_path / "sin.lift"
    write_zarr(city.msi, msi, dtype="float32", shard=SHARD, progress=False)
    with dask.config.set(scheduler="threads", num_workers=2):
        lift_xr.fit(city.hsi, city.srf, method="sin", progress=False).save(model)
        write_part(msi, model, tmp_path / "threads.zarr")
    parts = [another(write_part, msi, model, tmp_path / "parts.zarr", (i, 4)) for i in range(1, 5)]
    for each in parts:
        each.start()
    with two_workers():
        write_part(msi, model, tmp_path / "cluster.zarr")
    for each in parts:
        each.join()
    assert [each.exitcode for each in parts] == [0] * 4
    expected = files_of(tmp_path / "threads.zarr")
    assert files_of(tmp_path / "parts.zarr") == expected
    assert files_of(tmp_path / "cluster.zarr") == expected


# ------------------------------------------------------------------------------------------ threads


def test_a_task_is_one_thread(tmp_path, city, model, pixels, monkeypatch):
    """What computes inside a shard must not fan out: BLAS, and zarr's codecs."""
    codecs: list[int] = []
    blas: list[int] = []
    multiply, encode = np.matmul, numcodecs.blosc.Blosc.encode

    def watched(codec: Any, buffer: Any) -> Any:
        codecs.append(zarr.config.get("async.concurrency"))
        return encode(codec, buffer)

    def counted(*args: Any, **kwargs: Any) -> Any:
        pools = [each for each in threadpool_info() if each["user_api"] == "blas"]
        blas.extend(each["num_threads"] for each in pools)
        return multiply(*args, **kwargs)

    monkeypatch.setattr(numcodecs.blosc.Blosc, "encode", watched)
    monkeypatch.setattr(np, "matmul", counted)
    fused = lift_xr.predict(model, mosaic(city, pixels, SHARD), device="cpu")
    with dask.config.set(scheduler="threads", num_workers=2):
        write_zarr(fused, tmp_path / "s.zarr", shard=SHARD)
    assert set(codecs) == {1}
    assert set(blas) == {1}


class AtOnce:
    """Counts the chunks that are coded at the same time, anywhere in this process."""

    def __init__(self) -> None:
        self.guard, self.now, self.most = threading.Lock(), 0, 0

    def around(self, code: Any) -> Any:
        """The same function of a codec, counted."""

        def counted(codec: Any, *buffers: Any) -> Any:
            with self.guard:
                self.now += 1
                self.most = max(self.most, self.now)
            time.sleep(0.001)  # so that those who may meet do
            try:
                return code(codec, *buffers)
            finally:
                with self.guard:
                    self.now -= 1

        return counted


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> AtOnce:
    counting, blosc = AtOnce(), numcodecs.blosc.Blosc
    for name in ("encode", "decode"):
        monkeypatch.setattr(blosc, name, counting.around(getattr(blosc, name)))
    return counting


def test_no_more_chunks_are_coded_at_once_than_there_are_tasks(tmp_path, city, model, at_once):
    coded = zarr.codecs.BloscCodec()
    tiles = {"chunks": (3, 16, 16), "compressors": (coded,)}
    msi = city.msi.assign_coords(band=city.msi["band"].astype(object)).to_dataset(name="msi")
    msi.to_zarr(tmp_path / "msi.zarr", consolidated=False, encoding={"msi": tiles})
    fused = lift_xr.predict(model, open_scene(tmp_path / "msi.zarr", block=SHARD), device="cpu")
    at_once.most = 0
    with dask.config.set(scheduler="threads", num_workers=2):
        write_zarr(fused, tmp_path / "s.zarr", shard=SHARD)
    assert at_once.most in (1, 2)


def test_verify_and_export_code_no_more_chunks_at_once_than_there_are_cores(
    tmp_path, city, model, at_once, monkeypatch
):
    monkeypatch.setattr(codecs, "cores", lambda: 2)
    monkeypatch.setattr(cog, "cores", lambda: 2)
    fused = lift_xr.predict(model, city.msi, device="cpu")
    store = write_zarr(fused, tmp_path / "s.zarr", shard=SHARD)
    at_once.most = 0
    assert lift_xr.verify(store, shards="all").ok
    assert at_once.most in (1, 2)
    at_once.most = 0
    with dask.config.set(scheduler="threads", num_workers=2):
        export(open_scene(store), tmp_path / "s.tif", bands=[1, 2, 3])
    assert at_once.most in (1, 2)


# --------------------------------------------------------------------------- what it says of itself


def test_what_an_opened_store_says_of_its_grid_is_not_written_again(tmp_path):
    scene = on_grid(np.random.default_rng(0).random((3, 700, 600), dtype="float32"))
    scene = scene.rio.write_crs(32615).assign_attrs(units="1")
    stale = {
        "proj:code": "EPSG:4326",
        "spatial:transform": [9.0] * 6,
        "spatial:shape": [1, 1],
        "multiscales": {"layout": []},
        "zarr_conventions": [],
    }
    root = write_zarr(scene.assign_attrs(stale)[:, 10:600, 20:], tmp_path / "s.zarr", shard=256)
    found = zarr.open_array(root, path="0/reflectance", mode="r").attrs
    assert found["proj:code"] == "EPSG:32615"
    assert found["spatial:shape"] == [590, 580]
    plain = xr.open_zarr(root, group="1", decode_coords="all").reflectance  # conventions and all
    again = write_zarr(plain[:, :99, :88], tmp_path / "t.zarr", shard=256)
    attrs = zarr.open_array(again, path="0/reflectance", mode="r").attrs
    assert attrs["spatial:shape"] == [99, 88]
    assert attrs["spatial:transform"][0] == 2 * found["spatial:transform"][0]
    assert "multiscales" not in attrs


# ------------------------------------------------------------------------------------ tried again


def test_a_task_that_fails_is_tried_again_after_1_then_4_then_16_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, begun = SimpleNamespace(now=100.0), list[tuple[int, ...]]()
    monkeypatch.setattr(compute, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(compute, "BACKOFF", BACKOFF)
    engine: Any = SimpleNamespace(has_room=lambda _: True, start=begun.append)
    task, failed = (0, 2, 1), engines.Finished((0, 2, 1), OSError("on fire"))
    run = compute._Run(engine, [task], threading.Event())
    for tries, waits in enumerate((1, 4, 16), start=1):
        run._start()
        assert begun == [task] * tries
        assert run._try_again(failed)
        assert run.later == [(clock.now + waits, task)]
        clock.now += waits - 0.1
        run._start()
        assert begun == [task] * tries  # not yet
        clock.now += 0.1
    run._start()
    assert begun == [task] * 4
    assert not run._try_again(failed)
