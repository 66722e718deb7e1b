"""Wald's protocol: the HSI and the MSI that two sensors would have taken of a known scene.

``degrade`` is the steps in order: crop, blur, decimate and noise for the HSI; response and noise
for the MSI. Every step is lazy and gives the same pixels for any chunking.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, get_args

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr

from lift_xr import psf as psfs
from lift_xr.afresh import made_afresh
from lift_xr.errors import GridError, SpectralError
from lift_xr.grid import COUNTED
from lift_xr.margins import with_margin, without_margin
from lift_xr.noise import normals
from lift_xr.quantiles import quantiles
from lift_xr.scene import expect_hsi, expect_scene
from lift_xr.srf import SRF, apply

Boundary: TypeAlias = Literal["renormalise", "zero"]

FWHM = 2 * np.sqrt(2 * np.log(2))  # of a Gaussian, in sigmas
OUTSIDE = {"renormalise": np.nan, "zero": 0.0}
HSI_STREAM, MSI_STREAM = 0, 1


def degrade(
    truth: xr.DataArray | xr.Dataset,
    *,
    ratio: int,
    srf: Any,
    psf: str | npt.ArrayLike = "gaussian",
    sigma: float | None = None,
    half_width: int | None = None,
    published: bool = False,
    hsi_snr: float | None = None,
    msi_snr: float | None = None,
    seed: int = 0,
    boundary: Boundary = "renormalise",
) -> tuple[xr.DataArray, xr.DataArray]:
    """Degrade a scene to the pair that fusion should turn back into it.

    Parameters
    ----------
    truth : (band, y, x), reflectance
        With wavelengths, unless ``srf`` is a matrix. NaN is nodata. What is left over at the end of
        rows and columns, beyond a multiple of ``ratio``, is cut off: ``crop`` gives what is used.
    ratio
        HSI pixel size over MSI pixel size.
    srf
        Whatever ``SRF.of`` takes: a sensor's name, an SRF, a matrix (msi_band, band).
    psf
        A name of ``lift_xr.psf``, or a kernel (y, x) in MSI pixels. The mean over the HSI pixel
        comes on top, so the whole spread is this one convolved with a square of ``ratio`` pixels.
    sigma, half_width
        Of a named kernel, in MSI pixels, and refused with an array. By default a Gaussian that is
        as wide at half maximum as one HSI pixel, out to three sigmas.
    published
        Take the named kernel of the published tables: their formula (see ``lift_xr.psf``) and,
        where no ``sigma`` or ``half_width`` is given, theirs, 3.4 and 7 at every ratio. Their
        borders are ``boundary="zero"``.
    hsi_snr, msi_snr
        Signal to noise in dB, as in ``add_noise``, for which ``truth`` is read or made twice and
        not kept in memory; None adds no noise.
    seed
        Of the noise; the HSI and the MSI have streams of their own.
    boundary
        Of the blur, as in ``blur``.

    Returns
    -------
    hsi : (band, y, x), float32
        Lazy; ``y`` and ``x`` are centres of blocks of ``ratio`` pixels.
    msi : (band, y, x), float32
        Lazy; on the grid of ``truth``. Both have their recipe in ``attrs["degradation"]``, as JSON.

    Notes
    -----
    Wald, Ranchin and Mangolini 1997.

    The response is sampled at the wavelengths of ``truth``. The published tables spread the bands
    evenly over the range of the MSI whatever they are of, which would be wrong of one's own data,
    so it is no option here; ``benchmarks/published.py`` does it, to be compared with them.

    Examples
    --------
    >>> truth = xr.DataArray(np.ones((2, 8, 8), "float32"), dims=("band", "y", "x"))
    >>> hsi, msi = degrade(truth, ratio=4, srf=np.array([[0.5, 0.5]]))
    >>> hsi.shape, hsi.x.values, msi.shape
    ((2, 2, 2), array([2., 6.]), (1, 8, 8))
    """
    response = SRF.of(srf)
    fine = crop(_expect_truth(truth, response), ratio=ratio)
    kernel, told = chosen_kernel(
        psf, ratio, sigma=sigma, half_width=half_width, published=published
    )
    matrix = response.sample(fine)
    hsi = decimate(blur(fine, kernel, boundary=boundary), ratio=ratio)
    msi = apply(matrix, fine)
    if hsi_snr is not None:
        hsi = add_noise(hsi, snr=hsi_snr, seed=seed, stream=HSI_STREAM)
    if msi_snr is not None:
        msi = add_noise(msi, snr=msi_snr, seed=seed, stream=MSI_STREAM)
    recipe = {
        "ratio": ratio,
        **told,
        "boundary": boundary,
        "srf": response.name,
        "srf_bands": response.bands,
        "srf_digest": response.digest,
        "hsi_snr": hsi_snr,
        "msi_snr": msi_snr,
        "seed": seed,
    }
    return _labelled(hsi, fine, recipe), _labelled(msi, fine, recipe)


def crop(scene: xr.DataArray, *, ratio: int) -> xr.DataArray:
    """Cut off rows and columns at the end until both are multiples of ``ratio``."""
    _expect_ratio(ratio)
    sizes = {dim: scene.sizes[dim] // ratio * ratio for dim in ("y", "x")}
    if not all(sizes.values()):
        raise GridError(
            f"scene has {scene.sizes['y']} x {scene.sizes['x']} pixels (y, x); expected at least "
            f"{ratio} x {ratio}, one HSI pixel. Pass a smaller ratio, or a larger scene"
        )
    return scene.isel({dim: slice(size) for dim, size in sizes.items()})


def blur(
    scene: xr.DataArray, psf: npt.ArrayLike, *, boundary: Boundary = "renormalise"
) -> xr.DataArray:
    """Spread every pixel by a kernel.

    Parameters
    ----------
    scene : (band, y, x)
        NaN stays NaN; elsewhere the weight of a missing pixel goes to those that are there.
    psf : (y, x)
        Odd sides, summing to one.
    boundary
        What lies beyond the scene. ``"renormalise"``: missing pixels, so that a flat scene stays
        flat. ``"zero"``: black, as in the published tables, which darkens the borders.

    Returns
    -------
    (band, y, x), float32
        Lazy.
    """
    kernel = expect_kernel(psf)
    if boundary not in get_args(Boundary):
        raise GridError(
            f"boundary is {boundary!r}; expected 'renormalise' or 'zero'. "
            "Leave it out unless you compare with the published tables"
        )
    scene = expect_scene(scene)
    reach = kernel.shape[0] // 2, kernel.shape[1] // 2
    wide = with_margin(scene.data, reach=reach, fill=OUTSIDE[boundary])
    chunks = without_margin(wide, reach=reach)
    return scene.copy(
        data=wide.map_blocks(psfs.spread, psf=kernel, chunks=chunks, meta=_no_pixels(wide))
    )


def decimate(scene: xr.DataArray, *, ratio: int) -> xr.DataArray:
    """Average blocks of ``ratio`` by ``ratio`` pixels.

    Parameters
    ----------
    scene : (band, y, x)
        Cropped to a multiple of ``ratio`` first. A block with a missing pixel is missing.
    ratio
        Pixels a side.

    Returns
    -------
    (band, y, x), float32
        Lazy, on the grid of the blocks.
    """
    scene = crop(expect_scene(scene), ratio=ratio)
    edges = {dim: _multiples(scene.chunksizes[dim], ratio) for dim in ("y", "x")}
    fine = scene.chunk(edges).data
    ends = [tuple(width // ratio for width in widths) for widths in fine.chunks[-2:]]
    means = fine.map_blocks(
        block_means, ratio=ratio, chunks=(*fine.chunks[:-2], *ends), meta=_no_pixels(fine)
    )
    return _on_coarse_grid(scene, ratio).copy(data=means)


def add_noise(scene: xr.DataArray, *, snr: float, seed: int = 0, stream: int = 0) -> xr.DataArray:
    """Add white Gaussian noise to each band.

    Parameters
    ----------
    scene : (band, y, x)
        NaN stays NaN.
    snr
        Mean square of the band over variance of the noise, in dB. The mean is over the whole scene,
        which is read or made twice, so that no block of it waits in memory for the mean.
    seed, stream
        The noise of a pixel follows from these, its band, row and column.

    Returns
    -------
    (band, y, x), float32
        Lazy. Not clipped: dark pixels may fall below zero.
    """
    if not np.isfinite(snr):
        raise SpectralError(
            f"snr is {snr} dB; expected a finite number. Pass snr=30, or add no noise at all"
        )
    scene = expect_scene(scene)
    # Of the same blocks, all of them would wait in memory for the last of the mean.
    apart = scene.copy(data=made_afresh(scene.data))
    power = (apart.astype("float64") ** 2).mean(["y", "x"], keepdims=True)
    # Sums over other chunks differ in their last bits, the noise must not.
    deviation = np.sqrt(power / 10 ** (snr / 10)).astype("float32")
    noisy = da.map_blocks(
        _noisy_block,
        scene.data,
        deviation.data,
        bands=scene.sizes["band"],
        key=(seed, stream),
        chunks=scene.chunks,
        meta=_no_pixels(scene.data),
    )
    return scene.copy(data=noisy)


def normalise(
    scene: xr.DataArray, *, percentiles: tuple[float, float] = (1.0, 99.0)
) -> xr.DataArray:
    """Scale to 0-1 between two percentiles of all bands together, and clip.

    Parameters
    ----------
    scene : (band, y, x)
        In any unit.
    percentiles
        Of all values that are there; exact, for which the whole scene is read twice.

    Returns
    -------
    (band, y, x), float32
        Lazy.
    """
    low, high = percentiles
    if not 0 <= low < high <= 100:
        raise SpectralError(
            f"percentiles are {low} and {high}; expected 0 <= low < high <= 100. "
            "Pass percentiles=(1, 99), for example"
        )
    scene = expect_scene(scene)
    limits = quantiles(scene.data, (low / 100, high / 100)).astype("float32")
    span = da.maximum(limits[1] - limits[0], np.float32(1e-12))
    return scene.copy(data=da.clip((scene.data - limits[0]) / span, 0, 1))


def block_means(block: npt.NDArray[np.float32], *, ratio: int) -> npt.NDArray[np.float32]:
    """Average blocks of ``ratio`` pixels, columns first: sums must have one order. (..., y, x)."""
    *lead, height, width = block.shape
    cells = block.reshape(*lead, height // ratio, ratio, width // ratio, ratio)
    sums = cells.sum(axis=-1, dtype="float64").sum(axis=-2)
    means: npt.NDArray[np.float32] = (sums / ratio**2).astype("float32")
    return means


def _noisy_block(
    block: npt.NDArray[np.float32],
    deviation: npt.NDArray[np.float32],
    *,
    bands: int,
    key: tuple[int, int],
    block_info: Any = None,
) -> npt.NDArray[np.float32]:
    where = [start for start, _ in block_info[0]["array-location"]]
    first = where[0] * bands + where[1] if len(where) == 4 else where[0]
    out = np.empty_like(block)
    for number, plane in enumerate(np.ndindex(block.shape[:-2])):
        drawn = normals(
            block.shape[-2:],
            plane=first + number,
            corner=(where[-2], where[-1]),
            seed=key[0],
            stream=key[1],
        )
        out[plane] = block[plane] + deviation[plane] * drawn
    return out


def _expect_truth(truth: xr.DataArray | xr.Dataset, srf: SRF) -> xr.DataArray:
    known = expect_scene(truth, name="truth") if srf.is_matrix else expect_hsi(truth, name="truth")
    # Centres that merely count pixels are a place that both results share.
    for dim in ("y", "x"):
        if known[dim].attrs.get("units") == COUNTED:
            known = known.assign_coords({dim: known[dim].drop_attrs()})
    return known


def _expect_ratio(ratio: Any) -> None:
    if isinstance(ratio, bool) or not isinstance(ratio, int | np.integer) or ratio < 1:
        meant = isinstance(ratio, float) and ratio >= 1 and ratio.is_integer()
        raise GridError(
            f"ratio is {ratio!r} MSI pixels per HSI pixel; expected a whole number, 1 or more. "
            f"Pass one, as in ratio={int(ratio) if meant else 8}"
        )


def chosen_kernel(
    psf: str | npt.ArrayLike,
    ratio: int,
    *,
    sigma: float | None = None,
    half_width: int | None = None,
    published: bool = False,
) -> tuple[psfs.Kernel, dict[str, Any]]:
    """Make the kernel that ``degrade`` is asked for, and what to write down about it."""
    if not isinstance(psf, str):
        _expect_no_width(sigma, half_width, published)
        kernel = expect_kernel(psf)
        return kernel, {"psf": kernel.tolist()}
    if sigma is None:
        sigma = psfs.PUBLISHED_SIGMA if published else float(ratio / FWHM)
    if half_width is None:
        half_width = psfs.PUBLISHED_HALF_WIDTH if published else int(np.ceil(3 * sigma))
    told = {"psf": psf, "sigma": sigma, "half_width": half_width, "published": published}
    return psfs.kernel(psf, sigma=sigma, half_width=half_width, published=published), told


def _expect_no_width(sigma: float | None, half_width: int | None, published: bool) -> None:
    """Refuse what an array says already."""
    asked = {"sigma": sigma, "half_width": half_width, "published": published or None}
    given = [name for name, value in asked.items() if value is not None]
    if given:
        raise GridError(
            f"{', '.join(given)} given with psf as an array; expected them with a name, because an "
            'array is the kernel itself. Pass a name, as in psf="gaussian", or leave them out'
        )


def expect_kernel(psf: npt.ArrayLike) -> psfs.Kernel:
    """The kernel as float64, refused where it has no centre or does not sum to one."""
    try:
        kernel = np.asarray(psf, dtype="float64")
    except (TypeError, ValueError):
        named = psf if psf in psfs.names() else "gaussian"
        found = repr(psf) if isinstance(psf, str) else f"a {type(psf).__name__} of something else"
        raise GridError(
            f"psf is {found}; expected an array (y, x) of numbers, in MSI pixels, that sums to 1. "
            f"Use psf=lift_xr.psf.kernel({named!r}, sigma=2.0, half_width=6)"
        ) from None
    if kernel.ndim != 2 or not all(side % 2 for side in kernel.shape):
        raise GridError(
            f"psf has shape {kernel.shape}; expected (y, x) with odd sides, so that there is a "
            "centre. Pad it with np.pad(psf, ...)"
        )
    if not abs(kernel.sum() - 1) < 1e-6:  # NaN fails too
        raise GridError(
            f"psf sums to {kernel.sum():g}; expected 1, so that a flat scene stays flat. "
            "Use psf = psf / psf.sum()"
        )
    return kernel


def _multiples(widths: Sequence[int], ratio: int) -> int | tuple[int, ...]:
    """Chunks of whole blocks: those given where they are, else the next size below."""
    if all(width % ratio == 0 for width in widths):
        return tuple(widths)
    return max(max(widths) // ratio, 1) * ratio


def _on_coarse_grid(scene: xr.DataArray, ratio: int) -> xr.DataArray:
    """Thin out a scene to one pixel a block, with the coordinates of the blocks."""
    coarse = scene.isel(y=slice(None, None, ratio), x=slice(None, None, ratio))
    centres = {
        dim: (dim, scene[dim].to_numpy().reshape(-1, ratio).mean(axis=1), scene[dim].attrs)
        for dim in ("y", "x")
    }
    coarse = coarse.assign_coords(centres)
    mapping = scene.coords.get("spatial_ref")
    if mapping is None or "GeoTransform" not in mapping.attrs:
        return coarse
    left, *steps = (float(number) for number in str(mapping.attrs["GeoTransform"]).split())
    dx, row, top, column, dy = steps
    numbers = (left, dx * ratio, row * ratio, top, column * ratio, dy * ratio)
    told = {**mapping.attrs, "GeoTransform": " ".join(f"{number!r}" for number in numbers)}
    return coarse.assign_coords(spatial_ref=mapping.assign_attrs(told))


def _labelled(made: xr.DataArray, truth: xr.DataArray, recipe: dict[str, Any]) -> xr.DataArray:
    attrs = {**truth.attrs, **made.attrs, "degradation": json.dumps(recipe)}
    return made.drop_attrs(deep=False).assign_attrs(attrs).rename(truth.name)


def _no_pixels(values: da.Array) -> npt.NDArray[np.float32]:
    return np.empty((0,) * values.ndim, "float32")
