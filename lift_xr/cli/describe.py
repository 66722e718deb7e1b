"""What ``lift-xr info`` says of scenes, stores, models, sensors and responses."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from rich.table import Table

from lift_xr.decode import NODATA
from lift_xr.errors import LayoutError
from lift_xr.grid import Grid
from lift_xr.io import open_scene, status
from lift_xr.io.raster import Alpha, open_raster
from lift_xr.io.recipe import is_recipe, open_recipe
from lift_xr.io.store import ABOUT, open_root, open_store
from lift_xr.models import Model, load_model
from lift_xr.quantities import size, span
from lift_xr.scene import BLOCK, raster_of
from lift_xr.srf import SRF

Row = tuple[str, str]
NAMED = 20  # of the shards that are failing


def path(where: str, *, units: str | None = None, alpha: Alpha = "mask") -> Table:
    """Describe a scene, a store or a model; ``units`` and ``alpha`` as in ``open_scene``."""
    rows = _model(load_model(where)) if _is_model(Path(where)) else _scene(where, units, alpha)
    table = Table(title=where, title_justify="left", title_style="bold", box=None)
    table.show_header = False
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*row)
    if Path(where).exists():
        table.add_row("on disk", size(on_disk(Path(where))))
    return table


def sensors() -> Table:
    """List what ``--srf`` knows by name."""
    known = SRF.sensors()
    table = Table(
        title="Sensors for --srf", title_justify="left", title_style="bold", header_style="cyan"
    )
    for title in ("name", "also", "bands (pan in brackets)"):
        table.add_column(title, overflow="fold", no_wrap=title == "name")
    for sensor in known.values():
        pan = f" ({' '.join(sensor.pan)})" if sensor.pan else ""
        table.add_row(sensor.name, ", ".join(sensor.aliases), f"{' '.join(sensor.bands)}{pan}")
    table.caption = "Wavelengths and sources: lift-xr info --srf NAME"
    table.caption_justify = "left"
    return table


def response(name: str) -> Table:
    """List the bands of one response, in nm."""
    srf = SRF.of(name)
    table = Table(title=srf.name, title_justify="left", title_style="bold", header_style="cyan")
    table.add_column("band")
    for title in ("centre", "fwhm", "from", "to"):
        table.add_column(f"{title} (nm)", justify="right")
    for band, centre, width, edges in zip(srf.bands, srf.centres, srf.fwhm, srf.edges, strict=True):
        table.add_row(band, *(f"{value:.1f}" for value in (centre, width, *edges)))
    table.caption = srf.source
    table.caption_justify = "left"
    return table


def progress(store: str) -> Table:
    """How far the run is that writes a store."""
    found = status(store)
    table = Table.grid(padding=(0, 2))
    state = "complete" if found.complete else "not complete"
    failing = f", {found.failing:,} failing" if found.failing else ""
    table.add_row("state", state)
    if found.differs:
        table.add_row("stopped", found.differs)
    if found.total:
        table.add_row(
            "tasks", f"{found.done:,} of {found.total:,} done{failing}, {found.left:,} left"
        )
    for level, index in found.failed[:NAMED]:
        table.add_row("failing", f"level {level} {index}")
    if (more := len(found.failed) - NAMED) > 0:
        table.add_row("", f"and {more:,} more, all in lift_xr.status(store).failed")
    if found.clipped:
        table.add_row("clipped", f"{share(found.clipped)} of the values")
    if found.rate is not None and not found.complete:
        table.add_row("rate", f"{60 * found.rate:.3g} a minute")
    if found.eta is not None and found.left + found.failing and not found.differs:
        # Due is also what nobody is at any more, until it has been so for long enough to be told.
        table.add_row("left", span(found.eta) if found.eta >= 1 else "due by now")
    if found.idle is not None:
        table.add_row("last one", f"{span(found.idle)} ago")
    return table


def share(part: float) -> str:
    """Write a share of the whole in percent, however small.

    Examples
    --------
    >>> share(0.0123), share(1), share(1e-9)
    ('1.2 %', '100 %', '1e-07 %')
    """
    return f"{100 * part:.2g} %" if part < 0.995 else "100 %"


def on_disk(where: Path) -> int:
    """Add up the bytes of a file, or of all files in a folder."""
    files = [where] if where.is_file() else [each for each in where.rglob("*") if each.is_file()]
    return sum(each.stat().st_size for each in files)


def _is_model(where: Path) -> bool:
    """Whether a file begins like safetensors: eight bytes of length, then JSON."""
    if not where.is_file():
        return False
    with where.open("rb") as file:
        return where.suffix == ".lift" or file.read(9)[8:] == b"{"


def _model(model: Model) -> Iterator[Row]:
    about, history = model.about, model.about.get("history", {})
    yield "kind", f"lift_xr model, method {model.method}"
    yield "takes", f"{model.msi_bands} bands: {', '.join(about.get('msi_bands', []))}"
    yield "gives", f"{model.bands} bands, {_span(model.arrays['wavelength'])} nm"
    yield "units", str(about.get("units") or "not stated")
    yield "radiometry", str(about.get("harmonize"))
    yield "consistency", str(about.get("consistency"))
    yield "seed", str(about.get("seed"))
    if "pixels" in history:
        yield "trained on", f"{history['pixels']:,} of {history['total']:,} pixels"
    versions = about.get("versions", {})
    yield "made by", ", ".join(f"{name} {number}" for name, number in versions.items())
    yield "digest", model.digest


def _scene(where: str, units: str | None, alpha: Alpha) -> Iterator[Row]:
    scene = open_scene(where, units=units, alpha=alpha)
    stored = _stored(where, alpha)
    grid = Grid.of(scene)
    yield "kind", _kind(where, stored)
    yield "dimensions", ", ".join(f"{dim} {length:,}" for dim, length in scene.sizes.items())
    yield "pixel", _pixel(grid)
    if grid.located:
        x0, y0, x1, y1 = grid.bounds
        yield "bounds", f"x {x0:.10g} to {x1:.10g}, y {y0:.10g} to {y1:.10g}"
    yield "CRS", _crs(grid)
    yield from _bands(scene)
    yield "units", str(scene.attrs.get("units", "not stated"))
    yield "stored as", _packing(stored)
    yield "blocks", _blocks(scene, stored)
    yield from _clipped(where)
    yield from _provenance(scene)
    if _is_store(where) and "model" in (told := _about(where)):
        no = "no: these pixels are not just what a model gave"
        yield "model inside", "yes, for --model and lift_xr.load_model" if told["model"] else no
    yield "as float32", size(scene.size * 4)


def _clipped(where: str) -> Iterator[Row]:
    """Say how many values a store of ours could not hold; nothing of other scenes."""
    try:
        found = status(where).clipped if _is_store(where) else 0.0
    except LayoutError:
        return
    if found:
        yield "clipped", f"{share(found)} of the values, flagged in quality/flags"


def _stored(where: str, alpha: Alpha) -> xr.DataArray:
    """The scene as it lies there, its packing not applied."""
    if _is_store(where) and is_recipe(where):
        return open_recipe(where, variable="msi", block=BLOCK)
    if _is_store(where):
        opened = open_store(where, variable=None, block=BLOCK)
        return raster_of(opened, name=Path(where).name)
    return open_raster(where, block=BLOCK, alpha=alpha)


def _about(where: str) -> dict[str, Any]:
    """Read what a store of ours says of itself; nothing, of others."""
    about: Any = open_root(where).attrs.get(ABOUT)
    return about if isinstance(about, dict) else {}


def _is_store(where: str) -> bool:
    return Path(where).is_dir() or Path(where).suffix == ".zarr"


def _kind(where: str, stored: xr.DataArray) -> str:
    if _is_store(where) and is_recipe(where):
        address = _about(where).get("settings", {}).get("address")
        place = "in it" if address is None else f"at {address.get('path', address.get('store'))}"
        return f"recipe: lifts the mosaic {place} where it is asked for"
    if _is_store(where):
        return f"Zarr, variable {stored.name}"
    return f"raster file ({Path(where).suffix.lstrip('.') or 'no suffix'})"


def _pixel(grid: Grid) -> str:
    unit = "pixel" if not grid.located else ""
    if grid.crs is not None and grid.crs.axis_info:
        unit = grid.crs.axis_info[0].unit_name
    across, down = abs(grid.dx), abs(grid.dy)
    edge = f"{across:g}" if np.isclose(across, down) else f"{across:g} x {down:g} (x, y)"
    return f"{edge} {unit}".strip()


def _crs(grid: Grid) -> str:
    if grid.crs is None:
        return "none"
    authority = grid.crs.to_authority()
    return f"{':'.join(authority)}, {grid.crs.name}" if authority else grid.crs.name


def _bands(scene: xr.DataArray) -> Iterator[Row]:
    if "wavelength" not in scene.coords:
        yield "wavelength", "none: usable as MSI, not as HSI"
    else:
        fwhm = f", fwhm {_span(scene['fwhm'].to_numpy())} nm" if "fwhm" in scene.coords else ""
        yield "wavelength", f"{_span(scene['wavelength'].to_numpy())} nm{fwhm}"
    if "good_wavelength" in scene.coords:
        bad = int((~scene["good_wavelength"].to_numpy()).sum())
        yield "bad bands", f"{bad} of {scene.sizes['band']}" if bad else "none"
    names = scene["band"].to_numpy().tolist()
    if names != list(range(1, len(names) + 1)) and len(names) <= 16:
        yield "bands", ", ".join(map(str, names))


def _span(values: np.ndarray) -> str:
    low, high = f"{values.min():.4g}", f"{values.max():.4g}"
    return low if low == high else f"{low} to {high}"


def _packing(stored: xr.DataArray) -> str:
    attrs = {**stored.encoding, **stored.attrs}  # already applied, or not yet
    told = [str(attrs.get("dtype", stored.dtype))]
    for key, plain, word in (("scale_factor", 1, "scale"), ("add_offset", 0, "offset")):
        value = np.unique(attrs.get(key, plain))
        if (value != plain).any():
            told.append(f"{word} {value[0]:.4g}" if len(value) == 1 else f"a {word} a band")
    nodata = [attrs[key] for key in NODATA if attrs.get(key) is not None]
    told.append(f"nodata {nodata[0]}" if nodata else "no nodata value")
    return ", ".join(told)


def _blocks(scene: xr.DataArray, stored: xr.DataArray) -> str:
    """Say what one task computes, and the pieces it is stored in."""
    sizes: Any = scene.data.chunksize
    told = f"{prod(scene.data.numblocks):,} of {_times(sizes)}"
    chunks = stored.encoding.get("chunks")
    return f"{told}, stored in chunks of {_times(chunks)}" if chunks else told


def _times(sizes: tuple[int, ...]) -> str:
    return " x ".join(map(str, sizes))


def _provenance(scene: xr.DataArray) -> Iterator[Row]:
    attrs = scene.attrs
    if "lift_xr_method" not in attrs:
        return
    yield "made by", f"lift-xr {attrs.get('lift_xr_version')}, method {attrs['lift_xr_method']}"
    for name in ("harmonize", "consistency", "seed", "model"):
        yield {"harmonize": "radiometry"}.get(name, name), str(attrs.get(f"lift_xr_{name}"))
