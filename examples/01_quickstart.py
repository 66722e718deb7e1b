"""Quickstart: a coarse cube and a fine mosaic become a fine hyperspectral scene.

    python examples/01_quickstart.py [FOLDER]

Runs on a generated scene of 26 x 26 m in a small Dask cluster on this machine. Replace the first
step by ``lift_xr.open_scene("your.tif")`` and the rest stays as it is.
"""

import sys
import tempfile
from pathlib import Path

from distributed import Client, LocalCluster

import lift_xr


def main(folder: Path) -> None:
    """Fuse, write, read back, and see how near the truth it came."""
    # 1 Two scenes of one place. The mosaic's pixels are 20 times finer; the cube has 50 bands.
    scene = lift_xr.synthetic.scene(shape=(520, 520), ratio=20, seed=1)
    hsi, msi, srf = scene.hsi, scene.msi, scene.srf
    print(f"cube   {dict(hsi.sizes)}\nmosaic {dict(msi.sizes)}, {msi.dtype}")

    # 2 Train on the cube; the mosaic is lifted when its values are asked for.
    fused = lift_xr.fuse(hsi, msi, srf)
    print(f"fused  {dict(fused.sizes)}, {fused.nbytes / 1e6:.0f} MB, not computed yet")

    # 3 Write it. Each block is read, lifted, packed and written in one task.
    store = lift_xr.write_zarr(fused, folder / "fused.zarr", overwrite=True)

    # 4 Read it back, here with plain label-based selection, and look at one spectrum.
    again = lift_xr.open_scene(store)
    spectrum = again.sel(x=float(again.x[400]), y=float(again.y[300])).compute()
    print(spectrum.to_series().iloc[::10].to_string())

    # 5 This scene has a truth to compare with; yours will not.
    scores = lift_xr.score(again, scene.truth, ratio=20).compute()
    print(f"PSNR {float(scores.psnr):.1f} dB, SAM {float(scores.sam):.2f} degrees")


if __name__ == "__main__":
    where = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="lift_xr-"))
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster),
    ):
        main(where)
    print(f"wrote {where}")
