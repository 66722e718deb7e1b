"""The steps of a task, each by itself on as many blocks at once as a run had threads."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import zarr
from costs import cpu_seconds
from mosaic import Job, job_window

import lift_xr
from lift_xr.blocks import lifted_from
from lift_xr.encode import encode_block
from lift_xr.io.codecs import one_codec_at_a_time
from lift_xr.overview import halve
from lift_xr.packing import Packing
from lift_xr.windows import windows

STEPS = ("read", "maths", "quantise", "halve", "checksum", "codec and I/O")
Index = tuple[int, ...]


class Steps:
    """The steps, and the arrays of a store that a run has written, to write them again.

    ``wall`` and ``cpu`` have what every step took for all blocks: seconds.
    """

    def __init__(self, job: Job, store: Path) -> None:
        self.job, self.model = job, lift_xr.load_model(job.model)
        lifted = lifted_from(job.fused().data)
        assert lifted is not None
        self.msi = lifted.msi
        group: Any = zarr.open_group(store, mode="r+")
        count = len(job.first_pass.layouts)
        self.levels = [group[f"{level}/reflectance"] for level in range(count)]
        self.flags = group["quality/flags"]
        attrs = self.levels[0].attrs
        self.packing = Packing(np.dtype("uint16"), attrs["scale_factor"], attrs["add_offset"])
        self.wall, self.cpu = dict.fromkeys(STEPS, 0.0), dict.fromkeys(STEPS, 0.0)

    def run(self, indices: list[Index]) -> Steps:
        """Take all blocks through all steps, as many at once as the run had threads."""
        at_once = self.job.threads
        with ThreadPoolExecutor(at_once) as pool, one_codec_at_a_time():
            for start in range(0, len(indices), at_once):
                self._batch(pool, indices[start : start + at_once])
        return self

    def _batch(self, pool: ThreadPoolExecutor, indices: list[Index]) -> None:
        def step(name: str, work: Callable[..., Any], *each: Any) -> list[Any]:
            start, cpu = time.perf_counter(), cpu_seconds()
            done = [*pool.map(work, *each)]
            self.wall[name] += time.perf_counter() - start
            self.cpu[name] += cpu_seconds() - cpu
            return done

        blocks = step("read", self._read, indices)
        lifted = step("maths", lambda block: self.model(block, "cpu"), blocks)
        encoded = step("quantise", lambda block: encode_block(block, self.packing), lifted)
        del blocks, lifted
        pyramids = step("halve", lambda each: self._pyramid(each.codes), encoded)
        flags = [each.flags for each in encoded]
        step("checksum", _sum_up, pyramids)
        step("codec and I/O", self._write, indices, pyramids, flags)

    def _read(self, index: Index) -> np.ndarray:
        rows, columns = job_window(self.job, index)
        return windows(self.msi, (rows,), (columns,)).compute(scheduler="synchronous")

    def _pyramid(self, codes: np.ndarray) -> list[np.ndarray]:
        levels = [codes]
        while len(levels) < len(self.levels):
            levels.append(halve(levels[-1], self.packing))
        return levels

    def _write(self, index: Index, levels: list[np.ndarray], flags: np.ndarray) -> None:
        for array, values in zip([*self.levels, self.flags], [*levels, flags], strict=True):
            edges = (array.shards or array.chunks)[-2:]
            starts = [place * edge for place, edge in zip(index[-2:], edges, strict=True)]
            window = [
                slice(at, at + size) for at, size in zip(starts, values.shape[-2:], strict=True)
            ]
            array[(..., *window)] = values


def _sum_up(levels: list[np.ndarray]) -> list[int]:
    return [crc32(np.ascontiguousarray(level)) for level in levels]
