"""What a pair of scenes shows before training: how values compare, how cells lie over pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from lift_xr.agreement import ENOUGH_TO_LEARN, Sight, look
from lift_xr.errors import GridError, SpectralError
from lift_xr.footprint import Overlay
from lift_xr.given import Given
from lift_xr.harmonize import IDENTITY, Harmonization
from lift_xr.harmonize import harmonize as match_radiometry
from lift_xr.learn import expect_pixels


@dataclass(frozen=True, eq=False)
class Pair:
    """What was found of a cube and a mosaic.

    Attributes
    ----------
    radiometry
        From the mosaic's values to the cube's; None where it is still to be found.
    to_learn, to_agree
        How cells lie over pixels, for the network to learn from the mosaic, and for its answer to
        agree with the cube. In words why that is not known, and None where it is not asked for.
    """

    radiometry: Harmonization | None = None
    to_learn: Sight | str | None = None
    to_agree: Sight | str | None = None

    @classmethod
    def of(
        cls,
        given: Given,
        harmonize: str,
        *,
        learns: bool,
        agrees: bool,
        psf: npt.NDArray[np.float64] | None,
    ) -> Pair:
        """Look at the pair, if there is one, for a method that learns from it or is to agree."""
        if given.mosaic is None or not (learns or agrees):
            return cls()
        try:
            radiometry = matched(given, harmonize)
        except (SpectralError, GridError):
            expect_pixels(given.cube)  # what is wrong with the cube itself is said first
            raise
        even = radiometry.apply(given.mosaic)
        learning = _look_to_learn(given, even) if learns else None
        if not agrees:
            return cls(radiometry, learning)
        if learning is not None and psf is None:
            return cls(radiometry, learning, learning)
        return cls(radiometry, learning, look(given.cube, even, given.matrix, psf=psf))

    @property
    def overlay(self) -> Overlay | None:
        """What a network learns by."""
        seen = self.to_learn
        return seen.overlay.within(ENOUGH_TO_LEARN) if isinstance(seen, Sight) else None

    def even(self, cube: xr.DataArray) -> xr.DataArray:
        """The cube with the brightness of the mosaic, as far as that is known, lazily."""
        seen = self.to_agree if self.to_learn is None else self.to_learn
        return seen.even(cube) if isinstance(seen, Sight) else cube


def matched(given: Given, method: str) -> Harmonization:
    """How the mosaic's values become the cube's; as they are, where there is none. Computes."""
    if given.mosaic is None:
        return IDENTITY
    return match_radiometry(given.mosaic, given.msi_lr, method=method)


def _look_to_learn(given: Given, even: xr.DataArray) -> Sight | str:
    """The same; why the mosaic cannot be learnt from, where nobody insists."""
    if "time" in even.dims:
        return "the mosaic has several times"
    try:
        return look(given.cube, even, given.matrix, psf=None)
    except GridError as error:
        return str(error)
