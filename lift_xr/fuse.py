"""fit, predict, fuse: train once on the whole cube, lift every block of the mosaic."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Literal, get_args

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr

from lift_xr import srf as responses
from lift_xr.agreement import ENOUGH_TO_LEARN, Sight, agreeing, look, told_of_mosaic
from lift_xr.beside import expect_aligned, prior_of
from lift_xr.blind import estimate_srf
from lift_xr.blocks import Prior, lift_blocks
from lift_xr.coarser import split, with_coarser
from lift_xr.degrade import expect_kernel
from lift_xr.device import DEVICES, find_device
from lift_xr.errors import GridError, LayoutError, SpectralError
from lift_xr.footprint import Overlay
from lift_xr.harmonize import IDENTITY, Harmonization, expect_comparable, expect_one_time
from lift_xr.harmonize import harmonize as match_radiometry
from lift_xr.kernel import DenseNetwork
from lift_xr.models import (
    Learnt,
    Method,
    Model,
    MorphRecipe,
    Pairs,
    Refusal,
    expect_method,
    name_of,
    train_method,
    train_over,
)
from lift_xr.models.backprojection import BackProjection
from lift_xr.models.base import fitted_parts
from lift_xr.models.mixture import Mixture
from lift_xr.models.projection import gain_towards_msi, obey_msi, updated
from lift_xr.models.trust import Trust, calibrate
from lift_xr.progress import bar
from lift_xr.sample import SPARE, Sample, TooFewDrawn, draw_pixels
from lift_xr.scene import BLOCK, BadBands, expect_hsi, expect_msi, expect_values
from lift_xr.threads import one_blas_thread
from lift_xr.workers import find_client, run_as_one_task

Scene = xr.DataArray | xr.Dataset
Consistency = Literal["msi", "both", "none"]

GREATEST_BLOCK = 16 * 2**30  # bytes, lifted
TRAINING_PIXELS = 65_536  # more change nothing: a batch of 512 sees 1.5 million in 3,000 steps


def fuse(
    hsi: Scene,
    msi: Scene,
    srf: Any = None,
    *,
    method: str | MorphRecipe = "sin",
    harmonize: str = "auto",
    consistency: Consistency = "msi",
    psf: npt.ArrayLike | None = None,
    bad_bands: BadBands = "drop",
    seed: int = 0,
    device: str = "auto",
    progress: bool = True,
) -> xr.DataArray:
    """A fine hyperspectral scene from a coarse cube and a fine mosaic.

    ``predict(fit(hsi, srf, msi=msi, ...), msi)``: trains now, lifts when asked for values.

    Parameters
    ----------
    hsi, srf, method, harmonize, consistency, psf, bad_bands, seed, device, progress
        See :func:`fit`.
    msi
        See :func:`predict`; with several times, only where ``harmonize="none"`` and the cube is not
        looked at again. To lift a series otherwise, fit on one time:
        ``fit(hsi, srf, msi=msi.isel(time=0))``.

    Returns
    -------
    (band, y, x) or (time, band, y, x), float32
        Lazy. On the grid of ``msi``, with the bands and units of ``hsi``; NaN where ``msi`` has no
        data.

    Raises
    ------
    GridError, SpectralError, LayoutError
        As :func:`fit` and :func:`predict` do.

    Examples
    --------
    >>> import lift_xr
    >>> scene = lift_xr.synthetic.scene(shape=(320, 320), ratio=20)
    >>> fused = lift_xr.fuse(scene.hsi, scene.msi, scene.srf, method="linear")
    >>> fused.sizes
    Frozen({'band': 50, 'y': 320, 'x': 320})
    """
    expect_msi(msi)  # None would pass for "no MSI" in fit
    model = fit(
        hsi,
        srf,
        msi=msi,
        method=method,
        harmonize=harmonize,
        consistency=consistency,
        psf=psf,
        bad_bands=bad_bands,
        seed=seed,
        device=device,
        progress=progress,
    )
    return predict(model, msi, hsi=hsi, device=device)


def fit(
    hsi: Scene,
    srf: Any = None,
    *,
    msi: Scene | None = None,
    method: str | MorphRecipe = "sin",
    harmonize: str = "auto",
    consistency: Consistency = "msi",
    psf: npt.ArrayLike | None = None,
    bad_bands: BadBands = "drop",
    seed: int = 0,
    device: str = "auto",
    progress: bool = True,
) -> Model:
    r"""Train a model on a cube and the spectral response of the mosaic's sensor.

    Parameters
    ----------
    hsi : (band, y, x)
        The cube: reflectance or any other unit, with a ``wavelength`` coordinate in nm, um or m.
        NaN, or the nodata value of integers, marks pixels to leave out.
    srf
        The response of the MSI's sensor: an ``SRF``, a sensor's name, a CSV file, or an array
        (msi_band, band). None estimates it from the pair, which needs ``msi`` and one grid.
    msi
        The mosaic, needed to harmonize or to estimate the response, and learnt from by ``"sin"``,
        whose ``about["mosaic"]`` says whether, and if not, why. One acquisition.
    method
        ``"sin"``, the spectral inversion network with the best training we know: where ``msi``
        lies on one grid with the cube, it learns from the mosaic's own pixels too, with the spectra
        that the cube makes likely for them, unless cells held out speak against it;
        ``"sin-paper"``, the same network as published; ``"morph"``, SpectraMorph: spectra are
        mixtures of a few endmembers, whose maps :func:`lift_xr.unmix` gives; with an MSI of one
        band it has the cube beside it, as ``sin`` has not; ``"morph-paper"``, as published;
        ``"linear"``, ridge regression. Or settings in place of the name:
        ``MorphRecipe(endmembers=7)``.
    harmonize
        How the mosaic's values become the cube's: ``"regression"`` fits a gain and an offset per
        band where the images overlap, ``"moments"`` matches their statistics, ``"none"`` takes
        them as they are. ``"auto"`` picks, and says in the model what it did.
    consistency
        ``"msi"`` makes the answer, seen through the response, equal the observed mosaic up to its
        noise; ``"both"`` also makes it agree with the cube at the cube's own resolution, which
        needs ``msi``, on a grid of which each cell is a whole number of pixels, and ``hsi`` again
        in :func:`predict`. ``"none"`` leaves the network's answer. ``"sin-paper"`` has none, as
        published, whatever is asked.
    psf : (y, x), MSI pixels
        For ``consistency="both"``: the point spread of the cube's sensor, the mean over a cell
        coming on top, as in :func:`degrade`. None estimates it from the pair.
    bad_bands
        ``"drop"`` leaves bands with ``good_wavelength`` (or ``bbl``) False out of training and out
        of the result; ``"keep"`` treats them as any other.
    seed
        Of the sample, the initial weights and the batches. One seed, one model, on one kind of
        device.
    device
        ``"auto"``, ``"cpu"`` or ``"cuda"``. Training is one task; with a distributed client it goes
        to a worker that advertises a ``GPU`` resource when there is one.
    progress
        Draw a progress bar in a terminal or notebook.

    Returns
    -------
    Model
        Weights, scalings, bands and history; independent of the scenes it came from.

    Raises
    ------
    SpectralError
        Wavelengths, units, response or pixel values that cannot be used.
    GridError
        Grids that do not meet where the method needs them to.
    ValueError
        An unknown method, consistency or device; ``"both"`` without ``msi``.

    Warns
    -----
    UserWarning
        For ``"both"``, where the cells of the cube do not predict one another through the point
        spread any better than the network does: the model is one of ``"msi"`` then, and its
        ``about["agreement"]`` says why.

    Notes
    -----
    Training inputs are :math:`R y` and targets :math:`y` for pixels :math:`y` of the cube, with
    :math:`R` the response sampled on its bands; the fitted map is applied to the mosaic (Shah and
    others, SpectraLift, arXiv 2507.13339). The coarse pixels are mixtures, and the mosaic's lie
    beyond them: so ``sin`` is trained in rounds, each but the first on pixels :math:`m` of the
    mosaic too, whose targets are the last round's answers after a step of back-projection towards
    the cells of the cube, as ``consistency="both"`` takes it.
    """
    chosen, name = expect_method(method), name_of(method)
    _expect_settings(consistency, device, seed)
    kernel = _expect_both(consistency, msi, psf)
    cube = expect_hsi(hsi, bad_bands=bad_bands)
    mosaic = None if msi is None else expect_msi(msi)
    response = _response(srf, cube, mosaic, bad_bands)
    matrix = response.sample(cube)
    msi_lr = responses.apply(matrix, cube)
    _expect_comparable(mosaic, msi_lr, harmonize)
    projected = consistency != "none" and chosen.projects
    if consistency == "both" and projected and mosaic is not None:
        expect_one_time(mosaic)
        expect_aligned(cube, mosaic)
    beside = chosen.pan_prior and matrix.sizes["msi_band"] == 1
    if not beside:
        _expect_bands(matrix, chosen, name)
    radiometry, learning, sight = IDENTITY, None, None
    if mosaic is not None and projected and (consistency == "both" or chosen.training):
        radiometry = match_radiometry(mosaic, msi_lr, method=harmonize)
        even = radiometry.apply(mosaic)
        learning = _look(cube, even, matrix) if chosen.training else None
        if consistency == "both":
            given = learning is None or kernel is not None
            sight = look(cube, even, matrix, psf=kernel) if given else learning
    first = sight if learning is None else learning
    trainable = first.even(cube) if isinstance(first, Sight) else cube
    pixels = with_coarser(trainable.data) if beside else trainable.data
    over = learning.overlay.within(ENOUGH_TO_LEARN) if isinstance(learning, Sight) else None
    with bar(f"training {name}", total=1, show=progress) as advance:
        trained = _train_on_draw(
            pixels,
            report=lambda step, steps, _loss: advance(step / steps),
            count=_count(chosen),
            method=method,
            beside=beside,
            srf=matrix.to_numpy(),
            units=str(cube.attrs.get("units", "")),
            bands=cube["band"].to_numpy().tolist(),
            projected=projected,
            seed=seed,
            device=device,
            overlay=over,
            long=consistency == "both",
        )
    # After the training, which has looked at the cube's pixels and says what is wrong with them.
    if mosaic is not None and first is None:
        radiometry = match_radiometry(mosaic, msi_lr, method=harmonize)
    told = told_of_mosaic(learning, trained)
    if sight is not None:
        trained, agreement = agreeing(sight, trained, matrix.to_numpy())
        told |= agreement
    about = {
        "method": name,
        "consistency": "msi" if projected else "none",
        "harmonize": radiometry.describe(),
        "alone": mosaic is None,  # fitted without an MSI
        "seed": seed,
        "srf": response.digest,
        **told,
    }
    return _assemble(cube, matrix, radiometry, trained, about)


def predict(
    model: Model,
    msi: Scene,
    *,
    hsi: Scene | None = None,
    block: int = BLOCK,
    device: str = "auto",
) -> xr.DataArray:
    """Lift a mosaic, block by block.

    Parameters
    ----------
    model
        From :func:`fit` or :func:`load_model`.
    msi : (band, y, x) or (time, band, y, x)
        The mosaic. Its bands are those of the response the model was trained through, in that
        order. A dask array keeps its chunks; they do not change the result by one bit.
    hsi
        The cube, for models that look at it again when they lift: on the grid of ``msi``, each of
        its cells a whole number of pixels. Others leave it alone.
    block
        Block edge in pixels where ``msi`` is not chunked yet.
    device
        ``"auto"`` lets every worker use its GPU if it has one.

    Returns
    -------
    (band, y, x) or (time, band, y, x), float32
        Lazy: one task a block. Units of the cube. NaN in every band where ``msi`` is NaN or
        infinite in any. ``wavelength`` and ``fwhm`` in nm, the grid of ``msi``, and attributes that
        say how it came about.

    Raises
    ------
    SpectralError
        When the number of bands is not the model's.
    GridError, LayoutError
        When ``msi`` is no scene, or a block of it would become more than 16 GiB; when the model
        looks at ``hsi`` again and its cells are not made of whole pixels of ``msi``.
    ValueError
        When it does and there is no ``hsi``.

    Warns
    -----
    UserWarning
        When ``msi`` does not say that it is in the units of the model, and the model was fitted
        without an MSI to compare with.
    """
    mosaic, prior = prepare(model, msi, hsi=hsi, block=block, device=device)
    lifted = lift_blocks(mosaic.data, model, device=device, prior=prior)
    return label(lifted, mosaic, model)


def prepare(
    model: Model, msi: Scene, *, hsi: Scene | None, block: int, device: str
) -> tuple[xr.DataArray, Prior | None]:
    """Check all that can be checked before a pixel is read: the mosaic, and the cube beside it."""
    _expect_device(device)
    mosaic = mosaic_for(model, msi, block=block)
    return mosaic, prior_of(model, hsi, mosaic)


def mosaic_for(model: Model, msi: Scene, *, block: int) -> xr.DataArray:
    """Make a scene of a mosaic, with the model's bands in the model's order."""
    mosaic = _in_model_order(expect_msi(msi, block=block), model)
    _expect_small_blocks(mosaic, model)
    _warn_of_units(mosaic, model)
    return mosaic


def _look(cube: xr.DataArray, mosaic: xr.DataArray, matrix: xr.DataArray) -> Sight | str:
    """How cells lie over pixels; why the mosaic cannot be learnt from, where nobody insists."""
    if "time" in mosaic.dims:
        return "the mosaic has several times"
    try:
        return look(cube, mosaic, matrix, psf=None)
    except GridError as error:
        return str(error)


def _train_on_draw(
    pixels: da.Array, *, count: int | None, seed: int, **settings: Any
) -> Mapping[str, Any]:
    """Train on the pixels drawn; where most are nodata, more is kept in a second draw."""
    try:
        drawn = draw_pixels(pixels, count=count, seed=seed, spare=SPARE)
        return run_as_one_task(train_on_sample, drawn, seed=seed, **settings)
    except TooFewDrawn:
        drawn = draw_pixels(pixels, count=count, seed=seed)
        return run_as_one_task(train_on_sample, drawn, seed=seed, **settings)


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
) -> dict[str, Any]:
    """The one task of ``fit``: check the pixels, train on them, make the answer obey the MSI."""
    sample, prior = split(sample, srf.shape[1]) if beside else (sample, None)
    _expect_sample(sample, bands)
    pairs = Pairs(sample.pixels, srf, units, sample.beside, prior)
    chosen = {"seed": seed, "device": find_device(device), "report": report}
    learnt = None
    with one_blas_thread():  # small products: more threads would only wait for one another
        if overlay is not None:
            learnt = train_over(method, pairs, overlay, long=long, **chosen)
        network: DenseNetwork | Mixture
        gain: npt.NDArray[np.float64] | None = None
        if isinstance(learnt, Learnt):
            network, history, gain = learnt.network, learnt.history, learnt.gain
        else:
            network, history = train_method(method, pairs, **chosen)
            if projected:
                network, gain = _obeying(network, pairs, seed)
        trust = calibrate(network, pairs, seed=seed)
    limits = np.array([sample.pixels.min(), sample.pixels.max()], "float64")
    history |= {"pixels": len(sample.pixels), "valid": sample.valid, "total": sample.total}
    return {
        "network": network,
        "trust": trust,
        "history": history,
        "range": limits,
        "gain": gain,
        "learnt": isinstance(learnt, Learnt),
        "refused": learnt if isinstance(learnt, Refusal) else None,
    }


def _obeying(
    network: DenseNetwork | Mixture, pairs: Pairs, seed: int
) -> tuple[DenseNetwork | Mixture, npt.NDArray[np.float64] | None]:
    """The network made to obey the MSI, and by which gain where it is one for all pixels."""
    if isinstance(network, Mixture):
        return obey_msi(network, pairs, seed=seed), None
    gain = gain_towards_msi(network, pairs, seed=seed)
    return updated(network, pairs.srf, gain), gain


def _expect_sample(sample: Sample, bands: list[Any]) -> None:
    """Refuse pixels that cannot be trained on, and say which bands are to blame."""
    empty = [band for band, finite in zip(bands, sample.finite, strict=True) if not finite]
    some = sample.valid or (int(sample.finite.max()) if empty else 0)
    expect_values(count_valid=some, count_inf=sample.infinite, all_nan_bands=empty)


def _expect_settings(consistency: str, device: str, seed: int) -> None:
    if consistency not in get_args(Consistency):
        expected = ", ".join(map(repr, get_args(Consistency)))
        raise ValueError(f"consistency is {consistency!r}; expected one of {expected}")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise ValueError(
            f"seed is {seed!r}; expected a whole number from 0 to {2**32 - 1}. Use seed=0"
        )
    _expect_device(device)


def _expect_both(
    consistency: str, msi: Any, psf: npt.ArrayLike | None
) -> npt.NDArray[np.float64] | None:
    """Refuse ``"both"`` without a mosaic, and a PSF that nobody asks for."""
    if consistency == "both" and msi is None:
        raise ValueError(
            "consistency='both' compares the cube with the mosaic, and msi is None; expected the "
            "mosaic. Pass fit(hsi, srf, msi=msi, consistency='both'), or consistency='msi'"
        )
    if psf is None:
        return None
    if consistency != "both":
        raise ValueError(
            f"psf is for consistency='both', and consistency is {consistency!r}. "
            "Pass both, or neither"
        )
    return expect_kernel(psf)


def _expect_device(device: str) -> None:
    """Refuse an unknown device, and one this process lacks if this process is to compute."""
    if device not in DEVICES or find_client() is None:
        find_device(device)


def _count(method: Method) -> int | None:
    return None if method.whole_image else TRAINING_PIXELS


def _response(
    srf: Any, cube: xr.DataArray, mosaic: xr.DataArray | None, bad_bands: BadBands
) -> responses.SRF:
    """The response of the MSI's sensor: given, or estimated from the pair."""
    if mosaic is not None:
        given = estimate_srf(cube, mosaic, bad_bands=bad_bands) if srf is None else srf
        return responses.match_bands(responses.SRF.of(given), mosaic)
    if srf is None:
        raise SpectralError(
            "srf is None and so is msi; expected the response of the MSI's sensor, or the MSI to "
            "estimate it from. Use fit(hsi, 'sentinel-2a') or fit(hsi, msi=msi)"
        )
    return responses.SRF.of(srf)


