"""Hold our `sin-paper` against the figures of the published code, row by row.

    python benchmarks/sin_paper.py            # all 49 rows; resumes from its own CSV
    python benchmarks/sin_paper.py --rows 3   # a taste

Same scenes, same degradations (published noise streams included), same metrics as the table of
the published code's figures; only the network's seed cannot be the same, so three are averaged.
"""

from __future__ import annotations

import argparse
import statistics

from real_scenes import published_figures
from runs import mean, of, run_missing


def main() -> None:
    """Run what is missing, then print the table and its summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=None, help="only the first rows")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--method", default="sin-paper")
    chosen = parser.parse_args()
    rows = published_figures("reference_on_shared_scenes")[: chosen.rows]
    found = run_missing(rows, [chosen.method], range(chosen.seeds))
    report(rows, found[chosen.method])


def report(rows: list[dict], found: list[dict]) -> None:
    """One line a row, then what the rows say together."""
    signed, angles, pairs = [], [], []
    print("| scene | PSF | r | b | published PSNR | ours | diff | published SAM | ours |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for row in rows:
        psnr, sam = (mean(of(row, found), name) for name in ("PSNR", "SAM"))
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


if __name__ == "__main__":
    main()
