"""The footprint of a cell: how much of each fine pixel the cube's sensor puts into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

Array = npt.NDArray[np.float64]

NEGLIGIBLE = 1e-9  # of the greatest singular value: products of rows and columns that add nothing
ENOUGH = 0.5  # of the weight of a footprint has to lie on pixels that are there
DARK = 0.1  # of a band's usual value: so dark that a brightness says little
SPOTS, LEAST_SIDE = 3, 8  # along y and x of a scene too large to be looked at as a whole; cells
LEAST_TOLERANCE = 0.005  # half a per cent of brightness


@dataclass(frozen=True, eq=False)
class Place:
    """One place in both images.

    Attributes
    ----------
    hsi
        (band, y, x): cells, NaN where unknown.
    msi
        (msi_band, y, x): the pixels of these cells, and of ``margin`` cells around them; NaN where
        there are none.
    margin
        In cells.
    """

    hsi: npt.NDArray[Any]
    msi: npt.NDArray[Any]
    margin: int

    def through(self, srf: Array) -> Place:
        """The cells as the MSI's sensor would see them."""
        return replace(self, hsi=np.tensordot(srf, self.hsi, axes=1))

    def trimmed(self, ratio: int) -> Place:
        """The same without its margin where that holds no pixel: of a small scene, half of all."""
        edge = self.margin * ratio
        inside = self.msi[:, edge : -edge or None, edge : -edge or None]
        if np.isfinite(inside).sum() < np.isfinite(self.msi).sum():
            return self
        return replace(self, msi=np.ascontiguousarray(inside), margin=0)

    def offset(self, ratio: int) -> tuple[int, int]:
        """The pixel (y, x) of ``msi`` where the first cell begins."""
        return self.margin * ratio, self.margin * ratio


@dataclass(frozen=True, eq=False)
class Footprint:
    """A point spread, followed by the mean over a cell.

    Parameters
    ----------
    psf
        (y, x), odd sides, summing to one, in MSI pixels: what :func:`lift_xr.degrade` blurs with.
    ratio
        MSI pixels along the edge of a cell.
    """

    psf: Array
    ratio: int

    @property
    def reach(self) -> tuple[int, int]:
        """Pixels (y, x) that a footprint extends beyond its cell, on each side."""
        return self.psf.shape[0] // 2, self.psf.shape[1] // 2

    @cached_property
    def weights(self) -> Array:
        """(y, x): of the pixels under one cell, ``reach`` beyond it on each side."""
        rows, columns = (_means(side, self.ratio) for side in self.psf.shape)
        return np.asarray(rows @ self.psf[::-1, ::-1].astype("float64") @ columns.T)

    @cached_property
    def factors(self) -> tuple[Array, Array]:
        """(y, term) and (x, term), whose products add up to the weights."""
        rows, sizes, columns = np.linalg.svd(self.weights)
        kept = sizes > NEGLIGIBLE * sizes[0]
        return rows[:, : len(sizes)][:, kept] * sizes[kept], columns[: len(sizes)].T[:, kept]

    def over(
        self, image: npt.NDArray[Any], offset: tuple[int, int], shape: tuple[int, ...]
    ) -> Array:
        """What a sensor with this footprint sees of an image.

        Parameters
        ----------
        image : (band, y, x)
            A pixel that is NaN in some band is missing, and so is what lies outside: their weight
            goes to those that are there.
        offset
            The pixel (y, x) at which the first cell begins; may be negative.
        shape
            Cells along y and x.

        Returns
        -------
        (band, y, x) of the cells, float64
            NaN where less than half of the weight lies on pixels that are there.
        """
        there = np.isfinite(image).all(axis=0)
        covered = self._sums(self._cut(there[None].astype("float64"), offset, shape))[0]
        known = covered >= ENOUGH
        means = np.empty((len(image), *covered.shape))
        for band, plane in enumerate(image):  # one at a time: a block's image is large as float64
            whole = np.where(there, plane, 0).astype("float64")[None]
            means[band] = self._sums(self._cut(whole, offset, shape))[0]
        means /= np.where(known, covered, 1)
        return np.where(known, means, np.nan)

    def _cut(self, planes: Array, offset: tuple[int, int], shape: tuple[int, ...]) -> Array:
        """Bring exactly the pixels under these cells together, zeros where there are none."""
        margins = []
        for axis in (0, 1):
            first = offset[axis] - self.reach[axis]
            last = offset[axis] + shape[axis] * self.ratio + self.reach[axis]
            size = planes.shape[axis + 1]
            margins.append((max(-first, 0), max(last - size, 0)))
            start, stop = min(max(first, 0), size), max(min(last, size), 0)
            planes = planes[(slice(None),) * (axis + 1) + (slice(start, stop),)]
        return np.pad(planes, [(0, 0), *margins])

    def _sums(self, planes: Array) -> Array:
        """(plane, y, x) of pixels to weighted sums (plane, y, x) of cells: columns, then rows."""
        down, along = self.factors
        step = self.ratio
        wide = sliding_window_view(planes, len(along), axis=2)[:, :, ::step]
        partial = np.matmul(wide, along)  # (plane, y, cell, term)
        tall = sliding_window_view(partial, len(down), axis=1)[:, ::step]
        return np.asarray(np.einsum("ijktn,nt->ijk", tall, down))


