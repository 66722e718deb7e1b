"""``lift-xr degrade`` and ``lift-xr score`` do what the library does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner, Result

import lift_xr
from lift_xr.cli import main
from lift_xr.io import open_scene, write_zarr
from tests.clusters import two_workers_of_nobody
from tests.scenes import cube

Files = dict[str, str]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(each) for each in arguments])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A truth, an estimate of it, and the pair that the truth was degraded to, on disk."""
    folder = tmp_path_factory.mktemp("scenes")
    paths = {name: str(folder / f"{name}.zarr") for name in ("truth", "estimate", "hsi", "msi")}
    truth = cube(33, 35).assign_attrs(units="1")
    truth = truth.where((truth.y < -3) | (truth.x > 3))
    write_zarr(truth, paths["truth"], dtype="float32", progress=False)
    made = run(
        *("degrade", paths["truth"], "--ratio", 4, "--srf", "rgb-camera"),
        *("--out-hsi", paths["hsi"], "--out-msi", paths["msi"], "--msi-snr", 40, "--quiet"),
    )
    assert made.exit_code == 0, made.output
    estimate = truth.isel(y=slice(32), x=slice(32)) * 1.02
    write_zarr(
        estimate.assign_attrs(truth.attrs), paths["estimate"], dtype="float32", progress=False
    )
    return paths


def test_degrade_writes_what_the_library_computes(files: Files) -> None:
    expected = lift_xr.degrade(open_scene(files["truth"]), ratio=4, srf="rgb-camera", msi_snr=40.0)
    for name, image in zip(("hsi", "msi"), expected, strict=True):
        found = open_scene(files[name])
        np.testing.assert_array_equal(found, image)
        assert found.attrs["degradation"] == image.attrs["degradation"]


def test_degrade_says_what_it_wrote_and_writes_over_nothing(files: Files, tmp_path: Path) -> None:
    places = "--out-hsi", tmp_path / "hsi.zarr", "--out-msi", tmp_path / "msi.zarr"
    request = "degrade", files["truth"], "--ratio", 8, "--srf", "ikonos:blue,red", "--normalise"
    first = run(*request, *places)
    assert first.exit_code == 0, first.output
    assert "hsi.zarr: 13 x 4 x 4 (band, y, x)" in first.output
    assert float(open_scene(tmp_path / "msi.zarr").max()) <= 1
    assert run(*request, *places).exit_code == 2
    same = run(*request, "--out-hsi", tmp_path / "x", "--out-msi", tmp_path / "x")
    assert same.exit_code == 2
    assert "nothing is lost" in same.output
    assert run(*request, *places, "--overwrite").exit_code == 0


@pytest.mark.parametrize("boundary", ["renormalise", "zero"])
def test_degrade_takes_the_published_kernels(files: Files, tmp_path: Path, boundary: str) -> None:
    protocol = {"psf": "airy", "hsi_snr": 30.0, "seed": 3}
    made = run(
        *("degrade", files["truth"], "--ratio", 4, "--srf", "rgb-camera", "--published"),
        *(part for name, value in protocol.items() for part in (f"--{dashed(name)}", value)),
        *("--boundary", boundary, "--quiet"),
        *("--out-hsi", tmp_path / "hsi.zarr", "--out-msi", tmp_path / "msi.zarr"),
    )
    assert made.exit_code == 0, made.output
    protocol |= {"sigma": 3.4, "half_width": 7}  # of the tables
    expected = lift_xr.degrade(
        open_scene(files["truth"]),
        **{"ratio": 4, "srf": "rgb-camera", "published": True, "boundary": boundary} | protocol,
    )
    for name, image in zip(("hsi", "msi"), expected, strict=True):
        np.testing.assert_array_equal(open_scene(tmp_path / f"{name}.zarr"), image)


def dashed(name: str) -> str:
    return name.replace("_", "-")


@pytest.mark.parametrize(
    ("variant", "data_range"), [("textbook", None), ("textbook", 0.7), ("sewar", None)]
)
def test_score_is_what_the_library_computes(
    files: Files, variant: str, data_range: float | None
) -> None:
    truth, estimate = (open_scene(files[name]) for name in ("truth", "estimate"))
    truth = truth.sel(y=estimate.y, x=estimate.x)
    peak = ("--data-range", data_range) if data_range else ()
    ratio = () if variant == "sewar" else ("--ratio", 8)
    request = "score", files["estimate"], files["truth"], *ratio, "--variant", variant, *peak
    result = run(*request, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)["truth"]
    top = data_range or 1.0  # of reflectance
    expected = lift_xr.score(estimate, truth, ratio=8, data_range=top, variant=variant)
    assert len(expected) == 6
    for name, value in expected.items():
        assert found[name] == pytest.approx(float(value), rel=1e-9), name
    assert found["rmse"] > 0
    shown = run(*request).output
    assert f"{float(expected.psnr):.4g}" in shown
    said = "published tables" if variant == "sewar" else f"with a peak of {top:g}"
    assert said in shown


