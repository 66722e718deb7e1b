from __future__ import annotations

import numpy as np
import pytest

from lift_xr.city import materials

NM = np.arange(385.0, 1046.0, 5.0)
LIBRARY = materials.library(NM, np.full(NM.size, 10.0))
LIVING = [LIBRARY["grass"][0], *LIBRARY["broadleaf"], *LIBRARY["evergreen"]]


def at(spectrum: np.ndarray, nm: float) -> float:
    return float(np.interp(nm, NM, spectrum))


def ndvi(spectrum: np.ndarray) -> float:
    return (at(spectrum, 850) - at(spectrum, 670)) / (at(spectrum, 850) + at(spectrum, 670))


def seen_by_a_camera(spectrum: np.ndarray) -> np.ndarray:
    bands = ((570, 650), (490, 580), (420, 500))
    return np.array([spectrum[(low <= NM) & (high >= NM)].mean() for low, high in bands])


def test_a_dozen_materials_and_more_vary_between_extremes() -> None:
    assert len(LIBRARY) >= 12
    assert all(2 <= len(family) <= 3 for family in LIBRARY.values())
    assert all(np.abs(family[0] - family[-1]).max() > 0.01 for family in LIBRARY.values())


@pytest.mark.parametrize("name", LIBRARY)
def test_reflectance_leaves_room_for_slopes_that_face_the_sun(name: str) -> None:
    for spectrum in LIBRARY[name]:
        assert spectrum.min() > 0
        assert spectrum.max() < 0.7


@pytest.mark.parametrize("leaf", LIVING)
def test_leaves_have_a_green_peak_and_a_red_edge(leaf: np.ndarray) -> None:
    assert at(leaf, 550) > 1.3 * at(leaf, 670)
    assert at(leaf, 550) > 1.3 * at(leaf, 450)
    assert ndvi(leaf) > 0.7
    steepest = NM[(NM > 650) & (NM < 800)][np.gradient(leaf)[(NM > 650) & (NM < 800)].argmax()]
    assert 700 <= steepest <= 735


@pytest.mark.parametrize("leaf", LIVING)
def test_leaf_water_dips_at_970_nm(leaf: np.ndarray) -> None:
    assert at(leaf, 970) < min(at(leaf, 910), at(leaf, 1040))


def test_dead_grass_has_lost_its_red_edge() -> None:
    lush, thin, dead = (ndvi(extreme) for extreme in LIBRARY["grass"])
    assert lush > thin > dead
    assert dead < 0.5


def test_water_is_black_in_the_infrared() -> None:
    for name in ("pond", "pool"):
        assert all(at(water, 900) < 0.5 * at(water, 500) for water in LIBRARY[name])


def test_red_things_are_red_by_iron() -> None:
    for clay in LIBRARY["clay tile"]:
        assert at(clay, 650) > 2 * at(clay, 500)
        assert at(clay, 870) < at(clay, 780)


def test_artificial_turf_looks_like_grass_to_a_camera_only() -> None:
    grass, turf = LIBRARY["grass"][0], LIBRARY["artificial turf"][1]
    assert np.abs(seen_by_a_camera(grass) - seen_by_a_camera(turf)).max() < 0.03
    assert at(grass, 850) > 2 * at(turf, 850)


def test_bands_average_over_their_width() -> None:
    wide = materials.library(np.array([715.0]), np.array([200.0]))["grass"][0]
    narrow = materials.library(np.array([715.0]), np.array([2.0]))["grass"][0]
    near = np.abs(NM - 715) < 250
    weights = np.exp(-0.5 * ((NM[near] - 715) / (200 / 2.3548)) ** 2)
    np.testing.assert_allclose(
        wide, np.average(LIBRARY["grass"][0][near], weights=weights), rtol=0.01
    )
    assert abs(wide - narrow) > 0.01


def test_skylight_is_blue_and_never_all_the_light() -> None:
    sky = materials.sky(NM)
    assert (np.diff(sky) < 0).all()
    assert sky.max() < 0.5
    assert sky.min() > 0.03
