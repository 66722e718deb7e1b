"""Pixels floor: ten point spread functions, and what one of them does to an image.

The ten are those of the SpectraLift papers (arXiv 2507.13339, 2605.21671). Three of their formulas
do not give what the name says: their ``airy`` is made of the modified Bessel function K1, their
``gabor`` has its wave sampled away, their ``kolmogorov`` is a transfer function used as an image.
The plain names stand for the right ones here; ``kernel(..., published=True)`` gives the tables'.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.ndimage
import scipy.special
from numpy.typing import NDArray

from lift_xr.errors import GridError

Kernel = NDArray[np.float64]
Formula = Callable[[Kernel, Kernel], Kernel]

PUBLISHED_SIGMA, PUBLISHED_HALF_WIDTH = 3.4, 7  # pixels, of the tables: the same at every ratio
MOST_HALF_WIDTH = 1024  # pixels: a kernel of 34 MB, beyond what any pair of images has
GAUSSIAN_HALF = np.sqrt(2 * np.log(2))  # where a Gaussian falls to one half, in sigmas
AIRY_HALF = 1.616339948310703  # where (2 J1(z) / z)^2 falls to one half
KOLMOGOROV_HALF = 1.4603503030690352  # where the transform of exp(-t^(5/3)) falls to one half


def kernel(
    name: str,
    *,
    sigma: float = PUBLISHED_SIGMA,
    half_width: int = PUBLISHED_HALF_WIDTH,
    published: bool = False,
) -> Kernel:
    """Point spread function on a square grid, summing to one.

    Parameters
    ----------
    name
        One of ``names()``.
    sigma
        Width in pixels: the standard deviation of ``gaussian``, and the length that every other
        formula is scaled by. The defaults of width and size are those of the published tables.
    half_width
        The kernel has ``2 * half_width + 1`` pixels a side.
    published
        Take the formulas behind the published tables instead of the right ones.

    Returns
    -------
    (y, x), float64
        Some are negative in places (``sinc``, ``gabor``).

    Examples
    --------
    >>> kernel("gaussian", sigma=1.0, half_width=1).round(3)
    array([[0.075, 0.124, 0.075],
           [0.124, 0.204, 0.124],
           [0.075, 0.124, 0.075]])
    """
    formulas = PUBLISHED if published else FORMULAS
    if name not in formulas:
        raise GridError(
            f"psf {name!r} is unknown; expected one of {', '.join(formulas)}. "
            'Choose one, as in psf="gaussian", or pass an array (y, x).'
        )
    _expect_size(sigma, half_width)
    y, x = np.mgrid[-half_width : half_width + 1, -half_width : half_width + 1] / sigma
    values = formulas[name](y, x)
    total = values.sum()
    if not abs(total) > 1e-12:
        raise GridError(
            f"weights of psf {name!r} sum to {total:g}; expected a sum to divide by. "
            f"Make it larger, as in half_width={int(np.ceil(3 * sigma))}"
        )
    values /= total
    return values


def names() -> tuple[str, ...]:
    """Names that ``kernel`` knows."""
    return tuple(FORMULAS)


def _expect_size(sigma: float, half_width: int) -> None:
    if not (np.isfinite(sigma) and sigma > 0):
        raise GridError(
            f"sigma is {sigma} pixels; expected a positive width. "
            "Pass one, as in sigma=3.4, or a psf of 'delta' for no blur."
        )
    if not 0 <= half_width <= MOST_HALF_WIDTH or half_width != int(half_width):
        raise GridError(
            f"half_width is {half_width} pixels; expected a whole number from 0 to "
            f"{MOST_HALF_WIDTH}. Pass about three sigmas, as in sigma=3.4 and half_width=7."
        )


def gaussian(y: Kernel, x: Kernel) -> Kernel:
    """Gaussian; ``y`` and ``x`` in sigmas here and below."""
    return np.exp(-(y**2 + x**2) / 2)


def kolmogorov(y: Kernel, x: Kernel) -> Kernel:
    """Long exposure through turbulence, as wide at half maximum as ``gaussian``.

    The zero-order Hankel transform of exp(-t^(5/3)) (Fried 1966, doi 10.1364/JOSA.56.001372).
    """
    radius, place = np.unique(np.hypot(y, x), return_inverse=True)
    t = np.linspace(0, 12, 4097)  # exp(-12^(5/3)) is 1e-27
    waves = scipy.special.j0(t * radius[:, None] * KOLMOGOROV_HALF / GAUSSIAN_HALF)
    profile: Kernel = np.trapezoid(waves * t * np.exp(-(t ** (5 / 3))), t, axis=-1)
    return profile[place].reshape(y.shape)


def kolmogorov_published(y: Kernel, x: Kernel) -> Kernel:
    """Use the transfer function's formula, exp(-r^(5/3)), in the image plane."""
    return np.exp(-(np.hypot(y, x) ** (5 / 3)))


