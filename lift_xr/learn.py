"""The training that ``fit`` asks for: pixels drawn from the cube, checked, and learnt from.

All that looks at pixels is one task, so that it runs on one worker and one device.
"""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr

from lift_xr.coarser import split, with_coarser
from lift_xr.device import find_device
from lift_xr.footprint import Overlay
from lift_xr.given import Given
from lift_xr.kernel import DenseNetwork
from lift_xr.models import (
    Learnt,
    Pairs,
    Refusal,
    expect_method,
    name_of,
    train_method,
    train_over,
)
from lift_xr.models.mixture import Mixture
from lift_xr.models.projection import Obedient, noise_of, obeying
from lift_xr.models.trained import Trained
from lift_xr.models.trust import calibrate
from lift_xr.progress import bar
from lift_xr.sample import SPARE, Sample, TooFewDrawn, draw_pixels
from lift_xr.scene import expect_values
from lift_xr.threads import one_blas_thread
from lift_xr.workers import run_as_one_task

TRAINING_PIXELS = 65_536  # more change nothing: a batch of 512 sees 1.5 million in 3,000 steps


def learn(
    given: Given,
    cube: xr.DataArray,
    *,
    method: Any,
    projected: bool,
    overlay: Overlay | None,
    long: bool,
    seed: int,
    device: str,
    progress: bool,
) -> Trained:
    """Train a method on pixels of a cube, and on the mosaic's where there is an overlay.

    Parameters
    ----------
    given
        What the pixels are seen through.
    cube : (band, y, x)
        What they are drawn from.
    method, seed, device, progress
        As in :func:`lift_xr.fit`.
    projected
        Whether the answer is made to obey the MSI.
    overlay
        How the cube's cells lie over the mosaic's pixels.
    long
        Whether rounds of training take longer, as where the cube is looked at again.
    """
    beside = given.beside(expect_method(method))
    with bar(f"training {name_of(method)}", total=1, show=progress) as advance:
        return _on_drawn(
            with_coarser(cube.data) if beside else cube.data,
            report=lambda step, steps, _loss: advance(step / steps),
            count=None if expect_method(method).whole_image else TRAINING_PIXELS,
            method=method,
            beside=beside,
            srf=given.matrix.to_numpy(),
            units=str(cube.attrs.get("units", "")),
            bands=cube["band"].to_numpy().tolist(),
            projected=projected,
            seed=seed,
            device=device,
            overlay=overlay,
            long=long,
        )


def _on_drawn(pixels: da.Array, *, count: int | None, seed: int, **settings: Any) -> Trained:
    """Train on the pixels drawn; where most are nodata, more is kept in a second draw."""
    try:
        drawn = draw_pixels(pixels, count=count, seed=seed, spare=SPARE)
        return run_as_one_task(train_on_sample, drawn, seed=seed, **settings)
    except TooFewDrawn:
        drawn = draw_pixels(pixels, count=count, seed=seed)
        return run_as_one_task(train_on_sample, drawn, seed=seed, **settings)


def expect_pixels(cube: xr.DataArray) -> None:
    """Refuse a cube whose pixels cannot be trained on, and say which bands are to blame."""
    drawn = draw_pixels(cube.data, count=TRAINING_PIXELS, seed=0)
    _expect_sample(drawn.compute(), cube["band"].to_numpy().tolist())


def train_on_sample(
    sample: Sample,
    *,
    method: Any,
    srf: npt.NDArray[np.float64],
    units: str,
    bands: list[Any],
    projected: bool,
    seed: int,
    device: str,
    beside: bool = False,
    overlay: Overlay | None = None,
    long: bool = False,
    report: Any = None,
) -> Trained:
    """The one task of ``fit``: check the pixels, train on them, make the answer obey the MSI."""
    sample, prior = split(sample, srf.shape[1]) if beside else (sample, None)
    _expect_sample(sample, bands)
    pairs = Pairs(sample.pixels, srf, units, sample.beside, prior)
    chosen = {"seed": seed, "device": find_device(device), "report": report}
    learnt = None
    with one_blas_thread():  # small products: more threads would only wait for one another
        if overlay is not None:
            learnt = train_over(method, pairs, overlay, long=long, **chosen)
        answer: Obedient | DenseNetwork | Mixture
        if isinstance(learnt, Learnt):
            answer, history = learnt.answer, learnt.history
        else:
            network, history = train_method(method, pairs, **chosen)
            answer = _obeying(network, pairs, seed) if projected else network
        network, noisy, gain = (
            (answer.network, answer.noisy, answer.gain)
            if isinstance(answer, Obedient)
            else (answer, answer, None)
        )
        trust = calibrate(noisy, pairs, seed=seed, overlay=overlay)
    history |= {"pixels": len(sample.pixels), "valid": sample.valid, "total": sample.total}
    return Trained(
        network=network,
        trust=trust,
        history=history,
        range=np.array([sample.pixels.min(), sample.pixels.max()], "float64"),
        gain=gain,
        clearing=pairs.clearing,
        learnt=isinstance(learnt, Learnt),
        refused=learnt if isinstance(learnt, Refusal) else None,
    )


def _obeying(
    network: DenseNetwork | Mixture, pairs: Pairs, seed: int
) -> Obedient | DenseNetwork | Mixture:
    """The network made to obey the MSI; a mixture does so by no one gain for all pixels."""
    if isinstance(network, Mixture):
        return network.obeying(noise_of(pairs))
    return obeying(network, pairs, seed=seed)


def _expect_sample(sample: Sample, bands: list[Any]) -> None:
    """Refuse pixels that cannot be trained on, and say which bands are to blame."""
    empty = [band for band, finite in zip(bands, sample.finite, strict=True) if not finite]
    some = sample.valid or (int(sample.finite.max()) if empty else 0)
    expect_values(count_valid=some, count_inf=sample.infinite, all_nan_bands=empty)
