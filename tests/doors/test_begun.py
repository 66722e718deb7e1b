"""Runs from the command line that go on with the model inside the store, and train nothing."""

from __future__ import annotations

import importlib
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import zarr
from click.testing import CliRunner, Result
from rasterio.enums import ColorInterp

import lift_xr
from lift_xr import synthetic
from lift_xr.cli import main
from lift_xr.cli.msi import Msi
from lift_xr.io import open_scene, write_zarr
from tests.doors.test_resume import files_of

Files = dict[str, str]
FUSE = importlib.import_module("lift_xr.fuse")  # `lift_xr.fuse` is the function


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A generated pair on disk, and the store that is made of it."""
    folder = tmp_path_factory.mktemp("pair")
    scene = synthetic.scene((80, 80), ratio=20, bands=12, spacing=1.0)
    write_zarr(scene.hsi, folder / "hsi.zarr", progress=False)
    camera = scene.msi.drop_attrs(deep=False).assign_attrs(scale_factor=1 / 255)
    camera.rio.to_raster(folder / "msi.tif")
    found = {name: str(folder / name) for name in ("hsi.zarr", "msi.tif", "whole.zarr")}
    result = fuse(found, "--out", found["whole.zarr"])
    assert result.exit_code == 0, result.output
    return found


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(each) for each in arguments])


def fuse(files: Files, *options: object) -> Result:
    pair = files["hsi.zarr"], files["msi.tif"]
    settings = ("--srf", "rgb-camera", "--method", "linear", "--shard", 40)
    return run("fuse", *pair, *settings, *options)


@pytest.fixture
def begun(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store that is begun, after which nothing may be trained."""
    store = tmp_path / "begun.zarr"
    result = fuse(files, "--out", store, "--part", "0/3")
    assert result.exit_code == 0, result.output
    assert f"began {store}: write it with `lift-xr fuse" in result.output
    assert lift_xr.status(store).done == 0

    def no_training(*_: Any, **__: Any) -> None:
        raise AssertionError("it trains again")

    monkeypatch.setattr(FUSE, "fit", no_training)
    return store


def test_what_a_part_needs_again_is_said(files: Files, tmp_path: Path) -> None:
    store, msi = tmp_path / "begun.zarr", files["msi.tif"]
    options = ("--dtype", "float32", "--msi-bands", "1,2,3", "--seed", 3)
    result = fuse(files, "--out", store, "--part", "0/2", *options)
    again = "--part I/2 --msi-bands 1,2,3 --dtype float32 --shard 40"
    assert f"`lift-xr fuse {msi} --out {store} {again}`" in result.output
    for part in ("1/2", "2/2"):
        result = run(*"fuse {} --out {} {}".format(msi, store, again.replace("I/2", part)).split())
        assert result.exit_code == 0, result.output
    assert lift_xr.status(store).complete


def test_parts_of_a_model_that_looks_at_the_cube_again_are_told_to_name_it(
    files: Files, tmp_path: Path
) -> None:
    store, scenes = tmp_path / "looks.zarr", (files["hsi.zarr"], files["msi.tif"])
    gray = ("--srf", "rgb-camera:green", "--msi-bands", 2, "--method", "morph", "--endmembers", 2)
    result = run("fuse", *scenes, *gray, "--out", store, "--part", "0/2")
    assert result.exit_code == 0, result.output
    (command,) = re.findall(r"`lift-xr (fuse .*? --part I/2.*?)`", result.output.replace("\n", " "))
    for part in ("1/2", "2/2"):
        result = run(*command.replace("I/2", part).split())
        assert result.exit_code == 0, result.output
    assert lift_xr.status(store).complete


