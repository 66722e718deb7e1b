from __future__ import annotations

import dask.array as da
import numpy as np
import pytest

from lift_xr.quantiles import quantiles

LEVELS = (0.0, 0.01, 0.25, 0.5, 0.99, 1.0)


@pytest.mark.parametrize("chunks", [(40, 30), (7, 11), (1, 30)])
@pytest.mark.parametrize("scale", [1.0, 1e4, 1e-30])
def test_quantiles_are_exact_for_any_chunking(chunks: tuple[int, int], scale: float) -> None:
    values = (np.random.default_rng(0).normal(size=(40, 30)) * scale).astype("float32")
    values[values > 2 * scale] = 0
    found = quantiles(da.from_array(values, chunks=chunks), LEVELS).compute()
    np.testing.assert_allclose(found, np.quantile(values.astype("float64"), LEVELS), rtol=1e-12)
    assert (found == quantiles(da.from_array(values, chunks=40), LEVELS).compute()).all()


def test_missing_values_are_left_out() -> None:
    values = np.array([[np.nan, 3, np.nan], [1, np.nan, 2]], "float32")
    found = quantiles(da.from_array(values, chunks=(1, 2)), (0.5, 0.75)).compute()
    np.testing.assert_array_equal(found, [2, 2.5])


def test_no_values_have_no_quantiles() -> None:
    values = da.full((4, 4), np.nan, dtype="float32", chunks=2)
    assert np.isnan(quantiles(values, (0.1, 0.9)).compute()).all()


def test_one_value_is_all_quantiles() -> None:
    values = da.full((1, 1), -0.5, dtype="float32", chunks=1)
    np.testing.assert_array_equal(quantiles(values, (0.0, 0.3, 1.0)).compute(), -0.5)
