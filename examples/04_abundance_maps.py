"""Maps of what a real scene is made of, at the resolution of a mosaic.

    LIFT_XR_DATA=path/to/data python examples/04_abundance_maps.py [FOLDER]

Samson, a shore with soil, trees and water, is degraded to what a coarse hyperspectral and a fine
four-band sensor would see of it; `morph` finds endmembers in the first and maps them over the
second. Where the real scene is absent, a made-up city takes its place.
"""

import importlib.util
import os
import sys
import tempfile
from pathlib import Path

import xarray as xr

import lift_xr

DATA = Path(os.environ.get("LIFT_XR_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
RATIO = 4


def main(folder: Path) -> None:
    """Fit, map, write the store and the table, draw the picture."""
    hsi, msi, srf = pair()
    print(f"cube {hsi.shape}, mosaic {msi.shape}")
    # Three materials, each pure somewhere, are what this scene is known for. Without settings,
    # method="morph" asks the data how many parts they bear: better spectra, maps of less meaning.
    recipe = lift_xr.MorphRecipe(endmembers=3, extraction="vca")
    model = lift_xr.fit(hsi, srf, method=recipe)
    maps = lift_xr.unmix(model, msi)  # lazy: a mosaic of any size
    lift_xr.write_zarr(maps, folder / "maps.zarr", overwrite=True)
    maps["endmembers"].to_pandas().T.to_csv(folder / "endmembers.csv")
    lift_xr.plot.abundances(maps).savefig(folder / "abundances.png", dpi=110)
    fused = lift_xr.predict(model, msi)
    mixed = xr.dot(maps["abundances"], maps["endmembers"], dim="endmember")
    print(f"spectra and maps agree to {float(abs(fused - mixed).max()):.1g}")
    for number, share in enumerate(maps["abundances"].mean(("y", "x")).to_numpy(), 1):
        print(f"  endmember {number}: {share:.0%} of the scene")
    print(f"wrote abundances.png, maps.zarr and endmembers.csv in {folder}")


def pair() -> tuple[xr.DataArray, xr.DataArray, lift_xr.SRF]:
    """A cube, a mosaic and the response that leads from one to the other."""
    if not (DATA / "scenes.py").exists():
        print(f"the real scenes are not in {DATA}; a made-up city takes their place")
        scene = lift_xr.synthetic.scene(shape=(320, 320), ratio=20)
        return scene.hsi, scene.msi, scene.srf
    spec = importlib.util.spec_from_file_location("scenes", DATA / "scenes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    truth = module.load("samson").isel(y=slice(0, 92), x=slice(0, 92))
    srf = lift_xr.SRF.gaussian([450, 550, 660, 830], [60, 80, 60, 120])
    hsi, msi = lift_xr.degrade(truth, ratio=RATIO, srf=srf)
    return hsi, msi, srf


if __name__ == "__main__":
    where = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="lift_xr-"))
    main(where)
