"""One codec at a time for every task that writes, so that tasks and cores stay as many."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import zarr

_lock = threading.Lock()
_inside = 0
_setting: Any = None


@contextmanager
def one_codec_at_a_time() -> Iterator[None]:
    """Keep zarr from encoding chunks side by side while any task of this process writes.

    Left alone it starts up to ten for every writing thread, while other threads lift. The setting
    belongs to the process: the first task in makes it, the last one out takes it back.
    """
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _inside, _setting
    with _lock:
        _inside += 1
        if _inside == 1:
            _setting = zarr.config.set({"async.concurrency": 1})


def _leave() -> None:
    global _inside, _setting
    with _lock:
        _inside -= 1
        if _inside == 0:
            _setting.__exit__(None, None, None)
            _setting = None
