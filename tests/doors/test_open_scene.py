from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
import rasterio
import xarray as xr
import zarr
from rasterio.enums import ColorInterp
from rasterio.transform import from_origin

from lift_xr.errors import GridError, LayoutError, SpectralError
from lift_xr.grid import COUNTED, Grid
from lift_xr.io import open_scene, write_zarr
from tests.scenes import cube, located

CENTRES = [410.0, 550.0, 705.0, 860.0]
VALUES = np.arange(4 * 6 * 5, dtype="int16").reshape(4, 6, 5)
SPECTRAL_HEADER = """
wavelength units = {units}
wavelength = {{0.41, 0.55,
 0.705, 0.86}}
fwhm = {{0.01, 0.01, 0.02, 0.02}}
bbl = {{1, 1, 0, 1}}
reflectance scale factor = 10000
data ignore value = -9999
"""


def write_raster(path: Path, values: np.ndarray = VALUES, **profile: object) -> Path:
    bands, height, width = values.shape
    about = {"driver": "GTiff", "crs": "EPSG:32615", "transform": from_origin(1000, 2000, 2, 2)}
    about |= {"count": bands, "height": height, "width": width, "dtype": values.dtype} | profile
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path, "w", **about) as target:
            target.write(values)
    return path


def write_envi(path: Path, *, units: str = "Micrometers") -> Path:
    values = VALUES.copy()
    values[2, 1, 1] = -9999
    write_raster(path, values, driver="ENVI")
    with path.with_suffix(".hdr").open("a") as header:
        header.write(SPECTRAL_HEADER.format(units=units))
    return path


# ------------------------------------------------------------------------------------------ ENVI


@pytest.mark.parametrize("given", ["scene.img", "scene.hdr"])
def test_envi_is_opened_by_its_data_or_its_header(tmp_path, given):
    write_envi(tmp_path / "scene.img")
    scene = open_scene(tmp_path / given)
    np.testing.assert_allclose(scene.wavelength, CENTRES)
    np.testing.assert_allclose(scene.fwhm, [10, 10, 20, 20])
    assert scene.good_wavelength.to_numpy().tolist() == [True, True, False, True]
    assert scene.attrs == {"units": "1"}
    expected = (VALUES * 1e-4).astype("float32")
    expected[2, 1, 1] = np.nan
    np.testing.assert_allclose(scene, expected, rtol=1e-6)
    assert scene.dtype == np.float32
    assert scene.rio.crs.to_epsg() == 32615
    assert (Grid.of(scene).left, Grid.of(scene).top, Grid.of(scene).dy) == (1000, 2000, -2)


def test_envi_data_without_a_suffix_is_found_by_its_header(tmp_path):
    write_envi(tmp_path / "scene.img")
    (tmp_path / "scene.img").rename(tmp_path / "scene")
    assert open_scene(tmp_path / "scene.hdr").sizes["band"] == 4


def test_an_envi_header_alone_says_what_is_missing(tmp_path):
    (tmp_path / "scene.hdr").write_text("ENVI")
    with pytest.raises(LayoutError, match=r"header without data; expected scene, scene.img"):
        open_scene(tmp_path / "scene.hdr")


def test_an_unknown_unit_in_a_header_is_refused(tmp_path):
    with pytest.raises(SpectralError, match="unknown units 'Unknown'"):
        open_scene(write_envi(tmp_path / "scene.img", units="Unknown"))


def test_a_header_that_lists_too_few_wavelengths_is_refused(tmp_path):
    path = write_raster(tmp_path / "scene.img", driver="ENVI")
    with path.with_suffix(".hdr").open("a") as header:
        header.write("\nwavelength = {400, 500}\n")
    with pytest.raises(SpectralError, match="lists 2 values of wavelength for 4 bands"):
        open_scene(path)


# --------------------------------------------------------------------------------------- GeoTIFF


def test_wavelengths_in_the_tags_of_bands_are_read(tmp_path):
    path = write_raster(tmp_path / "scene.tif")
    with rasterio.open(path, "r+") as target:
        for band, centre in enumerate(CENTRES, start=1):
            target.update_tags(band, WAVELENGTH=str(centre), wavelength_units="Nanometers")
    np.testing.assert_allclose(open_scene(path).wavelength, CENTRES)


