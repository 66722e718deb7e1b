"""How the cube's cells lie over the mosaic's pixels: what ``consistency="both"`` settles first."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dask
import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr

from lift_xr.beside import as_ordered, expect_aligned
from lift_xr.footprint import Footprint, Place, brightness, darkness, usual_brightness
from lift_xr.grid import Grid, compare, origin_in_pixels
from lift_xr.kernel import DenseNetwork
from lift_xr.models import Seen
from lift_xr.models.backprojection import BackProjection, agree
from lift_xr.pointspread import PointSpread, estimate_point_spread, reach_of, residual_of
from lift_xr.window import Window

MOST_CELLS = 1 << 14  # of a scene that is looked at as a whole
MOST_VALUES = 1 << 27  # under them, in all bands: half a GiB, of which some copies are made
SIDE, LEAST_SIDE = 24, 8  # cells along a place, where there are more
SPOTS = 3  # places along y and x
BANDS_APART = 0.14  # cells; 0.11 is found where there is nothing, 0.16 did harm
FEWEST_CELLS = 64  # with 25, of which the edge dimmed half, the answer was 2.3 dB worse
MOST_SEEN = 1 << 16  # pixels of the mosaic to learn from: more than a training draws anyway
NO_WORSE = 1.01  # times the error in cells held out, for a network that saw the mosaic too
MOST_KEPT = 0.98  # of the squared error of cells held out, for the agreement to be worth it
WORST = 0.25  # standard deviations of the scene that a point spread may leave unexplained
CLEAR = 0.1  # the same, for cells to be trained on in another brightness
ADVICE = "Check that the scenes lie over one another and that the point spread, psf=, is right"
CONTRADICTED = 1.3  # times what the estimated point spread leaves, for one that is given


@dataclass(frozen=True, eq=False)
class Sight:
    """What is known of how the cube's sensor saw the mosaic's ground.

    Attributes
    ----------
    footprint
        Of a cell.
    places
        Of both images, loaded; the mosaic harmonised.
    gain
        (y, x) of the cube: how many times brighter each cell is than the mosaic says, 1 where it is
        hardly so or not known. None for scenes too large to be looked at as a whole.
    about
        Of the point spread, as plain numbers.
    """

    footprint: Footprint
    places: tuple[Place, ...]
    gain: npt.NDArray[np.float64] | None
    about: dict[str, Any]

    def even(self, cube: xr.DataArray) -> xr.DataArray:
        """The cube with the brightness of the mosaic in every cell, lazily."""
        if self.gain is None or (self.gain == 1).all():
            return cube
        gain = da.from_array(self.gain.astype("float32"), chunks=cube.data.chunks[1:])
        return cube.copy(data=cube.data / gain)


def look(
    cube: xr.DataArray,
    mosaic: xr.DataArray,
    matrix: xr.DataArray,
    *,
    psf: npt.NDArray[np.float64] | None,
) -> Sight | str:
    """Draw places of both images and find the point spread, if it is not given. Computes.

    Parameters
    ----------
    cube, mosaic : (band, y, x)
        On one grid, the mosaic harmonised.
    matrix : (msi_band, band)
        The response.
    psf : (y, x)
        As in ``degrade``; None estimates it.

    Returns
    -------
    Sight or str
        Why not, where the point spread cannot be found or explains too little.
    """
    expect_aligned(cube, mosaic)
    ordered = as_ordered(cube, mosaic)
    ratio = compare(cube, mosaic).ratio
    reach = reach_of(ratio) if psf is None else max(psf.shape) // 2
    places, corners = draw_places(ordered, mosaic, ratio=ratio, margin=2 + -(-reach // ratio))
    response = matrix.to_numpy()
    seen = [each.through(response) for each in places]
    found = estimate_point_spread(seen, ratio)
    if found is None:
        return "too few cells of the cube lie over the mosaic, or all alike, to find a point spread"
    if found.cells < FEWEST_CELLS:
        return (
            f"{found.cells} cells of the cube lie over the mosaic with all that they see; expected "
            f"{FEWEST_CELLS} or more to judge a point spread by"
        )
    estimated = residual_of(found.kernel, seen, ratio)
    given = estimated if psf is None else residual_of(psf, seen, ratio)
    if reason := _implausible(given, estimated):
        return reason
    about = {"form": "given"}
    if psf is None:
        psf, about = found.kernel, told_of(found)
    footprint = Footprint(psf, ratio)
    whole = len(places) == 1 and places[0].hsi.shape[1:] == ordered.shape[1:]
    gain = None
    if whole and given <= CLEAR:
        gain = _gain(seen[0], footprint)
        turned = [slice(None, None, -1) if back else slice(None) for back in _turned(cube, ordered)]
        gain = gain[tuple(turned)]
    told = about | {"places": len(corners)}
    return Sight(footprint, tuple(places), gain, told)


def _implausible(given: float, estimated: float) -> str | None:
    """Say what speaks against a point spread, if anything does."""
    if not np.isfinite(given):
        return "through the given psf, too few cells see only pixels that the mosaic has"
    if given > WORST:
        return (
            f"through the point spread, the mosaic leaves {given:.0%} of the standard deviation of "
            f"SRF(hsi) unexplained; expected {WORST:.0%} or less"
        )
    if given > CONTRADICTED * estimated:
        return (
            f"through the given psf, the mosaic leaves {given:.1%} of the standard deviation of "
            f"SRF(hsi) unexplained, and {estimated:.1%} through the one that the pair itself tells"
        )
    return None


def agreeing(
    sight: Sight | str,
    trained: Mapping[str, Any],
    response: npt.NDArray[np.float64],
    *,
    learn_again: Callable[[Seen], Mapping[str, Any]] | None,
    seed: int,
) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """What was trained, made to agree with the cube where that can be shown to help.

    Parameters
    ----------
    learn_again
        Trains once more, on pixels of the mosaic too; None for methods that do not. What it gives
        is taken unless it leaves a larger error in cells held out.

    Returns
    -------
    trained, dict
        The network as it was, with a warning, where it cannot; and what to say of it in the model.
    """
    if isinstance(sight, str):
        return trained, _fallen_back(sight, {})
    if not isinstance(trained["network"], DenseNetwork):
        return trained, _fallen_back(
            "the method's spectra are mixtures and stay so", sight.about, advice="Use method='sin'"
        )
    made, errors = _agree(trained, response, sight)
    told = sight.about | errors
    if errors["bands_apart"] > BANDS_APART:
        return trained, _fallen_back(
            f"some bands of the cube lie {errors['bands_apart']:.2f} cells from where others do; "
            f"expected {BANDS_APART} or less. Register them on one another",
            told,
        )
    if made is None or errors["kept"] > MOST_KEPT:
        reason = (
            f"the cells of the cube, {errors['known_cells']}, say little about one another that "
            f"the network did not know: {errors['kept']:.1%} of its squared error remain, expected "
            f"{MOST_KEPT:.0%} or less"
        )
        return trained, _fallen_back(reason, told)
    if learn_again is not None:
        again = learn_again(likely(made, sight, seed=seed))
        better, left = _agree(again, response, sight)
        if better is not None and left["error"] <= NO_WORSE * errors["error"]:
            trained, made, errors = again, better, left | {"learnt_again": True}
    told = sight.about | {"learnt_again": False} | errors
    return {**trained, "network": made}, {"consistency": "both", "agreement": told}


def _agree(
    trained: Mapping[str, Any], response: npt.NDArray[np.float64], sight: Sight
) -> tuple[BackProjection | None, dict[str, Any]]:
    network: DenseNetwork = trained["network"]
    return agree(network, trained["gain"], response, sight.footprint, sight.places)


def likely(made: BackProjection, sight: Sight, *, seed: int) -> Seen:
    """Pixels of the places, drawn at random, with the spectra that the cube makes likely."""
    random = np.random.default_rng(seed)
    each = MOST_SEEN // len(sight.places)
    drawn = [_drawn(made, place, each, random) for place in sight.places]
    msi, spectra = (np.concatenate(side) for side in zip(*drawn, strict=True))
    return Seen(msi, spectra)


def _drawn(
    made: BackProjection, place: Place, count: int, random: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """At most ``count`` pixels (pixel, msi_band) under the cells of a place, and their spectra."""
    margin = place.margin
    cells = np.pad(place.hsi, [(0, 0), *[(margin, margin)] * 2], constant_values=np.nan)
    inside = (slice(None), *[slice(margin * made.ratio, -margin * made.ratio or None)] * 2)
    msi = place.msi[inside].reshape(len(place.msi), -1)
    lifted = made(place.msi, prior=Window(cells, made.ratio, (0, 0)))[inside]
    spectra = lifted.reshape(len(lifted), -1)
    there = np.flatnonzero(np.isfinite(msi).all(axis=0) & np.isfinite(spectra).all(axis=0))
    chosen = np.sort(random.permutation(there)[:count])
    return msi[:, chosen].T.astype("float32"), spectra[:, chosen].T.astype("float32")


def _fallen_back(reason: str, told: dict[str, Any], *, advice: str = ADVICE) -> dict[str, Any]:
    warnings.warn(
        f"consistency='both' became 'msi': {reason}. {advice}",
        UserWarning,
        stacklevel=5,
    )
    return {"consistency": "msi", "agreement": told | {"fallback": reason}}


def told_of(found: PointSpread) -> dict[str, Any]:
    """What to write down about an estimated point spread."""
    return {
        "form": "free" if found.free else "gaussian",
        "sigma": [round(value, 4) for value in found.sigma],
        "shift": [round(value, 4) for value in found.shift],
        "residual": found.residual,
        "cells": found.cells,
    }


def draw_places(
    cube: xr.DataArray, mosaic: xr.DataArray, *, ratio: int, margin: int
) -> tuple[list[Place], list[tuple[int, int]]]:
    """Load the scene as one place where it is small, else some places spread over it.

    Returns
    -------
    places
        With the pixels of ``margin`` cells around, NaN where there are none.
    corners
        Cell (y, x) of the cube where each begins.
    """
    offset = tuple(round(each) for each in origin_in_pixels(Grid.of(cube), Grid.of(mosaic)))
    spans = [
        _covered(cube.sizes[axis], mosaic.sizes[axis], first, ratio)
        for axis, first in zip(("y", "x"), offset, strict=True)
    ]
    count = (spans[0][1] - spans[0][0]) * (spans[1][1] - spans[1][0])
    most = MOST_VALUES // cube.sizes["band"]  # pixels lifted at once
    if count <= MOST_CELLS and count * ratio**2 <= most:
        boxes = [(spans[0], spans[1])]
        if all(span == (0, cube.sizes[axis]) for span, axis in zip(spans, ("y", "x"), strict=True)):
            boxes = [((0, cube.sizes["y"]), (0, cube.sizes["x"]))]
    else:
        side = min(SIDE, max(int(most**0.5) // ratio - 2 * margin, LEAST_SIDE))
        boxes = [
            (down, along) for down in _spots(spans[0], side) for along in _spots(spans[1], side)
        ]
    lazy = [
        (
            cube.data[:, slice(*down), slice(*along)],
            _window(mosaic.data, down, along, offset, ratio, margin),
        )
        for down, along in boxes
    ]
    loaded = dask.compute(*lazy)
    places = [
        Place(np.asarray(cells), _padded(pixels, pads), margin)
        for (cells, (pixels, pads)) in loaded
    ]
    return places, [(down[0], along[0]) for down, along in boxes]


def _covered(cells: int, pixels: int, offset: int, ratio: int) -> tuple[int, int]:
    """Cells that have a pixel of the mosaic."""
    first = max(0, -offset // ratio)
    last = min(cells, -((offset - pixels) // ratio))
    return first, max(last, first)


def _spots(span: tuple[int, int], side: int) -> list[tuple[int, int]]:
    first, last = span
    side = min(side, last - first)
    starts = np.unique(np.linspace(first, last - side, SPOTS + 2)[1:-1].astype(int))
    return [(int(start), int(start) + side) for start in starts]


def _window(
    mosaic: Any,
    down: tuple[int, int],
    along: tuple[int, int],
    offset: Sequence[int],
    ratio: int,
    margin: int,
) -> tuple[Any, list[tuple[int, int]]]:
    """The pixels of some cells and around them that there are, and how many are missing."""
    cut, pads = [], []
    for span, first, size in zip((down, along), offset, mosaic.shape[-2:], strict=True):
        start = (span[0] - margin) * ratio + first
        stop = (span[1] + margin) * ratio + first
        cut.append(slice(min(max(start, 0), size), max(min(stop, size), 0)))
        pads.append((min(max(-start, 0), stop - start), min(max(stop - size, 0), stop - start)))
    return mosaic[:, cut[0], cut[1]], pads


def _padded(pixels: Any, pads: list[tuple[int, int]]) -> npt.NDArray[np.float32]:
    return np.pad(
        np.asarray(pixels, "float32"), [(0, 0), *map(tuple, pads)], constant_values=np.nan
    )


def _gain(seen: Place, footprint: Footprint) -> npt.NDArray[np.float64]:
    """How many times brighter each cell is than the mosaic says."""
    mosaic = footprint.over(seen.msi, seen.offset(footprint.ratio), seen.hsi.shape[1:])
    dark = darkness([seen.hsi])
    gain = brightness(seen.hsi, mosaic, dark, usual_brightness([seen.hsi], [mosaic], dark))
    return np.where(np.isfinite(gain), gain, 1.0)


def _turned(cube: xr.DataArray, ordered: xr.DataArray) -> list[bool]:
    return [
        cube.sizes[axis] > 1 and bool(cube[axis].values[0] != ordered[axis].values[0])
        for axis in ("y", "x")
    ]