def _expect_comparable(mosaic: xr.DataArray | None, msi_lr: xr.DataArray, harmonize: str) -> None:
    """Refuse, before the training, a comparison that could not be made after it."""
    if mosaic is not None:
        expect_comparable(mosaic, msi_lr, method=harmonize)
    elif harmonize not in ("auto", "none"):
        raise ValueError(
            f"harmonize={harmonize!r} compares the MSI with the HSI, and msi is None. "
            "Pass fit(hsi, srf, msi=msi), or harmonize='none'"
        )


def _expect_bands(matrix: xr.DataArray, chosen: Method, method: str) -> None:
    """Refuse one band where a method is not built for it; warn of it where it says little."""
    if matrix.sizes["msi_band"] < chosen.fewest_bands:
        raise SpectralError(
            f"method is {method!r} and the MSI has one band; expected {chosen.fewest_bands} or "
            "more, because the published way with one band is not built here. Use method='morph'"
        )
    if matrix.sizes["msi_band"] == 1:
        warnings.warn(
            f"the MSI has one band: it tells brightness, not colour, and method={method!r} has "
            "nothing else to go by; expect the mean spectrum at every brightness. "
            "Use method='morph', which has the cube beside it, where both lie on one grid",
            UserWarning,
            stacklevel=4,
        )


