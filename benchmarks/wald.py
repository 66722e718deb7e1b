"""Degrade real scenes by Wald's protocol, lift them back by each method, and score the result.

    python benchmarks/wald.py --quick                   # seven scenes, three cases of each
    python benchmarks/wald.py                           # all scenes and cases of one PSF
    python benchmarks/wald.py --psf all                 # the papers' whole grid: days on two cores
    python benchmarks/wald.py sin+both linear --quick   # other methods, see methods.py
    python benchmarks/wald.py --axis own --kernels right
    python benchmarks/wald.py --msi-snr 30              # another MSI noise than the recipe assumes

Every result is kept in ``benchmarks/results/<method>.csv`` and not computed again; after a change
of a method, delete its file or say ``--fresh``; a table of results that different versions of the
library made says so. `oracle` is the network of `sin` trained on the
truth, the ceiling of all methods that lift one pixel at a time; `bicubic` is the cube alone.
Figures go beside the results.
"""

from __future__ import annotations

import argparse
from typing import get_args

import figures
import numpy as np
import published
from methods import find
from real_scenes import RESULTS, scenes
from runs import CASE, COSTS, PROTOCOL, load, mean, of, results_of, run_missing

from lift_xr import SpectralError
from lift_xr import psf as psfs

QUICK_SCENES = (
    "samson",
    "san_diego",
    "abu_airport_2",
    "abu_beach_1",
    "muufl_campus",
    "pavia_centre_crop",
    "cave_flowers",
)
QUICK_GRID = ((8, 4), (4, 4), (8, 3))
FEWEST_PIXELS = 36  # of the HSI; with fewer there is nothing to learn from
BASELINE, CEILING = "sin-paper", "oracle"
SHOWN = ("PSNR", "SAM", "ERGAS")


def main() -> None:
    """Run what is missing, then print the tables and draw the figures."""
    chosen = arguments()
    rows = wanted_rows(chosen)
    for method in chosen.fresh:
        results_of(method).unlink(missing_ok=True)
    found = run_missing(rows, chosen.methods, range(chosen.seeds))
    print_rows(rows, found)
    common = [row for row in rows if not lacking(row, found)]
    print_left_out(rows, found)
    print_summary(common, found)
    for name in ("ratio", "msi_bands", "psf"):
        print_groups(common, found, name)
    psnr = {name: psnr_of(common, each) for name, each in found.items()}
    print()
    for path in figures.draw(common, psnr, baseline=BASELINE, ceiling=CEILING, folder=RESULTS):
        print(f"wrote {path}")


