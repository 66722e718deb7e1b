"""What cells hold that a network does not is added as far as cells held out bear it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lift_xr.footprint import Footprint, Place
from lift_xr.kernel import DenseNetwork
from lift_xr.models import Pairs
from lift_xr.models.backprojection import BackProjection
from lift_xr.models.lacking import Squares, agree
from lift_xr.models.linear import LinearRecipe, fit_linear
from lift_xr.models.projection import obeying
from lift_xr.window import Window

RANDOM = np.random.default_rng(7)
SPECTRA = RANDOM.normal(size=(30, 3))
FIELDS = RANDOM.normal(size=(3, 20, 20))


def told(*parts: float) -> list[np.ndarray]:
    """What cells hold: such a part of each field, in its spectrum, and noise."""
    held = np.tensordot(SPECTRA * parts, FIELDS, axes=1)
    return [held + 0.5 * RANDOM.normal(size=held.shape)]


def shares(fields: list[np.ndarray], apart: list[np.ndarray]) -> np.ndarray:
    """Of spectra that are known, and of fields that the other cells tell as they are."""
    hidden = [np.tensordot(SPECTRA, each, axes=1) for each in fields]  # without noise
    return Squares.of(SPECTRA, fields, np.copy, apart, hidden).shares()


def test_what_cells_bear_is_added_in_that_part() -> None:
    found = shares([FIELDS], told(1.0, 0.4, 0.0))
    np.testing.assert_allclose(found, [1.0, 0.4, 0.0], atol=0.05)


def test_nothing_is_added_that_would_harm_and_no_more_than_all_of_it() -> None:
    found = shares([FIELDS], told(-0.5, 2.0, 0.5))
    assert found[0] == pytest.approx(0, abs=1e-6)
    assert found[1] == pytest.approx(1, abs=1e-6)
    assert 0 < found[2] < 1


def test_components_without_an_estimate_and_cells_without_a_value_have_no_say() -> None:
    apart = told(1.0, 0.6, 1.0)
    silent = FIELDS * np.array([1, 1, 0])[:, None, None]
    gap = apart[0].copy()
    gap[:, 3:5] = np.nan
    found = shares([silent, silent], [apart[0], gap])
    assert found[2] == 0
    np.testing.assert_allclose(found[:2], [1.0, 0.6], atol=0.1)
    assert (shares([np.zeros_like(FIELDS)], apart) == 0).all()


def spectrum_of(cells: np.ndarray, field: np.ndarray) -> np.ndarray:
    """The mean of cells, weighted with what they hold of a component: (band, 1)."""
    return np.tensordot(cells, field[0], axes=2)[:, None] / (field**2).sum()


@pytest.mark.parametrize(("signal", "worth"), [(0.0, 0.0), (0.1, 0.6), (1.0, 1.0)])
def test_a_spectrum_is_held_against_cells_whose_noise_is_not_in_it(
    signal: float, worth: float
) -> None:
    random = np.random.default_rng(3)
    field = random.normal(size=(1, 12, 12))
    true = signal * random.normal(size=(200, 1))
    cells = np.tensordot(true, field, axes=1) + random.normal(size=(200, 12, 12))
    added = spectrum_of(cells, field)
    told = Squares.of(added, [field], np.copy, [cells], [cells])
    left_out = sum(
        ((cells[:, y, x] - spectrum_of(*without(cells, field, y, x))[:, 0] * field[0, y, x]) ** 2)
        for y, x in np.ndindex(12, 12)
    )
    assert told.gone(np.ones(1)) == pytest.approx((cells**2).sum() - left_out.sum())
    # Of its power, the spectrum has the true one's part; the rest is a 144th of the cells' noise.
    assert told.shares()[0] == pytest.approx(worth, abs=0.1)
    assert ((added - true) ** 2).sum() == pytest.approx(200 / 144, rel=0.2)


def test_several_components_are_held_out_together() -> None:
    random = np.random.default_rng(5)
    rows = (random.normal(size=(20, 4)) * [3, 2, 1, 0.5]) @ random.normal(size=(4, 36))
    rows += random.normal(size=rows.shape)
    spectra = np.linalg.eigh(rows @ rows.T)[1][:, -3:]
    held = spectra.T @ rows  # (component, cell)
    told = 0.7 * held + random.normal(size=held.shape)
    share = np.array([0.9, 0.3, 0.6])
    left = 0.0
    for cell in range(36):
        others = np.delete(np.arange(36), cell)
        without = rows[:, others] @ held[:, others].T / (held[:, others] ** 2).sum(axis=1)
        left += ((rows[:, cell] - without @ (share * told[:, cell])) ** 2).sum()
    fields, cells = held.reshape(3, 6, 6), rows.reshape(20, 6, 6)
    squares = Squares.of(spectra, [fields], lambda _: told.reshape(3, 6, 6), [cells], [cells])
    assert squares.gone(share) == pytest.approx((rows**2).sum() - left)
    np.testing.assert_allclose(squares.gram, squares.gram.T)


def test_a_component_of_one_cell_leaves_the_others_their_shares() -> None:
    alone = np.zeros_like(FIELDS[0])
    alone[4, 4] = 100.0
    fields = np.stack([FIELDS[0], alone, FIELDS[2]])
    held = np.tensordot(SPECTRA * [0.5, 0.0, 0.7], fields, axes=1)
    found = shares([fields], [held])
    np.testing.assert_allclose(found[[0, 2]], [0.5, 0.7], atol=0.05)
    assert found[1] == 0


def without(cells: np.ndarray, field: np.ndarray, y: int, x: int) -> tuple[np.ndarray, np.ndarray]:
    field = field.copy()
    field[:, y, x] = 0
    return cells, field


RATIO, CELLS, MARGIN = 4, 16, 2
SRF = np.kron(np.eye(4), np.full((1, 20), 1 / 20))


def scene(noise: float) -> tuple[Pairs, Footprint, Place, np.ndarray]:
    """Eighty bands, of whose smooth fields four wide ones see a part; the truth under the cells."""
    random = np.random.default_rng(11)
    size = (CELLS + 2 * MARGIN) * RATIO
    y, x = np.mgrid[:size, :size] / size
    fields = np.stack([np.sin(9 * y + 4 * x), np.cos(11 * x), np.sin(17 * y) * np.cos(13 * x)])
    fields = np.concatenate([fields, np.sin(5 * fields[:2] + 3 * y)])
    fine = 0.5 + np.tensordot(0.05 * random.normal(size=(80, 5)), fields, axes=1)
    footprint = Footprint(np.outer([1, 2, 1], [1, 2, 1]) / 16, RATIO)
    edge = MARGIN * RATIO
    cells = footprint.over(fine, (edge, edge), (CELLS, CELLS))
    cells += noise * random.standard_normal(cells.shape)
    msi = np.tensordot(SRF, fine, axes=1).astype("float32")
    pairs = Pairs(cells.reshape(80, -1).T.astype("float32"), SRF, "1")
    place = Place(cells.astype("float32"), msi, MARGIN)
    return pairs, footprint, place, fine[:, edge:-edge, edge:-edge]


def lifted(lift: DenseNetwork | BackProjection, place: Place) -> np.ndarray:
    """Without the margin."""
    edge = MARGIN * RATIO
    if isinstance(lift, DenseNetwork):
        return lift(place.msi)[:, edge:-edge, edge:-edge]
    cells = np.pad(place.hsi, [(0, 0), *[(MARGIN, MARGIN)] * 2], constant_values=np.nan)
    return lift(place.msi, prior=Window(cells, RATIO, (0, 0)))[:, edge:-edge, edge:-edge]


def fitted(noise: float) -> tuple[DenseNetwork, Any, Place, np.ndarray, Pairs]:
    """A network that obeys the MSI, what `agree` takes, and the truth."""
    pairs, footprint, place, truth = scene(noise)
    network, _ = fit_linear(pairs, LinearRecipe(), seed=0, device="cpu", report=None)
    answer = obeying(network, pairs, seed=0)
    given = answer.network, answer.gain, SRF, footprint, [place]
    return answer.network, given, place, truth, pairs


@pytest.mark.parametrize(("noise", "least"), [(0.0, 0.5), (0.02, 0.8), (0.1, 1.01)])
def test_pixels_come_closer_to_the_truth_or_stay_whatever_the_noise_of_the_cells(
    noise: float, least: float
) -> None:
    network, given, place, truth, pairs = fitted(noise)
    made, _ = agree(*given, clearing=pairs.clearing)
    before = ((lifted(network, place) - truth) ** 2).mean()
    assert made is not None
    assert ((lifted(made, place) - truth) ** 2).mean() < least * before


def test_what_is_noise_alone_in_cells_has_no_part_in_it() -> None:
    _, given, _, _, pairs = fitted(0.05)
    assert pairs.clearing is not None
    made, _ = agree(*given, clearing=pairs.clearing)
    assert made is not None
    noise = np.eye(80) - pairs.clearing
    assert np.abs(made.analysis @ noise).max() < 1e-9 * np.abs(made.analysis).max()


def test_of_each_component_its_share_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    _, given, _, _, pairs = fitted(0.05)
    right = Squares.shares
    made, _ = agree(*given, clearing=pairs.clearing)
    monkeypatch.setattr(Squares, "shares", lambda self: 0.5 * right(self))
    half, _ = agree(*given, clearing=pairs.clearing)
    assert made is not None
    assert half is not None
    np.testing.assert_allclose(2 * half.synthesis, made.synthesis)
    np.testing.assert_array_equal(half.analysis, made.analysis)


def test_nothing_comes_of_cells_that_speak_against_all_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, given, _, _, pairs = fitted(0.02)
    monkeypatch.setattr(Squares, "shares", lambda self: np.full(len(self.moments), 1e-20))
    made, told = agree(*given, clearing=pairs.clearing)
    assert made is None
    assert told["components"] == 0
    assert told["kept"] == pytest.approx(1)


def test_what_is_told_is_of_what_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    _, given, _, _, pairs = fitted(0.02)
    _, whole = agree(*given, clearing=pairs.clearing)
    right = Squares.shares
    monkeypatch.setattr(Squares, "shares", lambda self: 0.1 * right(self))
    _, tenth = agree(*given, clearing=pairs.clearing)
    assert whole["kept"] < 0.8
    assert whole["kept"] < tenth["kept"] < 1
    assert whole["error"] < tenth["error"]


def test_what_is_added_is_invisible_to_the_msi() -> None:
    network, given, place, _, pairs = fitted(0.01)
    made, _ = agree(*given, clearing=pairs.clearing)
    assert made is not None
    added = lifted(made, place) - lifted(network, place)
    shown = np.tensordot(SRF, added, axes=1)
    assert np.abs(shown).max() < 0.02 * np.abs(added).max()
