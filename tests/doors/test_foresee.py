"""A run is foreseen before it starts, and what cannot be is refused with the setting to change."""

from __future__ import annotations

import gc
import importlib
import itertools
import os
import re
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask.array as da
import numpy as np
import pytest
import rasterio
import xarray as xr
from click.testing import CliRunner, Result
from dask.core import flatten
from zarr.storage import MemoryStore

import lift_xr
from lift_xr.cli import main
from lift_xr.errors import LayoutError, SpectralError
from lift_xr.io import allowed, write_zarr
from lift_xr.io.probe import _probe_of
from lift_xr.memory import RESERVE
from lift_xr.models import Model
from tests.scenes import on_grid

FORESEE = importlib.import_module("lift_xr.io.foresee")
HOUSTON = (83440, 24040)
EMPTY = np.empty((0, 0, 0), "uint8")


@pytest.fixture(scope="module")
def model() -> Model:
    cube = on_grid(np.random.default_rng(0).random((50, 20, 20), "float32"))
    centres = ("band", np.linspace(380.0, 1050.0, 50), {"units": "nm"})
    cube = cube.assign_coords(wavelength=centres).assign_attrs(units="1")
    return lift_xr.fit(cube, "rgb-camera", method="linear", progress=False)


class Unread:
    """A mosaic whose pixels must not be read."""

    dtype, ndim = np.dtype("uint8"), 3

    def __init__(self, rows: int, columns: int) -> None:
        self.shape = (3, rows, columns)

    def __getitem__(self, index: Any) -> np.ndarray:
        raise AssertionError("a pixel was read")


def unread(rows: int = HOUSTON[0], columns: int = HOUSTON[1], *, block: int = 1280) -> xr.DataArray:
    data = da.from_array(
        Unread(rows, columns), chunks=(3, block, block), asarray=False, meta=np.empty((0, 0, 0))
    )
    centres = {"y": -0.05 * (np.arange(rows) + 0.5), "x": 0.05 * (np.arange(columns) + 0.5)}
    mosaic = xr.DataArray(data.astype("uint8"), dims=("band", "y", "x"), coords=centres)
    return mosaic.assign_attrs(units="1", scale_factor=1 / 255)


def coarse(ratio: float) -> xr.DataArray:
    cube = on_grid(np.zeros((2, 6, 6), "float32"), spacing=0.05 * ratio)
    return cube.assign_coords(wavelength=("band", [500.0, 600.0], {"units": "nm"}))


def planned(model: Model, msi: xr.DataArray | None = None, **settings: Any) -> lift_xr.io.Plan:
    told = {"workers": 4, "threads": 2, "probe": False} | settings
    return lift_xr.plan(unread() if msi is None else msi, model, **told)


def small(rows: int = 600, columns: int = 1000) -> xr.DataArray:
    """A mosaic of noise: 15 shards of 200 pixels."""
    values = np.random.default_rng(1).integers(0, 256, (3, rows, columns), "uint8")
    return on_grid(values, spacing=0.05).assign_attrs(units="1", scale_factor=1 / 255)


# ------------------------------------------------------------------------------------- what it says


def test_houston_is_foreseen_without_reading_a_pixel(model):
    foreseen = planned(model)
    assert foreseen.shape == (50, *HOUSTON)
    assert (foreseen.shards, foreseen.tasks) == (1254, 1254 + 27 + 2)
    assert foreseen.output_bytes == pytest.approx(4 / 3 * 50 * 2 * 83440 * 24040, rel=0.01)
    assert foreseen.seconds is foreseen.stored_bytes is foreseen.probe is None
    assert foreseen.bytes_per_task < 1e9
    assert foreseen.peak_memory == foreseen.base + 2 * foreseen.bytes_per_task


def test_the_graph_of_houston_is_a_task_a_shard_built_without_reading_a_pixel(model):
    data = lift_xr.predict(model, unread()).data
    assert len(data.dask.layers) < 12
    optimized = da.optimize(data.dask, list(flatten(data.__dask_keys__())))
    assert 1254 <= len(dict(optimized)) < 1260


