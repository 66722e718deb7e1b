"""One thread a block: blocks run side by side, so matrix products inside must not fan out."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from threadpoolctl import ThreadpoolController

_lock = threading.Lock()
_inside = 0
_limiter: Any = None


@lru_cache(maxsize=1)
def _controller() -> ThreadpoolController:
    """Find the BLAS libraries once: the search takes milliseconds, a block may take as little."""
    return ThreadpoolController()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold this process's BLAS to one thread while any block is inside.

    The limit belongs to the process, not to the thread that asks. So the first block in sets it
    and the last one out restores it; nested save-and-restore would hand the wrong value back.
    """
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _inside, _limiter
    with _lock:
        _inside += 1
        if _inside == 1:
            _limiter = _controller().limit(limits=1, user_api="blas")


def _leave() -> None:
    global _inside, _limiter
    with _lock:
        _inside -= 1
        if _inside == 0:
            _limiter.restore_original_limits()
            _limiter = None
