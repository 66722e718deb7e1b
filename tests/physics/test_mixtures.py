"""Exactly linear mixtures are taken apart again."""

from __future__ import annotations

import numpy as np
import xarray as xr

import lift_xr
from tests.scenes import on_grid

BANDS, COUNT = 30, 4
NM = np.linspace(420, 980, BANDS)


def materials() -> np.ndarray:
    """Smooth spectra, none a mixture of the others."""
    t = np.linspace(0, 1, BANDS)
    return np.stack([0.3 + 0.25 * np.sin((k + 1) * 2.1 * t + k) for k in range(COUNT)])


def test_abundances_of_exact_mixtures_are_recovered() -> None:
    random = np.random.default_rng(0)
    coarse, fine = (random.dirichlet(np.full(COUNT, 0.7), size=(n, n)) for n in (24, 48))
    coarse[0, :COUNT] = np.eye(COUNT)  # somewhere each is pure
    hsi = on_grid(np.einsum("yxk,kb->byx", coarse, materials()).astype("float32"), spacing=2)
    hsi = hsi.assign_coords(wavelength=("band", NM, {"units": "nm"})).assign_attrs(units="1")
    srf = np.kron(np.eye(5), np.full((1, BANDS // 5), 5 / BANDS))
    truth = np.einsum("yxk,kb->byx", fine, materials())
    msi = on_grid(np.tensordot(srf, truth, axes=1).astype("float32")).assign_attrs(units="1")
    recipe = lift_xr.MorphRecipe(endmembers=COUNT, extraction="vca", steps=300)
    model = lift_xr.fit(hsi, xr.DataArray(srf, dims=("msi_band", "band")), method=recipe)
    maps = lift_xr.unmix(model, msi)
    found = maps["endmembers"].to_numpy()
    match = np.abs(found[:, None] - materials()[None]).mean(axis=-1).argmin(axis=0)
    assert sorted(match) == list(range(COUNT))
    shares = maps["abundances"].to_numpy()[match]  # (material, y, x)
    error = shares - fine.transpose(2, 0, 1)
    assert np.sqrt((error**2).mean()) < 0.02
    assert np.sqrt(((lift_xr.predict(model, msi).to_numpy() - truth) ** 2).mean()) < 0.01
