"""One thread a block: blocks run side by side, so what is inside them must not fan out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

from threadpoolctl import ThreadpoolController


class ProcessLimit:
    """A limit that holds for the whole process while any thread is inside.

    It belongs to the process, not to the thread that asks. So the first one in sets it and the
    last one out takes it back; nested save-and-restore would hand the wrong value back.

    Parameters
    ----------
    hold
        Makes the context that sets the limit when entered and takes it back when left.
    """

    def __init__(self, hold: Callable[[], AbstractContextManager[Any]]) -> None:
        self._hold = hold
        self._lock = threading.Lock()
        self._inside = 0
        self._held: AbstractContextManager[Any] | None = None

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._held = self._hold()
                self._held.__enter__()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._held is not None:
                self._held.__exit__(None, None, None)
                self._held = None


def one_blas_thread() -> ProcessLimit:
    """Hold this process's BLAS to one thread while any block is inside."""
    return _ONE_BLAS_THREAD


@lru_cache(maxsize=1)
def _controller() -> ThreadpoolController:
    """Find the BLAS libraries once: the search takes milliseconds, a block may take as little."""
    return ThreadpoolController()


_ONE_BLAS_THREAD = ProcessLimit(lambda: _controller().limit(limits=1, user_api="blas"))