@pytest.mark.filterwarnings("ignore:.*values lay outside")
@pytest.mark.parametrize(("shard", "shards", "tasks"), [(125, 15, 21), (640, 1, 1)])
def test_what_is_foreseen_is_what_the_run_does(model, tmp_path, shard, shards, tasks):
    msi = small(260, 600)
    foreseen = lift_xr.plan(msi, model, shard=shard)
    store = write_zarr(lift_xr.predict(model, msi), tmp_path / "fused.zarr", shard=shard)
    assert lift_xr.status(store).total == foreseen.tasks == tasks
    sizes = sizes_of_pixels(store)
    assert (foreseen.shards, foreseen.files) == (shards, len(sizes))
    assert foreseen.stored_bytes == pytest.approx(sum(sizes), rel=0.2)
    assert foreseen.output_bytes > sum(sizes)


def sizes_of_pixels(store: Path) -> list[int]:
    """Bytes of every file but metadata and coordinates."""
    pixels = re.compile(r"reflectance/c|flags/c|_progress/\d+/c")
    found = [each for each in Path(store).rglob("*") if pixels.search(each.as_posix())]
    return [each.stat().st_size for each in found if each.is_file()]


def test_a_probe_times_one_real_shard_from_the_middle(model):
    foreseen = lift_xr.plan(small(), model, shard=200, workers=1, threads=1)
    probe = foreseen.probe
    assert probe is not None
    assert probe.index == (0, 1, 2)
    assert probe.pixels == 200 * 200
    assert probe.raw == (50 * 200 * 200 * 2, 50 * 100 * 100 * 2, 200 * 200)
    assert min(probe.read, probe.lift, probe.encode) > 0
    assert probe.seconds <= foreseen.seconds
    assert foreseen.seconds == pytest.approx(15 * probe.seconds, rel=0.2)


def test_more_workers_take_less_time_but_no_less_than_a_shard(model):
    one = lift_xr.plan(small(), model, shard=200, workers=1, threads=1)
    four, many = (FORESEE.replace(one, workers=each) for each in (4, 1000))
    assert four.seconds == pytest.approx(one.seconds / 4)
    assert many.seconds == pytest.approx(one.seconds / 15, rel=0.2)
    assert many.seconds >= one.probe.seconds


@pytest.mark.parametrize(
    ("cores", "settings", "memory", "beside"),
    [
        (2, {"threads": 2}, 64e9, 2),
        (2, {"threads": 8}, 64e9, 2),  # no more than this machine has
        (8, {"threads": 2}, 64e9, 2),
        (8, {"threads": 8, "shard": 600}, 64e9, 2),  # no more than there are shards
        (8, {"threads": 2, "workers": 100}, 64e9, 2),  # each worker may have a machine of its own
        (8, {"threads": 8, "workers": 1}, 0, 1),  # nor more than memory bears, here
        (8, {}, 64e9, 6),  # the client's two workers of three threads on one machine
        (2, {}, 64e9, 2),
    ],
)
def test_a_probe_keeps_as_many_threads_busy_as_share_a_machine(
    model, monkeypatch, cores, settings, memory, beside
):
    two = client(*[{"nthreads": 3, "memory_limit": 2 * 10**9, "host": "node1"}] * 2)
    if not settings:
        monkeypatch.setattr(FORESEE, "client_in_charge", lambda: two)
    monkeypatch.setattr(FORESEE, "cores", lambda asked=None: cores)
    monkeypatch.setattr(allowed, "memory", lambda: allowed.Limit(memory))
    settings = {"workers": None if not settings else 1, "shard": 200} | settings
    foreseen = lift_xr.plan(small(), model, **settings)
    assert foreseen.probe.threads == beside
    assert ("side by side" in repr(foreseen)) is (beside > 1)


def test_threads_side_by_side_store_the_same_and_count_once(model):
    one, two = (
        lift_xr.plan(small(), model, shard=200, workers=1, threads=each).probe for each in (1, 2)
    )
    for name in ("index", "pixels", "stored", "raw"):
        assert getattr(one, name) == getattr(two, name)


def test_a_probe_keeps_nothing_of_what_it_wrote(model):
    def stores() -> list[MemoryStore]:
        gc.collect()
        return [each for each in gc.get_objects() if type(each) is MemoryStore]

    before = {id(each) for each in stores()}
    lift_xr.plan(small(), model, shard=200, workers=1, threads=2)
    assert not [
        each._store_dict for each in stores() if id(each) not in before and each._store_dict
    ]


