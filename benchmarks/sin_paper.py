"""Hold our `sin-paper` against the figures of the published code, row by row.

    python benchmarks/sin_paper.py            # all 49 rows; resumes from its own CSV
    python benchmarks/sin_paper.py --rows 3   # a taste

Same scenes, same degradations (published noise streams included), same metrics as the table of
the published code's figures; only the network's seed cannot be the same, so three are averaged.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from pathlib import Path

import numpy as np
import published
from real_scenes import RESULTS, published_figures, scenes

from lift_xr.models import Pairs, train_method

KEY = ("scene", "psf", "ratio", "msi_bands")
FIELDS = (*KEY, "seed", "PSNR", "SAM", "SSIM", "RMSE", "ERGAS", "UIQI", "training_s")


def main() -> None:
    """Run what is missing, then print the table and its summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=None, help="only the first rows")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--method", default="sin-paper")
    chosen = parser.parse_args()
    rows = published_figures("reference_on_shared_scenes")[: chosen.rows]
    found = run_missing(rows, chosen.method, range(chosen.seeds))
    report(rows, found)


def run_missing(rows: list[dict], method: str, seeds: range) -> list[dict]:
    """All results, those of earlier runs read back from the CSV."""
    path = RESULTS / f"{method}.csv"
    path.parent.mkdir(exist_ok=True)
    done = read(path)
    known = {identity(each) for each in done}
    wanted = [(row, seed) for row in rows for seed in seeds]
    for number, (row, seed) in enumerate(wanted, 1):
        if identity(row | {"seed": seed}) in known:
            continue
        done.append(measure(row, method, seed))
        write(path, done)
        print(f"{number}/{len(wanted)}", *(done[-1][key] for key in FIELDS), flush=True)
    return done


def measure(row: dict, method: str, seed: int) -> dict:
    """Train on one degraded scene and score the lifted MSI against the truth."""
    case = published.case(
        scenes().load(row["scene"]),
        ratio=int(row["ratio"]),
        msi_bands=int(row["msi_bands"]),
        psf=row["psf"],
    )
    pixels = np.ascontiguousarray(case.hsi.reshape(len(case.hsi), -1).T)
    pairs = Pairs(pixels, case.srf.astype("float64"), "1")
    start = time.perf_counter()
    network, _ = train_method(method, pairs, seed=seed, device="cpu")
    seconds = time.perf_counter() - start
    scores = published.scores(network(case.msi), case.reference)
    return {key: row[key] for key in KEY} | {"seed": seed, **scores, "training_s": seconds}


def report(rows: list[dict], found: list[dict]) -> None:
    """One line a row, then what the rows say together."""
    signed, angles, pairs = [], [], []
    print("| scene | PSF | r | b | published PSNR | ours | diff | published SAM | ours |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for row in rows:
        ours = [each for each in found if all(str(each[key]) == row[key] for key in KEY)]
        psnr, sam = (
            statistics.mean(float(each[name]) for each in ours) for name in ("PSNR", "SAM")
        )
        theirs = float(row["PSNR"]), float(row["SAM"])
        signed.append(psnr - theirs[0])
        angles.append((sam, theirs[1]))
        pairs.append((int(row["ratio"]), signed[-1]))
        print(
            f"| {row['scene']} | {row['psf']} | {row['ratio']} | {row['msi_bands']} "
            f"| {theirs[0]:.2f} | {psnr:.2f} | {signed[-1]:+.2f} | {theirs[1]:.2f} | {sam:.2f} |"
        )
    worst = max(abs(off) for ratio, off in pairs if ratio <= 8)
    mean_ours, mean_theirs = (statistics.mean(side) for side in zip(*angles, strict=True))
    print(f"\n{len(rows)} rows: mean signed PSNR difference {statistics.mean(signed):+.3f} dB;")
    print(f"largest difference at ratio 8 or less {worst:.2f} dB;")
    print(
        f"mean SAM {mean_ours:.3f} against {mean_theirs:.3f} ({mean_ours / mean_theirs - 1:+.1%})"
    )


def identity(row: dict) -> tuple[str, ...]:
    """What one result is of."""
    return tuple(str(row[key]) for key in (*KEY, "seed"))


def read(path: Path) -> list[dict]:
    """Results of earlier runs."""
    if not path.exists():
        return []
    with path.open() as file:
        return list(csv.DictReader(file))


def write(path: Path, rows: list[dict]) -> None:
    """Keep the results, in one step."""
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    partial.replace(path)


if __name__ == "__main__":
    main()
