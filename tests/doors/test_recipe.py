"""A product shipped as its recipe: the same numbers, made when they are asked for."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import obstore.store
import pytest
import rasterio
import xarray as xr
import zarr
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.abc.store import RangeByteRequest, Store
from zarr.core.buffer import default_buffer_prototype
from zarr.core.buffer.cpu import Buffer
from zarr.core.sync import sync
from zarr.storage import FsspecStore, MemoryStore, ObjectStore

import lift_xr
from lift_xr.cli import main
from lift_xr.errors import LayoutError
from lift_xr.io import WriteFailed, export, levels, open_scene, status, verify, write_zarr
from lift_xr.io.below import BelowStore
from lift_xr.io.create import as_store
from lift_xr.io.embed import holds_model
from lift_xr.io.lazy import Decoded, source_of
from lift_xr.io.lifting import Lifting
from lift_xr.io.origin import Raster
from lift_xr.io.record import all_progress
from lift_xr.io.seal import read_file
from lift_xr.kernel import DenseNetwork
from lift_xr.models import base
from tests.clusters import two_workers
from tests.doors.test_engine import elsewhere
from tests.doors.test_resume import files_of
from tests.pixels.test_model_file import model
from tests.scenes import on_grid

BANDS, HEIGHT, WIDTH = 5, 530, 60  # of the product; two levels
NODATA = 7


def codes(seed: int = 0) -> xr.DataArray:
    """A camera's mosaic as it is stored: bytes, of which one value is no value."""
    values = np.random.default_rng(seed).integers(0, 256, (3, HEIGHT, WIDTH), dtype="uint8")
    values[:, 100:300] = NODATA
    attrs = {"_FillValue": NODATA, "scale_factor": 1 / 255, "units": "1"}
    scene = on_grid(values, left=100.0, top=900.0).rio.write_crs("EPSG:32615")
    return scene.assign_attrs(attrs).rename("mosaic")


def stored(folder: Path, name: str = "msi.zarr", *, seed: int = 0, **attrs: Any) -> Path:
    """Write the mosaic as others do: Zarr, in chunks, without shards."""
    scene = codes(seed).assign_attrs(attrs)
    for key in [key for key, value in attrs.items() if value is None]:
        del scene.attrs[key]
    chunks = {"mosaic": {"chunks": (3, 64, 64)}}
    scene.to_dataset().to_zarr(folder / name, encoding=chunks, zarr_format=3, consolidated=False)
    return folder / name


