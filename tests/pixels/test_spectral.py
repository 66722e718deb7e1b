"""Response curves, and what the bands of a cube see of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lift_xr import spectral

WAVELENGTH = np.arange(400.0, 1001.0)


@pytest.mark.parametrize("order", [spectral.GAUSSIAN, spectral.FLAT_TOP])
@pytest.mark.parametrize("fwhm", [0.5, 20.0, 400.0])
def test_a_bell_has_the_width_and_centre_asked_for(order: int, fwhm: float) -> None:
    wavelength, curves = spectral.bells(np.array([652.3]), np.array([fwhm]), order=order)
    lower, upper = spectral.half_maximum(wavelength, curves[0])
    assert upper - lower == pytest.approx(fwhm, rel=2e-3)
    assert (lower + upper) / 2 == pytest.approx(652.3, abs=2e-3 * fwhm)
    assert spectral.centroid(wavelength, curves[0]) == pytest.approx(652.3, abs=1e-6 * fwhm)


def test_curves_are_drawn_on_one_nm_or_finer() -> None:
    wavelength, _ = spectral.bells(np.array([450.0, 2200.0]), np.array([16.0, 180.0]), order=2)
    assert np.diff(wavelength).max() <= 16 / 40 + 1e-9


def test_an_extreme_pair_of_widths_stays_small() -> None:
    wavelength, _ = spectral.bells(np.array([450.0, 2200.0]), np.array([1e-6, 180.0]), order=2)
    assert len(wavelength) < 300_000


def test_a_curve_cut_off_at_its_top_has_its_edge_there() -> None:
    assert spectral.half_maximum(np.array([400.0, 410, 420]), np.array([1.0, 1, 0])) == (400, 415)


def test_spacing_ignores_a_gap_and_shares_overlapping_detectors() -> None:
    gap = np.array([400.0, 410, 420, 430, 600, 610, 620, 630])
    np.testing.assert_allclose(spectral.spacing(gap), 10)
    overlap = np.sort(np.append(np.arange(800.0, 1000, 10), np.arange(803.0, 1000, 10)))
    np.testing.assert_allclose(spectral.spacing(overlap)[5:-5], 5)


def test_cells_meet_half_way_and_stop_at_gaps_and_ends() -> None:
    cells = spectral.cells(np.array([400.0, 410, 420, 500, 518]), np.full(5, 10.0))
    np.testing.assert_allclose(cells.lower, [395, 405, 415, 490, 509])
    np.testing.assert_allclose(cells.upper, [405, 415, 430, 509, 523])


def test_bands_at_one_wavelength_share_a_cell() -> None:
    cells = spectral.cells(np.array([410.0, 400, 410, 420]), np.full(4, 10.0))
    np.testing.assert_allclose(cells.width, [5, 10, 5, 10])


def test_a_curve_inside_the_cells_is_covered_whole_and_a_gap_is_not() -> None:
    triangle = np.interp(WAVELENGTH, [500, 550, 600], [0, 1, 0])[None]
    whole = spectral.cells(np.arange(480.0, 621, 10), np.full(15, 10.0))
    assert spectral.coverage(whole, WAVELENGTH, triangle) == pytest.approx(1)
    half = spectral.cells(np.arange(555.0, 621, 10), np.full(7, 10.0))
    assert spectral.coverage(half, WAVELENGTH, triangle) == pytest.approx(0.5)
    holed = spectral.cells(np.array([480.0, 490, 500, 600, 610]), np.full(5, 10.0))
    assert spectral.coverage(holed, WAVELENGTH, triangle) == pytest.approx(0.04)


def test_weights_are_the_integral_of_response_times_band() -> None:
    """Worked with numpy on a grid of 0.01 nm, away from this module's own quadrature."""
    centres, fwhm = np.array([500.0, 510, 520, 531]), np.array([10.0, 10, 11, 12])
    curve = np.interp(WAVELENGTH, [495, 505, 515, 535], [0, 1, 0.8, 0])
    fine = np.arange(440.0, 600, 0.01)
    sigma = fwhm[:, None] / 2.354820045
    gaussians = np.exp(-(((fine - centres[:, None]) / sigma) ** 2) / 2) / (sigma * 2.5066282746)
    integral = (np.interp(fine, WAVELENGTH, curve) * gaussians).sum(axis=1) * 0.01
    expected = integral * np.array([10, 10, 10.5, 11.5])
    weights = spectral.weigh(centres, fwhm, WAVELENGTH, curve[None])[0]
    np.testing.assert_allclose(weights, expected / expected.sum(), rtol=2e-3)


def test_a_doubled_detector_does_not_count_twice() -> None:
    """The centre of gravity of a band stays where it is when half of it is sampled twice."""
    single = np.arange(480.0, 621, 10)
    doubled = np.append(single, single[single > 550] + 1.0)
    curve = np.interp(WAVELENGTH, [500, 550, 600], [0, 1, 0])[None]
    for centres in (single, doubled):
        weights = spectral.weigh(centres, np.full(len(centres), 10.0), WAVELENGTH, curve)[0]
        assert weights @ centres == pytest.approx(550, abs=0.6)


centre_lists = st.lists(st.floats(400, 1000), min_size=2, max_size=40)


@given(centres=centre_lists, fwhm=st.floats(2, 60))
def test_cells_never_overlap_and_hold_their_band(centres: list[float], fwhm: float) -> None:
    bands = np.array(centres)
    cells = spectral.cells(bands, np.full(len(bands), fwhm))
    assert ((cells.lower <= bands) & (bands <= cells.upper)).all()
    unique = np.unique(np.stack([cells.lower, cells.upper]), axis=1)
    assert (unique[0, 1:] >= unique[1, :-1] - 1e-9).all()
    assert cells.width.sum() == pytest.approx((unique[1] - unique[0]).sum())
