"""The command line does what the library does, and ends as a person expects."""

from __future__ import annotations

import errno
import importlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import rasterio
import xarray as xr
import zarr
from click.testing import CliRunner, Result
from rasterio.enums import ColorInterp

import lift_xr
from lift_xr import psf, synthetic
from lift_xr.cli import exits, main
from lift_xr.degrade import FWHM
from lift_xr.io import open_scene, write_zarr
from lift_xr.io.engines import ClusterGone
from lift_xr.models import load_model
from tests.clusters import two_workers
from tests.labels.test_both import KERNEL, RATIO, pair
from tests.processes import another, be_script, run_script

Files = dict[str, str]
FUSE = importlib.import_module("lift_xr.fuse")  # `lift_xr.fuse` is the function


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A generated pair on disk."""
    folder = tmp_path_factory.mktemp("pair")
    scene = synthetic.scene((160, 160), ratio=20, bands=20, spacing=1.0)
    write_zarr(scene.hsi, folder / "hsi.zarr", progress=False)
    camera = scene.msi.drop_attrs(deep=False).assign_attrs(scale_factor=1 / 255)
    camera.rio.to_raster(folder / "msi.tif")
    return {name: str(folder / name) for name in ("hsi.zarr", "msi.tif")}


BOTH = ("b", "--consistency", "both")
RECIPE = ["--out", "f", "--kind", "recipe"]


def run(*arguments: object) -> Result:
    """Run ``lift-xr`` in this process."""
    return CliRunner().invoke(main, [str(each) for each in arguments])


def fuse(files: Files, *options: object) -> Result:
    """Fuse the pair, in the quickest way unless told otherwise."""
    pair = files["hsi.zarr"], files["msi.tif"]
    return run("fuse", *pair, "--srf", "rgb-camera", "--method", "linear", *options)


def test_fuse_writes_what_the_library_computes(files: Files, tmp_path: Path) -> None:
    result = fuse(files, "--out", tmp_path / "fused.zarr", "--dtype", "float32")
    assert result.exit_code == 0, result.output
    hsi, msi = open_scene(files["hsi.zarr"]), open_scene(files["msi.tif"])
    expected = lift_xr.fuse(hsi, msi, "rgb-camera", method="linear")
    found = open_scene(tmp_path / "fused.zarr")
    np.testing.assert_array_equal(found, expected)
    assert found.attrs["lift_xr_seed"] == 0
    assert f"wrote {tmp_path / 'fused.zarr'}" in result.output


def test_a_saved_model_gives_the_same_result_without_the_cube(files: Files, tmp_path: Path) -> None:
    fuse(files, "--out", tmp_path / "one.zarr", "--save-model", tmp_path / "linear.lift")
    again = run(
        *("fuse", files["msi.tif"], "--model", tmp_path / "linear.lift"),
        *("--out", tmp_path / "two.zarr"),
    )
    assert again.exit_code == 0, again.output
    one, two = (open_scene(tmp_path / name) for name in ("one.zarr", "two.zarr"))
    xr.testing.assert_identical(one, two)


def test_fit_saves_a_model(files: Files, tmp_path: Path) -> None:
    result = run(
        *("fit", files["hsi.zarr"], "--srf", "rgb-camera", "--method", "linear"),
        *("--seed", 3, "--out", tmp_path / "linear.lift"),
    )
    assert result.exit_code == 0, result.output
    model = load_model(tmp_path / "linear.lift")
    assert model.about["seed"] == 3
    assert model.digest[:12] in result.output


@pytest.fixture(scope="module")
def blurred(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """A pair on disk whose point spread is known: Gaussian, of 2 pixels."""
    folder = tmp_path_factory.mktemp("blurred")
    for name, image in zip(("hsi", "msi"), pair(), strict=True):
        write_zarr(image, folder / f"{name}.zarr", dtype="float32", progress=False)
    return str(folder / "hsi.zarr"), "--msi", str(folder / "msi.zarr")


@pytest.mark.parametrize("reach", [(), ("--half-width", 4)])
def test_the_point_spread_can_be_given_by_name(
    blurred: tuple[str, ...], tmp_path: Path, reach: tuple[Any, ...]
) -> None:
    asked = ("--method", "linear", "--consistency", "both", "--psf", "gaussian", "--sigma", 2)
    result = run("fit", *blurred, *asked, *reach, "--out", tmp_path / "both.lift")
    assert result.exit_code == 0, result.output
    model = load_model(tmp_path / "both.lift")
    assert model.about["agreement"]["form"] == "given"
    hsi, _, msi = blurred
    kernel = psf.kernel("gaussian", sigma=2, half_width=4) if reach else KERNEL
    expected = lift_xr.fit(
        open_scene(hsi), msi=open_scene(msi), method="linear", consistency="both", psf=kernel
    )
    for name, array in expected.arrays.items():
        np.testing.assert_array_equal(model.arrays[name], array)


@pytest.mark.filterwarnings("always:.* became 'msi':UserWarning")
def test_a_point_spread_that_the_pair_contradicts_is_as_wide_as_a_cell_by_default(
    blurred: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, fit = [], FUSE.fit
    monkeypatch.setattr(
        FUSE, "fit", lambda *given, **more: seen.append(more) or fit(*given, **more)
    )
    asked = ("--method", "linear", "--consistency", "both", "--psf", "airy")
    result = run("fit", *blurred, *asked, "--out", tmp_path / "msi.lift")
    assert result.exit_code == 0, result.output
    expected = psf.kernel("airy", sigma=RATIO / FWHM, half_width=6)
    np.testing.assert_allclose(seen[0]["psf"], expected)
    assert "and that the point spread, --psf, is right" in result.stderr


def test_agreement_with_the_cube_needs_the_mosaic(blurred: tuple[str, ...], tmp_path: Path) -> None:
    asked = ("--srf", "ikonos:red", "--consistency", "both", "--psf", "airy")
    result = run("fit", blurred[0], *asked, "--out", tmp_path / "m.lift")
    assert result.exit_code == 2, result.output
    assert "Give --msi MOSAIC, or --consistency msi" in result.stderr


def test_without_a_response_it_is_estimated_and_said(files: Files, tmp_path: Path) -> None:
    pair = files["hsi.zarr"], files["msi.tif"]
    result = run("fuse", *pair, "--method", "linear", "--out", tmp_path / "fused.zarr")
    assert result.exit_code == 0, result.output
    assert "no --srf: estimating the response from the two scenes" in result.output


def test_quiet_says_nothing(files: Files, tmp_path: Path) -> None:
    assert fuse(files, "--out", tmp_path / "fused.zarr", "--quiet").output == ""


def test_a_scheduler_does_the_work(files: Files, tmp_path: Path) -> None:
    with two_workers() as client:
        address = client.scheduler.address
        result = fuse(files, "--out", tmp_path / "fused.zarr", "--scheduler", address)
        assert result.exit_code == 0, result.output
    fuse(files, "--out", tmp_path / "here.zarr")
    there, here = (open_scene(tmp_path / name) for name in ("fused.zarr", "here.zarr"))
    np.testing.assert_array_equal(there, here)


def test_info_describes_scenes_stores_and_models(files: Files, tmp_path: Path) -> None:
    fuse(files, "--out", tmp_path / "fused.zarr", "--save-model", tmp_path / "linear.lift")
    result = run("info", files["msi.tif"], tmp_path / "fused.zarr", tmp_path / "linear.lift")
    assert result.exit_code == 0, result.output
    for told in (
        "EPSG:32615",
        "band 20, y 160, x 160",
        "uint8, scale 0.003922",
        "nodata 65535",
        "method linear",
        "takes        3 bands",
    ):
        assert told in result.output


def test_info_needs_units_where_the_file_has_none(tmp_path: Path) -> None:
    bare = xr.DataArray(
        np.ones((2, 4, 4), "float32"),
        dims=("band", "y", "x"),
        coords={"y": np.arange(4.0), "x": np.arange(4.0), "wavelength": ("band", [500.0, 600.0])},
        name="reflectance",
    )
    bare.to_zarr(tmp_path / "bare.zarr", consolidated=False)
    refused = run("info", tmp_path / "bare.zarr")
    told = run("info", tmp_path / "bare.zarr", "--wavelength-units", "nm")
    assert refused.exit_code == 2
    assert "have no units; expected nm, um or m" in refused.stderr
    assert "500 to 600 nm" in told.output


def test_every_scene_of_a_run_may_need_units(files: Files, model: Path, tmp_path: Path) -> None:
    bare, fused = tmp_path / "bare.zarr", tmp_path / "fused.zarr"
    mosaic = open_scene(files["msi.tif"]).assign_coords(wavelength=("band", [0.61, 0.54, 0.46]))
    mosaic.drop_encoding().to_dataset(name="msi").to_zarr(bare, consolidated=False)
    units = ("--wavelength-units", "um")
    lift = ("fuse", bare, "--model", model, "--out", fused)
    refused, told = run(*lift), run(*lift, *units)
    assert "Use --wavelength-units nm if they are in nm" in refused.stderr
    assert told.exit_code == 0, told.output
    exported = run("export", bare, tmp_path / "red.tif", "--bands", 610.0, *units)
    assert exported.exit_code == 0, exported.output
    scored = run("score", bare, bare, "--ratio", 20, *units)
    assert scored.exit_code == 0, scored.output
    verified = run("verify", fused, "--msi", bare, *units)
    assert verified.exit_code == 0, verified.output


def test_info_lists_sensors_and_the_bands_of_one() -> None:
    listed, one = run("info", "--sensors"), run("info", "--srf", "ikonos")
    assert "sentinel-2a" in listed.output
    assert "445.0" in one.output
    assert "IKONOS Imagery Products Guide" in one.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info"], "give a PATH, --sensors or --srf"),
        (["info", "nowhere.zarr"], "FileNotFoundError: nowhere.zarr does not exist"),
        (["info", "--srf", "ikons"], "SpectralError: 'ikons' is not a sensor"),
        (["fuse", "msi.tif", "--out", "f.zarr"], "expected HSI and MSI, got 1"),
        (["fuse", "--model", "m.lift", "--out", "f.zarr"], "expected MSI, got 0"),
        (["fuse", "a", "--model", "m", "--seed", "1", "--out", "f"], "--seed: settled by --model"),
        (["fit", "hsi.zarr", "--out", "m.lift"], "give --srf NAME_OR_CSV, or --msi"),
        (["fit", "hsi.zarr", "--srf", "rgb", "--out", "no/m.lift"], "there is no folder no"),
        (["status", "."], "Look at it with lift-xr info STORE"),
        (["demo", "--size", "333"], "GridError: shape is (333, 333) pixels"),
        (["demo", "--size", "20"], "20 is not in the range x>=320"),
        (["demo", "--seed", "-1"], "-1 is not in the range 0<=x<=4294967295"),
        (["fit", "h", "--srf", "rgb", "--seed", "-1", "--out", "m"], "-1 is not in the range"),
        (["fuse", "a", "b", "--seed", str(2**32), "--out", "f"], "is not in the range"),
        (["fuse", "a", "--model", ".", "--out", "f"], "--out f is, holds or lies in ., which"),
        (["fuse", "a", "b", "--alpha", "no", "--out", "f"], "'no' is not one of"),
        (["fuse", "a", "b", "--out", "f", "--method", "best"], "'best' is not one of"),
        (["fuse", "a", "b", "--psf", "airy", "--out", "f"], "--psf is for --consistency both, not"),
        (["fit", "h", "--srf", "rgb", "--sigma", "2", "--out", "m"], "--sigma is for --consis"),
        (["fuse", "a", *BOTH, "--sigma", "2", "--out", "f"], "--sigma is the width of --psf"),
        (["fit", "h", "--srf", "rgb", "--alpha", "keep", "--out", "m"], "--alpha needs --msi"),
        (["fit", "h", "--srf", "rgb", "--msi-bands", "1", "--out", "m"], "--msi-bands needs --msi"),
        (["verify", "s", "--msi-bands", "1"], "--msi-bands needs --msi MSI, and would be ignored"),
        (["verify", "s", "--wavelength-units", "um"], "--wavelength-units needs --msi MSI or"),
        (["fuse", "a", "b", *RECIPE, "--dtype", "float32"], "--dtype needs --kind cube"),
        (["fuse", "a", "b", "--out", "f", "--msi", "address"], "--msi needs --kind recipe"),
        (["fuse", "a", "b", "--out", "f", "--scale-factor", "1e39"], "steps of it within float32"),
        (["fuse", "a", *BOTH, "--half-width", "2", "--out", "f"], "--half-width is the width of"),
        (["fuse", "a", *BOTH, "--psf", "delta", "--sigma", "2", "--out", "f"], "delta has none"),
        (["fuse", "a", "--model", "m", "--psf", "airy", "--out", "f"], "--psf: settled by --model"),
    ],
)
def test_a_mistake_is_told_in_a_line_and_exits_with_2(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


def test_an_existing_store_is_found_before_the_training(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fuse(files, "--out", tmp_path / "fused.zarr")
    monkeypatch.setattr(FUSE, "fit", _never)
    result = fuse(files, "--out", tmp_path / "fused.zarr")
    assert result.exit_code == 2
    assert "already exists" in result.stderr
    assert "pass --overwrite to replace it" in result.stderr


@pytest.mark.filterwarnings("always:.*clipped:UserWarning")
def test_values_beyond_the_codes_are_told_with_the_options_that_hold_them(
    files: Files, model: Path, tmp_path: Path
) -> None:
    store = tmp_path / "fused.zarr"
    lift = ("fuse", files["msi.tif"], "--model", model, "--out", store, "--shard", 80)
    narrow = ("--scale-factor", 1e-6, "--add-offset", 0.1)
    clipped = run(*lift, *narrow)
    assert clipped.exit_code == 0, clipped.output
    assert "values lay outside 0.1 to 0.165534" in clipped.stderr
    advice = "a larger --scale-factor, a lower --add-offset, or --dtype float32"
    assert f"Write it again with --overwrite and {advice}" in clipped.stderr
    wide = ("--scale-factor", 2e-5, "--add-offset", -0.1)
    begun = run(*lift, *wide, "--overwrite")
    assert begun.exit_code == 0, begun.output
    assert "clipped" not in begun.stderr
    array = zarr.open_group(store, mode="r")["0/reflectance"]
    assert (array.attrs["scale_factor"], round(array.attrs["add_offset"], 6)) == (2e-5, -0.1)
    assert run(*lift, *wide, "--resume").exit_code == 0
    other = run(*lift, "--resume")
    assert other.exit_code == 2
    assert "scale_factor is 0.0001 and was 2e-05" in other.stderr
    assert "add_offset is 0.0 and was -0.1" in other.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--dtype", "float32", "--add-offset", 0],
            "--scale-factor or --add-offset is given with --dtype float32; expected neither",
        ),
        (["--scale-factor", 0], "Use --scale-factor 0.0001 for reflectance"),
        (["--kind", "recipe", "--scale-factor", 1], "--scale-factor needs --kind cube"),
    ],
)
def test_a_packing_that_cannot_be_is_refused_before_the_training(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list, message: str
) -> None:
    monkeypatch.setattr(FUSE, "fit", _never)
    refused = fuse(files, "--out", tmp_path / "fused.zarr", *options)
    assert refused.exit_code == 2
    assert message in refused.stderr
    assert not (tmp_path / "fused.zarr").exists()


def test_overwrite_replaces_a_store(files: Files, tmp_path: Path) -> None:
    fuse(files, "--out", tmp_path / "fused.zarr")
    assert fuse(files, "--out", tmp_path / "fused.zarr", "--overwrite").exit_code == 0


@pytest.fixture(scope="module")
def model(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained model on disk."""
    path = tmp_path_factory.mktemp("model") / "linear.lift"
    pair = files["hsi.zarr"], "--msi", files["msi.tif"]
    run("fit", *pair, "--srf", "rgb-camera", "--method", "linear", "--out", path)
    return path


