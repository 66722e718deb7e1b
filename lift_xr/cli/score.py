"""``lift-xr score``: how near a fused scene comes to the truth, or to what it was made from."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, get_args

import click

from lift_xr.cli import options
from lift_xr.cli.msi import Msi
from lift_xr.cli.talk import connected
from lift_xr.metrics import Variant

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from rich.table import Table

    from lift_xr.io.raster import Alpha

Found = dict[str, dict[str, Any]]
TITLES = {"truth": "Against {}", "msi": "Seen by the MSI's sensor, against {}"} | {
    "hsi": "Blurred to the HSI's pixels, against {}"
}
SCENES = {"reference": "REFERENCE", "msi": "--msi MOSAIC", "hsi": "--hsi CUBE"}
# The scenes that options are about: without all of them, they would be ignored.
ABOUT = {
    **dict.fromkeys(("ratio", "variant", "data_range"), ("reference",)),
    **dict.fromkeys(options.BLUR, ("hsi",)),
    "harmonize": ("msi", "hsi"),
    "alpha": ("msi",),
    "msi_bands": ("msi",),
}


@click.command(
    short_help="Score a result, with or without a truth.",
    epilog=options.examples(
        "lift-xr score fused.zarr truth.zarr --ratio 8",
        "lift-xr score fused.zarr truth.zarr --variant sewar --json",
        "lift-xr score fused.zarr --msi mosaic.tif --srf ikonos --hsi hsi.zarr   no truth",
    ),
)
@click.argument("estimate")
@click.argument("reference", required=False)
@click.option(
    "--ratio",
    metavar="NUMBER",
    type=click.FloatRange(min=0, min_open=True),
    help="HSI pixel size over MSI pixel size, for ERGAS.  [default: from --hsi, if given]",
)
@click.option(
    "--variant",
    type=click.Choice(get_args(Variant)),
    default="textbook",
    show_default=True,
    help="textbook: the metrics' definitions. sewar: what the published tables compute; cubes in "
    "0-1, for comparison with those tables only.",
)
@click.option(
    "--data-range",
    metavar="PEAK",
    type=click.FloatRange(min=0, min_open=True),
    help="Peak for PSNR and SSIM.  [default: 1 for reflectance; else each band's largest value, "
    "for which REFERENCE is read once more, first]",
)
@click.option("--msi", metavar="MOSAIC", help="The mosaic; needs --srf. Needs no REFERENCE.")
@click.option("--srf", metavar="NAME_OR_CSV", help="Response of the mosaic's sensor.")
@click.option("--hsi", metavar="CUBE", help="The cube; needs no REFERENCE.")
@options.psf
@options.sigma
@options.half_width
@options.harmonize
@options.units
@options.reading
@options.scheduler
@click.option("--json", "as_json", is_flag=True, help="Print JSON; what is not a number is null.")
@click.pass_context
def score(
    ctx: click.Context,
    /,
    estimate: str,
    reference: str | None,
    scheduler: str | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Score ESTIMATE by six metrics against REFERENCE, or against the scenes it was made from.

    RMSE, PSNR, SSIM, UIQI, ERGAS and SAM against a truth on the same grid, of which what lies
    beyond ESTIMATE, as `lift-xr degrade` leaves it out, is left out too, and so are its bad bands
    where ESTIMATE has none. Without one, --msi and
    --hsi tell how well ESTIMATE, seen again by the two sensors, agrees with what they saw; the
    mosaic's values are first made those of the cube if both are given, as `lift-xr fuse` does.
    Pixels without data are left out.
    """
    _expect_something(reference, chosen["msi"], chosen["srf"], chosen["hsi"])
    _expect_heeded(ctx, chosen | {"reference": reference})
    places = {"truth": reference, "msi": chosen["msi"], "hsi": chosen["hsi"]}
    with connected(scheduler):
        found, told = _compare(estimate, reference, **chosen)
    if as_json:
        click.echo(json.dumps({"estimate": estimate, **_plain(found, places), **told}))
        return
    from rich.console import Console

    console = Console()
    for against, values in found.items():
        console.print(TITLES[against].format(places[against]), style="bold")
        console.print(_table(values, listed=against == "msi"))
    for line in _remarks(told):
        console.print(line, style="dim")


def _expect_something(
    reference: str | None, msi: str | None, srf: str | None, hsi: str | None
) -> None:
    if reference is None and msi is None and hsi is None:
        raise click.UsageError("give REFERENCE, or --msi MOSAIC with --srf, or --hsi CUBE")
    if (msi is None) != (srf is None):
        raise click.UsageError("--msi and --srf belong together: give both, or none")


