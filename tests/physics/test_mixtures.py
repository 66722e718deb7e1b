"""Exactly linear mixtures are taken apart again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy.optimize import linear_sum_assignment

import lift_xr
from lift_xr.unmixing import count_endmembers
from tests.scenes import on_grid

BANDS, COUNT = 30, 4
NM = np.linspace(420, 980, BANDS)


def materials(how: str) -> np.ndarray:
    """Smooth spectra, none a mixture of the others.

    For NMF each absorbs all light somewhere: only then are the parts that add up to the pixels
    these and no others, whatever finds them. VCA looks for pure pixels, and takes any spectra.
    """
    t = np.linspace(0, 1, BANDS)
    if how == "nmf":
        return np.stack(
            [0.6 * np.maximum(0, np.sin(np.pi * (1.6 * t + 0.55 * k))) for k in range(COUNT)]
        )
    return np.stack([0.3 + 0.25 * np.sin((k + 1) * 2.1 * t + k) for k in range(COUNT)])


def recovered(how: Any, *, noise: float = 0.0, count: int | None = COUNT) -> tuple[float, float]:
    """RMSE of the abundances, endmembers matched, and of the spectra, of a mixed scene."""
    random, pure = np.random.default_rng(0), materials(how)
    coarse, fine = (random.dirichlet(np.full(COUNT, 0.7), size=(n, n)) for n in (24, 48))
    coarse[0, :COUNT] = np.eye(COUNT)  # somewhere each is pure
    cube = np.einsum("yxk,kb->byx", coarse, pure)
    cube += noise * random.normal(size=cube.shape)
    hsi = on_grid(cube.astype("float32"), spacing=2).assign_attrs(units="1")
    hsi = hsi.assign_coords(wavelength=("band", NM, {"units": "nm"}))
    srf = np.kron(np.eye(5), np.full((1, BANDS // 5), 5 / BANDS))
    truth = np.einsum("yxk,kb->byx", fine, pure)
    seen = np.tensordot(srf, truth, axes=1)
    seen += noise * random.normal(size=seen.shape)
    msi = on_grid(seen.astype("float32")).assign_attrs(units="1")
    recipe = lift_xr.MorphRecipe(endmembers=count, extraction=how, steps=300)
    model = lift_xr.fit(hsi, xr.DataArray(srf, dims=("msi_band", "band")), method=recipe)
    shares = lift_xr.unmix(model, msi)["abundances"].to_numpy()  # (endmember, y, x)
    errors = shares[:, None] - fine.transpose(2, 0, 1)[None]
    squares = (errors**2).mean(axis=(2, 3))  # (endmember, material)
    spectra = lift_xr.predict(model, msi).to_numpy() - truth
    matched = squares[linear_sum_assignment(squares)]
    return float(np.sqrt(matched.mean())), float(np.sqrt((spectra**2).mean()))


@pytest.mark.parametrize("how", ["vca", "nmf"])
def test_abundances_of_exact_mixtures_are_recovered(how: str) -> None:
    shares, spectra = recovered(how)
    assert shares < 0.02
    assert spectra < 0.01


@pytest.mark.parametrize("noise", [0.0, 0.001])
def test_materials_that_nobody_counted_are_recovered_too(noise: float) -> None:
    """Fewer than the mosaic's five bands; more would have nothing but noise to mix."""
    shares, spectra = recovered("nmf", noise=noise, count=None)
    assert shares < 0.02
    assert spectra < 0.01


@pytest.mark.parametrize("how", ["vca", "nmf"])
def test_noise_of_a_hundredth_of_the_signal_costs_a_few_hundredths(how: str) -> None:
    shares, spectra = recovered(how, noise=0.003)
    assert shares < 0.04
    assert spectra < 0.012


def many_materials(noise: float) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray, np.ndarray]:
    """A cube and a mosaic of ten materials, the response between them, and the truth."""
    random, t = np.random.default_rng(1), np.linspace(0, 1, BANDS)
    pure = np.stack([0.3 + 0.25 * np.sin((k + 1) * 1.3 * t + k * k) for k in range(10)])
    coarse, fine = (random.dirichlet(np.full(10, 0.3), size=(n, n)) for n in (20, 40))
    cube = np.einsum("yxk,kb->byx", coarse, pure)
    cube += noise * random.normal(size=cube.shape)
    hsi = on_grid(cube.astype("float32"), spacing=2).assign_attrs(units="1")
    hsi = hsi.assign_coords(wavelength=("band", NM, {"units": "nm"}))
    srf = xr.DataArray(np.kron(np.eye(3), np.full((1, 10), 0.1)), dims=("msi_band", "band"))
    truth = np.einsum("yxk,kb->byx", fine, pure)
    msi = on_grid(np.tensordot(srf, truth, axes=1).astype("float32")).assign_attrs(units="1")
    return hsi, msi, srf, truth


def test_too_few_endmembers_agree_with_the_mosaic_and_lose_nothing_by_it() -> None:
    hsi, msi, srf, truth = many_materials(noise=0.003)
    recipe = lift_xr.MorphRecipe(endmembers=4, steps=300)
    errors, apart = {}, {}
    for consistency in ("none", "msi"):
        model = lift_xr.fit(hsi, srf, method=recipe, consistency=consistency)
        lifted = lift_xr.predict(model, msi).to_numpy()
        errors[consistency] = np.sqrt(((lifted - truth) ** 2).mean())
        apart[consistency] = np.abs(np.tensordot(srf, lifted, axes=1) - msi.to_numpy()).mean()
    assert errors["msi"] < errors["none"]
    assert apart["msi"] < apart["none"] / 2


def test_the_mosaic_asks_for_endmembers_that_the_noise_of_the_cube_hides() -> None:
    hsi, _, srf, _ = many_materials(noise=0.05)
    pixels = hsi.to_numpy().reshape(BANDS, -1).T
    model = lift_xr.fit(hsi, srf, method=lift_xr.MorphRecipe(steps=5))
    assert model.maps is not None
    assert count_endmembers(pixels) < model.maps.bands <= 12
