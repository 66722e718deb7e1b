"""All metrics at once: as the textbook has them, or as the published tables do."""

from __future__ import annotations

from functools import partial
from typing import Literal, get_args

import xarray as xr

from lift_xr.errors import SpectralError
from lift_xr.metrics import sewar, textbook
from lift_xr.metrics.pair import expect_pair
from lift_xr.metrics.windows import (
    Compare,
    level,
    mean_of,
    mean_over_bands,
    square,
    structural_similarity,
    tally,
    universal_quality,
)

Variant = Literal["textbook", "sewar"]
UNITS = {"rmse": "1", "psnr": "dB", "ssim": "1", "uiqi": "1", "ergas": "percent", "sam": "degree"}


def score(
    estimate: xr.DataArray | xr.Dataset,
    reference: xr.DataArray | xr.Dataset,
    *,
    ratio: float,
    data_range: float | None = None,
    variant: Variant = "textbook",
) -> xr.Dataset:
    """Score an estimate by all six metrics, one number each.

    Parameters
    ----------
    estimate, reference : (band, y, x), reflectance
        Cubes on one grid and one set of wavelengths. NaN marks values to leave out.
    ratio
        HSI pixel size over MSI pixel size, for ``ergas``.
    data_range
        As in ``psnr``: each band's own peak where it is not given, where ``lift-xr score`` takes 1
        for reflectance. Without it, the reference is read twice, for its peak first; either way few
        blocks are in memory at once, whatever the size of the cubes. ``"sewar"`` expects cubes in
        0-1.
    variant
        ``"textbook"``: the functions of this package; ``psnr``, ``ssim`` and ``uiqi`` are means
        over the bands. ``"sewar"``: what stands in the tables of SpectraLift and HyperBench, made
        with the package of that name, for comparison with them only.

    Returns
    -------
    rmse, psnr, ssim, uiqi, ergas, sam : (), float64
        Lazy when either input is lazy. ``.to_array().to_series()`` makes a table.

    Notes
    -----
    What ``"sewar"`` does otherwise. PSNR: of values truncated to 8 bits, one error for all bands.
    SSIM: of the same, in uniform windows of 11 pixels. UIQI: means where the formula needs sums,
    nearly always close to 1. ERGAS: as at a ratio of 4, whatever ``ratio`` is. SAM: arc cosine in
    float32.

    Examples
    --------
    >>> import numpy as np
    >>> truth = xr.DataArray(np.random.default_rng(0).random((2, 16, 16)), dims=("band", "y", "x"))
    >>> found = score(truth + 0.1, truth, ratio=4, data_range=1.0)
    >>> float(found.rmse.round(6)), float(found.psnr.round(6))
    (0.1, 20.0)
    """
    if variant not in get_args(Variant):
        raise SpectralError(
            f"variant is {variant!r}; expected 'textbook' or 'sewar'. "
            "Leave it out unless you compare with the published tables"
        )
    textbook.expect_ratio(ratio)  # in any variant, though "sewar" does not divide by it
    estimate, reference = expect_pair(estimate, reference)
    if variant == "sewar":
        found = _sewar(estimate.astype("float32"), reference.astype("float32"))
    else:
        found = _textbook(estimate, reference, ratio=ratio, data_range=data_range)
    values = {
        name: each.drop_vars(list(each.coords)).assign_attrs(units=UNITS[name])
        for name, each in found.items()
    }
    return xr.Dataset(values, attrs={"variant": variant, "ratio": ratio})


def _textbook(
    estimate: xr.DataArray, reference: xr.DataArray, *, ratio: float, data_range: float | None
) -> dict[str, xr.DataArray]:
    top = textbook.peak(reference, data_range=data_range, dim=("y", "x"))
    maps: dict[str, Compare] = {
        "square": square,
        "level": level,
        "ssim": partial(structural_similarity, weights=textbook.SSIM_WEIGHTS),
        "uiqi": partial(universal_quality, window=textbook.UIQI_WINDOW),
    }
    spectra = textbook.angles
    sums = tally(estimate, reference, top, maps=maps, spectra=spectra, margin=textbook.SSIM_REACH)
    error = mean_of(sums, "square") ** 0.5
    return {
        "rmse": mean_over_bands(sums, "square") ** 0.5,
        "psnr": textbook.decibels(error, top).mean("band"),
        "ssim": mean_of(sums, "ssim").mean("band"),
        "uiqi": mean_of(sums, "uiqi").mean("band"),
        "ergas": 100 / ratio * textbook.relative(error, mean_of(sums, "level")),
        "sam": mean_over_bands(sums, "angle"),
    }


def _sewar(estimate: xr.DataArray, reference: xr.DataArray) -> dict[str, xr.DataArray]:
    top = xr.DataArray(sewar.PEAK)
    maps: dict[str, Compare] = {
        "square": square,
        "level": level,
        "byte_square": sewar.byte_square,
        "ssim": sewar.byte_similarity,
        "uiqi": sewar.quality,
    }
    sums = tally(estimate, reference, top, maps=maps, spectra=sewar.angles, margin=5)
    error = mean_of(sums, "square") ** 0.5
    return {
        "rmse": mean_over_bands(sums, "square") ** 0.5,
        "psnr": textbook.decibels(mean_over_bands(sums, "byte_square") ** 0.5, top),
        "ssim": mean_of(sums, "ssim").mean("band"),
        "uiqi": mean_of(sums, "uiqi").mean("band"),
        "ergas": sewar.ERGAS_FACTOR * textbook.relative(error, mean_of(sums, "level")),
        "sam": mean_over_bands(sums, "angle"),
    }
