"""Runs that end early, in every way they can, and the runs that finish what they left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.abc.store import Store
from zarr.core.sync import sync
from zarr.storage import MemoryStore, WrapperStore

from lift_xr.errors import LayoutError
from lift_xr.io import compute, engines, fill, lost, open_scene, verify, write_zarr
from lift_xr.io.alike import Neighbours
from lift_xr.io.create import as_store
from lift_xr.io.fill import WriteFailed
from lift_xr.io.interrupt import Interrupted, stop_when_told
from lift_xr.io.place import fingerprint
from lift_xr.io.record import DONE, FAILING, LEFT, all_progress, mark_failing
from lift_xr.io.seal import read_file, reopen, write_file
from lift_xr.io.shards import Target, is_written
from lift_xr.io.status import status
from lift_xr.io.store import VARIABLE
from lift_xr.packing import Packing
from lift_xr.plan import passes_of
from tests.clusters import two_workers
from tests.processes import another
from tests.scenes import located, on_grid

SHAPE, SHARD = (2, 1100, 60), 110  # levels 0 and 1 in one pass, level 2 in another
SHARDS = 10


def count_and_wait(
    block: np.ndarray, block_info: dict, *, diary: str, seconds: float
) -> np.ndarray:
    """Stand for the lifting: leave a line in the diary, and take a while."""
    if diary:
        with Path(diary).open("a") as file:
            file.write(f"{block_info[0]['chunk-location']}\n")
    time.sleep(seconds)
    return block


def scene(*, diary: Path | str = "", seconds: float = 0.0, seed: int = 0) -> xr.DataArray:
    """A lazy scene with nodata shards, whose blocks tell when they are computed."""
    values = np.random.default_rng(seed).random(SHAPE, dtype="float32")
    values[:, 200:400] = np.nan
    lazy = da.from_array(values, chunks=(-1, SHARD, -1), name=f"scene-{seed}").map_blocks(
        count_and_wait,
        diary=str(diary),
        seconds=seconds,
        dtype="float32",
        meta=np.empty((0, 0, 0), "float32"),
    )
    attrs = {"units": "1", "lift_xr_model": f"digest of {seed}", "lift_xr_seed": seed}
    return on_grid(values).copy(data=lazy).assign_attrs(attrs)


def files_of(store: Path) -> dict[str, bytes]:
    files = (each for each in store.rglob("*") if each.is_file())
    return {str(each.relative_to(store)): each.read_bytes() for each in files}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a run that nobody disturbed."""
    with dask.config.set(scheduler="synchronous"):
        store = tmp_path_factory.mktemp("whole") / "s.zarr"
        return files_of(write_zarr(scene(), store, shard=SHARD))


def entries(diary: Path) -> int:
    return len(diary.read_text().splitlines()) if diary.exists() else 0


# ------------------------------------------------------------------------------------------ killed


def child(store: Path, diary: Path, *, seconds: float = 0.02, **settings: Any) -> Any:
    """Another process, writing with two threads."""
    lazy = scene(diary=diary, seconds=seconds)
    process = another(write_in_child, lazy, store, **settings)
    process.start()
    return process


def write_in_child(lazy: xr.DataArray, store: Path, **settings: Any) -> None:
    try:
        with dask.config.set(scheduler="threads", num_workers=2):
            write_zarr(lazy, store, shard=SHARD, **settings)
    except Interrupted as interrupted:
        store.with_suffix(".said").write_text(str(interrupted))
        raise SystemExit(75) from None


def test_a_resumed_run_computes_only_what_the_record_does_not_call_done(tmp_path, whole):
    store, diary = tmp_path / "s.zarr", tmp_path / "diary"
    write_zarr(scene(), store, shard=SHARD)
    forget(store, shards=[(0, 2, 0), (0, 7, 0)])
    write_zarr(scene(diary=diary), store, shard=SHARD, resume=True)
    assert entries(diary) == 2 + 1  # a shard that is done is looked at
    assert files_of(store) == whole


def forget(store: Path, *, shards: list[tuple[int, ...]]) -> None:
    """Make a whole store look as if a run had been killed before these shards were written."""
    record = zarr.open_array(store, path="_progress/0", mode="r+")
    for index in shards:
        record[index] = 0
        (store / "0/reflectance/c" / "/".join(map(str, index))).unlink(missing_ok=True)
    root = zarr.open_group(store, mode="r+", use_consolidated=False)
    about = {key: each for key, each in root.attrs["lift_xr"].items() if key != "content"}
    root.attrs["lift_xr"] = {**about, "complete": False}
    (store / "zarr.4f.partial").write_text("half of it")
    (store / "0/reflectance/c/0/7/0.4f.partial").write_text("half of it")


