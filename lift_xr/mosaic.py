"""A mosaic as a model takes it: its bands in the model's order, its blocks small, its units known.

All of it is checked before a pixel is read.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from lift_xr.beside import prior_of
from lift_xr.blocks import Prior
from lift_xr.errors import LayoutError, SpectralError
from lift_xr.models import Model
from lift_xr.scene import BLOCK, expect_msi
from lift_xr.warn import warn_user
from lift_xr.workers import expect_device

GREATEST_BLOCK = 16 * 2**30  # bytes, lifted


def prepare(
    model: Model,
    msi: xr.DataArray | xr.Dataset,
    *,
    hsi: xr.DataArray | xr.Dataset | None,
    block: int,
    device: str,
) -> tuple[xr.DataArray, Prior | None]:
    """Check all that can be checked before a pixel is read: the mosaic, and the cube beside it."""
    expect_device(device)
    mosaic = mosaic_for(model, msi, block=block)
    return mosaic, prior_of(model, hsi, mosaic)


def mosaic_for(model: Model, msi: xr.DataArray | xr.Dataset, *, block: int) -> xr.DataArray:
    """Make a scene of a mosaic, with the model's bands in the model's order."""
    mosaic = _in_model_order(expect_msi(msi, block=block), model)
    _expect_small_blocks(mosaic, model)
    _warn_of_units(mosaic, model)
    return mosaic


def _in_model_order(mosaic: xr.DataArray, model: Model) -> xr.DataArray:
    """Check the mosaic's bands against the model's; same names in another order are put right."""
    names, found = list(model.about["msi_bands"]), mosaic["band"].to_numpy().tolist()
    if len(found) != len(names):
        raise SpectralError(
            f"msi has {len(found)} bands {found}, but the model was trained for {len(names)}: "
            f"{names}. Use msi = msi.isel(band=[...]) with the bands that match, in this order"
        )
    lowered = [str(band).casefold() for band in found]
    wanted = [name.casefold() for name in names]
    if lowered != wanted and sorted(lowered) == sorted(wanted):
        return mosaic.isel(band=[lowered.index(name) for name in wanted])
    return mosaic


def _expect_small_blocks(mosaic: xr.DataArray, model: Model) -> None:
    """Refuse blocks that no worker can hold once they are lifted."""
    rows, columns = (max(mosaic.chunksizes[axis]) for axis in ("y", "x"))
    lifted = rows * columns * model.bands * np.dtype("float32").itemsize
    if lifted > GREATEST_BLOCK:
        raise LayoutError(
            f"a block of msi is {rows} x {columns} pixels, {lifted / 2**30:.0f} GiB once it has "
            f"{model.bands} bands; expected at most {GREATEST_BLOCK / 2**30:.0f} GiB. "
            f"Use msi = msi.chunk(y={BLOCK}, x={BLOCK})"
        )


def _warn_of_units(mosaic: xr.DataArray, model: Model) -> None:
    """Speak up where numbers of unknown units meet a model that knows no other sensor."""
    units, found = model.about["units"], mosaic.attrs.get("units")
    if model.about["alone"] and units == "1" and found != units:
        told = "no units" if found is None else f"units {found!r}"
        warn_user(
            f"msi has {told}, and the model was fitted in reflectance (units '1') without an MSI "
            "to compare with; expected reflectance. If it is, set msi.attrs['units'] = '1'; if "
            "not, fit with the mosaic: fit(hsi, srf, msi=msi)"
        )
