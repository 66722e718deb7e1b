"""Which band of a response is which band of a scene: by name, or by place."""

from __future__ import annotations

import numpy as np
import xarray as xr

from lift_xr.errors import SpectralError
from lift_xr.sensors import key
from lift_xr.srf import SRF


def match_bands(srf: SRF, msi: xr.DataArray) -> SRF:
    """Put a response in the order of a scene's bands.

    Parameters
    ----------
    srf
        As many bands as ``msi``.
    msi : (..., band, y, x)
        By the names of its bands, where they are the SRF's in any order; else by position, which
        its ``wavelength`` must not contradict.

    Raises
    ------
    SpectralError
        Another number of bands, or another order of wavelengths.
    """
    count = msi.sizes["band"]
    if count != len(srf.bands):
        raise SpectralError(
            f"msi has {count} bands but the SRF {srf.name!r} has {len(srf.bands)}: "
            f"{', '.join(srf.bands)}; expected as many. {_advice_on_count(srf, count)}"
        )
    labels = msi["band"].to_numpy().tolist() if "band" in msi.coords else []
    if all(isinstance(each, str) for each in labels):
        keys = [key(each) for each in labels]
        if len(set(keys)) == count and set(keys) == {key(each) for each in srf.bands}:
            srf = srf.select(*labels)
    _expect_order(srf, msi)
    return srf


def _advice_on_count(srf: SRF, count: int) -> str:
    colours = [each for each in srf.bands if "pan" not in each.casefold()]
    chosen = colours if len(colours) == count else list(srf.bands[:count])
    names = ", ".join(map(repr, chosen))
    if count < len(srf.bands):
        return f"Use srf = srf.select({names}) with the bands that msi has, in its order"
    return f"Use msi = msi.isel(band={list(range(len(srf.bands)))}) with the bands of the SRF"


def _expect_order(srf: SRF, msi: xr.DataArray) -> None:
    """Compare the order of the wavelengths of both, where they are known."""
    if "wavelength" not in msi.coords or msi["wavelength"].dims != ("band",):
        return
    centres, wavelength = srf.centres, msi["wavelength"].to_numpy()
    if np.isnan(centres).any() or np.isnan(wavelength).any():
        return
    if (np.subtract.outer(centres, centres) * np.subtract.outer(wavelength, wavelength) < 0).any():
        place = np.empty(len(centres), dtype=int)
        place[np.argsort(wavelength, kind="stable")] = np.argsort(centres, kind="stable")
        names = ", ".join(repr(srf.bands[each]) for each in place)
        raise SpectralError(
            f"the bands of msi lie at {_listed(wavelength)} but those of the SRF {srf.name!r} at "
            f"{_listed(centres)} nm; expected the same order. Use srf = srf.select({names})"
        )


def _listed(values: np.ndarray) -> str:
    return ", ".join(f"{each:g}" for each in values.round(1))
