"""What of a scene is shown: which bands, how many pixels, how bright, and where to look closer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.ndimage import maximum_filter, uniform_filter

from lift_xr.errors import LayoutError, SpectralError
from lift_xr.grid import Grid
from lift_xr.scene import expect_scene

Image = npt.NDArray[np.float32]
Limits = npt.NDArray[np.float64]
Bands = str | Sequence[int] | None
Place = tuple[float, float]

CHANNELS = {"rgb": (640.0, 550.0, 460.0), "nir": (860.0, 650.0, 550.0)}  # nm
TOLERANCE = 50.0  # nm that a channel's band may lie off
CALM = 9  # pixels across which a place should look the same
MAX_SIZE = 1200  # pixels along either side
STRETCH = (1.0, 98.5)  # percentiles shown as black and as white
GAMMA = 0.55  # lifts the shadows, of which a city has many
EMPTY = 1.0  # nodata is paper


def false_colour(
    scene: xr.DataArray,
    *,
    bands: Bands = None,
    limits: Limits | None = None,
    max_size: int = MAX_SIZE,
) -> Image:
    """Three bands of a scene, as ``imshow`` takes them.

    Parameters
    ----------
    scene : (band, y, x)
        Any scene; only the pixels shown are computed.
    bands
        ``"rgb"`` takes the bands nearest to 640, 550 and 460 nm, ``"nir"`` those nearest to 860,
        650 and 550 nm; a sequence gives positions. None takes ``"rgb"`` where the wavelengths
        allow, and the first three bands where there are none; one band is grey.
    limits : (3, 2)
        Values shown as black and as white, from ``stretch``; by default those of this picture.
        Pictures that are to be compared need the same.
    max_size
        Pixels along either side, at most.

    Returns
    -------
    (y, x, 3), 0-1, float32
        North up. Nodata is white; shadows are lifted a little.

    Raises
    ------
    SpectralError
        No wavelengths, or none near a channel.
    LayoutError
        More than one time.
    """
    scene = one_image(scene)
    pixels = _pixels(scene, pick_bands(scene, bands), max_size)
    limits = stretch_of(pixels) if limits is None else np.asarray(limits, "float64")
    low, span = limits[:, 0], np.maximum(limits[:, 1] - limits[:, 0], 1e-12)
    shown = (np.clip((pixels - low) / span, 0, 1) ** GAMMA).astype("float32")
    return np.where(np.isfinite(pixels).all(axis=-1, keepdims=True), shown, np.float32(EMPTY))


def stretch(scene: xr.DataArray, *, bands: Bands = None, max_size: int = MAX_SIZE) -> Limits:
    """Values to show as black and as white: (3, 2), one row a channel.

    Parameters
    ----------
    scene, bands, max_size
        As in ``false_colour``.
    """
    scene = one_image(scene)
    return stretch_of(_pixels(scene, pick_bands(scene, bands), max_size))


def places(scene: xr.DataArray, *, max_size: int = MAX_SIZE) -> list[Place]:
    """Three places to look at: something green, something bright, something dull.

    Parameters
    ----------
    scene : (band, y, x)
        Green is found where its wavelengths reach the near infrared.
    max_size
        As in ``false_colour``.

    Returns
    -------
    list of (x, y)
        Within surfaces rather than at their edges, and away from the rim of the scene.
    """
    thin = thinned(one_image(scene).isel(band=pick_bands(scene, widest(scene))), max_size)
    values = thin.to_numpy().astype("float64")
    near, red, _ = smooth = uniform_filter(np.nan_to_num(values), size=(0, CALM, CALM))
    spread = (uniform_filter(np.nan_to_num(values) ** 2, size=(0, CALM, CALM)) - smooth**2).sum(0)
    usable = _inner(maximum_filter(~np.isfinite(values).all(axis=0), size=CALM) == 0)
    if not usable.any():
        return [_place_of(thin, near, usable, 0.5)] * 3
    calm = usable & (spread <= np.median(spread[usable]))
    brightness = smooth.mean(axis=0)
    green = (near - red) / np.maximum(near + red, 1e-9)
    lit = usable & (brightness >= np.median(brightness[usable]))  # leaves are never calm
    dull = calm & (green <= np.median(green[usable]))
    ranks = ((green, lit, 0.97), (brightness, calm, 0.95), (brightness, dull, 0.4))
    return [_place_of(thin, *rank) for rank in ranks]


def pick_bands(scene: xr.DataArray, bands: Bands) -> list[int]:
    """Positions of the three bands to show, red channel first; one band is shown thrice."""
    if bands is None:
        return _bands_of_choice(scene)
    if not isinstance(bands, str):
        return list(bands)
    if bands not in CHANNELS:
        raise SpectralError(f"bands is {bands!r}; expected 'rgb', 'nir' or three positions")
    if "wavelength" not in scene.coords:
        raise SpectralError(
            f"the scene has no wavelengths to find {bands!r} by; expected a coordinate "
            "'wavelength' along band, in nm. Use bands=(0, 1, 2) to show bands by position"
        )
    return [_nearest_band(scene, nm) for nm in CHANNELS[bands]]


def widest(scene: xr.DataArray) -> Bands:
    """What shows most of a cube: near infrared if it has some, else colours, else its ends."""
    fitting = [name for name in ("nir", "rgb") if _covers(scene, name)]
    last = scene.sizes["band"] - 1
    return fitting[0] if fitting else (last, last // 2, 0)


def _bands_of_choice(scene: xr.DataArray) -> list[int]:
    if scene.sizes["band"] < 3:
        return [0, 0, 0]
    if "wavelength" not in scene.coords:
        return [0, 1, 2]
    return pick_bands(scene, "rgb" if _covers(scene, "rgb") else widest(scene))


def _covers(scene: xr.DataArray, name: str) -> bool:
    if "wavelength" not in scene.coords:
        return False
    away = np.abs(np.subtract.outer(CHANNELS[name], scene["wavelength"].to_numpy()))
    return bool((away.min(axis=1) <= TOLERANCE).all())


def stretch_of(pixels: Image) -> Limits:
    """Percentiles of each channel of (y, x, channel), where there is data."""
    found = [channel[np.isfinite(channel)] for channel in np.moveaxis(pixels, -1, 0)]
    return np.array([np.percentile(each, STRETCH) if each.size else (0, 1) for each in found])


def _nearest_band(scene: xr.DataArray, nm: float) -> int:
    away = np.abs(scene["wavelength"].to_numpy() - nm)
    nearest = int(np.argmin(away))
    if away[nearest] > TOLERANCE:
        found = scene["wavelength"].to_numpy()
        raise SpectralError(
            f"the scene covers {found.min():g}-{found.max():g} nm, nothing within {TOLERANCE:g} nm "
            f"of {nm:g} nm; expected a band there. Use bands=(0, 1, 2) to show bands by position"
        )
    return nearest


def one_image(scene: xr.DataArray) -> xr.DataArray:
    """Check a scene, and that it is of one time."""
    scene = expect_scene(scene)
    if "time" in scene.dims:
        raise LayoutError(
            f"the scene has {scene.sizes['time']} times; expected one image. "
            "Use scene = scene.isel(time=0)"
        )
    return scene


def thinned(scene: xr.DataArray, max_size: int) -> xr.DataArray:
    """Keep every nth pixel, so that neither side has more than ``max_size``."""
    step = {axis: -(-scene.sizes[axis] // max_size) for axis in ("y", "x")}
    return scene.isel({axis: slice(each // 2, None, each) for axis, each in step.items()})


def _pixels(scene: xr.DataArray, bands: Sequence[int], max_size: int) -> Image:
    """Three bands, thinned, with north up: (y, x, 3)."""
    thin = thinned(scene.isel(band=sorted(set(bands))), max_size).transpose("y", "x", "band")
    values: Image = thin.to_numpy()[..., [sorted(set(bands)).index(band) for band in bands]]
    return values[::-1] if grows_upwards(scene) else values


def grows_upwards(scene: xr.DataArray) -> bool:
    """Whether the first row is the southernmost."""
    grid = Grid.of(scene)
    return grid.located and grid.dy > 0


def _inner(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The mask without a tenth along each side."""
    inner = np.zeros_like(mask)
    down, along = (size // 10 for size in mask.shape)
    window = slice(down, mask.shape[0] - down), slice(along, mask.shape[1] - along)
    inner[window] = mask[window]
    return inner


def _place_of(
    scene: xr.DataArray, values: npt.NDArray[Any], among: npt.NDArray[np.bool_], share: float
) -> Place:
    """The pixel, among some, whose value has that share of theirs below it."""
    if not among.any():
        return float(scene["x"].mean()), float(scene["y"].mean())
    target = np.quantile(values[among], share)
    away = np.where(among, np.abs(values - target), np.inf)
    row, column = np.unravel_index(int(away.argmin()), away.shape)
    return float(scene["x"][column]), float(scene["y"][row])