def _expect_heeded(ctx: click.Context, chosen: dict[str, Any]) -> None:
    """Refuse options that no comparison would heed."""
    for name, scenes in ABOUT.items():
        missing = [SCENES[each] for each in scenes if chosen[each] is None]
        if missing:
            options.expect_not_given(ctx, name, needs=" and ".join(missing))
    if chosen["variant"] == "sewar":  # which has the peak of 8 bits, and one ratio
        options.expect_not_given(ctx, "ratio", "data_range", needs="--variant textbook")
    options.expect_width_of(chosen["psf"], options.given(ctx, options.BLUR))


def _compare(
    estimate: str,
    reference: str | None,
    *,
    ratio: float | None,
    variant: Variant,
    data_range: float | None,
    msi: str | None,
    srf: str | None,
    hsi: str | None,
    psf: str,
    sigma: float | None,
    half_width: int | None,
    harmonize: str,
    wavelength_units: str | None,
    alpha: Alpha,
    msi_bands: tuple[str, ...] | None,
) -> tuple[Found, dict[str, Any]]:
    """Make all comparisons: their values, and what else there is to say of them."""
    from lift_xr.io import open_scene
    from lift_xr.metrics import hsi_agreement, msi_agreement
    from lift_xr.metrics import score as scored

    fused = open_scene(estimate, units=wavelength_units)
    cube = None if hsi is None else open_scene(hsi, units=wavelength_units)
    made: dict[str, xr.Dataset] = {}
    told: dict[str, Any] = {}
    if reference is not None:
        whole = open_scene(reference, units=wavelength_units)
        truth = _cut(_without_bad_bands(whole, fused), fused)
        told |= {"cut": _told_cut(whole, truth)} if truth is not whole else {}
        ratio = ratio or _ratio_of(cube, fused)
        reflectance = truth.attrs.get("units") == "1" and variant == "textbook"
        data_range = data_range or (1.0 if reflectance else None)
        scores = scored(fused, truth, ratio=ratio or 1, data_range=data_range, variant=variant)
        made["truth"] = scores if ratio or variant == "sewar" else scores.drop_vars("ergas")
        told |= {"ratio": ratio, "variant": variant, "data_range": data_range}
    if msi is not None:
        mosaic = Msi(msi, alpha, msi_bands, wavelength_units).open()
        mosaic, told["harmonize"] = _radiometry(mosaic, cube, srf, harmonize)
        made["msi"] = msi_agreement(fused, mosaic, srf)
    if cube is not None:
        blur: dict[str, Any] = {"psf": psf, "sigma": sigma, "half_width": half_width}
        made["hsi"] = hsi_agreement(fused, cube, **blur)
        told |= blur
    # One after the other: together, dask 2026.8 loses tasks that the three share.
    return {against: _values(each.compute()) for against, each in made.items()}, told


def _without_bad_bands(truth: xr.DataArray, fused: xr.DataArray) -> xr.DataArray:
    """Leave out the truth's bad bands where the estimate has none, as `degrade` and `fuse` do."""
    if "good_wavelength" not in truth.coords or truth.sizes["band"] == fused.sizes["band"]:
        return truth
    good = truth["good_wavelength"].to_numpy().astype(bool)
    return truth.isel(band=good) if good.sum() == fused.sizes["band"] else truth


def _cut(truth: xr.DataArray, fused: xr.DataArray) -> xr.DataArray:
    """Cut the truth to the estimate's pixels, where these are some of its own, row for row.

    What `degrade` makes of a scene ends at a multiple of the ratio, and so does all fused from it.
    """
    inside = {dim: _places(truth.indexes[dim], fused.indexes[dim]) for dim in ("y", "x")}
    if None in inside.values() or all(truth.sizes[dim] == fused.sizes[dim] for dim in inside):
        return truth
    return truth.isel({dim: places for dim, places in inside.items() if places is not None})


def _places(there: pd.Index, here: pd.Index) -> slice | None:
    """Where the pixel centres of one lie among another's; None if not exactly, one after another.

    What a file format's rounding does to a centre is no difference.
    """
    grain = abs(float(there[-1] - there[0])) / max(len(there) - 1, 1) / 1000
    found = there.get_indexer(here, method="nearest", tolerance=grain)
    first, last = int(found.min()), int(found.max())
    in_order = first >= 0 and last - first == len(here) - 1 and bool((found[1:] > found[:-1]).all())
    return slice(first, last + 1) if in_order else None


