"""A limit of the process is set by the first one in and taken back by the last one out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from threadpoolctl import threadpool_info

from lift_xr.threads import ProcessLimit, one_blas_thread


def test_the_first_in_sets_it_and_the_last_out_takes_it_back() -> None:
    told: list[str] = []

    @contextmanager
    def hold() -> Iterator[None]:
        told.append("set")
        yield
        told.append("taken back")

    limit = ProcessLimit(hold)
    for _ in range(2):
        limit.__enter__()
        limit.__enter__()
        limit.__exit__()
        assert told[-1] == "set"
        limit.__exit__()
    assert told == ["set", "taken back"] * 2


def test_blas_has_one_thread_inside_and_its_own_number_after() -> None:
    np.ones((2, 2)) @ np.ones((2, 2))

    def threads() -> list[int]:
        return [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]

    before = threads()
    with one_blas_thread(), one_blas_thread():
        assert set(threads()) == {1}
    assert threads() == before
