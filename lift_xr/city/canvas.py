"""Pixels floor: a tile while it is painted, and a brush over the part of it one thing may touch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from lift_xr.city import lattice
from lift_xr.city.things import Shape

TILE = 128  # pixels; a tile is always painted whole, so its pixels know no other neighbours
HEADING = 0.21  # radians from the columns to the streets
SUN = (0.46, 0.79)  # towards the sun along x and y (down), metres per metre of height

Extreme = tuple[str, int]  # material, place among its extremes
Metres = TypeVar("Metres", float, np.ndarray)


class Canvas:
    """A tile of the plane: where its pixels lie, what of them is painted, and its noise."""

    def __init__(self, seed: int, row: int, column: int, *, spacing: float) -> None:
        self.seed, self.spacing = seed, spacing
        pixels = np.arange(TILE) + 0.5
        self.y, self.x = (row * TILE + pixels) * spacing, (column * TILE + pixels) * spacing
        self.planes: dict[Extreme, np.ndarray] = {}  # (direct or total, y, x)
        self.open = np.ones((TILE, TILE), "float32")  # share of a pixel still to be painted
        self.lit = np.ones((TILE, TILE), "float32")  # share of the sun that comes down so far
        self._fields: dict[tuple[str, float], np.ndarray] = {}

    @property
    def span(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """The tile's extent along the city's axes, metres."""
        x, y = self.x[[0, -1]], self.y[[0, -1], None]
        u, v = along(x, y, HEADING)
        return _span(u, self.spacing), _span(v, self.spacing)

    def field(self, name: str, scale: float) -> np.ndarray:
        """Smooth noise of deviation 1, with that many metres between its values: (y, x)."""
        if (name, scale) not in self._fields:
            self._fields[name, scale] = self._noise(name, scale)
        return self._fields[name, scale]

    def relief(self, scale: float) -> np.ndarray:
        """How far a surface with bumps of that size turns to the sun, about -1 to 1: (y, x)."""
        if ("relief", scale) not in self._fields:
            step = 0.35 * scale / np.hypot(*SUN)
            shade = self._noise("relief", scale, -step) - self._noise("relief", scale, step)
            self._fields["relief", scale] = shade
        return self._fields["relief", scale]

    def _noise(self, name: str, scale: float, sunwards: float = 0.0) -> np.ndarray:
        """Noise read some way towards the sun; less of it where a pixel averages over it."""
        x, y = (c + sunwards * sun for c, sun in zip((self.x, self.y), SUN, strict=True))
        noise = lattice.smooth(self.seed, y, x, name=name, scale=max(scale, self.spacing))
        return noise * np.float32(min(1.0, scale / self.spacing))


@dataclass(frozen=True)
class Brush:
    """One shape on one canvas: the window it may touch, and p, q along its own axes in metres."""

    canvas: Canvas
    shape: Shape
    window: tuple[slice, slice]

    @classmethod
    def over(cls, canvas: Canvas, shape: Shape, *, shadow: float = 0.0) -> Brush | None:
        """A brush over all that a shape may touch, or its shadow from that height, if anything."""
        x, y = along(shape.u, shape.v, -HEADING)
        reach = shape.reach + canvas.spacing
        rows, columns = (
            slice(*np.searchsorted(line, (centre - reach - shadow * sun, centre + reach)).tolist())
            for line, centre, sun in ((canvas.y, y, SUN[1]), (canvas.x, x, SUN[0]))
        )
        if rows.start == rows.stop or columns.start == columns.stop:
            return None
        return cls(canvas, shape, (rows, columns))

    @cached_property
    def axes(self) -> tuple[np.ndarray, np.ndarray]:
        """Metres from the shape's centre along its length p and its width q, (y, x) each."""
        x, y = along(self.shape.u, self.shape.v, -HEADING)
        rows, columns = self.window
        dx, dy = self.canvas.x[columns] - x, self.canvas.y[rows, None] - y
        cos, sin = np.cos(HEADING + self.shape.turn), np.sin(HEADING + self.shape.turn)
        p = (cos * dx).astype("float32") + (sin * dy).astype("float32")
        q = (-sin * dx).astype("float32") + (cos * dy).astype("float32")
        return p, q

    @property
    def sun(self) -> tuple[float, float]:
        """Towards the sun along the shape's axes, metres per metre of height."""
        return along(*SUN, HEADING + self.shape.turn)

    @property
    def pixel(self) -> np.float32:
        """Metres between pixels."""
        return np.float32(self.canvas.spacing)

    def field(self, name: str, scale: float) -> np.ndarray:
        """The canvas's noise in the window."""
        return self.canvas.field(name, scale)[self.window]

    def relief(self, scale: float) -> np.ndarray:
        """The canvas's relief in the window."""
        return self.canvas.relief(scale)[self.window]


def _span(values: np.ndarray, margin: float) -> tuple[float, float]:
    return float(values.min()) - margin, float(values.max()) + margin


def along(x: Metres, y: Metres, turn: float) -> tuple[Metres, Metres]:
    """Coordinates along axes turned by an angle."""
    cos, sin = float(np.cos(turn)), float(np.sin(turn))
    return cos * x + sin * y, cos * y - sin * x
