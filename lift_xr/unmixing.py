"""Endmembers: how many a cube has, what they are, and how much of each a spectrum holds."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from lift_xr.errors import SpectralError

Array = npt.NDArray[np.float64]
Extraction = Literal["vca", "nmf"]
Constraint = Literal["none", "non-negative", "sum-to-one"]

FEWEST, MOST = 3, 20  # endmembers, where the data choose: maps of more are not looked at
NMF_PIXELS = 4096  # more change the parts little, and the time a lot
NMF_STEPS, NMF_SEED = 5000, 42  # as published
FCLS_WEIGHT = 1e3  # of the row that says "one" beside the bands, relative to them
ROUNDED = 4 * float(np.finfo("float32").eps)  # of all pixels' norm: what float32 may have added
RIDGE = 1e-9  # of the regression on other bands, relative to the mean power


def extract(pixels: npt.NDArray[Any], *, count: int, how: Extraction, seed: int) -> Array:
    """Endmembers of pixels, scaled so that abundances come as near to summing to one as they can.

    Parameters
    ----------
    pixels : (pixel, band)
        Finite, in any unit.
    count
        How many; fewer come back where the pixels have fewer directions.
    how
        ``"vca"``: pixels at the corners of the cloud, see :func:`vca`. ``"nmf"``: parts that add
        up to the pixels, see :func:`nmf`.
    seed
        Of the directions in which VCA looks, and of the pixels that NMF is shown where there are
        many.

    Returns
    -------
    (endmember, band), float64
        The most abundant first.

    Raises
    ------
    ValueError
        Another number or name than those that exist.
    SpectralError
        Pixels that are all zero.
    """
    expect_extraction(count, how)
    expect_signal(pixels)
    exact = pixels.astype("float64")
    count = min(count, rank(exact))
    found = EXTRACTIONS[how](exact, count, seed)
    found = _on_one_scale(exact, found)
    share = np.abs(least_squares(exact, found)).mean(axis=0)
    return np.asarray(found[np.argsort(-share, kind="stable")])


def rank(pixels: Array) -> int:
    """In how many directions pixels (pixel, band) differ from zero by more than float32 rounds."""
    power = np.linalg.eigvalsh(pixels.T @ pixels)
    return int((power > ROUNDED**2 * power.sum()).sum())


def expect_extraction(count: int | None, how: str) -> None:
    """Refuse settings that no extraction takes."""
    if how not in get_args(Extraction):
        raise ValueError(f"extraction is {how!r}; expected one of 'vca', 'nmf'")
    whole = isinstance(count, int | np.integer) and not isinstance(count, bool)
    if count is not None and (not whole or count < 1):
        raise ValueError(f"endmembers is {count!r}; expected a whole number from 1. Use 7, or None")


def count_endmembers(pixels: npt.NDArray[Any]) -> int:
    """How many endmembers the pixels bear above their noise: HySime, within 3 to 20.

    Parameters
    ----------
    pixels : (pixel, band)
        Finite, in any unit.

    Notes
    -----
    The noise of a band is what the other bands cannot predict. A direction counts where its power
    exceeds twice that of the noise in it: the mean squared error of a projection then falls by
    keeping it (Bioucas-Dias and Nascimento 2008, doi 10.1109/TGRS.2008.918089, eq. 18). A number of
    pixels that does not exceed the bands' bears no such regression; the noise is then that of the
    published simulations at ratio 8, 30 dB.
    """
    exact = pixels.astype("float64")
    noise = regression_noise(exact) if len(exact) > 2 * exact.shape[1] else None
    if noise is None:
        power = (exact**2).mean(axis=0) / 1e3
        signal = exact.T @ exact / len(exact) - np.diag(power)
    else:
        power = (noise**2).mean(axis=0)
        signal = (exact - noise).T @ (exact - noise) / len(exact)
    _, directions = np.linalg.eigh(signal)
    seen = ((exact @ directions) ** 2).mean(axis=0)
    count = int((seen > 2 * (directions**2 * power[:, None]).sum(axis=0)).sum())
    return int(np.clip(count, FEWEST, min(MOST, *exact.shape)))


def regression_noise(pixels: Array) -> Array:
    """What the other bands do not say about each: (pixel, band)."""
    gram = pixels.T @ pixels / len(pixels)
    gram += RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    inverse = np.linalg.inv(gram)
    return np.asarray(pixels @ inverse / np.diag(inverse))


def nmf(pixels: Array, count: int, seed: int = 0) -> Array:
    """Non-negative matrix factorisation, as SpectraMorph has it: (endmember, band).

    Negative values, which are noise, count as 0. The start is the singular value decomposition
    (``nndsvda``), 5,000 iterations at most, seed 42, on all pixels, or on 4,096 of many.
    """
    from sklearn.decomposition import NMF
    from sklearn.exceptions import ConvergenceWarning

    if len(pixels) > NMF_PIXELS:
        chosen = np.random.default_rng(seed).choice(len(pixels), NMF_PIXELS, replace=False)
        pixels = pixels[np.sort(chosen)]
    scale = max(float(pixels.max()), float(np.finfo("float32").tiny))
    parts = NMF(count, init="nndsvda", max_iter=NMF_STEPS, random_state=NMF_SEED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # nearly there is near enough
        parts.fit(np.clip(pixels / scale, 0, None))
    return np.asarray(parts.components_, "float64") * scale


def vca(pixels: Array, count: int, seed: int) -> Array:
    """Vertex component analysis: the pixels at the corners of the cloud, noise taken off.

    Nascimento and Bioucas-Dias 2005, doi 10.1109/TGRS.2005.844293: in the ``count`` dimensions
    that hold most of the signal, the pixel farthest along a direction at right angles to those
    found so far is the next corner.
    """
    projected, back = _signal_space(pixels, count)  # (pixel, count), (count, band)
    random = np.random.default_rng(seed)
    corners = np.zeros((count, count))
    corners[0, -1] = 1
    indices = np.zeros(count, "int64")
    for number in range(count):
        direction = random.normal(size=count)
        direction -= np.linalg.pinv(corners) @ (corners @ direction)
        direction /= max(np.linalg.norm(direction), np.finfo("float32").tiny)
        indices[number] = np.abs(projected @ direction).argmax()
        corners[number] = projected[indices[number]]
    return back(indices)


def _signal_space(
    pixels: Array, count: int
) -> tuple[Array, Callable[[npt.NDArray[np.int64]], Array]]:
    """Pixels on a plane in ``count`` dimensions, and the way back to spectra of some of them."""
    _, directions = np.linalg.eigh(pixels.T @ pixels / len(pixels))
    basis = directions[:, : -count - 1 : -1]  # (band, count)
    inside = pixels @ basis
    centre = inside.mean(axis=0)
    # Perspective: a pixel in shade lies on the ray of the same pixel in the sun.
    depth = inside @ centre / np.linalg.norm(centre)
    near = depth > 0.1 * np.median(depth)  # black pixels have no direction
    flat = np.where(near[:, None], inside / np.where(near, depth, 1)[:, None], 0)
    return flat, lambda indices: inside[indices] @ basis.T


EXTRACTIONS: dict[str, Callable[[Array, int, int], Array]] = {"vca": vca, "nmf": nmf}


def _on_one_scale(pixels: Array, endmembers: Array) -> Array:
    """Stretch each endmember so that abundances sum to one where the pixels allow it."""
    from scipy.optimize import nnls

    shares = least_squares(pixels, endmembers)
    stretch, _ = nnls(shares, np.ones(len(shares)))
    total = float(np.median(shares.sum(axis=1)))
    usual = 1 / max(total, float(np.finfo("float32").tiny))
    # One that no sum asks for, or asks too much of, keeps a scale like the others'.
    stretch = np.clip(stretch, usual / 4, usual * 4)
    return np.asarray(endmembers / stretch[:, None])


def least_squares(pixels: npt.NDArray[Any], endmembers: Array) -> Array:
    """Abundances without constraints: (pixel, endmember)."""
    return np.asarray(pixels @ np.linalg.pinv(endmembers))


def constrained(pixels: npt.NDArray[Any], endmembers: Array, constraint: Constraint) -> Array:
    """Abundances as least squares finds them under a constraint: (pixel, endmember).

    ``"sum-to-one"`` is the fully constrained least squares of Heinz and Chang 2001 (doi
    10.1109/36.911111): a row of ones beside the bands, weighted heavily.
    """
    from scipy.optimize import nnls

    if constraint == "none":
        return least_squares(pixels, endmembers)
    matrix, targets = endmembers.T, pixels.astype("float64")
    if constraint == "sum-to-one":
        heavy = FCLS_WEIGHT * float(np.abs(endmembers).max())
        matrix = np.vstack([matrix, np.full((1, len(endmembers)), heavy)])
        targets = np.column_stack([targets, np.full(len(targets), heavy)])
    return np.stack([nnls(matrix, each)[0] for each in targets])


def expect_constraint(constraint: str) -> None:
    """Refuse a constraint that does not exist."""
    if constraint not in get_args(Constraint):
        expected = ", ".join(map(repr, get_args(Constraint)))
        raise ValueError(f"constraint is {constraint!r}; expected one of {expected}")


def expect_signal(pixels: npt.NDArray[Any]) -> None:
    """Refuse pixels of a cube that holds nothing."""
    if not pixels.any():
        raise SpectralError(
            f"the {len(pixels)} pixels of hsi to learn from are all zero; expected a cube with "
            "some signal. Check hsi's values and units"
        )
