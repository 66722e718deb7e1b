"""Make the answer agree with the cube too: what its cells say, spread over their pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from lift_xr.footprint import Footprint, brightness
from lift_xr.kernel import DenseNetwork
from lift_xr.kriging import AROUND, Kriging, spread_over_pixels
from lift_xr.named import complete, misfits, part_under, under
from lift_xr.threads import one_blas_thread
from lift_xr.window import Window

Array = npt.NDArray[np.float64]

REACHES = (0.5, 1.0, 2.0)  # cells
ROWS = 64  # of pixels added to at once


@dataclass(frozen=True, eq=False)
class BackProjection:
    r"""A per-pixel network, and what the cube's cells say it lacks.

    Attributes
    ----------
    network
        MSI pixels to spectra that obey the MSI.
    psf
        (y, x) in MSI pixels; the mean over a cell comes on top.
    ratio
        MSI pixels along the edge of a cell.
    srf
        (msi_band, band).
    analysis
        (component, band): how much of each component a spectrum holds, once what the MSI sees of it
        and what is noise are taken from it.
    synthesis
        (band, component): back again, without what the MSI would see of it, and no more of it than
        cells held out bear.
    reach
        (component,): distance over which each changes, in cells.
    noise
        (component,): its noise, as a part of its variance.
    tolerance
        How far a cell may be brighter or darker than the MSI says, as a logarithm, before its
        spectrum is scaled.
    dark
        Mean square of an MSI value so dark that its brightness says little; (msi_band,).

    Notes
    -----
    With :math:`x` the network's answer, :math:`P` the footprint, :math:`A` and :math:`S` analysis
    and synthesis and :math:`U` the kriging of :class:`lift_xr.kriging.Kriging`,

    .. math:: x' = x + (I - K R) S U A (h / q - P x),

    with :math:`K` the gain of :func:`lift_xr.models.projection.obeying`, and :math:`q` how many
    times brighter a cell :math:`h` is than the MSI says, where that is more than noise, else 1.
    :math:`I - K R` is part of the synthesis, so what is added is nearly invisible to the MSI and
    :math:`R x' \approx R x`, and of the analysis, as the cells were when it was found. A pixel
    depends on the 25 cells around it, and these on the pixels they see: the halo.
    """

    network: DenseNetwork
    psf: Array
    ratio: int
    srf: Array
    analysis: Array
    synthesis: Array
    reach: Array
    noise: Array
    tolerance: float
    dark: Array

    prior: ClassVar[int] = 0

    @property
    def bands(self) -> int:
        """Bands it produces."""
        return self.network.bands

    @property
    def msi_bands(self) -> int:
        """Bands it takes."""
        return self.network.msi_bands

    @property
    def halo(self) -> int:
        """How far it looks sideways, in MSI pixels."""
        return (AROUND + 1) * self.ratio + max(self.footprint.reach)

    @property
    def parameters(self) -> int:
        """Number of weights and biases of the network, and of what is added."""
        return int(self.network.parameters + self.analysis.size + self.synthesis.size)

    @cached_property
    def footprint(self) -> Footprint:
        """What a cell sees."""
        return Footprint(self.psf, self.ratio)

    @cached_property
    def kriging(self) -> tuple[Kriging, ...]:
        """One for each component; those alike are the same."""
        unlike = {reach: Kriging(self.footprint, reach) for reach in self.reach.tolist()}
        return tuple(unlike[reach] for reach in self.reach.tolist())

    def __call__(
        self,
        block: npt.NDArray[np.float32],
        device: str = "cpu",
        prior: Window | None = None,
    ) -> npt.NDArray[np.float32]:
        """Lift one block with its halo: (msi_band, y, x) to (band, y, x), float32."""
        assert prior is not None, "the cube is looked at again"
        assert prior.ratio == self.ratio, (prior.ratio, self.ratio)
        lifted = self.network(block, device)
        with one_blas_thread():
            missing = self.missing(lifted, prior)
            added = spread_over_pixels(missing, self.kriging, self.noise.tolist())
            _add(lifted, self.synthesis.astype("float32"), added, prior.offset)
        return lifted

    def missing(self, lifted: npt.NDArray[np.float32], cube: Window) -> Array:
        """(component, y, x) of the cells: what they hold that the lifted pixels do not."""
        mixing = np.concatenate([self.analysis, self.srf])
        mixed = _matrix_on(mixing.astype("float32"), lifted)
        seen = self.footprint.over(mixed, cube.offset, (cube.cells.shape[1], cube.cells.shape[2]))
        held = np.einsum("ib,byx->iyx", mixing, cube.cells.astype("float64"))
        count = len(self.analysis)
        gain = brightness(held[count:], seen[count:], self.dark, self.tolerance)
        return np.asarray(held[:count] / gain - seen[:count])

    def after(self, gain: npt.ArrayLike, offset: npt.ArrayLike) -> BackProjection:
        """The same for inputs that still need ``gain * m + offset``, per MSI band."""
        return replace(self, network=self.network.after(gain, offset))

    # ---- to and from plain arrays

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Its numbers by name, to be saved."""
        own = {name: getattr(self, name) for name in ARRAYS}
        return under("network", self.network.arrays()) | own

    def settings(self) -> dict[str, Any]:
        """What is not an array, as JSON."""
        return {
            "network": self.network.settings(),
            "ratio": self.ratio,
            "tolerance": self.tolerance,
        }

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, npt.NDArray[Any]], settings: Mapping[str, Any]
    ) -> BackProjection:
        """Put it together again; the shapes must agree with one another.

        Raises
        ------
        ValueError
            When arrays or settings are missing, or do not fit together.
        """
        with complete("what agrees with the cube is"):
            network = part_under("network", arrays)
            made = cls(
                network=DenseNetwork.from_arrays(network, settings["network"]),
                ratio=int(settings["ratio"]),
                tolerance=float(settings["tolerance"]),
                **{name: arrays[name] for name in ARRAYS},
            )
        _expect_consistent(made)
        return made


