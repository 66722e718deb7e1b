"""What comes of a training, before it is labelled and becomes a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lift_xr.kernel import DenseNetwork
from lift_xr.models.backprojection import BackProjection
from lift_xr.models.mixture import Mixture
from lift_xr.models.rounds import Refusal
from lift_xr.models.trust import Trust


@dataclass(frozen=True)
class Trained:
    """What came of a training.

    Attributes
    ----------
    network
        In the cube's units on both sides; obeys the MSI, if that was asked.
    trust
        What errors to expect of it.
    history
        Of the training: settings, losses, how many pixels.
    range
        The lowest and the highest value of the cube's pixels.
    gain
        (band, msi_band): by which what is added to its answers is hidden from the MSI; None where
        no one gain does that.
    clearing
        (band, band): the projection that takes the noise a network of few pixels learns from its
        answers; None where nothing was taken.
    learnt
        Whether the mosaic's pixels were learnt from too.
    refused
        Why they were not, though they might have been.
    """

    network: DenseNetwork | Mixture | BackProjection
    trust: Trust
    history: dict[str, Any]
    range: npt.NDArray[np.float64]
    gain: npt.NDArray[np.float64] | None
    clearing: npt.NDArray[np.float64] | None
    learnt: bool
    refused: Refusal | None
