"""The Model: a fitted value that lifts blocks, named by its digest, saved without pickle."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from lift_xr.kernel import DenseNetwork
from lift_xr.models.backprojection import BackProjection
from lift_xr.models.mixture import Mixture
from lift_xr.models.trust import Trust
from lift_xr.named import part_under, under
from lift_xr.window import Window

FORMAT = "lift_xr model 1"
MAX_FILE_BYTES = 1 << 30  # a fitted model is kilobytes; a larger file is not one of ours
DTYPES = ("float32", "float64")
TOLD = {"method", "bands", "msi_bands", "good", "units", "alone", "seed", "versions"} | {
    "consistency",
    "harmonize",
}


class Lift(Protocol):
    """What a fitted method does with one block."""

    @property
    def bands(self) -> int:
        """Bands it produces."""

    @property
    def msi_bands(self) -> int:
        """Bands it takes."""

    @property
    def halo(self) -> int:
        """How far it looks sideways, in MSI pixels; 0 for a per-pixel network."""

    @property
    def prior(self) -> int | None:
        """Cells of the cube it looks at around a block's own; None where it needs no cube."""

    def __call__(
        self, block: npt.NDArray[Any], device: str = "cpu", prior: Window | None = None
    ) -> npt.NDArray[np.float32]:
        """(msi_band, y, x) to (band, y, x), float32."""


LIFTS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any]], Lift]] = {
    "dense": DenseNetwork.from_arrays,
    "mixture": Mixture.from_arrays,
    "backprojection": BackProjection.from_arrays,
}


@dataclass(frozen=True, eq=False)
class Model:
    """A trained map from MSI pixels to HSI pixels, carried as plain arrays and JSON.

    Attributes
    ----------
    arrays
        Everything numeric. ``lift.*`` are the weights; ``trust.*`` tells what errors to expect;
        ``wavelength`` and ``fwhm`` (nm) label the bands; ``srf`` (msi_band, band) is the response
        it was trained through; ``range`` is the lowest and highest value of the training cube, in
        its units.
    about
        Everything else, JSON: method, settings, units, band names, seed, history, versions.

    Notes
    -----
    Two models with the same arrays and settings have the same :attr:`digest`, and dask knows
    work done with one as work done with the other.
    """

    arrays: Mapping[str, npt.NDArray[Any]]
    about: Mapping[str, Any]

    @cached_property
    def lift(self) -> Lift:
        """The runnable form, put together once per process."""
        kind = self.about["kind"]
        if kind not in LIFTS:
            raise ValueError(f"the model is of kind {kind!r}; this version knows {sorted(LIFTS)}")
        return LIFTS[kind](part_under("lift", self.arrays), self.about["network"])

    @cached_property
    def trust(self) -> Trust:
        """What errors to expect of it, put together once per process."""
        return Trust.from_arrays(part_under("trust", self.arrays))

    @property
    def method(self) -> str:
        """Name of the method that trained it."""
        return str(self.about["method"])

    @property
    def bands(self) -> int:
        """Bands it produces."""
        return self.lift.bands

    @property
    def msi_bands(self) -> int:
        """Bands it takes."""
        return self.lift.msi_bands

    @property
    def halo(self) -> int:
        """How far it looks sideways, in MSI pixels."""
        return self.lift.halo

    @property
    def prior(self) -> int | None:
        """Cells of the cube it looks at around a block's own; None where it needs no cube."""
        return self.lift.prior

    def __call__(
        self, block: npt.NDArray[Any], device: str = "cpu", prior: Window | None = None
    ) -> npt.NDArray[np.float32]:
        """Lift one block: (msi_band, y, x) to (band, y, x), float32, NaN where the MSI has none."""
        return self.lift(block, device, prior)

    @cached_property
    def maps(self) -> Model | None:
        """The model whose answer is the abundances this one mixes; None for other methods."""
        settings = self.about.get("maps")
        if settings is None:
            return None
        kept = "maps" if self.about["kind"] == "dense" else "lift"
        arrays = under("lift", part_under(kept, self.arrays))
        return Model(arrays, {**self.about, "kind": "mixture", "network": settings})

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 of what decides the output: arrays and settings, not how they came about."""
        settings = {key: self.about[key] for key in ("kind", "network")}
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        for name in sorted(self.arrays):
            array = np.ascontiguousarray(self.arrays[name])
            digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()

    def __dask_tokenize__(self) -> tuple[str, str]:
        return "lift_xr.Model", self.digest

    def __getstate__(self) -> dict[str, Any]:
        """What travels to a worker: the values, not what was derived from them."""
        return {"arrays": dict(self.arrays), "about": dict(self.about)}

    def __repr__(self) -> str:
        nm = self.arrays["wavelength"]
        return (
            f"<lift_xr.Model {self.method!r}: {self.msi_bands} MSI bands to {self.bands} bands, "
            f"{nm.min():.0f}-{nm.max():.0f} nm, digest {self.digest[:12]}>"
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to one file: safetensors, with the JSON in its header.

        The file is put in place in one step, so a reader never sees half of it.

        Parameters
        ----------
        path
            Usually ends in ``.lift``. An existing file is replaced.

        Raises
        ------
        FileNotFoundError
            When the folder to write into does not exist.
        IsADirectoryError
            When ``path`` is a folder.
        """
        from safetensors.numpy import save_file

        target = Path(path)
        _expect_folder_of(target)
        partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
        header = {"format": FORMAT, "about": json.dumps(self.about)}
        contiguous = {name: np.ascontiguousarray(array) for name, array in self.arrays.items()}
        try:
            save_file(contiguous, partial, metadata=header)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """See :func:`load_model`."""
        arrays, about = _read(Path(path))
        try:
            return cls.of(arrays, about)
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            raise ValueError(f"{path} does not hold a usable model: {problem}") from None

    @classmethod
    def of(cls, arrays: Mapping[str, npt.NDArray[Any]], about: Mapping[str, Any]) -> Self:
        """Make a model of what was read, or raise one of many errors where it is none."""
        model = cls(arrays, about)
        _expect_whole(model)
        return model


