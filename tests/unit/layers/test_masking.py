"""Masked steps: `Masking`, ``Embedding(mask_token=)``, and the layers that leave such steps out."""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import FINITE_DIFFERENCE, numerical_gradient, relative_error

import fastlstm as fl
from fastlstm.layers import Layer

COUNTS = np.array(
    [
        [1, 1, 1, 1, 1, 1],
        [1, 1, 1, 0, 0, 0],
        [0, 0, 1, 1, 1, 1],
        [0, 1, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 0],
    ],
    bool,
)

# In float64 the same numbers are added in the same order, except in sums over series that are packed differently.
SAME = 1e-13


def series(seed: int = 0, features: int = 3, value: float = 0.0) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((*COUNTS.shape, features))
    x[~COUNTS] = value
    return x


def stacks(steps: bool) -> list[list[Layer]]:
    """Return stacks of layers that read series of numbers."""
    return [
        [fl.LSTM(4, return_sequences=steps)],
        [fl.LSTM(4, num_layers=2, return_sequences=steps), fl.Dense(2)],
        [fl.LSTM(4, bidirectional=True, return_sequences=steps), fl.Dense(2)],
        [fl.Dense(3), fl.LSTM(3, return_sequences=True), fl.LSTM(2, bidirectional=True, return_sequences=steps)],
        [fl.LSTM(3, bidirectional=True, num_layers=2, merge="sum", return_sequences=True), fl.LSTM(2)]
        if not steps
        else [fl.LSTM(3, bidirectional=True, merge="product", return_sequences=True), fl.Activation("tanh")],
        [fl.LSTM(4, reverse=True, return_sequences=steps)],
    ]


def model_of(layers: list[Layer], masked: bool, seed: int = 3) -> fl.Model:
    return fl.Model([fl.Masking(), *layers] if masked else layers, input_size=3, dtype="float64", seed=seed)


def twin(model: fl.Model, layers: list[Layer]) -> fl.Model:
    """Return the model without its first layer, with the same parameters."""
    other = fl.Model(layers, input_size=3, dtype="float64")
    other.flat_parameters[:] = model.flat_parameters
    return other


@pytest.mark.parametrize("which", range(6))
def test_a_case_alone_without_the_skipped_steps(which: int) -> None:
    """Masked steps have no influence, wherever they are: the other steps alone give the same result."""
    x = series()
    model = model_of(stacks(False)[which], True)
    got = model.predict(x)
    other = twin(model, stacks(False)[which])
    for row, counts, out in zip(x, COUNTS, got, strict=True):
        if counts.any():
            assert relative_error(out, other.predict(row[None, counts])[0]) <= SAME
        elif which == 0:
            assert not out.any()


@pytest.mark.parametrize("which", [0, 1, 2, 5])
def test_outputs_of_skipped_steps(which: int) -> None:
    """A layer that leaves out steps repeats the output of the step before; with two directions the output is 0."""
    layers = stacks(True)[which][:1]
    model = model_of(layers, True)
    got = model.predict(series())
    other = twin(model, stacks(True)[which][:1])
    for row, counts, out in zip(series(), COUNTS, got, strict=True):
        expected = np.zeros_like(out)
        if counts.any():
            expected[counts] = other.predict(row[None, counts])[0]
        if which != 2:
            for step in np.flatnonzero(~counts):
                expected[step] = expected[step - 1] if step else 0
        assert relative_error(out, expected) <= SAME


@pytest.mark.parametrize("steps", [False, True])
@pytest.mark.parametrize("which", range(6))
def test_gradients(which: int, steps: bool) -> None:
    """Compare the gradients of all parameters and of the inputs with central differences, with mask and lengths."""
    rng = np.random.default_rng(which)
    model = model_of(stacks(steps)[which], True)
    x, lengths = series(which), np.array([6, 5, 4, 6, 3])
    dy = rng.standard_normal(model.forward(x, lengths, training=True).shape)

    def loss() -> float:
        out = model.forward(x, lengths)
        inside = (np.arange(6) < lengths[:, None])[..., None] if steps else 1
        return float((out * dy * inside).sum())

    model.zero_grad()
    dx = model.backward(dy)
    assert relative_error(model.flat_gradients, numerical_gradient(loss, model.flat_parameters)) <= FINITE_DIFFERENCE
    # A masked step must stay masked: only the others are changed.
    inside = COUNTS & (np.arange(6) < lengths[:, None])
    moved = numerical_gradient(loss, x)
    assert relative_error(dx[inside], moved[inside]) <= FINITE_DIFFERENCE
    assert not dx[~inside].any()


def test_a_mask_is_of_one_pass() -> None:
    """A mask of a later layer does not reach the layers before it in the next pass."""
    layers = [fl.LSTM(1, return_sequences=True), fl.Activation("relu"), fl.Masking(), fl.LSTM(2, return_sequences=True)]
    model = fl.Model(layers, input_size=3, dtype="float64")
    x = np.random.default_rng(0).standard_normal((4, 6, 3))
    first = model.predict(x)
    mask = model.network.context(False).mask
    assert mask is not None and mask.any() and not mask.all()
    assert np.array_equal(model.predict(x), first)


