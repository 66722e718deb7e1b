"""Pixels floor: outlines - how many metres outside a shape a pixel lies, negative inside."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lift_xr.city.canvas import Brush


def box(b: Brush) -> np.ndarray:
    """A rectangle."""
    p, q = b.axes
    a, half = np.float32(b.shape.a), np.float32(b.shape.b)
    distance: np.ndarray = np.maximum(np.abs(p) - a, np.abs(q) - half)
    return distance


def rounded(b: Brush) -> np.ndarray:
    """A rectangle with round corners."""
    radius = np.float32(0.45 * min(b.shape.a, b.shape.b))
    p, q = (
        np.abs(c) - np.float32(h) + radius
        for c, h in zip(b.axes, (b.shape.a, b.shape.b), strict=True)
    )
    corner = np.hypot(np.maximum(p, 0), np.maximum(q, 0))
    distance: np.ndarray = corner + np.minimum(np.maximum(p, q), 0) - radius
    return distance


def ellipse(b: Brush) -> np.ndarray:
    """An ellipse (the distance is exact on its outline only)."""
    p, q = b.axes
    radius = np.hypot(p / np.float32(b.shape.a), q / np.float32(b.shape.b))
    return (radius - 1) * np.float32(min(b.shape.a, b.shape.b))


def blob(b: Brush) -> np.ndarray:
    """A crown's leafy outline."""
    size = np.float32(min(1.0, b.shape.a / 2.5))
    return ellipse(b) + size * (0.20 * b.field("lobes", 1.0) + 0.09 * b.field("twigs", 0.33))


def wobbly(b: Brush) -> np.ndarray:
    """A bank or a path that nobody drew with a ruler."""
    return ellipse(b) + 0.8 * b.field("bank", 6.0) + 0.06 * b.field("twigs", 0.33)


def ragged(b: Brush) -> np.ndarray:
    """A worn patch without a clear edge."""
    worn = (
        0.35 * b.field("bank", 1.9) + 0.22 * b.field("twigs", 0.33) + 0.12 * b.field("blades", 0.11)
    )
    return ellipse(b) + min(1.0, b.shape.a) * worn


def everywhere(b: Brush) -> np.ndarray:
    """The whole plane."""
    rows, columns = b.window
    return np.full((rows.stop - rows.start, columns.stop - columns.start), -np.inf, "float32")


FORMS: dict[str, Callable[[Brush], np.ndarray]] = {
    "box": box,
    "round": rounded,
    "ellipse": ellipse,
    "blob": blob,
    "wobbly": wobbly,
    "ragged": ragged,
    "everywhere": everywhere,
}
