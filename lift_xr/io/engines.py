"""Where tasks run: threads and processes of this machine, or the workers of a cluster."""

from __future__ import annotations

import os
import queue
import resource
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import CancelledError, Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import dask
import dask.array as da
import dask.multiprocessing
import dask.threaded
from dask._task_spec import Alias, DataNode, Task, TaskRef, convert_legacy_graph, execute_graph
from dask.base import get_scheduler
from dask.core import get_deps
from dask.local import get_sync
from dask.optimization import cull
from dask.utils import ensure_dict, key_split

from lift_xr.io.allocator import give_back, settle
from lift_xr.io.codecs import one_codec_at_a_time
from lift_xr.io.cores import SharedCores, cores, one_core, shared_cores
from lift_xr.laps import laps
from lift_xr.workers import find_client

Index = tuple[int, ...]
Graph = dict[Any, Any]
Done = Callable[[Index], bool]  # whether a task is done already


class ClusterGone(ConnectionError):
    """The scheduler that had the tasks of a run ended, is out of reach, or has no worker."""


@dataclass(frozen=True)
class Ran:
    """What one task cost, as the process says that ran it.

    Parameters
    ----------
    value
        What it returned, one number.
    seconds
        From its first read to its last write.
    laps
        Seconds of these that went into what has a name.
    host, pid
        Which process ran it.
    peak_rss
        The most memory that process has held so far, in bytes.
    """

    value: int
    seconds: float
    laps: dict[str, float]
    host: str
    pid: int
    peak_rss: int


@dataclass(frozen=True)
class Finished:
    """What became of one shard.

    Parameters
    ----------
    index
        Of its block.
    error
        What its last try raised; None for a shard that is written.
    ran
        What its last try cost; None where it failed.
    tries
        How many there were.
    final
        Whether it was tried often enough where it ran.
    """

    index: Index
    error: BaseException | None = None
    ran: Ran | None = None
    tries: int = 1
    final: bool = False


class Engine(Protocol):
    """Where tasks run."""

    def has_room(self, running: int) -> bool:
        """Whether a task may be started beside so many that have not finished; then it must be."""

    def start(self, index: Index) -> None:
        """Start a task, or start it again."""

    def collect(self, seconds: float) -> list[Finished]:
        """Wait so long for tasks to finish."""

    def abandon(self) -> Collection[Index]:
        """Give back tasks that were started and that nobody has begun.

        A worker of a cluster has begun what it was sent: what it computes, and what waits there.
        """


def out_of_reach() -> bool:
    """Tell whether tasks run where this process's memory cannot be written."""
    if client_in_charge() is not None:
        return True
    return "multiprocessing" in str(getattr(get_scheduler(), "__module__", ""))


@contextmanager
def engine_for(
    statuses: da.Array, todo: Sequence[Index], *, shared: bool = False, done: Done | None = None
) -> Iterator[Engine]:
    """Find out where tasks run, and make ready to run them there.

    Of one run, no more are at work on a machine than it has cores, whatever dask was told.

    Parameters
    ----------
    shared
        Take turns at this machine's cores with other processes, as workers of a cluster always do.
    done
        Asked where a task runs, before it does: it may have been done meanwhile.
    """
    client = client_in_charge()
    work = _Work.of(statuses, todo, done, turns=client is not None)
    if client is not None:
        from lift_xr.io.group import left_to_client  # where there is a client, distributed is there

        with left_to_client(client):
            yield _Cluster(client, work, todo)
        return
    settle()  # before the threads below ask for memory
    get = get_scheduler() or dask.threaded.get
    workers = cores(dask.config.get("num_workers", None))
    with ExitStack() as pools:
        turns = shared_cores() if shared else None
        if turns is not None:
            pools.callback(turns.close)  # after the pools below have finished
        if get is dask.threaded.get:
            pool = pools.enter_context(ThreadPoolExecutor(workers, "lift-xr"))
            yield _Here(work.with_shared(get), get_sync, pool, workers, turns)
        elif get is dask.multiprocessing.get:
            children = _Children(workers)
            pools.callback(children.close)
            pool = pools.enter_context(ThreadPoolExecutor(workers, "lift-xr"))
            yield _Here(work.with_shared(children), children, pool, workers, turns)
        else:
            yield _Here(work.with_shared(get), get, _Inline(), 1, turns)


