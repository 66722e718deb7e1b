"""What ``verify`` found: one check after the other, and for each failure the file to blame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Index = tuple[int, ...]
NAMED = 5  # failures that a line of text names


@dataclass(frozen=True)
class Failure:
    """One thing that is not as it was written.

    Parameters
    ----------
    check
        The check that found it.
    found
        What is wrong with it, and what was expected.
    path
        Of the array; empty for metadata of groups.
    file
        The object in the store, as its key; empty where no single one is to blame.
    level, index
        The level of the overviews, and the place of the shard in the grid of that level's shards;
        None for what is no shard.
    task
        The task that writes it again: the first level of its pass and its place in the grid of
        tasks. None for metadata and coordinates, which every run makes.
    """

    check: str
    found: str
    path: str = ""
    file: str = ""
    level: int | None = None
    index: Index | None = None
    task: tuple[int, Index] | None = None

    def __str__(self) -> str:
        shard = f"level {self.level} shard {self.index}" if self.index is not None else ""
        named = self.file or self.path
        place = ": ".join(each for each in (shard, named) if each)
        return f"{place or 'the store'} {self.found}"


@dataclass(frozen=True)
class Check:
    """One question asked of a store.

    Parameters
    ----------
    name
        What was asked.
    covered, unit
        Of how many it was asked, and of what: shards, files, tasks or cells.
    failures
        What answered wrong.
    figures
        Numbers beside the answer: one, or one a band.
    judged
        False where the figures are only told: nothing of them is a failure.
    said
        What else a person should know.
    """

    name: str
    covered: int
    unit: str
    failures: tuple[Failure, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)
    judged: bool = True
    said: str = ""

    @property
    def passed(self) -> bool | None:
        """Whether nothing failed; None of figures that are not judged, and where none was asked."""
        if self.failures:
            return False
        return True if self.judged and self.covered else None


@dataclass(frozen=True)
class Verification:
    """What ``verify`` found.

    Parameters
    ----------
    store
        Which store.
    checks
        In the order they were made.
    """

    store: str
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether no check failed. It speaks for what was covered, and for no other shard."""
        return not self.failures

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Everything that is wrong."""
        return tuple(failure for check in self.checks for failure in check.failures)

    def __getitem__(self, name: str) -> Check:
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(f"{name!r} was not checked; only {[check.name for check in self.checks]}")

    def __str__(self) -> str:
        if self.ok:
            asked = ", ".join(f"{each.name} ({each.covered} {each.unit})" for each in self.checks)
            return f"{self.store} is as it was written: {asked}"
        named = "; ".join(str(failure) for failure in self.failures[:NAMED])
        more = len(self.failures) - NAMED
        return f"{self.store} is damaged: {named}{f'; and {more} more' if more > 0 else ''}"
