from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr

from lift_xr.errors import GridError, LayoutError, SpectralError
from lift_xr.grid import COUNTED
from lift_xr.scene import expect_hsi, expect_msi, expect_values, to_nm, valid
from tests.scenes import cube, located, shared_scenes


@pytest.fixture
def no_compute():
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a pixel was computed")

    with dask.config.set(scheduler=refuse):
        yield


@pytest.mark.usefixtures("no_compute")
def test_a_scene_is_checked_without_computing_a_pixel():
    raw = cube().assign_attrs(_FillValue=-1, scale_factor=0.5)
    raw = raw.copy(data=da.zeros(raw.shape, dtype="int16", chunks=(13, 5, 5)))
    scene = expect_hsi(raw)
    assert scene.dims == ("band", "y", "x")
    assert scene.dtype == np.float32


@pytest.mark.parametrize(
    "names",
    [
        {"band": "bands", "y": "latitude", "x": "longitude"},
        {"band": "channel", "y": "row", "x": "col"},
        {"y": "northing", "x": "easting"},
    ],
)
def test_dimensions_are_found_by_any_usual_name_in_any_order(names):
    plain = cube()
    given = plain.transpose("y", "x", "band").rename(names)
    xr.testing.assert_equal(expect_hsi(given), expect_hsi(plain))


def test_a_wavelength_dimension_becomes_a_coordinate_on_band():
    plain = cube()
    given = plain.swap_dims(band="wavelength").drop_vars("band")
    scene = expect_hsi(given)
    assert scene.wavelength.dims == ("band",)
    assert scene.band.to_numpy().tolist() == list(range(1, 14))
    np.testing.assert_array_equal(scene.wavelength, plain.wavelength)


def test_coordinates_named_y_and_x_on_dimensions_named_row_and_col_are_used():
    plain = cube()
    given = plain.drop_vars(("y", "x")).rename(y="row", x="col")
    given = given.assign_coords(y=("row", plain.y.data), x=("col", plain.x.data))
    xr.testing.assert_equal(expect_hsi(given), expect_hsi(plain))


def test_a_dataset_with_one_raster_variable_brings_its_band_variables_along():
    plain = cube()
    dataset = plain.drop_vars("wavelength").to_dataset(name="radiance")
    dataset["wavelength"] = plain.wavelength.variable
    scene = expect_hsi(dataset)
    assert scene.name == "radiance"
    np.testing.assert_array_equal(scene.wavelength, plain.wavelength)


def test_a_dataset_with_two_raster_variables_is_refused():
    dataset = xr.Dataset({"a": cube(), "b": cube()})
    with pytest.raises(LayoutError, match=r"2 raster variables \['a', 'b'\].*hsi = hsi\['a'\]"):
        expect_hsi(dataset)


def test_a_plain_array_is_refused():
    with pytest.raises(LayoutError, match=r"hsi is a ndarray.*xr.DataArray\(values"):
        expect_hsi(np.zeros((3, 4, 4)))  # type: ignore[arg-type]


def test_bands_alone_on_a_line_are_no_scene():
    with pytest.raises(GridError, match=r"dimensions \('band', 'x'\); expected one called y"):
        expect_hsi(cube().isel(y=0))


def test_a_dimension_without_a_place_is_refused():
    with pytest.raises(LayoutError, match=r"'angle'.*msi.isel\(angle=0\)"):
        expect_msi(located().expand_dims(angle=2))


def test_time_leads_in_an_msi_and_is_refused_in_an_hsi():
    series = xr.concat([cube(), cube()], dim="time")
    scene = expect_msi(series.transpose("y", "x", "band", "time"))
    assert scene.dims == ("time", "band", "y", "x")
    assert scene.chunksizes["time"] == (1, 1)
    with pytest.raises(LayoutError, match=r"2 times.*isel\(time=0\)"):
        expect_hsi(series)


