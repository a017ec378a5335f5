"""`MaxPool1D`, `AvgPool1D` and `Flatten`: values, gradients, lengths, masks, streams, files, and what they refuse."""

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

WINDOWS: dict[str, Layer] = {
    "max": fl.MaxPool1D(3),
    "max overlapping": fl.MaxPool1D(4, stride=2, padding="same"),
    "max causal": fl.MaxPool1D(3, stride=1, padding="causal"),
    "max numbers": fl.MaxPool1D(4, padding=(3, 1)),
    "mean": fl.AvgPool1D(2),
    "mean same": fl.AvgPool1D(5, stride=3, padding="same"),
    "mean every step": fl.AvgPool1D(3, stride=1, padding=1),
    "mean causal": fl.AvgPool1D(4, stride=1, padding="causal"),
    "zeros count": fl.AvgPool1D(4, stride=3, padding=2, count_include_pad=True),
}


def pooled(layer: Any, x: Array) -> Array:
    """Return what the layer gives for one series (time, features), by the reference."""
    return reference.window_pool_forward(
        x[None],
        layer.kind,
        layer.kernel_size,
        stride=layer.stride,
        padding=layer.padding,
        count_include_pad=layer.count_include_pad,
    )[0]


def data(features: int = 4) -> Array:
    return np.random.default_rng(3).standard_normal((4, 12, features))


@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
@pytest.mark.parametrize("name", WINDOWS)
def test_each_series_is_pooled_by_itself(name: str, masked: bool) -> None:
    layers = [copied_layer(WINDOWS[name]), fl.LastStep()]
    model = fl.Model([fl.Masking(), *layers] if masked else layers, input_size=4, dtype="float64", seed=2)
    x = data()
    x[1, 5:] = 7.0  # padding
    if masked:
        x[0, 3:5] = x[2, 0] = x[3, 5] = 0.0
    for one, end, got in zip(x, LENGTHS, model.predict(x, LENGTHS), strict=True):
        kept = one[:end][(one[:end] != 0).any(axis=1)] if masked else one[:end]
        assert relative_error(got, pooled(WINDOWS[name], kept)[-1]) < 1e-13


@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
@pytest.mark.parametrize("name", WINDOWS)
def test_gradients_by_finite_differences(name: str, lengths: Array | None, masked: bool) -> None:
    layers = [copied_layer(WINDOWS[name]), fl.LSTM(3, return_sequences=True), fl.MeanPool(), fl.Dense(2)]
    if not masked:
        layers.insert(0, fl.LSTM(4, return_sequences=True))  # so that the gradient passes through
    model = fl.Model([fl.Masking(), *layers] if masked else layers, input_size=4, dtype="float64", seed=5)
    x = data()
    if masked:
        x[0, 3:5] = x[2, 0] = 0.0
    dx = check_gradients(model, x, lengths, np.random.default_rng(4).standard_normal((4, 2)), of_input=not masked)
    if lengths is not None:
        for one, end in zip(dx, lengths, strict=True):
            assert (one[end:] == 0).all()
    if masked:
        assert (dx[0, 3:5] == 0).all() and (dx[2, 0] == 0).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kernel", [1, 2, 5])
def test_streams_give_the_bits_of_predict(kernel: int, dtype: str, isa: str) -> None:
    pools = {"stride": 1, "padding": "causal"}
    layers: list[Layer] = [
        fl.MaxPool1D(kernel, **pools),  # type: ignore[arg-type]
        fl.LSTM(5, return_sequences=True),
        fl.AvgPool1D(kernel, **pools),  # type: ignore[arg-type]
        fl.AvgPool1D(3, count_include_pad=True, **pools),  # type: ignore[arg-type]
    ]
    model = fl.Model(layers, input_size=4, dtype=dtype, seed=3)
    x = data().astype(dtype)
    expected = model.predict(x)
    for frozen in (False, True):
        if frozen:
            model.freeze()
        np.testing.assert_array_equal(model.predict(x), expected)
        stream = model.stream(4)
        np.testing.assert_array_equal(np.stack([stream.step(x[:, t]) for t in range(12)], axis=1), expected)
        stream.reset()
        blocks = [stream.run(np.ascontiguousarray(x[:, a:b])) for a, b in ((0, 2), (2, 3), (3, 12))]
        np.testing.assert_array_equal(np.concatenate(blocks, axis=1), expected)


