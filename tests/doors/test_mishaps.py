"""What happens around a run: disks that are full, folders that are not ours, others at work."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from errno import EDQUOT, ENOSPC, EPERM
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.abc.store import Store
from zarr.core.buffer import Buffer
from zarr.storage import LocalStore, MemoryStore, WrapperStore

from lift_xr.errors import LayoutError
from lift_xr.io import compute, fill, open_scene, seal, status, verify, write_zarr
from lift_xr.io.fill import WriteFailed
from lift_xr.io.record import DONE, all_progress
from lift_xr.io.root import Replaced
from tests.doors.test_resume import SHARD, SHARDS, files_of, scene, whole  # noqa: F401

OVERVIEWS = 3  # tasks of the coarser levels


def watched(watch: Any, *, seed: int = 0) -> xr.DataArray:
    """A scene that tells of each block, by its row, before it is computed."""
    lazy = scene(seed=seed)

    def look(block: np.ndarray, block_id: tuple[int, ...]) -> np.ndarray:
        watch(block_id[1])
        return block

    return lazy.copy(data=lazy.data.map_blocks(look, dtype="float32", meta=lazy.data._meta))


# ------------------------------------------------------------------------------------------- places


@pytest.mark.parametrize("name", ["s.zarr", "a folder/ a store.zarr", "сцена/店 ü%20.zarr"])
@pytest.mark.parametrize("way", ["path", "relative", "url"])
def test_a_store_is_written_and_resumed_wherever_it_lies(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    whole: dict[str, bytes],  # noqa: F811
    name: str,
    way: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    store = {"path": tmp_path / name, "relative": name, "url": f"file://{tmp_path / name}"}[way]
    with dask.config.set(scheduler="synchronous"):
        write_zarr(scene(), store, shard=SHARD, part=(1, 2))
        write_zarr(scene(), store, shard=SHARD, resume=True)
    assert files_of(tmp_path / name) == whole
    assert status(store).complete
    assert verify(store, progress=False).ok
    assert open_scene(store).shape == scene().shape
    assert [each.name for each in tmp_path.iterdir()] == [Path(name).parts[0]]


def test_a_folder_that_may_not_be_written_is_refused_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lazy = watched(lambda _: pytest.fail("it reads"))
    monkeypatch.setattr(os, "access", lambda place, mode: Path(place) != tmp_path)
    with pytest.raises(LayoutError, match="may not be written by you; expected a folder"):
        write_zarr(lazy, tmp_path / "new/s.zarr", shard=SHARD)
    assert list(tmp_path.iterdir()) == []


def test_below_a_file_is_no_place(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(LayoutError, match="notes is not a folder; expected a folder to write in"):
        write_zarr(scene(), tmp_path / "notes/s.zarr", shard=SHARD)


def test_disks_without_hard_links_will_do(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    whole: dict[str, bytes],  # noqa: F811
) -> None:
    def no_links(*_: Any, **__: Any) -> None:
        raise PermissionError(EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    store = tmp_path / "s.zarr"
    write_zarr(scene(), store, shard=SHARD, part=(1, 2))
    write_zarr(scene(), store, shard=SHARD, part=(2, 2))
    assert files_of(store) == whole


# ----------------------------------------------------------------------------------- a disk is full


@pytest.mark.parametrize("errno", [ENOSPC, EDQUOT])
def test_once_the_disk_is_full_no_shard_is_lifted_in_vain(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    whole: dict[str, bytes],  # noqa: F811
    errno: int,
) -> None:
    monkeypatch.setattr(compute, "BACKOFF", 0)
    ran: list[int] = []

    def look(row: int) -> None:
        ran.append(row)
        if row >= 4:
            raise OSError(errno, os.strerror(errno))

    with (
        dask.config.set(scheduler="synchronous"),
        pytest.raises(WriteFailed, match=r"6 shards of .* 1 after up to 4 tries .*\[Errno"),
    ):
        write_zarr(watched(look), tmp_path / "s.zarr", shard=SHARD)
    assert ran == [0, 1, 2, 3, *[4] * compute.TRIES]
    write_zarr(scene(), tmp_path / "s.zarr", shard=SHARD, resume=True)
    assert files_of(tmp_path / "s.zarr") == whole


@pytest.mark.parametrize("length", [3, 99])
def test_a_shard_that_a_lost_disk_cut_short_is_named_with_the_way_to_write_it_again(
    tmp_path: Path,
    whole: dict[str, bytes],  # noqa: F811
    length: int,
) -> None:
    store = tmp_path / "s.zarr"
    write_zarr(scene(), store, shard=SHARD, part=(1, 2))
    cut = store / "0/reflectance/c/0/0/0"
    cut.write_bytes(cut.read_bytes()[:length])
    with pytest.raises(LayoutError, match=r"shard \(0, 0, 0\) of 0/reflectance .*repair=True"):
        write_zarr(scene(), store, shard=SHARD, resume=True)
    found = verify(store, shards="all", repair=True, progress=False)
    assert "0/reflectance/c/0/0/0" in {each.file for each in found.failures}
    write_zarr(scene(), store, shard=SHARD, resume=True)
    assert files_of(store) == whole


# ------------------------------------------------------------------------------ others at the store


def test_a_run_whose_store_another_run_replaced_writes_nothing_more(tmp_path: Path) -> None:
    store = tmp_path / "s.zarr"

    def replace(row: int) -> None:
        if row == 4:
            write_zarr(scene(seed=1), store, shard=SHARD, overwrite=True)

    with (
        dask.config.set(scheduler="synchronous"),
        pytest.raises(Replaced, match="another run has begun there"),
    ):
        write_zarr(watched(replace), store, shard=SHARD)
    expected = write_zarr(scene(seed=1), tmp_path / "other.zarr", shard=SHARD)
    assert files_of(store) == files_of(expected)


@pytest.mark.parametrize("after", [4, SHARDS, SHARDS + OVERVIEWS])
def test_a_run_that_was_replaced_between_two_tasks_does_not_take_the_others_work_for_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    store, ended = tmp_path / "s.zarr", list[Any]()

    def replacing(*args: Any, **settings: Any) -> Iterator[Any]:
        for each in compute.run_shards(*args, **settings):
            yield each
            ended.append(each)
            if len(ended) == after:
                write_zarr(scene(seed=1), store, shard=SHARD, overwrite=True)

    monkeypatch.setattr(fill, "run_shards", replacing)
    with (
        dask.config.set(scheduler="synchronous"),
        pytest.raises(Replaced, match="another run has begun there"),
    ):
        write_zarr(scene(), store, shard=SHARD)
    assert ended[after - 1].error is None
    expected = write_zarr(scene(seed=1), tmp_path / "other.zarr", shard=SHARD)
    assert files_of(store) == files_of(expected)


@pytest.mark.parametrize("step", ["list_files", "content_digest"])
def test_a_run_that_is_replaced_while_it_ends_does_not_complete_the_others_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    store, taken, other = tmp_path / "s.zarr", getattr(seal, step), [scene(seed=1)]

    def replaced(place: Any) -> Any:
        found = taken(place)
        while other:
            write_zarr(other.pop(), store, shard=SHARD, overwrite=True)
        return found

    monkeypatch.setattr(seal, step, replaced)
    with pytest.raises(Replaced, match="another run has begun there"):
        write_zarr(scene(), store, shard=SHARD)
    expected = write_zarr(scene(seed=1), tmp_path / "other.zarr", shard=SHARD)
    assert files_of(store) == files_of(expected)


def test_of_two_runs_that_begin_at_one_moment_the_later_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_zarr(scene(seed=1), tmp_path / "other.zarr", shard=SHARD, part=(0, 1))
    inner = MemoryStore()
    monkeypatch.setattr(LateStore, "root", (other / "zarr.json").read_bytes())
    with pytest.raises(LayoutError, match="was begun by another run"):
        write_zarr(scene(), LateStore(inner), shard=2 * SHARD)
    assert list(inner._store_dict) == ["zarr.json"]


class LateStore(WrapperStore[Store]):
    """A store in which another run makes the root just before this one does."""

    root = b""

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        if key == "zarr.json":
            await super().set(key, type(value).from_bytes(self.root))
        await super().set_if_not_exists(key, value)


def test_a_run_whose_store_was_removed_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    store, ran = tmp_path / "s.zarr", []

    def remove(row: int) -> None:
        ran.append(row)
        if row == 4:
            shutil.rmtree(store)

    with (
        dask.config.set(scheduler="synchronous"),
        pytest.raises(Replaced, match="it was removed or damaged"),
    ):
        write_zarr(watched(remove), store, shard=SHARD)
    assert ran == [0, 1, 2, 3, 4]
    assert not store.exists()


def test_one_error_of_the_store_does_not_make_a_run_believe_that_its_store_is_gone(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    whole: dict[str, bytes],  # noqa: F811
) -> None:
    monkeypatch.setattr(compute, "BACKOFF", 0)
    store, ran = ClosingStore(LocalStore(tmp_path / "s.zarr")), list[int]()

    def look(row: int) -> None:
        ran.append(row)
        store.closes = ran == [0, 1, 2, 3, 4]

    with dask.config.set(scheduler="synchronous"):
        write_zarr(watched(look), store, shard=SHARD)
    assert ran == [0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 9]
    assert files_of(tmp_path / "s.zarr") == whole


def test_an_error_of_the_store_does_not_make_its_root_look_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ClosingStore(LocalStore(write_zarr(scene(), tmp_path / "s.zarr", shard=SHARD)))
    monkeypatch.setattr(ClosingStore, "closes", True)  # zarr makes another one to read from
    with pytest.raises(RuntimeError, match="Session is closed"):
        status(store)


class ClosingStore(WrapperStore[Store]):
    """A store that fails to read its root, once, when it is told to."""

    closes = False

    async def get(self, key: str, *args: Any, **kwargs: Any) -> Buffer | None:
        if self.closes and key == "zarr.json":
            self.closes = False
            raise RuntimeError("Session is closed")
        return await super().get(key, *args, **kwargs)


def test_two_runs_that_resume_one_store_at_once_write_the_same_bytes(
    tmp_path: Path,
    whole: dict[str, bytes],  # noqa: F811
) -> None:
    store, ran = tmp_path / "s.zarr", list[int]()

    def run_too(row: int) -> None:
        ran.append(row)
        if row == 4:
            write_zarr(scene(), store, shard=SHARD, resume=True)
            assert status(store).complete

    with dask.config.set(scheduler="synchronous"):
        write_zarr(watched(run_too), store, shard=SHARD, resume=True)
    assert ran == [0, 1, 2, 3, 4]  # the others are done by then
    assert files_of(store) == whole


@pytest.mark.parametrize("length", [0, 3, 99])
def test_half_a_shard_without_a_row_is_written_again(
    tmp_path: Path,
    whole: dict[str, bytes],  # noqa: F811
    length: int,
) -> None:
    store = tmp_path / "s.zarr"
    write_zarr(scene(), store, shard=SHARD, part=(1, 2))
    (store / "_progress/0/c/0/0/0/0").write_bytes(b"no row")
    (store / "0/reflectance/c/0/0/0").write_bytes(whole["0/reflectance/c/0/0/0"][:length])
    write_zarr(scene(), store, shard=SHARD, resume=True)
    assert files_of(store) == whole


def test_code_that_ends_its_process_ends_the_run_and_not_in_silence(tmp_path: Path) -> None:
    def leave(row: int) -> None:
        if row == 3:
            raise SystemExit(7)

    with (
        dask.config.set(scheduler="threads", num_workers=2),
        pytest.raises(WriteFailed, match=r"1 shards of .* SystemExit: 7"),
    ):
        write_zarr(watched(leave), tmp_path / "s.zarr", shard=SHARD)
    assert (all_progress(tmp_path / "s.zarr")[0].states == DONE).sum() == SHARDS - 1


def test_a_row_of_an_earlier_clock_is_as_good(tmp_path: Path, whole: dict[str, bytes]) -> None:  # noqa: F811
    store = tmp_path / "s.zarr"
    write_zarr(scene(), store, shard=SHARD, part=(1, 2))
    for row in store.glob("_progress/0/c/0/*/0/0"):
        os.utime(row, (9e9, 9e9))  # another machine's clock is centuries ahead
    found = status(store)
    assert found.idle == 0.0
    assert found.eta is None or found.eta >= 0
    write_zarr(scene(), store, shard=SHARD, resume=True)
    assert files_of(store) == whole
    assert zarr.open_group(store, mode="r").attrs["lift_xr"]["complete"] is True
