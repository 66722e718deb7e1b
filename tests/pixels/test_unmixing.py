"""Endmembers are found, counted and constrained."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_xr.errors import SpectralError
from lift_xr.models import MorphRecipe
from lift_xr.models.mixture import constrain
from lift_xr.unmixing import (
    constrained,
    count_endmembers,
    extract,
    least_squares,
    nmf,
    vca,
)

BANDS = 30


def materials(count: int) -> np.ndarray:
    """Smooth spectra, none a mixture of the others."""
    t = np.linspace(0, 1, BANDS)
    return np.stack([0.3 + 0.25 * np.sin((k + 1) * 2.1 * t + k) for k in range(count)])


def mixed(count: int, pixels: int = 600, *, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Pixels, the first of them pure, and what they are made of."""
    random = np.random.default_rng(3)
    shares = random.dirichlet(np.ones(count), pixels)
    shares[:count] = np.eye(count)
    spectra = shares @ materials(count)
    return spectra + noise * random.normal(size=spectra.shape), shares


def same_up_to_order(found: np.ndarray, wanted: np.ndarray, *, within: float) -> bool:
    away = np.abs(found[:, None] - wanted[None]).max(axis=-1)
    return bool((away.min(axis=0) < within).all())


@pytest.mark.parametrize("count", [2, 3, 5])
def test_vca_finds_the_pure_pixels(count: int) -> None:
    pixels, _ = mixed(count)
    assert same_up_to_order(vca(pixels, count, seed=0), materials(count), within=1e-6)


def test_the_scale_of_the_units_does_not_matter() -> None:
    pixels, _ = mixed(4)
    for how in ("vca", "nmf"):
        plain, large = (
            extract(scale * pixels, count=4, how=how, seed=0) for scale in (1.0, 5000.0)
        )
        np.testing.assert_allclose(large / 5000, plain, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("how", ["vca", "nmf"])
def test_one_seed_finds_one_set_of_endmembers(how: str) -> None:
    pixels, _ = mixed(4, pixels=5000, noise=0.005)
    once, again = (extract(pixels, count=4, how=how, seed=7) for _ in range(2))
    np.testing.assert_array_equal(once, again)


def test_nmf_explains_the_pixels_with_parts_that_are_not_negative() -> None:
    pixels, _ = mixed(4)
    found = nmf(pixels, 4)
    assert found.min() >= 0
    left = pixels[:50] - constrained(pixels[:50], found, "non-negative") @ found
    assert np.abs(left).max() < 0.05


@pytest.mark.parametrize("count", [3, 5, 8])
def test_hysime_counts_the_endmembers_above_the_noise(count: int) -> None:
    pixels, _ = mixed(count, pixels=3000, noise=1e-3)
    assert count_endmembers(pixels) == count


def test_a_number_of_endmembers_is_found_from_few_pixels_too() -> None:
    pixels, _ = mixed(4, pixels=20)
    assert 3 <= count_endmembers(pixels) <= 20


@pytest.mark.parametrize("how", ["vca", "nmf"])
@pytest.mark.parametrize("pixels", [3, 40, 4000])
def test_no_more_endmembers_are_found_than_the_pixels_have_directions(
    how: str, pixels: int
) -> None:
    exact, _ = mixed(4, pixels=max(pixels, 4))
    found = extract(exact[:pixels].astype("float32"), count=6, how=how, seed=0)
    assert len(found) == min(pixels, 4)
    assert np.linalg.cond(found) < 100


@pytest.mark.parametrize("how", ["vca", "nmf"])
def test_pixels_without_signal_are_refused(how: str) -> None:
    with pytest.raises(SpectralError, match="the 50 pixels of hsi to learn from are all zero"):
        extract(np.zeros((50, BANDS), "float32"), count=3, how=how, seed=0)


@pytest.mark.parametrize("how", ["vca", "nmf"])
def test_abundances_add_up_to_nearly_one(how: str) -> None:
    pixels, _ = mixed(4)
    total = least_squares(pixels, extract(pixels, count=4, how=how, seed=0)).sum(axis=1)
    assert abs(np.median(total) - 1) < 0.1


def test_constrained_abundances_are_those_that_were_mixed() -> None:
    pixels, shares = mixed(4, pixels=40)
    for constraint in ("none", "non-negative", "sum-to-one"):
        found = constrained(pixels, materials(4), constraint)
        np.testing.assert_allclose(found, shares, atol=1e-4)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 12), st.integers(1, 30), st.integers(0, 2**16), st.sampled_from([0.1, 1, 50]))
def test_constrained_abundances_stay_on_the_simplex(
    count: int, pixels: int, seed: int, scale: float
) -> None:
    anything = np.random.default_rng(seed).normal(0, scale, (count, pixels)).astype("float32")
    for constraint in ("non-negative", "sum-to-one"):
        assert constrain(anything, constraint).min() >= 0
    np.testing.assert_allclose(constrain(anything, "sum-to-one").sum(axis=0), 1, rtol=1e-5)
    alone = [constrain(anything[:, [each]], "sum-to-one") for each in range(pixels)]
    np.testing.assert_array_equal(np.hstack(alone), constrain(anything, "sum-to-one"))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"endmembers": 0}, "endmembers is 0; expected a whole number from 1"),
        ({"endmembers": 2.5}, "endmembers is 2.5"),
        ({"extraction": "ica"}, "extraction is 'ica'; expected one of 'vca', 'nmf'"),
        ({"steps": 0}, "steps is 0; expected a whole number from 1"),
        ({"steps": 2.5}, "steps is 2.5"),
        ({"constraint": "convex"}, "constraint is 'convex'; expected one of 'none'"),
    ],
)
def test_settings_that_do_not_exist_are_refused_at_once(settings: dict, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        MorphRecipe(**settings)