def test_threads_side_by_side_read_side_by_side(model, monkeypatch):
    monkeypatch.setattr(FORESEE, "cores", lambda asked=None: 2)
    both, reads = threading.Barrier(2), itertools.count()

    def read(block: np.ndarray) -> np.ndarray:
        if next(reads):  # the first is by itself
            both.wait(60)
        return block

    msi = small(200, 400)
    msi = msi.copy(data=da.from_array(msi.to_numpy()).map_blocks(read, dtype="uint8", meta=EMPTY))
    assert lift_xr.plan(msi, model, shard=200, workers=1, threads=2).probe.threads == 2
    assert next(reads) == 3


def test_what_threads_take_is_the_mean_and_what_they_hold_a_share():
    laps = {"read": 2.0, "lift": 3.0, "encode": 1.0, "halve": 1.0, "write": 4.0}
    slower = {name: 2 * each for name, each in laps.items()}
    found = [(laps, (10, 5, 1)), (slower, (10, 5, 1))]
    grown = RESERVE + 1000
    probe = _probe_of((0, 0, 0), (40, 20, 4), found, first_read=1.0, grown=grown)
    assert (probe.read, probe.lift, probe.encode, probe.codec) == (3, 4.5, 3, 6)
    assert (probe.threads, probe.memory, probe.pixels) == (2, 500, 4)
    slow = _probe_of((0, 0, 0), (40, 20, 4), found, first_read=9.0, grown=0)
    assert (slow.read, slow.memory) == (9, 0)


def test_a_probe_passes_over_nodata(model):
    msi = small().astype("float32") / 255
    msi.attrs = {"units": "1"}
    msi[:, 200:400, 400:600] = np.nan
    probe = lift_xr.plan(msi, model, shard=200).probe
    assert probe is not None
    assert probe.index == (0, 0, 1)
    assert probe.stored[0] > 10_000


class Wide(Model):
    """A model that is lent its neighbours."""

    halo = 7


def test_a_model_that_looks_sideways_is_probed_with_its_halo(model):
    wide = Wide(model.arrays, model.about)
    plain, looking = (lift_xr.plan(small(), each, shard=200) for each in (model, wide))
    assert looking.probe.stored == plain.probe.stored


def test_several_times_are_planned_as_one_run(model):
    series = xr.concat([small(100, 100)] * 3, "time")
    foreseen = lift_xr.plan(series, model, shard=50)
    assert foreseen.shards == 12
    assert foreseen.probe.pixels == 2500
    assert "3 times of 100 x 100 pixels" in repr(foreseen)


def test_a_plan_reads_as_a_table(model):
    text = repr(planned(model, hsi=coarse(20)))
    assert "shards    1,254 of 50 x 1280 x 1280, in chunks of 10 x 320 x 320" in text
    assert "HSI cells 20 x 20 pixels; no chunk cuts one" in text
    assert "tasks     1,283: one a shard, 29 for coarse overviews (9 levels" in text
    assert "workers   4 workers of 2 threads" in text
    assert max(map(len, text.splitlines())) < 100


@pytest.mark.parametrize(
    ("ratio", "told"),
    [
        (24, "chunks of 320 cut them, those of shard 1536 would not"),
        (129, "chunks of 320 cut them, those of shard 1032 would not"),
        (20.5, "no chunk of 256-511 pixels can hold whole ones"),
        (600, "no chunk of 256-511 pixels can hold whole ones"),
    ],
)
def test_the_shard_that_suits_the_cells_is_named(model, ratio, told):
    foreseen = planned(model, hsi=coarse(ratio))
    assert not foreseen.whole_cells
    assert told in repr(foreseen)
    if "shard" in told:
        better = int(told.split("shard ")[1].split()[0])
        assert planned(model, hsi=coarse(ratio), shard=better).whole_cells


# ------------------------------------------------------------------------------------ who will work


def client(*workers: dict[str, int]) -> SimpleNamespace:
    known = {f"tcp://{number}": each for number, each in enumerate(workers)}
    return SimpleNamespace(scheduler_info=lambda n_workers: {"workers": known})


