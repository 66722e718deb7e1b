from __future__ import annotations

import re
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numcodecs.blosc
import numpy as np
import pytest
import rioxarray  # noqa: F401
import xarray as xr
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zarr.storage import MemoryStore, ZipStore

from lift_xr.errors import LayoutError
from lift_xr.fuse import fit, predict
from lift_xr.io import fill as filling
from lift_xr.io import open_scene, write_zarr
from lift_xr.io.blueprint import Blueprint
from lift_xr.io.create import create
from lift_xr.io.fill import WriteFailed, fill
from lift_xr.io.place import expect_place
from lift_xr.io.scale import find_packing
from lift_xr.packing import Packing
from lift_xr.plan import passes_of
from lift_xr.scene import expect_scene
from tests.clusters import two_workers
from tests.scenes import cube, located, on_grid

UINT16 = np.dtype("uint16")


def fused(height: int = 37, width: int = 53, *, block: int = 16) -> xr.DataArray:
    """What predict returns: lazy, with bands in nm, a CRS, nodata and provenance."""
    scene = cube(height, width, spacing=2.0)
    scene = scene.assign_coords(
        fwhm=("band", np.full(13, 5.0), {"units": "nm"}),
        good_wavelength=("band", np.arange(13) != 4),
    )
    scene = scene.rio.write_crs("EPSG:32615")
    scene[:, 3:9, 20:] = np.nan
    scene.attrs = {"units": "1", "lift_xr_method": "sin", "lift_xr_range": [0.0, 0.8]}
    return scene.copy(data=da.from_array(scene.to_numpy(), chunks=(-1, block, block)))


def files_of(store: Path) -> dict[str, bytes]:
    files = (each for each in store.rglob("*") if each.is_file())
    return {str(each.relative_to(store)): each.read_bytes() for each in files}


# ------------------------------------------------------------------------------------ round trips


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    size=st.tuples(st.sampled_from([1, 2, 13, 31]), st.sampled_from([1, 7, 53]), st.just(29)),
    shard=st.sampled_from([8, 17, 32, 1280]),
    block=st.integers(3, 60),
    dtype=st.sampled_from(["uint16", "float32"]),
    seed=st.integers(0, 9),
)
def test_what_is_written_is_read_back(size, shard, block, dtype, seed):
    rng = np.random.default_rng(seed)
    values = rng.random(size, dtype="float32")
    values[:, rng.random(size[1:]) < 0.2] = np.nan
    scene = on_grid(values, left=300.0, top=200.0).assign_attrs(units="1")
    lazy = scene.copy(data=da.from_array(values, chunks=(-1, block, block)))
    found = open_scene(write_zarr(lazy, MemoryStore(), dtype=dtype, shard=shard))
    assert found.dtype == np.float32
    tolerance = 0.0 if dtype == "float32" else 0.501e-4
    np.testing.assert_allclose(found, values, rtol=0, atol=tolerance)
    xr.testing.assert_equal(found.coords.to_dataset(), scene.coords.to_dataset())


def test_coordinates_crs_and_attributes_survive(tmp_path):
    scene = fused()
    found = open_scene(write_zarr(scene, tmp_path / "s.zarr", shard=16))
    assert found.name == "reflectance"
    for name in ("wavelength", "fwhm", "good_wavelength", "y", "x", "band"):
        np.testing.assert_array_equal(found[name], scene[name])
    assert found.wavelength.attrs["units"] == found.fwhm.attrs["units"] == "nm"
    assert found.rio.crs.to_epsg() == 32615
    assert found.spatial_ref.attrs["GeoTransform"] == "0.0 2.0 0.0 0.0 0.0 -2.0"
    assert found.attrs == scene.attrs


def test_a_series_keeps_its_times(tmp_path):
    times = np.array(["2024-05-01", "2024-06-01"], "M8[ns]")
    series = xr.concat([fused(), fused() / 2], dim=xr.Variable("time", times))
    series.attrs["units"] = "1"
    found = open_scene(write_zarr(series, tmp_path / "s.zarr", shard=32))
    assert found.dims == ("time", "band", "y", "x")
    np.testing.assert_array_equal(found.time, times)
    np.testing.assert_allclose(found, series, atol=0.501e-4)
    assert found.chunks == ((1, 1), (13,), (32, 5), (32, 21))


