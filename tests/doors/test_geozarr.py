from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pyproj
import pytest
import xarray as xr
import zarr
import zarr_cm
from rio_tiler.experimental.zarr import GroupReader

from lift_xr.errors import LayoutError
from lift_xr.grid import Grid
from lift_xr.io import levels, open_scene, write_zarr
from lift_xr.io.geozarr import (
    ConventionAttrs,
    asset_paths,
    convention_attrs,
    level_grids,
    without_conventions,
)
from tests.scenes import cube, on_grid

UTM = pyproj.CRS("EPSG:32615")
HOUSTON = Grid(UTM, 272056.0, 3289689.0, 0.05, -0.05, 83440, 24040)
WRITTEN = (1100, 61)  # pixels along y and x
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
#
# Read off the conventions' JSON schemas, property by property; they are not fetched here. All
# at tag v0.1, as zarr-conventions/zarr-cm keeps them (.github/upstream-schemas, tests/schemas):
#   multiscales  zarr-conventions/multiscales, schema.json, commit 9b78efa7
#   proj         zarr-conventions/proj,        schema.json, commit 5ca5b2f9
#   spatial      zarr-conventions/spatial,     schema.json, commit 54d81b7c
# What drafts of `spatial` demand beside holds too: schema.json of commit 11c0b14a, of layouts, and
# test-rules.js of commit af118205, each fact in one place. Other properties are let be, but for
# those of an entry of zarr_conventions.

DECLARATION = {"uuid", "schema_url", "spec_url", "name", "description"}  # and no other key
PATH = r"(?!/)(?!.*(\.\.))([^/]+(/[^/]+)*)"  # of "asset" and "derived_from"
NUMBERS = {  # lengths of lists of numbers, two axes
    "spatial:bbox": 4,
    "spatial:transform": 6,
    "spatial:shape": 2,
}


def fits(entry: Any, key: str) -> bool:
    """Whether an entry declares a convention: any of three keys, each as it is fixed."""
    fixed = {
        "uuid": UUIDS[key],
        "schema_url": "https://raw.githubusercontent.com/zarr-conventions/"
        f"{key}/refs/tags/v0.1/schema.json",
        "spec_url": f"https://github.com/zarr-conventions/{key}/blob/v0.1/README.md",
        "name": key,
        "description": DESCRIPTIONS[key],
    }
    assert set(fixed) == DECLARATION
    told = {"uuid", "schema_url", "spec_url"} & set(entry)
    return bool(told) and all(fixed.get(name) == value for name, value in entry.items())


def wrong_in(node: dict[str, Any]) -> list[str]:
    """What the schemas find wrong with the metadata of one node; nothing, of a valid one."""
    attrs, kind = node["attributes"], node["node_type"]
    found = [] if isinstance(node["zarr_format"], int) else ["zarr_format is no integer"]
    found += [] if kind in ("array", "group") else [f"node_type {kind}"]
    keys = [key for key in UUIDS if _follows(attrs, key)]
    declared = attrs.get("zarr_conventions", [])
    found += [f"{k} is not declared" for k in keys if not any(fits(e, k) for e in declared)]
    rules = {"proj": _wrong_proj, "spatial": _wrong_spatial, "multiscales": _wrong_multiscales}
    return found + [each for key in keys for each in rules[key](attrs, kind)]


def _follows(attrs: dict[str, Any], key: str) -> bool:
    return any(name == key or name.startswith(f"{key}:") for name in attrs)


def _wrong_proj(attrs: dict[str, Any], kind: str) -> list[str]:
    told = [key for key in ("proj:code", "proj:wkt2", "proj:projjson") if key in attrs]
    found = [] if len(told) == 1 else [f"proj: has {told}"]  # v0.1: any, before: exactly one
    code, wkt = attrs.get("proj:code", "EPSG:1"), attrs.get("proj:wkt2", "")
    found += [] if re.fullmatch("[A-Z]+:[0-9]+", code) else ["proj:code"]  # v0.1: [^:]+:[^:]+
    return found + ([] if isinstance(wkt, str) else ["proj:wkt2"])


def _wrong_spatial(attrs: dict[str, Any], kind: str) -> list[str]:
    dims = attrs.get("spatial:dimensions")
    text = isinstance(dims, list) and len(dims) == 2 and all(isinstance(e, str) for e in dims)
    found = [] if text else ["spatial:dimensions"]
    found += _wrong_numbers(attrs)
    if attrs.get("spatial:registration", "pixel") not in ("node", "pixel"):
        found.append("spatial:registration")
    if not isinstance(attrs.get("spatial:transform_type", "affine"), str):
        found.append("spatial:transform_type")
    elsewhere = {"array": ("bbox",), "group": ("transform", "shape")}[kind]
    return found + [f"{kind} with {e}" for e in elsewhere if f"spatial:{e}" in attrs]


