"""``lift-xr demo``: a generated scene from its two files to a result, its scores and a picture.

The result on disk is what is scored, and the truth is made once, block by block, for all of it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dask
import numpy as np
import xarray as xr
from rich.console import Console
from rich.table import Table

from lift_xr import metrics, synthetic
from lift_xr.baselines import bicubic
from lift_xr.errors import LayoutError
from lift_xr.fuse import fit, predict
from lift_xr.io import open_scene, write_zarr
from lift_xr.models import Model

RATIO = 20
SHARD = 640  # small, so that two of everything fit in the memory of a laptop
TILE = 320  # of the GeoTIFF: half a shard, so that no task writes part of a tile
CROP = 512  # SSIM looks at windows around every pixel of every band: the centre will do
PICTURE = 960  # pixels along either side that the picture shows
PEAK = 1.0  # reflectance
FILES = ("hsi.zarr", "msi.tif", "fused.zarr", "demo.png")
METRICS = {
    "psnr": ("PSNR (dB)", ".2f"),
    "sam": ("SAM (\N{DEGREE SIGN})", ".2f"),
    "rmse": ("RMSE", ".4f"),
    "ergas": ("ERGAS (%)", ".3f"),
    "ssim": ("SSIM", ".3f"),
}
BICUBIC = "bicubic"

Scores = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Result:
    """What the demo found out.

    Attributes
    ----------
    scores
        Method to metric to value.
    seconds
        Step to time it took.
    files
        What was written.
    """

    scores: Scores
    seconds: dict[str, float]
    files: tuple[Path, ...]


def run_demo(
    folder: Path,
    *,
    size: int = 1600,
    seed: int = 0,
    overwrite: bool = False,
    console: Console | None = None,
) -> Result:
    """Make a scene in ``folder``, fuse it, score it, draw it, and tell the reader.

    Parameters
    ----------
    folder
        Gets ``hsi.zarr``, ``msi.tif``, ``fused.zarr`` and ``demo.png``.
    size
        Edge of the mosaic in pixels, a multiple of 20.
    seed
        Of the city and of the training.
    overwrite
        Replace these files where they are.
    console
        Where to write; standard output without it.

    Raises
    ------
    GridError
        A size that is no multiple of 20.
    LayoutError
        Files that are there already.
    """
    told = Diary(console or Console(highlight=False))
    scene = synthetic.scene((size, size), ratio=RATIO, seed=seed, block=SHARD)
    files = _expect_room(folder, overwrite=overwrite)
    told.title(scene)
    with told.step("inputs", "making a city and flying over it"):
        hsi, msi = make_inputs(scene, files)
        told.wrote(files["hsi.zarr"], hsi)
        told.wrote(files["msi.tif"], msi)
    with told.step("training"):
        models = {
            method: fit(hsi, scene.srf, msi=msi, method=method, seed=seed)
            for method in ("sin", "linear")
        }
        told.trained(models["sin"])
    with told.step("fusing"):
        fused = _fuse(models["sin"], msi, files["fused.zarr"])
        told.wrote(files["fused.zarr"], fused)
    linear = predict(models["linear"], msi)
    upsampled = bicubic(hsi, msi)
    with told.step("scoring", "comparing three results with the truth"):
        estimates = {"sin": fused, "linear": linear, BICUBIC: upsampled}
        scores, thin = score_all(estimates, scene.truth)
        told.say("against the truth, which was used for nothing else")
    with told.step("drawing", "drawing"):
        draw(files["demo.png"], hsi, msi, thin, {"linear": linear, BICUBIC: upsampled})
        told.wrote(files["demo.png"])
    told.scored(scores, size)
    told.farewell(folder)
    return Result(scores, told.seconds, tuple(files.values()))


def make_inputs(
    scene: synthetic.Scene, files: Mapping[str, Path]
) -> tuple[xr.DataArray, xr.DataArray]:
    """Write the two inputs and open them again: the result is made of files, as a user's is."""
    write_zarr(scene.hsi, files["hsi.zarr"], overwrite=True, progress=False)
    camera = scene.msi.drop_attrs(deep=False)
    camera.attrs = {
        "scale_factor": scene.msi.attrs["scale_factor"],
        "add_offset": scene.msi.attrs["add_offset"],
        "units": scene.msi.attrs["units"],
        "long_name": tuple(map(str, scene.msi["band"].to_numpy())),
    }
    camera.rio.to_raster(
        files["msi.tif"],
        lock=threading.Lock(),  # one window at a time; blocks are still made side by side
        tiled=True,
        blockxsize=TILE,
        blockysize=TILE,
        compress="deflate",
        predictor=2,
    )
    return open_scene(files["hsi.zarr"]), open_scene(files["msi.tif"], block=SHARD)