def test_a_row_that_is_not_as_it_was_written_calls_nothing_done(tmp_path, whole):
    store = write_zarr(scene(), tmp_path / "s.zarr", shard=SHARD)
    forget(store, shards=[])
    for level, index in ((0, (0, 6, 0)), (2, (0, 0, 0))):
        record = zarr.open_array(store, path=f"_progress/{level}", mode="r+")
        record[(*index, 2)] = 7
    write_zarr(scene(), store, shard=SHARD, resume=True)
    assert files_of(store) == whole


LOST = (
    "0/reflectance/c/0/8/0",
    "1/reflectance/c/0/6/0",
    "quality/flags/c/3/0",
    "2/reflectance/c/0/1/0",
)


@pytest.mark.parametrize("place", ["folder", "url", "memory"])
@pytest.mark.parametrize("left", [None, b""])
def test_files_that_were_written_and_are_lost_are_written_again(tmp_path, whole, place, left):
    diary, folder = tmp_path / "diary", tmp_path / "s.zarr"
    url = f"memory://lost/{tmp_path}/s.zarr"
    store = {"folder": folder, "url": url, "memory": MemoryStore()}[place]
    write_zarr(scene(), store, shard=SHARD)
    call_incomplete(store)
    for key in LOST:
        assert key in whole
        lose(store, key, left)
    with pytest.warns(UserWarning, match="lacks 4 of the files that its run wrote, such as"):
        write_zarr(scene(diary=diary), store, shard=SHARD, resume=True)
    assert entries(diary) == 3 + 1  # a shard that is done is looked at
    target = as_store(store)
    assert {key: read_file(target, key).to_bytes() for key in whole} == whole


@pytest.mark.parametrize("place", ["folder", "url"])
def test_where_all_is_there_no_file_is_opened_to_see_that(tmp_path, whole, monkeypatch, place):
    opened: list[str] = []
    holds = lost._holds

    async def noted(target: Store, key: str) -> bool:
        opened.append(key)
        return await holds(target, key)

    monkeypatch.setattr(lost, "_holds", noted)
    store = tmp_path / "s.zarr" if place == "folder" else f"memory://all/{tmp_path}/s.zarr"
    write_zarr(scene(), store, shard=SHARD)
    call_incomplete(store)
    write_zarr(scene(), store, shard=SHARD, resume=True)
    assert opened == []
    target = as_store(store)
    assert {key: read_file(target, key).to_bytes() for key in whole} == whole
    lose(store, LOST[0], None)
    call_incomplete(store)
    with pytest.warns(UserWarning, match="lacks 1 of the files"):
        write_zarr(scene(), store, shard=SHARD, resume=True)
    assert opened == [LOST[0]]


def call_incomplete(store: Any) -> None:
    root = zarr.open_group(store, mode="r+", use_consolidated=False)
    root.attrs["lift_xr"] = {**root.attrs["lift_xr"], "complete": False}


def lose(store: Any, key: str, left: bytes | None) -> None:
    target = as_store(store)
    if left is None:
        sync(target.delete(key))
    else:
        write_file(target, key, left)


@pytest.mark.parametrize("key", ["0/reflectance/c/0/8/0", "1/reflectance/c/0/6/0"])
def test_files_that_are_lost_while_a_run_goes_on_are_written_again(tmp_path, whole, key):
    store = write_zarr(scene(), tmp_path / "s.zarr", shard=SHARD, part=(1, 2))
    assert key in files_of(store)
    with pytest.warns(UserWarning, match="lacks 1 of the files that its run wrote"):
        write_zarr(begun_by(scene(), (store / key).unlink), store, shard=SHARD, part=(2, 2))
    assert files_of(store) == whole  # whose part they were of has ended


def test_a_place_that_loses_what_is_written_is_named():
    class Losing(WrapperStore):
        async def set(self, key: str, value: Any) -> None:
            if key != LOST[0]:
                await super().set(key, value)

    with (
        pytest.warns(UserWarning, match="lacks 1 of the files"),
        pytest.raises(LayoutError, match="expected a place that keeps them"),
    ):
        write_zarr(scene(), Losing(MemoryStore()), shard=SHARD)


@pytest.mark.parametrize("left", [0, 20])
def test_small_files_that_a_machine_without_power_cut_short_are_made_again(tmp_path, whole, left):
    store = write_zarr(scene(), tmp_path / "s.zarr", shard=SHARD)
    call_incomplete(store)
    for key in ("0/x/c/0", "1/zarr.json", "_progress/0/zarr.json", "_progress/zarr.json"):
        lose(store, key, whole[key][:left])
    write_zarr(scene(), store, shard=SHARD, resume=True)
    assert files_of(store) == whole


def test_overviews_of_what_was_lost_are_made_again(tmp_path, whole, monkeypatch):
    store = without_overviews(whole, tmp_path / "s.zarr")
    (store / "1/reflectance/c/0/6/0").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(fill, "forget_lost", lambda *_: [])  # lost only now
        patch.setattr(fill, "finalize", lambda *_: None)  # and the run ends before it is complete
        write_zarr(scene(), store, shard=SHARD, resume=True)
    assert files_of(store)["2/reflectance/c/0/1/0"] != whole["2/reflectance/c/0/1/0"]
    with pytest.warns(UserWarning, match="lacks 1 of the files"):
        write_zarr(scene(), store, shard=SHARD, resume=True)
    assert files_of(store) == whole


