"""What fusion must beat: the cube alone, upsampled to the mosaic's grid."""

from __future__ import annotations

from functools import partial

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr

from lift_xr.grid import Grid, expect_overlap, expect_same_crs
from lift_xr.scene import cells, expect_hsi, expect_msi
from lift_xr.threads import one_blas_thread

SHARPNESS = -0.5  # Keys' a: the cubic that is exact for quadratics, as in PIL and MATLAB


def bicubic(hsi: xr.DataArray | xr.Dataset, msi: xr.DataArray | xr.Dataset) -> xr.DataArray:
    r"""Interpolate a cube between its pixel centres, on the grid of a mosaic.

    Parameters
    ----------
    hsi : (band, y, x)
        The cube.
    msi : (..., y, x)
        Gives the grid and the blocks; its pixels are not looked at. Any ratio will do.

    Returns
    -------
    (band, y, x), float32
        Lazy, one task a block and one for the part of the cube that it needs. NaN outside the cube,
        and wherever one of the 4 x 4 pixels around is NaN.

    Raises
    ------
    GridError
        Grids that share no ground.

    Notes
    -----
    Cubic convolution with :math:`a = -1/2` (Keys 1981, doi 10.1109/TASSP.1981.1163711); beyond the
    outermost centres the edge is repeated.

    Examples
    --------
    >>> import lift_xr
    >>> scene = lift_xr.synthetic.scene(shape=(320, 320), ratio=20)
    >>> bicubic(scene.hsi, scene.msi).sizes
    Frozen({'band': 50, 'y': 320, 'x': 320})
    """
    cube, mosaic = expect_hsi(hsi), expect_msi(msi)
    expect_same_crs(cube, mosaic)
    expect_overlap(cube, mosaic)
    *_, rows, columns = mosaic.data.chunks
    data = upsample(cube.data, *_positions(cube, mosaic), chunks=(rows, columns))
    along_band = {name: coord for name, coord in cube.coords.items() if coord.dims == ("band",)}
    grid = {name: mosaic[name] for name in ("y", "x", "spatial_ref") if name in mosaic.coords}
    upsampled = xr.DataArray(
        data, dims=("band", "y", "x"), coords={**along_band, **grid}, attrs=cube.attrs
    )
    inside = [place >= 0 for place in cells(cube, mosaic)]
    if all(each.all() for each in inside):
        return upsampled
    return upsampled.where(xr.DataArray(np.logical_and.outer(*inside), dims=("y", "x")))


def upsample(
    cube: da.Array,
    rows: npt.NDArray[np.float64],
    columns: npt.NDArray[np.float64],
    *,
    chunks: tuple[tuple[int, ...], tuple[int, ...]],
) -> da.Array:
    """Interpolate at ``rows`` x ``columns``, places counted in pixels of the cube from 0."""
    strips = [_pieces(place, sizes) for place, sizes in zip((rows, columns), chunks, strict=True)]
    blocks = [[[_block(cube, down, along) for along in strips[1]] for down in strips[0]]]
    return da.block(blocks)


def _positions(
    cube: xr.DataArray, mosaic: xr.DataArray
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Find the mosaic's pixel centres on the cube's axes, in cube pixels."""
    coarse, fine = Grid.of(cube, name="hsi"), Grid.of(mosaic, name="msi")
    y = fine.top + fine.dy * (np.arange(fine.height, dtype="float64") + 0.5)
    x = fine.left + fine.dx * (np.arange(fine.width, dtype="float64") + 0.5)
    return (y - coarse.top) / coarse.dy - 0.5, (x - coarse.left) / coarse.dx - 0.5


def _pieces(
    places: npt.NDArray[np.float64], sizes: tuple[int, ...]
) -> list[npt.NDArray[np.float64]]:
    return np.split(places, np.cumsum(sizes)[:-1])


def _block(
    cube: da.Array, rows: npt.NDArray[np.float64], columns: npt.NDArray[np.float64]
) -> da.Array:
    """One block of the result, from the window of the cube around it."""
    down, along = (
        _window(place, size) for place, size in zip((rows, columns), cube.shape[1:], strict=True)
    )
    window = cube[:, down, along].rechunk(-1)
    return window.map_blocks(
        partial(interpolate, rows=rows - down.start, columns=columns - along.start),
        chunks=(cube.shape[0], len(rows), len(columns)),
        dtype="float32",
        meta=np.empty((0, 0, 0), "float32"),
    )


def _window(places: npt.NDArray[np.float64], size: int) -> slice:
    """The pixels that any place needs; at least one, where all lie outside."""
    first = int(np.clip(np.floor(places.min()) - 1, 0, size - 1))
    last = int(np.clip(np.floor(places.max()) + 2, 0, size - 1))
    return slice(first, last + 1)


def interpolate(
    window: npt.NDArray[np.float32],
    *,
    rows: npt.NDArray[np.float64],
    columns: npt.NDArray[np.float64],
) -> npt.NDArray[np.float32]:
    """Interpolate (band, y, x) at every row and column asked for."""
    down, along = (
        weights(place, size) for place, size in zip((rows, columns), window.shape[1:], strict=True)
    )
    # 0 * NaN is NaN: a hole would blank whole rows of the product, not only its surroundings.
    holes = np.isnan(window)
    with one_blas_thread():
        filled = down @ np.where(holes, np.float32(0), window) @ along.T  # (band, row, column)
        if not holes.any():
            return filled
        near = (down != 0).astype("float32") @ holes.astype("float32") @ (along != 0).T
    return np.where(near > 0, np.float32(np.nan), filled)


def weights(places: npt.NDArray[np.float64], size: int) -> npt.NDArray[np.float32]:
    """Weigh the pixels of one axis for every place: (place, pixel), rows summing to one."""
    a, base = SHARPNESS, np.floor(places)
    found = np.zeros((len(places), size))
    for step in (-1, 0, 1, 2):
        far = np.abs(places - base - step)
        inner = ((a + 2) * far - (a + 3)) * far**2 + 1
        outer = a * (((far - 5) * far + 8) * far - 4)
        pixel = np.clip(base + step, 0, size - 1).astype("int64")
        np.add.at(found, (np.arange(len(places)), pixel), np.where(far <= 1, inner, outer))
    return found.astype("float32")
