from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from lift_xr.decode import decode
from lift_xr.errors import SpectralError


def packed(values, dtype, **attrs):
    array = np.asarray(values, dtype).reshape(-1, 1, 1)
    return xr.DataArray(array, dims=("band", "y", "x"), attrs=attrs).chunk()


def decoded(*args, **attrs) -> list[float]:
    return decode(packed(*args, **attrs)).to_numpy().ravel().tolist()


@pytest.mark.parametrize("key", ["_FillValue", "missing_value", "nodata"])
def test_nodata_of_integers_becomes_nan_before_the_scale_applies(key):
    values = decode(packed([0, 5, 7], "uint8", scale_factor=5.0, **{key: 5}))
    np.testing.assert_array_equal(values.to_numpy().ravel(), np.float32([0, np.nan, 35]))


def test_several_nodata_values_all_count():
    found = decoded([1, 2, 3], "int16", _FillValue=1, missing_value=[2, 9])
    np.testing.assert_array_equal(found, [np.nan, np.nan, 3])


@pytest.mark.parametrize("code", [-9999, 256, np.nan, 0.5, 1e300])
def test_a_nodata_value_the_type_cannot_hold_masks_nothing(code):
    assert decoded([0, 1, 255], "uint8", _FillValue=code) == [0, 1, 255]


def test_floats_keep_nan_and_lose_their_finite_nodata():
    found = decoded([1, np.nan, -9999], "float64", _FillValue=-9999.0)
    np.testing.assert_array_equal(found, [1, np.nan, np.nan])
    lowest = float(np.finfo("float32").min)
    np.testing.assert_array_equal(decoded([1, lowest], "float32", nodata=lowest), [1, np.nan])


def test_wide_integers_are_scaled_before_they_are_rounded():
    value = 2**31 - 1
    (found,) = decoded([value], "int32", scale_factor=1e-9, add_offset=-2.0)
    assert found == np.float32(value * 1e-9 - 2)


def test_each_band_may_have_its_own_scale():
    assert decoded([1, 1, 1], "int16", scale_factor=[1.0, 2.0, 4.0], add_offset=1.0) == [2, 3, 5]
    with pytest.raises(SpectralError, match="2 values of scale_factor for 3 bands"):
        decoded([1, 1, 1], "int16", scale_factor=[1.0, 2.0])


def test_what_was_applied_is_dropped_and_the_rest_is_kept():
    scene = packed([1], "int16", scale_factor=2.0, add_offset=0.0, _FillValue=0, units="1")
    once = decode(scene)
    assert once.attrs == {"units": "1"}
    xr.testing.assert_identical(decode(once), once)


def test_what_a_reader_applied_already_is_not_applied_again():
    scene = packed([2.0], "float32")
    scene.encoding = {"scale_factor": 0.5, "_FillValue": 2}
    assert decode(scene).to_numpy().item() == 2


def test_plain_float32_costs_no_task():
    scene = packed([2.0], "float32")
    assert decode(scene).data.name == scene.data.name


@pytest.mark.parametrize("scale", [0.0, np.nan, np.inf, 1e-60])
def test_a_scale_that_loses_the_values_is_refused(scale):
    with pytest.raises(SpectralError, match=r"scale_factor .* expected finite numbers.*= 1e-4"):
        decode(packed([1], "int16", scale_factor=scale), name="hsi")


def test_a_scale_that_overflows_float32_is_refused_before_a_pixel_is_read():
    with pytest.raises(SpectralError, match=r"so int32 reaches 2.1.*e\+39; expected at most 3.4"):
        decode(packed([1], "int32", scale_factor=1e30))
    assert decoded([1], "int16", scale_factor=1e30) == [np.float32(1e30)]


@pytest.mark.parametrize("dtype", ["complex64", "bool", "U3", "M8[s]"])
def test_what_is_no_number_is_refused(dtype):
    scene = xr.DataArray(np.zeros((1, 1, 1), dtype), dims=("band", "y", "x")).chunk()
    with pytest.raises(SpectralError, match=r"has dtype .*expected integers or floats"):
        decode(scene)


def test_values_beyond_float32_become_infinite_for_fit_to_report():
    assert decoded([1e300], "float64") == [np.inf]


@pytest.mark.parametrize("key", ["_FillValue", "nodata", "scale_factor", "add_offset"])
@pytest.mark.parametrize("value", ["abc", ["1", "x"], {}])
def test_an_attribute_that_is_no_number_is_named(key, value):
    with pytest.raises(
        SpectralError, match=rf"scene has the attribute {key} .*; expected a number"
    ):
        decoded([1], "uint8", **{key: value})


def test_text_that_spells_a_number_is_one():
    found = decoded([1, 2], "uint8", _FillValue="1", scale_factor="0.5")
    np.testing.assert_array_equal(found, [np.nan, 1.0])
