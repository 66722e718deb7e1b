"""The fast kernel against the formula it stands for."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_xr import kernel
from lift_xr.kernel import TILE, DenseNetwork


def network(
    *,
    inputs: int = 3,
    width: int = 16,
    bands: int = 7,
    branches: tuple[int, ...] = (1, 2, 2),
    seed: int = 0,
) -> DenseNetwork:
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.3, shape).astype("float32")

    sizes = [inputs] + [width] * (1 + sum(branches))
    return DenseNetwork(
        hidden=tuple((normal(b, a), normal(b)) for a, b in pairwise(sizes)),
        branches=branches,
        output=normal(bands, width),
        direct=normal(bands, inputs),
        bias=normal(bands),
    )


def by_the_formula(net: DenseNetwork, block: np.ndarray) -> np.ndarray:
    """The published network, layer by layer, in float64."""
    m = block.reshape(len(block), -1).astype("float64")
    out = net.direct.astype("float64") @ m + net.bias[:, None]
    if net.hidden:

        def f(layer: int, rows: np.ndarray) -> np.ndarray:
            weights, bias = net.hidden[layer]
            rows = weights.astype("float64") @ rows + bias[:, None]
            return np.where(rows > 0, rows, net.slope * rows)

        h, layer = f(0, m), 1
        for length in net.branches:
            branch = h
            for _ in range(length):
                branch, layer = f(layer, branch), layer + 1
            h = h + branch if net.skips else branch
        out = out + net.output.astype("float64") @ h
    return np.clip(out, net.low, net.high).reshape(net.bands, *block.shape[1:])


def block_of(pixels: int, bands: int = 3, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).random((bands, 1, pixels), dtype="float32")


@pytest.mark.parametrize("branches", [(), (1,), (1, 2), (1, 2, 2), (3,)])
@pytest.mark.parametrize("skips", [True, False])
def test_the_kernel_computes_the_published_formula(branches: tuple[int, ...], skips: bool) -> None:
    net = replace(network(branches=branches), skips=skips)
    block = block_of(2 * TILE + 5)
    np.testing.assert_allclose(net(block), by_the_formula(net, block), rtol=2e-5, atol=2e-5)


def test_a_network_without_hidden_layers_is_affine() -> None:
    net = replace(network(branches=()), hidden=(), output=np.zeros((7, 0), "float32"))
    block = block_of(11)
    np.testing.assert_allclose(net(block), by_the_formula(net, block), rtol=1e-5, atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 3 * TILE), st.integers(0, 3 * TILE), st.integers(0, 4))
def test_a_pixel_does_not_depend_on_its_company(size: int, start: int, seed: int) -> None:
    net = network(width=64, bands=50, seed=seed)
    whole = block_of(3 * TILE + 3)
    part = whole[:, :, start : start + size]
    if part.size:
        np.testing.assert_array_equal(
            net(np.ascontiguousarray(part)), net(whole)[:, :, start : start + size]
        )


@pytest.mark.parametrize("margin", kernel.MARGINS)
@pytest.mark.parametrize("pixels", [1, TILE, TILE + 5, 3 * TILE])
def test_columns_that_stay_empty_change_nothing(margin: int, pixels: int, monkeypatch) -> None:
    net, block = network(), block_of(pixels)
    monkeypatch.setattr(kernel, "margin_of", lambda shapes: margin)
    found = net(block)
    np.testing.assert_allclose(found, by_the_formula(net, block), rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(net.select([2, 5])(block), found[[2, 5]], rtol=2e-5, atol=2e-5)


def test_columns_are_left_empty_as_far_as_products_round_otherwise(monkeypatch) -> None:
    shapes = ((16, 4), (7, 20))
    kernel.margin_of.cache_clear()
    monkeypatch.setattr(kernel, "_rounds_alike", lambda shape, margin: margin >= sum(shape) / 2)
    assert kernel.margin_of(shapes) == 16
    with pytest.raises(RuntimeError, match="round columns differently, farther than 64 from"):
        kernel.margin_of(((200, 4),))
    kernel.margin_of.cache_clear()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_pixel_that_is_not_finite_is_nan_in_every_band_and_alone(bad: float) -> None:
    net, block = network(), block_of(TILE + 9)
    clean = net(block)
    block[1, 0, 4] = bad
    lifted = net(block)
    assert np.isnan(lifted[:, 0, 4]).all()
    lifted[:, 0, 4] = clean[:, 0, 4]
    np.testing.assert_array_equal(lifted, clean)


def test_scalings_of_the_input_fold_into_the_first_layers() -> None:
    net, block = network(), block_of(20)
    gain, offset = np.array([2.0, 0.5, 1.5]), np.array([0.1, -0.2, 0.3])
    scaled = (gain[:, None, None] * block + offset[:, None, None]).astype("float32")
    np.testing.assert_allclose(net.after(gain, offset)(block), net(scaled), rtol=1e-4, atol=1e-5)


def test_what_follows_the_network_folds_into_the_last_layer() -> None:
    net, block = network(), block_of(20)
    mixing = np.random.default_rng(3).normal(size=(5, 7))
    expected = np.einsum("ob,byx->oyx", mixing, net(block)) + 0.25
    np.testing.assert_allclose(net.then(mixing, 0.25)(block), expected, rtol=1e-4, atol=1e-4)


def test_the_output_is_clipped_where_limits_are_set() -> None:
    lifted = replace(network(), low=-0.1, high=0.2)(block_of(300))
    assert lifted.min() == np.float32(-0.1)
    assert lifted.max() == np.float32(0.2)


def test_an_empty_block_is_lifted_to_an_empty_block() -> None:
    assert network()(np.empty((3, 0, 4), "float32")).shape == (7, 0, 4)


def test_arrays_and_settings_put_the_same_network_together() -> None:
    net, block = replace(network(), high=0.5), block_of(40)
    again = DenseNetwork.from_arrays(net.arrays(), net.settings())
    np.testing.assert_array_equal(again(block), net(block))


@pytest.mark.parametrize(
    ("name", "shape"),
    [("bias", (6,)), ("direct", (7, 2)), ("hidden.2.weights", (16, 15)), ("output", (7,))],
)
def test_arrays_that_do_not_fit_together_are_refused(name: str, shape: tuple[int, ...]) -> None:
    net = network()
    arrays = net.arrays() | {name: np.zeros(shape, "float32")}
    with pytest.raises(ValueError, match=r"do not fit|is none|incomplete"):
        DenseNetwork.from_arrays(arrays, net.settings())


@pytest.mark.parametrize("branches", [[1, 2], [1, 2, 3], [5, 0], [-1, 6]])
def test_branches_that_do_not_describe_the_layers_are_refused(branches: list[int]) -> None:
    net = network()
    with pytest.raises(ValueError, match="branches"):
        DenseNetwork.from_arrays(net.arrays(), net.settings() | {"branches": branches})


def test_the_number_of_parameters_is_the_published_one() -> None:
    """SpectraLift on DC Mall, 191 bands: 33,535 with four MSI bands."""
    net = network(inputs=4, width=64, bands=191)
    assert net.parameters - net.direct.size == 33_535


@pytest.mark.gpu
def test_the_gpu_kernel_agrees_with_the_cpu() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    net, block = network(width=64, bands=50), block_of(70_001)
    np.testing.assert_allclose(net(block, "cuda"), net(block, "cpu"), rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------------------------- some bands only


@settings(deadline=None, max_examples=40)
@given(
    rows=st.lists(st.integers(0, 6), min_size=1, max_size=9),
    pixels=st.integers(1, 2 * TILE + 3),
    width=st.sampled_from([0, 5, 16]),
)
def test_selected_bands_are_those_of_the_whole_network_to_the_bit(
    rows: list[int], pixels: int, width: int
) -> None:
    branches = (1, 2, 2) if width else ()
    net = network(width=width or 16, branches=branches)
    if not width:
        net = replace(net, hidden=(), output=np.empty((7, 0), "float32"))
    net = replace(net, low=-0.4, high=0.9)
    block = block_of(pixels)
    block[:, 0, 0] = np.nan
    np.testing.assert_array_equal(net.select(rows)(block), net(block)[rows])


def test_bands_are_selected_from_the_end_too_and_none_beyond() -> None:
    net, block = network(), block_of(5)
    np.testing.assert_array_equal(net.select([-1])(block), net(block)[-1:])
    with pytest.raises(IndexError):
        net.select([7])


def test_where_a_row_alone_rounds_differently_all_rows_are_computed(monkeypatch) -> None:
    final = np.random.default_rng(0).random((50, 68), dtype="float32")
    monkeypatch.setattr(kernel.np, "array_equal", lambda *_: False)
    product, taken = kernel._fewest_rows(final, (3,), kernel.margin_of((final.shape,)))
    assert product is final
    assert taken == [3]


def test_one_band_takes_a_last_product_of_two_rows() -> None:
    final = np.random.default_rng(0).random((50, 68), dtype="float32")
    product, taken = kernel._fewest_rows(final, (3,), kernel.margin_of((final.shape,)))
    if len(product) < 50:  # where BLAS rounds rows alone as it does among others
        np.testing.assert_array_equal(product, final[[3, 3]])
        assert taken == [0]
