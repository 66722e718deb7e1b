from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import xarray as xr
import zarr

from lift_xr.errors import LayoutError
from lift_xr.grid import Grid
from lift_xr.io import levels, open_scene
from lift_xr.io.geozarr import (
    ConventionAttrs,
    asset_paths,
    convention_attrs,
    level_grids,
    without_conventions,
)
from tests.scenes import cube

UTM = pyproj.CRS("EPSG:32615")
HOUSTON = Grid(UTM, 272056.0, 3289689.0, 0.05, -0.05, 83440, 24040)
ODD = Grid(UTM, 1000.0, 2000.0, 2.0, -2.0, 53, 37)
UUIDS = {
    "proj": "f17cb550-5864-4468-aeb7-f3180cfb622f",
    "spatial": "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4",
    "multiscales": "d35379db-88df-4056-af3a-620245f8e347",
}
DESCRIPTIONS = {
    "proj": "Coordinate reference system information for geospatial data",
    "spatial": "Spatial coordinate information",
    "multiscales": "Multiscale layout of zarr datasets",
}


# ------------------------------------------------------------------ what the specifications demand


def expect_declared(attrs: dict[str, Any], key: str) -> None:
    """A convention is declared once, by all that v0.1 fixes, and by nothing else."""
    (found,) = (each for each in attrs["zarr_conventions"] if each["uuid"] == UUIDS[key])
    assert found == {
        "uuid": UUIDS[key],
        "schema_url": "https://raw.githubusercontent.com/zarr-conventions/"
        f"{key}/refs/tags/v0.1/schema.json",
        "spec_url": f"https://github.com/zarr-conventions/{key}/blob/v0.1/README.md",
        "name": key,
        "description": DESCRIPTIONS[key],
    }


def expect_proj(attrs: dict[str, Any]) -> None:
    """At least one way to say the CRS; a code is authority:code."""
    told = {key for key in attrs if key.startswith("proj:")}
    assert told
    assert told <= {"proj:code", "proj:wkt2", "proj:projjson"}
    assert re.fullmatch("[^:]+:[^:]+", attrs.get("proj:code", "EPSG:1"))
    assert isinstance(attrs.get("proj:wkt2", ""), str)


def expect_numbers(values: Any, count: int) -> None:
    assert isinstance(values, list)
    assert len(values) == count
    assert all(isinstance(each, int | float) and not isinstance(each, bool) for each in values)


def expect_spatial(attrs: dict[str, Any], *, array: bool) -> None:
    """Two axes; arrays have transform and shape, groups the box: each fact in one place."""
    told = {key.removeprefix("spatial:") for key in attrs if key.startswith("spatial:")}
    assert attrs["spatial:dimensions"] == ["y", "x"]
    if array:
        assert told == {"dimensions", "transform", "shape", "registration"}
        expect_numbers(attrs["spatial:transform"], 6)
        expect_shape(attrs["spatial:shape"])
        assert attrs["spatial:registration"] in ("node", "pixel")
    else:
        assert told == {"dimensions", "bbox"}
        expect_numbers(attrs["spatial:bbox"], 4)
        assert attrs["spatial:bbox"][0] < attrs["spatial:bbox"][2]
        assert attrs["spatial:bbox"][1] < attrs["spatial:bbox"][3]


def expect_shape(shape: Any) -> None:
    expect_numbers(shape, 2)
    assert all(isinstance(edge, int) and edge >= 1 for edge in shape)


def expect_multiscales(attrs: dict[str, Any]) -> None:
    """One entry a level, with a path below the group; what is derived says how."""
    told = attrs["multiscales"]
    assert isinstance(told["resampling_method"], str)
    assert told["layout"]
    for entry in told["layout"]:
        for path in (entry["asset"], entry.get("derived_from", "0")):
            assert re.fullmatch(r"(?!/)(?!.*(\.\.))([^/]+(/[^/]+)*)", path)
        assert "transform" in entry or "derived_from" not in entry
        expect_numbers(entry["transform"]["scale"], 2)
        expect_numbers(entry["transform"]["translation"], 2)
        expect_numbers(entry["spatial:transform"], 6)
        expect_shape(entry["spatial:shape"])


