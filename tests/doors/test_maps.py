"""Maps of endmembers in stores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

import lift_xr
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
