"""Each method learns what it should, the same way each time."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from lift_xr import training
from lift_xr.models import Pairs, Seen, expect_method, train_method
from lift_xr.models.byhand import ByHand
from lift_xr.models.linear import LinearRecipe, fit_linear
from lift_xr.models.projection import kalman_gain, obeying
from lift_xr.models.sin import (
    SinPaperRecipe,
    SinRecipe,
    SinTraining,
    SpectralInversion,
    Whitening,
    extrapolated_batches,
    fit_sin,
    fit_sin_paper,
    inversion_steps,
    shuffled,
)
from lift_xr.training import Adam, OneCycle, WarmCosine, by_autograd
from tests.processes import another


def pairs(count: int = 400, *, units: str = "1", curved: float = 0.3) -> Pairs:
    """Spectra on a curved two-parameter family of 9 bands, seen in 3 wide ones."""
    rng = np.random.default_rng(5)
    a, b = rng.random((2, count, 1))
    t = np.linspace(0, 1, 9)
    bent = a * b * np.sin(6 * t) + a**2 * np.cos(9 * t) / 2
    hsi = 0.3 + 0.3 * a * t + 0.3 * b * (1 - t) + curved * bent
    srf = np.kron(np.eye(3), np.full((1, 3), 1 / 3))
    return Pairs(hsi.astype("float32"), srf, units)


def lift(network: object, msi: np.ndarray) -> np.ndarray:
    return network(np.ascontiguousarray(msi.T[:, None]))[:, 0].T  # type: ignore[operator]


@pytest.fixture(autouse=True)
def _steady() -> Iterator[None]:
    before = torch.get_num_threads(), torch.random.get_rng_state()
    yield
    assert torch.get_num_threads() == before[0]
    assert torch.equal(torch.random.get_rng_state(), before[1]), "the caller's random state moved"


@pytest.mark.parametrize("method", ["sin", "sin-paper"])
def test_each_network_overfits_sixteen_pixels(method: str) -> None:
    few = pairs(16)
    network, _ = train_method(method, few, seed=0, device="cpu")
    error = np.abs(lift(network, few.msi) - few.hsi).mean()
    assert error < 0.1 * np.abs(few.hsi - few.hsi.mean(axis=0)).mean()


def test_the_linear_method_recovers_an_affine_map() -> None:
    flat = pairs(curved=0)
    network, _ = train_method("linear", flat, seed=0, device="cpu")
    np.testing.assert_allclose(lift(network, flat.msi), flat.hsi, atol=2e-4)


def test_the_linear_method_is_least_squares() -> None:
    curved = pairs()
    network, _ = train_method("linear", curved, seed=0, device="cpu")
    design = np.column_stack([curved.msi, np.ones(len(curved.msi))]).astype("float64")
    best, *_ = np.linalg.lstsq(design, curved.hsi.astype("float64"), rcond=None)
    np.testing.assert_allclose(lift(network, curved.msi), design @ best, atol=2e-3)


@pytest.mark.parametrize(
    "fit",
    [
        partial(fit_sin, recipe=SinRecipe(steps=40)),
        partial(fit_sin_paper, recipe=SinPaperRecipe(steps=40)),
    ],
)
def test_the_same_seed_gives_the_same_weights(fit: Callable) -> None:
    once, again = (fit(pairs(64), seed=3, device="cpu", report=None)[0] for _ in range(2))
    for name, array in once.arrays().items():
        np.testing.assert_array_equal(array, again.arrays()[name])


@pytest.mark.parametrize(("branches", "decay"), [((1, 2, 2), 0.0), ((1,), 0.1), ((), 0.1)])
def test_steps_by_hand_are_those_of_autograd(branches: tuple[int, ...], decay: float) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = SpectralInversion(4, 7, width=16, branches=branches)
        drawn = torch.randn(32, 4), torch.randn(32, 7)
        decode = torch.randn(7, 11)
    ours = copy.deepcopy(theirs)
    by_hand = inversion_steps(ours, lambda: drawn, decode, decay=decay)
    assert isinstance(by_hand, ByHand)
    taught = by_autograd(
        theirs,
        lambda: drawn,
        optimizer=Adam(theirs, decay=decay),
        loss=lambda found, wanted: ((found - wanted) @ decode).abs().mean(),
    )
    for rate in (1e-2, 1e-3, 1e-4):
        loss = by_hand(rate)
        ((theirs(drawn[0]) - drawn[1]) @ decode).abs().mean().backward()
        found = [each for layer in by_hand.gradients for each in layer]
        for parameter, gradient in zip(theirs.parameters(), found, strict=True):
            assert parameter.grad is not None
            np.testing.assert_allclose(gradient, parameter.grad, rtol=1e-4, atol=1e-7)
            parameter.grad = None
        assert loss == pytest.approx(float(taught(rate)), rel=1e-5)
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            np.testing.assert_allclose(one.detach(), other.detach(), atol=2e-6)


def test_the_number_of_threads_does_not_change_the_weights() -> None:
    recipe = SinRecipe(steps=30)
    many, few = torch.get_num_threads(), 1
    networks = []
    for threads in (many, few):
        torch.set_num_threads(threads)
        networks.append(fit_sin(pairs(), recipe, seed=0, device="cpu", report=None)[0])
    torch.set_num_threads(many)
    np.testing.assert_array_equal(networks[0].output, networks[1].output)


def test_a_network_beats_the_linear_map_on_curved_spectra() -> None:
    curved = pairs(2000)
    errors = {
        method: np.square(
            lift(train_method(method, curved, seed=0, device="cpu")[0], curved.msi) - curved.hsi
        ).mean()
        for method in ("sin", "linear")
    }
    assert errors["sin"] < errors["linear"] / 4


@pytest.mark.parametrize("scale", [1.0, 6000.0])
def test_units_of_the_cube_do_not_matter_to_sin(scale: float) -> None:
    plain = pairs()
    scaled = Pairs(plain.hsi * np.float32(scale), plain.srf, "DN")
    recipe = SinRecipe(steps=300)
    network, _ = fit_sin(scaled, recipe, seed=0, device="cpu", report=None)
    reference, _ = fit_sin(plain, recipe, seed=0, device="cpu", report=None)
    found = lift(network, scaled.msi) / scale
    np.testing.assert_allclose(found, lift(reference, plain.msi), atol=0.02)


def test_the_published_method_clips_to_the_unit_range() -> None:
    network, _ = fit_sin_paper(pairs(), SinPaperRecipe(steps=5), seed=0, device="cpu", report=None)
    lifted = lift(network, np.array([[9.0, 9.0, 9.0], [-9.0, -9.0, -9.0]], "float32"))
    assert lifted.min() >= 0
    assert lifted.max() <= 1


def test_the_published_schedule_is_linear_up_and_down() -> None:
    schedule = OneCycle()
    assert schedule(750, 2500) == pytest.approx(1e-2)
    assert schedule(375, 2500) == pytest.approx(5.5e-3)
    assert schedule(1, 2500) == pytest.approx(1e-3 + 9e-3 / 750)
    assert schedule(2500, 2500) == pytest.approx(1e-6)


@pytest.mark.parametrize("fused", [True, False])
def test_our_optimizer_is_that_of_torch_to_the_bit(fused: bool) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = torch.nn.Linear(3, 5)
    ours = copy.deepcopy(theirs)
    optimizers = (
        torch.optim.AdamW(theirs.parameters(), eps=1e-7, weight_decay=0.1, fused=fused or None),
        Adam(ours, eps=1e-7, decay=0.1, fused=fused),
    )
    for rate in (1e-2, 3e-3, 1e-4):
        for network in (theirs, ours):
            network(torch.linspace(-1, 1, 12).reshape(4, 3)).square().mean().backward()
        optimizers[0].param_groups[0]["lr"] = rate
        optimizers[0].step()
        optimizers[0].zero_grad()
        optimizers[1].step(rate)
    assert torch.equal(ours.weight, theirs.weight)
    assert torch.equal(ours.bias, theirs.bias)


def test_training_does_not_load_the_compiler_of_torch() -> None:
    process = another(train_without_the_compiler)
    process.start()
    process.join()
    assert process.exitcode == 0


def train_without_the_compiler() -> None:
    before = "torch._dynamo" in sys.modules
    pixels = np.random.default_rng(0).random((20, 4), "float32")
    train_method("sin", Pairs(pixels, np.eye(4)[:3], "1"), seed=0, device="cpu")
    sys.exit(before or "torch._dynamo" in sys.modules)


def test_our_schedule_ends_at_its_lowest() -> None:
    rates = [WarmCosine()(step, 100) for step in range(1, 101)]
    assert max(rates) == pytest.approx(WarmCosine().top)
    assert rates[-1] == min(rates) == pytest.approx(1e-6)


def test_progress_is_reported_to_the_end() -> None:
    told: list[tuple[int, int, float]] = []
    fit_sin(
        pairs(64),
        SinRecipe(steps=60),
        seed=0,
        device="cpu",
        report=lambda *step: told.append(step),
    )
    assert [step for step, _, _ in told] == [25, 50, 60]


def test_many_pixels_are_given_more_steps_and_less_decay() -> None:
    few, many = (SinRecipe().for_pixels(count, 4) for count in (100, 10_000))
    assert few.steps < many.steps  # type: ignore[operator]
    assert few.decay > many.decay  # type: ignore[operator]
    assert SinRecipe(steps=7).for_pixels(100, 4).steps == 7
    reach = [
        SinRecipe().for_pixels(count, 4).extrapolation for count in (100, 1000, 2000, 4000, 65_536)
    ]
    assert reach == pytest.approx([2, 2, 2**0.5, 1, 1])


def test_few_pixels_lean_on_a_regression_and_many_on_none() -> None:
    few = [SinRecipe().for_pixels(count, 4).regression for count in (25, 36, 49, 81, 120, 121)]
    assert few == sorted(few, reverse=True)
    assert few[0] == 1
    assert few[-2:] == [0, 0]
    assert SinRecipe().for_pixels(121, 16).regression > 0.5  # type: ignore[operator]
    some = pairs(50)
    train = {"seed": 0, "device": "cpu", "report": None}
    recipe = SinRecipe(steps=20)
    alone, _ = fit_sin(some, replace(recipe, regression=0.0), **train)
    half, history = fit_sin(some, replace(recipe, regression=0.5), **train)
    linear, _ = fit_linear(some, LinearRecipe(), **train)
    msi = (some.hsi @ some.srf.T).T.reshape(-1, 5, 10).astype("float32")
    wanted = (alone(msi) + linear(msi)) / 2
    np.testing.assert_allclose(half(msi), wanted, rtol=1e-4, atol=1e-5)
    assert history["chosen"]["regression"] == 0.5


def test_batches_lie_on_the_far_side_of_the_neighbour() -> None:
    """And their inputs are what the MSI sensor sees of them."""
    plain = pairs(50)
    beside = plain.hsi[::-1, None] * np.float32(0.5)
    known = Pairs(plain.hsi, plain.srf, "1", beside)
    space = Whitening.of(known, components=9)
    recipe = SinRecipe(input_noise=0, batch=50, extrapolation=2.0)
    draw = extrapolated_batches(known, space, recipe, torch.Generator().manual_seed(0))
    inputs, targets = (side.numpy().astype("float64") for side in draw())
    spectra = targets @ space.basis + space.mean
    np.testing.assert_allclose(
        inputs * space.msi_scale + space.msi_mean, spectra @ known.srf.T, atol=1e-4
    )
    step = (known.hsi - beside[:, 0]).astype("float64")
    away = spectra[:, None] - known.hsi  # (batch, pixel, band)
    reach = (away * step).sum(-1) / (step**2).sum(-1)
    off_line = np.linalg.norm(away - reach[..., None] * step, axis=-1)
    pixel = off_line.argmin(axis=1)
    assert off_line.min(axis=1).max() < 1e-4
    # the pixel lies at 0 and its neighbour at -1: between the two nothing is drawn
    middle = np.abs(reach[np.arange(len(pixel)), pixel] + 0.5)
    assert middle.min() > 0.49
    assert middle.max() < 0.51 + 2.0


def test_pixels_of_the_mosaic_are_learnt_from_beside_those_of_the_cube() -> None:
    """Where the cube has no pixel, only the mosaic's can say what colours mean."""
    known = pairs()
    dark = known.hsi.mean(axis=1) < 0.55
    other = known.hsi[~dark][:, ::-1]  # what no pixel of the cube suggests
    bright = Seen(known.msi[~dark], np.ascontiguousarray(other))
    recipe = SinRecipe(steps=400, batch=64, decay=0.01, extrapolation=0.0)
    alone = replace(known, hsi=known.hsi[dark])
    found = [
        fit_sin(each, recipe, seed=0, device="cpu", report=None)[0]
        for each in (alone, replace(alone, seen=bright))
    ]
    errors = [np.abs(lift(each, bright.msi) - bright.spectra).mean() for each in found]
    assert errors[1] < 0.3 * errors[0]
    assert np.abs(lift(found[1], alone.msi) - alone.hsi).mean() < 0.1 * errors[0]