def arguments() -> argparse.Namespace:
    """Read the command line; names that mean nothing are refused before anything runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("methods", nargs="*", default=[BASELINE, "sin", CEILING])
    parser.add_argument("--quick", action="store_true", help="seven scenes, three cases of each")
    parser.add_argument("--psf", nargs="+", default=["gaussian"], choices=["all", *psfs.names()])
    parser.add_argument("--case", nargs="+", help="only these, as ratio,bands: 8,4 8,1")
    parser.add_argument("--scene", nargs="+", help="only these scenes")
    parser.add_argument("--axis", default="papers", choices=get_args(published.Axis))
    parser.add_argument("--kernels", default="published", choices=get_args(published.Kernels))
    parser.add_argument("--msi-snr", type=float, default=published.MSI_SNR, help="in dB")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--fresh", nargs="+", default=[], help="forget these methods' results")
    chosen = parser.parse_args()
    for method in chosen.methods:
        try:
            find(method)
        except ValueError as error:
            parser.error(str(error))
    return chosen


def wanted_rows(chosen: argparse.Namespace) -> list[dict]:
    """List the rows: those that a recipe is judged by, or all that a scene is large enough for."""
    names = chosen.scene or (QUICK_SCENES if chosen.quick else scenes().names())
    grid = QUICK_GRID if chosen.quick else published.GRID
    if chosen.case:
        grid = tuple(tuple(map(int, case.split(","))) for case in chosen.case)
    kernels = psfs.names() if "all" in chosen.psf else chosen.psf
    protocol = {key: getattr(chosen, key) for key in PROTOCOL}
    rows = [
        dict(zip(CASE, (name, psf, *case), strict=True)) | protocol
        for psf in kernels
        for case in grid
        for name in names
    ]
    kept = [row for row in rows if permitted(row)]
    if few := len(rows) - len(kept):
        print(f"{few} of {len(rows)} rows are of scenes too small for them, or that end too soon.")
    return kept


def permitted(row: dict) -> bool:
    """Whether a scene leaves enough pixels, and on its own axis covers the MSI's bands."""
    cube = load(row["scene"])
    if (cube.sizes["y"] // row["ratio"]) * (cube.sizes["x"] // row["ratio"]) < FEWEST_PIXELS:
        return False
    if row["axis"] == "own":
        try:
            published.own_srf(row["msi_bands"], cube)
        except SpectralError:
            return False
    return True


def print_rows(rows: list[dict], found: dict[str, list[dict]]) -> None:
    """One line a row: PSNR, SAM and ERGAS of every method."""
    print(f"\n| scene | PSF | r | b | {' | '.join(found)} |")
    print("| --- | --- | ---: | ---: |" + " --- |" * len(found))
    for row in rows:
        cells = (
            " / ".join(f"{mean(of(row, each), name):.2f}" for name in SHOWN)
            for each in found.values()
        )
        print(f"| {' | '.join(str(row[key]) for key in CASE)} | {' | '.join(cells)} |")
    protocol = ", ".join(f"{key} {rows[0][key]}" for key in PROTOCOL) if rows else "no rows"
    print(f"\nPSNR in dB / SAM in degrees / ERGAS; means over the seeds; {protocol}.")


def lacking(row: dict, found: dict[str, list[dict]]) -> list[str]:
    """Name the methods that have no result of a row."""
    return [name for name, each in found.items() if not mean(of(row, each), "PSNR") > 0]


def print_left_out(rows: list[dict], found: dict[str, list[dict]]) -> None:
    """Name the rows that some method has no result of, which no mean can count."""
    for row in rows:
        if names := lacking(row, found):
            case = " ".join(str(row[key]) for key in CASE)
            print(f"\nLeft out below: {case}, for want of {', '.join(names)}.")


def print_summary(rows: list[dict], found: dict[str, list[dict]]) -> None:
    """Mean scores and costs of each method, how much of the gap it closes, its worst row."""
    print(f"\n| method | {' | '.join((*SHOWN, 'gap closed', 'worst row', *COSTS))} |")
    print("| --- |" + " ---: |" * (len(SHOWN) + 2 + len(COSTS)))
    psnr = {name: psnr_of(rows, each) for name, each in found.items()}
    for name, each in found.items():
        means = [np.mean([mean(of(row, each), column) for row in rows]) for column in SHOWN]
        costs = [mean([result for row in rows for result in of(row, each)], cost) for cost in COSTS]
        cells = (
            *(f"{value:.3f}" for value in means),
            *against(psnr, name),
            *(f"{value:,.1f}" for value in costs),
        )
        print(f"| {name} | {' | '.join(cells)} |")
    print(f"\n{len(rows)} rows. The gap lies between the mean PSNR of {BASELINE} and of {CEILING};")
    print(
        f"the worst row is the least difference of PSNR from {BASELINE}. lift_s is CPU seconds for"
    )
    print("a million pixels, of which small scenes spend most on what any task costs; peak_mib is")
    print("what training and lifting held above what scene and libraries held before.")


def print_groups(rows: list[dict], found: dict[str, list[dict]], name: str) -> None:
    """Mean scores of the rows that share a ratio, a number of bands, or a PSF."""
    values = list(dict.fromkeys(row[name] for row in figures.comparable(rows, name)))
    if len(values) < 2:
        return
    print(f"\n| {name} | rows | {' | '.join(found)} |")
    print("| --- | ---: |" + " --- |" * len(found))
    for value in sorted(values) if name != "psf" else values:
        some = [row for row in figures.comparable(rows, name) if row[name] == value]
        cells = (
            " / ".join(f"{np.mean([mean(of(row, each), c) for row in some]):.2f}" for c in SHOWN)
            for each in found.values()
        )
        print(f"| {value} | {len(some)} | {' | '.join(cells)} |")


def psnr_of(rows: list[dict], found: list[dict]) -> np.ndarray:
    """PSNR of each row, the mean over the seeds."""
    return np.array([mean(of(row, found), "PSNR") for row in rows])


def against(psnr: dict[str, np.ndarray], name: str) -> tuple[str, str]:
    """Part of the gap closed, and the worst difference from the baseline in dB."""
    if BASELINE not in psnr or not len(psnr[BASELINE]):
        return "-", "-"
    gain = psnr[name] - psnr[BASELINE]
    if CEILING not in psnr:
        return "-", f"{gain.min():+.2f}"
    gap = (psnr[CEILING] - psnr[BASELINE]).mean()
    return f"{gain.mean() / gap:.0%}", f"{gain.min():+.2f}"


if __name__ == "__main__":
    main()
