"""Pictures: false colour, spectra, maps, responses, and the figure that compares scenes.

Every function returns pixels or a ``matplotlib.figure.Figure`` of its own: nothing is shown, and no
state is shared with pyplot. Scenes of any size are thinned out lazily before pixels are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from lift_xr.errors import SpectralError
from lift_xr.grid import Grid
from lift_xr.plot.maps import abundances
from lift_xr.plot.panels import (
    FAINT,
    INK,
    draw_errors,
    draw_images,
    draw_spectra,
    light,
    new_figure,
    on_map_of,
    plain,
)
from lift_xr.plot.pixels import (
    MAX_SIZE,
    Bands,
    Place,
    false_colour,
    one_image,
    places,
    stretch,
)
from lift_xr.srf import SRF

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "abundances",
    "comparison",
    "error_map",
    "false_colour",
    "places",
    "spectra",
    "srf",
    "stretch",
]

WIDTH, LOWER = 15.0, 4.4  # inches: of the comparison, and of its lower row


def spectra(scenes: Mapping[str, xr.DataArray], *, at: Sequence[Place]) -> Figure:
    """Spectra of several scenes at the same places, one panel a place.

    Parameters
    ----------
    scenes
        Name to scene (band, y, x), with wavelengths and coordinates in one CRS; the first is drawn
        heaviest. Pixel sizes may differ.
    at
        Places (x, y), in CRS units; each scene shows the pixel that holds it.
    """
    figure = new_figure(4.2 * len(at), 3.4)
    draw_spectra(figure, scenes, at)
    return figure


def error_map(
    estimate: xr.DataArray,
    reference: xr.DataArray,
    *,
    metric: Literal["rmse", "sam"] = "rmse",
    max_size: int = MAX_SIZE,
) -> Figure:
    """A map of how far an estimate is from the reference, pixel by pixel.

    Parameters
    ----------
    estimate, reference : (band, y, x)
        On one grid.
    metric
        ``"rmse"`` over the bands, in their units, or ``"sam"``, the spectral angle in degrees.
    max_size
        As in ``false_colour``.
    """
    figure = new_figure(6, 5)
    draw_errors(figure, figure.subplots(), estimate, reference, metric, max_size)
    return figure


def srf(response: Any, *, hsi: xr.DataArray | None = None) -> Figure:
    """The curves of a response, above the bands of the cube it is to be sampled on.

    Parameters
    ----------
    response
        Whatever ``SRF.of`` takes.
    hsi
        Marks its band centres, if given.
    """
    curves = SRF.of(response)
    figure = new_figure(9, 3.4)
    ax = figure.subplots()
    if curves.wavelength is None:
        raise SpectralError(
            f"the SRF {curves.name!r} is a matrix without wavelengths; expected curves to draw. "
            "Give it a 'wavelength' coordinate along band, in nm"
        )
    for name, row, centre in zip(curves.bands, curves.curves, curves.centres, strict=True):
        seen, colour = row > 0.002, light(centre)
        ax.fill_between(curves.wavelength, row, where=seen, color=colour, alpha=0.25, lw=0)
        ax.plot(curves.wavelength[seen], row[seen], color=colour, lw=1.5)
        ax.text(centre, 1.03, name, color=colour, fontsize=8.5, rotation=55, va="bottom")
    if hsi is not None:
        ax.plot(hsi["wavelength"], np.full(hsi.sizes["band"], -0.04), "|", color=FAINT, ms=5)
    plain(ax, xlabel="wavelength (nm)", ylabel="relative response")
    ax.set_ylim(top=1.25)
    ax.set_title(curves.name, loc="left", fontsize=11, color=INK)
    return figure


def comparison(
    hsi: xr.DataArray,
    msi: xr.DataArray,
    fused: xr.DataArray,
    *,
    reference: xr.DataArray | None = None,
    others: Mapping[str, xr.DataArray] | None = None,
    at: Sequence[Place] | None = None,
    msi_bands: Bands = None,
    name: str = "fused",
    title: str = "",
    max_size: int = MAX_SIZE,
) -> Figure:
    """One figure of a fusion: both inputs and the result, spectra, and the error if it is known.

    Parameters
    ----------
    hsi, msi, fused : (band, y, x)
        The two inputs, and the result on the grid of ``msi``, or every nth pixel of it.
    reference : (band, y, x)
        The truth, on the grid of ``fused``. With it the last panel maps the error; without, the
        spectra have the row to themselves and are drawn against the HSI's.
    others
        Further results to draw spectra of, by name.
    at
        Places (x, y) of the spectra, in CRS units; by default three, picked by ``places``.
    msi_bands
        Which bands of ``msi`` to show, as ``bands`` in ``false_colour``.
    name
        What to call ``fused``.
    title
        Above everything.
    max_size
        As in ``false_colour``.

    Notes
    -----
    The HSI and the result are shown in near infrared, red and green where they reach so far, with
    one stretch for both.
    """
    msi, fused = one_image(msi), one_image(fused)
    hsi = on_map_of(msi, one_image(hsi))
    at = places(fused, max_size=max_size) if at is None else at
    grid = Grid.of(msi)
    tall = WIDTH / 3 * abs(grid.height * grid.dy) / abs(grid.width * grid.dx) + 0.35
    figure = new_figure(WIDTH, tall + LOWER + (0.4 if title else 0))
    rows: Any = figure.subfigures(2, 1, height_ratios=(tall, LOWER))
    upper, lower = rows
    draw_images(upper, hsi, msi, fused, at, msi_bands=msi_bands, name=name, max_size=max_size)
    shown = {"truth": reference} if reference is not None else {"HSI pixel": hsi}
    shown |= {name: fused, **(others or {})}
    if reference is None:
        draw_spectra(lower, shown, at)
    else:
        left, right = lower.subfigures(1, 2, width_ratios=(2, 1))
        draw_spectra(left, shown, at)
        draw_errors(right, right.subplots(), fused, reference, "rmse", max_size)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=14, color=INK)
    return figure
