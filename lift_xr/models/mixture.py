"""Endmembers mixed by abundances: what a fitted SpectraMorph is, and how it may be trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from lift_xr.kernel import DenseNetwork
from lift_xr.named import complete, misfits, part_under, under
from lift_xr.unmixing import Constraint, Extraction, expect_constraint, expect_extraction
from lift_xr.upsampling import REACH, upsample
from lift_xr.window import Window

Array = npt.NDArray[np.float32]

STRIP = 65_536  # pixels that are mixed at a time, so that what lies between stays small
GREATEST_GAIN = 20.0  # of a prior's brightness over the least one: shade has no colour to tell


@dataclass(frozen=True)
class MorphPaperRecipe:
    """SpectraMorph as published, for mosaics of more than one band.

    Shah and Duarte (SpectraMorph), ``SpectraMorph_python/spectramorph_helpers.py``: NMF, one
    hidden layer with ReLU, full-batch steps of Adam, one cycle, mean absolute error.
    """

    endmembers: int = 7
    width: int = 1024
    steps: int = 2500


@dataclass(frozen=True)
class MorphRecipe:
    """Settings of ``method="morph"``: pass one to ``fit`` or ``fuse`` in place of the name.

    Examples
    --------
    >>> import lift_xr
    >>> lift_xr.MorphRecipe(endmembers=5, extraction="vca")
    MorphRecipe(endmembers=5, extraction='vca', constraint='none', steps=None)
    """

    endmembers: int | None = None
    """How many; None asks the data: what the cube bears above its noise (HySime), or so many that
    nothing mixtures leave out shows in an MSI of several bands above its noise (40 dB); within 3 to
    12. Never more, whoever says it, than the cube's pixels have directions."""
    extraction: Extraction = "nmf"
    """``"nmf"``: parts that add up to the spectra, as published; abundances come out near 0-1.
    ``"vca"``: pixels at the corners of the cloud; the materials themselves where pure pixels exist,
    and abundances far outside 0-1 where they do not."""
    constraint: Constraint = "none"
    """``"non-negative"``, or ``"sum-to-one"`` (and non-negative). Maps become fractions, spectra
    become worse: by 1.7 and 3.2 dB on three scenes, corrected towards the MSI after it; by 7 and 11
    in the published ablation, without that."""
    steps: int | None = None
    """Of training; None has them chosen by the number of pixels."""

    def __post_init__(self) -> None:
        expect_extraction(self.endmembers, self.extraction)
        expect_constraint(self.constraint)
        steps = self.steps
        whole = isinstance(steps, int | np.integer) and not isinstance(steps, bool)
        if steps is not None and (not whole or steps < 1):
            raise ValueError(f"steps is {steps!r}; expected a whole number from 1. Use None")


@dataclass(frozen=True, eq=False)
class Coarse:
    """How the cube, looked at again, joins a panchromatic pixel.

    Attributes
    ----------
    reduce
        Linear: a cell's spectrum (band,) to its coordinates (coordinate,), and last its brightness
        through the response.
    least
        The brightness below which a cell has no colour.
    """

    reduce: DenseNetwork
    least: float

    def features(self, pan: Array, prior: Window) -> Array:
        """What the network is told of each pixel: (feature, y, x), see :func:`features_of`."""
        cells = self.reduce(np.ascontiguousarray(prior.cells))
        return features_of(pan, upsample(cells, prior, pan.shape[1:]), np.float32(self.least))


def features_of(
    pan: npt.NDArray[Any], prior: npt.NDArray[Any], least: np.floating[Any]
) -> npt.NDArray[Any]:
    """``m, m - s, c, (m - s) c / s``, with c the prior's coordinates and s its brightness.

    The last are what a pixel is brighter than its surroundings, in the surroundings' colour.

    Parameters
    ----------
    pan : (1, ...)
        Brightness of the pixels.
    prior : (coordinate + 1, ...)
        Coordinates, and brightness last.
    """
    coordinates, seen = prior[:-1], prior[-1:]
    detail = pan - seen
    ratio = detail / np.maximum(seen, least)
    return np.concatenate([pan, detail, coordinates, ratio * coordinates])


