"""Each metric has three witnesses: a case worked by hand, another's code, and an identity."""

from __future__ import annotations

from collections.abc import Callable

import dask.array as da
import numpy as np
import pytest
import sewar.full_ref
import xarray as xr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from lift_xr.errors import GridError, LayoutError, SpectralError
from lift_xr.metrics import ergas, psnr, rmse, sam, score, ssim, uiqi
from tests.held import Held, Stored
from tests.scenes import cube, located

Metric = Callable[..., xr.DataArray]
BOTH = [
    pytest.param(rmse, {}, id="rmse"),
    pytest.param(psnr, {}, id="psnr"),
    pytest.param(psnr, {"data_range": 1.0}, id="psnr of 1"),
    pytest.param(ssim, {}, id="ssim"),
    pytest.param(ssim, {"data_range": 1.0}, id="ssim of 1"),
    pytest.param(uiqi, {}, id="uiqi"),
    pytest.param(ergas, {"ratio": 4}, id="ergas"),
    pytest.param(sam, {}, id="sam"),
]


def bands(*values: list[list[float]]) -> xr.DataArray:
    return xr.DataArray(np.array(values, "float32"), dims=("band", "y", "x"))


def pair(height: int = 40, width: int = 37, count: int = 5) -> tuple[xr.DataArray, xr.DataArray]:
    """An estimate with errors of many kinds, and its reference."""
    reference = located(height, width, count) * 0.8 + 0.1
    noise = np.random.default_rng(0).normal(scale=0.03, size=reference.shape)
    estimate = (reference * 1.05 + noise).clip(0, 1).astype("float32")
    return estimate, reference.astype("float32")


def channels_last(scene: xr.DataArray) -> np.ndarray:
    return np.ascontiguousarray(scene.transpose("y", "x", "band").values)


# Root-mean-square error


def test_rmse_by_hand() -> None:
    found = rmse(bands([[1, 2]], [[0, 0]]), bands([[1, 5]], [[3, 4]]))
    np.testing.assert_allclose(found, [3 / np.sqrt(2), 5 / np.sqrt(2)])
    whole = rmse(bands([[1, 2]], [[0, 0]]), bands([[1, 5]], [[3, 4]]), dim=("band", "y", "x"))
    assert float(whole) == pytest.approx(np.sqrt(34 / 4))


def test_rmse_agrees_with_sewar() -> None:
    estimate, reference = pair()
    expected = sewar.full_ref.rmse(channels_last(reference), channels_last(estimate))
    assert float(rmse(estimate, reference, dim=...)) == pytest.approx(expected, rel=1e-6)


def test_rmse_of_an_offset_is_the_offset() -> None:
    _, reference = pair()
    np.testing.assert_allclose(rmse(reference + 0.25, reference), 0.25, rtol=1e-6)
    np.testing.assert_array_equal(rmse(reference, reference), 0)


# Peak signal-to-noise ratio


def test_psnr_by_hand() -> None:
    found = psnr(bands([[0.9, 0.5]], [[0.1, 0.2]]), bands([[1, 0.5]], [[0.1, 0.1]]))
    # errors of 0.1 / sqrt(2) under peaks of 1 and 0.1
    np.testing.assert_allclose(found, [20 + 10 * np.log10(2), 10 * np.log10(2)], rtol=1e-5)


def test_psnr_agrees_with_scikit_image() -> None:
    estimate, reference = pair()
    for band, value in enumerate(psnr(estimate, reference, data_range=1.0).values):
        expected = peak_signal_noise_ratio(
            reference.values[band], estimate.values[band], data_range=1.0
        )
        assert value == pytest.approx(expected, rel=1e-6)


def test_psnr_does_not_change_with_the_units() -> None:
    estimate, reference = pair()
    np.testing.assert_allclose(
        psnr(estimate * 1e4, reference * 1e4), psnr(estimate, reference), rtol=1e-6
    )
    assert np.isposinf(psnr(reference, reference)).all()


# Structural similarity


def test_ssim_by_hand() -> None:
    flat = [xr.full_like(located(12, 12, 2), level) for level in (0.2, 0.4)]
    expected = (2 * 0.2 * 0.4 + 1e-4) / (0.2**2 + 0.4**2 + 1e-4)  # flat images: only the means
    np.testing.assert_allclose(ssim(*flat, data_range=1.0), expected, rtol=1e-6)


