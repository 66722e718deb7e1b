"""Make the answer agree with the cube too: what its cells say, spread over their pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from scipy.optimize import lsq_linear

from lift_xr.bandshift import bands_apart
from lift_xr.cubenoise import is_learnt
from lift_xr.footprint import (
    Footprint,
    Place,
    brightness,
    darkness,
    known,
    usual_brightness,
)
from lift_xr.kernel import DenseNetwork
from lift_xr.kriging import AROUND, Kriging, errors_held_out, held_out, spread_over_pixels
from lift_xr.models.pairs import noise_in
from lift_xr.named import complete, misfits, part_under, under
from lift_xr.threads import one_blas_thread
from lift_xr.window import Window

Array = npt.NDArray[np.float64]

COMPONENTS = 12  # of the spectra of what cells lack
REACHES = (0.5, 1.0, 2.0)  # cells
NOISES = tuple(float(each) for each in np.logspace(-3, 2, 11))
TRUSTED = 0.9  # of the cells: the rest may be clouds, changes, or half outside the mosaic
WORTH = 0.98  # of a component's error has to remain, at most, for it to be estimated
ROWS = 64  # of pixels added to at once
SINGULAR = 1e-12  # of the greatest: components that are estimated alike, or not at all


@dataclass(frozen=True, eq=False)
class BackProjection:
    r"""A per-pixel network, and what the cube's cells say it lacks.

    Attributes
    ----------
    network
        MSI pixels to spectra that obey the MSI.
    psf
        (y, x) in MSI pixels; the mean over a cell comes on top.
    ratio
        MSI pixels along the edge of a cell.
    srf
        (msi_band, band).
    analysis
        (component, band): a spectrum's share of each component, of what neither the MSI sees nor
        noise makes.
    synthesis
        (band, component): back again, without what the MSI would see of it, and no more of it than
        cells held out bear.
    reach
        (component,): distance over which each changes, in cells.
    noise
        (component,): its noise, as a part of its variance.
    tolerance
        How far a cell may be brighter or darker than the MSI says, as a logarithm, before its
        spectrum is scaled.
    dark
        Mean square of an MSI value so dark that its brightness says little; (msi_band,).

    Notes
    -----
    With :math:`x` the network's answer, :math:`P` the footprint, :math:`A` and :math:`S` analysis
    and synthesis and :math:`U` the kriging of :class:`lift_xr.kriging.Kriging`,

    .. math:: x' = x + (I - K R) S U A (h - P x),

    the MSI projection of :func:`lift_xr.models.projection.obey_msi` being part of the synthesis:
    what is added is invisible to the MSI, so :math:`R x' = R x`. A pixel depends on the 25 cells
    around it, and these on the pixels they see: the halo.
    """

    network: DenseNetwork
    psf: Array
    ratio: int
    srf: Array
    analysis: Array
    synthesis: Array
    reach: Array
    noise: Array
    tolerance: float
    dark: Array

    prior: ClassVar[int] = 0

    @property
    def bands(self) -> int:
        """Bands it produces."""
        return self.network.bands

    @property
    def msi_bands(self) -> int:
        """Bands it takes."""
        return self.network.msi_bands

    @property
    def halo(self) -> int:
        """How far it looks sideways, in MSI pixels."""
        return (AROUND + 1) * self.ratio + max(self.footprint.reach)

    @property
    def parameters(self) -> int:
        """Number of weights and biases of the network, and of what is added."""
        return int(self.network.parameters + self.analysis.size + self.synthesis.size)

    @cached_property
    def footprint(self) -> Footprint:
        """What a cell sees."""
        return Footprint(self.psf, self.ratio)

    @cached_property
    def kriging(self) -> tuple[Kriging, ...]:
        """One for each component; those alike are the same."""
        unlike = {reach: Kriging(self.footprint, reach) for reach in self.reach.tolist()}
        return tuple(unlike[reach] for reach in self.reach.tolist())

    def __call__(
        self,
        block: npt.NDArray[np.float32],
        device: str = "cpu",
        prior: Window | None = None,
    ) -> npt.NDArray[np.float32]:
        """Lift one block with its halo: (msi_band, y, x) to (band, y, x), float32."""
        assert prior is not None, "the cube is looked at again"
        assert prior.ratio == self.ratio, (prior.ratio, self.ratio)
        lifted = self.network(block, device)
        with one_blas_thread():
            missing = self.missing(lifted, prior)
            added = spread_over_pixels(missing, self.kriging, self.noise.tolist())
            _add(lifted, self.synthesis.astype("float32"), added, prior.offset)
        return lifted

    def missing(self, lifted: npt.NDArray[np.float32], cube: Window) -> Array:
        """(component, y, x) of the cells: what they hold that the lifted pixels do not."""
        mixing = np.concatenate([self.analysis, self.srf])
        mixed = _matrix_on(mixing.astype("float32"), lifted)
        seen = self.footprint.over(mixed, cube.offset, (cube.cells.shape[1], cube.cells.shape[2]))
        held = np.einsum("ib,byx->iyx", mixing, cube.cells.astype("float64"))
        count = len(self.analysis)
        gain = brightness(held[count:], seen[count:], self.dark, self.tolerance)
        return np.asarray(held[:count] / gain - seen[:count])

    def after(self, gain: npt.ArrayLike, offset: npt.ArrayLike) -> BackProjection:
        """The same for inputs that still need ``gain * m + offset``, per MSI band."""
        return replace(self, network=self.network.after(gain, offset))

    # ---- to and from plain arrays

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Its numbers by name, to be saved."""
        own = {name: getattr(self, name) for name in ARRAYS}
        return under("network", self.network.arrays()) | own

    def settings(self) -> dict[str, Any]:
        """What is not an array, as JSON."""
        return {
            "network": self.network.settings(),
            "ratio": self.ratio,
            "tolerance": self.tolerance,
        }

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, npt.NDArray[Any]], settings: Mapping[str, Any]
    ) -> BackProjection:
        """Put it together again; the shapes must agree with one another.

        Raises
        ------
        ValueError
            When arrays or settings are missing, or do not fit together.
        """
        with complete("what agrees with the cube is"):
            network = part_under("network", arrays)
            made = cls(
                network=DenseNetwork.from_arrays(network, settings["network"]),
                ratio=int(settings["ratio"]),
                tolerance=float(settings["tolerance"]),
                **{name: arrays[name] for name in ARRAYS},
            )
        _expect_consistent(made)
        return made