def test_band_names_survive(tmp_path):
    named = located().assign_coords(band=["blue", "green", "red", "nir"])
    found = open_scene(write_zarr(named, tmp_path / "s.zarr", dtype="float32"))
    assert found.band.to_numpy().tolist() == ["blue", "green", "red", "nir"]


def test_the_store_opens_at_shard_size(tmp_path):
    found = open_scene(write_zarr(fused(), tmp_path / "s.zarr", shard=16))
    assert found.chunks == ((13,), (16, 16, 5), (16, 16, 16, 5))


# --------------------------------------------------------------------------------- what others see


def test_plain_xarray_and_rioxarray_read_the_store(tmp_path):
    scene = fused()
    store = write_zarr(scene, tmp_path / "s.zarr", shard=16)
    plain = xr.open_zarr(store, group="0", decode_coords="all")
    np.testing.assert_allclose(plain.reflectance, scene, atol=0.501e-4)
    assert plain.rio.crs.to_epsg() == 32615
    assert plain.rio.bounds() == (0, -74, 106, 0)
    assert plain.y.attrs["standard_name"] == "projection_y_coordinate"


@pytest.mark.parametrize(("dtype", "fill_value"), [("uint16", 65535), ("float32", np.nan)])
def test_the_array_on_disk_is_as_the_layout_says(tmp_path, dtype, fill_value):
    store = write_zarr(fused(), tmp_path / "s.zarr", dtype=dtype, shard=16)
    array = zarr.open_array(store, path="0/reflectance", mode="r")
    assert array.shards == (13, 16, 16)
    assert array.metadata.zarr_format == 3
    assert array.metadata.dimension_names == ("band", "y", "x")
    np.testing.assert_equal(array.fill_value, fill_value)
    plain = xr.open_zarr(store, group="0", decode_coords="all", mask_and_scale=False)
    np.testing.assert_equal(plain.reflectance.attrs["_FillValue"], fill_value)
    assert plain.reflectance.dtype == dtype


def test_the_store_says_how_it_came_about_and_that_it_is_complete(tmp_path):
    root = zarr.open_group(write_zarr(fused(), tmp_path / "s.zarr"), mode="r")
    assert root.metadata.consolidated_metadata is not None
    about = root.attrs["lift_xr"]
    assert about["layout"] == 1
    assert about["complete"] is True
    assert about["provenance"] == {"lift_xr_method": "sin", "lift_xr_range": [0.0, 0.8]}
    assert root.attrs["history"] == f"lift_xr {about['version']}: write_zarr, cube of method sin"


def test_the_same_scene_gives_the_same_pixels_on_disk_for_any_blocks(tmp_path):
    shards = []
    for block in (16, 7, 60):
        store = write_zarr(fused(block=block), tmp_path / f"{block}.zarr", shard=16)
        files = files_of(store)
        shards.append({name: files[name] for name in files if "reflectance/c/" in name})
    assert len(shards[0]) == 12
    assert shards[0] == shards[1] == shards[2]


# ------------------------------------------------------------------------- one task, one shard


def graph_of(scene: xr.DataArray, monkeypatch: pytest.MonkeyPatch, *, shard: int) -> da.Array:
    """The array of statuses that write_zarr computes."""
    seen = []
    run = filling.run_shards

    def spy(statuses: da.Array, *args: Any, **kwargs: Any) -> Any:
        seen.append(statuses)
        return run(statuses, *args, **kwargs)

    monkeypatch.setattr(filling, "run_shards", spy)
    write_zarr(scene, MemoryStore(), shard=shard)
    return seen[0]


def test_reading_lifting_and_writing_a_shard_is_one_task(monkeypatch, tmp_path):
    source = open_scene(write_zarr(fused(), tmp_path / "s.zarr", shard=16))
    factor = dask.delayed(np.float32(0.5))
    lifted = source.copy(data=source.data.map_blocks(np.multiply, factor, dtype="float32"))
    statuses = graph_of(lifted, monkeypatch, shard=16)
    (optimized,) = dask.optimize(statuses)
    assert statuses.size == 12
    assert len(dict(optimized.dask)) <= statuses.size + 2


