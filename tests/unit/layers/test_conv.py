"""`Conv1D`: values, gradients, lengths, masks, streams, chains, files, and what it refuses."""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import check_gradients, relative_error

import fastlstm as fl
from fastlstm import reference
from fastlstm.layers import Layer, Signal, copied_layer

Array = np.ndarray
LENGTHS = np.array([12, 5, 9, 6])

WINDOWS: dict[str, dict[str, Any]] = {
    "valid": {"kernel_size": 3},
    "strided": {"kernel_size": 4, "stride": 3, "activation": "tanh"},
    "same": {"kernel_size": 4, "padding": "same", "dilation": 2, "bias": False},
    "strided same": {"kernel_size": 5, "padding": "same", "stride": 2, "groups": 2, "activation": ("elu", 0.7)},
    "causal": {"kernel_size": 3, "padding": "causal", "dilation": 2, "activation": "sigmoid"},
    "strided causal": {"kernel_size": 3, "padding": "causal", "stride": 2},
    "numbers": {"kernel_size": 3, "padding": (2, 1), "stride": 2},
    "one number": {"kernel_size": 5, "padding": 2, "weight_init": "glorot_uniform"},
}


def convolved(layer: fl.Conv1D, x: Array) -> Array:
    """Return what the layer gives for one series (time, features), by the reference."""
    padding = layer.padding if isinstance(layer.padding, str) else tuple(layer.padding)
    y = reference.conv_forward(
        x[None],
        layer.parameters["weight"],
        layer.parameters.get("bias"),
        stride=layer.stride,
        dilation=layer.dilation,
        groups=layer.groups,
        padding=padding,
    )[0]
    return y if layer.activation is None else layer.activation(y)


def data(features: int = 4) -> Array:
    return np.random.default_rng(3).standard_normal((4, 12, features))


# ------------------------------------------------------------------ values and gradients


@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
@pytest.mark.parametrize("name", WINDOWS)
def test_each_series_is_convolved_by_itself(name: str, masked: bool) -> None:
    layer = fl.Conv1D(6, **WINDOWS[name])
    layers: list[Layer] = [layer, fl.LastStep()]
    model = fl.Model([fl.Masking(), *layers] if masked else layers, input_size=4, dtype="float64", seed=2)
    x = data()
    x[1, 5:] = 7.0  # padding
    if masked:
        x[0, 3:5] = x[2, 0] = x[3, 5] = 0.0
    y = model.predict(x, LENGTHS)
    layer = model.layers[int(masked)]
    assert isinstance(layer, fl.Conv1D)
    for one, end, got in zip(x, LENGTHS, y, strict=True):
        kept = one[:end][(one[:end] != 0).any(axis=1)] if masked else one[:end]
        assert relative_error(got, convolved(layer, kept)[-1]) < 1e-13


@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
@pytest.mark.parametrize("name", WINDOWS)
def test_gradients_by_finite_differences(name: str, lengths: Array | None, masked: bool) -> None:
    layers: list[Layer] = [fl.Conv1D(6, **WINDOWS[name]), fl.LSTM(3, return_sequences=True), fl.MeanPool(), fl.Dense(2)]
    if not masked:
        layers.insert(0, fl.LSTM(4, return_sequences=True))  # so that the gradient passes through
    model = fl.Model([fl.Masking(), *layers] if masked else layers, input_size=4, dtype="float64", seed=5)
    model.flat_parameters[:] *= 1.5
    x = data()
    if masked:
        x[0, 3:5] = x[2, 0] = 0.0
    weight = np.random.default_rng(4).standard_normal((4, 2))
    dx = check_gradients(model, x, lengths, weight, of_input=not masked)
    if lengths is not None:
        for one, end in zip(dx, lengths, strict=True):
            assert (one[end:] == 0).all()
    if masked:
        assert (dx[0, 3:5] == 0).all() and (dx[2, 0] == 0).all()


def test_outputs_of_masked_steps_repeat_the_one_before() -> None:
    model = fl.Model([fl.Masking(), fl.Conv1D(3, 2, padding="causal")], input_size=4, dtype="float64")
    x = data()
    x[0, 3:5] = x[1, 0] = 0.0
    y = model.predict(x)
    np.testing.assert_array_equal(y[0, 3], y[0, 2])
    np.testing.assert_array_equal(y[0, 4], y[0, 2])
    assert (y[1, 0] == 0).all() and (y[0, 5] != y[0, 4]).all()


