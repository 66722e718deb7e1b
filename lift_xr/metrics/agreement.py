"""What can be checked without a truth: a fused scene seen again by the two sensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from lift_xr.beside import as_ordered, expect_aligned
from lift_xr.degrade import blur, chosen_kernel, decimate
from lift_xr.errors import GridError, SpectralError
from lift_xr.grid import Grid, compare, origin_in_pixels
from lift_xr.matching import match_bands
from lift_xr.metrics.pair import expect_pair
from lift_xr.metrics.textbook import angles, relative
from lift_xr.metrics.windows import (
    FLAT,
    Plane,
    level,
    mean_of,
    mean_over_bands,
    square,
    tally,
)
from lift_xr.scene import expect_hsi, expect_msi
from lift_xr.srf import SRF, apply

Scene = xr.DataArray | xr.Dataset


def msi_agreement(fused: Scene, msi: Scene, srf: Any) -> xr.Dataset:
    """Compare a fused scene, seen through a response, with the mosaic it was made from.

    Parameters
    ----------
    fused : (band, y, x)
        With wavelengths. NaN is left out.
    msi : (band, y, x)
        On the grid of ``fused``, one acquisition; in its units, or ``rmse`` means nothing.
    srf
        Whatever ``SRF.of`` takes: a sensor's name, an SRF, a matrix (msi_band, band).

    Returns
    -------
    rmse : (band,), in the units of ``fused``, float64
    correlation : (band,), -1 to 1, float64
        Pearson's, which gains and offsets do not change. NaN where one of the two is flat.
    pixels : (band,), int64
        How many were compared. All lazy; every block is read once and let go.

    Raises
    ------
    GridError, SpectralError, LayoutError
        Grids that differ; bands that are not those of the response, or that it needs and
        ``fused`` lacks.

    Notes
    -----
    A high agreement does not prove the spectra right: many spectra look alike to the MSI.

    Examples
    --------
    >>> import lift_xr
    >>> scene = lift_xr.synthetic.scene(shape=(320, 320), ratio=20)
    >>> found = msi_agreement(scene.truth, scene.msi / 255, scene.srf)
    >>> bool((found.correlation > 0.9).all())
    True
    """
    lifted, mosaic = expect_hsi(fused, name="fused", bad_bands="keep"), expect_msi(msi)
    response = match_bands(SRF.of(srf), mosaic)
    seen = apply(response.sample(lifted), lifted)
    _expect_one_grid(lifted, mosaic)
    labels = seen["band"]
    seen, mosaic = expect_pair(_bare(seen, labels), _bare(mosaic, labels))
    maps = {"square": square, "one": _first, "other": level} | {
        "one_one": _first_squared,
        "other_other": _level_squared,
        "product": _product,
    }
    sums = tally(seen, mosaic, xr.DataArray(1.0), maps=maps, margin=0)
    return xr.Dataset(
        {
            "rmse": mean_of(sums, "square") ** 0.5,
            "correlation": _correlation(sums),
            "pixels": sums["count"].sel(score="square", drop=True).astype("int64"),
        }
    )


def hsi_agreement(
    fused: Scene,
    hsi: Scene,
    *,
    psf: str | npt.ArrayLike = "gaussian",
    sigma: float | None = None,
    half_width: int | None = None,
) -> xr.Dataset:
    """Compare a fused scene, blurred and averaged to the cube's pixels, with the cube.

    Parameters
    ----------
    fused : (band, y, x)
        The scene; NaN is left out.
    hsi : (band, y, x)
        The cube, in the units of ``fused``. Its pixels are whole numbers of those of ``fused``,
        and need not cover the same ground; its bands are at least those of ``fused``.
    psf, sigma, half_width
        As in ``degrade``: by default a Gaussian as wide at half maximum as one pixel of the cube.

    Returns
    -------
    rmse : (band,), in the units of the cube, float64
    sam : (), degrees, float64
    ergas : (), percent, float64
    pixels : (band,), int64
        Pixels of the cube that were compared: those that ``fused`` covers without a gap. All lazy.

    Raises
    ------
    GridError, SpectralError
        Grids that do not fit one another; bands that the cube lacks.

    Notes
    -----
    What lies beyond the borders is not known: there, the PSF is cut and its weights raised.

    Examples
    --------
    >>> import lift_xr
    >>> scene = lift_xr.synthetic.scene(shape=(320, 320), ratio=20)
    >>> found = hsi_agreement(scene.truth, scene.hsi)
    >>> bool(found.sam < 3)
    True
    """
    fine = expect_hsi(fused, name="fused", bad_bands="keep")
    cube = _with_bands_of(fine, expect_hsi(hsi, bad_bands="keep"))
    cube = as_ordered(cube, fine)
    expect_aligned(cube, fine)
    ratio = compare(cube, fine).ratio
    kernel, _ = chosen_kernel(psf, ratio, sigma=sigma, half_width=half_width)
    inside, covered = _shared(fine, cube, ratio)
    seen = decimate(blur(fine, kernel).isel(inside), ratio=ratio)
    seen, cube = expect_pair(*(_bare(each, fine["band"]) for each in (seen, cube.isel(covered))))
    maps = {"square": square, "level": level}
    sums = tally(seen, cube, xr.DataArray(1.0), maps=maps, spectra=angles, margin=0)
    error = mean_of(sums, "square") ** 0.5
    return xr.Dataset(
        {
            "rmse": error,
            "sam": mean_over_bands(sums, "angle").assign_attrs(units="degree"),
            "ergas": (100 / ratio * relative(error, mean_of(sums, "level"))).assign_attrs(
                units="percent"
            ),
            "pixels": sums["count"].sel(score="square", drop=True).astype("int64"),
        }
    )


def _expect_one_grid(fused: xr.DataArray, msi: xr.DataArray) -> None:
    sizes = [tuple(each.sizes[dim] for dim in ("y", "x")) for each in (fused, msi)]
    if sizes[0] != sizes[1]:
        raise GridError(
            f"fused has {sizes[0][0]} x {sizes[0][1]} pixels (y, x) and msi {sizes[1][0]} x "
            f"{sizes[1][1]}; expected the same pixels. Use msi = msi.sel(y=fused.y, x=fused.x)"
        )


def _bare(scene: xr.DataArray, bands: xr.DataArray) -> xr.DataArray:
    """Keep pixels and centres; name the bands alike, so that no label stands in the way."""
    kept = {dim: scene[dim] for dim in ("y", "x") if dim in scene.coords}
    plain = scene.drop_vars([name for name in scene.coords if name not in kept])
    return plain.assign_coords(band=bands.to_numpy())


def _with_bands_of(fine: xr.DataArray, cube: xr.DataArray) -> xr.DataArray:
    """Find the bands of the fused scene in the cube, by wavelength."""
    wanted, found = (each["wavelength"].to_numpy() for each in (fine, cube))
    apart = np.abs(wanted[:, None] - found)
    if (apart.min(axis=1) > 0.01).any():
        lost = wanted[apart.min(axis=1) > 0.01]
        raise SpectralError(
            f"hsi has no band at {', '.join(f'{each:g}' for each in lost[:5])} nm, where fused has "
            f"one ({len(lost)} of {len(wanted)} bands); expected the cube that fused was made "
            "from. Use fused = fused.sel(band=[...]) with the bands of both"
        )
    return cube.isel(band=apart.argmin(axis=1))


def _shared(
    fine: xr.DataArray, cube: xr.DataArray, ratio: int
) -> tuple[dict[str, slice], dict[str, slice]]:
    """Find the pixels of both on the ground they share, in whole pixels of the cube."""
    inside, covered = {}, {}
    starts = origin_in_pixels(Grid.of(cube), Grid.of(fine))
    for dim, start in zip(("y", "x"), map(round, starts), strict=True):
        first = max(0, -(start // ratio))
        last = min(cube.sizes[dim], (fine.sizes[dim] - start) // ratio)
        if last <= first:
            raise GridError(
                f"fused covers no whole pixel of hsi along {dim}; expected one at least, "
                f"{ratio} pixels of fused. hsi: {Grid.of(cube).describe()}; fused: "
                f"{Grid.of(fine).describe()}. Pass a larger part of fused"
            )
        covered[dim] = slice(first, last)
        inside[dim] = slice(start + first * ratio, start + last * ratio)
    return inside, covered


def _correlation(sums: xr.Dataset) -> xr.DataArray:
    """Pearson's correlation from means of values, squares and products."""
    one, other = mean_of(sums, "one"), mean_of(sums, "other")
    spreads = [_spread(mean_of(sums, "one_one"), one), _spread(mean_of(sums, "other_other"), other)]
    joint = mean_of(sums, "product") - one * other
    return (joint / (spreads[0] * spreads[1]) ** 0.5).clip(-1, 1)


def _spread(squares: xr.DataArray, mean: xr.DataArray) -> xr.DataArray:
    """Variance; NaN where it is no more than the rounding of a flat band."""
    variance = squares - mean**2
    return variance.where(variance > FLAT * squares)


def _first(estimate: Plane, reference: Plane, *, margin: int, top: float) -> Plane:
    return level(reference, estimate, margin=margin, top=top)


def _first_squared(estimate: Plane, reference: Plane, *, margin: int, top: float) -> Plane:
    return _first(estimate, reference, margin=margin, top=top) ** 2


def _level_squared(estimate: Plane, reference: Plane, *, margin: int, top: float) -> Plane:
    squared: Plane = level(estimate, reference, margin=margin, top=top) ** 2
    return squared


def _product(estimate: Plane, reference: Plane, *, margin: int, top: float) -> Plane:
    del margin, top
    return estimate * reference
