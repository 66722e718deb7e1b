"""A model survives the disk, and a hostile file is only an error."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from lift_xr.models import Model, load_model
from lift_xr.models.base import FORMAT
from tests.pixels.test_kernel import block_of, network


def model(**changes: object) -> Model:
    net = network(bands=5)
    arrays: dict[str, np.ndarray] = {f"lift.{name}": each for name, each in net.arrays().items()}
    arrays |= {
        "wavelength": np.linspace(400, 900, 5),
        "srf": np.full((3, 5), 0.2),
        "range": np.array([0.0, 1.0]),
    }
    about = {
        "method": "sin",
        "kind": "dense",
        "network": net.settings(),
        "seed": 0,
        "bands": [1, 2, 3, 4, 5],
        "msi_bands": ["blue", "green", "red"],
        "good": None,
        "units": "1",
        "alone": True,
        "consistency": "msi",
        "harmonize": "none",
        "versions": {"lift-xr": "0.1.0"},
    }
    return Model(arrays, about | changes)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "a.lift"
    model().save(path)
    return path


def test_a_model_comes_back_the_same(saved: Path) -> None:
    again, block = load_model(saved), block_of(30)
    np.testing.assert_array_equal(again(block), model()(block))
    assert again.digest == model().digest
    assert again.about == model().about
    assert [path.name for path in saved.parent.iterdir()] == ["a.lift"], "no partial file is left"


def test_the_digest_names_the_weights_and_not_their_history() -> None:
    assert model(seed=1).digest == model().digest
    other = model()
    changed = dict(other.arrays) | {"lift.bias": other.arrays["lift.bias"] + np.float32(1e-6)}
    assert Model(changed, other.about).digest != other.digest


def test_a_pickled_model_carries_values_only() -> None:
    used = model()
    used(block_of(3))
    assert len(pickle.dumps(used)) == len(pickle.dumps(model()))
    assert pickle.loads(pickle.dumps(used)).digest == used.digest


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "none.lift")


def test_a_folder_is_no_model_file(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="is a folder; expected a file"):
        load_model(tmp_path)
    with pytest.raises(IsADirectoryError, match="is a folder; expected a file"):
        model().save(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_model_is_not_saved_where_there_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none is no folder; .*mkdir -p"):
        model().save(tmp_path / "none" / "a.lift")


def test_a_pickle_is_not_a_model(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "it ran",))

    path = tmp_path / "bomb.lift"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match=r"bomb\.lift is not a lift_xr model"):
        load_model(path)
    assert not (tmp_path / "it ran").exists()


@pytest.mark.parametrize(
    "header",
    [
        {"lift.bias": {"dtype": "F32", "shape": [10**15], "data_offsets": [0, 4 * 10**15]}},
        {"lift.bias": {"dtype": "F32", "shape": [4], "data_offsets": [-16, 0]}},
        {"lift.bias": {"dtype": "Q7", "shape": [4], "data_offsets": [0, 16]}},
        {},
    ],
)
def test_a_header_that_lies_is_refused_before_anything_is_allocated(
    tmp_path: Path, header: dict
) -> None:
    text = json.dumps(header).encode()
    path = tmp_path / "liar.lift"
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 16)
    with pytest.raises(ValueError, match=r"liar\.lift"):
        load_model(path)


def test_a_file_too_large_for_a_model_is_not_read(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lift_xr.models.base.MAX_FILE_BYTES", 100)
    with pytest.raises(ValueError, match="fewer than 100"):
        load_model(saved)


def test_a_later_format_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "later.lift"
    save_file({"range": np.zeros(2)}, path, metadata={"format": "lift_xr model 2"})
    with pytest.raises(ValueError, match="this version reads 'lift_xr model 1'"):
        load_model(path)


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ("[" * 100_000, "broken JSON"),
        ("{", "broken JSON"),
        ("[1]", "with a list, not an object"),
        ("{}", "does not hold a usable model"),
        ('{"kind": "dense"}', "does not hold a usable model"),
        ('{"kind": "os.system", "network": {}, "method": "sin"}', "kind 'os.system'"),
    ],
)
def test_a_description_that_is_nonsense_is_refused(
    tmp_path: Path, about: str, message: str
) -> None:
    path = tmp_path / "odd.lift"
    save_file(dict(model().arrays), path, metadata={"format": FORMAT, "about": about})
    with pytest.raises(ValueError, match=message):
        load_model(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bands": [1]}, "names other bands than the 5"),
        ({"msi_bands": None}, "names other msi_bands than the 3"),
        ({"good": [True]}, "flags 1 bands of 5"),
        ({"versions": {}}, "which version made it"),
    ],
)
def test_a_description_that_disagrees_is_refused(
    tmp_path: Path, changes: dict, message: str
) -> None:
    model(**changes).save(tmp_path / "odd.lift")
    with pytest.raises(ValueError, match=message):
        load_model(tmp_path / "odd.lift")


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("srf", np.zeros((2, 5)), "srf has shape"),
        ("wavelength", np.full(5, np.nan), "wavelength holds values that are not finite"),
        ("range", np.zeros(2, "int64"), "range has dtype int64"),
        ("lift.bias", np.zeros(5, "float64"), "must be float32"),
    ],
)
def test_arrays_that_disagree_are_named(
    tmp_path: Path, name: str, array: np.ndarray, message: str
) -> None:
    path = tmp_path / "odd.lift"
    Model(dict(model().arrays) | {name: array}, model().about).save(path)
    with pytest.raises(ValueError, match=message):
        load_model(path)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_damaged_file_is_an_error_or_a_sound_model(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.lift"
    model().save(path)
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        survivor = load_model(path)
    except ValueError:
        return
    assert survivor(block_of(5)).shape == (5, 1, 5)
