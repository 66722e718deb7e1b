"""Hold the interval that ``lift_xr.uncertainty`` states against the errors that were made.

    python benchmarks/uncertainty.py            # the quick rows of wald.py
    python benchmarks/uncertainty.py --rows 2   # the first two of them
    python benchmarks/uncertainty.py --method sin+both --scene samson cave_balloons

Every row fits a method, `sin` unless told otherwise, on a real scene degraded by the published
protocol and lifts it back, as a user would. The interval of each pixel and band is held against the
error that was really made: 90 of 100 errors should lie inside. Beside it, how much larger errors
are where the model says that it extrapolates.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import published
import torch
from methods import find, scenes_of
from runs import cores, load
from wald import QUICK_GRID, QUICK_SCENES

import lift_xr


def main() -> None:
    """Print a row of figures for every scene and case, then the means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, help="only so many")
    parser.add_argument("--scene", nargs="+", default=QUICK_SCENES, help="these scenes")
    parser.add_argument("--method", default="sin", help="a name as in methods.py: sin, sin+both")
    chosen = parser.parse_args()
    try:
        find(chosen.method)
    except ValueError as error:
        parser.error(str(error))
    cases = [(scene, *case) for case in QUICK_GRID for scene in chosen.scene][: chosen.rows]
    print("| scene | r | b | covered | extrapolated | RMSE there | RMSE elsewhere |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    found = []
    with ProcessPoolExecutor(cores()) as pool:
        measured = pool.map(partial(row, method=chosen.method), *zip(*cases, strict=True))
        for (scene, ratio, bands), figures in zip(cases, measured, strict=True):
            found.append(figures)
            covered, share, there, elsewhere = figures
            print(
                f"| {scene} | {ratio} | {bands} | {covered:.1%} | {share:.0%} | {there:.4f} "
                f"| {elsewhere:.4f} |",
                flush=True,
            )
    covered = [each[0] for each in found]
    print(
        f"\ncovered: mean {np.mean(covered):.1%}, median {np.median(covered):.1%}, "
        f"{min(covered):.1%} to {max(covered):.1%}; {sum(map(promised, covered))} of "
        f"{len(covered)} rows within 85 to 95 %"
    )


def promised(covered: float) -> bool:
    """Whether the stated 90 % are that, as closely as is promised."""
    return 0.85 <= covered <= 0.95


def row(
    scene: str, ratio: int, msi_bands: int, *, method: str
) -> tuple[float, float, float, float]:
    """Share of errors inside the interval, share of pixels flagged, RMSE in them and elsewhere."""
    torch.set_num_threads(1)
    case = published.case(load(scene), ratio=ratio, msi_bands=msi_bands, psf="gaussian")
    hsi, msi = scenes_of(case)
    name, _, consistency = method.partition("+")
    settings: dict[str, Any] = {"method": name, "consistency": consistency or "msi"}
    model = lift_xr.fit(
        hsi, case.srf, msi=msi, harmonize="none", device="cpu", progress=False, **settings
    )
    told = lift_xr.uncertainty(model, msi).compute()
    error = np.abs(lift_xr.predict(model, msi, hsi=hsi, device="cpu").to_numpy() - case.reference)
    flagged = told["extrapolated"].to_numpy()
    return (
        float((error <= told["expected_error"].to_numpy()).mean()),
        float(flagged.mean()),
        root_mean_square(error[:, flagged]),
        root_mean_square(error[:, ~flagged]),
    )


def root_mean_square(errors: np.ndarray) -> float:
    """NaN of no errors."""
    return float(np.sqrt((errors**2).mean())) if errors.size else float("nan")


if __name__ == "__main__":
    main()
