"""How the C library gives back to the system what tasks have freed."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from functools import cache

MIB = 2**20
ARENA_MAX, TRIM_THRESHOLD, MMAP_THRESHOLD = -8, -1, -3  # their numbers in glibc's malloc.h
POOLED = 32 * MIB  # bytes; glibc takes no more
KEPT = 4 * MIB  # bytes; with 16, what threads held grew with the shards they had seen
SETTINGS = {  # by their names in the environment, and within GLIBC_TUNABLES
    ("MALLOC_ARENA_MAX", "glibc.malloc.arena_max"): (ARENA_MAX, 1),
    ("MALLOC_MMAP_THRESHOLD_", "glibc.malloc.mmap_threshold"): (MMAP_THRESHOLD, POOLED),
    ("MALLOC_TRIM_THRESHOLD_", "glibc.malloc.trim_threshold"): (TRIM_THRESHOLD, KEPT),
}
OF_DASK = {"MALLOC_TRIM_THRESHOLD_": "65536"}  # what dask sets for its workers, unasked


@cache
def settle() -> None:
    """Have every thread's pool of memory keep little of what is freed: once, before tasks run.

    glibc gives threads pools of their own. ``malloc_trim`` leaves in each what is free at its end,
    for which there is a threshold that glibc raises to twice the largest array it has seen freed,
    up to 64 MiB. A shard passes through half a dozen threads, most of them zarr's, so what they
    kept came to 100 MiB and more, and grew the longer a run went on. A threshold that is set stays;
    and threads that have no pool yet share those there are.

    Setting that one alone, as dask does for its workers, has each array of more than 128 KiB asked
    of the system anew, zeroed page by page, for half as much CPU time again. So arrays of up
    to 32 MiB, a strip of float32, come from the pools. Each of the three that a person has set in
    the environment stands; dask's own threshold is no person's.
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is None:
        return
    for (name, tunable), (number, value) in SETTINGS.items():
        if not _is_set(name, tunable):
            mallopt(number, value)


def _is_set(name: str, tunable: str) -> bool:
    """Say whether a person has set one of the settings, under either name."""
    tunables = os.environ.get("GLIBC_TUNABLES", "").split(":")
    if tunable in (each.split("=")[0] for each in tunables):
        return True
    return os.environ.get(name, OF_DASK.get(name)) != OF_DASK.get(name)


def give_back() -> None:
    """Return what a task has freed to the system: the next one may ask for other sizes."""
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)


@cache
def _of_glibc(name: str) -> Callable[..., int] | None:
    """Find a function of glibc; other C libraries have none, or one that does nothing."""
    try:
        library = ctypes.CDLL(None)
        found: Callable[..., int] = getattr(library, name)
    except (OSError, AttributeError, TypeError):
        return None
    return found if hasattr(library, "gnu_get_libc_version") else None