def score_all(
    estimates: Mapping[str, xr.DataArray], truth: xr.DataArray
) -> tuple[Scores, dict[str, xr.DataArray]]:
    """Score every estimate; keep every nth pixel of the first and of the truth for the picture.

    All of it is one computation, so a block of the truth is made once and let go.
    """
    truth = truth.copy(data=truth.data.map_blocks(_kept, meta=truth.data._meta))
    estimates = {name: _on_grid_of(truth, each) for name, each in estimates.items()}
    wanted = {name: _scores(each, truth) for name, each in estimates.items()}
    thin = {"truth": _thinned(truth), "fused": _thinned(next(iter(estimates.values())))}
    found, thin = dask.compute(wanted, thin)
    return {name: _numbers(each) for name, each in found.items()}, thin


def draw(
    path: Path,
    hsi: xr.DataArray,
    msi: xr.DataArray,
    thin: Mapping[str, xr.DataArray],
    others: Mapping[str, xr.DataArray],
) -> None:
    """Save the picture."""
    from lift_xr import plot

    figure = plot.comparison(
        hsi, msi, thin["fused"], reference=thin["truth"], others=others, name="fused (sin)"
    )
    figure.savefig(path, dpi=150)


def _fuse(model: Model, msi: xr.DataArray, store: Path) -> xr.DataArray:
    write_zarr(predict(model, msi), store, shard=SHARD, overwrite=True)
    return open_scene(store, block=SHARD)


