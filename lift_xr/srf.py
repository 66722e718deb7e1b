"""The SRF: how an MSI's bands see the spectrum, sampled on an HSI's bands and applied to it.

A response is a curve over wavelength (of a sensor, Gaussians, measured) or already a matrix over
the bands of one cube. ``sample`` makes the matrix, ``apply`` sees the cube through it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from lift_xr import spectral
from lift_xr.coverage import bands_of, expect_support, in_nm, span
from lift_xr.errors import SpectralError
from lift_xr.scene import to_nm
from lift_xr.sensors import SENSORS, Catalogue, find, key
from lift_xr.srf_csv import Samples, expect_response, read_responses, tidy

TABLES = (".csv", ".tsv", ".txt")
SAME_BAND = 1.0  # nm; wavelengths of one cube differ by rounding, of two cubes by more


@dataclass(frozen=True, eq=False, repr=False)
class SRF:
    """The spectral response of a multispectral sensor.

    Make one with ``SRF.sensor``, ``SRF.gaussian``, ``SRF.from_csv`` or ``SRF.of``. Equal when
    bands and curves are.

    Attributes
    ----------
    bands
        Names, in the order of the imagery.
    wavelength : (wavelength,), nm
        Where the curves are known; for a matrix the centres of the cube's bands, or None.
    curves : (msi_band, wavelength)
        Responses with peak 1, linear between samples and zero outside; for a matrix
        (msi_band, band), rows summing to one.
    name, source
        What errors and ``repr`` call it, and where it is from.
    is_matrix
        Whether the columns are the bands of one cube rather than wavelengths.

    Examples
    --------
    >>> SRF.gaussian([480, 560], [60, 40], names=["blue", "green"])
    SRF 'gaussian': 2 bands, 450-580 nm
    band    centre     fwhm    range
    blue     480.0     60.0    450.0-510.0
    green    560.0     40.0    540.0-580.0
    """

    bands: tuple[str, ...]
    wavelength: np.ndarray | None
    curves: np.ndarray
    name: str = "srf"
    source: str = ""
    is_matrix: bool = False

    def __post_init__(self) -> None:
        assert self.curves.shape[0] == len(self.bands)
        assert self.wavelength is None or self.curves.shape[1] == len(self.wavelength)
        if len(set(self.bands)) != len(self.bands):
            raise SpectralError(
                f"the SRF {self.name!r} has bands {list(self.bands)}; expected each name once. "
                "Rename them, for instance with SRF.gaussian(centre, fwhm, names=[...])"
            )
        for values in (self.curves, self.wavelength):
            if values is not None:
                values.setflags(write=False)

    @classmethod
    def sensor(cls, name: str, *, bands: Iterable[str] | None = None) -> SRF:
        """Look up a sensor's published bands, drawn with flat tops.

        Parameters
        ----------
        name
            A name or alias of ``SRF.sensors()``; case, spaces and punctuation do not count.
        bands
            Which bands, in which order. Without it the multispectral ones; the pan band is there
            when asked for: ``SRF.sensor("ikonos", bands=["pan"])``.

        Notes
        -----
        The figures are the operators' (half-maximum edges), the shape is a super-Gaussian; see
        ``spectral.FLAT_TOP``. Measured curves differ by up to a tenth of a band's width, and more
        in the near infrared where detectors fade: use ``SRF.from_csv`` where that matters.

        Raises
        ------
        SpectralError
            With the closest names, for an unknown sensor or band.
        """
        found = find(name)
        edges = np.array([*found.bands.values(), *found.pan.values()], dtype="float64")
        wavelength, curves = spectral.bells(
            edges.mean(axis=1), np.diff(edges)[:, 0], order=spectral.FLAT_TOP
        )
        whole = cls((*found.bands, *found.pan), wavelength, curves, found.name, found.source)
        return whole.select(*(found.bands if bands is None else bands))

    @staticmethod
    def sensors() -> Catalogue:
        """List the sensors ``SRF.sensor`` knows: a dictionary by name that prints as a table."""
        return SENSORS

    @classmethod
    def gaussian(
        cls,
        centre: npt.ArrayLike,
        fwhm: npt.ArrayLike,
        *,
        names: Sequence[str] | None = None,
        units: str = "nm",
    ) -> SRF:
        """Draw one Gaussian per band.

        Parameters
        ----------
        centre, fwhm : (msi_band,) or one number, ``units``
            Middle and full width at half maximum; one width serves all bands.
        names
            Of the bands; ``"560nm"`` and so on without it.
        """
        centres = np.atleast_1d(to_nm(centre, units, name="centre"))
        widths = np.atleast_1d(to_nm(fwhm, units, name="fwhm"))
        good = np.isfinite(widths).all() and (widths > 0).all() and np.isfinite(centres).all()
        if centres.ndim != 1 or widths.shape not in ((1,), centres.shape) or not good:
            raise SpectralError(
                f"centre is {centres.tolist()} and fwhm {widths.tolist()} nm; expected one finite "
                "centre per band and a width above 0, or one width for all. "
                "Use SRF.gaussian([480, 560], [60, 40])"
            )
        widths = np.broadcast_to(widths, centres.shape)
        labels = tuple(names) if names is not None else tuple(f"{each:g}nm" for each in centres)
        if len(labels) != len(centres):
            raise SpectralError(
                f"names has {len(labels)} entries for {len(centres)} centres; expected as many. "
                "Use SRF.gaussian([480, 560], 60, names=['blue', 'green'])"
            )
        wavelength, curves = spectral.bells(centres, widths, order=spectral.GAUSSIAN)
        return cls(labels, wavelength, curves, "gaussian")

    @classmethod
    def from_csv(cls, path: str | Path, *, units: str | None = None) -> SRF:
        """Read measured curves from a wide or a long table.

        Parameters
        ----------
        path
            Wide: a wavelength column and one column per band. Long: columns band, wavelength and
            response. Rows in any order; bands keep the order of the file, pan included.
        units
            Of the wavelengths, where their column's name does not say (``wavelength_nm``).

        Raises
        ------
        SpectralError
            No units, no numbers, values well below zero, or two responses at one wavelength.
        """
        samples = read_responses(path, units=units)
        return cls._of_samples(samples, name=Path(path).stem, source=Path(path).name)

    @classmethod
    def of(cls, thing: Any) -> SRF:
        """Take a response in any of its forms.

        Parameters
        ----------
        thing
            An SRF; a sensor's name, with bands after a colon if not all (``"ikonos:pan"``,
            ``"sentinel-2a:B2,B3,B4,B8"``); the path of a table; a DataArray (msi_band, wavelength)
            with units on its wavelengths; a DataArray (msi_band, band) or an array of two
            dimensions, one column per band of the cube, whose rows will sum to one.
        """
        if isinstance(thing, SRF):
            return thing
        if isinstance(thing, str) and not thing.casefold().endswith(TABLES):
            name, _, chosen = thing.partition(":")
            return cls.sensor(name, bands=chosen.split(",") if chosen else None)
        if isinstance(thing, str | Path):
            return cls.from_csv(thing)
        if isinstance(thing, xr.DataArray):
            return cls._of_labelled(thing)
        return cls._of_matrix(np.asarray(thing), names=None, wavelength=None)

    @classmethod
    def _of_labelled(cls, data: xr.DataArray) -> SRF:
        dims = set(data.dims)
        if dims not in ({"msi_band", "wavelength"}, {"msi_band", "band"}):
            raise SpectralError(
                f"the SRF has dimensions {data.dims}; expected ('msi_band', 'wavelength') for "
                "curves, or ('msi_band', 'band') for a matrix over the cube's bands. "
                "Use srf.rename({...: 'msi_band'})"
            )
        labels = data["msi_band"].to_numpy() if "msi_band" in data.coords else None
        names = None if labels is None else tuple(map(str, labels.tolist()))
        name = str(data.name or "srf")
        if "band" in dims:
            known = in_nm(data["wavelength"]) if "wavelength" in data.coords else None
            values = data.transpose("msi_band", "band").to_numpy()
            return cls._of_matrix(values, names=names, wavelength=known, name=name)
        wavelength = in_nm(data["wavelength"])
        rows = data.transpose("msi_band", "wavelength").to_numpy().astype("float64")
        names = names or _numbered(len(rows))
        samples = [
            Samples(band, wavelength[~np.isnan(row)], row[~np.isnan(row)])
            for band, row in zip(names, rows, strict=True)
        ]
        return cls._of_samples(samples, name=name, source="")

    @classmethod
    def _of_matrix(
        cls,
        values: np.ndarray,
        *,
        names: tuple[str, ...] | None,
        wavelength: np.ndarray | None,
        name: str = "matrix",
    ) -> SRF:
        if values.ndim != 2 or values.size == 0 or values.dtype.kind not in "fiub":
            raise SpectralError(
                f"the SRF is {values.dtype} of shape {values.shape}; expected numbers of shape "
                "(msi_band, band), an SRF, a sensor's name or the path of a table. "
                "Use SRF.sensor('sentinel-2a') or SRF.from_csv(path)"
            )
        names = names or _numbered(len(values))
        rows = [
            expect_response(row, band=band, name=name)
            for band, row in zip(names, values.astype("float64"), strict=True)
        ]
        matrix = spectral.rows_of_one(np.stack(rows))
        return cls(names, wavelength, matrix, name, is_matrix=True)

    @classmethod
    def _of_samples(cls, samples: Sequence[Samples], *, name: str, source: str) -> SRF:
        """Put bands on the wavelengths that any of them has; zero outside a band's own."""
        ordered = [tidy(each, name=name) for each in samples]
        wavelength = np.unique(np.concatenate([each.wavelength for each in ordered]))
        curves = [
            np.interp(wavelength, each.wavelength, each.response, left=0, right=0)
            for each in ordered
        ]
        bands = tuple(each.band for each in ordered)
        return cls(bands, wavelength, np.stack(curves), name, source)

    def select(self, *names: str) -> SRF:
        """Keep some bands, in the order asked for.

        Examples
        --------
        >>> SRF.sensor("ikonos").select("red", "green").bands
        ('red', 'green')
        """
        positions = [self._position(each) for each in names]
        if not positions:
            raise SpectralError(
                f"no band of the SRF {self.name!r} was asked for; expected some of "
                f"{', '.join(self.bands)}. Use srf.select({self.bands[0]!r})"
            )
        bands = tuple(self.bands[each] for each in positions)
        return replace(self, bands=bands, curves=self.curves[positions])

    def _position(self, name: str) -> int:
        """Find a band by its exact name, else by what counts of it (``B02`` is ``B2``)."""
        if name in self.bands:
            return self.bands.index(name)
        keys = [key(each) for each in self.bands]
        if keys.count(key(name)) == 1:
            return keys.index(key(name))
        advice = f"srf.select({', '.join(map(repr, self.bands))})"
        if self.name in SENSORS and SENSORS[self.name].pan:
            pan = list(SENSORS[self.name].pan)
            advice += f", or SRF.sensor({self.name!r}, bands={pan}) for the panchromatic band"
        raise SpectralError(
            f"{name!r} is no band of the SRF {self.name!r}; expected some of "
            f"{', '.join(self.bands)}. Use {advice}"
        )

    @property
    def centres(self) -> np.ndarray:
        """Mean wavelength under each curve: (msi_band,), nm; NaN for a matrix without them."""
        if self.wavelength is None:
            return np.full(len(self.bands), np.nan)
        if self.is_matrix:
            centres: np.ndarray = self.curves @ self.wavelength
            return centres
        return np.array([spectral.centroid(self.wavelength, each) for each in self.curves])

    @property
    def edges(self) -> np.ndarray:
        """Where each curve crosses half its maximum: (msi_band, 2), nm; NaN for a matrix."""
        if self.wavelength is None or self.is_matrix:
            return np.full((len(self.bands), 2), np.nan)
        return np.array([spectral.half_maximum(self.wavelength, each) for each in self.curves])

    @property
    def fwhm(self) -> np.ndarray:
        """Width at half maximum: (msi_band,), nm; NaN for a matrix."""
        return np.diff(self.edges)[:, 0]

    @property
    def response(self) -> xr.DataArray:
        """The curves with labels, ready for ``.plot.line(x="wavelength")``."""
        along = "band" if self.is_matrix else "wavelength"
        data = xr.DataArray(
            self.curves,
            dims=("msi_band", along),
            coords={"msi_band": list(self.bands)},
            name="response",
            attrs={"long_name": f"relative response of {self.name}", "units": "1"},
        )
        if self.wavelength is None:
            return data
        return data.assign_coords(wavelength=(along, self.wavelength, {"units": "nm"}))

    @property
    def digest(self) -> str:
        """Name the contents: the same bands and curves have the same digest anywhere."""
        known = np.empty(0) if self.wavelength is None else self.wavelength
        content = hashlib.sha256(json.dumps([self.bands, self.curves.shape[1]]).encode())
        for values in (known, self.curves):
            content.update(np.ascontiguousarray(values, dtype="<f8").tobytes())
        return content.hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SRF) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __dask_tokenize__(self) -> tuple[str, str]:
        return ("SRF", self.digest)

    def __repr__(self) -> str:
        if self.is_matrix:
            names = ", ".join(self.bands)
            return f"SRF {self.name!r}: {len(self.bands)} x {self.curves.shape[1]} matrix: {names}"
        widest = max(4, *map(len, self.bands))
        lines = [
            f"{band:<{widest}}  {centre:7.1f}  {upper - lower:7.1f}  {lower:7.1f}-{upper:.1f}"
            for band, centre, (lower, upper) in zip(
                self.bands, self.centres, self.edges, strict=True
            )
        ]
        count = f"{len(self.bands)} band{'s' if len(self.bands) > 1 else ''}"
        title = f"SRF {self.name!r}: {count}, {span(self.edges)} nm"
        header = f"{'band':<{widest}}   centre     fwhm    range"
        source = [f"source: {self.source}"] if self.source else []
        return "\n".join([title, header, *lines, *source])

    def sample(self, hsi: xr.DataArray) -> xr.DataArray:
        r"""Express each MSI band as a weighted sum of HSI bands.

        Parameters
        ----------
        hsi
            A scene with ``wavelength`` (and ``fwhm``) along ``band``, with units, in any order.
            Without ``fwhm`` a band is taken to be as wide as the bands around it stand apart.
            Under a matrix, wavelengths are only compared, where both have them.

        Returns
        -------
        (msi_band, band), float64
            Rows sum to one, so a flat spectrum comes back flat. Computed, small. The centres of
            the MSI bands are its coordinate ``msi_wavelength``, in nm.

        Warns
        -----
        UserWarning
            Between 50 % and 90 % of a band's response lies within the HSI's bands.

        Raises
        ------
        SpectralError
            Less than half does: most of the band would be extrapolated. Gaps in the HSI count as
            not covered, except where two neighbours are within one fwhm of what lies between.

        Notes
        -----
        :math:`W_{mb} \propto \Delta_b \int R_m G_b \, d\lambda`: the response is seen through the
        HSI band's own Gaussian :math:`G_b`, times the interval :math:`\Delta_b` the band stands
        for, so that bands where two detectors overlap do not count twice. See ``spectral.cells``.
        """
        if self.is_matrix or self.wavelength is None:
            return self._labelled(self._columns_for(hsi), hsi)
        centres, fwhm = bands_of(hsi)
        division = spectral.cells(centres, fwhm)
        share = spectral.coverage(division, self.wavelength, self.curves)
        expect_support(share, self.bands, name=self.name, needed=self.edges, cells=division)
        return self._labelled(spectral.weigh(centres, fwhm, self.wavelength, self.curves), hsi)

    def _labelled(self, weights: np.ndarray, hsi: xr.DataArray) -> xr.DataArray:
        along = {
            key: coord.variable for key, coord in hsi.coords.items() if coord.dims == ("band",)
        }
        centres = self.centres
        if self.is_matrix and "wavelength" in hsi.coords:
            centres = weights @ in_nm(hsi["wavelength"])
        matrix = xr.DataArray(
            weights,
            dims=("msi_band", "band"),
            coords={"msi_band": list(self.bands), **along},
            name="srf",
            attrs={"srf": self.name, "srf_digest": self.digest},
        )
        if np.isnan(centres).any():
            return matrix
        return matrix.assign_coords(msi_wavelength=("msi_band", centres, {"units": "nm"}))

    def _columns_for(self, hsi: xr.DataArray) -> np.ndarray:
        """Check that a matrix was made for these bands."""
        columns, bands = self.curves.shape[1], hsi.sizes["band"]
        if columns != bands:
            raise SpectralError(
                f"the SRF {self.name!r} has {columns} columns but hsi has {bands} bands; expected "
                "one column per band. If bad bands were dropped from hsi, drop them here too: "
                "srf.isel(band=hsi.good_wavelength.values)"
            )
        if self.wavelength is not None and "wavelength" in hsi.coords:
            found = in_nm(hsi["wavelength"])
            at = int(np.abs(self.wavelength - found).argmax())
            if abs(self.wavelength[at] - found[at]) > SAME_BAND:
                raise SpectralError(
                    f"column {at} of the SRF {self.name!r} is at {self.wavelength[at]:.1f} nm but "
                    f"band {at} of hsi at {found[at]:.1f} nm; expected the same within "
                    f"{SAME_BAND:g} nm. Make the matrix for this hsi: srf.sample(hsi)"
                )
        return self.curves


