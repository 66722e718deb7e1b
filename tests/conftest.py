"""What every test may ask for."""

from __future__ import annotations

from collections.abc import Iterator

import dask
import hypothesis
import pytest

from tests import processes  # noqa: F401  # says what the server of processes imports

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("lift_xr", deadline=None)
hypothesis.settings.load_profile("lift_xr")


@pytest.fixture(autouse=True)
def _one_scheduler() -> Iterator[None]:
    """Compute in this thread unless a test says otherwise: order and errors stay simple."""
    with dask.config.set({"scheduler": "synchronous", "multiprocessing.context": "forkserver"}):
        yield