def test_wavelengths_in_the_imagery_tags_of_bands_are_read(tmp_path):
    path = write_raster(tmp_path / "scene.tif")
    with rasterio.open(path, "r+") as target:
        for band, centre in enumerate(CENTRES, start=1):
            tags = {"CENTRAL_WAVELENGTH_UM": str(centre / 1000), "FWHM_UM": "0.01"}
            target.update_tags(band, ns="IMAGERY", **tags)
    scene = open_scene(path)
    np.testing.assert_allclose(scene.wavelength, CENTRES)
    np.testing.assert_allclose(scene.fwhm, 10)


def test_the_caller_supplies_what_the_file_lacks(tmp_path):
    path = write_raster(tmp_path / "scene.tif")
    assert "wavelength" not in open_scene(path).coords
    given = open_scene(path, wavelength=[0.41, 0.55, 0.705, 0.86], fwhm=[0.01] * 4, units="um")
    np.testing.assert_allclose(given.wavelength, CENTRES)
    np.testing.assert_allclose(given.fwhm, 10)
    with pytest.raises(SpectralError, match=r"no units; expected nm, um or m.*units='nm'"):
        open_scene(path, wavelength=CENTRES)
    with pytest.raises(SpectralError, match=r"wavelength has shape \(2,\); scene.tif has 4 bands"):
        open_scene(path, wavelength=[1, 2], units="nm")


def test_units_complete_wavelengths_that_have_none(tmp_path):
    path = write_raster(tmp_path / "scene.tif")
    with rasterio.open(path, "r+") as target:
        for band, centre in enumerate(CENTRES, start=1):
            target.update_tags(band, wavelength=str(centre))
    with pytest.raises(SpectralError, match="have no units"):
        open_scene(path)
    np.testing.assert_allclose(open_scene(path, units="nm").wavelength, CENTRES)


def test_nodata_scale_and_offset_of_the_file_apply(tmp_path):
    path = write_raster(tmp_path / "scene.tif", nodata=7)
    with rasterio.open(path, "r+") as target:
        target.scales, target.offsets = (0.5,) * 4, (1.0, 2.0, 3.0, 4.0)
    expected = VALUES * 0.5 + np.array([1, 2, 3, 4])[:, None, None]
    expected[VALUES == 7] = np.nan
    np.testing.assert_array_equal(open_scene(path), expected)


def test_transparent_pixels_are_nodata_and_alpha_is_no_band(tmp_path):
    colours = np.full((4, 6, 5), 9, "uint8")
    colours[3, :2] = 0
    path = write_raster(tmp_path / "mosaic.tif", colours, photometric="RGB", alpha="yes")
    with rasterio.open(path) as written:
        assert written.colorinterp[3] == ColorInterp.alpha
    scene = open_scene(path, block=4, alpha="mask")
    assert scene.band.to_numpy().tolist() == [1, 2, 3]
    assert scene.isel(y=slice(2)).isnull().all()
    assert (scene.isel(y=slice(2, None)) == 9).all()


def test_a_band_that_only_carries_the_mark_of_alpha_can_be_kept(tmp_path):
    infrared = np.full((4, 6, 5), 9, "uint8")
    infrared[3, :2] = 0
    path = write_raster(tmp_path / "mosaic.tif", infrared, photometric="RGB", alpha="yes")
    np.testing.assert_array_equal(open_scene(path, alpha="keep"), infrared)
    with pytest.raises(ValueError, match="alpha is 'drop'; expected 'mask' or 'keep'"):
        open_scene(path, alpha="drop")


def test_a_band_taken_as_transparency_is_said_once_and_to_the_caller(tmp_path):
    path = write_raster(tmp_path / "m4.tif", np.full((4, 6, 5), 9, "uint8"))  # GDAL marks it
    message = r"^band 4 of m4.tif is marked as alpha: .*alpha='keep'.*alpha='mask'"
    with pytest.warns(UserWarning, match=message) as told:
        scene = open_scene(path)
    ours = [each.filename for each in told if each.category is UserWarning]
    assert ours == [__file__]
    xr.testing.assert_identical(scene, open_scene(path, alpha="mask"))


