"""What a worker holds in memory while it writes, foreseen from shapes alone.

Bounds, and near ones: pixels are taken not to compress at all, which noise comes close to.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import ceil, prod
from pathlib import Path

import numpy as np

from lift_xr.plan import Layout, Pass, strips

MB = 1_000_000
LOADED = 250 * MB  # what a process holds that has loaded all a task needs, without torch
RESERVE = 60 * MB  # what the first tasks load, and the little that threads keep of what is freed
FLOAT = np.dtype("float32").itemsize
TASK_COPIES = 2  # of what is compressed: its chunks, and the shard that is put together of them


@dataclass(frozen=True)
class Held:
    """What one task holds at once, in bytes.

    Parameters
    ----------
    mosaic
        Its window, as read and as float32.
    cube
        The cells beside it, of a model that looks at the cube again.
    lifted
        All bands, float32: of the block, or of a strip where the model looks at no neighbour.
    stored
        Codes and flags.
    codec
        Compressed chunks, and the shard put together of them; overviews in the making.
    """

    mosaic: int = 0
    cube: int = 0
    lifted: int = 0
    stored: int = 0
    codec: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return sum(getattr(self, each.name) for each in fields(self))


def held_by_lifting(
    each: Pass,
    *,
    msi_bands: int,
    halo: int = 0,
    prior: int | None = None,
    ratio: int = 1,
    stored_as: int = FLOAT,
) -> Held:
    """Foresee a task of the first pass: read, lift, encode, write.

    Parameters
    ----------
    each
        The pass.
    msi_bands
        Bands of the mosaic.
    halo
        How far the model looks sideways, in pixels.
    prior, ratio
        How many of the cube's cells it looks at around a block, and the pixels along a cell's
        edge; None where it needs no cube.
    stored_as
        Bytes of one value of the mosaic as it lies in its file.
    """
    layout = each.layouts[0]
    bands, rows, columns = (max(along) for along in layout.blocks[-3:])
    wide = (rows + 2 * halo) * (columns + 2 * halo)
    strip = strips(rows, columns)[0] * columns
    by_strips = halo == 0 and prior is None
    codes = layout.dtype.kind == "u" or by_strips  # else float32 is stored as it was lifted
    cells = 0
    if prior is not None:
        around = 2 * prior + 2  # a block may begin and end inside a cell
        cells = prod(ceil((edge + 2 * halo) / ratio) + around for edge in (rows, columns))
    return Held(
        mosaic=wide * msi_bands * (stored_as + FLOAT),
        cube=2 * cells * bands * FLOAT,  # as read, and with its margin put around it
        lifted=bands * (strip * (FLOAT + layout.dtype.itemsize) if by_strips else wide * FLOAT),
        stored=_of_block(layout) * codes + rows * columns,
        codec=_of_writing(each),
    )


def held_by_halving(each: Pass, before: Layout) -> Held:
    """Foresee a task of a later pass, which reads and halves a level of the pass before."""
    layout = each.layouts[0]
    rows = min((before.shard if before.sharded else before.chunk)[-2], layout.shard[-2])
    share = min(1.0, rows / max(layout.blocks[-2]))
    share *= min(1.0, before.chunk[-3] / max(layout.blocks[-3]))
    read = round(4 * share * _of_block(layout)) + _of_codec(before)
    return Held(stored=_of_block(layout), codec=max(read, _of_writing(each)))


def of_this_process() -> int:
    """Measure what this process holds now; 0 where that cannot be told."""
    return _of_status("VmRSS")


def of_peak() -> int:
    """Measure the most this process has held since :func:`forget_peak`; 0 as above."""
    return _of_status("VmHWM")


def forget_peak() -> bool:
    """Let the peak of this process begin from now, where Linux allows it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _of_status(name: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    found = [line for line in lines if line.startswith(name)]
    return int(found[0].split()[1]) * 1024 if found else 0


def _of_block(layout: Layout) -> int:
    """Bytes of the largest block, as stored."""
    return prod(max(along) for along in layout.blocks) * layout.dtype.itemsize


def _of_writing(each: Pass) -> int:
    """Bytes that writing a block takes at most, at one level or another of its overviews."""
    overviews, most = 0, _of_codec(each.layouts[0])
    for layout in each.layouts[1:]:
        overviews += _of_block(layout)  # one is averaged from the other
        most = max(most, overviews + _of_codec(layout))
    return most


def _of_codec(layout: Layout) -> int:
    """Bytes that compressing a block takes: all of a shard, or a chunk where there are none."""
    whole = layout.shard if layout.sharded else layout.chunk
    return TASK_COPIES * prod(whole) * layout.dtype.itemsize
