"""SIN, the spectral inversion network: one MSI pixel in, one spectrum out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from lift_xr.kernel import DenseNetwork
from lift_xr.models.pairs import Moments, Pairs
from lift_xr.training import OneCycle, Report, WarmCosine, reproducible, to_tensor, train

SLOPE = 0.3  # of the leaky ReLU, as published
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

    Shuffled mini-batches, decoupled weight decay, a cosine that ends at zero, targets on the
    cube's principal components, noise on the inputs, and mix-ups beyond the training pixels:
    coarse pixels are mixtures, and the sharper pixels of the MSI lie outside their convex hull.
    """

    width: int = 64
    branches: tuple[int, ...] = (1, 2, 2)
    components: int = 12
    steps: int = 3000
    batch: int = 512
    decay: float = 0.05
    input_noise: float = 0.01
    """Standard deviation added to the inputs, relative to theirs."""
    extrapolation: float = 0.5
    """A training pixel ``y`` becomes ``y + a (y - y')`` with ``a`` uniform in 0..this.

    It stays above the lowest value of its band."""
    schedule: WarmCosine = field(default_factory=WarmCosine)


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
    the cube's 1st and 99th percentiles become 0 and 1, as its real-data mode does. The output is
    clipped to that range, as published.
    """
    low, span = _published_scale(pairs)
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
            optimizer=torch.optim.Adam(network.parameters(), eps=1e-7),
            loss=nn.functional.l1_loss,
            report=report,
        )
    lifted = (
        to_dense(network).after(1 / span, -low / span).then(np.eye(targets.shape[1]) * span, low)
    )
    clipped = DenseNetwork(**{**vars(lifted), "low": low, "high": low + span})
    return clipped, {"loss": history}


def _published_scale(pairs: Pairs) -> tuple[float, float]:
    """What becomes 0, and how far above it lies what becomes 1."""
    if pairs.units == "1":
        return 0.0, 1.0
    low, high = np.percentile(pairs.hsi, (1, 99)).tolist()
    return low, max(high - low, float(np.finfo("float32").tiny))


def fit_sin(
    pairs: Pairs, recipe: SinRecipe, *, seed: int, device: str, report: Report | None
) -> tuple[DenseNetwork, dict[str, Any]]:
    """Train the best way known and return the network in the cube's units."""
    space = Whitening.of(pairs, recipe.components)
    with reproducible(seed, device) as random:
        network = SpectralInversion(
            len(pairs.srf), len(space.scale), width=recipe.width, branches=recipe.branches
        ).to(device)
        decode = to_tensor(space.basis / space.unit, device)  # (component, band)
        history = train(
            network,
            _extrapolated_batches(pairs, space, recipe, random),
            steps=recipe.steps,
            schedule=recipe.schedule,
            optimizer=torch.optim.AdamW(network.parameters(), weight_decay=recipe.decay),
            loss=lambda found, wanted: (found @ decode - wanted).abs().mean(),
            report=report,
        )
    return space.unfold(to_dense(network)), {"loss": history}


@dataclass(frozen=True, eq=False)
class Whitening:
    """The coordinates `sin` is trained in: whitened inputs, outputs on principal components.

    Attributes
    ----------
    msi_mean, msi_scale
        (msi_band,): inputs are ``(m - mean) / scale``.
    mean
        (band,): of the cube.
    basis
        (component, band): principal directions times the standard deviation along them.
    scale
        (component,): those standard deviations.
    unit
        One number for the size of the cube's variation, so that losses compare between scenes.
    """

    msi_mean: npt.NDArray[np.float64]
    msi_scale: npt.NDArray[np.float64]
    mean: npt.NDArray[np.float64]
    basis: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]
    unit: float

    @classmethod
    def of(cls, pairs: Pairs, components: int) -> Whitening:
        """Coordinates of these training pairs, with at most ``components`` directions."""
        moments = Moments.of(pairs.hsi)
        variances, directions = np.linalg.eigh(moments.covariance)
        kept = slice(None, -min(components, len(variances), max(len(pairs.hsi) - 1, 1)) - 1, -1)
        scale = np.sqrt(np.maximum(variances[kept], np.finfo("float32").tiny))
        seen = np.diag(pairs.srf @ moments.covariance @ pairs.srf.T)
        return cls(
            msi_mean=pairs.srf @ moments.mean,
            msi_scale=np.sqrt(np.maximum(seen, np.finfo("float32").tiny)),
            mean=moments.mean,
            basis=directions.T[kept] * scale[:, None],
            scale=scale,
            unit=float(np.sqrt(max(np.trace(moments.covariance) / len(variances), 1e-30))),
        )

    def unfold(self, network: DenseNetwork) -> DenseNetwork:
        """A network in these coordinates as one in the cube's units."""
        scaled = network.after(1 / self.msi_scale, -self.msi_mean / self.msi_scale)
        return scaled.then(self.basis.T, self.mean)


def _extrapolated_batches(
    pairs: Pairs, space: Whitening, recipe: SinRecipe, random: torch.Generator
) -> Draw:
    """Shuffled mini-batches of ``y + a (y - y')`` and their MSI, in training coordinates."""
    device = random.device.type
    targets = to_tensor((pairs.hsi - space.mean) / space.unit, device)
    response = to_tensor(pairs.srf.T * space.unit / space.msi_scale, device)  # (band, msi_band)
    floor = targets.amin(dim=0)
    order = _shuffled(len(targets), min(recipe.batch, len(targets)), random)

    def draw() -> tuple[torch.Tensor, torch.Tensor]:
        chosen = next(order)
        other = torch.randint(len(targets), (len(chosen),), generator=random, device=device)
        reach = torch.rand((len(chosen), 1), generator=random, device=device)
        pixels = targets[chosen]
        pixels = pixels + recipe.extrapolation * reach * (pixels - targets[other])
        pixels = torch.maximum(pixels, floor)
        inputs = pixels @ response
        noise = torch.randn(inputs.shape, generator=random, device=device)
        return inputs + recipe.input_noise * noise, pixels

    return draw


def _shuffled(count: int, batch: int, random: torch.Generator) -> Iterator[torch.Tensor]:
    """Indices of one mini-batch after the other, every pixel once an epoch."""
    while True:
        order = torch.randperm(count, generator=random, device=random.device)
        for start in range(0, count - batch + 1, batch):
            yield order[start : start + batch]


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