@pytest.mark.parametrize("block", [0, -4, 2.5])
def test_a_block_without_pixels_is_refused(tmp_path, block):
    path = write_raster(tmp_path / "scene.tif")
    store = write_zarr(located(), tmp_path / "s.zarr", dtype="float32")
    for source in (path, store):
        with pytest.raises(LayoutError, match=rf"block is {block}; expected its edge.*Use block="):
            open_scene(source, block=block)


def test_a_raster_without_a_place_counts_its_pixels(tmp_path):
    path = write_raster(tmp_path / "photo.tif", crs=None, transform=rasterio.Affine.identity())
    scene = open_scene(path)
    with dask.config.set(scheduler="threads"):  # each opens the file anew, and says nothing
        np.testing.assert_array_equal(scene, VALUES)
    assert scene.y.attrs["units"] == COUNTED
    assert scene.x.to_numpy()[0] == 0.5


def test_a_rotated_raster_is_refused(tmp_path):
    turned = from_origin(1000, 2000, 2, 2) @ rasterio.Affine.rotation(30)
    with pytest.raises(GridError, match=r"rotated transform.*rio.reproject"):
        open_scene(write_raster(tmp_path / "turned.tif", transform=turned))


def test_threads_read_a_compressed_file_side_by_side(tmp_path):
    values = np.random.default_rng(0).integers(0, 999, (3, 300, 300)).astype("uint16")
    path = write_raster(
        tmp_path / "scene.tif", values, compress="deflate", tiled=True, blockxsize=64, blockysize=64
    )
    scene = open_scene(path, block=64)
    assert scene.chunks == ((3,), (64,) * 4 + (44,), (64,) * 4 + (44,))
    with dask.config.set(scheduler="threads", num_workers=8):
        np.testing.assert_array_equal(scene, values)


