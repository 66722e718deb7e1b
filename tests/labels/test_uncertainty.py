"""The uncertainty of a lifted scene: lazy, on its grid, the same for any blocks."""

from __future__ import annotations

import dask
import numpy as np
import pytest
import xarray as xr
import zarr

import lift_xr
from lift_xr.models import Model


@pytest.fixture(scope="module")
def scene() -> lift_xr.synthetic.Scene:
    return lift_xr.synthetic.scene(shape=(160, 200), ratio=10)


@pytest.fixture(scope="module")
def model(scene: lift_xr.synthetic.Scene) -> Model:
    return lift_xr.fit(scene.hsi, scene.srf, method="linear", progress=False)


def test_it_lies_on_the_grid_of_the_mosaic(scene: lift_xr.synthetic.Scene, model: Model) -> None:
    told = lift_xr.uncertainty(model, scene.msi)
    fused = lift_xr.predict(model, scene.msi)
    assert told["expected_error"].dims == fused.dims
    xr.testing.assert_equal(told["expected_error"].coords.to_dataset(), fused.coords.to_dataset())
    assert told["distance"].dims == ("y", "x")
    assert told["expected_error"].attrs["units"] == fused.attrs["units"]
    assert told.rio.crs == scene.msi.rio.crs


def test_nothing_is_computed_until_asked(scene: lift_xr.synthetic.Scene, model: Model) -> None:
    with dask.config.set(scheduler=_refuse):
        told = lift_xr.uncertainty(model, scene.msi)
    assert all(dask.is_dask_collection(each) for each in told.data_vars.values())


def _refuse(*_: object, **__: object) -> None:
    raise AssertionError("something was computed")


def test_blocks_leave_no_seams(scene: lift_xr.synthetic.Scene, model: Model) -> None:
    whole = lift_xr.uncertainty(model, scene.msi.chunk(y=-1, x=-1)).compute()
    cut = lift_xr.uncertainty(model, scene.msi.chunk(y=37, x=51)).compute()
    xr.testing.assert_identical(whole, cut)


def test_a_mosaic_of_several_times_has_one_for_each(
    scene: lift_xr.synthetic.Scene, model: Model
) -> None:
    twice = xr.concat([scene.msi, scene.msi], "time")
    told = lift_xr.uncertainty(model, twice)
    one = lift_xr.uncertainty(model, scene.msi)
    assert told["expected_error"].dims == ("time", "band", "y", "x")
    np.testing.assert_array_equal(told["expected_error"][1], one["expected_error"])
    np.testing.assert_array_equal(told["extrapolated"][1], one["extrapolated"])


def test_foreign_colours_are_flagged_and_expected_to_err_more(
    scene: lift_xr.synthetic.Scene, model: Model
) -> None:
    msi = scene.msi.astype("float32").isel(y=slice(0, 8), x=slice(0, 8)).load() / 255
    model = lift_xr.fit(scene.hsi, scene.srf, method="linear", progress=False)
    strange = msi.copy()
    strange[0], strange[1], strange[2] = 0.9, 0.0, 0.9  # the magenta of no material
    strange.attrs["units"] = "1"
    told = lift_xr.uncertainty(model, strange)
    assert bool(told["extrapolated"].all())
    usual = lift_xr.uncertainty(model, scene.msi)
    assert float(told["expected_error"].mean()) > float(usual["expected_error"].mean())
    assert float(usual["extrapolated"].mean()) < 0.5


def test_the_interval_of_sin_holds_nine_errors_of_ten() -> None:
    scene = lift_xr.synthetic.scene(shape=(160, 160), ratio=8)
    model = lift_xr.fit(scene.hsi, scene.srf, msi=scene.msi, progress=False)
    half = lift_xr.uncertainty(model, scene.msi)["expected_error"]
    error = abs(lift_xr.predict(model, scene.msi) - scene.truth)
    assert 0.85 < float((error.data <= half.data).mean()) < 0.99  # a city of noiseless cells


