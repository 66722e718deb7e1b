"""Time what is asked of a recipe against lifting the block it lies in.

    python benchmarks/recipe.py

One shard of the default size, of 50 bands, through a network of the size of ``sin``; the recipe
holds a copy of the mosaic. CPU seconds of this process on one thread, reading and decoding
included, in turn; ratios are medians over the rounds. Every answer is compared, bit by bit, with
the block.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import dask
import torch
import xarray as xr

import lift_xr
from lift_xr.models import Model
from lift_xr.models.sin import SpectralInversion, to_dense

ASKED: dict[str, dict[str, object]] = {
    "the whole block": {},
    "ten bands": {"band": slice(20, 30)},
    "three bands, as a picture has": {"band": [30, 18, 6]},
    "one band": {"band": [25]},
    "a window of 64 x 64, all bands": {"y": slice(600, 664), "x": slice(600, 664)},
    "one spectrum": {"y": 700, "x": 700},
}


def main() -> None:
    """Print one line for each thing asked, and the sizes of the stores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edge", type=int, default=1280)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    dask.config.set(scheduler="synchronous")
    with tempfile.TemporaryDirectory() as folder:
        recipe, sizes = write(Path(folder), chosen.edge)
        measure(recipe, rounds=chosen.rounds)
    print()
    for kind, size in sizes.items():
        print(f"{kind}: {size:,} bytes")


def write(folder: Path, edge: int) -> tuple[Path, dict[str, int]]:
    """Write a mosaic, its recipes and its cube; return the recipe and the sizes of all."""
    warnings.simplefilter("ignore")  # of values to clip: the network is a random one
    scene = lift_xr.synthetic.scene((edge, edge), ratio=20)
    mosaic = folder / "mosaic.zarr"
    codes = scene.msi.chunk(band=-1, y=320, x=320).drop_encoding()
    codes.to_dataset().to_zarr(mosaic, zarr_format=3, consolidated=False)
    model = network(lift_xr.fit(scene.hsi, scene.srf, method="linear", progress=False))
    fused = lift_xr.predict(model, lift_xr.open_scene(mosaic))
    stores = {"cube, uint16": {}, "recipe": {"kind": "recipe"}}
    stores["recipe, address"] = {"kind": "recipe", "msi": "address"}
    places = {name: folder / f"{name}.zarr" for name in stores}
    for name, settings in stores.items():
        lift_xr.write_zarr(fused, places[name], progress=False, **settings)
    return places["recipe"], {name: on_disk(place) for name, place in places.items()}


def network(fitted: Model) -> Model:
    """Put a network as large as that of ``sin``, with random weights, in place of a fitted one."""
    torch.manual_seed(0)
    module = SpectralInversion(fitted.msi_bands, fitted.bands, width=64, branches=(1, 2, 2)).eval()
    dense = to_dense(module)
    kept = {name: each for name, each in fitted.arrays.items() if not name.startswith("lift.")}
    weights = {f"lift.{name}": each for name, each in dense.arrays().items()}
    about = {**fitted.about, "network": dense.settings()}
    return replace(fitted, arrays=kept | weights, about=about)


def measure(recipe: Path, *, rounds: int) -> None:
    """Ask for everything in turn, several times."""
    scene = lift_xr.open_scene(recipe)
    edge = scene.sizes["x"]
    asked = {name: fitting(index, edge) for name, index in ASKED.items()}
    block = scene.compute()  # and the caches are warm
    seconds: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(rounds):
        for name, index in asked.items():
            found, spent = timed(lambda index=index: scene.isel(index).compute())
            xr.testing.assert_equal(found, block.isel(index))
            seconds[name].append(spent)
    print("| asked for | CPU seconds (median, min-max) | of the whole block |")
    print("| --- | ---: | ---: |")
    for name, spent in seconds.items():
        shares = [one / all_ for one, all_ in zip(spent, seconds["the whole block"], strict=True)]
        print(
            f"| {name} | {statistics.median(spent):.4f} ({min(spent):.4f}-{max(spent):.4f}) "
            f"| {100 * statistics.median(shares):.3g} % |"
        )


def fitting(index: dict[str, object], edge: int) -> dict[str, object]:
    """Keep a place inside a scene that is smaller than the one measured."""
    return {
        dim: min(each, edge - 1) if isinstance(each, int) else each for dim, each in index.items()
    }


def timed(call: Callable[[], xr.DataArray]) -> tuple[xr.DataArray, float]:
    """Return the answer and the CPU seconds it took."""
    start = time.process_time()
    answer = call()
    return answer, time.process_time() - start


def on_disk(store: Path) -> int:
    """Add up the bytes of a store."""
    return sum(path.stat().st_size for path in store.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