def test_padding_at_the_end_is_the_same_as_lengths() -> None:
    x = series()[[0, 1]]
    for layers, others in zip(stacks(False), stacks(False), strict=True):
        model = model_of(layers, True)
        assert relative_error(model.predict(x), twin(model, others).predict(x, lengths=[6, 3])) <= SAME


def test_every_step_counts_again_after_a_pass_with_gaps() -> None:
    model = model_of(stacks(True)[1], True)
    whole = np.random.default_rng(1).standard_normal((2, 6, 3))
    before = model.forward(whole, training=True)
    model.forward(series(), training=True)
    model.zero_grad()
    assert np.array_equal(model.forward(whole, training=True), before)
    model.backward(np.ones_like(before))
    other = twin(model, stacks(True)[1])
    other.zero_grad()
    assert np.array_equal(other.forward(whole, training=True), before)
    other.backward(np.ones_like(before))
    assert relative_error(model.flat_gradients, other.flat_gradients) <= SAME


@pytest.mark.parametrize("pool", [fl.LastStep, fl.MeanPool, fl.MaxPool, lambda: fl.AttentionPool(2)])
def test_pooling_leaves_skipped_steps_out(pool: Callable[[], Layer]) -> None:
    model = model_of([fl.LSTM(4, return_sequences=True), pool()], True)
    x = series()
    other = twin(model, [fl.LSTM(4, return_sequences=True), pool()])
    for row, counts, out in zip(x, COUNTS, model.predict(x), strict=True):
        expected = other.predict(row[None, counts])[0] if counts.any() else np.zeros(4)
        assert relative_error(out, expected) <= SAME
    dy = np.random.default_rng(0).standard_normal((5, 4))
    model.forward(x, training=True)
    model.backward(dy)

    def loss() -> float:
        return float((model.forward(x) * dy).sum())

    assert relative_error(model.flat_gradients, numerical_gradient(loss, model.flat_parameters)) <= FINITE_DIFFERENCE


def test_the_value() -> None:
    x = series(value=2.5)
    x[0, 0, 0] = 2.5  # one feature of three
    first = fl.Model([fl.Masking(2.5), fl.LSTM(4)], input_size=3, seed=1).predict(x)
    assert np.array_equal(first[1], fl.Model([fl.LSTM(4)], input_size=3, seed=1).predict(x[1:2, :3])[0])
    assert not np.array_equal(first[0], fl.Model([fl.LSTM(4)], input_size=3, seed=1).predict(x[:1, 1:])[0])


def test_tokens() -> None:
    ids = np.where(COUNTS, np.random.default_rng(0).integers(1, 7, COUNTS.shape), 0)
    model = fl.Model([fl.Embedding(7, 3, mask_token=0), fl.LSTM(4)], dtype="float64")
    other = fl.Model([fl.Embedding(7, 3), fl.LSTM(4)], dtype="float64")
    for row, counts, out in zip(ids, COUNTS, model.predict(ids), strict=True):
        expected = other.predict(row[None, counts])[0] if counts.any() else np.zeros(4)
        assert relative_error(out, expected) <= SAME
    history = model.fit(ids, np.arange(5) % 4, epochs=3, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]


def test_save_load_and_copies(tmp_path: Path) -> None:
    turned = [fl.LSTM(3, return_sequences=True), fl.Reverse(), fl.Dropout(0.5, per_series=True)]
    for model, x in (
        (fl.Model([fl.Masking(-1.5), fl.LSTM(3)], input_size=3), series(value=-1.5)),
        (fl.Model([fl.Embedding(7, 3, mask_token=2), fl.LSTM(3)]), np.arange(30).reshape(5, 6) % 7),
        (fl.Model(turned, input_size=3), series()),
    ):
        model.save(tmp_path / "model.safetensors")
        loaded = fl.load(tmp_path / "model.safetensors")
        assert [repr(layer) for layer in loaded.layers] == [repr(layer) for layer in model.layers]
        assert np.array_equal(loaded.predict(x), model.predict(x))


def test_reverse() -> None:
    x, lengths = np.arange(24.0).reshape(2, 4, 3), [4, 2]
    model = fl.Model([fl.Reverse(), fl.LSTM(3)], input_size=3, dtype="float64")
    forward = fl.Model([fl.LSTM(3)], input_size=3, dtype="float64")
    assert np.array_equal(model.predict(x), forward.predict(x[:, ::-1]))
    assert np.array_equal(model.predict(x, lengths)[1], forward.predict(x[1:, 1::-1])[0])
    turned = fl.Model([fl.LSTM(3, reverse=True, return_sequences=True), fl.Reverse()], input_size=3, dtype="float64")
    plain = fl.Model([fl.LSTM(3, return_sequences=True)], input_size=3, dtype="float64")
    assert np.array_equal(turned.predict(x), plain.predict(x[:, ::-1]))
    out = turned.forward(x, lengths, training=True)
    dy = np.random.default_rng(0).standard_normal(out.shape)
    turned.backward(dy)

    def loss() -> float:
        got = turned.forward(x, lengths)
        return float((got[0] * dy[0]).sum() + (got[1, :2] * dy[1, :2]).sum())

    assert relative_error(turned.flat_gradients, numerical_gradient(loss, turned.flat_parameters)) <= FINITE_DIFFERENCE


