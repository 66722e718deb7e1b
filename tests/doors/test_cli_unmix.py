"""``lift-xr unmix`` and the options of ``morph``, as a person uses them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

import lift_xr
from lift_xr.cli import main
from lift_xr.io import open_scene, write_zarr
from lift_xr.models import load_model
from lift_xr.unmix import as_maps
from tests.mixtures import fitted, pair

Files = dict[str, str]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A pair, its response and a model of it on disk."""
    folder = tmp_path_factory.mktemp("pair")
    hsi, msi, srf = pair()
    write_zarr(hsi, folder / "hsi.zarr", progress=False)
    write_zarr(msi, folder / "msi.zarr", dtype="float32", progress=False)
    fitted().save(folder / "morph.lift")
    fitted(1).save(folder / "pan.lift")
    write_zarr(pair(1)[1], folder / "pan.zarr", dtype="float32", progress=False)
    nm = hsi["wavelength"].to_numpy()
    table = pd.DataFrame(srf.T, index=pd.Index(nm, name="nm"), columns=["blue", "green", "red"])
    table.to_csv(folder / "srf.csv")
    return {each.name: str(each) for each in folder.iterdir()}


def run(*arguments: object) -> Result:
    """Run ``lift-xr`` in this process."""
    return CliRunner().invoke(main, [str(each) for each in arguments])


def test_unmix_writes_what_the_library_computes_and_a_table(files: Files, tmp_path: Path) -> None:
    store, csv = tmp_path / "maps.zarr", tmp_path / "endmembers.csv"
    result = run(
        "unmix", files["msi.zarr"], "--model", files["morph.lift"], "--out", store, "--csv", csv
    )
    assert result.exit_code == 0, result.output
    maps = lift_xr.unmix(fitted(), open_scene(files["msi.zarr"]))
    back = as_maps(open_scene(store))
    assert open_scene(store).name == "abundance"
    np.testing.assert_array_equal(back["abundances"], maps["abundances"])
    table = pd.read_csv(csv, index_col="wavelength")
    assert [*table] == [f"endmember {number}" for number in range(1, 4)]
    np.testing.assert_allclose(table.to_numpy().T, maps["endmembers"], rtol=1e-6)


def test_unmix_trains_where_there_is_no_model(files: Files, tmp_path: Path) -> None:
    settings = "--srf", files["srf.csv"], "--harmonize", "none"
    mixing = "--endmembers", 3, "--extraction", "vca", "--constraint", "sum-to-one"
    cube = "unmix", files["msi.zarr"], "--hsi", files["hsi.zarr"]
    result = run(*cube, *settings, *mixing, "--out", tmp_path / "maps.zarr")
    assert result.exit_code == 0, result.output
    shares = as_maps(open_scene(tmp_path / "maps.zarr"))["abundances"]
    assert shares.sizes["endmember"] == 3
    np.testing.assert_allclose(shares.sum("endmember", skipna=False).fillna(1), 1, atol=1e-4)


def test_fit_takes_the_settings_of_a_mixture(files: Files, tmp_path: Path) -> None:
    result = run(
        *("fit", files["hsi.zarr"], "--srf", files["srf.csv"], "--method", "morph"),
        *("--endmembers", 3, "--extraction", "vca", "--constraint", "non-negative"),
        *("--out", tmp_path / "morph.lift"),
    )
    assert result.exit_code == 0, result.output
    told = load_model(tmp_path / "morph.lift").about["history"]["recipe"]
    assert (told["endmembers"], told["extraction"], told["constraint"]) == (
        *(3, "vca"),
        "non-negative",
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--model", "morph.lift", "--endmembers", 3), "--endmembers: settled by --model"),
        ((), "give --model, or --hsi to train one"),
        (("--hsi", "hsi.zarr", "--part", "1/2"), "every part would train its own"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    files: Files, arguments: tuple, told: str, tmp_path: Path
) -> None:
    places = [files.get(str(each), each) for each in arguments]
    csv = tmp_path / "table.csv"
    result = run("unmix", files["msi.zarr"], *places, "--out", tmp_path / "maps.zarr", "--csv", csv)
    assert result.exit_code == 2
    assert told in result.output
    assert not [*tmp_path.iterdir()]


def test_the_first_call_of_several_says_that_nothing_is_written_yet(
    files: Files, tmp_path: Path
) -> None:
    store = tmp_path / "maps.zarr"
    maps = "unmix", files["msi.zarr"], "--model", files["morph.lift"], "--out", store
    assert f"began {store}: write its 3 maps" in run(*maps, "--part", "0/1").output
    assert f"wrote {store}: 3 maps" in run(*maps, "--part", "1/1").output


def test_a_model_that_looks_at_the_cube_again_asks_for_it_as_an_option(
    files: Files, tmp_path: Path
) -> None:
    maps = "unmix", files["pan.zarr"], "--model", files["pan.lift"], "--out", tmp_path / "m.zarr"
    result = run(*maps)
    assert result.exit_code == 2
    assert "Give --hsi HSI" in result.output
    assert "predict(" not in result.output


def test_maps_are_verified_without_the_scenes_they_came_from(files: Files, tmp_path: Path) -> None:
    store = tmp_path / "maps.zarr"
    assert run("unmix", files["msi.zarr"], "--model", files["morph.lift"], "--out", store)
    for more in (("--msi", "msi.zarr"), ("--hsi", "hsi.zarr")):
        result = run("verify", store, more[0], files[more[1]], "--model", files["morph.lift"])
        assert result.exit_code == 2
        assert "the store holds maps of abundances" in result.output
        assert "Leave out msi and hsi" in result.output
    assert run("verify", store, "--model", files["morph.lift"]).exit_code == 0


def test_a_mixture_s_settings_are_for_morph_alone(files: Files, tmp_path: Path) -> None:
    result = run(
        *("fit", files["hsi.zarr"], "--srf", files["srf.csv"], "--constraint", "none"),
        *("--out", tmp_path / "sin.lift"),
    )
    assert result.exit_code == 2
    assert "--constraint is for --method morph, not sin" in result.output


def test_no_table_is_written_where_the_store_may_not_be(files: Files, tmp_path: Path) -> None:
    (tmp_path / "maps.zarr").mkdir()
    (tmp_path / "maps.zarr" / "thesis.txt").write_text("mine")
    csv = tmp_path / "table.csv"
    maps = "unmix", files["msi.zarr"], "--model", files["morph.lift"]
    result = run(*maps, "--out", tmp_path / "maps.zarr", "--csv", csv)
    assert result.exit_code == 2
    assert not csv.exists()


def test_the_first_part_alone_writes_the_table(files: Files, tmp_path: Path) -> None:
    store, csv = tmp_path / "maps.zarr", tmp_path / "table.csv"
    maps = "unmix", files["msi.zarr"], "--model", files["morph.lift"], "--out", store, "--csv", csv
    assert run(*maps, "--part", "2/2").exit_code == 0
    assert not csv.exists()
    assert run(*maps, "--part", "1/2").exit_code == 0
    assert csv.exists()
    assert lift_xr.status(store).complete