@dataclass(frozen=True, eq=False)
class Mixture:
    """Abundances by a network, and spectra mixed of endmembers by them.

    Attributes
    ----------
    head
        MSI pixel, or its features where there is a ``coarse``, to abundances.
    endmembers
        (endmember, band), in the cube's units.
    correction
        (band, msi_band): what is added to the mixture for each unit by which it disagrees with the
        MSI pixel: what abundances cannot take, because of a constraint, or because no mixture can.
    srf
        (msi_band, band).
    constraint
        What abundances obey.
    coarse
        How the cube joins; None for a method of the pixel alone.
    gain, offset
        (msi_band,): from the mosaic's values to the cube's.
    errors
        (band, band): mean outer product of the errors of the spectra, those that no mixture can
        mend included; known after training only.
    maps
        Whether abundances are the answer, rather than spectra.
    range
        Lowest and highest abundance of the training pixels, as least squares finds them.
    base, limits
        As published, where units are not reflectance: what 0 stands for, and what the spectra are
        clipped to; only where nothing but the head is in between.
    """

    head: DenseNetwork
    endmembers: Array
    correction: Array
    srf: Array
    constraint: Constraint = "none"
    coarse: Coarse | None = None
    gain: Array | None = None
    offset: Array | None = None
    errors: npt.NDArray[np.float64] | None = None
    maps: bool = False
    range: tuple[float, float] = (0.0, 1.0)
    base: float = 0.0
    limits: tuple[float, float] = (-np.inf, np.inf)

    halo: ClassVar[int] = 0

    @property
    def bands(self) -> int:
        """Bands, or maps, it produces."""
        return int(self.endmembers.shape[0 if self.maps else 1])

    @property
    def msi_bands(self) -> int:
        """Bands it takes."""
        return int(self.srf.shape[0])

    @property
    def prior(self) -> int | None:
        """Cells of the cube it looks at around a block's own."""
        return None if self.coarse is None else REACH

    @property
    def parameters(self) -> int:
        """Number of weights, biases and endmember values."""
        return self.head.parameters + self.endmembers.size

    def __call__(self, block: Array, device: str = "cpu", prior: Window | None = None) -> Array:
        """Lift one block: (msi_band, y, x) to (band, y, x), or (endmember, y, x)."""
        bands, height, width = block.shape
        assert bands == self.msi_bands, (block.shape, self.msi_bands)
        mixing = self._mixing()
        lifted = np.empty((self.bands, height, width), np.float32)
        step = max(1, STRIP // width)
        for top in range(0, height, step):
            rows = slice(top, top + step)
            pixels = self._harmonized(block[:, rows])
            here = None if prior is None else _from_row(prior, top)
            abundances = self.abundances(pixels, device, here)
            if not self.maps:
                abundances = mixing(np.concatenate([abundances, pixels]), device)
            lifted[:, rows] = abundances
        return lifted

    def abundances(self, pixels: Array, device: str = "cpu", prior: Window | None = None) -> Array:
        """(endmember, y, x) of pixels in the cube's units."""
        told = pixels
        if self.coarse is not None:
            assert prior is not None, "the model looks at the cube again"
            told = self.coarse.features(pixels, prior)
        return constrain(self.head(np.ascontiguousarray(told), device), self.constraint)

    def answer(self, pixels: Array, prior: Array) -> Array:
        """Spectra of pixels (msi_band, 1, n) whose interpolated prior (band, 1, n) is known.

        For pixels that have no place, as those that errors are measured on.
        """
        assert self.coarse is not None
        told = features_of(pixels, self.coarse.reduce(prior), np.float32(self.coarse.least))
        abundances = constrain(self.head(told), self.constraint)
        return self._mixing()(np.concatenate([abundances, pixels]))

    def _mixing(self) -> DenseNetwork:
        """(abundances, MSI) to the spectrum, the correction towards the MSI included."""
        correction = self.correction.astype("float64")
        spectra = self.endmembers.T.astype("float64")
        spectra = spectra - correction @ (self.srf.astype("float64") @ spectra)
        direct = np.concatenate([spectra, correction], axis=1)
        return linear(direct)

    def _harmonized(self, block: Array) -> Array:
        if self.gain is None or self.offset is None:
            return block
        return block * self.gain[:, None, None] + self.offset[:, None, None]

    # ---- what is settled after training

    def obeying(self, noise: npt.NDArray[np.float64]) -> Mixture:
        r"""The mixture whose spectra :math:`x` become :math:`x + K (m - R x)`.

        :math:`K` is a gain as ``projection.gain_towards_msi`` finds one. Abundances take what they
        can of the correction, so that they stay those that least squares finds of the spectra; the
        rest, which no mixture can follow, is added to the spectra. Where a constraint holds the
        abundances, all of it is.

        The errors that decide are those of whole spectra. With those of abundances, as if spectra
        had no part outside all mixtures, that part was written into the abundances: 6 endmembers
        of a camera's 31 bands lost 1.6 dB.
        """
        from lift_xr.models.projection import kalman_gain

        assert self.errors is not None, "settled in training"
        srf, endmembers = self.srf.astype("float64"), self.endmembers.astype("float64")
        gain = kalman_gain(srf, self.errors, noise)  # (band, msi_band)
        if self.constraint != "none":
            return replace(self, correction=gain.astype("float32"))
        shares = np.linalg.pinv(endmembers).T @ gain  # (endmember, msi_band)
        mixed = endmembers.T @ shares
        # Of what is left once the abundances are updated, m - R x', in place of m - R x.
        rest = (gain - mixed) @ np.linalg.pinv(np.eye(len(srf)) - srf @ mixed)
        head = self.head.then(
            np.eye(len(endmembers)) - shares @ srf @ endmembers.T, np.zeros(len(endmembers))
        )
        direct = head.direct.astype("float64")
        direct[:, : self.msi_bands] += shares  # the MSI is what the network is told of first
        head = replace(head, direct=direct.astype("float32"))
        return replace(self, head=head, correction=rest.astype("float32"))

    def after(self, gain: npt.ArrayLike, offset: npt.ArrayLike) -> Mixture:
        """The same mixture for inputs that still need ``gain * m + offset``, per MSI band."""
        scale, shift = (
            np.broadcast_to(np.asarray(each, "float32"), self.msi_bands).copy()
            for each in (gain, offset)
        )
        return replace(self, gain=scale, offset=shift)

    @property
    def plain(self) -> bool:
        """Whether spectra are affine in the network's last layer, so that they fold into it."""
        return self.coarse is None and self.constraint == "none"

    def folded(self) -> DenseNetwork:
        """The spectra of a plain mixture as one network."""
        assert self.plain
        mixing, count = self._mixing().direct, len(self.endmembers)
        spectra = self.head.then(mixing[:, :count], np.full(len(mixing), self.base))
        direct = (spectra.direct + mixing[:, count:]).astype("float32")
        spectra = replace(spectra, direct=direct, low=self.limits[0], high=self.limits[1])
        if self.gain is None or self.offset is None:
            return spectra
        return spectra.after(self.gain, self.offset)

    # ---- to and from plain arrays

    def arrays(self) -> dict[str, Array]:
        """Its numbers by name, to be saved."""
        named = under("head", self.head.arrays())
        named |= {name: getattr(self, name) for name in ("endmembers", "correction", "srf")}
        if self.gain is not None and self.offset is not None:
            named |= {"gain": self.gain, "offset": self.offset}
        if self.coarse is not None:
            named |= {"coarse": self.coarse.reduce.direct}
        return named

    def settings(self) -> dict[str, Any]:
        """What is not an array, as JSON."""
        return {
            "head": self.head.settings(),
            "constraint": self.constraint,
            "least": None if self.coarse is None else self.coarse.least,
            "maps": self.maps,
            "range": list(self.range),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], settings: Mapping[str, Any]) -> Self:
        """Put a mixture together again; the shapes must agree with one another.

        Raises
        ------
        ValueError
            When arrays or settings are missing, or do not fit together.
        """
        with complete("the mixture's arrays or settings are"):
            mixture = cls(**_parts(arrays, settings))
        _expect_consistent(mixture)
        return mixture


