"""Attention weights: their sum, what they pool to, padding, masks, lists, which layer."""

from __future__ import annotations

import re

import numpy as np
import pytest

import fastlstm as fl
from fastlstm.layers import Layer

RNG = np.random.default_rng(0)
X = RNG.standard_normal((7, 9, 2))


def attending(*before: Layer, dtype: str = "float64", scaler: fl.Standardizer | None = None) -> fl.Model:
    layers = [*before, fl.LSTM(5, return_sequences=True), fl.AttentionPool(4)]
    return fl.Model(layers, input_size=2, dtype=dtype, scaler=scaler)


def states_of(model: fl.Model) -> fl.Model:
    """Return a model that ends before the pooling, with the same weights."""
    part = fl.Model([fl.LSTM(5, return_sequences=True)], input_size=2, dtype=model.dtype)
    part.load_state_dict({name: value for name, value in model.state_dict().items() if name.startswith("0.")})
    return part


def test_the_weighted_sum_of_the_states_is_the_output() -> None:
    model = attending()
    weights = fl.attention_weights(model, X, batch_size=3)
    assert weights.shape == (7, 9) and weights.dtype == np.float64
    assert np.allclose(weights.sum(1), 1, atol=1e-14) and (weights > 0).all()
    pooled = np.einsum("nt,ntf->nf", weights, states_of(model).predict(X))
    # Both are float64; the kernel sums in another order.
    assert np.allclose(pooled, model.predict(X), rtol=1e-12, atol=1e-14)
    assert weights.std() > 1e-3  # not merely the mean of the steps


def test_the_scaler_is_applied() -> None:
    scaler = fl.Standardizer().fit(X)
    scaled = (X - scaler.mean_) / scaler.scale_
    got, expected = attending(scaler=scaler), attending()
    assert np.allclose(fl.attention_weights(got, X), fl.attention_weights(expected, scaled), atol=1e-12)


def test_padding_has_no_weight() -> None:
    model = attending()
    lengths = np.array([9, 1, 4, 5, 9, 2, 3])
    padded = X.copy()
    padded[np.arange(9) >= lengths[:, None]] = np.nan
    weights = fl.attention_weights(model, padded, lengths)
    assert (weights[np.arange(9) >= lengths[:, None]] == 0).all()
    for row, length in enumerate(lengths):
        alone = fl.attention_weights(model, X[row : row + 1, :length])
        assert np.allclose(weights[row, :length], alone[0], atol=1e-14)


def test_a_list_gives_a_list() -> None:
    model = attending()
    series = [X[0], X[1, :3], X[2, :5]]
    weights = fl.attention_weights(model, series, batch_size=2)
    assert [one.shape for one in weights] == [(9,), (3,), (5,)]
    assert all(np.allclose(one.sum(), 1) for one in weights)
    assert np.allclose(weights[1], fl.attention_weights(model, X[1:2, :3])[0], atol=1e-14)


def test_masked_steps_have_no_weight() -> None:
    model = attending(fl.Masking())
    masked = X.copy()
    masked[:, [0, 4, 5]] = 0
    nothing = fl.attention_weights(model, np.concatenate([masked[:1], 0 * X[:1]]))
    assert np.allclose(nothing.sum(1), [1, 0])  # no step of the second series counts
    weights = fl.attention_weights(model, masked)
    assert (weights[:, [0, 4, 5]] == 0).all()
    without = fl.attention_weights(model, masked[:, [1, 2, 3, 6, 7, 8]])
    assert np.allclose(weights[:, [1, 2, 3, 6, 7, 8]], without, atol=1e-14)


def test_a_pass_of_training_does_not_disturb() -> None:
    model = attending(dtype="float32")
    before = fl.attention_weights(model, X)
    model.forward(X[::-1], training=True)
    assert np.array_equal(fl.attention_weights(model, X), before)


def test_after_a_layer_that_repeats_the_steps_are_its_own() -> None:
    layers = [fl.LSTM(4), fl.RepeatVector(3), fl.LSTM(4, return_sequences=True), fl.AttentionPool(2)]
    weights = fl.attention_weights(fl.Model(layers, input_size=2), [X[0], X[1, :4]])
    assert weights.shape == (2, 3)
    assert np.allclose(weights.sum(1), 1)


def test_which_layer_is_meant() -> None:
    with pytest.raises(ValueError, match=re.escape("the model has no fl.AttentionPool")):
        fl.attention_weights(fl.Model([fl.LSTM(4)], input_size=2), X)
    layers = [fl.LSTM(4, return_sequences=True), fl.AttentionPool(2), fl.RepeatVector(3), fl.AttentionPool(2)]
    model = fl.Model(layers, input_size=2)
    with pytest.raises(ValueError, match=re.escape("the layers [1, 3]: give one, layer=1")):
        fl.attention_weights(model, X)
    assert fl.attention_weights(model, X, layer=1).shape == (7, 9)
    assert fl.attention_weights(model, X, layer=3).shape == (7, 3)
    with pytest.raises(ValueError, match="layer is 0, expected that of an fl.AttentionPool: 1, 3"):
        fl.attention_weights(model, X, layer=0)


def test_a_model_without_weights_is_refused() -> None:
    with pytest.raises(RuntimeError, match="not built yet"):
        fl.attention_weights(fl.Model([fl.LSTM(4, return_sequences=True), fl.AttentionPool(2)]), X)
