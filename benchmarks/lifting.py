"""Time what lifting a shard costs by each method, in turn.

    python benchmarks/lifting.py                       # 1280 x 1280 pixels, three methods
    python benchmarks/lifting.py sin sin+both --edge 640 --rounds 9

A scene of three by three shards is made up and held in memory, methods are fitted on a corner of
it, and the shard in the middle is lifted on one thread, so that whoever looks around has all
around to look at. Every round does each once; the ratios are of one round, to its first method.
"""

from __future__ import annotations

import argparse
import statistics
import time

import dask
import torch
import xarray as xr

import lift_xr
from lift_xr import synthetic

METHODS = ("sin-paper", "sin", "sin+both")
FITTED = 64  # edge of the corner that is fitted on, in cells


def main() -> None:
    """Print a line a method."""
    chosen = arguments()
    torch.set_num_threads(1)
    edge = 3 * chosen.edge
    scene = synthetic.scene((edge, edge), chosen.ratio, bands=chosen.bands, block=chosen.edge)
    hsi, msi = scene.hsi.compute(), scene.msi.compute()
    fused = {
        method: lifted(method, hsi, msi, scene.srf, ratio=chosen.ratio, edge=chosen.edge)
        for method in chosen.methods
    }
    spent: dict[str, list[float]] = {method: [] for method in fused}
    for _ in range(chosen.rounds):
        for method, each in fused.items():
            spent[method].append(seconds(each))
    first = spent[chosen.methods[0]]
    print(f"{chosen.edge} x {chosen.edge} pixels, {chosen.bands} bands, ratio {chosen.ratio}\n")
    print(f"| method | CPU seconds (median, min-max) | of {chosen.methods[0]} |")
    print("| --- | ---: | ---: |")
    for method, each in spent.items():
        ratios = [a / b for a, b in zip(each, first, strict=True)]
        print(f"| {method} | {told(each)} | {told(ratios)} |")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("methods", nargs="*", default=METHODS)
    parser.add_argument("--edge", type=int, default=1280, help="of a shard, in pixels")
    parser.add_argument("--ratio", type=int, default=20)
    parser.add_argument("--bands", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def lifted(
    name: str, hsi: xr.DataArray, msi: xr.DataArray, srf: lift_xr.SRF, *, ratio: int, edge: int
) -> xr.DataArray:
    """Fit a method on the corner, and lift, lazily, the shard in the middle."""
    method, _, consistency = name.partition("+")
    corner, below = slice(FITTED), slice(FITTED * ratio)
    model = lift_xr.fit(
        hsi.isel(y=corner, x=corner),
        srf,
        msi=msi.isel(y=below, x=below),
        method=method,
        consistency=consistency or "msi",
        device="cpu",
        progress=False,
    )
    if consistency == "both" and not model.halo:
        print(f"{name} found no point spread to look at the cube through, and is as +msi")
    middle = slice(edge, 2 * edge)
    fused = lift_xr.predict(model, msi.chunk(y=edge, x=edge), hsi=hsi, device="cpu")
    return fused.isel(y=middle, x=middle)


def seconds(fused: xr.DataArray) -> float:
    """CPU time of lifting it."""
    with dask.config.set(scheduler="synchronous"):
        start = time.process_time()
        fused.compute()
        return time.process_time() - start


def told(values: list[float]) -> str:
    """The median, and in brackets the least and the greatest."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


if __name__ == "__main__":
    main()
