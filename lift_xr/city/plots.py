"""Pixels floor: what plots are used for - homes, shops, parks - and all that stands on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from lift_xr.city.things import (
    Random,
    Shape,
    car,
    chance,
    either,
    field_lines,
    pool,
    shrub,
    side,
    tree,
)

LOT = 15.5  # metres of street a house has
BAY = 2.65  # metres a parked car has
HOUSE_ROOFS = ("shingle", "clay tile", "metal", "gravel", "blue coat")
HOUSE_SHARES = (0.52, 0.24, 0.08, 0.11, 0.05)
HALL_ROOFS = ("membrane", "gravel", "metal", "blue coat", "shingle")
HALL_SHARES = (0.32, 0.30, 0.18, 0.10, 0.10)


@dataclass(frozen=True, slots=True)
class Plot:
    """A rectangle to build on, from (u0, v0) to (u1, v1) in metres."""

    u0: float
    u1: float
    v0: float
    v1: float
    front: int  # -1: its street runs along v0, +1: along v1

    @property
    def u(self) -> float:
        """Middle of the frontage."""
        return (self.u0 + self.u1) / 2

    @property
    def v(self) -> float:
        """Middle of the depth."""
        return (self.v0 + self.v1) / 2

    @property
    def width(self) -> float:
        """Metres of frontage."""
        return self.u1 - self.u0

    @property
    def depth(self) -> float:
        """Metres from the street to the back."""
        return self.v1 - self.v0

    def behind(self, metres: float) -> float:
        """The v that lies so many metres behind the street."""
        return self.v0 + metres if self.front < 0 else self.v1 - metres

    def beyond(self, metres: float) -> Plot:
        """What is left of the plot behind those metres."""
        if self.front < 0:
            return replace(self, v0=self.behind(metres))
        return replace(self, v1=self.behind(metres))

    def point(self, rng: Random, *, margin: float = 0.0) -> tuple[float, float]:
        """Anywhere on it."""
        u = rng.uniform(self.u0 + margin, self.u1 - margin)
        return u, rng.uniform(self.v0 + margin, self.v1 - margin)

    def floor(self, material: str, *, look: str, tone: float) -> Shape:
        """The plot itself, covered with one material."""
        a, b = self.width / 2, self.depth / 2
        return Shape(self.u, self.v, a, b, material, look=look, level=0.1, tone=tone)


Use = Callable[[Random, Plot], Iterator[Shape]]


def grove(rng: Random, plot: Plot, *, count: int, radii: tuple[float, float]) -> Iterator[Shape]:
    """Trees here and there."""
    for _ in range(count):
        yield tree(rng, *plot.point(rng, margin=2), radius=rng.uniform(*radii))


def bare_spots(rng: Random, plot: Plot, *, count: int) -> Iterator[Shape]:
    """Patches where the grass is worn off."""
    for _ in range(count):
        a, b = rng.uniform(0.5, 2.2, size=2).tolist()
        spot = Shape(*plot.point(rng), a, b, "soil", form="ragged", level=0.15)
        yield replace(spot, tone=rng.uniform())


# Homes ------------------------------------------------------------------------------------------


def houses(rng: Random, plot: Plot) -> Iterator[Shape]:
    """A row of houses, each with a drive, a yard and what people put there."""
    edges = np.linspace(plot.u0, plot.u1, max(1, round(plot.width / LOT)) + 1)
    for u0, u1 in pairwise(edges.tolist()):
        yield from _home(rng, replace(plot, u0=u0, u1=u1))


def _home(rng: Random, lot: Plot) -> Iterator[Shape]:
    yield lot.floor("grass", look="lawn", tone=float(rng.choice([0.05, 0.25, 0.5, 0.75])))
    house = _house(rng, lot)
    yield house
    yield from _on_the_roof(rng, house)
    yield from _drive(rng, lot, house)
    yield from _back_yard(rng, lot, house)
    for u in np.arange(house.u - house.a + 0.8, house.u + house.a, 1.5):
        if chance(rng, 0.4):
            yield shrub(rng, u, house.v + lot.front * (house.b + 0.7))
    yield from bare_spots(rng, lot, count=int(rng.integers(0, 4)))


def _house(rng: Random, lot: Plot) -> Shape:
    a, b = lot.width / 2 - rng.uniform(1.2, 2.6), rng.uniform(4.6, 6.2)
    u, v = lot.u + rng.uniform(-0.5, 0.5), lot.behind(5.5 + b + rng.uniform(0, 2))
    roof = either(rng, *HOUSE_ROOFS, shares=HOUSE_SHARES)
    house = Shape(u, v, a, b, roof, look=either(rng, "hip", "gable", shares=(0.65, 0.35)))
    house = replace(house, level=4.0, height=rng.uniform(3.4, 4.6))
    return replace(house, tone=rng.uniform(), gain=rng.uniform(0.9, 1.05))


def _on_the_roof(rng: Random, house: Shape) -> Iterator[Shape]:
    """A wing that joins the roof, panels, vents."""
    if chance(rng, 0.6):
        u = house.u + side(rng) * (house.a - 2.6)
        v = house.v + side(rng) * (house.b - 0.6)
        yield replace(house, u=u, v=v, a=2.9, b=2.6, turn=np.pi / 2, level=3.9, height=3.2)
    if chance(rng, 0.25):
        panels = Shape(house.u, house.v + house.b / 2, 2.4, 1.25, "solar panel", look="panes")
        yield replace(panels, level=4.1, tone=rng.uniform(), gain=1.1)
    for _ in range(rng.integers(0, 3)):
        u, v = rng.normal(house.u, house.a / 3), rng.normal(house.v, house.b / 4)
        yield Shape(u, v, 0.28, 0.28, "metal", level=4.2, height=0.7, tone=0.6)


def _drive(rng: Random, lot: Plot, house: Shape) -> Iterator[Shape]:
    u = house.u + side(rng) * (house.a - 1.7)
    length = abs(house.v - lot.behind(0)) - house.b + 0.3
    drive = Shape(u, lot.behind(length / 2 - 1.5), 1.5, length / 2 + 1.6, "concrete", look="slabs")
    yield replace(drive, level=0.25, tone=rng.uniform(0.2, 0.9))
    if chance(rng, 0.55):
        yield from car(rng, u + rng.normal(0, 0.15), lot.behind(length - 3.2), turn=np.pi / 2)


def _back_yard(rng: Random, lot: Plot, house: Shape) -> Iterator[Shape]:
    yard = lot.beyond(abs(house.v - lot.behind(0)) + house.b)
    yield Shape(house.u, yard.behind(1.2), 2.6, 1.3, "concrete", look="slabs", level=0.25)
    for u in (lot.u0, lot.u1):  # fences
        yield Shape(u, yard.v, 0.07, yard.depth / 2, "soil", level=1.6, height=1.3, tone=0.35)
    if yard.depth > 9 and chance(rng, 0.4):
        yield from pool(rng, lot.u + rng.uniform(-1, 1), yard.behind(5.8))
    elif chance(rng, 0.5):
        u, v = lot.u + side(rng) * (lot.width / 2 - 2.4), yard.behind(yard.depth - 2.5)
        shed = Shape(u, v, 1.7, 1.4, either(rng, "metal", "shingle", "blue coat"), look="gable")
        yield replace(shed, level=2.4, height=2.3, tone=rng.uniform())
    yield from grove(rng, yard, count=int(rng.integers(2, 6)), radii=(1.5, 5.0))
    if chance(rng, 0.5):
        u, v = lot.u + rng.uniform(-4, 4), lot.behind(rng.uniform(1.5, 3))
        yield tree(rng, u, v, radius=rng.uniform(1.8, 3.8))


def flats(rng: Random, plot: Plot) -> Iterator[Shape]:
    """Two long buildings with a lawn between them."""
    yield plot.floor("grass", look="lawn", tone=rng.uniform(0.0, 0.5))
    roof, tone = either(rng, "clay tile", "shingle", "gravel"), rng.uniform()
    look = "flat" if roof == "gravel" else "hip"
    for metres in (8.5, plot.depth - 8.0):
        v = plot.behind(metres)
        wing = Shape(plot.u, v, plot.width / 2 - 3.5, 5.2, roof, look=look, tone=tone)
        yield replace(wing, level=8.0, height=7.5)
        for u in np.arange(plot.u0 + 5, plot.u1 - 5, 2.0):
            if chance(rng, 0.4):
                yield shrub(rng, u, v + plot.front * 6.1)
    yield Shape(plot.u, plot.v, 0.9, plot.depth / 2, "concrete", look="slabs", level=0.2)
    court = replace(plot, v0=plot.v - 4.5, v1=plot.v + 4.5)
    yield from grove(rng, court, count=5, radii=(1.5, 3.6))
    yield from bare_spots(rng, plot, count=5)


# Shops ------------------------------------------------------------------------------------------


def shops(rng: Random, plot: Plot) -> Iterator[Shape]:
    """A hall at the back and a car park before it."""
    yield plot.floor("asphalt", look="road", tone=rng.uniform(0.1, 0.9))
    b = rng.uniform(0.17, 0.22) * plot.depth
    roof = either(rng, *HALL_ROOFS, shares=HALL_SHARES)
    hall = Shape(plot.u, plot.behind(plot.depth - b - 1.5), plot.width / 2 - 2.5, b, roof)
    hall = replace(hall, look="flat", level=6.0, height=rng.uniform(5, 7.5), tone=rng.uniform())
    yield hall
    yield from _plant(rng, hall)
    yield from _car_park(rng, plot, depth=plot.depth - 2 * b - 3.0)


def _plant(rng: Random, hall: Shape) -> Iterator[Shape]:
    """Air conditioning and skylights on a flat roof."""
    for _ in range(rng.integers(4, 9)):
        u = hall.u + rng.uniform(2 - hall.a, hall.a - 2)
        v = hall.v + rng.uniform(2 - hall.b, hall.b - 2)
        a, b = rng.uniform(0.5, 1.6, size=2).tolist()
        yield Shape(u, v, a, b, "metal", level=hall.level + 0.5, height=1.3, tone=rng.uniform())
    for _ in range(rng.integers(0, 7)):
        u = hall.u + rng.uniform(2 - hall.a, hall.a - 2)
        yield Shape(u, hall.v + hall.b / 3, 0.5, 0.9, "glass", level=hall.level + 0.2, gain=1.2)


def _car_park(rng: Random, plot: Plot, *, depth: float) -> Iterator[Shape]:
    """Rows of bays on the first metres of a plot, two or four."""
    inner = (depth / 2 - 2.5, depth / 2 + 2.5) if depth > 24 else ()
    for row in (2.6, *inner, depth - 2.8):
        v = plot.behind(row)
        for u in np.arange(plot.u0 + 4.5, plot.u1 - 4.5, BAY):
            yield Shape(u - BAY / 2, v, 0.055, 2.5, "marking", level=0.4, tone=0.55)
            if chance(rng, 0.55):
                yield from car(rng, u + rng.normal(0, 0.1), v + rng.normal(0, 0.2), turn=np.pi / 2)
        for u in (plot.u0 + 1.8, plot.u1 - 1.8):
            yield from _island(rng, u, v)


def _island(rng: Random, u: float, v: float) -> Iterator[Shape]:
    yield Shape(u, v, 1.3, 2.4, "concrete", form="round", level=0.35, tone=0.6)
    grass = Shape(u, v, 1.1, 2.2, "grass", form="round", look="lawn", level=0.36)
    yield replace(grass, tone=rng.uniform(0.2, 0.9))
    if chance(rng, 0.7):
        yield tree(rng, u, v, radius=rng.uniform(1.4, 2.6))


# Open ground ------------------------------------------------------------------------------------


def park(rng: Random, plot: Plot) -> Iterator[Shape]:
    """An oval walk around a pond or a playground, under old trees."""
    yield plot.floor("grass", look="lawn", tone=rng.uniform(0.05, 0.55))
    a, b = plot.width / 2 - 4.5, plot.depth / 2 - 4.0
    walk = Shape(plot.u, plot.v, a, b, "sand", form="wobbly", level=0.15, tone=rng.uniform())
    yield walk
    yield replace(walk, a=a - 1.7, b=b - 1.7, material="grass", look="lawn", level=0.16, tone=0.2)
    if chance(rng, 0.6):
        yield from _pond(rng, plot, a - 6, b - 4.5)
    else:
        yield from _playground(rng, plot)
    yield from bare_spots(rng, plot, count=9)
    for angle in np.arange(0, 2 * np.pi, 0.33) + rng.uniform():
        if chance(rng, 0.62):
            u, v = plot.u + (a + 1.5) * np.cos(angle), plot.v + (b + 1.0) * np.sin(angle)
            u, v = u + rng.normal(0, 1.2), v + rng.normal(0, 1.0)
            yield tree(rng, u, v, radius=rng.uniform(2.0, 4.9))


def _pond(rng: Random, plot: Plot, a: float, b: float) -> Iterator[Shape]:
    bank = Shape(plot.u, plot.v, a + 0.9, b + 0.9, "soil", form="wobbly", level=0.17, tone=0.15)
    yield bank
    pond = replace(bank, a=a, b=b, material="pond", look="water", level=0.18)
    yield replace(pond, tone=rng.uniform())


def _playground(rng: Random, plot: Plot) -> Iterator[Shape]:
    sand = Shape(plot.u, plot.v, 8.0, 6.0, "sand", form="wobbly", level=0.2, tone=rng.uniform())
    yield sand
    yield replace(sand, u=plot.u + 4, a=2.6, b=2.2, material="running track", level=0.21)
    for paint in ("red paint", "blue paint", "yellow marking", "metal"):
        u, v = plot.u + rng.uniform(-5, 5), plot.v + rng.uniform(-3.5, 3.5)
        a, b = rng.uniform(0.4, 1.3, size=2).tolist()
        yield Shape(u, v, a, b, paint, level=1.5, height=1.8, turn=rng.uniform(0, np.pi))


def sports(rng: Random, plot: Plot) -> Iterator[Shape]:
    """A pitch of artificial turf and two hard courts."""
    yield plot.floor("grass", look="lawn", tone=rng.uniform(0.1, 0.8))
    a, b = 0.30 * plot.width, plot.depth / 2 - 4.0
    pitch = Shape(plot.u0 + a + 3.0, plot.v, a, b, "artificial turf", look="turf", level=0.2)
    yield replace(pitch, tone=rng.uniform())
    yield replace(pitch, a=a + 1.6, b=b + 1.6, material="running track", look="plain", level=0.19)
    yield from field_lines(pitch.u, pitch.v, a - 0.8, b - 0.8)
    rest = replace(plot, u0=pitch.u + a + 2.6)
    for v, inner in ((plot.v - b / 2, "blue coat"), (plot.v + b / 2, "running track")):
        court = Shape(rest.u, v, rest.width / 2 - 1.0, b / 2 - 0.4, "green acrylic", level=0.2)
        yield replace(court, tone=rng.uniform())
        yield replace(court, a=court.a - 1.6, b=court.b - 1.5, material=inner, level=0.21)
        yield from field_lines(court.u, v, court.a - 1.7, court.b - 1.6)
    yield from grove(rng, replace(plot, v0=plot.v1 - 5), count=3, radii=(1.5, 2.6))


def building_site(rng: Random, plot: Plot) -> Iterator[Shape]:
    """Bare soil in dry grass, with heaps, crates and weeds."""
    yield plot.floor("grass", look="lawn", tone=rng.uniform(0.75, 1.0))
    dug = Shape(plot.u, plot.v, plot.width / 2 - 3, plot.depth / 2 - 3, "soil", form="ragged")
    yield replace(dug, level=0.12, tone=rng.uniform(0.2, 0.9))
    for _ in range(4):
        a, b = rng.uniform(1.5, 4, size=2).tolist()
        stuff = either(rng, "sand", "gravel", "soil")
        heap = Shape(*plot.point(rng, margin=9), a, b, stuff, form="blob", look="heap")
        yield replace(heap, level=1.4, height=1.0, tone=rng.uniform())
    for _ in range(3):
        coat = either(rng, "red paint", "blue coat", "metal", "white paint")
        crate = Shape(*plot.point(rng, margin=9), 3.0, 1.2, coat, look="panes", level=2.4)
        yield replace(crate, height=2.4, turn=rng.uniform(0, np.pi), tone=rng.uniform())
    for _ in range(10):
        yield shrub(rng, *plot.point(rng, margin=3))


USES: tuple[Use, ...] = (houses, shops, flats, park, sports, building_site)
USE_SHARES = (0.40, 0.20, 0.12, 0.15, 0.08, 0.05)
LARGE_USES: tuple[Use, ...] = (shops, park, sports)  # of a whole block
