"""Lift a mosaic block by block: halos, the cube's cells beside a block, and task names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import dask
import dask.array as da
import numpy as np
import numpy.typing as npt
from dask._task_spec import DataNode
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

from lift_xr.laps import lap
from lift_xr.window import Window
from lift_xr.windows import Span, Spans, spans_of, windows

Block = npt.NDArray[Any]
Chunks = tuple[tuple[int, ...], ...]


class Lifter(Protocol):
    """What a block is given to: see ``models.base.Model``."""

    @property
    def bands(self) -> int:
        """Bands it produces."""

    @property
    def halo(self) -> int:
        """How far it looks sideways, in MSI pixels."""

    @property
    def prior(self) -> int | None:
        """How many of the cube's cells it looks at around a block; None where it needs no cube."""

    def __call__(
        self, block: Block, device: str = "cpu", prior: Window | None = None
    ) -> npt.NDArray[np.float32]:
        """(msi_band, y, x) to (band, y, x)."""


@dataclass(frozen=True)
class Prior:
    """The cube beside the mosaic, for models that look at it again.

    Parameters
    ----------
    cells : (band, y, x), float32
        NaN is nodata.
    ratio
        Pixels of the mosaic along the edge of a cell.
    offset
        The pixel (y, x) of the mosaic where the first cell begins; negative where it begins before
        the mosaic does.
    """

    cells: da.Array
    ratio: int
    offset: tuple[int, int]


@dataclass(frozen=True)
class Lifted:
    """What an array of lifted blocks is made of.

    Parameters
    ----------
    msi, model, device, prior
        As :func:`lift_blocks` was given them.
    """

    msi: da.Array
    model: Any
    device: str
    prior: Prior | None

    def again(self, chunks: Chunks) -> da.Array:
        """Lift the same pixels in other blocks: the mosaic is cut anew, no pixel lifted twice.

        Parameters
        ----------
        chunks
            Of the result; those of the bands are one.
        """
        cut = windows(self.msi, spans_of(chunks[-2]), spans_of(chunks[-1]))
        return lift_blocks(cut, self.model, device=self.device, prior=self.prior)


def lift_blocks(
    msi: da.Array, model: Lifter, *, device: str = "auto", prior: Prior | None = None
) -> da.Array:
    """Lift every block of ``msi``, lending each one ``model.halo`` pixels of its neighbours.

    Parameters
    ----------
    msi : (..., msi_band, y, x)
        One chunk along the bands; leading axes, such as time, in chunks of one.
    model
        Anything with ``bands``, ``halo``, ``prior`` and a deterministic token.
    device
        Where to compute, found by each worker for itself: see :func:`lift_xr.device.find_device`.
    prior
        The cube, for a model that looks at it again: each block is given the cells it lies in,
        and ``model.prior`` more around them.
    """
    assert msi.numblocks[-3] == 1, "the bands must be in one chunk"
    assert model.prior is None or prior is not None, "the model looks at the cube again"
    prior = None if model.prior is None else prior
    wide = [spans_of(along, halo=model.halo) for along in msi.chunks[-2:]]
    beside, corners = _beside(prior, wide, model.prior or 0)
    lifted = da.map_blocks(
        lift_block,
        windows(msi, *wide),
        *beside,
        model=dask.delayed(model, pure=True),  # one unpickle a worker; a plain argument, one a task
        device=device,
        ratio=1 if prior is None else prior.ratio,
        corners=corners,
        inside=_inside(msi.chunks[-2:], wide) if model.halo else None,
        chunks=(*msi.chunks[:-3], (model.bands,), *msi.chunks[-2:]),
        dtype=np.float32,
        meta=np.empty((0,) * msi.ndim, np.float32),
        name=f"lift-{tokenize(msi, model, device, prior)}",
    )
    return _with_note(lifted, Lifted(msi, model, device, prior))


def lifted_from(array: da.Array) -> Lifted | None:
    """Say what an array was lifted from; None where it is not just what ``lift_blocks`` made."""
    layer = array.dask.layers.get(_note(array.name))
    if layer is None:
        return None
    (task,) = layer.values()
    note: _Note = task.value
    return note.read(array.dask)


def is_per_pixel(model: Lifter) -> bool:
    """Whether a model looks at nothing but the pixel, so that a block can be lifted in parts."""
    return model.halo == 0 and model.prior is None


