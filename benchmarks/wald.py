"""Degrade real scenes by Wald's protocol, lift them back by each method, and score the result.

    python benchmarks/wald.py --quick                   # seven scenes, three cases of each
    python benchmarks/wald.py --psf gaussian delta      # all scenes and cases of two PSFs
    python benchmarks/wald.py sin linear --seeds 3      # other methods, more seeds

Every result is kept in ``benchmarks/results/<method>.csv`` and not computed again; after a change
of a method, delete its file or say ``--fresh``. `oracle` is the network of `sin` trained on the
truth, the ceiling of all methods that lift one pixel at a time.
"""

from __future__ import annotations

import argparse

import numpy as np
import published
from real_scenes import RESULTS, scenes
from runs import COSTS, KEY, mean, of, run_missing

from lift_xr import psf as psfs
from lift_xr.models import METHODS

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


def main() -> None:
    """Run what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("methods", nargs="*", default=[BASELINE, "sin", CEILING])
    parser.add_argument("--quick", action="store_true", help="seven scenes, three cases of each")
    parser.add_argument("--psf", nargs="+", default=["gaussian"], choices=psfs.names())
    parser.add_argument("--scene", nargs="+", help="only these scenes")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--fresh", nargs="+", default=[], help="forget these methods' results")
    chosen = parser.parse_args()
    for method in chosen.fresh:
        (RESULTS / f"{method}.csv").unlink(missing_ok=True)
    rows = quick_rows(chosen.scene) if chosen.quick else all_rows(chosen.scene, chosen.psf)
    found = {}
    for method in chosen.methods:
        if method not in (*METHODS, CEILING):
            parser.error(f"method is {method!r}; expected one of {[*METHODS, CEILING]}")
        found[method] = run_missing(rows, method, range(chosen.seeds))
    print_rows(rows, found)
    print_summary(rows, found)


def quick_rows(only: list[str] | None) -> list[dict]:
    """The rows that a recipe is judged by while it is worked on."""
    return [
        dict(zip(KEY, (name, "gaussian", ratio, bands), strict=True))
        for ratio, bands in QUICK_GRID
        for name in only or QUICK_SCENES
    ]


def all_rows(only: list[str] | None, chosen: list[str]) -> list[dict]:
    """Every case of the papers that leaves enough pixels of a scene, which has none missing."""
    cubes = {name: scenes().load(name) for name in only or scenes().names()}
    return [
        dict(zip(KEY, (name, psf, ratio, bands), strict=True))
        for psf in chosen
        for ratio, bands in published.GRID
        for name, cube in cubes.items()
        if (cube.sizes["y"] // ratio) * (cube.sizes["x"] // ratio) >= FEWEST_PIXELS
        and bool(np.isfinite(cube.values).all())
    ]


def print_rows(rows: list[dict], found: dict[str, list[dict]]) -> None:
    """One line a row: PSNR, SAM and ERGAS of every method."""
    print(f"\n| scene | PSF | r | b | {' | '.join(found)} |")
    print("| --- | --- | ---: | ---: |" + " --- |" * len(found))
    for row in rows:
        cells = (
            " / ".join(f"{mean(of(row, each), name):.2f}" for name in ("PSNR", "SAM", "ERGAS"))
            for each in found.values()
        )
        print(f"| {' | '.join(str(row[key]) for key in KEY)} | {' | '.join(cells)} |")
    print("\nPSNR in dB / SAM in degrees / ERGAS; means over the seeds.")


def print_summary(rows: list[dict], found: dict[str, list[dict]]) -> None:
    """Mean scores and costs of each method, how much of the gap it closes, its worst row."""
    scores = ("PSNR", "SAM", "ERGAS")
    print(f"\n| method | {' | '.join((*scores, 'gap closed', 'worst row', *COSTS))} |")
    print("| --- |" + " ---: |" * (len(scores) + 2 + len(COSTS)))
    psnr = {
        name: np.array([mean(of(row, each), "PSNR") for row in rows])
        for name, each in found.items()
    }
    for name, each in found.items():
        means = [np.mean([mean(of(row, each), column) for row in rows]) for column in scores]
        costs = [mean([result for row in rows for result in of(row, each)], cost) for cost in COSTS]
        cells = (
            *(f"{value:.3f}" for value in means),
            *against(psnr, name),
            *(f"{value:,.1f}" for value in costs),
        )
        print(f"| {name} | {' | '.join(cells)} |")
    print(f"\n{len(rows)} rows. The gap lies between the mean PSNR of {BASELINE} and of {CEILING};")
    print(f"the worst row is the least difference of PSNR from {BASELINE}.")


def against(psnr: dict[str, np.ndarray], name: str) -> tuple[str, str]:
    """Part of the gap closed, and the worst difference from the baseline in dB."""
    if BASELINE not in psnr:
        return "-", "-"
    gain = psnr[name] - psnr[BASELINE]
    if CEILING not in psnr:
        return "-", f"{gain.min():+.2f}"
    gap = (psnr[CEILING] - psnr[BASELINE]).mean()
    return f"{gain.mean() / gap:.0%}", f"{gain.min():+.2f}"


if __name__ == "__main__":
    main()
