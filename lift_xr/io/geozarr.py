"""Where a store lies and what levels it has, as the conventions of Zarr tell it to other tools.

Three conventions, each fact in one place, so that no two can disagree: ``multiscales`` on the root
lists the levels with the grid of each; ``spatial:`` puts the bounding box on groups, and transform
and shape on arrays; ``proj:`` names the CRS everywhere, because groups pass it on to their direct
children only. CF's ``spatial_ref`` says the same to tools that know none of these.

Specifications: github.com/zarr-conventions, repositories ``multiscales``, ``spatial`` and ``proj``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Literal, get_args

import pyproj

from lift_xr.errors import LayoutError
from lift_xr.grid import Grid

Names = Literal["compat", "v0.1"]
TAG = "v0.1"  # the one that all three conventions have published
DECLARED = "zarr_conventions"
LEVELS = "multiscales"
FACTOR = 2  # from one level to the next
OURS = (DECLARED, LEVELS)
PREFIXES = ("proj:", "spatial:")
CODE = re.compile(r"[A-Z]+:[0-9]+")  # the narrower pattern of the drafts; v0.1 takes it too
ASSET = re.compile(r"(?!/)(?!.*\.\.)[^/]+(/[^/]+)*")  # a path below the group, never above it


@dataclass(frozen=True)
class Convention:
    """One convention: what identifies it, and where its text is.

    Parameters
    ----------
    key
        Its name as its schema demands, and that of its repository.
    uuid
        The same in every version.
    description
        As its schema demands, to the letter.
    """

    key: str
    uuid: str
    description: str

    @property
    def declaration(self) -> dict[str, str]:
        """The entry of ``zarr_conventions`` that says a node follows this convention."""
        path = f"zarr-conventions/{self.key}"
        return {
            "uuid": self.uuid,
            "schema_url": f"https://raw.githubusercontent.com/{path}/refs/tags/{TAG}/schema.json",
            "spec_url": f"https://github.com/{path}/blob/{TAG}/README.md",
            "name": self.key,
            "description": self.description,
        }

    @property
    def alias(self) -> dict[str, str]:
        """An entry for readers that look for the name which the drafts gave it."""
        return {"uuid": self.uuid, "name": f"{self.key}:"}


MULTISCALES = Convention(
    "multiscales",
    "d35379db-88df-4056-af3a-620245f8e347",
    "Multiscale layout of zarr datasets",
)
PROJ = Convention(
    "proj",
    "f17cb550-5864-4468-aeb7-f3180cfb622f",
    "Coordinate reference system information for geospatial data",
)
SPATIAL = Convention(
    "spatial",
    "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4",
    "Spatial coordinate information",
)


@dataclass(frozen=True)
class ConventionAttrs:
    """Attributes to add to the nodes of a store.

    Parameters
    ----------
    root
        For the root group.
    groups, arrays
        For the group of each level, and for each of its arrays along (y, x); finest first.
    """

    root: dict[str, Any]
    groups: tuple[dict[str, Any], ...]
    arrays: tuple[dict[str, Any], ...]


def convention_attrs(grid: Grid, *, levels: int = 1, names: Names = "compat") -> ConventionAttrs:
    """Describe a store whose groups ``0``, ``1``, ... hold one scene, each half as fine.

    Parameters
    ----------
    grid
        Of full resolution. Without a CRS, ``proj:`` is left out.
    levels
        How many there are, full resolution included.
    names
        ``"v0.1"`` declares each convention once, as the schemas of the tag v0.1 demand.
        ``"compat"`` adds the names with a colon, by which rioxarray 0.22 and 0.23 look them up; the
        schemas ask for one entry that fits, and take others beside it.

    Returns
    -------
    ConventionAttrs
        Plain JSON.

    Raises
    ------
    LayoutError
        For other ``names``.
    """
    if names not in get_args(Names):
        raise LayoutError(
            f"names is {names!r}; expected 'compat' or 'v0.1', how the store declares the "
            "conventions it follows. Use names='compat'"
        )
    grids = level_grids(grid, levels)
    place = _proj(grid.crs)
    followed = (PROJ, SPATIAL) if place else (SPATIAL,)
    declared = [each.declaration for each in followed]
    declared += [each.alias for each in followed if names == "compat"]
    return ConventionAttrs(
        root={
            DECLARED: [MULTISCALES.declaration, *declared],
            LEVELS: _layout(grids),
            **place,
            **_spatial_group(grid),
        },
        groups=tuple({DECLARED: declared, **place, **_spatial_group(each)} for each in grids),
        arrays=tuple({DECLARED: declared, **place, **_spatial_array(each)} for each in grids),
    )


def level_grids(grid: Grid, levels: int) -> tuple[Grid, ...]:
    """Find the grid of every level: the same corner, pixels exactly doubled, no pixel lost.

    Examples
    --------
    >>> for each in level_grids(Grid(None, 0.0, 0.0, 1.0, -1.0, 5, 3), 3):
    ...     print(each.height, each.width, each.dx, each.dy)
    3 5 1.0 -1.0
    2 3 2.0 -2.0
    1 2 4.0 -4.0
    """
    return tuple(_coarsened(grid, FACTOR**level) for level in range(levels))


def asset_paths(attrs: Mapping[str, Any]) -> tuple[str, ...]:
    """List the paths of the levels that a group declares, finest first; none where it does not."""
    layout = attrs.get(LEVELS)
    entries = layout.get("layout") if isinstance(layout, dict) else None
    if not isinstance(entries, list):
        return ()
    assets = [entry.get("asset") for entry in entries if isinstance(entry, dict)]
    return tuple(each for each in assets if isinstance(each, str) and ASSET.fullmatch(each))


def without_conventions(attrs: Mapping[Any, Any]) -> dict[Any, Any]:
    """Leave out what the conventions say: true of the whole array, not of a part cut from it."""
    return {
        key: value
        for key, value in attrs.items()
        if key not in OURS and not str(key).startswith(PREFIXES)
    }


def _coarsened(grid: Grid, factor: int) -> Grid:
    return replace(
        grid,
        dx=grid.dx * factor,
        dy=grid.dy * factor,
        width=ceil(grid.width / factor),
        height=ceil(grid.height / factor),
    )


def _proj(crs: pyproj.CRS | None) -> dict[str, Any]:
    """Name the CRS by its code where that says it all, else spell it out."""
    if crs is None:
        return {}
    authority = crs.to_authority(min_confidence=100)
    code = ":".join(authority) if authority else ""
    if CODE.fullmatch(code):
        return {"proj:code": code}
    return {"proj:wkt2": crs.to_wkt("WKT2_2019")}


def _layout(grids: tuple[Grid, ...]) -> dict[str, Any]:
    return {
        "layout": [_level(level, grid) for level, grid in enumerate(grids)],
        "resampling_method": "average",
    }


def _level(level: int, grid: Grid) -> dict[str, Any]:
    """Describe one level twice: relative to the one it came from, and on the ground."""
    step = float(FACTOR if level else 1)
    derived = {"derived_from": str(level - 1)} if level else {}
    return {
        "asset": str(level),
        **derived,
        "transform": {"scale": [step, step], "translation": [0.0, 0.0]},
        "spatial:shape": [grid.height, grid.width],
        "spatial:transform": _transform(grid),
    }


def _spatial_group(grid: Grid) -> dict[str, Any]:
    return {
        "spatial:dimensions": ["y", "x"],
        "spatial:bbox": [float(edge) for edge in grid.bounds],
    }


def _spatial_array(grid: Grid) -> dict[str, Any]:
    return {
        "spatial:dimensions": ["y", "x"],
        "spatial:transform": _transform(grid),
        "spatial:shape": [grid.height, grid.width],
        "spatial:registration": "pixel",
    }


def _transform(grid: Grid) -> list[float]:
    """Six numbers in the order of affine and rasterio, not of GDAL."""
    return [float(each) for each in (grid.dx, 0, grid.left, 0, grid.dy, grid.top)]
