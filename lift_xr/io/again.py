"""A store against its model and mosaic: the shards lifted again, and their codes compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from lift_xr.blocks import lifted_from
from lift_xr.encode import encode_block
from lift_xr.errors import GridError, LayoutError
from lift_xr.fuse import predict
from lift_xr.grid import Grid
from lift_xr.io.place import fingerprint
from lift_xr.io.recorded import Faults
from lift_xr.io.store import ABOUT
from lift_xr.io.verification import Check
from lift_xr.models import Model
from lift_xr.packing import Packing

Scene = xr.DataArray | xr.Dataset
Window = tuple[slice, ...]

ROUNDED = 0.02  # of the codes of a shard may be one off, where another device lifted it
CLOSE = 1e-5  # of the training range: float32 values that another device rounds otherwise


class LiftedAgain:
    """Whether the model makes the same codes of the mosaic."""

    name = "lifted again"

    def __init__(self, fused: xr.DataArray, packing: Packing, trained: tuple[float, float]) -> None:
        self.fused, self.packing, self.trained = fused, packing, trained
        self.covered = self.identical = self.differing = 0
        self.worst = 0.0

    @classmethod
    def of(
        cls,
        scene: xr.DataArray,
        packing: Packing,
        about: Mapping[str, Any],
        *,
        model: Model,
        msi: Scene,
        hsi: Scene | None,
        device: str,
    ) -> LiftedAgain:
        """Lift the mosaic lazily, in the blocks of the store, and expect it to be the same one."""
        if device == "auto" and about["settings"].get("device") == "cpu":
            device = "cpu"  # as it was written, wherever this runs
        fused = predict(model, msi, hsi=hsi, device=device)
        _expect_grid(fused, scene)
        lifted = lifted_from(fused.data)
        assert lifted is not None, "predict returns what lift_blocks made"
        inputs, found = about["settings"]["inputs"], fingerprint(fused.data)
        if inputs and found and inputs != found:
            raise LayoutError(
                f"the store was made from inputs of fingerprint {inputs[:12]}, and these have "
                f"{found[:12]}: pixels of msi, its shape or type as stored, or which of its bands "
                "are used, are others; expected the mosaic it was made from. Open it from the same "
                "file, with the same bands and alpha"
            )
        low, high = scene.attrs.get(f"{ABOUT}_range", (-np.inf, np.inf))
        again = fused.copy(data=lifted.again(scene.data.chunks))
        return cls(again, packing, (float(low), float(high)))

    def look(self, window: Window, stored: np.ndarray, flags: np.ndarray) -> str:
        """Lift one shard again and compare its codes, and if they are the same its flags."""
        block = self.fused.data[window].compute()
        again = encode_block(block, self.packing, trained=self.trained)
        self.covered += 1
        count, worst, lost = _differences(stored, again.codes)
        if count == lost == 0:
            self.identical += 1
            same = np.array_equal(flags, again.flags)
            return "" if same else "has other flags than the model makes of the mosaic"
        self.differing += count
        self.worst = max(self.worst, worst)
        if lost:
            return f"has nodata where the model makes values, or the reverse: {lost} values"
        if self._is_rounding(count / stored.size, worst):
            return ""
        return (
            f"differs from what the model makes of the mosaic: {count} values, by up to {worst:g}"
        )

    def _is_rounding(self, share: float, worst: float) -> bool:
        if self.packing.packed:
            return worst <= 1 and share <= ROUNDED
        low, high = self.trained
        return worst <= CLOSE * (high - low)

    def answer(self, faults: Faults) -> Check:
        """Say how many shards are the same."""
        figures = {
            "identical shards": self.identical,
            "differing values": self.differing,
            "greatest difference": self.worst,
        }
        said = "differences of one step come from another kind of device" if self.differing else ""
        return Check(self.name, self.covered, "shards", faults.of(self.name), figures, said=said)


def _differences(stored: np.ndarray, again: np.ndarray) -> tuple[int, float, int]:
    """Count the values that differ, by how much at most, and those that are nodata in one only."""
    count, worst, lost = 0, 0.0, 0
    for one, other in zip(np.moveaxis(stored, -3, 0), np.moveaxis(again, -3, 0), strict=True):
        packed = stored.dtype.kind == "u"
        fill = np.iinfo(stored.dtype).max if packed else np.nan
        here, there = (each == fill if packed else np.isnan(each) for each in (one, other))
        lost += int(np.count_nonzero(here != there))
        apart = np.abs(one.astype("float64") - other.astype("float64"))[~here & ~there]
        count += int(np.count_nonzero(apart))
        worst = max(worst, float(apart.max(initial=0.0)))
    return count, worst, lost


def expect_model(model: Model, scene: xr.DataArray) -> None:
    """Refuse a model that a store was not made with."""
    wanted = scene.attrs.get(f"{ABOUT}_model")
    if wanted != model.digest:
        raise LayoutError(
            f"the store was made with the model of digest {str(wanted)[:12]}, and this one has "
            f"{model.digest[:12]}; expected the same. Pass the model that was saved with it"
        )


def _expect_grid(fused: xr.DataArray, scene: xr.DataArray) -> None:
    """Refuse a mosaic whose pixels are not those of the store."""
    here, there = Grid.of(fused, name="msi"), Grid.of(scene, name="store")
    near = np.allclose(here.bounds, there.bounds, rtol=0, atol=0.01 * abs(there.dx))
    if fused.sizes != scene.sizes or not near:
        raise GridError(
            f"msi has {here.describe()}; expected the grid of the store: {there.describe()}. Pass "
            "the mosaic it was made from"
        )
