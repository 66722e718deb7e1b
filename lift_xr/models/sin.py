"""SIN, the spectral inversion network: one MSI pixel in, one spectrum out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, SupportsFloat

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from lift_xr.kernel import DenseNetwork
from lift_xr.models.byhand import ByHand
from lift_xr.models.linear import LinearRecipe, fit_linear
from lift_xr.models.pairs import Moments, Pairs, Seen
from lift_xr.training import (
    Adam,
    OneCycle,
    Report,
    WarmCosine,
    by_autograd,
    follow,
    reproducible,
    to_tensor,
    train,
)

SLOPE = 0.3  # of the leaky ReLU, as published
AT_ONCE = 16  # batches that are drawn together
Draw = Callable[[], tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class SinPaperRecipe:
    """SpectraLift exactly as published: full-batch steps, one cycle, mean absolute error.

    Shah and others, arXiv 2507.13339; ``SpectraLift_python/spectralift_helpers.py``, defaults of
    ``run_pipeline``.
    """

    width: int = 64
    branches: tuple[int, ...] = (1, 2, 2)
    steps: int = 2500
    schedule: OneCycle = field(default_factory=OneCycle)


@dataclass(frozen=True)
class SinRecipe:
    """The same network with the best training known so far.

    Mini-batches of extrapolated pixels, decoupled weight decay, a cosine that ends at zero, and
    targets on the cube's principal components. A number that is None is chosen by
    :meth:`for_pixels`: a few hundred pixels bear a network that is held back, many thousands ask
    for all it can do. Trained on ``n`` pixels.
    """

    width: int = 64
    branches: tuple[int, ...] = (1, 2, 2)
    components: int = 20
    """Fewer smooth the noise of the cube away; with 12, cameras of 31 bands lost 0.2 dB."""
    steps: int | None = None
    """Between too few to learn the sparse ends of the scene and more than the pixels can tell."""
    batch: int | None = None
    decay: float | None = None
    """A prior counts for less the more data there is: in proportion to 1 / n."""
    input_noise: float = 0.01
    """Standard deviation added to the inputs, relative to theirs: the order of an MSI's noise."""
    extrapolation: float | None = None
    """A training pixel ``y`` becomes ``y + a (y - y')`` with ``a`` uniform in 0..this.

    ``y'`` lies beside it. A coarse pixel is blurred with its neighbours, so this undoes some of
    the blur and reaches what the sharper pixels of the MSI hold. In trials, partners drawn at
    random did worse, and so did the mean of the neighbours, which adds no new direction. Many
    pixels hold more of it themselves: 2 up to a thousand, 1 from four thousand on."""
    schedule: WarmCosine = field(default_factory=lambda: WarmCosine(top=1e-2))
    regression: float | None = None
    """How much of the answer is that of a ridge regression: some where pixels are few for the
    numbers that one settles, which are as many as the MSI has bands; none from fifteen times these
    and four on. With 36 pixels and 4 bands a regression was up to 1.9 dB better than a network."""

    def for_pixels(self, count: int, msi_bands: int) -> SinRecipe:
        """The same recipe with every number chosen for this many training pixels."""
        steps = min(max(round(80 * count**0.5), 1000), 8_000)
        batch = min(max(count // 12, 128), 512)
        decay = min(50 / count, 0.3)
        reach = min(max(2 * (1000 / count) ** 0.5, 1.0), 2.0)
        leaning = min(max((15 - count / (msi_bands + 4)) / 11, 0.0), 1.0) ** 2
        return replace(
            self,
            steps=steps if self.steps is None else self.steps,
            batch=batch if self.batch is None else self.batch,
            decay=decay if self.decay is None else self.decay,
            extrapolation=reach if self.extrapolation is None else self.extrapolation,
            regression=leaning if self.regression is None else self.regression,
        )


class SpectralInversion(nn.Module):
    """Dense layers with leaky ReLUs and residual branches, then one linear layer.

    As published: ``x1 = f1(y); x2 = f2(x1) + x1; x4 = f4(f3(x2)) + x2; x6 = f6(f5(x4)) + x4``, the
    skip added after the activation.
    """

    def __init__(
        self, msi_bands: int, bands: int, *, width: int, branches: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.branches = branches
        sizes = [msi_bands] + [width] * (1 + sum(branches))
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.output = nn.Linear(width, bands)
        for layer in self.layers:
            nn.init.xavier_uniform_(layer.weight)  # Keras' default
            nn.init.zeros_(layer.bias)

    @property
    def layers(self) -> list[nn.Linear]:
        """All layers, the output last."""
        return [each for each in self.modules() if isinstance(each, nn.Linear)]

    def forward(self, msi: torch.Tensor) -> torch.Tensor:
        """(pixel, msi_band) to (pixel, band)."""
        activate = nn.functional.leaky_relu
        state = activate(self.hidden[0](msi), SLOPE)  # (pixel, width)
        remaining = iter(self.hidden[1:])
        for length in self.branches:
            branch = state
            for _ in range(length):
                branch = activate(next(remaining)(branch), SLOPE)
            state = state + branch
        return self.output(state)  # type: ignore[no-any-return]


def fit_sin_paper(
    pairs: Pairs, recipe: SinPaperRecipe, *, seed: int, device: str, report: Report | None
) -> tuple[DenseNetwork, dict[str, Any]]:
    """Train as published and return the network in the cube's units.

    Reflectance is used as it is, as in the published simulations; other units are scaled so that
    the cube's 1st and 99th percentiles become 0 and 1, for cube and mosaic alike; the published
    real-data mode takes each image's own, which loses what the two have in common. The output is
    clipped to that range, as published.
    """
    low, span = published_scale(pairs)
    inputs, targets = (to_tensor((side - low) / span, device) for side in (pairs.msi, pairs.hsi))
    with reproducible(seed, device):
        network = SpectralInversion(
            inputs.shape[1], targets.shape[1], width=recipe.width, branches=recipe.branches
        ).to(device)
        history = train(
            network,
            lambda: (inputs, targets),
            steps=recipe.steps,
            schedule=recipe.schedule,
            optimizer=Adam(network, eps=1e-7, fused=False),
            loss=nn.functional.l1_loss,
            report=report,
        )
    lifted = (
        to_dense(network).after(1 / span, -low / span).then(np.eye(targets.shape[1]) * span, low)
    )
    clipped = DenseNetwork(**{**vars(lifted), "low": low, "high": low + span})
    return clipped, {"loss": history}


def published_scale(pairs: Pairs) -> tuple[float, float]:
    """What becomes 0, and how far above it lies what becomes 1."""
    if pairs.units == "1":
        return 0.0, 1.0
    low, high = np.percentile(pairs.hsi, (1, 99)).tolist()
    return low, max(high - low, float(np.finfo("float32").tiny))


def fit_sin(
    pairs: Pairs, recipe: SinRecipe, *, seed: int, device: str, report: Report | None
) -> tuple[DenseNetwork, dict[str, Any]]:
    """Train the best way known and return the network in the cube's units."""
    training = SinTraining(pairs, recipe, seed=seed, device=device)
    return training.go_on(seen=pairs.seen, report=report)


class SinTraining:
    """A training of `sin` that can be taken up again, with pixels of the mosaic to learn from.

    Parameters
    ----------
    pairs, recipe
        What it is trained on, and how.
    seed, device
        As for :func:`lift_xr.fit`.
    """

    def __init__(self, pairs: Pairs, recipe: SinRecipe, *, seed: int, device: str) -> None:
        self.pairs, self.seed, self.device = pairs, seed, device
        self.recipe = recipe.for_pixels(len(pairs.hsi), len(pairs.srf))
        self.space = Whitening.of(pairs, self.recipe.components)
        self._network: SpectralInversion | None = None

    def go_on(
        self, part: float = 1.0, *, seen: Seen | None = None, report: Report | None = None
    ) -> tuple[DenseNetwork, dict[str, Any]]:
        """Train for a part of the steps, from where the last part ended; in the cube's units."""
        assert self.recipe.steps is not None
        self._network, history = train_inversion(
            replace(self.pairs, seen=seen),
            replace(self.recipe, steps=max(round(part * self.recipe.steps), 1)),
            self.space,
            seed=self.seed,
            device=self.device,
            report=report,
            network=self._network,
        )
        share = self.recipe.regression
        assert share is not None
        history["chosen"]["regression"] = share
        return leaning(self.space.unfold(to_dense(self._network)), self.pairs, share), history


def leaning(network: DenseNetwork, pairs: Pairs, share: float) -> DenseNetwork:
    """The answer of a network, with so much of it exchanged for that of a ridge regression."""
    if not share:
        return network
    linear, _ = fit_linear(pairs, LinearRecipe(), seed=0, device="cpu", report=None)
    rest = network.then((1 - share) * np.eye(network.bands), share * linear.bias)
    return replace(rest, direct=(rest.direct + share * linear.direct).astype("float32"))


def train_inversion(
    pairs: Pairs,
    chosen: SinRecipe,
    space: Whitening,
    *,
    seed: int,
    device: str,
    report: Report | None,
    limit: Callable[[torch.Tensor], torch.Tensor] | None = None,
    network: SpectralInversion | None = None,
) -> tuple[SpectralInversion, dict[str, Any]]:
    """Train in the coordinates of ``space``, where the network stays, and give its history.

    ``limit`` is done to the network's answers before they are compared with the targets;
    ``network`` is trained on, a new one where there is none.
    """
    assert chosen.steps is not None
    assert chosen.decay is not None
    with reproducible(seed, device) as random:
        if network is None:
            network = SpectralInversion(
                len(pairs.srf), len(space.basis), width=chosen.width, branches=chosen.branches
            ).to(device)
        step = inversion_steps(
            network,
            batches(pairs, space, chosen, random),
            to_tensor(space.basis / space.unit, device),
            decay=chosen.decay,
            limit=limit,
        )
        history = follow(step, steps=chosen.steps, schedule=chosen.schedule, report=report)
    settings = {"steps": chosen.steps, "batch": chosen.batch, "decay": chosen.decay}
    return network, {"loss": history, "chosen": settings}


def inversion_steps(
    network: SpectralInversion,
    draw: Draw,
    decode: torch.Tensor,
    *,
    decay: float = 0.0,
    limit: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> Callable[[float], SupportsFloat]:
    """Steps by the mean absolute error of decoded answers: by hand, where nobody else has a say.

    ``decode`` is (component, band); ``limit`` as in :func:`train_inversion`.
    """
    if limit is None and decode.device.type == "cpu":
        return ByHand(
            network, branches=network.branches, slope=SLOPE, draw=draw, decode=decode, decay=decay
        )

    def loss(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        limited = found if limit is None else limit(found)
        return ((limited - wanted) @ decode).abs().mean()

    return by_autograd(network, draw, optimizer=Adam(network, decay=decay), loss=loss)


@dataclass(frozen=True, eq=False)
class Whitening:
    """The coordinates `sin` is trained in: whitened inputs, outputs on principal components.

    The outputs share one scale. With a scale for each component, weak ones move as fast as strong
    ones in training and are overfitted where pixels are few: up to 1.8 dB.

    Attributes
    ----------
    msi_mean, msi_scale
        (msi_band,): inputs are ``(m - mean) / scale``.
    mean
        (band,): of the cube.
    basis
        (component, band): principal directions times the standard deviation along the first.
    unit
        One number for the size of the cube's variation, so that losses compare between scenes.
    """

    msi_mean: npt.NDArray[np.float64]
    msi_scale: npt.NDArray[np.float64]
    mean: npt.NDArray[np.float64]
    basis: npt.NDArray[np.float64]
    unit: float

    @classmethod
    def of(cls, pairs: Pairs, components: int) -> Whitening:
        """Coordinates of these training pairs, with at most ``components`` directions."""
        moments = Moments.of(pairs.hsi)
        variances, directions = np.linalg.eigh(moments.covariance)
        kept = slice(None, -min(components, len(variances), max(len(pairs.hsi) - 1, 1)) - 1, -1)
        tiny = np.finfo("float32").tiny
        seen = np.diag(pairs.srf @ moments.covariance @ pairs.srf.T)
        return cls(
            msi_mean=pairs.srf @ moments.mean,
            msi_scale=np.sqrt(np.maximum(seen, tiny)),
            mean=moments.mean,
            basis=directions.T[kept] * np.sqrt(max(variances[-1], tiny)),
            unit=float(np.sqrt(max(np.trace(moments.covariance) / len(variances), 1e-30))),
        )

    def inputs(self, msi: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """(..., msi_band) in these coordinates."""
        return np.asarray((msi - self.msi_mean) / self.msi_scale)

    def outputs(self, hsi: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """(..., band) in these coordinates: (..., component)."""
        return np.asarray((hsi - self.mean) @ self.basis.T / (self.basis[0] ** 2).sum())

    def unfold(self, network: DenseNetwork) -> DenseNetwork:
        """A network in these coordinates as one in the cube's units."""
        scaled = network.after(1 / self.msi_scale, -self.msi_mean / self.msi_scale)
        return scaled.then(self.basis.T, self.mean)


def batches(pairs: Pairs, space: Whitening, recipe: SinRecipe, random: torch.Generator) -> Draw:
    """Mini-batches of the cube; half of each are pixels of the mosaic where these are known."""
    if pairs.seen is None:
        return extrapolated_batches(pairs, space, recipe, random)
    assert recipe.batch is not None
    half = replace(recipe, batch=max(recipe.batch // 2, 1))
    of_cube = extrapolated_batches(pairs, space, half, random)
    of_mosaic = seen_batches(pairs.seen, space, half, random)

    def draw() -> tuple[torch.Tensor, torch.Tensor]:
        one, other = of_cube(), of_mosaic()
        return torch.cat([one[0], other[0]]), torch.cat([one[1], other[1]])

    return draw


def seen_batches(seen: Seen, space: Whitening, recipe: SinRecipe, random: torch.Generator) -> Draw:
    """Shuffled mini-batches of the mosaic's own pixels, in training coordinates."""
    assert recipe.batch is not None
    inputs, outputs = (
        to_tensor(side, random.device.type)
        for side in (space.inputs(seen.msi), space.outputs(seen.spectra))
    )
    order = shuffled(len(inputs), recipe.batch, random)

    def draw() -> tuple[torch.Tensor, torch.Tensor]:
        chosen = next(order)
        msi = inputs[chosen]
        noise = torch.randn(msi.shape, generator=random, device=random.device)
        return msi + recipe.input_noise * noise, outputs[chosen]

    return draw


def extrapolated_batches(
    pairs: Pairs, space: Whitening, recipe: SinRecipe, random: torch.Generator
) -> Draw:
    """Shuffled mini-batches of ``y + a (y - y')`` and their MSI, in training coordinates.

    Both are linear in the pixels, so mixing their coordinates is mixing the spectra, at a tenth
    of the cost. Batches are made many at a time: small tensors cost as much as larger ones.
    """
    farthest, batch = recipe.extrapolation, recipe.batch
    assert farthest is not None
    assert batch is not None
    device = random.device.type
    here = to_tensor(_both(space, pairs.hsi, pairs.srf), device)  # (pixel, msi_band + component)
    near = to_tensor(_both(space, pairs.neighbours, pairs.srf), device)  # (pixel, side, ...)
    order = shuffled(len(here), batch * AT_ONCE, random)
    ready: list[tuple[torch.Tensor, torch.Tensor]] = []

    def draw() -> tuple[torch.Tensor, torch.Tensor]:
        if not ready:
            chosen = next(order)
            side, back = torch.rand((2, len(chosen)), generator=random, device=device)
            one, other = here[chosen], near[chosen, (side * near.shape[1]).long()]
            reach = farthest * torch.rand((len(chosen), 1), generator=random, device=device)
            step = reach * (one - other)
            # away from the neighbour, or from the pixel: both are pixels of the scene
            mixed = torch.where((back < 0.5).unsqueeze(1), one + step, other - step)
            msi, hsi = mixed.split([len(pairs.srf), len(space.basis)], dim=1)
            noise = torch.randn(msi.shape, generator=random, device=device)
            msi = msi + recipe.input_noise * noise
            ready.extend(zip(msi.split(batch), hsi.split(batch), strict=True))
        return ready.pop()

    return draw


def _both(
    space: Whitening, spectra: npt.NDArray[np.float32], srf: npt.NDArray[np.float64]
) -> npt.NDArray[Any]:
    """Inputs and outputs of spectra (..., band), side by side: (..., msi_band + component)."""
    return np.concatenate([space.inputs(spectra @ srf.T), space.outputs(spectra)], axis=-1)


def shuffled(count: int, batch: int, random: torch.Generator) -> Iterator[torch.Tensor]:
    """Indices of one batch after the other, every pixel once before any comes again."""
    rest = torch.empty(0, dtype=torch.long, device=random.device)
    while True:
        while len(rest) < batch:
            again = torch.randperm(count, generator=random, device=random.device)
            rest = torch.cat([rest, again])
        yield rest[:batch]
        rest = rest[batch:]


def to_dense(network: SpectralInversion) -> DenseNetwork:
    """The trained weights as plain arrays."""
    *hidden, output = ((_numbers(each.weight), _numbers(each.bias)) for each in network.layers)
    return DenseNetwork(
        hidden=tuple(hidden),
        branches=network.branches,
        output=output[0],
        direct=np.zeros((len(output[1]), hidden[0][0].shape[1]), np.float32),
        bias=output[1],
        slope=SLOPE,
    )


def _numbers(parameter: torch.Tensor) -> npt.NDArray[np.float32]:
    return np.array(parameter.detach().cpu().numpy(), np.float32)