@pytest.mark.parametrize("data_range", [None, 1.0])
def test_ssim_agrees_with_scikit_image(data_range: float | None) -> None:
    estimate, reference = pair()
    for band, value in enumerate(ssim(estimate, reference, data_range=data_range).values):
        expected = structural_similarity(
            estimate.values[band].astype("float64"),
            reference.values[band].astype("float64"),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=data_range or float(reference[band].max()),
        )
        assert value == pytest.approx(expected, abs=1e-6)


def test_ssim_is_symmetric_and_one_for_equals() -> None:
    estimate, reference = pair()
    there = ssim(estimate, reference, data_range=1.0)
    np.testing.assert_allclose(there, ssim(reference, estimate, data_range=1.0), rtol=1e-9)
    np.testing.assert_allclose(ssim(reference, reference), 1, rtol=1e-9)


# Universal image quality index


def test_uiqi_by_hand() -> None:
    stripes = np.tile([0.2, 0.4], (8, 4))
    reference, estimate = bands(stripes.tolist()), bands((2 * stripes).tolist())
    # correlation 1; means m and 2m, deviations s and 2s: (2 * 2 / 5)^2
    assert uiqi(estimate, reference).item() == pytest.approx(0.64, rel=1e-5)
    flat = [bands(np.full((8, 8), level).tolist()) for level in (0.3, 0.1, 0.0)]
    assert uiqi(flat[0], flat[1]).item() == pytest.approx(2 * 0.3 * 0.1 / 0.1, rel=1e-6)
    assert uiqi(flat[2], flat[2]).item() == 1
    assert uiqi(flat[0], flat[2]).item() == 0


def test_uiqi_agrees_with_scikit_image() -> None:
    # SSIM without its two constants is Wang and Bovik's index.
    estimate, reference = pair()
    for band, value in enumerate(uiqi(estimate, reference, window=7).values):
        expected = structural_similarity(
            estimate.values[band].astype("float64"),
            reference.values[band].astype("float64"),
            win_size=7,
            use_sample_covariance=False,
            data_range=1.0,
            K1=0,
            K2=0,
        )
        assert value == pytest.approx(expected, abs=1e-6)


def test_uiqi_of_even_windows_is_the_mean_over_all_windows() -> None:
    estimate, reference = pair(12, 11, 2)
    e, r = (
        np.lib.stride_tricks.sliding_window_view(scene.values.astype("float64"), (8, 8), (1, 2))
        for scene in (estimate, reference)
    )
    e, r = e.reshape(2, -1, 64), r.reshape(2, -1, 64)
    joint = (e * r).mean(-1) - e.mean(-1) * r.mean(-1)
    spread, means = e.var(-1) + r.var(-1), e.mean(-1) ** 2 + r.mean(-1) ** 2
    q = 4 * joint * e.mean(-1) * r.mean(-1) / (spread * means)
    np.testing.assert_allclose(uiqi(estimate, reference), q.mean(-1), rtol=1e-9)


def test_uiqi_is_one_for_equals_and_blind_to_scale_of_both() -> None:
    estimate, reference = pair()
    np.testing.assert_allclose(uiqi(reference, reference), 1, rtol=1e-9)
    np.testing.assert_allclose(
        uiqi(estimate * 8, reference * 8), uiqi(estimate, reference), rtol=1e-9
    )


# Relative global error


def test_ergas_by_hand() -> None:
    reference = bands([[1, 1]], [[2, 4]])
    estimate = bands([[1.5, 1.5]], [[2, 1]])
    # rmse 0.5 over mean 1, rmse 3 / sqrt(2) over mean 3
    assert float(ergas(estimate, reference, ratio=5)) == pytest.approx(
        20 * np.sqrt((0.25 + 0.5) / 2)
    )


def test_ergas_agrees_with_sewar_at_the_true_ratio() -> None:
    estimate, reference = pair()
    images = channels_last(reference), channels_last(estimate)
    expected = sewar.full_ref.ergas(*images, r=1 / 8)
    assert float(ergas(estimate, reference, ratio=8)) == pytest.approx(expected, rel=1e-6)


def test_ergas_is_zero_for_equals_and_blind_to_the_units_of_a_band() -> None:
    estimate, reference = pair()
    gains = xr.DataArray([1.0, 10, 0.1, 3, 7], dims="band")
    assert float(ergas(reference, reference, ratio=4)) == 0
    assert float(ergas(estimate * gains, reference * gains, ratio=4)) == pytest.approx(
        float(ergas(estimate, reference, ratio=4)), rel=1e-6
    )


# Spectral angle