def test_a_run_killed_while_the_store_is_made_is_resumed_too(tmp_path, whole):
    store = tmp_path / "s.zarr"
    for kept in (["zarr.5.partial"], ["zarr.json"], ["zarr.json", "0/zarr.json", "0/y/zarr.json"]):
        for name, content in whole.items():
            if name in kept:
                (store / name).parent.mkdir(parents=True, exist_ok=True)
                (store / name).write_bytes(content)
        store.mkdir(exist_ok=True)
        (store / "zarr.5.partial").write_text("half of it")
        if (store / "zarr.json").exists():
            root = zarr.open_group(store, mode="r+", use_consolidated=False)
            root.attrs["lift_xr"] = {**root.attrs["lift_xr"], "complete": False}
        write_zarr(scene(), store, shard=SHARD, resume=True)
        assert files_of(store) == whole
        for file in (each for each in store.rglob("*") if each.is_file()):
            file.unlink()


def test_resuming_where_nothing_is_begins_and_resuming_what_is_complete_changes_nothing(
    tmp_path, whole
):
    store = write_zarr(scene(), tmp_path / "s.zarr", shard=SHARD, resume=True)
    assert files_of(store) == whole
    times = {name: (store / name).stat().st_mtime_ns for name in whole}
    write_zarr(scene(seconds=9), store, shard=SHARD, resume=True)
    assert {name: (store / name).stat().st_mtime_ns for name in whole} == times
    assert files_of(store) == whole


# ------------------------------------------------------------------------------- told to stop


def test_sigterm_finishes_the_shards_in_flight_and_resume_does_the_others(tmp_path, whole):
    store, diary = tmp_path / "s.zarr", tmp_path / "diary"
    process = child(store, diary, seconds=0.3)
    while entries(diary) < 3:
        time.sleep(0.01)
    process.terminate()
    process.join()
    assert process.exitcode == 75
    said = (tmp_path / "s.said").read_text()
    assert said.startswith("stopped with")
    assert "write_zarr(fused, store, resume=True)" in said
    states = all_progress(store)[0].states
    assert (states == DONE).sum() == entries(diary)
    assert (states == LEFT).any()
    write_zarr(scene(diary=diary), store, shard=SHARD, resume=True)
    assert entries(diary) == SHARDS + 1  # and one that is looked at again
    assert files_of(store) == whole


def test_ctrl_c_works_in_one_thread_and_handlers_are_put_back(tmp_path, ctrl_c_is_heard):
    before = signal.getsignal(signal.SIGINT)
    lazy = scene()
    told = lazy.copy(
        data=lazy.data.map_blocks(interrupt_once, dtype="float32", meta=lazy.data._meta)
    )
    with pytest.raises(Interrupted, match="stopped with 9 of 10 shards left"):
        write_zarr(told, tmp_path / "s.zarr", shard=SHARD)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.fixture