def _expect_room(folder: Path, *, overwrite: bool) -> dict[str, Path]:
    """Make the folder, and say which files are in the way."""
    files = {name: folder / name for name in FILES}
    taken = [str(each) for each in files.values() if each.exists()]
    if taken and not overwrite:
        raise LayoutError(
            f"{', '.join(taken)} already exist; expected room for the demo. "
            "Use overwrite=True, or another folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    return files


def _kept(block: np.ndarray) -> np.ndarray:
    """Hold a block, so that slices of it are not made once more by slicing the recipe."""
    return block


def _on_grid_of(truth: xr.DataArray, estimate: xr.DataArray) -> xr.DataArray:
    """The truth's coordinates; a file's differ in the last digit."""
    return estimate.assign_coords(y=truth["y"], x=truth["x"])


def _thinned(scene: xr.DataArray) -> xr.DataArray:
    step = -(-scene.sizes["y"] // PICTURE)
    return scene.isel(y=slice(step // 2, None, step), x=slice(step // 2, None, step))


def _scores(estimate: xr.DataArray, truth: xr.DataArray) -> dict[str, xr.DataArray]:
    pair = (estimate, truth)
    return {
        "psnr": metrics.psnr(*pair, data_range=PEAK).mean("band"),
        "sam": metrics.sam(*pair),
        "rmse": (metrics.rmse(*pair) ** 2).mean("band") ** 0.5,  # shares psnr's pass
        "ergas": metrics.ergas(*pair, ratio=RATIO),
        "ssim": metrics.ssim(*map(_centre, pair), data_range=PEAK).mean("band"),
    }


def _centre(scene: xr.DataArray) -> xr.DataArray:
    first = {axis: max(0, (scene.sizes[axis] - CROP) // 2) for axis in ("y", "x")}
    return scene.isel({axis: slice(start, start + CROP) for axis, start in first.items()})


def _numbers(scores: Mapping[str, xr.DataArray]) -> dict[str, float]:
    return {name: float(value) for name, value in scores.items()}


@dataclass
class Diary:
    """Tells what happens, and remembers how long it took."""

    console: Console
    seconds: dict[str, float] = field(default_factory=dict)
    details: list[str] = field(default_factory=list)

    @contextmanager
    def step(self, name: str, waiting: str = "") -> Iterator[None]:
        """Time a step and print it when it is done; ``waiting`` is shown until then."""
        self.details, start = [], time.perf_counter()
        if waiting:
            with self.console.status(waiting):
                yield
        else:
            yield
        self.seconds[name] = time.perf_counter() - start
        first, *rest = self.details
        took = f"[cyan]{name:<10}[/]{self.seconds[name]:6.1f} s   {first}"
        for line in (took, *(f"{'':<21}{detail}" for detail in rest)):
            self.console.print(line, soft_wrap=True)

    def say(self, detail: str) -> None:
        """Add a line to the step."""
        self.details.append(detail)

    def wrote(self, path: Path, scene: xr.DataArray | None = None) -> None:
        """Add a file to the step."""
        from lift_xr.cli.describe import on_disk
        from lift_xr.quantities import size

        shape = "" if scene is None else f"{' x '.join(map(str, scene.shape))}, "
        self.say(f"{path}  [dim]{shape}{size(on_disk(path))}[/]")

    def title(self, scene: synthetic.Scene) -> None:
        """Say what is about to happen."""
        height, width = scene.msi.shape[-2:]
        self.console.print(
            f"[bold]A made-up city of {width * 0.05:g} x {height * 0.05:g} m[/], seen by a camera "
            f"(3 bands, 5 cm) and a spectrometer ({scene.hsi.sizes['band']} bands, 1 m)\n"
        )

    def trained(self, model: Model) -> None:
        """Say what the model learned from."""
        pixels = model.about["history"]["pixels"]
        self.say(f"{model.method} on {pixels:,} pixels of the cube  [dim]{model.digest[:12]}[/]")

    def scored(self, scores: Scores, size: int) -> None:
        """Print the table of fidelity."""
        table = Table(title="\nFidelity to the truth", title_justify="left", title_style="bold")
        table.add_column("method")
        for name, _ in METRICS.values():
            table.add_column(name, justify="right")
        best: dict[str, Callable[..., float]] = {"psnr": max, "ssim": max}
        for method, found in scores.items():
            cells = []
            for key, (_, form) in METRICS.items():
                wins = found[key] == best.get(key, min)(each[key] for each in scores.values())
                cells.append(
                    f"[bold green]{found[key]:{form}}[/]" if wins else f"{found[key]:{form}}"
                )
            table.add_row(method, *cells)
        crop = f" (SSIM: of the central {CROP} x {CROP})" if size > CROP else ""
        table.caption = (
            f"{size**2:,} pixels{crop}, all bands; PSNR of each band, peak 1, averaged: "
            "a mean over bands rewards methods that are exact in some"
        )
        table.caption_justify = "left"
        self.console.print(table)
        psnr = {method: found["psnr"] for method, found in scores.items()}
        self.console.print(
            f"sin is {psnr['sin'] - psnr['linear']:+.2f} dB from linear and "
            f"{psnr['sin'] - psnr[BICUBIC]:+.2f} dB from bicubic"
        )

    def farewell(self, folder: Path) -> None:
        """Say how long it took and where to look."""
        total = sum(self.seconds.values())
        self.console.print(
            f"\nDone in {total:.0f} s. Look at [bold]{folder / 'demo.png'}[/], then try\n"
            f"  lift-xr info {folder / 'fused.zarr'}\n"
            f"  lift-xr fuse {folder / 'hsi.zarr'} {folder / 'msi.tif'} --srf rgb-camera "
            f"--method linear --out {folder / 'linear.zarr'}",
            soft_wrap=True,  # lines to copy
        )