def _assemble(
    cube: xr.DataArray,
    matrix: xr.DataArray,
    radiometry: Harmonization,
    trained: Mapping[str, Any],
    about: dict[str, Any],
) -> Model:
    """Put the fitted value together: arrays in one place, everything else as JSON."""
    network: DenseNetwork | Mixture | BackProjection = trained["network"]
    trust: Trust = trained["trust"]
    if radiometry is not IDENTITY:
        network = network.after(radiometry.gain, radiometry.offset)
        trust = trust.after(radiometry.gain, radiometry.offset)
    arrays, told = fitted_parts(network)
    arrays |= {f"trust.{name}": array for name, array in trust.arrays().items()}
    for name in ("wavelength", "fwhm"):
        if name in cube.coords:
            arrays[name] = cube[name].to_numpy().astype("float64")
    arrays |= {"srf": matrix.to_numpy().astype("float64"), "range": trained["range"]}
    about = about | {
        **told,
        "units": cube.attrs.get("units"),
        "bands": cube["band"].to_numpy().tolist(),
        "good": _good(cube),
        "radiometry": {
            name: np.broadcast_to(each, len(matrix)).tolist()
            for name, each in (("gain", radiometry.gain), ("offset", radiometry.offset))
        },
        "msi_bands": [str(band) for band in matrix["msi_band"].to_numpy()],
        "history": trained["history"],
        "versions": {name: version(name) for name in ("lift-xr", "numpy", "torch")},
    }
    return Model(arrays, json.loads(json.dumps(about)))


