"""Pixels floor: what a city is made of, as reflectance spectra built from published absorptions.

Every material is a short path between two or three extremes (fresh to aged, moist to dry, lush to
dead). Levels follow the urban library of Herold et al. (2004, RSE 91, 304-319).
"""

from __future__ import annotations

import numpy as np

Spectrum = np.ndarray
Family = tuple[Spectrum, ...]

NEAR_NADIR_SKY_VIEW = 0.75  # walls and crowns hide about a quarter of the sky from a city's ground


def step(nm: Spectrum, at: float, width: float) -> Spectrum:
    """Rise from 0 to 1 at a wavelength (logistic): from 12 to 88 % within 4 times ``width``, nm."""
    return 1 / (1 + np.exp(-(nm - at) / width))


def bump(nm: Spectrum, at: float | Spectrum, width: float | Spectrum) -> Spectrum:
    """Rise to 1 around a wavelength and fall again (Gaussian): ``width`` is its deviation, nm."""
    rise: Spectrum = np.exp(-0.5 * ((nm - at) / width) ** 2)
    return rise


def pigments(nm: Spectrum) -> Spectrum:
    """Leaf absorption by chlorophyll a and b and carotenoids, 1 near 675 nm.

    Maxima at 430-480 and 640-680 nm, a window at 550 nm and the edge near 705-715 nm:
    Lichtenthaler (1987, Methods in Enzymology 148), Feret et al. (2008, RSE 112).
    """
    plateau: Spectrum = 0.40 * step(nm, 708, -11)
    blue = 0.85 * bump(nm, 435, 32) + 0.45 * bump(nm, 480, 17)
    red = 0.22 * bump(nm, 612, 24) + 0.20 * bump(nm, 648, 13) + 0.50 * bump(nm, 677, 12)
    return plateau + blue + red


def plant(
    nm: Spectrum, *, plateau: float, chlorophyll: float, straw: float = 0.0, water: float = 1.0
) -> Spectrum:
    """Canopy of green and dead leaves; absorption saturates as in a scattering medium.

    Dead matter absorbs like lignin, least in the near infrared (Elvidge 1990, IJRS 11); leaf water
    dips at 970 nm (Penuelas et al. 1993, IJRS 14).
    """
    absorption = chlorophyll * pigments(nm) + straw * np.exp((460 - nm) / 150)
    structure = 0.80 + 0.20 * step(nm, 790, 28)
    dips = 1 - water * (0.07 * bump(nm, 972, 24) + 0.015 * bump(nm, 760, 12))
    canopy: Spectrum = plateau * structure * dips / (1 + absorption)
    return canopy


def mineral(
    nm: Spectrum, *, blue: float, infrared: float, iron: float = 0.0, bend: float = 160.0
) -> Spectrum:
    """Soil, stone or concrete: a convex rise, and ferric iron at 490, 670 and 880 nm.

    Iron features: Hunt (1977, Geophysics 42), Ben-Dor et al. (1999, Manual of Remote Sensing 3).
    """
    rise = blue + (infrared - blue) * (1 - np.exp(-np.maximum(nm - 380, 0) / bend))
    ferric = 0.5 * bump(nm, 490, 45) + 0.15 * bump(nm, 665, 35) + 0.35 * bump(nm, 880, 55)
    reflectance: Spectrum = rise * (1 - iron * ferric)
    return reflectance


def hematite(nm: Spectrum, *, dark: float, bright: float) -> Spectrum:
    """Fired clay: the 535-580 nm edge and 870 nm band of hematite (Morris et al. 1985, JGR 90)."""
    edge = dark + (bright - dark) * (0.78 * step(nm, 577, 15) + 0.22 * step(nm, 720, 60))
    clay: Spectrum = edge * (1 - 0.14 * bump(nm, 870, 50)) + 0.00012 * np.maximum(nm - 900, 0)
    return clay


