"""Make the answer obey the MSI: a linear update per pixel, folded into the last layer."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from lift_xr.kernel import DenseNetwork
from lift_xr.models.mixture import Mixture
from lift_xr.models.pairs import Pairs

Array = npt.NDArray[np.float64]

DRAWN = 20_000  # spectra on which the network's own error is measured
EXTRAPOLATION = 1.0  # how far beyond the training pixels they lie, in differences of neighbours
LEFT = 0.1  # of what an MSI band misses, noise too: half was 0.05 dB better, and missed a material
# that the mosaic alone shows by 7 times the noise
UNSEEN = 0.01  # of what an MSI band sees: none, but for bands that are alike
LEAST = 1e-3  # of the usual variance of a band's error: what has none would not be corrected
SNR = 40.0  # dB; the MSI's noise is not known, and the published simulations take this


@dataclass(frozen=True, eq=False)
class Obedient:
    """A network that obeys the MSI.

    Attributes
    ----------
    network
        As it is used.
    gain
        (band, msi_band): for what is added to its answers later.
    noisy
        The same network before the noise that it learnt was taken from its answers, by whose errors
        those of ``network`` are judged: what was taken with the noise is in them.
    """

    network: DenseNetwork
    gain: Array
    noisy: DenseNetwork


def obeying(network: DenseNetwork, pairs: Pairs, *, seed: int) -> Obedient:
    """Make a network obey the MSI, see :func:`gain_towards_msi`, and take its noise: `cleared`."""
    gain = gain_towards_msi(network, pairs, seed=seed)
    return cleared(updated(network, pairs.srf, gain), gain, pairs)


def cleared(network: DenseNetwork, gain: Array, pairs: Pairs) -> Obedient:
    r"""Take from a network that obeys the MSI, by this gain, the noise that it learnt.

    Notes
    -----
    A network of few pixels learns their noise: patterns over the bands that the scene does not
    have, and errors by which :math:`K` writes the MSI's noise into them. Then its answer
    :math:`x'` is taken to the components in which the cube exceeds its noise, with :math:`D`
    their projection and :math:`\mu` the mean of the cube,

    .. math:: x'' = \mu + D (x' - \mu),

    and made to obey the MSI once more, all but a tenth of what it lacks. No component holds that,
    so it is left to the bands that the MSI sees it in: P is diagonal, as the cube's noise is. With
    errors within the components in place of that P, six rows of 8 and 16 MSI bands lost 0.2 to
    1.4 dB where they gained 0.1 to 1.1.

    What is added to the answer later, times :math:`I - K R` with the gain that is returned, moves
    what the MSI sees of it by a hundredth of itself, or as little as :math:`K` of the network does.
    """
    if pairs.clearing is None:
        return Obedient(network, gain, network)
    mean, clearing = pairs.noise.mean, pairs.clearing
    clear = network.then(clearing, mean - clearing @ mean)
    clear = updated(clear, pairs.srf, _gain_by_band(pairs, left=LEFT))
    return Obedient(clear, _gain_by_band(pairs, left=UNSEEN), network)


def _gain_by_band(pairs: Pairs, *, left: float) -> Array:
    """K of errors that are diagonal, by which such a part of them is left in each MSI band."""
    variance = pairs.noise.variance
    seen = pairs.srf * np.maximum(variance, LEAST * np.median(variance))  # R P
    return _gain(pairs.srf, seen, left * (seen * pairs.srf).sum(axis=1))


def gain_towards_msi(network: DenseNetwork, pairs: Pairs, *, seed: int) -> Array:
    r"""Find the gain of the minimum-variance update towards the observed MSI: (band, msi_band).

    Parameters
    ----------
    network
        In the cube's units on both sides, unclipped.
    pairs
        What it was trained on.
    seed
        Of the spectra on which its error is measured.

    Notes
    -----
    With the network's answer :math:`x` to the MSI pixel :math:`m`, its error's covariance
    :math:`P` and the MSI's noise :math:`N`,

    .. math:: x' = x + K (m - R x), \quad K = P R^T (R P R^T + N)^{-1},

    the update of a Kalman filter: afterwards :math:`R x' = m` up to the noise, and the correction
    goes where the network errs most. It is affine in :math:`x` and :math:`m`, so it costs nothing
    per pixel: :math:`I - K R` multiplies the last layer and :math:`K` joins the direct one.

    P is the network's own error, not the covariance of the scene: a network that already agrees
    with m should not have m's noise written into every band.
    """
    errors = _errors_beyond(network, pairs, seed=seed)
    seen = (pairs.srf @ errors) @ errors.T / DRAWN  # R P: of P itself, no more is needed
    return _gain(pairs.srf, seen, noise_of(pairs))


def updated(network: DenseNetwork, srf: Array, gain: Array) -> DenseNetwork:
    """The network followed by ``x + gain (m - srf x)``."""
    moved = network.then(np.eye(network.bands) - gain @ srf, np.zeros(network.bands))
    return replace(moved, direct=(moved.direct + gain).astype("float32"))


def error_covariance(network: DenseNetwork | Mixture, pairs: Pairs, *, seed: int) -> Array:
    """P: (band, band), mean outer product of the errors on spectra beyond the training pixels.

    A pixel of the cube is blurred with its neighbours, the sharper pixels of the mosaic lie on
    the far side of it, and there the errors are larger than on the training pixels themselves.
    Directions away from any pixel, not only the neighbours, exaggerate them and let the MSI's
    noise in: up to 0.5 dB.
    """
    errors = _errors_beyond(network, pairs, seed=seed)
    return np.asarray(errors @ errors.T / DRAWN)


def _errors_beyond(network: DenseNetwork | Mixture, pairs: Pairs, *, seed: int) -> Array:
    spectra = beyond(pairs, seed=seed)
    seen = (spectra @ pairs.srf.T.astype("float32")).T  # (msi_band, pixel)
    lifted = network(np.ascontiguousarray(seen[:, None]))[:, 0]
    return np.subtract(lifted, spectra.T, dtype="float64")  # (band, pixel)


def beyond(pairs: Pairs, *, seed: int) -> npt.NDArray[np.float32]:
    """Draw spectra beyond the training pixels, away from their neighbours: (pixel, band)."""
    random = np.random.default_rng(seed)
    neighbours = pairs.neighbours
    one = random.integers(0, len(pairs.hsi), DRAWN)
    side = random.integers(0, neighbours.shape[1], DRAWN)
    reach = EXTRAPOLATION * random.random((DRAWN, 1), dtype="float32")
    return pairs.hsi[one] + reach * (pairs.hsi[one] - neighbours[one, side])


def beyond_prior(
    pairs: Pairs, *, seed: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Draw spectra beyond the training pixels, away from their priors, and these: (pixel, band)."""
    assert pairs.prior is not None
    random = np.random.default_rng(seed)
    one = random.integers(0, len(pairs.hsi), DRAWN)
    prior = pairs.prior[one, random.integers(0, pairs.prior.shape[1], DRAWN)]
    reach = EXTRAPOLATION * random.random((DRAWN, 1), dtype="float32")
    return pairs.hsi[one] + reach * (pairs.hsi[one] - prior), prior


def noise_of(pairs: Pairs) -> Array:
    """Variance of the MSI's noise in each of its bands: (msi_band,)."""
    power = (pairs.msi.astype("float64") ** 2).mean(axis=0)
    return np.asarray(np.maximum(power / 10 ** (SNR / 10), np.finfo("float32").tiny))


def kalman_gain(srf: Array, covariance: Array, noise: Array) -> Array:
    """K of :func:`gain_towards_msi`: (band, msi_band); ``noise``: the variance in each MSI band."""
    return _gain(srf, srf @ covariance, noise)


def _gain(srf: Array, seen: Array, noise: Array) -> Array:
    """The same from R P: (msi_band, band)."""
    return np.asarray(np.linalg.solve(seen @ srf.T + np.diag(noise), seen).T)
