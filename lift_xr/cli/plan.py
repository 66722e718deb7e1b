"""``lift-xr plan``: what a run will take, before it starts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lift_xr.cli import options
from lift_xr.cli.msi import Msi
from lift_xr.cli.talk import connected

if TYPE_CHECKING:
    from rich.table import Table

    from lift_xr.io.raster import Alpha
    from lift_xr.models import Model


@click.command(
    short_help="Foresee a run: shards, memory, disk, time.",
    epilog=options.examples(
        "lift-xr plan mosaic.tif --model sin.lift --hsi hsi.zarr",
        "lift-xr plan mosaic.tif --model sin.lift --out /scratch/fused.zarr",
        "lift-xr plan mosaic.tif --model sin.lift --workers 16 --threads 2 --memory 4GB",
        "lift-xr plan mosaic.tif --model sin.lift --no-probe        reads no pixel",
    ),
)
@click.argument("msi")
@click.option(
    "--model",
    metavar="MODEL",
    required=True,
    type=click.Path(path_type=Path),
    help="A model from `lift-xr fit`, or a store with one in it.",
)
@click.option("--hsi", metavar="HSI", help="The cube: tells which shard suits its cells.")
@options.dtype
@options.shard
@click.option(
    "--workers",
    metavar="NUMBER",
    type=int,
    help="Processes that share the work, on any machines.  [default: this one]",
)
@click.option(
    "--threads",
    metavar="NUMBER",
    type=int,
    help="Tasks side by side in each, one core each.  [default: the cores of this machine]",
)
@click.option(
    "--memory",
    metavar="SIZE",
    help="What one worker may hold, such as 4GB.  [default: that of --scheduler's workers, or "
    "what this machine, its control groups and SLURM allow; with --workers, not known]",
)
@click.option(
    "--scheduler", metavar="ADDRESS", help="Plan for the workers of a running Dask scheduler."
)
@options.out("STORE", "Where the result will go: is there room?", type=str)
@options.device
@options.units
@options.reading
@click.option(
    "--probe/--no-probe",
    default=True,
    show_default=True,
    help="Do one shard, to tell time and compressed size; it is not kept.",
)
def plan(
    msi: str,
    model: Path,
    hsi: str | None,
    scheduler: str | None,
    wavelength_units: str | None,
    alpha: Alpha,
    msi_bands: tuple[str, ...] | None,
    **settings: Any,
) -> None:
    """Foresee what lifting MSI with MODEL takes: shards, memory, disk, time.

    Refuses what cannot be, such as shards that do not fit in memory, and says which setting to
    change. Writes nothing.
    """
    from rich.console import Console

    from lift_xr.io import load_model, open_scene
    from lift_xr.io import plan as foresee

    fitted = load_model(model)
    _expect_cube(fitted, hsi)
    cube = None if hsi is None else open_scene(hsi, units=wavelength_units)
    with connected(scheduler):
        mosaic = Msi(msi, alpha, msi_bands, wavelength_units).open()
        found = foresee(mosaic, fitted, hsi=cube, **settings)
    Console().print(_table(msi, found.rows))


def _expect_cube(model: Model, hsi: str | None) -> None:
    if model.prior is not None and hsi is None:
        raise click.UsageError("give --hsi HSI: this model looks at the cube again when it lifts")


def _table(title: str, rows: tuple[tuple[str, str], ...]) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=None)
    table.show_header = False
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
