"""SpectraMorph: a network says how much of each endmember a pixel holds, and they are mixed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from lift_xr.kernel import DenseNetwork
from lift_xr.models.mixture import (
    GREATEST_GAIN,
    Coarse,
    Mixture,
    MorphPaperRecipe,
    MorphRecipe,
    features_of,
    linear,
)
from lift_xr.models.pairs import Pairs
from lift_xr.models.projection import error_covariance, kalman_gain, noise_of
from lift_xr.models.sin import (
    SinRecipe,
    SpectralInversion,
    Whitening,
    published_scale,
    shuffled,
    to_dense,
    train_inversion,
)
from lift_xr.training import Adam, OneCycle, Report, WarmCosine, reproducible, to_tensor, train
from lift_xr.unmixing import (
    Constraint,
    count_endmembers,
    expect_signal,
    extract,
    least_squares,
    nmf,
)

Array = npt.NDArray[np.float64]

__all__ = ["MorphPaperRecipe", "MorphRecipe", "fit_morph", "fit_morph_paper"]

MOST_BY_DEFAULT = 12  # endmembers; of seven scenes with four MSI bands, none gains by more
ALONG = 1.0  # how far beyond its prior a pixel lies on which the errors are measured

# What the detail of a panchromatic pixel says, on top of what it says on average.
RIDGE = 3e-3  # relative to the mean variance of the features; a tenth or ten times: 0.1 dB
SMALL_WIDTH, SMALL_STEPS, SMALL_BATCH, SMALL_DECAY = 32, 500, 128, 1.0
NOISE = 0.1  # on the small network's inputs, in their standard deviations
HALF = 0.5  # of the small network's answer: with few pixels the whole of it overfits


def fit_morph(
    pairs: Pairs, recipe: MorphRecipe, *, seed: int, device: str, report: Report | None
) -> tuple[Mixture, dict[str, Any]]:
    """Endmembers of the cube, and the network that finds their abundances, in the cube's units.

    The network, its training and what is trained on are those of `sin`; its answers lie in the
    span of the endmembers, so that they are abundances. A mosaic of one band, where ``pairs`` have
    a ``prior``, has the cube's abundances beside it.
    """
    expect_signal(pairs.hsi)
    endmembers = find_endmembers(pairs, recipe, seed=seed)
    if pairs.prior is not None:
        return _fit_beside(pairs, recipe, endmembers, seed=seed, device=device, report=report)
    space = _space_within(pairs, endmembers)
    mix = _Mixing.of(space, endmembers)
    chosen = SinRecipe(components=len(endmembers), steps=recipe.steps).for_pixels(
        len(pairs.hsi), len(pairs.srf)
    )
    limit = None if recipe.constraint == "none" else mix.limit(recipe.constraint, device)
    network, history = train_inversion(
        pairs, chosen, space, seed=seed, device=device, report=report, limit=limit
    )
    scaled = to_dense(network).after(1 / space.msi_scale, -space.msi_mean / space.msi_scale)
    mixture = Mixture(
        head=scaled.then(mix.matrix.T, mix.mean),
        endmembers=endmembers.astype("float32"),
        correction=np.zeros((endmembers.shape[1], len(pairs.srf)), np.float32),
        srf=pairs.srf.astype("float32"),
        constraint=recipe.constraint,
    )
    errors = error_covariance(mixture, pairs, seed=seed)
    mixture = replace(mixture, errors=errors, range=_range(pairs, endmembers, recipe.constraint))
    return mixture, history | {"endmembers": len(endmembers)}


def _range(pairs: Pairs, endmembers: Array, constraint: Constraint) -> tuple[float, float]:
    """Lowest and highest abundance of the training pixels, within what the constraint allows."""
    if constraint == "sum-to-one":
        return 0.0, 1.0
    found = least_squares(pairs.hsi, endmembers)
    low, high = float(found.min()), float(found.max())
    return (max(low, 0.0) if constraint == "non-negative" else low), high


def find_endmembers(pairs: Pairs, recipe: MorphRecipe, *, seed: int) -> Array:
    """(endmember, band), in the principal directions of the cube: noise is no endmember."""
    directions = _principal(pairs)
    count = recipe.endmembers or _count_for(pairs, directions)
    found = extract(pairs.hsi, count=count, how=recipe.extraction, seed=seed)
    basis = directions[:, : len(found)]
    return np.asarray(found @ basis @ basis.T)


def _principal(pairs: Pairs) -> Array:
    """Directions of the cube's pixels from the origin, the most powerful first: (band, each)."""
    exact = pairs.hsi.astype("float64")
    _, directions = np.linalg.eigh(exact.T @ exact / len(exact))
    return np.asarray(directions[:, ::-1])


