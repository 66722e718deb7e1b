"""Pixels floor: random fields that belong to a place, the same for whoever asks, in any order."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from functools import reduce

import numpy as np

# Steele, Lea and Flood (2014), Fast splittable pseudorandom number generators: SplitMix64.
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
MIX_2 = np.uint64(0x94D049BB133111EB)
EVEN_BYTES = np.uint64(0x00FF00FF00FF00FF)
LANES = np.uint64(0x0001000100010001)
BYTES_MEAN = 8 * 255 / 2
BYTES_DEVIATION = np.sqrt(8 * (256**2 - 1) / 12)
SPLINE_DEVIATION = 151 / 315  # mean square of the cubic B-spline's four weights, one axis


def draw(seed: int, *place: np.ndarray | int) -> np.ndarray:
    """64 random bits for every place, a broadcast tuple of integers."""
    bits = np.array([seed], dtype="int64").astype("uint64")
    for coordinate in place:
        number = np.atleast_1d(coordinate).astype("int64").astype("uint64")
        bits = _mix(bits ^ _mix(number + GOLDEN))
    return bits


def _mix(bits: np.ndarray) -> np.ndarray:
    bits = (bits ^ (bits >> np.uint64(30))) * MIX_1
    bits = (bits ^ (bits >> np.uint64(27))) * MIX_2
    mixed: np.ndarray = bits ^ (bits >> np.uint64(31))
    return mixed


def normal(seed: int, *place: np.ndarray | int) -> np.ndarray:
    """One deviate of mean 0 and deviation 1 for every place, float32.

    The sum of eight random bytes: near enough to a Gaussian for a texture, and integers until the
    last step, so every machine draws the same.
    """
    bits = draw(seed, *place)
    pairs = (bits & EVEN_BYTES) + ((bits >> np.uint64(8)) & EVEN_BYTES)  # four 16-bit sums
    total = (pairs * LANES) >> np.uint64(48)
    return (total.astype("float32") - np.float32(BYTES_MEAN)) / np.float32(BYTES_DEVIATION)


def smooth(seed: int, y: np.ndarray, x: np.ndarray, *, name: str, scale: float) -> np.ndarray:
    """Smooth noise of deviation 1: a cubic B-spline through random values ``scale`` apart.

    Parameters
    ----------
    seed, name
        Which field; those of other names or scales have nothing to do with it.
    y, x : (y,) and (x,), metres, increasing
        Where to read it.
    scale
        Metres between the values.

    Returns
    -------
    (y, x), float32
    """
    rows, down = _spline(y / scale)
    columns, along = _spline(x / scale)
    field = zlib.crc32(f"{name} {scale:.6g}".encode())
    values = normal(seed, field, _span(rows)[:, None], _span(columns)[None, :])
    rows, columns = rows - rows[0], columns - columns[0]
    values = _weighted(along[k] * values[:, columns + k] for k in range(4))
    values = _weighted(down[k][:, None] * values[rows + k] for k in range(4))
    return values / np.float32(SPLINE_DEVIATION)


def _weighted(terms: Iterable[np.ndarray]) -> np.ndarray:
    """Their sum, in their order: elementwise, so a point's value knows no other point."""
    return reduce(np.add, terms)


def _span(first: np.ndarray) -> np.ndarray:
    """All lattice lines from the first point's first to the last point's fourth."""
    return np.arange(first[0], first[-1] + 4)


def _spline(at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first of the four lattice lines around every point, and their weights: (4, point)."""
    below = np.floor(at).astype("int64")
    t = at - below
    near, far = 4 - 6 * t**2 + 3 * t**3, 1 + 3 * t + 3 * t**2 - 3 * t**3
    weights = np.stack([(1 - t) ** 3, near, far, t**3]) / 6
    return below - 1, weights.astype("float32")
