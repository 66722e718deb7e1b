"""Look at a large store that is written: a picture of all of it, and spectra at single points.

    python benchmarks/looks.py houston.zarr
    python benchmarks/looks.py houston.zarr --picture houston.png

The picture is true colour, from the coarsest overview with 2,000 pixels along its longer side. The
points lie in shards of full resolution that are on disk, for stores that dropped most of them.
Every repetition opens the store anew or asks for another point; the first one is told apart,
because it also loads code and fills caches. "Read from the disk": shards are dropped from the
system's memory before each look.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import lift_xr
from lift_xr.io.store import levels
from lift_xr.plot import false_colour

LEAST = 2000  # pixels along the longer side of the picture


def main() -> None:
    """Time both, and draw the picture if there is somewhere to put it."""
    chosen = _arguments()
    sizes = levels(chosen.store)
    level = max((n for n, size in enumerate(sizes) if max(size) >= chosen.least), default=0)
    print("| look | first, ms | median, ms | slowest after the first, ms | median CPU, ms |")
    print("| --- | ---: | ---: | ---: | ---: |")
    name = f"picture, {sizes[level][0]} x {sizes[level][1]}, with opening"
    image = tell(name, [lambda: picture(chosen.store, level)] * chosen.repeats)
    points = [*points_on_disk(chosen.store, chosen.repeats)]
    tell(
        "spectrum, with opening",
        [lambda at=at: spectrum(opened(chosen.store), at) for at in points],
    )
    scene, others = opened(chosen.store), [*points_on_disk(chosen.store, chosen.repeats, seed=1)]
    tell("spectrum, store open", [lambda at=at: spectrum(scene, at) for at in others])
    colder = [*points_on_disk(chosen.store, chosen.repeats, seed=2)]
    asked = (lambda at=at: spectrum(scene, at) for at in colder)
    tell("spectrum, store open, read from the disk", asked, before=lambda: forget(chosen.store))
    if chosen.picture is not None:
        from PIL import Image

        Image.fromarray((255 * image).astype("uint8")).save(chosen.picture)


def tell(
    name: str, looks: Iterable[Callable[[], Any]], *, before: Callable[[], Any] = lambda: None
) -> Any:
    """Time every look; one line of the table, and what the last one saw."""
    wall, cpu = [], []
    for look in looks:
        before()
        start, spent = time.perf_counter(), time.process_time()
        seen = look()
        wall.append(1000 * (time.perf_counter() - start))
        cpu.append(1000 * (time.process_time() - spent))
    first, *rest = wall
    rest = rest or [first]
    print(f"| {name} | {first:.0f} | {median(rest):.0f} | {max(rest):.0f} | {median(cpu):.0f} |")
    return seen


def forget(store: Path) -> None:
    """Have the system drop what it keeps in memory of the shards of full resolution."""
    for each in (store / "0/reflectance/c").rglob("*"):
        if each.is_file():
            with each.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def picture(store: Path, level: int) -> np.ndarray:
    """(y, x, 3), 0-1."""
    scene = lift_xr.open_scene(store, level=level)
    return false_colour(scene, max_size=max(scene.shape))


def opened(store: Path) -> Any:
    """Full resolution."""
    return lift_xr.open_scene(store)


def spectrum(scene: Any, at: tuple[int, int]) -> np.ndarray:
    """All bands of one pixel."""
    values = scene[:, at[0], at[1]].to_numpy()
    assert np.isfinite(values).all()
    return values


def points_on_disk(store: Path, count: int, *, seed: int = 0) -> list[tuple[int, int]]:
    """Random pixels of full resolution whose shards are there."""
    scene = opened(store)
    edges = [along[0] for along in scene.chunks[-2:]]
    shards = sorted((store / "0/reflectance/c").glob("*/*/*"))
    random = np.random.default_rng(seed)
    points = []
    for _ in range(count):
        shard = shards[random.integers(len(shards))]
        corner = [int(part) * edge for part, edge in zip(shard.parts[-2:], edges, strict=True)]
        ends = [min(c + e, n) for c, e, n in zip(corner, edges, scene.shape[-2:], strict=True)]
        points.append(tuple(int(random.integers(*run)) for run in zip(corner, ends, strict=True)))
    return points


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path)
    parser.add_argument("--picture", type=Path, help="a PNG")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--least", type=int, default=LEAST)
    return parser.parse_args()


if __name__ == "__main__":
    main()
