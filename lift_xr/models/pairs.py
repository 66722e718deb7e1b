"""Training pairs: what the MSI sensor sees of a cube's pixels, and the pixels themselves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from lift_xr.cubenoise import CubeNoise, learns_noise

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Seen:
    """Pixels of the mosaic itself, and what they are likely to be.

    Attributes
    ----------
    msi
        (pixel, msi_band), finite, harmonised.
    spectra
        (pixel, band), finite: estimates that the cube's cells had a say in.
    """

    msi: npt.NDArray[np.float32]
    spectra: npt.NDArray[np.float32]

    @property
    def nbytes(self) -> int:
        """Size of both."""
        return self.msi.nbytes + self.spectra.nbytes


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pixels of the cube and the response they are seen through, in the cube's units.

    Attributes
    ----------
    hsi
        (pixel, band), finite: the targets.
    srf
        (msi_band, band), rows summing to one.
    units
        Of the cube; ``"1"`` is reflectance.
    beside
        (pixel, side, band), finite: pixels that touch each one in the image, or the pixel itself
        where there is none. None where places are not known.
    prior
        (pixel, phase, band), finite: what coarser cubes, interpolated, say of each pixel; None
        where the method does not look at the cube again.
    seen
        Pixels of the mosaic to learn from as well; None where there are none.
    """

    hsi: npt.NDArray[np.float32]
    srf: Array
    units: str
    beside: npt.NDArray[np.float32] | None = None
    prior: npt.NDArray[np.float32] | None = None
    seen: Seen | None = None

    @property
    def msi(self) -> npt.NDArray[np.float32]:
        """(pixel, msi_band): the inputs, the same pixels through the response."""
        return (self.hsi.astype("float64") @ self.srf.T).astype("float32")

    @cached_property
    def noise(self) -> CubeNoise:
        """Of the cube."""
        moments = Moments.of(self.hsi)
        return CubeNoise.of(moments.mean, moments.covariance, len(self.hsi))

    @cached_property
    def clearing(self) -> Array | None:
        """(band, band): takes spectra to what is more than noise; None where no noise is learnt."""
        count, bands = self.hsi.shape
        if not learns_noise(bands, count) or not self.noise.variance.any():
            return None
        return self.noise.projection

    @property
    def neighbours(self) -> npt.NDArray[np.float32]:
        """(pixel, side, band): ``beside``, or any other pixels where places are not known."""
        if self.beside is not None:
            return self.beside
        other = np.random.default_rng(0).permutation(len(self.hsi))
        return np.stack([self.hsi[other], self.hsi[other[::-1]]], axis=1)


@dataclass(frozen=True)
class Moments:
    """Mean (band,) and covariance (band, band) of pixels, in float64."""

    mean: Array
    covariance: Array

    @classmethod
    def of(cls, pixels: npt.NDArray[np.float32]) -> Moments:
        """Moments of (pixel, band)."""
        exact = pixels.astype("float64")
        mean = exact.mean(axis=0)
        centred = exact - mean
        return cls(mean, centred.T @ centred / max(len(exact) - 1, 1))
