"""How far a pixel lies from those of the cube, and the error to expect of it there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from lift_xr.cubenoise import CubeNoise
from lift_xr.footprint import Overlay
from lift_xr.kernel import DenseNetwork
from lift_xr.models.mixture import Mixture
from lift_xr.models.pairs import Pairs
from lift_xr.models.projection import DRAWN, EXTRAPOLATION, beyond, beyond_prior, noise_of

Array = npt.NDArray[np.float64]
Block = npt.NDArray[np.float32]

COVERAGE = 0.9  # of the errors lie inside the interval
ANCHORS = 2048  # pixels of the cube that distances are measured from
EDGE = 0.99  # of them lie nearer to another one than what is called 1
BINS = 8  # of distance, with as many drawn pixels each
LEAST = 1e-6  # a distance of 0 has no logarithm
# Of the variance of a pixel's noise, in one that was drawn away from its neighbour.
AMPLIFIED = 1 + EXTRAPOLATION + 2 / 3 * EXTRAPOLATION**2
LEAST_LEFT = 0.25  # of the squared errors: what is known of the noise does not bear more
LEAST_MISSED = 0.01  # of the MSI's noise: nearer to the MSI, an answer follows it into everything
GRAIN = 0.5  # of the variance of the cube's noise: finer than that, no band is claimed to be known
TAIL = 0.97  # of what the mosaic says of the errors; lower ones tell of its noise, higher of chance
# Of how much farther off the mosaic's bands are than those of drawn pixels, what the spectra are.
# Of 21 pairs whose truth is known, this is the mean; one standard deviation is 18 %.
CARRIED = 0.8


@dataclass(frozen=True, eq=False)
class Trust:
    """What tells how far to trust a model's answer, pixel by pixel.

    Attributes
    ----------
    whiten, shift
        (msi_band, msi_band) and (msi_band,): an MSI pixel m lies at ``whiten @ m + shift``.
    anchors
        (anchor, msi_band): where pixels of the cube lie, seen through the response.
    edge
        The distance that is called 1.
    knots, scales
        (bin,): how the error grows with the distance.
    half
        (band,): half the width of the interval where the scale is 1, in units of the cube.
    """

    whiten: Array
    shift: Array
    anchors: Array
    edge: float
    knots: Array
    scales: Array
    half: Array

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Put together what ``arrays`` took apart."""
        names = ("whiten", "shift", "anchors", "knots", "scales", "half")
        parts = {name: np.asarray(arrays[name], "float64") for name in names}
        return cls(**parts, edge=float(arrays["edge"][0]))

    def arrays(self) -> dict[str, Array]:
        """Take it apart for a model's file."""
        names = ("whiten", "shift", "anchors", "knots", "scales", "half")
        return {name: getattr(self, name) for name in names} | {"edge": np.array([self.edge])}

    def after(self, gain: Array, offset: Array) -> Self:
        """Take pixels of another radiometry: ``gain * m + offset`` is that of the cube."""
        return replace(self, whiten=self.whiten * gain, shift=self.shift + self.whiten @ offset)

    def distance(self, block: Block) -> Block:
        """Measure how far pixels lie from those of the cube, (msi_band, y, x) to (y, x).

        1 is the edge: pixels of the cube, as the MSI sees them, lie that far from each other, but
        for one in a hundred. NaN where a band is not finite.
        """
        pixels = block.reshape(len(block), -1).T.astype("float64")
        known = np.isfinite(pixels).all(axis=1)
        found = np.full(len(pixels), np.nan, "float32")
        found[known] = self._nearest(pixels[known] @ self.whiten.T + self.shift) / self.edge
        return np.reshape(found, block.shape[1:])

    def error(self, distance: Block) -> Block:
        """Half the width of what is meant to hold 90 % of the errors: (y, x) to (band, y, x)."""
        scale = np.interp(np.log(distance + LEAST), np.log(self.knots + LEAST), self.scales)
        return np.asarray(self.half[:, None, None] * scale, "float32")

    def _nearest(self, places: Array) -> Array:
        return np.asarray(self._tree.query(places)[0])

    @cached_property
    def _tree(self) -> Any:
        from scipy.spatial import cKDTree

        return cKDTree(self.anchors)


