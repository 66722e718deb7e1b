"""The six metrics as their papers define them."""

from __future__ import annotations

from functools import partial

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lift_xr.errors import GridError
from lift_xr.metrics.pair import Dims, expect_pair
from lift_xr.metrics.windows import mean_of, structural_similarity, tally, universal_quality

SSIM_REACH = 5
SSIM_WEIGHTS = np.exp(-0.5 * (np.arange(-SSIM_REACH, SSIM_REACH + 1) / 1.5) ** 2)
SSIM_WEIGHTS /= SSIM_WEIGHTS.sum()
UIQI_WINDOW = 8


def rmse(
    estimate: xr.DataArray | xr.Dataset,
    reference: xr.DataArray | xr.Dataset,
    *,
    dim: Dims = ("y", "x"),
) -> xr.DataArray:
    r"""Root-mean-square error, in the units of the inputs.

    Parameters
    ----------
    estimate, reference : (band, y, x), reflectance
        Cubes on one grid and one set of wavelengths. NaN marks values to leave out.
    dim
        Dimensions to average over, as xarray takes them. The default leaves one value per band.

    Returns
    -------
    (band,), reflectance, float64
        Lazy when either input is lazy.

    Notes
    -----
    .. math:: \sqrt{\mathrm{mean}\,(x - r)^2}

    Examples
    --------
    >>> truth = xr.DataArray([[[0.2, 0.4]]], dims=("band", "y", "x"))
    >>> float(rmse(truth + 0.1, truth).item())
    0.1
    """
    estimate, reference = expect_pair(estimate, reference)
    return ((estimate - reference) ** 2).mean(dim, dtype="float64") ** 0.5


def psnr(
    estimate: xr.DataArray | xr.Dataset,
    reference: xr.DataArray | xr.Dataset,
    *,
    data_range: float | None = None,
    dim: Dims = ("y", "x"),
) -> xr.DataArray:
    r"""Peak signal-to-noise ratio in dB.

    Parameters
    ----------
    estimate, reference, dim
        As in ``rmse``.
    data_range
        The peak, in the units of the inputs: 1.0 for reflectance. By default the largest value of
        the reference along ``dim``, so each band has its own peak, whatever the estimate lacks.

    Returns
    -------
    (band,), dB, float64
        Infinite where the two are equal.

    Notes
    -----
    .. math:: 20 \log_{10} (\mathrm{peak} / \mathrm{rmse})

    Examples
    --------
    >>> truth = xr.DataArray([[[0.5, 1.0]]], dims=("band", "y", "x"))
    >>> float(psnr(truth + 0.1, truth).round(6).item())
    20.0
    """
    estimate, reference = expect_pair(estimate, reference)
    error = rmse(estimate, reference, dim=dim)
    return decibels(error, peak(reference, data_range=data_range, dim=dim))


def decibels(error: xr.DataArray, top: xr.DataArray) -> xr.DataArray:
    """Ratio of a peak to an error in dB."""
    found: xr.DataArray = 20 * xr.ufuncs.log10(top / error.where(error > 0, 1))
    return found.where(error != 0, np.inf).where(error.notnull())


def ssim(
    estimate: xr.DataArray | xr.Dataset,
    reference: xr.DataArray | xr.Dataset,
    *,
    data_range: float | None = None,
) -> xr.DataArray:
    """Mean structural similarity of each band, -1 to 1.

    Parameters
    ----------
    estimate, reference
        As in ``rmse``.
    data_range
        As in ``psnr``.

    Returns
    -------
    (band,), float64
        NaN where no window is free of missing values.

    Notes
    -----
    Wang et al. 2004 (doi 10.1109/TIP.2003.819861): Gaussian window of 11 x 11 pixels with sigma
    1.5, K1 0.01, K2 0.03, over windows that lie wholly inside.

    Examples
    --------
    >>> truth = xr.DataArray(np.random.default_rng(0).random((1, 16, 16)), dims=("band", "y", "x"))
    >>> float(ssim(truth, truth).round(6).item())
    1.0
    """
    estimate, reference = expect_pair(estimate, reference)
    top = peak(reference, data_range=data_range, dim=("y", "x"))
    compare = partial(structural_similarity, weights=SSIM_WEIGHTS)
    sums = tally(estimate, reference, top, maps={"ssim": compare}, margin=SSIM_REACH)
    return mean_of(sums, "ssim")


