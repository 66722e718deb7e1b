"""Estimate spectral responses from two images of one place, on plain arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.ndimage import correlate, uniform_filter

from lift_xr.radiometry import FEWEST, FLOOR, MAD, TUKEY, gross_outliers, registered_line

Array = npt.NDArray[np.float64]

ORDERS = (2, 6)  # Gaussian; flat-topped, as measured bands of satellites are
WIDTHS = 14
CENTRES = 200  # at most
FINER = 4  # steps to a neighbour, around the best
SIDES = (9, 5, 3, 1)  # of the blur, in cells: the widest of which a scene holds six
TILES = 8  # along either side; their cells are held out together, as neighbours are alike
# Of the error that lobes leave on held-out cells: a free response has to remove this share before
# it is believed. On EO-1 ALI it removes up to a fifth by mixing bands far apart.
WORTH_IT = 0.3
NEARLY_AS_GOOD = 1.1
GOOD_ENOUGH = 1e-4  # of the variance: a lobe that explains the MSI to 1 % of its contrast stays
SMOOTHNESS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)  # from the closest to a lobe to the freest
TOWARDS_LOBE = 1e-2  # weight of the difference to the lobe beside that of its slope


class Pixels(NamedTuple):
    """Cells that both images know: values, and the tile each lies in."""

    hsi: Array  # (cell, band)
    msi: Array  # (cell, msi_band)
    tile: npt.NDArray[np.int64]  # (cell,)


class Lobes(NamedTuple):
    """Candidates for a response."""

    wavelength: Array  # (band,)
    centre: Array  # (lobe,)
    width: Array  # (lobe,), at half maximum
    rows: Array  # (lobe, band), summing to one
    weight: Array  # (lobe,): what each counts for before any data


class Moments(NamedTuple):
    """Second moments of HSI and MSI values about their means, which are kept too."""

    hsi: Array  # (band, band)
    cross: Array  # (band, msi_band)
    msi: Array  # (msi_band,)
    hsi_mean: Array
    msi_mean: Array


def estimate_responses(
    hsi: npt.NDArray[np.float32],
    msi: npt.NDArray[np.float32],
    wavelength: Array,
    *,
    smoothness: float | None = None,
) -> tuple[Array, Array] | None:
    r"""Find the response of each MSI band, from cells that both sensors saw.

    Parameters
    ----------
    hsi : (band, y, x)
        The cube.
    msi : (msi_band, y, x)
        The MSI averaged over the cells of the cube, in any units. NaN where unknown.
    wavelength : (band,), nm
        In any order.
    smoothness
        How far a response is kept to a single lobe: 1e-1 closely, 1e-5 hardly. None decides by
        cells held out.

    Returns
    -------
    (msi_band, band) and (msi_band,), or None
        Responses, non-negative, rows summing to one; correlation of each MSI band with what its
        response sees of the cube. None where there are fewer than 20 cells, or no contrast.

    Notes
    -----
    With gain and offset unknown too, :math:`m = g\, r^T h + o`. Natural spectra span few
    dimensions, so least squares, even non-negative and smooth, fits :math:`m` with bands far from
    where the sensor looks. Sensors' bands are single lobes: the estimate is the mean of all lobes
    of Gaussian and flat-topped shape, each with the likelihood of its fit as weight; it is freed
    to

    .. math:: \min_{r \ge 0} |m - g\, r^T h - o|^2 + \lambda |D (r - r_0)|^2,

    with :math:`r_0` the lobe and :math:`D` the first difference, only if that removes 30 % of the
    error on cells held out. Both images are blurred first, so that their PSFs and a shift of less
    than a cell matter little (Simoes and others, IEEE TGRS 2015); then the MSI is seen through the
    kernel that fits it to the cube best, and all is repeated with little blur.
    """
    order = np.argsort(wavelength, kind="stable")
    cube, image = hsi[order].astype("float64"), msi.astype("float64")
    lobes = lobes_over(wavelength[order])
    side = next(each for each in SIDES if each * 6 <= min(cube.shape[1:]) or each == 1)
    stages = ((as_it_is, 1), (without_outliers, side), (as_sharp_as, min(side, 3)))
    found, pixels = lobes.rows[: len(image)], None
    for prepared, blur in stages:
        image = prepared(cube, image, found)
        pixels = paired(cube, image, blur=blur)
        if pixels is None:
            return None
        found = mean_lobes(pixels, lobes, independent=1 / blur**2)
    assert pixels is not None
    found = freed(pixels, found, lobes, smoothness=smoothness)
    responses = np.empty_like(found)
    responses[:, order] = found
    return responses, correlations(pixels, found)


def lobes_over(wavelength: Array) -> Lobes:
    """Every lobe considered at first."""
    step, width = float(np.median(np.diff(wavelength))), float(np.ptp(wavelength))
    every = np.linspace(0, len(wavelength) - 1, min(len(wavelength), CENTRES)).round().astype(int)
    widths = np.geomspace(max(1.5 * step, width / 100), width / 2.5, WIDTHS)
    return drawn(wavelength, wavelength[every], widths)


def drawn(wavelength: Array, centres: Array, widths: Array, *, weight: float = 1.0) -> Lobes:
    """Every centre with every width and either shape."""
    shapes = np.meshgrid(centres, widths, np.array(ORDERS, "float64"), indexing="ij")
    centre, width, order = (each.reshape(-1) for each in shapes)
    off = 2 * np.abs(wavelength - centre[:, None]) / width[:, None]
    rows = np.exp2(-(off ** order[:, None]))
    rows /= np.maximum(rows.sum(axis=1, keepdims=True), np.finfo("float64").tiny)
    return Lobes(wavelength, centre, width, rows, np.full(len(rows), weight))


def finer(lobes: Lobes, left: Array) -> Lobes:
    """Lobes between the best of each width and its neighbours, counting for as much as they do."""
    gap = np.diff(np.unique(lobes.centre)).max(initial=0.0)
    widths = np.unique(lobes.width)
    wider = float((widths[-1] / widths[0]) ** (1 / max(len(widths) - 1, 1)))
    drawings = []
    for width in widths:
        alike = np.flatnonzero(lobes.width == width)
        centre = lobes.centre[alike[left[alike].argmin()]]
        centres = centre + gap * np.linspace(-1, 1, 2 * FINER + 1)
        between = width * wider ** np.linspace(-0.5, 0.5, FINER + 1)
        drawings.append(drawn(lobes.wavelength, centres, between, weight=FINER**-2))
    joined = (np.concatenate(each) for each in list(zip(*drawings, strict=True))[1:])
    return Lobes(lobes.wavelength, *joined)


def paired(cube: Array, image: Array, *, blur: int = 1) -> Pixels | None:
    """The cells that both know, each the mean of ``blur`` x ``blur`` around it; None if too few."""
    known = np.asarray(np.isfinite(cube).all(axis=0) & np.isfinite(image).all(axis=0))
    share = uniform_filter(known.astype("float64"), blur, mode="constant")
    used = known & (share > 0.5 * blur**-2)
    if used.sum() < FEWEST:
        return None
    h, m = (
        np.stack([_box(band, known, blur)[used] / share[used] for band in each], axis=1)
        for each in (cube, image)
    )
    if (np.ptp(h, axis=0) == 0).all() or (np.ptp(m, axis=0) <= 1e-6 * np.abs(m).max(axis=0)).any():
        return None
    y, x = np.nonzero(used)
    tile = (y * TILES // used.shape[0]) + (x * TILES // used.shape[1])
    return Pixels(h, m, tile)


def _box(band: Array, known: npt.NDArray[np.bool_], side: int) -> Array:
    return np.asarray(uniform_filter(np.where(known, band, 0.0), side, mode="constant"))


def moments(pixels: Pixels, weights: Array | None = None) -> Moments:
    """Weighted second moments."""
    weights = np.ones(len(pixels.hsi)) if weights is None else weights
    share = weights / weights.sum()
    hsi_mean, msi_mean = share @ pixels.hsi, share @ pixels.msi
    dh, dm = pixels.hsi - hsi_mean, pixels.msi - msi_mean
    weighted = (dh * share[:, None]).T
    return Moments(weighted @ dh, weighted @ dm, share @ dm**2, hsi_mean, msi_mean)


def mean_lobes(pixels: Pixels, lobes: Lobes, *, independent: float = 1.0) -> Array:
    """The mean of all lobes by likelihood, twice: the second time with far cells weighed less.

    Parameters
    ----------
    independent
        Share of the cells that are independent of one another.
    """
    weights = np.ones(len(pixels.hsi))
    found = likely(moments(pixels), lobes, count=independent * weights.sum())
    residual = residuals(pixels, found)
    scale = np.maximum(MAD * np.median(np.abs(residual), axis=0), FLOOR * pixels.msi.std(axis=0))
    far = np.clip(1 - (residual / (TUKEY * scale)) ** 2, 0, None) ** 2
    weights = far.min(axis=1)
    return likely(moments(pixels, weights), lobes, count=independent * float(weights.sum()))


def likely(known: Moments, lobes: Lobes, *, count: float) -> Array:
    """The mean of all lobes, each weighed by the likelihood of its best gain and offset."""
    left = unexplained(known, lobes)
    return np.stack(
        [_likely(known, lobes, band, left[:, band], count=count) for band in range(left.shape[1])]
    )


def _likely(known: Moments, lobes: Lobes, band: int, left: Array, *, count: float) -> Array:
    between = finer(lobes, left)
    left = np.concatenate([left, unexplained(known, between)[:, band]])
    weights = np.concatenate([lobes.weight, between.weight]) * (left.min() / left) ** (count / 2)
    return np.asarray(weights @ np.concatenate([lobes.rows, between.rows]) / weights.sum())


def unexplained(known: Moments, lobes: Lobes) -> Array:
    """Share of each MSI band's variance that each lobe leaves: (lobe, msi_band)."""
    explained = np.clip(lobes.rows @ known.cross, 0, None) ** 2  # a gain is positive
    seen = np.einsum("lb,lb->l", lobes.rows @ known.hsi, lobes.rows)[:, None]
    explained /= np.maximum(seen, np.finfo("float64").tiny)  # a lobe may see a dead band alone
    return np.asarray(np.maximum(1 - explained / known.msi, 1e-12))


