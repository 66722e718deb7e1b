"""``lift-xr fit``, and the training that ``lift-xr fuse`` shares with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lift_xr.cli import options
from lift_xr.cli.msi import Msi
from lift_xr.cli.places import expect_apart, expect_model_place
from lift_xr.cli.talk import connected, say, told

if TYPE_CHECKING:
    import xarray as xr

    from lift_xr.io.raster import Alpha
    from lift_xr.models import Model
    from lift_xr.psf import Kernel


@click.command(
    short_help="Train a model and save it.",
    epilog=options.examples(
        "lift-xr fit hsi.zarr --srf ikonos --out sin.lift",
        "lift-xr fit hsi.hdr --srf camera.csv --msi mosaic.tif --out sin.lift",
        "lift-xr fit hsi.hdr --srf camera.csv --msi mosaic.tif --consistency both \\",
        "    --psf gaussian --sigma 3.4 --half-width 7 --out both.lift",
        "lift-xr fuse mosaic.tif --model sin.lift --out fused.zarr",
        "lift-xr fit hsi.zarr --srf ikonos --method morph --endmembers 5 --extraction vca \\",
        "    --constraint sum-to-one --out morph.lift",
    ),
)
@click.argument("hsi")
@click.option(
    "--msi",
    metavar="MOSAIC",
    help="The mosaic, to learn from as well, to match its radiometry, to estimate the response.",
)
@options.out("MODEL", "Where the model goes, such as sin.lift.", required=True)
@options.training
@options.reading
@options.scheduler
@options.overwrite
@options.quiet
@click.pass_context
def fit(
    ctx: click.Context,
    /,
    hsi: str,
    msi: str | None,
    out: Path,
    overwrite: bool,
    scheduler: str | None,
    quiet: bool,
    alpha: Alpha,
    msi_bands: tuple[str, ...] | None,
    **training: Any,
) -> None:
    """Train a model on HSI, to lift one mosaic or many.

    HSI is a Zarr store, a GeoTIFF or an ENVI file with wavelengths.
    """
    expect_way_to_response(training["srf"], msi, "--msi MOSAIC")
    if msi is None:
        options.expect_not_given(ctx, "alpha", "msi_bands", needs="--msi MOSAIC")
    expect_method_of(training)
    expect_apart({"--out": out}, (hsi, msi, training["srf"]))
    expect_model_place(out, overwrite=overwrite)
    units = training["wavelength_units"]
    mosaic = None if msi is None else Msi(msi, alpha, msi_bands, units)
    with connected(scheduler):
        model = train(hsi, mosaic, progress=not quiet, **training)
    model.save(out)
    say(f"wrote {out}: {told(model)}", quiet=quiet)


def train(
    hsi: str,
    msi: Msi | None,
    *,
    srf: str | None,
    method: str,
    endmembers: int | None,
    extraction: str | None,
    constraint: str | None,
    wavelength_units: str | None,
    psf: str | None = None,
    sigma: float | None = None,
    half_width: int | None = None,
    **settings: Any,
) -> Model:
    """Train on two scenes as they are read; the model tells what was asked of it."""
    from lift_xr.cli.begun import ASKED, asked
    from lift_xr.fuse import fit as train
    from lift_xr.io import open_scene
    from lift_xr.models import MorphRecipe

    cube = open_scene(hsi, units=wavelength_units)
    mosaic = None if msi is None else msi.open()
    if srf is None and settings["progress"]:
        say("no --srf: estimating the response from the two scenes")
    told = {key: each for key, each in settings.items() if key not in ("device", "progress")}
    mixing = {"endmembers": endmembers, "extraction": extraction, "constraint": constraint}
    given: Any = {key: each for key, each in mixing.items() if each is not None}
    recipe = MorphRecipe(**given) if given else method
    blur: dict[str, Any] = {"psf": psf, "sigma": sigma, "half_width": half_width}
    told |= {"method": method, **mixing, **blur}
    kernel = _kernel(cube, mosaic, **blur)
    model = train(cube, srf, msi=mosaic, method=recipe, psf=kernel, **settings)
    told |= {"msi": msi, "srf": srf, "wavelength_units": wavelength_units}
    about = {ASKED: asked(hsi, **told)}
    return replace(model, about={**model.about, **about})


def _kernel(
    cube: xr.DataArray, mosaic: xr.DataArray | None, *, psf: str | None, **width: Any
) -> Kernel | None:
    """Make the kernel that is asked for by name; its usual width is that of a cell."""
    from lift_xr.beside import expect_aligned
    from lift_xr.degrade import chosen_kernel
    from lift_xr.grid import compare

    if psf is None or mosaic is None:  # which `fit` refuses with more to say
        return None
    expect_aligned(cube, mosaic)
    return chosen_kernel(psf, compare(cube, mosaic).ratio, **width)[0]


def expect_method_of(training: dict[str, Any]) -> None:
    """Refuse settings of a method, or of a consistency, that is not asked for."""
    given = [f"--{name}" for name in options.MIXING if training[name] is not None]
    if given and training["method"] != "morph":
        raise click.UsageError(f"{given[0]} is for --method morph, not {training['method']}")
    _expect_point_spread_of(training)


def _expect_point_spread_of(training: dict[str, Any]) -> None:
    named = [name for name in options.BLUR if training[name] is not None]
    given = [f"--{name.replace('_', '-')}" for name in named]
    if given and training["consistency"] != "both":
        raise click.UsageError(
            f"{given[0]} is for --consistency both, not {training['consistency']}: give both, or "
            "neither"
        )
    if given and training["psf"] is None:
        raise click.UsageError(
            f"{given[0]} is the width of --psf, which is not given: give both, or neither to have "
            "the blur found from the pair"
        )
    options.expect_width_of(training["psf"], given)


def expect_way_to_response(srf: str | None, msi: str | None, advice: str) -> None:
    """Refuse to train where the response is neither given nor can be estimated."""
    if srf is None and msi is None:
        raise click.UsageError(f"give --srf NAME_OR_CSV, or {advice} to estimate the response")
