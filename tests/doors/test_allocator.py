"""What tasks have freed goes back to the system, whichever threads they ran in."""

from __future__ import annotations

import os
import subprocess
import sys
from unittest.mock import Mock

import pytest

from lift_xr.io import allocator

MIB = 2**20
OF_GLIBC = ("MALLOC_", "GLIBC_TUNABLES")
HEAD = """
import resource, runpy, sys, threading, numpy as np
ours = runpy.run_path(sys.argv[1])
if sys.argv[2] == "settled":
    ours["settle"]()
def resident():
    (line,) = [each for each in open("/proc/self/status") if each.startswith("VmRSS")]
    return 1024 * int(line.split()[1])
"""
THREADS = """
together = threading.Barrier(9)
def work():
    np.ones(24 * 2**20, "uint8")  # from the system; glibc, left alone, learns from its size
    held = [np.ones(4 * 2**20, "uint8") for _ in range(10)]
    del held
    together.wait()
    together.wait()
before = resident()
for _ in range(8):
    threading.Thread(target=work).start()
together.wait()
ours["give_back"]()
print(resident() - before)
together.wait()
"""
FAULTS = """
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(200):
    np.ones(2**20, "uint8")
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
glibc = pytest.mark.skipif(
    allocator._of_glibc("mallopt") is None, reason="other C libraries have nothing to settle"
)


def told(script: str, how: str, **environment: str) -> int:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(OF_GLIBC)}
    done = subprocess.run(
        [sys.executable, "-c", HEAD + script, allocator.__file__, how],
        capture_output=True,
        text=True,
        check=True,
        env=kept | environment,
    )
    return int(done.stdout)


@glibc
def test_threads_keep_little_of_what_they_have_freed() -> None:
    assert told(THREADS, "settled") < 8 * 8 * MIB < told(THREADS, "left alone")


@glibc
def test_a_worker_of_dask_does_not_ask_the_system_for_every_array_anew() -> None:
    dask = {"MALLOC_TRIM_THRESHOLD_": "65536"}  # in the environment of its workers
    assert told(FAULTS, "settled", **dask) < 200 * 256 / 4 < told(FAULTS, "left alone", **dask)


@glibc
@pytest.mark.parametrize(
    "own",
    [
        {"MALLOC_MMAP_THRESHOLD_": "131072"},
        {"MALLOC_TRIM_THRESHOLD_": "131072"},
        {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=131072"},
        {"GLIBC_TUNABLES": "glibc.malloc.arena_max=2:glibc.malloc.trim_threshold=131072"},
    ],
)
def test_what_a_person_has_set_for_the_allocator_stands(own: dict[str, str]) -> None:
    assert told(FAULTS, "settled", **own) > 200 * 256 / 2


@pytest.mark.parametrize(
    ("own", "left"),
    [
        ({}, {allocator.ARENA_MAX, allocator.MMAP_THRESHOLD, allocator.TRIM_THRESHOLD}),
        ({"MALLOC_ARENA_MAX": "4"}, {allocator.MMAP_THRESHOLD, allocator.TRIM_THRESHOLD}),
        ({"MALLOC_MMAP_THRESHOLD_": "1"}, {allocator.ARENA_MAX, allocator.TRIM_THRESHOLD}),
        ({"MALLOC_TRIM_THRESHOLD_": "1"}, {allocator.ARENA_MAX, allocator.MMAP_THRESHOLD}),
        (
            {"MALLOC_TRIM_THRESHOLD_": "65536"},  # dask's
            {allocator.ARENA_MAX, allocator.MMAP_THRESHOLD, allocator.TRIM_THRESHOLD},
        ),
        (
            {"GLIBC_TUNABLES": "glibc.malloc.check=0:glibc.malloc.arena_max=2"},
            {allocator.MMAP_THRESHOLD, allocator.TRIM_THRESHOLD},
        ),
        (
            {
                "MALLOC_TRIM_THRESHOLD_": "65536",
                "GLIBC_TUNABLES": "glibc.malloc.trim_threshold=65536",
            },
            {allocator.ARENA_MAX, allocator.MMAP_THRESHOLD},
        ),
    ],
)
def test_only_what_nobody_has_set_is_set(
    own: dict[str, str], left: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    mallopt = Mock()
    monkeypatch.setattr(allocator, "_of_glibc", lambda name: mallopt)
    for name in [each for each in os.environ if each.startswith(OF_GLIBC)]:
        monkeypatch.delenv(name)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    allocator.settle.__wrapped__()
    assert {each.args[0] for each in mallopt.call_args_list} == left
