"""Methods by name: a recipe and the function that trains it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lift_xr.models.base import Model, load_model
from lift_xr.models.pairs import Pairs

__all__ = ["METHODS", "Method", "Model", "Pairs", "expect_method", "load_model", "train_method"]


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


METHODS = {
    "sin": Method("sin", "SinRecipe", "fit_sin"),
    "sin-paper": Method("sin", "SinPaperRecipe", "fit_sin_paper", projects=False, whole_image=True),
    "linear": Method("linear", "LinearRecipe", "fit_linear"),
}
"""Named, not imported: the modules need torch, and `import lift_xr` must not."""


def expect_method(name: str) -> Method:
    """The method of that name.

    Raises
    ------
    ValueError
        When there is none.
    """
    if name not in METHODS:
        raise ValueError(f"method is {name!r}; expected one of {', '.join(map(repr, METHODS))}")
    return METHODS[name]


def train_method(
    name: str,
    pairs: Pairs,
    *,
    seed: int,
    device: str,
    report: Callable[[int, int, float], None] | None = None,
) -> tuple[Any, dict[str, Any]]:
    """Train one method: the fitted network in the cube's units, and its history."""
    from dataclasses import asdict
    from importlib import import_module

    method = expect_method(name)
    module = import_module(f"lift_xr.models.{method.module}")
    recipe = getattr(module, method.recipe)()
    trainer = getattr(module, method.trainer)
    network, history = trainer(pairs, recipe, seed=seed, device=device, report=report)
    return network, {"recipe": asdict(recipe), **history}
