"""The one training loop, and the learning-rate schedules it can follow."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, SupportsFloat

import torch
from torch.optim.adamw import adamw

Schedule = Callable[[int, int], float]
Report = Callable[[int, int, float], None]
"""Called as ``report(step, steps, loss)`` now and then while training runs."""

REPORT_EVERY = 25  # steps; reading the loss makes the device wait
AT_ONCE = 1024  # pixels that go through a network together: what lies between fits a core's cache


@dataclass(frozen=True)
class OneCycle:
    """Linear warm-up to ``top`` over the first ``rise`` of the steps, then linear decay to ``end``.

    SpectraLift, ``spectralift_helpers.py``: linear both ways, steps counted from 1.
    """

    start: float = 1e-3
    top: float = 1e-2
    end: float = 1e-6
    rise: float = 0.3

    def __call__(self, step: int, steps: int) -> float:
        """Learning rate of ``step`` in 1..steps."""
        turn = self.rise * steps
        if step < turn:
            return self.start + (self.top - self.start) * step / turn
        return self.top + (self.end - self.top) * (step - turn) / max(steps - turn, 1)


@dataclass(frozen=True)
class WarmCosine:
    """A short linear warm-up to ``top``, then half a cosine down to ``end``: no jump at the end."""

    top: float = 4e-3
    end: float = 1e-6
    rise: float = 0.05

    def __call__(self, step: int, steps: int) -> float:
        """Learning rate of ``step`` in 1..steps."""
        turn = max(1.0, self.rise * steps)
        if step < turn:
            return self.top * step / turn
        done = (step - turn) / max(steps - turn, 1)
        return self.end + (self.top - self.end) * (1 + math.cos(math.pi * done)) / 2


class Adam:
    """Adam with decoupled weight decay, by torch's functional form.

    To the bit what the classes of ``torch.optim`` do. Their first step, however, imports torch's
    compiler: seconds, as long as a small cube trains for.

    Parameters
    ----------
    network
        Its parameters are updated in place.
    eps, decay
        Added to the denominator; the decoupled weight decay of AdamW.
    fused
        One call for all weights, where calls are what small steps spend time on.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        *,
        eps: float = 1e-8,
        decay: float = 0.0,
        fused: bool = True,
    ) -> None:
        self.weights: list[torch.Tensor] = list(network.parameters())
        self.eps, self.decay, self.fused = eps, decay, fused
        self.means = [torch.zeros_like(each) for each in self.weights]
        self.squares = [torch.zeros_like(each) for each in self.weights]
        self.steps = [torch.zeros((), device=self._counted_on(each)) for each in self.weights]

    def _counted_on(self, weights: torch.Tensor) -> torch.device:
        return weights.device if self.fused else torch.device("cpu")

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move every weight against its gradient, and forget the gradients."""
        adamw(
            self.weights,
            [each.grad for each in self.weights if each.grad is not None],
            self.means,
            self.squares,
            [],
            self.steps,
            fused=self.fused or None,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=rate,
            weight_decay=self.decay,
            eps=self.eps,
            maximize=False,
        )
        for each in self.weights:
            each.grad = None


def train(
    network: torch.nn.Module,
    draw: Callable[[], tuple[torch.Tensor, torch.Tensor]],
    *,
    steps: int,
    schedule: Schedule,
    optimizer: Adam,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    report: Report | None = None,
) -> list[float]:
    """Fit ``network`` in place and return the loss every ``REPORT_EVERY`` steps.

    Parameters
    ----------
    network
        Maps inputs (pixel, msi_band) to targets (pixel, band).
    draw
        Gives the inputs and targets of the next step.
    steps, schedule
        Number of optimizer steps; learning rate of each as ``schedule(step, steps)``.
    optimizer
        Over the network's parameters.
    loss
        Mean over pixels of the loss of predictions and targets: of many pixels, those of pieces are
        added up.
    report
        Told of the progress.
    """
    step = by_autograd(network, draw, optimizer=optimizer, loss=loss)
    return follow(step, steps=steps, schedule=schedule, report=report)


def by_autograd(
    network: torch.nn.Module,
    draw: Callable[[], tuple[torch.Tensor, torch.Tensor]],
    *,
    optimizer: Adam,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> Callable[[float], torch.Tensor]:
    """Steps of a training at a rate; parameters as in :func:`train`."""
    network.train()

    def step(rate: float) -> torch.Tensor:
        inputs, targets = draw()
        total = torch.zeros((), device=inputs.device)
        at_once = AT_ONCE if inputs.device.type == "cpu" else len(inputs)
        for some, wanted in zip(inputs.split(at_once), targets.split(at_once), strict=True):
            part = loss(network(some), wanted) * (len(some) / len(inputs))
            part.backward()  # adds to the gradient
            total += part.detach()
        optimizer.step(rate)
        return total

    return step


def follow(
    step: Callable[[float], SupportsFloat],
    *,
    steps: int,
    schedule: Schedule,
    report: Report | None = None,
) -> list[float]:
    """Take steps at the rates of a schedule: ``step(rate)`` moves the weights, and gives the loss.

    Parameters and result as in :func:`train`.
    """
    history = []
    for number in range(1, steps + 1):
        current = step(schedule(number, steps))
        if number % REPORT_EVERY == 0 or number == steps:
            history.append(float(current))
            if report is not None:
                report(number, steps, history[-1])
    return history


@contextmanager
def reproducible(seed: int, device: str) -> Iterator[torch.Generator]:
    """A seeded generator, and one thread: sums split over threads round as their number says.

    So a model trained in a worker with one thread equals one trained in a notebook with sixteen.
    Restores the caller's threads and random state.
    """
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield torch.Generator(device=device).manual_seed(seed)
        finally:
            torch.set_num_threads(threads)


def to_tensor(array: Any, device: str) -> torch.Tensor:
    """A float32 tensor on the device."""
    return torch.as_tensor(array, dtype=torch.float32, device=device)