def residuals(pixels: Pixels, responses: Array) -> Array:
    """What the best gain and offset of each response leave: (cell, msi_band)."""
    seen = pixels.hsi @ responses.T
    seen, values = seen - seen.mean(axis=0), pixels.msi - pixels.msi.mean(axis=0)
    gain = (seen * values).sum(axis=0) / (seen**2).sum(axis=0)
    return np.asarray(values - gain * seen)


def correlations(pixels: Pixels, responses: Array) -> Array:
    """Correlation of each MSI band with what its response sees: (msi_band,)."""
    left = (residuals(pixels, responses) ** 2).mean(axis=0) / pixels.msi.var(axis=0)
    return np.asarray(np.sqrt(np.clip(1 - left, 0, None)))


def as_it_is(_cube: Array, image: Array, _responses: Array) -> Array:
    """The image."""
    return image


def without_outliers(cube: Array, image: Array, responses: Array) -> Array:
    """The image, NaN where any band is far from what its response sees."""
    seen = np.einsum("mb,byx->myx", responses, cube)
    known = np.isfinite(seen).all(axis=0) & np.isfinite(image).all(axis=0)
    far = np.zeros(known.shape, bool)
    for m, h in zip(image, seen, strict=True):
        far[known] |= gross_outliers(m[known], h[known])
    return np.where(far, np.nan, image)


