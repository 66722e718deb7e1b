"""Responses: made, sampled on a cube's bands, applied to it, matched with a mosaic."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from dask.base import tokenize
from hypothesis import given
from hypothesis import strategies as st

from lift_xr.errors import SpectralError
from lift_xr.matching import match_bands
from lift_xr.srf import SRF, apply
from tests.scenes import cube, on_grid, shared_data, shared_scenes

RGB = SRF.gaussian([650, 550, 450], [60, 60, 60], names=["red", "green", "blue"])


def bands(
    wavelength: np.ndarray, *, fwhm: float | None = None, units: str | None = "nm"
) -> xr.DataArray:
    """A cube of two pixels with these bands, all values 0.3."""
    scene = on_grid(np.full((len(wavelength), 1, 2), 0.3, dtype="float32"))
    attrs = {} if units is None else {"units": units}
    scene = scene.assign_coords(wavelength=("band", wavelength, attrs))
    if fwhm is None:
        return scene
    return scene.assign_coords(fwhm=("band", np.full(len(wavelength), fwhm), attrs))


def mosaic(count: int, **coords: object) -> xr.DataArray:
    return on_grid(np.ones((count, 2, 2), dtype="float32")).assign_coords(coords)


def written(tmp_path: Path, text: str, *, name: str = "table.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


VNIR = np.arange(400.0, 1001, 10)


# Made


def test_a_sensor_has_its_multispectral_bands_and_pan_when_asked_for() -> None:
    ikonos = SRF.sensor("IKONOS")
    assert ikonos.bands == ("blue", "green", "red", "nir")
    np.testing.assert_allclose(ikonos.edges[2], (632, 698), atol=0.5)
    np.testing.assert_allclose(ikonos.centres[2], 665, atol=0.5)
    np.testing.assert_allclose(ikonos.fwhm[2], 66, atol=0.5)
    assert SRF.sensor("ikonos", bands=["pan"]).bands == ("pan",)
    assert SRF.sensor("landsat8", bands=["B8", "B4"]).bands == ("B8", "B4")
    assert "GeoEye" in ikonos.source


def test_select_keeps_the_order_asked_for() -> None:
    chosen = SRF.sensor("worldview-3").select("red", "green", "SWIR1")
    assert chosen.bands == ("red", "green", "swir1")
    assert (np.diff(chosen.centres) > 0).tolist() == [False, True]
    assert SRF.sensor("sentinel-2a").select("B02", "b8a").bands == ("B2", "B8A")


def test_an_unknown_band_is_named_with_those_there_are() -> None:
    with pytest.raises(SpectralError, match=r"'cyan' is no band.*expected some of red, green, blu"):
        RGB.select("red", "cyan")
    with pytest.raises(SpectralError, match=r"SRF\.sensor\('ikonos', bands=\['pan'\]\)"):
        SRF.sensor("ikonos").select("pan")
    with pytest.raises(SpectralError, match=r"no band.*was asked for.*srf\.select\('red'\)"):
        RGB.select()


def test_gaussians_take_one_width_for_all_and_any_unit_of_length() -> None:
    assert SRF.gaussian([0.45, 0.55], 0.06, units="um") == SRF.gaussian([450, 550], [60, 60])
    assert SRF.gaussian(560, 20).bands == ("560nm",)


@pytest.mark.parametrize(
    ("centre", "fwhm", "names"),
    [([450, 550], [20, 20, 20], None), ([450], [0], None), ([np.nan], [20], None)],
)
def test_gaussians_that_cannot_be_are_refused(
    centre: list[float], fwhm: list[float], names: list[str] | None
) -> None:
    with pytest.raises(
        SpectralError, match=r"centre is .* nm; expected one finite centre per band"
    ):
        SRF.gaussian(centre, fwhm, names=names)


def test_band_names_are_as_many_as_bands_and_all_different() -> None:
    with pytest.raises(SpectralError, match=r"names has 1 entries for 2 centres; expected as many"):
        SRF.gaussian([450, 550], 20, names=["blue"])
    with pytest.raises(SpectralError, match=r"bands \['a', 'a'\]; expected each name once"):
        SRF.gaussian([450, 550], 20, names=["a", "a"])


def test_any_form_is_taken(tmp_path: Path) -> None:
    path = written(tmp_path, "wavelength_nm,a\n500,0\n510,1\n520,0\n")
    curve = RGB.response.interp(wavelength=np.arange(350.0, 751)).clip(min=0)
    assert SRF.of(RGB) is RGB
    assert SRF.of("ikonos") == SRF.sensor("ikonos")
    assert SRF.of("ikonos:pan") == SRF.sensor("ikonos", bands=["pan"])
    assert SRF.of("s2a:B2,B3,B4").bands == ("B2", "B3", "B4")
    assert SRF.of(str(path)) == SRF.of(path) == SRF.from_csv(path)
    assert SRF.of(curve).bands == ("red", "green", "blue")
    np.testing.assert_allclose(SRF.of(curve).centres, RGB.centres, atol=0.01)
    assert SRF.of([[1, 1], [0, 2]]).curves.tolist() == [[0.5, 0.5], [0, 1]]
    assert SRF.of(np.eye(2)).bands == ("B1", "B2")


@pytest.mark.parametrize("thing", [None, 3, np.ones(4), np.ones((2, 2, 2)), np.array([["a", "b"]])])
def test_what_is_no_response_is_refused(thing: object) -> None:
    with pytest.raises(SpectralError, match=r"the SRF is .* of shape .*expected numbers of shape"):
        SRF.of(thing)


def test_labelled_curves_need_units_and_named_dimensions() -> None:
    curves = RGB.response
    with pytest.raises(SpectralError, match=r"wavelength has no units; expected nm, um or m"):
        SRF.of(curves.assign_coords(wavelength=curves.wavelength.values))
    with pytest.raises(SpectralError, match=r"\('band', 'wavelength'\); expected \('msi_band', "):
        SRF.of(curves.rename(msi_band="band"))
    in_um = curves.wavelength.assign_attrs(units="um") / 1000
    in_um.attrs["units"] = "um"
    np.testing.assert_allclose(SRF.of(curves.assign_coords(wavelength=in_um)).centres, RGB.centres)


def test_samples_that_are_missing_are_no_response() -> None:
    curve = xr.DataArray(
        [[np.nan, 1, np.nan, 1, np.nan]],
        dims=("msi_band", "wavelength"),
        coords={"wavelength": ("wavelength", [400.0, 500, 510, 520, 600], {"units": "nm"})},
    )
    assert SRF.of(curve).edges.tolist() == [[500, 520]]


def test_an_srf_is_a_value() -> None:
    again = SRF.gaussian([650, 550, 450], [60, 60, 60], names=["red", "green", "blue"])
    assert again == RGB
    assert hash(again) == hash(RGB)
    assert tokenize(again) == tokenize(RGB)
    assert pickle.loads(pickle.dumps(again)) == RGB
    assert RGB.select("red", "blue") != RGB
    assert len(RGB.digest) == 64
    with pytest.raises(ValueError, match="read-only"):
        RGB.curves[0, 0] = 1


def test_an_srf_prints_as_a_table_and_plots() -> None:
    assert repr(SRF.sensor("ikonos")).splitlines()[:3] == [
        "SRF 'ikonos': 4 bands, 445-853 nm",
        "band    centre     fwhm    range",
        "blue     480.5     71.0    445.0-516.0",
    ]
    assert repr(SRF.of(np.eye(3))) == "SRF 'matrix': 3 x 3 matrix: B1, B2, B3"
    response = RGB.response
    assert response.dims == ("msi_band", "wavelength")
    assert response.wavelength.attrs["units"] == "nm"
    assert response.max("wavelength").values == pytest.approx([1, 1, 1])


# Read


def test_wide_and_long_tables_say_the_same(tmp_path: Path) -> None:
    wide = written(
        tmp_path,
        "\ufeff# measured in 2020\nWavelength (um), red ,blue\n0.46,,2\n0.45,,0\n0.60,0,\n"
        "0.62,0.5,\n\n0.64,0,\n0.47,,0\n",
    )
    long = written(
        tmp_path,
        "response\tBand\twavelength_nm\n0\tred\t640\n0.5\tred\t620\n0\tred\t600\n"
        "0\tblue\t450\n2\tblue\t460\n2\tblue\t460\n0\tblue\t470\n",
        name="long.tsv",
    )
    assert SRF.from_csv(wide).bands == SRF.from_csv(long).bands == ("red", "blue")
    np.testing.assert_allclose(SRF.from_csv(wide).edges, [[610, 630], [455, 465]])
    np.testing.assert_allclose(SRF.from_csv(long).edges, [[610, 630], [455, 465]])


def test_semicolons_with_decimal_commas_and_spaces_are_read(tmp_path: Path) -> None:
    semicolons = written(tmp_path, "wavelength_nm;a\n500,5;0\n510,5;1\n520,5;0\n")
    spaces = written(tmp_path, "wl_nm a\n500.5 0\n510.5 1\n520.5 0\n", name="spaces.txt")
    assert SRF.from_csv(semicolons) == SRF.from_csv(spaces)


def test_small_negatives_are_noise_and_a_peak_off_one_is_scale(tmp_path: Path) -> None:
    dipping = written(tmp_path, "wavelength_nm,a\n500,-0.01\n510,1.024\n520,0\n")
    assert SRF.from_csv(dipping).curves.tolist() == [[0, 1, 0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("wavelength_nm,a\n500,-0.5\n510,1\n520,0\n", r"response of -0.5, -50% of its peak"),
        ("wavelength_nm,a\n500,0\n510,0\n", r"values from 0 to 0; expected finite responses"),
        ("wavelength_nm,a\n500,inf\n510,0\n", r"values from 0 to inf; expected finite"),
        ("wavelength_nm,a\n500,1\n500,2\n510,0\n", r"responses 0.5 and 1 at 500 nm|1 and 2 at"),
        ("wavelength_nm,a\n500,1\n510,\n", r"has 1 samples at \[500.0\] nm; expected two or more"),
        ("wavelength_nm,a\n500,1\n510,high\n", r"'high' in band a; expected numbers, or empty"),
        ("wavelength_nm,a\n500,1\n510,1,1\n", r"3 cells in the row '510,1,1'; expected 2"),
        ("wavelength,a\n500,1\n510,1\n", r"does not say the units.*units='nm'\)"),
        ("wavelength_furlong,a\n5,1\n6,1\n", r"unknown units 'furlong'"),
        ("centre,a\n5,1\n6,1\n", r"none of wavelengths; expected one called 'wavelength_nm'"),
        ("500,1\n510,1\n520,0\n", r"no line of column names.*expected a header"),
        ("", r"no line of column names"),
    ],
)
def test_tables_that_cannot_be_read_say_why(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SpectralError, match=message):
        SRF.from_csv(written(tmp_path, text))


def test_units_are_stated_once(tmp_path: Path) -> None:
    unstated = written(tmp_path, "wavelength,a\n0.50,0\n0.51,1\n0.52,0\n")
    stated = written(tmp_path, "wavelength_nm,a\n500,0\n510,1\n520,0\n", name="stated.csv")
    assert SRF.from_csv(unstated, units="um").centres == pytest.approx(510)
    assert SRF.from_csv(stated, units="nanometers").centres == pytest.approx(510)
    with pytest.raises(SpectralError, match=r"wavelengths in nm but units='um' was given"):
        SRF.from_csv(stated, units="um")


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(SpectralError, match=r"there is no file 'nowhere.csv'"):
        SRF.of("nowhere.csv")


def test_every_published_table_is_read() -> None:
    tables = sorted((shared_data() / "srf").glob("*.csv"))
    assert len(tables) == 29
    for path in tables:
        srf = SRF.from_csv(path)
        assert len(srf.bands) == len(path.read_text().splitlines()[0].split(",")) - 1
        assert srf.curves.min() >= 0
        np.testing.assert_array_equal(srf.curves.max(axis=1), 1)
        cover = bands(np.arange(340.0, 2561, 5))
        matrix = srf.sample(cover)
        np.testing.assert_allclose(matrix.sum("band"), 1, rtol=1e-12)
        np.testing.assert_allclose(matrix @ cover.wavelength, srf.centres, atol=1.0)


# Sampled


def test_a_flat_spectrum_comes_back_flat() -> None:
    hsi = bands(VNIR, fwhm=10)
    for name in ("ikonos", "rgb-camera", "superdove"):
        seen = apply(SRF.sensor(name).sample(hsi), hsi)
        np.testing.assert_allclose(seen, 0.3, rtol=1e-6)


def test_sampling_sees_a_smooth_spectrum_as_the_curve_does() -> None:
    """Against the integral on a fine grid, for a cube of 10 nm bands that sees the same scene."""
    fine = np.arange(380.0, 1020, 0.1)
    reflectance = 0.1 + 0.4 / (1 + np.exp(-(fine - 715) / 20))
    sigma = 10 / 2.3548
    band_response = np.exp(-(((VNIR[:, None] - fine) / sigma) ** 2) / 2)
    measured = band_response @ reflectance / band_response.sum(axis=1)
    srf = SRF.sensor("worldview-2", bands=["red", "rededge", "nir1"])
    exact = srf.response.interp(wavelength=fine, kwargs={"fill_value": 0}).values
    expected = exact @ reflectance / exact.sum(axis=1)
    np.testing.assert_allclose(
        srf.sample(bands(VNIR, fwhm=10)).values @ measured, expected, atol=2e-3
    )


def test_sampling_labels_both_sides() -> None:
    hsi = bands(VNIR, fwhm=10)
    matrix = RGB.sample(hsi)
    assert matrix.dims == ("msi_band", "band")
    assert matrix.dtype == "float64"
    assert matrix.msi_band.values.tolist() == ["red", "green", "blue"]
    np.testing.assert_allclose(matrix.msi_wavelength, [650, 550, 450], atol=1e-3)
    xr.testing.assert_equal(matrix.band, hsi.band)
    np.testing.assert_array_equal(matrix.wavelength, VNIR)
    assert matrix.attrs["srf_digest"] == RGB.digest


def test_far_bands_weigh_exactly_nothing() -> None:
    blue = RGB.sample(bands(VNIR, fwhm=10)).sel(msi_band="blue")
    assert (blue.where(np.abs(blue.wavelength - 450) > 150, drop=True) == 0).all()


def test_a_missing_fwhm_is_the_spacing() -> None:
    np.testing.assert_allclose(RGB.sample(bands(VNIR)), RGB.sample(bands(VNIR, fwhm=10)))


def test_wavelengths_in_other_units_are_converted() -> None:
    metres = bands(VNIR / 1000, fwhm=0.01, units="micrometers")
    np.testing.assert_allclose(RGB.sample(metres), RGB.sample(bands(VNIR, fwhm=10)), atol=1e-12)


def test_a_cube_without_wavelengths_or_units_is_refused() -> None:
    with pytest.raises(SpectralError, match=r"hsi has 61 bands without wavelengths; expected"):
        RGB.sample(bands(VNIR).drop_vars("wavelength"))
    with pytest.raises(SpectralError, match=r"wavelength has no units; expected nm, um or m"):
        RGB.sample(bands(VNIR, units=None))
    with pytest.raises(SpectralError, match=r"one wavelength, 450 nm, and no fwhm; expected"):
        RGB.sample(bands(np.array([450.0])))


def test_bands_without_support_are_an_error_that_names_them() -> None:
    with pytest.raises(SpectralError) as raised:
        SRF.sensor("sentinel-2a").sample(bands(VNIR, fwhm=10))
    message = str(raised.value)
    assert "the SRF of 'sentinel-2a' needs 433-2289 nm but hsi covers 395-1005 nm" in message
    assert "bands B10 (0%), B11 (0%), B12 (0%) have no support" in message
    assert "srf = srf.select('B1', 'B2', 'B3'," in message
    assert "msi = msi.isel(band=[0, 1, 2, 3, 4, 5, 6, 7, 8, 9])" in message
    kept = SRF.sensor("sentinel-2a").select(*SRF.sensor("sentinel-2a").bands[:10])
    assert kept.sample(bands(VNIR, fwhm=10)).sizes["msi_band"] == 10


def test_a_cube_that_covers_no_band_is_an_error_without_a_selection() -> None:
    with pytest.raises(SpectralError, match=r"have no support.*Pass an hsi that covers them"):
        RGB.sample(bands(np.arange(1000.0, 1100, 10)))


def test_gaps_count_as_not_covered_and_are_named() -> None:
    gap = VNIR[(VNIR < 610) | (VNIR > 690)]
    with pytest.raises(SpectralError, match=r"covers 395-610, 690-1005 nm; band red \(1?[0-9]%\)"):
        RGB.sample(bands(gap, fwhm=10))
    one_missing = VNIR[VNIR != 650]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RGB.sample(bands(one_missing, fwhm=10))


def test_partial_support_is_warned_about() -> None:
    with pytest.warns(
        UserWarning, match=r"the response of blue \([78][0-9]%\) lies within"
    ) as said:
        matrix = RGB.sample(bands(VNIR[VNIR >= 440], fwhm=10))
    assert "srf.select('red', 'green')" in str(said[0].message)
    assert said[0].filename == __file__
    np.testing.assert_allclose(matrix.sum("band"), 1)


def test_a_matrix_is_used_as_it_is_with_rows_summing_to_one() -> None:
    given_matrix = np.zeros((2, 61))
    given_matrix[0, :30], given_matrix[1, 30:] = 2, 1
    hsi = bands(VNIR)
    matrix = SRF.of(given_matrix).sample(hsi)
    np.testing.assert_allclose(matrix.sum("band"), 1)
    np.testing.assert_allclose(matrix[0, :30], 1 / 30)
    np.testing.assert_allclose(matrix.msi_wavelength, [545, 850])
    again = SRF.of(matrix)
    assert again.bands == ("B1", "B2")
    np.testing.assert_allclose(again.sample(hsi), matrix)
    bare = hsi.drop_vars("wavelength")
    np.testing.assert_allclose(SRF.of(given_matrix).sample(bare), matrix)


def test_a_matrix_for_another_cube_is_refused() -> None:
    matrix = SRF.of(RGB.sample(bands(VNIR)))
    with pytest.raises(
        SpectralError, match=r"has 61 columns but hsi has 60 bands; expected one co"
    ):
        matrix.sample(bands(VNIR[1:]))
    with pytest.raises(SpectralError, match=r"at 400.0 nm but band 0 of hsi at 405.0 nm; expected"):
        matrix.sample(bands(VNIR + 5))
    with pytest.raises(SpectralError, match=r"band B2 of the SRF 'matrix' has values from 0 to 0"):
        SRF.of(np.array([[1.0, 1], [0, 0]]))


@pytest.mark.filterwarnings("ignore:.*only part of the response")
@given(
    jitter=st.lists(st.floats(-4, 4), min_size=60, max_size=60),
    fwhm=st.one_of(st.none(), st.floats(6, 20)),
    seed=st.integers(0, 9),
    scale=st.floats(1e-3, 1e3),
)
def test_whatever_the_bands_rows_sum_to_one_and_order_and_scale_do_not_matter(
    jitter: list[float], fwhm: float | None, seed: int, scale: float
) -> None:
    wavelength = np.linspace(380, 720, 60) + np.array(jitter)
    hsi = bands(wavelength, fwhm=fwhm)
    shuffled = np.random.default_rng(seed).permutation(60)
    matrix = RGB.sample(hsi)
    assert np.isfinite(matrix).all()
    assert (matrix >= 0).all()
    np.testing.assert_allclose(matrix.sum("band"), 1, rtol=1e-12)
    np.testing.assert_allclose(matrix.values @ np.full(60, 0.3), 0.3, rtol=1e-12)
    np.testing.assert_allclose(
        RGB.sample(hsi.isel(band=shuffled)), matrix.isel(band=shuffled), atol=1e-12
    )
    louder = SRF.of(RGB.response * scale)
    np.testing.assert_allclose(louder.sample(hsi), matrix, atol=1e-9)


@pytest.mark.parametrize("cube_of", ["enmap", "prisma", "emit", "aviris_2010", "hyperion"])
def test_real_spectrometers_keep_the_centres_of_the_bands(cube_of: str) -> None:
    """Some are out of order where their detectors overlap, some have no widths."""
    table = shared_data() / "srf" / "other" / f"hsi_bands_{cube_of}.csv"
    listed = np.genfromtxt(table, delimiter=",", skip_header=1, ndmin=2)
    listed = listed.reshape(len(table.read_text().splitlines()) - 1, -1)
    hsi = bands(listed[:, 0])
    if listed.shape[1] == 2:
        hsi = hsi.assign_coords(fwhm=("band", listed[:, 1], {"units": "nm"}))
    srf = SRF.sensor("sentinel-2a")
    matrix = srf.sample(hsi)
    np.testing.assert_allclose(matrix.sum("band"), 1)
    np.testing.assert_allclose(matrix @ hsi.wavelength, srf.centres, atol=1.5)


# Applied


def test_apply_is_lazy_float32_and_named_after_the_msi() -> None:
    hsi = cube().chunk(band=5, y=5, x=7)
    seen = apply(RGB.sample(hsi), hsi)
    assert isinstance(seen.data, da.Array)
    assert seen.dtype == "float32"
    assert seen.data._meta.dtype == "float32"
    assert seen.dims == ("band", "y", "x")
    assert seen.data.chunks == ((3,), *hsi.data.chunks[1:])
    assert seen.band.values.tolist() == ["red", "green", "blue"]
    np.testing.assert_allclose(seen.wavelength, [650, 550, 450], atol=1e-3)
    assert seen.wavelength.attrs["units"] == "nm"
    assert apply(RGB.sample(hsi), hsi).data.name == seen.data.name
    expected = np.einsum("mb,byx->myx", RGB.sample(hsi).values, hsi.values)
    np.testing.assert_allclose(seen, expected, rtol=1e-6)


def test_apply_gives_the_same_bytes_for_any_chunks() -> None:
    hsi = cube(23, 19)
    matrix = RGB.sample(hsi)
    whole = apply(matrix, hsi)
    for y, x in ((1, 19), (5, 7), (23, 1)):
        pieces = apply(matrix, hsi.chunk(band=4, y=y, x=x)).compute()
        assert pieces.values.tobytes() == whole.values.tobytes()


def test_only_bands_that_count_make_a_pixel_nodata() -> None:
    hsi = bands(VNIR, fwhm=10)
    hsi[-1, 0, 0] = np.nan  # 1000 nm, which RGB does not see
    hsi[1, 0, 1] = np.nan  # 410 nm, which blue sees
    seen = apply(RGB.sample(hsi), hsi)
    missing = np.argwhere(np.isnan(seen.values)).tolist()
    assert missing == [[2, 0, 1]]


def test_apply_keeps_time_and_the_grid() -> None:
    hsi = cube().expand_dims(time=[1, 2]).assign_coords(spatial_ref=0)
    seen = apply(RGB.sample(hsi), hsi)
    assert seen.dims == ("time", "band", "y", "x")
    assert "spatial_ref" in seen.coords
    xr.testing.assert_equal(seen.x, hsi.x)


def test_apply_refuses_a_matrix_for_other_bands() -> None:
    with pytest.raises(
        SpectralError, match=r"61 columns but hsi has 13 bands; expected one column"
    ):
        apply(RGB.sample(bands(VNIR)), cube())


# Matched


def test_bands_are_matched_by_name_else_by_position() -> None:
    ikonos = SRF.sensor("ikonos")
    assert match_bands(ikonos, mosaic(4)) is ikonos
    named = mosaic(4, band=["NIR", "Red", "Green", "Blue"])
    assert match_bands(ikonos, named).bands == ("nir", "red", "green", "blue")
    foreign = mosaic(4, band=["b", "g", "r", "n"])
    assert match_bands(ikonos, foreign) is ikonos


def test_another_number_of_bands_is_an_error_with_a_selection() -> None:
    with pytest.raises(SpectralError) as raised:
        match_bands(SRF.sensor("ikonos", bands=["pan", "blue", "green", "red"]), mosaic(3))
    message = str(raised.value)
    assert "msi has 3 bands but the SRF 'ikonos' has 4: pan, blue, green, red" in message
    assert "srf = srf.select('blue', 'green', 'red')" in message
    with pytest.raises(SpectralError, match=r"Use msi = msi.isel\(band=\[0, 1, 2\]\)"):
        match_bands(RGB, mosaic(4))


def test_wavelengths_in_another_order_are_an_error_with_the_right_order() -> None:
    wavelength = ("band", [450.0, 550, 650], {"units": "nm"})
    with pytest.raises(SpectralError, match=r"srf = srf.select\('blue', 'green', 'red'\)") as said:
        match_bands(RGB, mosaic(3, wavelength=wavelength))
    assert "lie at 450, 550, 650 but those of the SRF 'gaussian' at 650, 550, 450 nm" in str(
        said.value
    )
    assert match_bands(RGB.select("blue", "green", "red"), mosaic(3, wavelength=wavelength))


@pytest.mark.filterwarnings("ignore:.*only part of the response of MS-7")
def test_a_real_pair_correlates_through_its_measured_response() -> None:
    hsi, msi = shared_scenes().load_pair("paris_hyperion_ali_ms")[:2]
    measured = SRF.from_csv(shared_data() / "srf" / "eo1_ali.csv")
    srf = match_bands(measured.select(*measured.bands[1:]), msi)
    published = match_bands(SRF.sensor("eo1-ali"), msi)
    assert srf.bands == published.bands == tuple(msi.band.values)
    for each in (srf, published):
        seen = apply(each.sample(hsi), hsi)
        for band in msi.band.values:
            one, two = (side.sel(band=band).values.ravel() for side in (seen, msi))
            good = np.isfinite(one) & np.isfinite(two)
            assert np.corrcoef(one[good], two[good])[0, 1] > 0.78, band