def predicted(source: Any) -> xr.DataArray:
    return lift_xr.predict(model(), open_scene(source))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mosaic, the recipes of both kinds, and the cube they stand for."""
    where = tmp_path_factory.mktemp("recipes")
    with dask.config.set(scheduler="synchronous"):
        fused = predicted(stored(where))
        write_zarr(fused, where / "copy.zarr", kind="recipe", shard=128)
        write_zarr(fused, where / "address.zarr", kind="recipe", msi="address")
        write_zarr(fused, where / "cube.zarr", dtype="float32", shard=128)
    return where


@pytest.fixture(scope="module")
def cube(folder: Path) -> xr.DataArray:
    with dask.config.set(scheduler="synchronous"):
        return open_scene(folder / "cube.zarr").compute()


KINDS = pytest.mark.parametrize("kind", ["copy", "address"])


# ---- what it gives


@KINDS
def test_a_recipe_gives_what_predict_gives_to_the_bit(folder, cube, kind):
    np.testing.assert_array_equal(predicted(folder / "msi.zarr"), cube)
    np.testing.assert_array_equal(open_scene(folder / f"{kind}.zarr"), cube)


@KINDS
def test_a_recipe_opens_as_its_cube_does_but_for_the_pixels(folder, cube, kind):
    found = open_scene(folder / f"{kind}.zarr")
    assert found.dims == cube.dims
    assert found.dtype == cube.dtype
    assert found.name == cube.name
    assert found.rio.crs == cube.rio.crs == "EPSG:32615"
    xr.testing.assert_identical(
        found.drop_attrs(deep=False).copy(data=cube), cube.drop_attrs(deep=False)
    )
    assert found.attrs == cube.attrs


INDEX = st.one_of(
    st.integers(-3, 2),
    st.lists(st.integers(-3, 2), min_size=1, max_size=4),
    st.slices(3),
)


@settings(deadline=None, max_examples=20)
@given(
    bands=st.one_of(st.integers(-5, 4), st.lists(st.integers(0, 4), max_size=7), st.slices(5)),
    rows=st.one_of(st.integers(0, HEIGHT - 1), st.slices(HEIGHT)),
    columns=st.one_of(st.integers(0, WIDTH - 1), st.slices(WIDTH)),
    apart=st.booleans(),
    kind=st.sampled_from(["copy", "address"]),
)
def test_any_bands_of_any_window_are_those_of_the_cube(
    folder, cube, bands, rows, columns, apart, kind
):
    scene = open_scene(folder / f"{kind}.zarr")
    expected = cube.isel(band=bands, y=rows, x=columns)
    found = scene.isel(band=bands, y=rows, x=columns)
    if apart:
        found = scene.isel(y=rows, x=columns).isel(band=bands)
    with dask.config.set(scheduler="synchronous"):
        xr.testing.assert_equal(found.compute(), expected)


def test_pixels_here_and_there_are_lifted_alone(folder, cube):
    scene = open_scene(folder / "copy.zarr")
    at = {
        "y": xr.DataArray([3, 400, 529], dims="point"),
        "x": xr.DataArray([0, 59, 5], dims="point"),
    }
    xr.testing.assert_equal(scene.isel(at).compute(), cube.isel(at))


def test_the_mosaic_of_a_recipe_opens_too(folder):
    for kind in ("copy", "address"):
        mosaic = open_scene(folder / f"{kind}.zarr", variable="msi")
        np.testing.assert_array_equal(mosaic, open_scene(folder / "msi.zarr"))
    with pytest.raises(LayoutError, match="has no variable 'rgb'; expected 'reflectance'"):
        open_scene(folder / "copy.zarr", variable="rgb")


def test_an_overview_of_a_recipe_is_the_overview_of_its_mosaic_lifted(folder):
    store = folder / "copy.zarr"
    coarse = open_scene(store, level=1)
    assert levels(store) == ((HEIGHT, WIDTH), coarse.shape[1:]) == ((530, 60), (265, 30))
    mosaic = open_scene(store, variable="msi", level=1)
    np.testing.assert_array_equal(coarse, lift_xr.predict(model(), mosaic.assign_attrs(units="1")))
    xr.testing.assert_equal(coarse.x, open_scene(folder / "cube.zarr", level=1).x)


def test_an_address_has_no_overviews(folder):
    assert levels(folder / "address.zarr") == ((HEIGHT, WIDTH),)
    with pytest.raises(LayoutError, match="has but the address of its mosaic; expected level 0"):
        open_scene(folder / "address.zarr", level=1)


def test_a_series_of_mosaics_is_a_recipe_too(tmp_path):
    times = xr.concat([codes(seed) for seed in (1, 2)], "time").assign_coords(time=[0, 1])
    times.to_dataset().to_zarr(tmp_path / "msi.zarr", zarr_format=3, consolidated=False)
    fused = predicted(tmp_path / "msi.zarr")
    found = open_scene(write_zarr(fused, tmp_path / "r.zarr", kind="recipe", shard=128))
    assert found.dims == ("time", "band", "y", "x")
    np.testing.assert_array_equal(found, fused)
    np.testing.assert_array_equal(found.isel(band=[2], time=1), fused.isel(band=[2], time=1))


def test_bands_of_a_recipe_are_exported_and_each_pixel_lifted_once(
    folder, cube, tmp_path, monkeypatch
):
    counted = Counted(monkeypatch)
    export(open_scene(folder / "copy.zarr"), tmp_path / "two.tif", bands=[5, 2], dtype="float32")
    with rasterio.open(tmp_path / "two.tif") as file:
        np.testing.assert_array_equal(file.read(), cube.isel(band=[4, 1]))
    assert sum(pixels for _, pixels in counted.lifted) == HEIGHT * WIDTH


def test_the_cube_of_a_recipe_keeps_the_model(folder, tmp_path):
    write_zarr(open_scene(folder / "copy.zarr"), tmp_path / "cube.zarr", shard=128, dtype="float32")
    assert lift_xr.load_model(tmp_path / "cube.zarr").digest == model().digest
    again = write_zarr(
        open_scene(folder / "copy.zarr"), tmp_path / "r.zarr", kind="recipe", shard=128
    )
    pixels = {key: each for key, each in files_of(again).items() if "/c/" in key}
    assert pixels == {key: e for key, e in files_of(folder / "copy.zarr").items() if "/c/" in key}


# ---- what it costs


class Counted:
    """Counts what is asked of a mosaic, and of the network's last layer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.windows: list[Any] = []
        self.lifted: list[tuple[int, int]] = []
        read, lift = Decoded.__getitem__, DenseNetwork.__call__
        select = DenseNetwork.select

        def reading(stored: Decoded, index: Any) -> np.ndarray:
            self.windows.append(index[-2:])
            return read(stored, index)

        def lifting(network: DenseNetwork, block: np.ndarray, *more: Any) -> np.ndarray:
            lifted = lift(network, block, *more)
            self.lifted.append((len(lifted), lifted[0].size))
            return lifted

        def selecting(network: DenseNetwork, bands: Any) -> Any:
            chosen = select(network, bands)

            def call(block: np.ndarray, *more: Any) -> np.ndarray:
                lifted = chosen(block, *more)
                self.lifted.append((len(lifted), lifted[0].size))
                return lifted

            return call

        monkeypatch.setattr(Decoded, "__getitem__", reading)
        monkeypatch.setattr(DenseNetwork, "__call__", lifting)
        monkeypatch.setattr(DenseNetwork, "select", selecting)


