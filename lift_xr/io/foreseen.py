"""What is known of a run before it starts, and how a person is told."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf, prod

from lift_xr.io.probe import Probe
from lift_xr.plan import Layout, Pass, shard_edge
from lift_xr.quantities import counted, size, span


@dataclass(frozen=True)
class Plan:
    """What a run will be.

    Parameters
    ----------
    passes
        How the result is cut, and in which order its levels are written.
    workers, threads
        Processes, and tasks side by side in each.
    bytes_per_task
        The most that one task holds.
    base
        Bytes that a process holds besides its tasks: Python and its libraries, what the allocator
        keeps, GDAL's cache.
    ratio
        Pixels along the edge of an HSI cell; None where it is not known.
    probe
        What one shard took; None where none was tried.
    limit
        Bytes that one worker may hold; infinite where nobody has said.
    """

    passes: tuple[Pass, ...]
    workers: int
    threads: int
    bytes_per_task: int
    base: int
    ratio: float | None = None
    probe: Probe | None = None
    limit: float = inf

    @property
    def layout(self) -> Layout:
        """How full resolution is cut."""
        return self.passes[0].layouts[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """(band, y, x) or (time, band, y, x) of the result."""
        return self.layout.shape

    @property
    def shard(self) -> int:
        """Edge of a shard, in pixels."""
        return max(self.layout.shard[-2:])

    @property
    def shards(self) -> int:
        """Shards of full resolution: the tasks that lift."""
        return self.passes[0].tasks

    @property
    def tasks(self) -> int:
        """Tasks in all; those of later passes write coarser overviews."""
        return sum(each.tasks for each in self.passes)

    @property
    def side_by_side(self) -> int:
        """Tasks that a worker has in hand at once."""
        return min(self.threads, self.shards)

    @property
    def peak_memory(self) -> int:
        """Bytes that one worker process holds at most, all of it: ``base`` and its tasks.

        A bound: it holds for pixels that do not compress at all.
        """
        return self.base + self.side_by_side * self.bytes_per_task

    @property
    def parts(self) -> str:
        """What ``peak_memory`` is made of, in words."""
        tasks = counted(self.side_by_side, "task")
        return f"{size(self.base)}, and {tasks} of {size(self.bytes_per_task)}"

    @property
    def output_bytes(self) -> int:
        """Bytes of the pixels of all levels and of the flags, before compression."""
        flags = prod(self.shape) // self.shape[-3]
        return flags + sum(_raw(layout) for layout in _layouts(self))

    @property
    def stored_bytes(self) -> int | None:
        """Bytes on disk, if all shards compress as the one probed did; None without a probe."""
        if self.probe is None:
            return None
        *levels, flags = (
            stored / raw for stored, raw in zip(self.probe.stored, self.probe.raw, strict=True)
        )
        shares = [*levels, *(levels[-1] for _ in range(len(_layouts(self)) - len(levels)))]
        pixels = sum(
            share * _raw(layout) for share, layout in zip(shares, _layouts(self), strict=True)
        )
        return round(pixels + flags * prod(self.shape) / self.shape[-3])

    @property
    def files(self) -> int:
        """Files of pixels, flags and the record of the run, at most: nodata leaves none.

        Metadata and coordinates add a few dozen.
        """
        flags = self.layout.shards if self.layout.sharded else _chunks(self.layout, bands=False)
        pixels = sum(
            each.shards if each.sharded else _chunks(each, bands=True) for each in _layouts(self)
        )
        return pixels + flags + self.tasks

    @property
    def seconds(self) -> float | None:
        """Seconds the run takes, if every thread has a core; None without a probe.

        Disks and networks that cannot keep up add to it.
        """
        if self.probe is None:
            return None
        probe, lanes = self.probe, self.workers * self.threads
        areas = [
            prod(each.layouts[0].shape) / self.shape[-3] / probe.pixels for each in self.passes
        ]
        # Later passes read what an earlier one wrote, which costs no more than to write it.
        work = areas[0] * probe.seconds + sum(areas[1:]) * (probe.encode + 2 * probe.codec)
        return max(work / lanes, probe.seconds)

    @property
    def whole_cells(self) -> bool | None:
        """Whether no chunk cuts an HSI cell; None where the ratio is not known."""
        if self.ratio is None:
            return None
        return all(
            chunk == length or chunk % self.ratio == 0
            for chunk, length in zip(self.layout.chunk[-2:], self.shape[-2:], strict=True)
        )

    @property
    def rows(self) -> tuple[tuple[str, str], ...]:
        """What there is to say of it, a name and a text each."""
        told = [_scene_row(self), _shards_row(self), _cells_row(self), _tasks_row(self)]
        told += [_output_row(self), ("files", f"up to {self.files:,}"), _memory_row(self)]
        told.append(_limit_row(self))
        told += [_time_row(self), _probe_row(self)]
        return tuple(row for row in told if row[1])

    def __repr__(self) -> str:
        lines = [f"  {name:<10}{text}" for name, text in self.rows]
        return "\n".join(["<lift_xr.Plan>", *lines])


# ---- how it is told


def _scene_row(foreseen: Plan) -> tuple[str, str]:
    *times, bands, rows, columns = foreseen.shape
    told = f"{rows:,} x {columns:,} pixels, {bands} bands, {foreseen.layout.dtype}"
    return "result", f"{counted(times[0], 'time')} of {told}" if times else told


def _shards_row(foreseen: Plan) -> tuple[str, str]:
    shard, chunk = (
        " x ".join(map(str, each[-3:])) for each in (foreseen.layout.shard, foreseen.layout.chunk)
    )
    return "shards", f"{foreseen.shards:,} of {shard}, in chunks of {chunk} (band, y, x)"


def _cells_row(foreseen: Plan) -> tuple[str, str]:
    ratio, edge = foreseen.ratio, foreseen.layout.chunk[-1]
    if ratio is None:
        return "HSI cells", ""
    told = f"{ratio:g} x {ratio:g} pixels"
    if foreseen.whole_cells:
        return "HSI cells", f"{told}; no chunk cuts one"
    better = shard_edge(ratio)
    if better // 4 % ratio:
        return "HSI cells", f"{told}; no chunk of 256-511 pixels can hold whole ones"
    return "HSI cells", f"{told}; chunks of {edge} cut them, those of shard {better} would not"


def _tasks_row(foreseen: Plan) -> tuple[str, str]:
    rest = foreseen.tasks - foreseen.shards
    coarsest = " x ".join(f"{edge:,}" for edge in _layouts(foreseen)[-1].shape[-2:])
    levels = f"{counted(len(_layouts(foreseen)), 'level')}, down to {coarsest} pixels"
    told = f"{foreseen.tasks:,}: one a shard"
    return "tasks", f"{told}, {rest:,} for coarse overviews ({levels})" if rest else told


def _output_row(foreseen: Plan) -> tuple[str, str]:
    raw = size(foreseen.output_bytes)
    if foreseen.stored_bytes is None:
        return "output", f"{raw} before compression"
    return "output", f"about {size(foreseen.stored_bytes)} on disk, {raw} before compression"


def _memory_row(foreseen: Plan) -> tuple[str, str]:
    return "memory", f"up to {size(foreseen.peak_memory)} a worker: {foreseen.parts}"


def _limit_row(foreseen: Plan) -> tuple[str, str]:
    if foreseen.limit < inf:
        return "limit", f"{size(foreseen.limit)} a worker"
    return (
        "limit",
        "not known: say what a worker may hold, with memory= or --memory",
    )


def _time_row(foreseen: Plan) -> tuple[str, str]:
    workers = counted(foreseen.workers, "worker")
    who = f"{workers} of {counted(foreseen.threads, 'thread')}"
    if foreseen.seconds is None:
        return "workers", who
    return "time", f"about {span(foreseen.seconds)} on {who}, one core a thread"


def _probe_row(foreseen: Plan) -> tuple[str, str]:
    if foreseen.probe is None:
        return "a shard", ""
    probe = foreseen.probe
    parts = ", ".join(
        f"{name} {getattr(probe, name):.2g} s" for name in ("read", "lift", "encode", "codec")
    )
    beside = "" if probe.threads == 1 else f"; on {probe.threads} threads side by side"
    return "a shard", f"{probe.seconds:.2g} s: {parts}{beside}"


# ---- sums over levels


def _layouts(foreseen: Plan) -> tuple[Layout, ...]:
    return tuple(layout for each in foreseen.passes for layout in each.layouts)


def _raw(layout: Layout) -> int:
    return prod(layout.shape) * layout.dtype.itemsize


def _chunks(layout: Layout, *, bands: bool) -> int:
    pairs = list(zip(layout.shape, layout.chunk, strict=True))
    kept = pairs if bands else [*pairs[:-3], *pairs[-2:]]
    return prod(ceil(length / chunk) for length, chunk in kept)
