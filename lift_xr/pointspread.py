"""Estimate a point spread function from two images of one place, on plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import scipy.linalg
from numpy.lib.stride_tricks import sliding_window_view

from lift_xr.footprint import Footprint, Place

Array = npt.NDArray[np.float64]

STARTS = (0.1, 0.3, 0.6)  # sigmas in cells from which the search sets out
NARROWEST = 0.25  # sigma in pixels: narrower is a point
WIDEST = 1.5  # sigma in cells
FARTHEST = 1.0  # shift in cells
OUTLIER = 4.0  # robust standard deviations
BUMPS = 4  # in a cell: the free form is made of bumps this dense
STIFFNESS = np.logspace(-4, 3, 15)
GAIN = 0.95  # the free form has to reduce the error of cells held out to this
FOLDS = 5
FEWEST = 20  # cells
FEWEST_FREE = 48  # cells, for a free form
TRUSTED = 0.9  # of the cells are expected to be what the kernel says, given the right one
REFERENCE = 0.05  # standard deviations of the scene: beyond, a cell's error counts for less


@dataclass(frozen=True, eq=False)
class PointSpread:
    """An estimate, in pixels.

    Attributes
    ----------
    kernel
        (y, x), odd sides, summing to one.
    sigma, shift
        Of the Gaussian (y, x) next to it.
    free
        Whether the form is the data's own, and not the Gaussian.
    residual
        What it leaves unexplained of the coarse image, in standard deviations of that image.
    cells
        Looked at.
    """

    kernel: Array
    sigma: tuple[float, float]
    shift: tuple[float, float]
    free: bool
    residual: float
    cells: int


def estimate_point_spread(places: Sequence[Place], ratio: int) -> PointSpread | None:
    r"""The kernel through which the fine image looks like the coarse one.

    Parameters
    ----------
    places
        Of both images, with the same bands; a gain and an offset of each band are free.
    ratio
        Pixels along the edge of a cell.

    Returns
    -------
    PointSpread or None
        None where there are too few cells, or no contrast in them.

    Notes
    -----
    With :math:`M` the fine image and :math:`k` the kernel, band b of cell c is modelled as

    .. math:: h_{bc} = g_b \sum_s k(s) \bar M_{bc}(s) + o_b,

    :math:`\bar M_{bc}(s)` the mean over the cell shifted by s. First k is a Gaussian with two
    widths and a shift, found by nonlinear least squares from several starts; cells that disagree
    strongly (dimmed borders, clouds, changes) are then left out. Then smooth bumps are added to
    it, as many as the cells can tell: their stiffness is chosen by cells held out, and they are
    dropped where they do not predict those better.
    """
    cells = _Cells.of(places, ratio)
    if cells is None:
        return None
    theta = _fit_gaussian(cells)
    cells = cells.without_outliers(theta)
    theta = _fit_gaussian(cells, theta)
    kernel, residual = _gaussian(theta, cells.reach), _residual(cells.errors(theta))
    better = _free_form(cells, kernel)
    free = better is not None
    if better is not None:
        kernel, residual = better
    sigma_y, sigma_x, shift_y, shift_x = (float(value) for value in theta)
    found = np.asarray(kernel / kernel.sum())
    return PointSpread(
        _trimmed(found),
        (sigma_y, sigma_x),
        (shift_y, shift_x),
        free,
        residual,
        cells.values.shape[1],
    )


def residual_of(kernel: Array, places: Sequence[Place], ratio: int) -> float:
    """What a kernel leaves unexplained, as :attr:`PointSpread.residual`; NaN with too few cells.

    Cells that disagree strongly are left out here as well: a few, whatever the kernel.
    """
    footprint = Footprint(kernel, ratio)
    seen, held = [], []
    for place in places:
        mask = _usable(place, ratio, 1)
        image = footprint.over(place.msi, place.offset(ratio), place.hsi.shape[1:])
        mask &= np.isfinite(image).all(axis=0)
        seen.append(image[:, mask])
        held.append(place.hsi[:, mask])
    values, image = np.concatenate(held, axis=1), np.concatenate(seen, axis=1)
    if values.shape[1] < FEWEST:
        return float("nan")
    values = (values - values.mean(axis=1, keepdims=True)) / values.std(axis=1, keepdims=True)
    errors = values - _explained(image, values)
    worst = np.abs(errors).max(axis=0)
    return _residual(errors[:, worst <= np.quantile(worst, TRUSTED)])


def reach_of(ratio: int) -> int:
    """Half the width of the kernels that are looked for: what most sensors have, and some more."""
    return max(int(np.ceil(1.5 * ratio)), min(2 * ratio, 8))


@dataclass(frozen=True, eq=False)
class _Cells:
    """Cells to be explained: values of each band with mean 0 and variance 1."""

    places: tuple[Place, ...]
    masks: tuple[npt.NDArray[np.bool_], ...]  # (y, x) of each place: those meant
    values: Array  # (band, cell)
    ratio: int
    reach: int

    @classmethod
    def of(cls, places: Sequence[Place], ratio: int) -> _Cells | None:
        drawn = [(place, _usable(place, ratio, 1)) for place in places]
        full = [(place, mask) for place, mask in drawn if mask.any()]
        if not full:
            return None
        return cls._with(tuple(each for each, _ in full), tuple(mask for _, mask in full), ratio)

    def surrounded(self) -> _Cells | None:
        """Those all of whose kernel's pixels are there; a border would shape a free form."""
        rings = -(-self.reach // self.ratio)
        masks = tuple(
            mask & _usable(place, self.ratio, rings)
            for place, mask in zip(self.places, self.masks, strict=True)
        )
        if sum(int(mask.sum()) for mask in masks) < FEWEST_FREE:
            return None
        return self._with(self.places, masks, self.ratio)

    @classmethod
    def _with(
        cls, places: tuple[Place, ...], masks: tuple[npt.NDArray[np.bool_], ...], ratio: int
    ) -> _Cells | None:
        drawn = [each.hsi[:, mask] for each, mask in zip(places, masks, strict=True)]
        values = np.concatenate(drawn, axis=1).astype("float64")
        if values.shape[1] < FEWEST:
            return None
        spread = values.std(axis=1, keepdims=True)
        if not (spread > 0).all():
            return None
        return cls(
            places,
            masks,
            (values - values.mean(axis=1, keepdims=True)) / spread,
            ratio,
            reach_of(ratio),
        )

    def through(self, down: Array, along: Array) -> Array:
        """(down, along, band, cell): cells seen through products of a row and a column kernel."""
        parts = [
            _separably(
                wide, place.margin * self.ratio, place.hsi.shape[-2:], self.ratio, down, along
            )[..., mask]
            for place, wide, mask in zip(self.places, self._wide, self.masks, strict=True)
        ]
        return np.concatenate(parts, axis=-1)

    @cached_property
    def _wide(self) -> list[Array]:
        sums = [np.nansum(place.msi, axis=(1, 2), dtype="float64") for place in self.places]
        counts = [np.isfinite(place.msi).sum(axis=(1, 2)) for place in self.places]
        mean = np.sum(sums, axis=0) / np.sum(counts, axis=0)  # one: offsets hold for all places
        return [_widened(place, mean, self.reach) for place in self.places]

    def errors(self, theta: Array) -> Array:
        """(band, cell): what a Gaussian leaves, with the best gain and offset of each band."""
        down, along = _profiles(theta, self.reach)
        seen = self.through(down[None], along[None])[0, 0]
        return self.values - _explained(seen, self.values)

    def without_outliers(self, theta: Array) -> _Cells:
        errors = self.errors(theta)
        good: npt.NDArray[np.bool_] = np.all(np.abs(errors) < OUTLIER * _scale(errors), axis=0)
        if good.sum() < max(FEWEST, good.size // 2):
            return self
        masks, start = [], 0
        for mask in self.masks:
            kept = mask.copy()
            kept[mask] = good[start : start + int(mask.sum())]
            masks.append(kept)
            start += int(mask.sum())
        return self._with(self.places, tuple(masks), self.ratio) or self


def _usable(place: Place, ratio: int, rings: int) -> npt.NDArray[np.bool_]:
    """Cells with values, all of whose pixels are there, and those of some rings of neighbours."""
    there = np.isfinite(place.msi).all(axis=0)
    cells = there.reshape(there.shape[0] // ratio, ratio, there.shape[1] // ratio, ratio)
    whole = np.pad(np.all(cells, axis=(1, 3)), rings)
    side = 2 * rings + 1
    near = np.asarray(np.all(sliding_window_view(whole, (side, side)), axis=(2, 3)))
    inner = (
        slice(place.margin, near.shape[0] - place.margin),
        slice(place.margin, near.shape[1] - place.margin),
    )
    return np.asarray(near[inner] & np.isfinite(place.hsi).all(axis=0))


def _separably(
    wide: Array, start: int, shape: tuple[int, ...], ratio: int, down: Array, along: Array
) -> Array:
    """(down, along, band, y, x): all products of row and column kernels, then means over cells.

    ``wide`` (band, y, x) begins ``reach`` pixels before those that are meant, of which the first
    cell begins at the ``start``-th along both axes.
    """
    columns = _over_cells(wide, along, ratio, start, shape[1])  # (band, pixel y, x, along)
    turned = columns.transpose(0, 2, 3, 1)  # (band, x, along, pixel y)
    cells = _over_cells(turned, down, ratio, start, shape[0])  # (band, x, along, y, down)
    return cells.transpose(4, 2, 0, 3, 1)


def _over_cells(image: Array, kernels: Array, ratio: int, start: int, cells: int) -> Array:
    """(..., pixel) to (..., cell, kernel): spread by each kernel, then the mean over each cell.

    A cell takes pixels from as many blocks of ``ratio`` as its weights are long, and one product
    gives every block's share in all of these cells.
    """
    weights = np.stack([np.convolve(each[::-1], np.full(ratio, 1 / ratio)) for each in kernels])
    blocks = -(-weights.shape[1] // ratio)
    weights = np.pad(weights, [(0, 0), (0, blocks * ratio - weights.shape[1])])
    cut = image[..., start : start + (cells + blocks - 1) * ratio]
    missing = (cells + blocks - 1) * ratio - cut.shape[-1]
    if missing:
        cut = np.pad(cut, [(0, 0)] * (cut.ndim - 1) + [(0, missing)])
    chopped = np.ascontiguousarray(cut).reshape(*cut.shape[:-1], cells + blocks - 1, ratio)
    each_block = weights.reshape(len(kernels), blocks, ratio).transpose(2, 1, 0)
    shares = chopped @ each_block.reshape(ratio, -1)
    shares = shares.reshape(*shares.shape[:-1], blocks, len(kernels))
    found = sum(shares[..., first : first + cells, first, :] for first in range(blocks))
    return np.asarray(found)


def _widened(place: Place, mean: Array, reach: int) -> Array:
    """The pixels less the mean of their band, with ``reach`` zeros around.

    Pixels that are missing count as the mean: they lie at the ends of kernels.
    """
    fine = np.asarray(place.msi, "float64")
    wide = np.where(np.isfinite(fine), fine - mean[:, None, None], 0)
    return np.pad(wide, [(0, 0), (reach,) * 2, (reach,) * 2])


def _profiles(theta: Array, reach: int) -> tuple[Array, Array]:
    sigma_y, sigma_x, shift_y, shift_x = theta
    return _profile(sigma_y, shift_y, reach), _profile(sigma_x, shift_x, reach)


def _profile(sigma: float, shift: float, reach: int) -> Array:
    """A Gaussian at whole pixels; a narrow one becomes a point between two of them."""
    at = np.arange(-reach, reach + 1)
    width = np.hypot(sigma, NARROWEST)
    values = np.exp(-((at - shift) ** 2) / (2 * width**2))
    return np.asarray(values / values.sum())


def _gaussian(theta: Array, reach: int) -> Array:
    down, along = _profiles(theta, reach)
    return np.outer(down, along)


def _explained(seen: Array, values: Array) -> Array:
    """The best gain and offset of each band; (band, cell) in and out."""
    centred = seen - seen.mean(axis=1, keepdims=True)
    return np.asarray(_gain(centred, values) * centred)


def _gain(centred: Array, values: Array) -> Array:
    """(band, 1): by which each band comes nearest to values; 0 of a band without contrast."""
    power = (centred**2).sum(axis=1, keepdims=True)
    return np.asarray((centred * values).sum(axis=1, keepdims=True) / np.maximum(power, 1e-300))


def _scale(errors: Array) -> Array:
    return np.maximum(1.4826 * np.median(np.abs(errors), axis=1, keepdims=True), 1e-6)


def _residual(errors: Array) -> float:
    return float(np.sqrt((errors**2).mean()))


def _fit_gaussian(cells: _Cells, start: Array | None = None) -> Array:
    from scipy.optimize import least_squares  # few runs estimate, and all would load it

    ratio = cells.ratio
    limit = np.array([WIDEST, WIDEST, FARTHEST, FARTHEST]) * ratio
    low = np.array([0.0, 0.0, -limit[2], -limit[3]])
    begin = [start] if start is not None else _starts(cells)
    found = [
        least_squares(
            lambda theta: (cells.errors(theta) / REFERENCE).ravel(),
            each,
            bounds=(low - 1e-9, limit),
            loss="soft_l1",
            x_scale=ratio / 4,
            diff_step=1e-3,
            max_nfev=40,
        )
        for each in begin
    ]
    return np.asarray(min(found, key=lambda each: float(each.cost)).x)


def _starts(cells: _Cells) -> list[Array]:
    """The best shifts of a grid, for each of some widths."""
    ratio = cells.ratio
    shifts = np.unique(np.round(np.array([-0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75]) * ratio))
    starts = []
    for sigma in STARTS:
        profiles = np.stack([_profile(sigma * ratio, shift, cells.reach) for shift in shifts])
        seen = cells.through(profiles, profiles)
        costs = [
            [np.abs(cells.values - _explained(each, cells.values)).mean() for each in row]
            for row in seen
        ]
        down, along = np.unravel_index(np.argmin(costs), (len(shifts), len(shifts)))
        starts.append(np.array([sigma * ratio, sigma * ratio, shifts[down], shifts[along]]))
    return starts


def _free_form(cells: _Cells, kernel: Array) -> tuple[Array, float] | None:
    """Bumps added to a kernel, and what they leave; None where they do not help."""
    whole = cells.surrounded()
    if whole is None:
        return None
    cells = whole
    bumps = _bumps(cells.reach, cells.ratio)
    columns = cells.through(bumps, bumps)  # (bump, bump, band, cell)
    count = len(bumps)
    columns = columns.reshape(count * count, *columns.shape[2:])
    u, sizes, v = np.linalg.svd(kernel)
    terms = sizes > 1e-9 * sizes[0]
    seen = sum(
        size * cells.through(row[None], column[None])[0, 0]
        for row, size, column in zip(u.T[terms], sizes[terms], v[terms], strict=False)
    )
    seen = seen - seen.mean(axis=1, keepdims=True)
    gain = _gain(seen, cells.values)
    target = cells.values - gain * seen
    design = (columns - columns.mean(axis=2, keepdims=True)) * gain
    penalty = _penalty(count)
    stiffness, before, after = _choose(design, target, penalty)
    if after > GAIN * before:
        return None
    weights = _solve(design, target, penalty, stiffness)
    left = target - np.tensordot(weights, design, axes=1)
    added = bumps.T @ weights.reshape(count, count) @ bumps
    return kernel + added, _residual(left)


def _bumps(reach: int, ratio: int) -> Array:
    """(bump, pixel): cubic B-splines over the kernel's width."""
    spacing = max(ratio / BUMPS, 1.0)
    half = int(np.floor(reach / spacing))
    centres = np.arange(-half, half + 1) * spacing
    at = np.arange(-reach, reach + 1)
    apart = np.abs(at[None] - centres[:, None]) / spacing
    near, far = (4 - 6 * apart**2 + 3 * apart**3) / 6, (2 - apart) ** 3 / 6
    return np.asarray(np.where(apart < 1, near, np.where(apart < 2, far, 0)))


def _penalty(count: int) -> Array:
    """Bending in both directions, and a little of the size, of a square of bumps."""
    second = np.diff(np.eye(count + 2), n=2, axis=0)[:, 1:-1]
    bending = second.T @ second
    eye = np.eye(count)
    return np.kron(bending, eye) + np.kron(eye, bending) + 0.1 * np.eye(count**2)


def _solve(design: Array, target: Array, penalty: Array, stiffness: float) -> Array:
    flat, wanted = design.reshape(len(design), -1), target.reshape(-1)
    normal = flat @ flat.T
    unit = np.trace(normal) / len(normal)
    return np.asarray(np.linalg.solve(normal + stiffness * unit * penalty, flat @ wanted))


def _choose(design: Array, target: Array, penalty: Array) -> tuple[float, float, float]:
    """The stiffness that predicts cells held out best, the error without bumps and with them."""
    fold = np.arange(target.shape[1]) % FOLDS
    errors = np.zeros(len(STIFFNESS))
    for held in range(FOLDS):
        inside, outside = design[..., fold != held], design[..., fold == held]
        flat, wanted = inside.reshape(len(design), -1), target[:, fold != held].reshape(-1)
        normal, right = flat @ flat.T, flat @ wanted
        unit = np.trace(normal) / len(normal)
        sizes, modes = scipy.linalg.eigh(normal, penalty)  # of both at once: one for all stiffness
        for number, stiffness in enumerate(STIFFNESS):
            weights = modes @ ((modes.T @ right) / (sizes + stiffness * unit))
            left = target[:, fold == held] - np.tensordot(weights, outside, axes=1)
            errors[number] += (left**2).sum()
    best = int(np.argmin(errors))
    return float(STIFFNESS[best]), float((target**2).sum()), float(errors[best])


def _trimmed(kernel: Array) -> Array:
    """Cut off margins that weigh next to nothing, the same on all sides."""
    reach = kernel.shape[0] // 2
    while reach > 1:
        inner = kernel[1:-1, 1:-1]
        if np.abs(kernel).sum() - np.abs(inner).sum() > 1e-4 * np.abs(kernel).sum():
            break
        kernel, reach = inner, reach - 1
    return np.asarray(kernel / kernel.sum())
