"""Where the pixels lie: one scene's grid, and how two grids meet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyproj
import rioxarray  # noqa: F401  # the .rio accessor
import xarray as xr

from lift_xr.errors import GridError

COUNTED = "pixel"  # units of coordinates that only count rows and columns
OTHERWISE = ", or use consistency='msi', which needs no common grid"


@dataclass(frozen=True)
class Grid:
    """A regular grid of pixels.

    Parameters
    ----------
    crs
        None where the scene has none.
    left, top
        The outer corner of the first pixel, in CRS units.
    dx, dy
        Step from one pixel to the next, signed as the coordinates are: dy is often negative.
    width, height
        In pixels.
    located
        False where the scene came without coordinates, so that they merely count its pixels.
    """

    crs: pyproj.CRS | None
    left: float
    top: float
    dx: float
    dy: float
    width: int
    height: int
    located: bool = True

    @classmethod
    def of(cls, scene: xr.DataArray | Grid, *, name: str = "scene") -> Grid:
        """Read the grid of a scene from its pixel centres; a Grid is returned as it is.

        Raises
        ------
        GridError
            Coordinates that are absent, repeated or unevenly spaced.
        """
        if isinstance(scene, Grid):
            return scene
        height, width = scene.sizes["y"], scene.sizes["x"]
        (top, dy), (left, dx) = (_edge_and_step(scene, axis, name=name) for axis in ("y", "x"))
        located = scene["y"].attrs.get("units") != COUNTED
        return cls(_crs(scene), left, top, dx, dy, width, height, located)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Outer edges of the grid: least x, least y, greatest x, greatest y."""
        xs = sorted((self.left, self.left + self.width * self.dx))
        ys = sorted((self.top, self.top + self.height * self.dy))
        return xs[0], ys[0], xs[1], ys[1]

    def describe(self) -> str:
        """Say CRS, pixel size, size and bounds in one line."""
        x0, y0, x1, y1 = (f"{edge:.10g}" for edge in self.bounds)
        place = f"x {x0} to {x1}, y {y0} to {y1}" if self.located else "no coordinates"
        size = f"{self.height} x {self.width} pixels of {abs(self.dy):g} x {abs(self.dx):g}"
        return f"{_crs_name(self.crs)}, {size} (y, x), {place}"


@dataclass(frozen=True)
class GridMatch:
    """How the grid of an HSI meets the grid of an MSI.

    Parameters
    ----------
    ratio_y, ratio_x
        HSI pixel size over MSI pixel size.
    integer_ratio
        Both ratios are the same whole number, to half an MSI pixel over the whole HSI.
    overlap
        Fraction of the HSI's area that the MSI covers, 0-1; 0 where no common place is known.
    same_origin
        The outer corners of the first pixels coincide.
    aligned
        Every HSI cell consists of whole MSI pixels, wherever the two begin.
    """

    ratio_y: float
    ratio_x: float
    integer_ratio: bool
    overlap: float
    same_origin: bool
    aligned: bool

    @property
    def ratio(self) -> int:
        """The whole number both ratios are nearest to; meaningful with ``integer_ratio``."""
        return round(self.ratio_y)


def compare(hsi: xr.DataArray | Grid, msi: xr.DataArray | Grid) -> GridMatch:
    """Compare the grid of an HSI with the grid of an MSI."""
    coarse, fine = Grid.of(hsi, name="hsi"), Grid.of(msi, name="msi")
    ratio_y, ratio_x = abs(coarse.dy / fine.dy), abs(coarse.dx / fine.dx)
    whole = _is_whole(ratio_y, coarse.height) and _is_whole(ratio_x, coarse.width)
    integer_ratio = whole and round(ratio_y) == round(ratio_x)
    together = _one_place(coarse, fine)
    rows, columns = origin_in_pixels(coarse, fine)
    same_origin = together and max(abs(rows), abs(columns)) < 0.05
    on_edges = max(abs(rows - round(rows)), abs(columns - round(columns))) < 0.05
    return GridMatch(
        ratio_y=ratio_y,
        ratio_x=ratio_x,
        integer_ratio=integer_ratio,
        overlap=_overlap(coarse, fine) if together else 0.0,
        same_origin=same_origin,
        aligned=together and integer_ratio and on_edges,
    )