@pytest.mark.parametrize("name", WINDOWS)
def test_training_gives_the_same_bits_for_any_number_of_threads(name: str) -> None:
    x, y = data().astype("f4").repeat(5, axis=0), np.arange(20) % 3
    trained = []
    for threads in (1, 2):
        model = fl.Model([fl.Conv1D(6, **WINDOWS[name]), fl.LSTM(5), fl.Dense(3)], seed=1)
        model.fit(x, y, lengths=np.tile(LENGTHS, 5), epochs=3, batch_size=7, n_threads=threads, verbose=0)
        trained.append(model.flat_parameters.copy())
    np.testing.assert_array_equal(*trained)


def test_a_convolution_learns() -> None:
    """Whether three steps rise in a row, anywhere in noise, is seen by one filter."""
    rng = np.random.default_rng(6)
    x, y = rng.standard_normal((300, 30, 1)), np.arange(300) % 2
    at = rng.integers(0, 27, 300)
    for case in np.flatnonzero(y):
        x[case, at[case] : at[case] + 3, 0] = (-4, 0, 4)
    model = fl.Model([fl.Conv1D(8, 3, activation="relu"), fl.MaxPool(), fl.Dense(2)], seed=0)
    model.fit(x[:200], y[:200], epochs=60, batch_size=20, optimizer=fl.Adam(0.02), verbose=0)
    assert (model.predict_classes(x[200:]) == y[200:]).mean() >= 0.95


# ------------------------------------------------------------------ streams and chains


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("window", [(1, 1), (3, 1), (4, 3)])
def test_streams_give_the_bits_of_predict(window: tuple[int, int], dtype: str, isa: str) -> None:
    kernel, dilation = window
    conv = fl.Conv1D(20, kernel, dilation=dilation, padding="causal", activation="relu", groups=2)
    layers = [conv, fl.LSTM(5, return_sequences=True), fl.Conv1D(3, 2, padding="causal")]
    model = fl.Model(layers, input_size=4, dtype=dtype, seed=3)
    x = data().astype(dtype)
    expected = model.predict(x)
    for frozen in (False, True):
        if frozen:
            model.freeze()
        stream = model.stream(4)
        np.testing.assert_array_equal(np.stack([stream.step(x[:, t]) for t in range(12)], axis=1), expected)
        stream.reset()
        blocks = [stream.run(np.ascontiguousarray(x[:, a:b])) for a, b in ((0, 5), (5, 6), (6, 12))]
        np.testing.assert_array_equal(np.concatenate(blocks, axis=1), expected)


def test_states_of_streams() -> None:
    layers = [fl.Conv1D(4, 3, padding="causal"), fl.LSTM(5, return_sequences=True)]
    model = fl.Model(layers, input_size=4, seed=3)
    x = data().astype("f4")
    stream = model.stream(4)
    stream.run(np.ascontiguousarray(x[:, :7]))
    saved, pairs = stream.save_state(), stream.state
    assert list(saved) == ["0.steps", "1.h", "1.c"]
    np.testing.assert_array_equal(saved["0.steps"], x[:, None, 5:7].reshape(4, 1, 8))
    assert pairs[0][0].shape == (1, 4, 8) and pairs[0][1].shape == (1, 4, 0)
    rest = np.ascontiguousarray(x[:, 7:])
    expected = stream.run(rest)
    other = model.stream(4)
    other.load_state(saved)
    np.testing.assert_array_equal(other.run(rest), expected)
    other.state = pairs
    np.testing.assert_array_equal(other.run(rest), expected)
    np.testing.assert_array_equal(copy.deepcopy(other).run(rest), other.run(rest))
    stream.reset([1])
    np.testing.assert_array_equal(stream.save_state()["0.steps"][1], np.zeros((1, 8)))
    stream.remove_rows([0])
    assert stream.state[0][0].shape == (1, 3, 8)


def test_masked_streams_give_what_predict_gives() -> None:
    model = fl.Model(
        [fl.Masking(), fl.Conv1D(4, 3, padding="causal"), fl.LSTM(5, return_sequences=True)], input_size=4, seed=3
    )
    x = data().astype("f4")
    x[0, 3:5] = x[1, 0] = x[:, 8] = 0.0
    expected = model.predict(x)
    stream = model.stream(4)
    np.testing.assert_array_equal(np.stack([stream.step(x[:, t]) for t in range(12)], axis=1), expected)


