"""How many codecs zarr runs side by side, so that threads at work and cores stay as many."""

from __future__ import annotations

import zarr

from lift_xr.io.cores import cores
from lift_xr.threads import ProcessLimit


def one_codec_at_a_time() -> ProcessLimit:
    """Keep zarr from coding chunks side by side while any task of this process runs.

    Left alone it starts up to ten for every thread that reads or writes, while others lift. Chunks
    of a mosaic on an object store then come one after the other too, which zarr cannot tell from
    their decoding.
    """
    return _ONE_CODEC


def a_codec_a_core() -> ProcessLimit:
    """Let zarr decode as many chunks as there are cores, where one thread reads and waits."""
    return _A_CODEC_A_CORE


_ONE_CODEC = ProcessLimit(lambda: zarr.config.set({"async.concurrency": 1}))
_A_CODEC_A_CORE = ProcessLimit(lambda: zarr.config.set({"async.concurrency": cores()}))
