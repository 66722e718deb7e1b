"""Labels floor: a plausible scene of any size, with its truth, the same for any chunking."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
import rasterio.transform
import rioxarray  # noqa: F401  # the .rio accessor
import xarray as xr
from dask.base import tokenize

from lift_xr.city.survey import FILL, HIGHEST, Cube, Endmembers, Ground, Mosaic, Truth, View
from lift_xr.errors import GridError, SpectralError
from lift_xr.srf import SRF

FIRST, LAST = 380.0, 1050.0  # nm: the reach of CASI-1500 and of the library
CRS = "EPSG:32615"  # UTM zone 15 north, where Houston lies
LEFT, TOP = 271_500.0, 3_290_800.0  # metres; rounded, on the east side of the city


@dataclass(frozen=True)
class Scene:
    """A made-up pair of scenes and what they are made of; all of them lazy.

    Attributes
    ----------
    hsi : (band, y, x), reflectance, float32
        What an airborne spectrometer sees, with ``wavelength`` and ``fwhm`` in nm.
    msi : (band, y, x), uint8
        What a camera sees; ``scale_factor`` in its attributes makes reflectance of it.
    srf
        The camera's spectral response.
    truth : (band, y, x), reflectance, float32
        The bands of ``hsi`` at the pixels of ``msi``, without noise.
    """

    hsi: xr.DataArray
    msi: xr.DataArray
    srf: SRF
    truth: xr.DataArray

    def __repr__(self) -> str:
        """Sizes, which is what a person asks first."""
        lines = [
            f"{name:6s}{' x '.join(map(str, part.shape))} {part.dtype}"
            for name, part in (("hsi", self.hsi), ("msi", self.msi), ("truth", self.truth))
        ]
        return "\n".join(["Scene (band x y x x)", *lines, f"srf   {self.srf.name}"])


def scene(
    shape: tuple[int, int] = (1280, 1280),
    ratio: int = 20,
    *,
    bands: int = 50,
    srf: Any = "rgb-camera",
    spacing: float = 0.05,
    hsi_snr: float = 35.0,
    msi_snr: float = 40.0,
    psf: float = 1.0,
    nodata: float = 0.0,
    seed: int = 0,
    block: int = 1280,
) -> Scene:
    """Make a scene of a city: roofs, roads, cars, lawns, trees and water.

    Parameters
    ----------
    shape
        Rows and columns of the MSI and of the truth; multiples of ``ratio``.
    ratio
        HSI ground sampling distance over the MSI's.
    bands
        HSI bands, evenly over 380-1050 nm.
    srf
        The camera: whatever ``SRF.of`` takes.
    spacing
        Metres between MSI pixels. The city stays the same: 1.0 shows much of it in few pixels.
    hsi_snr, msi_snr
        Signal-to-noise ratio in dB, for a surface that reflects in each band what the library's
        materials do on average. ``np.inf`` for none; the MSI is rounded to 8 bits all the same.
    psf
        Full width at half maximum of the spectrometer's Gaussian blur, in HSI pixels; a cell is
        the mean of the blurred truth over its area.
    nodata
        Mean width of a ragged rim without MSI data, as a share of the shorter side. The default
        leaves the value 0 a dark pixel like any other.
    seed
        Names the city and the noise.
    block
        Chunk size in MSI pixels. It changes no pixel.

    Returns
    -------
    Scene
        Nothing is computed until asked for, and then only the pixels asked for.

    Raises
    ------
    GridError
        A shape that is not a positive multiple of the ratio.
    SpectralError
        A camera that sees beyond 380-1050 nm, or fewer than two bands.

    Notes
    -----
    Every pixel follows from the seed, its row and its column: the scene is a window, at the upper
    left, of an endless city, so a larger scene holds the smaller one. A pixel is a linear mixture
    of the spectra in ``lift_xr.city.materials``, in sunlight and skylight; several of them look
    alike in red, green and blue and differ beyond.

    Examples
    --------
    >>> made = scene((83440, 24040), ratio=20)
    >>> made
    Scene (band x y x x)
    hsi   50 x 4172 x 1202 float32
    msi   3 x 83440 x 24040 uint8
    truth 50 x 83440 x 24040 float32
    srf   rgb-camera
    >>> made.msi[:, 40000, 12000].compute().dtype
    dtype('uint8')
    """
    _expect_shape(shape, ratio)
    wavelength, fwhm = _bands(bands)
    settings = {
        "seed": seed, "spacing": spacing, "ratio": ratio, "bands": bands, "hsi_snr": hsi_snr,
        "msi_snr": msi_snr, "psf": psf, "nodata": nodata,
    }  # fmt: skip
    ground = Ground(seed % 2**32, shape, spacing)
    endmembers = Endmembers.of(wavelength, fwhm)
    truth = _spectral(_lazy(Truth(ground, endmembers), block), "truth", wavelength, fwhm)
    truth = _placed(truth, spacing, settings, "made-up city, reflectance as it is")
    camera = SRF.of(srf)
    msi = _mosaic(ground, endmembers, camera.sample(truth), settings, block)
    cube = Cube(ground, endmembers, ratio, psf * ratio, _deviation(endmembers, hsi_snr))
    hsi = _spectral(_lazy(cube, max(block // ratio, 1)), "hsi", wavelength, fwhm)
    hsi = _placed(hsi, spacing * ratio, settings, "made-up city, as a spectrometer sees it")
    return Scene(hsi, msi, camera, truth)


def _mosaic(
    ground: Ground,
    endmembers: Endmembers,
    matrix: xr.DataArray,
    settings: dict[str, Any],
    block: int,
) -> xr.DataArray:
    """The camera's image, labelled."""
    seen = endmembers.through(matrix.to_numpy())
    rim = settings["nodata"] * min(ground.shape)
    deviation = _deviation(seen, settings["msi_snr"])
    data = _lazy(Mosaic(ground, seen, 1 / HIGHEST, deviation, rim), block)
    msi = xr.DataArray(data, dims=("band", "y", "x"), name="msi")
    msi = msi.assign_coords(band=matrix["msi_band"].to_numpy())
    if "msi_wavelength" in matrix.coords:
        centres = matrix["msi_wavelength"].to_numpy()
        msi = msi.assign_coords(wavelength=("band", centres, {"units": "nm"}))
    msi = _placed(msi, ground.spacing, settings, "made-up city, as a camera sees it")
    fill = {"_FillValue": FILL} if rim else {}
    return msi.assign_attrs(scale_factor=1 / HIGHEST, add_offset=0.0, **fill)