def calibrate(
    network: DenseNetwork | Mixture, pairs: Pairs, *, seed: int, overlay: Overlay | None = None
) -> Trust:
    r"""Measure a network's errors on spectra that lie beyond the training pixels.

    Parameters
    ----------
    network
        In the cube's units on both sides; before the noise that it learnt was taken from its
        answers, as ``projection.Obedient`` keeps it: that noise is in its errors.
    pairs
        What it was trained on.
    seed
        Of the spectra.
    overlay
        Places of the mosaic, which say by how much more the network errs there.

    Notes
    -----
    A pixel of the mosaic is sharper than one of the cube: it lies beyond a training pixel, on the
    far side of a neighbour. Spectra drawn there have known answers, as in
    :func:`~lift_xr.models.projection.error_covariance`, but for the noise of the cube, which the
    difference of two pixels amplifies: it is taken from the spectra, see
    :class:`~lift_xr.cubenoise.CubeNoise`, and what is left of it from the squared errors. With
    :math:`d` the distance of the MSI pixel to the nearest of the cube's, whitened by the covariance
    of the cube's pixels, the error of band :math:`b` is taken to scale as :math:`\sigma_b\, g(d)`,
    with :math:`\sigma_b` its root mean square and :math:`g` the root mean square of
    :math:`|e_b| / \sigma_b` at that distance, never falling.

    The mosaic's pixels hold what no mixture of cells does. How far the answer, seen through the
    response, stays from the mosaic, :math:`m - R x`, is known for them as for the drawn ones. What
    the MSI sees is a small part of the error, and grows as the rest does: the interval is what
    holds 90 % of the drawn errors, all bands together, times most of the ratio of the two. Without
    the mosaic nothing tells that; the noise of the cube then stays in, as a margin for it.
    """
    noise = np.sqrt(noise_of(pairs))
    drawn, errors, missed = _drawn(network, pairs, noise, seed=seed, clean=overlay is not None)
    apart = _apart(pairs, noise, bands=network.bands, seed=seed)
    distance = apart.distance(np.ascontiguousarray(drawn.T[:, None]))[0].astype("float64")
    each = np.sqrt((errors**2).mean(axis=0, dtype="float64"))
    each = np.maximum(each, np.finfo("float32").tiny)
    knots, scales = _growth(distance, np.sqrt(((errors / each) ** 2).mean(axis=1)))
    grown = replace(apart, knots=knots, scales=scales, half=each)
    half = grown.error(distance[None].astype("float32"))[:, 0].T
    half = np.maximum(half, np.finfo("float32").tiny)
    width = np.quantile(np.abs(errors) / half, COVERAGE)
    more = 1.0 if overlay is None else _more(network, pairs, overlay, missed, seed=seed)
    return replace(grown, half=each * width * more)


def _drawn(
    network: DenseNetwork | Mixture, pairs: Pairs, noise: Array, *, seed: int, clean: bool
) -> tuple[Block, Block, Array]:
    """Draw pixels (pixel, msi_band), with the errors made of them (pixel, band), and m - R x.

    ``clean`` takes the noise of the cube from both.
    """
    beside = isinstance(network, Mixture) and network.coarse is not None
    spectra, prior = beyond_prior(pairs, seed=seed) if beside else (beyond(pairs, seed=seed), None)
    grain = pairs.noise
    spectra = grain.without(spectra) if clean else spectra
    random = np.random.default_rng([seed, 1])
    clear = spectra @ pairs.srf.T
    seen = (clear + noise * random.standard_normal(clear.shape)).astype("float32")
    answers = _answers(network, seen, prior)
    errors = answers - spectra
    errors = _with_grain(_without_noise(errors, grain) if clean else errors, grain, random)
    return seen, errors, seen - answers @ pairs.srf.T