def test_score_leaves_out_the_bad_bands_of_a_truth_that_names_no_units(
    files: Files, tmp_path: Path
) -> None:
    truth, estimate = (open_scene(files[name]) for name in ("truth", "estimate"))
    good = np.arange(truth.sizes["band"]) != 3
    truth = truth.assign_coords(good_wavelength=("band", good))
    del truth["wavelength"].attrs["units"]
    paths = {name: tmp_path / f"{name}.zarr" for name in ("truth", "estimate")}
    named = truth.to_dataset(name="truth").chunk()
    named.to_zarr(paths["truth"], zarr_format=3, consolidated=False)
    write_zarr(estimate.isel(band=good), paths["estimate"], dtype="float32", progress=False)
    asked = "score", paths["estimate"], paths["truth"], "--ratio", 4
    unnamed = run(*asked)
    assert unnamed.exit_code == 2
    assert "no units" in unnamed.output
    shown = run(*asked, "--wavelength-units", "nm")
    assert shown.exit_code == 0, shown.output
    said = " ".join(shown.output.split())
    bands = truth.sizes["band"]
    assert f"32 x 32 of 33 x 35 pixels (y, x), {bands - 1} of {bands} bands: the good ones." in said
    expected = lift_xr.score(
        estimate.isel(band=good), truth[good, :32, :32], ratio=4, data_range=1.0
    )
    assert f"{float(expected.psnr):.4g}" in shown.output


def test_score_takes_the_chain_in_the_help_of_degrade_at_any_size(
    files: Files, tmp_path: Path
) -> None:
    truth, estimate = (open_scene(files[name]) for name in ("truth", "estimate"))
    assert (truth.sizes["y"], truth.sizes["x"]) == (33, 35)
    shown = run("score", files["estimate"], files["truth"], "--ratio", 4)
    assert shown.exit_code == 0, shown.output
    assert "REFERENCE cut to ESTIMATE: 32 x 32 of 33 x 35 pixels (y, x)." in shown.output
    expected = lift_xr.score(estimate, truth[:, :32, :32], ratio=4, data_range=1.0)
    assert f"{float(expected.psnr):.4g}" in shown.output
    equal = run("score", files["estimate"], files["estimate"], "--ratio", 4)
    assert "cut to" not in equal.output
    for name, other in {
        "moved": truth.assign_coords(x=truth.x + 0.4),
        "thinned": truth.isel(y=slice(None, None, 2)),
        "less": truth[:, :30],
    }.items():
        write_zarr(other, tmp_path / f"{name}.zarr", dtype="float32", progress=False)
        refused = run("score", files["estimate"], tmp_path / f"{name}.zarr", "--ratio", 4)
        assert refused.exit_code == 2, refused.output
        assert "GridError" in refused.output


def test_score_as_json_is_the_library_to_the_last_digit(files: Files, tmp_path: Path) -> None:
    estimate = open_scene(files["estimate"])
    dimmed = (estimate * 0.9).assign_attrs(units="DN")
    write_zarr(dimmed, tmp_path / "other.zarr", dtype="float32", progress=False)
    result = run("score", files["estimate"], tmp_path / "other.zarr", "--ratio", 4, "--json")
    found = json.loads(result.output)
    expected = lift_xr.score(estimate, open_scene(tmp_path / "other.zarr"), ratio=4)
    assert found["data_range"] is None  # of digital numbers: each band has its peak
    for name, value in expected.items():
        assert found["truth"][name] == pytest.approx(float(value), rel=1e-9)
    equal = json.loads(run("score", files["estimate"], files["estimate"], "--json").output)
    assert equal["truth"]["psnr"] is None  # infinite
    assert equal["truth"]["rmse"] == 0
    assert "ergas" not in equal["truth"]