def test_sam_by_hand() -> None:
    reference = bands([[1, 1, 1]], [[0, 0, 1]])
    estimate = bands([[0, 2, 1]], [[3, 2, 1]])
    np.testing.assert_allclose(sam(estimate, reference, dim=()), [[90, 45, 0]], atol=1e-6)
    assert float(sam(estimate, reference)) == pytest.approx(45)


def test_sam_agrees_with_sewar() -> None:
    estimate, reference = pair()
    expected = sewar.full_ref.sam(channels_last(reference), channels_last(estimate))
    assert float(sam(estimate, reference)) == pytest.approx(np.degrees(expected), rel=1e-6)


def test_sam_is_blind_to_brightness_and_exact_for_equals() -> None:
    estimate, reference = pair()
    shade = np.random.default_rng(1).uniform(0.1, 3, reference.shape[1:])
    np.testing.assert_allclose(
        sam(estimate * shade, reference), sam(estimate, reference), rtol=1e-5
    )
    assert float(sam(reference, reference)) == 0


def test_small_angles_are_told_apart() -> None:
    reference = bands([[1.0]], [[0.0]]).astype("float64")
    for angle in (1e-9, 1e-6, 1e-3):
        turned = bands([[1.0]], [[0.0]]).astype("float64")
        turned[1] = np.tan(np.radians(angle))
        assert float(sam(turned, reference)) == pytest.approx(angle, rel=1e-6)


def test_spectra_of_zeros_have_no_angle() -> None:
    reference = bands([[0, 1]], [[0, 1]])
    angles = sam(bands([[1, 1]], [[1, 0]]), reference, dim=())
    np.testing.assert_allclose(angles, [[np.nan, 45]])
    assert float(sam(bands([[1, 1]], [[1, 0]]), reference)) == pytest.approx(45)


# All of them


@pytest.mark.parametrize(("metric", "settings"), BOTH)
@pytest.mark.parametrize("chunks", [{"y": 7, "x": 9}, {"band": 2, "y": 3, "x": 37}])
def test_lazy_and_equal_for_any_chunking(
    metric: Metric, settings: dict, chunks: dict[str, int]
) -> None:
    estimate, reference = pair()
    lazy = metric(estimate.chunk(chunks), reference.chunk(y=11), **settings)
    assert isinstance(lazy.data, da.Array)
    assert lazy.dtype == "float64"
    np.testing.assert_allclose(lazy, metric(estimate, reference, **settings), rtol=1e-9)
    mixed = metric(estimate.chunk(chunks), reference, **settings)
    assert isinstance(mixed.data, da.Array)
    np.testing.assert_allclose(mixed, lazy, rtol=1e-9)


@pytest.mark.parametrize(("metric", "settings"), BOTH)
def test_missing_pixels_are_left_out(metric: Metric, settings: dict) -> None:
    estimate, reference = pair()
    rows, columns = slice(0, 25), slice(5, 37)
    inside = xr.zeros_like(reference[0], bool)
    inside[rows, columns] = True
    expected = metric(estimate[:, rows, columns], reference[:, rows, columns], **settings)
    nonsense = estimate.where(inside, 1e6)
    for each in ((nonsense, reference.where(inside)), (nonsense.where(inside), reference)):
        if metric in (psnr, ssim) and "data_range" not in settings:
            each = each[0], reference.where(inside)  # else the peak may lie elsewhere
        np.testing.assert_allclose(metric(*each, **settings), expected, rtol=1e-6)
        lazy = metric(each[0].chunk(y=6, x=5), each[1].chunk(y=6, x=5), **settings)
        np.testing.assert_allclose(lazy, expected, rtol=1e-6)


@pytest.mark.parametrize("data_range", [None, 1.0])
@pytest.mark.parametrize("variant", ["textbook", "sewar"])
def test_score_leaves_missing_pixels_out(variant: str, data_range: float | None) -> None:
    estimate, reference = pair()
    rows, columns = slice(0, 25), slice(5, 37)
    inside = xr.zeros_like(reference[0], bool)
    inside[rows, columns] = True
    settings = {"ratio": 8, "variant": variant, "data_range": data_range}
    expected = score(estimate[:, rows, columns], reference[:, rows, columns], **settings)
    masked = estimate.where(inside, 1e6), reference.where(inside)
    xr.testing.assert_allclose(score(*masked, **settings), expected, rtol=1e-6)
    lazy = (each.chunk(y=6, x=5) for each in masked)
    xr.testing.assert_allclose(score(*lazy, **settings), expected, rtol=1e-6)