def _deviation(endmembers: Endmembers, snr: float) -> np.ndarray:
    """Of the noise, in reflectance: (band,)."""
    deviation: np.ndarray = endmembers.level * 10 ** (-snr / 20)
    return deviation


def _bands(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Centres and widths of contiguous bands, nm."""
    if count < 2:
        raise SpectralError(
            f"bands is {count}; expected 2 or more over {FIRST:g}-{LAST:g} nm. Pass bands=50"
        )
    edges = np.linspace(FIRST, LAST, count + 1)
    return (edges[1:] + edges[:-1]) / 2, np.diff(edges)


def _lazy(view: View, block: int) -> da.Array:
    """A dask array over a view: one task a block, and slices reach through to the pixels."""
    chunks = (view.shape[0], min(block, view.shape[1]), min(block, view.shape[2]))
    kind = type(view).__name__.lower()
    return da.from_array(
        view,
        chunks=chunks,
        name=f"synthetic-{kind}-{tokenize(_recipe(view), chunks)}",
        meta=np.empty((0, 0, 0), view.dtype),
        asarray=False,
    )


def _recipe(view: View) -> tuple[Any, ...]:
    """All that a view's pixels follow from."""
    return (type(view).__name__, *(vars(view)[name] for name in sorted(vars(view))))


def _spectral(data: da.Array, name: str, wavelength: np.ndarray, fwhm: np.ndarray) -> xr.DataArray:
    coords = {
        "band": np.arange(1, len(wavelength) + 1),
        "wavelength": ("band", wavelength, {"units": "nm"}),
        "fwhm": ("band", fwhm, {"units": "nm"}),
    }
    return xr.DataArray(data, dims=("band", "y", "x"), coords=coords, name=name)


def _placed(
    scene: xr.DataArray, spacing: float, settings: dict[str, Any], description: str
) -> xr.DataArray:
    """Put a scene on the map and say what it is."""
    rows, columns = scene.sizes["y"], scene.sizes["x"]
    metres = {"units": "m"}
    scene = scene.assign_coords(
        y=("y", TOP - spacing * (np.arange(rows) + 0.5), metres),
        x=("x", LEFT + spacing * (np.arange(columns) + 0.5), metres),
    )
    transform = rasterio.transform.from_origin(LEFT, TOP, spacing, spacing)
    scene = scene.rio.write_crs(CRS).rio.write_transform(transform)
    told = {"units": "1", "description": description, "seed": settings["seed"]}
    return scene.assign_attrs(told, lift_xr_synthetic=json.dumps(settings))


def _expect_shape(shape: tuple[int, int], ratio: int) -> None:
    if isinstance(ratio, bool) or not isinstance(ratio, int | np.integer) or ratio < 1:
        raise GridError(f"ratio is {ratio!r}; expected a whole number of 1 or more. Pass ratio=20")
    if any(size < ratio or size % ratio for size in shape):
        below, above = (
            tuple(max(step(size / ratio), 1) * ratio for size in shape)
            for step in (np.floor, np.ceil)
        )
        near = tuple(tuple(int(size) for size in sizes) for sizes in (below, above))
        raise GridError(
            f"shape is {tuple(shape)} pixels; expected multiples of the ratio, {ratio}. "
            f"The nearest are shape={near[0]} and shape={near[1]}"
        )
