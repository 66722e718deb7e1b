"""From what is known of cells to what is likely of their pixels: kriging through a footprint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from lift_xr.footprint import Footprint

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

AROUND = 2  # cells on each side that a pixel's own cell is judged together with
SIDE = 2 * AROUND + 1
OWN = SIDE**2 // 2  # where the own cell stands among them
BATCH = 64  # cells at once: products of one width round in one way
GREATEST_PLANE = 4096  # pixels along the edge of the plane on which covariances are computed


@dataclass(frozen=True, eq=False)
class Kriging:
    r"""The best linear estimate of a smooth field from its means over footprints, with noise.

    Parameters
    ----------
    footprint
        What a cell is the mean over.
    reach
        Distance, in cells, over which the field changes: the standard deviation of the Gaussian
        that is its covariance.

    Notes
    -----
    With :math:`r` the known cells among the 5 x 5 around a pixel, :math:`G` their covariance and
    :math:`g` the variance of one, :math:`c` their covariance with the pixel, and :math:`\rho` the
    variance of the noise over :math:`g`,

    .. math:: \hat e = c^T (G + \rho g I)^{-1} r

    (simple kriging of blocks; Matheron 1963, Kyriakidis 2004). Cells that are not known are left
    out, and what is far from any known one tends to zero.
    """

    footprint: Footprint
    reach: float

    @cached_property
    def _covariances(self) -> tuple[Array, Array]:
        """(pixel, cell) of the pixels of a cell with the cells around it, and (cell, cell)."""
        ratio, weights = self.footprint.ratio, self.footprint.weights
        sigma = self.reach * ratio
        wanted = int(2 * ((AROUND + 1) * ratio + max(weights.shape) + 4 * sigma))
        size = min(1 << wanted.bit_length(), GREATEST_PLANE)
        apart = np.minimum(np.arange(size), size - np.arange(size))
        smooth = np.fft.fft(np.exp(-(apart**2) / (2 * sigma**2))).real
        seen = np.fft.fft2(weights, (size, size))
        spectrum = smooth[:, None] * smooth[None, :]
        with_pixel = np.fft.ifft2(seen * spectrum).real
        with_cell = np.fft.ifft2(np.abs(seen) ** 2 * spectrum).real
        there = np.arange(-AROUND, AROUND + 1) * ratio
        steps = [
            (np.arange(ratio)[:, None] - there[None, :] + reach) % size
            for reach in self.footprint.reach
        ]
        cross = with_pixel[steps[0][:, None, :, None], steps[1][None, :, None, :]]
        between = (there[:, None] - there[None, :]) % size
        gram = with_cell[between[:, None, :, None], between[None, :, None, :]]
        return cross.reshape(ratio**2, SIDE**2), gram.reshape(SIDE**2, SIDE**2)

    def weights(self, known: Mask, noise: float) -> Array:
        """(pixel, cell): of the 25 cells around, for each pixel of the middle one."""
        cross, gram = self._covariances
        return np.asarray(_solved(gram, cross, known, [noise])[0])

    def weights_without(self, known: Mask, noise: Sequence[float]) -> Array:
        """(noise, cell): how the middle cell is estimated from the 24 others."""
        _, gram = self._covariances
        others = known.copy()
        others[OWN] = False
        return np.asarray(_solved(gram, gram[OWN][None], others, noise)[:, 0])


def _solved(gram: Array, cross: Array, known: Mask, noise: Sequence[float]) -> Array:
    """(noise, row of cross, cell): all noises in one call, which costs more than so few cells."""
    out = np.zeros((len(noise), *cross.shape))
    if known.any():
        inner = gram[np.ix_(known, known)]
        own = gram[0, 0] * np.eye(len(inner))
        noisy = inner + np.multiply.outer(np.asarray(noise), own)
        right = np.broadcast_to(cross[:, known].T, (len(noise), len(inner), len(cross)))
        out[:, :, known] = np.linalg.solve(noisy, right).transpose(0, 2, 1)
    return out


def around(fields: Array) -> tuple[Array, Mask, npt.NDArray[Any]]:
    """The 25 cells around each: (field, cell, 25), zero where unknown; patterns; which of them.

    ``fields`` is (field, y, x), NaN in all where a cell is not known.
    """
    wide = np.pad(fields, [(0, 0), (AROUND,) * 2, (AROUND,) * 2], constant_values=np.nan)
    values = sliding_window_view(wide, (SIDE, SIDE), axis=(1, 2)).reshape(len(fields), -1, SIDE**2)
    known = np.isfinite(values).all(axis=0)
    patterns, which = np.unique(known, axis=0, return_inverse=True)
    return np.where(known, values, 0.0), patterns, which.reshape(-1)


def spread_over_pixels(
    fields: Array, kriging: Sequence[Kriging], noise: Sequence[float]
) -> npt.NDArray[np.float32]:
    """Estimates (field, y, x) of pixels from those of cells, each field by its own kriging.

    A cell's pixels depend on the 25 cells around it and on nothing else, so any window of the
    image gives the same.
    """
    ratio = kriging[0].footprint.ratio
    values, patterns, which = around(fields)
    out = np.zeros((len(fields), values.shape[1], ratio**2), np.float32)
    for number, known in enumerate(patterns):
        members = np.flatnonzero(which == number)
        if not known.any():
            continue
        solved: dict[tuple[float, float], Array] = {}
        for field, (each, relative) in enumerate(zip(kriging, noise, strict=True)):
            key = each.reach, relative
            if key not in solved:
                solved[key] = np.ascontiguousarray(each.weights(known, relative).T)
            for start in range(0, len(members), BATCH):
                some = members[start : start + BATCH]
                batch = np.zeros((BATCH, SIDE**2))
                batch[: len(some)] = values[field, some]
                out[field, some] = (batch @ solved[key])[: len(some)]
    rows, columns = fields.shape[1:]
    pixels = out.reshape(len(fields), rows, columns, ratio, ratio).transpose(0, 1, 3, 2, 4)
    return np.ascontiguousarray(pixels.reshape(len(fields), rows * ratio, columns * ratio))


def held_out(fields: Array, kriging: Sequence[Kriging], noise: Sequence[float]) -> Array:
    """Every known cell as its neighbours tell it, each field by its own kriging: (field, y, x)."""
    values, patterns, which = around(fields)
    out = np.full(values.shape[:2], np.nan)
    for number, known in enumerate(patterns):
        if not known[OWN]:
            continue
        members = which == number
        solved: dict[tuple[float, float], Array] = {}
        for field, (each, relative) in enumerate(zip(kriging, noise, strict=True)):
            key = each.reach, relative
            if key not in solved:
                solved[key] = each.weights_without(known, [relative])[0]
            out[field, members] = values[field, members] @ solved[key]
    return out.reshape(fields.shape)


def errors_held_out(
    fields: Array, kriging: Sequence[Kriging], noise: Sequence[float]
) -> tuple[Array, Array, int]:
    """How well cells are estimated from their neighbours.

    Returns
    -------
    (kriging, noise, field)
        Sums of squared errors, over the known cells.
    (field,)
        The same where nothing is estimated.
    int
        Cells.
    """
    values, patterns, which = around(fields)
    errors = np.zeros((len(kriging), len(noise), len(fields)))
    counted = np.zeros(which.shape, bool)
    for number, known in enumerate(patterns):
        if not known[OWN]:
            continue
        members = which == number
        counted |= members
        inside, truth = values[:, members], values[:, members, OWN]
        for one, each in enumerate(kriging):
            estimates = inside @ each.weights_without(known, noise).T  # (field, cell, noise)
            errors[one] += ((truth[..., None] - estimates) ** 2).sum(axis=1).T
    return errors, (values[:, counted, OWN] ** 2).sum(axis=1), int(counted.sum())
