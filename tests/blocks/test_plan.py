from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lift_xr.errors import LayoutError
from lift_xr.plan import Layout, chunk_edge, passes_of, shard_edge, spectral_chunk

HOUSTON = (50, 83440, 24040)


def test_houston_is_1254_shards():
    layout = Layout.of(HOUSTON, "uint16")
    assert layout.shards == 1254
    assert layout.shard == (50, 1280, 1280)
    assert layout.chunk == (10, 320, 320)


@pytest.mark.parametrize("ratio", range(1, 512))
def test_a_chunk_holds_whole_cells_and_has_the_size_readers_like(ratio):
    edge = chunk_edge(ratio)
    assert 256 <= edge < 512
    assert edge % ratio == 0
    assert shard_edge(ratio) == 4 * edge


@pytest.mark.parametrize("ratio", [1, 2, 4, 5, 8, 10, 16, 20, 32, 40, 64, 80, 160, 320])
def test_the_default_shard_suits_ratios_that_divide_320(ratio):
    assert Layout.of(HOUSTON, "uint16").chunk[-1] % ratio == 0


def test_every_ratio_a_chunk_can_follow_has_a_shard_that_suits_it():
    for ratio in range(1, 512):
        layout = Layout.of(HOUSTON, "uint16", shard=shard_edge(ratio))
        assert layout.chunk[-2:] == (chunk_edge(ratio), chunk_edge(ratio))
        assert layout.chunk[-1] % ratio == 0


@pytest.mark.parametrize("ratio", [10.5, 0.5, 600])
def test_a_ratio_no_chunk_can_follow_gets_the_plain_size(ratio):
    assert chunk_edge(ratio) == 256


@given(bands=st.integers(1, 600))
def test_spectral_chunks_are_about_ten_bands_and_nearly_full(bands):
    chunk = spectral_chunk(bands)
    assert chunk <= 14
    assert -(-bands // chunk) * chunk - bands < chunk


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 3000), st.integers(1, 3000)),
    shard=st.integers(1, 1400),
)
def test_shards_cover_the_array_once_and_hold_whole_chunks(size, shard):
    layout = Layout.of(size, "float32", shard=shard)
    assert [sum(along) for along in layout.blocks] == list(size)
    assert layout.shards == np.prod([len(along) for along in layout.blocks])
    assert all(s % c == 0 for s, c in zip(layout.shard, layout.chunk, strict=True))
    assert len(layout.blocks[0]) == 1


def test_time_is_written_one_by_one():
    layout = Layout.of((3, 4, 10, 10), "uint16")
    assert layout.shard[0] == layout.chunk[0] == 1
    assert layout.shards == 3


def test_what_fits_in_one_shard_has_none_and_is_not_padded():
    layout = Layout.of((4, 30, 700), "uint16")
    assert not layout.sharded
    assert layout.chunk == (4, 30, 320)
    assert layout.blocks == ((4,), (30,), (700,))


@pytest.mark.parametrize("shard", [0, -4, 2.5, "big", True])
def test_a_shard_is_a_positive_whole_number(shard):
    with pytest.raises(LayoutError, match=r"shard is .*whole number of pixels. Use shard=1280"):
        Layout.of(HOUSTON, "uint16", shard=shard)


def test_a_shard_that_cannot_be_cut_into_chunks_must_not_outgrow_the_codec():
    with pytest.raises(LayoutError, match=r"chunks of .* GiB; expected at most 2 GiB"):
        Layout.of(HOUSTON, "float32", shard=16381)


@given(
    height=st.integers(1, 5000),
    width=st.integers(1, 5000),
    shard=st.sampled_from([1, 3, 16, 250, 251, 252, 960, 1280, 4096]),
)
def test_the_shards_of_a_task_cover_the_same_ground_on_every_level(height, width, shard):
    shard = max(shard, 16) if height * width > 10**5 else shard
    passes = passes_of((3, height, width), "uint16", shard=shard)
    layouts = [layout for each in passes for layout in each.layouts]
    assert max(layouts[-1].shape[1:]) <= 512
    assert all(max(layout.shape[1:]) > 512 for layout in layouts[:-1])
    for each in passes:
        first = each.layouts[0]
        for level, layout in enumerate(each.layouts):
            assert tuple(len(along) for along in layout.blocks) == each.grid
            for axis in (1, 2):
                finer = np.add.accumulate((0, *first.blocks[axis]))
                coarser = np.add.accumulate((0, *layout.blocks[axis]))
                np.testing.assert_array_equal(coarser, -(-finer // 2**level))


def test_houston_is_written_in_three_passes():
    passes = passes_of(HOUSTON, "uint16")
    assert [layout.shard[1] for layout in passes[0].layouts] == [1280, 640, 320]
    assert [each.tasks for each in passes] == [1254, 27, 2]
    assert passes[-1].layouts[-1].shape == (50, 326, 94)
