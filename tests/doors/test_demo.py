"""The demo keeps its promises at toy size."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from lift_xr import demo, metrics, synthetic
from lift_xr.baselines import bicubic
from lift_xr.errors import GridError, LayoutError
from lift_xr.io import open_scene

SIZE = 240


@pytest.fixture(scope="module")
def told() -> io.StringIO:
    """What the demo printed."""
    return io.StringIO()


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory, told: io.StringIO) -> demo.Result:
    """The demo, run once."""
    folder = tmp_path_factory.mktemp("demo") / "new"
    return demo.run_demo(folder, size=SIZE, console=Console(file=told, width=100))


def test_every_file_is_written_and_named(result: demo.Result, told: io.StringIO) -> None:
    assert [file.name for file in result.files] == list(demo.FILES)
    assert all(file.exists() for file in result.files)
    assert all(file.name in told.getvalue() for file in result.files)


def test_the_files_hold_the_scene(result: demo.Result) -> None:
    hsi, msi, fused, _ = result.files
    scene = synthetic.scene((SIZE, SIZE), ratio=demo.RATIO)
    np.testing.assert_allclose(open_scene(hsi), scene.hsi, atol=6e-5)
    np.testing.assert_allclose(open_scene(msi), scene.msi * (1 / 255), atol=1e-6)
    assert open_scene(fused).rio.crs == scene.truth.rio.crs
    assert open_scene(fused).sizes == scene.truth.sizes


def test_the_scores_are_those_of_the_file(result: demo.Result) -> None:
    truth = synthetic.scene((SIZE, SIZE), ratio=demo.RATIO).truth
    fused = open_scene(result.files[2]).assign_coords(y=truth.y, x=truth.x)
    found = float(metrics.psnr(fused, truth, data_range=1.0).mean())
    assert result.scores["sin"]["psnr"] == pytest.approx(found)


def test_the_network_beats_both_baselines(result: demo.Result, told: io.StringIO) -> None:
    psnr = {method: found["psnr"] for method, found in result.scores.items()}
    assert psnr["sin"] > psnr["linear"] + 1
    assert psnr["sin"] > psnr["bicubic"] + 5
    assert f"{psnr['sin']:.2f}" in told.getvalue()


def test_files_in_the_way_are_named_and_kept(tmp_path: Path) -> None:
    (tmp_path / "demo.png").write_bytes(b"mine")
    with pytest.raises(LayoutError, match=r"demo\.png already exist.*Use overwrite=True"):
        demo.run_demo(tmp_path, size=SIZE)
    assert (tmp_path / "demo.png").read_bytes() == b"mine"


def test_a_size_that_is_no_multiple_of_the_ratio_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GridError, match="multiples of the ratio, 20"):
        demo.run_demo(tmp_path / "new", size=250)
    assert not (tmp_path / "new").exists()


def test_the_bicubic_baseline_is_used_on_the_demo_s_own_grid(result: demo.Result) -> None:
    hsi, msi = (open_scene(file) for file in result.files[:2])
    assert bicubic(hsi, msi).shape == (50, SIZE, SIZE)
