"""Fill a store shard by shard, coarser levels last, and declare it complete."""

from __future__ import annotations

import uuid
import warnings
from contextlib import suppress
from dataclasses import replace
from functools import partial
from os import PathLike
from typing import Any

import dask
import dask.array as da
import numpy as np
import zarr

from lift_xr.blocks import is_per_pixel, lifted_from
from lift_xr.errors import LayoutError
from lift_xr.io import seal
from lift_xr.io.alike import Neighbours, expect_same_values
from lift_xr.io.blueprint import Blueprint
from lift_xr.io.clipping import SOON, warn_of_clipping, warn_soon_of_clipping
from lift_xr.io.compute import TRIES, run_shards
from lift_xr.io.create import as_store, remove_debris
from lift_xr.io.edited import Inputs, remove_word
from lift_xr.io.engines import Index, client_in_charge
from lift_xr.io.files import HoldingStore
from lift_xr.io.interrupt import Interrupted, stop_when_told
from lift_xr.io.log import logging
from lift_xr.io.lost import forget_lost
from lift_xr.io.record import read_progress, remove_marks
from lift_xr.io.root import ROOT, Replaced, expect_still, read_root
from lift_xr.io.shards import (
    Target,
    is_written,
    record_failure,
    write_block,
    write_lifted,
    write_overview,
)
from lift_xr.io.store import place_beside
from lift_xr.plan import Layout, Pass
from lift_xr.progress import bar
from lift_xr.windows import spans_of, windows

WHOLE = (1, 1)  # the only part of a run
NAMED = 5  # failed shards that a message names
FINISHES = 3  # tries: another process may be finishing the same store


class WriteFailed(RuntimeError):
    """Some shards could not be written; all others are.

    Parameters
    ----------
    message
        For people.
    failed
        What the last try of each raised, by the level and the place of its block in the grid of
        blocks.
    """

    def __init__(self, message: str, failed: dict[tuple[int, Index], BaseException]) -> None:
        super().__init__(message)
        self.failed = failed


class OthersLost(WriteFailed):
    """A part is done, and found files of other parts lost, which these are to write again."""


def fill(
    blueprint: Blueprint,
    store: Any,
    *,
    part: tuple[int, int] = WHOLE,
    log: str | PathLike[str] | None = None,
    progress: bool = True,
) -> None:
    """Write every shard that is not written, coarser levels last, and complete the store.

    Parts compare what they make with what their neighbours have written, while they write their
    share and at the end of it: the later of two that differ ends in an error.

    Parts that find full resolution done at the same moment all go on to the coarser levels. Each
    begins at another place of them and passes over what another has done meanwhile; where two write
    the same shard, or the end of the store, they write the same bytes, each object in one step.

    Raises
    ------
    OthersLost
        Once this part is done, where shards of others are not, because their files were lost.
    """
    with stop_when_told() as stop:
        lost = forget_lost(store, blueprint.passes)
        inputs = Inputs(blueprint.scene.data, store)
        edited = inputs.differ()
        if edited:
            inputs.warn()
        expect_same_values(blueprint, store, stop=stop, shared=part[1] > 1, edited=edited)
        if blueprint.passes:
            inputs.leave_word()
        others = Neighbours(blueprint, store, part, stop)
        for share in (part, WHOLE):  # what is lost meanwhile, whoever is left writes again, once
            if not _fill_passes(blueprint, store, share, others, log, progress):
                if lost:
                    _expect_others_at_it(blueprint, store, part[1], lost)
                return
            if not forget_lost(store, blueprint.passes):
                break
        else:
            raise LayoutError(
                f"files of {store} vanish while its run goes on, and again after it wrote them "
                "once more; expected a place that keeps them. Write to another path"
            )
    if blueprint.beside is not None and not is_complete(place_beside(store)):
        return  # so are they at the cube
    _complete(blueprint, store, inputs)


