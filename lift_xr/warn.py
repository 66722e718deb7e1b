"""Warnings that point at the line of whoever called lift_xr, however deep they come up."""

from __future__ import annotations

import os
import sys
import warnings

HERE = os.path.join(os.path.dirname(__file__), "")


def warn_user(message: str) -> None:
    """Warn at the innermost line that is not ours."""
    warnings.warn(message, UserWarning, stacklevel=_levels_to_the_caller())


def _levels_to_the_caller() -> int:
    """Count frames from ``warn_user``, 1, outwards; the outermost where all are ours."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(HERE):
        level, frame = level + 1, frame.f_back
    return level
