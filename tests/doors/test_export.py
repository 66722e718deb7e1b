from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import rasterio
import xarray as xr
from rasterio.enums import ColorInterp

from lift_xr.errors import LayoutError, SpectralError
from lift_xr.grid import Grid
from lift_xr.io import export, open_scene, write_zarr
from lift_xr.io.lazy import Decoded
from tests.scenes import cube, located, on_grid


def scene(height: int = 37, width: int = 53, *, block: int = 16) -> xr.DataArray:
    """Lazy reflectance of 13 bands over 400-1000 nm, with a CRS and a hole."""
    found = cube(height, width, spacing=2.0).rio.write_crs("EPSG:32615")
    found = found.assign_coords(fwhm=("band", np.full(13, 12.5), {"units": "nm"}))
    found[:, 3:9, 20:30] = np.nan
    found.attrs = {"units": "1"}
    return found.copy(data=da.from_array(found.to_numpy(), chunks=(-1, block, block)))


# ------------------------------------------------------------------------------------ round trips


def test_values_place_and_wavelengths_come_back(tmp_path):
    path = export(scene(), tmp_path / "scene.tif")
    assert path == tmp_path / "scene.tif"
    found = open_scene(path)
    np.testing.assert_array_equal(found, scene())
    np.testing.assert_allclose(found.wavelength, scene().wavelength)
    np.testing.assert_allclose(found.fwhm, 12.5)
    assert Grid.of(found) == Grid.of(scene())
    assert found.attrs == {"units": "1"}
    assert [each.name for each in tmp_path.iterdir()] == ["scene.tif"]


def test_the_file_is_a_cog_with_nodata_and_described_bands(tmp_path):
    with rasterio.open(export(scene(), tmp_path / "scene.tif")) as found:
        assert found.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert found.crs.to_epsg() == 32615
        assert tuple(found.transform)[:6] == (2, 0, 0, 0, -2, 0)
        assert np.isnan(found.nodata)
        assert found.descriptions[:2] == ("400 nm", "450 nm")
        assert found.tags(4, ns="IMAGERY")["CENTRAL_WAVELENGTH_UM"] == "0.55"


def test_packed_values_are_those_of_a_store(tmp_path):
    path = export(scene(), tmp_path / "scene.tif", dtype="uint16")
    store = write_zarr(scene(), tmp_path / "s.zarr", shard=16)
    with rasterio.open(path) as found:
        assert (found.dtypes[0], found.nodata, found.scales[0]) == ("uint16", 65535, 1e-4)
    np.testing.assert_array_equal(open_scene(path), open_scene(store))


def test_overviews_are_averages_that_leave_nodata_out(tmp_path):
    values = np.ones((1, 700, 1100), "float32")
    values[:, :, :601] = np.nan
    wide = on_grid(values).assign_attrs(units="1")
    path = export(wide, tmp_path / "with.tif")
    with rasterio.open(path) as found, rasterio.open(path, overview_level=0) as half:
        assert found.overviews(1) == [2, 4]
        assert half.shape == (350, 550)
        coarse = half.read(1)
        assert np.isnan(coarse[:, :300]).all()
        assert (coarse[:, 300:] == 1).all()
    with rasterio.open(export(wide, tmp_path / "without.tif", overviews=False)) as found:
        assert found.overviews(1) == []


def test_rows_that_go_up_and_scenes_without_a_place_are_kept(tmp_path):
    up = scene().isel(y=slice(None, None, -1))
    found = open_scene(export(up, tmp_path / "up.tif"))
    np.testing.assert_array_equal(found, up)
    np.testing.assert_allclose(found.y, up.y)
    nowhere = xr.DataArray(np.arange(12.0).reshape(1, 3, 4), dims=("band", "y", "x"))
    bare = open_scene(export(nowhere, tmp_path / "bare.tif"))
    np.testing.assert_array_equal(bare, nowhere)
    assert not Grid.of(bare).located


# ------------------------------------------------------------------------------------------ bands


def test_bands_are_picked_by_label_and_by_wavelength(tmp_path):
    with rasterio.open(export(scene(), tmp_path / "a.tif", bands=[13, 2, 555.0])) as found:
        assert found.descriptions == ("1000 nm", "450 nm", "550 nm")
        np.testing.assert_array_equal(found.read(), scene()[[12, 1, 3]])
    named = located().assign_coords(band=["blue", "green", "red", "nir"])
    with rasterio.open(export(named, tmp_path / "b.tif", bands=["nir", "blue"])) as found:
        assert found.descriptions == ("nir", "blue")
        np.testing.assert_array_equal(found.read(), named[[3, 0]])


def test_bands_that_are_not_there_are_named_with_those_that_are(tmp_path):
    path = tmp_path / "a.tif"
    with pytest.raises(SpectralError, match=r"no band 550; expected one of \[1, 2,.*decimal"):
        export(scene(), path, bands=[550])
    with pytest.raises(SpectralError, match=r"nearest to 2200 nm is at 1000 nm; expected .* 50 nm"):
        export(scene(), path, bands=[2200.0])
    with pytest.raises(SpectralError, match=r"no wavelengths to find 650 nm.*bands=\[1, 2, 3\]"):
        export(located(), path, bands="rgb")
    with pytest.raises(SpectralError, match=r"bands is 'red'; expected 'rgb' or a list.*\['red'\]"):
        export(scene(), path, bands="red")
    with pytest.raises(SpectralError, match="bands is empty"):
        export(scene(), path, bands=[])
    assert not path.exists()


