"""`RepeatVector`: values, gradients, and the lengths, which end at this layer, in everything that reads them."""

from __future__ import annotations

import copy
import io
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import TOLERANCE, check_gradients, relative_error

import fastlstm as fl
from fastlstm import reference
from fastlstm.layers import LayerCache, PassContext, Signal

LENGTHS = np.array([7, 2, 5, 1])
STEPS = 4


def autoencoder(n: int = STEPS, outputs: int = 2, **options: Any) -> fl.Model:
    decoder = [fl.RepeatVector(n), fl.LSTM(4, return_sequences=True), fl.Dense(outputs)]
    return fl.Model([fl.LSTM(3), *decoder], **{"input_size": 2, "seed": 3, **options})


def data(n: int = 4, time: int = 7) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.standard_normal((n, time, 2)), rng.standard_normal((n, STEPS, 2))


# ------------------------------------------------------------------ the layer alone


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("features", [1, 5])
def test_it_is_the_reference(dtype: str, features: int) -> None:
    rng = np.random.default_rng(2)
    layer, cache, ctx = fl.RepeatVector(6), LayerCache(), PassContext(1, np.dtype(dtype), True)
    assert layer.build(Signal(features, False)) == Signal(features, True, steps=6)
    x, dy = rng.standard_normal((3, features)).astype(dtype), rng.standard_normal((3, 6, features)).astype(dtype)
    y = layer.forward(x, ctx, cache)
    np.testing.assert_array_equal(y, reference.repeat_vector_forward(x, 6))
    dx = layer.backward(dy, ctx, cache, True)
    assert dx is not None and dx.dtype == dtype and y.dtype == dtype
    assert relative_error(dx, reference.repeat_vector_backward(dy.astype("f8"))) <= TOLERANCE[dtype]
    assert layer.backward(dy, ctx, cache, False) is None


@pytest.mark.parametrize("features", [1, 5])
def test_the_gradient_of_a_case_has_the_same_bits_in_any_batch(features: int) -> None:
    rng = np.random.default_rng(3)
    dy = rng.standard_normal((9, 300, features)).astype("f4")

    def gradient(part: np.ndarray) -> np.ndarray:
        layer, cache, ctx = fl.RepeatVector(300), LayerCache(), PassContext(1, np.dtype("f4"), True)
        layer.build(Signal(features, False))
        layer.forward(np.zeros((len(part), features), "f4"), ctx, cache)
        found = layer.backward(part, ctx, cache, True)
        assert found is not None
        return found

    whole = gradient(dy)
    for case in range(9):
        np.testing.assert_array_equal(gradient(dy[case : case + 1])[0], whole[case])


def test_wrong_places_and_arguments() -> None:
    with pytest.raises(
        ValueError, match=r"layer 1: RepeatVector reads one vector .* return_sequences=False .*LastStep"
    ):
        fl.Model([fl.LSTM(3, return_sequences=True), fl.RepeatVector(2)], input_size=2)
    with pytest.raises(ValueError, match=r"layer 0: RepeatVector .* gets one for each step"):
        fl.Model([fl.RepeatVector(2), fl.LSTM(3)], input_size=2)
    with pytest.raises(ValueError, match="gets token ids"):
        fl.RepeatVector(2).build(Signal(0, True, True))
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        fl.RepeatVector(0)
    with pytest.raises(TypeError, match=r"n must be an integer, got 2\.5"):
        fl.RepeatVector(2.5)  # type: ignore[arg-type]


