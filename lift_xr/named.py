"""Arrays by name, as a fitted value is saved: its parts under a prefix, and what must fit together.

A model is a flat table of arrays. A part that has a table of its own is written under a prefix and
read from under it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[Any]]


def under(prefix: str, part: Arrays) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a part, each called ``prefix.name``."""
    return {f"{prefix}.{name}": array for name, array in part.items()}


def part_under(prefix: str, arrays: Arrays) -> dict[str, npt.NDArray[Any]]:
    """The arrays of the part that :func:`under` put there."""
    start = f"{prefix}."
    return {name.removeprefix(start): arrays[name] for name in arrays if name.startswith(start)}


@contextmanager
def complete(told: str) -> Iterator[None]:
    """Raise ValueError where a part is put together of what is not all there."""
    try:
        yield
    except (KeyError, TypeError, AttributeError) as problem:
        raise ValueError(f"{told} incomplete: {problem}") from None


def misfits(found: Arrays, expected: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Name the arrays that have another shape than is expected, with the shape they have."""
    shapes = {name: found[name].shape for name in expected}
    return {name: shape for name, shape in shapes.items() if shape != expected[name]}