def test_a_run_that_failed_exits_with_3_and_is_resumed(
    files: Files, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "fused.zarr"
    lift = ("fuse", files["msi.tif"], "--model", model, "--out", store, "--shard", 64)
    monkeypatch.setattr("lift_xr.io.compute.BACKOFF", 0.001)
    with monkeypatch.context() as broken:
        broken.setattr("lift_xr.io.shards.halve", _never)
        broken.setattr("lift_xr.io.shards.encode_block", _never)
        failed = run(*lift)
    assert failed.exit_code == 3
    assert "lift-xr: failed: 9 shards of" in failed.stderr
    assert "Try these again: run the same command with --resume" in failed.stderr
    told = run("status", store)
    assert told.exit_code == 0, told.output
    assert "not complete" in told.output
    assert "0 of 9 done, 9 failing, 0 left" in told.output
    assert told.output.count("level 0 (0, ") == 9
    resumed = run(*lift, "--resume")
    assert resumed.exit_code == 0, resumed.output
    assert "9 of 9 done, 0 left" in run("status", store).output


def test_parts_write_one_store_between_them(files: Files, model: Path, tmp_path: Path) -> None:
    store = tmp_path / "fused.zarr"
    lift = ("fuse", files["msi.tif"], "--model", model, "--out", store, "--shard", 64, "--part")
    first, second = run(*lift, "1/2"), run(*lift, "2/2")
    assert "this part of" in first.output
    assert "lift-xr status" in first.output
    assert f"wrote {store}" in second.output
    assert open_scene(store).sizes["band"] == 20


def test_the_errors_to_expect_are_a_store_of_their_own(
    files: Files, model: Path, tmp_path: Path
) -> None:
    store, errors = tmp_path / "fused.zarr", tmp_path / "errors.zarr"
    lift = ("fuse", files["msi.tif"], "--model", model, "--out", store, "--uncertainty", errors)
    for part in ("1/2", "2/2"):
        found = run(*lift, "--shard", 64, "--part", part)
        assert found.exit_code == 0, found.output
    told = lift_xr.uncertainty(lift_xr.load_model(model), open_scene(files["msi.tif"]))
    written = open_scene(errors)
    assert written.name == "expected_error"
    np.testing.assert_array_equal(written, told["expected_error"])
    assert run("verify", errors, "--shards", "all").exit_code == 0
    refused = run("verify", errors, "--msi", files["msi.tif"])
    assert refused.exit_code == 2
    assert "the store holds expected errors, which are not lifted again" in refused.stderr
    again = run(*lift, "--shard", 64)
    assert again.exit_code == 2
    assert run(*lift, "--shard", 64, "--resume").exit_code == 0
    same = run(*lift[:-1], store, "--overwrite")
    assert "--uncertainty" in same.stderr
    assert same.exit_code == 2


@pytest.mark.filterwarnings("always:.* lacks 1 of the files:UserWarning")
def test_a_part_that_leaves_shards_of_others_lost_exits_with_3_and_names_them(
    files: Files, model: Path, tmp_path: Path
) -> None:
    store = tmp_path / "fused.zarr"
    lift = ("fuse", files["msi.tif"], "--model", model, "--out", store, "--shard", 64, "--part")
    assert run(*lift, "1/3").exit_code == 0
    (store / "0/reflectance/c/0/1/0").unlink()
    found = run(*lift, "2/3")
    assert found.exit_code == 3, found.output
    assert "lift-xr: warning: " in found.stderr
    assert "lift-xr: failed: this part of" in found.stderr
    assert "1 shards of other parts, whose files were lost" in found.stderr
    assert "run again with --part 1/3" in found.stderr
    assert run(*lift, "1/3").exit_code == 0
    last = run(*lift, "3/3")
    assert last.exit_code == 0, last.output
    assert f"wrote {store}" in last.output


@pytest.mark.parametrize("part", ["0/0", "3/2", "2", "a/b"])
def test_parts_are_counted_from_one(files: Files, model: Path, part: str, tmp_path: Path) -> None:
    lift = ("fuse", files["msi.tif"], "--model", model, "--out", tmp_path / "s.zarr")
    result = run(*lift, "--part", part)
    assert result.exit_code == 2
    assert "is not i/n with i from 1 to n" in result.stderr


def test_a_part_does_not_overwrite(files: Files, model: Path, tmp_path: Path) -> None:
    store = tmp_path / "fused.zarr"
    lift = ("fuse", files["msi.tif"], "--model", model, "--out", store, "--shard", 64)
    assert run(*lift, "--part", "1/2").exit_code == 0
    before = {each: each.read_bytes() for each in store.rglob("*") if each.is_file()}
    for part in ("0/2", "2/2"):
        result = run(*lift, "--part", part, "--overwrite")
        assert result.exit_code == 2
        assert "a part that comes late would remove what the others wrote" in result.stderr
        assert "Remove STORE first" in result.stderr
    assert {each: each.read_bytes() for each in store.rglob("*") if each.is_file()} == before


def test_a_store_is_begun_and_then_its_parts_know_what_to_do(files: Files, tmp_path: Path) -> None:
    store = tmp_path / "fused.zarr"
    alone = ("fuse", files["msi.tif"], "--out", store, "--shard", 64, "--part")
    early = run(*alone, "1/2")
    assert early.exit_code == 2
    assert f"{store} is not begun" in early.stderr
    assert "--part 0/2" in early.stderr
    assert not store.exists()
    begun = fuse(files, "--out", store, "--shard", 64, "--part", "0/2")
    assert begun.exit_code == 0, begun.output
    assert "I from 1 to 2" in begun.output
    again = fuse(files, "--out", store, "--shard", 64, "--part", "0/2")
    assert again.exit_code == 0, again.output
    first, second = run(*alone, "1/2"), run(*alone, "2/2")
    assert "this part of" in first.output
    assert f"wrote {store}" in second.output


def test_a_part_needs_a_model(files: Files, tmp_path: Path) -> None:
    result = fuse(files, "--out", tmp_path / "fused.zarr", "--part", "1/2")
    assert result.exit_code == 2
    assert "fused.zarr is not begun, or without a model in it" in result.stderr
    assert "with HSI, MSI and --part 0/2; or train with `lift-xr fit`" in result.stderr


def test_a_model_is_not_replaced_by_accident(files: Files, model: Path, tmp_path: Path) -> None:
    taken = Path(shutil.copy(model, tmp_path))
    lift = ("fit", files["hsi.zarr"], "--srf", "rgb-camera", "--method", "linear", "--out", taken)
    result = run(*lift)
    assert result.exit_code == 2
    assert f"{taken} already exists. Pass --overwrite" in result.stderr
    assert run(*lift, "--overwrite").exit_code == 0


def test_a_run_that_goes_on_keeps_the_model_it_has_saved(files: Files, tmp_path: Path) -> None:
    kept, out = tmp_path / "linear.lift", tmp_path / "f.zarr"
    asked = ("--out", out, "--save-model", kept, "--resume")
    assert fuse(files, *asked).exit_code == 0
    before = kept.read_bytes()
    again = fuse(files, *asked)
    assert again.exit_code == 0, again.output
    assert kept.read_bytes() == before
    other = tmp_path / "other.lift"
    train = ("fit", files["hsi.zarr"], "--srf", "rgb-camera", "--seed", 7, "--out", other)
    assert run(*train, "--method", "linear").exit_code == 0
    refused = fuse(files, "--out", out, "--save-model", other, "--resume")
    assert refused.exit_code == 2
    assert f"{other} holds another model than the one of {out}" in refused.stderr
    assert "--overwrite" not in refused.stderr


def test_threads_are_what_dask_was_told_where_nothing_else_is(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def look(fused: xr.DataArray, out: str, **settings: object) -> object:
        seen.append(dask.config.get("num_workers", None))
        return write_zarr(fused, out, **settings)

    monkeypatch.setattr(lift_xr.io, "write_zarr", look)
    with dask.config.set(num_workers=3):
        assert fuse(files, "--out", tmp_path / "told.zarr").exit_code == 0
        assert fuse(files, "--out", tmp_path / "given.zarr", "--threads", 1).exit_code == 0
    assert seen == [3, 1]


def test_a_cluster_that_is_gone_is_an_interruption(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(*_: object, **__: object) -> None:
        raise ClusterGone("it is gone; finish with write_zarr(fused, store, resume=True)")

    monkeypatch.setattr(lift_xr.io, "write_zarr", lose)
    gone = fuse(files, "--out", tmp_path / "f.zarr")
    assert gone.exit_code == 75
    assert "interrupted: it is gone; finish with lift-xr fuse ... --resume" in gone.stderr


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, 3), (errno.EIO, 1)])
def test_a_disk_that_is_full_between_the_shards_is_told_with_the_remedy(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    def fill(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "f.zarr/zarr.json")

    monkeypatch.setattr(lift_xr.io, "write_zarr", fill)
    full = fuse(files, "--out", tmp_path / "f.zarr")
    assert full.exit_code == code
    if code == 3:
        assert "No space left on device: 'f.zarr/zarr.json'. What is written stays" in full.stderr


def test_a_damaged_root_of_a_store_to_resume_is_told_with_the_remedy(
    files: Files, tmp_path: Path
) -> None:
    out = tmp_path / "f.zarr"
    assert fuse(files, "--out", out).exit_code == 0
    (out / "zarr.json").write_text("{")
    for said in (
        run("fuse", files["msi.tif"], "--out", out, "--resume"),
        fuse(files, "--out", out, "--resume"),
        run("status", out),
    ):
        assert said.exit_code == 2, said.output
        assert "with lift-xr verify STORE --repair, then resume" in said.stderr


@pytest.mark.parametrize("name", ["photo.tif", "broken.lift", "folder.lift"])
@pytest.mark.parametrize("verb", ["fit", "fuse"])
def test_what_is_no_model_is_never_replaced_by_one(
    files: Files, tmp_path: Path, verb: str, name: str
) -> None:
    taken = tmp_path / name
    if name.startswith("folder"):
        taken.mkdir()
    else:
        taken.write_bytes(b"mine")
    result = (
        run("fit", files["hsi.zarr"], "--srf", "rgb-camera", "--out", taken, "--overwrite")
        if verb == "fit"
        else fuse(files, "--out", tmp_path / "f.zarr", "--save-model", taken, "--overwrite")
    )
    assert result.exit_code == 2
    assert f"{taken} exists and is not a model" in result.stderr
    assert taken.is_dir() or taken.read_bytes() == b"mine"
    assert [each.name for each in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    "command",
    [
        "fuse h.zarr m.tif --srf rgb-camera --out h.zarr",
        "fuse h.zarr m.tif --srf rgb-camera --out ./other/../h.zarr/",
        "fuse h.zarr m.tif --srf rgb-camera --out h.zarr/sub",
        "fuse h.zarr m.tif --srf rgb-camera --out link.zarr",
        "fuse h.zarr m.tif --srf rgb-camera --out .",
        "fuse h.zarr m.tif --srf rgb-camera --out file://h.zarr",
        "fuse s3://a/h.zarr m.tif --srf rgb-camera --out s3://a/h.zarr/",
        "fuse h.zarr m.tif --srf rgb-camera --out f.zarr --save-model m.tif",
        "fuse h.zarr m.tif --srf rgb-camera --out f.zarr --save-model f.zarr/m.lift",
        "fuse h.zarr m.tif --srf camera.csv --out f.zarr --save-model camera.csv",
        "fuse m.tif --model s.lift --out s.lift",
        "fit h.zarr --srf rgb-camera --out h.zarr",
        "fit h.zarr --msi m.tif --out m.tif",
        "export h.zarr h.zarr",
        "export m.tif m.tif",
        "export cube.hdr cube.img",
    ],
)
def test_nothing_is_written_where_something_is_read(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("other").mkdir()
    shutil.copytree(files["hsi.zarr"], "h.zarr")
    shutil.copy(files["msi.tif"], "m.tif")
    Path("link.zarr").symlink_to("h.zarr")
    before = sorted(tmp_path.rglob("*"))
    result = run(*command.split(), "--overwrite")
    assert result.exit_code == 2
    assert "expected a place of its own" in result.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_a_layout_that_cannot_be_is_found_before_the_training(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FUSE, "fit", _never)
    result = fuse(files, "--out", tmp_path / "fused.zarr", "--shard", "0")
    assert result.exit_code == 2
    assert "shard" in result.stderr


def test_a_scheduler_that_does_not_answer_is_named(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lift_xr.cli.talk.CONNECT_SECONDS", 1)
    nobody = "tcp://127.0.0.1:9"
    result = fuse(files, "--out", tmp_path / "fused.zarr", "--scheduler", nobody)
    assert result.exit_code == 2
    assert f"no Dask scheduler answers at '{nobody}'" in result.stderr


def test_a_bug_shows_its_traceback_and_exits_with_1(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FUSE, "fit", lambda *_, **__: np.linalg.norm("one"))
    result = fuse(files, "--out", tmp_path / "fused.zarr")
    assert result.exit_code == 1
    assert not isinstance(result.exception, SystemExit)


def test_debug_shows_the_traceback_of_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = run("--debug", "info", "nowhere.zarr")
    monkeypatch.setenv("LIFT_XR_DEBUG", "1")
    set_once = run("info", "nowhere.zarr")
    assert isinstance(asked.exception, FileNotFoundError)
    assert isinstance(set_once.exception, FileNotFoundError)


def test_an_interruption_while_training_leaves_nothing(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FUSE, "fit", _interrupt)
    result = fuse(files, "--out", tmp_path / "fused.zarr")
    assert result.exit_code == 75
    assert "interrupted: nothing was written. Run the same command again" in result.stderr
    assert not (tmp_path / "fused.zarr").exists()


def test_an_interruption_while_writing_says_that_the_store_is_not_complete(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lift_xr.io.write_zarr", _interrupt)
    store = tmp_path / "fused.zarr"
    result = fuse(files, "--out", store)
    assert result.exit_code == 75
    assert f"interrupted: {store} is not complete. Run again with --resume" in result.stderr


def test_warnings_are_one_line_without_the_source(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        "import sys, warnings; from lift_xr.cli import main\n"
        "fit = sys.modules['lift_xr.cli.fit']\n"
        "fit.say = lambda *_, **__: warnings.warn('look out', stacklevel=2)\n"
        "main()"
    )
    (tmp_path / "script.py").write_text(script)
    arguments = ["fit", files["hsi.zarr"], "--srf", "rgb-camera", "--method", "linear", "--out"]
    found = run_script(tmp_path / "script.py", *arguments, tmp_path / "m.lift")
    assert found.returncode == 0
    assert found.stderr.strip() == "lift-xr: warning: look out"


def test_an_address_whose_package_is_absent_names_the_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent(*_: object, **__: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("zarr.open_group", absent)
    result = run("info", "s3://bucket/scene.zarr")
    assert result.exit_code == 2
    assert "Install s3fs to access S3; expected the package" in result.stderr


@pytest.mark.parametrize(
    ("python", "shell"),
    [
        ("Pass overwrite=True to", "Pass --overwrite to"),
        (
            "if it is near infrared, pass alpha='keep'; it",
            "if it is near infrared, pass --alpha keep; it",
        ),
        (
            "pass harmonize='moments' or harmonize='none'",
            "pass --harmonize moments or --harmonize none",
        ),
        ("Use open_scene(..., units='nm') if", "Use --wavelength-units nm if"),
        ("Use open_scene(..., level=2) for", "Use --level 2 for"),
        ("Use srf = srf.select('a', 'b') with", "Use --srf NAME:a,b with"),
        (
            "Use srf.select('red'), or SRF.sensor('ikonos', bands=['pan']) for",
            "Use --srf NAME:red, or --srf ikonos:pan for",
        ),
        ("Use e.g. bands=[650.0, 550.0]", "Use e.g. --bands 650.0,550.0"),
        (
            "Use bands=[1, 2], with dtype='uint8' for a picture",
            "Use --bands 1,2, with --dtype uint8 for a picture",
        ),
        ("Use srf.select(...)", "Use --srf NAME:BANDS"),
        ("Use msi = msi.isel(band=[0, 2]) with", "Use --msi-bands 1,3 with"),
        ("Use msi = msi.isel(band=[...]) with", "Use --msi-bands BANDS with"),
        ("Pass srf=SRF.sensor(...) instead", "Pass --srf NAME instead"),
        ("Pass data_range=1.0 for", "Pass data_range=1.0 for"),
        ("run again with part=(1, 3), part=(2, 3)", "run again with --part 1/3, --part 2/3"),
        (
            "Finish it with write_zarr(fused, store, resume=True)",
            "Finish it with lift-xr fuse ... --resume",
        ),
        ("mark it with verify(store, repair=True)", "mark it with lift-xr verify STORE --repair"),
        (
            "may be damaged: look with verify(store)",
            "may be damaged: look with lift-xr verify STORE",
        ),
        (
            "Pass fit(hsi, srf, msi=msi, consistency='both'), or consistency='msi'",
            "Give --msi MOSAIC, or --consistency msi",
        ),
        (
            "Use open_scene(..., level=0), or write the recipe with msi='copy', which has",
            "Use --level 0, or write the recipe with --msi copy, which has",
        ),
    ],
)
def test_advice_for_python_becomes_advice_for_the_shell(python: str, shell: str) -> None:
    assert exits._for_the_shell(python) == shell


@pytest.fixture(scope="module")
def four_bands(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mosaic with a near infrared that its file marks as alpha."""
    path = tmp_path_factory.mktemp("alpha") / "four.tif"
    with rasterio.open(files["msi.tif"]) as source:
        values, profile = source.read(), source.profile | {"count": 4, "alpha": "yes"}
    infrared = np.random.default_rng(0).integers(60, 200, values.shape[1:], "uint8")
    with rasterio.open(path, "w", **profile) as target:
        target.write(np.concatenate([values, infrared[None]]))
        target.scales = (1 / 255,) * 4
        target.colorinterp = [
            *(ColorInterp.red, ColorInterp.green, ColorInterp.blue),
            ColorInterp.alpha,
        ]
    return path


@pytest.mark.filterwarnings("ignore")
def test_a_near_infrared_marked_as_alpha_can_be_kept(
    files: Files, four_bands: Path, tmp_path: Path
) -> None:
    kept = run("info", four_bands, "--alpha", "keep")
    assert "band 4, y 160, x 160" in kept.output
    assert "band 3, y 160, x 160" in run("info", four_bands).output
    pair = (files["hsi.zarr"], "--srf", "ikonos", "--method", "linear", "--alpha", "keep")
    settings = ("--harmonize", "none", "--consistency", "none")
    fitted = run("fit", *pair, *settings, "--msi", four_bands, "--out", tmp_path / "m.lift")
    assert fitted.exit_code == 0, fitted.output
    lift = ("fuse", four_bands, "--model", tmp_path / "m.lift", "--out", tmp_path / "f.zarr")
    refused = run(*lift)
    assert refused.exit_code == 2, refused.output
    fused = run(*lift, "--alpha", "keep")
    assert fused.exit_code == 0, fused.output
    both = run("fuse", pair[0], four_bands, *pair[1:], *settings, "--out", tmp_path / "g.zarr")
    assert both.exit_code == 0, both.output


def test_warnings_advise_options(capsys: pytest.CaptureFixture[str]) -> None:
    exits._show_warning("mostly clear; pass alpha='keep'", UserWarning, "file.py", 1)
    assert "warning: mostly clear; pass --alpha keep" in capsys.readouterr().err


ASKS = ("--help", "fuse --help", "demo --help", "fit -h", "info -h", "status -h")


@pytest.mark.parametrize("ask", ASKS)
def test_help_has_examples(ask: str) -> None:
    assert "  lift-xr " in run(*ask.split()).output


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys; from lift_xr.cli import main\n"
        f"for ask in {ASKS}: main(ask.split(), standalone_mode=False)\n"
        "print([m for m in ('torch', 'matplotlib', 'distributed') if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip().endswith("[]")


def test_version_is_the_package_s() -> None:
    from importlib.metadata import version

    assert run("--version").output == f"lift-xr, version {version('lift-xr')}\n"


def test_sigterm_ends_a_real_process_with_75(files: Files, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from lift_xr.cli import main; main()", "fuse"]
    pair = [files["hsi.zarr"], files["msi.tif"], "--srf", "rgb-camera"]
    process = subprocess.Popen(
        [*command, *pair, "--method", "sin-paper", "--out", str(tmp_path / "fused.zarr")],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    _wait_for(lambda: "libtorch_cpu" in _mapped(process.pid), seconds=120)  # for the training
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "lift-xr: interrupted:" in stderr
    assert "Traceback" not in stderr


HELD = """
import os, pathlib, time
from lift_xr.cli import main
from lift_xr.io import shards

encode, blocks = shards.encode_block, []

def held(*given, **settings):
    blocks.append(given)
    if len(blocks) == 4:
        pathlib.Path(os.environ["BEGUN"]).touch()
        while not pathlib.Path(os.environ["TOLD"]).exists():
            time.sleep(0.01)
    return encode(*given, **settings)

shards.encode_block = held
main()
"""  # the fourth shard waits until the process has been told to stop


def test_sigterm_after_some_shards_ends_a_real_process_with_75_and_resume_does_the_others(
    files: Files, model: Path, tmp_path: Path
) -> None:
    store, said = tmp_path / "fused.zarr", tmp_path / "said"
    begun, told = tmp_path / "begun", tmp_path / "told"
    lift = ["fuse", files["msi.tif"], "--model", str(model), "--shard", "16", "--threads", "1"]
    (tmp_path / "held.py").write_text(HELD)
    said.mkdir()
    around = dict(os.environ) | {"BEGUN": str(begun), "TOLD": str(told)}
    there = (tmp_path / "held.py", [*lift, "--out", str(store)], around, said)
    process = another(be_script, *there, forks=False)
    process.start()
    while process.is_alive() and not begun.exists():
        time.sleep(0.01)
    assert _recorded(store) == 3
    process.terminate()
    told.touch()
    process.join()
    stderr = (said / "stderr").read_text()
    assert process.exitcode == 75, stderr
    assert f"lift-xr: interrupted: {store} is not complete. Run again with --resume" in stderr
    assert "Traceback" not in stderr
    assert _recorded(store) == 4  # the one in flight was finished
    assert run(*lift, "--out", store, "--resume").exit_code == 0
    assert run(*lift, "--out", tmp_path / "calm.zarr").exit_code == 0
    assert _bytes_of(store) == _bytes_of(tmp_path / "calm.zarr")


def _recorded(store: Path) -> int:
    return sum(
        each.name.isdigit() and each.is_file() for each in store.glob("_progress/0/c/*/*/*/*")
    )


def _bytes_of(store: Path) -> dict[str, bytes]:
    found = (each for each in store.rglob("*") if each.is_file())
    return {str(each.relative_to(store)): each.read_bytes() for each in found}


def _mapped(pid: int) -> str:
    """What a process has loaded."""
    try:
        return Path(f"/proc/{pid}/maps").read_text()
    except FileNotFoundError:
        return ""


def _wait_for(happened: Callable[[], bool], *, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not happened() and time.monotonic() < end:
        time.sleep(0.05)


def _never(*_: object, **__: object) -> None:
    raise AssertionError("this should not have been reached")


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_bands_and_pictures_are_exported(files: Files, tmp_path: Path) -> None:
    fuse(files, "--out", tmp_path / "fused.zarr")
    for name, options in (("rgb.tif", []), ("nir.tif", ["--bands", "850.0"])):
        result = run("export", tmp_path / "fused.zarr", tmp_path / name, *options)
        assert result.exit_code == 0, result.output
    with rasterio.open(tmp_path / "rgb.tif") as picture, rasterio.open(tmp_path / "nir.tif") as nir:
        assert (picture.count, picture.dtypes[0]) == (3, "uint8")
        assert (nir.count, nir.dtypes[0]) == (1, "float32")
        assert nir.crs.to_epsg() == 32615
    for scene in (tmp_path / "fused.zarr", files["msi.tif"]):
        refused = run("export", scene, tmp_path / "no.tif", "--level", -1)
        assert refused.stderr.endswith("expected level 0, full resolution. Use --level 0\n")
    refused = run("export", files["msi.tif"], tmp_path / "no.tif", "--level", 2)
    assert "or what `gdal_translate -ovr 1` makes of it, if it has overviews" in refused.stderr
    again = run("export", tmp_path / "fused.zarr", tmp_path / "rgb.tif")
    assert again.exit_code == 2
    assert "--overwrite" in again.output
