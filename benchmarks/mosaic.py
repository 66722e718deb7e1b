"""A made-up mosaic, the model that lifts it and the store it goes to: what the large runs share."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import xarray as xr
import zarr
from costs import Costs, measured
from discarding import Discarding

import lift_xr
from lift_xr.plan import Pass, passes_of

CUBE_SHARD = 256
TILE = 512  # pixels; a common edge of the tiles of mosaics, and not of their shards
PAINTED = 4 * TILE  # pixels painted together
LEVELS_DROPPED = {"pyramid": 1, "sample": 2}
Index = tuple[int, ...]


@dataclass(frozen=True)
class Job:
    """What to fuse and where to write it; travels to the processes that do it.

    Parameters
    ----------
    shape, ratio, shard
        Of the mosaic in pixels, of the pixel sizes, of a shard in pixels.
    method
        As ``lift_xr.fit`` has it.
    threads
        Tasks at once; None leaves it to the scheduler in charge.
    store
        A folder; the model, the cube and the notes of the run are files beside it.
    keep
        ``"all"``, or what is not dropped once it is checked: ``"pyramid"`` drops full resolution,
        ``"sample"`` the first overview too.
    fitted
        A model's file, where it is not the store's own.
    file
        A mosaic that was written by ``write_mosaic``; without one, pixels are painted where they
        are read, which costs about as much as lifting them.
    checked
        Whether what is dropped is read back and compared first.
    """

    shape: tuple[int, int]
    ratio: int
    method: str
    shard: int
    threads: int | None
    store: Path
    keep: str = "all"
    fitted: Path | None = None
    file: Path | None = None
    checked: bool = True

    def scene(self) -> lift_xr.synthetic.Scene:
        """The two inputs, lazy; mosaic pixels are painted where they are read."""
        return lift_xr.synthetic.scene(self.shape, self.ratio, block=self.shard)

    def msi(self) -> xr.DataArray:
        """The mosaic, lazy: from its file, if it has one."""
        return self.scene().msi if self.file is None else lift_xr.open_scene(self.file)

    def fused(self) -> xr.DataArray:
        """The result, lazy."""
        return lift_xr.predict(lift_xr.load_model(self.model), self.msi(), device="cpu")

    def target(self) -> Any:
        """Where to write: a folder, or one that drops what it has checked."""
        if self.keep == "all":
            return self.store
        dropped = tuple(f"{level}/reflectance" for level in range(LEVELS_DROPPED[self.keep]))
        return Discarding(self.store, dropped=dropped, checked=self.checked)

    def in_threads(self) -> AbstractContextManager[Any]:
        """Run tasks as threads of this process, so many at once."""
        if self.threads is None:
            return nullcontext()
        return dask.config.set(scheduler="threads", num_workers=self.threads)

    def write(self, store: Any = None, **how: Any) -> Costs:
        """Fuse and write, in this process; to ``target()``, if not told otherwise."""
        store = self.target() if store is None else store
        with self.in_threads():
            fused = self.fused()
            return measured(
                lambda: lift_xr.write_zarr(fused, store, shard=self.shard, progress=False, **how)
            )[1]

    @property
    def first_pass(self) -> Pass:
        """How full resolution is cut; the number of bands does not matter here."""
        return passes_of((1, *self.shape), "uint16", shard=self.shard)[0]

    @property
    def megapixels(self) -> float:
        """Of the mosaic."""
        return self.shape[0] * self.shape[1] / 1e6

    @property
    def model(self) -> Path:
        """The fitted model's file."""
        return self.fitted or self.beside(".lift")

    @property
    def cube(self) -> Path:
        """The cube's store."""
        return self.beside("-hsi.zarr")

    def beside(self, ending: str) -> Path:
        """A file or folder next to the store."""
        return self.store.with_name(self.store.stem + ending)


def write_mosaic(job: Job, *, only: list[Index] | None = None) -> None:
    """The mosaic as a person would have it: bytes in tiles, in a Zarr store; once, and kept.

    With ``only``, the tiles under these shards and no others.
    """
    assert job.file is not None
    if job.file.exists():
        return
    msi = lift_xr.synthetic.scene(job.shape, job.ratio, block=PAINTED).msi
    msi = msi.assign_coords(band=msi["band"].astype(object))  # text of any length
    tiles = (msi.sizes["band"], *(min(TILE, size) for size in job.shape))
    job.file.parent.mkdir(parents=True, exist_ok=True)
    partial = job.file.with_suffix(".partial")
    how: Any = {"mode": "w", "consolidated": False, "encoding": {"msi": {"chunks": tiles}}}
    with job.in_threads():
        msi.to_dataset(name="msi").to_zarr(partial, compute=only is None, **how)
        if only is not None:
            _paint(job, msi, zarr.open_array(partial, path="msi", mode="r+"), only)
    partial.rename(job.file)


def _paint(job: Job, msi: xr.DataArray, array: Any, indices: list[Index]) -> None:
    """Fill the tiles under some shards."""
    for index in indices:
        window: list[slice] = [slice(None)]
        for (start, stop), size in zip(job_window(job, index), job.shape, strict=True):
            window.append(slice(start // TILE * TILE, min(-(-stop // TILE) * TILE, size)))
        array[tuple(window)] = msi.data[tuple(window)].compute()


def job_window(job: Job, index: Index) -> list[tuple[int, int]]:
    """The rows and the columns of one shard: where they begin and end."""
    return [
        (place * job.shard, min((place + 1) * job.shard, size))
        for place, size in zip(index[-2:], job.shape, strict=True)
    ]


def write_cube(job: Job) -> Costs:
    """The whole cube, as the file a person would have; resumable like any other run."""
    with job.in_threads():
        cube = job.scene().hsi
        return measured(
            lambda: lift_xr.write_zarr(
                cube, job.cube, dtype="float32", shard=CUBE_SHARD, resume=True, progress=False
            )
        )[1]


def fit_on_cube(job: Job) -> Costs:
    """The model, from the cube's file."""
    with job.in_threads():
        return measured(lambda: _fit(job, lift_xr.open_scene(job.cube)))[1]


def fit_on_part(job: Job, cells: int) -> Costs:
    """The model, from the middle of the cube, painted for it."""
    cube = job.scene().hsi
    middle = {
        dim: slice(max(0, (cube.sizes[dim] - cells) // 2), (cube.sizes[dim] + cells) // 2)
        for dim in ("y", "x")
    }
    with job.in_threads():
        part = cube.isel(middle).load()
        return measured(lambda: _fit(job, part))[1]


def _fit(job: Job, cube: xr.DataArray) -> None:
    model = lift_xr.fit(cube, job.scene().srf, method=job.method, device="cpu", progress=False)
    model.save(job.model)