@pytest.fixture(scope="module")
def turned(files: Files, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The mosaic with its bands in another order, and one before them that means nothing here."""
    place = tmp_path_factory.mktemp("turned") / "turned.tif"
    with (
        rasterio.open(files["msi.tif"]) as source,
        rasterio.open(
            place,
            "w",
            **(source.profile | {"count": 4, "photometric": "minisblack", "alpha": "no"}),
        ) as target,
    ):
        values = source.read()
        target.write(np.stack([values[0] // 2, *values[::-1]]))
        target.scales = (1 / 255,) * 4
    return str(place)


def test_bands_of_a_mosaic_are_chosen(files: Files, turned: str, tmp_path: Path) -> None:
    store, whole = tmp_path / "chosen.zarr", Path(files["whole.zarr"])
    lift = ("fuse", turned, "--model", whole, "--shard", 40, "--out", store)
    refused = run(*lift)
    assert refused.exit_code == 2
    assert "Use --msi-bands BANDS with the bands that match, in this order" in refused.stderr
    chosen = ("--msi-bands", "4,3,2")
    assert run(*lift, *chosen, "--part", "0/2").exit_code == 0
    other = run(*lift, "--msi-bands", "2,3,4", "--part", "1/2")
    assert other.exit_code == 2
    assert "was begun by another run: inputs (the mosaic: its pixels" in other.stderr
    for part in ("1/2", "2/2"):
        assert run(*lift, *chosen, "--part", part).exit_code == 0
    np.testing.assert_array_equal(open_scene(store), open_scene(whole))
    verified = run("verify", store, "--msi", turned, *chosen)
    assert verified.exit_code == 0, verified.output
    mistaken = run("verify", store, "--msi", turned, "--msi-bands", "2,3,4", "--repair")
    assert mistaken.exit_code == 2
    assert "inputs of fingerprint" in mistaken.stderr
    assert lift_xr.status(store).complete
    for verb in (("plan", turned, "--model", whole), ("score", whole, "--msi", turned)):
        srf = () if verb[0] == "plan" else ("--srf", "rgb-camera")
        result = run(*verb, *srf, *chosen)
        assert result.exit_code == 0, result.output


def test_a_training_is_of_the_bands_that_are_chosen(
    files: Files, turned: str, tmp_path: Path
) -> None:
    store = tmp_path / "fused.zarr"
    settings = ("--srf", "rgb-camera", "--method", "linear", "--shard", 40, "--out", store)
    lift = ("fuse", files["hsi.zarr"], turned, *settings)
    refused = run(*lift)
    assert refused.exit_code == 2
    assert "Use --msi-bands 1,2,3 with the bands of the SRF" in refused.stderr
    result = run(*lift, "--msi-bands", "4,3,2")
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(open_scene(store), open_scene(files["whole.zarr"]))
    assert run(*lift, "--msi-bands", "4,3,2", "--resume").exit_code == 0
    other = run(*lift, "--msi-bands", "4,2,3", "--resume")
    assert other.exit_code == 2
    assert "--msi-bands is 4,2,3 and was 4,3,2" in other.stderr


@pytest.fixture(scope="module")
def veiled(turned: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same with that band marked as alpha, of which no pixel is transparent."""
    place = tmp_path_factory.mktemp("veiled") / "veiled.tif"
    shutil.copy(turned, place)
    with rasterio.open(place, "r+") as target:
        target.write(np.full(target.shape, 255, "uint8"), 1)
        target.colorinterp = (ColorInterp.alpha, *[ColorInterp.undefined] * 3)
    return str(place)


def test_what_a_band_marked_as_alpha_means_is_part_of_the_run(
    files: Files, veiled: str, tmp_path: Path
) -> None:
    store, bands = tmp_path / "veiled.zarr", ("--msi-bands", "4,3,2")
    lift = ("fuse", veiled, "--model", files["whole.zarr"], "--shard", 40, "--out", store, *bands)
    assert run(*lift, "--part", "1/2").exit_code == 0
    other = run(*lift, "--part", "2/2", "--alpha", "keep")
    assert other.exit_code == 2, other.output
    assert "its bands, its alpha" in other.stderr
    assert run(*lift, "--part", "2/2").exit_code == 0
    assert lift_xr.status(store).complete
    verified = run("verify", store, "--msi", veiled, *bands, "--alpha", "keep", "--repair")
    assert verified.exit_code == 2
    assert "with the same bands and alpha" in verified.stderr
    assert lift_xr.status(store).complete


def test_a_training_is_of_bands_at_their_wavelengths(files: Files, tmp_path: Path) -> None:
    cube, moved = open_scene(files["hsi.zarr"]), str(tmp_path / "moved.zarr")
    write_zarr(
        cube.assign_coords(wavelength=cube.wavelength + 1), moved, dtype="float32", progress=False
    )
    lift = ("--srf", "rgb-camera", "--method", "linear", "--out", tmp_path / "fused.zarr")
    assert run("fuse", files["hsi.zarr"], files["msi.tif"], *lift).exit_code == 0
    other = run("fuse", moved, files["msi.tif"], *lift, "--resume")
    assert other.exit_code == 2
    assert "the bands of HSI lie at other wavelengths" in other.stderr


@pytest.mark.parametrize("mosaic", ["copy", "address"])
def test_a_recipe_of_bands_that_are_chosen(
    files: Files, turned: str, tmp_path: Path, mosaic: str
) -> None:
    store = tmp_path / "recipe.zarr"
    lift = ("fuse", turned, "--model", files["whole.zarr"], "--msi-bands", "4,3,2", "--out", store)
    result = run(*lift, "--kind", "recipe", "--msi", mosaic)
    if mosaic == "address":
        assert result.exit_code == 2
        assert "expected open_scene(...) and nothing after it" in result.stderr
        assert "Use --msi copy" in result.stderr
        return
    assert result.exit_code == 0, result.output
    whole = lift_xr.predict(lift_xr.load_model(files["whole.zarr"]), open_scene(files["msi.tif"]))
    np.testing.assert_array_equal(open_scene(store), whole)


@pytest.mark.parametrize(
    ("bands", "message"),
    [
        ("4,3,9", "MSI has no band '9'; expected some of 1, 2, 3, 4. Use --msi-bands"),
        ("4,3,3", "--msi-bands is 4,3,3; expected each band of MSI once"),
        ("4,,2", "'4,,2' is no list of bands, such as 3,2,1"),
    ],
)
def test_bands_that_cannot_be_chosen_are_named(
    files: Files, turned: str, tmp_path: Path, bands: str, message: str
) -> None:
    lift = ("fuse", turned, "--model", files["whole.zarr"], "--out", tmp_path / "no.zarr")
    result = run(*lift, "--msi-bands", bands)
    assert result.exit_code == 2
    assert message in result.stderr


def test_named_bands_are_chosen_by_name_and_by_place(files: Files, tmp_path: Path) -> None:
    place = str(tmp_path / "named.zarr")
    named = open_scene(files["msi.tif"]).assign_coords(band=["red", "green", "blue"])
    write_zarr(named, place, dtype="float32", progress=False)
    for bands in (("blue", "red"), ("3", "1"), ("blue", "1")):
        found = Msi(place, bands=bands).open()
        assert found["band"].to_numpy().tolist() == ["blue", "red"]
        np.testing.assert_array_equal(found, named.isel(band=[2, 0]))
    with pytest.raises(lift_xr.SpectralError, match="or their places from 1 to 3"):
        Msi(place, bands=("4",)).open()


def test_a_run_is_resumed_with_the_model_in_the_store(files: Files, begun: Path) -> None:
    result = fuse(files, "--out", begun, "--resume")
    assert result.exit_code == 0, result.output
    assert files_of(begun) == files_of(Path(files["whole.zarr"]))


def test_a_run_is_resumed_from_the_mosaic_alone(files: Files, begun: Path) -> None:
    result = run("fuse", files["msi.tif"], "--out", begun, "--resume", "--shard", 40)
    assert result.exit_code == 0, result.output
    assert files_of(begun) == files_of(Path(files["whole.zarr"]))


def test_parts_need_neither_model_nor_cube_once_a_store_is_begun(files: Files, begun: Path) -> None:
    lift = ("fuse", files["msi.tif"], "--out", begun, "--shard", 40, "--part")
    for part in ("2/3", "3/3"):
        result = run(*lift, part)
        assert result.exit_code == 0, result.output
        assert "this part of" in result.output
    result = fuse(files, "--out", begun, "--part", "1/3")
    assert result.exit_code == 0, result.output
    assert files_of(begun) == files_of(Path(files["whole.zarr"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seed", 3], "--seed is 3 and was 0"),
        (["--consistency", "none"], "--consistency is none and was msi"),
        (["--harmonize", "moments", "--seed", 1], "--harmonize is moments and was auto; --seed is"),
        (["--srf", "ikonos:red,green,blue"], "--srf is another response"),
        (["--method", "sin"], "--method is sin and was linear"),
        (["--consistency", "both", "--psf", "airy"], "--psf is airy and was not given"),
        (["--consistency", "both", "--psf", "airy", "--sigma", 3], "--sigma is 3.0 and was not"),
    ],
)
def test_another_training_than_the_store_was_begun_with_is_named(
    files: Files, begun: Path, options: list, message: str
) -> None:
    result = fuse(files, "--out", begun, "--resume", *options)
    assert result.exit_code == 2, result.output
    assert f"{begun} was begun with another training: " in result.stderr
    assert message in result.stderr
    assert f"leave HSI out to go on with the model in {begun}" in result.stderr


@pytest.mark.parametrize("begins", [False, True])
def test_a_model_that_another_training_saved_is_in_the_way_before_anything_is_trained(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begins: bool
) -> None:
    out, other = tmp_path / "f.zarr", tmp_path / "other.lift"
    train = ("fit", files["hsi.zarr"], "--srf", "rgb-camera", "--method", "linear", "--seed", 7)
    assert run(*train, "--out", other).exit_code == 0
    if begins:
        assert fuse(files, "--out", out, "--part", "0/3").exit_code == 0
    monkeypatch.setattr(FUSE, "fit", lambda *_, **__: pytest.fail("it trains"))
    result = fuse(files, "--out", out, "--save-model", other, "--resume")
    assert result.exit_code == 2, result.output
    said = "another model than the one of" if begins else "another training than is asked: --seed"
    assert f"{other} holds " in result.stderr
    assert said in result.stderr
    assert out.exists() == begins


def test_a_model_that_learnt_from_another_mosaic_is_in_the_way_before_anything_is_trained(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, saved = tmp_path / "other.tif", tmp_path / "m.lift"
    brighter = open_scene(files["msi.tif"]).compute() * 1.1
    brighter.drop_attrs(deep=False).rio.to_raster(other)
    settings = ("--srf", "rgb-camera", "--method", "linear", "--shard", 40)
    first = ("fuse", files["hsi.zarr"], other, *settings)
    assert run(*first, "--out", tmp_path / "a.zarr", "--save-model", saved).exit_code == 0
    monkeypatch.setattr(FUSE, "fit", lambda *_, **__: pytest.fail("it trains"))
    result = fuse(files, "--out", tmp_path / "b.zarr", "--save-model", saved, "--resume")
    assert result.exit_code == 2, result.output
    assert "another training than is asked: MSI is another mosaic" in result.stderr


def test_a_model_of_no_command_is_in_the_way_too(files: Files, tmp_path: Path) -> None:
    scene, kept = open_scene(files["hsi.zarr"]), tmp_path / "m.lift"
    lift_xr.fit(scene, "rgb-camera", method="linear", progress=False).save(kept)
    result = fuse(files, "--out", tmp_path / "f.zarr", "--save-model", kept, "--resume")
    assert result.exit_code == 2, result.output
    assert "no command trained it" in result.stderr
    assert not (tmp_path / "f.zarr").exists()


def test_a_run_that_was_killed_before_it_made_the_store_keeps_the_model_it_saved(
    files: Files, tmp_path: Path
) -> None:
    kept = tmp_path / "m.lift"
    asked = ("--save-model", kept, "--resume")
    assert fuse(files, "--out", tmp_path / "killed.zarr", *asked).exit_code == 0
    shutil.rmtree(tmp_path / "killed.zarr")
    result = fuse(files, "--out", tmp_path / "killed.zarr", *asked)
    assert result.exit_code == 0, result.output


def test_a_place_that_may_not_be_written_is_no_place_for_a_model(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FUSE, "fit", lambda *_, **__: pytest.fail("it trains"))
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    monkeypatch.setattr("os.access", lambda place, _: Path(place) != theirs)
    result = fuse(files, "--out", tmp_path / "f.zarr", "--save-model", theirs / "m.lift")
    assert result.exit_code == 2, result.output
    assert "PermissionError" in result.stderr


def test_the_log_is_not_added_to_what_is_read(files: Files, tmp_path: Path) -> None:
    before = Path(files["msi.tif"]).read_bytes()
    result = fuse(files, "--out", tmp_path / "f.zarr", "--log", files["msi.tif"])
    assert result.exit_code == 2, result.output
    assert f"--log {files['msi.tif']} is, holds or lies in" in result.stderr
    assert Path(files["msi.tif"]).read_bytes() == before


def test_another_cube_is_noticed(files: Files, begun: Path, tmp_path: Path) -> None:
    other = files | {"hsi.zarr": str(tmp_path / "other.zarr")}
    write_zarr(open_scene(files["hsi.zarr"]) * 0.5, other["hsi.zarr"], dtype="float32")
    result = fuse(other, "--out", begun, "--resume")
    assert result.exit_code == 2, result.output
    assert "HSI holds other pixels" in result.stderr


def test_a_mosaic_alone_says_nothing_of_the_training(files: Files, begun: Path) -> None:
    result = run("fuse", files["msi.tif"], "--out", begun, "--resume", "--seed", 3)
    assert result.exit_code == 2
    assert f"--seed: settled by the model in {begun}" in result.stderr


def test_without_a_store_that_was_begun_a_mosaic_alone_is_not_enough(
    files: Files, tmp_path
) -> None:
    for option, message in (
        (["--resume"], "expected HSI and MSI, got 1 scene, and no model in"),
        (["--part", "1/2"], "is not begun, or without a model in it. Begin it once, with HSI, MSI"),
        ([], "expected HSI and MSI, got 1 scenes"),
    ):
        result = run("fuse", files["msi.tif"], "--out", tmp_path / "none.zarr", *option)
        assert result.exit_code == 2
        assert message in result.stderr
    assert not (tmp_path / "none.zarr").exists()


def test_a_model_from_python_cannot_be_compared(files: Files, tmp_path: Path) -> None:
    hsi, msi = open_scene(files["hsi.zarr"]), open_scene(files["msi.tif"])
    fused = lift_xr.fuse(hsi, msi, "rgb-camera", method="linear")
    write_zarr(fused, tmp_path / "p.zarr", shard=40, part=(0, 1))
    result = fuse(files, "--out", tmp_path / "p.zarr", "--resume")
    assert result.exit_code == 2
    assert "was begun with a model that no command trained" in result.stderr
    result = run("fuse", files["msi.tif"], "--out", tmp_path / "p.zarr", "--resume", "--shard", 40)
    assert result.exit_code == 0, result.output


def test_a_store_lends_its_model_to_another(files: Files, tmp_path: Path) -> None:
    store = tmp_path / "other.zarr"
    result = run("fuse", files["msi.tif"], "--model", files["whole.zarr"], "--out", store)
    assert result.exit_code == 0, result.output
    whole = lift_xr.load_model(files["whole.zarr"])
    assert lift_xr.load_model(store).digest == whole.digest


@pytest.mark.parametrize("mosaic", ["copy", "address"])
def test_a_recipe_from_the_command_line(files: Files, tmp_path: Path, mosaic: str) -> None:
    store = tmp_path / "recipe.zarr"
    recipe = ("--kind", "recipe", "--msi", mosaic)
    result = run(
        *("fuse", files["msi.tif"], "--model", files["whole.zarr"], "--out", store), *recipe
    )
    assert result.exit_code == 0, result.output
    whole = lift_xr.predict(lift_xr.load_model(files["whole.zarr"]), open_scene(files["msi.tif"]))
    np.testing.assert_array_equal(open_scene(store), whole)
    told = run("info", store)
    assert told.exit_code == 0, told.output
    place = "in it" if mosaic == "copy" else "at "
    assert f"recipe: lifts the mosaic {place}" in told.output
    assert "model inside" in told.output
    assert "uint8" in told.output or mosaic == "address"
    assert "complete" in run("status", store).output
    exported = run("export", store, tmp_path / "rgb.tif", "--quiet")
    assert exported.exit_code == 0, exported.output


def test_info_tells_whether_the_model_is_inside(files: Files, tmp_path: Path) -> None:
    assert "yes, for --model and lift_xr.load_model" in run("info", files["whole.zarr"]).output
    crop = open_scene(files["whole.zarr"]).isel(x=slice(30))
    write_zarr(crop, tmp_path / "crop.zarr")
    assert (
        "no: these pixels are not just what a model gave"
        in run("info", tmp_path / "crop.zarr").output
    )


def test_the_model_says_what_was_asked_of_it(files: Files) -> None:
    asked = lift_xr.load_model(files["whole.zarr"]).about["asked"]
    assert asked["method"] == "linear"
    assert asked["harmonize"] == "auto"
    assert len(asked["srf"]) == len(asked["hsi"]) == 64


def test_a_begun_store_without_its_model_trains_again(files: Files, begun: Path) -> None:
    shutil.rmtree(begun / "model")
    assert "model" not in zarr.open_group(begun, mode="r")
    result = fuse(files, "--out", begun, "--resume")
    assert isinstance(result.exception, AssertionError)


@pytest.mark.parametrize("file", ["lift.bias/c/0", "zarr.json", "srf/c/0/0"])
def test_a_damaged_model_is_removed_and_trained_again(
    files: Files, tmp_path: Path, file: str
) -> None:
    store = shutil.copytree(files["whole.zarr"], tmp_path / "s.zarr")
    whole = files_of(store)
    assert (store / "model" / file).exists()
    (store / "model" / file).unlink()
    result = run("verify", store, "--repair")
    assert result.exit_code == 3
    assert "give --model, or HSI to train it again" in " ".join(result.output.split())
    result = run("fuse", files["msi.tif"], "--out", store, "--resume", "--shard", 40)
    assert result.exit_code == 2
    assert f"no model in {store}" in " ".join(result.output.split())
    result = fuse(files, "--out", store, "--resume")
    assert result.exit_code == 0, result.output
    assert files_of(store) == whole
