"""``lift-xr export``: bands or a picture as a GeoTIFF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lift_xr.cli import options
from lift_xr.cli.places import expect_apart
from lift_xr.cli.talk import say


@click.command(
    short_help="Write bands or a picture as a GeoTIFF.",
    epilog=options.examples(
        "lift-xr export fused.zarr fused.tif                      a picture, red green blue",
        "lift-xr export fused.zarr nir.tif --bands 850.0          the band nearest to 850 nm",
        "lift-xr export fused.zarr some.tif --bands 12,30 --dtype float32",
    ),
)
@click.argument("store")
@click.argument("tif", type=click.Path(path_type=Path))
@click.option(
    "--bands",
    default="rgb",
    show_default=True,
    callback=options.bands,
    help="rgb, all, or a list: whole numbers are band labels, decimals are wavelengths in nm.",
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "uint16", "uint8"]),
    help="Values, packed values, or a picture.  [default: uint8 for rgb, else float32]",
)
@click.option("--level", default=0, show_default=True, help="Which overview of STORE; 0 is all.")
@options.units
@options.overwrite
@options.quiet
def export(
    store: str,
    tif: Path,
    bands: Any,
    dtype: str | None,
    level: int,
    wavelength_units: str | None,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Write bands of STORE, or a picture of it, to TIF: a cloud-optimised GeoTIFF with overviews.

    For programs that cannot read Zarr.
    """
    from lift_xr.io import export as export_scene
    from lift_xr.io import open_scene

    expect_apart({"TIF": tif}, (store,))
    scene = open_scene(store, level=level, units=wavelength_units)
    export_scene(scene, tif, bands=bands, dtype=dtype, overwrite=overwrite, progress=not quiet)
    say(f"wrote {tif}", quiet=quiet)