def _count_for(pairs: Pairs, directions: Array) -> int:
    """How many endmembers the cube bears, or the mosaic asks for, within a dozen.

    What mixtures leave out of the spectra should not show in the mosaic above its noise. Its sensor
    may see more than the noise of the cube lets HySime count: of a camera's 31 bands, 6, for which
    4,096 pixels lost 0.3 dB against 12. What is left is mostly noise at last, which no number of
    endmembers mends: therefore the limit.
    """
    borne = count_endmembers(pairs.hsi)
    if pairs.prior is None:  # else the cube beside the mosaic says most of it
        seen = pairs.srf @ directions  # (msi_band, direction)
        power = ((pairs.hsi.astype("float64") @ directions) ** 2).mean(axis=0)
        left = (seen**2 * power)[:, ::-1].cumsum(axis=1)[:, ::-1]  # by each direction and the rest
        shows = (left > noise_of(pairs)[:, None]).any(axis=0)
        borne = max(borne, int(shows.sum()))
    return min(borne, MOST_BY_DEFAULT)


def _space_within(pairs: Pairs, endmembers: Array) -> Whitening:
    """The coordinates `sin` would be trained in, had the cube no more than these endmembers."""
    inside = pairs.hsi.astype("float64") @ np.linalg.pinv(endmembers) @ endmembers
    whole = Whitening.of(pairs, len(endmembers))
    flat = Whitening.of(replace(pairs, hsi=inside.astype("float32")), len(endmembers))
    return replace(whole, mean=flat.mean, basis=flat.basis)


@dataclass(frozen=True, eq=False)
class _Mixing:
    """From training coordinates to abundances and back: ``a = z @ matrix + mean``."""

    matrix: Array  # (component, endmember)
    mean: Array  # (endmember,)
    back: Array  # (endmember, component)

    @classmethod
    def of(cls, space: Whitening, endmembers: Array) -> _Mixing:
        within = np.linalg.pinv(endmembers)
        power = (space.basis[0] ** 2).sum()
        return cls(space.basis @ within, space.mean @ within, endmembers @ space.basis.T / power)

    def limit(self, constraint: Constraint, device: str) -> Callable[[torch.Tensor], torch.Tensor]:
        """What a constraint on the abundances does to training coordinates."""
        matrix, mean, back = (
            to_tensor(each, device) for each in (self.matrix, self.mean, self.back)
        )

        def limited(found: torch.Tensor) -> torch.Tensor:
            shares = (found @ matrix + mean).clamp(min=0)
            if constraint == "sum-to-one":
                shares = shares / shares.sum(dim=1, keepdim=True).clamp(min=1e-6)
            return (shares - mean) @ back

        return limited


# ---- one band, with the cube beside it


