from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lift_xr.packing import MISSING, Packing, decode_block, encode_block

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
    codes, clipped = encode_block(scaled, packing)
    assert clipped == 0
    found = back(codes, packing)
    rounding = 4 * np.spacing(np.float32(abs(low) + span))
    assert np.nanmax(np.abs(found - scaled), initial=0) <= 0.5 * packing.scale_factor + rounding
    np.testing.assert_array_equal(np.isnan(found), np.isnan(scaled))


def test_values_beyond_the_codes_are_clipped_and_counted():
    block = np.float32([-1, -np.inf, 0, 6.5534, 7, np.inf, np.nan]).reshape(1, 1, -1)
    codes, clipped = encode_block(block, REFLECTANCE)
    assert codes.ravel().tolist() == [0, 0, 0, 65534, 65534, 65534, MISSING]
    assert clipped == 4
    assert REFLECTANCE.limits == (0, pytest.approx(6.5534))


def test_float32_is_kept_as_it_is():
    block = np.float32([[[np.nan, -1, np.inf]]])
    stored, clipped = encode_block(block, Packing(np.dtype("float32")))
    assert stored is block
    assert clipped == 0


def test_leading_axes_are_encoded_alike():
    block = np.random.default_rng(0).random((2, 3, 4, 5), dtype="float32")
    codes, _ = encode_block(block, REFLECTANCE)
    np.testing.assert_array_equal(codes[1], encode_block(block[1], REFLECTANCE)[0])
