"""Pooling over the valid steps: values against loops over single cases, gradients, padding, threads, whole models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import FINITE_DIFFERENCE, TOLERANCE, check_gradients, numerical_gradient, relative_error

import fastlstm as fl
from fastlstm import _core
from fastlstm.layers import Pool

POOLS: dict[str, Callable[[], Pool]] = {
    "last": fl.LastStep,
    "mean": fl.MeanPool,
    "max": fl.MaxPool,
    "attention": lambda: fl.AttentionPool(5),
}
LENGTHS = np.array([9, 1, 4, 0, 9])


def pooled(kind: str, x: np.ndarray, scores: np.ndarray | None = None) -> np.ndarray:
    """Pool one case (time, features) with NumPy."""
    if not len(x):
        return np.zeros(x.shape[1])
    if kind == "last":
        return x[-1]
    if kind == "mean":
        return x.sum(axis=0) / len(x)
    if kind == "max":
        return x.max(axis=0)
    assert scores is not None
    weights = np.exp(scores) / np.exp(scores).sum()
    return weights @ x


def run_kernel(kind: str, dtype: str, width: int, threads: int, seed: int = 1) -> tuple[np.ndarray, ...]:
    """Return x, scores, y, dy, dx, dscores of one problem whose padding is NaN."""
    rng = np.random.default_rng(seed)
    batch, time = len(LENGTHS), int(LENGTHS.max())
    x = rng.standard_normal((batch, time, width)).astype(dtype)
    scores = (4 * rng.standard_normal((batch, time))).astype(dtype)
    x[np.arange(time) >= LENGTHS[:, None]] = np.nan
    scores[np.arange(time) >= LENGTHS[:, None]] = np.nan
    dy = rng.standard_normal((batch, width)).astype(dtype)
    y, dx = np.full((batch, width), 9, dtype), np.full(x.shape, 9, dtype)
    dscores = np.full(scores.shape, 9, dtype)
    more: dict[str, Any] = {}
    if kind == "max":
        more["index"] = np.full((batch, width), -9)  # as in a buffer that was used before
    elif kind == "attention":
        more.update(scores=scores, weights=np.full(scores.shape, 9, dtype))
    state = np.zeros((batch, _core.POOL_COUNTS)), np.zeros((batch, width))
    _core.pool_forward(kind, x, *state, y, lengths=LENGTHS, n_threads=threads, **more)
    if kind == "attention":
        more["dscores"] = dscores
    _core.pool_backward(kind, x, y, dy, dx, lengths=LENGTHS, n_threads=threads, **more)
    return x, scores, y, dy, dx, dscores


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", [1, 7, 16, 33])
@pytest.mark.parametrize("kind", POOLS)
def test_kernels_equal_loops_over_single_cases(isa: str, kind: str, width: int, dtype: str) -> None:
    x, scores, y, dy, dx, dscores = run_kernel(kind, dtype, width, 2)
    for b, length in enumerate(LENGTHS):
        one, s = x[b, :length].astype("f8"), scores[b, :length].astype("f8")
        assert relative_error(y[b], pooled(kind, one, s)) <= TOLERANCE[dtype]
        assert (dx[b, length:] == 0).all()
        if kind == "attention":
            assert (dscores[b, length:] == 0).all()
        if not length:
            continue

        def f(one: np.ndarray = one, s: np.ndarray = s, b: int = b) -> float:
            return float(pooled(kind, one, s) @ dy[b].astype("f8"))

        # Compare the gradients of both dtypes with differences in float64.
        tolerance = max(TOLERANCE[dtype], FINITE_DIFFERENCE)
        assert relative_error(dx[b, :length], numerical_gradient(f, one)) <= tolerance
        if kind == "attention":
            # A difference of two inner products that may be nearly equal, which doubles the rounding errors.
            assert relative_error(dscores[b, :length], numerical_gradient(f, s)) <= 2 * tolerance


@pytest.mark.parametrize("kind", POOLS)
def test_the_threads_do_not_matter(isa: str, kind: str) -> None:
    first, *others = (run_kernel(kind, "float32", 33, threads) for threads in (1, 2, 3, 7))
    for other in others:
        for a, b in zip(first[2:], other[2:], strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", POOLS)
@pytest.mark.parametrize("variable", [False, True], ids=["full", "lengths"])
def test_gradients_by_finite_differences(kind: str, variable: bool) -> None:
    rng = np.random.default_rng(2)
    layers = [fl.LSTM(4, return_sequences=True), POOLS[kind](), fl.Dense(2)]
    model = fl.Model(layers, input_size=3, dtype="float64", seed=3)
    model.flat_parameters[:] *= 2
    x = rng.standard_normal((4, 6, 3))
    lengths = np.array([6, 1, 4, 3]) if variable else None
    check_gradients(model, x, lengths, rng.standard_normal((4, 2)))


@pytest.mark.parametrize("kind", POOLS)
def test_as_the_first_layer(kind: str) -> None:
    """The gradients reach the input and the layer's own parameters, and NaN in the padding has no effect."""
    rng = np.random.default_rng(4)
    model = fl.Model([POOLS[kind](), fl.Dense(2)], input_size=3, dtype="float64")
    x, lengths, weight = rng.standard_normal((3, 5, 3)), np.array([5, 2, 3]), rng.standard_normal((3, 2))
    clean = x.copy()
    x[np.arange(5) >= lengths[:, None]] = np.nan
    np.testing.assert_array_equal(model.predict(x, lengths), model.predict(clean, lengths))
    for one, end in zip(range(3), lengths, strict=True):
        alone = model.predict(clean[one : one + 1, :end])
        np.testing.assert_array_equal(alone, model.predict(x, lengths)[one : one + 1])
    model.forward(x, lengths, training=True)
    model.zero_grad()
    dx = model.backward(weight)
    assert (dx[np.arange(5) >= lengths[:, None]] == 0).all()
    numerical = numerical_gradient(lambda: float((model.forward(clean, lengths) * weight).sum()), clean)
    assert relative_error(dx, numerical) <= FINITE_DIFFERENCE
    for name, array in model.parameters().items():
        numerical = numerical_gradient(lambda: float((model.forward(x, lengths) * weight).sum()), array)
        assert relative_error(model.gradients()[name], numerical) <= FINITE_DIFFERENCE, name


