"""A scene that is lifted where it is indexed: the pixels and the bands asked for, and no others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, Self, cast

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask.base import tokenize

from lift_xr.blocks import Lifter, cells_around, lift_block
from lift_xr.io.lazy import READ, cut, source_of
from lift_xr.models import Model
from lift_xr.window import Window
from lift_xr.windows import Span


@dataclass(frozen=True)
class Beside:
    """The cube beside the mosaic, for models that look at it again.

    Parameters
    ----------
    cells : (band, y, x), float32 when indexed
        An array, stored or in memory.
    ratio, offset
        As of ``blocks.Prior``.
    """

    cells: Any
    ratio: int
    offset: tuple[int, int]

    def around(self, spans: Sequence[Span], reach: int) -> tuple[np.ndarray, tuple[int, int]]:
        """Read the cells that cover a window, and where the first begins, in its pixels."""
        wanted = [
            cells_around(span, self.ratio, offset, reach)
            for span, offset in zip(spans, self.offset, strict=True)
        ]
        sizes = self.cells.shape[-2:]
        there = [
            (min(max(first, 0), size), max(min(last, size), 0))
            for (first, last), size in zip(wanted, sizes, strict=True)
        ]
        pads = [
            (there[0] - wanted[0], wanted[1] - there[1])
            for there, wanted in zip(there, wanted, strict=True)
        ]
        cells = np.asarray(self.cells[(slice(None), *(slice(*each) for each in there))])
        corner = tuple(
            first * self.ratio + offset - span[0]
            for (first, _), offset, span in zip(wanted, self.offset, spans, strict=True)
        )
        return np.pad(cells, [(0, 0), *pads], constant_values=np.nan), (corner[0], corner[1])


@dataclass(frozen=True)
class Lifting:
    """A mosaic and its model as the array that one makes of the other.

    dask fuses a slice of a block into the read where nothing stands between the two, so a spectrum
    takes the chunk of the mosaic it lies in, and one band the hidden layers and a row of the last.

    Parameters
    ----------
    msi : (..., msi_band, y, x), float32 when indexed
        An array that can be indexed with slices, such as ``Decoded``.
    model
        Lifts it.
    rows, columns
        From and to, in pixels of ``msi``: what of it the array covers.
    bands
        Positions of the model's bands.
    device
        Where to lift, found by each worker for itself.
    beside
        The cube, for a model that looks at it again.
    """

    msi: Any
    model: Model
    rows: Span
    columns: Span
    bands: tuple[int, ...]
    device: str = "auto"
    beside: Beside | None = None

    dtype = np.dtype("float32")

    @classmethod
    def of(cls, msi: Any, model: Model, **more: Any) -> Lifting:
        """Lift all of a mosaic."""
        height, width = msi.shape[-2:]
        return cls(msi, model, (0, height), (0, width), tuple(range(model.bands)), **more)

    @property
    def array(self) -> Any:
        """What it reads, by the name under which lazy arrays wrap others."""
        return self.msi

    @property
    def shape(self) -> tuple[int, ...]:
        """(..., band, y, x)."""
        spans = (stop - start for start, stop in (self.rows, self.columns))
        return (*self.msi.shape[:-3], len(self.bands), *spans)

    @property
    def ndim(self) -> int:
        """Of the mosaic."""
        return len(self.shape)

    @property
    def whole(self) -> bool:
        """Whether it is the mosaic's every pixel in the model's every band."""
        all_bands = self.bands == tuple(range(self.model.bands))
        return all_bands and self.shape[-2:] == tuple(self.msi.shape[-2:])

    def narrowed(self, bands: Any, rows: slice, columns: slice) -> Lifting:
        """Keep some bands, and the pixels of a window."""
        kept = np.asarray(self.bands)[bands]
        spans = [
            (span[0] + start, span[0] + stop)
            for span, each, size in zip(
                (self.rows, self.columns), (rows, columns), self.shape[-2:], strict=True
            )
            for start, stop, _ in [each.indices(size)]
        ]
        return replace(self, bands=tuple(kept.tolist()), rows=spans[0], columns=spans[1])

    def __getitem__(self, index: Any) -> npt.NDArray[np.float32]:
        """Read a window, lift it. Integers, slices and lists of integers, each for itself."""
        entries = index if isinstance(index, tuple) else (index,)
        entries = (*entries, *[slice(None)] * (self.ndim - len(entries)))
        picks = [_Pick.of(each, size) for each, size in zip(entries, self.shape, strict=True)]
        if any(pick.positions.size == 0 for pick in picks):
            lifted = np.empty([pick.positions.size for pick in picks], np.float32)
        else:
            lifted = self._lifted(picks)
        return lifted[tuple(0 if isinstance(each, Integral) else slice(None) for each in entries)]

    def _lifted(self, picks: Sequence[_Pick]) -> npt.NDArray[np.float32]:
        *lead, bands, rows, columns = picks
        spans = [
            (start + pick.span[0], start + pick.span[1])
            for (start, _), pick in zip((self.rows, self.columns), (rows, columns), strict=True)
        ]
        wide = [
            (max(0, first - self.model.halo), min(size, last + self.model.halo))
            for (first, last), size in zip(spans, self.msi.shape[-2:], strict=True)
        ]
        read = [slice(*pick.span) for pick in lead]
        pixels = np.asarray(self.msi[(*read, slice(None), *(slice(*span) for span in wide))])
        for axis, pick in enumerate(lead):
            pixels = pick.of_span(pixels, axis)
        if self.model.halo == 0 and self.beside is None:  # a pixel stands alone: lift no other
            return self._lift(columns.of_span(rows.of_span(pixels, -2), -1), bands, wide)
        lifted = self._lift(pixels, bands, wide)
        for axis, (first, last), (from_, _) in zip((-2, -1), spans, wide, strict=True):
            lifted = np.take(lifted, range(first - from_, last - from_), axis)
        return columns.of_span(rows.of_span(lifted, -2), -1)

    def _lift(
        self, pixels: np.ndarray, bands: _Pick, wide: Sequence[Span]
    ) -> npt.NDArray[np.float32]:
        """Lift (..., msi_band, y, x) to the bands at some places among those of the array."""
        lifter = _lifter(self.model, np.asarray(self.bands)[bands.positions].tolist())
        settings: dict[str, Any] = {"device": self.device, "block_id": (0,) * pixels.ndim}
        if self.beside is None:
            return lift_block(pixels, model=lifter, **settings)
        cells, corner = self.beside.around(wide, self.model.prior or 0)
        settings |= {"ratio": self.beside.ratio, "corners": [(start,) for start in corner]}
        return lift_block(pixels, cells, model=lifter, **settings)

    def __dask_tokenize__(self) -> Any:
        window = (self.rows, self.columns, self.bands, self.device)
        beside = None
        if self.beside is not None:
            beside = (tokenize(self.beside.cells), self.beside.ratio, self.beside.offset)
        return (type(self).__name__, tokenize(self.msi), self.model.digest, window, beside)


@dataclass(frozen=True)
class _Pick:
    """What is taken along one axis: some positions, and the span they lie in."""

    positions: npt.NDArray[np.intp]
    span: Span

    @classmethod
    def of(cls, entry: Any, size: int) -> Self:
        positions = np.atleast_1d(np.arange(size)[entry])
        if positions.size == 0:
            return cls(positions, (0, 0))
        return cls(positions, (int(positions.min()), int(positions.max()) + 1))

    def of_span(self, values: np.ndarray, axis: int) -> np.ndarray:
        """Take the positions from what was read of the span."""
        inside = self.positions - self.span[0]
        if np.array_equal(inside, np.arange(values.shape[axis])):
            return values
        return np.take(values, inside, axis)


def _lifter(model: Model, rows: list[int]) -> Lifter:
    """Choose what to call for some bands: the last layer's rows, where a method can do that."""
    if rows == list(range(model.bands)):
        return model
    select: Any = getattr(model.lift, "select", None)
    chosen: Any = _Chosen(model, rows) if select is None else select(rows)
    return cast(Lifter, chosen)  # what lifts a block needs of it


