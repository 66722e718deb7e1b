"""Gains and offsets between two sensors: what makes an MSI's values those of SRF(HSI)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr

from lift_xr.bands import shortened
from lift_xr.cells import cell_pairs, window_means
from lift_xr.errors import GridError, LayoutError, SpectralError
from lift_xr.grid import Grid, cells, compare, expect_overlap, expect_same_crs
from lift_xr.radiometry import FEWEST, Line, moment_line, registered_line
from lift_xr.threads import one_blas_thread
from lift_xr.warn import warn_user

Array = npt.NDArray[np.float64]
Method = Literal["auto", "regression", "moments", "none"]

CELLS = 1 << 18  # looked at: plenty for two numbers a band
WEAK = 0.5  # correlation

# How far a gain may be from 1, and a level from equality in spreads, beyond two standard errors,
# before "auto" believes that the two images differ. By how far a fit sees around a cell: degraded
# scenes of true gain 1 come out this far off, since a fit of little reach takes contrast lost to
# the PSF for gain. Of 240 (six scenes, ten PSFs, ratios 4, 8, 16 and 32), 238 are left alone.
ALLOWANCE = {2: 0.02, 1: 0.05, 0: 0.1}
ALLOWANCE_OF_MOMENTS = 0.25
ALLOWANCE_OF_PIXELS = 0.5  # moments of MSI pixels that no known ratio lets us average


@dataclass(frozen=True, eq=False)
class Harmonization:
    """Gain and offset for each MSI band, and how they were found.

    Parameters
    ----------
    method
        ``"regression"``, ``"moments"`` or ``"none"``: what was done, whatever was asked for.
    gain, offset : (msi_band,), or one number for all
        ``gain * m + offset`` has the units of SRF(HSI).
    correlation : (msi_band,) or None
        Of SRF(HSI) with what the MSI predicts; None where they were not compared cell by cell.
    cells
        Compared: the fewest of any band.
    reason
        Why this method.
    """

    method: Literal["regression", "moments", "none"]
    gain: Array
    offset: Array
    correlation: Array | None
    cells: int
    reason: str

    def describe(self) -> str:
        """Say what was done and why, in one line.

        Examples
        --------
        >>> IDENTITY.describe()
        'none: not asked for'
        """
        if self.method == "none":
            return f"none: {self.reason}"
        found = f"gain {_span(self.gain)}, offset {_span(self.offset)}"
        if self.correlation is not None:
            found += f", correlation {_span(self.correlation)}"
        return f"{self.method}: {found} over {self.cells} cells; {self.reason}"

    def apply(self, msi: xr.DataArray) -> xr.DataArray:
        """The MSI in the units of SRF(HSI).

        Parameters
        ----------
        msi : (..., band, y, x)

        Returns
        -------
        (..., band, y, x), float32
            Lazy when ``msi`` is; NaN stays NaN.
        """
        gain, offset = (
            xr.DataArray(np.broadcast_to(each, msi.sizes["band"]).astype("float32"), dims="band")
            for each in (self.gain, self.offset)
        )
        return (gain * msi + offset).transpose(*msi.dims).assign_attrs(msi.attrs)


IDENTITY = Harmonization("none", np.ones(()), np.zeros(()), None, 0, "not asked for")


def harmonize(msi: xr.DataArray, msi_lr: xr.DataArray, *, method: str = "auto") -> Harmonization:
    """Find the gain and offset that make an MSI's values those of SRF(HSI). Computes.

    Parameters
    ----------
    msi : (band, y, x)
        One acquisition, as ``expect_msi`` returns it.
    msi_lr : (band, y, x)
        SRF(HSI), on the grid of the HSI.
    method
        ``"regression"`` compares the two where they overlap, each HSI cell with the MSI's means
        around it, robustly. ``"moments"`` matches mean and spread of either image, wherever it
        was taken; it needs the same kinds of ground in both. ``"none"`` leaves the MSI alone.
        ``"auto"`` regresses where the images share ground and resemble each other, takes moments
        otherwise, and leaves the MSI alone where the values agree within what the comparison can
        tell: images degraded from one scene are not made worse.

    Returns
    -------
    Harmonization

    Raises
    ------
    SpectralError
        Bands that differ in number, have no contrast, or fall as the other rises.
    GridError
        Regression, of scenes that share no ground or no CRS; ``"auto"``, for differing CRSs.
    LayoutError
        ``msi`` with several times.

    Warns
    -----
    UserWarning
        Bands whose correlation is below 0.5; scenes that share no ground, for ``"auto"``.

    Notes
    -----
    See :func:`lift_xr.radiometry.registered_line` for the fit and why it is neither least squares
    nor a line from cell to cell, and :func:`lift_xr.radiometry.moment_line`.
    """
    expect_comparable(msi, msi_lr, method=method)
    if method == "none":
        return IDENTITY
    if method == "moments":
        return _matched(_moment_lines(msi, msi_lr), msi, method="moments", reason="as asked")
    if method == "auto":
        return _automatic(msi, msi_lr)
    lines = _registered_lines(msi, msi_lr)
    _expect_enough(lines, msi, msi_lr)
    _expect_rising(lines, msi)
    return _matched(lines, msi, method="regression", reason="as asked")


def expect_comparable(msi: xr.DataArray, msi_lr: xr.DataArray, *, method: str) -> None:
    """Raise what :func:`harmonize` raises before it reads a pixel."""
    _expect_inputs(msi, msi_lr, method)
    if method in ("auto", "regression"):
        _expect_one_crs(msi_lr, msi)
    if method == "regression":
        expect_overlap(msi_lr, msi)


def _warn_of_distance(msi: xr.DataArray, msi_lr: xr.DataArray) -> None:
    coarse, fine = Grid.of(msi_lr, name="hsi"), Grid.of(msi, name="msi")
    if coarse.located and fine.located and compare(coarse, fine).overlap == 0:
        warn_user(
            f"hsi and msi share no ground; expected them to overlap, so that their radiometry can "
            f"be compared place by place. Their statistics are matched instead. hsi: "
            f"{coarse.describe()}; msi: {fine.describe()}. If they are meant to be apart, pass "
            "harmonize='moments' or harmonize='none'"
        )


def _automatic(msi: xr.DataArray, msi_lr: xr.DataArray) -> Harmonization:
    """Regress if the images allow it; leave the MSI alone if they agree."""
    _warn_of_distance(msi, msi_lr)
    lines: list[Line | None] = []
    reason = "the scenes share no ground"
    if compare(msi_lr, msi).overlap > 0:
        lines = _registered_lines(msi, msi_lr)
        reason = _why_not(lines)
    if lines and not reason:
        _expect_rising(lines, msi)
        if _agree(lines, [ALLOWANCE[each.reach or 0] for each in lines if each]):
            return _left_alone(lines)
        return _matched(lines, msi, method="regression", reason="the scenes share ground")
    lines = _moment_lines(msi, msi_lr)
    known = _ratio(msi, msi_lr) is not None
    allowance = ALLOWANCE_OF_MOMENTS if known else ALLOWANCE_OF_PIXELS
    if None not in lines and _agree(lines, [allowance] * len(lines)):
        return _left_alone(lines)
    return _matched(lines, msi, method="moments", reason=reason)


def _registered_lines(msi: xr.DataArray, msi_lr: xr.DataArray) -> list[Line | None]:
    rows, columns = cells(msi_lr, msi)
    coarse, fine = cell_pairs(
        da.asarray(msi_lr.data), da.asarray(msi.data), rows, columns, limit=CELLS
    )
    with one_blas_thread():
        return [registered_line(m, h) for m, h in zip(fine, coarse, strict=True)]


def _moment_lines(msi: xr.DataArray, msi_lr: xr.DataArray) -> list[Line | None]:
    ratio = _ratio(msi, msi_lr) or (1.0, 1.0)
    fine = window_means(da.asarray(msi.data), ratio, limit=CELLS)
    coarse = window_means(da.asarray(msi_lr.data), (1.0, 1.0), limit=CELLS)
    return [
        moment_line(m.ravel().astype("float64"), h.ravel().astype("float64"))
        for m, h in zip(fine, coarse, strict=True)
    ]


def _ratio(msi: xr.DataArray, msi_lr: xr.DataArray) -> tuple[float, float] | None:
    """HSI pixel size over MSI pixel size (y, x), at least 1; None where units differ."""
    coarse, fine = Grid.of(msi_lr, name="hsi"), Grid.of(msi, name="msi")
    if not (coarse.located and fine.located) or _unit(coarse) != _unit(fine):
        return None
    match = compare(coarse, fine)
    return max(match.ratio_y, 1.0), max(match.ratio_x, 1.0)


def _unit(grid: Grid) -> str | None:
    return None if grid.crs is None else str(grid.crs.axis_info[0].unit_name)


def _why_not(lines: Sequence[Line | None]) -> str:
    """Say why these lines should not be used; nothing when they should."""
    if None in lines:
        return f"fewer than {FEWEST} cells with contrast in common"
    found = [line for line in lines if line is not None]
    typical = float(np.median([abs(line.correlation) for line in found]))
    if typical < WEAK:
        return f"the images do not correlate ({typical:.2f})"
    if any(line.gain <= 0 and abs(line.correlation) < WEAK for line in found):
        return "a band neither correlates nor rises"
    return ""


def _agree(lines: Sequence[Line | None], allowances: Sequence[float]) -> bool:
    return all(
        line is not None and line.agrees_with_identity(allowance)
        for line, allowance in zip(lines, allowances, strict=True)
    )


def _left_alone(lines: Sequence[Line | None]) -> Harmonization:
    found = [line for line in lines if line is not None]
    gain = np.array([line.gain for line in found])
    correlation = np.array([line.correlation for line in found])
    return Harmonization(
        method="none",
        gain=np.ones(len(found)),
        offset=np.zeros(len(found)),
        correlation=None if np.isnan(correlation).any() else correlation,
        cells=min(line.cells for line in found),
        reason=f"the values agree; gain {_span(gain)} would be within the error of 1",
    )


def _matched(
    lines: Sequence[Line | None],
    msi: xr.DataArray,
    *,
    method: Literal["regression", "moments"],
    reason: str,
) -> Harmonization:
    """Put the lines of all bands together; warn of weak ones."""
    found = [line for line in lines if line is not None]
    if len(found) < len(lines):
        raise _flat(lines, msi)
    correlation = np.array([line.correlation for line in found])
    if method == "regression":
        _warn_of_weak(correlation, msi)
    return Harmonization(
        method=method,
        gain=np.array([line.gain for line in found]),
        offset=np.array([line.offset for line in found]),
        correlation=correlation if method == "regression" else None,
        cells=min(line.cells for line in found),
        reason=reason,
    )


def _warn_of_weak(correlation: Array, msi: xr.DataArray) -> None:
    weak = [index for index, each in enumerate(correlation) if each < WEAK]
    if weak:
        pairs = ", ".join(f"{_bands(msi, [each])} {correlation[each]:.2f}" for each in weak)
        warn_user(
            f"msi and SRF(hsi) correlate weakly in bands {pairs}; expected {WEAK} or more. Check "
            "the SRF, the order of bands and the registration, or pass harmonize='moments'"
        )


def _flat(lines: Sequence[Line | None], msi: xr.DataArray) -> SpectralError:
    flat = _bands(msi, [index for index, line in enumerate(lines) if line is None])
    return SpectralError(
        f"msi or SRF(hsi) has no data, or no contrast, in bands {flat}; expected values that "
        "differ, since gain and offset are found from them. Check nodata, or pass harmonize='none'"
    )


def _expect_inputs(msi: xr.DataArray, msi_lr: xr.DataArray, method: str) -> None:
    if method not in get_args(Method):
        expected = ", ".join(map(repr, get_args(Method)))
        raise ValueError(f"harmonize is {method!r}; expected one of {expected}")
    if method != "none":
        expect_one_time(msi)
    if msi.sizes["band"] != msi_lr.sizes["band"]:
        raise SpectralError(
            f"msi has {msi.sizes['band']} bands and SRF(hsi) {msi_lr.sizes['band']}; expected the "
            "same. Use msi.sel(band=[...]) or srf.select(...)"
        )


def expect_one_time(msi: xr.DataArray) -> None:
    """Raise LayoutError when an MSI that is to be compared with an HSI has several times."""
    if "time" in msi.dims:
        raise LayoutError(
            f"msi has {msi.sizes['time']} times; expected one acquisition (band, y, x) to compare "
            "with the hsi. Use msi.isel(time=0)"
        )


def _expect_one_crs(msi_lr: xr.DataArray, msi: xr.DataArray) -> None:
    try:
        expect_same_crs(msi_lr, msi)
    except GridError as error:
        raise GridError(
            f"{error}; or pass harmonize='moments' or harmonize='none', which compare no places"
        ) from None


def _expect_enough(lines: Sequence[Line | None], msi: xr.DataArray, msi_lr: xr.DataArray) -> None:
    if None in lines:
        flat = _bands(msi, [index for index, line in enumerate(lines) if line is None])
        raise GridError(
            f"msi and hsi have fewer than {FEWEST} cells with contrast in common in bands {flat}; "
            f"expected {FEWEST} for harmonize='regression'. Pass harmonize='moments'. "
            f"hsi: {Grid.of(msi_lr).describe()}; msi: {Grid.of(msi).describe()}"
        )


def _expect_rising(lines: Sequence[Line | None], msi: xr.DataArray) -> None:
    falling = [index for index, line in enumerate(lines) if line is not None and line.gain <= 0]
    if falling:
        gains = ", ".join(
            f"{line.gain:.3g}" for line in lines if line is not None and line.gain <= 0
        )
        raise SpectralError(
            f"msi falls where SRF(hsi) rises in bands {_bands(msi, falling)}: gain {gains}; "
            "expected a positive gain. Check that the bands of msi are in the order of the SRF, "
            "e.g. srf.select(...), or pass harmonize='none'"
        )


def _bands(msi: xr.DataArray, indices: Sequence[int]) -> str:
    names: list[Hashable] = msi["band"].to_numpy()[list(indices)].tolist()
    return shortened(names)


def _span(values: Array) -> str:
    low, high = float(np.min(values)), float(np.max(values))
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
