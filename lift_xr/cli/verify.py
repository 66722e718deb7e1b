"""``lift-xr verify``: whether a store is what its run wrote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lift_xr.cli import options
from lift_xr.cli.exits import ShardsFailed
from lift_xr.cli.msi import Msi

if TYPE_CHECKING:
    from rich.table import Table

    from lift_xr.io import Check, Verification
    from lift_xr.io.raster import Alpha

NAMED = 20  # failures that are listed


def _shards(ctx: click.Context, param: click.Parameter, value: str) -> int | str:
    """Read a number of shards, or ``all``."""
    if value == "all":
        return value
    if not value.isdecimal() or int(value) < 1:
        raise click.BadParameter(f"{value!r} is neither a number from 1 nor 'all'", ctx, param)
    return int(value)


@click.command(
    short_help="Prove that a store is what its run wrote.",
    epilog=options.examples(
        "lift-xr verify fused.zarr                 8 shards of each pass, drawn at random",
        "lift-xr verify fused.zarr --shards all    every file",
        "lift-xr verify fused.zarr --msi mosaic.tif --hsi hsi.zarr",
        "lift-xr verify fused.zarr --shards all --repair   then lift-xr fuse ... --resume",
    )
    + "\n\n\b\nExit codes:\n  0  what was covered is as it was written\n"
    "  3  something is damaged or missing; --repair, then resume the run that wrote it",
)
@click.argument("store")
@click.option(
    "--msi",
    metavar="MSI",
    help="The mosaic: lift the shards again, by the model in STORE or --model, and compare.",
)
@click.option(
    "--hsi", metavar="HSI", help="The cube: compare the means over its cells with it; only told."
)
@click.option(
    "--model",
    metavar="MODEL",
    type=click.Path(path_type=Path),
    help="The model that made STORE, from `lift-xr fit`, or a store with it inside; needed only "
    "where STORE holds none.",
)
@click.option(
    "--shards",
    metavar="K|all",
    default="8",
    show_default=True,
    callback=_shards,
    help="How many tasks to cover of each pass, drawn at random.",
)
@options.seed_of("the draw")
@click.option(
    "--repair",
    is_flag=True,
    help="Mark what is damaged as not written, so that --resume writes it again.",
)
@options.units
@options.reading
@options.device
@options.quiet
@click.pass_context
def verify(
    ctx: click.Context,
    /,
    store: str,
    msi: str | None,
    hsi: str | None,
    model: Path | None,
    shards: Any,
    seed: int,
    repair: bool,
    wavelength_units: str | None,
    alpha: Alpha,
    msi_bands: tuple[str, ...] | None,
    device: str,
    quiet: bool,
) -> None:
    """Re-read STORE and say whether it is what its run wrote.

    Metadata, coordinates, the record of the run and the presence of every file are always checked.
    Of the shards covered, any changed byte is found; overviews and quality flags are made again
    from the pixels.
    """
    from rich.console import Console

    from lift_xr.io import load_model, open_scene
    from lift_xr.io import verify as verified

    if msi is None:
        options.expect_not_given(ctx, "alpha", "msi_bands", needs="--msi MSI")
    if msi is None and hsi is None:
        options.expect_not_given(ctx, "wavelength_units", needs="--msi MSI or --hsi HSI")
    found = verified(
        store,
        msi=None if msi is None else Msi(msi, alpha, msi_bands, wavelength_units).open(),
        hsi=None if hsi is None else open_scene(hsi, units=wavelength_units),
        model=None if model is None else load_model(model),
        shards=shards,
        seed=seed,
        device=device,
        repair=repair,
        progress=not quiet,
    )
    if not quiet or not found.ok:
        Console().print(table(found))
    if not found.ok:
        raise ShardsFailed(_advice(found, repaired=repair))


def table(found: Verification) -> Table:
    """Lay out the checks, one a line, and what failed below."""
    from rich.table import Table

    told = Table(title=found.store, title_justify="left", title_style="bold", header_style="cyan")
    told.add_column("check", no_wrap=True)
    told.add_column("covered", justify="right", no_wrap=True)
    told.add_column("result", no_wrap=True)
    rows = [
        (each.name, f"{each.covered:,} {each.unit}", _result(each), _figures(each))
        for each in found.checks
    ]
    if any(row[-1] for row in rows):
        told.add_column("figures", overflow="fold")
    for row in rows:
        told.add_row(*row[: len(told.columns)])
    return told


def _result(check: Check) -> str:
    if check.failures:
        return f"[red]{len(check.failures):,} wrong[/red]"
    return {True: "[green]right[/green]", None: "told" if check.covered else "not asked"}[
        check.passed
    ]


def _figures(check: Check) -> str:
    """Say the figures of a check, of many bands the least and the greatest."""
    figures = dict(check.figures)
    bands = figures.pop("band", None)
    if bands is None:
        said = [f"{name} {value:g}" for name, value in figures.items()]
    else:
        said = [f"{name} {_spread(values)}" for name, values in figures.items()]
    return "; ".join([*said, *([check.said] if check.said else [])])


def _spread(values: list[float]) -> str:
    ordered = sorted(values)
    return f"{ordered[0]:.3g} to {ordered[-1]:.3g}"


def _advice(found: Verification, *, repaired: bool) -> str:
    """Say what is wrong, and how it is put right."""
    from lift_xr.io.repair import is_of_model

    named = "\n".join(f"  {failure}" for failure in found.failures[:NAMED])
    more = len(found.failures) - NAMED
    named += f"\n  and {more:,} more" if more > 0 else ""
    what = f"{found.store} is not what its run wrote:\n{named}\n"
    if {each.check for each in found.failures} == {"mosaic"}:
        return what.rstrip()  # it lies elsewhere, and nothing here can repair it
    again = "run the command that wrote it again with --resume: it writes these again, and no other"
    if any(map(is_of_model, found.failures)):
        again += (
            ". The model in it is damaged and is removed: give --model, or HSI to train it again"
        )
    if repaired or {each.check for each in found.failures} == {"complete"}:
        return f"{what}Now {again}"
    return f"{what}Run verify again with --repair, which marks these as not written; then {again}"
