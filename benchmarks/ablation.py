"""What of SpectraLift's network and training matters: the paper's Table 11, on our scenes.

    python benchmarks/ablation.py            # seven scenes, Gaussian PSF, eight cases; resumes
    python benchmarks/ablation.py --quick    # two scenes, three cases of each

Each variant changes one thing of ``sin-paper``: depth, width, activation, loss, skips, schedule.
The paper's figures are of one scene, DC Mall, ours of several, so it is the differences from the
baseline that compare, and their order, not the levels.
"""

from __future__ import annotations

import argparse
import csv
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import methods
import numpy as np
import published
import torch
from methods import Trained, spectra
from real_scenes import data_folder
from runs import mean, of, run_missing
from torch import nn
from wald import QUICK_GRID, QUICK_SCENES, permitted

from lift_xr.models.sin import SLOPE
from lift_xr.training import Adam, OneCycle, reproducible, to_tensor, train

STEPS, RATE = 2500, 1e-3
CHUNK = 16_384  # pixels lifted at once
SMALL = ("samson", "muufl_campus")
Activation = Callable[[torch.Tensor], torch.Tensor]
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def leaky(values: torch.Tensor) -> torch.Tensor:
    """The leaky ReLU as published."""
    return nn.functional.leaky_relu(values, SLOPE)


@dataclass(frozen=True)
class Variant:
    """The published network and training, with one thing changed.

    Parameters
    ----------
    theirs
        The paper's name of the variant, in the table of its figures.
    branches
        Layers in each residual branch after the first layer.
    """

    theirs: str
    width: int = 64
    branches: tuple[int, ...] = (1, 2, 2)
    skips: bool = True
    activate: Activation = leaky
    loss: Loss = nn.functional.l1_loss
    flat: bool = False


def cosine_loss(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """One minus the cosine of the angle between spectra, averaged: blind to brightness."""
    return 1 - nn.functional.cosine_similarity(found, wanted, dim=-1).mean()


BASELINE = "baseline"
VARIANTS = {
    BASELINE: Variant("baseline_6x64"),
    "8 layers": Variant("layers8", branches=(1, 2, 2, 2)),
    "4 layers": Variant("layers4", branches=(1, 2)),
    "2 layers": Variant("layers2", branches=(1,)),
    "1 layer": Variant("layers1", branches=()),
    "width 32": Variant("width32", width=32),
    "width 128": Variant("width128", width=128),
    "ReLU": Variant("relu", activate=nn.functional.relu),
    "GeLU": Variant("gelu", activate=nn.functional.gelu),
    "no activation": Variant("linear", activate=nn.Identity()),
    "no skips": Variant("no_skip", skips=False),
    "squared error": Variant("loss_mse", loss=nn.functional.mse_loss),
    "cosine loss": Variant("loss_cosine", loss=cosine_loss),
    "flat schedule": Variant("flat_lr", flat=True),
}


class Network(nn.Module):
    """The network of ``sin-paper`` with any activation, with or without skips."""

    def __init__(self, msi_bands: int, bands: int, variant: Variant) -> None:
        super().__init__()
        self.variant = variant
        widths = [msi_bands] + [variant.width] * (1 + sum(variant.branches))
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.output = nn.Linear(variant.width, bands)
        for layer in (*self.hidden, self.output):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, msi: torch.Tensor) -> torch.Tensor:
        """(pixel, msi_band) to (pixel, band)."""
        activate = self.variant.activate
        state = activate(self.hidden[0](msi))
        remaining = iter(self.hidden[1:])
        for length in self.variant.branches:
            branch = state
            for _ in range(length):
                branch = activate(next(remaining)(branch))
            state = state + branch if self.variant.skips else branch
        return self.output(state)


def trained(case: published.Case, seed: int, *, variant: Variant, steps: int) -> Trained:
    """Train one variant as published: full batches, one cycle unless it is the flat one."""
    targets = to_tensor(spectra(case.hsi), "cpu")
    inputs = targets @ to_tensor(case.srf.T, "cpu")
    with reproducible(seed, "cpu"):
        network = Network(inputs.shape[1], targets.shape[1], variant)
        train(
            network,
            lambda: (inputs, targets),
            steps=steps,
            schedule=(lambda _step, _steps: RATE) if variant.flat else OneCycle(),
            optimizer=Adam(network, eps=1e-7, fused=False),
            loss=variant.loss,
        )
    layers = (*network.hidden, network.output)
    return Trained(
        lift=lambda: lifted(network, case),
        parameters=sum(each.numel() for each in network.parameters()),
        flops=sum(2 * layer.weight.numel() for layer in layers),
    )


