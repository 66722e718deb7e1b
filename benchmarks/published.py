"""The protocol behind the published tables, step by step as HyperBench's code does it.

For figures that can be laid beside those of SpectraLift (arXiv 2507.13339) and HyperBench (arXiv
2605.21671), and for nothing else: the wavelengths are assumed, the blur darkens the borders, and
some of the kernels are not what they are called. ``lift_xr.degrade`` is for one's own scenes.

Facts from github.com/ritikgshah/HyperBench (MIT), ``src/hyperbench`` at 359ee10, and
github.com/ritikgshah/SpectraLift (MIT), ``SpectraLift_python/utils.py`` at a802ecb.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.signal
import xarray as xr
from numpy.typing import NDArray

from lift_xr import SRF, score
from lift_xr import psf as psfs
from lift_xr.threads import one_blas_thread

Floats = NDArray[np.float32]
Axis = Literal["papers", "own"]
Kernels = Literal["published", "right"]

# Lower edge, upper edge and centre of each band in nm, by number of bands: IKONOS panchromatic,
# IKONOS colours, the same with near infrared, WorldView-2, WorldView-3. HyperBench has no case of
# one band; SpectraLift has.
IKONOS = ((421, 539, 480), (480, 624, 552), (602, 729, 666), (713, 893, 803))
BANDS: dict[int, tuple[tuple[int, int, int], ...]] = {
    1: ((409, 1048, 729),),
    3: IKONOS[:3],
    4: IKONOS,
    8: (
        (396, 458, 427),
        (442, 515, 478),
        (506, 586, 546),
        (584, 632, 608),
        (624, 694, 659),
        (699, 749, 724),
        (765, 901, 833),
        (856, 1043, 949),
    ),
    16: (
        (397, 454, 426),
        (445, 517, 481),
        (507, 586, 547),
        (580, 629, 605),
        (626, 696, 661),
        (698, 749, 724),
        (765, 899, 832),
        (857, 1039, 948),
        (1184, 1235, 1210),
        (1546, 1598, 1572),
        (1636, 1686, 1661),
        (1702, 1759, 1730),
        (2137, 2191, 2164),
        (2174, 2232, 2203),
        (2228, 2292, 2260),
        (2285, 2373, 2329),
    ),
}
WIDTHS_PER_SIGMA = 4.2  # a band's Gaussian is as wide as its edges are apart, over this
HSI_SNR = {4: 35.0, 8: 30.0, 16: 25.0, 32: 20.0}  # dB, by ratio
MSI_SNR = 40.0
HSI_SEED, MSI_SEED = 42, 43
# Ratio and number of MSI bands of the eight cases that the tables have for each PSF.
GRID = ((4, 4), (8, 4), (16, 4), (32, 4), (8, 1), (8, 3), (8, 8), (8, 16))


@dataclass(frozen=True)
class Case:
    """One row of the published tables, before any method has seen it.

    Parameters
    ----------
    reference, msi
        (band, y, x), float32; the reference is in 0-1, the MSI is noisy.
    hsi
        (band, y, x), float32, noisy: some values are negative.
    srf
        (msi_band, band), float32, rows summing to one.
    wavelength
        (band,), nm: what the response was sampled on.
    ratio
        MSI pixels per HSI pixel.
    hsi_snr, msi_snr
        In dB.
    """

    reference: Floats
    hsi: Floats
    msi: Floats
    srf: Floats
    wavelength: NDArray[np.float64]
    ratio: int
    hsi_snr: float
    msi_snr: float


def case(
    cube: xr.DataArray | Floats,
    *,
    ratio: int,
    msi_bands: int,
    psf: str = "gaussian",
    axis: Axis = "papers",
    kernels: Kernels = "published",
    msi_snr: float = MSI_SNR,
    hsi_seed: int = HSI_SEED,
    msi_seed: int = MSI_SEED,
) -> Case:
    """Degrade a cube the published way, or with one of two things put right.

    Parameters
    ----------
    cube : (band, y, x)
        In any unit, without NaN. Cropped to a multiple of the ratio, at the end, before all else.
    ratio, msi_bands, psf
        One of the ratios 4, 8, 16 and 32; one of 1, 3, 4, 8 and 16; a name of ``lift_xr.psf``.
    axis
        ``"papers"`` spreads the bands evenly over the range of the MSI, as published; ``"own"``
        takes the ``wavelength`` of the cube, which must cover the MSI's bands.
    kernels
        ``"published"``, or ``"right"``: an Airy pattern that is one, for example.
    msi_snr
        Noise of the MSI, in dB; the tables have one.
    hsi_seed, msi_seed
        Of the noise.
    """
    values = np.asarray(cube, dtype="float32")
    _, height, width = values.shape
    values = values[:, : height // ratio * ratio, : width // ratio * ratio]
    if not np.isfinite(values).all():
        raise ValueError(
            f"cube has {int((~np.isfinite(values)).sum())} values that are not finite; the "
            "published protocol expects none. Choose a part, as in cube.isel(y=slice(0, 64))"
        )
    reference = normalised(values)
    wavelength = assumed_wavelength(msi_bands, len(values)) if axis == "papers" else own(cube)
    srf = assumed_srf(msi_bands, len(values)) if axis == "papers" else own_srf(msi_bands, cube)
    seen = reference  # a delta gives every value back, and takes its time
    if psf != "delta":
        seen = blurred(reference, psfs.kernel(psf, published=kernels == "published"))
    coarse = block_means(seen, ratio)
    with one_blas_thread():  # a product rounds as its threads say; networks tell last bits apart
        colours = np.tensordot(srf, reference, axes=1)
    return Case(
        reference=reference,
        hsi=noisy(coarse, snr=HSI_SNR[ratio], seed=hsi_seed),
        msi=noisy(colours, snr=msi_snr, seed=msi_seed),
        srf=srf,
        wavelength=wavelength.astype("float64"),
        ratio=ratio,
        hsi_snr=HSI_SNR[ratio],
        msi_snr=msi_snr,
    )


def scores(estimate: Floats, reference: Floats) -> dict[str, float]:
    """Score a cube (band, y, x), clipped to 0-1 first; the names are the columns of the tables."""
    dims = ("band", "y", "x")
    found = score(
        xr.DataArray(np.clip(estimate, 0, 1), dims=dims),
        xr.DataArray(reference, dims=dims),
        ratio=4,
        variant="sewar",
    )
    return {str(name).upper(): float(value) for name, value in found.data_vars.items()}


def normalised(cube: Floats) -> Floats:
    """Scale to 0-1 between the 1st and the 99th percentile of all bands together, clipped."""
    low, high = np.percentile(cube, [1.0, 99.0])
    scaled = (np.clip(cube, low, high) - low) / max(float(high - low), 1e-12)
    return scaled.astype("float32")


def assumed_srf(msi_bands: int, bands: int) -> Floats:
    """Make an SRF as if the bands lay evenly over the range of the MSI: (msi_band, band)."""
    lower, upper, centre = np.array(BANDS[msi_bands], "float32").T[:, :, None]
    wavelength = assumed_wavelength(msi_bands, bands)
    response = np.exp(-0.5 * ((wavelength - centre) / ((upper - lower) / WIDTHS_PER_SIGMA)) ** 2)
    return (response / response.sum(axis=1, keepdims=True)).astype("float32")


def assumed_wavelength(msi_bands: int, bands: int) -> Floats:
    """Spread bands evenly from the lowest to the highest edge of the MSI's: (band,), nm."""
    lower, upper, _ = np.array(BANDS[msi_bands], "float32").T
    return np.linspace(lower.min(), upper.max(), bands, dtype="float32")


