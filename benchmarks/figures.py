"""Pictures of the fidelity benchmark: every row beside its ceiling, and what scores depend on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

Psnr = dict[str, np.ndarray]

INK, FAINT = "#333333", "#cccccc"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555", "#999933")
"""The first six are Okabe and Ito's."""
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*")
STYLE = {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 110}
FAR = 8.0  # dB
TITLES = {"ratio": "ratio, 4 MSI bands", "msi_bands": "MSI bands, ratio 8", "psf": "PSF"}


def draw(
    rows: list[dict], psnr: Psnr, *, baseline: str, ceiling: str, folder: Path
) -> Iterator[Path]:
    """Draw what there is to draw, and give the files.

    Parameters
    ----------
    rows
        Cases; ``psnr[method][k]`` is that of ``rows[k]``, in dB.
    baseline, ceiling
        Methods that mark the two ends of the gap, where they are among those of ``psnr``.
    """
    if not rows:
        return
    with plt.rc_context(STYLE):
        if baseline in psnr and len(psnr) > 1:
            yield by_row(rows, psnr, baseline, ceiling, folder / "wald_rows.png")
        if any(len(groups(rows, name)) > 1 for name in TITLES):
            yield by_group(rows, psnr, folder / "wald_groups.png")


def by_row(rows: list[dict], psnr: Psnr, baseline: str, ceiling: str, path: Path) -> Path:
    """Gain of each method over the baseline, row by row, on a bar that ends at the ceiling."""
    order = sorted(range(len(rows)), key=lambda k: (str(rows[k]["psf"]), *case_of(rows[k])))
    places = np.arange(len(rows))[::-1]
    figure, axes = plt.subplots(figsize=(6.5, 1.2 + 0.19 * len(rows)), layout="constrained")
    if ceiling in psnr:
        gap = (psnr[ceiling] - psnr[baseline])[order]
        axes.barh(places, gap, height=0.65, color=FAINT, label=f"gap to {ceiling}", zorder=1)
    for colour, marker, name in zip(COLOURS, MARKERS, psnr, strict=False):
        if name in (baseline, ceiling) or told_apart(axes, psnr, name):
            continue
        gain = (psnr[name] - psnr[baseline])[order]
        axes.scatter(gain, places, s=16, c=colour, marker=marker, label=name, zorder=3)
    axes.axvline(0, color=INK, linewidth=1, zorder=2)
    axes.set_yticks(places, [label(rows[k]) for k in order])
    axes.set_ylim(-0.8, len(rows) - 0.2)
    axes.set_xlabel(f"PSNR above {baseline} (dB)")
    axes.tick_params(axis="y", length=0)
    figure.legend(frameon=False, loc="outside upper left", ncols=3)
    figure.savefig(path)
    plt.close(figure)
    return path


def by_group(rows: list[dict], psnr: Psnr, path: Path) -> Path:
    """Mean PSNR of each method by ratio, by number of bands and by PSF."""
    names = [name for name in TITLES if len(groups(rows, name)) > 1]
    widths = [max(len(groups(rows, name)), 3) for name in names]
    figure, panels = plt.subplots(
        1,
        len(names),
        figsize=(2 + 0.5 * sum(widths), 3.3),
        width_ratios=widths,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axes, name in zip(panels[0], names, strict=True):
        panel(axes, rows, psnr, name)
    panels[0][0].set_ylabel("mean PSNR (dB)")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside upper left", ncols=3)
    figure.savefig(path)
    plt.close(figure)
    return path


def panel(axes: Axes, rows: list[dict], psnr: Psnr, name: str) -> None:
    """One line a method over the values of one setting; PSFs have no order, so no line."""
    found = groups(rows, name)
    places = range(len(found))
    line = "none" if name == "psf" else "-"
    for colour, marker, method in zip(COLOURS, MARKERS, psnr, strict=False):
        if told_apart(axes, psnr, method):
            continue
        means = [np.mean(psnr[method][members]) for members in found.values()]
        style = {"color": colour, "marker": marker, "linestyle": line, "markersize": 4}
        axes.plot(places, means, label=method, **style)
    axes.set_xticks(places, [str(value) for value in found])
    if name == "psf":
        axes.tick_params(axis="x", rotation=40)
        plt.setp(axes.get_xticklabels(), ha="right", rotation_mode="anchor")
    scenes = {rows[k]["scene"] for members in found.values() for k in members}
    counted = "1 scene" if len(scenes) == 1 else f"{len(scenes)} scenes"
    axes.set_title(f"by {TITLES[name]} ({counted})", loc="left", fontsize=8)
    axes.grid(axis="y", color="#eeeeee")


def told_apart(axes: Axes, psnr: Psnr, name: str) -> bool:
    """Whether a method is so far below the best that it would flatten all others; then say so."""
    apart = max(values.mean() for values in psnr.values()) - psnr[name].mean()
    if apart > FAR:
        axes.plot([], [], linestyle="none", label=f"{name}: {apart:.0f} dB below the best")
    return bool(apart > FAR)


def groups(rows: list[dict], name: str) -> dict[object, list[int]]:
    """Places in ``rows`` of those that compare, by the value of one setting."""
    kept = {id(row) for row in comparable(rows, name)}
    values = list(dict.fromkeys(row[name] for row in rows if id(row) in kept))
    if name != "psf":
        values.sort()
    return {
        value: [k for k, row in enumerate(rows) if id(row) in kept and row[name] == value]
        for value in values
    }


def comparable(rows: list[dict], name: str) -> list[dict]:
    """Rows that differ in one setting only: ratios at 4 bands, bands at ratio 8, PSFs at any.

    A scene counts where it has the others' values too, so that means are over the same scenes; a
    value that fewer than half of the scenes have, as large ratios of small scenes, is left out.
    """
    fixed = {"ratio": ("msi_bands", 4), "msi_bands": ("ratio", 8)}
    some = [row for row in rows if name not in fixed or row[fixed[name][0]] == fixed[name][1]]
    parts = [key for key in ("scene", "psf", "ratio", "msi_bands") if key != name]
    settings = [tuple(row[key] for key in parts) for row in some]
    have: dict[object, set[tuple]] = {}
    for row, setting in zip(some, settings, strict=True):
        have.setdefault(row[name], set()).add(setting)
    wide = max((len(each) for each in have.values()), default=0)
    values = {value for value, each in have.items() if len(each) * 2 >= wide}
    shared = set.intersection(*(have[value] for value in values)) if values else set()
    return [
        row
        for row, setting in zip(some, settings, strict=True)
        if row[name] in values and setting in shared
    ]


def case_of(row: dict) -> tuple:
    """Ratio, bands, scene: the order of the rows in a picture."""
    return int(row["ratio"]), int(row["msi_bands"]), row["scene"]


def label(row: dict) -> str:
    """Name a row in few words."""
    kernel = "" if row["psf"] == "gaussian" else f" {row['psf']}"
    return f"{row['scene'].replace('_', ' ')} ({row['ratio']}, {row['msi_bands']}){kernel}"
