from __future__ import annotations

import json
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import scipy.signal
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import published
from lift_xr import psf
from lift_xr.degrade import add_noise, decimate, degrade, normalise
from lift_xr.errors import GridError, SpectralError
from lift_xr.grid import Grid, compare
from lift_xr.scene import expect_scene
from lift_xr.srf import SRF
from tests.held import Held, Stored
from tests.scenes import cube, located, on_grid

MATRIX = np.array([[1.0, 0, 0, 0], [0, 0.5, 0.25, 0.25]])


def with_hole(scene: xr.DataArray) -> xr.DataArray:
    return scene.where(~((scene.y < -9) & (scene.y > -13) & (scene.x < 3)))


def everything(scene: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    return degrade(scene, ratio=4, srf=MATRIX, sigma=1.5, hsi_snr=30, msi_snr=40, seed=7)


edges = st.lists(st.integers(1, 23), max_size=6, unique=True).map(
    lambda cuts: tuple(np.diff([0, *sorted(cuts), 24]).tolist())
)


@settings(deadline=None, max_examples=15)
@given(rows=edges, columns=edges, bands=st.sampled_from([(4,), (1, 3), (2, 1, 1)]))
def test_pixels_do_not_depend_on_the_chunking(
    rows: tuple[int, ...], columns: tuple[int, ...], bands: tuple[int, ...]
) -> None:
    scene = with_hole(located())
    for found, whole in zip(
        everything(scene.chunk(band=bands, y=rows, x=columns)), everything(scene), strict=True
    ):
        np.testing.assert_array_equal(found.values, whole.values)


def test_nothing_is_computed_while_building() -> None:
    def fail(block: np.ndarray) -> np.ndarray:
        raise AssertionError("a block was computed")

    scene = located().chunk(y=10)
    scene = scene.copy(data=scene.data.map_blocks(fail, dtype="float32", meta=scene.data._meta))
    for made in (*everything(scene), normalise(scene)):
        assert isinstance(made.data, da.Array)
        assert made.dtype == made.data.dtype == "float32"


def test_names_are_the_same_twice() -> None:
    first, second = (everything(located().chunk(y=10)) for _ in range(2))
    assert [made.data.name for made in first] == [made.data.name for made in second]


def test_declared_chunks_are_true() -> None:
    for made in everything(located().chunk(y=7, x=9)):
        da.utils.assert_eq(made.data, made.values)


def test_the_pair_lies_where_the_truth_does() -> None:
    truth = located(26, 25, spacing=2.0)
    hsi, msi = degrade(truth, ratio=4, srf=MATRIX)
    assert hsi.shape == (4, 6, 6)
    assert msi.shape == (2, 24, 24)
    match = compare(hsi, msi)
    assert (match.ratio, match.same_origin, match.aligned) == (4, True, True)
    np.testing.assert_array_equal(hsi.y[:2], [-4, -12])
    np.testing.assert_array_equal(msi.y, truth.y[:24])
    np.testing.assert_array_equal(hsi.band, truth.band)


def test_crs_and_transform_follow_the_pixel_size() -> None:
    truth = located(spacing=10.0).rio.write_crs(32633)
    truth.spatial_ref.attrs["GeoTransform"] = "0.0 10.0 0.0 0.0 0.0 -10.0"
    hsi, msi = degrade(truth, ratio=3, srf=MATRIX)
    assert hsi.rio.crs == msi.rio.crs == truth.rio.crs
    assert Grid.of(hsi).bounds == Grid.of(msi).bounds == Grid.of(truth).bounds
    assert hsi.spatial_ref.attrs["GeoTransform"] == "0.0 30.0 0.0 0.0 0.0 -30.0"
    assert truth.spatial_ref.attrs["GeoTransform"] == "0.0 10.0 0.0 0.0 0.0 -10.0"


def test_scenes_without_coordinates_make_a_located_pair() -> None:
    hsi, msi = degrade(located().drop_vars(["y", "x"]), ratio=4, srf=MATRIX)
    assert compare(hsi, msi).overlap == 1
    assert Grid.of(hsi).located


def test_wavelengths_and_a_sensor_name_go_through() -> None:
    truth = cube(16, 16)
    hsi, msi = degrade(truth, ratio=4, srf="ikonos")
    xr.testing.assert_identical(hsi.wavelength.drop_attrs(), truth.wavelength.drop_attrs())
    assert list(msi.band.values) == list(SRF.sensor("ikonos").bands)
    assert (np.diff(msi.wavelength) > 0).all()
    same = degrade(truth, ratio=4, srf=SRF.sensor("ikonos").sample(truth))[1]
    np.testing.assert_allclose(msi.values, same.values, rtol=1e-6)


def test_the_recipe_is_told() -> None:
    for made in degrade(located(), ratio=4, srf=MATRIX, hsi_snr=30, seed=5):
        told = json.loads(made.attrs["degradation"])
        assert told["ratio"] == 4
        assert told["psf"] == "gaussian"
        assert told["sigma"] == pytest.approx(4 / 2.3548, rel=1e-4)
        assert (told["hsi_snr"], told["msi_snr"], told["seed"]) == (30, None, 5)
        assert told["srf_bands"] == ["B1", "B2"]
        assert len(told["srf_digest"]) == 64


def test_attributes_survive() -> None:
    truth = located().assign_attrs(units="1", site="here")
    for made in degrade(truth, ratio=4, srf=MATRIX):
        assert (made.attrs["units"], made.attrs["site"]) == ("1", "here")


@pytest.mark.parametrize("name", psf.names())
def test_a_flat_scene_stays_flat(name: str) -> None:
    truth = on_grid(np.full((4, 24, 24), 0.3, "float32"))
    hsi, msi = degrade(truth, ratio=4, srf=MATRIX, psf=name, sigma=3.4, half_width=7)
    np.testing.assert_allclose(hsi, 0.3, rtol=1e-5)
    np.testing.assert_allclose(msi, 0.3, rtol=1e-5)


@pytest.mark.parametrize("name", ["gaussian", "airy", "sinc", "delta"])
@pytest.mark.parametrize("ratio", [4, 8])
def test_the_published_way_is_a_case_of_ours(name: str, ratio: int) -> None:
    truth = located(32, 40)
    hsi, _ = degrade(truth, ratio=ratio, srf=MATRIX, psf=name, published=True, boundary="zero")
    kernel = psf.kernel(name, published=True)
    expected = published.block_means(published.blurred(truth.values, kernel), ratio)
    np.testing.assert_allclose(hsi, expected, atol=2e-6)


def test_a_width_that_is_given_is_used_for_the_published_kernels_too() -> None:
    asked = {"ratio": 4, "srf": MATRIX, "psf": "airy", "published": True}
    for chosen in ({}, {"sigma": 2.0}, {"half_width": 4}, {"sigma": 2.0, "half_width": 4}):
        told = json.loads(degrade(located(), **asked, **chosen)[0].attrs["degradation"])
        expected = {"sigma": 3.4, "half_width": 7, "published": True} | chosen
        assert {name: told[name] for name in expected} == expected


@pytest.mark.parametrize("width", [{"sigma": 2.0}, {"half_width": 1}, {"published": True}])
def test_a_kernel_of_ones_own_says_its_width_itself(width: dict[str, Any]) -> None:
    with pytest.raises(GridError, match=rf"{next(iter(width))} given with psf as an array"):
        degrade(located(), ratio=2, srf=MATRIX, psf=np.ones((1, 1)), **width)


def test_a_kernel_that_no_pair_of_images_has_is_refused_before_it_is_made() -> None:
    with pytest.raises(GridError, match=r"half_width is 15000 pixels; expected .* 0 to 1024"):
        degrade(located(), ratio=2, srf=MATRIX, sigma=5000.0)


def test_a_kernel_of_ones_own_is_used_as_it_is() -> None:
    kernel = np.array([[0, 0.5, 0], [0, 0.25, 0.25], [0, 0, 0]])
    truth = located()
    hsi, _ = degrade(truth, ratio=2, srf=MATRIX, psf=kernel, boundary="zero")
    blurred = np.stack([scipy.signal.convolve2d(band, kernel, mode="same") for band in truth])
    np.testing.assert_allclose(hsi, published.block_means(blurred, 2), rtol=1e-5, atol=1e-6)
    assert json.loads(hsi.attrs["degradation"])["psf"] == kernel.tolist()


def test_missing_pixels_leave_missing_blocks_and_no_others() -> None:
    scene = with_hole(located())
    hsi, msi = degrade(scene, ratio=4, srf=MATRIX)
    np.testing.assert_array_equal(np.isnan(msi.values).any(0), np.isnan(scene.values).any(0))
    blocks = np.isnan(scene.values).reshape(4, 6, 4, 6, 4).any(axis=(2, 4))
    np.testing.assert_array_equal(np.isnan(hsi.values), blocks)
    assert 0 < blocks.sum() < blocks.size


def test_noise_has_the_asked_for_strength() -> None:
    scene = on_grid(
        np.stack([np.full((200, 200), level, "float32") for level in (0.1, 0.8)])
    ).chunk(y=37)
    noise = (add_noise(scene, snr=20, seed=1) - scene).values
    np.testing.assert_allclose(noise.std(axis=(1, 2)), [0.01, 0.08], rtol=0.02)
    np.testing.assert_allclose(noise.mean(axis=(1, 2)), 0, atol=0.001)
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.02


def test_seeds_and_sensors_have_noise_of_their_own() -> None:
    scene = located()
    noisy = [
        add_noise(scene, snr=20, seed=seed, stream=stream).values
        for seed, stream in ((0, 0), (1, 0), (0, 1))
    ]
    assert (noisy[0] != noisy[1]).mean() > 0.9
    assert (noisy[0] != noisy[2]).mean() > 0.9


def test_noise_over_time_differs_from_time_to_time() -> None:
    scene = xr.concat([located(), located()], "time")
    noise = add_noise(scene, snr=20) - scene
    assert (noise[0] != noise[1]).mean() > 0.9
    np.testing.assert_array_equal(noise[0].values, (add_noise(located(), snr=20) - located()))


@pytest.mark.parametrize("made", [False, True])
def test_noise_keeps_few_blocks_in_memory(made: bool) -> None:
    whole, snr = located(64, 64), {"hsi_snr": 30.0, "msi_snr": 40.0}
    stored = da.from_array(Stored(whole.values), chunks=(4, 8, 8), lock=False)
    scene = whole.copy(data=stored.map_blocks(np.positive) if made else stored)
    pair = degrade(scene, ratio=4, srf=MATRIX, psf=[[1.0]], **snr)
    with Held(4 * 2 * 2 * 4) as held:  # blocks of the HSI, and all that are larger
        sums = dask.compute(*(each.sum(["y", "x"]) for each in pair), scheduler="synchronous")
    assert held.most <= 4 < 0.1 * stored.npartitions
    expected = degrade(whole, ratio=4, srf=MATRIX, psf=[[1.0]], **snr)
    for found, each in zip(sums, expected, strict=True):
        np.testing.assert_allclose(found, each.sum(["y", "x"]), rtol=1e-5)


def test_normalise_is_between_exact_percentiles() -> None:
    scene = with_hole(located(40, 40))
    values = scene.values[np.isfinite(scene.values)].astype("float64")
    low, high = np.percentile(values, [2, 90])
    expected = np.clip((scene.values - low) / (high - low), 0, 1)
    found = normalise(scene.chunk(y=7, x=9), percentiles=(2, 90))
    np.testing.assert_allclose(found.values, expected, atol=1e-6)


def test_decimate_is_the_mean_of_blocks() -> None:
    scene = located(8, 12).chunk(y=3, x=5)
    expected = scene.coarsen(y=4, x=4).mean()
    xr.testing.assert_allclose(decimate(scene, ratio=4), expect_scene(expected))


def test_bad_requests_are_refused() -> None:
    truth = located()
    with pytest.raises(GridError, match=r"ratio is 0 MSI pixels .* whole number.* ratio=8"):
        degrade(truth, ratio=0, srf=MATRIX)
    with pytest.raises(GridError, match=r"ratio is 4\.0 MSI pixels .* whole number.* ratio=4$"):
        degrade(truth, ratio=4.0, srf=MATRIX)  # type: ignore[arg-type]
    with pytest.raises(
        GridError, match=r"24 x 24 pixels \(y, x\); expected at least 32 x 32.*larg"
    ):
        degrade(truth, ratio=32, srf=MATRIX)
    with pytest.raises(GridError, match=r"psf 'box' is unknown; expected one of gaussian"):
        degrade(truth, ratio=4, srf=MATRIX, psf="box")
    with pytest.raises(GridError, match=r"psf has shape \(2, 3\); expected .* odd sides"):
        degrade(truth, ratio=4, srf=MATRIX, psf=np.full((2, 3), 1 / 6))
    with pytest.raises(GridError, match=r"psf sums to 9; expected 1.* psf = psf / psf\.sum\(\)"):
        degrade(truth, ratio=4, srf=MATRIX, psf=np.ones((3, 3)))
    with pytest.raises(GridError, match="boundary is 'wrap'; expected 'renormalise' or 'zero'"):
        degrade(truth, ratio=4, srf=MATRIX, boundary="wrap")  # type: ignore[arg-type]
    with pytest.raises(SpectralError, match="percentiles are 99 and 1; expected 0 <= low < high"):
        normalise(truth, percentiles=(99, 1))
    with pytest.raises(SpectralError, match="4 bands without wavelengths"):
        degrade(truth, ratio=4, srf="ikonos")
    with pytest.raises(SpectralError, match="2 columns but hsi has 4 bands"):
        degrade(truth, ratio=4, srf=np.ones((1, 2)))
    with pytest.raises(SpectralError, match="snr is nan dB; expected a finite number"):
        add_noise(truth, snr=np.nan)
