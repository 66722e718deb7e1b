from __future__ import annotations

import os
import re
import time
from dataclasses import astuple
from datetime import UTC, datetime

import dask.array as da
import numpy as np
import pytest
import zarr
from click.testing import CliRunner
from zarr.storage import FsspecStore, MemoryStore

from lift_xr.cli import main
from lift_xr.errors import LayoutError
from lift_xr.io import status, verify, write_zarr
from lift_xr.io.fill import WriteFailed
from lift_xr.io.status import _moment
from tests.scenes import on_grid


def scene(*, burning: tuple[int, ...] = (), watch=None):
    def look(block, block_info):
        row = block_info[0]["chunk-location"][1]
        if watch is not None:
            watch(row)
        if row in burning:
            raise OSError("on fire")
        return block

    values = np.random.default_rng(0).random((2, 1100, 9), dtype="float32")
    data = da.from_array(values, chunks=(-1, 100, -1))
    lazy = data.map_blocks(look, dtype="float32", meta=data._meta)
    return on_grid(values).copy(data=lazy).assign_attrs(units="1")


def test_a_complete_store_says_so(tmp_path):
    store = write_zarr(scene(), tmp_path / "s.zarr", shard=100)
    found = status(store)
    assert (found.done, found.failing, found.left, found.total) == (11, 0, 0, 11)
    assert found.complete
    assert found.eta == 0
    assert 0 <= found.idle < 60


def test_a_run_is_followed_from_outside_while_it_goes_on(tmp_path):
    seen = []
    store = tmp_path / "s.zarr"
    write_zarr(scene(watch=lambda _: seen.append(status(store))), store, shard=100)
    assert [each.done for each in seen] == list(range(11))
    assert [each.left for each in seen] == list(range(11, 0, -1))
    assert not any(each.complete for each in seen)
    assert seen[0].rate is seen[0].eta is seen[0].idle is None
    assert 0 <= seen[-1].eta < 60
    assert seen[-1].rate > 0


def test_what_failed_is_told_apart_from_what_is_left(tmp_path):
    with pytest.raises(WriteFailed):
        write_zarr(scene(burning=(3, 5)), tmp_path / "s.zarr", shard=100)
    found = status(tmp_path / "s.zarr")
    assert (found.done, found.failing, found.left, found.total) == (9, 2, 0, 11)
    assert {index[-2:] for level, index in found.failed if level == 0} == {(3, 0), (5, 0)}
    assert not found.complete


def test_the_rate_is_that_of_the_work_without_the_pauses(tmp_path):
    with pytest.raises(WriteFailed):
        write_zarr(scene(burning=(10,)), tmp_path / "s.zarr", shard=100)
    for row in range(10):
        moment = 1e9 + 10 * row + (86400 if row > 4 else 0)  # a night between two runs
        os.utime(tmp_path / f"s.zarr/_progress/0/c/0/{row}/0/0", (moment, moment))
    found = status(tmp_path / "s.zarr")
    assert found.rate == pytest.approx(0.1)
    assert found.eta == pytest.approx(10)


def test_what_is_overdue_is_due_and_not_done(tmp_path):
    with pytest.raises(WriteFailed):
        write_zarr(scene(burning=(10,)), tmp_path / "s.zarr", shard=100)
    now = time.time()
    for row in range(10):
        moment = now - 30 - 10 * (9 - row)
        os.utime(tmp_path / f"s.zarr/_progress/0/c/0/{row}/0/0", (moment, moment))
    assert status(tmp_path / "s.zarr").eta == 0
    said = CliRunner().invoke(main, ["status", str(tmp_path / "s.zarr")]).output
    assert re.search(r"left +due by now", said)
    done = write_zarr(scene(), tmp_path / "done.zarr", shard=100)
    root = zarr.open_group(done, mode="r+", use_consolidated=False)
    root.attrs["lift_xr"] = {**root.attrs["lift_xr"], "complete": False}  # before it was completed
    assert "due by now" not in CliRunner().invoke(main, ["status", str(done)]).output


def test_a_date_that_no_standard_knows_is_as_good_as_none():
    assert _moment({"created": "last week"}) is None


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("created", lambda moment: moment),
        ("LastModified", lambda moment: datetime.fromtimestamp(moment, UTC)),
        ("updated", lambda moment: datetime.fromtimestamp(moment, UTC).isoformat()),
    ],
)
def test_object_stores_tell_the_rate_by_their_own_clock(monkeypatch, name, written):
    url = f"memory://{name}/s.zarr"
    with pytest.raises(WriteFailed):
        write_zarr(scene(burning=(10,)), url, shard=100)
    assert 0 <= status(url).eta < 60
    store = FsspecStore.from_url(url)
    find = store.fs._find

    async def found(path, **settings):
        told = await find(path, **settings)
        rows = sorted(each for each in told if each.endswith("/0/0"))
        return {each: {name: written(1e9 + 5 * place)} for place, each in enumerate(rows)}

    monkeypatch.setattr(store.fs, "_find", found)
    assert status(store).rate == pytest.approx(0.2)
    assert status(store).eta == pytest.approx(5)


