from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lift_xr.encode import CLIPPED, NODATA, OUTSIDE, STRIP, Encoded, empty_block, encode_block
from lift_xr.packing import MISSING, Packing, decode_block

REFLECTANCE = Packing(np.dtype("uint16"), 1e-4, 0.0)


def back(codes: np.ndarray, packing: Packing) -> np.ndarray:
    bands = codes.shape[-3]
    return decode_block(
        codes,
        nodata=[MISSING],
        scale=np.full(bands, packing.scale_factor),
        offset=np.full(bands, packing.add_offset),
    )


@given(
    values=arrays.arrays(
        "float32",
        (2, 3, 5),
        elements=st.one_of(st.just(np.nan), st.floats(0, 0.9921875, width=32)),
    ),
    low=st.sampled_from([0.0, -3.0, 250.0]),
    span=st.sampled_from([0.5, 6.5534, 20000.0]),
)
def test_codes_hold_values_to_half_a_step(values, low, span):
    offset = float(np.float32(low))
    packing = Packing(np.dtype("uint16"), span / 65534, offset)
    scaled = (values * np.float32(span) + np.float32(low)).astype("float32")
    encoded = encode_block(scaled, packing)
    assert encoded.clipped == 0
    found = back(encoded.codes, packing)
    rounding = 4 * np.spacing(np.float32(abs(low) + span))
    assert np.nanmax(np.abs(found - scaled), initial=0) <= 0.5 * packing.scale_factor + rounding
    np.testing.assert_array_equal(np.isnan(found), np.isnan(scaled))


@given(
    halves=arrays.arrays("int32", (2, 3, 5), elements=st.integers(-3, 2 * 65534 + 3)),
    missing=st.booleans(),
)
def test_codes_are_rounded_to_the_nearest_and_ties_to_the_even_one(halves, missing):
    block = halves.astype("float32") / 2
    if missing:  # which goes another way
        block[0, 0, 0] = np.nan
    expected = np.clip(np.rint(block), 0, 65534)
    encoded = encode_block(block, Packing(np.dtype("uint16")))
    np.testing.assert_array_equal(encoded.codes, np.where(np.isnan(block), MISSING, expected))


def test_a_block_can_be_encoded_into_room_that_is_there():
    block = np.random.default_rng(3).uniform(-1, 8, (2, 6, 5)).astype("float32")
    for packing in (REFLECTANCE, Packing(np.dtype("float32"))):
        whole = encode_block(block, packing, trained=(0, 5))
        room = empty_block(block.shape, packing)
        clipped = 0
        for rows in (slice(0, 4), slice(4, 6)):
            part = Encoded(room.codes[:, rows], room.flags[rows], clipped)
            clipped = encode_block(block[:, rows], packing, trained=(0, 5), into=part).clipped
        np.testing.assert_array_equal(room.codes, whole.codes)
        np.testing.assert_array_equal(room.flags, whole.flags)
        assert clipped == whole.clipped


def test_values_beyond_the_codes_are_clipped_and_counted():
    block = np.float32([-1, -np.inf, 0, 6.5534, 7, np.inf, np.nan]).reshape(1, 1, -1)
    encoded = encode_block(block, REFLECTANCE)
    assert encoded.codes.ravel().tolist() == [0, 0, 0, 65534, 65534, 65534, MISSING]
    assert encoded.clipped == 4
    assert encoded.flags.ravel().tolist() == [CLIPPED, CLIPPED, 0, 0, CLIPPED, CLIPPED, NODATA]
    assert REFLECTANCE.limits == (0, pytest.approx(6.5534))


def test_float32_is_kept_as_it_is():
    block = np.float32([[[np.nan, -1, np.inf]]])
    encoded = encode_block(block, Packing(np.dtype("float32")), trained=(-0.5, 0.5))
    assert encoded.codes is block
    assert encoded.clipped == 0
    assert encoded.flags.tolist() == [[NODATA, OUTSIDE, OUTSIDE]]


def test_leading_axes_are_encoded_alike():
    block = np.random.default_rng(0).random((2, 3, 4, 5), dtype="float32")
    together = encode_block(block, REFLECTANCE, trained=(0.1, 0.9))
    alone = encode_block(block[1], REFLECTANCE, trained=(0.1, 0.9))
    np.testing.assert_array_equal(together.codes[1], alone.codes)
    np.testing.assert_array_equal(together.flags[1], alone.flags)


@given(
    block=arrays.arrays(
        "float32",
        st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5)),
        elements=st.one_of(st.just(np.nan), st.floats(-1, 8, width=32)),
    )
)
def test_a_pixel_is_flagged_for_any_of_its_bands(block):
    encoded = encode_block(block, REFLECTANCE, trained=(0.5, 2.0))
    scaled = np.rint(block * np.float32(1 / 1e-4))
    for flag, values in (
        (NODATA, np.isnan(block)),
        (OUTSIDE, (block < 0.5) | (block > 2)),
        (CLIPPED, (scaled < 0) | (scaled > 65534)),
    ):
        np.testing.assert_array_equal((encoded.flags & flag) > 0, values.any(axis=0))
    assert encoded.clipped == np.count_nonzero((scaled < 0) | (scaled > 65534))


def test_strips_leave_no_seams():
    rng = np.random.default_rng(1)
    block = rng.uniform(-0.1, 7, (2, 7, STRIP // 3)).astype("float32")
    block[:, rng.random(block.shape[1:]) < 0.1] = np.nan
    whole = encode_block(block, REFLECTANCE, trained=(0, 5))
    rows = [encode_block(block[:, [row]], REFLECTANCE, trained=(0, 5)) for row in range(7)]
    np.testing.assert_array_equal(whole.codes, np.concatenate([each.codes for each in rows], 1))
    np.testing.assert_array_equal(whole.flags, np.concatenate([each.flags for each in rows], 0))
    assert whole.clipped == sum(each.clipped for each in rows)
