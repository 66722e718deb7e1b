"""What a cube's cells hold that a network does not, as far as cells held out bear it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lift_xr.bandshift import bands_apart
from lift_xr.footprint import (
    Footprint,
    Place,
    brightness,
    darkness,
    known,
    usual_brightness,
)
from lift_xr.kernel import DenseNetwork
from lift_xr.kriging import Kriging, errors_held_out, held_out
from lift_xr.models.backprojection import REACHES, BackProjection

Array = npt.NDArray[np.float64]

COMPONENTS = 12  # of the spectra of what cells lack
NOISES = tuple(float(each) for each in np.logspace(-3, 2, 11))
TRUSTED = 0.9  # of the cells: the rest may be clouds, changes, or half outside the mosaic
WORTH = 0.98  # of a component's error has to remain, at most, for it to be estimated
LEAST_SHARE = 0.01  # of an estimate: less is rounding
SINGULAR = 1e-12  # of the greatest: components that are estimated alike, or not at all
ALONE = 0.99  # of a component's power, in one cell
TINY = 1e-300  # in place of no variance at all


def agree(
    network: DenseNetwork,
    gain: Array,
    srf: Array,
    footprint: Footprint,
    places: Sequence[Place],
    *,
    clearing: Array | None = None,
) -> tuple[BackProjection | None, dict[str, Any]]:
    """Fit what is added to a network to places in both images.

    Parameters
    ----------
    network, gain, clearing
        Obeys the MSI, with this Kalman gain (band, msi_band), after it was taken to what exceeds
        the noise of the cube, where that was learnt: see :class:`lift_xr.models.pairs.Pairs`.
    srf
        (msi_band, band).
    footprint
        Of the cube's cells.
    places
        At least one with known cells.

    Returns
    -------
    BackProjection or None, dict
        None where the cells say nothing about their neighbours that the network did not know; and
        the errors that were measured, as plain numbers.
    """
    invisible = np.eye(network.bands) - gain @ srf
    clear = invisible if clearing is None else invisible @ clearing
    pair = _Compared.of(network, srf, footprint, places)
    apart = [one - each for one, each in zip(pair.even, pair.seen, strict=True)]
    lacking = [np.tensordot(clear, each, axes=1) for each in apart]
    analysis, synthesis = _components(lacking, places)
    fields = [np.tensordot(analysis, each, axes=1) for each in lacking]
    level = np.sum([_power(np.tensordot(analysis, each, axes=1)) for each in pair.seen], axis=0)
    doubt = pair.doubt()
    tuned = _tuned(fields, footprint, doubt * level)
    added = invisible @ synthesis
    hidden = [np.tensordot(invisible, each, axes=1) for each in lacking]
    squares = Squares.of(added, fields, tuned.estimates, apart, hidden)
    share = squares.shares()
    used = share > LEAST_SHARE
    gone = squares.gone(np.where(used, share, 0.0))
    told = tuned.told(gone, (synthesis**2).sum(axis=0), network.bands)
    told |= {"components": int(used.sum())} | pair.told(doubt)
    if not used.any():
        return None, told
    return BackProjection(
        network=network,
        psf=footprint.psf,
        ratio=footprint.ratio,
        srf=srf,
        analysis=analysis[used] @ clear,
        synthesis=(added * share)[:, used],
        reach=tuned.reach[used],
        noise=tuned.noise[used],
        tolerance=pair.tolerance,
        dark=pair.dark,
    ), told


@dataclass(frozen=True, eq=False)
class _Compared:
    """The cells of some places, and what was lifted there, seen through the same footprints.

    Attributes
    ----------
    held, shown
        (msi_band, y, x), as the MSI's sensor would see them: the cube's, and those lifted.
    even, seen
        (band, y, x): the cube's with the brightness of those lifted, and these.
    tolerance, dark
        As in :class:`BackProjection`.
    """

    held: list[Array]
    shown: list[Array]
    even: list[Array]
    seen: list[Array]
    tolerance: float
    dark: Array

    @classmethod
    def of(
        cls, network: DenseNetwork, srf: Array, footprint: Footprint, places: Sequence[Place]
    ) -> _Compared:
        held = [p.through(srf).hsi for p in places]
        dark = darkness(held)
        seen = [
            footprint.over(network(p.msi), p.offset(footprint.ratio), p.hsi.shape[1:])
            for p in places
        ]
        shown = [np.tensordot(srf, each, axes=1) for each in seen]
        tolerance = usual_brightness(held, shown, dark)
        even = [
            p.hsi / brightness(one, other, dark, tolerance)
            for p, one, other in zip(places, held, shown, strict=True)
        ]
        return cls(held, shown, even, seen, tolerance, dark)

    def doubt(self) -> float:
        """How much of the variance of cells the footprint gets wrong, where the MSI can tell.

        What the MSI sees of the cube and of the mosaic should be the same but for the noise. The
        rest is the wrong pixels, and there is as much of it in what the MSI does not see.
        """
        apart = [
            one / brightness(one, other, self.dark, self.tolerance) - other
            for one, other in zip(self.held, self.shown, strict=True)
        ]
        if not any(np.isfinite(each).any() for each in apart):
            return 1.0
        shown = np.concatenate([known(each) for each in self.shown], axis=1)
        wrong = np.concatenate([known(each) for each in apart], axis=1) ** 2
        there = np.maximum(shown.var(axis=1, keepdims=True), TINY)
        of_cells = (wrong / there).mean(axis=0)
        return float(of_cells[of_cells <= np.quantile(of_cells, TRUSTED)].mean())

    def told(self, doubt: float) -> dict[str, Any]:
        """What was measured, as plain numbers."""
        apart, by_chance = bands_apart(self.even, self.seen)
        return {
            "doubt": float(np.sqrt(doubt)),
            "bands_apart": apart,
            "bands_apart_by_chance": by_chance,
        }


@dataclass(frozen=True, eq=False)
class _Tuned:
    """What estimates each component best, and the squared errors of cells held out."""

    kriging: tuple[Kriging, ...]
    noise: Array
    before: Array
    after: Array
    harm: Array
    cells: int

    @property
    def reach(self) -> Array:
        """(component,): in cells."""
        return np.array([each.reach for each in self.kriging])

    def estimates(self, fields: Array) -> Array:
        """(component, y, x): cells as their neighbours tell them; zero of components not kept."""
        out = np.where(np.isfinite(fields), 0.0, np.nan)
        kept = np.flatnonzero(self.kept)
        if kept.size:
            kriging = [self.kriging[each] for each in kept]
            out[kept] = held_out(fields[kept], kriging, self.noise[kept].tolist())
        return out

    @property
    def kept(self) -> npt.NDArray[np.bool_]:
        """Components whose estimate is worth it, and more than what is doubtful about it."""
        worth = self.after < WORTH * self.before
        return np.asarray(worth & (self.before - self.after > self.harm))

    def told(self, gone: float, size: Array, bands: int) -> dict[str, Any]:
        """What was measured, as plain numbers; ``size`` is that of the components' spectra."""
        before = float(size @ self.before)
        after = max(before - gone, 0.0)
        return {
            "known_cells": self.cells,
            "kept": after / before if before else 1.0,
            "error": float(np.sqrt(after / max(self.cells, 1) / bands)),
        }


