"""Time the band-major kernel against the same network run pixel-major in torch.

    python benchmarks/kernel.py

Both on one thread, on one block of 640 x 640 pixels as it lies in a scene, (band, y, x) in and
out; in turn, and the ratio is the median over the pairs. The pixel-major side is what a network
written as ``nn.Linear`` layers does: transpose in, layers over (pixel, band), transpose out.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from lift_xr.models.sin import SpectralInversion, to_dense

ROWS = 65_536  # pixels in one batch of the pixel-major side; 4,096 is no faster


def main() -> None:
    """Print seconds, throughput and the paired ratio for two output sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edge", type=int, default=640)
    parser.add_argument("--pairs", type=int, default=7)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    print("| MSI bands | bands | band-major Mpx/s | pixel-major Mpx/s | ratio (median, min-max) |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    for msi_bands, bands in ((3, 50), (4, 191)):
        compare(msi_bands, bands, edge=chosen.edge, pairs=chosen.pairs)


def compare(msi_bands: int, bands: int, *, edge: int, pairs: int) -> None:
    """One line of the table."""
    torch.manual_seed(0)
    module = SpectralInversion(msi_bands, bands, width=64, branches=(1, 2, 2)).eval()
    network = to_dense(module)
    block = np.random.default_rng(0).random((msi_bands, edge, edge), dtype="float32")
    np.testing.assert_allclose(network(block), pixel_major(module, block), rtol=1e-3, atol=1e-4)
    ours, theirs = [], []
    for _ in range(pairs):
        ours.append(seconds(lambda: network(block)))
        theirs.append(seconds(lambda: pixel_major(module, block)))
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    speed = [edge**2 / 1e6 / statistics.median(side) for side in (ours, theirs)]
    print(
        f"| {msi_bands} | {bands} | {speed[0]:.2f} | {speed[1]:.2f} "
        f"| {statistics.median(ratios):.1f} ({min(ratios):.1f}-{max(ratios):.1f}) |"
    )


@torch.inference_mode()
def pixel_major(module: SpectralInversion, block: np.ndarray) -> np.ndarray:
    """(msi_band, y, x) to (band, y, x) through layers over (pixel, band)."""
    pixels = torch.from_numpy(np.ascontiguousarray(block.reshape(len(block), -1).T))
    lifted = torch.cat([module(batch) for batch in pixels.split(ROWS)]).numpy()
    return np.ascontiguousarray(lifted.T).reshape(-1, *block.shape[1:])


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
