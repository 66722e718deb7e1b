"""One codec at a time for every task that writes, so that tasks and cores stay as many."""

from __future__ import annotations

import zarr

from lift_xr.threads import ProcessLimit


def one_codec_at_a_time() -> ProcessLimit:
    """Keep zarr from encoding chunks side by side while any task of this process writes.

    Left alone it starts up to ten for every writing thread, while other threads lift.
    """
    return _ONE_CODEC


_ONE_CODEC = ProcessLimit(lambda: zarr.config.set({"async.concurrency": 1}))
