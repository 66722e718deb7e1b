"""Tables of measured responses: wide or long, as operators and laboratories write them.

A wide table has a wavelength column and one column per band; a long one has columns band,
wavelength and response in any order. Empty cells are samples that were not measured, and lines
that start with ``#`` are remarks.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lift_xr.errors import SpectralError
from lift_xr.scene import to_nm

WAVELENGTH = re.compile(
    r"(?:sr_)?(?:wave ?_?length|wave|wvl|wl|lambda)s?[\W_]*(?P<units>.*?)[\W_]*", re.IGNORECASE
)
SMALL_NEGATIVE = 0.02  # of the peak; published tables dip to 0.009 below zero
BAND = ("band", "bands", "band_name", "channel")
RESPONSE = ("response", "rsr", "srf", "relative_response", "value", "transmission")


class Samples(NamedTuple):
    """One band as measured: its name, wavelengths in nm, responses."""

    band: str
    wavelength: np.ndarray
    response: np.ndarray


def read_responses(path: str | Path, *, units: str | None = None) -> list[Samples]:
    """Read every band of a table, wavelengths in nm.

    Parameters
    ----------
    path
        Text separated by commas, semicolons, tabs or spaces, with one line of column names.
    units
        Of the wavelengths, where the name of their column does not end in it (``wavelength_nm``,
        ``Wavelength (um)``).

    Raises
    ------
    SpectralError
        No header, no wavelengths, no units or two, or a cell that is not a number.
    """
    path = Path(path)
    header, rows = _cells(path)
    column, stated = _wavelength_column(path, header)
    nm_per_unit = _nm_per_unit(path, units, stated)
    band = _named(header, BAND)
    response = _named(header, RESPONSE)
    if band is not None and response is not None:
        parts = _long(rows, band=band, wavelength=column, response=response)
    else:
        parts = _wide(rows, header, wavelength=column)
    return [_samples(path, name, pairs, nm_per_unit) for name, pairs in parts.items()]


def _cells(path: Path) -> tuple[list[str], list[list[str]]]:
    """Split the file into column names and rows of equal length."""
    if not path.is_file():
        raise SpectralError(
            f"there is no file {str(path)!r}; expected a table of responses. "
            "Use SRF.sensors() to see the sensors that need none"
        )
    text = path.read_text(encoding="utf-8-sig")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    separator = next((each for each in "\t;," if lines and each in lines[0]), " ")
    if separator == " ":
        table = [line.split() for line in lines]
    else:
        table = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=separator)]
    if separator == ";":  # where the comma is the decimal point
        table[1:] = [[cell.replace(",", ".") for cell in row] for row in table[1:]]
    if len(table) < 3 or len(table[0]) < 2 or _is_number(table[0][0]):
        raise SpectralError(
            f"{path.name} has no line of column names over at least two rows; expected a header "
            "like 'wavelength_nm,blue,green,red' or 'band,wavelength_nm,response'"
        )
    ragged = next((row for row in table if len(row) != len(table[0])), None)
    if ragged is not None:
        raise SpectralError(
            f"{path.name} has {len(ragged)} cells in the row {','.join(ragged)!r}; expected "
            f"{len(table[0])}, as in its header {','.join(table[0])!r}"
        )
    return table[0], table[1:]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _wavelength_column(path: Path, header: list[str]) -> tuple[int, str | None]:
    """Find the column of wavelengths, and the units its name ends in."""
    for index, name in enumerate(header):
        match = WAVELENGTH.fullmatch(name.strip())
        if match:
            return index, match["units"] or None
        if name.strip().casefold() in ("nm", "um"):
            return index, name.strip()
    raise SpectralError(
        f"{path.name} has columns {header} and none of wavelengths; expected one called "
        "'wavelength_nm' (or _um). Rename it in the first line"
    )


def _nm_per_unit(path: Path, asked: str | None, stated: str | None) -> float:
    if asked is None and stated is None:
        raise SpectralError(
            f"{path.name} does not say the units of its wavelengths; expected a column called "
            f"'wavelength_nm' or 'wavelength_um'. Use SRF.from_csv({str(path)!r}, units='nm')"
        )
    factors = [
        float(to_nm(1.0, units, name=f"{path.name} wavelength"))
        for units in (asked, stated)
        if units is not None
    ]
    if factors[0] != factors[-1]:
        raise SpectralError(
            f"{path.name} has wavelengths in {stated} but units={asked!r} was given; expected one "
            f"of the two. Use SRF.from_csv({str(path)!r})"
        )
    return factors[0]


def _named(header: list[str], names: tuple[str, ...]) -> int | None:
    words = [re.sub(r"[\W_]+", "_", name.strip().casefold()) for name in header]
    return next((words.index(name) for name in names if name in words), None)


def _long(
    rows: list[list[str]], *, band: int, wavelength: int, response: int
) -> dict[str, list[tuple[str, str]]]:
    parts: dict[str, list[tuple[str, str]]] = {}
    for row in rows:
        parts.setdefault(row[band], []).append((row[wavelength], row[response]))
    return parts


def _wide(
    rows: list[list[str]], header: list[str], *, wavelength: int
) -> dict[str, list[tuple[str, str]]]:
    return {
        name: [(row[wavelength], row[index]) for row in rows]
        for index, name in enumerate(header)
        if index != wavelength and name
    }


def _samples(path: Path, name: str, pairs: list[tuple[str, str]], nm_per_unit: float) -> Samples:
    measured = [pair for pair in pairs if all(pair)]
    wrong = next((cell for pair in measured for cell in pair if not _is_number(cell)), None)
    if wrong is not None:
        raise SpectralError(
            f"{path.name} has {wrong!r} in band {name}; expected numbers, or empty cells where "
            "nothing was measured. Start lines that are remarks with '#'"
        )
    values = np.array(measured, dtype="float64").reshape(-1, 2)
    return Samples(name, values[:, 0] * nm_per_unit, values[:, 1])


def tidy(samples: Samples, *, name: str) -> Samples:
    """Order one band's samples, drop repeated ones, scale the peak to one."""
    band, wavelength, response = samples
    if len(wavelength) < 2 or not np.isfinite(wavelength).all():
        raise SpectralError(
            f"band {band} of the SRF {name!r} has {len(wavelength)} samples at "
            f"{wavelength.tolist()} nm; expected two or more finite wavelengths. "
            "Leave the band out of the table"
        )
    order = np.argsort(wavelength, kind="stable")
    wavelength, response = wavelength[order], response[order]
    response = expect_response(response, band=band, name=name)
    again = np.flatnonzero(np.diff(wavelength) == 0)
    differ = again[np.abs(response[again + 1] - response[again]) > 1e-6 * response.max()]
    if differ.size:
        at = differ[0]
        raise SpectralError(
            f"band {band} of the SRF {name!r} has responses {response[at]:g} and "
            f"{response[at + 1]:g} at {wavelength[at]:g} nm; expected one for each wavelength. "
            "Delete one of the two rows"
        )
    kept = np.delete(np.arange(len(wavelength)), again)
    return Samples(band, wavelength[kept], response[kept] / response.max())


def expect_response(response: np.ndarray, *, band: str, name: str) -> np.ndarray:
    """Clip small negative values; refuse large ones, and what is no response at all."""
    if not np.isfinite(response).all() or response.max() <= 0:
        raise SpectralError(
            f"band {band} of the SRF {name!r} has values from {response.min():g} to "
            f"{response.max():g}; expected finite responses, some of them above 0. "
            "Leave the band out"
        )
    if response.min() < -SMALL_NEGATIVE * response.max():
        raise SpectralError(
            f"band {band} of the SRF {name!r} has a response of {response.min():g}, "
            f"{response.min() / response.max():.0%} of its peak; expected none below "
            f"-{SMALL_NEGATIVE:.0%}. Set what is not response to zero: curves.clip(min=0)"
        )
    clipped: np.ndarray = np.clip(response, 0, None)
    return clipped
