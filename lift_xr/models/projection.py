"""Make the answer obey the MSI: a linear update per pixel, folded into the last layer."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lift_xr.kernel import DenseNetwork

Array = npt.NDArray[np.float64]


def project_on_msi(
    network: DenseNetwork, srf: Array, covariance: Array, noise: Array
) -> DenseNetwork:
    r"""The network followed by the minimum-variance update towards the observed MSI.

    Parameters
    ----------
    network
        In the cube's units on both sides.
    srf
        R: (msi_band, band), rows summing to one.
    covariance
        C: (band, band), of the cube's pixels: the directions in which spectra differ.
    noise
        N: (msi_band,), variance of the MSI's noise, in the cube's units squared.

    Notes
    -----
    With the network's answer :math:`x` to the MSI pixel :math:`m`,

    .. math:: x' = x + K (m - R x), \quad K = C R^T (R C R^T + N)^{-1},

    the update of a Kalman filter: afterwards :math:`R x' = m` up to the noise. It is affine in
    :math:`x` and :math:`m`, so :math:`(I - K R)` multiplies the last layer and :math:`K` joins the
    direct one.
    """
    gain = kalman_gain(srf, covariance, noise)
    kept = np.eye(network.bands) - gain @ srf
    updated = network.then(kept, np.zeros(network.bands))
    return DenseNetwork(
        hidden=updated.hidden,
        branches=updated.branches,
        output=updated.output,
        direct=(updated.direct + gain).astype("float32"),
        bias=updated.bias,
        slope=updated.slope,
        skips=updated.skips,
    )


def kalman_gain(srf: Array, covariance: Array, noise: Array) -> Array:
    """K: (band, msi_band), see :func:`project_on_msi`."""
    seen = srf @ covariance  # (msi_band, band)
    innovation = seen @ srf.T + np.diag(noise)
    return np.asarray(np.linalg.solve(innovation, seen).T)