def _told_cut(whole: xr.DataArray, part: xr.DataArray) -> str:
    sizes = (" x ".join(str(each.sizes[dim]) for dim in ("y", "x")) for each in (part, whole))
    told = "{} of {} pixels (y, x)".format(*sizes)
    bands, all_bands = part.sizes["band"], whole.sizes["band"]
    return told if bands == all_bands else f"{told}, {bands} of {all_bands} bands: the good ones"


def _ratio_of(cube: xr.DataArray | None, fused: xr.DataArray) -> float | None:
    from lift_xr.grid import compare

    return None if cube is None else float(compare(cube, fused).ratio_y)


def _radiometry(
    mosaic: xr.DataArray, cube: xr.DataArray | None, srf: Any, method: str
) -> tuple[xr.DataArray, str]:
    """Give the mosaic the cube's values, as ``fit`` would; as it is, where there is no cube."""
    from lift_xr.harmonize import IDENTITY
    from lift_xr.harmonize import harmonize as match
    from lift_xr.matching import match_bands
    from lift_xr.srf import SRF, apply

    if cube is None:
        return mosaic, IDENTITY.describe()
    response = match_bands(SRF.of(srf), mosaic)
    found = match(mosaic, apply(response.sample(cube), cube), method=method)
    return found.apply(mosaic), found.describe()


def _values(found: xr.Dataset) -> dict[str, Any]:
    """Numbers, and lists of a number a band under the bands' names."""
    along = {"band": [str(band) for band in found["band"].values]} if "band" in found.dims else {}
    return along | {str(name): each.values.tolist() for name, each in found.data_vars.items()}


def _plain(found: Found, places: dict[str, str | None]) -> dict[str, Any]:
    """The values with nothing in them that JSON lacks."""
    return {
        against: {"path": places[against]}
        | {
            name: [_number(each) for each in value] if isinstance(value, list) else _number(value)
            for name, value in values.items()
        }
        for against, values in found.items()
    }


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _table(values: dict[str, Any], *, listed: bool) -> Table:
    """One line a metric: the value, or one for each band, or what all of them lie between."""
    from rich.table import Table

    from lift_xr.metrics.scores import UNITS

    table = Table(box=None, show_header=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(justify="right")
    table.add_column()
    for name, value in values.items():
        if name == "band":
            continue
        unit = {"1": "", "degree": "degrees"}.get(UNITS.get(name, "1"), UNITS.get(name, ""))
        for label, number in _lines(name, value, values["band"] if listed else None):
            table.add_row(label, number, unit)
    return table


def _lines(name: str, value: Any, bands: list[str] | None) -> list[tuple[str, str]]:
    """Give each band a line where they are named; else the middle and both ends."""
    label = name.upper() if name not in ("correlation", "pixels") else name
    if not isinstance(value, list):
        return [(label, _told(value))]
    if name == "pixels":
        return [(label, f"{max(value):,}" if value else "0")]
    if bands is not None:
        return [(f"{label} {band}", _told(each)) for band, each in zip(bands, value, strict=True)]
    known = sorted(each for each in value if math.isfinite(each))
    if not known:
        return [(label, "nan")]
    middle = known[len(known) // 2]
    return [(label, f"{_told(middle)}, {_told(known[0])} to {_told(known[-1])}")]


def _told_width(told: dict[str, Any]) -> str:
    if told["psf"] == "delta":
        return "nothing but the mean over an HSI pixel"
    width = f"sigma {told['sigma']:g} pixels" if told["sigma"] else "one HSI pixel wide"
    return width + ("" if told["half_width"] is None else f", cut at {told['half_width']} pixels")


def _told(value: float) -> str:
    return f"{value:.4g}"


def _remarks(told: dict[str, Any]) -> list[str]:
    """Say what the numbers stand on."""
    lines = []
    if "cut" in told:
        lines.append(f"REFERENCE cut to ESTIMATE: {told['cut']}.")
    if "variant" in told:
        peak = told["data_range"]
        lines.append(
            "Metrics of the published tables (sewar)."
            if told["variant"] == "sewar"
            else f"PSNR and SSIM with a peak of {peak:g}."
            if peak
            else "PSNR and SSIM with the largest value of each band as the peak."
        )
        if not told["ratio"] and told["variant"] != "sewar":
            lines.append("ERGAS needs --ratio.")
    if "harmonize" in told:
        lines.append(f"The mosaic's radiometry: {told['harmonize']}.")
    if "psf" in told:
        lines.append(f"PSF assumed: {told['psf']}, {_told_width(told)}.")
    return lines
