"""Blocks floor: lend blocks a margin of their neighbours, for functions that look sideways."""

from __future__ import annotations

import dask.array as da
from dask.array.overlap import ensure_minimum_chunksize


def with_margin(values: da.Array, *, reach: tuple[int, int], fill: float) -> da.Array:
    """Widen every block by a margin on all four sides.

    Parameters
    ----------
    values : (..., y, x)
        Blocks narrower than the margin are joined first.
    reach
        Width of the margin in y and x, in pixels.
    fill
        What lies outside the scene.

    Returns
    -------
    (..., y + margins, x + margins)
        Blocks overlap, so the shape is that of the blocks side by side. ``without_margin`` gives
        the chunks of a result that has lost the margins again.
    """
    before = values.ndim - 2
    wide = _with_wide_blocks(values, reach)
    around = [(0, 0)] * before + [(margin, margin) for margin in reach]
    padded = da.pad(wide, around, mode="constant", constant_values=fill)
    outer = tuple(
        (widths[0] + 2 * margin,)
        if len(widths) == 1
        else (widths[0] + margin, *widths[1:-1], widths[-1] + margin)
        for widths, margin in zip(wide.chunks[before:], reach, strict=True)
    )
    depth = {before: reach[0], before + 1: reach[1]}
    padded = padded.rechunk((*wide.chunks[:before], *outer))
    return da.overlap.overlap(padded, depth=depth, boundary="none", allow_rechunk=False)


def without_margin(values: da.Array, *, reach: tuple[int, int]) -> tuple[tuple[int, ...], ...]:
    """Chunks of what ``with_margin`` made, less the margins."""
    ends = [
        tuple(width - 2 * margin for width in widths)
        for widths, margin in zip(values.chunks[-2:], reach, strict=True)
    ]
    return (*values.chunks[:-2], *ends)


def _with_wide_blocks(values: da.Array, reach: tuple[int, int]) -> da.Array:
    before = values.ndim - 2
    ends = [
        ensure_minimum_chunksize(margin, widths) if sum(widths) > margin else (sum(widths),)
        for widths, margin in zip(values.chunks[before:], reach, strict=True)
    ]
    return values.rechunk((*values.chunks[:before], *ends))
