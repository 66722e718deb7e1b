"""Doors are slow enough without waiting between two tries."""

from __future__ import annotations

import pytest

from lift_xr.io import compute


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute, "BACKOFF", 0.001)
