"""How much memory is ours: what the machine has, control groups allow and a batch system gives."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
OF_THIS_PROCESS = Path("/proc/self/cgroup")
MIB = 2**20


def memory() -> float:
    """Find how many bytes this process may hold: the least of all that say so."""
    from distributed.system import MEMORY_LIMIT  # of the machine, or of the outermost group

    return min([float(MEMORY_LIMIT), *_of_groups(), *_of_slurm()])


def _of_groups() -> Iterator[float]:
    """What the control groups say that this process is in: SLURM's lie deep below the outermost."""
    with suppress(OSError):
        for line in OF_THIS_PROCESS.read_text().splitlines():
            _, controllers, place = line.split(":", 2)
            if not controllers:  # of version 2
                yield from _along(GROUPS, place, "memory.max")
            elif "memory" in controllers.split(","):
                yield from _along(GROUPS / "memory", place, "memory.limit_in_bytes")


def _along(root: Path, place: str, name: str) -> Iterator[float]:
    """Read a limit in every folder from a group up to the outermost one."""
    here = root / place.lstrip("/")
    for folder in (here, *here.parents):
        if folder.is_relative_to(root):
            with suppress(
                OSError, ValueError
            ):  # in a container it may lie elsewhere; "max" is none
                yield float((folder / name).read_text())


def _of_slurm() -> Iterator[float]:
    """What a job was given, in MiB: of a node, or of each of a task's cores."""
    for name, times in (("NODE", 1), ("CPU", _number("SLURM_CPUS_PER_TASK") or 1)):
        if given := _number(f"SLURM_MEM_PER_{name}"):  # 0 is all there is
            yield float(given * times * MIB)


def _number(name: str) -> int:
    told = os.environ.get(name, "")
    return int(told) if told.isdecimal() else 0
