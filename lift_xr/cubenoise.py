"""The noise of a cube, as its pixels tell it, and its spectra without what is noise alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

COMPONENTS = 20  # that may be more than noise, until the noise is known
PASSES = 3  # in which the bands' noise is brought to one scale; more changed nothing
MANY = 10  # pixels for each band: see `learns_noise`
LEAST = 1e-10  # of the strongest band's variance: below it, rounding is all there is


@dataclass(frozen=True, eq=False)
class CubeNoise:
    r"""How noisy a cube's bands are, and how much of that its principal components keep.

    Attributes
    ----------
    mean
        (band,): of the pixels.
    variance
        (band,): of the noise.
    projection
        (band, band): takes a spectrum, less the mean, to the components that exceed noise.
    left
        (band,): the variance of the noise after that.

    Notes
    -----
    The noise of a band is what the first components do not say of it. With each band in units of
    its noise, white noise of :math:`B` bands and :math:`n` pixels alone has no variance above
    :math:`(1 + \sqrt{B / n})^2` in any direction (Marchenko and Pastur 1967): what has more is
    kept. The noise comes out up to a tenth too small where components that it is found beside are
    noise themselves, and so some of those are kept.
    """

    mean: Array
    variance: Array
    projection: Array
    left: Array

    @classmethod
    def of(cls, mean: Array, covariance: Array, count: int) -> Self:
        """Find it from the moments of so many pixels; none where they are too few to tell."""
        bands = len(mean)
        components = min(COMPONENTS, bands // 2, count // 4)
        if components < 1 or not covariance.any():
            return cls(mean, np.zeros(bands), np.eye(bands), np.zeros(bands))
        scale = _scale(covariance, components, count)
        variances, directions = np.linalg.eigh(covariance / np.outer(scale, scale))
        kept = directions[:, variances > (1 + np.sqrt(bands / count)) ** 2]
        back = kept * scale[:, None]  # (band, component)
        projection = back @ (kept / scale[:, None]).T
        return cls(mean, scale**2, projection, (back**2).sum(axis=1))

    def without(self, spectra: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Spectra (pixel, band) on the components that are more than noise."""
        projection, mean = self.projection.astype("float32"), self.mean.astype("float32")
        return np.asarray((spectra - mean) @ projection.T + mean, "float32")


def learns_noise(bands: int, count: int) -> bool:
    """Whether a network that is trained on so many pixels takes their noise for the scene.

    Of more pixels the noise averages out: taking it from the answers of a network gained 0.4 to
    0.7 dB with 16 MSI bands and 144 pixels of 205 bands, 0.04 with 625. With few bands it is not
    told well from what the scene holds: of 31 bands and 4,096 pixels, 0.02 to 0.3 dB were lost.
    """
    return bands >= 2 * COMPONENTS and count <= MANY * bands


def _scale(covariance: Array, components: int, count: int) -> Array:
    """Standard deviation of each band's noise."""
    bands = len(covariance)
    least = np.sqrt(LEAST * np.diag(covariance).max())
    used = (1 - components / bands) * (1 - components / count)  # noise that components take away
    scale = np.full(bands, least)
    for _ in range(PASSES):
        variances, directions = np.linalg.eigh(covariance / np.outer(scale, scale))
        rest = directions[:, :-components]
        remains = (rest**2 @ np.maximum(variances[:-components], 0)) * scale**2
        scale = np.maximum(np.sqrt(remains / used), least)
    return scale
