"""Give `consistency="both"` wrong point spreads: none may cost more than 0.1 dB against "msi".

    python benchmarks/wrong_psf.py                  # seven scenes, twenty kernels
    python benchmarks/wrong_psf.py --scene samson --msi-bands 16

Scenes are degraded as in wald.py, through the published Gaussian. A method is fitted with "msi",
with "both" and the point spread estimated, and with "both" and each kernel given as ``psf=``;
those of "both" share one training, which never looks at what is given.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from unittest.mock import patch

import numpy as np
import published
import torch
import xarray as xr
from methods import scenes_of
from runs import cores, load
from wald import QUICK_SCENES

import lift_xr
from lift_xr import agreement, footprint
from lift_xr.metrics.sewar import PEAK, to_bytes
from lift_xr.pointspread import estimate_point_spread, residual_of
from lift_xr.psf import Kernel, kernel, names

SIGMA, HALF_WIDTH = 3.4, 7  # pixels: the published Gaussian
ALLOWED = 0.1  # dB
HALVINGS = 7
WIDEST = 3.0  # times the right sigma
WIDTHS = (0.5, 0.75, 1.25, 1.5, 2.0)
SHIFTS = (0.25, 0.5)  # cells
Found = dict[str, tuple[float, bool]]
"""By kernel: PSNR, and whether it is one of "both"."""


def main() -> None:
    """Measure scene by scene, then print what each kernel did."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scene", nargs="+", default=QUICK_SCENES)
    parser.add_argument("--ratio", type=int, default=8)
    parser.add_argument("--msi-bands", type=int, default=4, choices=(1, 3, 4, 8, 16))
    parser.add_argument("--method", default="sin")
    parser.add_argument("--psf", nargs="+", help="only these kernels")
    chosen = parser.parse_args()
    protocol = {"ratio": chosen.ratio, "msi_bands": chosen.msi_bands}
    measure = partial(of_scene, protocol=protocol, method=chosen.method, only=chosen.psf)
    with ProcessPoolExecutor(cores()) as pool:
        measured = pool.map(measure, chosen.scene)
        found = dict(zip(chosen.scene, measured, strict=True))
    report(found)


def of_scene(name: str, *, protocol: dict[str, int], method: str, only: list[str] | None) -> Found:
    """PSNR of "msi", of "both", and of "both" through each kernel."""
    warnings.simplefilter("ignore")  # falling back is what is measured
    torch.set_num_threads(1)
    case = published.case(load(name), **protocol)
    hsi, msi = scenes_of(case)
    settings = {"method": method, "harmonize": "none", "device": "cpu", "progress": False}
    fit = partial(lift_xr.fit, hsi, case.srf, msi=msi, **settings)

    def scored(model: lift_xr.Model) -> tuple[float, bool]:
        lifted = lift_xr.predict(model, msi, hsi=hsi, device="cpu").to_numpy()
        return psnr(lifted, case.reference), model.about["consistency"] == "both"

    found = {"msi": scored(fit())}
    with training_once():
        given = {"estimated": None} | kernels(case)
        for each in only or given:
            found[each] = scored(fit(consistency="both", psf=given[each]))
    return found


def training_once() -> AbstractContextManager[object]:
    """Train on one cube once: a kernel that is given changes at most how bright its cells are."""
    module = sys.modules["lift_xr.fuse"]  # of the package, this name is the function's
    train, trained = module.learn, {}

    def learn(given: object, cube: xr.DataArray, **settings: object) -> object:
        if cube.data.name not in trained:
            trained[cube.data.name] = train(given, cube, **settings)
        return trained[cube.data.name]

    return patch.object(module, "learn", learn)