def _fit_beside(
    pairs: Pairs,
    recipe: MorphRecipe,
    endmembers: Array,
    *,
    seed: int,
    device: str,
    report: Report | None,
) -> tuple[Mixture, dict[str, Any]]:
    r"""Abundances of the interpolated cube, and what the panchromatic pixel adds to them.

    Notes
    -----
    With :math:`c` the prior's coordinates, :math:`s` its brightness and :math:`d = m - s`, the
    answer is :math:`c + d (g + W c / s)` and a small network's word on what is left. :math:`g` is
    the minimum-variance estimate from the covariance of ``pixels - prior``, :math:`W` ridge
    regression: how much a pixel's brightness says depends on what it is made of. With 144 pixels
    of a cube, a network in place of this loses 0.3 to 1.5 dB.
    """
    assert pairs.prior is not None
    _, _, basis = np.linalg.svd(endmembers, full_matrices=False)  # (coordinate, band)
    response = pairs.srf @ basis.T  # (1, coordinate)
    phases = pairs.prior.shape[1]
    inside = (pairs.hsi.astype("float64") @ basis.T).repeat(phases, axis=0)
    prior = pairs.prior.reshape(-1, pairs.prior.shape[2]).astype("float64") @ basis.T
    pan = pairs.msi.astype("float64").repeat(phases, axis=0)
    seen = prior @ response.T
    least = max(float(pan.mean()) / GREATEST_GAIN, float(np.finfo("float32").tiny))
    told = _told(pan, np.column_stack([prior, seen]), least)
    known = _detail_gain(told, inside - prior, response, noise_of(pairs))
    small, history = _train_small(
        told, inside - told @ known, basis, recipe, seed=seed, device=device, report=report
    )
    head = _stacked(known, small, endmembers, basis)
    mixture = Mixture(
        head=head,
        endmembers=endmembers.astype("float32"),
        correction=np.zeros((endmembers.shape[1], 1), np.float32),
        srf=pairs.srf.astype("float32"),
        constraint=recipe.constraint,
        coarse=Coarse(linear(np.concatenate([basis, response @ basis])), least),
    )
    far = inside + ALONG * (inside - prior)
    told = _told(far @ response.T, np.column_stack([prior, seen]), least)
    found = head(np.ascontiguousarray(told.T[:, None], dtype=np.float32))[:, 0].T
    errors = found.astype("float64") @ endmembers - far @ basis
    mixture = replace(
        mixture,
        errors=errors.T @ errors / len(errors),
        range=_range(pairs, endmembers, recipe.constraint),
    )
    return mixture, history | {"endmembers": len(endmembers)}


def _told(pan: Array, prior: Array, least: float) -> Array:
    """(pixel, feature)."""
    return np.asarray(features_of(pan.T, prior.T, np.float64(least)).T, "float64")


def _detail_gain(told: Array, detail: Array, response: Array, noise: Array) -> Array:
    """(feature, coordinate): the prior, and what the detail adds to each coordinate."""
    count = detail.shape[1]
    covariance = detail.T @ detail / len(detail)
    average = kalman_gain(response, covariance, noise)[:, 0]
    brighter, coloured = told[:, 1], told[:, 2 + count :]
    design = np.column_stack([coloured, brighter])
    inner = design.T @ design / len(design)
    penalty = max(RIDGE * np.trace(inner) / len(inner), float(np.finfo("float32").tiny))
    left = detail - brighter[:, None] * average
    found = np.linalg.solve(inner + penalty * np.eye(len(inner)), design.T @ left / len(design))
    matrix = np.zeros((told.shape[1], count))
    matrix[1] = average + found[-1]
    matrix[2 : 2 + count] = np.eye(count)
    matrix[2 + count :] = found[:-1]
    return matrix


def _train_small(
    told: Array,
    left: Array,
    basis: Array,
    recipe: MorphRecipe,
    *,
    seed: int,
    device: str,
    report: Report | None,
) -> tuple[DenseNetwork, dict[str, Any]]:
    """A network from the features to half of what the regression leaves, in coordinates."""
    tiny = float(np.finfo("float32").tiny)
    mean, scale = told.mean(axis=0), np.maximum(told.std(axis=0), tiny)
    unit = max(float(left.std()), tiny)
    steps = SMALL_STEPS if recipe.steps is None else recipe.steps
    with reproducible(seed, device) as random:
        network = SpectralInversion(
            told.shape[1], left.shape[1], width=SMALL_WIDTH, branches=(1,)
        ).to(device)
        with torch.no_grad():
            network.output.weight *= 0.1
        decode = to_tensor(basis, device)  # (coordinate, band)
        history = train(
            network,
            _noisy_batches((told - mean) / scale, left / unit, random),
            steps=steps,
            schedule=WarmCosine(top=1e-2),
            optimizer=Adam(network, decay=SMALL_DECAY),
            loss=lambda found, wanted: ((found - wanted) @ decode).abs().mean(),
            report=report,
        )
    trained = to_dense(network).after(1 / scale, -mean / scale)
    half = np.eye(left.shape[1]) * unit * HALF
    return trained.then(half, np.zeros(left.shape[1])), {"loss": history}