def _wrong_numbers(attrs: dict[str, Any]) -> list[str]:
    told = {key: attrs[key] for key in NUMBERS if key in attrs}
    found = [key for key, values in told.items() if not numbers(values, NUMBERS[key])]
    shape = told.get("spatial:shape", [1])
    whole = all(isinstance(each, int) and each >= 1 for each in shape)
    return found if whole else [*found, "spatial:shape"]


def numbers(values: Any, count: int | None = None) -> bool:
    """Whether JSON has a list of numbers here, of a certain length."""
    plain = isinstance(values, list) and not any(isinstance(each, bool) for each in values)
    return (
        plain
        and all(isinstance(each, int | float) for each in values)
        and (count in (None, len(values)))
    )


def _wrong_multiscales(attrs: dict[str, Any], kind: str) -> list[str]:
    told = attrs["multiscales"]
    found = [] if kind == "group" else ["multiscales of an array"]
    if not isinstance(told.get("resampling_method", ""), str):
        found.append("resampling_method")
    layout = told.get("layout")
    if not isinstance(layout, list) or not layout:
        return [*found, "layout"]
    return found + [each for entry in layout for each in _wrong_level(entry)]


def _wrong_level(entry: dict[str, Any]) -> list[str]:
    found = [] if "asset" in entry else ["no asset"]
    for key in ("asset", "derived_from"):
        if key in entry and not re.fullmatch(PATH, entry[key]):
            found.append(key)
    if "derived_from" in entry and "transform" not in entry:
        found.append("derived_from without transform")
    steps = entry.get("transform", {})
    found += [key for key in ("scale", "translation") if not numbers(steps.get(key, []))]
    found += [] if isinstance(entry.get("resampling_method", ""), str) else ["resampling_method"]
    found += [] if "spatial:transform" in entry else ["level without spatial:transform"]
    found += ["level with spatial:bbox"] if "spatial:bbox" in entry else []
    return found + _wrong_numbers(entry)


