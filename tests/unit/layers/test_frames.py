"""`Pad1D`, `Magnitude`, `Tap`, `Merge`, `TimeDistributed`: values, gradients, lengths, masks, streams, files."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import check_gradients, relative_error

import fastlstm as fl
from fastlstm import _core, reference
from fastlstm.layers import Layer, Signal

Array = np.ndarray
LENGTHS = np.array([12, 5, 9, 6])
PADS: list[tuple[int, int, str]] = [(2, 3, "constant"), (4, 2, "reflect"), (3, 1, "edge"), (0, 4, "reflect")]


def data(features: int = 4, time: int = 12) -> Array:
    return np.random.default_rng(3).standard_normal((4, time, features))


def trained(layers: list[Layer], features: int = 4, **options: Any) -> fl.Model:
    model = fl.Model(layers, input_size=features, seed=5, **{"dtype": "float64", **options})
    model.flat_parameters[:] += np.random.default_rng(8).uniform(-0.2, 0.2, model.flat_parameters.shape)
    return model


def gradients(model: fl.Model, x: Array, lengths: Array | None = None) -> None:
    """Compare all gradients to central differences; where there are lengths, outputs after them do not count."""
    weight = np.random.default_rng(0).standard_normal(model.forward(x, lengths).shape)
    if lengths is not None and weight.ndim == 3:
        weight[np.arange(weight.shape[1]) >= lengths[:, None]] = 0
    check_gradients(model, x, lengths, weight, of_input=not isinstance(model.layers[0], fl.Masking))


# ------------------------------------------------------------------ Pad1D


@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
@pytest.mark.parametrize("pads", PADS, ids=str)
def test_each_series_is_padded_at_its_own_ends(pads: tuple[int, int, str], masked: bool) -> None:
    layers: list[Layer] = [fl.Pad1D(*pads), fl.Conv1D(3, 2), fl.MeanPool()]
    model = trained([fl.Masking(), *layers] if masked else layers)
    x = data()
    x[1, 5:] = 7.0  # padding of the batch
    if masked:
        x[0, 3:5] = x[2, 0] = 0.0
    conv = model.layers[-2]
    for one, end, got in zip(x, LENGTHS, model.predict(x, LENGTHS), strict=True):
        kept = one[:end][(one[:end] != 0).any(axis=1)] if masked else one[:end]
        padded = reference.pad_forward(kept[None], *pads)
        assert relative_error(got, reference.conv_forward(padded, **conv.parameters)[0].mean(axis=0)) < 1e-13


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
@pytest.mark.parametrize("pads", PADS, ids=str)
def test_gradients_of_padding(pads: tuple[int, int, str], lengths: Array | None) -> None:
    layers = [fl.LSTM(3, return_sequences=True), fl.Pad1D(*pads), fl.Conv1D(2, 3), fl.LastStep()]
    gradients(trained(layers), data(), lengths=lengths)


def test_the_backward_pass_is_that_of_the_reference() -> None:
    for pads in PADS:
        model = trained([fl.Pad1D(*pads), fl.MeanPool()])
        x = data()
        out = model.forward(x, training=True)
        d = np.random.default_rng(0).standard_normal(out.shape)
        dx = model.backward(d)
        steps = 12 + pads[0] + pads[1]
        each = np.repeat(d[:, None] / steps, steps, axis=1)
        assert relative_error(dx, reference.pad_backward(each, *pads)) < 1e-13


def test_padding_refuses_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match="mode is 'wrap', expected one of 'constant', 'reflect', 'edge'"):
        fl.Pad1D(1, 1, "wrap")
    with pytest.raises(ValueError, match="before must be at least 0"):
        fl.Pad1D(-1, 1)
    with pytest.raises(ValueError, match="value=1.0 is for mode='constant'"):
        fl.Pad1D(1, 1, "edge", 1.0)
    model = trained([fl.Pad1D(0, 6, "reflect"), fl.LastStep()])
    with pytest.raises(ValueError, match=r"Pad1D reflects 6 steps.*series 1 has 5"):
        model.predict(data(), LENGTHS)
    with pytest.raises(ValueError, match="Pad1D reads .* set return_sequences=True"):
        trained([fl.LastStep(), fl.Pad1D(1, 1)])
    with pytest.raises(ValueError, match="layer 0 is a Pad1D, which adds steps at the ends"):
        model.stream()
    assert trained([fl.Pad1D(2, 0, value=3.0), fl.MaxPool()]).predict(-abs(data()))[0].tolist() == [3.0] * 4


# ------------------------------------------------------------------ Magnitude


@pytest.mark.parametrize("eps", [0.0, 0.1])
def test_magnitudes(eps: float) -> None:
    model = trained([fl.Magnitude(eps), fl.LSTM(3, return_sequences=True)], 6)
    x = data(6)
    plain = fl.Model([fl.Magnitude(eps), fl.LastStep()], input_size=6, dtype="float64")
    np.testing.assert_array_equal(plain.predict(x), reference.magnitude_forward(x, eps)[:, -1])
    gradients(model, x, lengths=LENGTHS)
    out = plain.forward(x, training=True)
    d = np.random.default_rng(0).standard_normal(out.shape)
    expected = np.zeros_like(x)
    expected[:, -1] = reference.magnitude_backward(d, x[:, -1], eps)
    assert relative_error(plain.backward(d), expected) < 1e-14
    zeros = plain.forward(0 * x, training=True)
    assert np.isfinite(plain.backward(np.ones_like(zeros))).all()
    with pytest.raises(ValueError, match="an even number of features, and gets 5"):
        trained([fl.Magnitude()], 5)
    with pytest.raises(ValueError, match="eps is -1"):
        fl.Magnitude(-1)


# ------------------------------------------------------------------ Tap and Merge


def gated(mode: str) -> list[Layer]:
    inner = [fl.LSTM(4, return_sequences=True), fl.Activation("sigmoid")]
    return [
        fl.Dense(4),
        fl.Tap("x"),
        *inner,
        fl.Merge("x", mode),
        fl.Merge("x", "add") if mode != "concat" else fl.Dense(3),
    ]


@pytest.mark.parametrize("mode", ["multiply", "add", "concat"])
def test_merges(mode: str) -> None:
    model = trained(gated(mode))
    x = data()
    first = fl.Model([fl.Dense(4)], input_size=4, dtype="float64")
    first.load_state_dict({k: v for k, v in model.state_dict().items() if k.startswith("0.")})
    tapped = first.predict(x)
    gate = fl.Model([fl.LSTM(4, return_sequences=True), fl.Activation("sigmoid")], input_size=4, dtype="float64")
    gate.load_state_dict({f"0.{k[2:]}": v for k, v in model.state_dict().items() if k.startswith("2.")})
    mask = gate.predict(tapped)
    if mode == "concat":
        dense = model.layers[-1].parameters
        expected = np.concatenate([mask, tapped], axis=-1) @ dense["weight"].T + dense["bias"]
    else:
        expected = (mask * tapped if mode == "multiply" else mask + tapped) + tapped
    assert relative_error(model.predict(x), expected) < 1e-13
    gradients(model, x, lengths=LENGTHS)


def test_merges_after_the_steps_are_gone_and_under_masks() -> None:
    layers = [fl.Masking(), fl.LSTM(3, return_sequences=True), fl.Tap("a"), fl.Dense(3), fl.Merge("a"), fl.MeanPool()]
    x = data()
    x[0, 2:4] = 0.0
    gradients(trained(layers), x, lengths=LENGTHS)
    gradients(trained([fl.LSTM(3), fl.Tap("a"), fl.Dense(3), fl.Merge("a")]), x)


def test_taps_that_do_not_fit() -> None:
    for layers, message in (
        ([fl.Merge("x")], "Merge reads the Tap 'x', and there is none"),
        ([fl.Tap("a"), fl.Merge("b")], "those before it are 'a'"),
        ([fl.Tap("a"), fl.Tap("a")], "another Tap before this one has the name 'a'"),
        ([fl.Tap("a"), fl.Dense(3), fl.Merge("a")], "Merge gets 3 features, and there are 4 at the Tap 'a'"),
        ([fl.Tap("a"), fl.LSTM(4), fl.Merge("a")], "other steps than those at the Tap"),
        ([fl.Tap("a"), fl.Conv1D(4, 3), fl.Merge("a"), fl.LastStep()], "other steps than those at the Tap"),
    ):
        with pytest.raises(ValueError, match=message):
            trained(list(layers))
    with pytest.raises(ValueError, match="mode is 'mul', expected one of 'multiply', 'add', 'concat'"):
        fl.Merge("a", "mul")
    with pytest.raises(TypeError, match="name is 3, expected a string"):
        fl.Tap(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="name is empty"):
        fl.Tap("")


# ------------------------------------------------------------------ TimeDistributed


def spectrum() -> list[Layer]:
    """Frames of 24 samples: padding, a strided convolution, magnitudes, a convolution with zeros around."""
    return [
        fl.Pad1D(2, 4, "reflect"),
        fl.Conv1D(6, 8, stride=4, bias=False),
        fl.Magnitude(),
        fl.Conv1D(4, 3, padding="same", stride=2, activation="relu"),
        fl.Conv1D(5, 3, padding=1),
    ]


def framed(**options: Any) -> fl.Model:
    layers = [fl.TimeDistributed(spectrum()), fl.LSTM(4, return_sequences=True), fl.Dense(2)]
    return trained(layers, 24, **options)


def test_each_step_is_computed_as_a_series() -> None:
    model = framed()
    frame = model.layers[0]
    assert isinstance(frame, fl.TimeDistributed) and frame.output_size == 15
    x = data(24)
    alone = fl.Model([*spectrum(), fl.StackSteps(3), fl.LastStep()], input_size=1, dtype="float64")
    alone.load_state_dict({name[2:]: v for name, v in model.state_dict().items() if name.startswith("0.")})
    rest = fl.Model([fl.LSTM(4, return_sequences=True), fl.Dense(2)], input_size=15, dtype="float64")
    rest.load_state_dict({f"{int(k[0]) - 1}{k[1:]}": v for k, v in model.state_dict().items() if k[0] != "0"})
    features = alone.predict(x.reshape(-1, 24, 1)).reshape(4, 12, 15)
    assert relative_error(model.predict(x), rest.predict(features)) < 1e-13


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
def test_gradients_of_layers_within_steps(lengths: Array | None, masked: bool) -> None:
    inner = [fl.Pad1D(1, 1, "edge"), fl.Conv1D(4, 3, activation="tanh"), fl.Magnitude(0.1), fl.LSTM(3), fl.Dense(4)]
    layers: list[Layer] = [fl.TimeDistributed(inner, steps=3), fl.LSTM(3, return_sequences=True)]
    if masked:
        layers.insert(0, fl.Masking())
    else:
        layers.insert(0, fl.Dense(6))
    x = data(6)
    if masked:
        x[0, 2:4] = x[3, 0] = 0.0
    gradients(trained(layers, 6), x, lengths=lengths)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_streams_have_the_bits_of_predict_on_every_instruction_set(dtype: str) -> None:
    model = framed(dtype=dtype)
    x = data(24).astype(dtype)
    before = model.predict(x)
    for threads in (1, 3):
        assert model.predict(x, n_threads=threads).tobytes() == before.tobytes()
    assert model.predict(x[1:2]).tobytes() == before[1:2].tobytes()
    stream = model.stream(batch_size=4)
    steps = np.stack([stream.step(np.ascontiguousarray(x[:, t])) for t in range(12)], axis=1)
    assert steps.tobytes() == before.tobytes()
    stream.reset()
    blocks = np.concatenate([stream.run(x[:, :5]), stream.run(x[:, 5:])], axis=1)
    assert blocks.tobytes() == before.tobytes()
    model.freeze()
    assert model.predict(x).tobytes() == before.tobytes()
    assert model.predict(x, lengths=LENGTHS)[0].tobytes() == before[0].tobytes()


def test_files_copies_and_pickles(tmp_path: Path) -> None:
    layers = [
        fl.Tap("raw"),
        fl.TimeDistributed([fl.Conv1D(3, 4, stride=2), fl.Dropout(0.2)], steps=8),
        fl.Dense(16),
        fl.Merge("raw"),
    ]
    model = trained(layers, 16)
    model.layers[1].trainable = False
    x = data(16)
    expected = model.predict(x)
    model.save(tmp_path / "m.safetensors")
    for other in (fl.load(tmp_path / "m.safetensors"), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other.predict(x).tobytes() == expected.tobytes()
        assert [one.trainable for one in other.layers] == [True, False, True, True]
    assert "1.0.weight" in model.state_dict()
    before = {name: value.copy() for name, value in model.state_dict().items()}
    model.fit(x, np.zeros((4, 12, 16)), loss="mse", epochs=1, verbose=0)
    changed = {name for name, value in model.state_dict().items() if not np.array_equal(value, before[name])}
    assert changed == {"2.weight", "2.bias"}


def test_layers_within_steps_that_are_not_trained_keep_their_bits(tmp_path: Path) -> None:
    """Also those of which only the weight decay would change anything, and the statistics of a `BatchNorm`."""

    def fitted(inner: bool, outer: bool) -> set[str]:
        layers = [fl.Conv1D(3, 4, stride=2), fl.BatchNorm(), fl.Activation("tanh")]
        model = trained([fl.Dense(16), fl.TimeDistributed(layers, steps=8), fl.Dense(2)], 16)
        layers[0].trainable, model.layers[1].trainable = inner, outer
        model.save(tmp_path / "m.safetensors")
        model = fl.load(tmp_path / "m.safetensors")
        before = {name: value.copy() for name, value in model.state_dict().items()}
        optimizer = fl.AdamW(0.01, weight_decay=0.1)
        model.fit(data(16), np.zeros((4, 12, 2)), loss="mse", optimizer=optimizer, epochs=1, verbose=0)
        return {name for name, value in model.state_dict().items() if not np.array_equal(value, before[name])}

    around = {"0.weight", "0.bias", "2.weight", "2.bias"}
    norm = {f"1.1.{name}" for name in ("weight", "bias", "running_mean", "running_var")}
    assert fitted(True, True) == around | norm | {"1.0.weight", "1.0.bias"}
    assert fitted(False, True) == around | norm
    assert fitted(True, False) == around


def test_weight_decay_leaves_statistics_within_steps_alone() -> None:
    model = trained([fl.TimeDistributed([fl.BatchNorm(momentum=1.0)], steps=2), fl.Dense(2)], 6)
    x = data(6)
    optimizer = fl.AdamW(0.1, weight_decay=0.5)
    model.fit(x, np.zeros((4, 12, 2)), loss="mse", optimizer=optimizer, epochs=1, batch_size=4, verbose=0)
    rows = x.reshape(-1, 3)
    running = model.layers[0].parameters
    np.testing.assert_allclose(running["0.running_mean"], rows.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(running["0.running_var"], rows.var(axis=0, ddof=1), rtol=1e-12)


def test_a_batch_norm_two_levels_down_normalizes_by_its_running_statistics_if_the_outer_is_not_trained() -> None:
    norm = fl.BatchNorm()
    model = trained([fl.TimeDistributed([fl.TimeDistributed([norm], steps=2)], steps=3), fl.Dense(2)], 12)
    x = 5 + data(12)
    model.layers[0].trainable = False
    before = norm.parameters["running_mean"].copy()
    expected = model.predict(x)
    np.testing.assert_array_equal(model.forward(x, training=True), expected)
    model.backward(np.ones_like(expected))
    np.testing.assert_array_equal(norm.parameters["running_mean"], before)


def test_written_to_onnx(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    ort = pytest.importorskip("onnxruntime")
    for pads in PADS:
        inner = fl.TimeDistributed(spectrum())
        models = [
            trained([fl.Tap("raw"), inner, fl.LSTM(24, return_sequences=True), fl.Merge("raw")], 24, dtype="float32"),
            trained([fl.Pad1D(*pads), fl.Magnitude(0.1), fl.LSTM(3)], 4, dtype="float32"),
        ]
        for model, lengths in ((models[0], None), (models[0], LENGTHS), (models[1], None)):
            model.to_onnx(tmp_path / "m.onnx", with_lengths=lengths is not None)
            session = ort.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
            x = data(model.input_size or 0).astype("f4")
            given = {"x": x} if lengths is None else {"x": x, "lengths": lengths.astype("i4")}
            np.testing.assert_allclose(session.run(None, given)[0], model.predict(x, lengths), atol=2e-6)


def test_firmware_refuses_them() -> None:
    for layers, message in (
        ([fl.TimeDistributed([fl.Conv1D(2, 3)]), fl.Dense(2)], "a convolution within the steps, of a TimeDistributed"),
        ([fl.TimeDistributed([fl.Pad1D(1, 0), fl.Conv1D(2, 3)])], "a part of a TimeDistributed"),
        ([fl.Magnitude(), fl.Dense(2)], "a Magnitude, which the C export does not have"),
        ([fl.Tap("a"), fl.LSTM(4, return_sequences=True), fl.Merge("a")], "the product of a Merge"),
        ([fl.Tap("a"), fl.Dense(2), fl.Merge("a", "concat")], "the concatenation of a Merge"),
    ):
        with pytest.raises(ValueError, match=message):
            trained(list(layers), dtype="float32").to_c("m")


def test_what_cannot_stand_within_a_step() -> None:
    for make, error, message in (
        (lambda: fl.TimeDistributed([]), ValueError, "layers is empty"),
        (lambda: fl.TimeDistributed(fl.Dense(3)), TypeError, "expected a list of layers"),
        (lambda: fl.TimeDistributed([3]), TypeError, "layers holds 3"),
        (lambda: fl.TimeDistributed([fl.Masking()]), ValueError, "cannot stand within a step"),
        (lambda: trained([fl.TimeDistributed([fl.Conv1D(2, 9)])], 4), ValueError, "windows of 9 steps"),
        (lambda: trained([fl.TimeDistributed([fl.Dense(2)], steps=3)], 4), ValueError, "gets 4 features"),
        (lambda: trained([fl.LastStep(), fl.TimeDistributed([fl.Dense(2)])], 4), ValueError, "set return_sequences"),
    ):
        with pytest.raises(error, match=message):
            make()
    model = trained([fl.TimeDistributed([fl.LSTM(2)]), fl.Dense(2)], 4)
    assert model.predict(data()).shape == (4, 12, 2)
    with pytest.raises(TypeError, match="they have no 'lstm' within a step; use predict"):
        model.stream()


def test_the_core_refuses_stages_that_do_not_fit() -> None:
    from fastlstm.layers import Stage

    for stage, message in (
        (Stage("take", 1, settings={"index": np.array([4])}, main=0), "takes feature 4 of 4"),
        (Stage("magnitude", 2, settings={"parts": 3, "eps": 0.0}, main=0), "cannot divide 4 features"),
        (
            Stage(
                "frame_conv",
                2,
                {"weight": np.zeros((2, 1, 5))},
                {"steps": 4, "stride": 1, "dilation": 1, "groups": 1},
                0,
            ),
            "frames of 4 steps, has longer windows",
        ),
        (
            Stage(
                "frame_conv",
                2,
                {"weight": np.zeros((2, 1, 5))},
                {"steps": 3, "stride": 1, "dilation": 1, "groups": 1},
                0,
            ),
            "cannot have 3 steps",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            _core.Chain([stage], 4, "float64")
    assert Signal(3, True).taps == ()
