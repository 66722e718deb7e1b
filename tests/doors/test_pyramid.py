from __future__ import annotations

from itertools import pairwise

import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zarr.storage import MemoryStore

from lift_xr.io import open_scene, write_zarr
from lift_xr.io.geozarr import without_conventions
from lift_xr.io.record import all_progress, checksum
from lift_xr.overview import halve
from lift_xr.packing import Packing
from tests.scenes import on_grid


def scene(shape: tuple[int, ...], *, seed: int = 0, holes: float = 0.2) -> xr.DataArray:
    """Noise with holes, some of them large enough to leave whole cells of the overviews empty."""
    rng = np.random.default_rng(seed)
    values = rng.uniform(0.0, 1.0, shape).astype("float32")
    values[:, rng.random(shape[-2:]) < holes] = np.nan
    values[:, : shape[1] // 3, : shape[2] // 2] = np.nan
    lazy = da.from_array(values, chunks=(-1, 97, 61))
    found = on_grid(values, spacing=2.0, left=300.0, top=200.0).copy(data=lazy)
    return found.assign_attrs(units="1", lift_xr_range=[0.0, 0.9])


def levels_of(store: MemoryStore) -> list[np.ndarray]:
    root = zarr.open_group(store, mode="r")
    names = sorted((name for name in root.group_keys() if name.isdigit()), key=int)
    return [np.asarray(root[f"{name}/reflectance"]) for name in names]


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    height=st.sampled_from([1, 511, 512, 513, 1030, 2049, 4100]),
    width=st.integers(1, 40),
    shard=st.sampled_from([1280, 512, 300, 250, 251]),
    dtype=st.sampled_from(["uint16", "float32"]),
)
def test_every_level_is_the_mean_of_the_one_before(height, width, shard, dtype):
    store = write_zarr(scene((2, height, width)), MemoryStore(), shard=shard, dtype=dtype)
    packing = Packing(np.dtype(dtype), 1e-4) if dtype == "uint16" else Packing(np.dtype(dtype))
    levels = levels_of(store)
    assert levels[-1].shape[1] <= 512
    assert len(levels) == 1 or levels[-2].shape[1] > 512
    for finer, coarser in pairwise(levels):
        np.testing.assert_array_equal(coarser, halve(finer, packing))


def test_wide_scenes_and_series_have_overviews_too():
    series = scene((2, 9, 1100)).expand_dims(time=2)
    series = series * xr.DataArray([1.0, 0.5], dims="time")
    store = write_zarr(series.assign_attrs(units="1"), MemoryStore(), shard=256)
    assert [each.shape for each in levels_of(store)] == [
        (2, 2, 9, 1100),
        (2, 2, 5, 550),
        (2, 2, 3, 275),
    ]
    flags = zarr.open_array(store, path="quality/flags", mode="r")
    assert flags.shape == (2, 9, 1100)


def test_levels_share_a_corner_and_double_their_pixels():
    fused = scene((2, 1031, 7)).rio.write_crs("EPSG:32615")
    store = write_zarr(fused, MemoryStore(), shard=256)
    for level, size in enumerate([(1031, 7), (516, 4), (258, 2)]):
        coarse = xr.open_zarr(store, group=str(level), decode_coords="all").reflectance
        assert coarse.shape[1:] == size
        step = 2.0 * 2**level
        left, top, dx, dy = (coarse.rio.transform()[i] for i in (2, 5, 0, 4))
        assert (left, top, dx, dy) == (300.0, 200.0, step, -step)
        np.testing.assert_allclose(coarse.y, 200 - step * (np.arange(size[0]) + 0.5))
        assert coarse.rio.crs.to_epsg() == 32615
        assert without_conventions(coarse.attrs) == open_scene(store, level=level).attrs
    truth = fused.to_numpy()[:, 1024:1028, 4:].astype("float64")
    coarse = open_scene(store, level=2)
    mean = np.nanmean(np.clip(truth, 0, None), axis=(1, 2))
    assert not np.isnan(truth).all()
    assert abs(coarse[:, 256, 1].to_numpy() - mean).max() < 0.2  # a mean of means, with holes


def test_a_small_scene_has_no_overviews():
    root = zarr.open_group(write_zarr(scene((2, 512, 20)), MemoryStore()), mode="r")
    assert sorted(root.group_keys()) == ["0", "_progress", "quality"]


# ------------------------------------------------------------------------------------------ quality


def test_flags_say_what_is_missing_untrained_or_clipped():
    fused = scene((3, 40, 50))
    fused = fused.where(fused.y < 199, 7.0) - 0.01 * (
        fused.x > 395
    )  # beyond 6.5534, the greatest code
    with pytest.warns(UserWarning, match="were clipped"):
        store = write_zarr(fused, MemoryStore(), shard=16, add_offset=0.0)
    flags = xr.open_zarr(store, group="quality").flags
    values = fused.to_numpy()
    nodata, outside, clipped = ((flags.to_numpy() & mask) > 0 for mask in flags.flag_masks)
    np.testing.assert_array_equal(nodata, np.isnan(values).any(0))
    np.testing.assert_array_equal(outside, ((values < 0) | (values > np.float32(0.9))).any(0))
    np.testing.assert_array_equal(clipped, ((values < -0.5e-4) | (values > 6.5534)).any(0))
    assert flags.dtype == np.uint8
    assert flags.flag_meanings == "nodata outside_training_range clipped"
    np.testing.assert_array_equal(flags.y, fused.y)


# ------------------------------------------------------------------------------------------- record


def test_the_record_holds_the_checksum_of_every_shard():
    store = write_zarr(scene((2, 1100, 30)), MemoryStore(), shard=256)
    progress = all_progress(store)[0]
    assert progress.rows.shape == (1, 5, 1, 2 + 4 + 4 + 1)  # state, values, files, the row itself
    edges = {"0/reflectance": 256, "1/reflectance": 128, "2/reflectance": 64, "quality/flags": 256}
    for path, edge in edges.items():
        stored = np.asarray(zarr.open_array(store, path=path, mode="r"))
        found = progress.column(path).ravel()
        for row, value in enumerate(found):
            assert value == checksum(stored[..., row * edge : (row + 1) * edge, :])
