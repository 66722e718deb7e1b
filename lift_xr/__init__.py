"""Fine hyperspectral scenes from a coarse cube and a fine mosaic, at any size.

>>> import lift_xr
>>> scene = lift_xr.synthetic.scene(shape=(320, 320), ratio=20)
>>> fused = lift_xr.fuse(scene.hsi, scene.msi, scene.srf, method="linear")
"""

# Eager on purpose: several functions share their module's name, and importing the module first
# would hide the function. `from lift_xr.plan import Layout` finds the module all the same.
# None of these loads torch; plot, which loads matplotlib, waits.
from importlib import import_module
from types import ModuleType

from lift_xr import synthetic
from lift_xr.blind import estimate_psf, estimate_srf
from lift_xr.degrade import degrade
from lift_xr.errors import GridError, LayoutError, SpectralError
from lift_xr.fuse import fit, fuse, predict
from lift_xr.io import (
    ClusterGone,
    Verification,
    WriteFailed,
    load_model,
    open_scene,
    plan,
    status,
    verify,
    write_zarr,
)
from lift_xr.metrics import (
    ergas,
    hsi_agreement,
    msi_agreement,
    psnr,
    rmse,
    sam,
    score,
    ssim,
    uiqi,
)
from lift_xr.models import Model, MorphRecipe
from lift_xr.srf import SRF
from lift_xr.uncertainty import uncertainty
from lift_xr.unmix import unmix

__all__ = [
    "SRF",
    "ClusterGone",
    "GridError",
    "LayoutError",
    "Model",
    "MorphRecipe",
    "SpectralError",
    "Verification",
    "WriteFailed",
    "degrade",
    "ergas",
    "estimate_psf",
    "estimate_srf",
    "fit",
    "fuse",
    "hsi_agreement",
    "load_model",
    "msi_agreement",
    "open_scene",
    "plan",
    "plot",
    "predict",
    "psnr",
    "rmse",
    "sam",
    "score",
    "ssim",
    "status",
    "synthetic",
    "uiqi",
    "uncertainty",
    "unmix",
    "verify",
    "write_zarr",
]


def __getattr__(name: str) -> ModuleType:
    if name == "plot":
        return import_module("lift_xr.plot")
    raise AttributeError(f"module 'lift_xr' has no attribute {name!r}")
