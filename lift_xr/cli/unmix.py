"""``lift-xr unmix``: maps of a model's endmembers, and a table of their spectra."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lift_xr.cli import options
from lift_xr.cli.exits import Refused, leaving
from lift_xr.cli.fuse import beside, write
from lift_xr.cli.places import expect_apart
from lift_xr.cli.talk import connected, say

if TYPE_CHECKING:
    import xarray as xr

    from lift_xr.io.raster import Alpha


@click.command(
    short_help="Map the endmembers that a model mixes.",
    epilog=options.examples(
        "lift-xr fit hsi.zarr --srf ikonos --method morph --out morph.lift",
        "lift-xr unmix mosaic.tif --model morph.lift --out maps.zarr",
        "lift-xr unmix mosaic.tif --model morph.lift --out maps.zarr --csv endmembers.csv",
        "lift-xr unmix pan.tif --model morph.lift --hsi hsi.zarr --out maps.zarr",
    ),
)
@click.argument("msi")
@click.option(
    "--model",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="From `lift-xr fit --method morph`.",
)
@options.out("STORE", "Where the maps go, such as maps.zarr.", required=True, type=str)
@click.option("--hsi", metavar="HSI", help="The cube, for a model of an MSI with one band.")
@click.option(
    "--csv",
    metavar="TABLE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the endmembers' spectra too, a row a band.",
)
@options.alpha
@options.device
@options.scheduler
@options.overwrite
@options.resume
@options.part
@options.quiet
def unmix(
    msi: str,
    model: Path,
    out: str,
    hsi: str | None,
    csv: Path | None,
    alpha: Alpha,
    device: str,
    scheduler: str | None,
    overwrite: bool,
    resume: bool,
    part: tuple[int, int] | None,
    quiet: bool,
) -> None:
    """Map how much of each endmember every pixel of MSI holds, and write STORE (Zarr).

    The bands of STORE are the endmembers of MODEL; their spectra are in its attributes.
    """
    from lift_xr.io import open_scene
    from lift_xr.models import load_model
    from lift_xr.unmix import unmix as maps_of

    expect_apart({"--out": out, "--csv": csv}, (msi, hsi, str(model)))
    if csv is not None and csv.exists() and not (overwrite or resume or part):
        raise Refused("FileExistsError", f"{csv} already exists. Pass --overwrite to replace it")
    fitted = load_model(model)
    with connected(scheduler), leaving(f"{out} is not complete. Run again with --resume"):
        cube = beside(fitted, hsi)
        maps = maps_of(fitted, open_scene(msi, alpha=alpha), hsi=cube, device=device)
        settings: dict[str, Any] = {"overwrite": overwrite, "progress": not quiet}
        write(maps, out, part=part, resume=resume, **settings)
    if csv is not None and (part is None or part[0] <= 1):  # the same table, whoever writes it
        table_of(maps).to_csv(csv)
    count = maps.sizes["endmember"]
    say(f"wrote {out}: {count} maps; look at it with `lift-xr info {out}`", quiet=quiet)


def table_of(maps: xr.Dataset) -> Any:
    """The spectra as a table: a row a band, in nm, and a column an endmember."""
    spectra = maps["endmembers"].swap_dims(band="wavelength").drop_vars("band")
    named = [f"endmember {number}" for number in spectra["endmember"].to_numpy()]
    return spectra.assign_coords(endmember=named).T.to_pandas()
