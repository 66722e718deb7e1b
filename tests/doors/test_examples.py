"""The examples are the manual: they run as they stand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scenes import shared_data

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(name: str, folder: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, folder],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_tested_here() -> None:
    tested = Path(__file__).read_text()
    assert [path.name for path in EXAMPLES.glob("*.py") if path.name not in tested] == []


@pytest.mark.timeout(600)
def test_the_quickstart_runs(tmp_path: Path) -> None:
    told = run("01_quickstart.py", tmp_path)
    assert "PSNR" in told
    assert (tmp_path / "fused.zarr").exists()


@pytest.mark.timeout(600)
def test_real_pairs_are_made_to_agree(tmp_path: Path) -> None:
    told = run("02_real_pairs.py", tmp_path, LIFT_XR_DATA=str(shared_data()))
    errors = [
        float(line.split("error ")[1].split("%")[0])
        for line in told.splitlines()
        if "error" in line
    ]
    assert len(errors) == 4
    for harmonized, not_harmonized in (errors[:2], errors[2:]):
        assert harmonized < 30
        assert harmonized < not_harmonized / 2
    assert {path.name for path in tmp_path.iterdir()} == {"paris.png", "ordway_swisher.png"}


def test_without_the_real_scenes_the_example_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / "02_real_pairs.py", tmp_path],
        capture_output=True,
        text=True,
        env=os.environ | {"LIFT_XR_DATA": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("skipped: the real scenes are not in")
