"""How far to trust each pixel of a lifted scene: its distance from the cube, its likely error."""

from __future__ import annotations

from typing import Any

import dask
import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize

from lift_xr.errors import LayoutError
from lift_xr.label import label
from lift_xr.models import Model
from lift_xr.models.trust import COVERAGE
from lift_xr.mosaic import mosaic_for
from lift_xr.scene import BLOCK

ERROR = "expected_error"
LAYERS = (ERROR, "distance", "extrapolated")


def uncertainty(model: Model, msi: xr.DataArray | xr.Dataset, *, block: int = BLOCK) -> xr.Dataset:
    r"""Tell how far each pixel lies from those of the cube, and what error to expect of it.

    Parameters
    ----------
    model, msi, block
        As :func:`predict` takes them.

    Returns
    -------
    Dataset
        Lazy, on the grid of ``msi``; NaN where ``msi`` has no data.

        ``expected_error`` (band, y, x), float32: half the width of the interval around the lifted
        value that is meant to hold the true one in 90 % of cases, in the units of the model.

        ``distance`` (y, x), float32: how far the MSI pixel lies from the nearest of the pixels of
        the cube that the model was fitted on, each seen through the response; of more than 2,048,
        so many are drawn. Up to 1, they lie that far from each other, but for one in a hundred.
        Pixels of the mosaic that ``"sin"`` learnt from as well do not count.

        ``extrapolated`` (y, x), bool: whether ``distance`` is above 1: colours that the cube does
        not show, where the answer is a guess. False where ``msi`` has no data.

    Raises
    ------
    ValueError
        When the model was made by a version that did not measure its errors.
    GridError, SpectralError, LayoutError
        As :func:`predict` does.

    Notes
    -----
    The errors are measured in ``fit`` on spectra beyond the training pixels, whose answers are
    known but for the noise of the cube, and depend on the distance: see
    :func:`lift_xr.models.trust.calibrate`. Where ``"sin"`` was given the mosaic, on one grid, that
    noise is not counted, and how far the answer stays from the mosaic's own bands says by how much
    more it errs there. Without that, the noise stays in, which makes the interval too wide where
    the cube is noisy, and it is too narrow where the mosaic shows what is finer than any mixture
    of cells. They know nothing of what neither shows: two materials of one colour, an MSI that is
    out of place. 90 % holds of all bands together, and less of the noisiest. Seamless, as the
    lifted scene is: a pixel's numbers depend on the pixel alone. With ``consistency="both"`` they
    are those before the cube is looked at again; of the errors after it they hold about as many.
    They are also those before the noise that a network of few pixels learnt is taken from its
    answer.

    ``told.to_zarr(store)`` writes all three, a block at a time. One of them with overviews, in
    shards that can be resumed: ``write_zarr(told["expected_error"], store, dtype="float32")``.
    That is what ``lift-xr fuse --uncertainty`` writes, so ``extrapolated`` is here alone. The flag
    ``outside_training_range`` that a store of the lifted scene has in ``quality/flags`` is another
    one: it marks pixels with lifted values outside the range of the cube's, whatever the colours.

    Examples
    --------
    >>> import lift_xr
    >>> scene = lift_xr.synthetic.scene(shape=(320, 320), ratio=20)
    >>> model = lift_xr.fit(scene.hsi, scene.srf, method="linear")
    >>> told = lift_xr.uncertainty(model, scene.msi)
    >>> sorted(told.data_vars)
    ['distance', 'expected_error', 'extrapolated']
    >>> trusted = lift_xr.predict(model, scene.msi).where(~told.extrapolated)
    """
    _expect_measured(model)
    mosaic = mosaic_for(model, msi, block=block)
    distance = _distance(mosaic.data, model)
    error = label(_error(distance, model), mosaic, model)
    del error.attrs["lift_xr_range"]  # of the cube's values: a store would flag errors beyond it
    error.attrs |= {"long_name": f"half width of the {COVERAGE:.0%} interval"}
    flat = {name: each for name, each in error.coords.items() if "band" not in each.dims}
    dims = [dim for dim in mosaic.dims if dim != "band"]
    attrs = {"long_name": "distance from the nearest pixel of the cube", "units": "1"}
    apart = xr.DataArray(distance, flat, dims, attrs=attrs)
    beyond = (apart > 1).drop_attrs().assign_attrs(long_name="colours that the cube does not show")
    return xr.Dataset({ERROR: error, "distance": apart, "extrapolated": beyond})


def expect_no_layers(fused: Any) -> Any:
    """Refuse all layers of :func:`uncertainty` where one scene is asked for."""
    if isinstance(fused, xr.Dataset) and {*LAYERS} <= {*fused.data_vars}:
        raise LayoutError(
            f"fused has the layers of uncertainty, {', '.join(LAYERS)}; expected one scene. Use "
            f"fused.to_zarr(store) for all of them, or write_zarr(fused[{ERROR!r}], store, "
            "dtype='float32') for one"
        )
    return fused


def _expect_measured(model: Model) -> None:
    if "trust.edge" not in model.arrays:
        raise ValueError(
            f"the model {model.digest[:12]} does not say what errors to expect; expected one "
            "fitted by this version. Fit it again: lift_xr.fit(hsi, srf)"
        )


def _distance(msi: da.Array, model: Model) -> da.Array:
    axis = msi.ndim - 3
    found: da.Array = da.map_blocks(
        _distance_of_block,
        msi,
        model=dask.delayed(model, pure=True),
        drop_axis=axis,
        dtype="float32",
        meta=np.empty((0,) * (msi.ndim - 1), "float32"),
        name=f"distance-{tokenize(msi, model)}",
    )
    return found


def _distance_of_block(block: Any, *, model: Model) -> Any:
    images = block.reshape(-1, *block.shape[-3:])
    found = np.stack([model.trust.distance(image) for image in images])
    return found.reshape(*block.shape[:-3], *block.shape[-2:])


def _error(distance: da.Array, model: Model) -> da.Array:
    axis = distance.ndim - 2
    found: da.Array = da.map_blocks(
        _error_of_block,
        distance,
        model=dask.delayed(model, pure=True),
        new_axis=axis,
        chunks=(*distance.chunks[:-2], (model.bands,), *distance.chunks[-2:]),
        dtype="float32",
        meta=np.empty((0,) * (distance.ndim + 1), "float32"),
        name=f"expected-error-{tokenize(distance.name, model)}",
    )
    return found


def _error_of_block(distance: Any, *, model: Model) -> Any:
    images = distance.reshape(-1, *distance.shape[-2:])
    found = np.stack([model.trust.error(image) for image in images])
    return found.reshape(*distance.shape[:-2], *found.shape[1:])