def pavements(nm: Spectrum) -> dict[str, Family]:
    """Roads and yards: oil-dark when fresh; traffic lays the stones bare (Herold et al. 2004)."""
    return {
        "asphalt": (
            mineral(nm, blue=0.040, infrared=0.062, bend=220),
            mineral(nm, blue=0.075, infrared=0.145, iron=0.06, bend=240),
        ),
        "concrete": (
            mineral(nm, blue=0.10, infrared=0.215, iron=0.05, bend=130),
            mineral(nm, blue=0.17, infrared=0.400, iron=0.08, bend=140),
        ),
        "marking": (
            0.30 * step(nm, 405, 9) + 0.05 * step(nm, 600, 90),
            0.56 * step(nm, 405, 9) + 0.04 * step(nm, 600, 90),
        ),
        "yellow marking": (
            0.05 + 0.33 * step(nm, 515, 13) + 0.06 * step(nm, 700, 70),
            0.06 + 0.44 * step(nm, 512, 12) + 0.08 * step(nm, 700, 70),
        ),
    }


def roofs(nm: Spectrum) -> dict[str, Family]:
    """Bitumen, tiles, gravel, membranes, metals and coatings; aluminium dips near 830 nm."""
    aluminium = 1 - 0.09 * bump(nm, 832, 65)  # interband absorption at 1.5 eV: Rakic (1995)
    blue_coat = 0.05 + 0.22 * bump(nm, 462, 38) + 0.26 * step(nm, 780, 26)
    return {
        "shingle": (
            mineral(nm, blue=0.042, infrared=0.066, bend=200),
            mineral(nm, blue=0.055, infrared=0.150, iron=0.10, bend=190),
        ),
        "clay tile": (
            hematite(nm, dark=0.045, bright=0.175),
            hematite(nm, dark=0.055, bright=0.310),
        ),
        "gravel": (
            mineral(nm, blue=0.10, infrared=0.19, iron=0.04, bend=150),
            mineral(nm, blue=0.16, infrared=0.32, iron=0.10, bend=190),
        ),
        "membrane": (
            mineral(nm, blue=0.20, infrared=0.40, bend=90),
            0.66 * step(nm, 402, 10) * (1 - 0.05 * bump(nm, 930, 20)),
        ),
        "metal": ((0.25 + 0.00006 * (nm - 400)) * aluminium, 0.55 * aluminium),
        "blue coat": (0.6 * blue_coat + 0.05, blue_coat),
        "solar panel": (
            0.030 + 0.045 * bump(nm, 430, 40) + 0.02 * step(nm, 1010, 15),
            0.045 + 0.085 * bump(nm, 440, 45) + 0.07 * step(nm, 1020, 18),
        ),
    }


def plants(nm: Spectrum) -> dict[str, Family]:
    """Living ground and canopies, with the soil that shows between."""
    moist = mineral(nm, blue=0.045, infrared=0.17, iron=0.25, bend=330)
    return {
        "grass": (
            plant(nm, plateau=0.53, chlorophyll=12.5),
            plant(nm, plateau=0.43, chlorophyll=6.0, straw=1.6, water=0.8),
            plant(nm, plateau=0.43, chlorophyll=0.35, straw=5.5, water=0.3),
        ),
        "broadleaf": (
            plant(nm, plateau=0.40, chlorophyll=15.0),
            plant(nm, plateau=0.56, chlorophyll=8.0),
        ),
        "evergreen": (
            plant(nm, plateau=0.23, chlorophyll=9.5, straw=0.3),
            plant(nm, plateau=0.36, chlorophyll=10.5, straw=1.2),
        ),
        "soil": (moist, mineral(nm, blue=0.085, infrared=0.36, iron=0.30, bend=330)),
        "sand": (
            mineral(nm, blue=0.10, infrared=0.30, iron=0.18, bend=200),
            mineral(nm, blue=0.16, infrared=0.46, iron=0.14, bend=190),
        ),
    }


