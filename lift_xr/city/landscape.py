"""Pixels floor: paint any tile of the city, as weights of endmembers in sun and shade.

A pixel is a linear mixture, ``sum_k weight_k(y, x) * spectrum_k(band)``, and so is whatever a
linear sensor makes of it: sensors work on the few weights of a tile, never on its bands.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lift_xr.city import plan
from lift_xr.city.canvas import SUN, TILE, Brush, Canvas, Extreme
from lift_xr.city.forms import FORMS
from lift_xr.city.looks import LOOKS
from lift_xr.city.things import Shape

PENUMBRA = 0.12  # metres
EXTREMES = {"grass": 3}  # all other materials have two
EVERYWHERE = 1e9  # metres
MEADOW = Shape(0, 0, EVERYWHERE, EVERYWHERE, "grass", form="everywhere", look="lawn", tone=0.35)


@dataclass(frozen=True)
class Tile:
    """What one tile holds of every extreme that is seen in it.

    ``planes`` are (plane, y, x), float32: first the weight of each extreme times the sunlight that
    reaches it, then the same weights in full light, both times the surface's brightness.
    """

    extremes: tuple[Extreme, ...]
    planes: np.ndarray


def paint(seed: int, row: int, column: int, *, spacing: float) -> Tile:
    """The tile at that row and column of tiles, of pixels ``spacing`` metres wide.

    Painted from the top down, so that what is hidden costs little: crowns before roofs, roofs
    before the lawn, and every shadow before that on which it falls.
    """
    canvas = Canvas(seed, row, column, spacing=spacing)
    for shape in [*plan.shapes(seed, *canvas.span), MEADOW]:
        lay(canvas, shape)
        if shape.height:
            cast_shadow(canvas, shape)
    stack = np.stack(list(canvas.planes.values()), axis=1)  # (direct or total, extreme, y, x)
    return Tile(tuple(canvas.planes), stack.reshape(-1, TILE, TILE))


def lay(canvas: Canvas, shape: Shape) -> None:
    """Give a shape what it covers of the pixels that nothing above it has taken."""
    b = Brush.over(canvas, shape)
    if b is None or not canvas.open[b.window].any():
        return
    share = np.clip(0.5 - FORMS[shape.form](b) / b.pixel, 0, 1)
    taken = canvas.open[b.window] * share
    if not taken.any():
        return
    canvas.open[b.window] *= 1 - share
    look = LOOKS[shape.look](b)
    total = taken * look.gain
    direct = total * look.sun * canvas.lit[b.window]
    for place, weight in enumerate(hats(look.tone, EXTREMES.get(shape.material, 2))):
        key = (shape.material, place)
        if key not in canvas.planes:
            canvas.planes[key] = np.zeros((2, TILE, TILE), "float32")
        for plane, light in zip(canvas.planes[key], (direct, total), strict=True):
            plane[b.window] += light * weight


def hats(tone: np.ndarray, extremes: int) -> list[np.ndarray]:
    """Weights of the extremes on the way from the first to the last; they sum to one."""
    place = tone * (extremes - 1)
    return [np.maximum(1 - np.abs(place - k), 0) for k in range(extremes)]


def cast_shadow(canvas: Canvas, shape: Shape) -> None:
    """Take the sun from what lies behind a shape that stands up."""
    b = Brush.over(canvas, shape, shadow=shape.height)
    if b is None:
        return
    dark = tree_shadow(b) if shape.look == "crown" else wall_shadow(b)
    canvas.lit[b.window] *= 1 - np.clip(dark, 0, 1)


def wall_shadow(b: Brush) -> np.ndarray:
    """Shadow of a prism: how long the way from a pixel to the sun runs below its roof."""
    enter, leave = np.zeros((), "float32"), np.ones((), "float32")
    length = np.float32(b.shape.height * np.hypot(*SUN))
    for across, half, sun in zip(b.axes, (b.shape.a, b.shape.b), b.sun, strict=True):
        rise = np.float32(b.shape.height * (sun if abs(sun) > 1e-3 else 1e-3))
        first, last = (-half - across) / rise, (half - across) / rise
        enter = np.maximum(enter, np.minimum(first, last))
        leave = np.minimum(leave, np.maximum(first, last))
    return 0.5 + (leave - enter) * length / np.float32(max(PENUMBRA, b.canvas.spacing))


def tree_shadow(b: Brush) -> np.ndarray:
    """Shadow of a crown on its stem: an ellipse swept from a third of its height to the top."""
    p, q = b.axes
    (sun_p, sun_q), a, half = b.sun, np.float32(b.shape.a), np.float32(b.shape.b)
    top_p, top_q = (np.float32(b.shape.height * s) for s in (sun_p, sun_q))
    up = (p / a * top_p / a + q / half * top_q / half) / -((top_p / a) ** 2 + (top_q / half) ** 2)
    up = np.clip(up, 0.35, 1)
    radius = np.hypot((p + up * top_p) / a, (q + up * top_q) / half)
    leaves = 0.20 * b.field("lobes", 1.0) + 0.16 * b.field("twigs", 0.33)
    edge = (1 - radius) * half - leaves
    thin = 0.12 * np.clip(b.field("lobes", 1.0) - 0.6, 0, 1)
    return np.clip(edge / np.float32(max(0.3, b.canvas.spacing)) + 0.5, 0, 0.93) - thin