# ---------------------------------------------------------------------------------------- pictures


def test_a_picture_is_red_green_and_blue_with_nodata_black(tmp_path):
    with rasterio.open(export(scene(), tmp_path / "rgb.tif", bands="rgb")) as found:
        assert found.dtypes == ("uint8",) * 3
        assert found.descriptions == ("650 nm", "550 nm", "450 nm")
        assert found.colorinterp == (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
        picture = found.read()
        assert found.nodata == 0
    missing = np.isnan(scene()[[5, 3, 1]].to_numpy())
    np.testing.assert_array_equal(picture == 0, missing)
    dark, bright = (picture == 1) & ~missing, picture == 255
    assert 0.015 < dark.sum() / (~missing).sum() < 0.025
    assert 0.015 < bright.sum() / (~missing).sum() < 0.025


def test_limits_say_what_is_dark_and_what_is_bright(tmp_path):
    values = np.array([[[-1.0, 0.1, 0.3, 0.5, 9.0, np.nan]]], "float32")
    flat = on_grid(values, spacing=2.0)
    path = export(flat, tmp_path / "a.tif", dtype="uint8", limits=(0.1, 0.5))
    with rasterio.open(path) as found:
        assert found.read().tolist() == [[[1, 1, 128, 255, 255, 0]]]


@pytest.mark.parametrize("value", [0.25, np.nan])
def test_a_picture_of_one_value_or_none_is_still_one(tmp_path, value):
    same = on_grid(np.full((3, 5, 5), value, "float32"), spacing=2.0)
    with rasterio.open(export(same, tmp_path / "a.tif", dtype="uint8")) as found:
        assert (found.read() == (0 if np.isnan(value) else 1)).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"dtype": "float32", "limits": (0, 1)}, "limits are .* with dtype float32; expected them"),
        ({"bands": "rgb", "limits": (0.4, 0.1)}, r"expected the darkest value.*limits=\(0.0, 0.4"),
        ({"dtype": "int16"}, r"dtype is int16; expected 'float32' \(values\), 'uint16'"),
    ],
)
def test_limits_and_dtypes_that_make_no_picture_are_refused(tmp_path, wrong, message):
    with pytest.raises(LayoutError, match=message):
        export(scene(), tmp_path / "a.tif", **wrong)


# -------------------------------------------------------------------------- reading no more at once


def test_blocks_are_computed_once_each(tmp_path):
    sizes: list[tuple[int, ...]] = []

    def count(block: np.ndarray) -> np.ndarray:
        sizes.append(block.shape)
        return block

    lazy = scene()
    counted = lazy.data.map_blocks(count, dtype="float32", meta=np.empty((0, 0, 0), "float32"))
    export(lazy.copy(data=counted), tmp_path / "a.tif")
    assert len(sizes) == 3 * 4
    assert max(np.prod(size) for size in sizes) == 13 * 16 * 16


def test_of_a_store_the_bands_that_are_asked_for_are_read(tmp_path, monkeypatch):
    sizes: list[tuple[int, ...]] = []
    decode = Decoded.__getitem__

    def count(self: Decoded, index: Any) -> np.ndarray:
        values = decode(self, index)
        sizes.append(values.shape)
        return values

    store = write_zarr(scene(), tmp_path / "s.zarr", shard=16, dtype="float32")
    monkeypatch.setattr(Decoded, "__getitem__", count)
    path = export(open_scene(store), tmp_path / "a.tif", bands=[13, 2, 3])
    assert {size[0] for size in sizes if size[1]} == {1, 2}
    with rasterio.open(path) as found:
        np.testing.assert_array_equal(found.read(), scene()[[12, 1, 2]])


# ------------------------------------------------------------------------------- places to write to


def test_a_file_that_is_there_is_kept_unless_overwrite_says_otherwise(tmp_path):
    path = tmp_path / "scene.tif"
    path.write_text("mine")
    with pytest.raises(LayoutError, match=r"already exists; expected a new file.*overwrite=True"):
        export(scene(), path)
    assert path.read_text() == "mine"
    stale = tmp_path / "scene.tif.aux.xml"
    stale.write_text("of the file before")
    export(scene(), path, overwrite=True)
    assert not stale.exists()
    assert open_scene(path).sizes["band"] == 13


def test_a_failure_leaves_the_file_that_was_there(tmp_path):
    path: Any = export(located(spacing=2.0), tmp_path / "scene.tif")
    before = path.read_bytes()

    def burn(block: np.ndarray) -> np.ndarray:
        raise OSError("sensor on fire")

    broken = scene().data.map_blocks(burn, dtype="float32", meta=np.empty((0, 0, 0), "float32"))
    with pytest.raises(OSError, match="sensor on fire"):
        export(scene().copy(data=broken), path, overwrite=True)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["scene.tif"]


@pytest.mark.parametrize("place", ["", "absent/scene.tif", "s3://bucket/scene.tif"])
def test_places_that_hold_no_file_are_refused(tmp_path, place):
    path = place if "://" in place else Path(tmp_path, place)
    with pytest.raises(LayoutError, match=r"a URL; expected a local file|expected the name of a"):
        export(scene(), path)


def test_several_times_are_several_files(tmp_path):
    series = xr.concat([scene(), scene()], dim=xr.Variable("time", [0, 1]))
    with pytest.raises(LayoutError, match=r"scene has 2 times; expected one.*isel\(time=0\)"):
        export(series, tmp_path / "a.tif")
