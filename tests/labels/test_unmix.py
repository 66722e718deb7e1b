"""Maps of endmembers, and a mosaic of one band with the cube beside it."""

from __future__ import annotations

from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import xarray as xr

import lift_xr
from lift_xr.coarser import halved, with_coarser
from lift_xr.errors import GridError, SpectralError
from lift_xr.models import load_model
from lift_xr.models.mixture import MorphPaperRecipe
from lift_xr.upsampling import REACH, upsample
from lift_xr.window import Window
from tests.mixtures import RECIPE, fitted, given, pair


def pinv(endmembers: xr.DataArray) -> xr.DataArray:
    """What takes spectra to the abundances that explain them best."""
    return endmembers.copy(data=np.linalg.pinv(endmembers.to_numpy()).T)


@pytest.mark.parametrize("msi_bands", [3, 1])
def test_maps_are_lazy_labelled_and_those_of_the_spectra(msi_bands: int) -> None:
    _, msi, _ = pair(msi_bands)
    model = fitted(msi_bands)
    maps = lift_xr.unmix(model, msi.chunk(y=10, x=32), **given(msi_bands))
    assert maps["abundances"].dims == ("endmember", "y", "x")
    assert maps["endmembers"].dims == ("endmember", "band")
    assert isinstance(maps["abundances"].data, da.Array)
    assert maps["abundances"].attrs["units"] == "fraction"
    xr.testing.assert_equal(maps["x"], msi["x"])
    assert maps["wavelength"].attrs["units"] == "nm"
    fused, shared = lift_xr.predict(model, msi, **given(msi_bands)), maps["abundances"]
    shares = xr.dot(fused, pinv(maps["endmembers"]), dim="band")
    np.testing.assert_allclose(shares.transpose(*shared.dims), shared, atol=2e-4)
    assert bool(np.isnan(maps["abundances"][:, 5, 7]).all())


@pytest.mark.parametrize("msi_bands", [3, 1])
@pytest.mark.parametrize("constraint", ["none", "sum-to-one"])
def test_maps_and_spectra_leave_no_seams(msi_bands: int, constraint: str) -> None:
    _, msi, _ = pair(msi_bands)
    model, more = fitted(msi_bands, constraint), given(msi_bands)
    for cut in ({"y": 7, "x": 9}, {"y": 1, "x": 32}, {"y": 32, "x": 13}):
        np.testing.assert_array_equal(
            lift_xr.predict(model, msi.chunk(cut), **more), lift_xr.predict(model, msi, **more)
        )
        np.testing.assert_array_equal(
            lift_xr.unmix(model, msi.chunk(cut), **more)["abundances"],
            lift_xr.unmix(model, msi, **more)["abundances"],
        )


@pytest.mark.parametrize("constraint", ["non-negative", "sum-to-one"])
def test_constrained_maps_obey_and_spectra_still_obey_the_msi(constraint: str) -> None:
    _, msi, srf = pair()
    model = fitted(constraint=constraint)
    shares = lift_xr.unmix(model, msi)["abundances"]
    assert float(shares.min()) >= 0
    if constraint == "sum-to-one":
        np.testing.assert_allclose(shares.sum("endmember", skipna=False).fillna(1), 1, rtol=1e-5)
    seen = np.tensordot(srf, lift_xr.predict(model, msi).to_numpy(), axes=1)
    assert np.nanmax(np.abs(seen - msi.to_numpy())) < 0.02


@pytest.mark.parametrize("msi_bands", [3, 1])
def test_a_saved_model_gives_the_same_maps(msi_bands: int, tmp_path: Path) -> None:
    _, msi, _ = pair(msi_bands)
    fitted(msi_bands).save(tmp_path / "morph.lift")
    again = load_model(tmp_path / "morph.lift")
    xr.testing.assert_equal(
        lift_xr.unmix(again, msi, **given(msi_bands)),
        lift_xr.unmix(fitted(msi_bands), msi, **given(msi_bands)),
    )
    assert again.digest == fitted(msi_bands).digest


@pytest.mark.parametrize("msi_bands", [3, 1])
def test_a_cube_that_holds_nothing_is_refused(msi_bands: int) -> None:
    hsi, _, srf = pair(msi_bands)
    matrix = xr.DataArray(srf, dims=("msi_band", "band"))
    with pytest.raises(SpectralError, match=r"pixels of hsi to learn from are all zero; expected"):
        lift_xr.fit(0 * hsi.assign_attrs(units="1"), matrix, method="morph")