ARRAYS = ("psf", "srf", "analysis", "synthesis", "reach", "noise", "dark")
GREATEST_RATIO = 1024
GREATEST_PSF = 2048  # pixels along an edge


def _matrix_on(
    matrix: npt.NDArray[np.float32], cube: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    return np.asarray(matrix @ cube.reshape(len(cube), -1)).reshape(-1, *cube.shape[1:])


def _add(
    lifted: npt.NDArray[np.float32],
    synthesis: npt.NDArray[np.float32],
    added: npt.NDArray[np.float32],
    offset: tuple[int, int],
) -> None:
    """Add ``synthesis @ added`` in place, some rows at a time."""
    _, height, width = lifted.shape
    inside = added[:, -offset[0] : height - offset[0], -offset[1] : width - offset[1]]
    for start in range(0, height, ROWS):
        rows = np.ascontiguousarray(inside[:, start : start + ROWS])
        lifted[:, start : start + ROWS] += _matrix_on(synthesis, rows)


def _expect_consistent(made: BackProjection) -> None:
    """Refuse shapes that do not chain, before any of them meets a pixel."""
    bands, count = made.network.bands, len(made.reach)
    expected = {
        "srf": (made.network.msi_bands, bands),
        "analysis": (count, bands),
        "synthesis": (bands, count),
        "reach": (count,),
        "noise": (count,),
        "dark": (made.network.msi_bands,),
    }
    if wrong := misfits(made.arrays(), expected):
        found = ", ".join(f"{name} {shape}" for name, shape in wrong.items())
        raise ValueError(f"what agrees with the cube does not fit together: {found}")
    sides = made.psf.shape
    if len(sides) != 2 or not all(side % 2 and side < GREATEST_PSF for side in sides):
        raise ValueError(f"a psf of shape {sides} has no centre, or is too wide")
    if not 1 <= made.ratio <= GREATEST_RATIO or count < 1:
        raise ValueError(f"a ratio of {made.ratio} and {count} components are none")
    if not ((made.reach > 0) & (made.reach <= max(REACHES))).all() or (made.noise < 0).any():
        raise ValueError("its distances or its noise are out of range")
