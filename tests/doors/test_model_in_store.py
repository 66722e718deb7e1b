"""The model inside every store of what predict returned: read back, resumed, never trusted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import dask
import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.storage import MemoryStore

import lift_xr
from lift_xr.errors import LayoutError
from lift_xr.io import open_scene, write_zarr
from lift_xr.io.store import ABOUT
from lift_xr.models import Model
from tests.doors.test_resume import files_of
from tests.pixels.test_kernel import block_of
from tests.pixels.test_model_file import model
from tests.scenes import on_grid


def fused() -> xr.DataArray:
    values = np.random.default_rng(0).random((3, 40, 40), dtype="float32")
    msi = on_grid(values, left=100.0).rio.write_crs("EPSG:32615").assign_attrs(units="1")
    return lift_xr.predict(model(), msi.chunk(y=20))


def written(scene: xr.DataArray, place: object, **settings: object) -> object:
    return write_zarr(scene, place, shard=20, dtype="float32", **settings)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with dask.config.set(scheduler="synchronous"):
        return written(fused(), tmp_path_factory.mktemp("whole") / "fused.zarr")


@pytest.fixture
def store(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "fused.zarr")


def test_the_model_comes_back_from_the_store(store: Path) -> None:
    again, block = lift_xr.load_model(store), block_of(30)
    np.testing.assert_array_equal(again(block), model()(block))
    assert again.digest == model().digest
    assert again.about == model().about
    assert {name: array.dtype for name, array in again.arrays.items()} == {
        name: array.dtype for name, array in model().arrays.items()
    }


@pytest.mark.parametrize("place", [str, lambda path: zarr.storage.LocalStore(path)])
def test_the_model_is_read_from_paths_and_stores(store: Path, place: Callable) -> None:
    assert lift_xr.load_model(place(store)).digest == model().digest


def test_a_store_in_memory_holds_the_model_too() -> None:
    assert lift_xr.load_model(written(fused(), MemoryStore())).digest == model().digest


def test_a_store_that_is_begun_holds_the_model(tmp_path: Path) -> None:
    store = written(fused(), tmp_path / "begun.zarr", part=(0, 4))
    assert not lift_xr.status(store).complete
    assert lift_xr.status(store).done == 0
    assert lift_xr.load_model(store).digest == model().digest


def test_a_model_file_is_read_as_before(tmp_path: Path) -> None:
    model().save(tmp_path / "m.lift")
    assert lift_xr.load_model(tmp_path / "m.lift").digest == model().digest


def test_a_store_is_the_same_bytes_each_time_with_the_model_in_it(store: Path, tmp_path) -> None:
    again = written(fused(), tmp_path / "again.zarr")
    assert files_of(again) == files_of(store)


def test_a_resumed_run_that_takes_its_model_from_the_store_writes_the_same_bytes(
    store: Path, tmp_path: Path
) -> None:
    begun = tmp_path / "begun.zarr"
    scene = fused()
    written(scene, begun, part=(1, 2))
    values = np.random.default_rng(0).random((3, 40, 40), dtype="float32")
    msi = on_grid(values, left=100.0).rio.write_crs("EPSG:32615").assign_attrs(units="1")
    again = lift_xr.predict(lift_xr.load_model(begun), msi.chunk(y=20))
    written(again, begun, resume=True)
    assert files_of(begun) == files_of(store)


def test_the_response_is_a_dataset_of_its_own(store: Path) -> None:
    with xr.open_zarr(store, group="srf", chunks=None) as response:
        assert response["response"].dims == ("msi_band", "band")
        assert response["msi_band"].to_numpy().tolist() == ["blue", "green", "red"]
        np.testing.assert_array_equal(response["response"], model().arrays["srf"])
        np.testing.assert_array_equal(response["wavelength"], model().arrays["wavelength"])
        assert response["wavelength"].attrs["units"] == "nm"


def test_every_group_of_a_store_opens_in_xarray(store: Path) -> None:
    with xr.open_datatree(store, engine="zarr", chunks=None) as tree:
        assert {"0", "model", "quality", "srf"} <= set(tree.children)
    scene = open_scene(store)
    assert scene.rio.crs == "EPSG:32615"
    np.testing.assert_allclose(scene, fused(), atol=1e-4)


@pytest.mark.parametrize("change", [lambda f: f.isel(x=slice(30)), lambda f: f * 1])
def test_what_is_more_than_predicted_has_no_model_inside(tmp_path: Path, change) -> None:
    store = written(change(fused()), tmp_path / "crop.zarr")
    about = zarr.open_group(store, mode="r").attrs[ABOUT]
    assert about["model"] is None
    assert about["provenance"]["lift_xr_model"] == model().digest
    with pytest.raises(ValueError, match=r"crop.zarr holds no model; expected one.*model.save"):
        lift_xr.load_model(store)


def test_the_root_names_the_model_inside(store: Path) -> None:
    assert zarr.open_group(store, mode="r").attrs[ABOUT]["model"] == model().digest


def test_what_is_no_store_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        lift_xr.load_model(tmp_path / "none.zarr")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        lift_xr.load_model(tmp_path)


# ---- hostile stores


def weights(told: dict, **changes: object) -> None:
    told.update(changes)


def bytes_alone(told: dict) -> None:
    told["codecs"].append({"name": "zstd", "configuration": {"level": 0, "checksum": False}})


def chunk_of(shape: list[int]) -> Callable[[dict], None]:
    def change(told: dict) -> None:
        told["chunk_grid"]["configuration"]["chunk_shape"] = shape

    return change


ARRAY = "model/lift.output"
SPOILED: dict[str, tuple[str, Callable[[dict], object], str]] = {
    "huge shape": (ARRAY, lambda told: told.update(shape=[2**30, 2**12]), "claims .* bytes"),
    "huge chunk": (ARRAY, chunk_of([2**16, 2**16]), "claims .* bytes"),
    "other shape": (ARRAY, lambda told: told.update(shape=[5, 15]), "not hold a usable model"),
    "codec": (ARRAY, bytes_alone, "not plain float32"),
    "pickle": (
        ARRAY,
        lambda told: told.update(codecs=[{"name": "numcodecs.pickle", "configuration": {}}]),
        "holds no plain numbers",
    ),
    "integers": (ARRAY, lambda told: told.update(data_type="int32", fill_value=0), "not plain"),
    "fill": (ARRAY, lambda told: told.update(data_type="object"), "holds no plain numbers"),
    "format": ("model", lambda told: told["attributes"].update(format="9"), "has format '9'"),
    "about": ("model", lambda told: told["attributes"].update(about=[]), "not describe itself"),
    "empty": ("model", lambda told: told["attributes"].update(about={}), "not hold a usable model"),
    "kind": (
        "model",
        lambda told: told["attributes"]["about"].update(kind="os.system"),
        "not hold a usable model",
    ),
    "digest": ("model", lambda told: told["attributes"].update(digest="0" * 64), "has digest"),
    "array": ("model", lambda told: told.update(node_type="array"), "holds no model"),
}


@pytest.mark.parametrize("kind", sorted(SPOILED))
def test_a_hostile_model_in_a_store_is_an_error(store: Path, kind: str) -> None:
    where, change, expected = SPOILED[kind]
    path = store / where / "zarr.json"
    told = json.loads(path.read_text())
    change(told)
    path.write_text(json.dumps(told))
    with pytest.raises(ValueError, match=expected):
        lift_xr.load_model(store)


def test_weights_that_changed_are_noticed(store: Path) -> None:
    chunk = next(path for path in (store / ARRAY / "c").rglob("*") if path.is_file())
    spoiled = bytearray(chunk.read_bytes())
    spoiled[5] ^= 1
    chunk.write_bytes(bytes(spoiled))
    with pytest.raises(ValueError, match="the store is damaged, or still being made"):
        lift_xr.load_model(store)
    chunk.unlink()  # as in a store half made: zarr would read zeros
    with pytest.raises(ValueError, match="the store is damaged, or still being made"):
        lift_xr.load_model(store)
    chunk.write_bytes(b"\0" * 7)
    with pytest.raises(ValueError, match="not hold a usable model"):
        lift_xr.load_model(store)


def test_a_model_larger_than_any_is_not_read(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lift_xr.io.embed.GREATEST_MODEL", 1000)
    with pytest.raises(
        ValueError, match=r"the model in .* has \d+ bytes; a model in a store has at"
    ):
        lift_xr.load_model(store)


def test_metadata_of_the_second_version_is_not_read(tmp_path: Path) -> None:
    root = zarr.open_group(tmp_path / "v2.zarr", mode="w", zarr_format=2)
    root.create_group("model", attributes={"format": "lift_xr model 1"})
    with pytest.raises(ValueError, match="holds no model"):
        lift_xr.load_model(tmp_path / "v2.zarr")


def test_a_store_without_its_model_still_opens(store: Path) -> None:
    shutil.rmtree(store / "model")
    assert open_scene(store).shape == (5, 40, 40)


def test_a_run_that_is_refused_leaves_the_model_of_the_one_that_began(tmp_path: Path) -> None:
    other = replace(model(), arrays={**model().arrays, "range": np.array([0.0, 2.0])})

    def bare(fitted: Model) -> xr.DataArray:  # attributes that tell of the model are dropped
        msi = on_grid(np.full((3, 40, 40), 0.5, "float32")).assign_attrs(units="1")
        return lift_xr.predict(fitted, msi).drop_attrs(deep=False).assign_attrs(units="1")

    place = tmp_path / "fused.zarr"
    written(bare(model()), place, part=(1, 2))
    with pytest.raises(LayoutError, match="model is"):
        written(bare(other), place, resume=True)
    written(bare(model()), place, resume=True)
    assert lift_xr.load_model(place).digest == model().digest
