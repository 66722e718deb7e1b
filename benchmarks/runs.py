"""Train a method on a degraded scene and keep what came out: one CSV per method, resumable."""

from __future__ import annotations

import csv
import resource
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import published
import torch
from real_scenes import RESULTS, scenes

from lift_xr.kernel import DenseNetwork
from lift_xr.models import METHODS, Pairs, train_method
from lift_xr.models.projection import obey_msi
from lift_xr.models.sin import SpectralInversion, Whitening, shuffled, to_dense
from lift_xr.sample import draw_from_block
from lift_xr.training import WarmCosine, reproducible, to_tensor, train

KEY = ("scene", "psf", "ratio", "msi_bands")
SCORES = ("PSNR", "SAM", "SSIM", "RMSE", "ERGAS", "UIQI")
COSTS = ("training_s", "parameters", "flops_per_pixel", "peak_mib")
FIELDS = (*KEY, "seed", *SCORES, *COSTS)

# The oracle: wide enough, and trained for long enough, that more of either changes little.
ORACLE_WIDTH, ORACLE_STEPS, ORACLE_BATCH, ORACLE_COMPONENTS = 128, 4000, 512, 24


def run_missing(rows: list[dict], method: str, seeds: Iterable[int]) -> list[dict]:
    """All results of a method, those of earlier runs read back from its CSV."""
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
        shown = (*KEY, "seed", "PSNR", "SAM", "ERGAS", "training_s")
        print(method, f"{number}/{len(wanted)}", *(done[-1][key] for key in shown), flush=True)
    return done


def measure(row: dict, method: str, seed: int) -> dict:
    """Train on one degraded scene and score the lifted MSI against the truth."""
    case = published.case(
        scenes().load(row["scene"]),
        ratio=int(row["ratio"]),
        msi_bands=int(row["msi_bands"]),
        psf=row["psf"],
    )
    forget_peak()
    start = time.perf_counter()
    network = oracle(case, seed) if method == "oracle" else trained(case, method, seed)
    costs = {
        "training_s": time.perf_counter() - start,
        "parameters": network.parameters,
        "flops_per_pixel": flops(network),
    }
    lifted = network(case.msi)
    costs["peak_mib"] = peak_mib()
    scores = published.scores(lifted, case.reference)
    return {key: row[key] for key in KEY} | {"seed": seed, **scores, **costs}


def trained(case: published.Case, method: str, seed: int) -> DenseNetwork:
    """The method as ``fit`` trains it, the projection onto the MSI included where it has one."""
    sample = draw_from_block(
        case.hsi,
        (0, case.hsi.shape[1]),
        (0, case.hsi.shape[2]),
        width=case.hsi.shape[2],
        count=None,
        seed=0,
    )
    pairs = Pairs(sample.pixels, case.srf.astype("float64"), "1", sample.beside)
    network, _ = train_method(method, pairs, seed=seed, device="cpu")
    return obey_msi(network, pairs, seed=seed) if METHODS[method].projects else network


def oracle(case: published.Case, seed: int) -> DenseNetwork:
    """The network of `sin`, wider, trained on the MSI and the truth that `sin` never sees.

    The ceiling of what one pixel of the MSI says about its spectrum: no other method of one pixel
    in and one spectrum out should be above it by more than what luck brings.
    """
    truth = Pairs(spectra(case.reference), case.srf.astype("float64"), "1")
    space = Whitening.of(truth, ORACLE_COMPONENTS)
    msi, hsi = (
        to_tensor(side, "cpu")
        for side in (space.inputs(spectra(case.msi)), space.outputs(truth.hsi))
    )
    decode = to_tensor(space.basis / space.unit, "cpu")
    with reproducible(seed, "cpu") as random:
        network = SpectralInversion(
            msi.shape[1], len(decode), width=ORACLE_WIDTH, branches=(1, 2, 2)
        )
        order = shuffled(len(msi), ORACLE_BATCH, random)

        def draw() -> tuple[torch.Tensor, torch.Tensor]:
            chosen = next(order)
            return msi[chosen], hsi[chosen]

        train(
            network,
            draw,
            steps=ORACLE_STEPS,
            schedule=WarmCosine(top=5e-3),
            optimizer=torch.optim.Adam(network.parameters(), fused=True),
            loss=lambda found, wanted: ((found - wanted) @ decode).abs().mean(),
        )
    return space.unfold(to_dense(network))


def spectra(cube: np.ndarray) -> np.ndarray:
    """(band, y, x) to (pixel, band)."""
    return np.ascontiguousarray(cube.reshape(len(cube), -1).T)


def flops(network: DenseNetwork) -> int:
    """Multiplications and additions for one pixel, as the kernel does them."""
    matrices = [network.direct, network.output, *(weights for weights, _ in network.hidden)]
    return 2 * sum(matrix.size for matrix in matrices)


def forget_peak() -> None:
    """Let the peak memory of this process start again from now, where Linux allows it."""
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")


def peak_mib() -> float:
    """Most memory this process has held since, in MiB."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    (line,) = (each for each in status.read_text().splitlines() if each.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def of(row: dict, found: list[dict]) -> list[dict]:
    """The results of one row, one for each seed."""
    return [each for each in found if all(str(each[key]) == str(row[key]) for key in KEY)]


def mean(found: list[dict], name: str) -> float:
    """Mean of one column; NaN where earlier runs did not measure it."""
    values = [float(each[name]) for each in found if each.get(name) not in (None, "")]
    return float(np.mean(values)) if values else float("nan")


def identity(row: dict[str, Any]) -> tuple[str, ...]:
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
