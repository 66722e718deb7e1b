"""Fuse a mosaic from a notebook, on the workers of a cluster. Each ``# %%`` is a cell.

    python notebook_client.py mosaic.tif sin.lift fused.zarr tcp://node1:8786
    python notebook_client.py mosaic.tif sin.lift fused.zarr
    HSI=hsi.zarr python notebook_client.py mosaic.tif both.lift fused.zarr

With an address it joins a cluster that runs; without one it asks SLURM for workers.
"""

# %% What to fuse
import os
import sys

from distributed import Client

import lift_xr

msi, model, store, *address = sys.argv[1:]  # in a notebook: write them here
shard = int(os.environ.get("SHARD", "1280"))


# %% Workers: each job is four cores, as two processes of two threads
def ask_slurm(jobs: int = 8) -> Client:
    """Start workers as SLURM jobs; nothing of this runs on the login node but the scheduler."""
    from dask_jobqueue import SLURMCluster

    cluster = SLURMCluster(
        cores=4,
        processes=2,
        memory="8GB",
        walltime="02:00:00",
        local_directory=os.environ.get("TMPDIR", "/tmp"),
        log_directory="logs",
        job_script_prologue=["export OMP_NUM_THREADS=1"],
        worker_extra_args=["--lifetime", "110m", "--lifetime-stagger", "5m"],
        scheduler_options={"dashboard_address": "127.0.0.1:0"},
        security=True,  # whoever reaches the scheduler's port may run code
        shared_temp_directory=os.path.expanduser("~"),  # its certificates, for the workers
    )
    cluster.adapt(minimum_jobs=1, maximum_jobs=jobs)  # workers at their end are replaced
    return Client(cluster)


client = Client(address[0]) if address else ask_slurm()
print(client.dashboard_link)

# %% Lazy: nothing is computed here
mosaic = lift_xr.open_scene(msi, block=shard)
hsi = lift_xr.open_scene(os.environ["HSI"]) if os.environ.get("HSI") else None
fused = lift_xr.predict(lift_xr.load_model(model), mosaic, hsi=hsi)
print(fused)

# %% Look at a corner first
print(fused[:, :4, :4].mean(("y", "x")).compute())

# %% Write; interrupt the kernel to stop, run the cell again to go on
lift_xr.write_zarr(fused, store, shard=shard, resume=True)

# %% Follow it from another notebook or a terminal: lift-xr status fused.zarr
print(lift_xr.status(store))
client.close()