def test_opening_a_copy_reads_no_pixel(folder, monkeypatch):
    counted = Counted(monkeypatch)
    scene = open_scene(folder / "copy.zarr")
    scene.isel(band=[1]).sel(x=4, method="nearest")
    assert counted.windows == []


def test_opening_an_address_looks_at_sixteen_pixels(folder, monkeypatch):
    counted = Counted(monkeypatch)
    open_scene(folder / "address.zarr")
    assert len(counted.windows) == 16
    assert {each.stop - each.start for window in counted.windows for each in window} == {1}
    assert counted.lifted == []


@pytest.mark.parametrize("bands", [[3], slice(3, 4)])
def test_one_band_takes_one_row_of_the_last_layer(folder, cube, monkeypatch, bands):
    counted = Counted(monkeypatch)
    band = open_scene(folder / "copy.zarr").isel(band=bands).compute()
    np.testing.assert_array_equal(band, cube.isel(band=bands))
    assert {rows for rows, _ in counted.lifted} == {1}
    assert sum(pixels for _, pixels in counted.lifted) == HEIGHT * WIDTH


def test_one_spectrum_lifts_one_pixel(folder, cube, monkeypatch):
    counted = Counted(monkeypatch)
    spectrum = open_scene(folder / "copy.zarr").sel(x=140.4, y=499.6, method="nearest").compute()
    np.testing.assert_array_equal(spectrum, cube.sel(x=140.4, y=499.6, method="nearest"))
    assert counted.windows == [(slice(400, 401), slice(40, 41))]
    assert counted.lifted == [(BANDS, 1)]


def test_a_thinned_scene_lifts_only_the_pixels_kept(folder, cube, monkeypatch):
    counted = Counted(monkeypatch)
    thin = open_scene(folder / "copy.zarr").isel(y=slice(0, 128, 16), x=slice(0, 60, 6)).compute()
    np.testing.assert_array_equal(thin, cube.isel(y=slice(0, 128, 16), x=slice(0, 60, 6)))
    assert sum(pixels for _, pixels in counted.lifted) == 8 * 10


def test_workers_lift_a_recipe_to_the_same_bytes(folder, cube):
    with two_workers():
        for kind in ("copy", "address"):
            found = open_scene(folder / f"{kind}.zarr").isel(band=[0, 4], x=slice(3, 50)).compute()
            np.testing.assert_array_equal(found, cube.isel(band=[0, 4], x=slice(3, 50)))


# ---- what is kept of the mosaic


def test_a_copy_keeps_the_integers_and_their_packing(folder):
    told = zarr.open_array(folder / "copy.zarr", path="0/reflectance", mode="r")
    raw = zarr.open_array(folder / "msi.zarr", path="mosaic", mode="r")
    assert told.dtype == "uint8"
    assert told.fill_value == NODATA
    assert (told.attrs["_FillValue"], told.attrs["scale_factor"]) == (NODATA, 1 / 255)
    np.testing.assert_array_equal(told[...], raw[...])