def test_a_client_tells_who_works_and_in_how_much_memory(model, monkeypatch):
    two = client(*[{"nthreads": 3, "memory_limit": 2 * 10**9, "host": "node1"}] * 2)
    monkeypatch.setattr(FORESEE, "client_in_charge", lambda: two)
    foreseen = planned(model, workers=None, threads=None)
    assert (foreseen.workers, foreseen.threads) == (2, 3)
    with pytest.raises(
        LayoutError, match=r"4 threads .*expected at most 2 GB, what a worker has. Use shard=640"
    ):
        planned(model, workers=None, threads=4)


def test_alone_the_machine_is_the_limit(model, monkeypatch):
    monkeypatch.setattr(allowed, "memory", lambda: allowed.Limit(5e8))
    with pytest.raises(LayoutError, match="expected at most 500 MB"):
        planned(model, workers=None, threads=1)


def test_who_allows_so_much_is_named_and_what_to_ask_them_for(model, monkeypatch):
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "400")
    told = r"at most 419 MB, what SLURM gave this job \(SLURM_MEM_PER_NODE\). Use .*a job of "
    with pytest.raises(LayoutError, match=told + r"sbatch --mem=\d{3,4}M \(memory='.*GB' plans"):
        planned(model, workers=None, threads=1)
    monkeypatch.delenv("SLURM_MEM_PER_NODE")
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "100")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "4")
    with pytest.raises(LayoutError, match=r"\(SLURM_MEM_PER_CPU\).*--mem-per-cpu=[23]\d\dM"):
        planned(model, workers=None, threads=1)
    monkeypatch.delenv("SLURM_MEM_PER_CPU")
    two = client(*[{"nthreads": 1, "memory_limit": 4 * 10**8, "host": "node1"}] * 2)
    monkeypatch.setattr(FORESEE, "client_in_charge", lambda: two)
    with pytest.raises(
        LayoutError, match=r"at most 400 MB, what a worker has. Use .* GB each \(memory="
    ):
        planned(model, workers=None, threads=None)


def test_where_no_limit_is_known_the_plan_says_that_nothing_was_compared(model, monkeypatch):
    huge = planned(model, threads=10_000)
    assert huge.limit == np.inf
    assert "limit     not known: say what a worker may hold" in repr(huge)
    assert "limit     8 GB a worker" in repr(planned(model, memory="8GB"))
    monkeypatch.setattr(allowed, "memory", lambda: allowed.Limit(64e9))
    assert "limit     64 GB a worker" in repr(planned(model, workers=None))


def test_what_gdal_keeps_of_a_file_is_counted_as_it_is_set(model, tmp_path):
    small(100, 200).rio.to_raster(tmp_path / "msi.tif")
    msi = lift_xr.open_scene(tmp_path / "msi.tif").assign_attrs(units="1")
    bases = []
    for size in (10_000, 50_000, 10**9):
        with rasterio.Env(GDAL_CACHEMAX=size):
            bases.append(planned(model, msi).base)
    assert np.diff(bases).tolist() == [40_000, 10_000]  # no more than the file holds


# ---------------------------------------------------------------------------------- what cannot be


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"memory": "1GB"}, r"1280 pixels, .* 2 tasks of .* 1 GB. Use shard=640, or threads=1"),
        ({"memory": "900MB", "shard": 1000}, r"Use shard=500, or threads=1, or memory='1GB'"),
        ({"memory": "300MB"}, r"expected at most 300 MB. Use memory='1.4GB'"),
        ({"memory": "some"}, r"memory is 'some'; .* Use memory='4GB'"),
        ({"threads": 0}, r"threads is 0; expected a whole number from 1"),
        ({"workers": 1.5}, r"workers is 1.5; expected a whole number from 1"),
        ({"shard": 0}, r"shard is 0; .* Use shard=1280"),
        ({"shard": 16}, r"shard=16 makes 7,962,689 tasks; .* Use shard=1280"),
        ({"shard": 24 * 16, "hsi": 24}, None),
        ({"shard": 16, "hsi": 24}, r"Use shard=1536"),
        ({"shard": 16381}, r"chunks of .* GiB; expected at most 2 GiB"),
        ({"dtype": "int8"}, r"dtype is int8; expected 'uint16'"),
    ],
)
def test_what_cannot_be_is_refused_with_the_setting_to_change(model, settings, told):
    settings = settings | ({"hsi": coarse(settings["hsi"])} if "hsi" in settings else {})
    if told is None:
        planned(model, **settings)
        return
    with pytest.raises(LayoutError, match=told):
        planned(model, **settings)


