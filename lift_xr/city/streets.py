"""Pixels floor: one stretch of street, with its marks, its traffic and its trees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from lift_xr.city.things import Random, Shape, car, chance, tree

LANE, AVENUE = 4.2, 7.0  # metres from the middle to the kerb
VERGE = 3.1  # metres from the kerb to the first plot: grass, then a pavement
PAVEMENT = 2.2  # metres from the kerb to the middle of the pavement


@dataclass(frozen=True)
class Stretch:
    """A street between the middles of two crossings, drawn along u; metres.

    ``half`` is its half width, ``crossing`` the half widths of the streets at its two ends.
    """

    start: float
    end: float
    v: float
    half: float
    crossing: tuple[float, float]

    @property
    def clear(self) -> tuple[float, float]:
        """Where no other street is near."""
        return self.start + self.crossing[0] + 4.0, self.end - self.crossing[1] - 4.0


def street(rng: Random, stretch: Stretch) -> Iterator[Shape]:
    """Everything on one stretch, and its first crossing."""
    u, a = (stretch.start + stretch.end) / 2, (stretch.end - stretch.start) / 2
    v, half, tone = stretch.v, stretch.half, rng.uniform(0.15, 0.95)
    for way in (-1, 1):
        walk = Shape(u, v + way * (half + PAVEMENT), a, 0.75, "concrete", look="slabs", level=0.2)
        yield replace(walk, tone=rng.uniform(0.3, 0.8))
    yield Shape(u, v, a + half, half + 0.18, "concrete", level=0.3, tone=0.55)
    yield Shape(u, v, a + half, half, "asphalt", look="road", level=0.31, tone=tone)
    yield from _lane_marks(stretch)
    yield from _zebras(stretch)
    yield from _repairs(rng, stretch, tone)
    yield from _traffic(rng, stretch)
    yield from _trees(rng, stretch)


def turned(shape: Shape) -> Shape:
    """The same thing on a street that runs along v."""
    return replace(shape, u=shape.v, v=shape.u, turn=np.pi / 2 - shape.turn)


def _lane_marks(stretch: Stretch) -> Iterator[Shape]:
    start, end = stretch.clear
    middle = Shape(
        (start + end) / 2, stretch.v, (end - start) / 2, 0.06, "yellow marking", level=0.4
    )
    if stretch.half < AVENUE:
        for u in np.arange(start + 2, end - 2, 6.0):
            yield replace(middle, u=u, a=1.2)
        return
    for offset in (-0.16, 0.16):
        yield replace(middle, v=stretch.v + offset, tone=0.7)
    for u in np.arange(start + 1, end - 1, 7.0):
        for lane in (-stretch.half / 2, stretch.half / 2):
            yield Shape(u, stretch.v + lane, 1.4, 0.06, "marking", level=0.4, tone=0.6)


def _zebras(stretch: Stretch) -> Iterator[Shape]:
    start, end = stretch.clear
    for u in (start - 1.9, end + 1.9):
        for across in np.arange(0.6 - stretch.half, stretch.half - 0.3, 1.05):
            yield Shape(u, stretch.v + across, 1.3, 0.26, "marking", level=0.4, tone=0.6)


def _repairs(rng: Random, stretch: Stretch, tone: float) -> Iterator[Shape]:
    for _ in range(rng.integers(1, 4)):
        u = rng.uniform(*stretch.clear)
        v = stretch.v + rng.uniform(1.2 - stretch.half, stretch.half - 1.2)
        patch = Shape(u, v, rng.uniform(0.8, 4), rng.uniform(0.5, 1.2), "asphalt", level=0.32)
        yield replace(patch, tone=float(np.clip(tone + rng.choice([-0.35, 0.3]), 0, 1)))
    cover = Shape(rng.uniform(*stretch.clear), stretch.v + 1.6, 0.36, 0.36, "metal", form="ellipse")
    yield replace(cover, level=0.33, gain=0.35)


def _traffic(rng: Random, stretch: Stretch) -> Iterator[Shape]:
    start, end = stretch.clear
    for way in (-1, 1):
        kerb = stretch.v + way * (stretch.half - 1.15)
        for u in np.arange(start + 4, end - 4, 6.4):
            if chance(rng, 0.22):
                yield from car(rng, u + rng.normal(0, 0.3), kerb, turn=0.0)
        if chance(rng, 0.35):
            lane = stretch.v + way * min(stretch.half / 2, 1.6) * 0.9
            yield from car(rng, rng.uniform(start, end), lane, turn=0.0)


def _trees(rng: Random, stretch: Stretch) -> Iterator[Shape]:
    if chance(rng, 0.25):
        return
    start, end = stretch.clear
    for way in (-1, 1):
        verge = stretch.v + way * (stretch.half + 0.8)
        for u in np.arange(start + 3, end - 2, 10.5):
            if chance(rng, 0.45):
                yield tree(rng, u + rng.normal(0, 0.8), verge, radius=rng.uniform(1.6, 3.1))
