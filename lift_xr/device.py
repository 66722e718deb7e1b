"""Find the accelerator, without waking torch where there is none."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

DEVICES = ("auto", "cpu", "cuda")


def find_device(asked: str = "auto") -> str:
    """The kind of device to compute on, ``"cpu"`` or ``"cuda"``.

    Parameters
    ----------
    asked
        ``"auto"`` takes CUDA where this process has a usable device, else the CPU. ``"cuda"``
        insists and ``"cpu"`` declines.

    Raises
    ------
    ValueError
        For another word, or for ``"cuda"`` where there is none.
    """
    if asked not in DEVICES:
        raise ValueError(f"device is {asked!r}; expected one of {', '.join(map(repr, DEVICES))}")
    if asked == "cpu":
        return "cpu"
    if _cuda_works():
        return "cuda"
    if asked == "cuda":
        raise ValueError(
            "device='cuda' was asked for, but this process sees no CUDA device; "
            "pass device='auto' to fall back to the CPU"
        )
    return "cpu"


@lru_cache(maxsize=1)
def _cuda_works() -> bool:
    """Ask torch only where a driver is present: importing it costs seconds and 200 MB a worker."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "all") in ("", "-1")
    if hidden or not (Path("/dev/nvidia0").exists() or Path("/dev/nvidiactl").exists()):
        return False
    import torch

    return bool(torch.cuda.is_available())