@pytest.mark.parametrize("names", ["compat", "v0.1"])
@pytest.mark.parametrize("grid", [HOUSTON, ODD, Grid(None, 0.0, 0.0, 1.0, 1.0, 5, 1)])
def test_every_node_is_valid_by_the_schemas(grid, names):
    found = convention_attrs(grid, levels=3, names=names)
    kinds = {"group": (found.root, *found.groups), "array": found.arrays}
    for kind, each in ((kind, each) for kind, nodes in kinds.items() for each in nodes):
        assert json.loads(json.dumps(each)) == each
        assert wrong_in({"zarr_format": 3, "node_type": kind, "attributes": each}) == []
        assert _follows(each, "spatial")
        assert _follows(each, "proj") == (grid.crs is not None)
        assert _follows(each, "multiscales") == (each is found.root)
        declared = [entry for entry in each["zarr_conventions"] if "schema_url" in entry]
        assert sum(_follows(each, key) for key in UUIDS) == len(
            declared
        )  # and what is not followed


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of three levels, as write_zarr leaves it, with nodata in one corner."""
    values = np.random.default_rng(0).random((2, *WRITTEN), dtype="float32")
    values[:, :2, :3] = np.nan
    scene = on_grid(values, spacing=2.0, top=2000.0, left=1000.0)
    scene = scene.rio.write_crs(UTM).assign_attrs(units="1")
    with dask.config.set(scheduler="synchronous"):
        return Path(write_zarr(scene, tmp_path_factory.mktemp("w") / "s.zarr", shard=256))


def nodes_of(store: Path) -> dict[str, Any]:
    """The metadata of every group and array."""
    return {
        str(path.parent.relative_to(store)): json.loads(path.read_text())
        for path in store.rglob("zarr.json")
    }


def test_every_node_of_a_written_store_is_valid_by_a_library_of_the_conventions(written):
    rooms = {"proj": zarr_cm.proj, "spatial": zarr_cm.spatial, "multiscales": zarr_cm.multiscales}
    checked = 0
    for node in nodes_of(written).values():
        for key in (key for key in rooms if _follows(node["attributes"], key)):
            kind = node["node_type"]
            getattr(rooms[key], f"validate_{kind}_metadata")(node)
            checked += 1
    assert checked == 2 * 9 + 1  # place and CRS of root, levels, quality and their arrays


def test_the_library_sees_what_the_conventions_forbid(written):
    node = nodes_of(written)["0/reflectance"]
    node["attributes"]["spatial:transform"] = [1.0] * 5
    with pytest.raises(ValueError, match="transform"):
        zarr_cm.spatial.validate_array_metadata(node)


def test_every_node_of_a_written_store_is_valid_by_the_schemas(written):
    nodes = nodes_of(written)
    for path, node in nodes.items():
        assert wrong_in(node) == [], path
    told = {path for path, node in nodes.items() if _follows(node["attributes"], "spatial")}
    levels = [path for level in range(3) for path in (str(level), f"{level}/reflectance")]
    assert told == {".", *levels, "quality", "quality/flags"}
    for entry in nodes["."]["attributes"]["multiscales"]["layout"]:
        here = nodes[f"{entry['asset']}/reflectance"]
        for key in ("spatial:shape", "spatial:transform"):
            assert here["attributes"][key] == entry[key]
        assert here["shape"][-2:] == entry["spatial:shape"]
        assert here["dimension_names"][-2:] == here["attributes"]["spatial:dimensions"]


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        ("group", {"zarr_conventions": []}, "spatial is not declared"),
        ("group", {"proj:wkt2": "GEOGCRS[...]"}, "proj: has ['proj:code', 'proj:wkt2']"),
        ("group", {"proj:code": "EPSG 32615"}, "proj:code"),
        ("group", {"spatial:transform": [1.0] * 6}, "group with transform"),
        ("group", {"spatial:bbox": [0.0, 1.0, True, 2.0]}, "spatial:bbox"),
        ("group", {"multiscales": {"layout": []}}, "layout"),
        ("group", {"multiscales": {"layout": [{"asset": "../0"}]}}, "asset"),
        ("group", {"multiscales": {"layout": [{"asset": "1", "derived_from": "0"}]}},
         "derived_from without transform"),
        ("array", {"spatial:dimensions": ["band", "y", "x"]}, "spatial:dimensions"),
        ("array", {"spatial:bbox": [0.0] * 4}, "array with bbox"),
        ("array", {"spatial:shape": [0, 3]}, "spatial:shape"),
        ("array", {"spatial:registration": "corner"}, "spatial:registration"),
    ],
)  # fmt: skip
def test_what_the_schemas_forbid_is_seen(kind, change, said):
    told = convention_attrs(ODD, levels=2)
    attrs = {**(told.root if kind == "group" else told.arrays[0]), **change}
    assert said in wrong_in({"zarr_format": 3, "node_type": kind, "attributes": attrs})


# ----------------------------------------------------------------------------- what they are told


def test_names_are_told_with_a_colon_too_where_readers_look_for_one():
    """rioxarray 0.22 and 0.23 ask whether any entry has the name "proj:", or "spatial:"."""
    declared = convention_attrs(ODD).root["zarr_conventions"]
    names = ["multiscales", "proj", "spatial"]
    assert [each["name"] for each in declared] == [*names, "proj:", "spatial:"]
    assert [each["uuid"] for each in declared[3:]] == [UUIDS["proj"], UUIDS["spatial"]]
    alone = convention_attrs(ODD, names="v0.1").root["zarr_conventions"]
    assert [each["name"] for each in alone] == names


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
    reason = "needs rioxarray 0.22, the first to read proj: and spatial:; and so Python 3.12"
    pytest.importorskip("rioxarray._convention.zarr", reason=reason)
    told = convention_attrs(ODD, levels=2)
    bare = store_of(tmp_path / "s.zarr", told, crs=None)
    found = xr.open_zarr(bare, group="1", consolidated=False).reflectance.drop_vars(["y", "x"])
    assert found.rio.crs.to_epsg() == 32615
    assert tuple(found.rio.transform())[:6] == (4, 0, 1000, 0, -4, 2000)


def test_rio_tiler_reads_place_overviews_and_nodata(store):
    with GroupReader(input=zarr.open_group(store, mode="r")) as source:
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


@pytest.mark.parametrize("level", [0, 1, 2])
def test_xarray_and_rioxarray_open_each_level_of_a_written_store(written, level):
    found = xr.open_zarr(written, group=str(level), decode_coords="all").reflectance
    step = 2.0 * 2**level
    assert found.rio.crs.to_epsg() == 32615
    assert tuple(found.rio.transform())[:6] == (step, 0, 1000, 0, -step, 2000)
    assert found.shape[1:] == tuple(-(-size // 2**level) for size in WRITTEN)
    assert found.rio.encoded_nodata == 65535
    np.testing.assert_allclose(found, open_scene(written, level=level), rtol=1e-6)


def test_rio_tiler_opens_a_written_store_with_its_overviews(written):
    with GroupReader(input=zarr.open_group(written, mode="r")) as source:
        assert source.crs.to_epsg() == 32615
        height, width = WRITTEN
        assert tuple(source.bounds) == (1000, 2000 - 2 * height, 1000 + 2 * width, 2000)
        overviews = source.get_group_metadata()["arrays"]["reflectance"]
        assert [(each["height"], each["width"]) for each in overviews] == list(levels(written))
        small = source.preview(variables="reflectance", max_size=275)
    assert small.crs.to_epsg() == 32615
    coarse = open_scene(written, level=2).to_numpy()
    codes = np.ma.filled(small.array, 65535)
    packing = zarr.open_array(written, path="2/reflectance", mode="r").attrs
    values = codes * packing["scale_factor"] + packing["add_offset"]
    np.testing.assert_allclose(np.where(codes == 65535, np.nan, values), coarse, rtol=1e-6)
