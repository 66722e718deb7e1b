"""Whatever happens to a store after its run is found, named, and put right by running it again."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import Any
from zlib import crc32

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zarr.storage import MemoryStore

import lift_xr
from lift_xr import GridError, LayoutError, SpectralError
from lift_xr.cli import main
from lift_xr.io import open_scene, status, verify, write_zarr
from lift_xr.io.files import ABSENT, key_of_file
from lift_xr.io.fill import finalize
from lift_xr.io.record import all_progress, checksum, done_row
from lift_xr.io.root import read_root
from tests.scenes import cube, on_grid

# Levels 0, 1 and 2 in passes of their own, since 275 is odd; level 2 is one shard, kept as chunks.
SHAPE, SHARD = (2, 1100, 20), 275
CHECKS = ["complete", "metadata", "record", "files", "values", "overviews", "flags"]


def scene(shape: tuple[int, ...] = SHAPE, *, diary: Path | None = None) -> xr.DataArray:
    """A lazy scene whose third quarter has no data; its blocks tell when they are computed."""

    def tell(block: np.ndarray, block_info: Any) -> np.ndarray:
        if diary is not None:
            with diary.open("a") as file:
                file.write(f"{block_info[0]['chunk-location'][1]}\n")
        return block

    values = np.random.default_rng(0).random(shape, dtype="float32")
    values[:, shape[1] // 2 : 3 * shape[1] // 4] = np.nan
    lazy = da.from_array(values, chunks=(-1, SHARD, -1), name="scene")
    told = lazy.map_blocks(tell, dtype="float32", meta=np.empty((0, 0, 0), "float32"))
    return on_grid(values).copy(data=told).assign_attrs(units="1")


def files_of(store: Path) -> dict[str, bytes]:
    files = (each for each in sorted(store.rglob("*")) if each.is_file())
    return {str(each.relative_to(store)): each.read_bytes() for each in files}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that nobody has touched, and that tests leave as they found it."""
    with dask.config.set(scheduler="synchronous"):
        store: Path = write_zarr(scene(), tmp_path_factory.mktemp("whole") / "s.zarr", shard=SHARD)
    return store


@pytest.fixture
def store(tmp_path: Path, whole: Path) -> Path:
    """A store to be damaged."""
    return Path(shutil.copytree(whole, tmp_path / "s.zarr"))


def flip(file: Path, place: int, mask: int = 1) -> None:
    content = bytearray(file.read_bytes())
    content[place % len(content)] ^= mask
    file.write_bytes(content)


def blamed(found: lift_xr.Verification) -> set[str]:
    return {failure.file for failure in found.failures}


# ---------------------------------------------------------------------------------- what is right


def test_a_store_that_nobody_touched_is_as_it_was_written(whole):
    found = verify(whole, shards="all")
    assert found.ok
    assert [check.name for check in found.checks] == CHECKS
    assert all(check.passed for check in found.checks)
    assert found["values"].covered == 4 + 4 + 2 + 1  # flags too
    assert str(found).endswith("overviews (7 tasks), flags (4 shards)")


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("shard", [128, 1280])
def test_any_layout_in_memory_or_on_disk_can_be_verified(dtype, shard):
    times = np.array(["2024-05-01", "2024-06-01"], "M8[ns]")
    series = xr.concat([scene((3, 600, 30)), scene((3, 600, 30)) / 2], xr.Variable("time", times))
    made = write_zarr(series.assign_attrs(units="1"), MemoryStore(), dtype=dtype, shard=shard)
    assert verify(made, shards="all").ok
    assert verify(made, shards=2).ok


def test_shards_of_nodata_leave_no_files_and_are_right(tmp_path):
    empty = scene().where(False).assign_attrs(units="1")
    made = write_zarr(empty, tmp_path / "s.zarr", shard=SHARD)
    assert not (made / "0/reflectance/c").exists()
    found = verify(made, shards="all")
    assert found.ok
    assert found["values"].covered == 11


