"""What the published tables compute: the metrics of the package sewar, and their own SAM.

Facts from github.com/andrewekhalel/sewar (MIT) at c872e15 and github.com/ritikgshah/HyperBench
(MIT), ``src/hyperbench/metrics``, at 359ee10. What was read is 0.4.6; the tests hold it against
0.4.10, which ``constraints.txt`` pins.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lift_xr.metrics.windows import Plane, filtered, square, structural_similarity

ERGAS_FACTOR = 25.0  # 100 over a ratio of 4, whatever the ratio is
PEAK = 255.0
UNIFORM = np.full(11, 1 / 11)


def to_bytes(plane: Plane) -> Plane:
    """Truncate 0-1 to whole numbers 0-255, in float32 and kept as floats: NaN stays NaN."""
    return np.floor(np.clip(plane.astype("float32") * np.float32(255), 0, 255)).astype("float64")


def byte_square(estimate: Plane, reference: Plane, *, margin: int, top: float) -> Plane:
    """Squared error of each pixel in 8 bits."""
    return square(to_bytes(estimate), to_bytes(reference), margin=margin, top=top)


def byte_similarity(estimate: Plane, reference: Plane, *, margin: int, top: float) -> Plane:
    """SSIM in 8 bits, of uniform windows."""
    del top
    pair = to_bytes(estimate), to_bytes(reference)
    return structural_similarity(*pair, margin=margin, top=PEAK, weights=UNIFORM)


def quality(estimate: Plane, reference: Plane, *, margin: int, top: float) -> Plane:
    """Q with means of the 8 x 8 windows where the formula needs their sums."""
    del top
    count, weights = 64, np.full(8, 1 / 8)
    mean_e, mean_r = (filtered(each, weights, margin) for each in (estimate, reference))
    product, means = mean_e * mean_r, mean_e**2 + mean_r**2
    joint = count * filtered(estimate * reference, weights, margin) - product
    spread = count * filtered(estimate**2 + reference**2, weights, margin) - means
    below = spread * means
    q = np.divide(4 * joint * product, below, out=np.ones_like(below), where=below != 0)
    # It drops four pixels on every side, which is one more than the window reaches ahead.
    wider = filtered(estimate + reference, np.full(9, 1 / 9), margin)
    return np.where(np.isnan(wider), np.nan, q)


def angles(estimate: NDArray[np.floating], reference: NDArray[np.floating]) -> Plane:
    """Angles in degrees between the spectra of (..., x, band) by the arc cosine, in float32."""
    out = np.empty(estimate.shape[:-1])
    for row in np.ndindex(estimate.shape[:-2]):
        u, v = (np.ascontiguousarray(each[row], "float32") for each in (estimate, reference))
        lengths = np.sqrt((u**2).sum(axis=-1)) * np.sqrt((v**2).sum(axis=-1))
        cosine = (u * v).sum(axis=-1) / (lengths + np.float32(1e-8))
        out[row] = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    return out
