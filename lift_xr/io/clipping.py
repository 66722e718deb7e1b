"""Values that the packing of a store cannot hold: how many there are, and when to say so."""

from __future__ import annotations

from functools import reduce
from math import prod
from typing import Any

import numpy as np
import zarr

from lift_xr.io.blueprint import Blueprint
from lift_xr.io.record import Progress, read_progress
from lift_xr.io.store import LEVEL
from lift_xr.warn import warn_user

TOLERATED = 0.01  # of all values: a few bright roofs are no mistake
SOON = 8  # shards, far apart, that tell enough to speak of
MANY = 0.1  # of what these hold: hours later it would be too late to say so


def share_clipped(store: Any, finest: Progress) -> float:
    """Divide the values that were clipped by those of all shards that are done; 0 of none."""
    path = next(name for name in finest.columns if name.startswith(f"{LEVEL}/"))
    pixels = zarr.open_array(store, path=path, mode="r")
    grid = finest.done.shape
    edges = pixels.shards if pixels.shards and prod(grid) > 1 else pixels.shape
    sizes = (
        [min(edge, size - edge * place) for place in range(count)]
        for edge, size, count in zip(edges, pixels.shape, grid, strict=True)
    )
    values = reduce(np.multiply.outer, map(np.array, sizes))
    written = int(values[finest.done].sum())
    return finest.clipped / written if written else 0.0


def warn_soon_of_clipping(blueprint: Blueprint, store: Any) -> None:
    """Say after the first shards what would otherwise be said after the last."""
    share = share_clipped(store, read_progress(store, blueprint.passes[0]))
    if share > MANY:
        warn_user(
            f"so far {share:.0%} of all values lay outside {_what_fits(blueprint)}, and were "
            "clipped. If the mosaic is in other units than the model was trained for, stop this "
            "run, and train on the pair, fit(hsi, srf, msi=msi)"
        )


def warn_of_clipping(blueprint: Blueprint, store: Any) -> None:
    """Say at the end how many values were clipped, unless they are few."""
    firsts = blueprint.passes[:1]  # none, of a recipe that copies no pixel
    clipped = sum(read_progress(store, each).clipped for each in firsts)
    size = blueprint.scene.size
    if clipped > TOLERATED * size:
        warn_user(
            f"{clipped} of {size} values lay outside {_what_fits(blueprint)}, and were clipped. "
            "Pass a larger scale_factor, a lower add_offset, or dtype='float32'"
        )


def _what_fits(blueprint: Blueprint) -> str:
    packing = blueprint.packing
    low, high = packing.limits
    return (
        f"{low:g} to {high:g}, all that scale_factor={packing.scale_factor:g} and "
        f"add_offset={packing.add_offset:g} can store"
    )