@pytest.mark.parametrize("grid", [HOUSTON, ODD, Grid(None, 0.0, 0.0, 1.0, 1.0, 5, 1)])
def test_every_node_is_valid_by_the_schemas(grid):
    found = convention_attrs(grid, levels=3, names="v0.1")
    nodes = [found.root, *found.groups, *found.arrays]
    for attrs in nodes:
        assert json.loads(json.dumps(attrs)) == attrs
        expect_declared(attrs, "spatial")
        if grid.crs is None:
            assert not any(key.startswith("proj:") for key in attrs)
        else:
            expect_declared(attrs, "proj")
            expect_proj(attrs)
    for attrs in (found.root, *found.groups):
        expect_spatial(attrs, array=False)
    for attrs in found.arrays:
        expect_spatial(attrs, array=True)
        assert "multiscales" not in attrs
    expect_declared(found.root, "multiscales")
    expect_multiscales(found.root)


# ----------------------------------------------------------------------------- what they are told


def test_names_carry_a_colon_where_readers_look_for_one():
    declared = convention_attrs(ODD).root["zarr_conventions"]
    assert [each["name"] for each in declared] == ["multiscales", "proj:", "spatial:"]
    assert {each["uuid"] for each in declared} == set(UUIDS.values())
    assert all("/v1/" in each["schema_url"] and "/v1/" in each["spec_url"] for each in declared)


def test_other_names_are_refused():
    with pytest.raises(LayoutError, match=r"names is 'v2'; expected 'compat' or 'v0.1'"):
        convention_attrs(ODD, names="v2")


def test_levels_have_one_corner_and_pixels_exactly_doubled():
    grids = level_grids(HOUSTON, 8)
    assert (grids[7].width, grids[7].height) == (652, 188)
    assert all((each.left, each.top) == (HOUSTON.left, HOUSTON.top) for each in grids)
    assert [each.dx for each in grids] == [0.05 * 2**level for level in range(8)]
    sizes = [(each.height, each.width) for each in level_grids(ODD, 7)]
    assert sizes == [(37, 53), (19, 27), (10, 14), (5, 7), (3, 4), (2, 2), (1, 1)]


def test_the_root_lists_each_level_on_the_ground_and_by_the_one_before():
    root = convention_attrs(ODD, levels=2).root
    assert root["multiscales"]["layout"] == [
        {
            "asset": "0",
            "transform": {"scale": [1.0, 1.0], "translation": [0.0, 0.0]},
            "spatial:shape": [37, 53],
            "spatial:transform": [2.0, 0.0, 1000.0, 0.0, -2.0, 2000.0],
        },
        {
            "asset": "1",
            "derived_from": "0",
            "transform": {"scale": [2.0, 2.0], "translation": [0.0, 0.0]},
            "spatial:shape": [19, 27],
            "spatial:transform": [4.0, 0.0, 1000.0, 0.0, -4.0, 2000.0],
        },
    ]
    assert root["spatial:bbox"] == [1000, 1926, 1106, 2000]
    assert asset_paths(root) == ("0", "1")


def test_a_crs_is_named_by_its_code_or_spelled_out():
    assert convention_attrs(ODD).root["proj:code"] == "EPSG:32615"
    local = pyproj.CRS("+proj=tmerc +lat_0=12.3 +lon_0=45.6 +k=0.99 +x_0=10 +ellps=bessel")
    for crs in (local, pyproj.CRS("OGC:CRS84")):  # the drafts allow digits only
        attrs = convention_attrs(Grid(crs, 0, 0, 1, -1, 4, 4)).arrays[0]
        assert "proj:code" not in attrs
        assert pyproj.CRS(attrs["proj:wkt2"]) == crs


def test_what_the_conventions_say_can_be_taken_off_again():
    attrs = {"units": "1", **convention_attrs(ODD).root}
    assert without_conventions(attrs) == {"units": "1"}


# --------------------------------------------------------------------------------- what others read


