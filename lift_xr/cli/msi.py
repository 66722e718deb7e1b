"""The MSI as the command line says it is to be read, for every verb that reads one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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
    units
        Of its wavelengths, where the file has some and names no units.
    """

    path: str
    alpha: Alpha = "mask"
    units: str | None = None

    def open(self, *, block: int = BLOCK) -> xr.DataArray:
        """Open it lazily."""
        from lift_xr.io import open_scene

        return open_scene(self.path, alpha=self.alpha, units=self.units, block=block)
