"""Everything about a store but its pixels, and what makes two runs the same."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr

from lift_xr.blocks import Prior
from lift_xr.errors import LayoutError
from lift_xr.io.root import DIFFERS, damaged, read_root
from lift_xr.io.store import ABOUT, RECIPE, VARIABLE, VERSION
from lift_xr.models import Model
from lift_xr.packing import Packing
from lift_xr.plan import Pass
from lift_xr.uncertainty import ERROR
from lift_xr.unmix import ABUNDANCE

CUBE = "cube"
TOLD = ("method", "consistency", "harmonize", "constraint", "seed", "model")  # in a history


@dataclass(frozen=True)
class Blueprint:
    """Everything about a store but its pixels.

    Parameters
    ----------
    scene : (..., band, y, x)
        Coordinates and attributes, the latter plain JSON.
    passes
        How it is cut.
    packing
        How its values are stored.
    inputs
        What tells the stores it is computed from apart.
    device
        The kind that computes it, "cpu" or "cuda"; None for scenes that were not lifted.
    model
        What lifted the scene, to be kept beside it.
    product : (..., band, y, x)
        Of a recipe: what is made of ``scene``, the mosaic. Its labels.
    address
        Of a recipe: where the mosaic lies, if it is not copied; then there are no ``passes``.
    beside
        Of a recipe whose model looks at the cube again: the cube.
    """

    scene: xr.DataArray
    passes: tuple[Pass, ...]
    packing: Packing
    inputs: str = ""
    device: str | None = None
    model: Model | None = None
    product: xr.DataArray | None = None
    address: dict[str, Any] | None = None
    beside: Prior | None = None

    @property
    def kind(self) -> str:
        """What the store holds: the pixels of a ``cube``, or the ``recipe`` that makes them."""
        return CUBE if self.product is None else RECIPE

    @property
    def variable(self) -> str:
        """What the pixels are called in the store."""
        name = str(self.scene.name)
        return name if name in (ABUNDANCE, ERROR) else VARIABLE

    @property
    def labels(self) -> xr.DataArray:
        """The scene that readers get."""
        return self.scene if self.product is None else self.product

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What makes two runs write the same bytes; plain JSON."""
        told = {
            "version": version("lift-xr"),
            "kind": self.kind,
            "variable": self.variable,
            "shape": list(self.scene.shape),
            "dtype": str(self.packing.dtype),
            "scale_factor": self.packing.scale_factor,
            "add_offset": self.packing.add_offset,
            "shard": list(self.passes[0].layouts[0].shard) if self.passes else None,
            "coordinates": _digest(_coordinates(self.labels)),
            "attributes": _digest(self.labels.attrs),
            "inputs": self.inputs,
            "device": self.device,
        }
        if self.model is not None:
            told["model"] = self.model.digest
        if self.product is not None:
            told["address"] = self.address
        if self.product is not None and self.beside is not None:
            told["beside"] = {"ratio": self.beside.ratio, "offset": list(self.beside.offset)}
        return told

    @property
    def provenance(self) -> dict[str, Any]:
        """How the scene came about: method, seed, the digest of the model."""
        attrs = self.labels.attrs
        return {str(key): attrs[key] for key in attrs if str(key).startswith(ABOUT)}

    @property
    def trained(self) -> tuple[float, float]:
        """The range of the values the model was trained on; everything, where none is known."""
        low, high = self.scene.attrs.get(f"{ABOUT}_range", (-np.inf, np.inf))
        return float(low), float(high)

    @cached_property
    def run(self) -> str:
        """Names the run, the same for every process that takes part in it or resumes it."""
        return _digest([VERSION, self.settings])


def about(blueprint: Blueprint) -> dict[str, Any]:
    """Say in the root's attributes what this store is, and that it is not complete."""
    return {
        "layout": VERSION,
        "complete": False,
        "kind": blueprint.kind,
        "version": version("lift-xr"),
        "model": None if blueprint.model is None else blueprint.model.digest,  # None: not inside
        "run": blueprint.run,
        "settings": blueprint.settings,
        "provenance": blueprint.provenance,
    }


def history(blueprint: Blueprint) -> str:
    """Say in a line, as CF wants it, how a store came about; not when: a run has the same bytes."""
    told = blueprint.provenance
    names = [name for name in TOLD if f"{ABOUT}_{name}" in told]
    lifted = ", ".join(f"{name} {told[f'{ABOUT}_{name}']}" for name in names)
    return f"lift_xr {version('lift-xr')}: write_zarr, {blueprint.kind}{lifted and f' of {lifted}'}"


def expect_same_run(store: Any, blueprint: Blueprint) -> None:
    """Raise LayoutError, saying what differs, unless a store is this run, begun."""
    began = read_root(store)
    if began is None:
        raise LayoutError(
            f"{store} is no store that write_zarr of this version began; expected one, to finish "
            "it. Use another path, or overwrite=True to replace it"
        )
    if began["run"] != blueprint.run and began["settings"] == blueprint.settings:
        raise damaged(store)
    if began["run"] != blueprint.run:
        raise LayoutError(
            f"{store} was begun by another run: {'; '.join(_differences(began, blueprint))}; "
            "expected the same settings and inputs. Use those, another path, or overwrite=True (of "
            "parts: remove it) to begin again"
        )
    if DIFFERS in began:
        raise LayoutError(began[DIFFERS])


def _coordinates(scene: xr.DataArray) -> list[Any]:
    """The coordinates as JSON says them, in an order of their own."""
    told = []
    for key in sorted(scene.coords, key=str):
        each = scene.coords[key]
        if each.ndim < 2:
            values = each.to_numpy()
            told.append([str(key), list(each.dims), str(values.dtype), values.tolist()])
    return [*told, str(scene.rio.crs)]


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


MEANT = {"inputs": " (the mosaic: its pixels and their type, its bands, its alpha)"}


def _differences(began: dict[str, Any], blueprint: Blueprint) -> list[str]:
    here, there = dict(blueprint.settings), dict(began["settings"])
    if here["attributes"] != there["attributes"]:
        here |= blueprint.provenance
        there |= began["provenance"]
    keys = [key for key in {**here, **there} if here.get(key) != there.get(key)]
    return [
        f"{key}{MEANT.get(key, '')} is {_short(here.get(key))} and was {_short(there.get(key))}"
        for key in keys
    ]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:36]}..."
