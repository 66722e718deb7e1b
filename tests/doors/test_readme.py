"""Every line of the README works as it stands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import lift_xr
from lift_xr.cli import main

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the README speaks of."""
    monkeypatch.chdir(tmp_path)
    scene = lift_xr.synthetic.scene((320, 320), ratio=20, srf="ikonos")
    lift_xr.write_zarr(scene.hsi, "hsi.zarr", progress=False)
    scene.msi.rio.to_raster("mosaic.tif", photometric="MINISBLACK")  # not colours and alpha
    return tmp_path


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_python_of_the_readme_runs(files: Path) -> None:
    for block in blocks("python"):
        exec(block, {})
    fused = lift_xr.open_scene("fused.zarr")
    assert fused.shape == (50, 320, 320)
    assert np.isfinite(fused).all()


def test_the_commands_of_the_readme_run(files: Path) -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("lift-xr ")]
    assert len(commands) >= 4
    for command in commands:
        again = ["--overwrite"] if command[0] == "fuse" else []
        result = CliRunner().invoke(main, [*command, *again], catch_exceptions=False)
        assert result.exit_code == 0, result.output


def test_the_make_words_of_the_readme_exist() -> None:
    makefile = (Path(__file__).resolve().parents[2] / "Makefile").read_text()
    for word in re.findall(r"`?make (\w+)", README):
        assert re.search(rf"^{word}:", makefile, re.MULTILINE) or word in ("in", "sure"), word


def test_the_sensors_that_the_readme_names_are_known() -> None:
    count = int(re.search(r'worldview-3"\)` and (\d+) others', README)[1])
    assert len(lift_xr.SRF.sensors()) == count + 1
