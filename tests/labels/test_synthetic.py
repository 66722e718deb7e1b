from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_xr import synthetic
from lift_xr.city import landscape
from lift_xr.errors import GridError, SpectralError
from lift_xr.grid import Grid, compare
from lift_xr.scene import expect_hsi, expect_msi
from lift_xr.srf import apply
from tests.processes import another

SHAPE = (300, 260)
PARTS = ("hsi", "msi", "truth")


def small(**settings: Any) -> synthetic.Scene:
    return synthetic.scene(SHAPE, 20, **{"bands": 8, "nodata": 0.05, **settings})


@pytest.fixture(scope="module")
def whole() -> dict[str, np.ndarray]:
    made = small()
    return {part: getattr(made, part).compute().to_numpy() for part in PARTS}


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Which tiles were painted."""
    tiles: list[tuple[int, int]] = []
    paint = landscape.paint

    def counted(seed: int, row: int, column: int, *, spacing: float) -> landscape.Tile:
        tiles.append((row, column))
        return paint(seed, row, column, spacing=spacing)

    monkeypatch.setattr(landscape, "paint", counted)
    return tiles


@settings(max_examples=8, deadline=None)
@given(
    block=st.integers(20, 320),
    corner=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    part=st.sampled_from(PARTS),
)
def test_any_block_and_window_give_the_same_bytes(
    whole: dict[str, np.ndarray], block: int, corner: tuple[float, float], part: str
) -> None:
    scene = getattr(small(block=block), part)
    y, x = (int(at * (size - 1)) for at, size in zip(corner, scene.shape[1:], strict=True))
    window = scene[:, y : y + 90, x : x + 70].compute()
    np.testing.assert_array_equal(window, whole[part][:, y : y + 90, x : x + 70])


@pytest.mark.parametrize("part", PARTS)
def test_steps_backward_steps_and_single_pixels_work(
    whole: dict[str, np.ndarray], part: str
) -> None:
    scene = getattr(small(block=100), part)
    np.testing.assert_array_equal(scene[:, ::7, 3:12:2], whole[part][:, ::7, 3:12:2])
    np.testing.assert_array_equal(scene[:, ::-1, 5], whole[part][:, ::-1, 5])
    np.testing.assert_array_equal(scene[1, -2, [4, 1, 3]], whole[part][1, -2, [4, 1, 3]])


def test_a_larger_scene_holds_the_smaller(whole: dict[str, np.ndarray]) -> None:
    larger = synthetic.scene((640, 480), 20, bands=8).truth[:, :300, :260]
    np.testing.assert_array_equal(larger, whole["truth"])


def test_another_process_sees_the_same_pixels(tmp_path: Path) -> None:
    process = another(write_digests, tmp_path / "there")
    process.start()
    process.join()
    write_digests(tmp_path / "here")
    assert (tmp_path / "there").read_text() == (tmp_path / "here").read_text()


def write_digests(file: Path) -> None:
    made = synthetic.scene((140, 140), 20, bands=8, seed=4)
    parts = (part.compute().to_numpy().tobytes() for part in (made.hsi, made.msi, made.truth))
    file.write_text("\n".join(hashlib.sha256(part).hexdigest() for part in parts))


def test_a_scene_of_two_gigapixels_costs_one_task_a_block(painted: list[tuple[int, int]]) -> None:
    made = synthetic.scene((83440, 24040), ratio=20)
    assert made.hsi.shape == (50, 4172, 1202)
    assert made.msi.shape == (3, 83440, 24040)
    assert made.truth.shape == (50, 83440, 24040)
    for part in (made.hsi, made.msi, made.truth):
        assert part.data.npartitions == 1254
        assert len(dict(part.__dask_graph__())) <= 1254 + 2
        assert len(pickle.dumps(part)) < 2_000_000
    assert not painted


def test_a_look_at_few_pixels_paints_few_tiles(painted: list[tuple[int, int]]) -> None:
    made = synthetic.scene((83440, 24040), ratio=20)
    made.msi[:, 40_000:40_010, 12_000:12_010].compute()
    assert painted == [(312, 93)]
    painted.clear()
    made.truth[:, 83_439, 24_039].compute()
    assert painted == [(651, 187)]
    painted.clear()
    made.hsi[:, 100, 100].compute()
    assert len(painted) <= 4


def test_names_follow_content() -> None:
    one, same, other = (small(seed=seed) for seed in (1, 1, 2))
    for part in PARTS:
        names = [getattr(made, part).data.name for made in (one, same, other)]
        assert names[0] == names[1] != names[2]


def test_declared_dtypes_and_chunks_are_true(whole: dict[str, np.ndarray]) -> None:
    made = small(block=128)
    for part, dtype in (("hsi", "float32"), ("msi", "uint8"), ("truth", "float32")):
        scene = getattr(made, part)
        assert scene.dtype == whole[part].dtype == dtype
        assert scene.shape == whole[part].shape
        assert scene.data.blocks[0, -1, -1].compute().shape == tuple(c[-1] for c in scene.chunks)


@pytest.mark.parametrize("psf", [0.0, 1.0])
def test_the_hsi_is_the_truth_blurred_and_averaged(psf: float) -> None:
    made = synthetic.scene((200, 160), 10, bands=6, hsi_snr=np.inf, psf=psf)
    truth = made.truth.to_numpy().astype("float64")
    if psf:
        sigma = psf * 10 / (2 * np.sqrt(2 * np.log(2)))
        truth = scipy.ndimage.gaussian_filter(
            truth, sigma, axes=(1, 2), radius=int(np.ceil(3 * sigma)), mode="nearest"
        )
    cells = truth.reshape(6, 20, 10, 16, 10).mean(axis=(2, 4))
    inside = (slice(None), slice(2, -2), slice(2, -2))  # the true cube sees beyond the edge
    np.testing.assert_allclose(made.hsi.to_numpy()[inside], cells[inside], atol=1e-6)


def test_the_msi_is_the_truth_through_the_srf() -> None:
    made = synthetic.scene((140, 160), 20, msi_snr=np.inf)
    seen = apply(made.srf.sample(made.truth), made.truth)
    recorded = made.msi.astype("float64") * made.msi.attrs["scale_factor"]
    off = np.abs(recorded.to_numpy() - seen.to_numpy())
    assert off.max() <= 0.5 / 255 + 1e-6


def test_noise_is_as_loud_as_asked_for() -> None:
    clean, noisy = (
        synthetic.scene((400, 400), 10, bands=6, hsi_snr=snr, msi_snr=snr) for snr in (np.inf, 20.0)
    )
    level = clean.msi.attrs["scale_factor"]
    hsi = (noisy.hsi - clean.hsi).std(["y", "x"]).to_numpy()
    msi = (noisy.msi.astype(float) - clean.msi.astype(float)).std(["y", "x"]).to_numpy() * level
    assert (np.abs(hsi / 0.02 - 1) < 0.6).all()  # 20 dB below a reflectance of about 0.2
    assert (np.abs(msi / 0.02 - 1) < 0.6).all()


def test_the_pair_lies_on_one_map() -> None:
    made = small()
    hsi, msi = Grid.of(made.hsi), Grid.of(made.msi)
    match = compare(hsi, msi)
    assert (match.ratio_y, match.ratio_x) == pytest.approx((20, 20))
    assert match.integer_ratio
    assert match.overlap == pytest.approx(1)
    assert made.hsi.rio.crs == made.msi.rio.crs == made.truth.rio.crs == "EPSG:32615"
    assert made.msi.rio.transform().a == pytest.approx(0.05)
    assert made.hsi.rio.transform().e == pytest.approx(-1.0)
    assert made.hsi.rio.bounds() == pytest.approx(made.msi.rio.bounds())
    assert made.msi["y"][0] > made.msi["y"][-1]


def test_scenes_pass_the_checks_that_users_data_passes(whole: dict[str, np.ndarray]) -> None:
    made = small()
    hsi, msi = expect_hsi(made.hsi), expect_msi(made.msi)
    assert hsi.dtype == msi.dtype == "float32"
    outside = whole["msi"] == 0
    np.testing.assert_array_equal(np.isnan(msi.to_numpy()), outside)
    np.testing.assert_allclose(msi.to_numpy()[~outside], whole["msi"][~outside] / 255, rtol=1e-6)


def test_bands_cover_the_range_without_gaps() -> None:
    made = synthetic.scene((40, 40), 20)
    wavelength, fwhm = made.hsi["wavelength"], made.hsi["fwhm"]
    assert wavelength.attrs["units"] == fwhm.attrs["units"] == "nm"
    edges = np.stack([wavelength - fwhm / 2, wavelength + fwhm / 2])
    np.testing.assert_allclose([edges[0, 0], edges[1, -1]], [380, 1050])
    np.testing.assert_allclose(edges[1, :-1], edges[0, 1:])
    xr.testing.assert_equal(made.truth["wavelength"], wavelength)


def test_every_part_says_what_it_is() -> None:
    made = small(seed=3)
    for part in PARTS:
        attrs = getattr(made, part).attrs
        assert attrs["units"] == "1"
        assert attrs["seed"] == 3
        assert json.loads(attrs["lift_xr_synthetic"])["ratio"] == 20
        assert "made-up city" in attrs["description"]
    assert "hsi   8 x 15 x 13 float32" in repr(made)


def test_seeds_make_other_cities() -> None:
    first, second, negative = (small(seed=seed).truth.to_numpy() for seed in (0, 1, -1))
    assert np.abs(first - second).mean() > 0.01
    assert np.abs(first - negative).mean() > 0.01


def test_black_is_a_value_unless_nodata_is_asked_for(whole: dict[str, np.ndarray]) -> None:
    assert "_FillValue" not in small(nodata=0.0).msi.attrs
    assert small().msi.attrs["_FillValue"] == 0
    outside = whole["msi"] == 0
    assert (outside.all(axis=0) == outside.any(axis=0)).all()
    assert outside[0, 0].all()
    assert not outside[:, 60:-60, 60:-60].any()
    widths = outside[0].argmin(axis=1)[60:-60]
    assert widths.min() != widths.max()  # ragged


def test_a_camera_with_more_bands_fits() -> None:
    made = synthetic.scene((140, 140), 20, srf="ikonos")
    assert made.msi.sizes["band"] == 4
    assert list(made.msi["band"].to_numpy()) == list(made.srf.bands)
    assert (np.diff(made.msi["wavelength"]) != 0).all()


@pytest.mark.parametrize("shape", [(1024, 1024), (10, 40), (40, 0)])
def test_a_shape_that_is_no_multiple_is_refused_with_the_nearest(shape: tuple[int, int]) -> None:
    with pytest.raises(GridError) as told:
        synthetic.scene(shape, ratio=20)
    message = str(told.value)
    assert str(shape) in message
    assert "multiples of the ratio, 20" in message
    if shape == (1024, 1024):
        assert "shape=(1020, 1020)" in message
        assert "shape=(1040, 1040)" in message


@pytest.mark.parametrize("ratio", [0, 2.5, 20.0])
def test_a_ratio_that_is_no_whole_number_is_refused(ratio: float) -> None:
    with pytest.raises(GridError, match=r"ratio is .*; expected a whole number.*Pass ratio=20"):
        synthetic.scene((40, 40), ratio=ratio)  # type: ignore[arg-type]


def test_one_band_is_refused() -> None:
    with pytest.raises(SpectralError, match=r"bands is 1; expected 2 or more.*Pass bands=50"):
        synthetic.scene((40, 40), 20, bands=1)


def test_a_camera_that_sees_further_is_refused_by_name() -> None:
    with pytest.raises(SpectralError, match=r"sentinel-?2a"):
        synthetic.scene((40, 40), 20, srf="sentinel2a")
