"""``lift-xr fuse``: from two scenes, or a model and a mosaic, to a store."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lift_xr.cli import options
from lift_xr.cli.begun import expect_same_model, expect_saved
from lift_xr.cli.exits import Interrupted, ShardsFailed, leaving
from lift_xr.cli.fit import expect_method_of, train
from lift_xr.cli.msi import Msi
from lift_xr.cli.places import expect_apart, expect_model_place
from lift_xr.cli.talk import connected, each_of, how_far, say, told

if TYPE_CHECKING:
    import xarray as xr

    from lift_xr.io.raster import Alpha
    from lift_xr.models import Model

READ = {"alpha", "msi_bands", "wavelength_units"}
AGAIN = READ | {"errors", "dtype", "scale_factor", "add_offset", "shard", "kind", "mosaic"}


@click.command(
    short_help="Make the fine hyperspectral scene and write it.",
    epilog=options.examples(
        "lift-xr fuse hsi.zarr mosaic.tif --srf ikonos --out fused.zarr",
        "lift-xr fuse hsi.zarr mosaic.tif --out fused.zarr          response estimated",
        "lift-xr fuse mosaic.tif --model sin.lift --out fused.zarr  no training",
        "lift-xr fuse hsi.zarr mosaic.tif --srf camera.csv --out fused.zarr \\",
        "    --scheduler tcp://node1:8786 --save-model sin.lift",
        "lift-xr fuse mosaic.tif --out fused.zarr --resume          the model is in the store",
        "lift-xr fuse mosaic.tif --model sin.lift --out fused.zarr --msi-bands 3,2,1",
        "lift-xr fuse hsi.zarr mosaic.tif --srf ikonos --out fused.zarr --part 0/16",
        "lift-xr fuse mosaic.tif --out fused.zarr --part 3/16       after 0/16 has begun it",
        "lift-xr fuse mosaic.tif --model sin.lift --out small.zarr --kind recipe",
    ),
)
@click.argument("scenes", nargs=-1, metavar="HSI MSI")
@options.out("STORE", "Where the result goes, such as fused.zarr.", required=True, type=str)
@options.training
@options.reading
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="A model from `lift-xr fit`, or a store with one in it, instead of training one; then HSI "
    "may be left out, unless the model looks at it again.",
)
@click.option(
    "--save-model", metavar="PATH", type=click.Path(path_type=Path), help="Keep the trained model."
)
@click.option(
    "--uncertainty",
    "errors",
    metavar="STORE",
    help="Write the error to expect of every value too, as a store of float32 of its own. Which "
    "pixels have colours that HSI does not show is told by lift_xr.uncertainty in Python.",
)
@options.dtype
@options.packing
@options.shard
@options.kind
@options.mosaic
@options.scheduler
@options.overwrite
@options.resume
@options.part
@options.threads
@options.log
@options.quiet
@click.pass_context
def fuse(
    ctx: click.Context,
    /,
    scenes: tuple[str, ...],
    out: str,
    model: Path | None,
    save_model: Path | None,
    errors: str | None,
    dtype: str,
    scale_factor: float | None,
    add_offset: float | None,
    shard: int,
    kind: str,
    mosaic: str,
    overwrite: bool,
    resume: bool,
    part: tuple[int, int] | None,
    threads: int | None,
    log: str | None,
    scheduler: str | None,
    quiet: bool,
    alpha: Alpha,
    msi_bands: tuple[str, ...] | None,
    **training: Any,
) -> None:
    """Give the mosaic MSI the spectra of the cube HSI, and write STORE (Zarr).

    Trains on HSI as the MSI's sensor would see it, then lifts every pixel of MSI. Scenes are
    Zarr stores, GeoTIFF or ENVI files; MSI has the bands of the response, in any order if named;
    of a file with more, --msi-bands says which. STORE keeps the model: to resume trains nothing
    again. With --uncertainty the store of errors is written after it, the same way: in parts, or
    resumed.
    """
    import dask

    if overwrite and part is not None:
        raise click.UsageError(
            "--overwrite with --part: a part that comes late would remove what the others wrote. "
            "Remove STORE first",
            ctx,
        )
    place = {"overwrite": overwrite, "resume": resume or part is not None}
    hsi, path = _pair(ctx, scenes, model, resumes=place["resume"])
    msi = Msi(path, alpha, msi_bands, training["wavelength_units"])
    written = {"--out": out, "--uncertainty": errors, "--save-model": save_model, "--log": log}
    expect_apart(written, (hsi, path, model, training["srf"]))
    expect_method_of(training)
    if threads is not None and scheduler is not None:
        raise click.UsageError("--threads is for work here; --scheduler's workers have theirs", ctx)
    _expect_packing(ctx, kind, dtype, scale_factor, add_offset)
    _plan(msi, out, errors, dtype=dtype, shard=shard, log=log, **place)
    if save_model is not None:
        expect_model_place(save_model, overwrite=overwrite or place["resume"])
    begun = None
    if model is None and place["resume"] and not overwrite:
        begun = _begun(ctx, out, hsi, part, training | {"msi": msi})
    if save_model is not None and not overwrite:
        asked = {name: each for name, each in training.items() if name != "device"}
        expect_saved(save_model, out, begun, hsi, msi=msi, **asked)
    with connected(scheduler), dask.config.set(_workers(threads)):
        fitted = begun or _model(hsi, msi, model, progress=not quiet, **training)
        if save_model is not None and (overwrite or not save_model.exists()):
            fitted.save(save_model)
        elif save_model is not None:
            expect_same_model(save_model, out, fitted)
        say(f"model: {told(fitted)}", quiet=quiet)
        with leaving(f"{out} is not complete. Run again with --resume"):
            units, device = training["wavelength_units"], training["device"]
            cube = beside(fitted, hsi, units=units)
            expected = _expected(fitted, msi, shard=shard) if errors else None
            fused = _predict(fitted, msi, cube, shard=shard, device=device)
            settings: dict[str, Any] = {"dtype": dtype, "shard": shard, "kind": kind}
            settings |= {"scale_factor": scale_factor, "add_offset": add_offset}
            settings |= {"msi": mosaic, "log": log, **place}
            write(fused, out, part=part, progress=not quiet, **settings)
        if errors is not None and expected is not None:
            settings = {"shard": shard, "part": part, "progress": not quiet, **place}
            with leaving(f"{errors} is not complete. Run again with --resume"):
                write(expected, errors, dtype="float32", **settings)
    looks = fitted.prior is not None and hsi is not None  # at the cube again, part by part
    command = _command_of_parts(ctx, f"{hsi} {path}" if looks else path, out, part, trains=looks)
    say(how_far(out, part, begun=f"write it with `{command}`"), quiet=quiet)


def _pair(
    ctx: click.Context, scenes: tuple[str, ...], model: Path | None, *, resumes: bool
) -> tuple[str | None, str]:
    """Tell HSI and MSI apart; a model needs no HSI, and nothing that trains one."""
    if model is None and len(scenes) != 2 and not (resumes and len(scenes) == 1):
        raise click.UsageError(f"expected HSI and MSI, got {len(scenes)} scenes", ctx)
    if model is not None and len(scenes) not in (1, 2):
        raise click.UsageError(f"expected MSI, got {len(scenes)} scenes", ctx)
    if model is not None and (given := _training_given(ctx)):
        listed = ", ".join(given)
        raise click.UsageError(f"{listed}: settled by --model, which is trained already", ctx)
    return (scenes[0] if len(scenes) == 2 else None), scenes[-1]


def _expect_packing(
    ctx: click.Context,
    kind: str,
    dtype: str,
    scale_factor: float | None,
    add_offset: float | None,
) -> None:
    """Refuse, before anything is trained, to pack what is not packed, or to copy what is."""
    from lift_xr.io.scale import expect_dtype, expect_scale

    if kind == "recipe":  # which keeps MSI as it lies
        packing = ("dtype", "scale_factor", "add_offset")
        options.expect_not_given(ctx, *packing, needs="--kind cube")
    else:
        options.expect_not_given(ctx, "mosaic", needs="--kind recipe")
    expect_scale(expect_dtype(dtype), scale_factor, add_offset)


def _training_given(ctx: click.Context) -> list[str]:
    """List the options of training that the command line names."""
    of_scenes_too = {"device", "wavelength_units"}
    return options.given(ctx, sorted({*options.TRAINING, "save_model"} - of_scenes_too))


def _command_of_parts(
    ctx: click.Context, scenes: str, out: str, part: tuple[int, int] | None, *, trains: bool
) -> str:
    """Write the command of every part, with the options that it needs again as they were given."""
    names = AGAIN | ({"model", *options.TRAINING} if trains else set())
    given = [
        (each.opts[0], ctx.params[each.name])
        for each in ctx.command.params
        if each.name in names
        and ctx.get_parameter_source(each.name) == click.core.ParameterSource.COMMANDLINE
    ]
    again = "".join(
        f" {option} {','.join(value) if isinstance(value, tuple) else value}"
        for option, value in given
    )
    return f"lift-xr fuse {scenes} --out {out} {each_of(part)}{again}"


def _begun(
    ctx: click.Context,
    out: str,
    hsi: str | None,
    part: tuple[int, int] | None,
    training: dict[str, Any],
) -> Model | None:
    """Find the model in a store that was begun; None where one is to be trained."""
    from lift_xr.cli.begun import model_begun
    from lift_xr.io.root import read_root

    read_root(out)  # a damaged one hides the model
    settings = {name: each for name, each in training.items() if name != "device"}
    found = model_begun(ctx, out, hsi, _training_given(ctx), **settings)
    if found is None and part is not None and part[0] > 0:
        raise click.UsageError(
            f"--part {part[0]}/{part[1]}: {out} is not begun, or without a model in it. Begin it "
            f"once, with HSI, MSI and --part 0/{part[1]}; or train with `lift-xr fit` and pass "
            "--model",
            ctx,
        )
    if found is None and hsi is None:
        raise click.UsageError(f"expected HSI and MSI, got 1 scene, and no model in {out}", ctx)
    return found


def _model(hsi: str | None, msi: Msi, model: Path | None, **training: Any) -> Model:
    from lift_xr.io import load_model

    if model is not None:
        return load_model(model)
    assert hsi is not None
    return train(hsi, msi, **training)


def beside(model: Model, hsi: str | None, *, units: str | None = None) -> xr.DataArray | None:
    """Open the cube where the model looks at it again."""
    from lift_xr.io import open_scene

    return None if hsi is None or model.prior is None else open_scene(hsi, units=units)


def _predict(
    model: Model, msi: Msi, cube: xr.DataArray | None, *, shard: int, device: str
) -> xr.DataArray:
    from lift_xr.fuse import predict

    return predict(model, msi.open(block=shard), hsi=cube, device=device)


def _expected(model: Model, msi: Msi, *, shard: int) -> xr.DataArray:
    """The errors to expect, lazily."""
    from lift_xr.uncertainty import ERROR, uncertainty

    return uncertainty(model, msi.open(block=shard), block=shard)[ERROR]


def write(
    fused: xr.DataArray | xr.Dataset,
    out: str,
    *,
    part: tuple[int, int] | None,
    resume: bool,
    **settings: Any,
) -> None:
    """Write the store; some shards that failed are an exit code of their own."""
    from lift_xr.io import ClusterGone, WriteFailed, write_zarr

    try:
        write_zarr(fused, out, part=part, resume=resume, **settings)
    except WriteFailed as failed:
        raise ShardsFailed(str(failed)) from failed
    except ClusterGone as gone:
        raise Interrupted(str(gone)) from gone
    except OSError as error:  # between the shards: as a store is begun, or completed
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ShardsFailed(
            f"{error}. What is written stays. Make room, and run the same command with --resume"
        ) from error


def _workers(threads: int | None) -> dict[str, int]:
    """Settings of dask for so many threads, or what it was told; say where they are too many."""
    from lift_xr.io.cores import cores
    from lift_xr.warn import warn_user

    if threads is None:
        return {}
    if threads > (found := cores(threads)):
        warn_user(f"--threads {threads}: this process may use {found} cores, and uses no more")
    return {"num_workers": threads}


def _plan(
    msi: Msi,
    out: str,
    errors: str | None,
    *,
    dtype: str,
    shard: int,
    log: str | None,
    **place: bool,
) -> None:
    """Find out before the training what would only fail after it."""
    from lift_xr.io.log import expect_log
    from lift_xr.io.place import expect_place
    from lift_xr.plan import Layout

    mosaic = msi.open()
    Layout.of(mosaic.shape, dtype, shard=shard)
    expect_log(log, out)
    for store in (out, errors):
        if store is not None:
            expect_place(store, mosaic.data, **place)
