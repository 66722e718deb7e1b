"""Maps of scores, of pixels and of sliding windows, added up block by block.

A block is read once for all scores that are asked for, so nothing of it has to wait in memory. The
scene is widened by NaN: windows that reach beyond it drop out like those that meet nodata. Windows
are summed directly, since a running sum would carry NaN along the row, and rounding with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
import scipy.ndimage
import xarray as xr
from numpy.typing import NDArray

from lift_xr.afresh import made_afresh
from lift_xr.windows import Spans, spans_of, windows

Plane = NDArray[np.float64]
Compare = Callable[..., Plane]
"""Makes a map of the pixels inside from two planes (y, x) with ``margin=`` pixels around them.

``top=`` is the peak of the reference.
"""
CompareSpectra = Callable[[NDArray[np.floating], NDArray[np.floating]], Plane]
"""Makes one value a pixel from two arrays (..., band)."""

FLAT = 1e-13  # a variance below this part of the mean square is the rounding of a flat window


def tally(
    estimate: xr.DataArray,
    reference: xr.DataArray,
    top: xr.DataArray,
    *,
    maps: Mapping[str, Compare],
    spectra: CompareSpectra | None = None,
    margin: int,
) -> xr.Dataset:
    """Add up maps of scores over y and x, leaving out NaN.

    Parameters
    ----------
    estimate, reference : (..., band, y, x)
        On one grid.
    top : () or (..., band)
        Handed to the maps.
    maps
        By name.
    spectra
        A map of another kind, called ``"angle"``: its sums are in the first band.
    margin
        How far the maps look sideways, in pixels.

    Returns
    -------
    total, count : (..., band, score), float64
        Lazy when either input is.
    """
    names = [*maps, "angle"] if spectra else [*maps]
    block = partial(tally_block, maps=tuple(maps.values()), spectra=spectra, margin=margin)
    dims = ("band", "y", "x")
    sums = xr.apply_ufunc(
        _tally,
        estimate.transpose(..., *dims),
        reference.transpose(..., *dims),
        top.expand_dims(band=estimate["band"]) if "band" not in top.dims else top,
        input_core_dims=[dims, dims, ("band",)],
        output_core_dims=[("band", "score", "part")],
        kwargs={"block": block, "margin": margin, "scores": len(names)},
        dask="allowed",
    ).assign_coords(score=names)
    return xr.Dataset({"total": sums.isel(part=0), "count": sums.isel(part=1)})


def _tally(
    estimate: Any,
    reference: Any,
    top: Any,
    *,
    block: Callable[..., Plane],
    margin: int,
    scores: int,
) -> Any:
    """Tally arrays (..., band, y, x), of numpy or dask: (..., band, score, 2)."""
    lead = estimate.shape[:-2]
    if not any(isinstance(each, da.Array) for each in (estimate, reference, top)):
        peaks = np.broadcast_to(top, lead)[..., None, None]
        return block(estimate, reference, peaks).reshape(*lead, scores, 2)
    chunks = _chunks(estimate, reference)
    wide = [spans_of(along, halo=margin) for along in chunks[-2:]]
    lent = [windows(da.asarray(each).rechunk({-3: -1}), *wide) for each in (estimate, reference)]
    if isinstance(top, da.Array):
        top = made_afresh(top)  # of the same blocks, which would all wait in memory for it
    peaks = da.broadcast_to(da.asarray(top), lead).rechunk(chunks[:-2])[..., None, None]
    rows, columns = lent[0].numblocks[-2:]
    sums = da.map_blocks(
        block,
        *lent,
        peaks,
        missing=_missing(chunks[-2:], wide, margin),
        chunks=(*chunks[:-2], (1,) * rows, (2 * scores,) * columns),
        meta=np.empty((0,) * estimate.ndim),
    )
    each = [sums[..., part :: 2 * scores].sum(axis=(-2, -1)) for part in range(2 * scores)]
    return da.stack(each, axis=-1).reshape(*lead, scores, 2)


def _missing(
    chunks: tuple[tuple[int, ...], ...], wide: Sequence[Spans], margin: int
) -> tuple[Spans, ...]:
    """How much of the margin around each block lies outside the scene: before, and behind."""
    return tuple(
        tuple(
            (margin - start + first, margin - last + stop)
            for (start, stop), (first, last) in zip(spans_of(along), spans, strict=True)
        )
        for along, spans in zip(chunks, wide, strict=True)
    )


def _chunks(estimate: Any, reference: Any) -> tuple[tuple[int, ...], ...]:
    """Chunks for both: those of the first that has some, all bands in one."""
    known = estimate if isinstance(estimate, da.Array) else reference
    bands = (known.shape[-3],)
    return (*known.chunks[:-3], bands, *known.chunks[-2:])


def tally_block(
    estimate: NDArray[np.floating],
    reference: NDArray[np.floating],
    top: NDArray[np.floating],
    *,
    maps: tuple[Compare, ...],
    spectra: CompareSpectra | None,
    margin: int,
    missing: tuple[Spans, Spans] | None = None,
    block_id: tuple[int, ...] = (),
) -> Plane:
    """Sum and count of each map over a block: (..., band, 1, 2 * score).

    ``missing`` says how much of the margins each block lacks, along y and x; without, it is all.
    """
    lacks = ((margin,) * 2,) * 2
    if missing is not None:
        lacks = missing[0][block_id[-2]], missing[1][block_id[-1]]
    around = [(0, 0)] * (estimate.ndim - 2) + list(lacks)
    estimate, reference = (
        np.pad(each, around, constant_values=np.nan) for each in (estimate, reference)
    )
    scores = len(maps) + (spectra is not None)
    out = np.zeros((*estimate.shape[:-2], 1, 2 * scores))
    for plane in np.ndindex(estimate.shape[:-2]):
        pair = estimate[plane].astype("float64"), reference[plane].astype("float64")
        for number, compare in enumerate(maps):
            values = compare(*pair, margin=margin, top=float(top[plane].item()))
            out[plane][0, 2 * number :][:2] = np.nansum(values), np.isfinite(values).sum()
    if spectra is not None:
        cubes = (np.moveaxis(inside(each, margin), -3, -1) for each in (estimate, reference))
        values = spectra(*cubes)  # (..., y, x)
        sums = np.stack([np.nansum(values, axis=(-2, -1)), np.isfinite(values).sum((-2, -1))], -1)
        out[..., 0, 0, -2:] = sums
    return out


def inside(values: NDArray[np.floating], margin: int) -> NDArray[np.floating]:
    """Take off the margins of (..., y, x)."""
    height, width = values.shape[-2:]
    return values[..., margin : height - margin, margin : width - margin]


def mean_of(sums: xr.Dataset, score: str) -> xr.DataArray:
    """Mean of one score in each band: (..., band); NaN where there was nothing to score."""
    chosen = sums.sel(score=score, drop=True)
    return chosen["total"] / chosen["count"].where(chosen["count"] > 0)


def mean_over_bands(sums: xr.Dataset, score: str) -> xr.DataArray:
    """Mean of one score in all bands together: (...)."""
    return mean_of(sums.sum("band"), score)


def filtered(plane: Plane, weights: Plane, margin: int) -> Plane:
    """Weighted means of the windows around each pixel inside the margin.

    A window of even length n reaches n / 2 back and one less ahead.
    """
    rows = scipy.ndimage.correlate1d(plane, weights, axis=0, mode="constant")
    rows = rows[margin : len(plane) - margin]
    both: Plane = scipy.ndimage.correlate1d(rows, weights, axis=1, mode="constant")
    return both[:, margin : plane.shape[1] - margin]


def square(estimate: Plane, reference: Plane, *, margin: int, top: float) -> Plane:
    """Squared error of each pixel."""
    del top
    difference: Plane = inside(estimate, margin) - inside(reference, margin)
    return difference**2


def level(estimate: Plane, reference: Plane, *, margin: int, top: float) -> Plane:
    """Reference at each pixel that both have."""
    del top
    return np.where(np.isnan(inside(estimate, margin)), np.nan, inside(reference, margin))


def structural_similarity(
    estimate: Plane, reference: Plane, *, margin: int, top: float, weights: Plane
) -> Plane:
    """SSIM of each window: Wang et al. 2004, equation 13, with K1 = 0.01 and K2 = 0.03."""
    c1, c2 = (0.01 * top) ** 2, (0.03 * top) ** 2
    mean_e, mean_r = (filtered(each, weights, margin) for each in (estimate, reference))
    means = mean_e**2 + mean_r**2
    spread = filtered(estimate**2 + reference**2, weights, margin) - means
    joint = filtered(estimate * reference, weights, margin) - mean_e * mean_r
    return (2 * mean_e * mean_r + c1) / (means + c1) * (2 * joint + c2) / (spread + c2)


def universal_quality(
    estimate: Plane, reference: Plane, *, margin: int, top: float, window: int
) -> Plane:
    """Q of each window: Wang and Bovik 2002, equation 1; without spread only the means count."""
    del top
    weights = np.full(window, 1 / window)
    mean_e, mean_r = (filtered(each, weights, margin) for each in (estimate, reference))
    squares = filtered(estimate**2 + reference**2, weights, margin)
    means = mean_e**2 + mean_r**2
    spread = squares - means
    joint = filtered(estimate * reference, weights, margin) - mean_e * mean_r
    flat = spread <= FLAT * squares
    structure = np.divide(2 * joint, spread, out=np.ones_like(spread), where=~flat)
    likeness = np.divide(2 * mean_e * mean_r, means, out=np.ones_like(means), where=means != 0)
    return structure * likeness
