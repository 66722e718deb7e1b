"""Hold a method against the figures of the published codes, row by row.

    python benchmarks/against_published.py             # `sin-paper`, 49 rows, three seeds
    python benchmarks/against_published.py --method sin --seeds 1
    python benchmarks/against_published.py --rows 3    # a taste

Same scenes, same degradations (published noise streams included), same metrics as in the tables of
the published codes' figures: SpectraLift has 49 rows, SpectraMorph 21 of them. Only the network's
seed cannot be the same, so three are averaged. Results are those of wald.py and not measured twice.
"""

from __future__ import annotations

import argparse
import statistics

from methods import find
from real_scenes import published_figures
from runs import CASE, mean, of, run_missing

TABLES = {
    "SpectraLift": "reference_on_shared_scenes",
    "SpectraMorph": "reference_on_shared_scenes_morph",
}
SHOWN = ("PSNR", "SAM")
Row = tuple[str, ...]
Ours = dict[Row, list[dict]]
Published = dict[str, dict[Row, dict]]


def main() -> None:
    """Run what is missing, then print the table and its summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=None, help="only the first rows")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--method", default="sin-paper", help="as in wald.py")
    chosen = parser.parse_args()
    try:
        find(chosen.method)
    except ValueError as error:
        parser.error(str(error))
    published = {
        code: {case_of(row): row for row in published_figures(table)}
        for code, table in TABLES.items()
    }
    cases = list(published["SpectraLift"])[: chosen.rows]
    rows = [dict(zip(CASE, case, strict=True)) for case in cases]
    found = run_missing(rows, [chosen.method], range(chosen.seeds))[chosen.method]
    ours = {case: of(row, found) for case, row in zip(cases, rows, strict=True)}
    print_rows(ours, published, chosen.method)
    print_summary(ours, published, chosen.method)


def case_of(row: dict) -> Row:
    """What a row is of."""
    return tuple(row[name] for name in CASE)


def print_rows(ours: Ours, published: Published, method: str) -> None:
    """One line a row: PSNR and SAM of each."""
    print(f"| scene | PSF | r | b | {' | '.join(published)} | {method} |")
    print("| --- | --- | ---: | ---: |" + " --- |" * (len(published) + 1))
    for case, found in ours.items():
        theirs = [[figures[case]] if case in figures else [] for figures in published.values()]
        print(f"| {' | '.join((*case, *map(told, [*theirs, found])))} |")
    print("\nPSNR in dB / SAM in degrees; a dash where that code has no figure.\n")


def told(found: list[dict]) -> str:
    """PSNR and SAM of one cell, the mean over the seeds."""
    return " / ".join(f"{mean(found, name):.2f}" for name in SHOWN) if found else "-"


def print_summary(ours: Ours, published: Published, method: str) -> None:
    """What the rows say together: of each published code, and of both."""
    ahead = []
    for code, figures in published.items():
        shared = [case for case in ours if case in figures]
        if shared:
            print(f"{code}, {len(shared)} rows: {differences(shared, ours, figures)}")
        ahead.append({case: psnr(ours[case]) > float(figures[case]["PSNR"]) for case in shared})
    both = set.intersection(*map(set, ahead))
    count = sum(all(each[case] for each in ahead) for case in both)
    print(f"{method} is ahead of both on {count} of the {len(both)} rows that both have")


def differences(shared: list[Row], ours: Ours, figures: dict[Row, dict]) -> str:
    """Ours less theirs, in PSNR and in SAM."""
    apart = {case: psnr(ours[case]) - float(figures[case]["PSNR"]) for case in shared}
    near = [abs(off) for (_, _, ratio, _), off in apart.items() if int(ratio) <= 8]
    least = min(apart, key=apart.__getitem__)
    sam = statistics.mean(mean(ours[case], "SAM") for case in shared)
    theirs = statistics.mean(float(figures[case]["SAM"]) for case in shared)
    return (
        f"mean PSNR difference {statistics.mean(apart.values()):+.3f} dB, "
        f"ahead on {sum(off > 0 for off in apart.values())};\n"
        f"  the least {apart[least]:+.2f} dB ({' '.join(least)}), the largest either way at "
        f"ratio 8 or less {max(near, default=float('nan')):.2f} dB;\n"
        f"  mean SAM {sam:.3f} against {theirs:.3f} degrees ({sam / theirs - 1:+.1%})"
    )


def psnr(found: list[dict]) -> float:
    """The mean over the seeds."""
    return mean(found, "PSNR")


if __name__ == "__main__":
    main()
