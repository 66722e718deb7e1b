"""The verbs. What they need is imported when they run, so that ``--help`` comes at once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lift_xr.cli import options
from lift_xr.cli.exits import Refused, ShardsFailed, leaving

if TYPE_CHECKING:
    import xarray as xr

    from lift_xr.io.raster import Alpha
    from lift_xr.models import Model

CONNECT_SECONDS = 10


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
@click.option(
    "--seed",
    metavar="NUMBER",
    type=options.SEEDS,
    default=0,
    show_default=True,
    help="Of the city and of the training.",
)
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
    short_help="Train a model and save it.",
    epilog=options.examples(
        "lift-xr fit hsi.zarr --srf ikonos --out sin.lift",
        "lift-xr fit hsi.hdr --srf camera.csv --msi mosaic.tif --out sin.lift",
        "lift-xr fuse mosaic.tif --model sin.lift --out fused.zarr",
    ),
)
@click.argument("hsi")
@click.option(
    "--msi",
    metavar="MOSAIC",
    help="The mosaic, to match its radiometry or to estimate the response.",
)
@options.out("MODEL", "Where the model goes, such as sin.lift.", required=True)
@options.training
@options.alpha
@options.scheduler
@options.overwrite
@options.quiet
def fit(
    hsi: str,
    msi: str | None,
    out: Path,
    overwrite: bool,
    scheduler: str | None,
    quiet: bool,
    **training: Any,
) -> None:
    """Train a model on HSI, to lift one mosaic or many.

    HSI is a Zarr store, a GeoTIFF or an ENVI file with wavelengths.
    """
    _expect_way_to_response(training["srf"], msi, "--msi MOSAIC")
    _expect_apart({"--out": out}, (hsi, msi, training["srf"]))
    _expect_model_place(out, overwrite=overwrite)
    with _connected(scheduler):
        model = _train(hsi, msi, progress=not quiet, **training)
    model.save(out)
    _say(f"wrote {out}: {_told(model)}", quiet=quiet)


@click.command(
    short_help="Make the fine hyperspectral scene and write it.",
    epilog=options.examples(
        "lift-xr fuse hsi.zarr mosaic.tif --srf ikonos --out fused.zarr",
        "lift-xr fuse hsi.zarr mosaic.tif --out fused.zarr          response estimated",
        "lift-xr fuse mosaic.tif --model sin.lift --out fused.zarr  no training",
        "lift-xr fuse hsi.zarr mosaic.tif --srf camera.csv --out fused.zarr \\",
        "    --scheduler tcp://node1:8786 --save-model sin.lift",
        "lift-xr fuse mosaic.tif --model sin.lift --out fused.zarr --resume",
        "lift-xr fuse mosaic.tif --model sin.lift --out fused.zarr --part 3/16",
    ),
)
@click.argument("scenes", nargs=-1, metavar="HSI MSI")
@options.out("STORE", "Where the result goes, such as fused.zarr.", required=True, type=str)
@options.training
@options.alpha
@click.option(
    "--model",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A model from `lift-xr fit`, instead of training one; then HSI may be left out.",
)
@click.option(
    "--save-model", metavar="PATH", type=click.Path(path_type=Path), help="Keep the trained model."
)
@click.option(
    "--dtype",
    type=click.Choice(["uint16", "float32"]),
    default="uint16",
    show_default=True,
    help="uint16 packs values with a scale factor, in half the space.",
)
@click.option(
    "--shard",
    metavar="PIXELS",
    default=1280,
    show_default=True,
    help="Edge of what one task computes and writes as one file.",
)
@options.scheduler
@options.overwrite
@options.resume
@options.part
@options.quiet
@click.pass_context
def fuse(
    ctx: click.Context,
    /,
    scenes: tuple[str, ...],
    out: str,
    model: Path | None,
    save_model: Path | None,
    dtype: str,
    shard: int,
    overwrite: bool,
    resume: bool,
    part: tuple[int, int] | None,
    scheduler: str | None,
    quiet: bool,
    alpha: Alpha,
    **training: Any,
) -> None:
    """Give the mosaic MSI the spectra of the cube HSI, and write STORE (Zarr).

    Trains on HSI as the MSI's sensor would see it, then lifts every pixel of MSI. Scenes are
    Zarr stores, GeoTIFF or ENVI files; MSI has the bands of the response, in any order if named.
    """
    hsi, msi = _pair(ctx, scenes, model)
    if part is not None and model is None:
        raise click.UsageError("--part needs --model: train once, with `lift-xr fit`", ctx)
    place = {"overwrite": overwrite, "resume": resume or part is not None}
    _expect_apart({"--out": out, "--save-model": save_model}, (hsi, msi, model, training["srf"]))
    if save_model is not None:
        _expect_model_place(save_model, overwrite=overwrite)
    _plan(msi, out, alpha=alpha, dtype=dtype, shard=shard, **place)
    with _connected(scheduler):
        fitted = _model(hsi, msi, model, alpha=alpha, progress=not quiet, **training)
        if save_model is not None:
            fitted.save(save_model)
        _say(f"model: {_told(fitted)}", quiet=quiet)
        with leaving(f"{out} is not complete. Run again with --resume"):
            fused = _predict(fitted, msi, alpha=alpha, shard=shard, device=training["device"])
            _write(fused, out, dtype=dtype, shard=shard, part=part, progress=not quiet, **place)
    _say(_written(out), quiet=quiet)


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
@options.overwrite
@options.quiet
def export(
    store: str,
    tif: Path,
    bands: Any,
    dtype: str | None,
    level: int,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Write bands of STORE, or a picture of it, to TIF: a cloud-optimised GeoTIFF with overviews.

    For programs that cannot read Zarr.
    """
    from lift_xr.io import export as export_scene
    from lift_xr.io import open_scene

    _expect_apart({"TIF": tif}, (store,))
    scene = open_scene(store, level=level)
    export_scene(scene, tif, bands=bands, dtype=dtype, overwrite=overwrite, progress=not quiet)
    _say(f"wrote {tif}", quiet=quiet)