def test_any_store_tells_what_is_done():
    found = status(write_zarr(scene(), MemoryStore(), shard=100))
    assert astuple(found) == (11, 0, 0, 11, None, 0.0, None, True, 0.0, None, ())


def test_a_store_that_is_still_being_made_has_nothing_done(tmp_path):
    whole = write_zarr(scene(), tmp_path / "s.zarr", shard=100)
    (tmp_path / "half.zarr").mkdir()
    (tmp_path / "half.zarr/zarr.json").write_bytes((whole / "zarr.json").read_bytes())
    assert status(tmp_path / "half.zarr").done == 0


def test_a_row_that_is_damaged_is_as_little_done_for_who_looks_as_for_the_run(tmp_path):
    store = write_zarr(scene(), tmp_path / "s.zarr", shard=100)
    rows = zarr.open_array(store, path="_progress/0", mode="r+")
    rows[0, 3, 0, 2] += 1  # one checksum
    rows[0, 4, 0, 0] = -1  # what would be a mark, were it alone
    row = store / "_progress/0/c/0/5/0/0"
    row.write_bytes(row.read_bytes()[:9])  # as a machine leaves it that loses its power
    root = zarr.open_group(store, mode="r+", use_consolidated=False)
    root.attrs["lift_xr"] = {**root.attrs["lift_xr"], "complete": False}
    found = status(store)
    assert (found.done, found.failing, found.left, found.total) == (8, 0, 3, 11)
    ran = []
    write_zarr(scene(watch=ran.append), store, shard=100, resume=True)
    assert sorted({*ran}) == [0, 3, 4, 5]  # 0 is looked at again
    assert status(store).done == 11


def test_what_is_no_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        status(tmp_path / "nothing.zarr")
    zarr.open_group(tmp_path / "other.zarr", mode="w")
    for store in (tmp_path / "other.zarr", tmp_path):
        with pytest.raises(LayoutError, match="is no store that write_zarr began"):
            status(store)


def test_the_share_of_clipped_values_is_that_of_what_is_written(tmp_path):
    values = np.full((2, 150, 130), 0.5, "float32")
    values[0, 100:, :50] = -1
    lazy = da.from_array(values, chunks=(-1, 100, 100))

    def burn(block, block_id):
        if block_id == (0, 0, 1):
            raise OSError("on fire")
        return block

    burning = lazy.map_blocks(burn, dtype="float32", meta=values[:0])
    scene = on_grid(values).assign_attrs(units="1")
    with pytest.raises(WriteFailed):
        write_zarr(scene.copy(data=burning), tmp_path / "s.zarr", shard=100)
    whole, failed = values.size, 2 * 100 * 30
    assert status(tmp_path / "s.zarr").clipped == pytest.approx(2500 / (whole - failed))
    with pytest.warns(UserWarning, match="2500 of 39000 values"):
        write_zarr(scene.copy(data=lazy), tmp_path / "s.zarr", shard=100, resume=True)
    assert status(tmp_path / "s.zarr").clipped == pytest.approx(2500 / whole)


@pytest.mark.parametrize("content", [None, b"", b"[]", b'{"zarr_format": 3', b"\xff\x00"])
def test_a_damaged_root_is_told_with_the_way_to_make_it_again(tmp_path, content):
    store = tmp_path / "s.zarr"
    with pytest.raises(WriteFailed):
        write_zarr(scene(burning=(3,)), store, shard=100)
    whole = (store / "zarr.json").read_bytes()
    damage = (store / "zarr.json").unlink if content is None else None
    damage() if damage else (store / "zarr.json").write_bytes(content)
    for read in (status, lambda each: write_zarr(scene(), each, shard=100, resume=True)):
        with pytest.raises(LayoutError, match=r"zarr.json of .*verify\(store, repair=True\)"):
            read(store)
    verify(store, repair=True, progress=False)
    assert (store / "zarr.json").read_bytes() == whole
    (store / "zarr.json").write_bytes(content or b"")
    assert status(write_zarr(scene(), store, shard=100, overwrite=True)).complete