def store_of(path: Path, told: ConventionAttrs, *, crs: str | None = "EPSG:32615") -> Path:
    """A store of two levels as write_zarr lays it out, made without it; 65535 is nodata."""
    about = {"layout": 1, "complete": True}
    zarr.open_group(path, mode="w", zarr_format=3, attributes={**told.root, "lift_xr": about})
    coarse = (37, 53)
    for level, (group, array) in enumerate(zip(told.groups, told.arrays, strict=True)):
        scene = cube(*coarse).assign_coords(centres(ODD, level, coarse))
        scene[:, :2, :3] = np.nan
        if crs is not None:
            scene = scene.rio.write_crs(crs)
        packing = {"dtype": "uint16", "scale_factor": 1e-4, "_FillValue": 65535}
        placed = {"grid_mapping": "spatial_ref"} if crs is not None else {}
        dataset = scene.assign_attrs(units="1", **array).to_dataset(name="reflectance")
        dataset.assign_attrs(group).to_zarr(
            path,
            group=str(level),
            mode="a",
            zarr_format=3,
            consolidated=False,
            encoding={"reflectance": {**packing, **placed, "fill_value": 65535}},
        )
        coarse = (19, 27)
    return path


def centres(grid: Grid, level: int, size: tuple[int, int]) -> dict[str, np.ndarray]:
    step = 2.0**level
    return {
        "y": grid.top + grid.dy * step * (np.arange(size[0]) + 0.5),
        "x": grid.left + grid.dx * step * (np.arange(size[1]) + 0.5),
    }


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return store_of(tmp_path / "s.zarr", convention_attrs(ODD, levels=2))


def test_we_read_the_place_from_cf_and_keep_none_of_the_conventions(store):
    assert levels(store) == ((37, 53), (19, 27))
    for level in (0, 1):
        scene = open_scene(store, level=level)
        assert scene.attrs == {"units": "1"}
        assert scene.rio.crs.to_epsg() == 32615
        assert Grid.of(scene) == level_grids(ODD, 2)[level]


@pytest.mark.parametrize(("level", "step"), [(0, 2.0), (1, 4.0)])
def test_xarray_and_rioxarray_read_place_and_pixels_of_each_level(store, level, step):
    found = xr.open_zarr(store, group=str(level), decode_coords="all", consolidated=False)
    pixels = found.reflectance
    assert found.rio.crs.to_epsg() == pixels.rio.crs.to_epsg() == 32615
    assert tuple(pixels.rio.transform())[:6] == (step, 0, 1000, 0, -step, 2000)
    assert pixels.rio.resolution() == (step, -step)
    assert pixels.rio.encoded_nodata == 65535
    assert np.isnan(pixels[:, :2, :3]).all()
    assert pixels.attrs["spatial:transform"] == list(pixels.rio.transform())[:6]
    assert pixels.attrs["spatial:shape"] == list(pixels.shape[1:])


def test_rioxarray_reads_place_from_the_conventions_alone(tmp_path):
    reason = "needs rioxarray 0.22, the first to read proj: and spatial:"
    pytest.importorskip("rioxarray._convention.zarr", reason=reason)
    told = convention_attrs(ODD, levels=2)
    bare = store_of(tmp_path / "s.zarr", told, crs=None)
    found = xr.open_zarr(bare, group="1", consolidated=False).reflectance.drop_vars(["y", "x"])
    assert found.rio.crs.to_epsg() == 32615
    assert tuple(found.rio.transform())[:6] == (4, 0, 1000, 0, -4, 2000)


def test_rio_tiler_reads_place_overviews_and_nodata(store):
    tiler = pytest.importorskip("rio_tiler.experimental.zarr", reason="needs rio-tiler 9.4")
    with tiler.GroupReader(input=zarr.open_group(store, mode="r")) as source:
        assert source.crs.to_epsg() == 32615
        assert tuple(source.bounds) == (1000, 1926, 1106, 2000)
        assert [each["name"] for each in source.list_variables()] == ["reflectance"]
        (overviews,) = source.get_group_metadata()["arrays"].values()
        assert [(each["height"], each["width"]) for each in overviews] == [(37, 53), (19, 27)]
        assert [each["transform"].a for each in overviews] == [2, 4]
        fine, coarse = (
            source.preview(variables="reflectance", max_size=size) for size in (None, 27)
        )
        assert (fine.height, fine.width) == (37, 53)
        assert (coarse.height, coarse.width) == (19, 27)
        assert fine.crs.to_epsg() == 32615
        expected = open_scene(store).to_numpy()
        np.testing.assert_array_equal(fine.array.mask[0], np.isnan(expected[0]))
        codes = np.ma.filled(fine.array, 65535)
        np.testing.assert_array_equal(codes == 65535, np.isnan(expected))
        np.testing.assert_allclose(codes * 1e-4, np.where(codes == 65535, 6.5535, expected))
