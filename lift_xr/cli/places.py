"""Places on the command line: nothing that is read may be written over."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from lift_xr.cli.exits import Refused


def expect_apart(
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


def expect_model_place(path: Path, *, overwrite: bool) -> None:
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
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise Refused(
            "PermissionError",
            f"{path} may not be written by you; expected a place for the model. Use another path",
        )


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


def _holds_model(path: Path) -> bool:
    from lift_xr.models import load_model

    try:
        return path.is_file() and bool(load_model(path))
    except (ValueError, OSError):
        return False