def ctrl_c_is_heard():
    """Shells start what runs in the background with Ctrl-C ignored, and so it would stay."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt_once(block: np.ndarray) -> np.ndarray:
    os.kill(os.getpid(), signal.SIGINT)
    return block


def test_a_second_signal_interrupts_the_thread_that_hears_it():
    with pytest.raises(KeyboardInterrupt), stop_when_told() as stop:  # noqa: PT012
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.is_set()
        os.kill(os.getpid(), signal.SIGTERM)


def test_other_threads_leave_signals_alone(tmp_path, whole):
    thread = threading.Thread(
        target=write_zarr, args=(scene(), tmp_path / "s.zarr"), kwargs={"shard": SHARD}
    )
    thread.start()
    thread.join()
    assert files_of(tmp_path / "s.zarr") == whole


# ------------------------------------------------------------------------------------------ parts


def test_parts_side_by_side_write_the_same_bytes(tmp_path, whole):
    store, diary = tmp_path / "s.zarr", tmp_path / "diary"
    parts = [child(store, diary, part=(i, 4)) for i in range(1, 5)]
    for process in parts:
        process.join()
    assert [process.exitcode for process in parts] == [0] * 4
    assert files_of(store) == whole
    assert SHARDS <= entries(diary) <= SHARDS + 3 * 4  # each part may look at three again


def test_a_late_process_does_not_spoil_what_another_has_completed(tmp_path, whole):
    """Two runs of one part: the slower one fails a shard that the faster one has written."""
    store = write_zarr(scene(), tmp_path / "s.zarr", shard=SHARD)
    record = zarr.open_array(store, path="_progress/0", mode="r+")
    mark_failing(record, (0, 3, 0))
    assert files_of(store) == whole


@pytest.mark.parametrize("place", ["folder", "memory"])
def test_what_is_done_is_done_whoever_gives_it_up_at_the_same_moment(tmp_path, place):
    """The mark of a process that failed is written just before the row of one that did not."""
    store = tmp_path / "s.zarr" if place == "folder" else MemoryStore()
    for fail in ((0, 1, 0), (0, 2, 0)):
        write_zarr(scene(), store, shard=SHARD, part=(1, 2))  # every other row of shards
        mark_failing(zarr.open_array(store, path="_progress/0", mode="r+"), fail)
    states = all_progress(store)[0].states.ravel()
    assert states.tolist() == [DONE, FAILING, *[DONE, LEFT] * 4]
    record = zarr.open_array(store, path="_progress/0", mode="r+")
    record[0, 1, 0] = record[0, 0, 0]  # done after all, by another process
    assert all_progress(store)[0].states[0, 1, 0] == DONE


def test_a_completed_store_tells_of_no_failure_on_the_way(tmp_path, whole):
    store = tmp_path / "s.zarr"
    write_zarr(scene(), store, shard=SHARD, part=(1, 2))
    mark_failing(zarr.open_array(store, path="_progress/0", mode="r+"), (0, 1, 0))
    assert files_of(store)["_progress/0/failing/0.1.0"]
    write_zarr(scene(), store, shard=SHARD, part=(2, 2))
    assert files_of(store) == whole
    assert not list(store.rglob("failing"))


def test_a_part_that_ends_before_the_others_leaves_the_store_to_them(tmp_path, whole):
    store = tmp_path / "s.zarr"
    for i in (3, 1):
        write_zarr(scene(), store, shard=SHARD, part=(i, 3))
        with pytest.raises(LayoutError, match="is incomplete"):
            open_scene(store)
    write_zarr(scene(), store, shard=SHARD, part=(2, 3))
    assert files_of(store) == whole


def test_a_part_that_finds_files_of_another_lost_says_which_part_to_run_again(tmp_path, whole):
    store = write_zarr(scene(), tmp_path / "s.zarr", shard=SHARD, part=(1, 3))
    (store / "1/reflectance/c/0/6/0").unlink()
    with (
        pytest.warns(UserWarning, match="lacks 1 of the files"),
        pytest.raises(WriteFailed, match=r"1 shards of other.* with part=\(1, 3\)$") as caught,
    ):
        write_zarr(scene(), store, shard=SHARD, part=(2, 3))
    assert [*caught.value.failed] == [(0, (0, 6, 0))]
    assert (all_progress(store)[0].states[0, 1::3] == DONE).all()  # its own are done
    (store / "0/reflectance/c/0/9/0").unlink()
    with pytest.warns(UserWarning, match="lacks 1 of the files"):
        write_zarr(scene(), store, shard=SHARD, part=(1, 3))  # these were its own
    write_zarr(scene(), store, shard=SHARD, part=(3, 3))
    assert files_of(store) == whole


def without_overviews(whole: dict[str, bytes], store: Path) -> Path:
    """A store whose full resolution was finished just now."""
    for name, content in whole.items():
        (store / name).parent.mkdir(parents=True, exist_ok=True)
        (store / name).write_bytes(content)
    zarr.open_array(store, path="_progress/2", mode="r+")[...] = 0
    shutil.rmtree(store / "2/reflectance/c")
    forget(store, shards=[])
    return store


def test_parts_that_finish_at_the_same_moment_complete_the_store_between_them(tmp_path, whole):
    store = without_overviews(whole, tmp_path / "s.zarr")
    parts = [child(store, tmp_path / "diary", part=(i, 3)) for i in (1, 2, 3)]
    for process in parts:
        process.join()
    assert [process.exitcode for process in parts] == [0] * 3
    assert files_of(store) == whole


def test_each_part_begins_the_overviews_at_another_place_and_skips_what_is_done(tmp_path, whole):
    begun = []
    for i in (1, 2, 3):
        store, log = without_overviews(whole, tmp_path / f"{i}.zarr"), tmp_path / f"{i}"
        write_zarr(scene(), store, shard=SHARD, part=(i, 3), log=log)
        told = [json.loads(line) for line in log.read_text().splitlines()]
        assert {line["level"] for line in told} == {2}
        begun.append([line["index"][1] for line in told])
        assert files_of(store) == whole
    assert begun == [[0, 1, 2], [1, 2, 0], [2, 0, 1]]
    each = passes_of(SHAPE, np.dtype("uint16"), shard=SHARD)[1]
    run = zarr.open_group(store, mode="r").attrs["lift_xr"]["run"]
    target = Target(
        as_store(store), str(store), run, each, Packing(np.dtype("uint16"), 1e-4), VARIABLE
    )
    assert is_written((0, 1, 0), target=target)  # and so it is passed over


def test_the_end_of_a_store_is_written_in_one_step():
    roots: list[bytes] = []

    class Watched(WrapperStore):
        async def set(self, key: str, value: Any) -> None:
            if key == "zarr.json":
                roots.append(value.to_bytes())
            await super().set(key, value)

    write_zarr(scene(), Watched(MemoryStore()), shard=SHARD)
    (only,) = map(json.loads, roots)
    assert only["attributes"]["lift_xr"]["complete"] is True
    assert only["consolidated_metadata"]["metadata"]


@pytest.mark.parametrize("part", [(-1, 2), (3, 2), (1, 0)])
def test_parts_are_counted_from_one(part):
    with pytest.raises(LayoutError, match=r"expected \(i, n\) with i from 1 to n"):
        write_zarr(scene(), MemoryStore(), part=part)


def test_a_part_does_not_overwrite():
    with pytest.raises(LayoutError, match=r"part=\(1, 2\) is given with overwrite=True"):
        write_zarr(scene(), MemoryStore(), part=(1, 2), overwrite=True)


# ------------------------------------------------------------------------------- shards that fail


def fail_at(block: np.ndarray, block_info: dict, *, rows: tuple, tries: int, diary: str):
    row = block_info[0]["chunk-location"][1]
    if row in rows:
        with Path(diary).open("a") as file:
            file.write(f"{row}\n")
        if Path(diary).read_text().split().count(str(row)) <= tries:
            raise OSError(f"row {row} is on fire")
    return block


def burning(diary: Path, *, rows: tuple[int, ...], tries: int = 99) -> xr.DataArray:
    lazy = scene()
    failing = lazy.data.map_blocks(
        fail_at, rows=rows, tries=tries, diary=str(diary), dtype="float32", meta=lazy.data._meta
    )
    return lazy.copy(data=failing)


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_a_shard_that_fails_is_tried_again(tmp_path, whole, scheduler):
    diary = tmp_path / "diary"
    with dask.config.set(scheduler=scheduler):
        fused = burning(diary, rows=(1, 4), tries=3)
        store = write_zarr(fused, tmp_path / "s.zarr", shard=SHARD)
    assert entries(diary) == 8
    assert files_of(store) == whole


def test_a_shard_that_keeps_failing_is_named_and_the_run_goes_on(tmp_path, whole):
    store, diary = tmp_path / "s.zarr", tmp_path / "diary"
    with pytest.raises(WriteFailed, match=r"level 0 \(0, 4, 0\): OSError: row 4 is on") as caught:
        write_zarr(burning(diary, rows=(1, 4)), store, shard=SHARD)
    assert sorted(caught.value.failed) == [(0, (0, 1, 0)), (0, (0, 4, 0))]
    states = all_progress(store)[0].states.ravel()
    assert (states == FAILING).nonzero()[0].tolist() == [1, 4]
    assert (states == DONE).sum() == SHARDS - 2
    write_zarr(scene(), store, shard=SHARD, resume=True)
    assert files_of(store) == whole


def test_a_mark_that_cannot_be_written_does_not_end_the_run(tmp_path, whole, monkeypatch):
    def full(*_: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(fill, "record_failure", full)
    with pytest.raises(WriteFailed, match=r"1 shards of .*row 4 is on fire"):
        write_zarr(burning(tmp_path / "diary", rows=(4,)), tmp_path / "s.zarr", shard=SHARD)
    assert (all_progress(tmp_path / "s.zarr")[0].states == DONE).sum() == SHARDS - 1
    write_zarr(scene(), tmp_path / "s.zarr", shard=SHARD, resume=True)
    assert files_of(tmp_path / "s.zarr") == whole


def test_where_everything_fails_the_run_gives_up(tmp_path, monkeypatch):
    monkeypatch.setattr(compute, "HOPELESS", 3)
    diary = tmp_path / "diary"
    told = r"10 shards of .* could not be written, 3 after up to 4 tries"
    with pytest.raises(WriteFailed, match=told):
        write_zarr(burning(diary, rows=tuple(range(SHARDS))), tmp_path / "s.zarr", shard=SHARD)
    assert entries(diary) < 4 * SHARDS


def test_where_all_shards_side_by_side_fail_the_others_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(compute, "HOPELESS", 3)
    failing = burning(tmp_path / "diary", rows=(0, 1, 2, 3, 4))
    with pytest.raises(WriteFailed, match=r"5 shards of .* could not be written"):
        write_zarr(failing, tmp_path / "s.zarr", shard=SHARD)
    assert (all_progress(tmp_path / "s.zarr")[0].states == DONE).sum() == SHARDS - 5


def test_a_cluster_tries_again_stops_when_told_and_writes_the_same_bytes(tmp_path, whole):
    store, diary = tmp_path / "s.zarr", tmp_path / "diary"
    with two_workers():
        with pytest.raises(WriteFailed, match="row 4 is on fire"):
            write_zarr(burning(diary, rows=(4,)), store, shard=SHARD)
        assert entries(diary) == 4
        again = tmp_path / "again"
        write_zarr(scene(diary=again), store, shard=SHARD, resume=True)
        assert entries(again) == 1 + 1  # and one that is looked at again
        some = tmp_path / "some"
        told = threading.Thread(
            target=tell_after,
            args=(os.getpid(), some),
            kwargs={"starts": 2},  # the run listens by then
        )
        told.start()
        with pytest.raises(Interrupted):
            write_zarr(scene(diary=some, seconds=0.3), tmp_path / "t.zarr", shard=SHARD)
        write_zarr(scene(), tmp_path / "t.zarr", shard=SHARD, resume=True)
    for name in ("s.zarr", "t.zarr"):
        assert files_of(tmp_path / name) == whole


def tell_after(pid: int, diary: Path, *, starts: int) -> None:
    while entries(diary) < starts:
        time.sleep(0.01)
    os.kill(pid, signal.SIGTERM)


# ------------------------------------------------------------------------------- whose store it is


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"dtype": "float32"}, 'dtype is "float32" and was "uint16"'),
        ({"shard": 200}, r"shard is \[2, 200, 60\] and was \[2, 110, 60\]"),
        ({"scale_factor": 2e-4}, "scale_factor is 0.0002 and was 0.0001"),
    ],
)
def test_a_run_of_other_settings_is_not_mixed_in(tmp_path, settings, said):
    store = write_zarr(scene(), tmp_path / "s.zarr", shard=SHARD)
    before = files_of(store)
    with pytest.raises(LayoutError, match=said):
        write_zarr(scene(), store, **({"shard": SHARD} | settings), resume=True)
    assert files_of(store) == before


def test_another_model_grid_or_input_is_not_mixed_in(tmp_path):
    store = write_zarr(scene(), tmp_path / "s.zarr", shard=SHARD)
    with pytest.raises(LayoutError, match='lift_xr_model is "digest of 1" and was "digest of 0"'):
        write_zarr(scene(seed=1), store, shard=SHARD, resume=True)
    moved = scene().assign_coords(x=scene().x + 1)
    with pytest.raises(LayoutError, match=r"another run: coordinates is .* and was"):
        write_zarr(moved, store, shard=SHARD, part=(1, 2))


def test_another_day_of_the_same_place_is_not_mixed_in(tmp_path):
    def lifted(mosaic: xr.DataArray, block: int) -> xr.DataArray:
        mosaic.rio.write_crs(32615).rio.to_raster(tmp_path / "msi.tif")
        return (open_scene(tmp_path / "msi.tif", block=block) / 2).assign_attrs(units="1")

    monday = located(50, 60, spacing=2.0)
    store = write_zarr(lifted(monday, 16), tmp_path / "s.zarr", shard=16)
    write_zarr(lifted(monday, 25), store, shard=16, resume=True)  # other blocks, same mosaic
    with pytest.raises(LayoutError, match="another run: inputs "):
        write_zarr(lifted(monday[::-1], 16), store, shard=16, resume=True)


@pytest.mark.parametrize("shape", [(3, 1, 1), (2, 3, 5, 70), (9, 40)])
def test_inputs_are_told_apart_by_their_pixels_whatever_their_chunks(shape):
    values = np.random.default_rng(0).random(shape, dtype="float32")
    prints = set()
    for chunk in (1, 7):
        stored = zarr.create_array(MemoryStore(), data=values, chunks=(chunk,) * len(shape))
        prints.add(fingerprint(da.from_array(stored, chunks=chunk + 1) * 2))
    assert len(prints) == 1
    assert (
        fingerprint(da.from_array(zarr.create_array(MemoryStore(), data=values / 2)))
        != prints.pop()
    )


def test_mosaics_in_memory_are_told_apart_whatever_their_chunks() -> None:
    one = np.random.default_rng(3).random((2, 3, 40, 50)).astype("float32")
    other = one.copy()
    other[1, 2, 25:, 30:] += 1
    chunks = ((2, 3, 40, 50), (1, 3, 13, 7), (1, 2, 20, 50))
    of_one, of_other = (
        {fingerprint(da.from_array(values, chunks=each) * 2) for each in chunks}
        for values in (one, other)
    )
    assert len(of_one) == len(of_other) == 1
    assert of_one != of_other
    assert "" not in of_one


def test_what_write_zarr_did_not_begin_is_not_resumed(tmp_path):
    zarr.open_group(tmp_path / "s.zarr", mode="w")
    with pytest.raises(LayoutError, match="is no store that write_zarr of this version began"):
        write_zarr(scene(), tmp_path / "s.zarr", resume=True)


def test_to_finish_and_to_begin_again_are_not_asked_for_at_once(tmp_path):
    with pytest.raises(LayoutError, match="overwrite=True and resume=True are both given"):
        write_zarr(scene(), tmp_path / "s.zarr", resume=True, overwrite=True)


def test_a_store_half_removed_can_be_removed_again(tmp_path, whole):
    store = write_zarr(scene(), tmp_path / "s.zarr", shard=SHARD)
    (store / "0/zarr.json").unlink()
    write_zarr(scene(), store, shard=SHARD, overwrite=True)
    assert files_of(store) == whole


# ------------------------------------------------------------------------------ work that is shared


def test_what_all_shards_need_is_computed_once(tmp_path):
    diary = tmp_path / "diary"
    fused = scene(diary=diary)
    centred = fused.copy(data=fused.data - da.nanmean(fused.data) + 0.5)
    write_zarr(centred, tmp_path / "s.zarr", shard=SHARD)
    assert entries(diary) == 2 * SHARDS  # once for the mean, once for the shard


# ------------------------------------------------------------------------------ the same arithmetic


def interrupted(lazy: xr.DataArray, store: Path, **settings: Any) -> Path:
    """Write half of a store."""
    with pytest.raises(Interrupted):
        write_zarr(stopping(lazy), store, shard=SHARD, **settings)
    return store


def stopping(lazy: xr.DataArray) -> xr.DataArray:
    data = lazy.data.map_blocks(stop_at_the_fifth, dtype="float32", meta=lazy.data._meta)
    return lazy.copy(data=data)


def stop_at_the_fifth(block: np.ndarray, block_id: tuple[int, ...]) -> np.ndarray:
    if block_id[1] == 5:
        os.kill(os.getpid(), signal.SIGTERM)
    return block


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_other_arithmetic_on_the_same_pixels_is_another_run(tmp_path, dtype):
    lazy = scene()
    store = interrupted(lazy * np.float32(0.5), tmp_path / "s.zarr", dtype=dtype)
    before = files_of(store)
    with pytest.raises(LayoutError, match=r"values are others than were written.*same arithmetic"):
        write_zarr(lazy * np.float32(0.7), store, shard=SHARD, dtype=dtype, resume=True)
    assert files_of(store) == before
    again = (lazy.chunk(y=77, x=31) * np.float32(0.5)).copy()
    write_zarr(again, store, shard=SHARD, dtype=dtype, resume=True)
    expected = write_zarr(lazy * np.float32(0.5), tmp_path / "e.zarr", shard=SHARD, dtype=dtype)
    assert files_of(store) == files_of(expected)


@pytest.fixture
def no_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """For parts inside a part, which would wait for the core that it holds."""
    monkeypatch.setattr(engines, "shared_cores", lambda: None)


def begun_by(lazy: xr.DataArray, other: Any) -> xr.DataArray:
    """A scene of which another process writes its part before this one has written a shard."""
    told = [other]

    def begin_other(block: np.ndarray) -> np.ndarray:
        if told:
            told.pop()()
        return block

    data = lazy.data.map_blocks(begin_other, dtype="float32", meta=lazy.data._meta)
    return lazy.copy(data=data)


@pytest.mark.usefixtures("no_turns")
@pytest.mark.parametrize("other", [2, 4])
def test_parts_of_other_arithmetic_that_begin_together_do_not_complete_a_store(tmp_path, other):
    store, lazy = tmp_path / "s.zarr", scene()

    def write_other() -> None:
        write_zarr(lazy * np.float32(0.7), store, shard=SHARD, part=(other, 4))
        assert (all_progress(store)[0].states == DONE).sum() == len(range(other - 1, SHARDS, 4))

    this = begun_by(lazy * np.float32(0.5), write_other)
    said = rf"part {other} of 4 of .* other values than part 1: .*one kind of CPU"
    with (
        dask.config.set(scheduler="synchronous"),
        pytest.raises(LayoutError, match=said),
    ):
        write_zarr(this, store, shard=SHARD, part=(1, 4))
    done = all_progress(store)[0].states.ravel()
    assert (done[0::4] == DONE).sum() == 1  # seen after the first shard
    for i in (1, other):  # nor when they are run again
        with pytest.raises(LayoutError, match="values are others than were written"):
            write_zarr(lazy * np.float32(0.6), store, shard=SHARD, part=(i, 4))


@pytest.mark.usefixtures("no_turns")
def test_a_part_whose_neighbours_are_like_it_hears_of_those_that_are_not(tmp_path):
    store, lazy, diary = tmp_path / "s.zarr", scene(), tmp_path / "diary"

    def write_others() -> None:
        begun = begun_by(lazy * np.float32(0.7), write_alike)
        with pytest.raises(LayoutError, match="than part 3"):
            write_zarr(begun, store, shard=SHARD, part=(3, 5))

    def write_alike() -> None:
        for i in (1, 2, 4):
            write_zarr(lazy, store, shard=SHARD, part=(i, 5))

    with (
        dask.config.set(scheduler="synchronous"),
        pytest.raises(LayoutError, match=r"part 2 of 5 of .* other values than part 3: "),
    ):
        write_zarr(begun_by(lazy, write_others), store, shard=SHARD, part=(5, 5))
    assert not (all_progress(store)[0].states.ravel()[4::5] == DONE).any()
    for settings in ({"part": (5, 5)}, {"resume": True}):
        with pytest.raises(LayoutError, match="other values than part 3"):
            write_zarr(scene(diary=diary), store, shard=SHARD, **settings)
    assert not diary.exists()
    assert not verify(store, shards="all", repair=True, progress=False).ok
    with pytest.raises(LayoutError, match="other values than part 3"):  # nothing was damaged
        write_zarr(lazy, store, shard=SHARD, resume=True)


def test_a_store_is_not_complete_once_its_parts_are_found_to_differ(tmp_path, monkeypatch):
    store, lazy, look = tmp_path / "s.zarr", scene(), Neighbours.expect_same_values

    def look_late(self: Neighbours) -> None:
        if self.part == (3, 5):
            write_zarr(lazy, store, shard=SHARD, part=(5, 5))
            assert status(store).complete
        look(self)

    for i in (1, 2, 4):
        write_zarr(lazy, store, shard=SHARD, part=(i, 5))
    monkeypatch.setattr(Neighbours, "expect_same_values", look_late)
    monkeypatch.setattr(fill, "expect_same_values", lambda *_, **__: None)  # all began at once
    monkeypatch.setattr(fill, "_early", lambda _: ())
    with pytest.raises(LayoutError, match="other values than part 3"):
        write_zarr(lazy * np.float32(0.7), store, shard=SHARD, part=(3, 5))
    told = status(store)
    assert not told.complete
    assert told.differs is not None
    assert "other values than part 3" in told.differs


def test_what_looked_like_another_arithmetic_and_was_damage_is_repaired(tmp_path, whole):
    store = write_zarr(scene(), tmp_path / "s.zarr", shard=SHARD)
    (store / LOST[0]).write_bytes(whole[LOST[0]][:-1])
    reopen(store, differs="part 2 of 4 makes other values than part 1")
    verify(store, shards="all", repair=True, progress=False)
    write_zarr(scene(), store, shard=SHARD, resume=True)
    assert files_of(store) == whole


def test_the_later_of_two_neighbours_sees_the_other_however_long_it_shows_no_data(tmp_path):
    store, lazy = tmp_path / "s.zarr", scene()  # parts 3 and 4 of 10 are nodata
    write_zarr(lazy, store, shard=SHARD, part=(3, 10))
    write_zarr(lazy * np.float32(0.7), store, shard=SHARD, part=(2, 10))
    write_zarr(lazy * np.float32(0.7), store, shard=SHARD, part=(5, 10))
    with pytest.raises(LayoutError, match="values are others than were written"):
        write_zarr(lazy, store, shard=SHARD, part=(6, 10))


@pytest.mark.usefixtures("no_turns")
@pytest.mark.parametrize(("n", "blank", "other"), [(5, [2, 4], 3), (10, [2, 3, 4], 5)])
def test_parts_of_other_arithmetic_see_each_other_past_parts_of_nodata(tmp_path, n, blank, other):
    store, begun = tmp_path / "s.zarr", scene()
    shards = np.arange(SHAPE[1]) // SHARD
    lazy = begun.where(xr.DataArray(~np.isin(shards % n + 1, blank), dims="y")) * np.float32(0.5)

    def write_others() -> None:
        for i in blank:
            write_zarr(lazy, store, shard=SHARD, part=(i, n))
        write_zarr(lazy * np.float32(0.7), store, shard=SHARD, part=(other, n))

    with (
        dask.config.set(scheduler="synchronous"),
        pytest.raises(LayoutError, match=rf"part {other} of {n} of .* than part 1"),
    ):
        write_zarr(begun_by(lazy, write_others), store, shard=SHARD, part=(1, n))


def test_parts_that_all_show_nodata_complete_a_store(tmp_path):
    store, lazy = tmp_path / "s.zarr", scene() * np.float32(np.nan)
    for i in (2, 3, 1):
        write_zarr(lazy, store, shard=SHARD, part=(i, 3))
    assert status(store).complete


def test_what_cannot_be_computed_to_be_compared_does_not_stop_a_run(tmp_path, whole):
    store = interrupted(scene(), tmp_path / "s.zarr")
    lazy = scene()

    def burn(block: np.ndarray, block_id: tuple[int, ...]) -> np.ndarray:
        if block_id[1] < 5:
            raise OSError("no such tape")
        return block

    data = lazy.data.map_blocks(burn, dtype="float32", meta=lazy.data._meta)
    write_zarr(lazy.copy(data=data), store, shard=SHARD, resume=True)
    assert files_of(store) == whole


def test_a_scene_of_another_name_is_another_run(tmp_path):
    store = interrupted(scene(), tmp_path / "s.zarr", dtype="float32")
    with pytest.raises(LayoutError, match='variable is "abundance" and was "reflectance"'):
        write_zarr(scene().rename("abundance"), store, shard=SHARD, dtype="float32", resume=True)
    assert not (store / "0/abundance").exists()