@pytest.mark.parametrize(("metric", "settings"), BOTH)
def test_nothing_in_common_scores_nan(metric: Metric, settings: dict) -> None:
    estimate, reference = pair(16, 16)
    for gone in (estimate * np.nan, estimate.chunk(y=5) * np.nan):
        assert np.isnan(metric(gone, reference, **settings)).all()


@pytest.mark.parametrize(("metric", "settings"), BOTH)
def test_a_band_missing_everywhere_leaves_the_others(metric: Metric, settings: dict) -> None:
    estimate, reference = pair()
    holed = reference.where(reference.band != 3)
    found = metric(estimate, holed, **settings)
    expected = metric(estimate.drop_sel(band=3), reference.drop_sel(band=3), **settings)
    np.testing.assert_allclose(np.asarray(found)[~np.isnan(found)], expected, rtol=1e-6)


@pytest.mark.parametrize(("metric", "settings"), BOTH)
def test_each_time_is_scored(metric: Metric, settings: dict) -> None:
    estimate, reference = pair()
    times = xr.concat([estimate, reference], "time")
    both = xr.concat([reference, reference], "time")
    found = metric(times, both, **settings)
    np.testing.assert_allclose(found[0], metric(estimate, reference, **settings), rtol=1e-9)


def test_a_dark_band_has_no_peak() -> None:
    estimate, reference = pair(16, 16, 2)
    dark = reference.where(reference.band == 1, 0)
    for metric in (psnr, ssim):
        np.testing.assert_array_equal(np.isnan(metric(estimate, dark)), [False, True])
    assert np.isposinf(ergas(estimate, dark, ratio=4))


def test_score_reads_every_block_once() -> None:
    estimate, reference = (scene.chunk(y=10, x=10) for scene in pair())
    read = []

    def load(block: np.ndarray) -> np.ndarray:
        read.append(block.shape)
        return block

    loaded = reference.data.map_blocks(load, dtype="float32", meta=reference.data._meta)
    score(estimate, reference.copy(data=loaded), ratio=4, data_range=1.0).compute()
    assert len(read) == reference.data.npartitions


@pytest.mark.parametrize("data_range", [None, 1.0])
@pytest.mark.parametrize(("made", "most"), [(False, 1), (True, 70)])
def test_score_keeps_few_blocks_in_memory(data_range: float | None, made: bool, most: int) -> None:
    # What is only read is read with its margins; of what is made, some rows of blocks wait.
    whole = pair(64, 64)
    stored = [da.from_array(Stored(each.values), chunks=(5, 8, 8), lock=False) for each in whole]
    if made:
        stored = [each.map_blocks(np.positive) for each in stored]
    scenes = [each.copy(data=data) for each, data in zip(whole, stored, strict=True)]
    with Held(5 * 8 * 8 * 4) as held:
        found = score(*scenes, ratio=4, data_range=data_range).compute(scheduler="synchronous")
    assert held.most <= most < 0.6 * 2 * stored[0].npartitions
    expected = score(*whole, ratio=4, data_range=data_range)
    xr.testing.assert_allclose(found, expected, rtol=1e-9)


def test_integers_do_not_wrap_around() -> None:
    reference = xr.full_like(located(16, 16, 2), 10, "uint8")
    assert float(rmse(reference - 3, reference).max()) == 3
    assert float(psnr(reference - 3, reference, data_range=255).max()) == pytest.approx(
        38.588, abs=1e-3
    )


def test_score_is_the_single_metrics() -> None:
    estimate, reference = pair()
    found = score(estimate, reference, ratio=8, data_range=1.0)
    assert list(found) == ["rmse", "psnr", "ssim", "uiqi", "ergas", "sam"]
    assert all(each.shape == () and each.dtype == "float64" for each in found.values())
    assert found.psnr.units == "dB"
    both = estimate, reference
    expected = {
        "rmse": rmse(*both, dim=("band", "y", "x")),
        "psnr": psnr(*both, data_range=1.0).mean(),
        "ssim": ssim(*both, data_range=1.0).mean(),
        "uiqi": uiqi(*both).mean(),
        "ergas": ergas(*both, ratio=8),
        "sam": sam(*both),
    }
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(float(value), rel=1e-9), name


@pytest.mark.parametrize("variant", ["textbook", "sewar"])
def test_score_is_lazy(variant: str) -> None:
    estimate, reference = (scene.chunk(y=9, x=8) for scene in pair())
    found = score(estimate, reference, ratio=8, variant=variant)
    assert all(isinstance(each.data, da.Array) for each in found.values())
    whole = score(estimate.compute(), reference.compute(), ratio=8, variant=variant)
    xr.testing.assert_allclose(found, whole, rtol=1e-6)