@dataclass(frozen=True)
class _Work:
    """The graph of all shards, and one task for each.

    Parameters
    ----------
    graph
        Optimized.
    name
        Begins the keys of the shards.
    shared
        What so many shards ask for that it is computed once for all.
    done
        Whether a shard need not be computed.
    turns
        Whether each task waits for a core where it runs.
    """

    graph: Graph
    name: str
    shared: frozenset[Any] = field(default_factory=frozenset)
    done: Done | None = None
    turns: bool = False

    @classmethod
    def of(
        cls, statuses: da.Array, todo: Sequence[Index], done: Done | None, *, turns: bool
    ) -> _Work:
        """Find out what the shards share: what at least half of them ask for directly."""
        keys = [(statuses.name, *index) for index in todo]
        optimized = da.optimize(statuses.__dask_graph__(), keys)
        graph: Graph = convert_legacy_graph(ensure_dict(optimized))
        _, dependents = get_deps(graph)
        most = max(1, len(todo) // 2)
        shared = (key for key, users in dependents.items() if len(users) > most)
        return cls(graph, statuses.name, frozenset(shared), done, turns)

    def with_shared(self, get: Callable[..., Any]) -> _Work:
        """Compute what is shared."""
        shared = list(self.shared)
        values = get(cull(self.graph, shared)[0], shared) if shared else ()
        nodes = {key: DataNode(key, value) for key, value in zip(shared, values, strict=True)}
        return replace(self, graph=self.graph | nodes)

    def alone(self, index: Index) -> Graph:
        """One task that computes a shard, and all that it needs beside."""
        task = self.task(index)
        return {task.key: task, **self.beside([task])}

    def beside(self, tasks: Collection[Task]) -> Graph:
        """What tasks need beside; without what a cluster holds already, as futures."""
        outer = {key for each in tasks for key in each.dependencies}
        graph: Graph = cull(self.graph, [key for key in outer if key in self.graph])[0]
        return graph

    def task(self, index: Index) -> Task:
        """One task that computes a shard from what is shared, and from arrays in memory."""
        key = (self.name, *index)
        inner: Graph = {}
        given, wanted = set(), [key]
        while wanted:
            each = wanted.pop()
            if each in self.shared or not isinstance(self.graph.get(each), Task | Alias):
                given.add(each)
            elif each not in inner:
                inner[each] = self.graph[each]
                wanted.extend(inner[each].dependencies)
        outer = tuple(given)
        run = _run_in_turn if self.turns else _run_alone
        return Task(key, run, inner, key, outer, self.done, *map(TaskRef, outer))


def _run_in_turn(*task: Any) -> Ran:
    """Compute one shard once a core is free: a worker may have more threads, and neighbours."""
    with one_core():
        return _run_alone(*task)


def _run_alone(
    inner: Graph, key: Any, given: tuple[Any, ...], done: Done | None, *values: Any
) -> Ran:
    """Compute one shard, and say what it cost: nothing, where it is done.

    A cluster runs a task again that was done, where its worker died before anybody heard of it.
    """
    settle()
    start, value = time.perf_counter(), 0
    with laps() as spent, one_codec_at_a_time():  # while it reads, too
        if done is None or not done(key[1:]):
            known = {each: DataNode(each, value) for each, value in zip(given, values, strict=True)}
            found: Any = execute_graph({**inner, **known}, keys=[key])
            value = int(found[key].item())
    give_back()
    return Ran(
        value=value,
        seconds=time.perf_counter() - start,
        laps=dict(spent),
        host=socket.gethostname(),
        pid=os.getpid(),
        peak_rss=_peak_rss(),
    )


def _peak_rss() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


class _Inline(Executor):
    """Runs what is submitted there and then: dask's synchronous scheduler, for debuggers."""

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        function(*args, **kwargs)


class _Children:
    """Processes of this one that compute graphs; when one of them is killed, others take over.

    The graphs that were under way then fail, whichever of them it was.
    """

    def __init__(self, workers: int) -> None:
        self.workers, self.lock = workers, threading.Lock()
        self.pool = self._born()

    def __call__(self, graph: Graph, keys: Sequence[Any]) -> Any:
        pool = self.pool
        try:
            return dask.multiprocessing.get(graph, keys, pool=pool)
        except BrokenProcessPool:
            with self.lock:
                if self.pool is pool:
                    self.pool = self._born()
            raise

    def close(self) -> None:
        self.pool.shutdown()

    def _born(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(self.workers, dask.multiprocessing.get_context())


class _Here:
    """Tasks run in this process, or in its own children: one graph a task, threads share none."""

    def __init__(
        self,
        work: _Work,
        get: Callable[..., Any],
        pool: Executor,
        places: int,
        turns: SharedCores | None,
    ) -> None:
        self.work, self.get, self.pool, self.places, self.turns = work, get, pool, places, turns
        self.finished: queue.Queue[Finished] = queue.Queue()

    def has_room(self, running: int) -> bool:
        return running < self.places and (self.turns is None or self.turns.take())

    def start(self, index: Index) -> None:
        self.pool.submit(self._run, index)

    def collect(self, seconds: float) -> list[Finished]:
        return _drained(self.finished, seconds)

    def abandon(self) -> Collection[Index]:
        return ()

    def _run(self, index: Index) -> None:
        try:
            (ran,) = self.get(self.work.alone(index), [(self.work.name, *index)])
            found = Finished(index, ran=ran)
        except Exception as error:
            found = Finished(index, error)
        except BaseException as error:  # of code that means to end its process: from a thread, a
            self.finished.put(Finished(index, error))  # run would wait for ever for its task
            raise
        finally:
            if self.turns is not None:
                self.turns.give()
        self.finished.put(found)


class _Cluster:
    """Tasks run on the workers of a distributed client, which get the whole graph at once."""

    def __init__(self, client: Any, work: _Work, todo: Sequence[Index]) -> None:
        self.client, self.work = client, work
        self.finished: queue.Queue[Finished] = queue.Queue()
        tasks = {each.key: each for each in map(work.task, todo)}
        graph = {**work.beside(tasks.values()), **tasks}
        self.futures = dict(zip(todo, client.get(graph, list(tasks), sync=False), strict=True))

    def has_room(self, running: int) -> bool:
        return True

    def start(self, index: Index) -> None:
        if self.futures[index].status in ("error", "cancelled", "lost"):
            self._expect_there()
            self._submit_again(index)
        self.futures[index].add_done_callback(partial(self._tell, index))

    def collect(self, seconds: float) -> list[Finished]:
        from distributed.scheduler import NoWorkerError

        found = _drained(self.finished, seconds)
        for each in found:
            if isinstance(each.error, NoWorkerError):  # to try again is to wait again, in vain
                raise gone("no worker came for as long as no-workers-timeout says") from each.error
        return [self._fetched(each) for each in found]

    def abandon(self) -> Collection[Index]:
        self._expect_there()
        try:
            begun = {key for keys in self.client.processing().values() for key in keys}
            idle = [index for index, each in self.futures.items() if each.key not in begun]
            idle = [index for index in idle if not self.futures[index].done()]
            self.client.cancel([self.futures[index] for index in idle])
        except OSError as error:  # which the client had not noticed yet
            raise gone() from error
        return idle

    def _expect_there(self) -> None:
        """Raise where the client has given up its scheduler, which it does after half a minute."""
        if self.client.status in ("closing", "closed"):
            raise gone()

    def _fetched(self, finished: Finished) -> Finished:
        """Fetch what a task returned, and let go of it.

        The cluster would compute again whatever a client holds on to, were the worker that ran it
        to die.
        """
        if finished.error is not None:
            return finished
        try:
            ran = self.futures[finished.index].result()
        except Exception as error:  # its worker died just now, and then it failed
            return replace(finished, error=error)
        del self.futures[finished.index]
        return replace(finished, ran=ran)

    def _submit_again(self, index: Index) -> None:
        from distributed import Future

        # Client.retry trips over a task that failed below the one asked for, and the scheduler
        # remembers its error. As a call with a key of its own it is new to everyone.
        graph, key = self.work.alone(index), (self.work.name, *index)
        held = tuple(each for each in graph[key].dependencies if each not in graph)
        futures = [Future(each, self.client) for each in held]
        again = f"{key_split(self.work.name)}-again-{uuid.uuid4().hex}"
        self.futures[index] = self.client.submit(_Alone(graph, key, held), *futures, key=again)

    def _tell(self, index: Index, future: Any) -> None:
        from distributed import KilledWorker

        error = None
        if future.status != "finished":
            error = future.exception() if future.status == "error" else None
            error = error or CancelledError(f"the cluster says {future.status}")
        # A shard that kills its workers has killed several by then, and would kill as many again.
        self.finished.put(Finished(index, error, final=isinstance(error, KilledWorker)))


def gone(found: str = "its scheduler has ended") -> ClusterGone:
    """Say that a cluster is of no use any more, and what to do."""
    return ClusterGone(
        f"the cluster that lifted the scene is gone: {found}; expected it to stay until all is "
        "written. What is written stays: start a cluster again, and finish with "
        "write_zarr(fused, store, resume=True); without a cluster, threads of this process go on"
    )


@dataclass(frozen=True)
class _Alone:
    """One task with all that it needs, as a function of what the cluster holds."""

    graph: Graph
    key: Any
    held: tuple[Any, ...]

    def __call__(self, *values: Any) -> Any:
        known = {key: DataNode(key, value) for key, value in zip(self.held, values, strict=True)}
        (value,) = get_sync(self.graph | known, [self.key])
        return value


def _drained(finished: queue.Queue[Finished], seconds: float) -> list[Finished]:
    """Take all there is, waiting for the first."""
    found = []
    try:
        found.append(finished.get(timeout=seconds) if seconds else finished.get_nowait())
        while True:
            found.append(finished.get_nowait())
    except queue.Empty:
        return found


def client_in_charge() -> Any | None:
    """Find the distributed client, unless dask is told to use another scheduler."""
    chosen = dask.config.get("scheduler", None)
    told_otherwise = chosen is not None and chosen not in ("distributed", "dask.distributed")
    return None if told_otherwise else find_client()
