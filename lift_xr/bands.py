"""What is known of each band: its label, its wavelength in nm, whether it is any good."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
from dask.base import tokenize

from lift_xr.errors import SpectralError
from lift_xr.packing import take_bands

TO_NM = {
    **dict.fromkeys(("nm", "nanometer", "nanometers", "nanometre", "nanometres"), 1.0),
    **dict.fromkeys(("um", "\u03bcm", "micron", "microns"), 1e3),
    **dict.fromkeys(("micrometer", "micrometers", "micrometre", "micrometres"), 1e3),
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 1e9),
}
# How names of arrays begin whose bands somebody chose, or that lack the pixels that a band hides.
CHOSEN, MASKED = "lift_xr_chosen", "lift_xr_alpha"


def to_nm(values: npt.ArrayLike, units: str | None, *, name: str = "wavelength") -> np.ndarray:
    """Convert wavelengths to nm, float64.

    Parameters
    ----------
    values
        In ``units``.
    units
        Of length, in any usual spelling: nm, um, m. Never guessed from the values.

    Examples
    --------
    >>> to_nm([0.45, 2.2], "Micrometers")
    array([ 450., 2200.])
    """
    factor = None if units is None else TO_NM.get(str(units).strip().casefold())
    if factor is None:
        found = "no units" if units is None else f"the unknown units {units!r}"
        key = name.rpartition(" ")[2]
        convert = f"Convert them to nm first, e.g. {key} / 10 where it is in angstrom, then set "
        raise SpectralError(
            f"{name} has {found}; expected nm, um or m (also nanometers, micrometers). "
            f"{'Use ' if units is None else convert}scene.{key}.attrs['units'] = 'nm'"
        )
    return np.asarray(values, dtype="float64") * factor


def with_bands(scene: xr.DataArray, *, name: str) -> xr.DataArray:
    """Label the bands, and put what is known of each in nm."""
    if "band" not in scene.indexes:
        scene = scene.drop_vars("band", errors="ignore")
        scene = scene.assign_coords(band=np.arange(1, scene.sizes["band"] + 1))
    if scene["band"].dtype.kind in "TO":  # text, as Zarr and pandas hand it over
        scene = scene.assign_coords(band=np.array(scene["band"].to_numpy().tolist()))
    if not scene.indexes["band"].is_unique:
        repeated = scene.indexes["band"][scene.indexes["band"].duplicated()].unique().tolist()
        raise SpectralError(
            f"{name} has repeated band labels {shortened(repeated)}; expected each once. "
            f"Use {name} = {name}.assign_coords(band=range(1, {scene.sizes['band'] + 1}))"
        )
    if "bbl" in scene.coords:
        scene = scene.rename(bbl="good_wavelength")
    if "good_wavelength" in scene.coords:
        good = _good_bands(scene, name=name)
        scene = scene.assign_coords(good_wavelength=("band", good))
    return _in_nm(scene, name=name)


def without_bad_bands(scene: xr.DataArray, *, name: str) -> xr.DataArray:
    """Leave out the bands that ``good_wavelength`` calls bad."""
    if "good_wavelength" not in scene.coords:
        return scene
    good = scene["good_wavelength"].to_numpy()
    if not good.any():
        raise SpectralError(
            f"good_wavelength of {name} is False in all {len(good)} bands; expected some good "
            "bands. Pass bad_bands='keep' to use them all"
        )
    return scene if good.all() else _only(scene, np.flatnonzero(good))


def choose_bands(scene: xr.DataArray, places: Sequence[int]) -> xr.DataArray:
    """Keep the bands at some places of a lazy scene, in the order given.

    Labels that are whole numbers are places in a file: the chosen bands are counted anew, so that
    they are matched in the order given.
    """
    chosen = _only(scene, np.asarray(places), called=CHOSEN)
    if chosen["band"].dtype.kind in "iu":
        chosen = chosen.assign_coords(band=np.arange(1, len(places) + 1))
    return chosen


def _only(scene: xr.DataArray, kept: np.ndarray, *, called: str = "bands") -> xr.DataArray:
    """Some bands of a lazy scene, taken in a way that ``lift_xr.windows`` can do while it reads."""
    data: da.Array = scene.data
    assert data.numblocks[-3] == 1, data.numblocks
    taken = data.map_blocks(
        take_bands,
        kept=kept,
        chunks=(*data.chunks[:-3], (len(kept),), *data.chunks[-2:]),
        dtype=data.dtype,
        meta=data._meta,
        name=f"{called}-{tokenize(data, kept)}",
    )
    return scene.isel(band=kept).copy(data=taken)


def shortened(values: Sequence[Hashable]) -> str:
    """Write a list as Python does, cut after eight."""
    shown = ", ".join(repr(value) for value in values[:8])
    return f"[{shown}, ...]" if len(values) > 8 else f"[{shown}]"


def _good_bands(scene: xr.DataArray, *, name: str) -> np.ndarray:
    flags = _along_band(scene, "good_wavelength", name=name)
    if not np.isin(flags, (0, 1)).all():
        raise SpectralError(
            f"good_wavelength of {name} holds {shortened(np.unique(flags).tolist())}; expected "
            f"True or False. Use {name}.coords['good_wavelength'] = {name}.good_wavelength > 0"
        )
    return flags.astype(bool)


def _in_nm(scene: xr.DataArray, *, name: str) -> xr.DataArray:
    """Convert wavelength and fwhm; a width without units has those of the wavelength."""
    units = None
    if "wavelength" in scene.coords:
        units = scene["wavelength"].attrs.get("units")
    for key in ("wavelength", "fwhm"):
        if key in scene.coords:
            attrs = scene[key].attrs
            values = _along_band(scene, key, name=name)
            values = to_nm(values, attrs.get("units", units), name=f"{name} {key}")
            _expect_lengths(values, f"{name} {key}")
            scene = scene.assign_coords({key: ("band", values, {**attrs, "units": "nm"})})
    return scene


def _along_band(scene: xr.DataArray, key: str, *, name: str) -> np.ndarray:
    if scene[key].dims != ("band",):
        raise SpectralError(
            f"{key} of {name} has dimensions {scene[key].dims}; expected ('band',). "
            f"Use {name} = {name}.assign_coords({key}=('band', ...))"
        )
    return np.asarray(scene[key].to_numpy())


def _expect_lengths(values: np.ndarray, what: str) -> None:
    wrong = ~(np.isfinite(values) & (values > 0))
    if wrong.any():
        raise SpectralError(
            f"{what} is {values[wrong][0]:g} nm in {wrong.sum()} of {len(values)} bands; expected "
            "a length above 0 nm in every band. Leave those bands out with .isel(band=...)"
        )