def test_an_image_without_bands_is_one_band():
    assert expect_msi(located().isel(band=0, drop=True)).sizes["band"] == 1
    panchromatic = expect_msi(cube().isel(band=2))
    assert panchromatic.wavelength.to_numpy().tolist() == [500]
    assert panchromatic.band.to_numpy().tolist() == [3]


def test_numpy_is_cut_into_blocks_that_hold_all_bands():
    scene = expect_hsi(cube(30, 20), block=16)
    assert scene.chunks == ((13,), (16, 14), (16, 4))


def test_blocks_of_a_dask_array_keep_their_edges_and_get_all_bands():
    scene = expect_msi(located(24, 24).chunk(band=1, y=7, x=11))
    assert scene.chunks == ((4,), (7, 7, 7, 3), (11, 11, 2))


def test_the_same_scene_has_the_same_names_twice():
    raw = located().astype("int16").assign_attrs(_FillValue=0)
    assert expect_msi(raw).data.name == expect_msi(raw).data.name


@pytest.mark.parametrize("size", [{"y": 0}, {"x": 0}, {"band": 0}])
def test_an_empty_scene_is_refused(size):
    (dim,) = size
    with pytest.raises(GridError, match=f"no pixels; expected at least one along {dim}"):
        expect_hsi(cube().isel({dim: slice(0)}))


def test_band_names_stay():
    named = located().assign_coords(band=["B2", "B3", "B4", "B8"])
    assert expect_msi(named).band.to_numpy().tolist() == ["B2", "B3", "B4", "B8"]


def test_repeated_band_labels_are_refused():
    with pytest.raises(SpectralError, match=r"repeated band labels \[1\].*range\(1, 5\)"):
        expect_msi(located().assign_coords(band=[1, 1, 2, 3]))


# ---------------------------------------------------------------------------------- wavelengths


MICROMETERS = ("um", "\u00b5m", "\u03bcm", "micrometer", "Micrometers", "microns")


@pytest.mark.parametrize(
    ("units", "factor"),
    [
        *((units, 1) for units in ("nm", "Nanometers", " nanometres ")),
        *((units, 1e3) for units in MICROMETERS),
        ("m", 1e9),
    ],
)
def test_wavelengths_come_out_in_nm_whatever_the_unit(units, factor):
    np.testing.assert_allclose(to_nm([400 / factor, 2500 / factor], units), [400, 2500])


@pytest.mark.parametrize(
    ("units", "found"), [(None, "no units"), ("furlong", "unknown units 'furlong'")]
)
def test_units_are_asked_for_and_never_guessed(units, found):
    scene = cube().assign_coords(wavelength=("band", np.linspace(0.4, 1, 13), {}))
    if units:
        scene.wavelength.attrs["units"] = units
    message = rf"hsi wavelength has (the )?{found}; expected nm, um or m.*attrs\['units'\] = 'nm'"
    with pytest.raises(SpectralError, match=message):
        expect_hsi(scene)


def test_an_unknown_unit_is_to_be_converted_and_not_renamed():
    scene = cube()
    scene.wavelength.attrs["units"] = "angstrom"
    with pytest.raises(SpectralError, match=r"Convert them to nm first, e.g. wavelength / 10"):
        expect_hsi(scene)
    del scene.wavelength.attrs["units"]
    with pytest.raises(SpectralError, match=r"\. Use scene.wavelength.attrs\['units'\] = 'nm'$"):
        expect_hsi(scene)


@pytest.mark.parametrize("expect", [expect_hsi, expect_msi])
@pytest.mark.parametrize("block", [0, -1])
def test_a_block_without_pixels_is_refused(expect, block):
    with pytest.raises(LayoutError, match=f"block is {block}; expected its edge as a whole number"):
        expect(cube(), block=block)


def test_a_cube_without_wavelengths_is_told_how_to_get_some():
    with pytest.raises(SpectralError, match=r"13 bands without wavelengths.*assign_coords\("):
        expect_hsi(cube().drop_vars("wavelength"))
    assert "wavelength" not in expect_msi(located()).coords