# ---------------------------------------------------------------------------------- what is found


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(which=st.integers(0, 10**6), place=st.integers(0, 10**6), mask=st.integers(1, 255))
def test_any_flipped_byte_of_any_file_is_found_and_its_file_named(whole, which, place, mask):
    files = [each for each in sorted(whole.rglob("*")) if each.is_file()]
    file = files[which % len(files)]
    before = file.read_bytes()
    flip(file, place, mask)
    try:
        assert blamed(verify(whole, shards="all")) == {str(file.relative_to(whole))}
    finally:
        file.write_bytes(before)


@pytest.mark.parametrize(
    "key", ["0/reflectance/c/0/1/0", "1/reflectance/c/0/0/0", "_progress/0/c/0/1/0/0", "1/x/c/0"]
)
@pytest.mark.parametrize("left", ["nothing", "half", "zeros"])
def test_what_a_machine_without_power_leaves_of_a_file_is_found(store, key, left):
    content = (store / key).read_bytes()
    half = content[: len(content) // 2]
    (store / key).write_bytes({"nothing": b"", "half": half, "zeros": bytes(len(content))}[left])
    assert key in blamed(verify(store, shards="all"))


def test_what_decoding_would_not_miss_is_found_too(store):
    file = store / "0/reflectance/c/0/1/0"
    values = zarr.open_array(store, path="0/reflectance")[...]
    flip(file, 28, 0x10)  # the bit of zstd's first frame header that the format leaves unused
    np.testing.assert_array_equal(zarr.open_array(store, path="0/reflectance")[...], values)
    assert blamed(verify(store, shards="all")) == {"0/reflectance/c/0/1/0"}


def test_a_failure_names_level_shard_array_and_file(store):
    flip(store / "1/reflectance/c/0/1/0", 99)
    (failure,) = verify(store, shards="all").failures
    assert (failure.level, failure.index) == (1, (0, 1, 0))
    assert failure.path == "1/reflectance"
    assert str(failure).startswith("level 1 shard (0, 1, 0): 1/reflectance/c/0/1/0 has changed")


def test_shards_that_changed_places_are_found(store):
    one, other = (store / f"0/reflectance/c/0/{row}/0" for row in (0, 1))
    one.rename(store / "aside")
    other.rename(one)
    (store / "aside").rename(other)
    assert blamed(verify(store, shards="all")) == {f"0/reflectance/c/0/{row}/0" for row in (0, 1)}


def test_missing_files_and_files_too_many_are_found_whichever_shards_are_covered(store):
    (store / "0/reflectance/c/0/3/0").unlink()
    (store / "quality/flags/c/2/0").unlink()
    (store / "0/reflectance/c/0/2").mkdir()
    shutil.copy(store / "0/reflectance/c/0/1/0", store / "0/reflectance/c/0/2/0")
    (store / "0/reflectance/c/0/1/0.4f.partial").write_text("half of it")
    (store / "0/y/c/0").unlink()
    found = verify(store, shards=1)
    assert {str(failure).split(": ")[-1] for failure in found["complete"].failures} == {
        "0/reflectance/c/0/3/0 is missing",
        "quality/flags/c/2/0 is missing",
        "0/reflectance/c/0/2/0 was not written, for the shard is all nodata; expected no file",
    }
    assert [failure.file for failure in found["metadata"].failures] == ["0/y/c/0"]


def test_a_sample_finds_what_it_covers(store):
    flip(store / "0/reflectance/c/0/3/0", 50)
    results = {seed: verify(store, shards=1, seed=seed) for seed in range(8)}
    assert {found.ok for found in results.values()} == {True, False}
    assert verify(store, shards=1, seed=3).checks == results[3].checks
    assert not verify(store, shards=4).ok


def forge(store: Path, path: str, change: Any) -> None:
    """Change an array and every checksum of it, as only a bug in the writer could."""
    array = zarr.open_array(store, path=path, mode="r+")
    array[...] = change(np.asarray(array[...]))
    for first, progress in all_progress(store).items():
        if path in progress.columns:
            record = zarr.open_array(store, path=f"_progress/{first}", mode="r+")
            for index in np.ndindex(*progress.states.shape):
                sums = dict(zip(progress.columns, progress.rows[index], strict=True))
                sums |= sums_of(store, array, path, index, sums)
                record[index] = done_row(0, list(sums.values())[2:-1])
    finalize(store, read_root(store)["run"])


def sums_of(store: Path, array: Any, path: str, index: tuple[int, ...], names: Any) -> dict:
    edge = (array.shards or array.shape)[-2]
    sums = {path: checksum(array[..., index[1] * edge : (index[1] + 1) * edge, :])}
    for name in (each for each in names if each.startswith(f"{path}/c")):
        file = store / key_of_file(name, index[-array.ndim :])
        sums[name] = crc32(file.read_bytes()) if file.exists() else ABSENT
    return sums


def test_an_overview_that_is_not_the_mean_of_the_level_below_is_found(store):
    forge(store, "2/reflectance", lambda codes: np.where(codes == 65535, codes, codes + 1))
    found = verify(store, shards="all")
    assert [check.name for check in found.checks if check.failures] == ["overviews"]
    assert {(each.level, each.index) for each in found.failures} == {(2, (0, 0, 0))}


def test_flags_that_do_not_tell_where_nodata_is_are_found(store):
    forge(store, "quality/flags", lambda flags: flags[::-1])
    found = verify(store, shards="all")
    assert {failure.check for failure in found.failures} == {"flags"}
    assert "is wrong about nodata in 5500 pixels" in str(found)


def test_an_unfinished_run_is_not_complete_and_what_it_wrote_is_verified(store):
    root = zarr.open_group(store, mode="r+", use_consolidated=False)
    root.attrs["lift_xr"] = {**root.attrs["lift_xr"], "complete": False}
    (store / "_progress/0/c/0/1/0/0").unlink()
    flip(store / "0/reflectance/c/0/0/0", 7)
    found = verify(store, shards="all")
    assert {failure.check for failure in found.failures} == {"complete", "files"}
    assert "level 0 shard (0, 1, 0) is not done" in map(str, found["complete"].failures)


# ------------------------------------------------------------------------------- what is put right


def test_what_is_damaged_is_written_again_and_nothing_else(tmp_path, store, whole):
    for file in ("0/reflectance/c/0/1/0", "1/x/zarr.json", "2/y/c/0", "_progress/0/c/0/3/0/0"):
        flip(store / file, 40)
    (store / "quality/flags/c/2/0").unlink()
    assert not verify(store, shards="all", repair=True).ok
    with pytest.raises(LayoutError, match="is incomplete"):
        open_scene(store)
    diary = tmp_path / "diary"
    write_zarr(scene(diary=diary), store, shard=SHARD, resume=True)
    assert sorted(diary.read_text().split()) == ["0", "1", "2", "3"]  # 0: looked at again
    assert files_of(store) == files_of(whole)


def test_to_repair_what_is_right_changes_nothing(store, whole):
    assert verify(store, shards="all", repair=True).ok
    assert files_of(store) == files_of(whole)


@pytest.mark.parametrize(
    ("found", "left"),
    [
        ('"scale_factor": 0.0001', '"scale_factor": 0.0002'),
        ('"run":', '"run'),
        ("{", ""),
    ],
)
def test_a_damaged_root_is_made_again_from_the_copy_beside_the_record(
    tmp_path, store, whole, found, left
):
    root = store / "zarr.json"
    root.write_text(root.read_text().replace(found, left))
    flip(store / "0/reflectance/c/0/1/0", 40)
    assert "zarr.json" in {each.file for each in verify(store, shards="all").failures}
    assert not verify(store, shards="all", repair=True).ok
    with pytest.raises(LayoutError, match="is incomplete"):
        open_scene(store)
    with pytest.raises(LayoutError, match="was begun by another run"):
        write_zarr(scene(), store, shard=SHARD, dtype="float32", resume=True)
    diary = tmp_path / "diary"
    write_zarr(scene(diary=diary), store, shard=SHARD, resume=True)
    assert diary.read_text().split() == ["0", "1"]  # 0: looked at again
    assert files_of(store) == files_of(whole)


def test_a_root_that_is_gone_is_made_again_too(store, whole):
    (store / "zarr.json").unlink()
    assert [each.file for each in verify(store, repair=True).failures] == ["zarr.json"]
    write_zarr(scene(), store, shard=SHARD, resume=True)
    assert files_of(store) == files_of(whole)


def test_where_the_copy_is_damaged_too_nothing_is_guessed(store):
    for file in ("zarr.json", "_progress/zarr.json"):
        content = (store / file).read_text()
        (store / file).write_text(content.replace('"scale_factor": 0.0001', '"scale_factor": 0.1'))
    before = files_of(store)
    with pytest.raises(LayoutError, match=r"and so is the copy of it .*overwrite=True"):
        verify(store, repair=True)
    assert files_of(store) == before


# -------------------------------------------------------------------------------------- the physics

RATIO = 8
SRF = lift_xr.SRF.gaussian([480, 560, 660], [60, 60, 60], names=["blue", "green", "red"])


def hsi() -> xr.DataArray:
    scene = cube(12, 12, spacing=RATIO).assign_attrs(units="1")
    return scene.assign_coords(x=scene.x + 10.0)


def msi(seed: int = 7) -> xr.DataArray:
    """What a camera of another gain sees of a finer cube over the same ground."""
    fine = hsi().isel(y=np.arange(96) // RATIO, x=np.arange(96) // RATIO).to_numpy()
    fine = fine * (1 + 0.1 * np.random.default_rng(seed).standard_normal((96, 96)))
    seen = np.einsum("mb,byx->myx", SRF.sample(hsi()).to_numpy(), fine) / 2
    return on_grid(seen.astype("float32"), left=10.0).assign_coords(band=["blue", "green", "red"])


@pytest.fixture(scope="module")
def model() -> lift_xr.Model:
    with dask.config.set(scheduler="synchronous"):
        return lift_xr.fit(hsi(), SRF, msi=msi(), method="linear", harmonize="regression")


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory, model: lift_xr.Model) -> Path:
    with dask.config.set(scheduler="synchronous"):
        lifted = lift_xr.predict(model, msi())
        made: Path = write_zarr(lifted, tmp_path_factory.mktemp("fused") / "s.zarr", shard=32)
    return made


def test_shards_lifted_again_are_the_same_and_both_sensors_see_themselves(fused, model):
    found = verify(fused, msi=msi(), hsi=hsi(), shards="all")  # by the model that the store holds
    assert found.ok, str(found)
    assert verify(fused, msi=msi(), model=model, shards=1)["lifted again"].passed
    assert found["lifted again"].figures["identical shards"] == 9
    sensor = found["sensor"]
    assert 0.9 * 96 * 96 < sensor.covered <= 96 * 96  # but for those beyond the training range
    assert sensor.passed
    assert max(sensor.figures["rmse"]) < min(sensor.figures["tolerance"])
    cells = found["cells"]
    assert cells.covered == 12 * 12
    assert cells.passed is None
    assert min(cells.figures["correlation"]) > 0.9


def test_without_consistency_the_sensor_is_told_and_not_judged(tmp_path):
    plain = lift_xr.fit(hsi(), SRF, msi=msi(), method="linear", consistency="none")
    made = write_zarr(lift_xr.predict(plain, msi()), tmp_path / "s.zarr", shard=32)
    sensor = verify(made, msi=msi(), model=plain)["sensor"]
    assert sensor.passed is None
    assert sensor.figures["band"] == ["blue", "green", "red"]


def test_a_mosaic_of_another_day_is_found(fused, model):
    tuesday = msi(seed=8)
    with pytest.raises(LayoutError, match="expected the mosaic it was made from"):
        verify(fused, msi=tuesday.chunk(y=40), model=model)
    made = dask.delayed(tuesday.to_numpy)()  # made up when asked for: nothing tells it apart
    tuesday = tuesday.copy(data=da.from_delayed(made, tuesday.shape, tuesday.dtype))
    found = verify(fused, msi=tuesday, model=model, shards="all")
    assert {failure.check for failure in found.failures} == {"lifted again", "sensor"}
    assert len(found["lifted again"].failures) == 9
    assert "seen as band blue differs from the mosaic by" in str(found["sensor"].failures[0])


def test_another_file_than_the_store_was_made_from_is_an_error(tmp_path, model):
    for seed in (7, 8):
        msi(seed).rio.write_crs(32615).rio.to_raster(tmp_path / f"{seed}.tif")
    monday, tuesday = (open_scene(tmp_path / f"{seed}.tif", block=40) for seed in (7, 8))
    made = write_zarr(lift_xr.predict(model, monday), tmp_path / "s.zarr", shard=32)
    assert verify(made, msi=open_scene(tmp_path / "7.tif"), model=model).ok
    with pytest.raises(LayoutError, match="expected the mosaic it was made from"):
        verify(made, msi=tuesday, model=model)


def test_scenes_and_models_that_do_not_belong_are_errors(fused, model):
    other = lift_xr.fit(hsi(), SRF, method="linear")
    with pytest.raises(LayoutError, match="was made with the model of digest"):
        verify(fused, model=other)
    with pytest.raises(GridError, match="expected the grid of the store"):
        verify(fused, msi=msi()[:, :40], model=model)
    with pytest.raises(SpectralError, match="hsi lacks 1 bands of the store, such as 13"):
        verify(fused, hsi=hsi()[:12])
    copied = write_zarr(open_scene(fused), MemoryStore(), shard=32)
    with pytest.raises(
        LayoutError, match="msi is given and model is not, and the store holds none"
    ):
        verify(copied, msi=msi())


@pytest.mark.parametrize("kept", ["copy", "address"])
def test_recipes_are_verified_as_they_lie(tmp_path, model, kept):
    coded = (msi() * 1000).astype("uint8").assign_attrs(_FillValue=0)
    coded.rio.write_crs(32615).rio.to_raster(tmp_path / "msi.tif")
    lifted = lift_xr.predict(model, open_scene(tmp_path / "msi.tif", block=32))
    made = write_zarr(lifted, tmp_path / "s.zarr", kind="recipe", msi=kept, shard=32)
    assert verify(made, shards="all").ok
    with pytest.raises(LayoutError, match="is a recipe"):
        verify(made, msi=msi())
    file = next(each for each in sorted((made / "model").rglob("*")) if each.is_file())
    flip(file, 50)
    assert blamed(verify(made)) == {str(file.relative_to(made))}


# ---------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("shards", [0, -1, 2.5, True, "some"])
def test_shards_are_counted(whole, shards):
    with pytest.raises(LayoutError, match=r"expected a whole number from 1, or 'all'"):
        verify(whole, shards=shards)


def test_what_is_no_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        verify(tmp_path / "nothing.zarr")
    zarr.open_group(tmp_path / "other.zarr", mode="w")
    with pytest.raises(LayoutError, match="is no store that write_zarr began"):
        verify(tmp_path / "other.zarr")


def test_a_record_without_checksums_of_files_is_refused(store):
    metadata = json.loads((store / "_progress/0/zarr.json").read_text())
    metadata["attributes"]["columns"] = metadata["attributes"]["columns"][:5]
    metadata["shape"][-1] = metadata["chunk_grid"]["configuration"]["chunk_shape"][-1] = 5
    (store / "_progress/0/zarr.json").write_text(json.dumps(metadata))
    root = zarr.open_group(store, mode="r+", use_consolidated=False)
    root.attrs["lift_xr"] = {**root.attrs["lift_xr"], "complete": False}
    with pytest.raises(LayoutError, match="has no checksums of files"):
        verify(store)


def unfinished(store: Path) -> Path:
    root = zarr.open_group(store, mode="r+", use_consolidated=False)
    root.attrs["lift_xr"] = {**root.attrs["lift_xr"], "complete": False}
    return store


SPOILT = {
    "truncated": lambda told: None,
    "huge": lambda told: told.update(shape=[1, 2**30, 2**30, told["shape"][-1]]),
    "flat": lambda told: told.update(shape=[9]),
    "packed": lambda told: told.update(codecs=[*told["codecs"], {"name": "gzip"}]),
    "coarse": lambda told: told["chunk_grid"]["configuration"].update(chunk_shape=[1, 4, 1, 2**40]),
    "other": lambda told: told.update(data_type="float64", fill_value=0.0),
    "no columns": lambda told: told["attributes"].pop("columns"),
    "few columns": lambda told: told["attributes"]["columns"].pop(3),
    "outside": lambda told: told["attributes"]["columns"].__setitem__(3, "../../0/reflectance/c"),
    "numbers": lambda told: told["attributes"]["columns"].__setitem__(3, 7),
}


@pytest.mark.parametrize("spoilt", sorted(SPOILT))
def test_a_damaged_header_of_the_record_is_named_and_written_again(store, whole, spoilt):
    file = unfinished(store) / "_progress/0/zarr.json"
    told = json.loads(file.read_text())
    SPOILT[spoilt](told)
    file.write_text(json.dumps(told) if spoilt != "truncated" else file.read_text()[:99])
    with pytest.raises(LayoutError, match=r"_progress/0/zarr.json of .*repair=True"):
        status(store)
    found = verify(store, shards="all", repair=True)
    assert [each.file for each in found["metadata"].failures] == ["_progress/0/zarr.json"]
    write_zarr(scene(), store, shard=SHARD, resume=True)
    assert files_of(store) == files_of(whole)


def test_damaged_headers_of_pixels_are_named_in_an_unfinished_store(store, whole):
    for path in ("0/reflectance", "quality/flags"):
        file = unfinished(store) / path / "zarr.json"
        file.write_text(file.read_text()[:99])
    file = store / "1/reflectance/zarr.json"
    file.write_text((store / "1/y/zarr.json").read_text())
    found = verify(store, shards="all", repair=True)
    assert {each.file for each in found["metadata"].failures} == {
        f"{path}/zarr.json" for path in ("0/reflectance", "1/reflectance", "quality/flags")
    }
    write_zarr(scene(), store, shard=SHARD, resume=True)
    assert files_of(store) == files_of(whole)


def test_a_row_of_the_record_that_the_disk_cannot_read_is_named(store, monkeypatch):
    (unread, *_) = sorted(store.glob("_progress/0/c/*/*/*/0"))
    read = Path.read_bytes

    def failing(path: Path) -> bytes:
        if path == unread:
            raise OSError(errno.EIO, "Input/output error")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", failing)
    (named,) = verify(store)["record"].failures
    assert named.file == str(unread.relative_to(store))


def test_a_row_of_the_record_that_is_cut_short_is_named_and_written_again(store, whole):
    row = unfinished(store) / "_progress/0/c/0/1/0/0"
    row.write_bytes(row.read_bytes()[:9])
    (named,) = verify(store)["record"].failures
    assert named.file == "_progress/0/c/0/1/0/0"
    write_zarr(scene(), store, shard=SHARD, resume=True)
    assert files_of(store) == files_of(whole)


# --------------------------------------------------------------------------------- the command line


def run(*arguments: object) -> Any:
    return CliRunner().invoke(main, ["verify", *(str(each) for each in arguments)])


def test_the_command_says_what_it_checked(fused, model, tmp_path):
    model.save(tmp_path / "m.lift")
    write_zarr(hsi(), tmp_path / "hsi.zarr", dtype="float32")
    result = run(fused, "--hsi", tmp_path / "hsi.zarr", "--model", tmp_path / "m.lift")
    assert result.exit_code == 0, result.output
    for check in (*CHECKS, "cells"):
        assert check in result.output
    assert "correlation" in result.output


def test_the_command_takes_the_model_of_a_store(fused):
    result = run(fused, "--model", fused, "--shards", 1)
    assert result.exit_code == 0, result.output
    assert "Needs --model" not in run("--help").output


def test_the_command_names_what_is_damaged_and_says_how_to_put_it_right(store):
    flip(store / "0/reflectance/c/0/1/0", 12)
    result = run(store, "--shards", "all")
    assert result.exit_code == 3
    said = " ".join(result.output.split())
    assert "level 0 shard (0, 1, 0): 0/reflectance/c/0/1/0 has changed" in said
    assert "Run verify again with --repair" in said
    assert run(store, "--shards", "all", "--repair").exit_code == 3
    result = run(store)
    assert "Now run the command that wrote it again with --resume" in " ".join(
        result.output.split()
    )
    assert run(store, "--shards", "few").exit_code == 2
