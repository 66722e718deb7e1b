"""Does a run that goes on make the values it made before: a few pixels that are done, made again.

The run's token knows the pixels that are read, but no arithmetic after them. What tells that apart
for any chunks, and wherever it was written down, is what it makes.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import Any

import dask.array as da
import numpy as np
import zarr

from lift_xr.blocks import lifted_from
from lift_xr.encode import encode_block
from lift_xr.errors import LayoutError
from lift_xr.io.blueprint import Blueprint
from lift_xr.io.compute import run_shards
from lift_xr.io.record import UNREADABLE, read_progress
from lift_xr.io.root import DIFFERS, expect_still
from lift_xr.io.seal import reopen
from lift_xr.io.shards import Target
from lift_xr.windows import spans_of, windows

EDGE = 16  # pixels along the window that is compared
MANY = 64  # windows that are compared where files of the inputs were written anew
LOOKS = 8  # shards that are looked at for one with data in the window

Window = tuple[slice, ...]


def expect_same_values(
    blueprint: Blueprint, store: Any, *, stop: threading.Event, shared: bool, edited: bool = False
) -> None:
    """Raise LayoutError where a shard that is done holds other values than this run makes.

    One small window is computed; where files of the mosaic were ``edited``, one in each of up to
    ``MANY`` shards, spread over those that are done. Nothing is compared where no shard is done, or
    where the values come from a device that only workers may have; and what cannot be computed is
    no difference, after which no more is tried.
    """
    done = _done(blueprint, store)
    for some in np.array_split(done, min(len(done), MANY if edited else 1)) if len(done) else ():
        look = _look(blueprint, store, some)
        found = 0 if look is None else _differing(blueprint, look, stop=stop, shared=shared)
        if found is None:
            return
        if look is not None and found:
            raise LayoutError(_refusal(store, _told(look.window, found), edited=edited))


def _refusal(store: Any, told: str, *, edited: bool) -> str:
    if edited:
        return (
            f"{store} was begun on another mosaic: {told}, and files of the mosaic were written "
            "anew since; expected the same pixels. Put the mosaic back as it was, use another path,"
            " or overwrite=True (of parts: remove it) to begin again"
        )
    return (
        f"{store} was begun by another run: {told}, though their inputs look the same; expected "
        "the same arithmetic on the same inputs. Use that, another path, or overwrite=True (of "
        "parts: remove it) to begin again. If it is the same, the store may be damaged: look with "
        "verify(store)"
    )


@dataclass
class Neighbours:
    """The parts before and after this one, which may have begun at the same moment.

    Each part compares with both once they have written something. A neighbour that has ended and
    shows nothing but nodata tells no arithmetic: the next part on that way stands in for it. So
    where not all parts that show data make the same values, there are two with none of the others
    between that do not; the last to end, of these and those between, finds what is not its own, and
    no part compares with more than two. It may find it after its last shard, or when a third part,
    whose neighbours are all like it, has completed the store. So it says in the root what it found:
    each task of all parts looks there, none can be resumed, and the store is not complete.

    What a part shows are the middles of up to ``LOOKS`` shards: one whose data all lie elsewhere is
    passed over like one without.

    Parameters
    ----------
    part
        This one: (i, n).
    left
        The parts that are to be compared with next, by the way to them: -1 or 1.
    """

    blueprint: Blueprint
    store: Any
    part: tuple[int, int]
    stop: threading.Event
    left: dict[int, int] = field(init=False)
    _met: set[int] = field(init=False)

    def __post_init__(self) -> None:
        i, n = self.part
        self.left = {way: self._next(i, way) for way in (-1, 1)[: n - 1]}
        self._met = {i}

    @property
    def shared(self) -> bool:
        """Whether there are others, with whom to take turns at this machine's cores."""
        return self.part[1] > 1

    def expect_same_values(self) -> None:
        """Raise LayoutError where a neighbour has written other values than this part makes.

        One that shows nothing yet, or nothing but nodata and has not ended, is left for later.
        """
        done = _done(self.blueprint, self.store) if self.left else np.empty((0, 0), int)
        for way in sorted(self.left) if len(done) else ():
            self._compare(way, done)

    def _compare(self, way: int, done: np.ndarray) -> None:
        """Compare with the first part on one way that shows data, as far as that is known."""
        while (other := self.left[way]) not in self._met:
            share = self._of(other, done)
            look = _look(self.blueprint, self.store, share)
            if look is not None and look.has_data:
                self._expect_same(other, look)
                self._met.add(other)
            elif len(share) < self._count(other):
                return
            else:
                self.left[way] = self._next(other, way)
        del self.left[way]

    def _next(self, other: int, way: int) -> int:
        return (other - 1 + way) % self.part[1] + 1

    def _of(self, other: int, done: np.ndarray) -> np.ndarray:
        """Pick the shards that are a part's, as ``io.fill`` deals them."""
        places = np.ravel_multi_index(tuple(done.T), self.blueprint.passes[0].grid)
        chosen: np.ndarray = done[places % self.part[1] == other - 1]
        return chosen

    def _count(self, other: int) -> int:
        """Count the shards that are a part's, done or not."""
        return len(range(other - 1, self.blueprint.passes[0].tasks, self.part[1]))

    def _expect_same(self, other: int, look: _Look) -> None:
        on = threading.Event()  # to be told to stop is no reason to complete what is not compared
        found = _differing(self.blueprint, look, stop=on, shared=self.shared)
        if found:
            i, n = self.part
            said = (
                f"part {other} of {n} of {self.store} makes other values than part {i}: "
                f"{_told(look.window, found)}, though their inputs look the same; expected the "
                "same arithmetic in all parts. Begin again at another path, with one kind of CPU "
                "and the same versions of numpy for all. If they are the same, the store may be "
                "damaged: look with verify(store, shards='all', repair=True)"
            )
            expect_still(look.target.store, look.target.run)
            reopen(self.store, **{DIFFERS: said})
            raise LayoutError(said)