def _noisy_batches(
    inputs: Array, targets: Array, random: torch.Generator
) -> Callable[[], tuple[torch.Tensor, torch.Tensor]]:
    """Shuffled mini-batches, with noise on the inputs."""
    told, wanted = (to_tensor(each, random.device.type) for each in (inputs, targets))
    order = shuffled(len(told), min(SMALL_BATCH, len(told)), random)

    def draw() -> tuple[torch.Tensor, torch.Tensor]:
        chosen = next(order)
        noise = torch.randn((len(chosen), told.shape[1]), generator=random, device=random.device)
        return told[chosen] + NOISE * noise, wanted[chosen]

    return draw


def _stacked(known: Array, small: DenseNetwork, endmembers: Array, basis: Array) -> DenseNetwork:
    """What the regression and the network say together, as abundances."""
    both = replace(small, direct=(small.direct + known.T).astype("float32"))
    return both.then((basis @ np.linalg.pinv(endmembers)).T, np.zeros(len(endmembers)))


# ---- as published


def fit_morph_paper(
    pairs: Pairs, recipe: MorphPaperRecipe, *, seed: int, device: str, report: Report | None
) -> tuple[Mixture, dict[str, Any]]:
    """Train as published and return the mixture in the cube's units.

    Units are treated as `sin-paper` treats them, and so is the range the answer is clipped to.
    """
    low, span = published_scale(pairs)
    inputs, targets = ((side - low) / span for side in (pairs.msi, pairs.hsi))
    count = min(recipe.endmembers, *targets.shape)
    endmembers = nmf(np.clip(targets.astype("float64"), 0, 1), count)
    with reproducible(seed, device):
        network = Abundances(len(pairs.srf), count, width=recipe.width).to(device)
        mixed, msi, hsi = (to_tensor(each, device) for each in (endmembers, inputs, targets))
        history = train(
            network,
            lambda: (msi, hsi),
            steps=recipe.steps,
            schedule=OneCycle(),
            optimizer=Adam(network, eps=1e-7, fused=False),
            loss=lambda found, wanted: (found @ mixed - wanted).abs().mean(),
            report=report,
        )
    head = network.to_dense().after(1 / span, -low / span)
    mixture = Mixture(
        head=head,
        endmembers=(endmembers * span).astype("float32"),
        correction=np.zeros((endmembers.shape[1], len(pairs.srf)), np.float32),
        srf=pairs.srf.astype("float32"),
        range=_range(pairs, endmembers * span, "none"),
        base=low,
        limits=(low, low + span),
    )
    return mixture, {"loss": history}


class Abundances(nn.Module):
    """One hidden layer with ReLU, and a linear head: no softmax, nothing kept positive."""

    def __init__(self, msi_bands: int, endmembers: int, *, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(msi_bands, width)
        self.output = nn.Linear(width, endmembers)
        for layer in (self.hidden, self.output):
            nn.init.xavier_uniform_(layer.weight)  # Keras' default
            nn.init.zeros_(layer.bias)

    def forward(self, msi: torch.Tensor) -> torch.Tensor:
        """(pixel, msi_band) to (pixel, endmember)."""
        return self.output(nn.functional.relu(self.hidden(msi)))  # type: ignore[no-any-return]

    def to_dense(self) -> DenseNetwork:
        """The trained weights as plain arrays."""
        weights, bias, output, constant = (
            np.array(each.detach().cpu().numpy(), np.float32) for each in self.parameters()
        )
        direct = np.zeros((len(constant), weights.shape[1]), np.float32)
        return DenseNetwork(((weights, bias),), (), output, direct, constant, slope=0.0)