def as_sharp_as(cube: Array, image: Array, responses: Array) -> Array:
    """The image through the kernels that fit it to the cube, which take care of PSF and shift."""
    seen = np.einsum("mb,byx->myx", responses, cube)
    matched = []
    for m, h in zip(image, seen, strict=True):
        line = registered_line(m, h)
        if line is not None and line.kernel is not None and line.gain > 0:
            m = correlate(m, line.kernel / line.gain, mode="constant", cval=np.nan)
        matched.append(m)
    return np.stack(matched)


def freed(pixels: Pixels, found: Array, lobes: Lobes, *, smoothness: float | None = None) -> Array:
    """Responses freed from their lobes where cells held out say so, else the lobes."""
    chosen = held_out(pixels, lobes) if smoothness is None else [smoothness] * len(found)
    known = moments(pixels)
    each = zip(found, chosen, strict=True)
    return np.stack([refined(known, band, lobe, one) for band, (lobe, one) in enumerate(each)])


def held_out(pixels: Pixels, lobes: Lobes) -> list[float | None]:
    """The smoothness each band can do with, by cells held out; None to stay with the lobe."""
    errors = np.zeros((1 + len(SMOOTHNESS), pixels.msi.shape[1]))
    for parity in (0, 1):
        held = pixels.tile % 2 == parity
        if min(held.sum(), (~held).sum()) < FEWEST:
            return [None] * pixels.msi.shape[1]
        known = moments(Pixels(*(each[~held] for each in pixels)))
        rest = Pixels(*(each[held] for each in pixels))
        found = likely(known, lobes, count=float((~held).sum()))
        for row, smoothness in enumerate((None, *SMOOTHNESS)):
            tried = [refined(known, band, lobe, smoothness) for band, lobe in enumerate(found)]
            errors[row] += (residuals(rest, np.stack(tried)) ** 2).sum(axis=0)
    spread = pixels.msi.var(axis=0) * len(pixels.msi)
    return [_choice(each) for each in (errors / spread).T]


def _choice(errors: Array) -> float | None:
    """The closest to a lobe among those nearly as good as the best; of shares of the variance."""
    best = errors[1:].min()
    if errors[0] < GOOD_ENOUGH or best > (1 - WORTH_IT) * errors[0]:
        return None
    return SMOOTHNESS[int(np.argmax(errors[1:] <= NEARLY_AS_GOOD * best))]


def refined(known: Moments, band: int, lobe: Array, smoothness: float | None) -> Array:
    """The non-negative response closest to data and lobe, summing to one; None: the lobe."""
    from scipy.optimize import nnls  # few runs estimate, and all would load it

    if smoothness is None:
        return lobe
    bands = len(lobe)
    slope = np.diff(np.eye(bands), axis=0)
    penalty = slope.T @ slope + TOWARDS_LOBE * np.eye(bands)
    penalty *= smoothness * np.trace(known.hsi) / bands
    gain = (lobe @ known.cross[:, band]) / (lobe @ known.hsi @ lobe)
    factor = np.linalg.cholesky(known.hsi + penalty)
    target = known.cross[:, band] + penalty @ (gain * lobe)
    response, _ = nnls(factor.T, np.linalg.solve(factor, target), maxiter=30 * bands)
    total = float(response.sum())
    return np.asarray(response / total) if total > 0 else lobe