def test_as_many_chunks_are_encoded_at_once_as_there_are_threads(tmp_path, monkeypatch):
    inside, most, lock, encode = set(), [0], threading.Lock(), numcodecs.blosc.Blosc.encode

    def watched(codec: Any, buffer: Any) -> Any:
        token = object()
        with lock:
            inside.add(token)
            most[0] = max(most[0], len(inside))
        time.sleep(0.001)
        encoded = encode(codec, buffer)
        inside.discard(token)
        return encoded

    monkeypatch.setattr(numcodecs.blosc.Blosc, "encode", watched)
    before = zarr.config.get("async.concurrency")
    with dask.config.set(scheduler="threads", num_workers=2):
        write_zarr(fused(600, 600), tmp_path / "s.zarr", shard=256)
    assert 1 <= most[0] <= 2
    assert zarr.config.get("async.concurrency") == before


def test_each_task_returns_one_number(monkeypatch):
    statuses = graph_of(fused(), monkeypatch, shard=16)
    assert statuses.dtype == np.int64
    assert set(statuses.chunks[0] + statuses.chunks[1] + statuses.chunks[2]) == {1}


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_any_zarr_store_works_on_local_schedulers(scheduler):
    with dask.config.set(scheduler=scheduler):
        found = open_scene(write_zarr(fused(), MemoryStore(), shard=16))
        np.testing.assert_allclose(found, fused(), atol=0.501e-4)


def test_workers_write_the_same_bytes_as_one_thread_and_say_what_went_wrong(tmp_path):
    alone = write_zarr(fused(), tmp_path / "alone.zarr", shard=16)
    with two_workers():
        with pytest.raises(WriteFailed, match="sensor on fire"):
            write_zarr(failing(), tmp_path / "failed.zarr", shard=16)
        together = write_zarr(fused(), tmp_path / "together.zarr", shard=16)
        with pytest.raises(LayoutError, match="in this process's memory, which the workers"):
            write_zarr(fused(), MemoryStore())
    one, other = files_of(alone), files_of(together)
    assert one.keys() == other.keys()
    assert all(one[name] == other[name] for name in one if "/c/" in name)
    with pytest.raises(LayoutError, match="is incomplete"):
        open_scene(tmp_path / "failed.zarr")


# -------------------------------------------------------------------------------- interrupted runs


def burn(block: np.ndarray, block_id: tuple[int, ...]) -> np.ndarray:
    if block_id == (0, 1, 1):
        raise OSError("sensor on fire")
    return block


def failing() -> xr.DataArray:
    scene = fused()
    return scene.copy(data=scene.data.map_blocks(burn, dtype="float32", meta=scene.data._meta))


def test_an_interrupted_store_is_not_a_scene_until_it_is_overwritten(tmp_path):
    store = tmp_path / "s.zarr"
    with pytest.raises(WriteFailed, match="sensor on fire"):
        write_zarr(failing(), store, shard=16)
    with pytest.raises(LayoutError, match=r"incomplete.*write_zarr\(fused, store, resume=True"):
        open_scene(store)
    write_zarr(fused(), store, shard=16, overwrite=True)
    np.testing.assert_allclose(open_scene(store), fused(), atol=0.501e-4)


def test_the_two_steps_of_a_run_can_be_taken_one_by_one(tmp_path):
    scene, store = expect_scene(fused()), tmp_path / "s.zarr"
    blueprint = Blueprint(scene, passes_of(scene.shape, UINT16, shard=16), Packing(UINT16, 1e-4))
    create(blueprint, store)
    with pytest.raises(LayoutError, match="is incomplete"):
        open_scene(store)
    fill(blueprint, store, progress=False)
    np.testing.assert_allclose(open_scene(store), scene, atol=0.501e-4)


# ------------------------------------------------------------------------------- places to write to


def test_an_existing_store_is_kept_unless_overwrite_says_otherwise(tmp_path):
    store = write_zarr(located(), tmp_path / "s.zarr", dtype="float32")
    before = files_of(store)
    with pytest.raises(LayoutError, match=r"already exists.*pass overwrite=True"):
        write_zarr(fused(), store)
    assert files_of(store) == before
    write_zarr(fused(), store, overwrite=True)
    assert open_scene(store).sizes["band"] == 13


def test_a_memory_store_in_use_is_an_existing_store():
    store = write_zarr(fused(), MemoryStore())
    with pytest.raises(LayoutError, match="already exists"):
        write_zarr(fused(), store)


