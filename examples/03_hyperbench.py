"""lift_xr as a method of HyperBench (arXiv 2605.21671), for tables that others make.

    python examples/03_hyperbench.py

HyperBench degrades the scenes, calls ``run_pipeline`` with plain arrays and scores what it returns:

    from hyperbench import PipelineAdapter, run_benchmark
    adapter = PipelineAdapter(run_pipeline, name="lift_xr sin", add_batch_dim=False)
    run_benchmark(adapter, config)

Run as it stands, this file does the same on a generated scene, without HyperBench.
"""

import time
from typing import Any

import numpy as np
import xarray as xr

import lift_xr

METHOD = "sin"


def run_pipeline(
    HR_MSI: np.ndarray,
    LR_HSI: np.ndarray,
    srf: np.ndarray,
    psf: np.ndarray | None = None,
    metadata: dict[str, Any] | None = None,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Fuse (y, x, msi_band) and (y, x, band), seen through (msi_band, band), to (y, x, band).

    The PSF that HyperBench degraded with is not looked at: on real scenes nobody knows it.
    """
    hsi, msi = labelled(LR_HSI, HR_MSI.shape), labelled(HR_MSI, HR_MSI.shape)
    numbers = ("band", np.arange(1.0, hsi.sizes["band"] + 1), {"units": "nm"})
    hsi = hsi.assign_coords(wavelength=numbers)  # labels only: the response is given as a matrix
    start = time.perf_counter()
    model = lift_xr.fit(hsi, srf, msi=msi, method=METHOD, harmonize="none", progress=False)
    trained = time.perf_counter()
    fused = lift_xr.predict(model, msi, hsi=hsi).to_numpy()
    weights = [array for name, array in model.arrays.items() if name.startswith("lift.")]
    stats = {
        "framework": "lift_xr",
        "training_time_sec": trained - start,
        "inference_time_sec": time.perf_counter() - trained,
        "num_parameters": sum(array.size for array in weights),
    }
    return np.clip(np.moveaxis(fused, 0, -1), 0, 1), stats


def labelled(image: np.ndarray, fine: tuple[int, ...]) -> xr.DataArray:
    """(y, x, band) as a scene whose pixel centres count pixels of the fine image."""
    centres = {
        dim: (np.arange(count) + 0.5) * fine[axis] / count
        for axis, (dim, count) in enumerate(zip(("y", "x"), image.shape[:2], strict=True))
    }
    scene = xr.DataArray(image, dims=("y", "x", "band"), coords=centres, attrs={"units": "1"})
    return scene.transpose("band", "y", "x").assign_coords(band=np.arange(1, image.shape[2] + 1))


def main() -> None:
    """Do what HyperBench does, once: degrade, call, score."""
    scene = lift_xr.synthetic.scene(shape=(96, 96), ratio=4, bands=40, spacing=1.0)
    srf = lift_xr.SRF.sensor("rgb-camera").sample(scene.truth).to_numpy()
    hsi, msi = lift_xr.degrade(scene.truth, ratio=4, srf=srf, hsi_snr=35, msi_snr=40)
    arrays = [np.moveaxis(image.to_numpy(), 0, -1) for image in (msi, hsi)]
    prediction, stats = run_pipeline(*arrays, srf)
    estimate = scene.truth.copy(data=np.moveaxis(prediction, -1, 0))
    scores = lift_xr.score(estimate, scene.truth.compute(), ratio=4, variant="sewar")
    print(f"{stats['num_parameters']:,} parameters, {stats['training_time_sec']:.1f} s of training")
    print(f"PSNR {float(scores.psnr):.1f} dB, SAM {float(scores.sam):.2f} degrees")


if __name__ == "__main__":
    main()
