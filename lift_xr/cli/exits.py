"""How a command ends: the exit code, and what a person reads when it was not 0."""

from __future__ import annotations

import logging
import re
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import IO, Any

import click

WRONG_INPUT, SHARDS_FAILED, INTERRUPTED = 2, 3, 75

# What a wrong path raises; every other OSError is the machine's, not the user's.
PATH_ERRORS = (
    FileExistsError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)

# "Pass overwrite=True" is advice for Python; at the command line it is "Pass --overwrite".
KEYWORD = re.compile(r"\b(pass|use|or|with) (\w+)=('[^']*'|\w+)(?![\w(]|\.\w)", re.IGNORECASE)
PART = re.compile(r"\bpart=\((\d+), (\d+)\)")
OPENED = re.compile(r"open_scene\(\.\.\., (units|level|alpha)='?(\w+)'?\)")
OVERVIEW = re.compile(r"rioxarray\.open_rasterio\('[^']*', overview_level=(\d+)\)")
SENSOR = re.compile(r"\bSRF\.sensor\('([^']*)', bands=\[([^\]]*)\]\)")
BANDS = re.compile(r"\bbands=\[([^\]]*)\]")
SELECTED = re.compile(r"(?:srf = )?\bsrf\.select\(([^()]*)\)")
TAKEN = re.compile(r"\bmsi = msi\.isel\(band=\[([^\]]*)\]\)")
PHRASES = {
    "srf=SRF.sensor(...)": "--srf NAME",
    "the point spread, psf=,": "the point spread, --psf,",
    "Pass fit(hsi, srf, msi=msi, consistency='both')": "Give --msi MOSAIC",
    "Pass fit(hsi, srf, msi=msi)": "Give --msi MOSAIC",
    "fit(hsi, srf, msi=msi)": "lift-xr fit HSI --msi MOSAIC",
    "fit(hsi, srf, method='morph')": "lift-xr fit HSI --srf NAME --method morph",
    "If it is, set msi.attrs['units'] = '1'; if": "If it is, go on; if",
    "Try these again with write_zarr(fused, store, resume=True)": (
        "Try these again: run the same command with --resume"
    ),
    "write_zarr(fused, store, resume=True)": "lift-xr fuse ... --resume",
    "verify(store, shards='all', repair=True)": "lift-xr verify STORE --shards all --repair",
    "verify(store, repair=True)": "lift-xr verify STORE --repair",
    "look with verify(store, msi=msi, shards='all')": (
        "look with lift-xr verify STORE --msi MSI --shards all"
    ),
    "look with verify(store)": "look with lift-xr verify STORE",
    "Look at it with open_scene(store)": "Look at it with lift-xr info STORE",
    "scale_factor or add_offset is given": "--scale-factor or --add-offset is given",
    "Use scale_factor=": "Use --scale-factor ",
    "Use write_zarr(..., scale_factor=..., add_offset=...)": "Use --scale-factor and --add-offset",
    "Pass a larger scale_factor, a lower add_offset": (
        "Write it again with --overwrite and a larger --scale-factor, a lower --add-offset"
    ),
    "write the recipe with msi='copy'": "write the recipe with --msi copy",
    "Use predict(model, msi, hsi=hsi)": "Give --hsi HSI, or to fuse HSI before MSI",
}
OPTIONS = {"units": "wavelength-units"}  # where option and keyword differ


class Refused(click.ClickException):
    """Something the user can put right: one line, no traceback."""

    exit_code = WRONG_INPUT

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind

    def show(self, file: IO[Any] | None = None) -> None:
        """Print ``lift-xr: kind: message``."""
        click.echo(f"lift-xr: {click.style(self.kind, fg='red')}: {self.message}", file, err=True)


class Interrupted(click.ClickException):
    """Ctrl-C, or a scheduler's SIGTERM; says what is left behind."""

    exit_code = INTERRUPTED

    def show(self, file: IO[Any] | None = None) -> None:
        """Print ``lift-xr: interrupted: message``."""
        # What zarr's threads were reading is given up; asyncio would log that as the process ends.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        said = _for_the_shell(self.message)
        click.echo(f"lift-xr: {click.style('interrupted', fg='yellow')}: {said}", err=True)


