"""What a pair of scenes tells about their sensors: the MSI's response, the HSI's point spread."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr

from lift_xr.agreement import draw_places, told_of
from lift_xr.beside import as_ordered, expect_aligned
from lift_xr.cells import cell_pairs
from lift_xr.errors import GridError, SpectralError
from lift_xr.grid import Grid, cells, compare, expect_overlap, expect_same_crs
from lift_xr.harmonize import WEAK, expect_one_time
from lift_xr.matching import match_bands
from lift_xr.pointspread import FEWEST as FEWEST_CELLS
from lift_xr.pointspread import estimate_point_spread, reach_of
from lift_xr.radiometry import FEWEST
from lift_xr.response import estimate_responses
from lift_xr.scene import BadBands, expect_hsi, expect_msi
from lift_xr.srf import SRF
from lift_xr.threads import one_blas_thread
from lift_xr.warn import warn_user

CELLS = 1 << 16  # looked at; with hundreds of bands, memory and time begin to count


def estimate_srf(
    hsi: xr.DataArray | xr.Dataset,
    msi: xr.DataArray | xr.Dataset,
    *,
    smoothness: float | None = None,
    bad_bands: BadBands = "drop",
) -> xr.DataArray:
    """Estimate the spectral response of an MSI from an HSI of the same ground. Computes.

    Neither PSF nor radiometry need be known, and the ratio need not be whole; the scenes have to
    lie over one another to about a cell.

    Parameters
    ----------
    hsi : (band, y, x)
        The cube, with wavelengths.
    msi : (band, y, x)
        The mosaic, in any units.
    smoothness
        How far each response is kept to a single lobe: 1e-1 closely, 1e-5 hardly. None decides by
        cells held out.
    bad_bands
        As in ``expect_hsi``.

    Returns
    -------
    (msi_band, band), float64
        Non-negative, rows summing to one, as ``SRF.sample`` returns it; pass it on as ``srf``. The
        coordinate ``correlation`` says how well each MSI band is explained.

    Raises
    ------
    GridError
        Scenes of different CRSs, of different ground, or with less than 20 cells in common.
    SpectralError
        An HSI of fewer than 3 bands; an image without contrast.

    Warns
    -----
    UserWarning
        Bands whose correlation is below 0.5.

    Notes
    -----
    Scenes do not determine a response to the last nm: see
    :func:`lift_xr.response.estimate_responses`. On EO-1 ALI and Hyperion over Paris the estimates
    lie within 30 nm of the measured centres, 16 nm in the visible and near infrared.
    """
    cube, mosaic = expect_hsi(hsi, bad_bands=bad_bands), expect_msi(msi)
    expect_one_time(mosaic)
    _expect_spectrum(cube, smoothness)
    expect_same_crs(cube, mosaic)
    expect_overlap(cube, mosaic)
    rows, columns = cells(cube, mosaic)
    coarse, fine = cell_pairs(
        da.asarray(cube.data), da.asarray(mosaic.data), rows, columns, limit=CELLS
    )
    wavelength = cube["wavelength"].to_numpy()
    with one_blas_thread():
        found = estimate_responses(coarse, fine, wavelength, smoothness=smoothness)
    if found is None:
        raise _too_little(coarse, fine, cube, mosaic)
    responses, correlation = found
    estimate = _labelled(responses, correlation, cube, mosaic)
    _warn_of_weak(estimate)
    return estimate


def estimate_psf(
    hsi: xr.DataArray | xr.Dataset,
    msi: xr.DataArray | xr.Dataset,
    srf: Any = None,
    *,
    bad_bands: BadBands = "drop",
) -> xr.DataArray:
    """Estimate the point spread of an HSI's sensor from an MSI of the same ground. Computes.

    SRF(HSI) is compared with the MSI, blurred. Radiometry need not be known: gains and offsets
    are free. The centre of the kernel is free as well, within a cell, so a small misregistration,
    or cells that stand for their corner, is found as a shift.

    Parameters
    ----------
    hsi : (band, y, x)
        The cube, with wavelengths.
    msi : (band, y, x)
        The mosaic. Each cell of the cube is a whole number of its pixels.
    srf
        The response of the MSI's sensor, as in :func:`fit`. None estimates it from the pair.
    bad_bands
        As in ``expect_hsi``.

    Returns
    -------
    (y, x), float64
        Odd sides, summing to one, in MSI pixels; ``y`` and ``x`` count from the centre. The mean
        over a cell comes on top: pass it to :func:`degrade` or :func:`fit` as ``psf``. Attributes:
        ``form``, ``"gaussian"`` or ``"free"`` where the cells tell more than that; ``sigma`` and
        ``shift`` (y, x) of the Gaussian, in pixels; ``residual``, what stays unexplained, in
        standard deviations of the cube seen as the mosaic; ``cells``, compared.

    Raises
    ------
    GridError
        Scenes of different CRSs or ground, cells that are not made of whole pixels, or fewer than
        20 cells whose neighbours' pixels are there as well.
    SpectralError
        As :func:`estimate_srf` does; a response that the cube does not cover.

    Notes
    -----
    See :func:`lift_xr.pointspread.estimate_point_spread`. Up to 16,384 cells are looked at, in
    nine places of larger scenes.
    """
    cube, mosaic = expect_hsi(hsi, bad_bands=bad_bands), expect_msi(msi)
    expect_one_time(mosaic)
    expect_aligned(cube, mosaic)
    given = estimate_srf(cube, mosaic, bad_bands=bad_bands) if srf is None else srf
    response = match_bands(SRF.of(given), mosaic).sample(cube).to_numpy()
    ratio = compare(cube, mosaic).ratio
    margin = -(-reach_of(ratio) // ratio)
    places = draw_places(as_ordered(cube, mosaic), mosaic, ratio=ratio, margin=margin)
    with one_blas_thread():
        found = estimate_point_spread([each.through(response) for each in places], ratio)
    if found is None:
        raise GridError(
            f"fewer than {FEWEST_CELLS} cells of hsi have data and lie, with all their neighbours, "
            "where msi has data, or one of their bands has no contrast. hsi: "
            f"{Grid.of(cube).describe()}; msi: {Grid.of(mosaic).describe()}. Pass psf=, if it is "
            "known"
        )
    down, along = (np.arange(side) - side // 2 for side in found.kernel.shape)
    return xr.DataArray(
        found.kernel,
        dims=("y", "x"),
        coords={"y": down, "x": along},
        name="psf",
        attrs=told_of(found) | {"ratio": ratio},
    )


def _labelled(
    responses: npt.NDArray[np.float64],
    correlation: npt.NDArray[np.float64],
    cube: xr.DataArray,
    mosaic: xr.DataArray,
) -> xr.DataArray:
    wavelength = cube["wavelength"].to_numpy()
    coords = {
        "msi_band": [str(band) for band in mosaic["band"].to_numpy().tolist()],
        "band": cube["band"].to_numpy(),
        "wavelength": ("band", wavelength, {"units": "nm"}),
        "msi_wavelength": ("msi_band", responses @ wavelength, {"units": "nm"}),
        "correlation": ("msi_band", correlation),
    }
    return xr.DataArray(responses, dims=("msi_band", "band"), coords=coords, name="estimated")


def _expect_spectrum(cube: xr.DataArray, smoothness: float | None) -> None:
    if cube.sizes["band"] < 3:
        raise SpectralError(
            f"hsi has {cube.sizes['band']} bands; expected 3 or more to tell where the MSI looks. "
            "Pass srf=SRF.sensor(...) instead of estimating it"
        )
    if smoothness is not None and not smoothness > 0:
        raise ValueError(
            f"smoothness is {smoothness!r}; expected a number above 0, such as 1e-3, or None"
        )


def _too_little(
    coarse: npt.NDArray[np.float32],
    fine: npt.NDArray[np.float32],
    cube: xr.DataArray,
    mosaic: xr.DataArray,
) -> ValueError:
    """Say which of the two is missing: cells, or contrast in them."""
    known = int((np.isfinite(coarse).all(axis=0) & np.isfinite(fine).all(axis=0)).sum())
    if known >= 2 * FEWEST:
        return SpectralError(
            f"hsi or msi has no contrast in the {known} cells they share; expected values that "
            "differ, since the response is found from them. Pass srf=SRF.sensor(...)"
        )
    return GridError(
        f"hsi and msi share {known} cells with data in all bands; expected {2 * FEWEST} or more to "
        f"estimate the response from. hsi: {Grid.of(cube).describe()}; msi: "
        f"{Grid.of(mosaic).describe()}. Pass srf=SRF.sensor(...)"
    )


def _warn_of_weak(estimate: xr.DataArray) -> None:
    weak = estimate["correlation"] < WEAK
    if weak.any():
        pairs = ", ".join(
            f"{band} {value:.2f}"
            for band, value in zip(
                estimate["msi_band"].to_numpy()[weak].tolist(),
                estimate["correlation"].to_numpy()[weak].tolist(),
                strict=True,
            )
        )
        warn_user(
            f"the hsi explains little of msi bands {pairs} (correlation); expected {WEAK} or more. "
            "Check the registration, or pass srf=SRF.sensor(...)"
        )