def _power(fields: Array) -> Array:
    """(field,): sums over the known cells of squared deviations from the mean."""
    cells = known(fields)
    if not cells.size:  # a place where the mosaic, or the cube, has a gap
        return np.zeros(len(fields))
    return np.asarray(cells.var(axis=1) * cells.shape[1])


def _tuned(fields: Sequence[Array], footprint: Footprint, harm: Array) -> _Tuned:
    """Choose what estimates each component (component, y, x) of cells held out best."""
    kriging = [Kriging(footprint, reach) for reach in REACHES]
    sums = [errors_held_out(each, kriging, NOISES) for each in fields]
    errors = np.sum([each[0] for each in sums], axis=0)  # (reach, noise, component)
    best = errors.reshape(-1, errors.shape[-1]).argmin(axis=0)
    reach, noise = np.unravel_index(best, errors.shape[:2])
    return _Tuned(
        kriging=tuple(kriging[each] for each in reach),
        noise=np.array(NOISES)[noise],
        before=np.sum([each[1] for each in sums], axis=0),
        after=errors[reach, noise, np.arange(len(best))],
        harm=harm,
        cells=sum(each[2] for each in sums),
    )


@dataclass(frozen=True, eq=False)
class Squares:
    r"""What part of the squared error of cells goes, by how much of each component is added.

    Adding the part :math:`a_k` of each takes :math:`2 a^T m - a^T G a` from the squared error.

    Attributes
    ----------
    gram
        :math:`G`, (component, component).
    moments
        :math:`m`, (component,).
    """

    gram: Array
    moments: Array

    @classmethod
    def of(
        cls,
        added: Array,
        fields: Sequence[Array],
        estimate: Callable[[Array], Array],
        apart: Sequence[Array],
        hidden: Sequence[Array],
    ) -> Squares:
        r"""Hold each cell out of what the others tell of it, and of the spectra.

        Components' spectra are found among the same cells, and follow their noise: of :math:`n`
        cells, each brings an :math:`n`-th of its own noise along, in every band. Were they judged
        as they are, a spectrum of noise would be found to help. So a cell :math:`i` is held
        against :math:`d_i - \sum_k a_k \hat e_{ki} s_k^{(i)}`. There :math:`d_i` is what it holds
        that the network does not, :math:`x_i` the part of that which the MSI does not see,
        :math:`e_{ki}` how much of a component, :math:`\hat e_{ki}` what the others tell of that,
        :math:`s_k` the component's spectrum, and

        .. math:: s_k^{(i)} = s_k - \frac{e_{ki}}{\sum_j e_{kj}^2 - e_{ki}^2} (x_i - e_{ki} s_k)

        what it is without that cell: a principal component is the mean of the cells, weighted with
        what they hold of it. Which patterns are looked for (the :math:`e_{ki}`) is not found anew
        without each cell, so of noise alone somewhat more than nothing is still found worth
        adding; that it is refused is left to ``MOST_KEPT`` of :mod:`lift_xr.models.rounds`.

        Components are found where bands count in relation to their level, and are estimated one by
        one; here bands count as they are, all components together. One that a single cell makes up
        has no spectrum without it, and no part in the answer.

        Parameters
        ----------
        added : (band, component)
            Spectra.
        fields : (component, y, x)
            Of each place: what cells hold of the components.
        estimate
            What the other cells tell of that.
        apart, hidden : (band, y, x)
            :math:`d` and :math:`x`.
        """
        told, held, wanted, own = (
            np.concatenate([one.reshape(len(one), -1) for one in side], axis=1)
            for side in ([estimate(each) for each in fields], fields, apart, hidden)
        )
        there = np.isfinite(told).all(axis=0) & np.isfinite(wanted).all(axis=0)
        told, held, wanted, own = (each[:, there] for each in (told, held, wanted, own))
        power = (held**2).sum(axis=1, keepdims=True)
        told[(held**2 > ALONE * power).any(axis=1)] = 0
        without = held / np.maximum(power - held**2, TINY)
        kept, taken = told * (1 + without * held), told * without
        mixed = (kept * (added.T @ own)) @ taken.T
        return cls(
            (added.T @ added) * (kept @ kept.T)
            - (mixed + mixed.T)
            + (taken * (own**2).sum(axis=0)) @ taken.T,
            (kept * (added.T @ wanted)).sum(axis=1) - taken @ (own * wanted).sum(axis=0),
        )

    def shares(self) -> Array:
        """How much of each is worth adding, from none to all: (component,). Least squares."""
        from scipy.optimize import lsq_linear

        size, directions = np.linalg.eigh(self.gram)
        some = size > SINGULAR * size[-1]
        if not some.any():
            return np.zeros(len(size))
        root = np.sqrt(size[some])
        into = directions[:, some].T
        fitted = lsq_linear(root[:, None] * into, into @ self.moments / root, bounds=(0, 1))
        return np.where(np.diag(self.gram) > 0, fitted.x, 0.0)

    def gone(self, share: Array) -> float:
        """Of the squared error, once so much of each is added."""
        return float(2 * share @ self.moments - share @ self.gram @ share)


def _components(lacking: Sequence[Array], places: Sequence[Place]) -> tuple[Array, Array]:
    """Analysis (component, band) and synthesis: principal, with each band relative to its level."""
    rows = np.concatenate([known(each) for each in lacking], axis=1)
    levels = np.concatenate([known(p.hsi) for p in places], axis=1).astype("float64")
    scale = np.sqrt(np.maximum((levels**2).mean(axis=1), 1e-30))
    scaled = rows / scale[:, None]
    _, directions = np.linalg.eigh(scaled @ scaled.T)
    kept = directions[:, : -COMPONENTS - 1 : -1]
    return kept.T / scale, kept * scale[:, None]
