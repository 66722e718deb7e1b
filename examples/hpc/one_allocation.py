"""Fuse a mosaic on all nodes of one SLURM allocation.

    srun python one_allocation.py mosaic.tif sin.lift fused.zarr
    HSI=hsi.zarr srun python one_allocation.py mosaic.tif both.lift fused.zarr

Every task of the job runs this script. SLURMRunner makes the first one the scheduler and the third
and later ones workers, which stay in it until all is done; only the second goes on to the end.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from typing import Any

import xarray as xr
from dask_jobqueue.slurm import SLURMRunner
from distributed import Client, performance_report

import lift_xr

SHARD = int(os.environ.get("SHARD", "1280"))
MARGIN = 300  # seconds left for the shards in hand when time runs out
WRONG, FAILED, INTERRUPTED = 2, 3, 75  # exit codes, as of lift-xr
NO_END = (
    "SLURM_JOB_END_TIME is not set; expected when the job ends, to stop before. At its time limit "
    "SLURM kills it with shards in hand, and it is not requeued. Submit it again to go on"
)


class Unfit(Exception):
    """What was given cannot be lifted."""


def main(msi: str, model: str, store: str) -> None:
    """Write the store, or as much of it as there is time for."""
    with cluster() as runner, Client(runner) as client:
        # Until write_zarr listens to it; without that it would end this process without a word.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        client.wait_for_workers(runner.n_workers, timeout=600)
        stop_before(os.environ.get("SLURM_JOB_END_TIME"))
        name = f"lift-xr-{os.environ['SLURM_JOB_ID']}"
        with report(f"{name}.html"):
            fused = lifted(msi, model)
            lift_xr.write_zarr(fused, store, shard=SHARD, resume=True, log=f"{name}.jsonl")


def lifted(msi: str, model: str) -> xr.DataArray:
    """What is to be written, lazy; models that look at the cube again are given it as HSI."""
    try:
        mosaic = lift_xr.open_scene(msi, block=SHARD)
        cube = lift_xr.open_scene(os.environ["HSI"]) if os.environ.get("HSI") else None
        return lift_xr.predict(lift_xr.load_model(model), mosaic, hsi=cube)
    except (ValueError, OSError) as error:
        raise Unfit(f"{type(error).__name__}: {error}") from error


def cluster() -> SLURMRunner:
    """A scheduler, and a worker for every task that is left."""
    return SLURMRunner(
        scheduler_file="scheduler-{job_id}.json",
        scheduler_options={"dashboard_address": "127.0.0.1:0"},
        worker_options={
            "nthreads": int(os.environ.get("SLURM_CPUS_PER_TASK", "1")),
            "local_directory": os.environ.get("TMPDIR", "/tmp"),
        },
    )


def stop_before(end: str | None) -> None:
    """Tell this process to stop in good time; SLURM would signal the workers too."""
    if end is None:
        print(NO_END, file=sys.stderr)
        return
    left = float(end) - time.time()
    if left < MARGIN:
        raise TimeoutError(
            f"the job ends in {left:.0f} s; expected more than the {MARGIN} that are kept for the "
            "shards in hand. Submit it with a longer --time"
        )
    alarm = threading.Timer(left - MARGIN, os.kill, (os.getpid(), signal.SIGTERM))
    alarm.daemon = True
    alarm.start()


def report(name: str) -> AbstractContextManager[Any]:
    """Write what every worker did to a page of HTML, where bokeh is there to draw it."""
    return performance_report(name) if find_spec("bokeh") else nullcontext()


def ended(*given: str) -> int:
    """Run, and say how that ended."""
    if len(given) != 3:
        print(f"{len(given)} arguments; expected MSI MODEL STORE", file=sys.stderr)
        return WRONG
    try:
        main(*given)
    except KeyboardInterrupt:
        return INTERRUPTED
    except lift_xr.ClusterGone as error:
        print(error, file=sys.stderr)
        return INTERRUPTED
    except lift_xr.WriteFailed as error:
        print(error, file=sys.stderr)
        return FAILED
    except Unfit as error:
        print(error, file=sys.stderr)
        return WRONG
    except (lift_xr.LayoutError, lift_xr.GridError, lift_xr.SpectralError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # TimeoutError is an OSError
        return WRONG
    return 0


if __name__ == "__main__":
    sys.exit(ended(*sys.argv[1:]))
