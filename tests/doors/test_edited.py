"""Mosaics that are written anew at their place while a run goes on: what is seen, what is said."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import rasterio
import zarr
from rasterio.shutil import copy as copy_raster
from rasterio.windows import Window
from zarr.storage import MemoryStore

from lift_xr.errors import LayoutError
from lift_xr.io import compute, open_scene, write_zarr
from lift_xr.io import edited as edited_module
from lift_xr.io.edited import SEEN, Inputs
from lift_xr.io.fill import WriteFailed
from tests.scenes import located

SHARD, EDGE = 40, 160  # 16 shards; the token knows the pixels 20, 60, 100 and 140 along each axis


@pytest.fixture
def mosaic(tmp_path: Path) -> Path:
    path = tmp_path / "msi.tif"
    scene = located(EDGE, EDGE, 3, spacing=2.0).rio.write_crs(32615)
    scene.rio.to_raster(path, tiled=True, blockxsize=32, blockysize=32)
    return path


def edit(path: Path, window: Window) -> None:
    with rasterio.open(path, "r+") as file:
        file.write(file.read(window=window) * 0.5, window=window)


def part(path: Path, store: Path, i: int, **settings) -> None:
    write_zarr(open_scene(path), store, shard=SHARD, dtype="float32", part=(i, 2), **settings)


def files_of(store: Path) -> dict[str, bytes]:
    files = (each for each in store.rglob("*") if each.is_file())
    return {str(each.relative_to(store)): each.read_bytes() for each in files}


def whole(path: Path, store: Path) -> dict[str, bytes]:
    return files_of(write_zarr(open_scene(path), store, shard=SHARD, dtype="float32"))


def test_a_mosaic_that_nobody_touched_is_not_spoken_of(mosaic, tmp_path):
    expected = whole(mosaic, tmp_path / "whole.zarr")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "files of the mosaic")
        for i in (1, 2):
            part(mosaic, tmp_path / "s.zarr", i)
    assert files_of(tmp_path / "s.zarr") == expected
    assert not list((tmp_path / "s.zarr").rglob(Path(SEEN).name))


def test_an_edit_that_a_compared_window_shows_is_refused(mosaic, tmp_path):
    """One part is done; in the middle of its fourth shard, which the token does not see."""
    part(mosaic, tmp_path / "s.zarr", 2)
    shutil.copy2(mosaic, tmp_path / "before.tif")
    edit(mosaic, Window(130, 16, 8, 8))
    with (
        pytest.warns(UserWarning, match="written anew"),
        pytest.raises(LayoutError, match=r"begun on another mosaic.*Put the mosaic back") as error,
    ):
        part(mosaic, tmp_path / "s.zarr", 1)
    assert "pixels 12 to 28 (y) and 132 to 148 (x)" in str(error.value)
    shutil.copy2(tmp_path / "before.tif", mosaic)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "files of the mosaic")
        part(mosaic, tmp_path / "s.zarr", 1)  # who was refused has left no word


def test_the_same_edit_under_the_same_time_is_not_seen(mosaic, tmp_path):
    """What is seen is the file, not the pixels: without its time only the token is compared."""
    part(mosaic, tmp_path / "s.zarr", 2)
    before = os.stat(mosaic)
    edit(mosaic, Window(130, 16, 8, 8))
    os.utime(mosaic, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert os.stat(mosaic).st_size == before.st_size
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "files of the mosaic")
        part(mosaic, tmp_path / "s.zarr", 1)


def test_an_edit_that_no_window_shows_is_warned_of(mosaic, tmp_path):
    part(mosaic, tmp_path / "s.zarr", 2)
    edit(mosaic, Window(0, 0, 4, 4))
    with pytest.warns(UserWarning, match=r"written anew.*verify\(store, msi=msi, shards='all'\)"):
        part(mosaic, tmp_path / "s.zarr", 1)


def test_a_mosaic_put_back_as_it_was_makes_the_same_bytes(mosaic, tmp_path):
    expected = whole(mosaic, tmp_path / "whole.zarr")
    part(mosaic, tmp_path / "s.zarr", 2)
    os.utime(mosaic, (1, 1))
    with pytest.warns(UserWarning, match="written anew"):
        part(mosaic, tmp_path / "s.zarr", 1)
    assert files_of(tmp_path / "s.zarr") == expected


def test_an_edit_while_the_last_part_is_at_it_is_warned_of(mosaic, tmp_path):
    def edited(block: np.ndarray) -> np.ndarray:
        os.utime(mosaic, (1, 1))
        return block

    scene = open_scene(mosaic)
    lazy = scene.copy(data=scene.data.map_blocks(edited, meta=np.empty((0, 0, 0), "float32")))
    with pytest.warns(UserWarning, match="written anew"):
        write_zarr(lazy, tmp_path / "s.zarr", shard=SHARD, dtype="float32")


def test_a_mosaic_that_cannot_be_read_is_compared_once(mosaic, tmp_path, monkeypatch):
    tried = []

    def fail(block: np.ndarray) -> np.ndarray:
        tried.append(block.shape)
        raise OSError("no such strip")

    part(mosaic, tmp_path / "s.zarr", 2)
    os.utime(mosaic, (1, 1))
    scene = open_scene(mosaic)
    lazy = scene.copy(data=scene.data.map_blocks(fail, meta=np.empty((0, 0, 0), "float32")))
    with pytest.warns(UserWarning, match="written anew"), pytest.raises(WriteFailed):
        write_zarr(lazy, tmp_path / "s.zarr", shard=SHARD, part=(1, 2), dtype="float32")
    assert len(tried) == compute.TRIES * (1 + 8)  # one window, and the shards of this part


def test_what_a_part_leaves_that_dies_as_another_completes_the_store_is_removed(mosaic, tmp_path):
    store = tmp_path / "s.zarr"
    expected = whole(mosaic, store)
    Inputs(open_scene(mosaic).data, store).leave_word()
    assert files_of(store) != expected
    write_zarr(open_scene(mosaic), store, shard=SHARD, dtype="float32", resume=True)
    assert files_of(store) == expected


def test_word_is_left_though_another_takes_it_for_debris(mosaic, tmp_path, monkeypatch):
    class Losing(MemoryStore):
        left = 2

        async def set(self, key: str, *rest: object, **more: object) -> None:
            if key.startswith(SEEN) and self.left:
                self.left -= 1
                raise FileNotFoundError(key)
            await super().set(key, *rest, **more)

    store = Losing()
    inputs = Inputs(open_scene(mosaic).data, store)
    inputs.leave_word()
    os.utime(mosaic, (1, 1))
    assert Inputs(open_scene(mosaic).data, store).differ()


def test_a_copy_at_another_place_is_the_same_mosaic(mosaic, tmp_path):
    expected = whole(mosaic, tmp_path / "whole.zarr")
    part(mosaic, tmp_path / "s.zarr", 2)
    other = Path(shutil.copy(mosaic, tmp_path / "copy.tif"))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "files of the mosaic")
        part(other, tmp_path / "s.zarr", 1)
    assert files_of(tmp_path / "s.zarr") == expected


def state_of(path: Path) -> frozenset[tuple[str, str]]:
    return Inputs(open_scene(path).data, path.parent / "unused").seen


def test_the_files_that_a_virtual_raster_is_made_of_are_looked_at(mosaic, tmp_path):
    virtual = tmp_path / "msi.vrt"
    copy_raster(mosaic, virtual, driver="VRT")
    copy_raster(virtual, tmp_path / "outer.vrt", driver="VRT")
    for path in (virtual, tmp_path / "outer.vrt"):
        before = state_of(path)
        assert before == state_of(path)
        os.utime(mosaic, (1, len(path.name)))
        assert before != state_of(path)


def test_statistics_that_a_viewer_leaves_beside_a_raster_change_nothing(mosaic):
    before = state_of(mosaic)
    mosaic.with_name("msi.tif.aux.xml").write_text("<PAMDataset/>")
    assert before == state_of(mosaic)


@pytest.mark.parametrize("most", [1000, 0])
def test_a_chunk_of_a_zarr_store_written_anew_is_seen(mosaic, tmp_path, monkeypatch, most):
    monkeypatch.setattr(edited_module, "MOST", most)  # of more files, the folders are looked at
    store = Path(
        write_zarr(open_scene(mosaic), tmp_path / "msi.zarr", shard=SHARD, dtype="float32")
    )
    before = state_of(store)
    open_scene(store).compute()
    assert before == state_of(store)
    array = zarr.open_array(store, path="0/reflectance", mode="r+")
    array[:, :4, :4] = 7
    assert before != state_of(store)


def test_nothing_is_known_of_pixels_in_memory(tmp_path):
    lazy = da.from_array(located().to_numpy(), chunks=(-1, 8, 8))
    assert not Inputs(lazy, tmp_path / "s.zarr").seen
