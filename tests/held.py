"""What waits in memory while dask computes, counted in blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
from dask.callbacks import Callback


class Stored:
    """An array that is read where it is sliced."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape, self.dtype, self.ndim = values, values.shape, values.dtype, 3

    def __getitem__(self, index: Any) -> np.ndarray:
        return self.values[index].copy()


class Held(Callback):
    """The most blocks of that many bytes, or larger ones, that waited between two tasks."""

    def __init__(self, block: int) -> None:
        super().__init__()
        self.block, self.most = block, 0

    def _posttask(self, key: Any, result: Any, dsk: Any, state: Any, worker: Any) -> None:
        sizes = [getattr(each, "nbytes", 0) for each in state["cache"].values()]
        self.most = max(self.most, sum(each >= self.block for each in sizes))
