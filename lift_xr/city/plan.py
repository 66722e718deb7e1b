"""Pixels floor: the plan of the city - a grid of streets that wander, and plots between them.

A block is drawn by a generator seeded with its address, so whoever asks for a place gets the same
things in the same order.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from lift_xr.city import plots, streets
from lift_xr.city.plots import Plot
from lift_xr.city.streets import VERGE, Stretch
from lift_xr.city.things import Random, Shape, chance

PITCH = (66.0, 86.0)  # metres between streets along u and along v
WANDER = 6.0  # metres a street may leave its pitch
OVERHANG = 12.0  # metres by which a crown or a shadow may leave its block
LARGE = 0.12  # share of blocks that are not cut in two
SHADOW = 1.1  # metres a shadow reaches for each metre of height, rounded up
FIRST_CITY = 0

Span = tuple[float, float]
Block = tuple[np.ndarray, tuple[Shape, ...]]  # circles (u, v, radius) of the shapes; the shapes


def shapes(seed: int, u: Span, v: Span) -> list[Shape]:
    """Everything that may be seen, or throw a shadow, within a rectangle; the highest first."""
    found = [
        shape
        for i in _numbers(u, PITCH[0])
        for j in _numbers(v, PITCH[1])
        for shape in _within(block(seed, i, j), u, v)
    ]
    return sorted(found, key=lambda shape: -shape.level)


def _numbers(span: Span, pitch: float) -> range:
    """Addresses along one axis of the blocks that reach a span."""
    margin = WANDER + OVERHANG
    return range(
        int(np.floor((span[0] - margin) / pitch)) - 1, int(np.floor((span[1] + margin) / pitch)) + 1
    )


def _within(block: Block, u: Span, v: Span) -> list[Shape]:
    (at_u, at_v, radius), members = block
    near_u = (at_u + radius > u[0]) & (at_u - radius < u[1])
    near_v = (at_v + radius > v[0]) & (at_v - radius < v[1])
    return [members[k] for k in np.flatnonzero(near_u & near_v)]


@lru_cache(maxsize=256)
def block(seed: int, i: int, j: int) -> Block:
    """One block and the two streets before it."""
    rng = _generator(seed, 0, i, j)
    (left, west), (right, east) = street(seed, 0, i), street(seed, 0, i + 1)
    (top, north), (bottom, south) = street(seed, 1, j), street(seed, 1, j + 1)
    along_u = Stretch(left, right, top, north, (west, east))
    along_v = Stretch(top, bottom, left, west, (north, south))
    u0, u1 = left + west + VERGE, right - east - VERGE
    v0, v1 = top + north + VERGE, bottom - south - VERGE
    members = (
        *streets.street(rng, along_u),
        *map(streets.turned, streets.street(rng, along_v)),
        *_built(rng, Plot(u0, u1, v0, v1, -1)),
    )
    circles = [(shape.u, shape.v, shape.reach + SHADOW * shape.height) for shape in members]
    return np.array(circles).T, members


def street(seed: int, axis: int, number: int) -> tuple[float, float]:
    """Middle and half width of a street, metres; axis 0 counts along u."""
    rng = _generator(seed, 1 + axis, number, 0)
    half = streets.AVENUE if number % 4 == 0 else streets.LANE
    return number * PITCH[axis] + rng.uniform(-WANDER, WANDER), half


def _built(rng: Random, ground: Plot) -> list[Shape]:
    """What stands on a block: one large use, or one on each side."""
    if chance(rng, LARGE):
        use = plots.LARGE_USES[rng.integers(len(plots.LARGE_USES))]
        return list(use(rng, ground))
    middle = ground.v + rng.uniform(-4, 4)
    members: list[Shape] = []
    for v0, v1, front in ((ground.v0, middle, -1), (middle, ground.v1, +1)):
        use = plots.USES[rng.choice(len(plots.USES), p=plots.USE_SHARES)]
        members += use(rng, Plot(ground.u0, ground.u1, v0, v1, front))
    return members


def _generator(seed: int, *address: int) -> Random:
    return np.random.default_rng([number % 2**32 for number in (seed, *address)])