# ------------------------------------------------------------------ a model around it


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
@pytest.mark.parametrize("end", ["steps", "last", "pool"])
def test_gradients_by_finite_differences(lengths: np.ndarray | None, masked: bool, end: str) -> None:
    """A mask, and lengths greater and smaller than the number of repetitions, hold for the encoder only."""
    rng = np.random.default_rng(4)
    layers: list[Any] = [fl.LSTM(3, return_sequences=True), fl.AttentionPool(3), fl.RepeatVector(STEPS)]
    layers += [fl.LSTM(4, bidirectional=True, return_sequences=end != "last")]
    layers += [fl.MeanPool(), fl.Dense(2)] if end == "pool" else [fl.Dense(2)]
    model = fl.Model([fl.Masking(), *layers] if masked else layers, input_size=2, dtype="float64", seed=5)
    model.flat_parameters[:] *= 2
    x = rng.standard_normal((4, 7, 2))
    if masked:
        x[0, 2:4] = x[2, 0] = 0
    out = model.forward(x, lengths)
    assert out.shape == ((4, STEPS, 2) if end == "steps" else (4, 2))
    dx = check_gradients(model, x, lengths, rng.standard_normal(out.shape), of_input=not masked)
    if lengths is not None and not masked:
        assert (dx[np.arange(7) >= lengths[:, None]] == 0).all()


def test_the_decoder_reads_all_steps_whatever_the_lengths() -> None:
    model = autoencoder(dtype="float64")
    x, _ = data()
    whole = model.predict(x, LENGTHS)
    assert whole.shape == (4, STEPS, 2) and (whole != 0).all()
    encoder = fl.Model([fl.LSTM(3)], input_size=2, dtype="float64")
    decoder = fl.Model([fl.LSTM(4, return_sequences=True), fl.Dense(2)], input_size=3, dtype="float64")
    encoder.flat_parameters[:] = model.flat_parameters[: encoder.flat_parameters.size]
    decoder.flat_parameters[:] = model.flat_parameters[encoder.flat_parameters.size :]
    code = encoder.predict(x, LENGTHS)
    np.testing.assert_array_equal(whole, decoder.predict(np.repeat(code[:, None], STEPS, axis=1)))
    series = [one[:end] for one, end in zip(x, LENGTHS, strict=True)]
    listed = model.predict(series)
    assert isinstance(listed, np.ndarray)  # not a list, because all outputs have the same length
    np.testing.assert_array_equal(listed, whole)
    np.testing.assert_array_equal(model.predict(series, batch_size=1), whole)
    np.testing.assert_array_equal(model.forward(x, LENGTHS), whole)


def test_threads_and_batches_do_not_matter() -> None:
    x, y = data()
    trained = []
    for threads in (1, 3):
        model = autoencoder()
        model.fit(x, y, lengths=LENGTHS, loss="mse", epochs=3, batch_size=3, n_threads=threads, verbose=0)
        trained.append(model.flat_parameters.copy())
    np.testing.assert_array_equal(*trained)


