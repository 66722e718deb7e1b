"""Around the verbs: a cluster to work on, and what is said of the work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from lift_xr.cli.exits import Refused

if TYPE_CHECKING:
    from lift_xr.models import Model

CONNECT_SECONDS = 10


@contextmanager
def connected(scheduler: str | None) -> Iterator[None]:
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


def told(model: Model) -> str:
    """Describe a model in one line."""
    return (
        f"{model.method}, {model.msi_bands} to {model.bands} bands, "
        f"radiometry {model.about['harmonize']}, digest {model.digest[:12]}"
    )


def say(text: str, *, quiet: bool = False) -> None:
    """Print a line, unless asked to be quiet."""
    if not quiet:
        click.echo(text)


def each_of(part: tuple[int, int] | None) -> str:
    """Write the option that every part of a store is given."""
    return f"--part I/{part[1]}" if part else ""


def how_far(out: str, part: tuple[int, int] | None, *, begun: str, wrote: str = "") -> str:
    """Say whether a store is written, begun for its parts, or one of these done.

    ``begun`` tells how the parts are written, ``wrote`` what a complete store holds.
    """
    from lift_xr.io import status

    if status(out).complete:
        return f"wrote {out}: {wrote}look at it with `lift-xr info {out}`"
    if part is not None and part[0] == 0:
        return f"began {out}: {begun}, I from 1 to {part[1]}"
    return f"this part of {out} is done: follow the others with `lift-xr status {out}`"