def test_nodata_stays_nodata(scene: lift_xr.synthetic.Scene, model: Model) -> None:
    msi = lift_xr.io.expect_scene(scene.msi).where(scene.msi.y != scene.msi.y[3])
    told = lift_xr.uncertainty(model, msi)
    assert bool(told["expected_error"].isel(y=3).isnull().all())
    assert bool(told["distance"].isel(y=3).isnull().all())
    assert not bool(told["extrapolated"].isel(y=3).any())


def test_it_can_be_written_and_survives_the_models_file(
    scene: lift_xr.synthetic.Scene, model: Model, tmp_path: object
) -> None:
    model.save(f"{tmp_path}/m.lift")
    told = lift_xr.uncertainty(lift_xr.load_model(f"{tmp_path}/m.lift"), scene.msi)
    store = lift_xr.write_zarr(told["expected_error"], f"{tmp_path}/e.zarr", progress=False)
    read = lift_xr.open_scene(store)
    np.testing.assert_allclose(read, told["expected_error"], atol=1e-4)


def test_all_of_it_can_be_kept_block_by_block(
    scene: lift_xr.synthetic.Scene, model: Model, tmp_path: object
) -> None:
    told = lift_xr.uncertainty(model, scene.msi.chunk(y=64, x=64))
    later = told.to_zarr(f"{tmp_path}/told.zarr", consolidated=False, compute=False)
    assert dask.is_dask_collection(later)
    later.compute()
    read = xr.open_zarr(f"{tmp_path}/told.zarr", decode_coords="all", consolidated=False)
    xr.testing.assert_equal(read, told)
    assert read["extrapolated"].dtype == bool
    assert read["distance"].chunks == told["distance"].chunks
    assert read.rio.crs == scene.msi.rio.crs


def test_errors_are_not_flagged_for_lying_outside_the_range_of_the_values(
    scene: lift_xr.synthetic.Scene, model: Model, tmp_path: object
) -> None:
    error = lift_xr.uncertainty(model, scene.msi)["expected_error"]
    assert bool((error < model.arrays["range"][0]).any())
    lift_xr.write_zarr(error, f"{tmp_path}/e.zarr", dtype="float32", progress=False)
    assert not zarr.open_array(f"{tmp_path}/e.zarr/quality/flags", mode="r")[:].any()


def test_one_layer_at_a_time_is_written_as_a_scene(
    scene: lift_xr.synthetic.Scene, model: Model, tmp_path: object
) -> None:
    told = lift_xr.uncertainty(model, scene.msi)
    with pytest.raises(lift_xr.LayoutError, match=r"fused\.to_zarr\(store\) for all of them, or"):
        lift_xr.write_zarr(told, f"{tmp_path}/told.zarr")
    error = lift_xr.write_zarr(
        told["expected_error"], f"{tmp_path}/e.zarr", dtype="float32", progress=False
    )
    np.testing.assert_array_equal(lift_xr.open_scene(error), told["expected_error"])
    with pytest.raises(lift_xr.SpectralError, match=r"Use fused\.astype\('float32'\)"):
        lift_xr.write_zarr(told["extrapolated"], f"{tmp_path}/f.zarr")
    flags = told["extrapolated"].astype("float32")
    flags = lift_xr.write_zarr(flags, f"{tmp_path}/f.zarr", dtype="float32", progress=False)
    np.testing.assert_array_equal(lift_xr.open_scene(flags)[0], told["extrapolated"])


def test_models_without_measured_errors_are_refused(
    scene: lift_xr.synthetic.Scene, model: Model
) -> None:
    arrays = {name: each for name, each in model.arrays.items() if not name.startswith("trust.")}
    with pytest.raises(ValueError, match="does not say what errors to expect"):
        lift_xr.uncertainty(Model(arrays, model.about), scene.msi)