def airy(y: Kernel, x: Kernel) -> Kernel:
    """Diffraction by a round aperture, (2 J1(z) / z)^2, as wide at half maximum as ``gaussian``."""
    z = np.hypot(y, x) * AIRY_HALF / GAUSSIAN_HALF
    safe = np.where(z > 0, z, 1)
    return np.where(z > 0, (2 * scipy.special.j1(safe) / safe) ** 2, 1)


def airy_published(y: Kernel, x: Kernel) -> Kernel:
    """Put K1 for J1, which diverges at zero: the four neighbours outweigh the centre."""
    z = 2.33811 * np.hypot(y, x)
    safe = np.where(z > 0, z, 1)
    return np.where(z > 0, (2 * scipy.special.k1(safe) / safe) ** 2, 1)


def moffat(y: Kernel, x: Kernel) -> Kernel:
    """Moffat profile with beta 3.5: a core with wings."""
    return (1 + y**2 + x**2) ** -3.5


def sinc(y: Kernel, x: Kernel) -> Kernel:
    """Radial sinc: rings that go negative."""
    return np.sinc(np.hypot(y, x))


def lorentzian2(y: Kernel, x: Kernel) -> Kernel:
    """Flat top with long wings, 1 / (1 + r^4)."""
    return 1 / (1 + (y**2 + x**2) ** 2)


def hermite(y: Kernel, x: Kernel) -> Kernel:
    """Gaussian times the first Hermite polynomial of the radius: a ring around a dark centre."""
    return gaussian(y, x) * 2 * np.hypot(y, x)


def parabolic(y: Kernel, x: Kernel) -> Kernel:
    """Cap that ends at one sigma."""
    return np.maximum(0, 1 - y**2 - x**2)


def gabor(y: Kernel, x: Kernel) -> Kernel:
    """Wave of four sigmas along x, under an envelope twice as long in y."""
    return np.cos(np.pi / 2 * x) * gabor_published(y, x)


def gabor_published(y: Kernel, x: Kernel) -> Kernel:
    """Envelope alone: a wave of one pixel is 1 at every pixel."""
    return np.exp(-(x**2 + y**2 / 4) / 2)


def delta(y: Kernel, x: Kernel) -> Kernel:
    """No blur: one at the centre."""
    return np.where((y == 0) & (x == 0), 1.0, 0.0)


FORMULAS: dict[str, Formula] = {
    "gaussian": gaussian,
    "kolmogorov": kolmogorov,
    "airy": airy,
    "moffat": moffat,
    "sinc": sinc,
    "lorentzian2": lorentzian2,
    "hermite": hermite,
    "parabolic": parabolic,
    "gabor": gabor,
    "delta": delta,
}
PUBLISHED = FORMULAS | {
    "kolmogorov": kolmogorov_published,
    "airy": airy_published,
    "gabor": gabor_published,
}


def spread(image: NDArray[np.float32], psf: Kernel) -> NDArray[np.float32]:
    """Blur the inside of an image whose margin is half a kernel wide.

    Parameters
    ----------
    image : (..., y, x), float32
        NaN is missing: its weight goes to the pixels that are there.
    psf : (y, x)
        Odd sides, summing to one.

    Returns
    -------
    (..., y, x), float32
        Smaller by the margin; NaN where ``image`` is.
    """
    assert psf.shape[0] % 2 == psf.shape[1] % 2 == 1, psf.shape
    top, left = (side // 2 for side in psf.shape)
    height, width = (image.shape[k] - psf.shape[k] + 1 for k in (-2, -1))
    out = np.empty((*image.shape[:-2], height, width), "float32")
    for plane in np.ndindex(image.shape[:-2]):
        blurred = _spread(image[plane].astype("float64"), psf)
        out[plane] = blurred[top : top + height, left : left + width]
    return out


def _spread(plane: Kernel, psf: Kernel) -> Kernel:
    there = np.isfinite(plane)
    if there.all():
        return convolve(plane, psf)
    known = np.where(there, plane, 0)
    missing = 1 - convolve(there.astype("float64"), psf)
    missing[np.abs(missing) < 1e-12] = 0  # rounding; a block without gaps must give the same bits
    # A kernel with negative lobes may have no weight left, so the gap is filled with a mean that
    # cannot fail. Without such lobes this is the plain weighted mean of what is there.
    weight = convolve(there.astype("float64"), np.abs(psf))
    mean = np.divide(
        convolve(known, np.abs(psf)), weight, out=np.zeros_like(plane), where=weight > 0
    )
    return np.where(there, convolve(known, psf) + missing * mean, np.nan)


def convolve(plane: Kernel, psf: Kernel) -> Kernel:
    """Convolve (y, x) with the kernel, zeros outside, adding in one order wherever a pixel lies."""
    rows, weights, columns = np.linalg.svd(psf)
    rank = int((weights > 1e-14 * weights[0]).sum())
    total = np.zeros_like(plane)
    if rank > 2:
        scipy.ndimage.convolve(plane, psf, mode="constant", output=total)
        return total
    for k in range(rank):
        along = scipy.ndimage.convolve1d(plane, columns[k], axis=1, mode="constant")
        total += weights[k] * scipy.ndimage.convolve1d(along, rows[:, k], axis=0, mode="constant")
    return total