def own_srf(msi_bands: int, cube: xr.DataArray | Floats) -> Floats:
    """Sample the same Gaussians at the cube's own wavelengths: (msi_band, band).

    Raises ``SpectralError`` where the cube does not cover a band.
    """
    assert isinstance(cube, xr.DataArray), type(cube)
    lower, upper, centre = np.array(BANDS[msi_bands], "float64").T
    fwhm = (upper - lower) / WIDTHS_PER_SIGMA * 2 * np.sqrt(2 * np.log(2))
    return SRF.gaussian(centre, fwhm).sample(cube).to_numpy().astype("float32")


def own(cube: xr.DataArray | Floats) -> NDArray[np.float64]:
    """Wavelengths of a cube that has them."""
    assert isinstance(cube, xr.DataArray), type(cube)
    return cube["wavelength"].to_numpy().astype("float64")


def blurred(cube: Floats, kernel: NDArray[np.float64]) -> Floats:
    """Convolve each band with the kernel, zeros outside."""
    kernel32 = kernel.astype("float32")
    return np.stack([scipy.signal.convolve2d(band, kernel32, mode="same") for band in cube])


def block_means(cube: Floats, ratio: int) -> Floats:
    """Average blocks of ``ratio`` pixels: OpenCV's INTER_AREA at a whole ratio."""
    bands, height, width = cube.shape
    blocks = cube.reshape(bands, height // ratio, ratio, width // ratio, ratio)
    return blocks.mean(axis=(2, 4), dtype="float64").astype("float32")


def noisy(cube: Floats, *, snr: float, seed: int) -> Floats:
    """Add white noise band by band, drawn in the order (y, x, band)."""
    bands, height, width = cube.shape
    drawn = np.random.default_rng(seed).normal(size=(height, width, bands)).astype("float32")
    deviation = np.sqrt(np.mean(cube**2, axis=(1, 2)) / 10 ** (snr / 10))
    noise = drawn.transpose(2, 0, 1) * deviation[:, None, None]
    return (cube + noise).astype("float32")
