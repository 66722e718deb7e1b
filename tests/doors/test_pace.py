"""When a run will end, foreseen at every moment of made-up runs whose end is known."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lift_xr.io.pace import pace_of

HOUR = 3600.0


@dataclass(frozen=True)
class Run:
    """When the tasks of a run ended, and from when on its end is to be foreseen."""

    ended: list[float]
    told: float
    task: float

    def errors(self, moments: Iterator[float]) -> Iterator[tuple[float, float]]:
        """Seconds by which the end is missed, and those left in truth."""
        for now in moments:
            done = bisect_right(self.ended, now)
            pace = pace_of(self.ended[:done], begun=0.0)
            assert pace is not None
            truth = self.ended[-1] - now
            foreseen = pace.seconds_for(len(self.ended) - done, idle=now - self.ended[done - 1])
            yield abs(foreseen - truth), truth

    def moments(self) -> Iterator[float]:
        """Just after each task, and some time after."""
        for one, other in zip(self.ended, self.ended[1:], strict=False):
            if one >= self.told:
                yield from (one, one + 0.4 * (other - one), one + 0.95 * (other - one))


def run(
    tasks: int,
    threads: int,
    *,
    task: float = 20.0,
    drift: float = 0.0,
    seed: int = 0,
    killed: int = 0,
    paused: float = 0.0,
    resumed_with: int = 0,
) -> Run:
    """Make up a run of so many threads, whose tasks last as long, more or less by a part.

    Parameters
    ----------
    killed, paused, resumed_with
        After so many tasks, for so many seconds, to go on with so many threads.
    """
    random = Random(seed)
    begin = 2.0  # seconds until the first task begins

    def ends(count: int, threads: int, begin: float) -> list[float]:
        free, found = [begin] * threads, []
        for _ in range(count):
            slot = free.index(min(free))
            free[slot] += task * (1 + random.uniform(-drift, drift))
            found.append(free[slot])
        return sorted(found)

    first = ends(tasks, threads, begin)
    if not killed:
        # Before, a task that began late and a burst of several look alike.
        clear = bisect_left(first, 1.4 * first[0])
        return Run(first, first[max(2 * threads - 1, clear)], task)
    again = resumed_with or threads
    rest = ends(tasks - killed, again, first[killed - 1] + paused)
    return Run(first[:killed] + rest, rest[min(again, len(rest)) - 1], task)


@pytest.mark.parametrize("threads", [64, 8, 1])
@pytest.mark.parametrize("drift", [0.0, 0.02])
def test_tasks_that_end_in_bursts_tell_the_end_after_the_second_one(threads, drift):
    told = run(3 * threads + 11, threads, drift=drift)
    for missed, truth in told.errors(told.moments()):
        assert missed <= 0.25 * truth + 5 * drift * told.task + 1e-6


@pytest.mark.parametrize("threads", [64, 8, 1])
@pytest.mark.parametrize("again", [64, 8, 1])
def test_a_night_between_two_runs_does_not_count_nor_do_the_threads_before_it(threads, again):
    told = run(
        3 * threads + 4 * again, threads, killed=2 * threads + 1, paused=9 * HOUR,
        resumed_with=again,
    )  # fmt: skip
    settled = [now for now in told.moments() if now >= told.ended[2 * threads] + 9 * HOUR + 100]
    for missed, truth in told.errors(iter(settled)):
        assert missed <= 0.25 * truth + 1e-6


@st.composite
def runs(draw: st.DrawFn, *, drift: float) -> Run:
    threads = draw(st.sampled_from([1, 2, 3, 8, 64]) | st.integers(1, 64))
    tasks = draw(st.integers(3 * threads + 1, 3 * threads + 100))
    stopped = draw(st.none() | st.integers(2 * threads, tasks - threads - 1))
    return run(
        tasks,
        threads,
        task=draw(st.sampled_from([0.5, 20.0, 140.0])),
        drift=draw(st.floats(0, drift)),
        seed=draw(st.integers(0, 99)),
        killed=stopped or 0,
        paused=draw(st.floats(2 * HOUR, 48 * HOUR)),
    )


@given(told=runs(drift=0.02), share=st.floats(0, 1))
def test_the_end_is_foreseen_to_a_quarter_at_any_moment_after_the_second_burst(told, share):
    now = told.told + share * (told.ended[-1] - told.told) * 0.999
    ((missed, truth),) = told.errors(iter([now]))
    assert missed <= 0.25 * truth + 0.1 * told.task


@given(told=runs(drift=0.1), share=st.floats(0, 1))
def test_threads_that_drift_apart_cost_no_more_than_the_time_of_one_task(told, share):
    now = told.told + share * (told.ended[-1] - told.told) * 0.999
    ((missed, truth),) = told.errors(iter([now]))
    assert missed <= 0.25 * truth + 1.2 * told.task


def test_a_handful_of_tasks_one_by_one_tells_the_rate():
    pace = pace_of([100.0, 110.0, 120.0, 130.0])
    assert pace is not None
    assert pace.rate == pytest.approx(0.1)
    assert pace.seconds_for(3, idle=4.0) == pytest.approx(26)
    assert pace.seconds_for(1, idle=15.0) == 0.0  # overdue: any moment
    assert pace.seconds_for(3, idle=15.0) == pytest.approx(20)
    assert pace.seconds_for(3, idle=5 * HOUR) == pytest.approx(30)  # nobody at work


def test_one_burst_that_nobody_knows_the_begin_of_tells_nothing():
    assert pace_of([]) is None
    assert pace_of([7.0]) is None
    assert pace_of([7.0] * 64) is None
    assert pace_of([7.0, 7.0 + 9 * HOUR]) is None
    assert pace_of([7.0], begun=0.0) is None


@pytest.mark.parametrize("threads", [2, 8, 64])
def test_a_first_burst_is_no_pace_but_a_round(threads):
    ended = [12.0 + 2.0 * task / threads for task in range(threads)]
    pace = pace_of(ended, begun=0.0)
    assert pace is not None
    assert pace.rate == pytest.approx(threads / 12)
    assert pace.seconds_for(10 * threads) == pytest.approx(120, rel=0.05)


def test_a_break_of_half_an_hour_is_told_by_what_the_first_task_took():
    ended = [20.0 * task for task in range(1, 11)]
    resumed = [*ended, *(moment + 1800 for moment in ended)]
    known, unknown = pace_of(resumed, begun=0.0), pace_of(resumed)
    assert known is not None
    assert unknown is not None
    assert known.rate == pytest.approx(0.05)
    assert unknown.rate < 0.02


def test_a_record_that_was_made_again_after_its_first_rows_tells_no_task_too_long():
    ended = [1e9 + 20.0 * task for task in range(10)]
    pace = pace_of(ended, begun=2e9)
    assert pace is not None
    assert pace.rate == pytest.approx(0.05)


@dataclass(frozen=True)
class Nodes:
    """So many nodes that begin one after the other, whose tasks last as long, more or less."""

    count: int
    task: float
    random: Random

    def ends(self, begin: float, end: float, *, vary: float) -> list[float]:
        found = []
        for node in range(self.count):
            now = begin + self.task * node / self.count
            while (now := now + self.task * (1 + self.random.uniform(-vary, vary))) < end:
                found.append(now)
        return sorted(found)


vary = pytest.mark.parametrize("vary", [0.0, 0.1, 0.5])
seeds = pytest.mark.parametrize("seed", range(5))


def foreseen(ended: list[float], left: int, **known: float) -> float:
    pace = pace_of(ended, **known)
    assert pace is not None
    return pace.seconds_for(left)


@vary
@seeds
@pytest.mark.parametrize("minutes", [117, 300])
@pytest.mark.parametrize("nodes", [3, 6, 20])
def test_nodes_that_join_are_counted_though_one_worked_alone_for_longer(vary, seed, minutes, nodes):
    random, begin = Random(seed), 3 * HOUR
    alone = Nodes(1, 600.0, random).ends(0.0, begin, vary=vary)
    joined = Nodes(nodes, 600.0, random).ends(begin, begin + 60 * minutes, vary=vary)
    assert foreseen(alone + joined, 60, begun=0.0) == pytest.approx(60 * 600 / nodes, rel=0.3)


@vary
@seeds
@pytest.mark.parametrize("hours", [4, 6])
def test_nodes_that_leave_are_counted_no_more(vary, seed, hours):
    random, begin = Random(seed), 6 * HOUR
    many = Nodes(6, 600.0, random).ends(0.0, begin, vary=vary)
    alone = Nodes(1, 600.0, random).ends(begin, begin + HOUR * hours, vary=vary)
    assert foreseen(many + alone, 60, begun=0.0) == pytest.approx(60 * 600, rel=0.3)


@vary
@seeds
@pytest.mark.parametrize(("before", "after"), [(60.0, 25.0), (0.6, 60.0), (300.0, 20.0)])
def test_the_last_spell_tells_the_pace_however_long_the_first_task_waited(
    vary, seed, before, after
):
    random, queue = Random(seed), 2 * HOUR
    one = Nodes(1, before, random).ends(queue, 2.1 * queue, vary=vary)
    again = one[-1] + 2 * HOUR
    other = Nodes(1, after, random).ends(again, again + 50 * after, vary=vary)
    assert foreseen(one + other, 100, begun=0.0) == pytest.approx(100 * after, rel=0.25)


@pytest.mark.parametrize("tasks", [6, 20, 58])
def test_a_fast_spell_counts_before_it_is_as_long_as_one_task_of_a_slow_one(tasks):
    slow = [590.0 * task for task in range(1, 20)]
    fast = [slow[-1] + 9 * HOUR + 10.0 * task for task in range(tasks)]
    truth = 100 * 10.0
    assert truth < foreseen(slow + fast, 100, begun=0.0) < 1.2 * truth * 59 / tasks
