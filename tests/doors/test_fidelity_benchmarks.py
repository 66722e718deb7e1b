"""The fidelity benchmarks run on toy scenes: any method, any case, twice for the price of once."""

from __future__ import annotations

import csv
import os
import re
import runpy
import sys
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from importlib import import_module
from io import StringIO
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from matplotlib.pyplot import imread

from lift_xr.models.sin import SinPaperRecipe
from tests.labels.test_both import KERNEL, RATIO, fitted, truth
from tests.processes import run_script
from tests.scenes import shared_data, shared_scenes

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
    _, runs = benchmarks_over(toy, monkeypatch)
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


@pytest.mark.usefixtures("_no_benchmark_stays_loaded")
def test_results_are_kept_by_protocol_and_seed_until_a_fresh_run_is_asked_for(
    toy: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = "bicubic", "--scene", "one", "--case", "4,4", "--psf", "airy", "--seeds", "2"
    protocol = "--axis", "own", "--kernels", "right", "--msi-snr", "30"
    assert "axis own, kernels right, msi_snr 30.0." in run(toy, "wald.py", *options, *protocol)
    path = tmp_path / "results" / "bicubic.csv"
    kept = rows_of(path)
    named = ("axis", "kernels", "msi_snr", "seed")
    assert [[row[name] for name in named] for row in kept] == [
        ["own", "right", "30.0", "0"],
        ["own", "right", "30.0", "1"],
    ]
    assert all(float(row["lift_s"]) > 0 for row in kept)
    assert re.fullmatch(r"-|[0-9a-f]{7,}\+?", kept[0]["code"])
    path.write_text(path.read_text().replace(f"30.0,0,{kept[0]['PSNR']}", "30.0,0,77.0"))
    changed = [line.rsplit(",", 2) for line in path.read_text().splitlines()]
    changed[1][1] = "another"
    path.write_text("".join(",".join(line) + "\n" for line in changed))
    mean = (77 + float(kept[1]["PSNR"])) / 2
    again = run_here(toy, "wald.py", *options, *protocol, patch=monkeypatch)
    assert f"| one | airy | 4 | 4 | {mean:.2f} / " in again
    assert "Warning: these results are of 2 versions of lift_xr: " in again
    assert "another" in again
    fresh = run(toy, "wald.py", *options, *protocol, "--fresh", "bicubic")
    assert "bicubic 2/2" in fresh
    assert "Warning" not in fresh
    assert [row["PSNR"] for row in rows_of(path)] == [row["PSNR"] for row in kept]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return sorted(csv.DictReader(file), key=lambda row: row["seed"])


@pytest.mark.usefixtures("_no_benchmark_stays_loaded")
def test_the_gap_closed_and_the_worst_row_are_those_of_these_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    wald = import_module("wald")
    psnr = {
        wald.BASELINE: np.array([30.0, 32.0]),
        "sin": np.array([31.7, 31.5]),
        wald.CEILING: np.array([34.0, 34.0]),
    }
    # gains of +1.7 and -0.5 dB, the mean 0.6, in a gap of 4 and 2, the mean 3
    assert wald.against(psnr, "sin") == ("20%", "-0.50")
    assert wald.against(psnr, wald.CEILING) == ("100%", "+2.00")
    assert wald.against(psnr, wald.BASELINE) == ("0%", "+0.00")
    del psnr[wald.CEILING]
    assert wald.against(psnr, "sin") == ("-", "-0.50")
    del psnr[wald.BASELINE]
    assert wald.against(psnr, "sin") == ("-", "-")


@pytest.mark.usefixtures("_no_benchmark_stays_loaded")
def test_figures_are_drawn_with_the_baseline_and_the_ceiling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    figures = import_module("figures")
    cases = [(ratio, scene) for ratio in (4, 8, 16) for scene in ("one", "two")]
    rows = [
        {"scene": scene, "psf": "gaussian", "ratio": ratio, "msi_bands": 4}
        for ratio, scene in cases
    ]
    low = np.linspace(30, 35, len(rows))
    psnr = {"sin-paper": low, "sin": low + 1, "oracle": low + 3}
    drawn = figures.draw(rows, psnr, baseline="sin-paper", ceiling="oracle", folder=tmp_path)
    shapes = {path.name: imread(path).shape for path in drawn}
    dpi = figures.STYLE["figure.dpi"]
    tall = 1.2 + 0.19 * len(rows)
    assert shapes["wald_rows.png"][:2] == pytest.approx((tall * dpi, 6.5 * dpi), abs=1)
    assert shapes["wald_groups.png"][:2] == pytest.approx((3.3 * dpi, 3.5 * dpi), abs=1)
    alone = figures.draw(
        rows, {"sin": low}, baseline="sin-paper", ceiling="oracle", folder=tmp_path
    )
    assert [path.name for path in alone] == ["wald_groups.png"]
    assert not list(figures.draw([], psnr, baseline="sin-paper", ceiling="oracle", folder=tmp_path))


@pytest.mark.usefixtures("_no_benchmark_stays_loaded")
def test_the_ceiling_is_trained_on_the_truth_and_never_sees_the_cube(
    toy: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    methods, runs = benchmarks_over(toy, monkeypatch)
    monkeypatch.setattr(methods, "ORACLE_STEPS", 60)
    row = runs.stands_for({"scene": "one", "psf": "airy", "ratio": 4, "msi_bands": 4}, "oracle")
    assert (row["psf"], row["kernels"]) == ("any", "any")
    found = runs.measured(row, "oracle", 0)
    assert found["PSNR"] > 25
    assert found["flops_per_pixel"] > 2 * (5 * methods.ORACLE_WIDTH**2)
    case = runs.published.case(runs.load("one"), ratio=4, msi_bands=4, psf="delta")
    lifted, blind = (
        methods.oracle(each, 0).lift() for each in (case, replace(case, hsi=case.hsi * np.nan))
    )
    np.testing.assert_array_equal(lifted, blind)
    assert found["PSNR"] == pytest.approx(runs.published.scores(lifted, case.reference)["PSNR"])


@pytest.mark.usefixtures("_no_benchmark_stays_loaded")
def test_values_that_are_not_finite_are_refused_not_forgiven(
    toy: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    methods, runs = benchmarks_over(toy, monkeypatch)

    def holed(case: SimpleNamespace, seed: int) -> object:
        lifted = case.reference + np.float32(0.1)
        lifted[3, 5, 2 : 2 + seed] = np.nan
        return methods.Trained(lift=lambda: lifted, parameters=0, flops=0)

    monkeypatch.setitem(methods.REGISTERED, "holed", holed)
    row = runs.PROTOCOL | {"scene": "one", "psf": "delta", "ratio": 4, "msi_bands": 4}
    assert runs.measured(row, "holed", 0)["PSNR"] > 15
    with pytest.raises(ValueError, match=r"2 of 15,680 lifted values are not finite"):
        runs.measured(row, "holed", 2)


@pytest.mark.usefixtures("_no_benchmark_stays_loaded")
def test_what_looks_at_the_cube_again_is_counted_whole(
    toy: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    methods, _ = benchmarks_over(toy, monkeypatch)
    lift = fitted(psf=KERNEL).lift
    components, bands, seen, side = len(lift.reach), 13, 3, 13 + RATIO - 1
    by_hand = {
        "network": bands * seen,
        "mixed": (components + seen) * bands * (1 + 1 / RATIO**2),
        "footprints": (components + seen + 1) * side * (1 / RATIO + 1 / RATIO**2),
        "kriging": 25 * components,
        "synthesis": components * bands,
    }
    assert methods.flops_of(lift) == pytest.approx(2 * sum(by_hand.values()), abs=1)
    assert methods.flops_of(lift.network) == 2 * by_hand["network"]


@pytest.mark.usefixtures("_no_benchmark_stays_loaded")
def test_the_baseline_of_the_ablation_is_the_published_recipe(
    toy: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    methods, runs = benchmarks_over(toy, monkeypatch)
    ablation = import_module("ablation")
    case = runs.published.case(runs.load("one"), ratio=4, msi_bands=4)
    variant = ablation.VARIANTS[ablation.BASELINE]
    ours = ablation.trained(case, 1, variant=variant, steps=40)
    recipe = methods.fitted(case, 1, method=SinPaperRecipe(steps=40))
    assert (ours.parameters, ours.flops) == (recipe.parameters, recipe.flops)
    np.testing.assert_allclose(ours.lift(), recipe.lift(), rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("_no_benchmark_stays_loaded")
def test_sin_is_above_the_published_recipe_on_a_real_scene(monkeypatch: pytest.MonkeyPatch) -> None:
    data = {"LIFT_XR_DATA": str(shared_data()), "LIFT_XR_RESULTS": "not written"}
    methods, runs = benchmarks_over(data, monkeypatch)
    case = runs.published.case(runs.load("samson"), ratio=8, msi_bands=4)
    scores = {
        name: runs.published.scores(methods.find(name)(case, 0).lift(), case.reference)
        for name in ("sin", "sin-paper")
    }
    assert scores["sin"]["PSNR"] > scores["sin-paper"]["PSNR"] + 1  # 2.5 dB were measured
    assert scores["sin"]["SAM"] < scores["sin-paper"]["SAM"]
    assert scores["sin"]["ERGAS"] < scores["sin-paper"]["ERGAS"]


def benchmarks_over(
    environment: dict[str, str], patch: pytest.MonkeyPatch
) -> tuple[ModuleType, ModuleType]:
    """The modules ``methods`` and ``runs``, in this process."""
    patch.syspath_prepend(BENCHMARKS)
    for key in ("LIFT_XR_DATA", "LIFT_XR_RESULTS"):
        patch.setenv(key, environment[key])
    return import_module("methods"), import_module("runs")


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
    found = wrong.of_scene(
        "one",
        protocol={"ratio": 4, "msi_bands": 4},
        method="linear",
        only=["right", "delta"],
    )
    assert found["right"][1]
    assert found["right"][0] > found["msi"][0]
    assert found["delta"] == found["msi"]  # which is refused, and the answer that of "msi"
    wrong.report({"one": found, "two": found | {"delta": (found["msi"][0] - 0.2, True)}})
    told = capsys.readouterr().out
    assert "| delta | +0.00* | -0.20 | -0.20 | 1 of 2 |" in told
    assert "by more than 0.1 dB: does not hold; the worst is -0.20 dB, delta" in told
    wrong.report({"one": found})
    assert "by more than 0.1 dB: holds" in capsys.readouterr().out


def test_wrong_point_spreads_of_any_number_of_bands_are_measured(toy: dict[str, str]) -> None:
    said = run(
        toy,
        *("wrong_psf.py", "--scene", "one", "--ratio", "4", "--msi-bands", "3"),
        *("--method", "linear", "--psf", "right", "narrowest that passes"),
    )
    rows = [line.split("|")[1].strip() for line in said.splitlines() if line.startswith("| ")]
    assert rows == ["psf", "---", '"msi", dB', "right", "narrowest that passes"]
    assert "by more than 0.1 dB: holds" in said


def test_make_bench_runs_every_method_of_the_first_table() -> None:
    by_hand, by_make = (
        re.search(r"wald\.py (.*) --quick$", path.read_text(), re.MULTILINE)
        for path in (BENCHMARKS / "RESULTS.md", BENCHMARKS.parent / "Makefile")
    )
    assert by_hand is not None
    assert by_make is not None
    assert set(by_hand[1].split()) <= set(by_make[1].split())


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