@pytest.mark.parametrize("bad", [np.nan, -1.0, 0.0, np.inf])
def test_a_wavelength_that_is_no_length_is_refused(bad):
    values = cube().wavelength.to_numpy().copy()
    values[3] = bad
    scene = cube().assign_coords(wavelength=("band", values, {"units": "nm"}))
    with pytest.raises(SpectralError, match="in 1 of 13 bands; expected a length above 0 nm"):
        expect_hsi(scene)


def test_wavelengths_along_pixels_are_refused():
    scene = cube().drop_vars("wavelength")
    scene = scene.assign_coords(wavelength=("y", np.arange(1.0, 13), {"units": "nm"}))
    with pytest.raises(SpectralError, match=r"has dimensions \('y',\); expected \('band',\)"):
        expect_hsi(scene)


def test_a_width_without_units_has_those_of_the_wavelength():
    scene = cube()
    scene = scene.assign_coords(
        wavelength=("band", scene.wavelength.data / 1e3, {"units": "um"}),
        fwhm=("band", np.full(13, 0.01)),
    )
    opened = expect_hsi(scene)
    np.testing.assert_allclose(opened.fwhm, 10)
    assert opened.fwhm.attrs["units"] == opened.wavelength.attrs["units"] == "nm"
    scene.fwhm.attrs["units"] = "m"
    np.testing.assert_allclose(expect_hsi(scene).fwhm, 1e7)


# ------------------------------------------------------------------------------------ bad bands


@pytest.mark.parametrize("name", ["good_wavelength", "bbl"])
def test_bad_bands_are_dropped_or_kept(name):
    flags = np.array([1, 0] + [1] * 11, dtype=float)
    scene = cube().assign_coords({name: ("band", flags)})
    assert expect_hsi(scene).band.to_numpy().tolist() == [1, *range(3, 14)]
    kept = expect_hsi(scene, bad_bands="keep")
    assert kept.good_wavelength.dtype == bool
    assert kept.sizes["band"] == 13


def test_flags_that_are_neither_good_nor_bad_are_refused():
    scene = cube().assign_coords(bbl=("band", np.linspace(0, 1, 13)))
    with pytest.raises(
        SpectralError, match=r"good_wavelength of hsi holds.*expected True or False"
    ):
        expect_hsi(scene)


def test_a_cube_of_bad_bands_is_refused():
    scene = cube().assign_coords(good_wavelength=("band", np.zeros(13, bool)))
    with pytest.raises(SpectralError, match=r"False in all 13 bands.*bad_bands='keep'"):
        expect_hsi(scene)


def test_an_unknown_word_for_bad_bands_is_refused():
    with pytest.raises(SpectralError, match="bad_bands is 'ignore'; expected 'drop' or 'keep'"):
        expect_hsi(cube(), bad_bands="ignore")  # type: ignore[arg-type]


# ----------------------------------------------------------------------------------- the pixels


def test_valid_is_where_every_band_has_a_finite_value():
    scene = located(3, 3)
    scene[1, 0, 0], scene[2, 1, 1] = np.nan, np.inf
    flags = valid(expect_msi(scene))
    assert isinstance(flags.data, da.Array)
    expected = np.ones((3, 3), bool)
    expected[0, 0] = expected[1, 1] = False
    np.testing.assert_array_equal(flags, expected)


def test_pixels_that_cannot_be_trained_on_are_each_told_apart():
    expect_values(count_valid=1)
    with pytest.raises(SpectralError, match=r"7 infinite values.*where\(np.isfinite\(hsi\)\)"):
        expect_values(count_valid=5, count_inf=7)
    with pytest.raises(SpectralError, match=r"2 bands that are NaN.*\[4, 5\].*drop_sel\(band="):
        expect_values(count_valid=5, all_nan_bands=[4, 5])
    with pytest.raises(SpectralError, match=r"no pixel with data in all bands.*_FillValue"):
        expect_values(count_valid=0, all_nan_bands=[1, 2])


