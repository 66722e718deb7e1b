"""How the cube's cells lie over the mosaic's pixels: what ``consistency="both"`` settles first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import dask
import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr

from lift_xr.beside import as_ordered, expect_aligned
from lift_xr.footprint import (
    LEAST_SIDE,
    SPOTS,
    Footprint,
    Overlay,
    Place,
    brightness,
    darkness,
    spread,
    usual_brightness,
    within,
)
from lift_xr.grid import Grid, compare, origin_in_pixels
from lift_xr.kernel import DenseNetwork
from lift_xr.models import objection
from lift_xr.models.lacking import agree
from lift_xr.models.trained import Trained
from lift_xr.pointspread import (
    FARTHEST,
    PointSpread,
    estimate_point_spread,
    reach_of,
    residual_of,
)
from lift_xr.threads import one_blas_thread
from lift_xr.warn import warn_user

MOST_CELLS = 1 << 14  # of a scene that is looked at as a whole
ENOUGH_TO_SEE = 1 << 19  # pixels under the cells that a point spread is found by
ENOUGH_TO_LEARN = 1 << 18  # pixels under the cells that a network learns by
MOST_VALUES = 1 << 27  # under them, in all bands: half a GiB, of which some copies are made
SIDE = 24  # cells along a place, where there are more
FEWEST_CELLS = 64  # with 25, of which the edge dimmed half, the answer was 2.3 dB worse
FARTHEST_BELIEVED = 0.95 * FARTHEST  # cells: a shift at the end of the search is none found
WORST = 0.25  # standard deviations of the scene that a point spread may leave unexplained
CLEAR = 0.1  # the same, for cells to be trained on in another brightness
ADVICE = "Check that the scenes lie over one another"
ADVICE_OF_GIVEN = f"{ADVICE} and that the point spread, psf=, is right"
FEW = "Use a larger cube"  # reasons are also told where 'msi' was asked for
# Times what the estimated point spread leaves, for one that is given: right ones left up to 1.04 on
# real scenes; at 1.15, a shift of a third of a pixel already cost 0.3 dB.
CONTRADICTED = 1.1


@dataclass(frozen=True, eq=False)
class Sight:
    """What is known of how the cube's sensor saw the mosaic's ground.

    Attributes
    ----------
    overlay
        Of both images, at all places that were loaded.
    gain
        (y, x) of the cube: how many times brighter each cell is than the mosaic says, 1 where it is
        hardly so or not known. None for scenes too large to be looked at as a whole.
    about
        Of the point spread, as plain numbers.
    """

    overlay: Overlay
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
    margin = 2 + -(-reach // ratio)
    if reason := _too_large(ordered.shape, ratio, margin):
        return reason
    places = draw_places(ordered, mosaic, ratio=ratio, margin=margin)
    seen = [each.through(matrix.to_numpy()) for each in places]
    with one_blas_thread():  # small products: more threads would only wait for one another
        found = _judged(within(seen, ratio, ENOUGH_TO_SEE), ratio, psf)
        if isinstance(found, str):
            return found
        kernel, about, left = found
        overlay = Overlay(Footprint(kernel, ratio), tuple(places))
        whole = len(places) == 1 and places[0].hsi.shape[1:] == ordered.shape[1:]
        gain = _gain(seen[0], overlay.footprint) if whole and left <= CLEAR else None
    if gain is not None:
        turned = [slice(None, None, -1) if back else slice(None) for back in _turned(cube, ordered)]
        gain = gain[tuple(turned)]
    return Sight(overlay, gain, about | {"places": len(places)})


def _too_large(shape: tuple[int, ...], ratio: int, margin: int) -> str | None:
    """Say so where even the smallest place would fill a laptop's memory, once it is lifted."""
    bands, *cells = shape
    rows, columns = (min(size, LEAST_SIDE) + 2 * margin for size in cells)
    if bands * rows * columns * ratio**2 <= 2 * MOST_VALUES:
        return None
    return (
        f"a place of {LEAST_SIDE} x {LEAST_SIDE} cells, and what they see around, is "
        f"{rows * ratio} x {columns * ratio} pixels of {bands} bands; expected "
        f"{2 * MOST_VALUES:,} values at most"
    )


