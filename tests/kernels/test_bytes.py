"""Kernels with weights of 8 bits against the reference, on every instruction set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import Shape

from fastlstm import _core, reference

Array = np.ndarray

# A step of rounding of the integer that stands for h moves z by |w| / 127 at most, about 1 / 127 / sqrt(hidden).
_CLOSE, _ROUNDED_APART = 2e-6, 5e-3


SHAPES = [
    Shape(1, 3, 1, 1),
    Shape(1, 9, 5, 33),
    Shape(2, 7, 3, 16),
    Shape(3, 5, 17, 40),
    Shape(6, 4, 64, 7),
    Shape(13, 3, 130, 65),
    Shape(29, 2, 2, 129),
]


class Problem:
    """A layer of random weights, and the results of the kernels for it."""

    def __init__(self, shape: Shape, limits: bool, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        bound = shape.hidden**-0.5
        self.shape = shape
        self.weight_ih = rng.uniform(-bound, bound, (4 * shape.hidden, shape.inputs)).astype("f4")
        self.weight_hh = rng.uniform(-bound, bound, (4 * shape.hidden, shape.hidden)).astype("f4")
        self.bias = rng.uniform(-bound, bound, 4 * shape.hidden).astype("f4")
        self.x = (rng.standard_normal(shape[:3]) * rng.uniform(0.1, 3, shape.inputs)).astype("f4")
        self.limits = np.abs(self.x).max(axis=(0, 1)) * np.float32(0.8) if limits else None  # some values are cut
        for array in (self.weight_ih, self.weight_hh, self.bias, self.limits):
            if array is not None:
                array.flags.writeable = False

    def run(self, x: Array | None = None, n_threads: int = 1, **given: Any) -> tuple[Array, Array, Array]:
        x = self.x if x is None else x
        batch, time, _ = x.shape
        y = np.full((batch, time, self.shape.hidden), np.nan, "f4")
        hn, cn = (np.full((batch, self.shape.hidden), np.nan, "f4") for _ in range(2))
        _core.LSTMPass().forward(
            x,
            self.weight_ih,
            self.weight_hh,
            self.bias,
            y=y,
            hn=hn,
            cn=cn,
            packed=_core.PackedWeights(),
            n_threads=n_threads,
            quantized=True,
            x_limits=self.limits,
            **given,
        )
        return y, hn, cn


@pytest.mark.parametrize("limits", [False, True], ids=["dynamic", "limits"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_reference(isa: str, shape: Shape, limits: bool) -> None:
    problem = Problem(shape, limits)
    y, hn, cn = problem.run()
    expected, c = reference.quantized_lstm_forward(
        problem.x, problem.weight_ih, problem.weight_hh, problem.bias, problem.limits
    )
    apart = np.abs(y - expected)
    assert (apart < _CLOSE).mean() > 0.99 and apart.max() < _ROUNDED_APART
    np.testing.assert_array_equal(hn, y[:, -1])
    assert np.abs(cn - c).max() < _ROUNDED_APART


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_close_to_the_float_layer(isa: str, shape: Shape) -> None:
    problem = Problem(shape, False)
    exact = reference.lstm_forward(problem.x, problem.weight_ih, problem.weight_hh, problem.bias)[0]
    # Weights, x and h are each off by up to 1 / 254 of their limits, and few of these errors have the same sign.
    assert np.abs(problem.run()[0] - exact).max() < 0.02


@pytest.mark.parametrize("limits", [False, True], ids=["dynamic", "limits"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_same_bits_for_any_threads_rows_and_sets(shape: Shape, limits: bool) -> None:
    problem = Problem(shape, limits)
    before, results = _core.isa(), {}
    try:
        for name in _core.available_isas():
            _core.set_isa(name)
            y = problem.run()[0]
            for n_threads in (2, 3):
                np.testing.assert_array_equal(problem.run(n_threads=n_threads)[0], y)
            for row in range(shape.batch):
                np.testing.assert_array_equal(problem.run(problem.x[row : row + 1])[0], y[row : row + 1])
            if _core.fused():
                results[name] = y
            _core.allow_vnni(False)  # 16 bits, as on processors without bytes in their registers of AVX-512
            np.testing.assert_array_equal(problem.run()[0], y)
            _core.allow_vnni(True)
    finally:
        _core.set_isa(before)
        _core.allow_vnni(True)
    first = next(iter(results.values()))
    for y in results.values():
        np.testing.assert_array_equal(y, first)


@pytest.mark.parametrize("limits", [False, True], ids=["dynamic", "limits"])
@pytest.mark.parametrize(
    "shape", [Shape(16, 3, 5, 128), Shape(40, 5, 65, 130), Shape(70, 3, 130, 150), Shape(33, 2, 12, 256)], ids=str
)
def test_tiles_of_integers_give_the_same_bits(shape: Shape, limits: bool) -> None:
    """AMX, where the processor has it, against vectors: for layers of 128 units and shares of 16 rows."""
    problem = Problem(shape, limits)
    lengths = np.arange(shape.batch) % (shape.time + 1)
    try:
        _core.allow_byte_tiles(False)
        expected = problem.run(), problem.run(lengths=lengths)
    finally:
        _core.allow_byte_tiles(True)
    for n_threads in (1, 2):
        for got, known in zip(
            (problem.run(n_threads=n_threads), problem.run(n_threads=n_threads, lengths=lengths)), expected, strict=True
        ):
            for one, other in zip(got, known, strict=True):
                np.testing.assert_array_equal(one, other)


def test_lengths_states_and_directions(isa: str) -> None:
    problem = Problem(Shape(5, 8, 6, 20), False)
    lengths = np.array([8, 3, 1, 8, 5])
    x = problem.x.copy()
    for row, end in enumerate(lengths):
        x[row, end:] = np.nan  # never read
    y, hn, cn = problem.run(x, lengths=lengths)
    back, hn_back, _ = problem.run(x, lengths=lengths, reverse=True)
    for row, end in enumerate(lengths):
        one = problem.x[row : row + 1, :end]
        whole, h, c = problem.run(one)
        np.testing.assert_array_equal(y[row, :end], whole[0])
        np.testing.assert_array_equal(y[row, end:], 0)
        np.testing.assert_array_equal((hn[row], cn[row]), (h[0], c[0]))
        turned = problem.run(np.ascontiguousarray(one[:, ::-1]))[0]
        np.testing.assert_array_equal(back[row, :end], turned[0, ::-1])
        np.testing.assert_array_equal(hn_back[row], back[row, 0])
    first, h, c = problem.run(problem.x[:, :5])
    second = problem.run(problem.x[:, 5:], h0=h, c0=c)[0]
    np.testing.assert_array_equal(np.concatenate([first, second], axis=1), problem.run()[0])


@pytest.mark.parametrize("limits", [False, True], ids=["dynamic", "limits"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_shows(isa: str, value: float, limits: bool) -> None:
    problem = Problem(Shape(4, 6, 19, 24), limits)
    expected = problem.run()[0]
    x = problem.x.copy()
    x[2, 3, 18] = value
    y = problem.run(x)[0]
    assert np.isnan(y[2, 3:]).all()
    np.testing.assert_array_equal(y[2, :3], expected[2, :3])
    np.testing.assert_array_equal(np.delete(y, 2, axis=0), np.delete(expected, 2, axis=0))


def test_extreme_inputs_and_weights(isa: str) -> None:
    problem = Problem(Shape(3, 4, 8, 16), False)
    for factor in (0.0, 1e-30, 1e-38):
        y = problem.run(problem.x * np.float32(factor))[0]
        exact = reference.lstm_forward(problem.x * 0, problem.weight_ih, problem.weight_hh, problem.bias)[0]
        assert np.abs(y - exact).max() < 0.02, factor
    assert np.abs(problem.run(problem.x * np.float32(1e37))[0]).max() <= 1
    zeros = np.zeros_like(problem.weight_ih)
    zeros.flags.writeable = False
    problem.weight_ih = zeros
    np.testing.assert_array_equal(problem.run(problem.x * 3)[0], problem.run()[0])


@pytest.mark.parametrize("limits", [False, True], ids=["dynamic", "limits"])
@pytest.mark.parametrize("rows, inputs, outputs", [(1, 1, 1), (5, 7, 3), (40, 65, 130), (7, 300, 64)])
def test_dense(isa: str, rows: int, inputs: int, outputs: int, limits: bool) -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((rows, inputs)).astype("f4")
    weight, bias = rng.standard_normal((outputs, inputs)).astype("f4"), rng.standard_normal(outputs).astype("f4")
    bounds = np.abs(x).max(axis=0) if limits else None
    for array in (weight, bias, bounds):
        if array is not None:
            array.flags.writeable = False
    packed, results = _core.PackedWeights(), []
    for n_threads in (1, 3):
        y = np.full((rows, outputs), np.nan, "f4")
        _core.dense_forward(x, weight, bias, y, _core.Workspace(), n_threads, packed, True, bounds)
        results.append(y)
    np.testing.assert_array_equal(*results)
    expected = reference.quantized_product(x, weight, bounds) + bias
    # Integers are equal: what remains is the rounding of a product and a sum.
    np.testing.assert_allclose(results[0], expected, rtol=1e-6, atol=3e-7 * float(np.abs(expected).max()))


def test_refusals() -> None:
    problem = Problem(Shape(2, 3, 4, 5), True)
    with pytest.raises(ValueError, match="must be read-only"):
        _core.LSTMPass().forward(problem.x, problem.weight_ih, problem.weight_hh, quantized=True)
    with pytest.raises(ValueError, match="inference with the plain cell alone"):
        problem.run(training=True)
    with pytest.raises(ValueError, match="belong to quantized weights"):
        _core.LSTMPass().forward(problem.x, problem.weight_ih, problem.weight_hh, x_limits=problem.limits)
    with pytest.raises(TypeError, match="float32 alone"):
        double = [a.astype("f8") for a in (problem.x, problem.weight_ih, problem.weight_hh)]
        _core.LSTMPass().forward(*double, quantized=True, packed=_core.PackedWeights())
    problem.limits = problem.limits[:2]
    with pytest.raises(ValueError, match="x_limits"):
        problem.run()
