"""Run one task a shard wherever dask runs tasks: try again what fails, and go on without it."""

from __future__ import annotations

import heapq
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from errno import EDQUOT, ENOSPC, EROFS

import dask.array as da

from lift_xr.io.cores import TURN
from lift_xr.io.engines import Done, Engine, Finished, Index, engine_for
from lift_xr.io.root import Replaced

TRIES = 4
BACKOFF = 1.0  # seconds before the second try; each further one waits four times as long
HOPELESS = 10  # shards far apart that failed, and none that did not: the fault is not in the shards
FULL = (ENOSPC, EDQUOT, EROFS)  # a disk that is full, for all or for us, or cannot be written
LISTEN = 0.5  # seconds between two looks at whether to stop


def run_shards(
    statuses: da.Array,
    todo: Sequence[Index],
    *,
    stop: threading.Event,
    shared: bool = False,
    done: Done | None = None,
) -> Iterator[Finished]:
    """Compute blocks of an array whose tasks write one shard each, and tell of each as it ends.

    With a distributed client the tasks run on its workers, else on the scheduler that dask is set
    to, threads by default. A task that raises is tried ``TRIES`` times in all, but for one
    that killed as many workers as the cluster allows; once a disk is full
    after these, or the store is another run's, no other task is begun. Every shard is one
    task, which computes what it needs for itself, so nothing travels or is held between two; only
    what half of them ask for directly, such as a model or a mean of the whole scene, is computed
    once before.

    Parameters
    ----------
    statuses
        An array with one chunk a shard.
    todo
        The blocks to compute.
    stop
        Once set, tasks that run are waited for and no other is started.
    shared
        Whether other processes, maybe of this machine, run tasks of the same run: then all of them
        together have as many under way here as there are cores.
    done
        Asked of each task where it runs, before it does: another process may have done it.
    """
    if not todo:
        return
    with engine_for(statuses, todo, shared=shared, done=done) as engine:
        yield from _Run(engine, todo, stop).results()


class _Run:
    """The tasks of one run: which wait, which are under way, how often each was tried."""

    def __init__(self, engine: Engine, todo: Sequence[Index], stop: threading.Event) -> None:
        self.engine, self.stop = engine, stop
        self.waiting = deque(_spread(todo))
        self.later: list[tuple[float, Index]] = []  # a heap of (when, what)
        self.running: set[Index] = set()
        self.tries: Counter[Index] = Counter()
        self.written = self.failed = 0
        self.hopeless = False

    def results(self) -> Iterator[Finished]:
        while self.waiting or self.later or self.running:
            if (
                self.stop.is_set()
                or self.hopeless
                or (self.failed >= HOPELESS and not self.written)
            ):
                self._stop_starting()
            self._start()
            for finished in self.engine.collect(self._patience()):
                if finished.index in self.running:  # not one that was abandoned
                    self.running.remove(finished.index)
                    if not self._try_again(finished):
                        yield self._counted(finished)

    def _start(self) -> None:
        while self.later and self.later[0][0] <= time.monotonic():
            # First in turn: what ends all hope is known before all others have been tried in vain.
            self.waiting.appendleft(heapq.heappop(self.later)[1])
        while self.waiting and self.engine.has_room(len(self.running)):
            index = self.waiting.popleft()
            self.running.add(index)
            self.tries[index] += 1
            self.engine.start(index)

    def _patience(self) -> float:
        if self.running:
            return LISTEN
        if self.waiting:
            return TURN
        if not self.later:
            return 0
        return max(0.0, min(LISTEN, self.later[0][0] - time.monotonic()))

    def _try_again(self, finished: Finished) -> bool:
        tries = self.tries[finished.index]
        if finished.error is None or tries == TRIES or self.stop.is_set() or self.hopeless:
            return False
        if isinstance(finished.error, Replaced) or finished.final:
            return False
        due = time.monotonic() + BACKOFF * 4 ** (tries - 1)
        heapq.heappush(self.later, (due, finished.index))
        return True

    def _counted(self, finished: Finished) -> Finished:
        self.written += finished.error is None
        self.failed += finished.error is not None
        self.hopeless |= isinstance(finished.error, Replaced)
        self.hopeless |= isinstance(finished.error, OSError) and finished.error.errno in FULL
        return replace(finished, tries=self.tries[finished.index])

    def _stop_starting(self) -> None:
        self.waiting.clear()
        self.later.clear()
        self.running.difference_update(self.engine.abandon())


def _spread(todo: Sequence[Index]) -> list[Index]:
    """Begin at places far apart, then in order: a fault of one place does not look like all."""
    some = {round(each * len(todo) / HOPELESS) for each in range(min(HOPELESS, len(todo)))}
    first = [index for place, index in enumerate(todo) if place in some]
    return first + [index for place, index in enumerate(todo) if place not in some]