@pytest.mark.parametrize("name", WINDOWS)
def test_frozen_models_give_the_same_bits(name: str) -> None:
    layers = [fl.Conv1D(6, **WINDOWS[name]), fl.LSTM(5, bidirectional=True), fl.Dense(3)]
    model = fl.Model(layers, input_size=4, seed=3)
    x = data().astype("f4")
    plain, with_lengths = model.predict(x), model.predict(x, LENGTHS)
    model.freeze()
    for _ in range(2):
        np.testing.assert_array_equal(model.predict(x), plain)
        np.testing.assert_array_equal(model.predict(x, LENGTHS), with_lengths)
        np.testing.assert_array_equal(model.predict(x[1:2], [5]), with_lengths[1:2])


# ------------------------------------------------------------------ files, shapes, refusals


def test_files_copies_and_summary(tmp_path: Path) -> None:
    for name, window in WINDOWS.items():
        model = fl.Model([fl.Conv1D(6, **window), fl.LSTM(2), fl.Dense(1)], input_size=4)
        model.save(tmp_path / "m.safetensors")
        for twin in (fl.load(tmp_path / "m.safetensors"), copy.copy(model)):
            np.testing.assert_array_equal(twin.predict(data(), LENGTHS), model.predict(data(), LENGTHS), name)
    assert repr(copied_layer(fl.Conv1D(4, 3))) == "Conv1D(filters=4, kernel_size=3)"
    long = fl.Conv1D(4, 3, stride=2, padding=1, activation=("elu", 0.5), bias=False)
    assert repr(long) == (
        "Conv1D(filters=4, kernel_size=3, stride=2, padding=[1, 1], activation=['elu', 0.5, 0.0], bias=False)"
    )
    text = io.StringIO()
    fl.Model([fl.Conv1D(6, 3, stride=2), fl.Conv1D(6, 3, padding="same"), fl.MaxPool()], input_size=4).summary(text)
    assert text.getvalue().count("(batch, ~time / 2, 6)") == 2


def test_the_input_size_comes_from_a_state_dict() -> None:
    built = fl.Model([fl.Conv1D(6, 3, groups=2), fl.LSTM(2)], input_size=4, seed=4)
    model = fl.Model([fl.Conv1D(6, 3, groups=2), fl.LSTM(2)])
    model.load_state_dict(built.state_dict())
    np.testing.assert_array_equal(model.predict(data()), built.predict(data()))
    with pytest.raises(ValueError, match="do not give the input size"):
        fl.Model([fl.Conv1D(6, 3), fl.LSTM(2)]).load_state_dict({"0.weight": np.zeros((6, 3))})


def test_steps_of_the_output() -> None:
    layers = [fl.Conv1D(3, 3, stride=2), fl.LSTM(4, return_sequences=True), fl.AttentionPool(2), fl.Dense(2)]
    model = fl.Model(layers, input_size=2)
    signals = model.network.signals()
    assert [(s.stride, s.keeps_steps) for s in signals] == [(2, False), (2, False), (1, True), (1, True)]
    x = np.random.default_rng(9).standard_normal((4, 12, 2))
    weights = fl.attention_weights(model, x, LENGTHS)
    assert weights.shape == (4, 5)
    np.testing.assert_array_equal((weights > 0).sum(axis=1), [5, 2, 4, 2])
    listed = fl.attention_weights(model, [one[:end] for one, end in zip(x, LENGTHS, strict=True)])
    assert [len(row) for row in listed] == [5, 2, 4, 2]
    fixed = fl.Model([fl.LSTM(4), fl.RepeatVector(7), fl.Conv1D(3, 3, stride=1)], input_size=2)
    assert fixed.predict(x).shape == (4, 5, 3)
    fixed.fit(x, np.zeros((4, 5, 3)), loss="mse", epochs=1, verbose=0)


def test_chrono_counts_windows() -> None:
    """The longest series has 20 steps, which have 16 windows: biases of at most log(15)."""
    model = fl.Model([fl.Conv1D(3, 5), fl.LSTM(256, forget_bias="chrono"), fl.Dense(2)], seed=1)
    model.fit(np.zeros((4, 20, 1)), [0, 1, 0, 1], epochs=1, optimizer=fl.SGD(1e-12), verbose=0)
    bias = model.layers[1].parameters["bias_ih_l0"][256:512]
    assert np.log(14) < bias.max() <= np.log(15) + 1e-5