def test_states_of_streams() -> None:
    layers = [fl.AvgPool1D(4, stride=1, padding="causal"), fl.LSTM(5, return_sequences=True)]
    model = fl.Model(layers, input_size=4, seed=3)
    x = data().astype("f4")
    stream = model.stream(4)
    stream.run(np.ascontiguousarray(x[:, :2]))
    saved, pairs = stream.save_state(), stream.state
    assert list(saved) == ["0.steps", "0.count", "1.h", "1.c"]
    np.testing.assert_array_equal(saved["0.count"], np.full((4, 1, 1), 2.0))
    rest = np.ascontiguousarray(x[:, 2:])
    expected = stream.run(rest)
    other = model.stream(4)
    other.load_state(saved)
    np.testing.assert_array_equal(other.run(rest), expected)
    other.state = pairs
    np.testing.assert_array_equal(other.run(rest), expected)
    stream.reset([1])
    assert stream.save_state()["0.count"].ravel().tolist() == [3, 0, 3, 3]
    some = stream.step(x[:2, 0], rows=[1, 3])
    np.testing.assert_array_equal(some[0], model.predict(x[:1, :1])[0, 0])
    assert stream.save_state()["0.count"].ravel().tolist() == [3, 1, 3, 3]


def test_masked_streams_give_what_predict_gives() -> None:
    model = fl.Model([fl.Masking(), fl.AvgPool1D(3, stride=1, padding="causal"), fl.LSTM(5)], input_size=4, seed=3)
    x = data().astype("f4")
    x[0, 3:5] = x[1, 0] = x[:, 8] = 0.0
    stream = model.stream(4)
    for t in range(12):
        last = stream.step(x[:, t])
    np.testing.assert_array_equal(last, model.predict(x))


@pytest.mark.parametrize("name", WINDOWS)
def test_frozen_models_and_threads_give_the_same_bits(name: str) -> None:
    trained = []
    x, y = data().astype("f4").repeat(5, axis=0), np.arange(20) % 3
    for threads in (1, 2):
        model = fl.Model([copied_layer(WINDOWS[name]), fl.LSTM(5), fl.Dense(3)], seed=1)
        model.fit(x, y, lengths=np.tile(LENGTHS, 5), epochs=2, batch_size=7, n_threads=threads, verbose=0)
        trained.append(model.flat_parameters.copy())
    np.testing.assert_array_equal(*trained)
    plain, with_lengths = model.predict(x), model.predict(x[:4], LENGTHS)
    model.freeze()
    np.testing.assert_array_equal(model.predict(x), plain)
    np.testing.assert_array_equal(model.predict(x[:4], LENGTHS), with_lengths)


def test_files_copies_and_summary(tmp_path: Path) -> None:
    for name, layer in WINDOWS.items():
        model = fl.Model([copied_layer(layer), fl.LSTM(2), fl.Dense(1)], input_size=4)
        model.save(tmp_path / "m.safetensors")
        for twin in (fl.load(tmp_path / "m.safetensors"), copy.copy(model)):
            np.testing.assert_array_equal(twin.predict(data(), LENGTHS), model.predict(data(), LENGTHS), name)
    assert repr(copied_layer(fl.MaxPool1D(4, padding=(3, 1)))) == ("MaxPool1D(kernel_size=4, stride=4, padding=[3, 1])")
    assert repr(copied_layer(fl.AvgPool1D(3, stride=1, padding="same"))) == (
        "AvgPool1D(kernel_size=3, stride=1, padding='same')"
    )
    text = io.StringIO()
    fl.Model([fl.MaxPool1D(2), fl.AvgPool1D(3, stride=1, padding="same"), fl.MaxPool()], input_size=4).summary(text)
    assert text.getvalue().count("(batch, ~time / 2, 4)") == 2


def test_wrong_places_and_arguments() -> None:
    for pool, name in ((fl.MaxPool1D, "MaxPool1D"), (fl.AvgPool1D, "AvgPool1D")):
        with pytest.raises(ValueError, match=f"layer 1: {name} reads .* return_sequences=True"):
            fl.Model([fl.LSTM(3), pool(2)], input_size=2)
        with pytest.raises(ValueError, match=f"{name} reads numbers and gets token ids"):
            pool(2).build(Signal(0, True, True))
        for padding in (2, (0, 3)):
            with pytest.raises(ValueError, match="expected less than kernel_size, 2, on each side"):
                pool(2, padding=padding)
        with pytest.raises(ValueError, match="kernel_size must be at least 1"):
            pool(0)
        with pytest.raises(ValueError, match=f"{name} reads windows of 6 steps, and series 1 has 5"):
            fl.Model([pool(6), fl.LSTM(2), fl.Dense(2)]).fit(data(), [0, 1, 0, 1], lengths=LENGTHS, verbose=0)
        with pytest.raises(ValueError, match=rf"an output for each group of 2 steps, .* after the {name}"):
            fl.Model([pool(2)], input_size=2)
        with pytest.raises(ValueError, match=f"give the {name} padding="):
            fl.Model([pool(2, stride=1)], input_size=2)
        with pytest.raises(ValueError, match=f"layer 0 is a {name} with stride 2, .* use stride=1 and"):
            fl.Model([pool(2), fl.LSTM(2)], input_size=2).stream()
        with pytest.raises(ValueError, match=f"layer 0 is a {name} with padding 'same', whose windows reach"):
            fl.Model([pool(2, stride=1, padding="same"), fl.LSTM(2)], input_size=2).stream()
        model = fl.Model([pool(3, stride=1, padding="causal"), fl.LSTM(2, return_sequences=True)], input_size=4)
        with pytest.raises(ValueError, match=rf"layer 0 is a {name}, which reads the 2 steps"):
            model.predict(data(), return_state=True)


