"""The way to the real scenes and the published figures, which are not part of this repository.

Results go to ``benchmarks/results``, or to ``LIFT_XR_RESULTS``.
"""

from __future__ import annotations

import csv
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve().parent
RESULTS = Path(os.environ.get("LIFT_XR_RESULTS", HERE / "results"))


def data_folder() -> Path:
    """Where the scenes lie: ``LIFT_XR_DATA``, or ``shared/data`` beside the repository."""
    folder = Path(os.environ.get("LIFT_XR_DATA", HERE.parents[1] / "shared" / "data"))
    if not (folder / "scenes.py").exists():
        sys.exit(f"the real scenes are not in {folder}: set LIFT_XR_DATA to their folder")
    return folder


def scenes() -> ModuleType:
    """The loader beside the scenes: ``names``, ``load``, ``pairs``, ``load_pair``."""
    spec = importlib.util.spec_from_file_location("scenes", data_folder() / "scenes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def published_figures(name: str) -> list[dict[str, str]]:
    """Rows of one table of figures of the published code."""
    path = data_folder().parent / "notes" / "reference_results" / f"{name}.csv"
    if not path.exists():
        sys.exit(f"the published figures are not in {path}")
    with path.open() as file:
        return list(csv.DictReader(file))
