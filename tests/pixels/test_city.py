from __future__ import annotations

import numpy as np
import pytest

from lift_xr.city import canvas, landscape, lattice, materials, plan, survey
from lift_xr.city.forms import FORMS
from lift_xr.city.looks import LOOKS

WAVELENGTH = np.linspace(400.0, 1000.0, 7)
ENDMEMBERS = survey.Endmembers.of(WAVELENGTH, np.full(7, 20.0))


def everything() -> list[plan.Shape]:
    """All shapes of 400 x 400 metres."""
    return plan.shapes(0, (0.0, 400.0), (0.0, 400.0))


def truth(side: int, *, spacing: float) -> np.ndarray:
    ground = survey.Ground(0, (side, side), spacing)
    return survey.Truth(ground, ENDMEMBERS)[:, 0:side, 0:side]


def test_noise_is_the_same_through_any_window() -> None:
    metres = np.arange(400) * 0.05
    whole = lattice.smooth(7, metres, metres, name="field", scale=0.33)
    part = lattice.smooth(7, metres[100:130], metres[250:390], name="field", scale=0.33)
    np.testing.assert_array_equal(whole[100:130, 250:390], part)


def test_noise_reaches_left_of_and_above_the_scene() -> None:
    metres = np.arange(-300, 300) * 0.05
    field = lattice.smooth(7, metres, metres, name="field", scale=0.5)
    assert np.isfinite(field).all()
    assert np.abs(np.diff(field, axis=0)).max() < 1


def test_noise_has_mean_zero_and_deviation_one() -> None:
    metres = np.arange(600) * 0.1
    field = lattice.smooth(1, metres, metres, name="field", scale=0.3)
    assert abs(field.mean()) < 0.05
    assert abs(field.std() - 1) < 0.05


def test_fields_of_other_names_or_seeds_are_unrelated() -> None:
    metres = np.arange(600) * 0.1
    fields = [
        lattice.smooth(seed, metres, metres, name=name, scale=0.3).ravel()
        for seed, name in ((1, "field"), (2, "field"), (1, "other"))
    ]
    assert np.abs(np.corrcoef(fields) - np.eye(3)).max() < 0.05


def test_a_place_is_furnished_alike_whoever_asks() -> None:
    near = plan.shapes(0, (50.0, 60.0), (50.0, 60.0))
    plan.block.cache_clear()
    wide = plan.shapes(0, (0.0, 200.0), (0.0, 200.0))
    assert [shape for shape in wide if shape in near] == near


def test_the_city_is_made_of_what_the_painters_know() -> None:
    library = materials.library(WAVELENGTH, np.full(7, 20.0))
    for shape in everything():
        assert shape.material in library
        assert shape.form in FORMS
        assert shape.look in LOOKS
        assert 0 <= shape.tone <= 1


def test_every_material_stands_somewhere() -> None:
    library = materials.library(WAVELENGTH, np.full(7, 20.0))
    assert {shape.material for shape in plan.shapes(0, (0.0, 900.0), (0.0, 900.0))} == set(library)


def test_the_painter_knows_how_many_extremes_a_material_has() -> None:
    library = materials.library(WAVELENGTH, np.full(7, 20.0))
    assert {name: len(family) for name, family in library.items()} == {
        name: landscape.EXTREMES.get(name, 2) for name in library
    }


def test_every_pixel_is_covered_once() -> None:
    tone = np.linspace(0, 1, 11, dtype="float32")
    for extremes in (2, 3):
        np.testing.assert_allclose(sum(landscape.hats(tone, extremes)), 1, rtol=1e-6)
    tile = landscape.paint(0, 3, 3, spacing=0.05)
    direct, total = tile.planes.reshape(2, -1, canvas.TILE, canvas.TILE)
    assert tile.planes.dtype == "float32"
    assert tile.planes.min() >= 0
    assert total.sum(axis=0).min() > 0.25
    assert total.sum(axis=0).max() < 1.5
    assert (direct <= 1.5 * total).all()


def test_tiles_meet_without_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    painted = truth(256, spacing=0.1)
    for module in (canvas, landscape, survey):
        monkeypatch.setattr(module, "TILE", 64)
    np.testing.assert_allclose(truth(256, spacing=0.1), painted, atol=2e-6)


def test_reflectance_stays_between_zero_and_one() -> None:
    values = truth(512, spacing=0.5)
    assert values.min() > 0
    assert values.max() < 1


def test_coarse_pixels_are_the_mean_of_fine_ones() -> None:
    """Edges are mixtures and textures average out: the city does not depend on the pixel."""
    fine = truth(512, spacing=0.1).reshape(7, 128, 4, 128, 4).mean(axis=(2, 4))
    coarse = truth(128, spacing=0.4)
    assert np.abs(fine - coarse).mean() < 0.03
    assert np.corrcoef(fine.ravel(), coarse.ravel())[0, 1] > 0.9


def test_a_wall_takes_the_sun_and_leaves_the_sky() -> None:
    ground = canvas.Canvas(0, 0, 0, spacing=0.1)
    u, v = canvas.along(6.4, 6.4, canvas.HEADING)
    hut = plan.Shape(u, v, 1.0, 1.0, "metal", level=2.0, height=2.0)
    landscape.cast_shadow(ground, hut)
    to_the_north, to_the_south = ground.lit[64 - 16, 64 - 9], ground.lit[64 + 16, 64 + 9]
    assert to_the_north == 0
    assert to_the_south == 1


def test_the_cube_response_is_a_blur_and_a_mean() -> None:
    cube = survey.Cube(survey.Ground(0, (80, 80), 0.05), ENDMEMBERS, 8, 8.0, np.zeros(7))
    response = cube.response
    np.testing.assert_allclose(response.sum(), 1)
    np.testing.assert_allclose(response, response[::-1])
    np.testing.assert_allclose(
        survey.Cube(cube.ground, ENDMEMBERS, 8, 0.0, np.zeros(7)).response, np.full(8, 1 / 8)
    )
