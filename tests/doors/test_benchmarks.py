"""The benchmarks still run, at toy size."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_the_kernel_is_timed_against_pixel_major_layers() -> None:
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "kernel.py", "--edge", "16", "--pairs", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len([line for line in done.stdout.splitlines() if line.startswith("|")]) == 4


def test_what_is_asked_of_a_recipe_is_timed_against_its_block() -> None:
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "recipe.py", "--edge", "40", "--rounds", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len([line for line in done.stdout.splitlines() if line.startswith("|")]) == 8
