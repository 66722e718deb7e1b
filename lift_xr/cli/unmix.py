"""``lift-xr unmix``: maps of a model's endmembers, and a table of their spectra."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lift_xr.cli import options
from lift_xr.cli.exits import Refused, leaving
from lift_xr.cli.fit import expect_way_to_response, train
from lift_xr.cli.fuse import beside, write
from lift_xr.cli.msi import Msi
from lift_xr.cli.places import expect_apart
from lift_xr.cli.talk import connected, each_of, how_far, say

if TYPE_CHECKING:
    import xarray as xr

    from lift_xr.io.raster import Alpha
    from lift_xr.models import Model

SETTLED = ("srf", *options.MIXING, "harmonize", "bad_bands", "seed")


@click.command(
    short_help="Map the endmembers of a mosaic.",
    epilog=options.examples(
        "lift-xr unmix mosaic.tif --hsi hsi.zarr --srf ikonos --out maps.zarr",
        "lift-xr unmix mosaic.tif --hsi hsi.zarr --srf ikonos --endmembers 4 --extraction vca \\",
        "    --constraint sum-to-one --out maps.zarr --csv endmembers.csv",
        "lift-xr fit hsi.zarr --srf ikonos --method morph --out morph.lift",
        "lift-xr unmix mosaic.tif --model morph.lift --out maps.zarr    no training",
        "lift-xr unmix pan.tif --model pan.lift --hsi hsi.zarr --out maps.zarr",
    ),
)
@click.argument("msi")
@click.option(
    "--model",
    type=click.Path(path_type=Path, dir_okay=False),
    help="From `lift-xr fit --method morph`, instead of training one.",
)
@options.out("STORE", "Where the maps go, such as maps.zarr.", required=True, type=str)
@click.option(
    "--hsi",
    metavar="HSI",
    help="The cube: to train on where there is no --model, and for a model of an MSI with one "
    "band, which looks at it again.",
)
@click.option(
    "--csv",
    metavar="TABLE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the endmembers' spectra too, a row a band, once the maps are written. Of several "
    "--part, those with I = 0 or 1 do.",
)
@options.srf
@options.mixing
@options.harmonize
@options.bad_bands
@options.units
@options.seed
@options.reading
@options.device
@options.scheduler
@options.overwrite
@options.resume
@options.part_of_maps
@options.quiet
@click.pass_context
def unmix(
    ctx: click.Context,
    /,
    msi: str,
    model: Path | None,
    out: str,
    hsi: str | None,
    csv: Path | None,
    alpha: Alpha,
    msi_bands: tuple[str, ...] | None,
    device: str,
    scheduler: str | None,
    overwrite: bool,
    resume: bool,
    part: tuple[int, int] | None,
    quiet: bool,
    **training: Any,
) -> None:
    """Map how much of each endmember every pixel of MSI holds, and write STORE (Zarr).

    The bands of STORE are the endmembers of the model; their spectra are in its attributes.
    """
    from lift_xr.io.place import expect_place
    from lift_xr.unmix import unmix as maps_of

    _expect_model_or_cube(ctx, model, hsi, msi, part, training)
    expect_apart({"--out": out, "--csv": csv}, (msi, hsi, training["srf"], model and str(model)))
    joins = resume or part is not None
    image = Msi(msi, alpha, msi_bands, training["wavelength_units"])
    mosaic = image.open()
    expect_place(out, mosaic.data, overwrite=overwrite, resume=joins)
    _expect_table_place(csv, replaces=overwrite or joins)
    with connected(scheduler), leaving(f"{out} is not complete. Run again with --resume"):
        told = {"device": device, "progress": not quiet}
        fitted = _model(hsi, image, model, **training, **told)
        cube = beside(fitted, hsi, units=training["wavelength_units"])
        maps = maps_of(fitted, mosaic, hsi=cube, device=device)
        settings: dict[str, Any] = {"overwrite": overwrite, "progress": not quiet}
        write(maps, out, part=part, resume=resume, **settings)
    if csv is not None and (part is None or part[0] <= 1):  # the same table, whichever writes it
        table_of(maps).to_csv(csv)
    count = maps.sizes["endmember"]
    begun = f"write its {count} maps with the same command and {each_of(part)}"
    say(how_far(out, part, begun=begun, wrote=f"{count} maps; "), quiet=quiet)


def _expect_model_or_cube(
    ctx: click.Context,
    model: Path | None,
    hsi: str | None,
    msi: str,
    part: tuple[int, int] | None,
    training: dict[str, Any],
) -> None:
    """Refuse to train what is trained, and to train without a cube or once for every part."""
    given = options.given(ctx, SETTLED)
    if model is not None:
        if given:
            settled = f"{', '.join(given)}: settled by --model, which is trained already"
            raise click.UsageError(settled, ctx)
        return
    if hsi is None:
        raise click.UsageError("give --model, or --hsi to train one", ctx)
    if part is not None:
        raise click.UsageError(
            f"--part {part[0]}/{part[1]} without --model: every part would train its own. Train "
            "once with `lift-xr fit --method morph`",
            ctx,
        )
    expect_way_to_response(training["srf"], msi, "--hsi")


def _expect_table_place(csv: Path | None, *, replaces: bool) -> None:
    if csv is None:
        return
    if csv.exists() and not replaces:
        raise Refused("FileExistsError", f"{csv} already exists. Pass --overwrite to replace it")
    if not csv.parent.is_dir():
        raise Refused("FileNotFoundError", f"there is no folder {csv.parent} to write {csv} in")


def _model(hsi: str | None, msi: Msi, model: Path | None, **training: Any) -> Model:
    from lift_xr.models import load_model

    if model is not None:
        return load_model(model)
    assert hsi is not None
    return train(hsi, msi, method="morph", consistency="msi", **training)


def table_of(maps: xr.Dataset) -> Any:
    """The spectra as a table: a row a band, in nm, and a column an endmember."""
    spectra = maps["endmembers"].swap_dims(band="wavelength").drop_vars("band")
    named = [f"endmember {number}" for number in spectra["endmember"].to_numpy()]
    return spectra.assign_coords(endmember=named).T.to_pandas()
