"""What a task holds is foreseen from shapes, and does not grow with the scene."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from lift_xr import memory
from lift_xr.memory import held_by_halving, held_by_lifting
from lift_xr.plan import passes_of

HOUSTON = (50, 83440, 24040)


def lifting(shape: tuple[int, ...] = HOUSTON, *, dtype: str = "uint16", shard: int = 1280, **more):
    return held_by_lifting(passes_of(shape, dtype, shard=shard)[0], msi_bands=3, **more)


def test_a_task_of_houston_holds_what_it_reads_lifts_stores_and_compresses():
    held, pixels = lifting(stored_as=1), 1280**2
    assert held.mosaic == pixels * 3 * (1 + 4)
    assert held.cube == 0
    assert held.lifted == 51 * 1280 * 50 * (4 + 2)
    assert held.stored == pixels * (50 * 2 + 1)
    assert held.codec == 2 * pixels * 50 * 2
    assert held.total == held.mosaic + held.lifted + held.stored + held.codec


def test_only_a_model_that_looks_sideways_holds_a_whole_block_of_float32():
    assert lifting().lifted < 0.1 * lifting(halo=1).lifted


def test_float32_that_was_lifted_as_a_block_is_stored_as_it_is():
    assert lifting(dtype="float32", halo=1).stored == 1280**2


@settings(deadline=None)
@given(rows=st.integers(1280, 10**5), columns=st.integers(2561, 10**5))
def test_a_task_holds_the_same_whatever_the_size_of_the_scene(rows, columns):
    assert lifting((50, rows, columns)) == lifting()


@settings(deadline=None)
@given(edge=st.integers(1, 40), more=st.integers(1, 20), halo=st.integers(0, 50))
def test_larger_shards_and_wider_looks_hold_more(edge, more, halo):
    scene = (50, 1500, 1500)
    one, larger = (lifting(scene, shard=16 * each, halo=halo) for each in (edge, edge + more))
    assert one.total < larger.total
    looking, further = (lifting(scene, shard=16 * edge, halo=halo + each) for each in (1, 2))
    assert looking.total < further.total


def test_a_model_that_looks_at_the_cube_again_holds_the_cells_beside_its_block():
    held = lifting(shard=640, halo=10, prior=2, ratio=20)
    assert held.cube == 2 * (33 + 6) ** 2 * 50 * 4


@settings(deadline=None)
@given(
    rows=st.integers(1300, 9000),
    columns=st.integers(1300, 9000),
    shard=st.sampled_from([16, 250, 640, 1280]),
)
def test_overviews_take_less_than_lifting_does(rows, columns, shard):
    passes = passes_of((50, rows, columns), "uint16", shard=shard)
    first = held_by_lifting(passes[0], msi_bands=3).total
    for before, each in pairwise(passes):
        assert held_by_halving(each, before.layouts[-1]).total <= first


def test_a_scene_of_one_shard_is_compressed_chunk_by_chunk():
    assert lifting((50, 700, 700)).codec < lifting((50, 1400, 1400), shard=700).codec


def test_where_the_system_does_not_tell_nothing_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "Path", lambda name: tmp_path / "nowhere" / name.lstrip("/"))
    assert memory.of_this_process() == memory.of_peak() == 0
    assert not memory.forget_peak()