def _good(cube: xr.DataArray) -> list[bool] | None:
    if "good_wavelength" not in cube.coords:
        return None
    return [bool(flag) for flag in cube["good_wavelength"].to_numpy()]


def _expect_small_blocks(mosaic: xr.DataArray, model: Model) -> None:
    """Refuse blocks that no worker can hold once they are lifted."""
    rows, columns = (max(mosaic.chunksizes[axis]) for axis in ("y", "x"))
    lifted = rows * columns * model.bands * np.dtype("float32").itemsize
    if lifted > GREATEST_BLOCK:
        raise LayoutError(
            f"a block of msi is {rows} x {columns} pixels, {lifted / 2**30:.0f} GiB once it has "
            f"{model.bands} bands; expected at most {GREATEST_BLOCK / 2**30:.0f} GiB. "
            f"Use msi = msi.chunk(y={BLOCK}, x={BLOCK})"
        )


def _warn_of_units(mosaic: xr.DataArray, model: Model) -> None:
    """Speak up where numbers of unknown units meet a model that knows no other sensor."""
    units, found = model.about["units"], mosaic.attrs.get("units")
    if model.about["alone"] and units == "1" and found != units:
        told = "no units" if found is None else f"units {found!r}"
        warnings.warn(
            f"msi has {told}, and the model was fitted in reflectance (units '1') without an MSI "
            "to compare with; expected reflectance. If it is, set msi.attrs['units'] = '1'; if "
            "not, fit with the mosaic: fit(hsi, srf, msi=msi)",
            UserWarning,
            stacklevel=4,
        )