@pytest.mark.parametrize(
    "wrong", [{"shard": 0}, {"dtype": "int8"}, {"scale_factor": -1.0}, {"add_offset": np.nan}]
)
def test_nothing_is_destroyed_for_arguments_that_are_wrong(tmp_path, wrong):
    store = write_zarr(fused(), tmp_path / "s.zarr")
    before = files_of(store)
    with pytest.raises(LayoutError):
        write_zarr(fused(), store, overwrite=True, **wrong)
    assert files_of(store) == before


def test_what_is_no_zarr_store_is_never_overwritten(tmp_path):
    (tmp_path / "thesis.txt").write_text("chapter one")
    for place in (tmp_path, tmp_path / "thesis.txt"):
        with pytest.raises(LayoutError, match="exists and is not a Zarr store"):
            write_zarr(fused(), place, overwrite=True)
    (tmp_path / "empty").mkdir()
    write_zarr(fused(), tmp_path / "empty")


@pytest.mark.parametrize("opener", [open_scene, lambda store: xr.open_zarr(store, "0").reflectance])
def test_a_store_is_not_overwritten_by_what_is_computed_from_it(tmp_path, opener):
    store = write_zarr(fused(), tmp_path / "s.zarr", shard=16)
    before = files_of(store)
    doubled = opener(store) * 2
    with pytest.raises(LayoutError, match="also what fused is computed from"):
        write_zarr(doubled.assign_attrs(units="1"), store, overwrite=True)
    assert files_of(store) == before
    write_zarr(doubled.assign_attrs(units="1"), tmp_path / "other.zarr")


def test_a_memory_store_is_not_overwritten_by_what_is_computed_from_it():
    store = write_zarr(fused(), MemoryStore(), shard=16)
    with pytest.raises(LayoutError, match="also what fused is computed from"):
        write_zarr(open_scene(store), store, overwrite=True)


def test_zip_files_are_refused(tmp_path):
    with pytest.raises(LayoutError, match="zip file, which tasks cannot write side by side"):
        write_zarr(fused(), tmp_path / "s.zarr.zip")
    with pytest.raises(LayoutError, match="zip file"):
        write_zarr(fused(), ZipStore(tmp_path / "z", mode="w"))


def test_processes_cannot_write_into_memory_either():
    with (
        dask.config.set(scheduler="processes"),
        pytest.raises(LayoutError, match="expected a path or an object store"),
    ):
        expect_place(MemoryStore(), fused().data, overwrite=False)


# ------------------------------------------------------------------------------------------ packing


def test_reflectance_is_stored_in_ten_thousandths():
    assert find_packing({"units": "1"}, UINT16, None, None) == Packing(UINT16, 1e-4, 0.0)


def test_other_units_are_scaled_by_the_range_of_the_training_cube():
    packing = find_packing({"units": "DN", "lift_xr_range": [-100, 300]}, UINT16, None, None)
    low, high = packing.limits
    assert low == -200
    assert high == pytest.approx(400)
    told = find_packing({}, UINT16, 0.5, -10.0)
    assert (told.scale_factor, told.add_offset) == (0.5, -10)


@pytest.mark.parametrize("attrs", [{}, {"units": "DN"}, {"lift_xr_range": [2.0, 2.0]}])
def test_a_scale_is_asked_for_where_none_can_be_found(attrs):
    with pytest.raises(LayoutError, match=r"no range to find a scale_factor.*scale_factor=\.\.\."):
        find_packing(attrs, UINT16, None, None)


@pytest.mark.parametrize("scale", [0.0, -1e-4, np.nan, np.inf, 1e-60])
def test_a_scale_that_packs_nothing_is_refused(scale):
    with pytest.raises(LayoutError, match="expected finite numbers, a scale above 0"):
        find_packing({}, UINT16, scale, None)


def test_float32_takes_no_scale():
    with pytest.raises(LayoutError, match="because float32 keeps values as they are"):
        find_packing({}, np.dtype("float32"), 0.5, None)


def test_other_types_are_refused(tmp_path):
    with pytest.raises(LayoutError, match=r"dtype is int8; expected 'uint16' \(packed\) or"):
        write_zarr(fused(), tmp_path / "s.zarr", dtype="int8")


