"""Verbs that look: the demo, descriptions, and how far a run is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lift_xr.cli import options
from lift_xr.cli.exits import leaving

if TYPE_CHECKING:
    from lift_xr.io.raster import Alpha


@click.command(
    short_help="See it work on a generated scene.",
    epilog=options.examples("lift-xr demo", "lift-xr demo --size 640 --out demo-small"),
)
@options.out("FOLDER", "Where everything is written.", default=Path("demo"), show_default=True)
@click.option(
    "--size",
    metavar="PIXELS",
    type=click.IntRange(min=320),
    default=1600,
    show_default=True,
    help="Edge of the MSI; a multiple of 20. Time and disk grow with its square.",
)
@options.seed_of("the city and of the training")
@options.overwrite
def demo(out: Path, size: int, seed: int, overwrite: bool) -> None:
    """Fuse a generated scene and see how good the result is.

    Makes a city as it was surveyed over Houston: an 8-bit RGB mosaic of 5 cm pixels and a cube of
    50 bands in 1 m pixels. Writes both, fuses them, and compares the result with the truth, beside
    two baselines: ridge regression (`linear`) and the cube interpolated (bicubic).

    Writes hsi.zarr, msi.tif, fused.zarr and the picture demo.png in FOLDER.
    """
    from lift_xr.demo import run_demo

    with leaving(f"what {out} holds is not complete. Run it again with --overwrite"):
        run_demo(out, size=size, seed=seed, overwrite=overwrite)


@click.command(
    short_help="Describe scenes, stores, models and sensors.",
    epilog=options.examples(
        "lift-xr info hsi.zarr mosaic.tif",
        "lift-xr info sin.lift",
        "lift-xr info --sensors",
        "lift-xr info --srf sentinel-2a",
    ),
)
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--sensors", is_flag=True, help="List the sensors that --srf knows by name.")
@options.srf_shown
@options.units
@options.alpha
def info(
    paths: tuple[str, ...],
    sensors: bool,
    srf: str | None,
    wavelength_units: str | None,
    alpha: Alpha,
) -> None:
    """Describe what PATH holds: a scene (Zarr, GeoTIFF, ENVI), a written store, a .lift model.

    Reads names and coordinates, no pixels.
    """
    from rich.console import Console

    from lift_xr.cli import describe

    if not (paths or sensors or srf):
        raise click.UsageError("give a PATH, --sensors or --srf NAME_OR_CSV")
    console = Console()
    if sensors:
        console.print(describe.sensors())
    if srf:
        console.print(describe.response(srf))
    for path in paths:
        console.print(describe.path(path, units=wavelength_units, alpha=alpha))


@click.command(
    short_help="Say how far a run is.",
    epilog=options.examples("lift-xr status fused.zarr"),
)
@click.argument("store")
def status(store: str) -> None:
    """Say how far the run is that writes STORE; ask from any terminal, while it goes on.

    Reads the record of the run, no pixels.
    """
    from rich.console import Console

    from lift_xr.cli import describe

    Console().print(describe.progress(store))