def kernels(case: published.Case) -> dict[str, Kernel]:
    """The right one, wrong ones, and the last of three kinds that pass for plausible."""
    passes = plausible(case)
    edges = {
        "narrowest that passes": scaled(furthest(lambda x: passes(scaled(x)), 1.0, 0.1)),
        "widest that passes": scaled(furthest(lambda x: passes(scaled(x)), 1.0, WIDEST)),
        "farthest that passes": shifted(furthest(lambda x: passes(shifted(x)), 0.0, case.ratio)),
    }
    widths = {f"gaussian, sigma x {each}": scaled(each) for each in WIDTHS}
    shifts = {f"gaussian, {each} cells off": shifted(each * case.ratio) for each in SHIFTS}
    families = {name: kernel(name) for name in names() if name != "gaussian"}
    return {"right": scaled(1.0)} | widths | shifts | families | edges


def scaled(factor: float) -> Kernel:
    """The right Gaussian, made so much wider."""
    half_width = max(round(HALF_WIDTH * factor), 1)
    return kernel("gaussian", sigma=SIGMA * factor, half_width=half_width)


def shifted(pixels: float) -> Kernel:
    """The right Gaussian, moved down."""
    at = np.arange(-2 * HALF_WIDTH - 1, 2 * HALF_WIDTH + 2)
    down, along = (
        np.exp(-(((at - by) / SIGMA) ** 2) / 2) * (abs(at - by) < HALF_WIDTH + 0.5)
        for by in (pixels, 0)
    )
    return np.outer(down / down.sum(), along / along.sum())


def plausible(case: published.Case) -> Callable[[Kernel], bool]:
    """What `fit` asks of a kernel before anything else."""
    margin = 2 + -(-round(HALF_WIDTH * WIDEST) // case.ratio)
    places = agreement.draw_places(*scenes_of(case), ratio=case.ratio, margin=margin)
    seen = [each.through(case.srf) for each in places]
    seen = footprint.within(seen, case.ratio, agreement.ENOUGH_TO_SEE)
    found = estimate_point_spread(seen, case.ratio)
    assert found is not None
    own = residual_of(found.kernel, seen, case.ratio)
    return lambda psf: agreement.implausible(residual_of(psf, seen, case.ratio), own) is None


def furthest(passes: Callable[[float], bool], start: float, end: float) -> float:
    """The last value that passes, on the way from the right one to the end."""
    for _ in range(HALVINGS):
        middle = (start + end) / 2
        start, end = (middle, end) if passes(middle) else (start, middle)
    return start


def psnr(estimate: np.ndarray, reference: np.ndarray) -> float:
    """PSNR as in the published tables: of values truncated to 8 bits, one for all bands."""
    error = np.mean((to_bytes(estimate) - to_bytes(reference)) ** 2)
    return float(10 * np.log10(PEAK**2 / error))


def report(found: dict[str, Found]) -> None:
    """One line a kernel, the worst of all, and the verdict."""
    print(f"| psf | {' | '.join(found)} | worst | fell back |")
    print("| --- |" + " ---: |" * (len(found) + 2))
    base = {scene: each["msi"][0] for scene, each in found.items()}
    print(f'| "msi", dB | {" | ".join(f"{psnr:.2f}" for psnr in base.values())} | - | - |')
    worst = {}
    for name in [each for each in next(iter(found.values())) if each != "msi"]:
        apart = {scene: each[name][0] - base[scene] for scene, each in found.items()}
        fallen = [scene for scene, each in found.items() if not each[name][1]]
        cells = [f"{off:+.2f}{'*' if scene in fallen else ''}" for scene, off in apart.items()]
        worst[name] = min(apart.values())
        count = f"{len(fallen)} of {len(found)}"
        print(f"| {name} | {' | '.join(cells)} | {worst[name]:+.2f} | {count} |")
    name = min(worst, key=worst.__getitem__)
    kept = "holds" if worst[name] >= -ALLOWED else "does not hold"
    print('\nPSNR in dB less that of "msi"; * has fallen back to "msi".')
    print(
        f"Never worse than msi by more than {ALLOWED} dB: {kept}; "
        f"the worst is {worst[name]:+.2f} dB, {name}"
    )


if __name__ == "__main__":
    main()