def test_attention_is_the_formula() -> None:
    rng = np.random.default_rng(5)
    model = fl.Model([fl.AttentionPool(6)], input_size=3, dtype="float64")
    x = rng.standard_normal((2, 7, 3))
    p = {name.partition(".")[2]: value for name, value in model.parameters().items()}
    scores = np.tanh(x @ p["weight"].T + p["bias"]) @ p["vector"]
    weights = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    expected = (weights[:, :, None] * x).sum(axis=1)
    assert relative_error(model.predict(x), expected) <= TOLERANCE["float64"]


def test_last_step_equals_the_lstm_without_sequences() -> None:
    rng = np.random.default_rng(6)
    x, lengths = rng.standard_normal((5, 8, 2)), [8, 1, 4, 2, 8]
    a = fl.Model([fl.LSTM(9), fl.Dense(2)], input_size=2, seed=1)
    b = fl.Model([fl.LSTM(9, return_sequences=True), fl.LastStep(), fl.Dense(2)], input_size=2)
    b.flat_parameters[:] = a.flat_parameters
    np.testing.assert_array_equal(a.predict(x, lengths), b.predict(x, lengths))


@pytest.mark.parametrize("kind", POOLS)
def test_training_files_and_copies(kind: str, tmp_path: Any) -> None:
    """The class is the size of a spike in the series, which every pool except the last step must detect."""
    rng = np.random.default_rng(7)
    y = rng.integers(0, 2, 96)
    X = [0.1 * rng.standard_normal((int(n), 1)) for n in rng.integers(5, 12, 96)]
    for one, label in zip(X, y, strict=True):
        one[2 if kind != "last" else -1] += 1 if label else -1
    layers = [fl.LSTM(8, return_sequences=True), POOLS[kind](), fl.Dense(2)]
    model = fl.Model(layers, seed=2)
    model.fit(X, y, epochs=30, optimizer=fl.Adam(0.02), batch_size=16, verbose=0)
    assert model.evaluate(X, y)["accuracy"] > 0.95
    model.save(tmp_path / "m.safetensors")
    twin = fl.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(twin.predict(X), model.predict(X))
    np.testing.assert_array_equal(model.freeze().predict(X), twin.predict(X))
    model.summary()


def test_attention_keeps_to_one_step_with_a_large_score() -> None:
    """Scores that are far apart, in rising and falling order, neither overflow nor change the answer."""
    x = np.arange(5.0).reshape(1, 5, 1)
    for scores, expected in (([0, 1e3, 2e3, 3e3, 4e3], 4.0), ([4e3, 3e3, 2e3, 1e3, 0], 0.0), ([-1e4] * 5, 2.0)):
        y, state = np.empty((1, 1)), (np.zeros((1, _core.POOL_COUNTS)), np.zeros((1, 1)))
        _core.pool_forward("attention", x, *state, y, scores=np.array([scores], "f8"))
        assert y[0, 0] == pytest.approx(expected, rel=1e-15)


def test_nan_is_propagated() -> None:
    x = np.zeros((1, 4, 2))
    x[0, 1, 1] = np.nan
    for kind in ("mean", "max"):
        y = np.empty((1, 2))
        _core.pool_forward(kind, x, np.zeros((1, _core.POOL_COUNTS)), np.zeros((1, 2)), y)
        assert y[0, 0] == 0 and np.isnan(y[0, 1])


def test_wrong_places_and_arrays() -> None:
    with pytest.raises(ValueError, match="layer 1: MeanPool reads every step .* return_sequences=True"):
        fl.Model([fl.LSTM(3), fl.MeanPool()], input_size=1)
    with pytest.raises(ValueError, match="size must be at least 1"):
        fl.AttentionPool(0)
    x, y, state = np.zeros((2, 3, 1)), np.zeros((2, 1)), (np.zeros((2, 3)), np.zeros((2, 1)))
    with pytest.raises(ValueError, match=r"lengths\[1\] is 4, expected 0 to 3"):
        _core.pool_forward("mean", x, *state, y, lengths=np.array([1, 4]))
    with pytest.raises(ValueError, match="scores are for attention"):
        _core.pool_forward("attention", x, *state, y)
    with pytest.raises(ValueError, match="needs index"):
        _core.pool_backward("max", x, y, y, None)
    with pytest.raises(ValueError, match="index holds 3, expected 0 to 2"):
        _core.pool_backward("max", x, y, y, None, index=np.full((2, 1), 3))
    steps = np.zeros((2, 3))
    with pytest.raises(ValueError, match="weights are for attention; the kind is 'mean'"):
        _core.pool_forward("mean", x, *state, y, weights=steps)
    with pytest.raises(ValueError, match="dscores are for attention; the kind is 'mean'"):
        _core.pool_backward("mean", x, y, y, None, dscores=steps)