def test_what_is_advised_fits(model):
    for advised in ({"shard": 640}, {"threads": 1}, {"memory": "1.4GB"}):
        found = planned(model, **({"memory": "1GB"} | advised))
        assert 0 < found.peak_memory <= found.limit


def test_a_mosaic_that_the_model_cannot_take_is_refused(model):
    with pytest.raises(SpectralError, match="msi has 2 bands"):
        planned(model, unread()[:2])


def test_too_small_a_disk_is_warned_of(model, tmp_path, monkeypatch):
    usage = SimpleNamespace(disk_usage=lambda place: SimpleNamespace(free=10**9))
    monkeypatch.setattr(FORESEE, "shutil", usage)
    with pytest.warns(UserWarning, match=r"269 GB before compression .* has 1 GB left"):
        planned(model, out=tmp_path / "deep" / "fused.zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        planned(model, small(), out=tmp_path / "fused.zarr")
        planned(model, out="s3://bucket/fused.zarr")


# ---------------------------------------------------------------------------------- and it is true


HOLDING = """
import os, sys, numpy as np, dask, dask.array as da, xarray as xr, lift_xr
assert os.environ["GDAL_CACHEMAX"] == "128"
from lift_xr.memory import forget_peak, of_peak
model = lift_xr.load_model(sys.argv[1])
made = lambda block_info: np.random.default_rng(0).integers(1, 256, (3, 768, 768), "uint8")
chunks, nothing = ((3,), (768,) * 2, (768,)), np.empty((0, 0, 0), "uint8")
data = da.map_blocks(made, chunks=chunks, dtype="uint8", meta=nothing)
msi = xr.DataArray(data, dims=("band", "y", "x"), attrs={"units": "1", "scale_factor": 1 / 255})
for threads in (1, 2):
    foreseen = lift_xr.plan(msi, model, shard=768, threads=threads, probe=False)
    forget_peak()
    with dask.config.set(scheduler="threads", num_workers=threads):
        fused = lift_xr.predict(model, msi)
        lift_xr.write_zarr(fused, sys.argv[2] + str(threads), shard=768, progress=False)
    print(of_peak(), foreseen.peak_memory)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are Linux's to tell")
def test_a_process_holds_what_was_foreseen_at_most_and_not_much_less(model, tmp_path):
    model.save(tmp_path / "linear.lift")
    done = subprocess.run(
        [sys.executable, "-c", HOLDING, tmp_path / "linear.lift", tmp_path / "fused.zarr"],
        capture_output=True,
        text=True,
        check=True,
        env={key: value for key, value in os.environ.items() if key != "GDAL_CACHEMAX"},
    )
    for line in done.stdout.splitlines():
        held, foreseen = map(int, line.split())
        assert 0.6 * foreseen < held < foreseen, line


# ---------------------------------------------------------------------------- on the command line


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(each) for each in arguments])


@pytest.fixture
def paths(model, tmp_path):
    msi = small(100, 200).drop_attrs(deep=False).assign_attrs(scale_factor=1 / 255)
    msi.assign_attrs(units="1").rio.to_raster(tmp_path / "msi.tif")
    model.save(tmp_path / "linear.lift")
    return tmp_path / "msi.tif", "--model", tmp_path / "linear.lift"


@pytest.mark.filterwarnings("ignore:msi has no units")
def test_lift_xr_plan_prints_the_plan_and_writes_nothing(paths, tmp_path):
    result = run("plan", *paths, "--shard", 64, "--out", tmp_path / "fused.zarr")
    assert result.exit_code == 0, result.output
    for told in ("100 x 200 pixels, 50 bands", "8 of 50 x 64 x 64", "on disk", "a shard", "lift"):
        assert told in result.output
    assert not (tmp_path / "fused.zarr").exists()


@pytest.mark.filterwarnings("ignore:msi has no units")
def test_lift_xr_plan_refuses_with_the_option_to_change(paths):
    result = run("plan", *paths, "--no-probe", "--shard", 64, "--workers", 1, "--memory", "312MB")
    assert result.exit_code == 2
    assert "expected at most 312 MB. Use --shard 32" in result.stderr
    result = run("plan", *paths, "--no-probe", "--shard", 64, "--workers", 1)
    assert "not known: say what a worker may hold, with memory= or --memory" in result.output