def test_a_mosaic_without_nodata_keeps_every_code(tmp_path):
    source = stored(tmp_path, _FillValue=None, scale_factor=None)
    fused = predicted(source)
    store = write_zarr(fused, tmp_path / "r.zarr", kind="recipe", shard=100)
    told = zarr.open_array(store, path="0/reflectance", mode="r")
    assert "_FillValue" not in told.attrs
    np.testing.assert_array_equal(told[...], zarr.open_array(source, path="mosaic", mode="r")[...])
    np.testing.assert_array_equal(open_scene(store), fused)
    assert not np.isnan(open_scene(store, level=1)).any()  # the last row and column, too


@pytest.mark.parametrize("alpha", [False, True])
def test_a_raster_file_is_copied_as_it_lies_there(tmp_path, alpha):
    scene = codes().astype("uint8")
    path = tmp_path / "m.tif"
    del scene.attrs["scale_factor"]
    scene.rio.write_nodata(NODATA).drop_attrs(deep=False).rio.to_raster(path)
    source = open_scene(path) if not alpha else open_scene(path).astype("float32") * 1
    fused = lift_xr.predict(model(), source.assign_attrs(units="1"))
    store = write_zarr(fused, tmp_path / "r.zarr", kind="recipe", shard=128)
    dtype = zarr.open_array(store, path="0/reflectance", mode="r").dtype
    assert dtype == ("float32" if alpha else "uint8")  # what was computed is no file's any more
    np.testing.assert_array_equal(open_scene(store), fused)


def test_a_raster_file_is_read_at_its_address(tmp_path):
    path = tmp_path / "m.tif"
    scene = codes().drop_attrs(deep=False)
    scene.rio.to_raster(path)
    fused = lift_xr.predict(model(), open_scene(path).assign_attrs(units="1"))
    store = write_zarr(fused, tmp_path / "r.zarr", kind="recipe", msi="address")
    found = open_scene(store)
    lifting = source_of(found.data)
    assert isinstance(lifting, Lifting)
    assert isinstance(lifting.msi.array, Raster)
    np.testing.assert_array_equal(found, fused)
    scene.copy(data=scene.values + np.uint8(1)).rio.to_raster(path)
    with pytest.raises(LayoutError, match="has changed: its pixels are others"):
        open_scene(store)


def test_a_mosaic_in_memory_is_copied_as_floats(tmp_path):
    values = np.random.default_rng(0).random((3, 60, 60), dtype="float32")
    fused = lift_xr.predict(model(), on_grid(values).assign_attrs(units="1"))
    found = open_scene(write_zarr(fused, MemoryStore(), kind="recipe"))
    np.testing.assert_array_equal(found, fused)
    with pytest.raises(LayoutError, match=r"no address leads to it.*Use msi='copy'"):
        write_zarr(fused, MemoryStore(), kind="recipe", msi="address")


def test_a_recipe_is_smaller_than_its_cube_and_an_address_than_its_copy(folder):
    sizes = {
        kind: sum(
            len(each) for key, each in files_of(folder / f"{kind}.zarr").items() if "/c/" in key
        )
        for kind in ("cube", "copy", "address")
    }
    assert sizes["address"] < sizes["copy"] < sizes["cube"] / 3


# ---- how it is written


def test_a_copy_is_resumed_to_the_same_bytes(folder, tmp_path):
    store = tmp_path / "copy.zarr"
    shutil.copytree(folder / "copy.zarr", store)
    whole = files_of(store)
    root = zarr.open_group(store, mode="r+")
    root.attrs["lift_xr"] = {**root.attrs["lift_xr"], "complete": False}
    for row in (1, 4):
        (store / "_progress/0/c/0" / str(row) / "0/0").unlink()
        shutil.rmtree(store / f"0/reflectance/c/0/{row}", ignore_errors=True)
    fused = predicted(folder / "msi.zarr")
    with pytest.raises(LayoutError, match="is incomplete"):
        open_scene(store)
    write_zarr(fused, store, kind="recipe", shard=128, resume=True)
    assert files_of(store) == whole


