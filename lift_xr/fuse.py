"""fit, predict, fuse: train once on the whole cube, lift every block of the mosaic."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import xarray as xr

from lift_xr.agreement import agreeing, told_of_mosaic
from lift_xr.blocks import lift_blocks
from lift_xr.fitted import assemble
from lift_xr.given import Consistency, Given, Scene, expect_agreeing, expect_settings
from lift_xr.label import label
from lift_xr.learn import learn
from lift_xr.models import Model, MorphRecipe, expect_method, name_of
from lift_xr.mosaic import prepare
from lift_xr.pair import Pair, matched
from lift_xr.scene import BLOCK, BadBands, expect_msi
from lift_xr.workers import expect_worker, find_client


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

    ``predict(fit(hsi, srf, msi=msi, ...), msi)``: trains now, lifts when asked for values. Seen
    through the response, the result equals the mosaic up to its noise: noise of 40 dB is assumed.

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
        but for ``consistency="none"``; ``about["mosaic"]`` of the model says whether, and if not,
        why. One acquisition.
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
        noise: noise of 40 dB is assumed, that far below the signal in each band, and none is
        measured; a mosaic with more of it is followed into its noise, all but a tenth of which is
        met where the cube has many bands for its cells, as its own noise is taken from the answer
        then. ``"both"`` also makes it
        agree with the cube at the cube's own resolution, which needs ``msi``, on a grid of which
        each cell is a whole number of pixels, and ``hsi`` again in :func:`predict`.
        ``"none"`` leaves the network's answer. ``"sin-paper"`` and ``"morph-paper"`` have none, as
        published, where ``"msi"`` is asked too, and refuse ``"both"``.
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
    LayoutError
        A cluster that has no worker for ten minutes, or what dask's setting
        ``lift_xr.wait-for-workers`` says.
    ValueError
        An unknown method, consistency or device; ``"both"`` without ``msi``, or of a published
        baseline.

    Warns
    -----
    UserWarning
        For ``"both"``, where the cells of the cube do not predict one another through the point
        spread any better than the network does: the model is one of ``"msi"`` then, trained as long
        as one of ``"both"``, and its ``about["agreement"]`` says why.

    Notes
    -----
    Training inputs are :math:`R y` and targets :math:`y` for pixels :math:`y` of the cube, with
    :math:`R` the response sampled on its bands; the fitted map is applied to the mosaic (Shah and
    others, SpectraLift, arXiv 2507.13339). The coarse pixels are mixtures, and the mosaic's lie
    beyond them: so ``sin`` is trained in rounds, each but the first on pixels :math:`m` of the
    mosaic too, whose targets are the last round's answers after a step of back-projection towards
    the cells of the cube, as ``consistency="both"`` takes it.

    A network of few pixels, ten or fewer for each band of 40 or more, learns the noise of the cube.
    With a consistency, the answer of ``sin`` and ``linear`` is taken to the components in which the
    cube exceeds its noise, and made to obey the MSI again.
    """
    chosen, name = expect_method(method), name_of(method)
    kernel = expect_settings(consistency, msi=msi, psf=psf, device=device, seed=seed)
    expect_agreeing(chosen, name, consistency)
    given = Given.of(hsi, srf, msi, bad_bands=bad_bands)
    given.expect_comparable(harmonize)
    projected = consistency != "none" and chosen.projects
    both = consistency == "both"
    if both:
        given.expect_aligned()
    given.expect_bands(chosen, name)
    expect_worker(find_client())
    learns = projected and bool(chosen.training)
    pair = Pair.of(given, harmonize, learns=learns, agrees=both, psf=kernel)
    trained = learn(
        given,
        pair.even(given.cube),
        method=method,
        projected=projected,
        overlay=pair.overlay,
        long=both,
        seed=int(seed),
        device=device,
        progress=progress,
    )
    # Else after the training, which has looked at the cube's pixels and says what is wrong there.
    radiometry = pair.radiometry or matched(given, harmonize)
    about = {
        "method": name,
        "consistency": "msi" if projected else "none",
        "harmonize": radiometry.describe(),
        "alone": msi is None,  # fitted without an MSI
        "seed": int(seed),
        "srf": given.response.digest,
        **told_of_mosaic(pair.to_learn, trained),
    }
    if pair.to_agree is not None:
        trained, agreement = agreeing(pair.to_agree, trained, given.matrix.to_numpy())
        about |= agreement
    return assemble(given, radiometry, trained, about)


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
