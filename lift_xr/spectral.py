"""Spectral geometry on plain arrays: response curves, and what the bands of a cube see of them.

Wavelengths are nm throughout. A curve is linear between its samples and zero outside them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

GAUSSIAN = 2
# Orders 2, 4, 6, 8 and 12 reach mean cosines of 0.969, 0.988, 0.990, 0.989 and 0.987 with the 259
# measured bands of 29 sensors, each compared at its own half-maximum edges.
FLAT_TOP = 6

NEGLIGIBLE = 1e-7  # weights below are zero: a hundred of them are less than one 16-bit count
SIGMAS = 4.0  # a band's Gaussian is followed this far; 6e-5 of its area lies beyond
OFFSETS = np.linspace(-SIGMAS, SIGMAS, 201)
OFFSET_WEIGHTS = np.exp(-(OFFSETS**2) / 2) / np.exp(-(OFFSETS**2) / 2).sum()
FWHM_TO_SIGMA = 1 / np.sqrt(8 * np.log(2))


class Cells(NamedTuple):
    """The interval of wavelengths that each band stands for; bands at one centre share theirs."""

    lower: np.ndarray
    upper: np.ndarray
    share: np.ndarray

    @property
    def width(self) -> np.ndarray:
        """What the band may count for: (band,), nm."""
        width: np.ndarray = (self.upper - self.lower) * self.share
        return width


def bells(centres: np.ndarray, fwhm: np.ndarray, *, order: int) -> tuple[np.ndarray, np.ndarray]:
    r"""Draw one bell per band on a common grid of 1 nm or finer.

    Parameters
    ----------
    centres, fwhm : (band,), nm
        Middle and width of each response at half its maximum.
    order
        ``GAUSSIAN``, or ``FLAT_TOP`` for the response of a filter.

    Returns
    -------
    (wavelength,), nm, and (band, wavelength), peak 1

    Notes
    -----
    The super-Gaussian :math:`\exp(-\ln 2 \, |2 (\lambda - c) / w|^p)` of order :math:`p` is one
    half at :math:`c \pm w / 2` for every order.
    """
    first, last = np.floor((centres - 2.5 * fwhm).min()), np.ceil((centres + 2.5 * fwhm).max())
    steps_per_nm = np.ceil(np.clip(40 / fwhm.min(), 1, max(1, 1e5 / (last - first))))
    wavelength = np.linspace(first, last, int((last - first) * steps_per_nm) + 1)
    reach = 2 * np.abs(wavelength - centres[:, None]) / fwhm[:, None]  # (band, wavelength)
    return wavelength, np.exp(-np.log(2) * np.minimum(reach, 10) ** order)


def half_maximum(wavelength: np.ndarray, curve: np.ndarray) -> tuple[float, float]:
    """Find where a curve first and last crosses half its maximum, in nm."""
    half = curve.max() / 2
    above = np.flatnonzero(curve >= half)
    rise = slice(max(above[0] - 1, 0), above[0] + 1)
    fall = slice(above[-1], above[-1] + 2)
    lower = np.interp(half, curve[rise], wavelength[rise])
    upper = np.interp(half, curve[fall][::-1], wavelength[fall][::-1])
    return float(lower), float(upper)


def centroid(wavelength: np.ndarray, curve: np.ndarray) -> float:
    """Find the mean wavelength under a curve, in nm."""
    return float(np.trapezoid(curve * wavelength, wavelength) / np.trapezoid(curve, wavelength))


def spacing(centres: np.ndarray) -> np.ndarray:
    """Measure how far the bands stand apart around each one: (band,), nm.

    The median of the four gaps nearest to the band, so that neither a gap in the spectrum nor two
    detectors that overlap change the answer much. Needs two different centres.
    """
    unique, place = np.unique(centres, return_inverse=True)
    gaps = np.pad(np.diff(unique), 2, constant_values=np.nan)
    local: np.ndarray = np.nanmedian(sliding_window_view(gaps, 4), axis=1)
    return local[place]


def cells(centres: np.ndarray, fwhm: np.ndarray) -> Cells:
    """Divide the spectrum among bands in any order.

    A band stands for the wavelengths nearer to it than to any other, but for no more than one fwhm
    to either side where a gap begins, and half a fwhm where the spectrum ends: across a narrow gap
    two neighbours vouch for what lies between them, past the last band nobody does.
    """
    unique, place, count = np.unique(centres, return_inverse=True, return_counts=True)
    reach = np.zeros(len(unique))
    np.maximum.at(reach, place, fwhm)
    middle = (unique[1:] + unique[:-1]) / 2
    lower = np.maximum(np.append(unique[0] - reach[0] / 2, middle), unique - reach)
    upper = np.minimum(np.append(middle, unique[-1] + reach[-1] / 2), unique + reach)
    return Cells(lower[place], upper[place], 1 / count[place])


def coverage(division: Cells, wavelength: np.ndarray, curves: np.ndarray) -> np.ndarray:
    """Measure the share of each curve's area that lies in some cell: (msi_band,), 0-1."""
    steps = np.diff(wavelength) * (curves[:, 1:] + curves[:, :-1]) / 2
    area = np.pad(steps.cumsum(axis=1), ((0, 0), (1, 0)))  # (msi_band, wavelength)
    inside = [
        np.interp(division.upper, wavelength, each) - np.interp(division.lower, wavelength, each)
        for each in area
    ]
    share: np.ndarray = np.stack(inside) @ division.share / area[:, -1]
    return share


def weigh(
    centres: np.ndarray, fwhm: np.ndarray, wavelength: np.ndarray, curves: np.ndarray
) -> np.ndarray:
    r"""Express curves as weighted sums of bands: (msi_band, band), rows summing to one.

    Parameters
    ----------
    centres, fwhm : (band,), nm
        The bands' own responses, Gaussians, in any order.
    wavelength, curves : (wavelength,), nm, and (msi_band, wavelength)
        Each curve must reach into some cell; see ``coverage``.

    Notes
    -----
    :math:`W_{mb} \propto \Delta_b \int R_m(\lambda) \, G_b(\lambda) \, d\lambda`, with
    :math:`G_b` of unit area and :math:`\Delta_b` the width of the band's cell.
    """
    points = centres[:, None] + fwhm[:, None] * FWHM_TO_SIGMA * OFFSETS  # (band, offset)
    seen = [
        np.interp(points, wavelength, each, left=0, right=0) @ OFFSET_WEIGHTS for each in curves
    ]
    return rows_of_one(np.stack(seen) * cells(centres, fwhm).width)


def rows_of_one(weights: np.ndarray) -> np.ndarray:
    """Scale rows to sum one, leaving out what is negligible."""
    weights = weights / weights.sum(axis=1, keepdims=True)
    kept: np.ndarray = np.where(weights < NEGLIGIBLE, 0, weights)
    kept /= kept.sum(axis=1, keepdims=True)
    return kept
