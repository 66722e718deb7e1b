from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr

from lift_xr.errors import LayoutError
from lift_xr.grid import Grid
from lift_xr.io import levels, open_scene, write_zarr
from lift_xr.io.lazy import Decoded
from tests.scenes import cube, located

SIZES = ((21, 30), (11, 15), (6, 8))


def written(scene: xr.DataArray, store: Any, group: str | None, **encoding: Any) -> None:
    scene.to_dataset(name="reflectance").to_zarr(
        store,
        group=group,
        mode="a",
        zarr_format=3,
        consolidated=False,
        encoding={"reflectance": encoding},
    )


def pyramid(store: Path, names: tuple[str, ...] = ("0", "1", "2"), **attrs: Any) -> Path:
    """A store of three levels, each the average of the one before."""
    zarr.open_group(store, mode="w", zarr_format=3, attributes=attrs)
    scene = cube(*SIZES[0], spacing=2.0).rio.write_crs("EPSG:32615")
    y, x = scene.y.to_numpy(), scene.x.to_numpy()
    for level, name in enumerate(names):
        if level:
            scene = scene.coarsen(y=2, x=2, boundary="pad").mean()
            (height, width), step = SIZES[level], 2.0 * 2**level
            y = -step * (np.arange(height) + 0.5)
            x = step * (np.arange(width) + 0.5)
        written(scene.assign_coords(y=y, x=x), store, name)
    return store


def layout(*assets: object) -> dict[str, Any]:
    return {"multiscales": {"layout": [{"asset": asset} for asset in assets]}}


def test_a_level_has_the_same_corner_and_doubled_pixels(tmp_path):
    store = pyramid(tmp_path / "s.zarr")
    assert levels(store) == SIZES
    for level, size in enumerate(SIZES):
        scene = open_scene(store, level=level)
        grid = Grid.of(scene)
        assert scene.shape == (13, *size)
        assert (grid.left, grid.top, grid.dx, grid.dy) == (0, 0, 2 * 2**level, -2 * 2**level)
        assert scene.rio.crs.to_epsg() == 32615
        np.testing.assert_array_equal(scene.wavelength, cube().wavelength)
    xr.testing.assert_identical(open_scene(store), open_scene(store, level=0))


def test_a_level_that_is_not_there_is_named_with_those_that_are(tmp_path):
    store = pyramid(tmp_path / "s.zarr")
    for wrong in (3, -1, True, "1"):
        with pytest.raises(LayoutError, match=r"has levels 0 to 2; expected.*level=2\)"):
            open_scene(store, level=wrong)
    flat = write_zarr(located(), tmp_path / "flat.zarr", dtype="float32")
    for wrong in (9, -1):
        with pytest.raises(LayoutError, match=rf"level is {wrong} .* no overviews; .*level=0\)$"):
            open_scene(flat, level=wrong)


def test_a_store_without_levels_has_one(tmp_path):
    located().to_dataset(name="a").to_zarr(tmp_path / "s.zarr", consolidated=False)
    assert levels(tmp_path / "s.zarr") == ((24, 24),)
    with pytest.raises(LayoutError, match=r"level is 1 and .* has no overviews"):
        open_scene(tmp_path / "s.zarr", level=1)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_sizes_are_told_by_the_names_of_the_dimensions(tmp_path, zarr_format):
    turned = located(20, 30).transpose("x", "y", "band").to_dataset(name="a")
    turned.to_zarr(tmp_path / "s.zarr", consolidated=False, zarr_format=zarr_format)
    assert levels(tmp_path / "s.zarr") == ((20, 30),)


def test_levels_are_found_under_the_names_a_store_declares(tmp_path):
    names = ("full", "half", "quarter")
    store = pyramid(tmp_path / "s.zarr", names, **layout(*names))
    assert levels(store) == SIZES
    assert open_scene(store, level=2).shape == (13, 6, 8)


@pytest.mark.parametrize(
    "declared",
    [layout("../other"), layout(7), layout("0", "absent"), {"multiscales": 5}, layout("/0")],
)
def test_a_declaration_that_leads_nowhere_is_not_followed(tmp_path, declared):
    assert levels(pyramid(tmp_path / "s.zarr", **declared)) == SIZES


