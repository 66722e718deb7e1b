"""What two cubes must have in common before they are compared."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from types import EllipsisType
from typing import TypeAlias

import numpy as np
import xarray as xr

from lift_xr.errors import GridError, LayoutError, SpectralError
from lift_xr.scene import raster_of

Dims: TypeAlias = str | Collection[Hashable] | EllipsisType | None


def expect_pair(
    estimate: xr.DataArray | xr.Dataset, reference: xr.DataArray | xr.Dataset
) -> tuple[xr.DataArray, xr.DataArray]:
    """Return both as floats, once their grids and bands are found to be the same.

    Of a Dataset, its one raster.

    Raises
    ------
    LayoutError, GridError, SpectralError
        Dimensions, pixel centres, or bands and wavelengths that differ.
    """
    one, other = _expect_cube(estimate, "estimate"), _expect_cube(reference, "reference")
    one = _settled(one, other)
    for dim in dict.fromkeys((*one.dims, *other.dims)):
        _expect_same(one, other, dim)
    _expect_same_wavelengths(one, other)
    one, other = xr.align(one, other, join="exact")
    return _as_float(one), _as_float(other)


def _expect_cube(data: xr.DataArray | xr.Dataset, name: str) -> xr.DataArray:
    cube = raster_of(data, name=name)
    missing = [dim for dim in ("band", "y", "x") if dim not in cube.dims]
    if missing:
        raise LayoutError(
            f"{name} has dimensions {cube.dims}; expected band, y and x. "
            f"Use {name} = {name}.rename({{...: {missing[0]!r}}}) or .expand_dims({missing[0]!r})"
        )
    return cube


def _settled(estimate: xr.DataArray, reference: xr.DataArray) -> xr.DataArray:
    """Take the reference's pixel centres where they differ by a file format's rounding only."""
    for dim in ("y", "x"):
        if dim in estimate.indexes and dim in reference.indexes:
            here, there = (cube.indexes[dim].to_numpy() for cube in (estimate, reference))
            grain = np.abs(np.diff(there)).min() / 1000 if len(there) > 1 else 0.0
            if here.shape == there.shape and np.allclose(here, there, rtol=0, atol=grain):
                estimate = estimate.assign_coords({dim: reference[dim]})
    return estimate


def _expect_same(estimate: xr.DataArray, reference: xr.DataArray, dim: Hashable) -> None:
    error = SpectralError if dim == "band" else GridError
    sizes = [cube.sizes.get(dim, 1) for cube in (estimate, reference)]
    if sizes[0] != sizes[1]:
        raise error(
            f"estimate has {sizes[0]} along {dim} and reference {sizes[1]}; expected the same. "
            f"Use reference = reference.sel({dim}=estimate.{dim}), or cut both to what they share"
        )
    if dim in estimate.indexes and dim in reference.indexes:
        off = np.flatnonzero(estimate.indexes[dim] != reference.indexes[dim])
        if off.size:
            first, second = (cube.indexes[dim][off[0]] for cube in (estimate, reference))
            raise error(
                f"{dim} of estimate and reference differ in {off.size} of {sizes[0]} places, first "
                f"{first} and {second}; expected the same coordinates. If both mean the same "
                f"places, use estimate = estimate.assign_coords({dim}=reference.{dim})"
            )


def _expect_same_wavelengths(estimate: xr.DataArray, reference: xr.DataArray) -> None:
    if not all("wavelength" in cube.coords for cube in (estimate, reference)):
        return
    off = np.abs(estimate["wavelength"].to_numpy() - reference["wavelength"].to_numpy()).max()
    if not off <= 0.01:
        raise SpectralError(
            f"wavelengths of estimate and reference differ by up to {off:g} nm; expected the same, "
            "to 0.01 nm. Use reference = reference.sel(band=estimate.band), or resample one of them"
        )


def _as_float(cube: xr.DataArray) -> xr.DataArray:
    return cube if cube.dtype.kind == "f" else cube.astype("float64")
