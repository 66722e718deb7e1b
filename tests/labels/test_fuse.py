"""fit, predict and fuse: what goes in, what comes out, what is refused before a pixel is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings

import lift_xr
from lift_xr import GridError, LayoutError, SpectralError, learn
from lift_xr.device import find_device
from lift_xr.models.sin import SinPaperRecipe, SinRecipe
from tests.clusters import two_workers
from tests.scenes import cube, on_grid
from tests.strategies import chunks

RATIO = 4
SRF = lift_xr.SRF.gaussian([480, 560, 660], [60, 60, 60], names=["blue", "green", "red"])


def hsi(height: int = 12, width: int = 12) -> xr.DataArray:
    return cube(height, width, spacing=RATIO).assign_attrs(units="1")


def msi(height: int = 48, width: int = 48) -> xr.DataArray:
    """What the camera sees of a finer cube of the same materials, over the same ground."""
    fine = cube(height, width, spacing=1.0, seed=7)
    seen = np.einsum("mb,byx->myx", SRF.sample(fine).to_numpy(), fine.to_numpy())
    scene = on_grid(seen.astype("float32")).assign_coords(band=["blue", "green", "red"])
    return scene.assign_attrs(units="1")


@pytest.fixture(scope="module")
def model() -> lift_xr.Model:
    return lift_xr.fit(hsi(), SRF, method="linear")


# ---- what comes out


def test_the_result_has_the_bands_of_the_cube_and_the_grid_of_the_mosaic() -> None:
    fused = lift_xr.fuse(hsi(), msi(), SRF, method="linear", harmonize="none")
    assert fused.dims == ("band", "y", "x")
    assert fused.dtype == np.float32
    np.testing.assert_array_equal(fused.wavelength, hsi().wavelength)
    assert fused.wavelength.attrs["units"] == "nm"
    xr.testing.assert_equal(fused.x, msi().x)
    xr.testing.assert_equal(fused.y, msi().y)


def test_a_seed_may_be_any_kind_of_whole_number(tmp_path) -> None:
    known = lift_xr.fit(hsi(), SRF, method="linear", seed=np.int64(3))
    known.save(tmp_path / "m.lift")
    assert known.digest == lift_xr.fit(hsi(), SRF, method="linear", seed=3).digest


def test_fuse_is_predict_of_fit() -> None:
    whole = lift_xr.fuse(hsi(), msi(), SRF, method="linear", seed=3)
    halves = lift_xr.predict(lift_xr.fit(hsi(), SRF, msi=msi(), method="linear", seed=3), msi())
    xr.testing.assert_identical(whole.compute(), halves.compute())


def test_nothing_is_lifted_until_asked_for(model: lift_xr.Model) -> None:
    assert isinstance(lift_xr.predict(model, _unread(msi())).data, da.Array)


@settings(deadline=None, max_examples=10)
@given(chunks(47), chunks(31))
def test_chunks_do_not_change_one_bit(rows: tuple, columns: tuple) -> None:
    scene = msi(47, 31)
    whole = lift_xr.predict(_model(), scene)
    cut = lift_xr.predict(_model(), scene.chunk({"band": -1, "y": rows, "x": columns}))
    np.testing.assert_array_equal(whole.to_numpy(), cut.to_numpy())


_MODELS: list[lift_xr.Model] = []


def _model() -> lift_xr.Model:
    if not _MODELS:
        _MODELS.append(lift_xr.fit(hsi(), SRF, method="linear"))
    return _MODELS[0]


def test_exact_linear_mixtures_are_recovered() -> None:
    """Three materials, three bands: the linear map is exact, and so is the answer."""
    fine = cube(48, 48, spacing=1.0, seed=7)
    fused = lift_xr.fuse(hsi(), msi(), SRF, method="linear", harmonize="none")
    np.testing.assert_allclose(fused, fine, atol=2e-3)


@pytest.mark.parametrize(
    ("bands", "ratio", "camera"),
    [(20, 8, "rgb-camera"), (50, 20, "ikonos"), (150, 4, "worldview-2")],
)
def test_a_pixel_costs_sin_at_most_a_fifth_more_than_as_published(
    bands: int, ratio: int, camera: str
) -> None:
    scene = lift_xr.synthetic.scene((10 * ratio, 10 * ratio), ratio, bands=bands, srf=camera)
    ours, theirs = (
        flops(lift_xr.fit(scene.hsi, scene.srf, method=recipe, progress=False))
        for recipe in (SinRecipe(steps=20), SinPaperRecipe(steps=20))  # the sizes are the same
    )
    assert theirs > 2 * 64 * (5 * 64 + bands)  # the published layers are all there
    assert ours <= 1.2 * theirs


def flops(model: lift_xr.Model) -> int:
    """Of one pixel: two for each weight."""
    weights = (each for each in model.lift.arrays().values() if each.ndim == 2 and each.any())
    return sum(2 * each.size for each in weights)


def test_crs_and_provenance_are_kept(model: lift_xr.Model) -> None:
    fused = lift_xr.predict(model, msi().rio.write_crs("EPSG:32615"))
    assert fused.rio.crs.to_epsg() == 32615
    assert fused.attrs["units"] == "1"
    assert fused.attrs["lift_xr_method"] == "linear"
    assert fused.attrs["lift_xr_model"] == model.digest
    json.dumps(fused.attrs)


def test_many_acquisitions_are_lifted_by_one_model(model: lift_xr.Model) -> None:
    series = xr.concat([msi(), msi() * 0.5], dim="time", join="exact")
    fused = lift_xr.predict(model, series)
    assert fused.dims == ("time", "band", "y", "x")
    one = lift_xr.predict(model, series.isel(time=1))
    np.testing.assert_array_equal(fused.isel(time=1), one)


def test_a_model_outlives_its_scenes(model: lift_xr.Model, tmp_path) -> None:
    model.save(tmp_path / "linear.lift")
    again = lift_xr.load_model(tmp_path / "linear.lift")
    xr.testing.assert_identical(
        lift_xr.predict(again, msi()).compute(), lift_xr.predict(model, msi()).compute()
    )


def test_dimensions_in_any_order_and_datasets_are_understood(model: lift_xr.Model) -> None:
    turned = hsi().transpose("x", "band", "y").to_dataset(name="reflectance")
    assert lift_xr.fit(turned, SRF, method="linear").digest == model.digest


def test_unsorted_wavelengths_make_the_same_map() -> None:
    order = np.random.default_rng(0).permutation(13)
    shuffled = lift_xr.fit(hsi().isel(band=order), SRF, method="linear")
    fused = lift_xr.predict(shuffled, msi()).sortby("wavelength")
    straight = lift_xr.predict(lift_xr.fit(hsi(), SRF, method="linear"), msi())
    np.testing.assert_allclose(fused, straight, atol=1e-4)


# ---- consistency and harmonization


def test_the_answer_seen_through_the_response_is_the_mosaic() -> None:
    model = lift_xr.fit(hsi(), SRF, method="sin")
    fused = lift_xr.predict(model, msi()).compute()
    seen = np.einsum("mb,byx->myx", model.arrays["srf"], fused)
    noise = float(np.sqrt((msi() ** 2).mean())) / 100  # 40 dB
    assert np.sqrt(np.mean((seen - msi().to_numpy()) ** 2)) < noise
    assert fused.attrs["lift_xr_consistency"] == "msi"


def test_the_published_method_is_left_as_published() -> None:
    model = lift_xr.fit(hsi(6, 6), SRF, method="sin-paper")
    assert model.about["consistency"] == "none"


def test_gains_between_sensors_are_found_and_said() -> None:
    truth = lift_xr.fuse(hsi(), msi(), SRF, method="linear", harmonize="none")
    coarse, fine = _registered_pair()
    strange = (fine - 0.02) / 3 * 1000
    fused = lift_xr.fuse(coarse, strange, SRF, method="linear")
    plain = lift_xr.fuse(coarse, fine, SRF, method="linear", harmonize="none")
    assert fused.attrs["lift_xr_harmonize"].startswith("regression")
    assert np.sqrt(float(((fused - plain) ** 2).mean())) < 0.02
    assert truth.attrs["lift_xr_harmonize"].startswith("none")


def _registered_pair() -> tuple[xr.DataArray, xr.DataArray]:
    """A smooth fine scene, its block means as the cube, and its colours as the mosaic."""
    fine = cube(96, 96, spacing=1.0, seed=7)
    smooth = fine.rolling(y=9, x=9, center=True, min_periods=1).mean()
    coarse = smooth.coarsen(y=RATIO, x=RATIO).mean().assign_attrs(units="1")
    seen = np.einsum("mb,byx->myx", SRF.sample(fine).to_numpy(), smooth.to_numpy())
    return coarse, on_grid(seen.astype("float32"))


# ---- nodata


@pytest.mark.parametrize("hole", [np.nan, np.inf])
def test_nodata_in_one_band_is_nodata_in_all_and_nowhere_else(
    model: lift_xr.Model, hole: float
) -> None:
    holed = msi()
    holed[1, 5, 7] = hole
    fused, whole = (lift_xr.predict(model, each).compute() for each in (holed, msi()))
    assert np.isnan(fused[:, 5, 7]).all()
    np.testing.assert_array_equal(
        fused.where(whole.y != whole.y[5]), whole.where(whole.y != whole.y[5])
    )


def test_integers_keep_their_nodata(model: lift_xr.Model) -> None:
    codes = (msi() * 250).round().astype("uint8")
    codes[:, 3, 4] = 255
    codes.attrs = {"scale_factor": 1 / 250, "_FillValue": 255, "units": "1"}
    fused = lift_xr.predict(model, codes).compute()
    assert np.isnan(fused[:, 3, 4]).all()
    assert int(np.isnan(fused[0]).sum()) == 1


def test_nodata_pixels_of_the_cube_are_left_out_of_training() -> None:
    holed = hsi(20, 20)
    holed[:, :5] = np.nan
    model = lift_xr.fit(holed, SRF, method="linear")
    assert model.about["history"]["valid"] == 300
    assert lift_xr.fit(holed.isel(y=slice(5, None)), SRF, method="linear").bands == model.bands


def test_bad_bands_stay_out_unless_asked_for() -> None:
    flagged = hsi().assign_coords(good_wavelength=("band", np.arange(13) != 6))
    assert lift_xr.fit(flagged, SRF, method="linear").bands == 12
    kept = lift_xr.fit(flagged, SRF, method="linear", bad_bands="keep")
    assert lift_xr.predict(kept, msi()).good_wavelength.to_numpy().sum() == 12


# ---- a cluster


def test_training_on_a_cluster_gives_the_same_model(model: lift_xr.Model) -> None:
    with two_workers() as client:
        remote = lift_xr.fit(hsi().chunk({"y": 5}), SRF, method="linear")
        assert remote.digest == model.digest
        lazy = lift_xr.predict(remote, msi().chunk({"y": 13}))
        found = client.compute(lazy.data).result()
    np.testing.assert_array_equal(found, lift_xr.predict(model, msi()))


def test_training_goes_to_the_worker_that_has_a_gpu() -> None:
    with two_workers(resources={"GPU": 1}):
        assert lift_xr.fit(hsi(), SRF, method="linear").bands == 13


# ---- what is refused


def _without(scene: xr.DataArray, name: str) -> xr.DataArray:
    return scene.drop_vars(name)


def _units(scene: xr.DataArray, units: str | None) -> xr.DataArray:
    wavelength = scene.wavelength.copy()
    wavelength.attrs = {} if units is None else {"units": units}
    return scene.assign_coords(wavelength=wavelength)


def _shifted(scene: xr.DataArray, by: float) -> xr.DataArray:
    return scene.assign_coords(x=scene.x + by)


def _coarse(scene: xr.DataArray, **attrs: object) -> xr.DataArray:
    return scene.astype("uint16").assign_attrs(attrs)


@dataclass(frozen=True)
class Refusal:
    """Inputs of ``fit`` that cannot be used, and what is said of them."""

    kind: type
    message: str
    hsi: Callable[[], xr.DataArray] = hsi
    msi: Callable[[], xr.DataArray | None] = msi
    srf: object = SRF
    harmonize: str = "auto"


REFUSED = {
    "no wavelength": Refusal(
        SpectralError, "without wavelengths", hsi=lambda: _without(hsi(), "wavelength")
    ),
    "no unit": Refusal(SpectralError, "no units", hsi=lambda: _units(hsi(), None)),
    "unknown unit": Refusal(
        SpectralError, "unknown units 'inches'", hsi=lambda: _units(hsi(), "inches")
    ),
    "SRF outside the range": Refusal(
        SpectralError, "needs", srf=lift_xr.SRF.gaussian([480, 560, 1650], [60, 60, 60])
    ),
    "band count": Refusal(SpectralError, "2 bands", msi=lambda: msi().isel(band=[0, 1])),
    "one CRS missing": Refusal(
        GridError, "msi has no CRS", hsi=lambda: hsi().rio.write_crs("EPSG:32615")
    ),
    "different CRS": Refusal(
        GridError,
        "expected one CRS",
        hsi=lambda: hsi().rio.write_crs("EPSG:32615"),
        msi=lambda: msi().rio.write_crs("EPSG:32616"),
    ),
    "no overlap": Refusal(
        GridError,
        "share no ground",
        msi=lambda: _shifted(msi(), 1e6),
        harmonize="regression",
    ),
    "no overlap to estimate from": Refusal(
        GridError, "share no ground", msi=lambda: _shifted(msi(), 1e6), srf=None
    ),
    "all nodata": Refusal(SpectralError, "no pixel with data", hsi=lambda: hsi() * np.nan),
    "infinite pixels": Refusal(
        SpectralError,
        "infinite",
        hsi=lambda: hsi().where(hsi() < 0.45, np.inf),
    ),
    "a band of NaN": Refusal(
        SpectralError,
        "NaN in every pixel",
        hsi=lambda: hsi().where(hsi().band != 13),
    ),
    "scale overflow": Refusal(
        SpectralError, "scale", msi=lambda: _coarse(msi(), scale_factor=1e38)
    ),
    "zero size": Refusal(GridError, "no pixels", msi=lambda: msi().isel(x=slice(0, 0))),
    "times to harmonize": Refusal(LayoutError, "isel", msi=lambda: msi().expand_dims(time=2)),
    "no SRF and no MSI": Refusal(SpectralError, "srf is None", msi=lambda: None, srf=None),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_bad_input_is_named_with_what_to_do(case: str) -> None:
    wrong = REFUSED[case]
    with pytest.raises(wrong.kind, match=wrong.message) as caught:
        lift_xr.fit(
            wrong.hsi(), wrong.srf, msi=wrong.msi(), method="linear", harmonize=wrong.harmonize
        )
    text = str(caught.value)
    assert any(word in text for word in ("expected", "needs"))
    assert any(word in text for word in ("Use", "Pass", "pass", "Check", "Leave", "Convert"))


def test_a_ratio_that_is_no_whole_number_is_fine_for_per_pixel_methods() -> None:
    stretched = msi().assign_coords(y=msi().y * 1.03, x=msi().x * 1.03)
    assert lift_xr.fuse(hsi(), stretched, SRF, method="linear").shape == (13, 48, 48)


def test_a_mosaic_with_other_bands_than_the_model_is_refused(model: lift_xr.Model) -> None:
    with pytest.raises(SpectralError, match=r"2 bands .* trained for 3.*isel"):
        lift_xr.predict(model, msi().isel(band=[0, 1]))


def test_bands_of_the_same_names_in_another_order_are_put_right(model: lift_xr.Model) -> None:
    turned = msi().isel(band=[2, 0, 1])
    np.testing.assert_array_equal(lift_xr.predict(model, turned), lift_xr.predict(model, msi()))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "sine"}, "method is 'sine'"),
        ({"consistency": "both-ways"}, "consistency is 'both-ways'"),
        ({"device": "tpu"}, "device is 'tpu'"),
        ({"harmonize": "histogram"}, "harmonize"),
        ({"seed": -1}, "seed is -1; expected a whole number from 0"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"seed": "a"}, "seed is 'a'"),
    ],
)
def test_unknown_settings_are_named_with_the_known_ones(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lift_xr.fit(hsi(), SRF, **settings)


def test_one_band_is_warned_about() -> None:
    pan = lift_xr.SRF.gaussian([600], [300], names=["pan"])
    with pytest.warns(UserWarning, match="the MSI has one band"):
        lift_xr.fit(hsi(), pan, method="linear")


def test_scenes_that_share_no_ground_are_warned_about() -> None:
    with pytest.warns(UserWarning, match="hsi and msi share no ground; expected"):
        lift_xr.fit(hsi(), SRF, msi=_shifted(msi(), 1e6), method="linear")


def test_fuse_without_a_mosaic_does_not_train_first() -> None:
    with pytest.raises(LayoutError, match="msi is a NoneType; expected"):
        lift_xr.fuse(_unread(hsi()), None, SRF)


def test_a_device_that_is_not_there_is_refused_before_a_pixel_is_read() -> None:
    if find_device("auto") == "cuda":
        pytest.skip("there is a CUDA device here")
    with pytest.raises(ValueError, match="this process sees no CUDA device"):
        lift_xr.fit(_unread(hsi()), SRF, device="cuda")


def _unread(scene: xr.DataArray) -> xr.DataArray:
    """The scene, lazy, and not to be opened."""

    def refuse(block: np.ndarray) -> np.ndarray:
        raise AssertionError("a block was opened")

    lazy = scene.chunk()
    return lazy.copy(data=lazy.data.map_blocks(refuse, meta=np.empty((0, 0, 0), "float32")))


def test_a_mosaic_in_one_huge_block_is_refused(model: lift_xr.Model) -> None:
    huge = da.zeros((3, 83440, 24040), chunks=-1, dtype="uint8")
    scene = xr.DataArray(huge, dims=("band", "y", "x"), attrs={"units": "1"})
    with pytest.raises(LayoutError, match=r"a block of msi is 83440 x 24040 pixels.*msi\.chunk"):
        lift_xr.predict(model, scene)


def test_numbers_of_unknown_units_are_not_lifted_in_silence(model: lift_xr.Model) -> None:
    with pytest.warns(UserWarning, match="msi has no units, and the model was fitted in reflect"):
        lift_xr.predict(model, msi().drop_attrs())


@pytest.mark.parametrize("verb", ["fit", "fuse"])
def test_a_warning_points_at_the_line_that_called(verb: str) -> None:
    pan = msi().isel(band=[1])
    call = {"fit": partial(lift_xr.fit, msi=pan), "fuse": partial(lift_xr.fuse, msi=pan)}[verb]
    with pytest.warns(UserWarning, match="the MSI has one band") as said:
        call(hsi(), srf=SRF.select("green"), method="linear", harmonize="none")
    assert {each.filename for each in said} == {__file__}


class Watched:
    """A large cube in a file, that remembers how many pixels were read at once."""

    shape, dtype, ndim = (13, 700, 900), np.dtype("float32"), 3

    def __init__(self) -> None:
        self.read: list[int] = []

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        rows, columns = (
            range(size)[each] for size, each in zip((700, 900), index[1:], strict=True)
        )
        place = np.add.outer(np.array(rows) * 0.7, np.array(columns) * 0.3)
        self.read.append(place.size)
        return np.sin(np.multiply.outer(np.arange(1, 14), place)).astype("float32")[index[0]] + 2


def test_a_cube_of_which_most_is_nodata_is_drawn_from_again(monkeypatch) -> None:
    monkeypatch.setattr(learn, "TRAINING_PIXELS", 20)
    sparse = hsi().where(np.arange(hsi().sizes["x"]) < 2)
    assert sparse.sizes["x"] * sparse.sizes["y"] > 4 * 20
    model = lift_xr.fit(sparse, SRF, method="linear")
    assert model.about["history"]["pixels"] == min(20, int(np.isfinite(sparse[0]).sum()))


@pytest.mark.parametrize("method", ["linear", lift_xr.MorphRecipe(endmembers=4, steps=5)])
def test_a_large_cube_is_trained_on_without_being_held(method) -> None:
    source = Watched()
    whole = da.from_array(source, chunks=-1, meta=np.empty((0, 0, 0), "float32"))
    coords = {"wavelength": hsi().wavelength, "good_wavelength": ("band", np.arange(13) != 6)}
    cube = xr.DataArray(whole, coords, ("band", "y", "x"), attrs={"units": "1"})
    source.read.clear()
    lift_xr.fit(cube, SRF, method=method, progress=False)
    assert max(source.read) <= 320 * 320
    assert sum(source.read) == 700 * 900
