"""How much memory is ours: what the machine has, control groups allow and a batch system gives."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from math import ceil
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
OF_THIS_PROCESS = Path("/proc/self/cgroup")
MIB = 2**20


@dataclass(frozen=True)
class Limit:
    """What somebody allows.

    Parameters
    ----------
    size
        In bytes.
    whose
        What it is, for people: "what this machine has".
    ask
        What to ask for instead, with places for GB and for MiB, of which ``cores`` share the
        latter.
    cores
        Of which each is given its own.
    """

    size: float
    whose: str = ""
    ask: str = ""
    cores: int = 1

    def ask_for(self, size: float) -> str:
        """Say what to ask for, to be allowed so many bytes; to one digit of a GB."""
        gb = ceil(size / 1e8) / 10
        told = f"memory='{gb:g}GB'"
        ask = self.ask.format(gb=gb, mib=ceil(gb * 1e9 / MIB / self.cores))
        return f"{ask} ({told} plans for it)" if ask else told


def memory() -> Limit:
    """Find how many bytes this process may hold: the least of all that say so."""
    from distributed.system import MEMORY_LIMIT  # of the machine, or of the outermost group

    machine = Limit(float(MEMORY_LIMIT), "what this machine has", "a machine with {gb:g} GB")
    return min([*_of_slurm(), *_of_groups(), machine], key=lambda each: each.size)


def _of_groups() -> Iterator[Limit]:
    """What the control groups say that this process is in: SLURM's lie deep below the outermost."""
    with suppress(OSError):
        for line in OF_THIS_PROCESS.read_text().splitlines():
            _, controllers, place = line.split(":", 2)
            if not controllers:  # of version 2
                yield from _along(GROUPS, place, "memory.max")
            elif "memory" in controllers.split(","):
                yield from _along(GROUPS / "memory", place, "memory.limit_in_bytes")


def _along(root: Path, place: str, name: str) -> Iterator[Limit]:
    """Read a limit in every folder from a group up to the outermost one."""
    here = root / place.lstrip("/")
    for folder in (here, *here.parents):
        if folder.is_relative_to(root):
            with suppress(OSError, ValueError):  # where a container hides it; "max" is none
                size = float((folder / name).read_text())
                whose = f"what {folder / name} allows"
                yield Limit(size, whose, "a job or a container with {gb:g} GB")


def _of_slurm() -> Iterator[Limit]:
    """What a job was given, in MiB: of a node, or of each of a task's cores."""
    cores = _number("SLURM_CPUS_PER_TASK") or 1
    for name, option, times in (("NODE", "mem", 1), ("CPU", "mem-per-cpu", cores)):
        if given := _number(f"SLURM_MEM_PER_{name}"):  # 0 is all there is
            whose = f"what SLURM gave this job (SLURM_MEM_PER_{name})"
            ask = f"a job of sbatch --{option}={{mib}}M"
            yield Limit(float(given * times * MIB), whose, ask, times)


def _number(name: str) -> int:
    told = os.environ.get(name, "")
    return int(told) if told.isdecimal() else 0
