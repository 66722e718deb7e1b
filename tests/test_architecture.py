"""ARCHITECTURE.md is true: who lives on which floor, and who may know whom."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "lift_xr"
FLOORS = ("PIXELS", "BLOCKS", "LABELS", "DOORS")  # from the ground up
LOWEST = {"torch": "PIXELS", "dask": "BLOCKS", "distributed": "BLOCKS", "xarray": "LABELS"}


def floors() -> dict[str, str]:
    """Module path to floor, read from the house in ARCHITECTURE.md."""
    house = re.search(r"```text\n(.*?)```", (ROOT / "ARCHITECTURE.md").read_text(), re.DOTALL)
    assert house, "ARCHITECTURE.md has no picture of the house"
    floor, found = "", {}
    for line in house[1].splitlines():
        if heading := re.match(r"([A-Z]+) - ", line):
            floor = heading[1]
        elif entry := re.match(r"  (\S+\.py) ", line):
            found[entry[1]] = floor
    return found


def modules() -> list[str]:
    paths = (path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
    return sorted(str(path) for path in paths if "__pycache__" not in path.parts)


def imports(module: str) -> set[str]:
    """Dotted names a module imports, inside functions too; type checkers' imports do not count."""
    tree = ast.parse((PACKAGE / module).read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def module_of(name: str) -> str | None:
    """The file in lift_xr that a dotted name stands for, if it is one."""
    parts = name.split(".")[1:]
    for path in (Path(*parts).with_suffix(".py"), Path(*parts, "__init__.py")) if parts else ():
        if (PACKAGE / path).exists():
            return str(path)
    return None


def test_every_module_lives_on_one_floor() -> None:
    assert sorted(floors()) == [name for name in modules() if name != "__init__.py"]
    assert set(floors().values()) == set(FLOORS)


@pytest.mark.parametrize("module", [name for name in modules() if name != "__init__.py"])
def test_imports_go_down_or_along(module: str) -> None:
    known = floors()
    here = FLOORS.index(known[module])
    for name in imports(module):
        if name.startswith("lift_xr."):
            other = module_of(name)
            assert other is None or FLOORS.index(known[other]) <= here, f"{module} imports {name}"


@pytest.mark.parametrize("module", [name for name in modules() if name != "__init__.py"])
def test_torch_dask_and_xarray_stay_on_their_floors(module: str) -> None:
    floor = floors()[module]
    for name in imports(module):
        root = name.split(".")[0]
        if root == "torch":
            assert floor == "PIXELS", f"{module} imports torch"
        elif root in LOWEST:
            assert FLOORS.index(floor) >= FLOORS.index(LOWEST[root]), f"{module} imports {root}"


def test_the_front_door_loads_no_torch_and_no_matplotlib() -> None:
    check = "import sys, lift_xr; print([m for m in ('torch', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_there_is_no_module_called_utils() -> None:
    assert not [name for name in modules() if re.search(r"utils?\.py|helpers?\.py|misc\.py", name)]
