"""The fidelity benchmarks run on toy scenes: any method, any case, twice for the price of once."""

from __future__ import annotations

import os
import re
import runpy
import sys
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.labels.test_both import truth
from tests.processes import run_script
from tests.scenes import shared_scenes

LIBRARY, BENCHMARKS = (
    Path(__file__).resolve().parents[2] / each for each in ("lift_xr", "benchmarks")
)

TOY_SCENES = """
import numpy as np
import xarray as xr


def names():
    return ["one", "two"]


def load(name):
    random = np.random.default_rng(len(name))
    kinds = np.cumsum(random.random((3, 20)), axis=1) / 20
    shares = random.dirichlet(np.ones(3), size=(14, 15)).repeat(2, 0).repeat(2, 1)
    coords = {"wavelength": ("band", np.linspace(400, 1000, 20), {"units": "nm"})}
    values = np.einsum("kb,yxk->byx", kinds, shares).astype("float32")
    values[:, 0, :4 if name == "two" else 0] = np.nan
    return xr.DataArray(values, dims=("band", "y", "x"), coords=coords, attrs={"units": "1"})
"""


@pytest.fixture
def toy(tmp_path: Path) -> dict[str, str]:
    """An environment whose real scenes are two toys, of which one lacks a corner."""
    (tmp_path / "scenes.py").write_text(TOY_SCENES)
    results = tmp_path / "results"
    return dict(os.environ) | {"LIFT_XR_DATA": str(tmp_path), "LIFT_XR_RESULTS": str(results)}


def run(environment: dict[str, str], name: str, *options: str) -> str:
    done = run_script(BENCHMARKS / name, *options, environment=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_here(
    environment: dict[str, str], name: str, *options: str, patch: pytest.MonkeyPatch
) -> str:
    """Run what measures nothing in this process, which has loaded its libraries already."""
    patch.syspath_prepend(BENCHMARKS)
    for key in ("LIFT_XR_DATA", "LIFT_XR_RESULTS"):
        patch.setenv(key, environment[key])
    patch.setattr(sys, "argv", [name, *options])
    with redirect_stdout(StringIO()) as told:
        runpy.run_path(str(BENCHMARKS / name), run_name="__main__")
    return told.getvalue()


@pytest.fixture
def _no_benchmark_stays_loaded() -> Iterator[None]:
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(BENCHMARKS)):
            del sys.modules[name]


