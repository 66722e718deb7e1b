"""Maps of endmembers in stores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
import zarr

import lift_xr
from lift_xr.errors import LayoutError
from lift_xr.io import export
from lift_xr.unmix import as_maps, as_scene
from tests.mixtures import fitted, given, pair
from tests.scenes import on_grid


def unlike_the_cube() -> xr.DataArray:
    """A mosaic whose brighter pixels no cell of the cube comes near."""
    msi = pair()[1]
    return msi.where(msi["x"] < 16, 4 * msi - 1).assign_attrs(units="1")


@pytest.mark.parametrize("msi_bands", [3, 1])
def test_maps_come_back_from_a_store(msi_bands: int, tmp_path: Path) -> None:
    maps = lift_xr.unmix(fitted(msi_bands), pair(msi_bands)[1], **given(msi_bands))
    lift_xr.write_zarr(maps, tmp_path / "maps.zarr", progress=False)
    back = as_maps(lift_xr.open_scene(tmp_path / "maps.zarr"))
    np.testing.assert_array_equal(back["abundances"], maps["abundances"])
    np.testing.assert_allclose(back["endmembers"], maps["endmembers"])
    msi = pair()[1]
    assert as_scene(msi) is msi


def test_some_maps_of_a_store_come_back_with_their_own_spectra(tmp_path: Path) -> None:
    maps = lift_xr.unmix(fitted(), pair()[1])
    lift_xr.write_zarr(maps, tmp_path / "maps.zarr", progress=False)
    scene = lift_xr.open_scene(tmp_path / "maps.zarr")
    some = as_maps(scene.isel(band=[2, 0]))
    assert some["endmember"].to_numpy().tolist() == [3, 1]
    np.testing.assert_allclose(some["endmembers"], maps["endmembers"][[2, 0]])
    with pytest.raises(ValueError, match=r"no dimension band; expected some of its endmembers"):
        as_maps(scene.isel(band=0))


def test_abundances_without_their_spectra_are_refused(tmp_path: Path) -> None:
    maps = lift_xr.unmix(fitted(), pair()[1])
    with pytest.raises(LayoutError, match=r"Use maps in place of maps\['abundances'\]"):
        lift_xr.write_zarr(maps["abundances"], tmp_path / "maps.zarr", progress=False)
    assert not [*tmp_path.iterdir()]


def test_maps_are_exported_as_unmix_returns_them(tmp_path: Path) -> None:
    maps = lift_xr.unmix(fitted(), pair()[1])
    back = lift_xr.open_scene(export(maps, tmp_path / "maps.tif", progress=False))
    assert back.attrs["units"] == "fraction"
    with rasterio.open(tmp_path / "maps.tif") as written:
        assert written.descriptions == ("endmember 1", "endmember 2", "endmember 3")
        assert written.tags()["long_name"] == "abundance of an endmember"
    np.testing.assert_array_equal(back, maps["abundances"])


@pytest.mark.parametrize("constraint", ["none", "non-negative"])
def test_maps_outside_zero_to_one_are_not_clipped_by_default(
    constraint: str, tmp_path: Path
) -> None:
    maps = lift_xr.unmix(fitted(constraint=constraint), unlike_the_cube())
    shares = maps["abundances"].compute()
    assert float(shares.max()) > 1.5
    assert float(shares.min()) < -0.5 or constraint == "non-negative"
    lift_xr.write_zarr(maps, tmp_path / "maps.zarr", progress=False)
    back = lift_xr.open_scene(tmp_path / "maps.zarr")
    np.testing.assert_array_equal(back, shares)


def test_maps_that_sum_to_one_are_packed_in_just_their_range(tmp_path: Path) -> None:
    maps = lift_xr.unmix(fitted(constraint="sum-to-one"), unlike_the_cube())
    lift_xr.write_zarr(maps, tmp_path / "maps.zarr", progress=False)
    stored = zarr.open_array(tmp_path / "maps.zarr", path="0/abundance", mode="r")
    assert stored.dtype == np.uint16
    back = lift_xr.open_scene(tmp_path / "maps.zarr")
    np.testing.assert_allclose(back, maps["abundances"], atol=0.51 / 65534)
    assert lift_xr.status(tmp_path / "maps.zarr").clipped == 0


def test_maps_are_called_abundance_in_every_level_and_verified(tmp_path: Path) -> None:
    store = tmp_path / "maps.zarr"
    msi = pair()[1]
    wide = on_grid(np.tile(msi.to_numpy(), (1, 1, 20))).assign_attrs(units="1")
    maps = lift_xr.unmix(fitted(), wide)
    lift_xr.write_zarr(maps, store, shard=160, progress=False)
    root = zarr.open_group(store, mode="r")
    assert {level: [*root[level].array_keys()] for level in ("0", "1")} == {
        level: ["abundance", "band", "x", "y"] for level in ("0", "1")
    }
    assert lift_xr.open_scene(store).name == "abundance"
    assert lift_xr.open_scene(store, variable="abundance", level=1).name == "abundance"
    assert lift_xr.verify(store, shards="all").ok
    lift_xr.write_zarr(maps, store, shard=160, resume=True, progress=False)  # nothing left to do


def fused(msi_bands: int, where: Path) -> xr.DataArray:
    """What a model lifts of scenes that lie on disk."""
    for name, each in zip(("hsi", "msi"), pair(msi_bands), strict=False):
        lift_xr.write_zarr(each, where / f"{name}.zarr", dtype="float32", shard=16, progress=False)
    hsi, msi = (lift_xr.open_scene(where / f"{name}.zarr") for name in ("hsi", "msi"))
    return lift_xr.predict(fitted(msi_bands), msi, hsi=hsi)


@pytest.mark.parametrize("msi_bands", [3, 1])
def test_a_recipe_of_mixtures_lifts_what_predict_gives(msi_bands: int, tmp_path: Path) -> None:
    whole = fused(msi_bands, tmp_path)
    lift_xr.write_zarr(whole, tmp_path / "r.zarr", kind="recipe", shard=16, progress=False)
    opened = lift_xr.open_scene(tmp_path / "r.zarr")
    np.testing.assert_array_equal(opened, whole)
    assert lift_xr.verify(tmp_path / "r.zarr", shards="all").ok


@pytest.mark.parametrize("msi_bands", [3, 1])
def test_mixtures_are_planned_resumed_and_verified(msi_bands: int, tmp_path: Path) -> None:
    whole = fused(msi_bands, tmp_path)
    scenes = {name: lift_xr.open_scene(tmp_path / f"{name}.zarr") for name in ("hsi", "msi")}
    planned = lift_xr.plan(scenes["msi"], fitted(msi_bands), hsi=scenes["hsi"], shard=16)
    assert planned.layout.shape == whole.shape
    store = tmp_path / "fused.zarr"
    lift_xr.write_zarr(whole, store, shard=16, part=(1, 2), progress=False)
    assert not lift_xr.status(store).complete
    lift_xr.write_zarr(whole, store, shard=16, resume=True, progress=False)
    found = lift_xr.verify(store, shards="all", **scenes)
    assert found.ok, str(found)
    assert lift_xr.load_model(store).digest == fitted(msi_bands).digest