def test_a_method_without_endmembers_has_no_maps() -> None:
    hsi, msi, srf = pair()
    model = lift_xr.fit(hsi, xr.DataArray(srf, dims=("msi_band", "band")), method="linear")
    with pytest.raises(ValueError, match="method='linear', which mixes no endmembers"):
        lift_xr.unmix(model, msi)


def test_one_band_needs_the_cube_on_the_same_grid() -> None:
    hsi, msi, _ = pair(1)
    with pytest.raises(ValueError, match=r"Use predict\(model, msi, hsi=hsi\)"):
        lift_xr.predict(fitted(1), msi)
    with pytest.raises(GridError, match="expected whole numbers") as told:
        lift_xr.predict(fitted(1), msi, hsi=hsi.assign_coords(x=hsi["x"] + 0.3))
    assert "consistency='msi'" not in str(told.value)  # it is, and needs the grid all the same


def test_a_gain_of_the_mosaic_is_undone_where_the_cube_is_beside_it() -> None:
    hsi, msi, srf = pair(1)
    matrix = xr.DataArray(srf, dims=("msi_band", "band"))
    bright = (msi * 3 + 0.1).assign_attrs(units="DN")
    found = lift_xr.fuse(hsi, bright, matrix, method=RECIPE, harmonize="regression")
    plain = lift_xr.fuse(hsi, msi, matrix, method=RECIPE, harmonize="none")
    np.testing.assert_allclose(found, plain, atol=0.02)


def test_sin_with_one_band_points_to_morph() -> None:
    hsi, _, srf = pair(1)
    with pytest.warns(UserWarning, match="Use method='morph', which has the cube beside it"):
        lift_xr.fit(hsi, xr.DataArray(srf, dims=("msi_band", "band")), method="linear")


def test_morph_as_published_refuses_one_band_before_it_reads_the_cube() -> None:
    hsi, _, srf = pair(1)
    unread = da.map_blocks(lambda: 1 / 0, chunks=hsi.shape, dtype="float32", meta=np.empty(0))
    matrix = xr.DataArray(srf, dims=("msi_band", "band"))
    with pytest.raises(SpectralError, match=r"the MSI has one band; .*Use method='morph'"):
        lift_xr.fit(hsi.copy(data=unread), matrix, method="morph-paper")


def test_maps_as_published_are_of_what_exceeds_the_darkest_percent() -> None:
    hsi, msi, srf = pair()
    counts, seen = ((1000 * each + 500).assign_attrs(units="DN") for each in (hsi, msi.fillna(0.3)))
    matrix = xr.DataArray(srf, dims=("msi_band", "band"))
    model = lift_xr.fit(counts, matrix, method=MorphPaperRecipe(endmembers=4, steps=50))
    maps = lift_xr.unmix(model, seen)
    darkest = np.percentile(counts, 1)
    mixed = xr.dot(maps["abundances"], maps["endmembers"], dim="endmember") + darkest
    low, high = np.percentile(counts, (1, 99))
    fused = lift_xr.predict(model, seen)
    np.testing.assert_allclose(fused, mixed.clip(low, high).transpose(*fused.dims), rtol=1e-4)


def test_interpolation_is_exact_for_planes_and_repeats_beyond_the_edge() -> None:
    y, x = np.mgrid[:6, :6].astype("float32")
    cells = np.pad((2 * y + x)[None], ((0, 0), (REACH,) * 2, (REACH,) * 2), constant_values=np.nan)
    window = Window(cells, 4, (-4 * REACH, -4 * REACH))
    fine = upsample(cells, window, (24, 24))
    place = (np.arange(24) + 0.5) / 4 - 0.5
    plane = 2 * place[:, None] + place
    np.testing.assert_allclose(fine[0, 6:-6, 6:-6], plane[6:-6, 6:-6], atol=1e-4)
    assert np.isfinite(fine).all()
    cells[0, REACH + 2, REACH + 2] = np.nan
    holed = upsample(cells, window, (24, 24))
    assert np.isnan(holed[0]).sum() == 16


def test_a_coarser_cube_is_the_same_for_any_chunking() -> None:
    values = np.random.default_rng(0).random((2, 11, 9)).astype("float32")
    values[0, 3, 4] = np.nan
    whole = with_coarser(da.from_array(values, chunks=(2, 11, 9))).compute()
    cut = with_coarser(da.from_array(values, chunks=(2, (3, 5, 3), (4, 5)))).compute()
    np.testing.assert_array_equal(whole, cut)
    assert whole.shape == (10, 11, 9)
    means = halved(da.from_array(values, chunks=(2, 3, 4))).compute()
    np.testing.assert_allclose(means[:, 0, 0], values[:, :2, :2].mean(axis=(1, 2)), rtol=1e-6)
