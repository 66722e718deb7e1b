"""What ``fit`` is given: settings, two scenes and a response, and what cannot be used of them.

All of it is checked before a pixel is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
import numpy.typing as npt
import xarray as xr

from lift_xr.beside import expect_aligned
from lift_xr.blind import estimate_srf
from lift_xr.degrade import expect_kernel
from lift_xr.errors import SpectralError
from lift_xr.harmonize import expect_comparable, expect_one_time
from lift_xr.matching import match_bands
from lift_xr.models import Method
from lift_xr.scene import BadBands, expect_hsi, expect_msi
from lift_xr.srf import SRF, apply
from lift_xr.warn import warn_user
from lift_xr.workers import expect_device

Scene = xr.DataArray | xr.Dataset
Consistency = Literal["msi", "both", "none"]


def expect_settings(
    consistency: str, *, msi: Any, psf: npt.ArrayLike | None, device: str, seed: int
) -> npt.NDArray[np.float64] | None:
    """Refuse settings that mean nothing; the kernel, where there is one."""
    if consistency not in get_args(Consistency):
        expected = ", ".join(map(repr, get_args(Consistency)))
        raise ValueError(f"consistency is {consistency!r}; expected one of {expected}")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise ValueError(
            f"seed is {seed!r}; expected a whole number from 0 to {2**32 - 1}. Use seed=0"
        )
    expect_device(device)
    return _expect_both(consistency, msi, psf)


def _expect_both(
    consistency: str, msi: Any, psf: npt.ArrayLike | None
) -> npt.NDArray[np.float64] | None:
    """Refuse ``"both"`` without a mosaic, and a PSF that nobody asks for."""
    if consistency == "both" and msi is None:
        raise ValueError(
            "consistency='both' compares the cube with the mosaic, and msi is None; expected the "
            "mosaic. Pass fit(hsi, srf, msi=msi, consistency='both'), or consistency='msi'"
        )
    if psf is None:
        return None
    if consistency != "both":
        raise ValueError(
            f"psf is for consistency='both', and consistency is {consistency!r}. "
            "Pass both, or neither"
        )
    return expect_kernel(psf)


def expect_agreeing(chosen: Method, method: str, consistency: str) -> None:
    """Refuse ``"both"`` of a method that agrees with nothing, as it was published."""
    if consistency == "both" and not chosen.projects:
        raise ValueError(
            f"consistency='both' makes the answer agree with the cube, and method is {method!r}, "
            "which is as published and agrees with nothing; expected another method, or no "
            "consistency. Use method='sin', or leave consistency out"
        )


@dataclass(frozen=True, eq=False)
class Given:
    """The scenes and the response that a model is fitted to.

    Attributes
    ----------
    cube : (band, y, x)
    mosaic : (band, y, x)
        None for a fit without one.
    response
        Of the MSI's sensor, its bands in the order of the mosaic's.
    matrix : (msi_band, band)
        The response on the cube's bands.
    msi_lr : (band, y, x)
        The cube seen through it, lazily.
    """

    cube: xr.DataArray
    mosaic: xr.DataArray | None
    response: SRF
    matrix: xr.DataArray
    msi_lr: xr.DataArray

    @classmethod
    def of(cls, hsi: Scene, srf: Any, msi: Scene | None, *, bad_bands: BadBands) -> Self:
        """Make scenes of the inputs, and sample the response; estimates one that is not given."""
        cube = expect_hsi(hsi, bad_bands=bad_bands)
        mosaic = None if msi is None else expect_msi(msi)
        response = _response(srf, cube, mosaic, bad_bands)
        matrix = response.sample(cube)
        return cls(cube, mosaic, response, matrix, apply(matrix, cube))

    def expect_comparable(self, harmonize: str) -> None:
        """Refuse, before the training, a comparison that could not be made after it."""
        if self.mosaic is not None:
            expect_comparable(self.mosaic, self.msi_lr, method=harmonize)
        elif harmonize not in ("auto", "none"):
            raise ValueError(
                f"harmonize={harmonize!r} compares the MSI with the HSI, and msi is None. "
                "Pass fit(hsi, srf, msi=msi), or harmonize='none'"
            )

    def expect_aligned(self) -> None:
        """Refuse a mosaic that does not lie under the cube's cells, one acquisition of it."""
        assert self.mosaic is not None
        expect_one_time(self.mosaic)
        expect_aligned(self.cube, self.mosaic)

    def expect_bands(self, chosen: Method, method: str) -> None:
        """Refuse one band where a method is not built for it; warn of it where it says little."""
        if self.matrix.sizes["msi_band"] < chosen.fewest_bands:
            raise SpectralError(
                f"method is {method!r} and the MSI has one band; expected {chosen.fewest_bands} or "
                "more, because the published way with one band is not built here. "
                "Use method='morph'"
            )
        if self.matrix.sizes["msi_band"] == 1 and not self.beside(chosen):
            warn_user(
                f"the MSI has one band: it tells brightness, not colour, and method={method!r} has "
                "nothing else to go by; expect the mean spectrum at every brightness. "
                "Use method='morph', which has the cube beside it, where both lie on one grid"
            )

    def beside(self, chosen: Method) -> bool:
        """Whether the method is to have the cube beside the mosaic, which has one band."""
        return chosen.pan_prior and self.matrix.sizes["msi_band"] == 1


def _response(
    srf: Any, cube: xr.DataArray, mosaic: xr.DataArray | None, bad_bands: BadBands
) -> SRF:
    """The response of the MSI's sensor: given, or estimated from the pair."""
    if mosaic is not None:
        given = estimate_srf(cube, mosaic, bad_bands=bad_bands) if srf is None else srf
        return match_bands(SRF.of(given), mosaic)
    if srf is None:
        raise SpectralError(
            "srf is None and so is msi; expected the response of the MSI's sensor, or the MSI to "
            "estimate it from. Use fit(hsi, 'sentinel-2a') or fit(hsi, msi=msi)"
        )
    return SRF.of(srf)