def _judged(
    seen: Sequence[Place], ratio: int, psf: npt.NDArray[np.float64] | None
) -> tuple[npt.NDArray[np.float64], dict[str, Any], float] | str:
    """The kernel, what to say of it and what it leaves unexplained; or what speaks against it."""
    found = estimate_point_spread(seen, ratio)
    if found is None:
        return (
            "too few cells of the cube lie over the mosaic, or all alike, to find a point spread. "
            f"{FEW}"
        )
    if found.cells < FEWEST_CELLS:
        return (
            f"{found.cells} cells of the cube lie over the mosaic with all that they see; expected "
            f"{FEWEST_CELLS} or more to judge a point spread by. {FEW}"
        )
    if (apart := max(map(abs, found.shift)) / ratio) >= FARTHEST_BELIEVED:
        return (
            f"the cube and the mosaic seem to lie {apart:.1f} cells or more apart; expected less "
            f"than {FARTHEST_BELIEVED:.1f}. Register them on one another"
        )
    estimated = residual_of(found.kernel, seen, ratio)
    given = estimated if psf is None else residual_of(psf, seen, ratio)
    if reason := implausible(given, estimated):
        return f"{reason}. {ADVICE if psf is None else ADVICE_OF_GIVEN}"
    if psf is not None:
        return psf, {"form": "given"}, given
    return found.kernel, told_of(found), given


def implausible(given: float, estimated: float) -> str | None:
    """Say what speaks against a point spread, if anything does."""
    if not np.isfinite(given):
        return "through the point spread, too few cells see only pixels that the mosaic has"
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
    sight: Sight | str, trained: Trained, response: npt.NDArray[np.float64]
) -> tuple[Trained, dict[str, Any]]:
    """What was trained, made to agree with the cube where that can be shown to help.

    Returns
    -------
    trained, dict
        The network as it was, with a warning, where it cannot; and what to say of it in the model.
    """
    if isinstance(sight, str):
        return trained, _fallen_back(sight, {}, advice="")
    if not isinstance(trained.network, DenseNetwork):
        advice = "Use method='sin'" if len(response) > 1 else "Use consistency='msi'"
        reason = "the method's spectra are mixtures and stay so"
        return trained, _fallen_back(reason, sight.about, advice=advice)
    advice = ADVICE_OF_GIVEN if sight.about.get("form") == "given" else ADVICE
    refused = trained.refused
    if refused is not None:
        told = sight.about | refused.errors
        return trained, _fallen_back(refused.reason, told, advice=advice)
    assert trained.gain is not None  # of a network that obeys the MSI
    with one_blas_thread():
        made, errors = agree(
            trained.network,
            trained.gain,
            response,
            sight.overlay.footprint,
            sight.overlay.places,
            clearing=trained.clearing,
        )
    told = sight.about | errors
    # Also where the mosaic was learnt from, though the first round was held against the cells too:
    # of a mosaic with 16 bands, the rounds leave some cubes nothing to say.
    refused = objection(made, errors)
    if refused is not None:
        return trained, _fallen_back(refused.reason, told, advice=advice)
    assert made is not None  # else there is an objection
    return replace(trained, network=made), {"consistency": "both", "agreement": told}


def told_of_mosaic(sight: Sight | str | None, trained: Trained) -> dict[str, Any]:
    """What to say in a model of the mosaic that it may have learnt from."""
    if sight is None:
        return {}
    if isinstance(sight, str):
        return {"mosaic": {"learnt_from": False, "reason": sight}}
    refused = trained.refused
    reason = {} if refused is None else {"reason": refused.reason}
    return {"mosaic": sight.about | {"learnt_from": trained.learnt} | reason}


def _fallen_back(reason: str, told: dict[str, Any], *, advice: str) -> dict[str, Any]:
    warn_user(f"consistency='both' became 'msi': {reason}. {advice}".removesuffix(". "))
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
) -> list[Place]:
    """Load the scene as one place where it is small, else some places spread over it.

    Each comes with the pixels of ``margin`` cells around, NaN where there are none.
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
    else:
        side = min(SIDE, max(int(most**0.5) // ratio - 2 * margin, LEAST_SIDE))
        boxes = [
            (down, along)
            for down in spread(*spans[0], side, SPOTS)
            for along in spread(*spans[1], side, SPOTS)
        ]
    lazy = [
        (
            cube.data[:, slice(*down), slice(*along)],
            _window(mosaic.data, down, along, offset, ratio, margin),
        )
        for down, along in boxes
    ]
    loaded = dask.compute(*lazy)
    return [
        Place(np.asarray(cells), _padded(pixels, pads), margin)
        for (cells, (pixels, pads)) in loaded
    ]


def _covered(cells: int, pixels: int, offset: int, ratio: int) -> tuple[int, int]:
    """Cells that have a pixel of the mosaic."""
    first = max(0, -offset // ratio)
    last = min(cells, -((offset - pixels) // ratio))
    return first, max(last, first)


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
    """With what is missing around; NaN where a pixel is infinite, which is no value either."""
    padded = np.pad(
        np.asarray(pixels, "float32"), [(0, 0), *map(tuple, pads)], constant_values=np.nan
    )
    padded[np.isinf(padded)] = np.nan
    return padded


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
