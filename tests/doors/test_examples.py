"""The examples are the manual: they run as they stand."""

from __future__ import annotations

import os
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

import lift_xr
from lift_xr.models.sin import SinRecipe
from tests.clusters import workers_start_at_once
from tests.processes import run_script
from tests.scenes import shared_data

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(name: str, folder: Path, **environment: str) -> str:
    done = run_script(EXAMPLES / name, folder, environment=os.environ | environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_tested_here() -> None:
    tested = Path(__file__).read_text()
    assert [path.name for path in EXAMPLES.glob("*.py") if path.name not in tested] == []


@pytest.mark.timeout(600)
def test_the_quickstart_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process, whose clusters can be made to start at once."""
    monkeypatch.setattr(sys, "argv", ["01_quickstart.py", str(tmp_path)])
    with workers_start_at_once():
        runpy.run_path(str(EXAMPLES / "01_quickstart.py"), run_name="__main__")
    assert "PSNR" in capsys.readouterr().out
    assert (tmp_path / "fused.zarr").exists()


@pytest.mark.timeout(600)
def test_real_pairs_are_made_to_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process, so that the training can be cut short: harmonizing is what it shows."""
    monkeypatch.setenv("LIFT_XR_DATA", str(shared_data()))
    monkeypatch.setattr(sys, "argv", ["02_real_pairs.py", str(tmp_path)])
    fuse, short = lift_xr.fuse, SinRecipe(steps=300)
    monkeypatch.setattr(
        lift_xr, "fuse", lambda *pair, **more: fuse(*pair, **{"method": short} | more)
    )
    runpy.run_path(str(EXAMPLES / "02_real_pairs.py"), run_name="__main__")
    told = capsys.readouterr().out
    for sensor, most in (("mosaic", 3), ("cube", 40)):
        found = [float(part) for part in re.findall(rf"{sensor}: RMSE ([0-9.]+)%", told)]
        assert len(found) == 4
        for harmonized, not_harmonized in (found[:2], found[2:]):
            assert harmonized < most
            assert harmonized < not_harmonized / 2
    assert {path.name for path in tmp_path.iterdir()} == {"paris.png", "ordway_swisher.png"}


@pytest.mark.timeout(600)
def test_maps_of_endmembers_are_made_and_shown(tmp_path: Path) -> None:
    told = run("04_abundance_maps.py", tmp_path)
    assert "endmember 3" in told
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {"maps.zarr", "endmembers.csv", "abundances.png"}


def test_without_the_real_scenes_the_example_says_so(tmp_path: Path) -> None:
    elsewhere = os.environ | {"LIFT_XR_DATA": str(tmp_path)}
    done = run_script(EXAMPLES / "02_real_pairs.py", tmp_path, environment=elsewhere)
    assert done.returncode == 1
    assert done.stderr.startswith("skipped: the real scenes are not in")


def test_hyperbench_can_call_lift_xr(tmp_path: Path) -> None:
    told = run("03_hyperbench.py", tmp_path)
    psnr = float(told.split("PSNR ")[1].split()[0])
    assert psnr > 25


@pytest.mark.parametrize("shape", [(40, 44), (42, 45)])
def test_the_adapter_takes_and_gives_what_hyperbench_does(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scene whose sides are no multiples of the ratio is stretched there, not cropped."""
    adapter = runpy.run_path(str(EXAMPLES / "03_hyperbench.py"))["run_pipeline"]
    monkeypatch.setitem(adapter.__globals__, "METHOD", "linear")
    random = np.random.default_rng(0)
    srf = np.zeros((3, 9), "float32")
    srf[0, :3] = srf[1, 3:6] = srf[2, 6:] = 1 / 3
    lr_hsi = random.random((10, 11, 9), "float32")
    hr_msi = random.random((*shape, 3), "float32")
    found, stats = adapter(HR_MSI=hr_msi, LR_HSI=lr_hsi, srf=srf, psf=None, metadata={})
    assert found.shape == (*shape, 9)
    assert found.dtype == "float32"
    assert 0 <= found.min() <= found.max() <= 1
    # consistent with the mosaic, where nothing was clipped: so no axis is turned about
    inside = ((found > 0) & (found < 1)).all(axis=-1)
    assert inside.sum() > 20
    np.testing.assert_allclose((found @ srf.T)[inside], hr_msi[inside], atol=0.05)
    assert stats["num_parameters"] > 0
