"""Whether the bands of a cube cover a response, and what to say where they do not."""

from __future__ import annotations

import numpy as np
import xarray as xr

from lift_xr import spectral
from lift_xr.errors import SpectralError
from lift_xr.scene import to_nm
from lift_xr.warn import warn_user

# A band with less than half of its response inside the cube would be guessed rather than sampled:
# most of it would describe wavelengths that nobody measured. With a tenth missing, what is left of
# a flat-topped band moves its centre by a twentieth of its width, which begins to show in steep
# spectra such as the red edge.
NO_SUPPORT = 0.5
FULL_SUPPORT = 0.9


def bands_of(hsi: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Read centres and widths of a cube's bands: two of (band,), nm.

    Without ``fwhm`` a band is as wide as the bands around it stand apart.
    """
    if "wavelength" not in hsi.coords:
        raise SpectralError(
            f"hsi has {hsi.sizes['band']} bands without wavelengths; expected a coordinate "
            "'wavelength' along band, in nm. Use hsi = hsi.assign_coords(wavelength=('band', "
            "centres, {'units': 'nm'}))"
        )
    centres = in_nm(hsi["wavelength"])
    if "fwhm" in hsi.coords:
        units = hsi["fwhm"].attrs.get("units", hsi["wavelength"].attrs.get("units"))
        return centres, to_nm(hsi["fwhm"].to_numpy(), units, name="fwhm")
    if len(np.unique(centres)) < 2:
        raise SpectralError(
            f"hsi has one wavelength, {centres[0]:g} nm, and no fwhm; expected the width of its "
            "band, in nm. Use hsi = hsi.assign_coords(fwhm=('band', widths, {'units': 'nm'}))"
        )
    return centres, spectral.spacing(centres)


def in_nm(wavelength: xr.DataArray) -> np.ndarray:
    """Read a coordinate that says its units."""
    return to_nm(wavelength.to_numpy(), wavelength.attrs.get("units"))


def expect_support(
    share: np.ndarray,
    bands: tuple[str, ...],
    *,
    name: str,
    needed: np.ndarray,
    cells: spectral.Cells,
) -> None:
    """Raise or warn where the HSI covers too little of a band.

    Parameters
    ----------
    share : (msi_band,), 0-1
        Of each response, what lies within the HSI's bands.
    bands, name
        Of the SRF.
    needed : (msi_band, 2), nm
        Where each response is above half its maximum.
    cells
        What the HSI's bands stand for.
    """
    lost, weak = share < NO_SUPPORT, share < FULL_SUPPORT
    if not weak.any():
        return
    found = f"the SRF of {name!r} needs {span(needed)} nm but hsi covers {_stretches(cells)} nm; "
    if lost.any():
        noun = "bands" if lost.sum() > 1 else "band"
        verb = "have" if lost.sum() > 1 else "has"
        raise SpectralError(
            f"{found}{noun} {_shares(bands, share, lost)} {verb} no support, with less than "
            f"{NO_SUPPORT:.0%} of the response within. {_without(bands, lost)}"
        )
    warn_user(
        f"{found}only part of the response of {_shares(bands, share, weak)} lies within, expected "
        f"{FULL_SUPPORT:.0%}; the rest is left out. {_without(bands, weak)}"
    )


def span(edges: np.ndarray) -> str:
    """Write the lowest and the highest edge."""
    return f"{edges.min():.0f}-{edges.max():.0f}"


def _shares(bands: tuple[str, ...], share: np.ndarray, chosen: np.ndarray) -> str:
    return ", ".join(f"{bands[each]} ({share[each]:.0%})" for each in np.flatnonzero(chosen))


def _without(bands: tuple[str, ...], dropped: np.ndarray) -> str:
    """Say how to go on with the other bands."""
    kept = np.flatnonzero(~dropped).tolist()
    if not kept:
        return "Pass an hsi that covers them"
    names = ", ".join(repr(bands[each]) for each in kept)
    return (
        f"Drop them with srf = srf.select({names}) and msi = msi.isel(band={kept}), or pass an "
        "hsi that covers them"
    )


def _stretches(cells: spectral.Cells) -> str:
    """Write out the stretches of spectrum that touching cells make."""
    order = np.argsort(cells.lower, kind="stable")
    lower, upper = cells.lower[order], cells.upper[order]
    starts = np.flatnonzero(np.append(True, lower[1:] > upper[:-1] + 1e-6))
    ends = np.append(starts[1:] - 1, len(upper) - 1)
    if len(starts) > 5:
        return f"{lower[0]:.0f}-{upper[-1]:.0f} (with {len(starts) - 1} gaps)"
    return ", ".join(f"{lower[a]:.0f}-{upper[b]:.0f}" for a, b in zip(starts, ends, strict=True))