def _complete(blueprint: Blueprint, store: Any, inputs: Inputs) -> None:
    """Complete a store all of whose shards are done, and say what a user should know of it."""
    complete = is_complete(store)
    expect_still(as_store(store), blueprint.run)
    if inputs.are_edited():  # while it went on
        inputs.warn()
    if complete:  # another part has just done it: what this one has left since is of no use
        remove_word(as_store(store))
    else:
        finalize(store, blueprint.run)
    warn_of_clipping(blueprint, store)


def finalize(store: Any, run: str) -> None:
    """Consolidate the metadata, then call the store complete: the last thing a run writes.

    Raises
    ------
    Replaced
        Where it is no more the store of ``run``, up to the moment of that last write.
    """
    for finish in range(1, FINISHES + 1):
        try:
            remove_debris(store)
            remove_marks(as_store(store))
            remove_word(as_store(store))
            _consolidate(store, run)
            return
        except FileNotFoundError:  # another process took what this one was writing for debris
            if finish == FINISHES:
                raise


def _consolidate(store: Any, run: str) -> None:
    seal.list_files(store)
    held = HoldingStore(as_store(store))
    with warnings.catch_warnings():
        # Not in the specification yet, but read by every zarr-python 3 and by xarray.
        warnings.filterwarnings("ignore", message="Consolidated metadata", category=UserWarning)
        zarr.consolidate_metadata(held)
    seal.close(store, held.held[ROOT], run)


def _fill_passes(
    blueprint: Blueprint,
    store: Any,
    share: tuple[int, int],
    others: Neighbours,
    log: str | PathLike[str] | None,
    show: bool,
) -> bool:
    """Run what is left of all passes; say whether it is done now, by this part and the others."""
    for number in range(len(blueprint.passes)):
        _fill_pass(blueprint, store, number, share, others, log, show)
        if number == 0:
            others.expect_same_values()
        if not _is_done(blueprint, store, number):
            return False
    return True


def _fill_pass(
    blueprint: Blueprint,
    store: Any,
    number: int,
    share: tuple[int, int],
    others: Neighbours,
    log: str | PathLike[str] | None,
    show: bool,
) -> None:
    """Run the tasks of one pass that are left and belong to this part."""
    each = blueprint.passes[number]
    target = Target.of(store, blueprint.run, each, blueprint)
    written = read_progress(store, each).done
    turns = _turns(each, share)
    todo = [index for index in turns if not written[index]]
    failed: dict[tuple[int, Index], BaseException] = {}
    done = 0
    early = _early(len(todo))
    title = "writing" if each.first == 0 else "writing overviews"
    how: Any = {"shared": others.shared, "done": partial(is_written, target=target)}
    with bar(title, total=len(todo), show=show) as advance, logging(log, each.first) as tell:
        tasks = _tasks(blueprint, target)
        for finished in run_shards(tasks, todo, stop=others.stop, **how):
            tell(finished)
            if isinstance(finished.error, Replaced):
                raise finished.error
            if finished.error is not None:
                failed[each.first, finished.index] = finished.error
                with suppress(Exception):  # a mark is for those who look; the row is not there
                    record_failure(target, finished.index)
            done += finished.error is None
            advance(done)
            if finished.error is None and done in early:
                others.expect_same_values()
            if finished.error is None and done == SOON < len(todo) and number == 0:
                warn_soon_of_clipping(blueprint, store)
    if others.stop.is_set() and done < len(todo):
        left = len(todo) - done
        raise Interrupted(
            f"stopped with {left} of {each.tasks} shards left to this run; expected to go on later."
            f" Finish {store} with write_zarr(fused, store, resume=True)"
        )
    if failed:
        raise _write_failed(store, failed, unwritten=len(todo) - done)


def _early(tasks: int) -> set[int]:
    """When to look at what the others write: often at first, so that little is written in vain.

    Not on a cluster, which has been given all tasks of this part before.
    """
    return set() if client_in_charge() else {2**power for power in range(tasks.bit_length())}


