"""What every test may ask for."""

from __future__ import annotations

from collections.abc import Iterator

import dask
import pytest

from tests import processes  # noqa: F401  # says what the server of processes imports


@pytest.fixture(autouse=True)
def _one_scheduler() -> Iterator[None]:
    """Compute in this thread unless a test says otherwise: order and errors stay simple."""
    with dask.config.set({"scheduler": "synchronous", "multiprocessing.context": "forkserver"}):
        yield