def test_levels_of_an_unfinished_store_are_not_told(tmp_path):
    store = pyramid(tmp_path / "s.zarr", lift_xr={"layout": 1, "complete": False})
    with pytest.raises(LayoutError, match="is incomplete"):
        levels(store)


def test_a_raster_file_has_no_levels_here(tmp_path):
    located(spacing=2.0).rio.to_raster(tmp_path / "scene.tif")
    with pytest.raises(LayoutError, match=r"level is 1 and scene.tif is no Zarr store.*overview"):
        open_scene(tmp_path / "scene.tif", level=1)
    with pytest.raises(LayoutError, match=r"level is -1 .* Use open_scene\(\.\.\., level=0\)$"):
        open_scene(tmp_path / "scene.tif", level=-1)
    assert open_scene(tmp_path / "scene.tif", level=0).shape == (4, 24, 24)


# ------------------------------------------------------------------------ reading what is asked for


def read_sizes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Collect the shape of everything that is read from stores."""
    seen: list[tuple[int, ...]] = []
    decode = Decoded.__getitem__

    def spy(self: Decoded, index: Any) -> np.ndarray:
        values = decode(self, index)
        if values.size:
            seen.append(values.shape)
        return values

    monkeypatch.setattr(Decoded, "__getitem__", spy)
    return seen


def test_a_spectrum_a_band_and_a_window_read_themselves_alone(tmp_path, monkeypatch):
    scene = cube(37, 53, spacing=2.0).assign_attrs(units="1")
    found = open_scene(write_zarr(scene, tmp_path / "s.zarr", shard=16))
    seen = read_sizes(monkeypatch)
    spectrum = found.sel(y=-41.0, x=61.0, method="nearest").compute()
    np.testing.assert_allclose(spectrum, scene[:, 20, 30], atol=0.501e-4)
    band = found.isel(band=3, y=slice(2, 9), x=slice(1, 14)).compute()
    np.testing.assert_allclose(band, scene[3, 2:9, 1:14], atol=0.501e-4)
    assert seen == [(13,), (7, 13)]


def test_any_way_of_slicing_gives_the_same_pixels(tmp_path):
    scene = cube(37, 53, spacing=2.0).assign_attrs(units="1")
    scene[:, 3:9, 20:] = np.nan
    found = open_scene(write_zarr(scene, tmp_path / "s.zarr", shard=16))
    whole = found.compute()
    for index in (
        {"y": slice(None, None, -1), "x": slice(50, 2, -3)},
        {"band": [7, 1, 1], "y": slice(3, 30, 4)},
        {"band": -1, "y": [30, 2], "x": [5, 0, 52]},
        {"y": xr.DataArray([1, 30], dims="p"), "x": xr.DataArray([40, 2], dims="p")},
        {"band": 2, "y": 4, "x": 5},
    ):
        xr.testing.assert_identical(found.isel(index).compute(), whole.isel(index))


def test_two_stores_at_one_place_are_read_under_two_names(tmp_path):
    first = open_scene(write_zarr(located(), tmp_path / "s.zarr", dtype="float32"))
    again = open_scene(tmp_path / "s.zarr")
    write_zarr(located() / 2, tmp_path / "s.zarr", dtype="float32", overwrite=True)
    assert first.data.name == again.data.name
    assert first.data.name != open_scene(tmp_path / "s.zarr").data.name


def test_bands_with_packings_of_their_own_are_decoded_too(tmp_path):
    codes = xr.DataArray(
        np.arange(24, dtype="int16").reshape(2, 3, 4),
        dims=("band", "y", "x"),
        attrs={"scale_factor": [1.0, 0.5], "add_offset": 3.0, "_FillValue": 5},
    )
    codes.to_dataset(name="a").to_zarr(tmp_path / "s.zarr", zarr_format=2, consolidated=False)
    expected = codes.to_numpy() * np.array([1.0, 0.5])[:, None, None] + 3
    expected[codes.to_numpy() == 5] = np.nan
    np.testing.assert_array_equal(open_scene(tmp_path / "s.zarr"), expected)


def test_blocks_are_still_lazy_dask_arrays(tmp_path):
    found = open_scene(write_zarr(located(), tmp_path / "s.zarr", dtype="float32", shard=16))
    assert isinstance(found.data, da.Array)
    assert found.dtype == found.data._meta.dtype == np.float32
    assert found.attrs == {}
