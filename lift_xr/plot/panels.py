"""The parts of a figure: pictures with their marks, spectra, maps of errors.

matplotlib is imported when the first figure is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from lift_xr.grid import Grid
from lift_xr.metrics import rmse, sam
from lift_xr.plot.pixels import (
    Bands,
    Place,
    false_colour,
    grows_upwards,
    one_image,
    stretch,
    thinned,
    widest,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

INK, FAINT = "#222222", "#8a8a8a"
COLOURS = ("#111111", "#d1495b", "#2e86ab", "#e0a030", "#5b8e4b")
MARKERS = ("#ffd23f", "#3bceac", "#ff6ec7", "#ffffff", "#ff8c42", "#7aa6ff")
LETTERS = "ABCDEF"
NAMES = {"nir": "NIR, red, green", "rgb": "red, green, blue"}


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches that belongs to nobody else."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(h_pad=0.08, w_pad=0.06))


def draw_images(
    figure: SubFigure,
    hsi: xr.DataArray,
    msi: xr.DataArray,
    fused: xr.DataArray,
    at: Sequence[Place],
    *,
    msi_bands: Bands,
    name: str,
    max_size: int,
) -> None:
    """The two inputs and the result, side by side."""
    far = widest(fused)
    limits = stretch(fused, bands=far, max_size=max_size)
    colours = NAMES.get(far, "false colour") if isinstance(far, str) else "false colour"
    panels = (
        (msi, msi_bands, None, f"MSI: {msi.sizes['band']} bands{_spacing(msi)}"),
        (hsi, far, limits, f"HSI: {hsi.sizes['band']} bands{_spacing(hsi)} ({colours})"),
        (fused, far, limits, f"{name}: {fused.sizes['band']} bands{_spacing(msi)} ({colours})"),
    )
    for ax, (scene, bands, white, title) in zip(figure.subplots(1, 3), panels, strict=True):
        picture = false_colour(scene, bands=bands, limits=white, max_size=max_size)
        draw_image(ax, picture, scene)
        ax.set_title(title, loc="left", fontsize=11, color=INK)
        _draw_markers(ax, at)
        ax.set_xlim(*_extent(msi)[:2])
        ax.set_ylim(*_extent(msi)[2:])
    _draw_scalebar(figure.axes[0], Grid.of(msi))


def draw_spectra(
    figure: Figure | SubFigure, scenes: Mapping[str, xr.DataArray], at: Sequence[Place]
) -> None:
    """One panel a place, one scale for all, and one legend."""
    axes = figure.subplots(1, len(at), sharey=True, squeeze=False)[0]
    for number, (ax, place) in enumerate(zip(axes, at, strict=True)):
        _draw_place(ax, scenes, place, number)
    axes[0].set_ylim(bottom=min(0, axes[0].get_ylim()[0]))
    axes[0].set_ylabel(_quantity(next(iter(scenes.values()))), color=INK)
    lines, names = axes[0].get_legend_handles_labels()
    figure.legend(lines, names, frameon=False, ncols=len(names), loc="outside upper right")


def draw_errors(
    figure: Figure | SubFigure,
    ax: Axes,
    estimate: xr.DataArray,
    reference: xr.DataArray,
    metric: Literal["rmse", "sam"],
    max_size: int,
) -> None:
    """Map the error of every pixel, with its scale."""
    thin = [thinned(one_image(scene), max_size) for scene in (estimate, reference)]
    errors = sam(*thin, dim=()) if metric == "sam" else rmse(*thin, dim=("band",))
    values = errors.to_numpy()
    values = values[::-1] if grows_upwards(estimate) else values
    most = float(np.nanpercentile(values, 99)) if np.isfinite(values).any() else 1.0
    shown = draw_image(ax, values, estimate, cmap="magma", vmin=0, vmax=most)
    label = "spectral angle (degrees)" if metric == "sam" else "RMSE over the bands"
    ax.set_title(f"Error: {label}", loc="left", fontsize=11, color=INK)
    bar = figure.colorbar(shown, ax=ax, shrink=0.85, pad=0.02, extend="max")
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=9, color=FAINT, labelcolor=INK)


def draw_image(ax: Axes, picture: npt.NDArray[Any], scene: xr.DataArray, **settings: Any) -> Any:
    """Show a picture, north up, where its scene lies."""
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax.imshow(picture, extent=_extent(scene), interpolation="nearest", **settings)


def plain(ax: Axes, *, xlabel: str, ylabel: str) -> None:
    """Axes with no more ink than they need."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(FAINT)
    ax.tick_params(colors=FAINT, labelcolor=INK, labelsize=9)
    ax.grid(color="#e6e6e6", lw=0.7)
    ax.set_axisbelow(True)
    ax.set_xlabel(xlabel, color=INK, fontsize=10)
    ax.set_ylabel(ylabel, color=INK, fontsize=10)


