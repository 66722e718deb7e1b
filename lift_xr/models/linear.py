"""Ridge regression in closed form: the honest, cheap baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lift_xr.kernel import DenseNetwork
from lift_xr.models.pairs import Moments, Pairs
from lift_xr.training import Report


@dataclass(frozen=True)
class LinearRecipe:
    """Settings of the ridge regression."""

    ridge: float = 1e-6
    """Penalty on the coefficients, relative to the mean variance of the inputs."""


def fit_linear(
    pairs: Pairs, recipe: LinearRecipe, *, seed: int, device: str, report: Report | None
) -> tuple[DenseNetwork, dict[str, Any]]:
    r"""Best affine map from MSI pixel to spectrum, in the cube's units.

    Notes
    -----
    With :math:`C` the covariance of the cube and :math:`R` the response,
    :math:`D = C R^T (R C R^T + \lambda I)^{-1}` and the mean is kept. It needs the moments of the
    cube only, so seed and device do not matter.
    """
    moments = Moments.of(pairs.hsi)
    seen = pairs.srf @ moments.covariance  # (msi_band, band)
    inputs = seen @ pairs.srf.T
    penalty = recipe.ridge * max(np.trace(inputs) / len(inputs), np.finfo("float32").tiny)
    direct = np.linalg.solve(inputs + penalty * np.eye(len(inputs)), seen).T
    bias = moments.mean - direct @ (pairs.srf @ moments.mean)
    return affine(direct, bias), {"ridge": float(penalty)}


def affine(direct: npt.NDArray[Any], bias: npt.NDArray[Any]) -> DenseNetwork:
    """``direct @ m + bias`` as a network without hidden layers."""
    return DenseNetwork(
        hidden=(),
        branches=(),
        output=np.zeros((len(bias), 0), np.float32),
        direct=direct.astype("float32"),
        bias=bias.astype("float32"),
    )