def test_parts_write_one_copy_between_them(folder, tmp_path):
    fused = predicted(folder / "msi.zarr")
    for i in (0, 2, 1):
        write_zarr(fused, tmp_path / "r.zarr", kind="recipe", shard=128, part=(i, 2))
    assert files_of(tmp_path / "r.zarr") == files_of(folder / "copy.zarr")


def test_a_recipe_is_not_resumed_as_a_cube(folder, tmp_path):
    store = tmp_path / "r.zarr"
    shutil.copytree(folder / "copy.zarr", store)
    with pytest.raises(LayoutError, match='kind is "cube" and was "recipe"'):
        write_zarr(predicted(folder / "msi.zarr"), store, shard=128, resume=True)


def test_the_record_of_a_recipe_tells_how_far_it_is(folder):
    found = status(folder / "copy.zarr")
    assert found.complete
    assert found.done == found.total == 5
    found = status(folder / "address.zarr")
    assert found.complete
    assert found.left == 0


@pytest.mark.parametrize(
    "change",
    [lambda f: f.isel(x=slice(5)), lambda f: f + 0, lambda f: f.isel(band=[1, 2])],
)
def test_only_what_predict_returned_is_a_recipe(folder, tmp_path, change):
    fused = change(predicted(folder / "msi.zarr"))
    with pytest.raises(LayoutError, match="not just what predict or fuse returned"):
        write_zarr(fused, tmp_path / "r.zarr", kind="recipe")
    assert not (tmp_path / "r.zarr").exists()


def test_unknown_kinds_are_named(folder, tmp_path):
    fused = predicted(folder / "msi.zarr")
    with pytest.raises(LayoutError, match="kind is 'pixels'; expected 'cube'"):
        write_zarr(fused, tmp_path / "r.zarr", kind="pixels")
    with pytest.raises(LayoutError, match="msi is 'link'; expected 'copy'"):
        write_zarr(fused, tmp_path / "r.zarr", kind="recipe", msi="link")


# ---- what is refused


