"""The model that a fit ends in: what was trained, in the mosaic's own values, and what it is of."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr

from lift_xr.given import Given
from lift_xr.harmonize import IDENTITY, Harmonization
from lift_xr.models import Model
from lift_xr.models.base import fitted_parts
from lift_xr.models.trained import Trained
from lift_xr.named import under


def assemble(
    given: Given, radiometry: Harmonization, trained: Trained, about: dict[str, Any]
) -> Model:
    """Put the fitted value together: arrays in one place, everything else as JSON.

    Parameters
    ----------
    radiometry
        From the mosaic's values to the cube's; folded into the weights.
    trained
        From :func:`lift_xr.learn.learn`.
    about
        What only ``fit`` knows: how it was asked.
    """
    network, trust = trained.network, trained.trust
    if radiometry is not IDENTITY:
        network = network.after(radiometry.gain, radiometry.offset)
        trust = trust.after(radiometry.gain, radiometry.offset)
    arrays, told = fitted_parts(network)
    arrays |= under("trust", trust.arrays())
    for name in ("wavelength", "fwhm"):
        if name in given.cube.coords:
            arrays[name] = given.cube[name].to_numpy().astype("float64")
    arrays |= {"srf": given.matrix.to_numpy().astype("float64"), "range": trained.range}
    about = about | told | _of_cube(given.cube) | _of_mosaic(given, radiometry)
    about |= {
        "history": trained.history,
        "versions": {name: version(name) for name in ("lift-xr", "numpy", "torch")},
    }
    return Model(arrays, json.loads(json.dumps(about)))


def _of_cube(cube: xr.DataArray) -> dict[str, Any]:
    """What labels the bands of a result."""
    good = None
    if "good_wavelength" in cube.coords:
        good = [bool(flag) for flag in cube["good_wavelength"].to_numpy()]
    return {
        "units": cube.attrs.get("units"),
        "bands": cube["band"].to_numpy().tolist(),
        "good": good,
    }


def _of_mosaic(given: Given, radiometry: Harmonization) -> dict[str, Any]:
    """What is asked of a mosaic: its bands, and how its values become the cube's."""
    per_band = {
        name: np.broadcast_to(each, len(given.matrix)).tolist()
        for name, each in (("gain", radiometry.gain), ("offset", radiometry.offset))
    }
    names = [str(band) for band in given.matrix["msi_band"].to_numpy()]
    return {"radiometry": per_band, "msi_bands": names}
