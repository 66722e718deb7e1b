"""What a benchmark can run: every method of lift_xr, under any consistency, and what it is held to.

A name is that of a method, as in ``lift_xr.fit(method=...)``, and after a plus the consistency
where it is not the default: ``sin``, ``morph``, ``sin+both``, ``sin+none``. Beside these there are
``oracle``, the ceiling, with ``oracle-wider`` and ``oracle-longer`` to see whether it is one,
``bicubic``, the cube alone, and ``morph-non-negative`` and
``morph-sum-to-one``, which hold the abundances to that. A benchmark may register more, as in
``REGISTERED["mine"] = train``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

import numpy as np
import torch
import xarray as xr
from published import Case, Floats

import lift_xr
from lift_xr.baselines import bicubic
from lift_xr.given import Consistency
from lift_xr.kernel import DenseNetwork
from lift_xr.kriging import SIDE
from lift_xr.models import METHODS, Pairs
from lift_xr.models.backprojection import BackProjection
from lift_xr.models.sin import SpectralInversion, Whitening, inversion_steps, shuffled, to_dense
from lift_xr.training import WarmCosine, follow, reproducible, to_tensor
from lift_xr.unmixing import Constraint

# The oracle: so many small steps come farther than fewer large ones, 4,000 of 512 pixels, in half
# their time.
ORACLE_WIDTH, ORACLE_STEPS, ORACLE_BATCH, ORACLE_COMPONENTS = 128, 10_000, 64, 24


@dataclass(frozen=True)
class Trained:
    """A method that has seen a case: how it lifts the MSI of it, and what it costs.

    Parameters
    ----------
    lift
        Gives the estimate, (band, y, x).
    parameters
        Numbers that were settled by training.
    flops
        Multiplications and additions for one pixel of the MSI.
    """

    lift: Callable[[], Floats]
    parameters: int
    flops: int


Train = Callable[[Case, int], Trained]
"""Trains on a case, with a seed."""


def find(name: str) -> Train:
    """Give what trains the method of that name; ValueError where there is none."""
    if name in REGISTERED:
        return REGISTERED[name]
    method, _, consistency = name.partition("+")
    if method not in METHODS or (consistency and consistency not in get_args(Consistency)):
        raise ValueError(
            f"method is {name!r}; expected one of {', '.join((*METHODS, *REGISTERED))}; a method "
            f"of lift_xr may end with +{' or +'.join(get_args(Consistency))}"
        )
    return lambda case, seed: fitted(case, seed, method=method, consistency=consistency or "msi")


def sees_hsi(name: str) -> bool:
    """Whether the PSF matters to a method: the oracle never looks at the cube."""
    return not name.startswith("oracle")


def fitted(
    case: Case, seed: int, *, method: str | lift_xr.MorphRecipe, consistency: str = "msi"
) -> Trained:
    """Do as a user would: fit on the pair, predict the mosaic."""
    hsi, msi = scenes_of(case)
    settings: dict[str, Any] = {"consistency": consistency, "seed": seed, "device": "cpu"}
    model = lift_xr.fit(
        hsi, case.srf, msi=msi, method=method, harmonize="none", progress=False, **settings
    )
    return Trained(
        lift=lambda: lift_xr.predict(model, msi, hsi=hsi, device="cpu").to_numpy(),
        parameters=sum(array.size for array in weights_of(model.lift)),
        flops=flops_of(model.lift),
    )


def weights_of(lift: Any) -> list[np.ndarray]:
    """Arrays of a fitted value; not a response, which is folded into what mixes.

    An all-zero matrix is a part that this method does not have.
    """
    return [array for name, array in lift.arrays().items() if name != "srf" and array.any()]


def flops_of(lift: Any) -> int:
    """Multiplications and additions for one pixel of the MSI; of a halo, none.

    Two for each weight of a network. What looks at the cube again does besides, for a pixel, with
    C components, B bands, M bands of the MSI, ratio r, and a footprint of S terms, each the product
    of R rows and L columns:

    - what the MSI and the components see of the lifted pixel, 2 (C + M) B;
    - sums over footprints of these C + M planes and of one that counts pixels, columns first, which
      leaves a cell of every r pixels, then rows: 2 (C + M + 1) S (L / r + R / r^2);
    - the same of the cell, 2 (C + M) B / r^2;
    - kriging from the 25 cells around, 2 * 25 C;
    - what that means for the bands, 2 B C.

    Weights of the kriging are solved once for each pattern of missing cells, and are not counted.
    """
    if not isinstance(lift, BackProjection):
        return sum(2 * array.size for array in weights_of(lift) if array.ndim == 2)
    mixed = lift.analysis.size + lift.srf.size
    planes = len(lift.analysis) + len(lift.srf) + 1
    down, along = (factor.size for factor in lift.footprint.factors)
    sums = planes * (along / lift.ratio + down / lift.ratio**2)
    kriged = SIDE**2 * len(lift.analysis)
    per_pixel = mixed * (1 + 1 / lift.ratio**2) + sums + kriged + lift.synthesis.size
    return flops_of(lift.network) + round(2 * per_pixel)


def scenes_of(case: Case) -> tuple[xr.DataArray, xr.DataArray]:
    """Label the pair: the cube has wavelengths, and both count the same pixels."""
    nm = ("band", case.wavelength, {"units": "nm"})
    return (
        labelled(case.hsi, case.ratio).assign_coords(wavelength=nm),
        labelled(case.msi, 1),
    )


def labelled(values: Floats, spacing: int) -> xr.DataArray:
    """Give (band, y, x) its pixel centres."""
    centres = {
        dim: spacing * (np.arange(size) + 0.5)
        for dim, size in zip(("y", "x"), values.shape[1:], strict=True)
    }
    bands = {"band": np.arange(1, len(values) + 1)}
    return xr.DataArray(values, dims=("band", "y", "x"), coords=bands | centres).assign_attrs(
        units="1"
    )


def interpolated(case: Case, seed: int) -> Trained:
    """Take the cube alone: what fusion must beat."""
    del seed
    hsi, msi = scenes_of(case)
    taps = 16 * len(case.hsi)  # four rows of four pixels each
    return Trained(lift=lambda: bicubic(hsi, msi).to_numpy(), parameters=0, flops=2 * taps)


def oracle(case: Case, seed: int, *, wider: int = 1, longer: int = 1) -> Trained:
    """Train the network of `sin`, wider, on the MSI and the truth that `sin` never sees.

    A ceiling of what one pixel of the MSI says about its spectrum: no other method of one pixel in
    and one spectrum out should be above it by more than what luck brings. It is scored on the
    pixels it was trained on, and knows some of them by heart where a scene is small.
    """
    truth = Pairs(spectra(case.reference), case.srf.astype("float64"), "1")
    space = Whitening.of(truth, ORACLE_COMPONENTS)
    msi, hsi = (
        to_tensor(side, "cpu")
        for side in (space.inputs(spectra(case.msi)), space.outputs(truth.hsi))
    )
    decode = to_tensor(space.basis / space.unit, "cpu")
    with reproducible(seed, "cpu") as random:
        network = SpectralInversion(
            msi.shape[1], len(decode), width=wider * ORACLE_WIDTH, branches=(1, 2, 2)
        )
        order = shuffled(len(msi), ORACLE_BATCH, random)

        def draw() -> tuple[torch.Tensor, torch.Tensor]:
            chosen = next(order)
            return msi[chosen], hsi[chosen]

        step = inversion_steps(network, draw, decode)
        follow(step, steps=longer * ORACLE_STEPS, schedule=WarmCosine(top=5e-3))
    return of_network(space.unfold(to_dense(network)), case)


def of_network(network: DenseNetwork, case: Case) -> Trained:
    """Use a per-pixel network that was trained some other way."""
    matrices = [network.output, *(weights for weights, _ in network.hidden)]
    if network.direct.any():
        matrices.append(network.direct)
    unused = 0 if network.direct.any() else network.direct.size
    return Trained(
        lift=lambda: network(case.msi),
        parameters=network.parameters - unused,
        flops=2 * sum(matrix.size for matrix in matrices),
    )


def spectra(cube: np.ndarray) -> np.ndarray:
    """(band, y, x) to (pixel, band)."""
    return np.ascontiguousarray(cube.reshape(len(cube), -1).T)


def constrained(constraint: Constraint) -> Train:
    """Train `morph` with abundances that obey a constraint."""
    recipe = lift_xr.MorphRecipe(constraint=constraint)
    return lambda case, seed: fitted(case, seed, method=recipe)


REGISTERED: dict[str, Train] = {
    "oracle": oracle,
    "oracle-wider": partial(oracle, wider=2),
    "oracle-longer": partial(oracle, longer=2),
    "bicubic": interpolated,
    "morph-non-negative": constrained("non-negative"),
    "morph-sum-to-one": constrained("sum-to-one"),
}
