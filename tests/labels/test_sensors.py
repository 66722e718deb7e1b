"""The published bands, against what was measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lift_xr import spectral
from lift_xr.errors import SpectralError
from lift_xr.sensors import SENSORS, find, key
from lift_xr.srf import SRF
from tests.scenes import shared_data

TABLES = {
    "ikonos2": "ikonos",
    "quickbird2": "quickbird-2",
    "worldview2": "worldview-2",
    "worldview3": "worldview-3",
    "worldview4": "worldview-4",
    "geoeye1": "geoeye-1",
    "sentinel2a_msi": "sentinel-2a",
    "sentinel2b_msi": "sentinel-2b",
    "sentinel2c_msi": "sentinel-2c",
    "landsat5_tm": "landsat-5",
    "landsat7_etm": "landsat-7",
    "landsat8_oli": "landsat-8",
    "landsat9_oli": "landsat-9",
    "planetscope_superdove8": "planetscope-superdove",
    "planetscope_dove_r": "planetscope-dove-r",
    "pleiades1a": "pleiades-1a",
    "pleiades1b": "pleiades-1b",
    "pleiades_neo3": "pleiades-neo",
    "spot6": "spot-6",
    "spot7": "spot-7",
    "rapideye": "rapideye",
    "skysat1": "skysat",
    "eo1_ali": "eo1-ali",
    "micasense_rededge3": "micasense-rededge",
    "nikon_d700": "rgb-camera",
}
FADING = "the published edge is the filter's; the detector fades before it"
DESIGN = "the published figure is the design's, the flown filter differs"
SLANTED = "the measured band has no flat top"
LEAKING = "much of the measured response lies outside the band"
GENERIC = "no particular camera is meant"
# What the operators publish and what was measured differ here; a user who minds reads the curves.
KNOWN = {
    ("worldview-2", "nir2"): SLANTED,
    ("worldview-2", "pan"): SLANTED,
    ("worldview-3", "nir2"): SLANTED,
    ("worldview-3", "pan"): SLANTED,
    ("worldview-4", "nir"): FADING,
    ("geoeye-1", "blue"): DESIGN,
    ("geoeye-1", "nir"): FADING,
    ("sentinel-2c", "B8"): DESIGN,
    ("planetscope-superdove", "yellow"): DESIGN,
    ("planetscope-superdove", "rededge"): DESIGN,
    ("pleiades-1a", "red"): DESIGN,
    ("pleiades-1a", "nir"): FADING,
    ("pleiades-1b", "blue"): DESIGN,
    ("pleiades-neo", "coastal"): DESIGN,
    ("pleiades-neo", "pan"): SLANTED,
    ("spot-6", "nir"): FADING,
    ("spot-7", "green"): DESIGN,
    ("spot-7", "red"): DESIGN,
    ("spot-7", "nir"): FADING,
    ("skysat", "nir"): FADING,
    ("skysat", "pan"): FADING,
    ("eo1-ali", "MS-5p"): DESIGN,
    ("eo1-ali", "MS-5"): DESIGN,
    ("eo1-ali", "pan"): DESIGN,
    ("micasense-rededge", "blue"): DESIGN,
    ("micasense-rededge", "red"): LEAKING,
    ("micasense-rededge", "nir"): DESIGN,
    ("rgb-camera", "blue"): GENERIC,
}


def agreement(measured: SRF, published: SRF) -> list[tuple[str, float, float, float, float]]:
    """Centres apart (nm), measured width (nm), ratio of widths and cosine, band by band.

    The measured centre is that of the response within one width of its middle, so that leakage far
    away does not pass for a shift.
    """
    grid = np.arange(300, 2600, 0.5)
    rows = []
    for number, band in enumerate(published.bands):
        one, two = (
            np.interp(grid, each.wavelength, each.curves[number], left=0, right=0)
            for each in (measured, published)
        )
        lower, upper = measured.edges[number]
        width = upper - lower
        near = np.abs(grid - (lower + upper) / 2) < width
        apart = published.centres[number] - spectral.centroid(grid[near], one[near])
        cosine = one @ two / np.linalg.norm(one) / np.linalg.norm(two)
        rows.append((band, apart, width, published.fwhm[number] / width, cosine))
    return rows


def measured_and_published(table: str, folder: Path) -> tuple[SRF, SRF]:
    sensor = find(TABLES[table])
    measured = SRF.from_csv(folder / "srf" / f"{table}.csv")
    pan = [each for each in measured.bands if "pan" in each.casefold() or each in sensor.pan]
    bands = [each for each in measured.bands if each not in pan] + pan
    return measured.select(*bands), SRF.sensor(sensor.name, bands=[*sensor.bands, *sensor.pan])


@pytest.mark.parametrize("table", TABLES)
def test_published_bands_agree_with_measured_curves(table: str) -> None:
    measured, published = measured_and_published(table, shared_data())
    assert len(measured.bands) == len(published.bands)
    for band, apart, width, ratio, cosine in agreement(measured, published):
        good = abs(apart) <= max(4, 0.05 * width) and abs(ratio - 1) <= 0.15 and cosine >= 0.95
        assert good != ((published.name, band) in KNOWN), (
            f"{published.name} {band}: centre {apart:+.1f} nm, width x{ratio:.2f}, cos {cosine:.3f}"
        )


def test_half_of_all_bands_agree_within_one_nm_and_two_percent() -> None:
    folder = shared_data()
    rows = [row for table in TABLES for row in agreement(*measured_and_published(table, folder))]
    apart, ratio, cosine = (np.array([row[each] for row in rows]) for each in (1, 3, 4))
    assert np.median(np.abs(apart)) <= 1.0
    assert np.median(np.abs(ratio - 1)) <= 0.02
    assert np.median(cosine) >= 0.985
    assert np.mean(cosine) >= 0.97


def test_a_flat_top_fits_measured_bands_better_than_a_gaussian() -> None:
    folder = shared_data() / "srf"
    cosines: dict[int, list[float]] = {order: [] for order in (2, 4, spectral.FLAT_TOP, 12)}
    for path in sorted(folder.glob("*.csv")):
        measured = SRF.from_csv(path)
        for (lower, upper), curve in zip(measured.edges, measured.curves, strict=True):
            assert measured.wavelength is not None
            reach = np.abs(2 * measured.wavelength - lower - upper) / (upper - lower)
            for order, found in cosines.items():
                model = 0.5 ** (np.minimum(reach, 9) ** order)
                found.append(curve @ model / np.linalg.norm(curve) / np.linalg.norm(model))
    means = {order: np.mean(found) for order, found in cosines.items()}
    assert max(means, key=lambda order: means[order]) == spectral.FLAT_TOP
    assert means[spectral.FLAT_TOP] == pytest.approx(0.990, abs=0.001)
    assert means[2] == pytest.approx(0.969, abs=0.001)


@pytest.mark.parametrize(
    ("name", "sensor"),
    [
        ("WorldView-3", "worldview-3"),
        ("wv3", "worldview-3"),
        ("Sentinel-2A", "sentinel-2a"),
        ("S2A", "sentinel-2a"),
        ("sentinel_2b", "sentinel-2b"),
        ("L8", "landsat-8"),
        ("oli", "landsat-8"),
        ("Landsat 7 ETM+", "landsat-7"),
        ("superdove", "planetscope-superdove"),
        ("EO-1 ALI", "eo1-ali"),
        ("Pl\u00e9iades 1B", "pleiades-1b"),
        ("QuickBird", "quickbird-2"),
        ("RGB camera", "rgb-camera"),
    ],
)
def test_names_are_found_however_they_are_written(name: str, sensor: str) -> None:
    assert find(name) is SENSORS[sensor]
    assert SRF.sensor(name) == SRF.sensor(sensor)


def test_no_two_sensors_share_a_name() -> None:
    words = [
        word
        for each in SENSORS.values()
        for word in {key(name) for name in (each.name, *each.aliases)}
    ]
    assert len(words) == len(set(words))


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("generic-rgb", "rgb-camera"),
        ("eo1", "eo1-ali"),
        ("planetscope-superdove8", "planetscope-superdove"),
    ],
)
def test_other_usual_names_are_known(alias: str, name: str) -> None:
    assert find(alias).name == name


def test_an_unknown_sensor_is_named_with_the_closest() -> None:
    with pytest.raises(SpectralError, match="'sentinal2' is not a sensor") as raised:
        find("sentinal2")
    assert "sentinel-2a, sentinel-2b, sentinel-2c" in str(raised.value)
    assert "SRF.sensor('sentinel-2a')" in str(raised.value)
    with pytest.raises(SpectralError, match=r"none of which is close.*SRF\.gaussian"):
        find("zzzz")


def test_every_sensor_has_bands_in_nm_and_a_source_with_a_year() -> None:
    for sensor in SENSORS.values():
        edges = np.array([*sensor.bands.values(), *sensor.pan.values()])
        assert (edges[:, 0] < edges[:, 1]).all(), sensor.name
        assert (edges > 350).all(), sensor.name
        assert (edges < 2600).all(), sensor.name
        assert any(str(year) in sensor.source for year in range(1995, 2026)), sensor.name


def test_the_list_prints_names_aliases_bands_and_sources() -> None:
    listing = repr(SRF.sensors())
    assert "worldview-3, wv3\n" in listing
    assert "blue green red nir (pan)" in listing
    assert "Barsi" in listing
    assert SRF.sensors()["ikonos"].bands["red"] == (632, 698)
    assert set(SRF.sensors()) >= {"ikonos", "quickbird-2", "landsat-9", "spot-7", "rgb-camera"}