class ShardsFailed(click.ClickException):
    """Some shards could not be written; says which."""

    exit_code = SHARDS_FAILED

    def show(self, file: IO[Any] | None = None) -> None:
        """Print ``lift-xr: failed: message``."""
        said = _for_the_shell(self.message)
        click.echo(f"lift-xr: {click.style('failed', fg='red')}: {said}", file, err=True)


class Verbs(click.Group):
    """A group of commands that end as ``exits`` says."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with _terminable(), _plain_warnings(), exits(debug=bool(ctx.params.get("debug"))):
            return super().invoke(ctx)


@contextmanager
def exits(*, debug: bool) -> Iterator[None]:
    """Turn what a user did wrong, and interruptions, into messages with their exit codes."""
    try:
        yield
    except KeyboardInterrupt:
        if debug:
            traceback.print_exc()
        raise Interrupted("nothing was written. Run the same command again") from None
    except (ValueError, ImportError, *PATH_ERRORS) as error:
        if debug or not _is_the_users(error):
            raise
        raise Refused(type(error).__name__, _message(error)) from None


@contextmanager
def leaving(message: str) -> Iterator[None]:
    """Say ``message`` if the user interrupts what runs inside."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(message) from None


def _is_the_users(error: BaseException) -> bool:
    """Whether an error speaks to the user: paths do, and what lift_xr itself raised does.

    So does a library that lacks a package for an address (s3://...) and says which to install.
    """
    if isinstance(error, PATH_ERRORS):
        return True
    if isinstance(error, ImportError):
        return "install" in str(error).lower()
    last = _innermost(error.__traceback__)
    return last is not None and last.tb_frame.f_globals.get("__name__", "").startswith("lift_xr.")


def _innermost(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace


def _message(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror}: {error.filename}"
    if isinstance(error, ImportError):
        return f"{error}; expected the package that reads this address. Install it with pip"
    return _for_the_shell(str(error))


def _for_the_shell(text: str) -> str:
    """Turn advice for Python into advice for the command line.

    Examples
    --------
    >>> _for_the_shell("Pass alpha='keep', or use srf.select('red', 'nir')")
    'Pass --alpha keep, or use --srf NAME:red,nir'
    """
    text = OPENED.sub(lambda found: f"--{OPTIONS.get(found[1], found[1])} {found[2]}", text)
    text = OVERVIEW.sub(r"what `gdal_translate -ovr \1` makes of it,", text)
    for python, shell in PHRASES.items():
        text = text.replace(python, shell)
    text = PART.sub(r"--part \1/\2", text)
    text = TAKEN.sub(lambda found: f"--msi-bands {_counted(found[1])}", text)
    text = SELECTED.sub(lambda found: f"--srf NAME:{_listed(found[1])}", text)
    text = SENSOR.sub(lambda found: f"--srf {found[1]}:{_listed(found[2])}", text)
    text = BANDS.sub(lambda found: f"--bands {_listed(found[1])}", text)
    return KEYWORD.sub(_as_option, text)


def _listed(bands: str) -> str:
    """Write ``'a', 'b'`` as ``a,b``."""
    return "BANDS" if bands == "..." else bands.replace("'", "").replace(", ", ",")


def _counted(places: str) -> str:
    """Write the places ``0, 2``, counted from 0, as ``1,3``."""
    return (
        "BANDS" if places == "..." else ",".join(str(int(each) + 1) for each in places.split(","))
    )


def _as_option(found: re.Match[str]) -> str:
    verb, name, value = found.groups()
    option = f"{verb} --{name.replace('_', '-')}"
    return option if value == "True" else f"{option} {value.strip(chr(39))}"


@contextmanager
def _terminable() -> Iterator[None]:
    """End on SIGTERM as on Ctrl-C: batch systems send the first, people the second."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Print warnings as one line, without the place in the source."""
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        yield


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    mark = click.style("warning", fg="yellow")
    click.echo(f"lift-xr: {mark}: {_for_the_shell(str(message))}", file=file or sys.stderr)
