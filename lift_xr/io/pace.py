"""How fast tasks end, and when the last will: told by nothing but the moments they ended at.

Threads that begin together end together: 64 tasks in a burst, then none for as long as one takes.
So tasks are counted from the first of one burst to the first of another, never from within one; and
those that are left are expected as the last ones came, each a period later.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise

ROUNDS, TASKS = 4, 16  # what is recent: so many times what a task takes, and so many tasks
ENOUGH = 4  # tasks since a pause tell the pace without those before: maybe on another machine
MUCH = 2  # times the pace of an earlier spell: too much for a burst of tasks that vary
APART = 3  # gaps so many times shorter than the usual one are within a burst
PAUSE = 4  # times what the first task took: longer is no work, but nobody at work
SHORTEST, LONGEST = 600.0, 3600.0  # seconds: no gap below is a pause, and any above is

Spell = Sequence[float]  # moments without a pause between
Gap = tuple[int, float]  # from burst to burst: the tasks of the first, and seconds


@dataclass(frozen=True)
class Pace:
    """How tasks end.

    Parameters
    ----------
    period
        Seconds from burst to burst, which is what a task takes where they end in bursts.
    recent
        When the tasks of the last period ended, ascending: seconds since the last of all, so never
        positive, as if there had been no pause. One, where tasks end one by one.
    pause
        Seconds without a task after which nobody is at work.
    """

    period: float
    recent: tuple[float, ...]
    pause: float

    @property
    def rate(self) -> float:
        """Tasks a second."""
        return len(self.recent) / self.period

    def seconds_for(self, left: int, *, idle: float = 0.0) -> float:
        """Foresee how long so many more tasks take, from now.

        Parameters
        ----------
        left
            Tasks, at least one.
        idle
            Seconds since the last. Where nobody is at work: as if somebody began just now.
        """
        rounds, place = divmod(left - 1, len(self.recent))
        if idle > self.pause:
            return (rounds + 1) * self.period
        now = min(idle, self.recent[0] + self.period)  # what is overdue is about to end
        return max(0.0, self.recent[place] + (rounds + 1) * self.period - now)


def pace_of(moments: Sequence[float], *, begun: float | None = None) -> Pace | None:
    """Tell how tasks ended lately; None of fewer than two, or of a burst begun nobody knows when.

    Parameters
    ----------
    moments
        When tasks ended, in seconds, ascending.
    begun
        When the first of them began, or before: what is far longer than it took is a pause.
    """
    if not moments:
        return None
    known = begun is not None and begun <= moments[0]  # else by another clock, or made again
    first = moments[0] - begun if known and begun is not None else 0.0
    pause = min(LONGEST, max(SHORTEST, PAUSE * first)) if known else LONGEST
    if len(moments) > 1 and _one_burst(moments, first):
        return Pace(first, _last(moments, len(moments), pause, first), pause)
    spells = list(_spells(moments, pause))
    gaps = _recent(_telling(spells))
    tasks, seconds = sum(each for each, _ in gaps), sum(each for _, each in gaps)
    if not seconds:
        return None
    burst = max(1, round(tasks / len(gaps)))
    period = burst * seconds / tasks
    if (faster := _faster(spells, tasks / seconds)) is not None:
        burst, period = faster
    return Pace(period, _last(moments, burst, pause, period), pause)


def _one_burst(moments: Sequence[float], first: float) -> bool:
    """Whether all tasks began with the first, and ended with it or soon after.

    A first one that took longer than the shortest pause has waited, which tells nothing.
    """
    return first <= SHORTEST and moments[-1] - moments[0] < first / APART


def _spells(moments: Sequence[float], pause: float) -> Iterator[Spell]:
    """Cut at the pauses."""
    begin = 0
    for end, (earlier, later) in enumerate(pairwise(moments), start=1):
        if later - earlier > pause:
            yield moments[begin:end]
            begin = end
    yield moments[begin:]


def _telling(spells: Sequence[Spell]) -> Sequence[Spell]:
    """Choose the spells of more than one burst, as are those longer than any gap.

    The last of them alone, where it tells enough.
    """
    longest = _longest(spells)
    telling = [each for each in spells if each[-1] - each[0] >= longest] or spells
    return telling[-1:] if len(telling[-1]) > ENOUGH else telling


def _faster(spells: Sequence[Spell], rate: float) -> Gap | None:
    """The last spell, where it cannot tell its pace yet and is much faster than that before.

    It may be one burst. So it counts for no more: its tasks in the longest time that one may take.
    """
    last, longest = spells[-1], _longest(spells)
    many = len(last) > max(ENOUGH, MUCH * rate * longest)
    return (len(last), longest) if many and last[-1] - last[0] < longest else None


def _longest(spells: Sequence[Spell]) -> float:
    """The longest gap: about what a task takes where they end in bursts, else no less than one."""
    return max((later - earlier for each in spells for earlier, later in pairwise(each)), default=0)


def _recent(spells: Sequence[Spell]) -> list[Gap]:
    """Take what is recent, the latest first: several of the longest gaps, so several bursts.

    What is within a burst is judged by that alone, for tasks may have come at another pace before.
    """
    since = ROUNDS * _longest(spells)
    kept, held, passed = list[Gap](), 0, 0.0
    near = _usual([_end(each, since) for each in spells]) / APART
    for tasks, seconds in chain.from_iterable(_gaps(each, near) for each in reversed(spells)):
        other = seconds > since  # no burst lasts that long: tasks at another, faster pace
        if held >= (ENOUGH if other else TASKS) and (other or passed >= since):
            break
        kept.append((tasks, seconds))
        held += tasks
        passed += seconds
    return kept


def _end(spell: Spell, seconds: float) -> Spell:
    """The end of a spell: so many seconds of it, and so many tasks."""
    return spell[max(0, min(bisect_left(spell, spell[-1] - seconds), len(spell) - 1 - TASKS)) :]


def _usual(spells: Sequence[Spell]) -> float:
    """The gap in which half of the time passes, or in longer ones: between bursts, not in them."""
    gaps = sorted(later - earlier for each in spells for earlier, later in pairwise(each))
    sums = list(accumulate(gaps))
    return gaps[bisect_left(sums, sums[-1] / 2)] if gaps else 0.0


def _gaps(spell: Spell, near: float) -> Iterator[Gap]:
    """Count the tasks from the first of each burst to the first of the next, latest first."""
    starts = [0, *(at for at, (a, b) in enumerate(pairwise(spell), start=1) if b - a > near)]
    for end, begin in pairwise(reversed(starts)):
        yield end - begin, spell[end] - spell[begin]


def _last(moments: Sequence[float], burst: int, pause: float, period: float) -> tuple[float, ...]:
    """Say when the last tasks ended, with a period in place of a pause."""
    found = [0.0]
    for earlier, later in pairwise(reversed(moments[-burst:])):
        gap = earlier - later
        found.append(found[-1] - (period if gap > pause else gap))
    return tuple(reversed(found))
