"""Chunk geometry, halos and task names. Never opens a block."""

from __future__ import annotations

from typing import Any, Protocol

import dask
import dask.array as da
import numpy as np
import numpy.typing as npt
from dask.base import tokenize

Block = npt.NDArray[Any]


class Lifter(Protocol):
    """What a block is given to: see ``models.base.Model``."""

    @property
    def bands(self) -> int:
        """Bands it produces."""

    @property
    def halo(self) -> int:
        """How far it looks sideways, in MSI pixels."""

    def __call__(self, block: Block, device: str = "cpu") -> npt.NDArray[np.float32]:
        """(msi_band, y, x) to (band, y, x)."""


def lift_blocks(msi: da.Array, model: Lifter, *, device: str = "auto") -> da.Array:
    """Lift every block of ``msi``, lending each one ``model.halo`` pixels of its neighbours.

    Parameters
    ----------
    msi : (..., msi_band, y, x)
        One chunk along the bands; leading axes, such as time, in chunks of one.
    model
        Anything with ``bands``, ``halo`` and a deterministic token.
    device
        Where to compute, found by each worker for itself: see :func:`lift_xr.device.find_device`.
    """
    assert msi.numblocks[-3] == 1, "the bands must be in one chunk"
    padded = lend(msi, model.halo)
    lifted = padded.map_blocks(
        lift_block,
        model=dask.delayed(model, pure=True),  # one unpickle a worker; a plain argument, one a task
        device=device,
        chunks=(*padded.chunks[:-3], (model.bands,), *padded.chunks[-2:]),
        dtype=np.float32,
        meta=np.empty((0,) * msi.ndim, np.float32),
        name=f"lift-{tokenize(msi, model, device)}",
    )
    return take_back(lifted, model.halo)


def lend(image: da.Array, halo: int) -> da.Array:
    """Give every block ``halo`` pixels of its neighbours along y and x, fewer at the border.

    Nothing to lend costs nothing: dask would add two tasks a block for a halo of zero.
    """
    if halo == 0:
        return image
    return da.overlap.overlap(image, _depth(image, halo), boundary="none", allow_rechunk=False)


def take_back(image: da.Array, halo: int) -> da.Array:
    """Cut off what :func:`lend` gave."""
    if halo == 0:
        return image
    return da.overlap.trim_internal(image, _depth(image, halo), boundary="none")


def _depth(image: da.Array, halo: int) -> dict[int, int]:
    return {axis: halo if axis >= image.ndim - 2 else 0 for axis in range(image.ndim)}


def lift_block(block: Block, *, model: Lifter, device: str = "auto") -> npt.NDArray[np.float32]:
    """Lift one block (..., msi_band, y, x), one image at a time."""
    from lift_xr.device import find_device

    where = find_device(device)
    if block.ndim == 3:
        return model(np.ascontiguousarray(block), where)
    images = block.reshape(-1, *block.shape[-3:])
    lifted = np.stack([model(np.ascontiguousarray(image), where) for image in images])
    return lifted.reshape(*block.shape[:-3], *lifted.shape[1:])