def test_nothing_and_things_that_are_no_scene_are_told_apart(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent.tif does not exist; expected a scene"):
        open_scene(tmp_path / "absent.tif")
    with pytest.raises(FileNotFoundError, match=r"absent.zarr does not exist"):
        open_scene(tmp_path / "absent.zarr")
    (tmp_path / "text.tif").write_text("hello")
    with pytest.raises(LayoutError, match=r"text.tif cannot be read as a raster"):
        open_scene(tmp_path / "text.tif")
    (tmp_path / "cube.nc").write_text("hello")
    with pytest.raises(LayoutError, match=r"cube.nc is nc; expected Zarr.*xr.open_dataset\("):
        open_scene(tmp_path / "cube.nc")
    with pytest.raises(LayoutError, match="cannot be opened as a Zarr group"):
        open_scene(tmp_path)


# ------------------------------------------------------------------------------------------ Zarr


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_any_store_xarray_writes_is_opened(tmp_path, zarr_format):
    plain = cube(20, 30).rio.write_crs("EPSG:32615").to_dataset(name="radiance")
    packing = {"dtype": "int16", "scale_factor": 1e-4, "_FillValue": -1, "chunks": (13, 8, 8)}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        plain.to_zarr(tmp_path / "s.zarr", zarr_format=zarr_format, encoding={"radiance": packing})
    scene = open_scene(tmp_path / "s.zarr", block=20)
    assert scene.chunks == ((13,), (16, 4), (16, 14))
    assert scene.dtype == np.float32
    assert scene.rio.crs.to_epsg() == 32615
    np.testing.assert_allclose(scene, plain.radiance, atol=0.51e-4)
    np.testing.assert_array_equal(scene.wavelength, plain.wavelength)


def test_one_variable_of_several_is_asked_for(tmp_path):
    both = xr.Dataset({"radiance": cube(), "reflectance": cube() * 2})
    both["reflectance"].coords["wavelength"] = cube().wavelength
    both.to_zarr(tmp_path / "s.zarr", consolidated=False)
    with pytest.raises(LayoutError, match="2 raster variables"):
        open_scene(tmp_path / "s.zarr")
    with pytest.raises(LayoutError, match=r"no variable 'sum'; expected one of \['radiance'"):
        open_scene(tmp_path / "s.zarr", variable="sum")
    scene = open_scene(tmp_path / "s.zarr", variable="reflectance")
    np.testing.assert_array_equal(scene, cube() * 2)


@pytest.mark.parametrize("key", ["missing_value", "scale_factor"])
def test_a_packing_that_is_no_number_is_refused_by_name(tmp_path, key):
    plain = cube().astype("int16").assign_attrs({key: "abc"})
    plain.to_dataset(name="a").to_zarr(tmp_path / "s.zarr", consolidated=False)
    with pytest.raises(SpectralError, match=f"attribute {key} 'abc'; expected a number"):
        open_scene(tmp_path / "s.zarr")


@pytest.mark.parametrize(("dtype", "found"), [("foo", "'foo'"), ("int8", "int8")])
def test_a_type_that_cannot_be_written_is_refused(tmp_path, dtype, found):
    with pytest.raises(LayoutError, match=f"dtype is {found}; expected 'uint16'"):
        write_zarr(located(), tmp_path / "s.zarr", dtype=dtype)
    with pytest.raises(LayoutError, match="shard is 0; expected its edge"):
        write_zarr(located(), tmp_path / "s.zarr", shard=0)


def test_opening_a_store_computes_nothing(tmp_path):
    cube().to_dataset(name="a").to_zarr(tmp_path / "s.zarr", consolidated=False)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a pixel was computed")

    with dask.config.set(scheduler=refuse):
        scene = open_scene(tmp_path / "s.zarr")
    assert isinstance(scene.data, da.Array)


def test_an_unfinished_store_is_no_scene(tmp_path):
    store = write_zarr(located(), tmp_path / "s.zarr", dtype="float32")
    root = zarr.open_group(store)
    root.attrs["lift_xr"] = {**root.attrs["lift_xr"], "complete": False}
    with pytest.raises(LayoutError, match=r"is incomplete.*resume=True"):
        open_scene(store)


def test_a_store_of_a_later_version_is_refused(tmp_path):
    store = write_zarr(located(), tmp_path / "s.zarr", dtype="float32")
    root = zarr.open_group(store)
    root.attrs["lift_xr"] = {**root.attrs["lift_xr"], "layout": 2}
    with pytest.raises(LayoutError, match=r"has layout 2; expected 1.*pip install --upgrade"):
        open_scene(store)


def hostile(path: Path, **changes: object) -> Path:
    """A version 2 store whose one array claims whatever ``changes`` says."""
    located().to_dataset(name="a").to_zarr(path, zarr_format=2, consolidated=False)
    header = path / "a" / ".zarray"
    header.write_text(json.dumps(json.loads(header.read_text()) | changes))
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {"dtype": "|O", "filters": [{"id": "pickle", "protocol": 5}]},
        {"filters": [{"id": "pickle", "protocol": 5}]},
        {"dtype": "|O", "filters": [{"id": "json2"}]},
    ],
)
def test_a_store_that_would_have_to_run_code_is_refused_unread(tmp_path, changes):
    with pytest.raises(LayoutError, match=r"not plain numbers or text|Python objects"):
        open_scene(hostile(tmp_path / "s.zarr", **changes))


def test_a_coordinate_that_would_fill_the_memory_is_refused_unread(tmp_path):
    path = hostile(tmp_path / "s.zarr")
    header = path / "y" / ".zarray"
    header.write_text(json.dumps(json.loads(header.read_text()) | {"shape": [10**12]}))
    with pytest.raises(LayoutError, match=r"'y' claims the shape \(1000000000000,\)"):
        open_scene(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": [4, 24, 10**12]}, "claims the shape"),
        ({"chunks": [4, 10**5, 10**5]}, "chunks of 149 GiB; expected at most 4 GiB"),
        ({"shape": [4, 10**7, 10**7], "chunks": [4, 8, 8]}, "would be .* blocks; expected at most"),
    ],
)
def test_a_raster_that_would_fill_the_memory_is_refused_unread(tmp_path, changes, message):
    path = hostile(tmp_path / "s.zarr", **changes)
    for coordinate in ("y", "x"):
        shutil.rmtree(path / coordinate)
    with pytest.raises(LayoutError, match=message):
        open_scene(path, block=24)


@pytest.mark.parametrize("as_store", [str, Path, zarr.storage.LocalStore])
def test_a_relative_path_is_read_from_any_folder(tmp_path, monkeypatch, as_store):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    write_zarr(located(), "scene.zarr", dtype="float32")
    scene = open_scene(as_store("scene.zarr"))
    monkeypatch.chdir(tmp_path / "elsewhere")  # as a worker that was started there
    np.testing.assert_array_equal(scene, located())
