"""What hypothesis draws: ways to cut an image."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import strategies as st


@st.composite
def chunks(draw: st.DrawFn, length: int) -> tuple[int, ...]:
    """A way to cut ``length`` pixels into blocks, edges of one pixel included."""
    cuts = draw(st.sets(st.integers(1, max(length - 1, 1)), max_size=5)) if length > 1 else set()
    edges = [0, *sorted(cuts), length]
    return tuple(b - a for a, b in pairwise(edges))
