"""Layers and stacks of them: gradients of whole models by finite differences, composition, dropout, padding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import FINITE_DIFFERENCE, TOLERANCE, numerical_gradient, relative_error

import fastlstm as fl
from fastlstm import reference
from fastlstm.layers import layer_from_config
from fastlstm.runtime.buffers import Buffers

STACKS: dict[str, Callable[[], list[Any]]] = {
    "last step": lambda: [fl.LSTM(5), fl.Dense(3)],
    "per step": lambda: [fl.LSTM(5, return_sequences=True), fl.Dense(2)],
    "no bias": lambda: [fl.LSTM(4, bias=False), fl.Dense(2, bias=False)],
    "bidirectional": lambda: [fl.LSTM(3, bidirectional=True), fl.Dense(2)],
    "stacked, bidirectional": lambda: [fl.LSTM(3, num_layers=3, bidirectional=True, return_sequences=True)],
    "stacked, dropout": lambda: [fl.LSTM(5, num_layers=2, dropout=0.4), fl.Dropout(0.3), fl.Dense(2)],
    "two LSTM objects": lambda: [fl.LSTM(4, return_sequences=True), fl.LSTM(3), fl.Dense(2)],
    "dense first": lambda: [fl.Dense(4), fl.LSTM(3, bidirectional=True, return_sequences=True), fl.Dropout(0.2)],
    "merged, residual": lambda: [
        fl.LSTM(4, bidirectional=True, merge="product", return_sequences=True),
        fl.LSTM(3, num_layers=2, dropout=0.3, bidirectional=True, merge="mean", residual=True, return_sequences=True),
        fl.Dense(3, weight_init="glorot_normal"),
        fl.LSTM(3, num_layers=2, reverse=True, residual=True),
        fl.Dense(2),
    ],
    "dropout first": lambda: [fl.Dropout(0.5), fl.LSTM(4), fl.Dense(1)],
}


def loss_of(
    model: fl.Model, x: np.ndarray, lengths: np.ndarray | None, state: list[Any], weights: list[np.ndarray]
) -> float:
    """A random linear function of the output and the final states, with fixed dropout masks."""
    steps = model.network.passes
    out, states = model.forward(x, lengths, state=state, training=True, return_state=True)
    model.network.passes = steps
    if lengths is not None and model.per_step:
        out = out * (np.arange(out.shape[1]) < lengths[:, None])[:, :, None]
    parts = [out, *(part for pair in states for part in pair)]
    return float(sum((part * weight).sum() for part, weight in zip(parts, weights, strict=True)))


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize("variable", [False, True], ids=["full", "lengths"])
def test_gradients_by_finite_differences(name: str, variable: bool) -> None:
    """Check every parameter, the input and the initial states of whole models."""
    rng = np.random.default_rng(1)
    model = fl.Model(STACKS[name](), input_size=3, dtype="float64", seed=4)
    x = rng.standard_normal((4, 5, 3))
    lengths = np.array([5, 2, 4, 1]) if variable else None
    lstms = [layer for layer in model.layers if isinstance(layer, fl.LSTM)]
    shapes = [(layer.num_layers * layer.directions, 4, layer.hidden_size) for layer in lstms]
    state = [(rng.standard_normal(shape), rng.standard_normal(shape)) for shape in shapes]
    out, states = model.forward(x, lengths, state=state, training=True, return_state=True)
    weights = [rng.standard_normal(part.shape) for part in (out, *(part for pair in states for part in pair))]

    model.network.passes -= 1
    steps = model.network.passes
    model.forward(x, lengths, state=state, training=True)
    model.zero_grad()
    d_states = [(weights[1 + 2 * k], weights[2 + 2 * k]) for k in range(len(lstms))]
    dx, d_initial = model.backward(weights[0], d_states, return_d_state=True)
    model.network.passes = steps

    def f() -> float:
        return loss_of(model, x, lengths, state, weights)

    for parameter, array in model.parameters().items():
        error = relative_error(model.gradients()[parameter], numerical_gradient(f, array))
        assert error <= FINITE_DIFFERENCE, parameter
    assert relative_error(dx, numerical_gradient(f, x)) <= FINITE_DIFFERENCE
    for pair, d_pair in zip(state, d_initial, strict=True):
        for array, gradient in zip(pair, d_pair, strict=True):
            assert relative_error(gradient, numerical_gradient(f, array)) <= FINITE_DIFFERENCE


def test_embedding_gradient_by_finite_differences() -> None:
    rng = np.random.default_rng(2)
    model = fl.Model([fl.Embedding(6, 4), fl.LSTM(3), fl.Dense(2)], dtype="float64")
    tokens = rng.integers(0, 6, (5, 7))
    weight = rng.standard_normal((5, 2))
    model.forward(tokens, training=True)
    assert model.backward(weight) is None
    table = model.parameters()["0.weight"]
    numerical = numerical_gradient(lambda: float((model.forward(tokens) * weight).sum()), table)
    assert relative_error(model.gradients()["0.weight"], numerical) <= FINITE_DIFFERENCE


def test_stack_equals_reference_layer_by_layer() -> None:
    rng = np.random.default_rng(3)
    model = fl.Model([fl.LSTM(6, num_layers=2, bidirectional=True), fl.Dense(3)], input_size=4, dtype="float64")
    x, lengths = rng.standard_normal((5, 8, 4)), np.array([8, 3, 1, 5, 7])
    p = model.parameters()
    y = x
    for layer in range(2):
        halves = []
        for suffix in ("", "_reverse"):
            names = (f"0.{k}_l{layer}{suffix}" for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
            halves.append(
                reference.lstm_forward(y, *(p[k] for k in names), lengths=lengths, reverse=suffix == "_reverse")
            )
        y = np.concatenate([half[0] for half in halves], axis=2)
    final = np.concatenate([half[1] for half in halves], axis=1)
    expected = reference.dense_forward(final, p["1.weight"], p["1.bias"])
    assert relative_error(model.forward(x, lengths), expected) <= TOLERANCE["float64"]


@pytest.mark.parametrize("name", STACKS)
def test_padding_is_never_read(name: str) -> None:
    """NaN in the padding of X and of d_out changes no bit."""
    rng = np.random.default_rng(4)
    x, lengths = rng.standard_normal((4, 6, 3)).astype("f4"), np.array([6, 1, 3, 5])
    padding = np.arange(6) >= lengths[:, None]
    results = []
    for fill in (0.0, np.nan):
        model = fl.Model(STACKS[name](), input_size=3, seed=1)
        x[padding] = fill
        out = model.forward(x, lengths, training=True)
        d_out = np.ones_like(out)
        if model.per_step:
            d_out[padding] = fill
            out = out[~padding]
        dx = model.backward(d_out)
        assert (dx[padding] == 0).all()
        results.append([out, dx, *model.gradients().values()])
    for zero, nan in zip(*results, strict=True):
        np.testing.assert_array_equal(zero, nan)


def test_embedding_ignores_tokens_in_the_padding() -> None:
    model = fl.Model([fl.Embedding(4, 3), fl.LSTM(2)])
    tokens = np.array([[1, 2, 3], [2, -1, 99]])
    np.testing.assert_array_equal(model.forward(tokens, [3, 1])[1], model.forward(tokens[1:, :1])[0])


def test_dropout_masks() -> None:
    model = fl.Model([fl.Dropout(0.25), fl.LSTM(3)], input_size=200, seed=3)
    dropout = model.layers[0]
    x = np.ones((20, 10, 200), np.float32)
    outs = []
    for n_threads in (1, 2):
        model.network.passes = 0
        model.network.forward(x, None, True, n_threads)
        outs.append(model.network.context(True).layers[0].buffers.get("y", x.shape, np.float32).copy())
    np.testing.assert_array_equal(*outs)
    assert set(np.unique(outs[0])) == {np.float32(0), np.float32(1 / 0.75)}
    # 40,000 draws: 5 standard deviations are 0.011.
    assert abs((outs[0] == 0).mean() - 0.25) < 0.011
    model.network.forward(x, None, True)
    again = model.network.context(True).layers[0].buffers.get("y", x.shape, np.float32)
    assert (outs[0] != again).any(), "each step draws new masks"
    assert model.network.context(False) is not model.network.context(True)
    assert dropout.get_config() == {"p": 0.25, "per_series": False}


def test_dropout_is_off_in_inference() -> None:
    x = np.random.default_rng(5).standard_normal((3, 4, 2)).astype("f4")
    plain = fl.Model([fl.LSTM(3, num_layers=2), fl.Dense(2)], input_size=2)
    dropping = fl.Model([fl.LSTM(3, num_layers=2, dropout=0.5), fl.Dense(2)], input_size=2)
    np.testing.assert_array_equal(plain.forward(x), dropping.forward(x))
    assert (plain.forward(x, training=True) != dropping.forward(x, training=True)).any()


def test_forget_bias() -> None:
    p = fl.Model([fl.LSTM(4, forget_bias=2.5)], input_size=1).parameters()
    np.testing.assert_array_equal(p["0.bias_ih_l0"][4:8], 2.5)
    np.testing.assert_array_equal(p["0.bias_hh_l0"][4:8], 0)
    p = fl.Model([fl.LSTM(4, forget_bias=None)], input_size=1).parameters()
    assert (np.abs(p["0.bias_ih_l0"]) <= 0.5).all() and (p["0.bias_hh_l0"] != 0).all()


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: fl.LSTM(0), ValueError, "hidden_size must be at least 1"),
        (lambda: fl.LSTM(2.5), TypeError, "hidden_size must be an integer"),
        (lambda: fl.LSTM(4, num_layers=2, dropout=1.0), ValueError, "dropout must be at least 0 and less than 1"),
        (lambda: fl.LSTM(4, dropout=0.5), ValueError, "put a fl.Dropout after it"),
        (lambda: fl.Dropout(1.5), ValueError, "p must be"),
        (lambda: fl.Dense(0), ValueError, "output_size"),
        (lambda: fl.Embedding(0, 3), ValueError, "num_embeddings"),
        (lambda: fl.Model([fl.LSTM(4), fl.LSTM(4)], input_size=2), ValueError, "return_sequences=True"),
        (lambda: fl.Model([fl.LSTM(4), fl.Embedding(4, 2)], input_size=2), ValueError, "must be the first layer"),
    ],
)
def test_wrong_layers_are_refused(make: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("name", STACKS)
def test_config_round_trip(name: str) -> None:
    for layer in STACKS[name]():
        config = {"type": type(layer).__name__, **layer.get_config()}
        assert repr(layer_from_config(config)) == repr(layer)


def test_wrong_config_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown layer type 'Conv'"):
        layer_from_config({"type": "Conv"})
    with pytest.raises(ValueError, match="wrong settings for a LSTM layer"):
        layer_from_config({"type": "LSTM", "hidden_size": 3, "colour": "red"})


def test_buffers_of_alternating_shapes() -> None:
    buffers = Buffers()
    first, rows = buffers.rows("a", (2, 3), np.float32)
    first[:] = [[1, 2, 3], [4, 5, 6]]
    assert buffers.get("a", (2, 3), np.float32) is first
    np.testing.assert_array_equal(rows[1], [4, 5, 6])
    smaller, rows = buffers.rows("a", (1, 2), np.float32)
    assert smaller.shape == (1, 2)
    assert len(rows) == 1
    np.testing.assert_array_equal(rows[0], [1, 2])  # the same memory
    larger, rows = buffers.rows("a", (4, 5), np.float32)
    assert [row.shape for row in rows] == [(5,)] * 4
    assert all(np.shares_memory(row, larger) for row in rows)
    assert not np.shares_memory(larger, first)
    assert buffers.get("a", (4, 5), np.float64).dtype == np.float64
