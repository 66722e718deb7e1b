"""Stop a run between two shards when Ctrl-C, or a batch system's SIGTERM, asks for it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A run was told to stop, and did so with every shard whole."""


@contextmanager
def stop_when_told() -> Iterator[threading.Event]:
    """Set the event when a signal comes; a second one interrupts what this thread itself does.

    Not what other threads do: Python waits for them, and ends with the shards in flight after all.
    Who cannot wait kills the process, which loses just these shards. Only a main thread hears
    signals; elsewhere the event is never set. Signals that whoever started this process chose to
    ignore stay ignored.
    """
    stop = threading.Event()

    def tell(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {}
    if threading.current_thread() is threading.main_thread():
        handlers = {number: signal.getsignal(number) for number in SIGNALS}
        before = {n: each for n, each in handlers.items() if each not in (None, signal.SIG_IGN)}
    for number in before:
        signal.signal(number, tell)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