def _in_model_order(mosaic: xr.DataArray, model: Model) -> xr.DataArray:
    """Check the mosaic's bands against the model's; same names in another order are put right."""
    names, found = list(model.about["msi_bands"]), mosaic["band"].to_numpy().tolist()
    if len(found) != len(names):
        raise SpectralError(
            f"msi has {len(found)} bands {found}, but the model was trained for {len(names)}: "
            f"{names}. Use msi = msi.isel(band=[...]) with the bands that match, in this order"
        )
    lowered = [str(band).casefold() for band in found]
    wanted = [name.casefold() for name in names]
    if lowered != wanted and sorted(lowered) == sorted(wanted):
        return mosaic.isel(band=[lowered.index(name) for name in wanted])
    return mosaic


def label(lifted: Any, mosaic: xr.DataArray, model: Model) -> xr.DataArray:
    """Give the lifted array its bands, grid, units and history back."""
    fused = in_place_of(mosaic, lifted, along_bands(model)).rename("reflectance")
    return fused.assign_attrs(provenance(model))


def in_place_of(mosaic: xr.DataArray, lifted: Any, coords: Mapping[Any, Any]) -> xr.DataArray:
    """Label what was lifted with the grid and times of its mosaic, and other bands."""
    kept = {name: coord for name, coord in mosaic.coords.items() if "band" not in coord.dims}
    placed = xr.DataArray(lifted, dims=mosaic.dims, coords={**kept, **coords})
    if "spatial_ref" in placed.coords:
        placed.encoding["grid_mapping"] = "spatial_ref"
    return placed


def along_bands(model: Model) -> dict[Any, Any]:
    """Coordinates of the bands a model produces."""
    about = model.about
    coords: dict[Any, Any] = {"band": about["bands"]}
    for name in ("wavelength", "fwhm"):
        if name in model.arrays:
            coords[name] = ("band", model.arrays[name], {"units": "nm"})
    if about["good"] is not None:
        coords["good_wavelength"] = ("band", about["good"])
    return coords


def provenance(model: Model) -> dict[str, Any]:
    """How a result came about, for its attributes."""
    about = model.about
    told = {
        "units": about["units"],
        "lift_xr_version": about["versions"]["lift-xr"],
        "lift_xr_method": about["method"],
        "lift_xr_consistency": about["consistency"],
        "lift_xr_harmonize": about["harmonize"],
        "lift_xr_seed": about["seed"],
        "lift_xr_model": model.digest,
        "lift_xr_range": [float(limit) for limit in model.arrays["range"]],
    }
    return {name: value for name, value in told.items() if value is not None}