@torch.inference_mode()
def lifted(network: Network, case: published.Case) -> published.Floats:
    """Lift the MSI and clip to 0-1, as published: (band, y, x)."""
    pixels = to_tensor(spectra(case.msi), "cpu")
    found = torch.cat([network(part) for part in pixels.split(CHUNK)]).numpy().T
    return np.clip(found, 0, 1).reshape(-1, *case.msi.shape[1:])


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two scenes, three cases of each")
    parser.add_argument("--scene", nargs="+", help="only these scenes")
    parser.add_argument("--case", nargs="+", help="only these, as ratio,bands: 8,4 8,1")
    parser.add_argument("--variant", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=STEPS, help="other than as published")
    chosen = parser.parse_args()
    rows = wanted_rows(chosen)
    steps = f" {chosen.steps}" if chosen.steps != STEPS else ""
    named = {name: f"ablation {name}{steps}" for name in (BASELINE, *chosen.variant)}
    for name, method in named.items():
        methods.REGISTERED[method] = partial(trained, variant=VARIANTS[name], steps=chosen.steps)
    found = run_missing(rows, named.values(), range(chosen.seeds))
    report(rows, {name: found[method] for name, method in named.items()})


def wanted_rows(chosen: argparse.Namespace) -> list[dict]:
    """Eight cases of seven scenes, or what was asked for."""
    grid = QUICK_GRID if chosen.quick else published.GRID
    if chosen.case:
        grid = tuple(tuple(map(int, case.split(","))) for case in chosen.case)
    rows = [
        {"scene": name, "psf": "gaussian", "ratio": ratio, "msi_bands": bands, "axis": "papers"}
        for ratio, bands in grid
        for name in chosen.scene or (SMALL if chosen.quick else QUICK_SCENES)
    ]
    return [row for row in rows if permitted(row)]


def report(rows: list[dict], found: dict[str, list[dict]]) -> None:
    """One line a variant, ours beside the paper's, each against its own baseline."""
    ours = {
        name: statistics.mean(mean(of(row, each), "PSNR") for row in rows)
        for name, each in found.items()
    }
    cases = {(str(row["ratio"]), str(row["msi_bands"])) for row in rows}
    theirs = paper(cases)
    print("\n| variant | PSNR | against baseline | rank | paper | against baseline | rank |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    ranks = [
        ranked({name: table[name] for name in ours if name in table}) for table in (ours, theirs)
    ]
    for name, psnr in ours.items():
        cells = [f"{psnr:.2f}", f"{psnr - ours[BASELINE]:+.2f}", str(ranks[0][name])]
        if name in theirs:
            apart = theirs[name] - theirs[BASELINE]
            cells += [f"{theirs[name]:.2f}", f"{apart:+.2f}", str(ranks[1][name])]
        else:
            cells += ["-"] * 3
        print(f"| {name} | {' | '.join(cells)} |")
    shared = [name for name in ours if name in theirs]
    if len(shared) > 2:
        order = np.corrcoef(*([rank[name] for name in shared] for rank in ranks))[0, 1]
        print(f"\nRank correlation of the two orders: {order:.2f}.")
    cases_told = ", ".join(f"({ratio}, {bands})" for ratio, bands in sorted(cases))
    scenes = ", ".join(dict.fromkeys(row["scene"] for row in rows))
    print(f"Mean PSNR in dB of {len(rows)} rows: {scenes}; cases {cases_told}.")
    print("The paper's: DC Mall over the same cases.")


def ranked(psnr: dict[str, float]) -> dict[str, int]:
    """1 for the best."""
    order = sorted(psnr, key=psnr.__getitem__, reverse=True)
    return {name: place for place, name in enumerate(order, 1)}


def paper(cases: set[tuple[str, str]]) -> dict[str, float]:
    """Mean PSNR of each variant in the paper's table, where that table is at hand."""
    path = Path("notes/reference_results/spectralift_ablation_dc_gaussian.csv")
    path = data_folder().parent / path
    if not path.exists():
        return {}
    with path.open() as file:
        rows = [row for row in csv.DictReader(file) if (row["r"], row["b"]) in cases]
    found = {}
    for name, variant in VARIANTS.items():
        values = [float(row["psnr_db"]) for row in rows if row["variant"] == variant.theirs]
        if values:
            found[name] = statistics.mean(values)
    return found


if __name__ == "__main__":
    main()