def cells(hsi: xr.DataArray | Grid, msi: xr.DataArray | Grid) -> tuple[np.ndarray, np.ndarray]:
    """Find the HSI row and column in which the centre of each MSI row and column falls.

    Returns
    -------
    (y,) and (x,) of the MSI, int64
        Indices into the HSI's rows and columns; -1 outside it, or where no common place is known.
    """
    coarse, fine = Grid.of(hsi, name="hsi"), Grid.of(msi, name="msi")
    if not _one_place(coarse, fine):
        return np.full(fine.height, -1), np.full(fine.width, -1)
    rows = _cells_along(coarse.top, coarse.dy, coarse.height, fine.top, fine.dy, fine.height)
    columns = _cells_along(coarse.left, coarse.dx, coarse.width, fine.left, fine.dx, fine.width)
    return rows, columns


def expect_same_crs(hsi: xr.DataArray | Grid, msi: xr.DataArray | Grid) -> None:
    """Raise GridError unless both scenes have the same CRS, or neither has one."""
    coarse, fine = Grid.of(hsi, name="hsi"), Grid.of(msi, name="msi")
    if _same_crs(coarse.crs, fine.crs):
        return
    if coarse.crs is None or fine.crs is None:
        bare, other = ("hsi", fine) if coarse.crs is None else ("msi", coarse)
        advice = f"{bare} = {bare}.rio.write_crs({_crs_name(other.crs)!r}) if that is its CRS"
    else:
        advice = "hsi = hsi.rio.reproject(msi.rio.crs)"
    raise GridError(
        f"hsi has {_crs_name(coarse.crs)} and msi has {_crs_name(fine.crs)}; "
        f"expected one CRS for both. Use {advice}. {_both(coarse, fine)}"
    )


def expect_overlap(hsi: xr.DataArray | Grid, msi: xr.DataArray | Grid) -> None:
    """Raise GridError unless the two scenes share some ground."""
    coarse, fine = Grid.of(hsi, name="hsi"), Grid.of(msi, name="msi")
    if compare(coarse, fine).overlap > 0:
        return
    if coarse.located and fine.located:
        raise GridError(
            f"hsi and msi share no ground; expected them to overlap. {_both(coarse, fine)}. "
            "Check the order of the arguments and the coordinates, e.g. hsi.rio.bounds()"
        )
    bare = "msi" if coarse.located else "hsi"
    raise GridError(
        f"{bare} has no y and x coordinates, so its place is not known; expected pixel centres "
        f"that both scenes share. {_both(coarse, fine)}. "
        f"Use {bare} = {bare}.assign_coords(y=..., x=...)"
    )


def expect_integer_ratio(
    hsi: xr.DataArray | Grid, msi: xr.DataArray | Grid, *, otherwise: str = OTHERWISE
) -> None:
    """Raise GridError unless an HSI pixel is a whole number of MSI pixels, the same both ways.

    ``otherwise`` is what else the message says can be done.
    """
    coarse, fine = Grid.of(hsi, name="hsi"), Grid.of(msi, name="msi")
    match = compare(coarse, fine)
    if match.integer_ratio:
        return
    resolution = abs(coarse.dx) / max(round(match.ratio_x), 1)
    raise GridError(
        f"an hsi pixel is {match.ratio_y:.6g} x {match.ratio_x:.6g} msi pixels (y, x); expected "
        f"one whole number. {_both(coarse, fine)}. Resample the msi, e.g. "
        f"msi = msi.rio.reproject(msi.rio.crs, resolution={resolution:.6g}){otherwise}"
    )


def geotransform(scene: xr.DataArray) -> tuple[float, ...] | None:
    """Read the six GDAL numbers of ``spatial_ref``: left, dx, 0, top, 0, dy."""
    mapping = scene.coords.get(scene.rio.grid_mapping)
    text = None if mapping is None else mapping.attrs.get("GeoTransform")
    return None if text is None else tuple(float(number) for number in str(text).split())


def _crs(scene: xr.DataArray) -> pyproj.CRS | None:
    crs = scene.rio.crs
    return None if crs is None else pyproj.CRS.from_user_input(crs)


def _edge_and_step(scene: xr.DataArray, axis: str, *, name: str) -> tuple[float, float]:
    """Measure the first outer edge and the signed step along one axis."""
    if axis not in scene.coords:
        raise GridError(
            f"{name} has no {axis} coordinate; expected pixel centres. "
            f"Use {name} = {name}.assign_coords(y=..., x=...)"
        )
    centres = scene[axis].to_numpy()
    _expect_finite(centres, axis, name=name)
    alone = len(centres) == 1
    step = _step_of_one(scene, axis) if alone else _even_step(centres, axis, name=name)
    return float(centres[0]) - step / 2, step


