"""Train in rounds: what the cube makes likely of the mosaic's pixels is learnt in the next one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lift_xr.footprint import Overlay, Place
from lift_xr.kernel import DenseNetwork
from lift_xr.models.backprojection import BackProjection
from lift_xr.models.lacking import agree
from lift_xr.models.pairs import Pairs, Seen
from lift_xr.models.projection import Obedient, cleared, gain_towards_msi, updated
from lift_xr.window import Window

SHORT = (0.2, 0.15, 0.3)  # parts of the steps of a training on the cube alone: in its time
LONG = (0.2,) * 5  # 0.1 dB better than the short one, and 0.1 to 0.6 once the cube is looked at
BANDS_APART = 0.14  # cells; 0.11 is found where there is nothing, 0.16 did harm
APART_BY_CHANCE = 0.24  # of few cells; where bands lay 0.3 apart, 0.37 and more was found
MOST_KEPT = 0.98  # of the squared error of cells held out, for the agreement to be worth it
NO_WORSE = 1.05  # times the error in cells held out; that of 500 cells moves by 2 % by chance
MOST_SEEN = 1 << 16  # pixels of the mosaic to learn from: more than a training draws anyway

Report = Callable[[int, int, float], None]


class Training(Protocol):
    """A training that can be taken up again."""

    def go_on(
        self, part: float, *, seen: Seen | None, report: Report | None
    ) -> tuple[DenseNetwork, dict[str, Any]]:
        """Train for a part of the steps: the network in the cube's units, and its history."""


@dataclass(frozen=True, eq=False)
class Learnt:
    """What came of the rounds.

    Attributes
    ----------
    answer
        The network of the last round, as it is used and before its noise was taken.
    history
        Settings, and losses of all rounds; ``chosen`` is of the last one.
    """

    answer: Obedient
    history: dict[str, Any]


@dataclass(frozen=True)
class Refusal:
    """Why the mosaic's pixels are not learnt from, in words, and what was measured."""

    reason: str
    errors: dict[str, Any]


def learn_in_rounds(
    training: Training,
    pairs: Pairs,
    overlay: Overlay,
    *,
    parts: Sequence[float] = SHORT,
    seed: int,
    report: Report | None,
) -> Learnt | Refusal:
    r"""Train a network on the cube, then on pixels of the mosaic too.

    After each round, the network's answer to the mosaic is made to agree with the cube's cells, and
    the spectra that this makes likely are what the next round learns beside those of the cube. So
    the network comes to know pixels as sharp as those it is for, and what the cube says of them,
    while it stays one that lifts every pixel alone.

    Parameters
    ----------
    training
        Not begun.
    pairs
        The cube's pixels it trains on.
    overlay
        How the cube's cells lie over the mosaic's pixels.
    parts
        Of the steps, one for each round.

    Returns
    -------
    Learnt or Refusal
        The latter where cells held out are not predicted better by what their neighbours add, or
        worse once a round has learnt that: it cannot be trusted then. What the last round made of
        it is not held against them again: that would take 4 to 12 % of the training's time, and on
        five scenes the error after the last round was 1 to 7 % below the first, as in all between.
    """
    seen: Seen | None = None
    losses: list[float] = []
    first: dict[str, Any] = {}
    for number, part in enumerate(parts):
        network, history = training.go_on(part, seen=seen, report=_later(report, parts, number))
        losses += history["loss"]
        gain = gain_towards_msi(network, pairs, seed=seed)
        network = updated(network, pairs.srf, gain)
        if number == len(parts) - 1:
            break
        made, errors = agree(network, gain, pairs.srf, overlay.footprint, overlay.places)
        first = first or errors
        refused = objection(made, errors) if number == 0 else worsening(errors, first)
        if refused is not None:
            return refused
        if made is not None:
            seen = likely(made, overlay.places, seed=seed)
    return Learnt(cleared(network, gain, pairs), history | {"loss": losses, "rounds": len(parts)})


def objection(made: BackProjection | None, errors: dict[str, Any]) -> Refusal | None:
    """Say what speaks against making the answer agree with the cube, if anything does."""
    apart, limit = errors["bands_apart"], most_apart(errors["bands_apart_by_chance"])
    if apart > limit:
        return Refusal(
            f"some bands of the cube lie {apart:.2f} cells from where others do, as far as "
            f"{errors['known_cells']} cells can tell; expected {limit:.2f} or less. Register them "
            "on one another",
            errors,
        )
    if made is None or errors["kept"] > MOST_KEPT:
        return Refusal(
            f"the cells of the cube, {errors['known_cells']}, say little about one another that "
            f"the network did not know: {errors['kept']:.2%} of its squared error remain, expected "
            f"{MOST_KEPT:.0%} or less",
            errors,
        )
    return None


def most_apart(by_chance: float) -> float:
    """How far apart, in cells, bands may seem to lie, where one standard error is this.

    The greatest of many differences lies about two standard errors from nothing.
    """
    return float(np.clip(0.1 + 1.5 * by_chance, BANDS_APART, APART_BY_CHANCE))


def worsening(errors: dict[str, Any], first: dict[str, Any]) -> Refusal | None:
    """Say so where learning from the mosaic left cells held out less well predicted."""
    if errors["error"] <= NO_WORSE * first["error"]:
        return None
    return Refusal(
        f"what was learnt from the mosaic leaves an error of {errors['error']:.3g} in cells held "
        f"out, and {first['error']:.3g} was left before",
        errors,
    )


def likely(made: BackProjection, places: Sequence[Place], *, seed: int) -> Seen:
    """Pixels of the places, drawn at random, with the spectra that the cube makes likely."""
    random = np.random.default_rng(seed)
    each = MOST_SEEN // len(places)
    drawn = [_drawn(made, place, each, random) for place in places]
    msi, spectra = (np.concatenate(side) for side in zip(*drawn, strict=True))
    return Seen(msi, spectra)


def _drawn(
    made: BackProjection, place: Place, count: int, random: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """At most ``count`` pixels (pixel, msi_band) under the cells of a place, and their spectra."""
    margin = place.margin
    cells = np.pad(place.hsi, [(0, 0), *[(margin, margin)] * 2], constant_values=np.nan)
    inside = (slice(None), *[slice(margin * made.ratio, -margin * made.ratio or None)] * 2)
    msi = place.msi[inside].reshape(len(place.msi), -1)
    lifted = made(place.msi, prior=Window(cells, made.ratio, (0, 0)))[inside]
    spectra = lifted.reshape(len(lifted), -1)
    there = np.flatnonzero(np.isfinite(msi).all(axis=0) & np.isfinite(spectra).all(axis=0))
    chosen = np.sort(random.permutation(there)[:count])
    return msi[:, chosen].T.astype("float32"), spectra[:, chosen].T.astype("float32")


def _later(report: Report | None, parts: Sequence[float], number: int) -> Report | None:
    """A report of one round as one of all."""
    if report is None:
        return None
    before, whole = sum(parts[:number]), sum(parts)

    def told(step: int, steps: int, loss: float) -> None:
        done = (before + parts[number] * step / steps) / whole
        report(round(done * 1000), 1000, loss)

    return told