@lap("lift")
def lift_block(
    block: Block,
    cells: Block | None = None,
    *,
    model: Lifter,
    device: str = "auto",
    ratio: int = 1,
    corners: Sequence[tuple[int, ...]] | None = None,
    inside: Sequence[Spans] | None = None,
    block_id: tuple[int, ...] = (),
) -> npt.NDArray[np.float32]:
    """Lift one block (..., msi_band, y, x), one image at a time, and cut off what it was lent."""
    from lift_xr.device import find_device

    where, (row, column) = find_device(device), block_id[-2:]
    beside = None
    if cells is not None and corners is not None:
        beside = Window(cells, ratio, (corners[0][row], corners[1][column]))
    images = block.reshape(-1, *block.shape[-3:])
    lifted = [model(np.ascontiguousarray(image), where, beside) for image in images]
    if inside is not None:
        kept = slice(*inside[0][row]), slice(*inside[1][column])
        lifted = [np.ascontiguousarray(each[(..., *kept)]) for each in lifted]
    if block.ndim == 3:
        return lifted[0]
    return np.stack(lifted).reshape(*block.shape[:-3], *lifted[0].shape)


def _inside(chunks: Chunks, wide: Sequence[Spans]) -> tuple[Spans, ...]:
    """Tell where in its wide window each block lies."""
    return tuple(
        tuple(
            (start - first, stop - first)
            for (start, stop), (first, _) in zip(spans_of(along), spans, strict=True)
        )
        for along, spans in zip(chunks, wide, strict=True)
    )


def _beside(
    prior: Prior | None, wide: Sequence[Spans], reach: int
) -> tuple[tuple[da.Array, ...], tuple[tuple[int, ...], ...] | None]:
    """Cut the cube into the cells beside every block; where they begin, in pixels of the block."""
    if prior is None:
        return (), None
    touched = [
        tuple(cells_around(span, prior.ratio, offset, reach) for span in spans)
        for spans, offset in zip(wide, prior.offset, strict=True)
    ]
    corners = tuple(
        tuple(
            first * prior.ratio + offset - start
            for (first, _), (start, _) in zip(cells, spans, strict=True)
        )
        for cells, spans, offset in zip(touched, wide, prior.offset, strict=True)
    )
    cells = prior.cells.rechunk({0: -1})
    pads = [
        (max(0, -min(first for first, _ in each)), max(0, max(last for _, last in each) - size))
        for each, size in zip(touched, cells.shape[-2:], strict=True)
    ]
    if any(map(any, pads)):
        cells = da.pad(cells, [(0, 0), *pads], mode="constant", constant_values=np.nan)
    spans = [
        tuple((first + before, last + before) for first, last in each)
        for each, (before, _) in zip(touched, pads, strict=True)
    ]
    return (windows(cells, *spans),), corners


def cells_around(span: Span, ratio: int, offset: int, reach: int) -> Span:
    """Find the cells that cover a span of pixels, and ``reach`` more on both sides."""
    first = (span[0] - offset) // ratio
    last = -((offset - span[1]) // ratio)
    return first - reach, last + reach


@dataclass(frozen=True)
class _Note:
    """What ``Lifted`` holds, with arrays by their names in the graph the note lies in."""

    msi: tuple[str, Chunks, np.dtype]
    model: Any
    device: str
    cells: tuple[str, Chunks, np.dtype] | None
    ratio: int
    offset: tuple[int, int]

    def read(self, graph: HighLevelGraph) -> Lifted:
        prior = None
        if self.cells is not None:
            prior = Prior(_array(graph, self.cells), self.ratio, self.offset)
        return Lifted(_array(graph, self.msi), self.model, self.device, prior)


def _array(graph: HighLevelGraph, called: tuple[str, Chunks, np.dtype]) -> da.Array:
    name, chunks, dtype = called
    return da.Array(graph, name, chunks, dtype=dtype)


def _with_note(array: da.Array, lifted: Lifted) -> da.Array:
    """Put into the graph, as a task that nobody asks for, what an array is made of."""
    prior = lifted.prior
    note = _Note(
        (lifted.msi.name, lifted.msi.chunks, lifted.msi.dtype),
        lifted.model,
        lifted.device,
        None if prior is None else (prior.cells.name, prior.cells.chunks, prior.cells.dtype),
        1 if prior is None else prior.ratio,
        (0, 0) if prior is None else prior.offset,
    )
    key = _note(array.name)
    layers = dict(array.dask.layers) | {key: MaterializedLayer({key: DataNode(key, note)})}
    dependencies = dict(array.dask.dependencies) | {key: set()}
    for source in (lifted.msi, *(() if prior is None else (prior.cells,))):
        layers |= source.dask.layers
        dependencies |= source.dask.dependencies
    graph = HighLevelGraph(layers, dependencies)
    return da.Array(graph, array.name, array.chunks, dtype=array.dtype, meta=array._meta)


def _note(name: str) -> str:
    return f"note-{name}"
