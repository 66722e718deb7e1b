"""How much memory a process may hold, wherever that is said."""

from __future__ import annotations

from pathlib import Path

import distributed.system
import pytest

from lift_xr.io import allowed

MIB = 2**20


@pytest.fixture(autouse=True)
def roomy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine of 64 GiB that limits nothing."""
    monkeypatch.setattr(distributed.system, "MEMORY_LIMIT", 64 * 2**30)
    monkeypatch.setattr(allowed, "GROUPS", tmp_path)
    monkeypatch.setattr(allowed, "OF_THIS_PROCESS", tmp_path / "cgroup")
    for name in ("SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU", "SLURM_CPUS_PER_TASK"):
        monkeypatch.delenv(name, raising=False)


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_without_other_limits_it_is_the_machine() -> None:
    assert allowed.memory().size == 64 * 2**30


@pytest.mark.parametrize(
    ("told", "given"),
    [
        ({"NODE": "8192"}, 8192),
        ({"CPU": "512"}, 512),
        ({"CPU": "512", "CPUS": "4"}, 2048),
        ({"NODE": "1024", "CPU": "512", "CPUS": "4"}, 1024),
        ({"NODE": "0"}, 64 * 1024),  # --mem=0 asks for all there is
        ({"NODE": "8G"}, 64 * 1024),  # not as SLURM writes it
    ],
)
def test_slurm_gives_a_task_so_much(
    monkeypatch: pytest.MonkeyPatch, told: dict[str, str], given: int
) -> None:
    names = {
        "NODE": "SLURM_MEM_PER_NODE",
        "CPU": "SLURM_MEM_PER_CPU",
        "CPUS": "SLURM_CPUS_PER_TASK",
    }
    for name, value in told.items():
        monkeypatch.setenv(names[name], value)
    assert allowed.memory().size == given * MIB


@pytest.mark.parametrize(
    ("line", "folder", "name"),
    [
        ("0::/slice/job_7/step_0", "", "memory.max"),
        ("4:cpu,memory:/slice/job_7/step_0", "memory", "memory.limit_in_bytes"),
    ],
)
def test_a_group_far_below_the_outermost_limits_what_is_in_it(
    tmp_path: Path, line: str, folder: str, name: str
) -> None:
    put(tmp_path / "cgroup", f"3:pids:/other\n{line}\n")
    put(tmp_path / folder / "slice" / name, "max\n")
    put(tmp_path / folder / "slice/job_7" / name, f"{2 * 2**30}\n")
    put(tmp_path / folder / "slice/job_8" / name, "1\n")
    assert allowed.memory().size == 2 * 2**30