def on_map_of(msi: xr.DataArray, hsi: xr.DataArray) -> xr.DataArray:
    """Stretch a cube whose pixels are only counted over the mosaic."""
    coarse, fine = Grid.of(hsi), Grid.of(msi)
    if coarse.located and fine.located:
        return hsi
    steps = fine.height / coarse.height * fine.dy, fine.width / coarse.width * fine.dx
    y = fine.top + steps[0] * (np.arange(coarse.height) + 0.5)
    x = fine.left + steps[1] * (np.arange(coarse.width) + 0.5)
    return hsi.assign_coords(y=("y", y, msi["y"].attrs), x=("x", x, msi["x"].attrs))


def light(nm: float) -> str:
    """A colour to draw a band of that wavelength in."""
    edges = (440, 505, 575, 600, 700, 750)
    colours = ("#5b4fa2", "#2e66b1", "#3c9a52", "#d9a520", "#c8403c", "#8c2d3a", "#6b6b6b")
    return colours[int(np.searchsorted(edges, nm))]


def _outline(width: float) -> list[Any]:
    """A dark rim that keeps light ink legible on any picture."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=width, foreground="black", alpha=0.7)]


def _spacing(scene: xr.DataArray) -> str:
    grid = Grid.of(scene)
    metres = _metres(grid)
    return f", {abs(grid.dx) * metres:.3g} m pixels" if metres else ""


def _extent(scene: xr.DataArray) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of the picture; rows that are only counted grow downwards."""
    grid = Grid.of(scene)
    x0, y0, x1, y1 = grid.bounds
    return (x0, x1, y0, y1) if grid.located else (x0, x1, y1, y0)


def _draw_markers(ax: Axes, at: Sequence[Place]) -> None:
    for number, (x, y) in enumerate(at):
        colour = MARKERS[number % len(MARKERS)]
        ax.plot(x, y, "o", mfc="none", mec=colour, ms=10, mew=1.8, path_effects=_outline(3.5))
        ax.annotate(
            LETTERS[number],
            (x, y),
            xytext=(7, 6),
            textcoords="offset points",
            color=colour,
            fontsize=12,
            fontweight="bold",
            path_effects=_outline(2.5),
        )


def _metres(grid: Grid) -> float | None:
    """Metres in one CRS unit, where the CRS measures lengths."""
    if grid.crs is None or not grid.crs.is_projected:
        return None
    return float(grid.crs.axis_info[0].unit_conversion_factor)


def _draw_scalebar(ax: Axes, grid: Grid) -> None:
    """A bar of a round number of metres, about a fifth of the width, at the lower left."""
    metres = _metres(grid)
    if metres is None:
        return
    x0, y0, x1, y1 = grid.bounds
    length = _round_down((x1 - x0) * metres / 4)
    left, bottom = x0 + 0.04 * (x1 - x0), y0 + 0.045 * (y1 - y0)
    ends = [left, left + length / metres]
    ax.plot(ends, [bottom] * 2, color="white", lw=3, path_effects=_outline(5))
    text = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    ax.annotate(
        text,
        (left + length / metres / 2, bottom),
        xytext=(0, 5),
        textcoords="offset points",
        ha="center",
        color="white",
        fontsize=10,
        path_effects=_outline(2.5),
    )


def _round_down(length: float) -> float:
    """The largest 1, 2 or 5 times a power of ten that is no longer."""
    power = 10.0 ** np.floor(np.log10(length))
    return float(max(step * power for step in (1, 2, 5) if step * power <= length))


def broken_at_gaps(
    nm: npt.NDArray[np.float64], values: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """A spectrum by wavelength, with NaN wherever bands are missing, so that no line is drawn."""
    order = np.argsort(nm)
    nm, values = nm[order], values[order].astype("float64")
    steps = np.diff(nm)
    gaps = np.flatnonzero(steps > 3 * np.median(steps)) + 1 if steps.size else steps.astype("int64")
    return np.insert(nm, gaps, np.nan), np.insert(values, gaps, np.nan)


def _draw_place(ax: Axes, scenes: Mapping[str, xr.DataArray], place: Place, number: int) -> None:
    for order, (name, scene) in enumerate(scenes.items()):
        pixel = scene.sel(x=place[0], y=place[1], method="nearest").compute()
        width, zorder = (2.6, 2) if order == 0 else (1.5, 3 + order)
        line = "-" if order < 2 else "--"
        colour = COLOURS[order % len(COLOURS)]
        alpha = 0.45 if order == 0 else 1.0
        nm, values = broken_at_gaps(pixel["wavelength"].to_numpy(), pixel.to_numpy())
        ax.plot(nm, values, line, color=colour, lw=width, alpha=alpha, zorder=zorder, label=name)
    plain(ax, xlabel="wavelength (nm)", ylabel="")
    ax.set_title(LETTERS[number], loc="left", fontsize=12, fontweight="bold", color=INK)
    ax.annotate(
        "\N{BLACK CIRCLE}",
        (0, 1),
        xycoords="axes fraction",
        xytext=(15, 4.5),
        textcoords="offset points",
        color=MARKERS[number % len(MARKERS)],
        fontsize=15,
        path_effects=_outline(1.5),
    )


def _quantity(scene: xr.DataArray) -> str:
    units = str(scene.attrs.get("units", ""))
    return "reflectance" if units == "1" else units or "value"
