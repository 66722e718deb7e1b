"""``lift-xr degrade``: the cube and the mosaic that two sensors would have taken of a scene."""

from __future__ import annotations

from typing import Any

import click

from lift_xr.cli import options
from lift_xr.cli.places import expect_apart
from lift_xr.cli.talk import connected, say


@click.command(
    short_help="Make a cube and a mosaic of a known scene.",
    epilog=options.examples(
        "lift-xr degrade truth.zarr --ratio 8 --srf ikonos --out-hsi hsi.zarr --out-msi msi.zarr",
        "lift-xr fuse hsi.zarr msi.zarr --srf ikonos --out fused.zarr",
        "lift-xr score fused.zarr truth.zarr --ratio 8",
    ),
)
@click.argument("scene")
@click.option(
    "--ratio",
    metavar="PIXELS",
    type=click.IntRange(min=1),
    required=True,
    help="Edge of a pixel of the cube, in pixels of SCENE.",
)
@options.srf_given
@options.psf
@options.sigma
@options.half_width
@click.option(
    "--published",
    is_flag=True,
    help="The kernels of the published tables: their formulas, of which airy, gabor and kolmogorov "
    "are others; and without --sigma or --half-width theirs, 3.4 and 7 pixels at every ratio, of "
    "which `lift-xr score --hsi` and `fit --psf` have to be told then.",
)
@click.option(
    "--boundary",
    type=click.Choice(["renormalise", "zero"]),
    default="renormalise",
    show_default=True,
    help="What lies beyond SCENE. renormalise: missing pixels; zero: black, as in the published "
    "tables, which darkens the borders.",
)
@click.option("--hsi-snr", metavar="DB", type=float, help="Noise of the cube.  [default: none]")
@click.option("--msi-snr", metavar="DB", type=float, help="Noise of the mosaic.  [default: none]")
@click.option(
    "--normalise", is_flag=True, help="First scale SCENE to 0-1 between its percentiles 1 and 99."
)
@click.option("--out-hsi", metavar="STORE", required=True, help="Where the cube goes.")
@click.option("--out-msi", metavar="STORE", required=True, help="Where the mosaic goes.")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "uint16"]),
    default="float32",
    show_default=True,
    help="uint16 packs values with a scale factor, in half the space.",
)
@options.packing
@options.seed
@options.units
@options.scheduler
@options.overwrite
@options.quiet
@click.pass_context
def degrade(
    ctx: click.Context,
    /,
    scene: str,
    srf: str,
    normalise: bool,
    out_hsi: str,
    out_msi: str,
    dtype: str,
    scale_factor: float | None,
    add_offset: float | None,
    wavelength_units: str | None,
    scheduler: str | None,
    overwrite: bool,
    quiet: bool,
    **protocol: Any,
) -> None:
    """Degrade SCENE to a coarse cube and a fine mosaic, which fusion should turn back into it.

    Wald's protocol. SCENE is hyperspectral: a Zarr store, a GeoTIFF or an ENVI file. Rows and
    columns beyond a multiple of the ratio are left out.

    The response is sampled at SCENE's own wavelengths. The published tables assume others, spread
    evenly over the mosaic's range: benchmarks/published.py does that, for those tables alone.
    """
    from lift_xr.degrade import degrade as degraded
    from lift_xr.degrade import normalise as normalised
    from lift_xr.io import open_scene, write_zarr
    from lift_xr.io.scale import expect_dtype, expect_scale

    options.expect_width_of(protocol["psf"], options.given(ctx, options.BLUR))
    places = {"--out-hsi": out_hsi, "--out-msi": out_msi}
    expect_scale(expect_dtype(dtype), scale_factor, add_offset)
    stored: Any = {"dtype": dtype, "scale_factor": scale_factor, "add_offset": add_offset}
    expect_apart(places, (scene, srf))
    truth = open_scene(scene, units=wavelength_units)
    truth = normalised(truth).assign_attrs(units="1") if normalise else truth
    made = degraded(truth, srf=srf, **protocol)
    with connected(scheduler):
        for place, image in zip(places.values(), made, strict=True):
            write_zarr(image, place, overwrite=overwrite, progress=not quiet, **stored)
            say(f"wrote {place}: {_told(image)}", quiet=quiet)


def _told(image: Any) -> str:
    return " x ".join(str(image.sizes[dim]) for dim in ("band", "y", "x")) + " (band, y, x)"
