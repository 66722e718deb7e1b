"""Killed with SIGKILL at more than fifty moments: no more is done again than was in flight.

The benchmark ``kills`` does the same at length, with the same diary and the same way to kill.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests import processes
from tests.clusters import two_workers

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
EDGE, SHARD = 160, 32
SHARDS = 25
KILLS = 10  # of a run, within its tasks
OTHERS = 5  # of runs that are made or completed
seeds = pytest.mark.parametrize("seed", range(2))

pytestmark = pytest.mark.filterwarnings("ignore:.* and were clipped:UserWarning")


@pytest.fixture(scope="module")
def kills() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)  # for the processes that are killed as well
        module = import_module("kills")
        processes.ready()  # with what tests import, whatever the benchmark would
        yield module


@pytest.fixture(scope="module")
def inputs(kills: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mosaic, and a model to lift it with."""
    prepared: Path = kills.prepare(tmp_path_factory.mktemp("inputs"), EDGE, SHARD)
    return prepared


@pytest.fixture(scope="module")
def whole(kills: ModuleType, inputs: Path) -> dict[str, bytes]:
    """The files of a run that nobody disturbed."""
    place = kills.Place(inputs, inputs / "whole.zarr", inputs / "diary", SHARD)
    kills.write(place)
    files: dict[str, bytes] = kills.files_of(place.store)
    return files


@pytest.fixture
def place(kills: ModuleType, inputs: Path, tmp_path: Path) -> Any:
    return kills.Place(inputs, tmp_path / "s.zarr", tmp_path / "diary", SHARD, SHARDS)


def kill_again_and_again(kills: ModuleType, place: Any, seed: int, **settings: Any) -> list[Any]:
    """Kill a process within a task, and each that goes on after it; tell what they left."""
    moments, lefts = random.Random(seed), list[Any]()
    for number in range(KILLS):
        process = processes.another(kills.write, place, **settings)
        process.start()
        within = kills.TASK if number % 2 else kills.BEGUN / 2  # every second before it reads
        moment = kills.Moment(moments.uniform(0, within), "in a task")
        lefts.append(kills.kill_process(process, place, moment))
    return [each for each in lefts if isinstance(each, kills.Left)]


def expect_redone(place: Any, lefts: list[Any], *, compared: int) -> None:
    """Shards were begun again no more often than they were in flight."""
    in_flight = Counter(index for left in lefts for index in left.in_flight)
    started = place.started()
    assert Counter(started) - Counter(set(started)) <= in_flight
    assert place.looks() <= compared
    assert len(set(started)) == SHARDS


@seeds
def test_a_run_that_is_killed_again_and_again_does_no_more_than_what_was_in_flight_again(
    kills: ModuleType, place: Any, whole: dict[str, bytes], seed: int
) -> None:
    lefts = kill_again_and_again(kills, place, seed, resume=True)
    assert any(each.in_flight for each in lefts)
    kills.write(place, resume=True)
    assert kills.files_of(place.store) == whole
    expect_redone(place, lefts, compared=KILLS)  # each run that goes on looks at one shard


@pytest.mark.parametrize("when", ["as it is made", "as it is completed"])
def test_a_run_that_is_killed_before_its_shards_or_after_them_is_finished(
    kills: ModuleType, place: Any, whole: dict[str, bytes], when: str
) -> None:
    """Some of these kills come late, to a run that has ended: then there is nothing to finish."""
    moments = random.Random(0)
    for number in range(OTHERS):
        folder = place.store.parent / str(number)
        folder.mkdir()
        here = replace(place, store=folder / "s.zarr", diary=folder / "diary")
        process = processes.another(kills.write, here, resume=True)
        process.start()
        longest = kills.MAKING if when == "as it is made" else kills.COMPLETING / 4
        left = kills.kill_process(process, here, kills.Moment(moments.uniform(0, longest), when))
        kills.write(here, resume=True)
        assert kills.files_of(here.store) == whole
        expect_redone(here, [left] if isinstance(left, kills.Left) else [], compared=1)


@seeds
def test_a_part_that_is_killed_while_another_writes_is_run_again(
    kills: ModuleType, place: Any, whole: dict[str, bytes], seed: int
) -> None:
    write = partial(kills.write, place, threads=1)
    other = processes.another(write, part=(2, 2))
    other.start()
    lefts = kill_again_and_again(kills, place, seed, threads=1, part=(1, 2))
    assert any(each.in_flight for each in lefts)
    other.join()
    assert other.exitcode == 0
    write(part=(1, 2))
    assert kills.files_of(place.store) == whole
    expect_redone(place, lefts, compared=3 * (KILLS + 2))  # and at one of each neighbour


def test_a_worker_that_is_killed_costs_what_it_had_in_flight(
    kills: ModuleType, place: Any, whole: dict[str, bytes]
) -> None:
    lefts, moments = list[Any](), random.Random(0)
    with two_workers(silence_logs=50) as client:
        while len(lefts) < 2 or not any(each.in_flight for each in lefts):
            which = len(lefts)
            client.wait_for_workers(2)
            here = replace(
                place,
                store=place.store.with_name(f"{which}.zarr"),
                diary=place.diary.with_name(f"{which}"),
            )
            moment = kills.Moment(moments.uniform(0, kills.BEGUN / 2), "in a task")
            left = kills.kill_one_of(client, here, moment, which=which)
            assert kills.files_of(here.store) == whole
            assert isinstance(left, kills.Left)
            lefts.append(left)
            expect_redone(here, [left], compared=0)
