"""The activation layer and its kernels: values, derivatives, softmax, whole models, files, streams."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import FINITE_DIFFERENCE, TOLERANCE, check_gradients, numerical_gradient, relative_error

import fastlstm as fl
from fastlstm import _core
from fastlstm.activations import KINDS, as_activation
from fastlstm.layers import layer_from_config

PARAMETERS: dict[str, tuple[float, ...]] = {
    "affine": (1.5, -0.25),
    "leaky_relu": (0.3,),
    "thresholded_relu": (0.7,),
    "scaled_tanh": (1.7, 0.6),
    "hard_sigmoid": (0.3, 0.4),
    "elu": (0.8,),
    "selu": (1.5, 1.2),
}
ALL = [*KINDS, "softmax"]


def made(kind: str) -> fl.Activation:
    return fl.Activation(kind, *PARAMETERS.get(kind, ()))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_kernels_equal_numpy(isa: str, kind: str, dtype: str) -> None:
    """The bound is relative to each value: elu and softplus must be accurate near 0 and far below it."""
    function = as_activation("kind", (kind, *PARAMETERS.get(kind, ())))
    rng = np.random.default_rng(1)
    # Values around 0 down to 1e-30, the whole range without underflow, and the last step of float32's exponent.
    x = np.concatenate([s * 10.0 ** rng.uniform(-30, 1.9, 500) for s in (-1, 1)] + [np.array([0.0, 88.5, -80.0])])
    if kind.startswith("gelu"):
        x = np.maximum(x, -9)  # below, exp(-x^2 / 2) underflows in float32
    x = x.astype(dtype)
    exact = x.astype("f8")
    y, dx, dy = np.empty_like(x), np.empty_like(x), rng.standard_normal(x.shape).astype(dtype)
    _core.activation(function.number, function.alpha, function.beta, x, y, 2)
    expected = function(exact)
    # A few ulp of the value; where affine or hard_sigmoid cancel, of the terms.
    ulp = {"float32": 1e-6, "float64": 4e-15}[dtype]
    size = np.maximum(np.abs(expected), 1 if kind in ("affine", "hard_sigmoid") else 0)
    if kind == "gelu_tanh":  # exp(2 u) has the error of 2 u, which is large in the tail
        size *= 1 + np.abs(2 * 0.8 * (exact + 0.044715 * exact**3)) * (exact < 0)
    if kind == "gelu":  # erfc(-x / sqrt(2)) of the C library has the error of the rounded quotient
        size *= 1 + exact**2 / 4 * (exact < 0)
    assert (np.abs(y - expected) <= ulp * size).all()
    _core.activation_backward(function.number, function.alpha, function.beta, x, y, dy, dx, 2)
    slope = function.derivative(exact)
    # y (1 - y) and 1 - y^2 cancel at saturation.
    assert (np.abs(dx - dy * slope) <= 4 * ulp * np.abs(dy)).all()
    if kind in ("elu", "softsign", "softplus"):
        assert (np.abs(dx - dy * slope) <= 4 * ulp * np.abs(dy * slope)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_extremes(isa: str, kind: str, dtype: str) -> None:
    function = as_activation("kind", (kind, *PARAMETERS.get(kind, ())))
    x = np.array([np.nan, 1e4, -1e4, 0.0, 3.0], dtype)
    y = np.empty_like(x)
    _core.activation(function.number, function.alpha, function.beta, x, y)
    assert np.isnan(y[0])
    np.testing.assert_allclose(y[1:], function(x[1:].astype("f8")), rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("size", [1, 7, 64, 100_003])
def test_the_threads_do_not_matter(isa: str, size: int) -> None:
    rng = np.random.default_rng(2)
    x, dy = rng.standard_normal((2, size)).astype("f4")
    for number in range(len(KINDS)):
        results = []
        for threads in (1, 2, 3):
            y, dx = np.full_like(x, 9), np.full_like(x, 9)
            _core.activation(number, 0.5, 0.25, x, y, threads)
            _core.activation_backward(number, 0.5, 0.25, x, y, dy, dx, threads)
            results.append((y, dx))
        for y, dx in results[1:]:
            np.testing.assert_array_equal(y, results[0][0])
            np.testing.assert_array_equal(dx, results[0][1])


@pytest.mark.parametrize("classes", [1, 2, 9, 33])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_softmax_backward(isa: str, dtype: str, classes: int) -> None:
    rng = np.random.default_rng(3)
    p = rng.dirichlet(np.ones(classes), 11)
    dy = rng.standard_normal((11, classes))
    expected = p * (dy - (p * dy).sum(axis=1, keepdims=True))
    got = np.empty((11, classes), dtype)
    _core.softmax_backward(p.astype(dtype), dy.astype(dtype), got, 2)
    assert relative_error(got, expected) <= TOLERANCE[dtype]


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("per_step", [False, True])
def test_gradients_by_finite_differences(kind: str, per_step: bool) -> None:
    rng = np.random.default_rng(4)
    layers = [fl.LSTM(6, return_sequences=per_step), made(kind), fl.Dense(3), made(kind)]
    model = fl.Model(layers, input_size=2, dtype="float64", seed=5)
    model.flat_parameters[:] *= 3  # outside the linear part of each function
    x, lengths = rng.standard_normal((4, 5, 2)), np.array([5, 2, 1, 4])
    weight = rng.standard_normal(model.forward(x, lengths).shape)
    if per_step:
        weight[np.arange(5) >= lengths[:, None]] = 0
    check_gradients(model, x, lengths, weight)


def test_first_layer_and_input_gradient() -> None:
    """NaN in the padding has no effect, and the gradient reaches the input."""
    model = fl.Model([fl.Activation("softplus"), fl.LSTM(3)], input_size=2, dtype="float64")
    x, lengths = np.random.default_rng(6).standard_normal((2, 4, 2)), [4, 2]
    expected = model.predict(x, lengths)
    x[1, 2:] = np.nan
    np.testing.assert_array_equal(model.predict(x, lengths), expected)
    x[1, 2:] = 0
    model.forward(x, lengths, training=True)
    dx = model.backward(np.ones((2, 3)))
    numerical = numerical_gradient(lambda: float(model.forward(x, lengths).sum()), x)
    assert relative_error(dx, numerical) <= FINITE_DIFFERENCE


@pytest.mark.parametrize("kind", ALL)
def test_values_files_and_config(kind: str, tmp_path: Any) -> None:
    layer = made(kind)
    model = fl.Model([layer, fl.LSTM(2), fl.Dense(3), made(kind)], input_size=4)
    assert layer_from_config({"type": "Activation", **layer.get_config()}).get_config() == layer.get_config()
    assert eval(repr(layer), {"Activation": fl.Activation}).get_config() == layer.get_config()
    model.save(tmp_path / "m.safetensors")
    x = np.random.default_rng(7).standard_normal((3, 5, 4))
    np.testing.assert_array_equal(fl.load(tmp_path / "m.safetensors").predict(x), model.predict(x))
    model.summary()
    alone = fl.Model([made(kind)], input_size=4, dtype="float64").predict(x)
    if kind == "softmax":
        expected = np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)
    else:
        expected = as_activation("kind", (kind, *PARAMETERS.get(kind, ())))(x)
    assert relative_error(alone, expected) <= TOLERANCE["float64"]


def test_a_hidden_layer_learns_what_a_line_cannot() -> None:
    rng = np.random.default_rng(8)
    x = rng.integers(0, 2, (64, 1, 2)).astype("f4")
    y = (x[:, 0, 0] != x[:, 0, 1]).astype(int)
    layers = [
        fl.Dense(16),
        fl.Activation("relu"),
        fl.LastStep() if hasattr(fl, "LastStep") else fl.LSTM(8),
        fl.Dense(2),
    ]
    model = fl.Model(layers, seed=1)
    model.fit(x, y, epochs=60, optimizer=fl.Adam(0.02), verbose=0)
    assert model.evaluate(x, y)["accuracy"] == 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("mish",), ValueError, "kind is 'mish', expected one of sigmoid, .*softmax"),
        ((3,), TypeError, "kind must be the name"),
        (("relu", 0.5), ValueError, "relu has no parameter alpha"),
        (("elu", 0.5, 0.1), ValueError, "elu has no parameter beta"),
        (("softmax", 1.0), ValueError, "softmax has no parameter alpha"),
        (("elu", float("nan")), ValueError, "must be finite"),
        (("elu", "big"), TypeError, "not a number"),
    ],
)
def test_bad_arguments(arguments: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fl.Activation(*arguments)


def test_bad_places_and_arrays() -> None:
    with pytest.raises(ValueError, match="unknown, expected 0 to 14"):
        _core.activation(len(KINDS), 0, 0, np.zeros(3), np.zeros(3))
    with pytest.raises(ValueError, match=r"y has shape \(2,\)"):
        _core.activation(0, 0, 0, np.zeros(3), np.zeros(2))
    with pytest.raises(ValueError, match=r"dx has shape \(2,\)"):
        _core.activation_backward(0, 0, 0, np.zeros(3), np.zeros(3), np.zeros(3), np.zeros(2))
    assert fl.Activation("linear").kind == "affine"