@dataclass(frozen=True)
class _Chosen:
    """A model of which some bands are kept, once all are lifted."""

    model: Model
    rows: list[int]

    def __call__(
        self, block: np.ndarray, device: str = "cpu", prior: Window | None = None
    ) -> npt.NDArray[np.float32]:
        return self.model(block, device, prior)[self.rows]


class LiftedArray(da.Array):  # type: ignore[misc]  # dask is untyped
    """The blocks of a ``Lifting``, which hand every window and every list of bands down to it.

    dask does so with a slice or an integer, when it computes; of a list of bands, as
    ``scene.isel(band=[3])`` asks for, it would compute the block and take the bands from that.
    """

    @classmethod
    def of(cls, lifting: Lifting, chunks: Sequence[Any]) -> LiftedArray:
        """Cut a scene into lazy blocks."""
        blocks = cut(lifting, tuple(chunks), f"{READ}-{tokenize(lifting, tuple(chunks))}")
        made: LiftedArray = cls(blocks.dask, blocks.name, blocks.chunks, meta=blocks._meta)
        return made

    def copy(self) -> LiftedArray:
        """The same array; xarray makes one where it copies a scene."""
        made: LiftedArray = type(self)(self.dask, self.name, self.chunks, meta=self._meta)
        return made

    def __getitem__(self, index: Any) -> da.Array:
        """Index as any dask array."""
        entries = index if isinstance(index, tuple) else (index,)
        lifting = source_of(self)
        if not isinstance(lifting, Lifting) or len(entries) > self.ndim:
            return super().__getitem__(index)
        entries = (*entries, *[slice(None)] * (self.ndim - len(entries)))
        *lead, bands, rows, columns = entries
        windows = all(
            isinstance(each, slice) and each.step in (None, 1) for each in (rows, columns)
        )
        if not windows or not _is_list(bands) or any(each != slice(None) for each in lead):
            return super().__getitem__(index)
        cropped = super().__getitem__((*lead, slice(None), rows, columns))
        kept = lifting.narrowed(
            np.asarray(bands) if not isinstance(bands, slice) else bands, rows, columns
        )
        if 0 in kept.shape:
            return super().__getitem__(index)
        chunks = (*cropped.chunks[:-3], (len(kept.bands),), *cropped.chunks[-2:])
        return LiftedArray.of(kept, chunks)


def _is_list(entry: Any) -> bool:
    """Whether an index is a slice, or a list of numbers or of truths."""
    if isinstance(entry, slice):
        return True
    return isinstance(entry, list | np.ndarray) and np.asarray(entry).ndim == 1
