"""What a mixing model mixes: maps of its endmembers over a mosaic, and their spectra."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from lift_xr.blocks import lift_blocks
from lift_xr.errors import LayoutError
from lift_xr.label import along_bands, in_place_of, provenance
from lift_xr.models import Model
from lift_xr.models.mixture import Mixture
from lift_xr.mosaic import prepare
from lift_xr.scene import BLOCK
from lift_xr.window import Window

SHARE = "fraction"  # units of abundances
ABUNDANCE = "abundance"  # what they are called where they are a scene
SPECTRA = "endmembers"  # the attribute that carries them where only one array can go


def unmix(
    model: Model,
    msi: xr.DataArray | xr.Dataset,
    *,
    hsi: xr.DataArray | xr.Dataset | None = None,
    block: int = BLOCK,
    device: str = "auto",
) -> xr.Dataset:
    r"""Maps of how much of each endmember a mosaic holds, and the endmembers' spectra.

    Parameters
    ----------
    model
        From ``fit(..., method="morph")``.
    msi : (band, y, x) or (time, band, y, x)
        The mosaic, as ``predict`` takes it.
    hsi
        The cube, where the model was fitted for a mosaic of one band.
    block, device
        As ``predict`` takes them.

    Returns
    -------
    Dataset
        ``abundances`` (endmember, y, x), float32: lazy, one task a block, the same bytes for any
        chunking; NaN where ``msi`` has no data. ``endmembers`` (endmember, band), float32: in
        memory, in the units of the cube. The most abundant endmember is the first.

    Raises
    ------
    ValueError
        When the model's method mixes nothing, or looks at a cube that is not given.
    SpectralError, GridError, LayoutError
        As ``predict`` raises them.

    Notes
    -----
    Without a constraint, abundances :math:`a` are those of which least squares finds the spectra
    :math:`x` of ``predict`` made: :math:`x = E^T a + e`, where no mixture can follow :math:`e`, by
    which ``consistency="msi"`` corrects the spectra towards the MSI. They may be negative, and need
    not add up to one; they are scaled so that they nearly do. With one they obey it, and the MSI is
    obeyed by the spectra alone. ``write_zarr`` packs those that sum to one and keeps others as
    float32, for no range is known to hold them.

    Of ``"morph-paper"`` there is no :math:`e`. In other units than reflectance it trains on what
    exceeds the cube's 1st percentile, so that this is to be added to :math:`E^T a`; and its spectra
    are clipped to the 1st to 99th percentile, where the maps are not.

    Examples
    --------
    >>> import lift_xr
    >>> scene = lift_xr.synthetic.scene(shape=(320, 320), ratio=20)
    >>> recipe = lift_xr.MorphRecipe(endmembers=5, steps=50)
    >>> model = lift_xr.fit(scene.hsi, scene.srf, method=recipe)
    >>> maps = lift_xr.unmix(model, scene.msi)
    >>> maps["abundances"].sizes
    Frozen({'endmember': 5, 'y': 320, 'x': 320})
    >>> table = maps["endmembers"].to_pandas()  # to_csv writes it
    """
    maps = model.maps
    if maps is None:
        raise ValueError(
            f"the model is of method={model.method!r}, which mixes no endmembers; expected "
            "'morph'. Use fit(hsi, srf, method='morph')"
        )
    mosaic, prior = prepare(maps, msi, hsi=hsi, block=block, device=device)
    lifted = lift_blocks(mosaic.data, _Maps(maps), device=device, prior=prior)
    spectra = _spectra(model, maps)
    abundances = in_place_of(mosaic, lifted, {"band": spectra["endmember"].to_numpy()})
    abundances.attrs = {
        **provenance(model),
        "units": SHARE,
        "long_name": "abundance of an endmember",
        "lift_xr_constraint": model.about["maps"]["constraint"],
        "lift_xr_range": list(model.about["maps"]["range"]),
    }
    named = abundances.rename(band="endmember")
    return xr.Dataset({"abundances": named, "endmembers": spectra})


@dataclass(frozen=True)
class _Maps:
    """What maps a block. Not a model: a store of maps is not one that ``predict`` filled."""

    model: Model

    @property
    def bands(self) -> int:
        return self.model.bands

    @property
    def halo(self) -> int:
        return self.model.halo

    @property
    def prior(self) -> int | None:
        return self.model.prior

    def __call__(
        self, block: npt.NDArray[Any], device: str = "cpu", prior: Window | None = None
    ) -> npt.NDArray[np.float32]:
        return self.model(block, device, prior)

    def __dask_tokenize__(self) -> tuple[str, str]:
        return "lift_xr.unmix", self.model.digest


def _spectra(model: Model, maps: Model) -> xr.DataArray:
    """(endmember, band), with what is known of the bands."""
    lift = maps.lift
    assert isinstance(lift, Mixture)
    numbers = np.arange(1, len(lift.endmembers) + 1)
    spectra = xr.DataArray(
        lift.endmembers,
        dims=("endmember", "band"),
        coords={"endmember": numbers, **along_bands(model)},
        attrs={"long_name": "spectrum of an endmember"},
    )
    units = model.about["units"]
    return spectra if units is None else spectra.assign_attrs(units=units)


def as_scene(maps: xr.DataArray | xr.Dataset) -> xr.DataArray | xr.Dataset:
    """Maps as a scene whose bands are the endmembers; anything else as it is.

    The spectra go into an attribute, ``endmembers``, so that a store that holds one array has all.

    Raises
    ------
    LayoutError
        The abundances alone.
    """
    if isinstance(maps, xr.DataArray) and "endmember" in maps.dims:
        raise LayoutError(
            "these are the abundances alone; expected them with the spectra of their endmembers, "
            "the Dataset that unmix returns. Use maps in place of maps['abundances']"
        )
    if not isinstance(maps, xr.Dataset) or not {"abundances", "endmembers"} <= {*maps.data_vars}:
        return maps
    spectra = maps["endmembers"]
    table: dict[str, Any] = {
        "units": spectra.attrs.get("units"),
        "band": spectra["band"].to_numpy().tolist(),
        "spectra": spectra.astype("float64").to_numpy().tolist(),
    }
    for name in ("wavelength", "fwhm"):
        if name in spectra.coords:
            table[name] = spectra[name].to_numpy().tolist()
    shares = maps["abundances"].rename(ABUNDANCE, endmember="band")
    return shares.assign_attrs({SPECTRA: table})


def as_maps(scene: xr.DataArray) -> xr.Dataset:
    """The Dataset of :func:`unmix` again, of a scene that :func:`as_scene` made.

    Parameters
    ----------
    scene : (band, y, x)
        From ``open_scene(store)``, where ``write_zarr(maps, store)`` wrote it, or some of its
        bands.

    Raises
    ------
    ValueError
        When the scene carries no endmembers, or bands that are none of them.
    """
    if SPECTRA not in scene.attrs:
        raise ValueError(
            "the scene carries no endmembers; expected maps of abundances. "
            "Use write_zarr(unmix(model, msi), store) and open that store"
        )
    table = dict(scene.attrs[SPECTRA])
    numbers = _expect_numbers(scene, len(table["spectra"]))
    coords = {"endmember": numbers, "band": table["band"]}
    for name in ("wavelength", "fwhm"):
        if name in table:
            coords[name] = ("band", table[name], {"units": "nm"})
    units = {} if table["units"] is None else {"units": table["units"]}
    spectra = xr.DataArray(
        np.asarray(table["spectra"], "float32")[numbers - 1],
        coords,
        ("endmember", "band"),
        attrs=units,
    )
    abundances = scene.rename(band="endmember")
    abundances.attrs = {key: each for key, each in scene.attrs.items() if key != SPECTRA}
    return xr.Dataset({"abundances": abundances, "endmembers": spectra})


def _expect_numbers(scene: xr.DataArray, count: int) -> npt.NDArray[np.int64]:
    """Which of its endmembers a scene has maps of, from 1."""
    numbers = scene["band"].to_numpy() if "band" in scene.dims else None
    if numbers is None or not np.isin(numbers, np.arange(1, count + 1)).all():
        found = "no dimension band" if numbers is None else f"the bands {numbers.tolist()}"
        raise ValueError(
            f"the scene has {found}; expected some of its endmembers, 1 to {count}. "
            "Use scene.isel(band=[0]) for the first"
        )
    return np.asarray(numbers, "int64")
