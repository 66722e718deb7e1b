"""The mosaic is learnt from in rounds, as long as cells held out do not speak against it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lift_xr.footprint import Footprint, Overlay, Place
from lift_xr.kernel import DenseNetwork
from lift_xr.models import Learnt, Pairs, Refusal, rounds
from lift_xr.models.linear import LinearRecipe, fit_linear
from lift_xr.models.pairs import Seen

RATIO, CELLS, MARGIN = 2, 24, 2
KERNEL = np.outer([1, 2, 1], [1, 2, 1]) / 16
SRF = np.kron(np.eye(3), np.full((1, 3), 1 / 3))


def scene() -> tuple[Pairs, Overlay]:
    """Nine bands of smooth fields, of which three wide ones see a part."""
    random = np.random.default_rng(3)
    size = (CELLS + 2 * MARGIN) * RATIO
    y, x = np.mgrid[:size, :size] / size
    fields = [
        np.sin(9 * y + 4 * x),
        np.cos(11 * x),
        np.sin(17 * y) * np.cos(13 * x),
        random.random((size, size)),
    ]
    mixing = random.normal(size=(9, 4)) * [0.1, 0.1, 0.05, 0.02]
    fine = 0.5 + np.tensordot(mixing, np.stack(fields), axes=1)
    footprint = Footprint(KERNEL, RATIO)
    offset = (MARGIN * RATIO, MARGIN * RATIO)
    cells = footprint.over(fine, offset, (CELLS, CELLS)).astype("float32")
    msi = np.tensordot(SRF, fine, axes=1).astype("float32")
    return Pairs(cells.reshape(9, -1).T, SRF, "1"), Overlay(footprint, (Place(cells, msi, MARGIN),))


class Scripted:
    """A training whose network is always the same, and that remembers what it was given."""

    def __init__(self, network: DenseNetwork) -> None:
        self.network = network
        self.parts: list[float] = []
        self.seen: list[Seen | None] = []

    def go_on(
        self, part: float, *, seen: Seen | None, report: Any
    ) -> tuple[DenseNetwork, dict[str, Any]]:
        self.parts.append(part)
        self.seen.append(seen)
        if report is not None:
            report(1, 1, 0.0)
        return self.network, {"loss": [float(len(self.parts))]}


def learn(**more: Any) -> tuple[Scripted, Learnt | Refusal]:
    pairs, overlay = scene()
    network, _ = fit_linear(pairs, LinearRecipe(), seed=0, device="cpu", report=None)
    training = Scripted(network)
    return training, rounds.learn_in_rounds(
        training, pairs, overlay, seed=0, **{"report": None} | more
    )


def test_every_round_but_the_first_learns_what_the_cube_makes_likely() -> None:
    training, learnt = learn()
    assert isinstance(learnt, Learnt)
    assert training.parts == list(rounds.SHORT)
    assert [each is None for each in training.seen] == [True] + [False] * (len(rounds.SHORT) - 1)
    pixels = training.seen[-1]
    assert pixels is not None
    assert pixels.msi.shape == ((CELLS * RATIO) ** 2, 3)
    np.testing.assert_allclose(pixels.spectra @ SRF.T, pixels.msi, atol=0.01)
    assert learnt.history["loss"] == [1.0, 2.0, 3.0]
    assert learn(parts=rounds.LONG)[0].parts == list(rounds.LONG)


def test_the_network_that_comes_out_obeys_the_mosaic() -> None:
    _, learnt = learn()
    assert isinstance(learnt, Learnt)
    (place,) = scene()[1].places
    shown = np.tensordot(SRF, learnt.answer.network(place.msi), axes=1)
    np.testing.assert_allclose(shown, place.msi, atol=0.01)
    assert learnt.answer.gain.shape == (9, 3)


def test_progress_is_that_of_all_rounds() -> None:
    told: list[float] = []
    learn(report=lambda step, steps, _loss: told.append(step / steps))
    np.testing.assert_allclose(told, np.cumsum(rounds.SHORT) / sum(rounds.SHORT), atol=1e-3)


@pytest.mark.parametrize("image", ["msi", "hsi"])
def test_a_place_where_one_image_has_a_gap_does_not_speak_against_the_others(image: str) -> None:
    pairs, overlay = scene()
    (place,) = overlay.places
    gap = replace(place, **{image: np.full_like(getattr(place, image), np.nan)})
    network, _ = fit_linear(pairs, LinearRecipe(), seed=0, device="cpu", report=None)
    both = replace(overlay, places=(gap, place))
    learnt = rounds.learn_in_rounds(Scripted(network), pairs, both, seed=0, report=None)
    assert isinstance(learnt, Learnt)


@pytest.mark.parametrize(
    ("scripted", "reason", "begun"),
    [
        ([{"bands_apart": 0.3}], "lie 0.30 cells from where others do", 1),
        ([{"kept": 0.995}], "99.50% of its squared error remain", 1),
        ([{}, {"error": 1.1}], "leaves an error of 1.1 .* 1 was left before", 2),
    ],
)
def test_what_cells_held_out_speak_against_is_refused(
    scripted: list[dict[str, float]], reason: str, begun: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = {
        "bands_apart": 0.0,
        "bands_apart_by_chance": 0.1,
        "kept": 0.5,
        "error": 1.0,
        "known_cells": 9,
    }
    answers = iter(scripted)
    right = rounds.agree

    def agree(*given: Any, **more: Any) -> tuple[Any, dict[str, Any]]:
        return right(*given, **more)[0], usual | next(answers)

    monkeypatch.setattr(rounds, "agree", agree)
    training, found = learn()
    assert isinstance(found, Refusal)
    assert len(training.parts) == begun
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(found.reason)
