"""A store against the scenes it came from: as the MSI's sensor sees it, and over the HSI's cells.

Shards are looked at one after the other, in strips, so that nothing is held but one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from lift_xr.cells import partial_sums, whole
from lift_xr.encode import CLIPPED, OUTSIDE
from lift_xr.errors import LayoutError, SpectralError
from lift_xr.grid import cells, expect_overlap, expect_same_crs
from lift_xr.io.again import LiftedAgain, expect_model
from lift_xr.io.create import level_path
from lift_xr.io.recheck import Question
from lift_xr.io.recorded import Faults
from lift_xr.io.verification import Check
from lift_xr.models import Model
from lift_xr.models.projection import SNR
from lift_xr.mosaic import mosaic_for
from lift_xr.packing import Packing, decode_block
from lift_xr.scene import BLOCK, expect_hsi
from lift_xr.uncertainty import ERROR
from lift_xr.unmix import SPECTRA

Scene = xr.DataArray | xr.Dataset
Window = tuple[slice, ...]
Array = npt.NDArray[np.float64]

STRIP = 128  # rows decoded together
MARGIN = 3  # times its noise, as the projection takes it, that SRF(fused) may be off the mosaic


def ask(
    scene: xr.DataArray,
    packing: Packing,
    about: Mapping[str, Any],
    *,
    msi: Scene | None,
    hsi: Scene | None,
    model: Model | None,
    device: str,
) -> tuple[Question, ...]:
    """Make ready to ask what the scenes that were given allow to ask.

    Raises
    ------
    LayoutError
        Another model or mosaic than the store was made with; scenes for a store of maps or errors.
    GridError, SpectralError
        Scenes that cannot be compared with it.
    """
    asked: list[Question] = []
    held = _held_beside_spectra(scene)
    if held is not None and (msi is not None or hsi is not None):
        raise LayoutError(
            f"the store holds {held}, which are not lifted again nor compared with "
            "reflectance; expected spectra. Leave out msi and hsi: what the run wrote is checked "
            "all the same"
        )
    if model is not None:
        expect_model(model, scene)
    if msi is not None:
        if model is None:
            raise LayoutError(
                "msi is given and model is not, and the store holds none; expected the model, to "
                "lift the mosaic again. Pass model=model, as lift_xr.load_model reads it"
            )
        asked += [
            LiftedAgain.of(scene, packing, about, model=model, msi=msi, hsi=hsi, device=device),
            SeenBySensor.of(scene, packing, model=model, msi=msi),
        ]
    if hsi is not None:
        asked.append(OverCells.of(scene, packing, hsi))
    return tuple(asked)


def _held_beside_spectra(scene: Scene) -> str | None:
    """What a store holds whose bands are no spectra; None where they are."""
    if SPECTRA in scene.attrs:
        return "maps of abundances"
    return "expected errors" if scene.name == ERROR else None


class SeenBySensor:
    """Whether the result, seen through the response, is the mosaic."""

    name = "sensor"

    def __init__(self, mosaic: xr.DataArray, packing: Packing, model: Model) -> None:
        self.mosaic, self.packing, self.model = mosaic, packing, model
        bands = model.msi_bands
        self.radiometry = _radiometry(model)
        self.sums = np.zeros((4, bands))  # pixels, errors, their squares, squares of the mosaic
        self.covered = 0

    @classmethod
    def of(cls, scene: xr.DataArray, packing: Packing, *, model: Model, msi: Scene) -> SeenBySensor:
        """Order the bands of the mosaic as the model has them."""
        return cls(mosaic_for(model, msi, block=BLOCK), packing, model)

    def look(self, window: Window, stored: np.ndarray, flags: np.ndarray) -> str:
        """Add up one shard; whether it is right is said of all of them together."""
        self.covered += 1
        if self.radiometry is None:
            return ""
        gain, offset = self.radiometry
        *once, _, rows, columns = window
        seen = self.mosaic.data[(*once, slice(None), rows, columns)].compute()
        images = np.moveaxis(seen, -3, 0).astype("float64") * gain + offset  # (msi_band, ..., y, x)
        usable = (flags & (CLIPPED | OUTSIDE)) == 0  # neither is what the projection made for
        for cut, values in _strips(stored, self.packing):
            fused = np.tensordot(self.model.arrays["srf"], np.moveaxis(values, -3, 0), axes=1)
            self._add(fused, images[..., cut, :], usable[..., cut, :])
        return ""

    def _add(self, fused: Array, mosaic: Array, usable: np.ndarray) -> None:
        valid = usable & np.isfinite(fused).all(axis=0) & np.isfinite(mosaic).all(axis=0)
        one, other = fused[:, valid], mosaic[:, valid]
        errors = one - other
        self.sums += np.stack(
            [
                np.full(len(errors), float(errors.shape[1])),
                errors.sum(axis=1),
                (errors**2).sum(axis=1),
                (other**2).sum(axis=1),
            ]
        )

    def answer(self, faults: Faults) -> Check:
        """Compare the errors with the noise that the projection assumed."""
        pixels = self.sums[0].max()
        if self.radiometry is None or not pixels:
            said = "no pixel with data" if self.radiometry else "the model does not tell its gains"
            return Check(self.name, 0, "pixels", judged=False, said=said)
        bias, mean_square, power = self.sums[1:] / pixels
        rmse, tolerance = np.sqrt(mean_square), self._tolerance(np.sqrt(power))
        judged = self.model.about["consistency"] in ("msi", "both")
        names = self.model.about["msi_bands"]
        for name, found, limit in zip(names, rmse, tolerance, strict=True):
            if judged and found > limit:
                faults.note(
                    self.name,
                    f"seen as band {name} differs from the mosaic by {found:.3g} RMSE; expected at "
                    f"most {limit:.3g}, {MARGIN:g} times the noise of {SNR:g} dB",
                    path=level_path(0),
                )
        figures = {"band": names, "rmse": rmse, "bias": bias, "tolerance": tolerance}
        return Check(
            self.name, int(pixels), "pixels", faults.of(self.name), _plain(figures), judged
        )

    def _tolerance(self, level: Array) -> Array:
        """How far SRF(fused) may be from the mosaic: its noise, and half a step of the codes."""
        step = self.packing.scale_factor if self.packing.packed else 0.0
        return MARGIN * level * 10 ** (-SNR / 20) + step / 2


class OverCells:
    """How near the means over the HSI's cells are to the HSI."""

    name = "cells"

    def __init__(self, hsi: xr.DataArray, scene: xr.DataArray, packing: Packing) -> None:
        self.hsi, self.packing = hsi, packing
        self.rows, self.columns = cells(hsi, scene)
        self.pixels = whole(self.rows) * whole(self.columns)  # in a cell that lies inside
        self.bands = scene["band"].to_numpy().tolist()
        self.sums = np.zeros((6, len(self.bands)))  # n, a, b, aa, bb, ab

    @classmethod
    def of(cls, scene: xr.DataArray, packing: Packing, hsi: Scene) -> OverCells:
        """Lay the cube under the result, with the same bands."""
        cube = expect_hsi(hsi, bad_bands="keep")
        missing = [band for band in scene["band"].to_numpy() if band not in cube["band"].to_numpy()]
        if missing:
            raise SpectralError(
                f"hsi lacks {len(missing)} bands of the store, such as {missing[0]}; expected the "
                "cube it was made with. Pass that one"
            )
        expect_same_crs(cube, scene)
        expect_overlap(cube, scene)
        return cls(cube.sel(band=scene["band"].to_numpy()), scene, packing)

    def look(self, window: Window, stored: np.ndarray, flags: np.ndarray) -> str:
        """Add up the cells that lie in one shard with all their pixels."""
        *_, rows, columns = window
        down, along = self.rows[rows], self.columns[columns]
        if not ((down >= 0).any() and (along >= 0).any()):
            return ""
        top, left = (int(each[each >= 0].min()) for each in (down, along))
        cube = self.hsi.data[:, top : down.max() + 1, left : along.max() + 1].compute()
        for image in stored.reshape(-1, *stored.shape[-3:]):
            means = self._means(image, down, along, (top, left), cube.shape)
            self._add(means, cube.astype("float64"))
        return ""

    def _means(
        self,
        image: np.ndarray,
        down: np.ndarray,
        along: np.ndarray,
        corner: tuple[int, int],
        shape: tuple[int, ...],
    ) -> Array:
        """Mean of the pixels of every cell; NaN where the shard has not all of them."""
        sums, counts = np.zeros(shape), np.zeros(shape[1:], "int64")
        for cut, values in _strips(image, self.packing):
            part = partial_sums(values, down[cut], along)
            where = (part.rows - corner[0])[:, None], part.columns - corner[1]
            sums[(slice(None), *where)] += part.sums
            counts[where] += part.counts
        return np.where(counts == self.pixels, sums / max(self.pixels, 1), np.nan)

    def _add(self, means: Array, cube: Array) -> None:
        valid = np.isfinite(means).all(axis=0) & np.isfinite(cube).all(axis=0)
        a, b = means[:, valid], cube[:, valid]
        products = (np.ones_like(a), a, b, a * a, b * b, a * b)
        self.sums += np.stack([each.sum(axis=1) for each in products])

    def answer(self, faults: Faults) -> Check:
        """Say how near the two are; never a failure."""
        count = self.sums[0].max()
        if not count:
            return Check(self.name, 0, "cells", judged=False, said="no cell lies in one shard")
        a, b, aa, bb, ab = self.sums[1:] / count
        with np.errstate(invalid="ignore", divide="ignore"):
            correlation = (ab - a * b) / np.sqrt((aa - a * a) * (bb - b * b))
        rmse = np.sqrt(np.maximum(aa - 2 * ab + bb, 0))
        figures = {"band": self.bands, "rmse": rmse, "bias": a - b, "correlation": correlation}
        return Check(self.name, int(count), "cells", (), _plain(figures), judged=False)


def _strips(stored: np.ndarray, packing: Packing) -> Iterator[tuple[slice, np.ndarray]]:
    """Decode a shard strip by strip."""
    nodata = (packing.fill,) if packing.packed else ()
    scale, offset = np.array([packing.scale_factor]), np.array([packing.add_offset])
    for start in range(0, stored.shape[-2], STRIP):
        cut = slice(start, start + STRIP)
        values = stored[..., cut, :]
        yield cut, decode_block(values, nodata=nodata, scale=scale, offset=offset)


def _radiometry(model: Model) -> tuple[Array, Array] | None:
    """Read gain and offset of each MSI band, to be multiplied with (msi_band, ..., y, x)."""
    told = model.about.get("radiometry")
    if told is None:
        return None
    gain, offset = (np.asarray(told[key], "float64") for key in ("gain", "offset"))
    return gain.reshape(-1, 1, 1), offset.reshape(-1, 1, 1)


def _plain(figures: dict[str, Any]) -> dict[str, Any]:
    return {
        key: each.tolist() if isinstance(each, np.ndarray) else list(each)
        for key, each in figures.items()
    }