@dataclass(frozen=True, eq=False)
class Overlay:
    """How the cells of a cube lie over the pixels of a mosaic, at places where both are known.

    Attributes
    ----------
    footprint
        Of a cell.
    places
        Loaded; the mosaic harmonised.
    """

    footprint: Footprint
    places: tuple[Place, ...]

    @property
    def nbytes(self) -> int:
        """Size of the places."""
        return sum(each.hsi.nbytes + each.msi.nbytes for each in self.places)

    def within(self, most: int) -> Overlay:
        """The same with at most about so many pixels under its cells."""
        ratio = self.footprint.ratio
        places = within(self.places, ratio, most)
        return replace(self, places=tuple(each.trimmed(ratio) for each in places))


def within(places: Sequence[Place], ratio: int, most: int) -> tuple[Place, ...]:
    """Places with at most about ``most`` pixels under their cells, spread over what there is."""
    cells = sum(each.hsi[0].size for each in places)
    if cells * ratio**2 <= most:
        return tuple(places)
    spots = SPOTS if len(places) == 1 else 1
    side = max(int((most / ratio**2 / (len(places) * spots**2)) ** 0.5), LEAST_SIDE)
    parts = [
        _part(place, ratio, down, along)
        for place in places
        for down in spread(0, place.hsi.shape[1], side, spots)
        for along in spread(0, place.hsi.shape[2], side, spots)
    ]
    there = [each for each in parts if np.isfinite(each.hsi).all(axis=0).any()]
    return tuple(there or places)  # parts of nothing but gaps tell nothing


def spread(first: int, last: int, side: int, spots: int) -> list[tuple[int, int]]:
    """Spans of ``side``, evenly spread between two ends."""
    side = min(side, last - first)
    starts = np.unique(np.linspace(first, last - side, spots + 2)[1:-1].astype(int))
    return [(int(start), int(start) + side) for start in starts]


def _part(place: Place, ratio: int, down: tuple[int, int], along: tuple[int, int]) -> Place:
    """Some cells of a place, with the pixels of its margin around."""
    rows, columns = (
        slice(first * ratio, (last + 2 * place.margin) * ratio) for first, last in (down, along)
    )
    return replace(
        place, hsi=place.hsi[:, slice(*down), slice(*along)], msi=place.msi[:, rows, columns]
    )


def _means(side: int, ratio: int) -> Array:
    """(side + ratio - 1, side): what spreads a kernel over a cell."""
    out = np.zeros((side + ratio - 1, side))
    for at in range(side):
        out[at : at + ratio, at] = 1 / ratio
    return out


# ---- cells of another brightness than their pixels


def brightness(held: Array, seen: Array, dark: Array, tolerance: float) -> Array:
    """How many times brighter cells are than their pixels; 1 where they are hardly so.

    Where a point spread reaches over the edge of a scene that counts as black, in haze, in the
    shadow of a cloud, a cell has another brightness than its pixels, and nearly the same colours.

    Parameters
    ----------
    held, seen : (msi_band, y, x)
        The cube through the response; the mosaic, or what was lifted from it, through footprints.
    dark
        From :func:`darkness`: darker cells count as just as bright as their pixels.
    tolerance
        Logarithms up to this are taken for noise.
    """
    weight = 1 / dark[:, None, None]
    power = (weight * seen**2).sum(axis=0) + len(dark)
    gain = np.clip(((weight * held * seen).sum(axis=0) + len(dark)) / power, 0.05, 20.0)
    return np.where(np.abs(np.log(gain)) > tolerance, gain, 1.0)


def darkness(held: Sequence[npt.NDArray[Any]]) -> Array:
    """(msi_band,): the square of a value so dark that its brightness says little."""
    power = np.mean(np.concatenate([known(each) for each in held], axis=1) ** 2, axis=1)
    return np.asarray(np.maximum(DARK**2 * power, 1e-30), "float64")


def usual_brightness(held: Sequence[Array], seen: Sequence[Array], dark: Array) -> float:
    """Three robust standard deviations of the logarithm, and half a per cent at least."""
    gains = [
        np.log(brightness(one, other, dark, 0.0)) for one, other in zip(held, seen, strict=True)
    ]
    flat = np.concatenate([each[np.isfinite(each)] for each in gains])
    if not flat.size:
        return LEAST_TOLERANCE
    return max(3 * 1.4826 * float(np.median(np.abs(flat))), LEAST_TOLERANCE)


def known(cube: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """(band, y, x) to (band, cell), those that are finite in every band."""
    flat = cube.reshape(len(cube), -1)
    return flat[:, np.isfinite(flat).all(axis=0)]