def _pair(
    ctx: click.Context, scenes: tuple[str, ...], model: Path | None
) -> tuple[str | None, str]:
    """Tell HSI and MSI apart; a model needs no HSI, and nothing that trains one."""
    if model is None and len(scenes) != 2:
        raise click.UsageError(f"expected HSI and MSI, got {len(scenes)} scenes", ctx)
    if model is not None and len(scenes) not in (1, 2):
        raise click.UsageError(f"expected MSI, got {len(scenes)} scenes", ctx)
    if model is not None:
        about_training = set(options.TRAINING) - {"device"}
        given = [
            name
            for name in sorted(about_training | {"save_model"})
            if ctx.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE
        ]
        if given:
            listed = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise click.UsageError(f"{listed}: settled by --model, which is trained already", ctx)
    return (scenes[0] if len(scenes) == 2 else None), scenes[-1]


def _model(hsi: str | None, msi: str, model: Path | None, **training: Any) -> Model:
    from lift_xr.models import load_model

    if model is not None:
        return load_model(model)
    assert hsi is not None
    return _train(hsi, msi, **training)


def _train(
    hsi: str,
    msi: str | None,
    *,
    srf: str | None,
    wavelength_units: str | None,
    alpha: Alpha,
    **settings: Any,
) -> Model:
    from lift_xr.fuse import fit as train
    from lift_xr.io import open_scene

    cube = open_scene(hsi, units=wavelength_units)
    mosaic = None if msi is None else open_scene(msi, alpha=alpha)
    if srf is None and settings["progress"]:
        _say("no --srf: estimating the response from the two scenes")
    return train(cube, srf, msi=mosaic, **settings)


def _predict(model: Model, msi: str, *, alpha: Alpha, shard: int, device: str) -> xr.DataArray:
    from lift_xr.fuse import predict
    from lift_xr.io import open_scene

    return predict(model, open_scene(msi, alpha=alpha, block=shard), device=device)


