"""Two real pairs whose sensors share no radiometry, made to agree by ``harmonize``.

    LIFT_XR_DATA=path/to/data python examples/02_real_pairs.py [FOLDER]

Paris: EO-1 Hyperion and ALI, 30 m both, the camera's response measured. Ordway-Swisher: NEON's
spectrometer at 1 m and its camera at 0.1 m, the camera's response unknown; plots of 20 x 20 m are
laid side by side, since one plot has only 400 pixels to learn from. Neither pair has a truth at
fine resolution: the result, seen again by the two sensors, is held against the mosaic and the
cube. That shows what is wrong, and proves nothing right: many spectra look alike to a camera.
"""

import importlib.util
import os
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import numpy as np
import xarray as xr

import lift_xr
from lift_xr.harmonize import harmonize
from lift_xr.srf import apply

DATA = Path(os.environ.get("LIFT_XR_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
PLOTS = range(4, 40, 9)  # four of 39


def main(folder: Path) -> None:
    """Fuse both pairs with and without harmonization, print the figures, draw the pictures."""
    if not (DATA / "scenes.py").exists():
        sys.exit(f"skipped: the real scenes are not in {DATA}; set LIFT_XR_DATA to their folder")
    for name, (hsi, msi, srf) in {"paris": paris(), "ordway_swisher": ordway_swisher()}.items():
        print(f"\n{name}: cube {hsi.shape}, mosaic {msi.shape}")
        fused = lift_xr.fuse(hsi, msi, srf).compute()  # harmonize="auto"; small enough to hold
        print(f"  {fused.attrs['lift_xr_harmonize']}")
        # What one gets by scaling 8 bits to 0-1 and hoping; linear, because the fault is not SIN's.
        naive = msi / 255 if msi.units == "DN" else msi
        hoped = lift_xr.fuse(hsi, naive, srf, harmonize="none", method="linear").compute()
        mosaic = harmonized(hsi, msi, srf)
        tell("harmonized", fused, hsi, mosaic, srf)
        tell("not harmonized", hoped, hsi, mosaic, srf)
        figure = lift_xr.plot.comparison(
            hsi, msi, fused, others={"not harmonized": hoped}, title=name.replace("_", " ").title()
        )
        figure.savefig(folder / f"{name}.png", dpi=130)
        print(f"  wrote {folder / name}.png")


def harmonized(hsi: xr.DataArray, msi: xr.DataArray, srf: lift_xr.SRF | str) -> xr.DataArray:
    """The mosaic in the values of the cube, as ``fuse`` takes it."""
    return harmonize(msi, apply(lift_xr.SRF.of(srf).sample(hsi), hsi)).apply(msi)


def tell(
    what: str, fused: xr.DataArray, hsi: xr.DataArray, msi: xr.DataArray, srf: lift_xr.SRF | str
) -> None:
    """Print how near the result, seen again by either sensor, comes to what that sensor saw."""
    seen = lift_xr.msi_agreement(fused, msi, srf).compute()
    coarse = lift_xr.hsi_agreement(fused, hsi).compute()
    part = float(seen.rmse.mean() / msi.mean()), float(coarse.rmse.mean() / hsi.mean())
    print(
        f"  {what:14} mosaic: RMSE {part[0]:.2%} of its mean, correlation "
        f"{float(seen.correlation.min()):.3f} or more; cube: RMSE {part[1]:.1%} of its mean, "
        f"SAM {float(coarse.sam):.2f} degrees, ERGAS {float(coarse.ergas):.2f}"
    )


def paris() -> tuple[xr.DataArray, xr.DataArray, lift_xr.SRF]:
    """Hyperion and ALI, with the response curves that ALI's builders measured."""
    hsi, msi = scenes().load_pair("paris_hyperion_ali_ms")
    measured = lift_xr.SRF.from_csv(DATA / "srf" / "eo1_ali.csv")
    # The cube ends at 2350 nm and covers 79 % of MS-7: leave that band out.
    kept = [band for band in msi.band.to_numpy() if band != "MS-7"]
    return hsi, msi.sel(band=kept), measured.select(*kept)


def ordway_swisher() -> tuple[xr.DataArray, xr.DataArray, str]:
    """Four plots side by side, seen by a camera whose response is only roughly known."""
    plots = [scenes().load_pair(f"neon_osbs_pairs[{plot}]") for plot in PLOTS]
    hsi = side_by_side([pair[0] for pair in plots], spacing=1.0)
    msi = side_by_side([pair[1] for pair in plots], spacing=0.1)
    return hsi, msi, "rgb-camera"


def side_by_side(plots: list[xr.DataArray], *, spacing: float) -> xr.DataArray:
    """One scene of several, on a grid of its own: two rows of plots."""
    bare = [plot.drop_vars(["x", "y", "spatial_ref"]) for plot in plots]
    half = len(bare) // 2
    rows = [xr.concat(row, dim="x") for row in (bare[:half], bare[half:])]
    scene = xr.concat(rows, dim="y")
    y, x = (spacing * (np.arange(scene.sizes[axis]) + 0.5) for axis in ("y", "x"))
    return scene.assign_coords(y=-y, x=x)


def scenes() -> ModuleType:
    """The loader that lies beside the scenes."""
    spec = importlib.util.spec_from_file_location("scenes", DATA / "scenes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    where = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="lift_xr-"))
    main(where)
