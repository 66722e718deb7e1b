"""Pictures show what they are given, thinned out, and leave pyplot alone."""

from __future__ import annotations

import subprocess
import sys

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from lift_xr import plot
from lift_xr.errors import LayoutError, SpectralError
from lift_xr.plot import pixels
from lift_xr.unmix import as_scene
from tests.scenes import WAVELENGTH, cube, located


def red_green_blue(height: int = 8, width: int = 8) -> xr.DataArray:
    """An MSI without wavelengths."""
    return located(height, width, 3)


def test_false_colour_finds_bands_by_wavelength() -> None:
    scene = cube().isel(band=slice(None, None, -1))
    assert WAVELENGTH[::-1][pixels.pick_bands(scene, "nir")].tolist() == [850, 650, 550]
    assert WAVELENGTH[::-1][pixels.pick_bands(scene, None)].tolist() == [650, 550, 450]


def test_false_colour_takes_the_first_three_bands_without_wavelengths() -> None:
    assert pixels.pick_bands(located(bands=5), None) == [0, 1, 2]
    assert pixels.pick_bands(located(bands=4).isel(band=[3]), None) == [0, 0, 0]


def test_false_colour_stretches_to_the_whole_range_and_shows_nodata_white() -> None:
    scene = red_green_blue()
    scene[:, 2, 3] = np.nan
    picture = plot.false_colour(scene)
    assert picture.shape == (8, 8, 3)
    assert picture.dtype == np.float32
    assert (picture[2, 3] == 1).all()
    assert picture.min() == 0


def test_false_colour_puts_north_up() -> None:
    south_up = red_green_blue().isel(y=slice(None, None, -1))
    np.testing.assert_array_equal(plot.false_colour(south_up), plot.false_colour(red_green_blue()))


def test_two_scenes_share_one_stretch() -> None:
    bright = red_green_blue()
    limits = plot.stretch(bright)
    assert plot.false_colour(bright / 2, limits=limits).mean() < plot.false_colour(bright).mean()


def test_only_the_pixels_shown_are_read() -> None:
    read = []

    class Counting:
        shape, dtype, ndim = (3, 4000, 4000), np.dtype("float32"), 3

        def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
            values = np.zeros(
                [len(range(*s.indices(n))) for s, n in zip(index, self.shape, strict=True)]
            )
            read.append(values.size)
            return values.astype("float32")

    data = da.from_array(Counting(), chunks=(3, 1000, 1000), meta=np.empty((0, 0, 0), "float32"))
    scene = red_green_blue(4000, 4000).copy(data=data)
    assert max(plot.false_colour(scene, max_size=500).shape) <= 500
    assert sum(read) <= 3 * 500 * 500


def test_a_scene_that_stops_short_of_the_near_infrared_is_refused() -> None:
    with pytest.raises(SpectralError, match=r"covers 400-700 nm.*860 nm.*bands=\(0, 1, 2\)"):
        plot.false_colour(cube().isel(band=slice(0, 7)), bands="nir")


def test_a_scene_without_wavelengths_has_no_near_infrared() -> None:
    with pytest.raises(SpectralError, match=r"no wavelengths.*Use bands=\(0, 1, 2\)"):
        plot.false_colour(red_green_blue(), bands="nir")


def test_an_unknown_choice_of_bands_is_refused() -> None:
    with pytest.raises(SpectralError, match="bands is 'swir'; expected 'rgb', 'nir'"):
        plot.false_colour(cube(), bands="swir")


def test_a_series_in_time_is_refused() -> None:
    series = red_green_blue().expand_dims(time=2)
    with pytest.raises(LayoutError, match=r"2 times.*isel\(time=0\)"):
        plot.false_colour(series)


def test_spectra_has_a_panel_a_place_and_a_line_a_scene() -> None:
    fine, coarse = cube(12, 12), cube(3, 3, spacing=4.0)
    figure = plot.spectra({"fine": fine, "coarse": coarse}, at=[(2.5, -2.5), (8.5, -8.5)])
    lines = figure.axes[0].get_lines()
    np.testing.assert_allclose(lines[0].get_ydata(), fine.isel(x=2, y=2))
    np.testing.assert_allclose(lines[1].get_ydata(), coarse.isel(x=0, y=0))
    assert len(figure.axes) == 2


def test_the_spectra_are_all_inside_their_panels() -> None:
    scene = cube()
    scene[:, 0, 0] = 5.0
    figure = plot.spectra({"one": scene}, at=[(3.5, -3.5), (0.5, -0.5)])
    assert figure.axes[0].get_ylim()[1] > 5


@pytest.mark.parametrize(("metric", "worst"), [("rmse", 0.1), ("sam", 0.0)])
def test_error_map_shows_each_pixel(metric: str, worst: float) -> None:
    truth = cube()
    off = truth + 0.1 if metric == "rmse" else truth * 2
    image = plot.error_map(off, truth, metric=metric).axes[0].get_images()[0]  # type: ignore[arg-type]
    np.testing.assert_allclose(image.get_array(), worst, atol=1e-5)


def test_srf_draws_a_curve_a_band() -> None:
    figure = plot.srf("ikonos", hsi=cube())
    names = [text.get_text() for text in figure.axes[0].texts]
    assert names == ["blue", "green", "red", "nir"]