# ------------------------------------------------------------------ Flatten


def test_flatten_joins_the_steps_in_their_order() -> None:
    model = fl.Model([fl.Flatten(12)], input_size=4, dtype="float64")
    np.testing.assert_array_equal(model.predict(data()), data().reshape(4, 48))
    padded = np.concatenate([data(), np.full((4, 3, 4), 9.0)], axis=1)
    np.testing.assert_array_equal(model.predict(padded, np.full(4, 12)), data().reshape(4, 48))
    np.testing.assert_array_equal(model.predict([*data()]), data().reshape(4, 48))
    repeated = fl.Model(
        [fl.LSTM(3), fl.RepeatVector(5), fl.LSTM(2, return_sequences=True), fl.Flatten(5)], input_size=4
    )
    assert repeated.predict(data()).shape == (4, 10)
    windows = fl.Model([fl.Conv1D(3, 3, stride=2), fl.Flatten(5), fl.Dense(2)], input_size=4)
    assert windows.predict(data()).shape == (4, 2)


def test_gradients_of_flatten() -> None:
    layers = [fl.LSTM(3, return_sequences=True), fl.MaxPool1D(2), fl.Flatten(6), fl.Dense(2)]
    model = fl.Model(layers, input_size=4, dtype="float64", seed=5)
    check_gradients(model, data(), None, np.random.default_rng(4).standard_normal((4, 2)))
    padded = fl.Model([fl.Masking(), fl.Flatten(12), fl.Dense(2)], input_size=4, dtype="float64", seed=5)
    x = np.concatenate([data(), np.full((4, 3, 4), 9.0)], axis=1)
    x[0, 3:5] = 0.0  # masked steps are kept
    check_gradients(padded, x, np.full(4, 12), np.random.default_rng(4).standard_normal((4, 2)), of_input=False)


def test_flatten_in_files_and_frozen_models(tmp_path: Path) -> None:
    model = fl.Model([fl.LSTM(3, return_sequences=True), fl.Flatten(12), fl.Dense(2)], input_size=4, seed=1)
    expected = model.predict(data())
    model.save(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(fl.load(tmp_path / "m.safetensors").predict(data()), expected)
    model.freeze()
    np.testing.assert_array_equal(model.predict(data()), expected)
    assert repr(copied_layer(fl.Flatten(12))) == "Flatten(steps=12)"


def test_flatten_refuses_other_numbers_of_steps() -> None:
    model = fl.Model([fl.LSTM(3, return_sequences=True), fl.Flatten(12), fl.Dense(2)])
    with pytest.raises(ValueError, match="Flatten reads series of 12 steps, and series 1 has 5 there: use fl.Flatten"):
        model.fit(data(), [0, 1, 0, 1], lengths=LENGTHS, verbose=0)
    assert not model.network.built
    model.fit(data(), [0, 1, 0, 1], epochs=1, verbose=0)
    with pytest.raises(ValueError, match="series 0 has 11 there"):
        model.predict(data()[:, :11])
    with pytest.raises(ValueError, match=r"Flatten\(steps=4\) gets series of 7 steps: use fl.Flatten\(7\)"):
        fl.Model([fl.LSTM(4), fl.RepeatVector(7), fl.Flatten(4)], input_size=2)
    with pytest.raises(ValueError, match="layer 1: Flatten reads every step and gets one vector"):
        fl.Model([fl.LSTM(4), fl.Flatten(4)], input_size=2)
    with pytest.raises(ValueError, match="Flatten reads numbers and gets token ids"):
        fl.Flatten(3).build(Signal(0, True, True))
    with pytest.raises(ValueError, match="layer 1 is a Flatten, whose output needs all 12 steps, .* fl.LastStep"):
        model.stream()
