"""Gain and offset between two images of one place, or of two like places, robustly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

Array = npt.NDArray[np.float64]

# Residual at which an observation counts for nothing, in scales: 95 % efficient on normal errors
# (Tukey's biweight; Holland and Welsch 1977).
TUKEY = 4.685
MAD = 1.4826  # median absolute deviation to standard deviation
ROUNDS = 30
SETTLED = 1e-3
NEARLY_THE_SAME = 1e-10  # share of the variance: neighbours in a smooth image differ by no more
# Fractions of the spread that are no reason to doubt a cell, however small the median residual is:
# where most of a scene is one dark background, it says nothing about the rest.
FLOOR = 0.01
GROSS = 0.25
LEAST_CORRELATION = 0.1

CORE = 0.8  # of the cells are believed to be no outliers
STARTS = 200  # pairs of cells tried; with 40 % outliers, one in three is good
TRIED_ON = 4000  # cells each pair is judged on
CELLS_A_NUMBER = 6  # that a fit asks for, for each number it estimates
FEWEST = 20
TRIM = 0.1  # of values on either side, drawn in before moments are taken


@dataclass(frozen=True, eq=False)
class Line:
    """The line ``gain * m + offset`` between two images, and how well it is known.

    Parameters
    ----------
    gain, offset
        From the first image to the second.
    correlation
        Of the second image with what the first predicts, adjusted for the numbers estimated and
        signed like the gain; NaN where the two were not compared cell by cell.
    gain_error, level_error
        Standard errors of the gain and of the line's height at the mean.
    level, spread
        Mean and standard deviation of the second image.
    at
        Mean of the first image.
    cells
        Used.
    kernel : (side, side) or None
        What the fit saw of the first image, in cells; its sum is the gain. None for moments.
    """

    gain: float
    offset: float
    correlation: float
    gain_error: float
    level_error: float
    level: float
    spread: float
    at: float
    cells: int
    kernel: Array | None

    @property
    def reach(self) -> int | None:
        """Cells to each side that the fit looked at; None for moments."""
        return None if self.kernel is None else len(self.kernel) // 2

    def agrees_with_identity(self, allowance: float) -> bool:
        """Whether gain 1 and offset 0 are within two standard errors and an allowance.

        The allowance is a fraction: of the gain, and of the spread.
        """
        off = abs(self.gain * self.at + self.offset - self.at)
        return (
            abs(self.gain - 1) <= 2 * self.gain_error + allowance
            and off <= 2 * self.level_error + allowance * self.spread
        )


def registered_line(fine: Array, coarse: Array) -> Line | None:
    r"""The line between two registered images, each cell against its surroundings.

    Parameters
    ----------
    fine, coarse : (y, x)
        One band of the MSI averaged over cells, and of the HSI in its place. NaN where unknown.

    Returns
    -------
    Line or None
        None where there are fewer than 20 cells, or one of the images is flat.

    Notes
    -----
    The mean of an MSI over an HSI cell is not what the HSI sees there: its PSF reaches into the
    neighbours, and the images are misplaced by a fraction of a cell. A line from cell to cell takes
    the contrast lost to either for gain. So the gain is the sum of a kernel,

    .. math:: h(p) = \sum_q k(q)\, m(p + q) + o, \qquad g = \sum_q k(q),

    free in the 3 x 3 or 5 x 5 cells around, as many as the data can tell. On degraded scenes of
    true gain 1 (Gaussian PSF, ratio 4) the slope of ordinary least squares is 0.46-0.95, that of
    the reduced major axis 0.79-1.00, and the kernel's sum 0.997-1.005. With 30 % noise on both and
    half a cell of misplacement the sum stays within 0.08 of 1. Too few cells for a kernel leave
    the reduced major axis, which divides the slope by the correlation: both images are in error.
    """
    usable = np.isfinite(fine) & np.isfinite(coarse)
    if usable.sum() < FEWEST or _is_flat(fine[usable]) or _is_flat(coarse[usable]):
        return None
    usable[usable] = ~gross_outliers(fine[usable], coarse[usable])
    fine = np.where(usable, fine, np.nan)
    for reach in (2, 1, 0):
        around, values = surroundings(fine, coarse, reach)
        if len(values) >= CELLS_A_NUMBER * (around.shape[1] + 1) or reach == 0:
            break
    return _line(around, values, reach)


def moment_line(fine: Array, coarse: Array) -> Line | None:
    """The line that gives the values of ``fine`` the mean and spread of ``coarse``.

    Values need not belong to one another. The outer tenth of either side are drawn in to the rest
    before their mean and standard deviation are taken. Falling lines cannot be told from rising
    ones: the gain is positive.

    Parameters
    ----------
    fine, coarse : (value,)
        Values of one band; NaN where unknown.

    Returns
    -------
    Line or None
        None where there are fewer than 2 values, or all are the same.
    """
    fine, coarse = fine[np.isfinite(fine)], coarse[np.isfinite(coarse)]
    if min(fine.size, coarse.size) < 2:
        return None
    fine, coarse = winsorized(fine), winsorized(coarse)
    if _is_flat(fine) or _is_flat(coarse):
        return None
    gain = float(coarse.std() / fine.std())
    share = 1 / fine.size + 1 / coarse.size
    return Line(
        gain=gain,
        offset=float(coarse.mean() - gain * fine.mean()),
        correlation=np.nan,
        gain_error=gain * float(np.sqrt(share / 2)),
        level_error=float(coarse.std() * np.sqrt(share)),
        level=float(coarse.mean()),
        spread=float(coarse.std()),
        at=float(fine.mean()),
        cells=min(fine.size, coarse.size),
        kernel=None,
    )


def winsorized(values: Array) -> Array:
    """``values`` with the outer tenth of either side drawn in."""
    low, high = np.quantile(values, (TRIM, 1 - TRIM))
    return np.clip(values, low, high)


def surroundings(fine: Array, coarse: Array, reach: int) -> tuple[Array, Array]:
    """Every cell of ``coarse`` with the cells of ``fine`` around it, where all are known.

    Returns
    -------
    (cell, (2 reach + 1)**2) and (cell,)
        Of ``fine``, row by row; of ``coarse``.
    """
    side = 2 * reach + 1
    if min(fine.shape) < side:
        return np.empty((0, side**2)), np.empty(0)
    windows = sliding_window_view(fine, (side, side))  # (y, x, side, side)
    inner = coarse[reach : coarse.shape[0] - reach, reach : coarse.shape[1] - reach]
    known = np.isfinite(windows).all(axis=(2, 3)) & np.isfinite(inner)
    return windows[known].reshape(-1, side**2).astype("float64"), inner[known].astype("float64")


def gross_outliers(fine: Array, coarse: Array) -> npt.NDArray[np.bool_]:
    """Cells far from the line that most of them follow: clouds, changes, broken pixels.

    A kernel spreads one bad cell over all that surround it, so these are left out before it is
    fitted. The line is the best of many through two cells, drawn by a fixed seed, then refined on
    the closest 80 % (least trimmed squares; Rousseeuw and Van Driessen 2006).
    """
    m, h = _standardized(fine), _standardized(coarse)
    rng = np.random.default_rng(0)
    tried = rng.choice(m.size, min(m.size, TRIED_ON), replace=False)
    one, other = tried[rng.integers(tried.size, size=(2, STARTS))]
    apart = m[other] != m[one]
    if not apart.any():
        return np.zeros(m.size, bool)
    one, other = one[apart], other[apart]
    slopes = (h[other] - h[one]) / (m[other] - m[one])
    heights = h[one] - slopes * m[one]
    off = _distance(m[tried], h[tried], slopes[:, None], heights[:, None])
    kept = int(CORE * tried.size)
    best = np.partition(off, kept, axis=1)[:, :kept].sum(axis=1).argmin()
    off = _distance(m, h, *_refined(m, h, slopes[best], heights[best]))
    return np.asarray(off > max(6 * MAD * float(np.median(off)), GROSS))


def _refined(m: Array, h: Array, slope: float, height: float) -> tuple[float, float]:
    """Fit the reduced major axis of the closest cells until they stay the same."""
    kept = int(CORE * m.size)
    core = np.empty(0, np.int64)
    for _ in range(ROUNDS):
        before, core = core, np.sort(np.argpartition(_distance(m, h, slope, height), kept)[:kept])
        if np.array_equal(before, core) or _is_flat(m[core]) or _is_flat(h[core]):
            break
        rises = np.mean((m[core] - m[core].mean()) * h[core]) >= 0
        slope = float(h[core].std() / m[core].std()) * (1 if rises else -1)
        height = float(h[core].mean() - slope * m[core].mean())
    return slope, height


def _distance(m: Array, h: Array, slope: float | Array, height: float | Array) -> Array:
    return np.asarray(np.abs(h - slope * m - height) / np.hypot(1, slope))


def _standardized(values: Array) -> Array:
    """Centre on the median; divide by what parts the middle 80 %, or all where that is nothing."""
    values = values.astype("float64")
    low, centre, high = np.quantile(values, (0.1, 0.5, 0.9))
    return np.asarray((values - centre) / ((high - low) / 2.563 or values.std()))


def _is_flat(values: Array) -> bool:
    """No contrast beyond what float32 makes of a constant."""
    return bool(np.ptp(values) <= 1e-6 * np.abs(values).max())


def _line(around: Array, values: Array, reach: int) -> Line | None:
    """Fit the kernel with Tukey's biweight, and read the line off it."""
    if len(values) < FEWEST or _is_flat(values) or _is_flat(around):
        return None
    weights = np.ones(len(values))
    for _ in range(ROUNDS):
        kernel = _weighted_fit(around, values, weights)
        scale = max(MAD * float(np.median(np.abs(kernel.residual))), FLOOR * kernel.spread)
        before = weights
        weights = np.clip(1 - (kernel.residual / (TUKEY * scale)) ** 2, 0, None) ** 2
        if np.abs(weights - before).max() < SETTLED:
            break
    correlation = float(np.sqrt(max(1 - (kernel.noise / kernel.spread) ** 2, 0)))
    gain = float(kernel.weights.sum())
    offset = float(kernel.level - kernel.weights @ kernel.at)
    at = float(kernel.at[len(kernel.at) // 2])
    if reach == 0:
        gain /= max(correlation, LEAST_CORRELATION)
        offset = kernel.level - gain * at
    return Line(
        gain=gain,
        offset=offset,
        correlation=float(np.copysign(correlation, gain)),
        gain_error=kernel.noise * kernel.leverage,
        level_error=kernel.noise / float(np.sqrt(weights.sum())),
        level=kernel.level,
        spread=kernel.spread,
        at=at,
        cells=len(values),
        kernel=(kernel.weights * (gain / kernel.weights.sum())).reshape((2 * reach + 1,) * 2),
    )


class _Kernel(NamedTuple):
    weights: Array
    at: Array  # mean of each regressor
    level: float
    residual: Array
    noise: float  # standard deviation of the residual, adjusted for the numbers estimated
    spread: float
    leverage: float  # of the sum of the weights


def _weighted_fit(around: Array, values: Array, weights: Array) -> _Kernel:
    """Weighted least squares about the weighted means."""
    total = float(weights.sum())
    at, level = weights @ around / total, float(weights @ values) / total
    root = np.sqrt(weights)[:, None]
    design, target = (around - at) * root, (values - level) * root[:, 0]
    inverse = np.linalg.pinv(design.T @ design, rcond=NEARLY_THE_SAME, hermitian=True)
    kernel = inverse @ (design.T @ target)
    residual = values - level - (around - at) @ kernel
    freedom = max(total - around.shape[1] - 1, 1)
    return _Kernel(
        weights=kernel,
        at=at,
        level=level,
        residual=residual,
        noise=float(np.sqrt(weights @ residual**2 / freedom)),
        spread=float(np.sqrt(target @ target / max(total - 1, 1))),
        leverage=float(np.sqrt(max(inverse.sum(), 0))),
    )
