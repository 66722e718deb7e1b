"""The benchmarks still run, at toy size."""

from __future__ import annotations

import shutil
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from lift_xr.io import WriteFailed, compute, open_scene, shards, write_zarr
from tests.processes import run_script
from tests.scenes import located, shared_data

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
TOY = ("--shape", 160, 160, "--shard", 40, "--method", "linear", "--threads", 2, "--cells", 8)
SCALES = ("--times", 1, 4, "--shard", 40, "--edge", 2, "--method", "linear", "--keep", "sample")


def run(script: str, *options: object) -> str:
    done = run_script(BENCHMARKS / script, *options, forks=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_kernel_is_timed_against_pixel_major_layers() -> None:
    told = run("kernel.py", "--edge", 16, "--pairs", 1)
    assert len([line for line in told.splitlines() if line.startswith("|")]) == 4


def test_the_training_of_methods_is_timed() -> None:
    told = run("training.py", "linear", "--size", 8, "--bands", 10, "--rounds", 1)
    assert len([line for line in told.splitlines() if line.startswith("|")]) == 3


def test_what_lifting_costs_is_timed_by_method() -> None:
    told = run("lifting.py", "linear", "--edge", 40, "--ratio", 4, "--bands", 10, "--rounds", 1)
    assert "| linear | " in told
    assert told.rstrip().endswith("| 1.00 (1.00-1.00) |")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a large mosaic is written; the model beside it is trained by who comes first."""
    return tmp_path_factory.mktemp("houston") / "h.zarr"


def test_some_shards_of_a_large_mosaic_tell_what_all_would_take(store: Path) -> None:
    told = run("houston.py", *TOY, "--store", store, "--shards", 2, "--pairs", 1)
    assert "2 shards, 0.00 Mpx, 1 times" in told
    assert "wall / (all steps): " in told
    assert "All 16 shards, by area: " in told
    assert "| files | " in told
    assert "| planned, MiB | " in told


def test_some_shards_of_a_large_mosaic_are_read_from_a_file(tmp_path: Path) -> None:
    some = ("--store", tmp_path / "h.zarr", "--shards", 2, "--pairs", 1, "--method", "linear")
    assert "wall / (all steps): " in run("houston.py", *TOY, *some, "--file")
    msi = open_scene(tmp_path / "h-msi.zarr")
    assert (msi.isel(band=0) > 0).any()


def test_a_large_mosaic_is_written_checked_and_dropped(store: Path) -> None:
    shutil.rmtree(store, ignore_errors=True)
    told = run("houston.py", *TOY, "--store", store, "--full", "--keep", "pyramid")
    assert "| shards checked as written | 16 |" in told
    assert "| shards dropped | 8 |" in told
    assert np.isfinite(open_scene(store)).sum() == 8 * 40 * 40 * 50  # the rest reads as nodata
    assert run("looks.py", store, "--repeats", 2, "--least", 40).count("| spectrum, ") == 3


def test_what_comes_before_the_first_read_is_timed() -> None:
    told = run("planning.py", "--shape", 320, 160, "--repeats", 1)
    assert len([line for line in told.splitlines() if line.startswith("|")]) == 5


def test_time_and_memory_are_compared_over_areas(tmp_path: Path) -> None:
    told = run("scaling.py", *SCALES, "--mosaics", tmp_path)
    assert told.count("largest over smallest") == 3
    assert {each.name for each in tmp_path.iterdir()} == {"mosaic-80.zarr", "mosaic-160.zarr"}


@pytest.fixture
def discarding(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return import_module("discarding")


def test_a_shard_is_dropped_only_if_it_is_what_its_task_wrote(
    discarding: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compute, "BACKOFF", 0.0)
    monkeypatch.setattr(shards, "checksum", lambda _: 0)
    store = discarding.Discarding(tmp_path / "s.zarr", kept=0)
    with pytest.raises(WriteFailed, match="Damaged: shard"):
        write_zarr(located(40, 40).assign_attrs(units="1"), store, shard=20)
    assert len([*(tmp_path / "s.zarr/0/reflectance/c").rglob("0")]) > 0
    monkeypatch.undo()
    write_zarr(located(40, 40).assign_attrs(units="1"), store, shard=20, resume=True)
    assert len(discarding.discarded(tmp_path / "s.zarr")) == 4
    left = (tmp_path / "s.zarr/0/reflectance/c").rglob("*")
    assert not [each for each in left if each.is_file()]


def test_what_a_run_has_recorded_can_be_dropped_unread(
    discarding: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "checksum", lambda _: 0)
    store = discarding.Discarding(tmp_path / "s.zarr", checked=False)
    write_zarr(located(40, 40).assign_attrs(units="1"), store, shard=20)
    left = {
        path: (tmp_path / "s.zarr" / path).rglob("*") for path in ("0/reflectance/c", "_progress")
    }
    files = {path: sum(each.is_file() for each in found) for path, found in left.items()}
    assert files["0/reflectance/c"] == 0
    assert files["_progress"] >= 4


def test_what_is_asked_of_a_recipe_is_timed_against_its_block() -> None:
    told = run("recipe.py", "--edge", 40, "--rounds", 1)
    assert len([line for line in told.splitlines() if line.startswith("|")]) == 8


def test_stated_intervals_are_held_against_errors() -> None:
    shared_data()
    told = run("uncertainty.py", "--rows", 1, "--method", "sin")
    covered = float(told.splitlines()[-1].split()[2].rstrip("%,"))
    assert 85 <= covered <= 95
    assert "1 of 1 rows within 85 to 95 %" in told


def test_killed_runs_are_finished_to_the_same_bytes() -> None:
    toy = ("--kills", 3, "--aimed", 0, "--modes", "run,worker,part", "--edge", 160, "--shard", 64)
    told = [line for line in run("kills.py", *toy).splitlines() if line.startswith("|")]
    kills = [line.split("|")[3:-1] for line in told[2:]]
    assert [(int(count), int(same)) for count, _, same, *_ in kills] == [(1, 1)] * 3
    assert [int(too_many) for *_, too_many in kills] == [0] * 3
