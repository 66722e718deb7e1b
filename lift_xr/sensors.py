"""The published bands of multispectral sensors: a table, its sources, and names found in it.

Operators publish a band as its edges at half maximum or as centre and width. Measured curves are
theirs; read them with ``SRF.from_csv`` where the last percent matters.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from difflib import SequenceMatcher

from lift_xr.errors import SpectralError

Edges = tuple[float, float]


@dataclass(frozen=True)
class Sensor:
    """One instrument as its operator describes it.

    Attributes
    ----------
    name, aliases
        What it may be called; case, spaces and punctuation do not count.
    bands
        Lower and upper edge at half maximum, in nm, in the order the imagery has them.
    pan
        The panchromatic band or bands, which ``SRF.sensor`` leaves out unless asked for.
    source
        The document the figures are from.
    """

    name: str
    source: str
    bands: dict[str, Edges]
    pan: dict[str, Edges] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()


class Catalogue(dict[str, Sensor]):
    """Sensors by name; prints their aliases, bands (pan in brackets) and source."""

    def __repr__(self) -> str:
        return "\n".join(
            f"{', '.join((each.name, *each.aliases))}\n    {_listed(each)}\n    {each.source}"
            for each in self.values()
        )


def find(name: str) -> Sensor:
    """Look a sensor up by name or alias.

    Raises
    ------
    SpectralError
        With the closest names, if there is no such sensor.
    """
    known = {key(word): each for each in SENSORS.values() for word in (each.name, *each.aliases)}
    if key(name) in known:
        return known[key(name)]
    likeness = {word: SequenceMatcher(None, key(name), word).ratio() for word in known}
    close = sorted(
        (word for word in known if likeness[word] > 0.5), key=lambda w: (-likeness[w], w)
    )
    names = list(dict.fromkeys(known[word].name for word in close))[:5]
    advice = f"SRF.sensor({names[0]!r})" if names else "SRF.gaussian(centre, fwhm)"
    raise SpectralError(
        f"{name!r} is not a sensor that lift_xr knows; expected one of SRF.sensors(), "
        + (f"the closest being {', '.join(names)}. " if names else "none of which is close. ")
        + f"Use {advice}, or SRF.from_csv(path) for a response of your own"
    )


def key(name: str) -> str:
    """Reduce a name to what counts in comparisons.

    Examples
    --------
    >>> key("Sentinel-2A"), key("B02"), key("Pl\u00e9iades 1A")
    ('sentinel2a', 'b2', 'pleiades1a')
    """
    plain = unicodedata.normalize("NFKD", name).casefold()
    word = re.sub(r"[^a-z0-9+]", "", plain)
    return re.sub(r"(?<![0-9])0+(?=[0-9])", "", word)


def _listed(sensor: Sensor) -> str:
    return " ".join(sensor.bands) + (f" ({' '.join(sensor.pan)})" if sensor.pan else "")


def _centred(bands: dict[str, Edges]) -> dict[str, Edges]:
    """Turn (centre, width) into edges."""
    return {
        band: (round(centre - width / 2, 3), round(centre + width / 2, 3))
        for band, (centre, width) in bands.items()
    }


_DOVE_R = {"blue": (464.0, 517.0), "green": (547.0, 585.0), "red": (650.0, 682.0)}

_OLI = {
    "B1": (442.96, 15.98),
    "B2": (482.04, 60.04),
    "B3": (561.41, 57.33),
    "B4": (654.59, 37.47),
    "B5": (864.67, 28.25),
    "B6": (1608.86, 84.72),
    "B7": (2200.73, 186.66),
    "B9": (1373.43, 20.39),
}
_OLI_PAN = {"B8": (589.50, 172.40)}

_WORLDVIEW = {
    "coastal": (400.0, 450.0),
    "blue": (450.0, 510.0),
    "green": (510.0, 580.0),
    "yellow": (585.0, 625.0),
    "red": (630.0, 690.0),
    "rededge": (705.0, 745.0),
    "nir1": (770.0, 895.0),
}
_WORLDVIEW_SWIR = {
    "swir1": (1195.0, 1225.0),
    "swir2": (1550.0, 1590.0),
    "swir3": (1640.0, 1680.0),
    "swir4": (1710.0, 1750.0),
    "swir5": (2145.0, 2185.0),
    "swir6": (2185.0, 2225.0),
    "swir7": (2235.0, 2285.0),
    "swir8": (2295.0, 2365.0),
}

_PLEIADES = {
    "blue": (450.0, 530.0),
    "green": (510.0, 590.0),
    "red": (620.0, 700.0),
    "nir": (775.0, 915.0),
}
_PLEIADES_SOURCE = "CNES, PLEIADES-HR HiRI instrument, bands B0-B3 and PA (eoPortal, 2012)"

_SPOT = {
    "blue": (455.0, 525.0),
    "green": (530.0, 590.0),
    "red": (625.0, 695.0),
    "nir": (760.0, 890.0),
}
_SPOT_SOURCE = "Astrium Services, SPOT 6 & SPOT 7 Imagery User Guide, 2013"

_ESA_SRF = "ESA, Sentinel-2 Spectral Response Functions, COPE-GSEG-EOPG-TN-15-0007"

_TABLE = (
    Sensor(
        "ikonos",
        "GeoEye, IKONOS Imagery Products Guide, 2006",
        {"blue": (445, 516), "green": (506, 595), "red": (632, 698), "nir": (757, 853)},
        pan={"pan": (526, 929)},
        aliases=("ikonos2", "ik02"),
    ),
    Sensor(
        "quickbird-2",
        "K. Krause, Radiometric Use of QuickBird Imagery, DigitalGlobe, 2005",
        {"blue": (447, 512), "green": (499, 594), "red": (620, 688), "nir": (755, 874)},
        pan={"pan": (525, 924)},
        aliases=("quickbird", "qb2"),
    ),
    Sensor(
        "worldview-2",
        "DigitalGlobe, WorldView-2 Data Sheet, 2009; nir2, where detectors fade before the filter "
        "ends: T. Updike and C. Comp, Radiometric Use of WorldView-2 Imagery, DigitalGlobe, 2010",
        {**_WORLDVIEW, **_centred({"nir2": (908.0, 99.6)})},
        pan={"pan": (450, 800)},
        aliases=("wv2",),
    ),
    Sensor(
        "worldview-3",
        "DigitalGlobe, WorldView-3 Data Sheet, 2014; nir2, where detectors fade before the filter "
        "ends: M. Kuester, Radiometric Use of WorldView-3 Imagery, DigitalGlobe, 2016",
        {**_WORLDVIEW, **_centred({"nir2": (913.6, 88.9)}), **_WORLDVIEW_SWIR},
        pan={"pan": (450, 800)},
        aliases=("wv3",),
    ),
    Sensor(
        "worldview-4",
        "DigitalGlobe, WorldView-4 Data Sheet, 2016",
        {"blue": (450, 510), "green": (510, 580), "red": (655, 690), "nir": (780, 920)},
        pan={"pan": (450, 800)},
        aliases=("wv4", "geoeye-2"),
    ),
    Sensor(
        "geoeye-1",
        "GeoEye, GeoEye-1 Data Sheet, 2009",
        {"blue": (450, 510), "green": (510, 580), "red": (655, 690), "nir": (780, 920)},
        pan={"pan": (450, 800)},
        aliases=("geoeye", "ge1"),
    ),
    Sensor(
        "sentinel-2a",
        f"{_ESA_SRF}; ESA SentiWiki, Sentinel-2 spectral bands, 2024",
        _centred(
            {
                "B1": (442.7, 20),
                "B2": (492.7, 65),
                "B3": (559.8, 35),
                "B4": (664.6, 30),
                "B5": (704.1, 14),
                "B6": (740.5, 14),
                "B7": (782.8, 19),
                "B8": (832.8, 105),
                "B8A": (864.7, 21),
                "B9": (945.1, 19),
                "B10": (1373.5, 29),
                "B11": (1613.7, 90),
                "B12": (2202.4, 174),
            }
        ),
        aliases=("s2a", "sentinel-2a-msi"),
    ),
    Sensor(
        "sentinel-2b",
        f"{_ESA_SRF}; ESA SentiWiki, Sentinel-2 spectral bands, 2024",
        _centred(
            {
                "B1": (442.3, 20),
                "B2": (492.3, 65),
                "B3": (558.9, 35),
                "B4": (664.9, 31),
                "B5": (703.8, 15),
                "B6": (739.1, 13),
                "B7": (779.7, 19),
                "B8": (832.9, 104),
                "B8A": (864.0, 21),
                "B9": (943.2, 20),
                "B10": (1376.9, 29),
                "B11": (1610.4, 94),
                "B12": (2185.7, 184),
            }
        ),
        aliases=("s2b", "sentinel-2b-msi"),
    ),
    Sensor(
        "sentinel-2c",
        f"{_ESA_SRF}, version 4.0, 2024 (centres); ESA, Sentinel-2 Mission Requirements "
        "Document, 2010 (design widths)",
        _centred(
            {
                "B1": (444.2, 20),
                "B2": (489.0, 65),
                "B3": (560.6, 35),
                "B4": (666.5, 30),
                "B5": (707.1, 15),
                "B6": (741.1, 15),
                "B7": (784.7, 20),
                "B8": (834.6, 115),
                "B8A": (865.6, 20),
                "B9": (947.2, 20),
                "B10": (1372.2, 30),
                "B11": (1612.0, 90),
                "B12": (2191.3, 180),
            }
        ),
        aliases=("s2c", "sentinel-2c-msi"),
    ),
    Sensor(
        "landsat-5",
        "G. Chander, B. Markham and D. Helder, Remote Sensing of Environment 113, 2009",
        {
            "B1": (452, 518),
            "B2": (528, 609),
            "B3": (626, 693),
            "B4": (776, 904),
            "B5": (1567, 1784),
            "B7": (2097, 2349),
        },
        aliases=("l5", "tm", "lt05", "landsat-5-tm"),
    ),
    Sensor(
        "landsat-7",
        "USGS, Landsat 7 Data Users Handbook, LSDS-1927, 2019",
        {
            "B1": (441, 514),
            "B2": (519, 601),
            "B3": (631, 692),
            "B4": (772, 898),
            "B5": (1547, 1749),
            "B7": (2064, 2345),
        },
        pan={"B8": (515, 896)},
        aliases=("l7", "etm", "etm+", "le07", "landsat-7-etm+"),
    ),
    Sensor(
        "landsat-8",
        "J. Barsi et al., The Spectral Response of the Landsat-8 OLI, Remote Sensing 6, 2014",
        _centred(_OLI),
        pan=_centred(_OLI_PAN),
        aliases=("l8", "oli", "lc08", "landsat-8-oli"),
    ),
    Sensor(
        "landsat-9",
        "J. Barsi et al., Remote Sensing 6, 2014: the bands of OLI, of which OLI-2 is a copy",
        _centred(_OLI),
        pan=_centred(_OLI_PAN),
        aliases=("l9", "oli-2", "lc09", "landsat-9-oli-2"),
    ),
    Sensor(
        "planetscope-superdove",
        "Planet, PlanetScope Product Specifications (PSB.SD), 2022",
        {
            "coastal": (431, 452),
            "blue": (465, 515),
            "green-i": (513, 549),
            "green": (547, 583),
            "yellow": (600, 620),
            "red": (650, 680),
            "rededge": (697, 713),
            "nir": (845, 885),
        },
        aliases=("superdove", "planetscope-superdove8", "psb.sd", "planetscope"),
    ),
    Sensor(
        "planetscope-dove-r",
        "Planet, PlanetScope Product Specifications (PS2.SD), 2022",
        {**_DOVE_R, "nir": (846, 888)},
        aliases=("dove-r", "ps2.sd"),
    ),
    Sensor(
        "pleiades-1a",
        _PLEIADES_SOURCE,
        _PLEIADES,
        pan={"pan": (480, 820)},
        aliases=("phr1a", "pleiades"),
    ),
    Sensor("pleiades-1b", _PLEIADES_SOURCE, _PLEIADES, pan={"pan": (480, 820)}, aliases=("phr1b",)),
    Sensor(
        "pleiades-neo",
        "Airbus Defence and Space, Pleiades Neo User Guide, 2021",
        {
            "coastal": (400, 450),
            "blue": (450, 520),
            "green": (530, 590),
            "red": (620, 690),
            "rededge": (700, 750),
            "nir": (770, 880),
        },
        pan={"pan": (450, 800)},
        aliases=("pneo", "pneo3", "pneo4", "pleiades-neo-3", "pleiades-neo-4"),
    ),
    Sensor("spot-6", _SPOT_SOURCE, _SPOT, pan={"pan": (455, 745)}, aliases=("spot6-naomi",)),
    Sensor("spot-7", _SPOT_SOURCE, _SPOT, pan={"pan": (455, 745)}, aliases=("spot7-naomi",)),
    Sensor(
        "rapideye",
        "BlackBridge, RapidEye Satellite Imagery Product Specifications, 2015",
        {
            "blue": (440, 510),
            "green": (520, 590),
            "red": (630, 685),
            "rededge": (690, 730),
            "nir": (760, 850),
        },
        aliases=("re",),
    ),
    Sensor(
        "skysat",
        "Planet, SkySat Product Specifications, 2022",
        {"blue": (450, 515), "green": (515, 595), "red": (605, 695), "nir": (740, 900)},
        pan={"pan": (450, 900)},
        aliases=("skysat-1", "skysat-c"),
    ),
    Sensor(
        "eo1-ali",
        "USGS, Earth Observing 1 User Guide: Advanced Land Imager, 2003",
        {
            "MS-1p": (433, 453),
            "MS-1": (450, 515),
            "MS-2": (525, 605),
            "MS-3": (630, 690),
            "MS-4": (775, 805),
            "MS-4p": (845, 890),
            "MS-5p": (1200, 1300),
            "MS-5": (1550, 1750),
            "MS-7": (2080, 2350),
        },
        pan={"pan": (480, 690)},
        aliases=("ali", "eo1"),
    ),
    Sensor(
        "micasense-rededge",
        "MicaSense, RedEdge-M User Manual, 2017",
        _centred(
            {
                "blue": (475, 20),
                "green": (560, 20),
                "red": (668, 10),
                "rededge": (717, 10),
                "nir": (840, 40),
            }
        ),
        aliases=("rededge-m", "micasense-rededge-3", "micasense"),
    ),
    Sensor(
        "dji-p4-multispectral",
        "DJI, P4 Multispectral Specifications, 2019",
        {
            "blue": (434, 466),
            "green": (544, 576),
            "red": (634, 666),
            "rededge": (714, 746),
            "nir": (814, 866),
        },
        aliases=("p4-multispectral", "p4m"),
    ),
    Sensor(
        "dji-mavic-3m",
        "DJI, Mavic 3M Specifications, 2022",
        {"green": (544, 576), "red": (634, 666), "rededge": (714, 746), "nir": (834, 886)},
        aliases=("mavic-3m", "m3m"),
    ),
    Sensor(
        "rgb-camera",
        "no one camera: rounded from the range of 28 in J. Jiang et al., What is the Space of "
        "Spectral Sensitivity Functions for Digital Color Cameras?, WACV 2013",
        {"red": (575, 640), "green": (490, 580), "blue": (420, 500)},
        aliases=("rgb", "camera", "generic-rgb"),
    ),
)

SENSORS = Catalogue({each.name: each for each in _TABLE})