@dataclass(frozen=True)
class _Look:
    """A window of a shard that is done, and whether it is worth comparing."""

    target: Target
    window: Window
    has_data: bool


def _look(blueprint: Blueprint, store: Any, done: np.ndarray) -> _Look | None:
    """Find a window with data in some of the shards that are done; None where none is."""
    if not len(done):
        return None
    target = Target.of(store, blueprint.run, blueprint.passes[0], blueprint)
    some = [tuple(map(int, index)) for index in done[:: -(-len(done) // LOOKS)]]
    middles = [_middle(index, target) for index in some]
    shown = zip(some, middles, strict=True)
    found = next(
        (each for index, each in shown if _has_data(_read(target, index, each), target)), None
    )
    return _Look(target, found or middles[0], has_data=found is not None)


def _read(target: Target, index: tuple[int, ...], window: Window) -> Any:
    """Read a window of a shard that is done, or say what to do where it cannot be read."""
    try:
        return _opened(target)[window]
    except UNREADABLE as error:
        raise LayoutError(
            f"shard {index} of {target.level_path(0)} of {target.place} was written and cannot be "
            f"read ({error}); expected it as it was. Mark all that is damaged with "
            "verify(store, shards='all', repair=True), then resume the run"
        ) from error


def _differing(
    blueprint: Blueprint, look: _Look, *, stop: threading.Event, shared: bool
) -> int | None:
    """Count the values of a window that are others than were written; None if none is made."""
    block = _cut(blueprint, look.window)
    return _count_other(block, look.target, look.window, stop=stop, shared=shared)


def _told(window: Window, found: int) -> str:
    rows, columns = window[-2:]
    return (
        f"of the pixels {rows.start} to {rows.stop} (y) and {columns.start} to {columns.stop} (x), "
        f"{found} values are others than were written"
    )


def _done(blueprint: Blueprint, store: Any) -> np.ndarray:
    """List the shards to compare with: none of what a device makes that others may not have."""
    if not blueprint.passes or blueprint.device not in (None, "cpu"):
        return np.empty((0, 0), int)
    return np.argwhere(read_progress(store, blueprint.passes[0]).done)


def _middle(index: tuple[int, ...], target: Target) -> Window:
    """Find the window in the middle of a shard."""
    spans = [
        spans_of(along)[at] for along, at in zip(target.each.layouts[0].blocks, index, strict=True)
    ]
    for axis in (-2, -1):
        start, stop = spans[axis]
        first = max(start, (start + stop - EDGE) // 2)
        spans[axis] = first, min(stop, first + EDGE)
    return tuple(slice(*span) for span in spans)


def _opened(target: Target) -> zarr.Array[Any]:
    return zarr.open_array(target.store, path=target.level_path(0), mode="r")


def _has_data(stored: Any, target: Target) -> bool:
    fill = target.packing.fill
    empty = np.isnan(stored) if np.isnan(fill) else stored == fill
    return not bool(np.all(empty))


def _cut(blueprint: Blueprint, window: Window) -> da.Array:
    """Cut the window from what is written; of a lifted scene, no more than it is lifted."""
    data: da.Array = blueprint.scene.data
    rows, columns = ((each.start, each.stop) for each in window[-2:])
    lifted = lifted_from(data)
    if lifted is None:
        cut = windows(data[(*window[:-2], ...)], (rows,), (columns,))
        return cut.rechunk(-1, method="tasks", threshold=np.inf)
    widths = [
        tuple(each for each in (first, last - first, size - last) if each)
        for (first, last), size in zip((rows, columns), data.shape[-2:], strict=True)
    ]
    again = replace(lifted, device="cpu").again((*data.chunks[:-2], *widths))
    return again[window]


def _count_other(
    block: da.Array, target: Target, window: Window, *, stop: threading.Event, shared: bool
) -> int | None:
    """Count the values that differ from those in the store; where tasks of the run would run."""
    counts = block.map_blocks(
        _other,
        target=target,
        window=window,
        chunks=tuple((1,) for _ in window),
        dtype="int64",
        meta=np.empty((0,) * block.ndim, "int64"),
    )
    (index,) = np.ndindex(counts.numblocks)
    ended = [*run_shards(counts, [index], stop=stop, shared=shared)]
    return next((each.ran.value for each in ended if each.ran is not None), None)


def _other(block: np.ndarray, *, target: Target, window: Window) -> np.ndarray:
    encoded = encode_block(block, target.packing, trained=target.trained)
    stored = np.asarray(_opened(target)[window])
    same = np.equal(encoded.codes, stored) | ((encoded.codes != encoded.codes) & (stored != stored))
    return np.full((1,) * block.ndim, np.count_nonzero(~same), "int64")
