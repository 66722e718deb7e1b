"""Methods by name: a recipe and the function that trains it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from types import ModuleType
from typing import Any

from lift_xr.footprint import Overlay
from lift_xr.models.base import Model, load_model
from lift_xr.models.mixture import MorphRecipe
from lift_xr.models.pairs import Pairs, Seen
from lift_xr.models.rounds import LONG, SHORT, Learnt, Refusal, learn_in_rounds, objection

__all__ = [
    "METHODS",
    "Learnt",
    "Method",
    "Model",
    "MorphRecipe",
    "Pairs",
    "Refusal",
    "Seen",
    "expect_method",
    "load_model",
    "name_of",
    "objection",
    "train_method",
    "train_over",
]


@dataclass(frozen=True)
class Method:
    """What `fit` needs to know of a method before it starts."""

    module: str
    recipe: str
    trainer: str
    projects: bool = True
    """Whether ``consistency="msi"`` applies; the published baseline has none."""
    whole_image: bool = False
    """Whether every pixel of the cube is trained on, rather than a sample."""
    pan_prior: bool = False
    """Whether a mosaic of one band is lifted with the cube beside it."""
    training: str = ""
    """What trains it round by round, where it can learn from pixels of the mosaic too."""
    fewest_bands: int = 1
    """Of the mosaic, that it is built for."""


METHODS = {
    "sin": Method("sin", "SinRecipe", "fit_sin", training="SinTraining"),
    "sin-paper": Method("sin", "SinPaperRecipe", "fit_sin_paper", projects=False, whole_image=True),
    "morph": Method("morph", "MorphRecipe", "fit_morph", pan_prior=True),
    "morph-paper": Method(
        "morph",
        "MorphPaperRecipe",
        "fit_morph_paper",
        projects=False,
        whole_image=True,
        fewest_bands=2,
    ),
    "linear": Method("linear", "LinearRecipe", "fit_linear"),
}
"""Named, not imported: the modules need torch, and `import lift_xr` must not."""


def expect_method(method: Any) -> Method:
    """The method of that name, or of that recipe.

    Raises
    ------
    ValueError
        When there is none.
    """
    return METHODS[name_of(method)]


def name_of(method: Any) -> str:
    """The name of a method given by its name or by its settings.

    Raises
    ------
    ValueError
        When there is none.
    """
    if isinstance(method, str) and method in METHODS:
        return method
    for name, each in METHODS.items():
        if type(method).__name__ == each.recipe:
            return name
    raise ValueError(
        f"method is {method!r}; expected one of {', '.join(map(repr, METHODS))}, or a recipe such "
        "as MorphRecipe(endmembers=7)"
    )


def train_method(
    method: Any,
    pairs: Pairs,
    *,
    seed: int,
    device: str,
    report: Callable[[int, int, float], None] | None = None,
) -> tuple[Any, dict[str, Any]]:
    """Train one method, named or with settings: the network in the cube's units, its history."""
    module, recipe = _built(method)
    trainer = getattr(module, expect_method(method).trainer)
    network, history = trainer(pairs, recipe, seed=seed, device=device, report=report)
    return network, {"recipe": asdict(recipe), **history}


def train_over(
    method: Any,
    pairs: Pairs,
    overlay: Overlay,
    *,
    long: bool,
    seed: int,
    device: str,
    report: Callable[[int, int, float], None] | None = None,
) -> Learnt | Refusal:
    """Train one method that can on pixels of the mosaic too: see :func:`learn_in_rounds`."""
    module, recipe = _built(method)
    training = getattr(module, expect_method(method).training)(
        pairs, recipe, seed=seed, device=device
    )
    parts = LONG if long else SHORT
    learnt = learn_in_rounds(training, pairs, overlay, parts=parts, seed=seed, report=report)
    if isinstance(learnt, Refusal):
        return learnt
    return replace(learnt, history={"recipe": asdict(recipe), **learnt.history})


def _built(method: Any) -> tuple[ModuleType, Any]:
    """The module that trains a method, and its recipe."""
    known = expect_method(method)
    module = import_module(f"lift_xr.models.{known.module}")
    return module, getattr(module, known.recipe)() if isinstance(method, str) else method