def _write(
    fused: xr.DataArray,
    out: str,
    *,
    part: tuple[int, int] | None,
    resume: bool,
    **settings: Any,
) -> None:
    """Write the store; some shards that failed are an exit code of their own."""
    from lift_xr.io import WriteFailed, write_zarr

    try:
        write_zarr(fused, out, part=part, resume=resume, **settings)
    except WriteFailed as failed:
        raise ShardsFailed(str(failed)) from failed


def _written(out: str) -> str:
    from lift_xr.io import status as progress_of

    if progress_of(out).complete:
        return f"wrote {out}: look at it with `lift-xr info {out}`"
    return f"this part of {out} is done: follow the others with `lift-xr status {out}`"


def _plan(
    msi: str, out: str, *, alpha: Alpha, dtype: str, shard: int, overwrite: bool, resume: bool
) -> None:
    """Find out before the training what would only fail after it."""
    from lift_xr.io import open_scene
    from lift_xr.io.place import expect_place
    from lift_xr.plan import Layout

    mosaic = open_scene(msi, alpha=alpha)
    Layout.of(mosaic.shape, dtype, shard=shard)
    expect_place(out, mosaic.data, overwrite=overwrite, resume=resume)


def _expect_way_to_response(srf: str | None, msi: str | None, advice: str) -> None:
    if srf is None and msi is None:
        raise click.UsageError(f"give --srf NAME_OR_CSV, or {advice} to estimate the response")


def _expect_apart(
    written: Mapping[str, str | Path | None], read: Iterable[str | Path | None]
) -> None:
    """Refuse to write what is read, around it or in it, and two results in one place."""
    taken = [str(each) for each in read if each is not None]
    for option, place in written.items():
        if place is None:
            continue
        for other in taken:
            if _touch(str(place), other):
                raise Refused(
                    "LayoutError",
                    f"{option} {place} is, holds or lies in {other}, which this command reads or "
                    "writes too; expected a place of its own, so nothing is lost. Use another path",
                )
        taken.append(str(place))


def _touch(one: str, other: str) -> bool:
    """Whether two paths are one, or one lies in the other; headers stand for their data too."""
    a, b = _place(one), _place(other)
    if a == b or a in b.parents or b in a.parents:
        return True
    if b.suffix.lower() == ".hdr":  # of ENVI: the data has the name without it
        return a.parent == b.parent and b.stem in (a.name, a.stem)
    return Path(one).exists() and Path(other).exists() and os.path.samefile(one, other)


def _place(where: str) -> Path:
    """Tell where a path leads; a URL stays as it is."""
    local = where.removeprefix("file://")
    return Path(local) if "://" in local else Path(local).resolve()


def _expect_model_place(path: Path, *, overwrite: bool) -> None:
    """Refuse a place where no model can go, or where one would replace something else."""
    if path.exists() and not _holds_model(path):
        raise Refused(
            "FileExistsError",
            f"{path} exists and is not a model that lift-xr can read; expected a new file, such "
            "as sin.lift, so nothing of yours is lost. Use another path, or move it away",
        )
    if path.exists() and not overwrite:
        raise Refused("FileExistsError", f"{path} already exists. Pass --overwrite to replace it")
    if not path.parent.is_dir():
        raise Refused("FileNotFoundError", f"there is no folder {path.parent} to write {path} in")


def _holds_model(path: Path) -> bool:
    from lift_xr.models import load_model

    try:
        return path.is_file() and bool(load_model(path))
    except (ValueError, OSError):
        return False


@contextmanager
def _connected(scheduler: str | None) -> Iterator[None]:
    """Work on a cluster while this lasts, if there is one."""
    if scheduler is None:
        yield
        return
    from distributed import Client

    try:
        client = Client(scheduler, timeout=CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise Refused(
            "SchedulerError",
            f"no Dask scheduler answers at {scheduler!r}; expected an address like "
            "tcp://node1:8786. Start one with `dask scheduler`, and workers with `dask worker`",
        ) from error
    with client:
        yield


def _told(model: Model) -> str:
    return (
        f"{model.method}, {model.msi_bands} to {model.bands} bands, "
        f"radiometry {model.about['harmonize']}, digest {model.digest[:12]}"
    )


def _say(text: str, *, quiet: bool = False) -> None:
    if not quiet:
        click.echo(text)