def test_reverse_turns_the_mask() -> None:
    x = series()
    model = fl.Model([fl.Masking(), fl.Reverse(), fl.LSTM(3)], input_size=3, dtype="float64")
    other = fl.Model([fl.Masking(), fl.LSTM(3, reverse=True)], input_size=3, dtype="float64")
    assert relative_error(model.predict(x), other.predict(x)) <= SAME


def test_dropout_per_series() -> None:
    model = fl.Model([fl.Dropout(0.5, per_series=True)], input_size=40, dtype="float64")
    x = np.ones((3, 5, 40))
    out = model.forward(x, training=True)
    assert set(np.unique(out)) == {0.0, 2.0}
    assert np.array_equal(out, np.repeat(out[:, :1], 5, axis=1))
    assert not np.array_equal(out[0, 0], out[1, 0])
    assert np.array_equal(model.backward(x), out)
    assert np.array_equal(model.forward(x), x)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: fl.Masking("no"), "value must be a number"),
        (lambda: fl.Masking(float("inf")), "value must be finite"),
        (lambda: fl.Embedding(5, 2, mask_token=5), "mask_token must be one of the tokens 0 to 4, got 5"),
        (lambda: fl.Embedding(5, 2, mask_token=-1), "mask_token must be at least 0"),
        (lambda: fl.Model([fl.Embedding(5, 2), fl.LSTM(2), fl.Masking()]), "Masking reads (batch, time, features)"),
        (lambda: fl.Model([fl.LSTM(2), fl.Reverse()], input_size=2), "Reverse reads (batch, time, features)"),
    ],
)
def test_wrong_arguments(make: Callable[[], object], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        make()


# ---------------------------------------------------------------------------------------------- missing steps


@pytest.mark.parametrize("which", range(6))
def test_masked_nan_equals_a_masked_number(which: int) -> None:
    """Skip steps all of whose features are NaN as steps of another value are skipped, in outputs and gradients."""
    results = []
    for value in (0.0, math.nan):
        m = fl.Model([fl.Masking(value), *stacks(False)[which]], input_size=3, dtype="float64", seed=3)
        x = series(value=value)
        out = m.forward(x, training=True)
        dx = m.backward(np.ones_like(out))
        results.append((m.predict(x), m.predict(list(x)), out, dx, m.flat_gradients.copy()))
    for of_zero, of_nan in zip(*results, strict=True):
        np.testing.assert_array_equal(of_nan, of_zero)


def test_a_step_of_which_some_features_are_missing_is_refused() -> None:
    x = series(value=math.nan)
    m = fl.Model([fl.Masking(math.nan), fl.LSTM(2)], seed=0)
    x[1, 0, 2] = math.nan
    assert COUNTS[1, 0]
    with pytest.raises(ValueError, match=r"X holds nan at \[case, step, feature\] = \[1, 0, 2\]"):
        m.forward(x)
    x[1, 0, 2] = math.inf
    with pytest.raises(ValueError, match=r"X holds inf at \[case, step, feature\] = \[1, 0, 2\]"):
        m.forward(x)


@pytest.mark.parametrize(
    "layers", [[fl.LSTM(2)], [fl.Masking(), fl.LSTM(2)], [fl.Dropout(0.1), fl.Masking(math.nan), fl.LSTM(2)]]
)
def test_missing_steps_are_refused_unless_the_first_layer_masks_them(layers: list[Layer]) -> None:
    m = fl.Model([type(layer)(**layer.get_config()) for layer in layers], input_size=3)
    with pytest.raises(ValueError, match=r"X holds nan at \[case, step, feature\] = \[1, 3, 0\]"):
        m.predict(series(value=math.nan))


def test_a_model_that_masks_missing_steps_in_training_files_and_streams(tmp_path: Path) -> None:
    x, y = series(value=math.nan), np.arange(len(COUNTS)) % 2
    m = fl.Model([fl.Masking(math.nan), fl.LSTM(3), fl.Dense(2)], seed=0)
    twin = fl.Model([fl.Masking(7.0), fl.LSTM(3), fl.Dense(2)], seed=0)
    for one, data in ((m, x), (twin, series(value=7.0))):
        one.fit(data, y, epochs=2, verbose=0, lengths=[6, 6, 6, 6, 4])
    assert m.flat_parameters.tobytes() == twin.flat_parameters.tobytes()
    assert repr(m.layers[0]) == "Masking(value='nan')" and repr(fl.Masking("nan")) == "Masking(value='nan')"
    m.save(tmp_path / "model.safetensors")
    again = fl.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again.predict(x), m.predict(x))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(m)).predict(x), m.predict(x))
    stream = m.stream(1)
    for t in np.flatnonzero(COUNTS[3]):
        out = stream.step(x[3:4, t])
    np.testing.assert_array_equal(out, m.predict(x[3:4]))
    np.testing.assert_array_equal(stream.step(x[3:4, 0]), out)