def waters(nm: Spectrum) -> dict[str, Family]:
    """Water absorbs ever more beyond 580 nm (Pope and Fry 1997, Applied Optics 36).

    What comes back before that is scattered by silt; algae take blue and 675 nm from it.
    """
    clear = np.exp(-np.maximum(nm - 575, 0) / 60) * (1 - 0.25 * bump(nm, 665, 20))
    silty = step(nm, 500, 45) * np.exp(-np.maximum(nm - 585, 0) / 65)
    algae = 1 - 0.20 * bump(nm, 440, 45) - 0.30 * bump(nm, 675, 12)
    glint = 0.022 * (nm / 550) ** -0.7  # the sky in the mirror
    return {
        "pond": (glint + 0.026 * clear, glint + 0.072 * silty * algae + 0.018),
        "pool": (
            0.02 + 0.26 * step(nm, 560, -26) * (0.75 + 0.25 * step(nm, 450, 20)),
            0.03 + 0.42 * step(nm, 585, -30) * (0.80 + 0.20 * step(nm, 440, 20)),
        ),
    }


def coatings(nm: Spectrum) -> dict[str, Family]:
    """Things painted or dyed to look like something else in red, green and blue.

    Green dyes copy grass up to 680 nm and leave out its red edge: they rise beyond 740 nm, slowly,
    as phthalocyanine and chromium oxide do.
    """
    green = bump(nm, 528, 36)
    return {
        "artificial turf": (
            0.022 + 0.038 * green + 0.080 * step(nm, 790, 30),
            0.032 + 0.062 * green + 0.190 * step(nm, 770, 24),
        ),
        "green acrylic": (
            0.040 + 0.075 * bump(nm, 520, 34) + 0.13 * step(nm, 745, 16),
            0.055 + 0.105 * bump(nm, 520, 36) + 0.20 * step(nm, 745, 16),
        ),
        "running track": (
            hematite(nm, dark=0.040, bright=0.150),
            hematite(nm, dark=0.050, bright=0.225),
        ),
        "white paint": (0.42 * step(nm, 405, 8), 0.68 * step(nm, 405, 8)),
        "silver paint": (0.17 + 0.00004 * (nm - 400), 0.36 + 0.00003 * (nm - 400)),
        "black paint": (0.022 + 0.0 * nm, 0.045 + 0.00003 * (nm - 400)),
        "red paint": (
            0.025 + 0.22 * step(nm, 605, 9) + 0.14 * step(nm, 740, 40),
            0.035 + 0.36 * step(nm, 598, 9) + 0.16 * step(nm, 730, 40),
        ),
        "blue paint": (
            0.025 + 0.06 * bump(nm, 455, 30) + 0.22 * step(nm, 800, 22),
            0.045 + 0.17 * bump(nm, 465, 36) + 0.36 * step(nm, 770, 22),
        ),
        "glass": (0.020 + 0.015 * bump(nm, 450, 70), 0.05 + 0.04 * bump(nm, 470, 80)),
    }


def library(wavelength: Spectrum, fwhm: Spectrum) -> dict[str, Family]:
    """Reflectance of every material, seen through Gaussian bands.

    Parameters
    ----------
    wavelength, fwhm : (band,), nm
        Band centres and full widths at half maximum.

    Returns
    -------
    dict of tuple of (band,), reflectance 0-1, float64
        Material to its extremes, in the order in which the material passes through them.
    """
    nm = np.arange(330.0, 1101.0)
    response = bump(nm, wavelength[:, None], fwhm[:, None] / 2.3548)
    response /= response.sum(axis=1, keepdims=True)
    families = {**pavements(nm), **roofs(nm), **plants(nm), **waters(nm), **coatings(nm)}
    return {
        name: tuple(response @ extreme for extreme in family) for name, family in families.items()
    }


def sky(wavelength: Spectrum) -> Spectrum:
    """Share of the light that comes from the sky, not the sun, and so survives in a shadow.

    Rayleigh and haze over a clear city at a sun height near 50 degrees: a third at 400 nm, a tenth
    in the near infrared (Bird and Riordan 1986, J. Climate Appl. Meteor. 25).
    """
    return NEAR_NADIR_SKY_VIEW * (0.08 + 0.16 * (wavelength / 550) ** -3.0)
