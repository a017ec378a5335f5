"""Encoder and decoder as one network: gradients, states, lengths, bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import FINITE_DIFFERENCE, TOLERANCE, numerical_gradient, relative_error

import fastlstm as fl
from fastlstm import reference

X = [[2, 3, 4, 5, 6], [3, 2], [7, 5, 4]]
Y = [[2, 3], [4, 5, 6, 2], []]


def pair(
    encoder: dict[str, Any], decoder: dict[str, Any], score: str | None = "general", dtype: str = "float64", **more: Any
) -> fl.EncoderDecoder:
    attention = [] if score is None else [fl.LuongAttention(score)]
    return fl.EncoderDecoder(
        [fl.Embedding(8, 2), fl.LSTM(**{"hidden_size": 3, "return_sequences": True, **encoder})],
        [
            fl.Embedding(7, 2),
            fl.LSTM(**{"hidden_size": 3, "return_sequences": True, **decoder}),
            *attention,
            fl.Dense(3),
            fl.Activation("tanh"),
            fl.Dense(7),
        ],
        dtype=dtype,
        seed=3,
        **more,
    )


MODELS: dict[str, Any] = {
    "no attention": lambda: pair({"return_sequences": False}, {}, None),
    "no attention, every step": lambda: pair({}, {}, None),
    "general": lambda: pair({}, {}),
    "dot": lambda: pair({}, {}, "dot"),
    "two layers": lambda: pair({"num_layers": 2}, {"num_layers": 2}),
    "both directions": lambda: pair({"bidirectional": True}, {"hidden_size": 6}),
    "both directions, merged, two layers": lambda: pair(
        {"bidirectional": True, "merge": "sum", "num_layers": 2}, {"hidden_size": 6, "num_layers": 2}
    ),
    "reverse": lambda: pair({"reverse": True, "return_sequences": False}, {}, None),
    "projection": lambda: pair({"proj_size": 2}, {"proj_size": 2}),
    "learnt state": lambda: pair({"learn_state": True}, {}),
    "two objects": lambda: fl.EncoderDecoder(
        [fl.Embedding(8, 2), fl.LSTM(2, return_sequences=True), fl.LSTM(3, return_sequences=True)],
        [fl.Embedding(7, 2), fl.LSTM(2, return_sequences=True), fl.LSTM(3, return_sequences=True),
         fl.LuongAttention(), fl.LuongAttention("general"), fl.Dense(7)],
        dtype="float64",
    ),
    "masks": lambda: fl.EncoderDecoder(
        [fl.Embedding(8, 2, mask_token=2), fl.LSTM(3, return_sequences=True)],
        [fl.Embedding(7, 2), fl.LSTM(3, return_sequences=True), fl.LuongAttention(), fl.Dense(7)],
        dtype="float64",
    ),
    "softmax": lambda: fl.EncoderDecoder(
        [fl.Embedding(8, 2), fl.LSTM(3, return_sequences=True)],
        [fl.Embedding(7, 2), fl.LSTM(3, return_sequences=True), fl.LuongAttention(), fl.Dense(7),
         fl.Activation("softmax")],
        dtype="float64",
    ),
}  # fmt: skip


def loss_of(model: fl.EncoderDecoder) -> float:
    return model.evaluate(X, Y)["loss"]


@pytest.mark.parametrize("name", MODELS)
def test_the_gradients_are_those_of_finite_differences(name: str) -> None:
    model = MODELS[name]()
    seen: dict[str, np.ndarray] = {}

    class Keep(fl.Callback):
        def on_batch_end(self, batch: int, logs: Any) -> None:
            seen.update({key: value.copy() for key, value in model.gradients().items()})

    before = model.flat_parameters.copy()
    model.fit(X, Y, epochs=1, batch_size=3, optimizer=fl.SGD(1e-3), callbacks=[Keep()], verbose=0)
    model.flat_parameters[:] = before
    for key, array in model.parameters().items():
        expected = numerical_gradient(lambda: loss_of(model), array)
        assert relative_error(seen[key], expected) <= FINITE_DIFFERENCE, key


def test_the_forward_pass_is_that_of_the_reference() -> None:
    model = pair({"num_layers": 2, "bidirectional": True}, {"num_layers": 2, "hidden_size": 6})
    p = model.parameters()
    out = model.forward(X, Y)
    for source, target, row in zip(X, Y, out, strict=True):
        x = p["encoder.0.weight"][source][None]
        states = []
        for layer in range(2):
            ends, parts = [], []
            for tail in ("", "_reverse"):
                names = (f"{kind}_l{layer}{tail}" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
                weights = [p[f"encoder.1.{name}"] for name in names]
                y, h, c, _ = reference.lstm_forward(x, *weights, reverse=bool(tail))
                parts.append(y)
                ends.append((h, c))
            x = np.concatenate(parts, axis=2)
            states.append([np.concatenate(both, axis=1) for both in zip(*ends, strict=True)])
        y = p["decoder.0.weight"][[model.bos, *target]][None]
        for layer, (h, c) in enumerate(states):
            weights = [p[f"decoder.1.{kind}_l{layer}"] for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
            y = reference.lstm_forward(y, *weights, h0=h, c0=c)[0]
        context, _ = reference.attention_forward(y, x @ p["decoder.2.weight"].T, x)
        y = np.concatenate([context, y], axis=2)
        y = np.tanh(reference.dense_forward(y, p["decoder.3.weight"], p["decoder.3.bias"]))
        y = reference.dense_forward(y, p["decoder.5.weight"], p["decoder.5.bias"])
        assert relative_error(row[: len(target) + 1], y[0]) <= TOLERANCE["float64"]
        assert (row[len(target) + 1 :] == 0).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["no attention", "general", "both directions", "masks"])
def test_a_stream_has_the_bits_of_the_forward_pass(name: str, dtype: str, isa: str) -> None:
    model = MODELS[name]()
    other = fl.EncoderDecoder(*_copied(model), dtype=dtype, seed=3)
    out, stream = other.forward(X, Y), other.stream(X)
    for step in range(5):
        given = [other.bos if not step else target[step - 1] if step <= len(target) else 2 for target in Y]
        scores = stream.step(given)
        for k, target in enumerate(Y):
            if step <= len(target):
                np.testing.assert_array_equal(scores[k], out[k, step])
    stream.reset()
    np.testing.assert_array_equal(stream.step([other.bos] * 3), out[:, 0])


def _copied(model: fl.EncoderDecoder) -> tuple[list[Any], list[Any]]:
    encoder, decoder = (
        [type(layer)(**layer.get_config()) for layer in layers] for layers in (model.encoder, model.decoder)
    )
    return encoder, decoder


def test_a_stream_goes_back_to_a_state() -> None:
    model = MODELS["two layers"]()
    stream = model.stream(X)
    stream.step([0, 0, 0])
    state = stream.state
    after = stream.step([2, 3, 4])
    stream.step([5, 5, 5])
    stream.state = state
    np.testing.assert_array_equal(stream.step([2, 3, 4]), after)
    with pytest.raises(ValueError, match="a state has shapes"):
        stream.state = [(h[:, :2], c[:, :2]) for h, c in state]
    with pytest.raises(ValueError, match=r"tokens hold 7, expected ids in \[0, 7\)"):
        stream.step([0, 7, 0])
    with pytest.raises(ValueError, match="expected 3 integers"):
        stream.step([0, 1])


def test_the_bits_do_not_depend_on_threads_or_on_other_cases(isa: str) -> None:
    model = fl.EncoderDecoder(*_copied(MODELS["both directions"]()), seed=1)
    out = model.forward(X, Y, n_threads=1)
    np.testing.assert_array_equal(model.forward(X, Y, n_threads=3), out)
    for k in range(3):
        np.testing.assert_array_equal(model.forward([X[k]], [Y[k]])[0], out[k, : len(Y[k]) + 1])
    runs = []
    for n_threads in (1, 3):
        model = fl.EncoderDecoder(*_copied(MODELS["both directions"]()), seed=1)
        model.fit(X * 5, Y * 5, epochs=2, n_threads=n_threads, verbose=0)
        runs.append(model.flat_parameters.copy())
    np.testing.assert_array_equal(*runs)


def test_weights_of_attention_sum_to_one() -> None:
    model = pair({}, {})
    weights = model.attention_weights(X, Y)
    assert weights.shape == (3, 5, 5)
    for k, (source, target) in enumerate(zip(X, Y, strict=True)):
        np.testing.assert_allclose(weights[k, : len(target) + 1].sum(axis=1), 1, rtol=1e-12)
        assert (weights[k, :, len(source) :] == 0).all()
    with pytest.raises(ValueError, match="no fl.LuongAttention"):
        MODELS["no attention"]().attention_weights(X, Y)


def test_an_encoder_reads_numbers() -> None:
    rng = np.random.default_rng(0)
    series, lengths = rng.standard_normal((3, 6, 2)), [6, 3, 4]
    model = fl.EncoderDecoder(
        [fl.Conv1D(3, 3, padding="same"), fl.LSTM(4, return_sequences=True)],
        [fl.Embedding(7, 3), fl.LSTM(4, return_sequences=True), fl.LuongAttention(), fl.Dense(7)],
        scaler=fl.Standardizer(),
    )
    with pytest.raises(RuntimeError, match="not built yet"):
        model.predict(series, max_length=3)
    model.fit(series, Y, lengths=lengths, epochs=1, verbose=0)
    assert model.input_size == 2
    padded = series.copy()
    padded[1, 3:] = np.nan
    assert [one.tolist() for one in model.predict(padded, lengths, max_length=5)] == [
        model.predict([row[:n]], max_length=5)[0].tolist() for row, n in zip(series, lengths, strict=True)
    ]


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_part_that_is_not_trainable_keeps_its_bits(part: str) -> None:
    model = pair({}, {})
    for layer in getattr(model, part):
        layer.trainable = False
    before = model.state_dict()
    model.fit(X, Y, epochs=2, verbose=0)
    for name, value in model.parameters().items():
        same = np.array_equal(value, before[name])
        assert same == (name.startswith(part)), name


REFUSED: dict[str, tuple[Any, str]] = {
    "sizes": (lambda: pair({}, {"hidden_size": 6}), "1 LSTM layer of size 3, and the decoder 1 LSTM layer of size 6"),
    "layers": (lambda: pair({"num_layers": 2}, {}), "2 LSTM layers of size 3, and the decoder 1 LSTM layer of size 3"),
    "directions": (lambda: pair({"bidirectional": True}, {}), "those of two directions side by side"),
    "no steps": (lambda: pair({"return_sequences": False}, {}), "set return_sequences=True in its LSTM"),
    "decoder without steps": (lambda: pair({}, {"return_sequences": False}), "every step of the decoder"),
    "decoder backwards": (lambda: pair({}, {"reverse": True}), "decoder: layer 1 has reverse=True"),
    "learnt state": (lambda: pair({}, {"learn_state": True}), "begins with the encoder's states"),
    "dot": (lambda: pair({"merge": "sum", "bidirectional": True}, {"hidden_size": 6}, "dot"), "as many features"),
    "no table": (lambda: fl.EncoderDecoder([fl.LSTM(3)], [fl.LSTM(3), fl.Dense(2)]), "fl.Embedding"),
    "no LSTM": (lambda: fl.EncoderDecoder([fl.Embedding(3, 2)], [fl.Embedding(3, 2), fl.Dense(3)]), "no LSTM layer"),
    "outputs": (
        lambda: fl.EncoderDecoder([fl.LSTM(3)], [fl.Embedding(4, 2), fl.LSTM(3, return_sequences=True), fl.Dense(3)],
                                  input_size=2),
        r"reads 4 tokens and has 3 outputs, expected one for each token: end it with fl.Dense\(4\)",
    ),
    "mask": (
        lambda: fl.EncoderDecoder([fl.LSTM(3)], [fl.Embedding(4, 2, mask_token=0), fl.LSTM(3), fl.Dense(4)]),
        "has mask_token",
    ),
    "pooling": (
        lambda: fl.EncoderDecoder(
            [fl.LSTM(3)], [fl.Embedding(4, 2), fl.LSTM(3, return_sequences=True), fl.MaxPool(), fl.Dense(4)],
            input_size=2),
        "one output for each case",
    ),
    "attention elsewhere": (lambda: fl.Model([fl.LuongAttention()], input_size=3), "decoder of an fl.EncoderDecoder"),
    "bos": (lambda: pair({}, {}, bos=7), r"bos is 7, expected an id of the decoder's Embedding, \[0, 7\)"),
    "name without names": (lambda: pair({}, {}, eos="</s>"), "no target_tokens"),
    "names": (lambda: pair({}, {}, target_tokens=["a"]), "target_tokens has 1 names, expected 7"),
    "same names": (lambda: pair({}, {}, target_tokens=list("aabcdef")), "must differ"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused(name: str) -> None:
    make, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        make()
