"""The model inside a store that was begun, in place of one to be trained again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lift_xr.cli.exits import Refused

if TYPE_CHECKING:
    import xarray as xr

    from lift_xr.cli.msi import Msi
    from lift_xr.models import Model

ASKED = "asked"  # in what a model says of itself: what it was trained on, and how it was asked for


def asked(
    hsi: str,
    *,
    msi: Msi | None,
    srf: str | None,
    wavelength_units: str | None,
    method: str,
    endmembers: int | None = None,
    extraction: str | None = None,
    constraint: str | None = None,
    harmonize: str,
    consistency: str,
    psf: str | None = None,
    sigma: float | None = None,
    half_width: int | None = None,
    bad_bands: str,
    seed: int,
) -> dict[str, Any]:
    """Say what is asked of a training, so that the same can be known again; reads a few pixels."""
    from lift_xr.io import open_scene
    from lift_xr.io.place import fingerprint
    from lift_xr.srf import SRF

    cube = open_scene(hsi, units=wavelength_units)
    return {
        "hsi": fingerprint(cube.data),
        "srf": "estimated" if srf is None else SRF.of(srf).digest,
        "method": method,
        "endmembers": endmembers,
        "extraction": extraction,
        "constraint": constraint,
        "harmonize": harmonize,
        "consistency": consistency,
        "psf": psf,
        "sigma": sigma,
        "half_width": half_width,
        "bad_bands": bad_bands,
        "seed": seed,
        "msi": None if msi is None else fingerprint(msi.open().data),
        "msi_bands": None if msi is None else msi.told_bands,
        "wavelengths": _digest_of_bands(cube),
    }


def _digest_of_bands(cube: xr.DataArray) -> str:
    """Tell the bands of one cube from others: their wavelengths and widths, in nm."""
    told = [
        cube[name].to_numpy().tolist() for name in ("wavelength", "fwhm") if name in cube.coords
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def model_begun(
    ctx: click.Context, out: str, hsi: str | None, given: list[str], **training: Any
) -> Model | None:
    """Take the model from the store at ``out``, if one was begun there and is what is asked for.

    Parameters
    ----------
    hsi
        What to train on, if that is asked; None takes any model.
    given
        Options of training that were given.
    """
    from lift_xr.io.embed import holds_model, read_model

    if not holds_model(out):
        return None
    model = read_model(out)
    if hsi is not None:
        _expect_asked(out, model, asked(hsi, **training))
    elif given:
        raise click.UsageError(
            f"{', '.join(given)}: settled by the model in {out}, which is trained already", ctx
        )
    return model


def expect_saved(
    path: Path, out: str, begun: Model | None, hsi: str | None, **training: Any
) -> None:
    """Refuse, before anything is trained, to save a model where another one is.

    Parameters
    ----------
    path
        Where the model goes.
    begun
        The model in the store at ``out``; None where one is to be trained on ``hsi``. Whether that
        will be the one at ``path`` is told by what was asked of it.
    """
    from lift_xr.models import load_model

    if not path.exists():
        return
    found = load_model(path)
    if begun is not None:
        expect_same_model(path, out, begun)
    elif hsi is not None and (said := _differences(found.about.get(ASKED), asked(hsi, **training))):
        raise Refused(
            "FileExistsError",
            f"{path} holds a model of another training than is asked: {said}; expected the same, "
            "or a new file. Use another path, or pass --model to go on with that model",
        )


def expect_same_model(path: Path, out: str, model: Model) -> None:
    """Refuse to have another model at ``path`` than in the store at ``out``."""
    from lift_xr.models import load_model

    if load_model(path).digest != model.digest:
        raise Refused(
            "FileExistsError",
            f"{path} holds another model than the one of {out}; expected the same, or a new "
            f"file. Use another path, or leave --save-model out: {out} keeps its model",
        )


def _expect_asked(out: str, model: Model, wanted: dict[str, Any]) -> None:
    """Refuse to go on with a model that was trained otherwise than is asked."""
    found = model.about.get(ASKED)
    advice = f"leave HSI out to go on with the model in {out}, or pass --overwrite to begin again"
    if not isinstance(found, dict):
        raise Refused(
            "LayoutError",
            f"{out} was begun with a model that no command trained, so that it cannot be compared "
            f"with what is asked; expected one from `lift-xr fuse` or `fit`: {advice}",
        )
    if different := _differences(found, wanted):
        raise Refused(
            "LayoutError",
            f"{out} was begun with another training: {different}; expected the same. "
            f"Ask for that, {advice}",
        )


def _differences(found: Any, wanted: dict[str, Any]) -> str:
    """Say how what was asked of a model differs from what is asked now; nothing if it does not."""
    if not isinstance(found, dict):
        return "no command trained it, so that it cannot be compared"
    found = {"wavelengths": wanted["wavelengths"], **found}  # which earlier versions did not keep
    keys = [key for key in wanted if wanted[key] != found.get(key)]
    if "msi_bands" in keys and "msi" in keys:  # other bands are other pixels
        keys.remove("msi")
    return "; ".join(_told(key, wanted[key], found.get(key)) for key in keys)


def _told(key: str, wanted: Any, found: Any) -> str:
    if key == "hsi":
        return "HSI holds other pixels"
    if key == "msi":
        if wanted and found:
            return "MSI is another mosaic, or read with another --alpha"
        return "one was trained without MSI"
    if key == "srf":
        return "--srf is another response"
    if key == "wavelengths":
        return "the bands of HSI lie at other wavelengths"
    is_now, was = ("not given" if each is None else each for each in (wanted, found))
    return f"--{key.replace('_', '-')} is {is_now} and was {was}"