def test_no_line_crosses_missing_bands() -> None:
    scene = cube().isel(band=[12, 0, 1, 2, 8, 9, 10, 11])
    line = plot.spectra({"one": scene}, at=[(0.5, -0.5)]).axes[0].get_lines()[0]
    drawn = np.asarray(line.get_xdata())
    assert np.isnan(drawn).nonzero()[0].tolist() == [3]
    assert np.nanmin(np.diff(drawn)) > 0


def test_srf_needs_wavelengths_to_draw() -> None:
    with pytest.raises(SpectralError, match="matrix without wavelengths; expected curves"):
        plot.srf(np.eye(3))


@pytest.mark.parametrize("with_truth", [True, False])
def test_comparison_draws_with_and_without_the_truth(with_truth: bool) -> None:
    fused = cube(40, 40)
    hsi = fused.coarsen(y=4, x=4).mean()
    msi = located(40, 40, 3)
    figure = plot.comparison(
        hsi, msi, fused, reference=fused if with_truth else None, others={"twice": 2 * fused}
    )
    assert sum(bool(ax.get_images()) for ax in figure.axes) == (4 if with_truth else 3)
    figure.canvas.draw()


def test_comparison_places_a_cube_without_coordinates_over_the_mosaic() -> None:
    fused = cube(40, 40).drop_vars(("y", "x"))
    hsi = fused.coarsen(y=4, x=4).mean()
    figure = plot.comparison(hsi, located(40, 40, 3).drop_vars(("y", "x")), fused)
    extents = [image.get_extent() for ax in figure.axes for image in ax.get_images()]
    assert len(set(map(tuple, extents))) == 1


def test_places_are_inside_the_scene_and_differ() -> None:
    scene = cube(60, 60)
    found = plot.places(scene)
    assert len(set(found)) == 3
    assert all(6 <= x <= 54 and -54 <= y <= -6 for x, y in found)


def test_a_cube_that_reaches_neither_blue_nor_infrared_is_shown_by_its_ends() -> None:
    scene = cube().isel(band=slice(4, 8))
    assert pixels.widest(scene) == (3, 1, 0)
    assert pixels.pick_bands(scene, None) == [3, 1, 0]


def test_a_scene_without_data_has_places_all_the_same() -> None:
    scene = cube(30, 30) * np.nan
    assert set(plot.places(scene)) == {(15.0, -15.0)}


def test_nothing_but_plot_imports_matplotlib() -> None:
    check = "import lift_xr.fuse, lift_xr.io, lift_xr.cli, sys; print('matplotlib' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "False"


def maps(height: int = 6, width: int = 9) -> xr.Dataset:
    """Three endmembers on a slope of abundances, one pixel without data."""
    shares = np.linspace(-0.2, 1.1, 3 * height * width, dtype="float32").reshape(3, height, width)
    shares[:, 1, 2] = np.nan
    spectra = np.tile(np.linspace(0.1, 0.4, len(WAVELENGTH), dtype="float32"), (3, 1))
    return xr.Dataset(
        {
            "abundances": (("endmember", "y", "x"), shares),
            "endmembers": (("endmember", "band"), spectra, {"units": "1"}),
        },
        {
            "endmember": [1, 2, 3],
            "wavelength": ("band", WAVELENGTH),
            "y": range(height),
            "x": range(width),
        },
    )


def test_abundances_have_a_titled_map_each_a_scale_and_their_spectra() -> None:
    figure = plot.abundances(maps(), columns=2)
    drawn = [ax for ax in figure.axes if ax.images]
    assert [ax.get_title(loc="left") for ax in drawn] == [f"endmember {n}" for n in (1, 2, 3)]
    assert len({ax.images[0].get_clim() for ax in drawn}) == 1  # one scale for all
    assert "abundance" in [ax.get_ylabel() for ax in figure.axes]
    (spectra,) = (ax for ax in figure.axes if len(ax.lines) == 3)
    assert spectra.get_xlabel() == "wavelength (nm)"
    assert spectra.get_ylabel() == "reflectance"


def test_abundances_of_a_store_are_drawn_as_those_that_were_written() -> None:
    scene = as_scene(maps().assign_coords(band=range(len(WAVELENGTH))))
    assert isinstance(scene, xr.DataArray)
    figure = plot.abundances(scene)
    assert sum(bool(ax.images) for ax in figure.axes) == 3


def test_abundances_below_zero_are_all_dark() -> None:
    negative = maps().assign(abundances=maps()["abundances"] - 2)
    drawn = next(ax for ax in plot.abundances(negative).axes if ax.images)
    assert drawn.images[0].get_clim() == (0, 1)


def test_abundances_without_data_are_left_blank() -> None:
    figure = plot.abundances(maps())
    picture = next(ax.images[0] for ax in figure.axes if ax.images).get_array()
    hidden = np.ma.getmaskarray(np.ma.masked_invalid(picture))
    assert hidden.sum() == 1
    nothing = maps().where(False)
    assert len(plot.abundances(nothing.assign(endmembers=maps()["endmembers"])).axes) == 5


def test_abundances_takes_maps_of_one_time_and_nothing_else() -> None:
    with pytest.raises(LayoutError, match=r"plot\.abundances\(lift_xr\.unmix\(model, msi\)\)"):
        plot.abundances(cube().to_dataset(name="reflectance"))
    series = maps().assign(abundances=maps()["abundances"].expand_dims(time=2))
    with pytest.raises(LayoutError, match=r"maps have 2 times.*isel\(time=0\)"):
        plot.abundances(series)
