"""Options that several verbs share, said once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from lift_xr import psf as psfs
from lift_xr.models import METHODS

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

srf = click.option(
    "--srf",
    metavar="NAME_OR_CSV",
    help="Response of the MSI's sensor: a name from `lift-xr info --sensors`, with bands after a "
    "colon if not all (sentinel-2a:B2,B3,B4), or a CSV of measured curves. "
    "Without it, it is estimated from the two scenes.",
)
srf_given = click.option(
    "--srf",
    metavar="NAME_OR_CSV",
    required=True,
    help="Response of the MSI's sensor: a name from `lift-xr info --sensors`, with bands after a "
    "colon if not all (sentinel-2a:B2,B3,B4), or a CSV of measured curves.",
)
srf_shown = click.option(
    "--srf", metavar="NAME_OR_CSV", help="Show the bands of one response, as --srf takes it."
)
method = click.option(
    "--method",
    type=click.Choice(list(METHODS)),
    default="sin",
    show_default=True,
    help="sin: the spectral inversion network; sin-paper: the same, trained as published; morph: "
    "mixtures of endmembers, and the one for an MSI of one band; linear: ridge regression.",
)
endmembers = click.option(
    "--endmembers",
    metavar="NUMBER",
    type=click.IntRange(1),
    help="How many --method morph mixes.  [default: as many as the data bear]",
)
extraction = click.option(
    "--extraction",
    type=click.Choice(["nmf", "vca"]),
    help="How --method morph finds them. nmf: parts that add up to the spectra; vca: the pixels at "
    "the corners, for scenes where each material is pure somewhere.  [default: nmf]",
)
constraint = click.option(
    "--constraint",
    type=click.Choice(["none", "non-negative", "sum-to-one"]),
    help="What the abundances of --method morph obey; fractions are easier to read, and cost 2 to "
    "3 dB of the spectra.  [default: none]",
)
harmonize = click.option(
    "--harmonize",
    type=click.Choice(["auto", "regression", "moments", "none"]),
    default="auto",
    show_default=True,
    help="How the MSI's values become the HSI's: by gains and offsets where the scenes overlap, "
    "by their statistics, or not at all.",
)
consistency = click.option(
    "--consistency",
    type=click.Choice(["msi", "both", "none"]),
    default="msi",
    show_default=True,
    help="msi: the result, seen by the MSI's sensor, equals the MSI up to its noise, which is "
    "taken to be 40 dB below the signal; both: seen by the HSI's sensor, it also agrees with the "
    "HSI, whose blur is --psf, or else found from the pair.",
)
bad_bands = click.option(
    "--bad-bands",
    type=click.Choice(["drop", "keep"]),
    default="drop",
    show_default=True,
    help="What to do with bands that the HSI marks as bad.",
)
psf = click.option(
    "--psf",
    metavar="NAME",
    type=click.Choice(psfs.names()),
    default="gaussian",
    show_default=True,
    help="How the HSI's sensor blurs, before the mean over its pixel: one of "
    f"{', '.join(psfs.names())}.",
)
psf_known = click.option(
    "--psf",
    metavar="NAME",
    type=click.Choice(psfs.names()),
    help="How the HSI's sensor blurs, for --consistency both, before the mean over its pixel: one "
    f"of {', '.join(psfs.names())}.  [default: found from the pair]",
)
sigma = click.option(
    "--sigma",
    metavar="PIXELS",
    type=click.FloatRange(min=0, min_open=True),
    help="Width of the PSF, in fine pixels.  [default: as wide at half maximum as an HSI pixel]",
)
half_width = click.option(
    "--half-width",
    metavar="PIXELS",
    type=click.IntRange(min=0),
    help="How far the PSF reaches, in fine pixels.  [default: three sigmas]",
)
units = click.option(
    "--wavelength-units",
    type=click.Choice(["nm", "um", "m"]),
    help="Of wavelengths, where a file names no units of its own.",
)
alpha = click.option(
    "--alpha",
    type=click.Choice(["mask", "keep"]),
    default="mask",
    show_default=True,
    help="A band that the MSI's file marks as alpha. mask: it says which pixels hold data; keep: "
    "it is data, as the near infrared of many four-band images is.",
)


def _listed(ctx: click.Context, param: click.Parameter, text: str | None) -> tuple[str, ...] | None:
    """Read ``3,2,1`` as its parts."""
    if text is None:
        return None
    found = tuple(each.strip() for each in text.split(","))
    if not all(found):
        raise click.BadParameter(f"{text!r} is no list of bands, such as 3,2,1", ctx, param)
    return found


msi_bands = click.option(
    "--msi-bands",
    metavar="BANDS",
    callback=_listed,
    help="Which bands of MSI to use, in the order of the response or the model: a list such as "
    "3,2,1 of their labels, or of their places from 1 where these have names.  [default: all]",
)


def reading(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add how the MSI is read."""
    return alpha(msi_bands(function))


