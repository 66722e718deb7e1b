"""Training steps of the spectral inversion network by hand: gradient and Adam's move, in numpy.

A mini-batch is small: by autograd, a step spends more on keeping records than on the products.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from lift_xr.threads import one_blas_thread

Array = npt.NDArray[np.float32]

MEAN, SQUARE, EPS = 0.9, 0.999, 1e-8  # how long Adam remembers; what keeps it from dividing by zero


class ByHand:
    """Steps that train a network in place, by the mean absolute error of its decoded answers.

    Parameters
    ----------
    network
        On the CPU; its parameters are the weights and the bias of each layer in turn.
    branches, slope
        Of its hidden layers, and of their leaky ReLU.
    draw
        Gives the inputs (pixel, msi_band) and targets (pixel, component) of the next step.
    decode
        (component, band): errors are those of ``answers @ decode``.
    decay
        Decoupled weight decay, as in :class:`lift_xr.training.Adam`.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        *,
        branches: Sequence[int],
        slope: float,
        draw: Callable[[], tuple[torch.Tensor, torch.Tensor]],
        decode: torch.Tensor,
        decay: float = 0.0,
    ) -> None:
        self.branches, self.slope = tuple(branches), np.float32(slope)
        self.draw, self.decode = draw, decode.numpy()
        parameters = list(network.parameters())
        flat = parameters_to_vector(parameters).detach()
        vector_to_parameters(flat, parameters)  # which are views of it from now on
        self.adam = FlatAdam(flat.numpy(), decay=decay)
        self.layers = _in_pairs(self.adam.weights, parameters)
        self.gradients = _in_pairs(self.adam.gradient, parameters)

    def __call__(self, rate: float) -> float:
        """Take one step, and give the loss before it."""
        inputs, targets = (each.numpy() for each in self.draw())
        with one_blas_thread():  # a sum that is split rounds as the number of threads says
            loss = self.differentiate(inputs, targets)
        self.adam.step(rate)
        return loss

    def differentiate(self, inputs: Array, targets: Array) -> float:
        """Give the loss, and leave its gradient in ``gradients``."""
        seen, activations = self._hidden(inputs)
        weights, bias = self.layers[-1]
        errors = (seen[-1] @ weights.T + bias - targets) @ self.decode
        back = np.sign(errors) @ self.decode.T
        back *= np.float32(1 / errors.size)
        self._towards_inputs(back, seen, activations)
        return float(np.abs(errors).mean())

    def _hidden(self, inputs: Array) -> tuple[list[Array], list[Array]]:
        """What each layer is given, the output layer too, and what each hidden one answers."""
        seen: list[Array] = []
        activations: list[Array] = []
        state = branch = inputs
        for length in (1, *self.branches):
            for weights, bias in self.layers[len(seen) : len(seen) + length]:
                seen.append(branch)
                branch = branch @ weights.T  # (pixel, width)
                branch += bias
                np.maximum(branch, self.slope * branch, out=branch)
                activations.append(branch)
            state = branch = state + branch if len(seen) > 1 else branch
        return [*seen, state], activations

    def _towards_inputs(self, back: Array, seen: list[Array], activations: list[Array]) -> None:
        """From the gradient of the answers to those of all layers, the last one first."""
        layer = len(activations)
        state = self._through(layer, back, seen)
        for length in (*self.branches[::-1], 1):
            branch = state
            for _ in range(length):
                layer -= 1
                rising = (activations[layer] > 0) * (1 - self.slope) + self.slope
                branch = self._through(layer, branch * rising, seen)
            state = state + branch if layer else branch

    def _through(self, layer: int, back: Array, seen: list[Array]) -> Array:
        """Note the gradients of one layer, given that of its answers; give that of its inputs."""
        of_weights, of_bias = self.gradients[layer]
        np.matmul(back.T, seen[layer], out=of_weights)
        np.matmul(np.ones(len(back), np.float32), back, out=of_bias)
        return np.asarray(back @ self.layers[layer][0])


class FlatAdam:
    """Adam with decoupled weight decay over one flat array, which it changes in place."""

    def __init__(self, weights: Array, *, decay: float) -> None:
        self.weights, self.decay = weights, decay
        self.gradient = np.zeros_like(weights)
        self.mean, self.square = np.zeros_like(weights), np.zeros_like(weights)
        self.steps = 0

    def step(self, rate: float) -> None:
        """Move every weight against the gradient."""
        self.steps += 1
        self.weights *= np.float32(1 - rate * self.decay)
        self.mean += np.float32(1 - MEAN) * (self.gradient - self.mean)
        self.square *= np.float32(SQUARE)
        self.square += np.float32(1 - SQUARE) * self.gradient**2
        size = np.sqrt(self.square)
        size *= np.float32((1 - SQUARE**self.steps) ** -0.5)
        size += np.float32(EPS)
        np.divide(self.mean, size, out=size)
        size *= np.float32(rate / (1 - MEAN**self.steps))
        self.weights -= size


def _in_pairs(flat: Array, like: Sequence[torch.Tensor]) -> list[tuple[Array, Array]]:
    """Views of a flat array as the weights and the bias of each layer."""
    ends = np.cumsum([each.numel() for each in like])
    parts = [
        part.reshape(each.shape) for part, each in zip(np.split(flat, ends[:-1]), like, strict=True)
    ]
    return list(zip(parts[::2], parts[1::2], strict=True))