# ------------------------------------------------------------------------------------- the grid


def test_a_scene_without_coordinates_counts_its_pixels():
    scene = expect_msi(located(4, 6).drop_vars(("y", "x")))
    np.testing.assert_array_equal(scene.y, [0.5, 1.5, 2.5, 3.5])
    assert scene.x.attrs["units"] == COUNTED


def test_a_scene_with_a_crs_but_without_coordinates_takes_them_from_its_transform():
    bare = located(4, 6).drop_vars(("y", "x")).rio.write_crs("EPSG:32615")
    with pytest.raises(GridError, match=r"no y and x coordinates.*assign_coords"):
        expect_msi(bare)
    bare.spatial_ref.attrs["GeoTransform"] = "100 2 0 500 0 -2"
    scene = expect_msi(bare)
    np.testing.assert_array_equal(scene.y, [499, 497, 495, 493])
    np.testing.assert_array_equal(scene.x, [101, 103, 105, 107, 109, 111])


def test_half_a_pair_of_coordinates_is_refused():
    with pytest.raises(GridError, match="msi has no y coordinates"):
        expect_msi(located().drop_vars("y"))


def test_a_rotated_scene_is_refused():
    bare = located(4, 6).drop_vars(("y", "x")).rio.write_crs("EPSG:32615")
    bare.spatial_ref.attrs["GeoTransform"] = "100 2 0.5 500 0.5 -2"
    with pytest.raises(GridError, match=r"rotated transform.*msi.rio.reproject\(msi.rio.crs\)"):
        expect_msi(bare)


def test_the_crs_is_found_under_any_name():
    scene = located().rio.write_crs("EPSG:32615", grid_mapping_name="projection")
    opened = expect_msi(scene)
    assert opened.rio.crs.to_epsg() == 32615
    assert "spatial_ref" in opened.coords
    assert "projection" not in opened.coords


@pytest.mark.parametrize(
    ("y", "kind"),
    [
        ([0.5, 1.5, 1.5, 2.5], "repeated values"),
        ([0.5, 1.5, 2.6, 3.5], "uneven steps"),
        ([1.0, 1.0, 1.0, 1.0], "repeated values"),
    ],
)
def test_pixels_at_uneven_distances_are_refused(y, kind):
    with pytest.raises(GridError, match=f"msi has {kind} along y.*expected one step everywhere"):
        expect_msi(located(4, 4).assign_coords(y=y))


@pytest.mark.parametrize(("value", "kind"), [(np.nan, "NaN"), (np.inf, "infinite")])
@pytest.mark.parametrize("size", [1, 4])
def test_pixels_nowhere_are_refused(value, kind, size):
    y = np.arange(size, dtype="float64")
    y[-1] = value
    with pytest.raises(GridError, match=f"msi has {kind} values along y: 1 of {size}"):
        expect_msi(located(size, 4).assign_coords(y=y))


def test_coordinates_rounded_to_float32_are_even_enough_until_pixels_vanish():
    def rounded(spacing: float) -> xr.DataArray:
        y = (3_300_000 + spacing * np.arange(24)).astype("float32")
        return located().assign_coords(y=y)

    assert expect_msi(rounded(30.0)).sizes["y"] == 24
    with pytest.raises(GridError, match="rewrite coordinates that were rounded"):
        expect_msi(rounded(0.4))


def test_every_real_scene_is_a_scene():
    scenes = shared_scenes()
    for name in scenes.names():
        scene = expect_hsi(scenes.load(name))
        assert scene.dtype == np.float32
        assert np.isfinite(scene.wavelength).all()
    for name in [each for each in scenes.pairs() if not each.endswith("]")]:
        hsi, msi = scenes.load_pair(name)
        assert expect_hsi(hsi).sizes["band"] > expect_msi(msi).sizes["band"]