def packing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add how ``--dtype uint16`` packs values."""
    return scale_factor(add_offset(function))


def seed_of(what: str) -> Decorator:
    """Make the ``--seed`` option of a verb, saying what it is the seed of."""
    return click.option(
        "--seed",
        metavar="NUMBER",
        type=click.IntRange(0, 2**32 - 1),
        default=0,
        show_default=True,
        help=f"Of {what}.",
    )


seed = seed_of("everything random: one seed, one result")
device = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="auto takes the GPU where there is one.",
)
dtype = click.option(
    "--dtype",
    type=click.Choice(["uint16", "float32"]),
    default="uint16",
    show_default=True,
    help="uint16 packs values with a scale factor, in half the space.",
)
scale_factor = click.option(
    "--scale-factor",
    metavar="NUMBER",
    type=float,
    help="Of --dtype uint16: one step of the values, in their units; what lies beyond 65,535 steps "
    "is clipped.  [default: 1e-4 for reflectance, else by the range of the training]",
)
add_offset = click.option(
    "--add-offset",
    metavar="NUMBER",
    type=float,
    help="Of --dtype uint16: the lowest value.  [default: 0 with --scale-factor or for "
    "reflectance, else by the range of the training]",
)
shard = click.option(
    "--shard",
    metavar="PIXELS",
    default=1280,
    show_default=True,
    help="Edge of what one task computes and writes as one file.",
)
scheduler = click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="A running Dask scheduler, such as tcp://node1:8786, to work there instead of here. "
    "Its workers must see the same paths.",
)
quiet = click.option("--quiet", "-q", is_flag=True, help="No progress bars, no summary.")
overwrite = click.option("--overwrite", is_flag=True, help="Replace what is there.")
resume = click.option(
    "--resume", is_flag=True, help="Finish what an interrupted run left; begin where nothing is."
)


def _part(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Read ``2/8`` as (2, 8)."""
    if value is None:
        return None
    i, slash, n = value.partition("/")
    counted = slash and i.isdecimal() and n.isdecimal() and int(n) >= 1
    if not (counted and int(i) <= int(n)):
        raise click.BadParameter(
            f"{value!r} is not i/n with i from 1 to n, such as 1/8, or 0 to begin", ctx, param
        )
    return int(i), int(n)


part = click.option(
    "--part",
    metavar="I/N",
    callback=_part,
    help="Be the I-th of N processes that write STORE between them, such as the tasks of a SLURM "
    "array; they need no network. 0/N trains and begins STORE, which keeps the model, and writes "
    "no shard; then the parts need neither HSI nor --model. Parts on one machine take turns at its "
    "cores. Run a part again to resume it.",
)
part_of_maps = click.option(
    "--part",
    metavar="I/N",
    callback=_part,
    help="Be the I-th of N processes that write STORE between them, each with --model; they need "
    "no network. 0/N begins STORE and writes no shard. Run a part again to resume it.",
)
kind = click.option(
    "--kind",
    type=click.Choice(["cube", "recipe"]),
    default="cube",
    show_default=True,
    help="cube: all pixels; recipe: MSI and the model, in a small part of the space, for "
    "lift_xr.open_scene to lift what is asked for.",
)
mosaic = click.option(
    "--msi",
    "mosaic",
    type=click.Choice(["copy", "address"]),
    default="copy",
    show_default=True,
    help="Of a recipe: copy MSI into STORE, or keep only where it lies.",
)

log = click.option(
    "--log",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Add a line of JSON for every shard as it ends: its place, seconds to read, lift, encode "
    "and write, bytes, tries, host, process, peak memory. A file each for parts side by side.",
)
threads = click.option(
    "--threads",
    metavar="NUMBER",
    type=click.IntRange(1),
    help="Shards at work at once in this process, without --scheduler; each is one thread, and "
    "never are there more than cores.  [default: one a core]",
)


def given(ctx: click.Context, names: Iterable[str]) -> list[str]:
    """List those of the options that the command line names, as it does."""
    written = {each.name: each.opts[0] for each in ctx.command.params}
    return [
        written[name]
        for name in names
        if ctx.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE
    ]


def expect_not_given(ctx: click.Context, *names: str, needs: str) -> None:
    """Refuse options that would be ignored."""
    for option in given(ctx, names):
        raise click.UsageError(
            f"{option} needs {needs}, and would be ignored. Give that, or leave {option} out", ctx
        )


def expect_width_of(psf: str | None, given: list[str]) -> None:
    """Refuse a width of what has none."""
    widths = [each for each in given if each in ("--sigma", "--half-width")]
    if psf == "delta" and widths:
        raise click.UsageError(
            f"{widths[0]} is the width of a PSF, and --psf delta has none. Leave it out"
        )


def examples(*lines: str) -> str:
    """Lay out examples as the end of a verb's help."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def out(metavar: str, text: str, **more: Any) -> Decorator:
    """Make the ``--out`` option of a verb."""
    more.setdefault("type", click.Path(path_type=Path))
    return click.option("--out", "-o", metavar=metavar, help=text, **more)


MIXING = ("endmembers", "extraction", "constraint")
BLUR = ("psf", "sigma", "half_width")
TRAINING = (
    "srf",
    "method",
    *MIXING,
    "harmonize",
    "consistency",
    *BLUR,
    "bad_bands",
    "wavelength_units",
    "seed",
    "device",
)


def training(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add what ``fit`` is told, by whichever verb calls it."""
    for option in (device, seed, units, bad_bands, half_width, sigma, psf_known, consistency):
        function = option(function)
    function = harmonize(function)
    return srf(method(mixing(function)))


def mixing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add what ``MorphRecipe`` is told."""
    return endmembers(extraction(constraint(function)))


def bands(ctx: click.Context, param: click.Parameter, text: str) -> Any:
    """Read ``rgb``, ``all``, or a list of labels and wavelengths."""
    if text in ("rgb", "all"):
        return {"rgb": "rgb", "all": None}[text]
    return [_label(each.strip()) for each in text.split(",")]


def _label(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
