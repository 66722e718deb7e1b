"""Time the training of each method on a generated cube, in turn.

    python benchmarks/training.py                  # 128 x 128 pixels, four methods, three rounds
    python benchmarks/training.py sin --size 64

The cube is in memory and finding it costs nothing; everything else of ``lift_xr.fit`` counts. CPU
seconds are those of all threads of this process, and say more than wall time beside other work.
"""

from __future__ import annotations

import argparse
import statistics
import time

import lift_xr
from lift_xr import synthetic

METHODS = ("sin", "sin-paper", "morph", "morph-paper")
RATIO = 20


def main() -> None:
    """Print a line a method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("methods", nargs="*", default=METHODS)
    parser.add_argument("--size", type=int, default=128, help="edge of the cube in pixels")
    parser.add_argument("--bands", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    edge = chosen.size * RATIO
    scene = synthetic.scene((edge, edge), RATIO, bands=chosen.bands, srf="rgb-camera")
    hsi = scene.hsi.compute()
    lift_xr.fit(hsi, scene.srf, method="linear", progress=False)  # what the first fit waits for
    spent: dict[str, list[tuple[float, float]]] = {method: [] for method in chosen.methods}
    for _ in range(chosen.rounds):
        for method in chosen.methods:
            spent[method].append(seconds(hsi, scene.srf, method))
    print(f"{chosen.size} x {chosen.size} pixels, {chosen.bands} bands, {chosen.rounds} rounds\n")
    print("| method | CPU seconds (median, min-max) | wall seconds |")
    print("| --- | ---: | ---: |")
    for method, pairs in spent.items():
        cpu, wall = zip(*pairs, strict=True)
        told = f"{statistics.median(cpu):.1f} ({min(cpu):.1f}-{max(cpu):.1f})"
        print(f"| {method} | {told} | {statistics.median(wall):.1f} |")


def seconds(hsi: object, srf: object, method: str) -> tuple[float, float]:
    """CPU and wall time of one fit."""
    cpu, wall = time.process_time(), time.perf_counter()
    lift_xr.fit(hsi, srf, method=method, device="cpu", progress=False)
    return time.process_time() - cpu, time.perf_counter() - wall


if __name__ == "__main__":
    main()