def fitted_parts(
    network: DenseNetwork | Mixture | BackProjection,
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """Arrays and settings of a fitted network, as a model holds them.

    A mixture that nothing bends is one network; what its maps need is kept beside it.
    """
    arrays = under("lift", network.arrays())
    if isinstance(network, DenseNetwork):
        return arrays, {"kind": "dense", "network": network.settings()}
    if isinstance(network, BackProjection):
        return arrays, {"kind": "backprojection", "network": network.settings()}
    maps = replace(network, maps=True).settings()
    if network.plain:
        arrays, told = fitted_parts(network.folded())
        return arrays | under("maps", network.arrays()), {**told, "maps": maps}
    return arrays, {"kind": "mixture", "network": network.settings(), "maps": maps}


def load_model(path: str | os.PathLike[str]) -> Model:
    """The model that :meth:`Model.save` wrote.

    Parameters
    ----------
    path
        A ``.lift`` file.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    IsADirectoryError
        When ``path`` is a folder.
    ValueError
        When the file is not a model, is damaged, or comes from a later format. Nothing in the
        file is ever executed, and nothing larger than the file is allocated.
    """
    return Model.load(path)


def _expect_file(path: Path) -> None:
    if path.is_dir():
        raise IsADirectoryError(
            f"{path} is a folder; expected a file. Name the file in it, e.g. {path / 'model.lift'}"
        )
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; expected a model file. Check the path")


def _expect_folder_of(path: Path) -> None:
    if path.is_dir():
        raise IsADirectoryError(
            f"{path} is a folder; expected a file. Name a file in it, e.g. {path / 'model.lift'}"
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"{path.parent} is no folder; expected one to write {path.name} into. "
            f"Make it first: mkdir -p {path.parent}"
        )


def _read(path: Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """Arrays and JSON of a file, whose size bounds whatever its header claims."""
    from safetensors import SafetensorError, safe_open

    _expect_file(path)
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ValueError(f"{path} has {size} bytes; a model has fewer than {MAX_FILE_BYTES}")
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, TypeError) as problem:
        raise ValueError(f"{path} is not a lift_xr model: {problem}") from None
    if header.get("format") != FORMAT:
        raise ValueError(
            f"{path} has format {header.get('format')!r}; this version reads {FORMAT!r}. "
            "Save it again with the version that wrote it, or update lift_xr"
        )
    return arrays, _parse(path, header.get("about", ""))


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        about = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise ValueError(f"{path} describes itself in broken JSON: {problem}") from None
    if not isinstance(about, dict):
        raise ValueError(f"{path} describes itself with a {type(about).__name__}, not an object")
    return about


def _expect_whole(model: Model) -> None:
    """Refuse a model whose parts are missing or disagree, before it meets a pixel."""
    bands, msi_bands = model.bands, model.msi_bands
    shapes = {"wavelength": (bands,), "srf": (msi_bands, bands), "range": (2,)}
    if "fwhm" in model.arrays:
        shapes["fwhm"] = (bands,)
    for name, shape in shapes.items():
        if model.arrays[name].shape != shape:
            raise ValueError(f"{name} has shape {model.arrays[name].shape}, expected {shape}")
    for name, array in model.arrays.items():
        if array.dtype.name not in DTYPES:
            raise ValueError(f"{name} has dtype {array.dtype}, expected one of {DTYPES}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds values that are not finite")
    _expect_told(model.about, bands, msi_bands)
    if model.maps is not None:
        _expect_maps(model.maps, bands, msi_bands)


def _expect_maps(maps: Model, bands: int, msi_bands: int) -> None:
    """Refuse maps of other endmembers than the model mixes."""
    lift = maps.lift
    if not isinstance(lift, Mixture) or not lift.maps:
        raise ValueError("its maps are not abundances")
    if lift.srf.shape != (msi_bands, bands):
        raise ValueError(f"its maps are of {lift.srf.shape}, expected {(msi_bands, bands)}")


def _expect_told(about: Mapping[str, Any], bands: int, msi_bands: int) -> None:
    """Refuse a description without what labelling a result needs."""
    if missing := sorted(TOLD - set(about)):
        raise ValueError(f"it does not say {', '.join(missing)}")
    if not isinstance(about["method"], str):
        raise ValueError("its method is not a name")
    for key, length in (("bands", bands), ("msi_bands", msi_bands)):
        if not isinstance(about[key], list) or len(about[key]) != length:
            raise ValueError(f"it names other {key} than the {length} its arrays have")
    if about["good"] is not None and len(about["good"]) != bands:
        raise ValueError(f"it flags {len(about['good'])} bands of {bands}")
    if not isinstance(about["versions"], dict) or "lift-xr" not in about["versions"]:
        raise ValueError("it does not say which version made it")