def test_score_without_a_truth_holds_the_result_against_both_images(files: Files) -> None:
    request = "score", files["estimate"], "--msi", files["msi"], "--srf", "rgb-camera"
    result = run(*request, "--hsi", files["hsi"], "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    estimate, hsi = open_scene(files["estimate"]), open_scene(files["hsi"])
    expected: xr.Dataset = lift_xr.hsi_agreement(estimate, hsi)
    np.testing.assert_allclose(found["hsi"]["rmse"], expected.rmse)
    assert found["hsi"]["ergas"] == pytest.approx(float(expected.ergas))
    assert min(found["msi"]["correlation"]) > 0.99
    assert len(found["msi"]["band"]) == 3
    blur = "--hsi", files["hsi"], "--psf", "moffat", "--sigma", 3, "--half-width", 4
    told = json.loads(run(*request, *blur, "--json").output)
    expected = lift_xr.hsi_agreement(estimate, hsi, psf="moffat", sigma=3.0, half_width=4)
    np.testing.assert_allclose(told["hsi"]["rmse"], expected.rmse)
    assert not np.allclose(told["hsi"]["rmse"], found["hsi"]["rmse"])
    assert "PSF assumed: moffat, sigma 3 pixels, cut at 4 pixels." in run(*request, *blur).output
    matched = run(*request, "--hsi", files["hsi"], "--harmonize", "regression", "--json")
    assert json.loads(matched.output)["harmonize"].startswith("regression")
    plain = run(*request, "--hsi", files["hsi"], "--harmonize", "none", "--json")
    assert json.loads(plain.output)["harmonize"].startswith("none")
    shown = run(*request)
    assert "RMSE R" in shown.output or "RMSE red" in shown.output, shown.output
    assert "radiometry: none: not asked for" in shown.output


def test_score_works_on_a_scheduler(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    request = "score", files["estimate"], files["truth"], "--ratio", 4, "--json"
    here = run(*request)
    with two_workers_of_nobody() as cluster:
        run(*request)
        assert cluster.scheduler.transition_counter == 0
        there = run(*request, "--scheduler", cluster.scheduler_address)
        assert there.exit_code == 0, there.output
        assert cluster.scheduler.transition_counter > 0
    assert json.loads(there.output) == json.loads(here.output)
    monkeypatch.setattr("lift_xr.cli.talk.CONNECT_SECONDS", 1)
    nobody = run(*request, "--scheduler", "tcp://127.0.0.1:9")
    assert nobody.exit_code == 2
    assert "no Dask scheduler answers" in nobody.stderr


@pytest.mark.parametrize("width", ["--sigma 2", "--half-width 3"])
def test_score_refuses_a_width_of_what_has_none(files: Files, width: str) -> None:
    request = "score", files["estimate"], "--hsi", files["hsi"], "--psf", "delta"
    result = run(*request, *width.split())
    assert result.exit_code == 2, result.output
    assert f"{width.split()[0]} is the width of a PSF, and --psf delta has none" in result.stderr
    assert "PSF assumed: delta, nothing but the mean over an HSI pixel." in run(*request).output


@pytest.mark.parametrize(
    ("asked", "given", "needs"),
    [
        ("hsi", "--variant sewar", "REFERENCE"),
        ("hsi", "--ratio 4", "REFERENCE"),
        ("msi", "--data-range 1", "REFERENCE"),
        ("truth", "--psf airy", "--hsi CUBE"),
        ("msi", "--sigma 2", "--hsi CUBE"),
        ("truth", "--half-width 3", "--hsi CUBE"),
        ("truth", "--harmonize none", "--msi MOSAIC and --hsi CUBE"),
        ("msi", "--harmonize auto", "--hsi CUBE"),
        ("hsi", "--alpha keep", "--msi MOSAIC"),
        ("truth", "--variant sewar --data-range 1", "--variant textbook"),
        ("truth", "--variant sewar --ratio 16", "--variant textbook"),
    ],
)
def test_score_refuses_what_it_would_ignore(
    files: Files, asked: str, given: str, needs: str
) -> None:
    scenes = {
        "truth": [files["truth"]],
        "msi": ["--msi", files["msi"], "--srf", "rgb-camera"],
        "hsi": ["--hsi", files["hsi"]],
    }
    result = run("score", files["estimate"], *scenes[asked], *given.split())
    assert result.exit_code == 2, result.output
    option = given.split()[-2]
    said = f"{option} needs {needs}, and would be ignored. Give that, or leave {option} out"
    assert said in " ".join(result.stderr.split())


def test_score_says_what_it_needs(files: Files) -> None:
    for request, message in (
        ((files["estimate"],), "give REFERENCE"),
        ((files["estimate"], "--msi", files["msi"]), "belong together"),
        ((files["estimate"], files["hsi"], "--ratio", 4), "reference"),
        ((files["estimate"], "nowhere.zarr"), "nowhere.zarr"),
    ):
        result = run("score", *request)
        assert result.exit_code == 2, result.output
        assert message in result.output