def _turns(each: Pass, part: tuple[int, int]) -> list[Index]:
    """List the tasks of a part: its share of full resolution, all of what is coarser."""
    i, n = part
    turns = [index for index in np.ndindex(each.grid)]
    if each.first == 0:
        return turns[i - 1 :: n]
    begin = len(turns) * (i - 1) // n  # where no other part begins
    return [*turns[begin:], *turns[:begin]]


def _tasks(blueprint: Blueprint, target: Target) -> da.Array:
    """One element a task: computing it writes a shard."""
    layout = target.each.layouts[0]
    settings: dict[str, Any] = {
        "target": target,
        "chunks": tuple((1,) * len(along) for along in layout.blocks),
        "dtype": "int64",
        "meta": np.empty((0,) * len(layout.shape), "int64"),
        # A name of its own: a cluster that remembers an earlier run must not skip this one.
        "name": f"write-{uuid.uuid4().hex}",
    }
    if target.each.first:
        tasks: da.Array = da.map_blocks(write_overview, **settings)
        return tasks
    lifted = lifted_from(blueprint.scene.data)
    if lifted is not None and is_per_pixel(lifted.model):
        return da.map_blocks(
            write_lifted,
            windows(lifted.msi, *map(spans_of, layout.blocks[-2:])),
            model=dask.delayed(lifted.model, pure=True),
            device=blueprint.device or lifted.device,
            **settings,
        )
    data = _in_shards(blueprint.scene.data, layout, blueprint.device)
    return da.map_blocks(write_block, data, **settings)


def _in_shards(data: da.Array, layout: Layout, device: str | None) -> da.Array:
    """Cut what is written into one block a shard: below the lifting, where there is one."""
    lifted = lifted_from(data)
    if lifted is not None:
        return replace(lifted, device=device or lifted.device).again(layout.blocks)
    leading = dict(enumerate(layout.blocks[:-2]))
    data = data.rechunk(leading, method="tasks", threshold=np.inf)
    return windows(data, *map(spans_of, layout.blocks[-2:]))


def is_complete(store: Any) -> bool:
    """Whether a store calls itself complete."""
    about = read_root(store)
    return about is not None and about.get("complete") is True


def _is_done(blueprint: Blueprint, store: Any, number: int) -> bool:
    """Whether a pass is, by this run or other parts of it."""
    done = bool(read_progress(store, blueprint.passes[number]).done.all())
    expect_still(as_store(store), blueprint.run)
    return done


def _expect_others_at_it(
    blueprint: Blueprint, store: Any, parts: int, lost: list[tuple[int, Index]]
) -> None:
    """Raise OthersLost where shards that were found lost are not written again.

    The parts that they belong to may have ended long ago, or have them in hand: nobody can tell. A
    run that ends without a word beside an unfinished store is the worse of the two mistakes.
    """
    done = read_progress(store, blueprint.passes[0]).done
    left = [index for first, index in lost if first == 0 and not done[index]]
    if not left:
        return
    turns = {int(np.ravel_multi_index(index, blueprint.passes[0].grid)) % parts for index in left}
    these = ", ".join(f"part=({turn + 1}, {parts})" for turn in sorted(turns))
    raise OthersLost(
        f"this part of {store} is done, but {len(left)} shards of other parts, whose files were "
        "lost, are not written again; expected a complete store, or parts that are at it. Unless "
        f"they began after this one, run again with {these}",
        {(0, index): FileNotFoundError("its files were lost") for index in left},
    )


def _write_failed(
    store: Any, failed: dict[tuple[int, Index], BaseException], *, unwritten: int
) -> WriteFailed:
    named = [
        f"level {level} {index}: {type(error).__name__}: {error}"
        for (level, index), error in sorted(failed.items(), key=lambda each: each[0])
    ]
    more = f"; and {len(named) - NAMED} more" if len(named) > NAMED else ""
    error = WriteFailed(
        f"{unwritten} shards of {store} could not be written, {len(failed)} after up to {TRIES} "
        f"tries ({'; '.join(named[:NAMED])}{more}); all others are. Try these again with "
        "write_zarr(fused, store, resume=True)",
        failed,
    )
    error.__cause__ = next(iter(failed.values()))
    return error