def test_every_pixel_is_drawn_before_any_comes_again() -> None:
    order = shuffled(10, 4, torch.Generator().manual_seed(0))
    first = torch.cat([next(order) for _ in range(5)])
    for epoch in first.split(10):
        assert sorted(epoch.tolist()) == list(range(10))


def test_the_projected_answer_agrees_with_the_msi() -> None:
    curved = pairs()
    network, _ = fit_sin(curved, SinRecipe(steps=10), seed=0, device="cpu", report=None)
    disagreement = [
        np.abs(lift(each, curved.msi) @ curved.srf.T - curved.msi).max()
        for each in (network, obeying(network, curved, seed=0).network)
    ]
    noise = np.sqrt((curved.msi**2).mean()) / 100  # 40 dB
    assert disagreement[1] < noise
    assert disagreement[1] < disagreement[0] / 10


def test_the_projection_leaves_a_perfect_network_alone() -> None:
    flat = pairs(curved=0)
    network, _ = train_method("linear", flat, seed=0, device="cpu")
    same = obeying(network, flat, seed=0).network
    np.testing.assert_allclose(lift(same, flat.msi), lift(network, flat.msi), atol=1e-4)


def test_the_gain_of_the_projection_is_the_textbook_one() -> None:
    """Two equal bands, averaged by one sensor: an error seen is shared equally."""
    srf, covariance = np.array([[0.5, 0.5]]), np.eye(2)
    np.testing.assert_allclose(kalman_gain(srf, covariance, np.zeros(1)), [[1], [1]])
    np.testing.assert_allclose(kalman_gain(srf, covariance, np.array([0.5])), [[0.5], [0.5]])


