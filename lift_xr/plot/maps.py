"""Maps of abundances, and the spectra of what they are abundances of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from lift_xr.errors import LayoutError
from lift_xr.plot.panels import FAINT, INK, broken_at_gaps, draw_image, new_figure, plain
from lift_xr.plot.pixels import MAX_SIZE, grows_upwards, thinned
from lift_xr.unmix import SPECTRA, as_maps

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

COLUMNS, EDGE, LOWER = 4, 3.1, 3.4  # maps in a row; inches of one, and of the spectra below
MOST = 99.0  # percentile of the abundances that is shown as white


def abundances(
    maps: xr.Dataset | xr.DataArray, *, columns: int = COLUMNS, max_size: int = MAX_SIZE
) -> Figure:
    """Maps of every endmember, in one scale, above their spectra.

    Parameters
    ----------
    maps
        From ``lift_xr.unmix``: ``abundances`` (endmember, y, x) and ``endmembers``; or the scene
        that ``open_scene`` makes of a store of them. Only the pixels shown are computed.
    columns
        Maps in a row.
    max_size
        As in ``false_colour``.

    Raises
    ------
    LayoutError
        Something else than such maps, or maps of more than one time.
    """
    shares, spectra = _expect_maps(maps)
    shown = thinned(shares, max(1, max_size // columns)).transpose("endmember", "y", "x").compute()
    count = shown.sizes["endmember"]
    columns = min(columns, count)
    rows = -(-count // columns)
    tall = EDGE * shown.sizes["y"] / shown.sizes["x"] + 0.35
    figure = new_figure(EDGE * columns + 0.8, rows * tall + LOWER)
    parts: Any = figure.subfigures(2, 1, height_ratios=(rows * tall, LOWER))
    upper, lower = parts
    colours = _colours(count)
    _draw_maps(upper, shown, rows, columns, colours)
    _draw_endmembers(lower.subplots(), spectra, colours)
    return figure


def _expect_maps(maps: xr.Dataset | xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    if isinstance(maps, xr.DataArray) and SPECTRA in maps.attrs:
        maps = as_maps(maps)
    if not isinstance(maps, xr.Dataset) or not {"abundances", "endmembers"} <= {*maps.data_vars}:
        raise LayoutError(
            "maps are no Dataset with abundances and endmembers; expected what lift_xr.unmix "
            "gives, or a store of it. Use plot.abundances(lift_xr.unmix(model, msi))"
        )
    if "time" in maps["abundances"].dims:
        raise LayoutError(
            f"maps have {maps.sizes['time']} times; expected one. Use maps = maps.isel(time=0)"
        )
    return maps["abundances"], maps["endmembers"]


def _draw_maps(
    figure: SubFigure, shown: xr.DataArray, rows: int, columns: int, colours: list[Any]
) -> None:
    values = shown.to_numpy()
    finite = values[np.isfinite(values)]
    most = float(np.percentile(finite, MOST)) if finite.size else 1.0
    most = most if most > 0 else 1.0  # nothing but negative ones: all black
    axes = figure.subplots(rows, columns, squeeze=False)
    image: Any = None
    scene = shown.rename(endmember="band")
    for number, ax in enumerate(axes.flat):
        if number >= len(values):
            ax.set_axis_off()
            continue
        picture = values[number][::-1] if grows_upwards(scene) else values[number]
        image = draw_image(ax, picture, scene, cmap="viridis", vmin=0, vmax=most)
        label = f"endmember {shown['endmember'].to_numpy()[number]}"
        ax.set_title(label, loc="left", fontsize=10, color=colours[number], fontweight="bold")
    bar = figure.colorbar(image, ax=axes, shrink=0.6, pad=0.01, extend="both")
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=9, color=FAINT, labelcolor=INK)
    bar.set_label("abundance", color=INK, fontsize=10)


def _draw_endmembers(ax: Axes, spectra: xr.DataArray, colours: list[Any]) -> None:
    located = "wavelength" in spectra.coords
    nm = spectra["wavelength" if located else "band"].to_numpy().astype("float64")
    names = spectra["endmember"].to_numpy()
    for name, row, colour in zip(names, spectra.to_numpy(), colours, strict=True):
        ax.plot(*broken_at_gaps(nm, row), color=colour, lw=1.6, label=str(name))
    units = spectra.attrs.get("units")
    quantity = "reflectance" if units == "1" else units or "value"
    plain(ax, xlabel="wavelength (nm)" if located else "band", ylabel=quantity)
    ax.set_ylim(bottom=min(0, ax.get_ylim()[0]))


def _colours(count: int) -> list[Any]:
    from matplotlib import colormaps

    return [colormaps["tab20" if count > 10 else "tab10"](number % 20) for number in range(count)]