def test_wrong_places_and_arguments() -> None:
    with pytest.raises(ValueError, match=r"layer 1: Conv1D reads .* return_sequences=True"):
        fl.Model([fl.LSTM(3), fl.Conv1D(2, 2)], input_size=2)
    with pytest.raises(ValueError, match="Conv1D reads numbers and gets token ids"):
        fl.Conv1D(2, 2).build(Signal(0, True, True))
    with pytest.raises(ValueError, match="Conv1D has 3 groups, which do not divide the 4 features"):
        fl.Model([fl.Conv1D(3, 2, groups=3), fl.LSTM(2)], input_size=4)
    with pytest.raises(ValueError, match="groups is 3, expected a divisor of the number of filters, 4"):
        fl.Conv1D(4, 2, groups=3)
    with pytest.raises(ValueError, match="padding is 'full', expected one of 'valid', 'same', 'causal'"):
        fl.Conv1D(4, 2, padding="full")
    with pytest.raises(ValueError, match="expected two numbers"):
        fl.Conv1D(4, 2, padding=(1, 2, 3))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="padding must be at least 0, got -1"):
        fl.Conv1D(4, 2, padding=-1)
    with pytest.raises(ValueError, match="spans 4294967297 steps, more than 2147483647"):
        fl.Conv1D(4, 5, dilation=2**30)
    with pytest.raises(ValueError, match="activation is 'softmax', expected one of sigmoid"):
        fl.Conv1D(4, 2, activation="softmax")


def test_series_that_are_too_short_are_refused_before_anything_changes() -> None:
    model = fl.Model([fl.Conv1D(4, 3, dilation=3), fl.LSTM(2), fl.Dense(2)])
    with pytest.raises(ValueError, match="Conv1D reads windows of 7 steps, and series 1 has 5"):
        model.fit(data(), [0, 1, 0, 1], lengths=LENGTHS, verbose=0)
    assert not model.network.built
    model.fit(data(), [0, 1, 0, 1], epochs=1, verbose=0)
    with pytest.raises(ValueError, match="series 0 has 6: leave such series out, or use padding='same'"):
        model.predict(data()[:, :6])
    masked = fl.Model([fl.Masking(), fl.Conv1D(4, 3, padding=(1, 0)), fl.LSTM(2)], input_size=4)
    x = data()
    x[2, 1:] = 0.0
    with pytest.raises(ValueError, match="windows of 3 steps, and series 2 has 1 and 1 zeros around them"):
        masked.predict(x)
    with pytest.raises(ValueError, match="windows of 9 steps, and series 0 has 7"):
        fl.Model([fl.LSTM(4), fl.RepeatVector(7), fl.Conv1D(3, 9)], input_size=2)


def test_series_without_steps_have_no_windows() -> None:
    model = fl.Model([fl.Masking(), fl.Conv1D(4, 3, padding=2), fl.MeanPool()], input_size=4)
    x = data()
    x[1] = 0.0
    y = model.predict(x)
    assert (y[1] == 0).all() and (y[0] != 0).any()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"padding": "same"}, "layer 0 is a Conv1D with padding 'same', .* use padding='causal', or predict on blocks"),
        ({"padding": "causal", "stride": 2}, "layer 0 is a Conv1D with stride 2, .* use stride=1 and padding='causal'"),
    ],
)
def test_what_cannot_be_streamed(settings: dict[str, Any], reason: str) -> None:
    model = fl.Model([fl.Conv1D(4, 3, **settings), fl.LSTM(2)], input_size=4)
    with pytest.raises(ValueError, match=reason):
        model.stream()


def test_segments_are_refused() -> None:
    model = fl.Model([fl.Conv1D(4, 3, padding="causal"), fl.LSTM(2, return_sequences=True)], input_size=4)
    with pytest.raises(ValueError, match=r"tbptt_steps .* layer 0 is a Conv1D, which reads the 2 steps"):
        model.fit(data(), np.zeros((4, 12, 2)), loss="mse", tbptt_steps=4, verbose=0)
    with pytest.raises(ValueError, match="series cannot be continued from a state: layer 0 is a Conv1D, which reads"):
        model.predict(data(), return_state=True)
    pointwise = fl.Model([fl.Conv1D(4, 1), fl.LSTM(2, return_sequences=True)], input_size=4)
    pointwise.fit(data(), np.zeros((4, 12, 2)), loss="mse", tbptt_steps=4, epochs=1, verbose=0)


def test_outputs_for_windows_are_refused() -> None:
    with pytest.raises(ValueError, match=r"an output for each group of 2 steps, .* fl\.MaxPool\(\) after the Conv1D"):
        fl.Model([fl.Conv1D(4, 3, stride=2), fl.LSTM(3, return_sequences=True)], input_size=2)
    with pytest.raises(ValueError, match='fewer or more outputs than steps, .* give the Conv1D padding="same"'):
        fl.Model([fl.Conv1D(4, 3)], input_size=2)
