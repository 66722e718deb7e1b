"""Plan a mosaic as large as Houston's, build its graph, begin its store: seconds of each.

    python benchmarks/planning.py

The mosaic is 83440 x 24040 pixels, 50 bands are made of it, and no pixel is read: the first read
ends the last step, which is all that ``write_zarr`` does before it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import dask
import dask.array as da
import numpy as np
import xarray as xr
from dask.core import flatten

import lift_xr
from lift_xr import synthetic

RATIO = 20
CELLS = 32  # edge of the cube that the model is fitted on


class FirstRead(BaseException):
    """A pixel is asked for: what comes before the first task is over."""


class Unread:
    """A mosaic of bytes that ends a run when it is read."""

    dtype, ndim = np.dtype("uint8"), 3

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def __getitem__(self, index: Any) -> np.ndarray:
        """Read nothing."""
        raise FirstRead


def main() -> None:
    """Time every step in turn, several times; one line each."""
    chosen = _arguments()
    scene = synthetic.scene(tuple(chosen.shape), RATIO)
    model = lift_xr.fit(
        synthetic.scene((CELLS * RATIO,) * 2, RATIO).hsi, scene.srf, method="linear", progress=False
    )
    msi = unread(scene.msi)
    steps: dict[str, Callable[[], object]] = {
        "plan": lambda: lift_xr.plan(msi, model, workers=2, threads=1, probe=False),
        "predict, and its graph optimized": lambda: tasks_of(lift_xr.predict(model, msi)),
        "write_zarr, to its first read": lambda: begun(lift_xr.predict(model, msi)),
    }
    print(f"{lift_xr.plan(msi, model, workers=2, threads=1, probe=False)}\n")
    print("| step | first, s | median, s | slowest after the first, s | median CPU, s |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, step in steps.items():
        wall, cpu = zip(*(timed(step) for _ in range(chosen.repeats)), strict=True)
        rest = wall[1:] or wall
        cells = (wall[0], median(rest), max(rest), median(cpu))
        print(f"| {name} | {' | '.join(f'{each:.2f}' for each in cells)} |")


def unread(msi: xr.DataArray) -> xr.DataArray:
    """The same mosaic, in the same blocks, that nobody may read."""
    return msi.copy(data=da.from_array(Unread(msi.shape), chunks=msi.chunks, meta=msi.data._meta))


def tasks_of(fused: xr.DataArray) -> int:
    """Number of tasks that computing all of it takes."""
    keys = list(flatten(fused.data.__dask_keys__()))
    return len(dict(da.optimize(fused.data.dask, keys)))


def begun(fused: xr.DataArray) -> None:
    """Begin a store, and stop at the first pixel."""
    with tempfile.TemporaryDirectory() as folder, dask.config.set(scheduler="synchronous"):
        try:
            lift_xr.write_zarr(fused, Path(folder) / "fused.zarr", progress=False)
        except FirstRead:
            return
    raise AssertionError("nothing was read")


def timed(step: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the clock, and of the processor."""
    start, spent = time.perf_counter(), time.process_time()
    step()
    return time.perf_counter() - start, time.process_time() - spent


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", type=int, nargs=2, default=(83440, 24040))
    parser.add_argument("--repeats", type=int, default=6)
    return parser.parse_args()


if __name__ == "__main__":
    main()