ARRAYS = ("psf", "srf", "analysis", "synthesis", "reach", "noise", "dark")
GREATEST_RATIO = 1024
GREATEST_PSF = 2048  # pixels along an edge


def _matrix_on(
    matrix: npt.NDArray[np.float32], cube: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    return np.asarray(matrix @ cube.reshape(len(cube), -1)).reshape(-1, *cube.shape[1:])


def _add(
    lifted: npt.NDArray[np.float32],
    synthesis: npt.NDArray[np.float32],
    added: npt.NDArray[np.float32],
    offset: tuple[int, int],
) -> None:
    """Add ``synthesis @ added`` in place, some rows at a time."""
    _, height, width = lifted.shape
    inside = added[:, -offset[0] : height - offset[0], -offset[1] : width - offset[1]]
    for start in range(0, height, ROWS):
        rows = np.ascontiguousarray(inside[:, start : start + ROWS])
        lifted[:, start : start + ROWS] += _matrix_on(synthesis, rows)


def _expect_consistent(made: BackProjection) -> None:
    """Refuse shapes that do not chain, before any of them meets a pixel."""
    bands, count = made.network.bands, len(made.reach)
    expected = {
        "srf": (made.network.msi_bands, bands),
        "analysis": (count, bands),
        "synthesis": (bands, count),
        "reach": (count,),
        "noise": (count,),
        "dark": (made.network.msi_bands,),
    }
    if wrong := misfits(made.arrays(), expected):
        found = ", ".join(f"{name} {shape}" for name, shape in wrong.items())
        raise ValueError(f"what agrees with the cube does not fit together: {found}")
    sides = made.psf.shape
    if len(sides) != 2 or not all(side % 2 and side < GREATEST_PSF for side in sides):
        raise ValueError(f"a psf of shape {sides} has no centre, or is too wide")
    if not 1 <= made.ratio <= GREATEST_RATIO or count < 1:
        raise ValueError(f"a ratio of {made.ratio} and {count} components are none")
    if not ((made.reach > 0) & (made.reach <= max(REACHES))).all() or (made.noise < 0).any():
        raise ValueError("its distances or its noise are out of range")


# ---- what fit settles


def agree(
    network: DenseNetwork,
    gain: Array,
    srf: Array,
    footprint: Footprint,
    places: Sequence[Place],
) -> tuple[BackProjection | None, dict[str, Any]]:
    """Fit what is added to a network to places in both images.

    Parameters
    ----------
    network, gain
        Obeys the MSI, and the gain that came with it: see
        :func:`lift_xr.models.projection.obeying`.
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
    clear = invisible @ _clearing(places)
    pair = _Compared.of(network, srf, footprint, places)
    apart = [one - each for one, each in zip(pair.even, pair.seen, strict=True)]
    lacking = [np.tensordot(clear, each, axes=1) for each in apart]
    analysis, synthesis = _components(lacking, places)
    fields = [np.tensordot(analysis, each, axes=1) for each in lacking]
    level = np.sum([_power(np.tensordot(analysis, each, axes=1)) for each in pair.seen], axis=0)
    doubt = pair.doubt()
    tuned = _tuned(fields, footprint, doubt * level)
    told = tuned.told((synthesis**2).sum(axis=0), network.bands) | pair.told(doubt)
    added = invisible @ synthesis
    share = shares(added, tuned.held_out(fields), apart)
    used = share > 0
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
        there = np.maximum(shown.var(axis=1, keepdims=True), 1e-300)
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

    def held_out(self, fields: Sequence[Array]) -> list[Array]:
        """Each field as the neighbours of its cells tell it; zero of components not kept."""
        noise = self.noise.tolist()
        return [
            np.where(self.kept[:, None, None], held_out(each, self.kriging, noise), 0.0)
            for each in fields
        ]

    @property
    def kept(self) -> npt.NDArray[np.bool_]:
        """Components whose estimate is worth it, and more than what is doubtful about it."""
        worth = self.after < WORTH * self.before
        return np.asarray(worth & (self.before - self.after > self.harm))

    def told(self, size: Array, bands: int) -> dict[str, Any]:
        """What was measured, as plain numbers; ``size`` is that of the components' spectra."""
        before = float(size @ self.before)
        after = float(size @ np.where(self.kept, self.after, self.before))
        return {
            "known_cells": self.cells,
            "components": int(self.kept.sum()),
            "kept": after / max(before, 1e-300),
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


def shares(added: Array, estimates: Sequence[Array], apart: Sequence[Array]) -> Array:
    r"""How much of each component's estimate is worth adding, from none to all: (component,).

    With :math:`s_k` the spectrum added (band, component) and :math:`\hat e_k` the estimates of
    cells held out, the least squares of :math:`d - \sum_k a_k s_k \hat e_k` over all bands of what
    the cells hold that the network does not. A component is found where bands count in relation to
    their level, and alone; here all count as they are, together, and the cell itself has no say:
    what was noise of other cells makes the share smaller.
    """
    each, wanted = (
        np.concatenate([one.reshape(len(one), -1) for one in side], axis=1)
        for side in (estimates, apart)
    )
    there = np.isfinite(each).all(axis=0) & np.isfinite(wanted).all(axis=0)
    each, wanted = each[:, there], wanted[:, there]
    size, directions = np.linalg.eigh((added.T @ added) * (each @ each.T))
    some = size > SINGULAR * size[-1]
    if not some.any():
        return np.zeros(len(each))
    root = np.sqrt(size[some])
    moments = directions[:, some].T @ ((added.T @ wanted) * each).sum(axis=1)
    fitted = lsq_linear(root[:, None] * directions[:, some].T, moments / root, bounds=(0, 1))
    return np.where(each.any(axis=1), fitted.x, 0.0)


def _clearing(places: Sequence[Place]) -> Array:
    """(band, band): takes what cells hold to the components that are more than their noise."""
    pixels = np.concatenate([known(each.hsi) for each in places], axis=1).T
    count, bands = pixels.shape
    return noise_in(pixels).projection if is_learnt(bands, count) else np.eye(bands)


def _components(lacking: Sequence[Array], places: Sequence[Place]) -> tuple[Array, Array]:
    """Analysis (component, band) and synthesis: principal, with each band relative to its level."""
    rows = np.concatenate([known(each) for each in lacking], axis=1)
    levels = np.concatenate([known(p.hsi) for p in places], axis=1).astype("float64")
    scale = np.sqrt(np.maximum((levels**2).mean(axis=1), 1e-30))
    scaled = rows / scale[:, None]
    _, directions = np.linalg.eigh(scaled @ scaled.T)
    kept = directions[:, : -COMPONENTS - 1 : -1]
    return kept.T / scale, kept * scale[:, None]
