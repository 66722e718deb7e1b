"""Pixels floor: one thing at a time - a shape, and what cars, trees and pools are made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, replace

import numpy as np

PAINTS = ("white paint", "silver paint", "black paint", "red paint", "blue paint")
PAINT_SHARES = (0.28, 0.30, 0.20, 0.11, 0.11)

Random = np.random.Generator


@dataclass(frozen=True, slots=True)
class Shape:
    """One thing on the ground: its place and half sizes along its own axes in metres.

    Attributes
    ----------
    u, v
        Its centre along the city's axes.
    a, b
        Half its length and half its width.
    material, form, look
        What it is made of, what outline it has and how its surface varies: names from
        ``materials``, ``landscape.FORMS`` and ``landscape.LOOKS``.
    level
        What hides what: the highest is seen.
    height
        Metres it stands above what its shadow falls on.
    tone, gain
        Its place between the material's extremes, 0-1, and its brightness.
    turn
        Radians from u to its length.
    """

    u: float
    v: float
    a: float
    b: float
    material: str
    _: KW_ONLY
    form: str = "box"
    look: str = "plain"
    level: float = 0.0
    height: float = 0.0
    tone: float = 0.5
    gain: float = 1.0
    turn: float = 0.0

    @property
    def reach(self) -> float:
        """Metres from the centre beyond which nothing of it is seen, its shadow aside."""
        return 1.15 * float(np.hypot(self.a, self.b)) + 0.3


def chance(rng: Random, share: float) -> bool:
    """Whether something that happens that often happens now."""
    return bool(rng.random() < share)


def either(rng: Random, *names: str, shares: tuple[float, ...] | None = None) -> str:
    """One of several names."""
    return str(rng.choice(names, p=shares))


def side(rng: Random) -> int:
    """Left or right: -1 or +1."""
    return -1 if chance(rng, 0.5) else 1


def car(rng: Random, u: float, v: float, *, turn: float) -> Iterator[Shape]:
    """A body in one paint, its windows, and its roof in the paint again."""
    turn = turn + rng.normal(0, 0.02) + (np.pi if chance(rng, 0.5) else 0)
    a, b = rng.uniform(1.95, 2.4), rng.uniform(0.84, 0.95)
    paint = either(rng, *PAINTS, shares=PAINT_SHARES)
    body = Shape(u, v, a, b, paint, form="round", look="body", tone=rng.uniform(), turn=turn)
    yield replace(body, level=1.0, height=1.1)
    back = -0.12 * a
    cabin = replace(body, u=u + back * np.cos(turn), v=v + back * np.sin(turn))
    yield replace(cabin, a=0.62 * a, b=0.9 * b, material="glass", level=1.1)
    yield replace(cabin, a=0.38 * a, b=0.78 * b, level=1.2)


def tree(rng: Random, u: float, v: float, *, radius: float) -> Shape:
    """A crown on a stem; the larger, the taller."""
    kind = either(rng, "broadleaf", "evergreen", shares=(0.6, 0.4))
    tall = 1.2 + 1.25 * radius + rng.uniform(0, 1.5)
    crown = Shape(u, v, radius, radius * rng.uniform(0.85, 1.0), kind, form="blob", look="crown")
    tone, gain = rng.uniform(0.15, 0.9), rng.uniform(0.85, 1.1)
    crown = replace(crown, tone=tone, gain=gain, turn=rng.uniform(0, np.pi))
    return replace(crown, level=max(tall, 2.0), height=0.8 * tall)


def shrub(rng: Random, u: float, v: float) -> Shape:
    """A crown without a stem."""
    return replace(tree(rng, u, v, radius=rng.uniform(0.45, 1.0)), level=1.9, height=0.8)


def pool(rng: Random, u: float, v: float) -> Iterator[Shape]:
    """A swimming pool in its paving."""
    a, b = rng.uniform(2.6, 3.9), rng.uniform(1.5, 2.2)
    paving = Shape(u, v, a + 1.0, b + 0.9, "concrete", form="round", look="slabs", level=0.25)
    yield replace(paving, tone=rng.uniform(0.5, 1))
    basin = Shape(u, v, a, b, "pool", form="round", look="water", level=0.26)
    yield replace(basin, tone=rng.uniform())


def field_lines(u: float, v: float, a: float, b: float) -> Iterator[Shape]:
    """The outline and the middle of a playing field."""
    line = Shape(u, v, 0.06, b, "marking", level=0.4, tone=0.9)
    for across in (-a, 0.0, a):
        yield replace(line, u=u + across)
    for along in (-b, b):
        yield replace(line, v=v + along, a=a, b=0.06)
