"""What work costs: wall time, CPU time, and the memory its process held."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

KIB_A_MIB = 1024


@dataclass(frozen=True)
class Costs:
    """Of one piece of work.

    Parameters
    ----------
    wall_s, cpu_s
        Seconds on the clock; seconds of all threads of its process, user and system.
    base_mib, peak_mib
        Resident memory before it, everything imported, and at most while it ran.
    """

    wall_s: float
    cpu_s: float
    base_mib: float
    peak_mib: float

    @property
    def above_mib(self) -> float:
        """What the work itself added."""
        return self.peak_mib - self.base_mib

    def plain(self) -> dict[str, float]:
        """For JSON."""
        return {name: round(value, 3) for name, value in asdict(self).items()}


def alone(work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run something in a fresh process, so that its peak memory is its own."""
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=fresh) as process:
        return process.submit(work, *args, **kwargs).result()


def measured(work: Callable[[], Any]) -> tuple[Any, Costs]:
    """Run something here, and say what it cost."""
    forget_peak()
    base, cpu, start = resident_mib(), cpu_seconds(), time.perf_counter()
    value = work()
    wall = time.perf_counter() - start
    return value, Costs(wall, cpu_seconds() - cpu, base, peak_mib())


def cpu_seconds() -> float:
    """Seconds that all threads of this process have computed, in the user's code and the system."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def forget_peak() -> None:
    """Let the peak memory of this process start again from now, where Linux allows it."""
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")


def peak_mib() -> float:
    """Most memory this process has held since, in MiB."""
    return _of_status("VmHWM")


def resident_mib() -> float:
    """Memory this process holds now, in MiB."""
    return _of_status("VmRSS")


def _of_status(name: str) -> float:
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_A_MIB
    (line,) = (each for each in status.read_text().splitlines() if each.startswith(name))
    return int(line.split()[1]) / KIB_A_MIB
