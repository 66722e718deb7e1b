"""The MSI as the command line says it is to be read, for every verb that reads one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lift_xr.errors import SpectralError
from lift_xr.scene import BLOCK

if TYPE_CHECKING:
    import xarray as xr

    from lift_xr.io.raster import Alpha


@dataclass(frozen=True)
class Msi:
    """Where the MSI lies, and what its file does not say of it.

    Parameters
    ----------
    path
        As ``open_scene`` takes it.
    alpha
        What a band is that the file marks as alpha; see ``open_scene``.
    bands
        Which to take, and in which order: by their labels, or by their places from 1 where no label
        is a whole number. None takes all.
    units
        Of its wavelengths, where the file has some and names no units.
    """

    path: str
    alpha: Alpha = "mask"
    bands: tuple[str, ...] | None = None
    units: str | None = None

    def open(self, *, block: int = BLOCK) -> xr.DataArray:
        """Open it lazily."""
        from lift_xr.bands import choose_bands

        scene = self._whole(block)
        places = self._places(scene)
        return scene if places is None else choose_bands(scene, places)

    @property
    def told_bands(self) -> str | None:
        """The labels of the bands to take; None where they are all, as they lie."""
        if self.bands is None:
            return None
        scene = self._whole(BLOCK)
        places = self._places(scene)
        if places is None:
            return None
        return ",".join(str(each) for each in scene["band"].to_numpy()[places].tolist())

    def _whole(self, block: int) -> xr.DataArray:
        from lift_xr.io import open_scene

        return open_scene(self.path, alpha=self.alpha, units=self.units, block=block)

    def _places(self, scene: xr.DataArray) -> list[int] | None:
        if self.bands is None:
            return None
        labels = [str(each) for each in scene["band"].to_numpy().tolist()]
        places = [_place(each, labels) for each in self.bands]
        _expect_different(self.bands, places)
        return None if places == [*range(len(labels))] else places


def _place(band: str, labels: list[str]) -> int:
    """Find one band."""
    if band in labels:
        return labels.index(band)
    numbered = any(each.isdecimal() for each in labels)
    if not numbered and band.isdecimal() and 1 <= int(band) <= len(labels):
        return int(band) - 1
    places = "" if numbered else f", or their places from 1 to {len(labels)}"
    raise SpectralError(
        f"MSI has no band {band!r}; expected some of {', '.join(labels)}{places}. Use --msi-bands "
        "with these, in the order of the response or of the model"
    )


def _expect_different(bands: tuple[str, ...], places: list[int]) -> None:
    if len({*places}) < len(places):
        raise SpectralError(
            f"--msi-bands is {','.join(bands)}; expected each band of MSI once. Leave out those "
            "that are named twice"
        )
