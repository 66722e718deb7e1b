"""The cube beside the mosaic: what a model that looks at the cube again is given of it."""

from __future__ import annotations

import xarray as xr

from lift_xr.blocks import Prior
from lift_xr.errors import GridError, SpectralError
from lift_xr.grid import (
    OTHERWISE,
    Grid,
    compare,
    expect_integer_ratio,
    expect_overlap,
    expect_same_crs,
    origin_in_pixels,
)
from lift_xr.models import Model
from lift_xr.scene import expect_hsi


def prior_of(
    model: Model, hsi: xr.DataArray | xr.Dataset | None, mosaic: xr.DataArray
) -> Prior | None:
    """Lay a cube under a mosaic for a model that looks at the cube again; None for one that not.

    Raises
    ------
    ValueError
        No cube, where the model needs one.
    SpectralError
        A cube without the model's bands.
    GridError
        Cells that are not whole numbers of the mosaic's pixels, or that lie elsewhere, or that are
        of another size than the model learnt to look at.
    """
    if model.prior is None:
        return None
    if hsi is None:
        raise ValueError(
            f"hsi is None, and a model of method={model.method!r} with consistency="
            f"{model.about['consistency']!r} looks at the cube again when it lifts; expected the "
            "cube, on the grid of the mosaic. Use predict(model, msi, hsi=hsi)"
        )
    cube = as_ordered(_with_bands_of(model, expect_hsi(hsi, bad_bands="keep")), mosaic)
    # A method that takes one band needs the cube whatever the consistency.
    expect_aligned(cube, mosaic, otherwise=OTHERWISE if model.msi_bands > 1 else "")
    rows, columns = origin_in_pixels(Grid.of(cube), Grid.of(mosaic))
    ratio = compare(cube, mosaic).ratio
    _expect_ratio(model, ratio)
    return Prior(cube.data, ratio, (round(rows), round(columns)))


def _expect_ratio(model: Model, ratio: int) -> None:
    """Refuse cells of another size than the model's point spread was estimated for."""
    fitted = model.about["network"].get("ratio")  # of "both" alone: a mixture asks for none
    if fitted is not None and fitted != ratio:
        raise GridError(
            f"a cell of hsi is {ratio} pixels of the msi along an edge, and was {fitted} where the "
            "model learnt to look at the cube again; expected the same. Use the cube and the "
            "mosaic that it was fitted on, or fit a model for these"
        )


def expect_aligned(hsi: xr.DataArray, msi: xr.DataArray, *, otherwise: str = OTHERWISE) -> None:
    """Raise GridError unless every cell of the cube is made of whole pixels of the mosaic.

    ``otherwise`` is what else the message says can be done.
    """
    expect_same_crs(hsi, msi)
    expect_integer_ratio(hsi, msi, otherwise=otherwise)
    expect_overlap(hsi, msi)
    if compare(hsi, msi).aligned:
        return
    coarse, fine = Grid.of(hsi), Grid.of(msi)
    rows, columns = origin_in_pixels(coarse, fine)
    raise GridError(
        f"the first hsi cell begins {rows:.3g} rows and {columns:.3g} columns of the msi from its "
        f"first pixel; expected whole numbers, within 0.05. hsi: {coarse.describe()}; msi: "
        f"{fine.describe()}. Resample one to the other's grid, e.g. msi = msi.rio.reproject_match("
        f"...){otherwise}"
    )


def as_ordered(cube: xr.DataArray, mosaic: xr.DataArray) -> xr.DataArray:
    """Turn the rows and columns of a cube to run the way those of the mosaic do."""
    coarse, fine = Grid.of(cube, name="hsi"), Grid.of(mosaic, name="msi")
    turned = {"y": coarse.dy * fine.dy < 0, "x": coarse.dx * fine.dx < 0}
    back = slice(None, None, -1)
    return cube.isel({axis: back for axis, wrong in turned.items() if wrong})


def _with_bands_of(model: Model, cube: xr.DataArray) -> xr.DataArray:
    """Keep the bands the model was trained on."""
    wanted, found = list(model.about["bands"]), cube["band"].to_numpy().tolist()
    missing = [band for band in wanted if band not in found]
    if missing:
        raise SpectralError(
            f"hsi lacks the bands {missing} that the model was trained on; expected the cube the "
            f"model was fitted to, or one with the same bands. It has {found}"
        )
    return cube if wanted == found else cube.sel(band=wanted)