@pytest.fixture
def moved(folder: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A recipe with the address of a mosaic that may change."""
    source = stored(tmp_path)
    write_zarr(predicted(source), tmp_path / "r.zarr", kind="recipe", msi="address")
    return tmp_path / "r.zarr", source


def test_a_mosaic_that_changed_at_its_address_is_refused(moved, tmp_path):
    store, source = moved
    shutil.rmtree(source)
    stored(tmp_path, seed=1)
    with pytest.raises(LayoutError, match=r"has changed: its pixels are others.* Put the mosaic"):
        open_scene(store)


def test_a_mosaic_of_another_size_is_named(moved, tmp_path):
    store, source = moved
    shutil.rmtree(source)
    small = codes().isel(x=slice(50)).astype("uint16").to_dataset()
    small.to_zarr(source, zarr_format=3, consolidated=False)
    expected = r"shape is \[3, 530, 50\] and was \[3, 530, 60\]; its type is uint16 and was uint8"
    with pytest.raises(LayoutError, match=expected):
        open_scene(store)


def test_a_mosaic_that_is_gone_is_named(moved):
    store, source = moved
    shutil.rmtree(source)
    with pytest.raises(FileNotFoundError, match=r"msi.zarr, the mosaic that the recipe .* lifts"):
        open_scene(store)


def spoil(store: Path, where: str, change: Any) -> None:
    """Change the metadata of a store as an enemy might, and of nothing else."""
    path = store / where / "zarr.json"
    told = json.loads(path.read_text())
    change(told)
    path.write_text(json.dumps(told))


def without_consolidated(told: dict) -> None:
    told.pop("consolidated_metadata", None)


HOSTILE = {
    "labels": ("recipe", lambda told: told["attributes"].update(dims=["x"])),
    "attrs": ("recipe", lambda told: told["attributes"].update(attrs=[])),
    "huge": ("recipe/band", lambda told: told.update(shape=[2**40])),
    "bands": ("recipe/band", lambda told: told.update(shape=[9])),
}


@pytest.mark.parametrize("kind", sorted(HOSTILE))
def test_a_hostile_recipe_is_an_error(folder, tmp_path, kind):
    store = tmp_path / "r.zarr"
    shutil.copytree(folder / "copy.zarr", store)
    spoil(store, "", without_consolidated)
    spoil(store, *HOSTILE[kind])
    with pytest.raises(ValueError, match="expected"):
        open_scene(store)


@pytest.mark.parametrize(
    "told", [None, {}, {"store": 5}, {"path": "x.tif", "nodata": 3}, {"path": "/etc/passwd"}]
)
def test_a_hostile_address_is_an_error(folder, tmp_path, told):
    store = tmp_path / "r.zarr"
    shutil.copytree(folder / "address.zarr", store)

    def point(root: dict) -> None:
        without_consolidated(root)
        settings = root["attributes"]["lift_xr"]["settings"]
        settings["address"] = told if told is None or len(told) != 1 else settings["address"] | told

    spoil(store, "", point)
    with pytest.raises((ValueError, FileNotFoundError)):
        open_scene(store)


def test_a_lazy_recipe_is_a_dask_array(folder):
    data = open_scene(folder / "copy.zarr").data
    assert isinstance(data, da.Array)
    da.utils.assert_eq(data.rechunk((-1, 100, 100)), data.compute(), scheduler="synchronous")


# ---- models that look at the cube again


class Peek:
    """Adds to a network's answer the mean of the cells around each pixel's own."""

    bands, msi_bands, halo, prior = BANDS, 3, 0, 1

    def __init__(self, network: DenseNetwork) -> None:
        self.network = network

    def __call__(self, block: np.ndarray, device: str = "cpu", prior: Any = None) -> np.ndarray:
        around = np.nan_to_num(prior.cells, nan=0.0)
        around = sum(np.roll(around, (i, j), (1, 2)) for i in (-1, 0, 1) for j in (-1, 0, 1))
        places = [
            (np.arange(size) - start) // prior.ratio
            for size, start in zip(block.shape[1:], prior.offset, strict=True)
        ]
        return self.network(block, device) + around[:, places[0]][:, :, places[1]].astype("float32")


@pytest.fixture
def looking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> xr.DataArray:
    """What a model makes of the mosaic and of a cube that begins beside its corner."""
    monkeypatch.setitem(base.LIFTS, "peek", lambda *parts: Peek(DenseNetwork.from_arrays(*parts)))
    values = np.random.default_rng(3).random((BANDS, 54, 7), dtype="float32")
    values[:, 4, 4] = np.nan
    hsi = on_grid(values, spacing=10.0, left=90.0, top=910.0).rio.write_crs("EPSG:32615")
    hsi = hsi.assign_coords(wavelength=("band", np.linspace(400, 900, 5), {"units": "nm"}))
    source = open_scene(stored(tmp_path))
    return lift_xr.predict(model(kind="peek"), source, hsi=hsi.assign_attrs(units="1"))


@KINDS
def test_a_recipe_keeps_the_cube_for_a_model_that_looks_at_it_again(looking, tmp_path, kind):
    store = write_zarr(looking, tmp_path / "r.zarr", kind="recipe", msi=kind, shard=128)
    found, expected = open_scene(store), looking.compute()
    np.testing.assert_array_equal(found, expected)
    window = {"band": [3, 0], "y": slice(95, 131), "x": slice(7, 42)}
    np.testing.assert_array_equal(found.isel(window), expected.isel(window))
    np.testing.assert_array_equal(found.isel(y=44, x=47), expected.isel(y=44, x=47))
    with pytest.raises(
        LayoutError, match=r"the model .* looks at what lies around a pixel|address"
    ):
        open_scene(store, level=1)


def test_parts_write_the_cube_of_a_recipe_too(looking, tmp_path):
    whole = write_zarr(looking, tmp_path / "whole.zarr", kind="recipe", shard=128)
    for i in (0, 2, 1):
        write_zarr(looking, tmp_path / "r.zarr", kind="recipe", shard=128, part=(i, 2))
    assert files_of(tmp_path / "r.zarr") == files_of(whole)


def test_a_part_that_finds_the_cube_of_another_lost_writes_its_mosaic_and_says_so(
    looking, tmp_path
):
    whole = write_zarr(looking, tmp_path / "whole.zarr", kind="recipe", shard=32)
    store = write_zarr(looking, tmp_path / "r.zarr", kind="recipe", shard=32, part=(1, 2))
    next((store / "hsi/0").glob("*/c/0/0/0")).unlink()
    with (
        pytest.warns(UserWarning, match="lacks 1 of the files"),
        pytest.raises(WriteFailed, match=r"run again with part=\(1, 2\)"),
    ):
        write_zarr(looking, store, kind="recipe", shard=32, part=(2, 2))
    assert all_progress(store)[0].done.all()
    write_zarr(looking, store, kind="recipe", shard=32, part=(1, 2))
    assert files_of(store) == files_of(whole)


@pytest.mark.parametrize("place", ["url", "fsspec", "objects", "memory", "dict"])
def test_a_recipe_with_a_cube_is_written_in_parts_read_verified_repaired_anywhere(looking, place):
    store, recipe = elsewhere(place), {"kind": "recipe", "shard": 128}
    for i in (1, 2):
        write_zarr(looking, store, **recipe, part=(i, 2))
    np.testing.assert_array_equal(open_scene(store), looking.compute())
    assert verify(store, shards="all").ok
    files = {key: read_file(as_store(store), key) for key in sync(names_in(as_store(store)))}
    lost = "hsi/0/reflectance/c/0/0/0"
    sync(as_store(store).delete(lost))
    (failure,) = verify(store, shards="all", repair=True).failures
    assert (failure.path, failure.file) == ("hsi/0/reflectance", lost)
    write_zarr(looking, store, **recipe, resume=True)
    assert sync(names_in(as_store(store))) == [*files]
    again = read_file(as_store(store), lost)
    assert again.to_bytes() == files[lost].to_bytes()
    with pytest.raises(LayoutError, match="already exists"):
        write_zarr(looking, store, **recipe)
    write_zarr(looking, store, **recipe, overwrite=True)
    assert sync(names_in(as_store(store))) == [*files]


async def names_in(store: Store) -> list[str]:
    return sorted([key async for key in store.list()])


def test_a_folder_of_a_store_is_a_store_that_leaves_the_rest_alone():
    async def everything(store: Store) -> None:
        value, prototype = Buffer.from_bytes(b"value"), default_buffer_prototype()
        await store.set("kept", value)
        await store.set("beneath", value)  # begins as the folder is called
        folder = BelowStore(store, "be")
        await folder.set("a/b", value)
        await folder.set_if_not_exists("c", value)
        assert sorted([key async for key in folder.list()]) == ["a/b", "c"]
        assert sorted([name async for name in folder.list_dir("")]) == ["a", "c"]
        assert [key async for key in folder.list_prefix("a/")] == ["a/b"]
        assert await names_in(store) == ["be/a/b", "be/c", "beneath", "kept"]
        assert await folder.exists("c")
        assert not await folder.exists("kept")
        assert await folder.getsize("c") == 5
        found = await folder.get_partial_values(prototype, [("c", RangeByteRequest(1, 3))])
        assert [each.to_bytes() for each in found] == [b"al"]
        await folder.delete("c")
        assert not await folder.is_empty("")
        same = pickle.loads(pickle.dumps(BelowStore(MemoryStore(), "be")))
        assert (same.folder, str(same)) == ("be", f"{same.base}/be")
        await folder.clear()
        assert await folder.is_empty("")
        assert await names_in(store) == ["beneath", "kept"]

    for store in (MemoryStore(), ObjectStore(obstore.store.MemoryStore())):
        sync(everything(store))


def damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@KINDS
def test_a_recipe_with_a_cube_is_as_it_was_written(looking, tmp_path, kind):
    store = write_zarr(looking, tmp_path / "r.zarr", kind="recipe", msi=kind, shard=128)
    found = verify(store, shards="all")
    assert found.ok, str(found)
    alone = verify(store / "hsi", shards="all")["values"].covered
    assert alone > 0
    assert (found["values"].covered > alone) == (kind == "copy")


@pytest.mark.parametrize(
    "files",
    [
        ["hsi/0/reflectance/c/0/0/0"],
        ["hsi/0/reflectance/zarr.json", "hsi/0/x/c/0", "quality/flags/c/1/0"],
        ["hsi/_progress/0/c/0/0/0/0"],
        ["hsi/_progress/zarr.json"],
        ["hsi/zarr.json"],
    ],
)
def test_what_is_damaged_of_the_cube_in_a_recipe_is_named_and_written_again(
    looking, tmp_path, files
):
    store = write_zarr(looking, tmp_path / "r.zarr", kind="recipe", shard=128)
    whole = files_of(store)
    for file in files:
        damage(store / file)
    found = verify(store, shards="all", repair=True)
    assert {each.file for each in found.failures} == {*files}
    with pytest.raises(LayoutError, match="is incomplete"):
        open_scene(store)
    write_zarr(looking, store, kind="recipe", shard=128, resume=True)
    assert files_of(store) == whole
    assert verify(store, shards="all").ok


@pytest.mark.parametrize("form", ["url", "store"])
def test_the_cube_in_a_recipe_is_found_wherever_the_recipe_lies(looking, form):
    url = f"memory://{form}/{id(looking)}/r.zarr"
    store = url if form == "url" else FsspecStore.from_url(url)
    write_zarr(looking, store, kind="recipe", shard=128)
    np.testing.assert_array_equal(open_scene(store), looking.compute())
    found = verify(store, shards="all")
    assert found.ok, str(found)
    assert found["values"].covered > verify(f"{url}/hsi", shards="all")["values"].covered > 0
    files = FsspecStore.from_url(url)
    codes = sync(files.get("hsi/0/reflectance/c/0/0/0", default_buffer_prototype())).to_bytes()
    flipped = default_buffer_prototype().buffer.from_bytes(codes[:-9] + b"~" + codes[-8:])
    sync(files.set("hsi/0/reflectance/c/0/0/0", flipped))
    (failure,) = verify(store, shards="all", repair=True)["files"].failures
    assert failure.file == "hsi/0/reflectance/c/0/0/0"
    write_zarr(looking, store, kind="recipe", shard=128, resume=True)
    assert verify(store, shards="all").ok


@pytest.mark.parametrize("gone", ["hsi", "hsi/zarr.json"])
def test_a_cube_that_is_gone_from_a_recipe_is_written_again(looking, tmp_path, gone):
    store = write_zarr(looking, tmp_path / "r.zarr", kind="recipe", shard=128)
    whole = files_of(store)
    (store / "hsi/zarr.json").unlink() if gone.endswith("json") else shutil.rmtree(store / gone)
    found = verify(store, repair=True)
    assert "hsi/zarr.json is missing" in map(str, found.failures)
    write_zarr(looking, store, kind="recipe", shard=128, resume=True)
    assert files_of(store) == whole


def test_the_cube_of_another_recipe_does_not_pass_for_its_own(looking, tmp_path):
    store = write_zarr(looking, tmp_path / "r.zarr", kind="recipe", shard=128)
    write_zarr(open_scene(store / "hsi") * 2, tmp_path / "other.zarr", dtype="float32", shard=128)
    shutil.rmtree(store / "hsi")
    shutil.copytree(tmp_path / "other.zarr", store / "hsi")
    assert "hsi/zarr.json" in {each.file for each in verify(store).failures}


def test_verify_asks_whether_the_mosaic_of_an_address_is_there_and_the_same(moved, tmp_path):
    store, source = moved
    assert verify(store)["mosaic"].passed
    shutil.rmtree(source)
    (failure,) = verify(store).failures
    assert failure.check == "mosaic"
    assert "cannot be found" in str(failure)
    stored(tmp_path, seed=1)
    (failure,) = verify(store, repair=True).failures
    assert "has changed: its pixels are others" in str(failure)
    assert status(store).complete  # nothing of the store is to be written again
    result = CliRunner().invoke(main, ["verify", str(store)])
    assert result.exit_code == 3
    assert "--repair" not in result.output
    assert "Put the mosaic of the recipe back" in " ".join(result.output.split())


def test_a_damaged_model_of_a_recipe_is_removed_whole_and_written_again(folder, tmp_path):
    store = tmp_path / "r.zarr"
    shutil.copytree(folder / "copy.zarr", store)
    (store / "model/lift.bias/c/0").unlink(missing_ok=True)
    damage(store / "model/srf/c/0/0")
    verify(store, repair=True)
    assert not holds_model(store)
    write_zarr(predicted(folder / "msi.zarr"), store, kind="recipe", shard=128, resume=True)
    assert files_of(store) == files_of(folder / "copy.zarr")
