"""The scripts for clusters do what they say, as far as that shows without SLURM."""

from __future__ import annotations

import ast
import os
import re
import runpy
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dask
import pytest
import yaml
import zarr

import lift_xr
from lift_xr.io.store import ABOUT
from lift_xr.srf import apply
from tests.clusters import two_workers

HPC = Path(__file__).resolve().parents[2] / "examples" / "hpc"
BATCH = sorted(path.name for path in HPC.glob("*.sbatch"))
SCRIPTS = sorted(path.name for path in HPC.glob("*.py"))
SHARD = 16


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mosaic, a model, and what one process writes of them."""
    folder = tmp_path_factory.mktemp("given")
    scene = lift_xr.synthetic.scene((48 * 4, 32 * 4), ratio=4, bands=20)
    msi = apply(scene.srf.sample(scene.hsi), scene.hsi).assign_attrs(units="1")
    with dask.config.set(scheduler="synchronous"):
        lift_xr.write_zarr(msi, folder / "msi.zarr", dtype="float32")
        model = lift_xr.fit(scene.hsi, scene.srf, method="linear")
        fused = lift_xr.predict(model, lift_xr.open_scene(folder / "msi.zarr", block=SHARD))
        lift_xr.write_zarr(fused, folder / "here.zarr", shard=SHARD)
    model.save(folder / "linear.lift")
    return folder


@pytest.fixture
def job(given: Path, tmp_path: Path) -> Path:
    """A folder with a mosaic and a model, as a job finds it."""
    shutil.copytree(given, tmp_path, dirs_exist_ok=True)
    return tmp_path


def environment(folder: Path, **more: object) -> dict[str, str]:
    """What SLURM and the person set; programs put into ``folder/bin`` come before real ones."""
    path = os.pathsep.join(
        [str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    )
    told = {
        "SLURM_JOB_ID": 7,
        "SLURM_CPUS_PER_TASK": 2,
        "SLURM_ARRAY_TASK_ID": 1,
        "SLURM_ARRAY_TASK_MAX": 2,
        "SHARD": SHARD,
    }
    return os.environ | {"PATH": path} | {key: str(each) for key, each in (told | more).items()}


def stand_in(folder: Path, name: str, *lines: str) -> Path:
    """Put a program in place of a real one: it writes down its arguments, then does as told."""
    said = folder / f"{name}.said"
    program = folder / "bin" / name
    program.parent.mkdir(exist_ok=True)
    program.write_text("\n".join(["#!/bin/bash", f'echo "$@" >> {said}', *lines]) + "\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return said


def submit(script: str, *arguments: object, folder: Path, **more: object) -> int:
    """Run a batch script as SLURM does, in the folder it was submitted from."""
    done = subprocess.run(
        ["bash", HPC / script, *map(str, arguments)],
        cwd=folder,
        env=environment(folder, **more),
        check=False,
    )
    return done.returncode


@pytest.mark.parametrize("script", BATCH)
def test_bash_understands_every_batch_script(script: str) -> None:
    read = subprocess.run(["bash", "-n", HPC / script], check=False, capture_output=True, text=True)
    assert (read.returncode, read.stderr) == (0, "")


@pytest.mark.parametrize("script", BATCH)
def test_slurm_sees_every_directive(script: str) -> None:
    lines = (HPC / script).read_text().splitlines()
    first_command = next(n for n, line in enumerate(lines) if line and not line.startswith("#"))
    assert not [line for line in lines[first_command:] if line.startswith("#SBATCH")]
    assert any(line.startswith("#SBATCH --time=") for line in lines[:first_command])


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_is_python(script: str) -> None:
    assert ast.parse((HPC / script).read_text(), script).body


def test_the_guide_names_every_file() -> None:
    guide = (HPC / "README.md").read_text()
    files = {path.name for path in HPC.iterdir() if path.is_file()} - {"README.md"}
    assert {name for name in files if name not in guide} == set()
    named = set(re.findall(r"[a-z_]+\.(?:sbatch|py|yaml)", guide))
    assert {name for name in named if not (HPC / name).exists()} == set()


def test_dask_knows_every_setting() -> None:
    def leaves(tree: dict[str, object], *above: str) -> list[str]:
        return [
            leaf
            for key, each in tree.items()
            for leaf in (
                leaves(each, *above, key) if isinstance(each, dict) else [".".join([*above, key])]
            )
        ]

    unknown = object()
    settings = leaves(yaml.safe_load((HPC / "dask.yaml").read_text()))
    assert len(settings) > 5
    assert [each for each in settings if dask.config.get(each, unknown) is unknown] == []


def test_parts_of_an_array_job_write_one_store_between_them(job: Path) -> None:
    stand_in(job, "scontrol")
    given = ("msi.zarr", "linear.lift", "fused.zarr")
    assert submit("parts.sbatch", *given, folder=job, SLURM_ARRAY_TASK_ID=2) == 0
    assert not lift_xr.status(job / "fused.zarr").complete
    assert submit("parts.sbatch", *given, folder=job, SLURM_ARRAY_TASK_ID=1) == 0
    assert lift_xr.status(job / "fused.zarr").complete
    assert content(job / "fused.zarr") == content(job / "here.zarr")
    assert not (job / "scontrol.said").exists()
    assert len((job / "lift-xr-fused.zarr-1.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize(("sent", "again"), [(signal.SIGUSR1, "requeue 7\n"), (signal.SIGTERM, "")])
def test_a_part_that_runs_out_of_time_goes_on_later_and_one_that_is_cancelled_does_not(
    tmp_path: Path, sent: signal.Signals, again: str
) -> None:
    ready = tmp_path / "ready"
    stand_in(
        tmp_path,
        "lift-xr",
        "trap 'sleep 0.5; exit 75' TERM",
        f"touch {ready}",
        "while true; do sleep 0.05; done",
    )
    asked = stand_in(tmp_path, "scontrol")
    running = subprocess.Popen(
        ["bash", HPC / "parts.sbatch", "msi.zarr", "linear.lift", "fused.zarr"],
        cwd=tmp_path,
        env=environment(tmp_path),
    )
    while not ready.exists():
        time.sleep(0.02)
    running.send_signal(sent)
    assert running.wait(30) == 75
    assert (asked.read_text() if asked.exists() else "") == again


@pytest.mark.parametrize(("code", "restarts"), [(0, 0), (2, 0), (3, 0), (75, 20)])
def test_nothing_else_is_run_again_by_itself(tmp_path: Path, code: int, restarts: int) -> None:
    stop = "trap '' TERM; kill -USR1 $PPID; sleep 0.1" if code == 75 else ""
    stand_in(tmp_path, "lift-xr", stop, f"exit {code}")
    asked = stand_in(tmp_path, "scontrol")
    given = ("msi.zarr", "linear.lift", "fused.zarr")
    again = submit("parts.sbatch", *given, folder=tmp_path, SLURM_RESTART_COUNT=restarts)
    assert again == code
    assert not asked.exists()


def test_some_parts_can_be_run_again(tmp_path: Path) -> None:
    said = stand_in(tmp_path, "lift-xr")
    array = {"SLURM_ARRAY_TASK_ID": 3, "SLURM_ARRAY_TASK_MAX": 7, "PARTS": 16}
    given = ("m.tif", "m.lift", "f.zarr", "--msi-bands", "3,2,1")
    assert submit("parts.sbatch", *given, folder=tmp_path, **array) == 0
    assert "--part 3/16" in said.read_text()
    assert said.read_text().startswith("fuse m.tif --model m.lift")
    assert said.read_text().endswith(" --quiet --msi-bands 3,2,1\n")


def test_a_part_is_given_the_cube_where_its_model_asks_for_it(tmp_path: Path) -> None:
    said = stand_in(tmp_path, "lift-xr")
    given = ("m.tif", "m.lift", "f.zarr")
    assert submit("parts.sbatch", *given, folder=tmp_path, HSI="the hsi.zarr") == 0
    assert said.read_text().startswith("fuse the hsi.zarr m.tif --model m.lift")


def test_a_model_is_trained_once(tmp_path: Path) -> None:
    said = stand_in(tmp_path, "lift-xr", f"touch {tmp_path / 'sin.lift'}")
    given = ("hsi.zarr", "msi.tif", "ikonos", "sin.lift", "--seed", 1)
    for _ in range(2):
        assert submit("fit.sbatch", *given, folder=tmp_path) == 0
    trained = "fit hsi.zarr --msi msi.tif --srf ikonos --out sin.lift --quiet --seed 1\n"
    assert said.read_text() == trained


def test_one_allocation_goes_on_in_the_next_job(tmp_path: Path) -> None:
    stale = tmp_path / "scheduler-7.json"
    stale.touch()
    said = stand_in(tmp_path, "srun", f"[ ! -e {stale} ] && exit 75")
    asked = stand_in(tmp_path, "scontrol")
    given = ("msi.zarr", "linear.lift", "fused.zarr")
    assert submit("one_allocation.sbatch", *given, folder=tmp_path) == 75
    assert said.read_text().endswith("python one_allocation.py msi.zarr linear.lift fused.zarr\n")
    assert asked.read_text() == "requeue 7\n"


@pytest.mark.timeout(300)
def test_a_notebook_writes_with_the_workers_of_a_cluster(job: Path) -> None:
    with (
        two_workers() as client,
        script("notebook_client.py", job, client.scheduler.address) as run,
    ):
        assert run.wait() == 0
    assert content(job / "fused.zarr") == content(job / "here.zarr")


@pytest.mark.timeout(300)
def test_a_notebook_asks_slurm_for_workers(job: Path) -> None:
    """``sbatch`` and ``scancel`` are acted out: a job is the script it was given."""
    asked = stand_in(
        job, "sbatch", 'cp "$1" job.sh', "setsid bash job.sh > job.said 2>&1 &", "echo $!"
    )
    ended = stand_in(job, "scancel", 'kill -- "-$1"')
    loopback = {"DASK_JOBQUEUE__SLURM__INTERFACE": "lo"}
    with script("notebook_client.py", job, **loopback) as run:
        assert run.wait() == 0
    assert content(job / "fused.zarr") == content(job / "here.zarr")
    assert len(asked.read_text().splitlines()) >= 1
    assert ended.exists()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("ends", [True, False])
def test_one_allocation_has_a_scheduler_a_client_and_workers(
    job: Path, capfd: pytest.CaptureFixture[str], ends: bool
) -> None:
    end = {"SLURM_JOB_END_TIME": time.time() + 3600} if ends else {}
    with ExitStack() as ranks:
        running = [
            ranks.enter_context(
                script("one_allocation.py", job, SLURM_PROCID=rank, SLURM_NTASKS=3, **end)
            )
            for rank in range(3)
        ]
        assert [each.wait() for each in running] == [0, 0, 0]
    assert content(job / "fused.zarr") == content(job / "here.zarr")
    assert capfd.readouterr().err.count("SLURM_JOB_END_TIME is not set") == (not ends)


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (None, 0),
        (KeyboardInterrupt(), 75),
        (lift_xr.WriteFailed("1 shard failed", {}), 3),
        (lift_xr.LayoutError("no such store"), 2),
        (TimeoutError("no workers"), 2),
        (lift_xr.ClusterGone("the cluster is gone"), 75),
    ],
)
def test_one_allocation_says_how_it_ended(
    raised: BaseException | None, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = runpy.run_path(str(HPC / "one_allocation.py"))

    def main(*_: str) -> None:
        if raised is not None:
            raise raised

    monkeypatch.setitem(script["ended"].__globals__, "main", main)
    assert script["ended"]("msi.zarr", "linear.lift", "fused.zarr") == code


def test_one_allocation_says_what_it_cannot_lift(
    job: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = runpy.run_path(str(HPC / "one_allocation.py"))
    wanted = script["lifted"].__globals__
    monkeypatch.setitem(wanted, "main", lambda msi, model, _: script["lifted"](msi, model))
    given = str(job / "msi.zarr"), str(job / "linear.lift"), "fused.zarr"
    assert script["ended"](*given[:2]) == 2
    assert "2 arguments; expected MSI MODEL STORE" in capsys.readouterr().err
    assert script["ended"](*given) == 0
    monkeypatch.setenv("HSI", str(job / "no.zarr"))
    assert script["ended"](*given) == 2
    assert "no.zarr" in capsys.readouterr().err


def test_one_allocation_refuses_a_job_that_is_too_short_and_says_so() -> None:
    script = runpy.run_path(str(HPC / "one_allocation.py"))
    with pytest.raises(TimeoutError, match=r"ends in (1\d\d|200) s; .* longer"):
        script["stop_before"](str(time.time() + 200))


def test_one_allocation_that_is_cancelled_is_not_run_again(tmp_path: Path) -> None:
    stand_in(tmp_path, "srun", "kill -TERM $PPID; exit 75")
    asked = stand_in(tmp_path, "scontrol")
    assert submit("one_allocation.sbatch", "m", "l", "s", folder=tmp_path) == 75
    assert not asked.exists()


@contextmanager
def script(
    name: str, job: Path, *more: str, **variables: object
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a script on the mosaic of a job; it does not outlive the test."""
    given = ["msi.zarr", "linear.lift", "fused.zarr", *more]
    with subprocess.Popen(
        [sys.executable, HPC / name, *given], cwd=job, env=environment(job, **variables)
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def content(store: Path) -> str:
    """The digest of a complete store's pixels."""
    about = zarr.open_group(store, mode="r").attrs[ABOUT]
    assert about["complete"]
    return about["content"]
