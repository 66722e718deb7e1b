"""How near one cube comes to another: six metrics, ``score`` for all, and checks without a truth.

Everywhere ``estimate`` and ``reference`` are cubes on one grid with the same bands. A value that is
NaN in either is left out of both. Results are float64, and lazy when either cube is.
"""

from lift_xr.metrics.agreement import hsi_agreement, msi_agreement
from lift_xr.metrics.pair import Dims
from lift_xr.metrics.scores import Variant, score
from lift_xr.metrics.textbook import ergas, psnr, rmse, sam, ssim, uiqi

__all__ = [
    "Dims",
    "Variant",
    "ergas",
    "hsi_agreement",
    "msi_agreement",
    "psnr",
    "rmse",
    "sam",
    "score",
    "ssim",
    "uiqi",
]