@pytest.mark.usefixtures("_no_benchmark_stays_loaded")
def test_any_method_runs_over_the_grid_and_is_not_run_twice(
    toy: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = "linear+none", "bicubic", "--scene", "two", "--case", "4,4", "--psf", "delta", "airy"
    first = run(toy, "wald.py", *options)
    assert re.search(r"linear\+none [12]/2 two airy 4 4", first)  # whichever ends first
    summary = next(line for line in first.splitlines() if line.startswith("| linear+none |"))
    cells = [cell.strip() for cell in summary.split("|")[2:-1]]
    psnr, *_, parameters, flops, peak = (
        float(cell.replace(",", "")) for cell in cells if cell != "-"
    )
    assert psnr > 25
    assert parameters == pytest.approx(4 * 20 + 20)
    assert flops == pytest.approx(2 * 4 * 20)
    assert peak > 0
    assert (tmp_path / "results" / "wald_groups.png").exists()
    again = run_here(toy, "wald.py", *options, patch=monkeypatch)
    assert "2/2" not in again
    assert summary in again


@pytest.mark.usefixtures("_no_benchmark_stays_loaded")
def test_methods_share_one_queue_that_starts_with_the_longest(
    toy: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    for key in ("LIFT_XR_DATA", "LIFT_XR_RESULTS"):
        monkeypatch.setenv(key, toy[key])
    runs = import_module("runs")
    begun: list[tuple[str, int]] = []

    def begin(method: str, row: dict) -> tuple[Connection, SimpleNamespace]:
        begun.append((method, row["ratio"]))
        ours, theirs = Pipe(duplex=False)
        theirs.send({"PSNR": len(begun)})
        theirs.close()
        return ours, SimpleNamespace(join=lambda: None)

    monkeypatch.setattr(runs, "begin", begin)
    rows = [{"scene": "two", "psf": "delta", "ratio": ratio, "msi_bands": 4} for ratio in (8, 4)]
    asked = rows, ("sin", "linear", "oracle"), range(1)
    found = runs.run_missing(*asked)
    assert begun[:2] == [("oracle", 8), ("oracle", 4)]  # which learns from the fine pixels
    assert begun[2:] == [("sin", 4), ("linear", 4), ("sin", 8), ("linear", 8)]
    assert [each["PSNR"] for each in found["linear"]] == [6, 4]
    kept = {each.stem: runs.read(each) for each in (tmp_path / "results").iterdir()}
    assert {name: len(each) for name, each in kept.items()} == dict.fromkeys(asked[1], 2)
    again = runs.run_missing(*asked)
    assert len(begun) == 6
    assert [float(each["PSNR"]) for each in again["linear"]] == [6, 4]


def test_a_method_is_held_against_each_published_figure_there_is(
    toy: dict[str, str], tmp_path: Path
) -> None:
    data, figures = tmp_path / "data", tmp_path / "notes" / "reference_results"
    data.mkdir()
    figures.mkdir(parents=True)
    (tmp_path / "scenes.py").rename(data / "scenes.py")
    table = "scene,psf,ratio,msi_bands,PSNR,SAM\n"
    one, two = "one,delta,4,4,10.0,9.0\n", "two,delta,4,4,90.0,9.0\n"
    (figures / "reference_on_shared_scenes.csv").write_text(table + one + two)
    (figures / "reference_on_shared_scenes_morph.csv").write_text(
        table + one + one.replace("4,4", "8,1")
    )
    told = run(
        toy | {"LIFT_XR_DATA": str(data)},
        *("against_published.py", "--method", "bicubic", "--seeds", "1"),
    )
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in told.splitlines()
        if line.startswith(("| one", "| two"))
    ]
    assert rows[0][:6] == ["one", "delta", "4", "4", "10.00 / 9.00", "10.00 / 9.00"]
    assert rows[1][:6] == ["two", "delta", "4", "4", "90.00 / 9.00", "-"]
    psnr = [float(row[6].split(" / ")[0]) for row in rows]
    lift, morph = re.findall(r"mean PSNR difference ([-+.\d]+) dB, ahead on 1;", told)
    assert float(lift) == pytest.approx(sum(psnr) / 2 - 50, abs=0.01)
    assert float(morph) == pytest.approx(psnr[0] - 10, abs=0.01)
    assert "bicubic is ahead of both on 1 of the 1 rows that both have" in told


@pytest.mark.usefixtures("_no_benchmark_stays_loaded")
def test_wrong_point_spreads_are_held_against_none(
    toy: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setenv("LIFT_XR_DATA", toy["LIFT_XR_DATA"])
    wrong = import_module("wrong_psf")
    monkeypatch.setattr(wrong, "load", lambda _: truth())
    found = wrong.of_scene("one", ratio=4, method="linear", only=["right", "delta"])
    assert found["right"][1]
    assert found["right"][0] > found["msi"][0]
    assert found["delta"] == found["msi"]  # which is refused, and the answer that of "msi"
    wrong.report({"one": found, "two": found | {"delta": (found["msi"][0] - 0.2, True)}})
    told = capsys.readouterr().out
    assert "| delta | +0.00* | -0.20 | -0.20 | 1 of 2 |" in told
    assert "by more than 0.1 dB: does not hold; the worst is -0.20 dB, delta" in told
    wrong.report({"one": found})
    assert "by more than 0.1 dB: holds" in capsys.readouterr().out


def test_the_library_knows_no_scene_by_name() -> None:
    listed = re.search(r"QUICK_SCENES = \((.*?)\)", (BENCHMARKS / "wald.py").read_text(), re.DOTALL)
    assert listed is not None
    names = re.findall(r'"(\w+)"', listed[1])
    assert len(names) == 7
    assert known(names) == []


def test_the_library_knows_none_of_the_real_scenes_by_name() -> None:
    scenes = shared_scenes()
    names = {*scenes.names(), *(pair.split("[")[0] for pair in scenes.pairs())}
    assert len(scenes.names()) > 7
    assert known(names) == []


def known(names: Iterable[str]) -> list[str]:
    """Those of the names that occur in the library, in any case, with blanks or dashes or not."""
    source = "".join(path.read_text() for path in LIBRARY.rglob("*.py"))
    spelled = {name: r"\b" + name.replace("_", "[-_ ]?") for name in names}
    return [name for name, each in spelled.items() if re.search(each, source, re.IGNORECASE)]


def test_a_name_in_the_library_would_be_found() -> None:
    assert known(["spectral_inversion_network", "no_such_name"]) == ["spectral_inversion_network"]


def test_the_ablation_has_a_line_for_each_variant(toy: dict[str, str]) -> None:
    told = run(
        toy,
        *("ablation.py", "--scene", "one", "--case", "4,4", "--steps", "40"),
        *("--variant", "GeLU"),
    )
    assert [line.split("|")[1].strip() for line in told.splitlines() if line.startswith("| ")] == [
        *("variant", "---", "baseline", "GeLU")
    ]