def _expect_finite(centres: np.ndarray, axis: str, *, name: str) -> None:
    exact = centres.astype("float64")
    wrong = ~np.isfinite(exact)
    if wrong.any():
        kind = "NaN" if np.isnan(exact).any() else "infinite"
        raise GridError(
            f"{name} has {kind} values along {axis}: {wrong.sum()} of {len(exact)} coordinates; "
            f"expected a finite number for every pixel centre. "
            f"Use {name} = {name}.assign_coords({axis}=...)"
        )


def _step_of_one(scene: xr.DataArray, axis: str) -> float:
    """Size a pixel that has no neighbour: as the transform says, else 1."""
    transform = geotransform(scene)
    if transform is None:
        return 1.0
    return transform[1] if axis == "x" else transform[5]


def _even_step(centres: np.ndarray, axis: str, *, name: str) -> float:
    """Measure the step between neighbours; refuse steps that differ by over a thousandth."""
    exact = centres.astype("float64")
    step = float(exact[-1] - exact[0]) / (len(exact) - 1)
    off = np.abs(exact - (exact[0] + step * np.arange(len(exact))))
    # Coordinates stored as float32 are only as even as float32 can say.
    grain = float(np.spacing(np.abs(centres).max())) if centres.dtype.kind == "f" else 0.0
    allowed = min(1e-3 * abs(step) + grain, 0.1 * abs(step))
    if step != 0 and off.max() <= allowed:
        rounding = max(grain, float(np.spacing(np.abs(exact).max())))
        return _shortest(step, rounding / (len(exact) - 1))
    between = np.diff(exact)
    kind = "repeated values" if (between == 0).any() else "uneven steps"
    raise GridError(
        f"{name} has {kind} along {axis}: from {between.min():.6g} to {between.max():.6g}; "
        f"expected one step everywhere. Use {name} = {name}.drop_duplicates({axis!r})"
        f" or {name}.interp({axis}=np.linspace(...)), or rewrite coordinates that were rounded"
    )


def _shortest(step: float, slack: float) -> float:
    """Find the shortest decimal that the ends of the axis, as rounded, cannot tell from a step.

    Far from the origin, 0.05 m comes back from its pixel centres as 0.04999999999998835 m.
    """
    decimals = (float(f"{step:.{digits}g}") for digits in range(1, 17))
    return next((each for each in decimals if abs(each - step) <= slack), step)


def _is_whole(ratio: float, cells: int) -> bool:
    off = abs(ratio - round(ratio))
    return round(ratio) >= 1 and off <= 1e-3 * ratio and off * cells <= 0.5


def _same_crs(one: pyproj.CRS | None, other: pyproj.CRS | None) -> bool:
    if one is None or other is None:
        return one is other
    if one.equals(other, ignore_axis_order=True):
        return True
    # The same EPSG code spelled as WKT 1 by one writer and as WKT 2 by another.
    return one.to_authority() is not None and one.to_authority() == other.to_authority()


def _one_place(coarse: Grid, fine: Grid) -> bool:
    return coarse.located and fine.located and _same_crs(coarse.crs, fine.crs)


def origin_in_pixels(coarse: Grid, fine: Grid) -> tuple[float, float]:
    """Find the row and column of the fine grid at which the coarse one begins."""
    return (coarse.top - fine.top) / fine.dy, (coarse.left - fine.left) / fine.dx


def _overlap(coarse: Grid, fine: Grid) -> float:
    a, b = coarse.bounds, fine.bounds
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    return width * height / ((a[2] - a[0]) * (a[3] - a[1]))


def _cells_along(
    edge: float, step: float, count: int, fine_edge: float, fine_step: float, fine_count: int
) -> np.ndarray:
    centres = fine_edge + fine_step * (np.arange(fine_count) + 0.5)
    # A centre on the border of two cells goes to the second, whatever rounding says.
    index = np.floor((centres - edge) / step + 1e-6).astype("int64")
    return np.where((index >= 0) & (index < count), index, -1)


def _crs_name(crs: pyproj.CRS | None) -> str:
    if crs is None:
        return "no CRS"
    authority = crs.to_authority()
    return ":".join(authority) if authority else crs.name


def _both(coarse: Grid, fine: Grid) -> str:
    return f"hsi: {coarse.describe()}; msi: {fine.describe()}"