def test_many_clipped_values_are_told_and_a_few_are_not():
    with pytest.warns(
        UserWarning, match=r"of 25493 values lay outside 0 to 0\.065534,.*scale_factor"
    ):
        write_zarr(fused(), MemoryStore(), scale_factor=1e-6)
    scene = on_grid(np.full((1, 20, 20), 0.5, "float32")).assign_attrs(units="1")
    scene[0, 0, 0] = -0.01
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = open_scene(write_zarr(scene, MemoryStore()))
    assert found[0, 0, 0].to_numpy().item() == 0


def test_a_run_that_clips_most_values_says_so_after_its_first_shards():
    """As where a mosaic of bytes is lifted by a model that was trained without it."""
    scene = on_grid(np.full((1, 60, 60), 300.0, "float32")).assign_attrs(units="1")
    with pytest.warns(UserWarning, match="clipped") as told:
        write_zarr(scene, MemoryStore(), shard=20)
    soon, late = (str(each.message) for each in told)
    assert soon.startswith("so far 100% of all values lay outside 0 to 6.5534")
    assert soon.endswith("stop this run, and train on the pair, fit(hsi, srf, msi=msi)")
    assert late.startswith("3600 of 3600 values lay outside")


def test_attributes_json_cannot_hold_are_named():
    with pytest.raises(LayoutError, match="attribute 'model' of fused is a object, which JSON"):
        write_zarr(fused().assign_attrs(model=object()), MemoryStore())
    numpy_values = fused().assign_attrs(seeds=np.arange(3), gain=np.float32(0.5))
    found = open_scene(write_zarr(numpy_values, MemoryStore()))
    assert found.attrs["seeds"] == [0, 1, 2]
    assert found.attrs["gain"] == 0.5


# ------------------------------------------------------------------------------- lifted by strips


@pytest.mark.filterwarnings("ignore:.*values lay outside")
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("times", [1, 2])
def test_what_is_lifted_by_strips_is_what_is_lifted_whole(tmp_path, monkeypatch, dtype, times):
    monkeypatch.setattr(sys.modules["lift_xr.plan"], "STRIP", 100)
    model = fit(cube(20, 20).assign_attrs(units="1"), "rgb-camera", method="linear", progress=False)
    pixels = np.random.default_rng(0).random((times, 3, 45, 61), "float32")
    pixels[:, :, 3:30, 7:9] = np.nan
    dims = ("time", "band", "y", "x")
    msi = xr.DataArray(pixels, dims=dims, attrs={"units": "1"}).squeeze()
    lifted = predict(model, msi, block=32)
    whole = lifted.copy(data=lifted.data.map_blocks(np.copy))
    for name, scene in (("strips", lifted), ("whole", whole)):
        write_zarr(scene, tmp_path / name, shard=32, dtype=dtype)
    strips, blocks = (files_of(tmp_path / name) for name in ("strips", "whole"))
    pixels_of = {key for key in strips if re.search("(reflectance|flags)/c", key)}
    assert len(pixels_of) >= 8 * times
    assert pixels_of == {key for key in blocks if re.search("(reflectance|flags)/c", key)}
    assert [key for key in pixels_of if strips[key] != blocks[key]] == []


class Strict(MemoryStore):
    """An object store on a disk: it fails to delete a folder as if that were an object."""

    async def delete(self, key: str) -> None:
        if key != "zarr.json" and "/" not in key:
            raise RuntimeError(f"{key} is a directory")
        await super().delete(key)


def test_overwriting_deletes_no_folder_as_if_it_were_an_object():
    store = Strict()
    for seed in (1, 2):
        scene = on_grid(np.random.default_rng(seed).random((2, 20, 20), dtype="float32"))
        write_zarr(scene.assign_attrs(units="1"), store, shard=10, overwrite=seed == 2)
    np.testing.assert_allclose(open_scene(store), scene, atol=1e-4)


def test_an_object_store_in_memory_is_out_of_reach_of_other_processes(tmp_path):
    from obstore.store import LocalStore
    from obstore.store import MemoryStore as InMemory
    from zarr.storage import ObjectStore

    scene = on_grid(np.ones((2, 20, 20), "float32")).assign_attrs(units="1")
    with (
        dask.config.set(scheduler="processes"),
        pytest.raises(LayoutError, match="in this process's memory"),
    ):
        write_zarr(scene, ObjectStore(InMemory()), shard=10)
    for overwrite in (False, True):
        store = ObjectStore(LocalStore(tmp_path))
        write_zarr(scene, store, shard=10, overwrite=overwrite)
