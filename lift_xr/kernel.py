"""A fitted per-pixel network as fast matrix products over fixed micro-batches.

Data stays band-major, as the scene is stored: a layer is ``weights @ (row, pixel)``, so nothing is
transposed and the output lands where it belongs. Tiles are small enough that all activations of
one tile stay in the L2 cache. Every tile has the same number of columns, the last one padded:
matrix products of different widths round differently, and a pixel must not depend on its company.
Nor on its place in the tile: some libraries round the first and the last columns of a product
otherwise than those between (OpenBLAS 0.3.31 with AVX2 the outer eight), and these stay empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from lift_xr.named import complete, misfits
from lift_xr.threads import one_blas_thread
from lift_xr.window import Window

Array = npt.NDArray[np.float32]

TILE = 256  # pixels; 64 rows x 256 x 4 B = 64 KiB an activation. 128 is as fast, 2048 20 % slower
GPU_TILE = 65_536  # a GPU wants wide products; fixed as well, for the same reason
MARGINS = (0, 8, 16, 32, 64)  # columns at both ends of a tile that may have to stay empty
TRIALS = 4  # products that show which


@dataclass(frozen=True, eq=False)
class DenseNetwork:
    """A per-pixel network ready to run: dense layers with residual branches, then one product.

    With ``m`` the MSI pixel and ``f`` the leaky ReLU of slope ``slope``::

        h = f(W0 m + b0)
        h = h + f(... f(W h + b))        once per branch; a branch of n has n layers
        out = D m + c + V h              clipped to [low, high]

    A linear model has no hidden layer: only ``D m + c``. Scalings, harmonization and the MSI
    projection are affine in ``m`` or in ``out``, so they are folded into these arrays and cost
    nothing per pixel.

    Attributes
    ----------
    hidden
        (weights (out, in), bias (out,)) of each hidden layer.
    branches
        Layers in each residual branch after the first layer; they add up to ``len(hidden) - 1``.
    output
        V: (band, width); width 0 for a linear model.
    direct
        D: (band, msi_band).
    bias
        c: (band,).
    slope
        Of the leaky ReLU for negative values.
    low, high
        Limits of the output; infinite for none.
    """

    hidden: tuple[tuple[Array, Array], ...]
    branches: tuple[int, ...]
    output: Array
    direct: Array
    bias: Array
    slope: float = 0.3
    skips: bool = True
    low: float = -np.inf
    high: float = np.inf

    halo: ClassVar[int] = 0
    prior: ClassVar[None] = None

    @property
    def bands(self) -> int:
        """Bands it produces."""
        return int(self.direct.shape[0])

    @property
    def msi_bands(self) -> int:
        """Bands it takes."""
        return int(self.direct.shape[1])

    @property
    def parameters(self) -> int:
        """Number of weights and biases."""
        layers = sum(weights.size + bias.size for weights, bias in self.hidden)
        return int(layers + self.output.size + self.direct.size + self.bias.size)

    def __call__(self, block: Array, device: str = "cpu", prior: Window | None = None) -> Array:
        """Lift one block: (msi_band, y, x) to (band, y, x), float32.

        A pixel that is not finite in every MSI band becomes NaN in every band.
        """
        assert prior is None, "the network looks at nothing but the pixel"
        return _lift(self, block, device, None)

    def select(self, bands: Sequence[int]) -> Selection:
        """The same network for some of its bands: by their positions, in any order."""
        return Selection(self, tuple(range(self.bands)[band] for band in bands))

    # ---- what is affine in the input or the output folds into the arrays

    def after(self, gain: npt.ArrayLike, offset: npt.ArrayLike) -> DenseNetwork:
        """The same network for inputs that still need ``gain * m + offset``, per MSI band."""
        scale, shift = _per_band(gain, self.msi_bands), _per_band(offset, self.msi_bands)
        direct = self.direct.astype("float64")
        hidden = self.hidden
        if hidden:
            weights, bias = (array.astype("float64") for array in hidden[0])
            hidden = ((_float32(weights * scale), _float32(bias + weights @ shift)), *hidden[1:])
        bias = _float32(self.bias + direct @ shift)
        return replace(self, hidden=hidden, direct=_float32(direct * scale), bias=bias)

    def then(self, matrix: npt.ArrayLike, offset: npt.ArrayLike) -> DenseNetwork:
        """The same network followed by ``matrix @ out + offset``; only where nothing is clipped."""
        assert np.isinf([self.low, self.high]).all(), "clipping is not affine"
        mixing = np.asarray(matrix, "float64")
        return replace(
            self,
            output=_float32(mixing @ self.output),
            direct=_float32(mixing @ self.direct),
            bias=_float32(mixing @ self.bias + np.asarray(offset, "float64")),
        )

    # ---- to and from plain arrays

    def arrays(self) -> dict[str, Array]:
        """Its numbers by name, to be saved."""
        named = {"output": self.output, "direct": self.direct, "bias": self.bias}
        for number, (weights, bias) in enumerate(self.hidden):
            named |= {f"hidden.{number}.weights": weights, f"hidden.{number}.bias": bias}
        return named

    def settings(self) -> dict[str, Any]:
        """What is not an array, as JSON; an absent limit is None."""
        limits = [float(limit) if np.isfinite(limit) else None for limit in (self.low, self.high)]
        return {
            "branches": list(self.branches),
            "slope": self.slope,
            "skips": self.skips,
            "limits": limits,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], settings: Mapping[str, Any]) -> DenseNetwork:
        """Put a network together again; the shapes must agree with one another.

        Raises
        ------
        ValueError
            When arrays or settings are missing, or do not fit together.
        """
        with complete("the network's arrays or settings are"):
            return _assemble(arrays, settings)


@dataclass(frozen=True, eq=False)
class Selection:
    """Some bands of a network, to the bit as the whole network gives them.

    The hidden layers are the whole network's; of the last product, only the rows asked for.

    Parameters
    ----------
    network
        Of all bands.
    rows
        Positions of the bands wanted, from 0.
    """

    network: DenseNetwork
    rows: tuple[int, ...]

    def __call__(self, block: Array, device: str = "cpu", prior: Window | None = None) -> Array:
        """Lift one block: (msi_band, y, x) to (selected band, y, x), float32."""
        assert prior is None, "the network looks at nothing but the pixel"
        return _lift(self.network, block, device, self.rows)


def _lift(network: DenseNetwork, block: Array, device: str, rows: tuple[int, ...] | None) -> Array:
    """Lift one block to the bands at ``rows``; None for all."""
    assert block.shape[0] == network.msi_bands, (block.shape, network.msi_bands)
    pixels = block.reshape(network.msi_bands, -1)
    bands = network.bands if rows is None else len(rows)
    lifted = np.empty((bands, pixels.shape[1]), np.float32)
    if device == "cuda":
        _lift_on_gpu(network, pixels, lifted, rows)
    else:
        # Of NaN, of pixels beyond any training, and of what is left in the padding of a tile.
        with one_blas_thread(), np.errstate(all="ignore"):
            _lift_on_cpu(network, pixels, lifted, rows)
    return lifted.reshape(bands, *block.shape[1:])


def _assemble(arrays: Mapping[str, Array], settings: Mapping[str, Any]) -> DenseNetwork:
    branches = tuple(int(length) for length in settings["branches"])
    depth = sum(name.startswith("hidden.") and name.endswith(".weights") for name in arrays)
    hidden = tuple(
        (arrays[f"hidden.{layer}.weights"], arrays[f"hidden.{layer}.bias"])
        for layer in range(depth)
    )
    low, high = settings["limits"]
    network = DenseNetwork(
        hidden=hidden,
        branches=branches,
        output=arrays["output"],
        direct=arrays["direct"],
        bias=arrays["bias"],
        slope=float(settings["slope"]),
        skips=bool(settings["skips"]),
        low=-np.inf if low is None else float(low),
        high=np.inf if high is None else float(high),
    )
    _expect_consistent(network)
    return network


def _expect_consistent(network: DenseNetwork) -> None:
    """Refuse shapes that do not chain, before any of them meets a pixel."""
    named = network.arrays()
    if wrong := [name for name, array in named.items() if array.dtype != np.float32]:
        raise ValueError(f"the network's arrays must be float32; {', '.join(wrong)} are not")
    width = network.output.shape[1] if network.output.ndim == 2 else -1
    inputs = network.direct.shape[1] if network.direct.ndim == 2 else -1
    bands = network.direct.shape[0]
    layers = network.hidden
    expected = {"output": (bands, width), "direct": (bands, inputs), "bias": (bands,)}
    for number in range(len(layers)):
        fan_in = width if number else inputs
        expected[f"hidden.{number}.weights"] = (width, fan_in)
        expected[f"hidden.{number}.bias"] = (width,)
    if misfit := misfits(named, expected):
        found = ", ".join(f"{name} {shape}" for name, shape in misfit.items())
        raise ValueError(f"the network's layers do not fit together: {found}")
    if sum(network.branches) != max(len(layers) - 1, 0) or min(network.branches, default=1) < 1:
        raise ValueError(f"branches {network.branches} do not describe {len(layers)} layers")
    if (width > 0) != bool(layers) or min(bands, inputs) < 1:
        raise ValueError(f"a network of {inputs} inputs, width {width}, {bands} bands is none")


def _float32(values: npt.NDArray[Any]) -> Array:
    return np.ascontiguousarray(values, dtype=np.float32)


def _per_band(values: npt.ArrayLike, bands: int) -> npt.NDArray[np.float64]:
    return np.broadcast_to(np.asarray(values, "float64"), bands)


# ---- the CPU: numpy, one thread, cache-sized tiles


@dataclass(frozen=True)
class _Scratch:
    """Working rows of one tile: ``stack`` is (m, 1, h), ``first`` and ``second`` are (1, h).

    The row of ones carries the biases through the matrix product: one pass over memory less.
    """

    stack: Array
    first: Array
    second: Array
    negative: Array

    @classmethod
    def of(cls, network: DenseNetwork, columns: int) -> _Scratch:
        inputs, width = network.msi_bands, network.output.shape[1]
        stack, first, second = (
            np.ones((rows, columns), np.float32)
            for rows in (inputs + 1 + width, 1 + width, 1 + width)
        )
        return cls(stack, first, second, np.empty((width, columns), np.float32))


def _lift_on_cpu(
    network: DenseNetwork, pixels: Array, lifted: Array, rows: tuple[int, ...] | None
) -> None:
    layers, final = _with_bias(network)
    margin = margin_of(tuple(each.shape for each in (*layers, final)))
    taken: list[int] | slice = slice(None)
    if rows is not None:
        final, taken = _fewest_rows(final, rows, margin)
    scratch = _Scratch.of(network, TILE + 2 * margin)
    padded = np.empty((len(final), TILE + 2 * margin), np.float32)
    for start in range(0, pixels.shape[1], TILE):
        part = pixels[:, start : start + TILE]
        inside = slice(margin, margin + part.shape[1])
        scratch.stack[: network.msi_bands, inside] = part
        fits = taken == slice(None) and part.shape[1] == padded.shape[1]
        out = lifted[:, start : start + TILE] if fits else padded
        _lift_tile(network, layers, final, scratch, out)
        if out is padded:
            lifted[:, start : start + TILE] = padded[taken, inside]


@lru_cache(maxsize=256)
def margin_of(shapes: tuple[tuple[int, int], ...]) -> int:
    """How many columns at both ends of a tile stay empty, for weights of these shapes.

    It is tried, on this machine: the fewest with which all columns between round alike.
    """
    for margin in MARGINS:
        if all(_rounds_alike(shape, margin) for shape in shapes):
            return margin
    raise RuntimeError(
        f"matrix products of this machine's numpy round columns differently, farther than "
        f"{MARGINS[-1]} from the ends of {TILE}; expected the same for every pixel. Use another "
        "build of numpy, as pip installs it"
    )


def _rounds_alike(shape: tuple[int, int], margin: int) -> bool:
    """Whether a column comes out the same wherever it stands, but for a margin."""
    random = np.random.default_rng(0)
    for _ in range(TRIALS):
        weights, column = (random.standard_normal(each, np.float32) for each in (shape, shape[1]))
        tile = np.repeat(column[:, None], TILE + 2 * margin, axis=1)
        with one_blas_thread():
            inside = (weights @ tile)[:, margin : margin + TILE]
        if (inside != inside[:, :1]).any():
            return False
    return True


def _fewest_rows(final: Array, rows: tuple[int, ...], margin: int) -> tuple[Array, list[int]]:
    """Choose what of the last product to compute for ``rows``, and where they are in it.

    Libraries of matrix products may round a row differently in a product of fewer rows, so it is
    tried, on this machine and these numbers: where one bit differs, all rows are computed. One
    row alone is a product of another kind nearly everywhere, so it gets company.
    """
    wanted = list(rows) if len(rows) > 1 else [*rows, *rows]
    if len(wanted) < len(final):
        shape = (final.shape[1], TILE + 2 * margin)
        tile = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
        few = np.ascontiguousarray(final[wanted])
        inside = slice(margin, margin + TILE)
        alike = np.array_equal((few @ tile)[:, inside], (final @ tile)[wanted][:, inside])
        if alike and _rounds_alike(few.shape, margin):
            return few, list(range(len(rows)))
    return final, list(rows)


def _with_bias(network: DenseNetwork) -> tuple[list[Array], Array]:
    """Weights with their bias as a column, in the order of the scratch rows."""
    layers = [_float32(np.column_stack([bias, weights])) for weights, bias in network.hidden]
    if layers:
        layers[0] = _float32(np.roll(layers[0], -1, axis=1))  # (m, 1), the stack's first rows
    final = np.column_stack([network.direct, network.bias, network.output])
    return layers, _float32(final)


def _lift_tile(
    network: DenseNetwork, layers: list[Array], final: Array, scratch: _Scratch, out: Array
) -> None:
    inputs = network.msi_bands
    tile = scratch.stack[:inputs]
    tile += tile * np.float32(0)  # infinities become NaN, and NaN reaches every band by itself
    if layers:
        state = scratch.stack[inputs:]  # (1, h)
        _dense(network, layers[0], scratch.stack[: inputs + 1], state[1:], scratch.negative)
        layer = 1
        for length in network.branches:
            _branch(network, layers[layer : layer + length], state, scratch)
            layer += length
    np.matmul(final, scratch.stack, out=out)
    if np.isfinite(network.low) or np.isfinite(network.high):
        np.clip(out, network.low, network.high, out=out)


def _branch(network: DenseNetwork, layers: list[Array], state: Array, scratch: _Scratch) -> None:
    """Run one residual branch from ``state`` and add (or put) the result there."""
    source, target, spare = state, scratch.first, scratch.second
    for weights in layers:
        _dense(network, weights, source, target[1:], scratch.negative)
        source, target, spare = target, spare, target
    if network.skips:
        state[1:] += source[1:]
    else:
        state[1:] = source[1:]


def _dense(
    network: DenseNetwork, weights: Array, source: Array, target: Array, negative: Array
) -> None:
    np.matmul(weights, source, out=target)
    np.multiply(target, np.float32(network.slope), out=negative)
    np.maximum(target, negative, out=target)  # the leaky ReLU, for slopes below one


# ---- a GPU: the same products through torch, wider tiles


def _lift_on_gpu(
    network: DenseNetwork, pixels: Array, lifted: Array, rows: tuple[int, ...] | None
) -> None:
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False  # TF32 keeps 10 bits of mantissa
    layers = [(_to_gpu(weights), _to_gpu(bias[:, None])) for weights, bias in network.hidden]
    output, direct, bias = map(_to_gpu, (network.output, network.direct, network.bias[:, None]))
    tile = torch.zeros((network.msi_bands, GPU_TILE), device="cuda")
    with torch.inference_mode():
        for start in range(0, pixels.shape[1], GPU_TILE):
            part = pixels[:, start : start + GPU_TILE]
            tile[:, : part.shape[1]] = _to_gpu(part)
            tile += tile * 0
            out = torch.addmm(bias, direct, tile)
            if layers:
                out = out.addmm_(output, _hidden_on_gpu(network, layers, tile))
            out = out.clamp_(network.low, network.high)
            if rows is not None:  # of all of them: the last product is little of the work
                out = out[list(rows)]
            lifted[:, start : start + GPU_TILE] = out[:, : part.shape[1]].cpu().numpy()


def _to_gpu(array: Array) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(array)).cuda()


def _hidden_on_gpu(network: DenseNetwork, layers: list[Any], tile: Any) -> Any:
    import torch

    def dense(layer: Any, rows: Any) -> Any:
        weights, bias = layer
        return torch.nn.functional.leaky_relu_(torch.addmm(bias, weights, rows), network.slope)

    state, remaining = dense(layers[0], tile), iter(layers[1:])
    for length in network.branches:
        branch = state
        for _ in range(length):
            branch = dense(next(remaining), branch)
        state = state + branch if network.skips else branch
    return state