def constrain(abundances: Array, constraint: Constraint) -> Array:
    """Make abundances (endmember, ...) obey a constraint, pixel by pixel; NaN stays NaN."""
    if constraint == "none":
        return abundances
    positive = np.maximum(abundances, np.float32(0))
    if constraint == "non-negative":
        return positive
    total = positive[0].copy()
    for each in positive[1:]:  # one by one: a sum over an axis rounds as the shape says
        total += each
    equal = np.float32(1 / len(positive))
    some = total > 0
    shares = positive / np.where(some, total, np.float32(1))
    return np.where(some | np.isnan(total), shares, equal)


def linear(direct: npt.NDArray[Any]) -> DenseNetwork:
    """``direct @ m`` as a network."""
    bands = len(direct)
    return DenseNetwork(
        hidden=(),
        branches=(),
        output=np.zeros((bands, 0), np.float32),
        direct=np.ascontiguousarray(direct, dtype=np.float32),
        bias=np.zeros(bands, np.float32),
    )


def _from_row(prior: Window, top: int) -> Window:
    """The same cells, seen from a row further down; those that are not needed are left out."""
    offset = prior.offset[0] - top
    spare = max(0, -offset // prior.ratio - REACH)
    first = offset + spare * prior.ratio
    return Window(prior.cells[:, spare:], prior.ratio, (first, prior.offset[1]))


def _parts(arrays: Mapping[str, Array], settings: Mapping[str, Any]) -> dict[str, Any]:
    expect_constraint(settings["constraint"])
    coarse = None
    if "coarse" in arrays:
        coarse = Coarse(linear(arrays["coarse"]), float(settings["least"]))
    return {
        "head": DenseNetwork.from_arrays(part_under("head", arrays), settings["head"]),
        **{name: arrays[name] for name in ("endmembers", "correction", "srf")},
        "constraint": settings["constraint"],
        "coarse": coarse,
        "gain": arrays.get("gain"),
        "offset": arrays.get("offset"),
        "maps": bool(settings["maps"]),
        "range": (float(settings["range"][0]), float(settings["range"][1])),
    }


def _expect_consistent(mixture: Mixture) -> None:
    """Refuse shapes that do not chain, before any of them meets a pixel."""
    for name, array in mixture.arrays().items():
        if array.dtype != np.float32:
            raise ValueError(f"the mixture's arrays must be float32; {name} is {array.dtype}")
    if mixture.endmembers.ndim != 2 or mixture.srf.ndim != 2:
        raise ValueError("the mixture's endmembers and srf must have two axes each")
    count, bands = mixture.endmembers.shape
    inputs = mixture.srf.shape[0]
    told = inputs
    expected: dict[str, tuple[int, ...]] = {"srf": (inputs, bands), "correction": (bands, inputs)}
    expected |= {
        name: (inputs,) for name in ("gain", "offset") if getattr(mixture, name) is not None
    }
    if mixture.coarse is not None:
        coordinates = mixture.coarse.reduce.bands - 1
        told = 2 + 2 * coordinates
        expected["coarse"] = (coordinates + 1, bands)
        if inputs != 1:
            raise ValueError(f"a mixture with a prior takes one MSI band, not {inputs}")
    if wrong := misfits(mixture.arrays(), expected):
        raise ValueError(f"the mixture's {', '.join(wrong)} do not fit its endmembers and srf")
    if (mixture.head.bands, mixture.head.msi_bands) != (count, told):
        raise ValueError(
            f"the mixture's head takes {mixture.head.msi_bands} and gives {mixture.head.bands}; "
            f"expected {told} and {count}"
        )