def apply(matrix: xr.DataArray, hsi: xr.DataArray) -> xr.DataArray:
    """See a cube as the MSI's sensor would.

    Parameters
    ----------
    matrix : (msi_band, band)
        What ``SRF.sample`` gave for this cube.
    hsi : (..., band, y, x)
        The cube; NaN is nodata.

    Returns
    -------
    (..., band, y, x), float32
        The MSI bands, named as in the SRF, with their ``wavelength`` in nm. Lazy where the cube
        is. NaN where a band that counts is NaN; bands of weight zero do not count. Summed in
        float64, band after band, so that values do not depend on the blocking.
    """
    if matrix.sizes["band"] != hsi.sizes["band"]:
        raise SpectralError(
            f"the matrix has {matrix.sizes['band']} columns but hsi has {hsi.sizes['band']} bands; "
            "expected one column per band. Use matrix = srf.sample(hsi)"
        )
    order = hsi.dims
    seen: xr.DataArray = xr.apply_ufunc(
        _weighted_sums,
        hsi.chunk(band=-1) if hsi.chunks is not None else hsi,
        input_core_dims=[["band"]],
        output_core_dims=[["msi_band"]],
        kwargs={"weights": matrix.to_numpy()},
        dask="parallelized",
        output_dtypes=["float32"],
        dask_gufunc_kwargs={"output_sizes": {"msi_band": matrix.sizes["msi_band"]}},
        keep_attrs=False,
    )
    seen = seen.rename(msi_band="band").transpose(*order).rename("msi_lr")
    # The CRS is an attribute of a coordinate, and keep_attrs=False took those too.
    seen = seen.assign_coords(
        {k: each for k, each in hsi.coords.items() if "band" not in each.dims}
    )
    seen = seen.assign_coords(band=matrix["msi_band"].to_numpy())
    if "msi_wavelength" not in matrix.coords:
        return seen
    centres = matrix["msi_wavelength"].to_numpy()
    return seen.assign_coords(wavelength=("band", centres, {"units": "nm"}))


def _weighted_sums(cube: np.ndarray, *, weights: np.ndarray) -> np.ndarray:
    """Sum bands under each row of weights: (..., band) to (..., msi_band)."""
    seen = np.zeros((len(weights), *cube.shape[:-1]))  # (msi_band, ...)
    for row, total in zip(weights, seen, strict=True):
        for band in np.flatnonzero(row):
            total += row[band] * cube[..., band].astype("float64")
    return np.moveaxis(seen.astype("float32"), 0, -1)


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(f"B{each}" for each in range(1, count + 1))