def test_files_copies_and_summary(tmp_path: Path) -> None:
    model = autoencoder()
    x, _ = data()
    model.save(tmp_path / "m.safetensors")
    for twin in (fl.load(tmp_path / "m.safetensors"), copy.copy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(twin.predict(x, LENGTHS), model.predict(x, LENGTHS))
        assert repr(twin.layers[1]) == "RepeatVector(n=4)"
    assert model.get_config()["layers"][1] == {"type": "RepeatVector", "n": 4}
    text = io.StringIO()
    model.summary(text)
    shapes = [re.findall(r"\(batch.*?\)", line) for line in text.getvalue().splitlines()[1:-1]]
    assert shapes == [["(batch, 3)"], ["(batch, 4, 3)"], ["(batch, 4, 4)"], ["(batch, 4, 2)"]]


def test_streams_and_segments_are_refused() -> None:
    model = autoencoder()
    x, y = data()
    with pytest.raises(
        ValueError, match=r"layer 1 is a RepeatVector: the series that it begins follows .*predict on bl"
    ):
        model.stream()
    with pytest.raises(ValueError, match=r"tbptt_steps feeds each series in segments, and layer 1 is a RepeatVector"):
        model.fit(x, y, loss="mse", tbptt_steps=2, verbose=0)


# ------------------------------------------------------------------ targets and losses


def test_the_loss_counts_all_steps() -> None:
    model = autoencoder(dtype="float64")
    x, y = data()
    error = model.predict(x, LENGTHS) - y
    series = [one[:end] for one, end in zip(x, LENGTHS, strict=True)]
    for inputs, lengths in ((x, LENGTHS), (series, None)):
        for targets in (y, list(y)):
            found = model.evaluate(inputs, targets, lengths=lengths, loss="mse", metrics={"n": lambda y, p: y.size})
            assert found["loss"] == pytest.approx((error**2).mean(), rel=1e-12)
            assert found["mae"] == pytest.approx(np.abs(error).mean(), rel=1e-12)
            assert found["mae_1"] == pytest.approx(np.abs(error[..., 1]).mean(), rel=1e-12)
            assert found["n"] == y.size


def test_fit_reports_the_loss_of_all_steps_and_learns() -> None:
    """The targets have more steps than the shortest case and fewer than the longest case of each batch."""
    rng = np.random.default_rng(6)
    lengths = rng.integers(2, 8, 64)
    X = [np.full((n, 1), value) for n, value in zip(lengths, rng.standard_normal(64), strict=True)]
    y = np.array([one[0] * np.arange(1, STEPS + 1) for one in X])
    model = fl.Model([fl.LSTM(8), fl.RepeatVector(STEPS), fl.LSTM(8, return_sequences=True), fl.Dense(1)], seed=1)
    first = copy.copy(model)
    first.build(1)
    expected = float(((first.predict(X)[..., 0] - y) ** 2).mean())
    once = first.fit(X, y, loss="mse", epochs=1, batch_size=64, verbose=0)
    assert once.history["loss"][0] == pytest.approx(expected, rel=1e-5)
    history = model.fit(
        X, y, loss="mse", epochs=60, batch_size=16, optimizer=fl.Adam(0.02), validation_split=0.25, verbose=0
    )
    assert history.history["val_loss"][-1] < 0.1 * expected


def test_weights_of_steps_and_missing_targets() -> None:
    model = autoencoder(dtype="float64")
    x, y = data()
    weight = np.ones((4, STEPS))
    weight[1, 2:] = weight[3, 0] = 0
    y[1, 2:], y[3, 0] = np.nan, np.nan
    error = (model.predict(x, LENGTHS) - y)[weight > 0]
    found = model.evaluate(x, y, lengths=LENGTHS, sample_weight=weight, loss="mse")
    assert found["loss"] == pytest.approx((error**2).mean(), rel=1e-12)
    model.fit(x, y, lengths=LENGTHS, sample_weight=weight, loss="mse", epochs=2, batch_size=2, verbose=0)
    with pytest.raises(ValueError, match=r"sample_weight must have shape \(4,\) or \(4, 4\), got \(4, 7\)"):
        model.evaluate(x, y, lengths=LENGTHS, sample_weight=np.ones((4, 7)), loss="mse")
    # The weight of a step beyond the end of a case's input counts like any other.
    with pytest.raises(ValueError, match="sample_weight.* expected finite numbers >= 0"):
        model.evaluate(x, y, lengths=LENGTHS, sample_weight=np.where(weight == 0, -1, 1), loss="mse")


def test_labels_of_steps(tmp_path: Path) -> None:
    model = autoencoder(outputs=3, dtype="float64")
    x, _ = data()
    y = np.random.default_rng(7).integers(0, 3, (4, STEPS))
    y[0, 1] = -100
    scores = model.predict(x, LENGTHS)
    p = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    chosen = np.take_along_axis(p, np.maximum(y, 0)[..., None], axis=-1)[..., 0]
    found = model.evaluate(x, y, lengths=LENGTHS, loss="cross_entropy")
    assert found["loss"] == pytest.approx(-np.log(chosen[y >= 0]).mean(), rel=1e-10)
    assert found["accuracy"] == pytest.approx((scores.argmax(-1) == y)[y >= 0].mean())
    model.fit(x, y, lengths=LENGTHS, class_weight="balanced", epochs=1, batch_size=3, verbose=0)
    assert model.predict_classes(x, LENGTHS).shape == (4, STEPS)
    assert model.predict_proba([one[:3] for one in x]).shape == (4, STEPS, 3)


def test_ctc_takes_the_steps_of_the_output() -> None:
    model = autoencoder(n=6, outputs=3)
    x, _ = data()
    y = [[1, 2, 1], [2, 2], [1], [1, 2]]  # more labels than the inputs of cases 1 and 3 have steps
    model.fit(x, y, lengths=LENGTHS, loss="ctc", epochs=1, verbose=0)
    expected = fl.ctc_decode(model.predict(x, LENGTHS))
    for got, decoded in zip(model.predict_classes(x, LENGTHS), expected, strict=True):
        np.testing.assert_array_equal(got, decoded)
    with pytest.raises(ValueError, match=r"y\[1\] has 7 labels, which need 7 steps.*the model's output has 6"):
        model.fit(x, [[1], [1, 2, 1, 2, 1, 2, 1], [1], [1]], lengths=LENGTHS, loss="ctc", verbose=0)


def test_scaled_targets() -> None:
    x, y = data(n=16)
    y = 1000 + 50 * y
    model = autoencoder(target_scaler=fl.Standardizer(), input_size=None)
    model.fit(x, y, lengths=np.resize(LENGTHS, 16), loss="mse", epochs=1, verbose=0)
    assert model.target_scaler is not None
    np.testing.assert_allclose(model.target_scaler.mean_, y.reshape(-1, 2).mean(axis=0), rtol=1e-6)
    assert abs(model.predict(x).mean() - 1000) < 100


def test_targets_of_other_steps_are_refused() -> None:
    model = autoencoder()
    x, y = data()
    got = (
        r"y has shape \(4, 7, 2\), expected \(4, 4\) or \(4, 4, columns\): a target for each step of the model's output"
    )
    steps = r"an output for each step, 4 steps for every case \(fl\.RepeatVector\(4\)\)"
    with pytest.raises(ValueError, match=f"{got}, .*{steps}"):
        model.fit(x, x, loss="mse", verbose=0)
    with pytest.raises(ValueError, match=r"y\[1\] has 3 steps, the model's output has 4: .*fl\.RepeatVector\(4\)"):
        model.fit(x, [y[0], y[1, :3], y[2], y[3]], loss="mse", verbose=0)
    with pytest.raises(ValueError, match=r"validation y has shape \(4, 7, 2\)"):
        model.fit(x, y, validation_data=(x, x), loss="mse", verbose=0)


def test_a_layer_that_keeps_the_steps_need_not_say_so() -> None:
    """A layer of a user that returns Signal(features, per_step) keeps the steps that RepeatVector has made."""

    class Doubled(fl.layers.Layer):
        def build(self, signal: Signal) -> Signal:
            return Signal(signal.features, signal.per_step)

        def forward(self, x: Any, ctx: Any, cache: Any) -> Any:
            return 2 * x

        def backward(self, dy: Any, ctx: Any, cache: Any, need_dx: bool) -> Any:
            return 2 * dy

        def get_config(self) -> dict[str, Any]:
            return {}

    model = fl.Model([fl.LSTM(3), fl.RepeatVector(5), Doubled(), fl.Dense(1)], input_size=2)
    assert model.network.output_steps == 5
    assert model.predict([np.zeros((2, 2)), np.zeros((9, 2))]).shape == (2, 5, 1)
    again = fl.Model([fl.LSTM(3), fl.RepeatVector(5), Doubled(), fl.LSTM(2), fl.RepeatVector(3)], input_size=2)
    assert [signal.steps for signal in again.network.signals()] == [None, 5, 5, None, 3]