def test_an_unknown_method_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"method is 'sim'; expected one of 'sin', 'sin-paper'"):
        expect_method("sim")


def test_a_training_that_is_taken_up_again_goes_on_where_it_ended() -> None:
    few = pairs(100)
    recipe = SinRecipe(steps=200)

    def begun() -> SinTraining:
        return SinTraining(few, recipe, seed=0, device="cpu")

    whole, _ = fit_sin(few, recipe, seed=0, device="cpu", report=None)
    at_once, history = begun().go_on()
    assert history["chosen"]["steps"] == 200
    np.testing.assert_array_equal(lift(at_once, few.msi), lift(whole, few.msi))
    parted = begun()
    first, told = parted.go_on(0.1)
    assert told["chosen"]["steps"] == 20
    second, _ = parted.go_on(0.9)
    errors = [np.abs(lift(each, few.msi) - few.hsi).mean() for each in (first, second)]
    assert errors[1] < 0.5 * errors[0]


@pytest.mark.parametrize("at_once", [5, 7, 1000])
def test_steps_of_many_pixels_are_the_same_in_pieces(at_once, monkeypatch) -> None:
    some = pairs()
    whole = fit_sin_paper(some, SinPaperRecipe(steps=5), seed=0, device="cpu", report=None)
    monkeypatch.setattr(training, "AT_ONCE", at_once)
    pieces = fit_sin_paper(some, SinPaperRecipe(steps=5), seed=0, device="cpu", report=None)
    np.testing.assert_allclose(pieces[1]["loss"], whole[1]["loss"], rtol=1e-5)
    found, expected = (lift(network, some.msi) for network, _ in (pieces, whole))
    np.testing.assert_allclose(found, expected, atol=1e-5)