def _without_noise(errors: Block, grain: CubeNoise) -> Block:
    """Errors (pixel, band) of spectra of which not all noise could be taken, less what is left."""
    whole = np.maximum((errors**2).mean(axis=0, dtype="float64"), np.finfo("float32").tiny)
    kept = np.clip(1 - AMPLIFIED * grain.left / whole, LEAST_LEFT, 1)
    return np.asarray(errors * np.sqrt(kept).astype("float32"))


def _with_grain(errors: Block, grain: CubeNoise, random: np.random.Generator) -> Block:
    """Errors with what no band is known better than."""
    fine = np.sqrt(GRAIN * grain.variance).astype("float32")
    return np.asarray(errors + fine * random.standard_normal(errors.shape, dtype="float32"))


def _more(
    network: DenseNetwork | Mixture, pairs: Pairs, overlay: Overlay, missed: Array, *, seed: int
) -> float:
    """How many times larger errors are on the mosaic's pixels, ``missed`` being those of drawn."""
    pixels = np.concatenate([each.msi.reshape(len(each.msi), -1) for each in overlay.places], 1)
    known = np.flatnonzero(np.isfinite(pixels).all(axis=0))
    chosen = np.random.default_rng([seed, 3]).permutation(known)[:DRAWN]
    seen = pixels[:, np.sort(chosen)].T.astype("float32")
    here, there = (
        np.quantile(np.abs(each), TAIL, axis=0)
        for each in (seen - _answers(network, seen, None) @ pairs.srf.T, missed)
    )
    telling = np.minimum(here, there) > LEAST_MISSED * np.sqrt(noise_of(pairs))
    if not telling.any():
        return 1.0
    return float(CARRIED * np.exp(np.log(here[telling] / there[telling]).mean()))


def _answers(network: DenseNetwork | Mixture, seen: npt.NDArray[Any], prior: Block | None) -> Block:
    """What a network says of pixels (pixel, msi_band), with or without a prior: (pixel, band)."""
    told = np.ascontiguousarray(seen.T[:, None])
    if prior is None:
        return network(told)[:, 0].T
    assert isinstance(network, Mixture)
    return network.answer(told, np.ascontiguousarray(prior.T[:, None]))[:, 0].T


def _apart(pairs: Pairs, noise: Array, *, bands: int, seed: int) -> Trust:
    """Measure distances between training pixels; what errors do there is not known yet."""
    pixels = pairs.msi.astype("float64")
    covariance = np.atleast_2d(np.cov(pixels.T, bias=True)) + np.diag(noise**2)
    whiten = np.linalg.cholesky(np.linalg.inv(covariance)).T
    chosen = np.random.default_rng([seed, 2]).permutation(len(pixels))[:ANCHORS]
    anchors = pixels[np.sort(chosen)] @ whiten.T
    nothing = Trust(
        whiten, np.zeros(len(whiten)), anchors, 1.0, np.ones(1), np.ones(1), np.ones(bands)
    )
    others = np.asarray(nothing._tree.query(anchors, k=min(2, len(anchors)))[0])
    edge = float(np.quantile(others.reshape(len(anchors), -1)[:, -1], EDGE))
    return replace(nothing, edge=max(edge, LEAST))


def _growth(distance: Array, errors: Array) -> tuple[Array, Array]:
    """Find the root-mean-square error in bins of distance, never falling."""
    bins = np.array_split(np.argsort(distance, kind="stable"), BINS)
    knots = np.array([np.median(distance[each]) for each in bins])
    scales = np.array([np.sqrt((errors[each] ** 2).mean()) for each in bins])
    return knots, np.maximum.accumulate(scales)