def test_the_sewar_variant_is_sewar() -> None:
    estimate, reference = pair()
    found = score(estimate, reference, ratio=8, variant="sewar")
    g, p = channels_last(reference), channels_last(estimate)
    g8, p8 = ((each * 255).clip(0, 255).astype("uint8") for each in (g, p))
    norms = np.sqrt((g**2).sum(-1)) * np.sqrt((p**2).sum(-1))
    cosine = np.clip((g * p).sum(-1) / (norms + 1e-8), -1 + 1e-9, 1 - 1e-9)
    expected = {
        "rmse": sewar.full_ref.rmse(g, p),
        "psnr": sewar.full_ref.psnr(g8, p8),
        "ssim": sewar.full_ref.ssim(g8, p8)[0],
        "uiqi": sewar.full_ref.uqi(g, p),
        "ergas": sewar.full_ref.ergas(g, p),
        "sam": np.degrees(np.arccos(cosine).mean()),
    }
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(value, rel=1e-6), name


def test_the_sewar_variant_does_not_move_with_the_ratio() -> None:
    estimate, reference = pair()
    values = {
        float(score(estimate, reference, ratio=ratio, variant="sewar").ergas) for ratio in (2, 32)
    }
    assert len(values) == 1


def test_different_scenes_are_refused() -> None:
    estimate, reference = pair()
    with pytest.raises(
        GridError, match=r"estimate has 30 along y and reference 40; expected the sa"
    ):
        rmse(estimate[:, :30], reference)
    moved = estimate.assign_coords(x=estimate.x + 1)
    with pytest.raises(
        GridError, match=r"x of estimate .* 37 of 37 places, first 1\.5 and 0\.5; exp"
    ):
        rmse(moved, reference)
    with pytest.raises(SpectralError, match=r"band of estimate .* 1 of 5 places, first 9 and 5"):
        rmse(estimate.assign_coords(band=[1, 2, 3, 4, 9]), reference)
    with pytest.raises(LayoutError, match=r"estimate has dimensions \('y', 'x'\); expected band"):
        rmse(estimate[0], reference)
    truth = cube()
    shifted = truth.assign_coords(wavelength=("band", truth.wavelength.values + 2))
    with pytest.raises(
        SpectralError, match=r"differ by up to 2 nm; expected the same, to 0\.01 nm"
    ):
        rmse(shifted, truth)


def test_impossible_settings_are_refused() -> None:
    estimate, reference = pair()
    with pytest.raises(GridError, match=r"ratio is 0 MSI pixels .*expected a number above 0.*=8"):
        ergas(estimate, reference, ratio=0)
    for variant in ("textbook", "sewar"):
        with pytest.raises(GridError, match=r"ratio is -4 MSI pixels .*expected a number above 0"):
            score(estimate, reference, ratio=-4, variant=variant)
    with pytest.raises(
        GridError, match=r"data_range is -1; expected a peak above 0.*data_range=1\.0"
    ):
        psnr(estimate, reference, data_range=-1)
    with pytest.raises(GridError, match=r"window is 1 pixels; expected at least 2.*window=8"):
        uiqi(estimate, reference, window=1)
    with pytest.raises(SpectralError, match="variant is 'paper'; expected 'textbook' or 'sewar'"):
        score(estimate, reference, ratio=4, variant="paper")  # type: ignore[arg-type]


def test_datasets_of_one_raster_are_scored_and_arrays_without_labels_refused() -> None:
    truth = xr.DataArray(np.random.default_rng(0).random((2, 16, 16)), dims=("band", "y", "x"))
    estimate = truth + 0.1
    found = score(estimate.to_dataset(name="reflectance"), truth, ratio=4)
    xr.testing.assert_identical(found, score(estimate, truth, ratio=4))
    with pytest.raises(LayoutError, match=r"reference is a ndarray; .* Use reference = xr.DataAr"):
        rmse(estimate, truth.to_numpy())


def test_coordinates_that_a_file_rounded_are_the_same_place() -> None:
    scene = located(8, 8, spacing=0.05)
    rounded = scene.assign_coords(y=scene.y + 1e-9)
    assert float(rmse(rounded, scene).max()) == 0
    with pytest.raises(GridError, match="y of estimate and reference differ"):
        rmse(scene.assign_coords(y=scene.y + 0.01), scene)