def uiqi(
    estimate: xr.DataArray | xr.Dataset,
    reference: xr.DataArray | xr.Dataset,
    *,
    window: int = UIQI_WINDOW,
) -> xr.DataArray:
    """Universal image quality index of each band, -1 to 1.

    Parameters
    ----------
    estimate, reference
        As in ``rmse``.
    window
        Side of the sliding window, in pixels.

    Returns
    -------
    (band,), float64
        NaN where no window is free of missing values.

    Notes
    -----
    Wang and Bovik 2002 (doi 10.1109/97.995823). In a window where neither image varies, only the
    means are compared.

    Examples
    --------
    >>> truth = xr.DataArray(np.random.default_rng(0).random((1, 16, 16)), dims=("band", "y", "x"))
    >>> float(uiqi(truth, truth).round(6).item())
    1.0
    """
    estimate, reference = expect_pair(estimate, reference)
    if window < 2:
        raise GridError(f"window is {window} pixels; expected at least 2. Pass one, as in window=8")
    compare = partial(universal_quality, window=window)
    top = xr.DataArray(1.0)
    sums = tally(estimate, reference, top, maps={"uiqi": compare}, margin=window // 2)
    return mean_of(sums, "uiqi")


def ergas(
    estimate: xr.DataArray | xr.Dataset, reference: xr.DataArray | xr.Dataset, *, ratio: float
) -> xr.DataArray:
    r"""Relative global error over all bands, in percent; 0 is perfect.

    Parameters
    ----------
    estimate, reference
        As in ``rmse``.
    ratio
        HSI pixel size over MSI pixel size.

    Returns
    -------
    (), percent, float64
        Infinite where a band of the reference has mean zero: leave such bands out.

    Notes
    -----
    Wald 2000, with the mean of each band of the reference, b running over the bands:

    .. math:: \frac{100}{ratio} \sqrt{\mathrm{mean}_b (\mathrm{rmse}_b / \mathrm{mean}_b)^2}

    Examples
    --------
    >>> truth = xr.DataArray([[[0.5, 0.5]], [[1.0, 1.0]]], dims=("band", "y", "x"))
    >>> float(ergas(truth * 1.1, truth, ratio=4).round(6).item())
    2.5
    """
    estimate, reference = expect_pair(estimate, reference)
    mean = reference.where(estimate.notnull()).mean(["y", "x"], dtype="float64")
    return 100 / expect_ratio(ratio) * relative(rmse(estimate, reference), mean)


def expect_ratio(ratio: float) -> float:
    """Return a ratio that can be divided by."""
    if not ratio > 0:
        raise GridError(
            f"ratio is {ratio} MSI pixels per HSI pixel; expected a number above 0. "
            "Pass the ratio of the pixel sizes, as in ratio=8"
        )
    return ratio


def relative(error: xr.DataArray, mean: xr.DataArray) -> xr.DataArray:
    """Root mean square over the bands of error over mean."""
    share = (error / mean.where(mean != 0)).where((mean != 0) | error.isnull(), np.inf)
    return (share**2).mean("band") ** 0.5


def sam(
    estimate: xr.DataArray | xr.Dataset,
    reference: xr.DataArray | xr.Dataset,
    *,
    dim: Dims = ("y", "x"),
) -> xr.DataArray:
    r"""Spectral angle, in degrees; 0 where the spectra have one shape.

    Parameters
    ----------
    estimate, reference
        As in ``rmse``. A pixel is compared over the bands that both have.
    dim
        Dimensions to average over; ``()`` gives the map (y, x). A spectrum of zeros has no
        direction: its angle is NaN and counts in no mean.

    Returns
    -------
    (), degrees, float64
        Lazy when either input is lazy.

    Notes
    -----
    Of unit vectors u and v, exact for small angles where the arc cosine is not (Kahan 2006):

    .. math:: 2 \arctan (|u - v| / |u + v|)

    Examples
    --------
    >>> truth = xr.DataArray([[[1.0]], [[1.0]]], dims=("band", "y", "x"))
    >>> other = xr.DataArray([[[0.0]], [[5.0]]], dims=("band", "y", "x"))
    >>> float(sam(truth, truth)), float(sam(other, truth).round(9))
    (0.0, 45.0)
    """
    estimate, reference = expect_pair(estimate, reference)
    values: xr.DataArray = xr.apply_ufunc(
        angles,
        estimate,
        reference,
        input_core_dims=[["band"], ["band"]],
        dask="parallelized",
        dask_gufunc_kwargs={"allow_rechunk": True},
        output_dtypes=["float64"],
    )
    return values.mean(dim)


def angles(estimate: NDArray[np.floating], reference: NDArray[np.floating]) -> NDArray[np.float64]:
    """Angles in degrees between the spectra of (..., x, band), a row at a time to save memory."""
    out = np.empty(estimate.shape[:-1])
    for row in np.ndindex(estimate.shape[:-2]):
        u, v = estimate[row].astype("float64"), reference[row].astype("float64")
        both = np.isfinite(u) & np.isfinite(v)
        u, v = _units(np.where(both, u, 0)), _units(np.where(both, v, 0))
        apart, along = np.linalg.norm(u - v, axis=-1), np.linalg.norm(u + v, axis=-1)
        out[row] = np.degrees(2 * np.arctan2(apart, along))
    return out


def _units(spectra: NDArray[np.float64]) -> NDArray[np.float64]:
    length = np.linalg.norm(spectra, axis=-1, keepdims=True)
    units = np.full_like(spectra, np.nan)
    np.divide(spectra, length, out=units, where=length > 0)
    return units


def peak(reference: xr.DataArray, *, data_range: float | None, dim: Dims) -> xr.DataArray:
    """Largest value of the reference, or what the caller says."""
    if data_range is None:
        top = reference.max(dim)
        return top.where(top > 0)
    if not data_range > 0:
        raise GridError(
            f"data_range is {data_range}; expected a peak above 0, in the units of the cubes. "
            "Pass data_range=1.0 for reflectance"
        )
    return xr.DataArray(float(data_range))
