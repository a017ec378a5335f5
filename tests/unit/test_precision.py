"""Models whose LSTM layers round the operands of matrix products to bfloat16."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm as fl
from fastlstm import _core, reference

Array = np.ndarray[Any, Any]


def data(n: int = 40, time: int = 12, features: int = 3, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    x = rng.standard_normal((n, time, features)).astype("f4")
    x[:, :, 0] += (2 * y - 1)[:, None]
    return x, y


def small(precision: str | None = "bfloat16", **given: Any) -> fl.Model:
    layers = [fl.LSTM(20, return_sequences=True), fl.LSTM(8, bidirectional=True), fl.Dense(2)]
    return fl.Model(layers, input_size=3, precision=precision, seed=3, **given)


def test_outputs_are_those_of_the_reference() -> None:
    model, (x, _) = small(), data()
    weights = model.state_dict()
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    y, *_ = reference.lstm_forward(x, *(weights[f"0.{name}"] for name in names), precision="bfloat16")
    ends = []
    for tail in ("", "_reverse"):
        given = [weights[f"1.{name}{tail}"] for name in names]
        ends.append(reference.lstm_forward(y, *given, reverse=bool(tail), precision="bfloat16")[1])
    expected = np.concatenate(ends, axis=1) @ weights["2.weight"].T + weights["2.bias"]
    np.testing.assert_allclose(model.forward(x), expected, atol=2e-3)  # some elements of h round to a neighbour


def test_training_learns_and_keeps_float32_weights() -> None:
    model, (x, y) = small(), data(200)
    history = model.fit(x, y, epochs=8, verbose=0)
    assert history.history["loss"][-1] < 0.5 * history.history["loss"][0]
    assert model.evaluate(x, y)["accuracy"] > 0.95
    flat = model.flat_parameters
    assert flat.dtype == np.float32
    assert (reference.bfloat16(flat) != flat).mean() > 0.9  # the weights themselves are not rounded


def test_the_same_bits_for_any_number_of_threads() -> None:
    x, y = data(64)
    results = []
    for n_threads in (1, 2):
        model = small()
        model.fit(x, y, epochs=2, verbose=0, n_threads=n_threads)
        results.append(model.flat_parameters.copy())
    assert np.array_equal(*results)


def test_file_pickle_and_copy_keep_the_precision(tmp_path: Path) -> None:
    model, (x, _) = small(), data()
    expected = model.predict(x)
    model.save(tmp_path / "model.safetensors")
    for other in (fl.load(tmp_path / "model.safetensors"), pickle.loads(pickle.dumps(model)), copy.copy(model)):
        assert other.precision == "bfloat16"
        assert np.array_equal(other.predict(x), expected)
    assert np.array_equal(model.freeze().predict(x), expected)


def test_repr_and_summary_name_the_precision(capsys: pytest.CaptureFixture[str]) -> None:
    assert repr(fl.Model([fl.LSTM(2)], precision="bfloat16")).endswith("], precision='bfloat16')")
    small().summary()
    small(None).summary()
    assert capsys.readouterr().out.count("LSTM products in bfloat16") == 1
    fl.show_config()
    assert f"bfloat16         {_core.bf16_way()}\n" in capsys.readouterr().out


def test_to_precision_makes_a_copy_that_rounds() -> None:
    model, (x, _) = small("float32"), data()
    before = model.predict(x)
    rounded = model.to_precision("bfloat16")
    assert (model.precision, rounded.precision) == ("float32", "bfloat16")
    assert 0 < abs(rounded.predict(x) - before).max() < 0.02
    assert np.array_equal(rounded.predict(x), small().predict(x))
    assert np.array_equal(rounded.to_precision(None).predict(x), before)
    assert np.array_equal(model.predict(x), before)
    frozen = model.freeze().to_precision("bfloat16")
    assert np.array_equal(frozen.predict(x), rounded.predict(x))


@pytest.mark.parametrize("frozen", [False, True])
def test_streams_give_the_bits_of_predict(frozen: bool) -> None:
    model = fl.Model(
        [fl.LSTM(30, num_layers=2, return_sequences=True), fl.Dense(2)], input_size=3, precision="bfloat16"
    )
    if frozen:
        model.freeze()
    x, _ = data(1)
    stream = model.stream()
    steps = np.concatenate([stream.step(x[:, t]) for t in range(12)])
    assert np.array_equal(steps, model.predict(x)[0])


def test_layers_within_time_distributed_round_too() -> None:
    def model(precision: str | None) -> fl.Model:
        inner = fl.TimeDistributed([fl.LSTM(4)], steps=5)
        return fl.Model([inner, fl.LSTM(3), fl.Dense(1)], input_size=10, precision=precision)

    x = np.random.default_rng(0).standard_normal((4, 6, 10)).astype("f4")
    full, rounded = model(None), model("bfloat16")
    assert 0 < abs(full.predict(x) - rounded.predict(x)).max() < 0.02
    assert copy.copy(rounded).layers[0].layers[0].bfloat16


def test_quantized_models_have_no_other_precision() -> None:
    model, (x, _) = small(), data()
    quantized = model.quantize(x)
    assert np.array_equal(quantized.predict(x), small("float32").quantize(x).predict(x))
    with pytest.raises(RuntimeError, match="call to_precision on the one of which it was made"):
        quantized.to_precision("float32")


def test_encoder_and_decoder(tmp_path: Path) -> None:
    def model(precision: str | None) -> fl.EncoderDecoder:
        return fl.EncoderDecoder(
            [fl.Embedding(8, 8), fl.LSTM(24, return_sequences=True)],
            [fl.Embedding(8, 8), fl.LSTM(24, return_sequences=True), fl.LuongAttention(), fl.Dense(8)],
            precision=precision,
        )

    x = np.random.default_rng(0).integers(2, 8, (60, 4))
    rounded = model("bfloat16")
    rounded.fit(x, x[:, ::-1], epochs=40, optimizer=fl.Adam(0.01), verbose=0)
    assert rounded.predict([[2, 3, 4, 5]])[0].tolist() == [5, 4, 3, 2]
    rounded.save(tmp_path / "pair.safetensors")
    other = fl.load(tmp_path / "pair.safetensors")
    assert other.precision == "bfloat16"
    assert other.to_precision(None).precision == "float32"


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"precision": "bf16"}, ValueError, 'must be "bfloat16" or "float32", the dtype of the model, got \'bf16\''),
        ({"precision": "float64"}, ValueError, 'must be "bfloat16" or "float32"'),
        ({"precision": 16}, TypeError, 'must be "bfloat16" or "float32", got 16'),
        ({"precision": "bfloat16", "dtype": "float64"}, ValueError, "dtype is float64: leave out one of them"),
    ],
)
def test_wrong_precisions_are_refused(given: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fl.Model([fl.LSTM(2)], **given)


def test_resume_refuses_another_precision(tmp_path: Path) -> None:
    x, y = data()
    small().fit(x, y, epochs=1, verbose=0, callbacks=[fl.Checkpoint(tmp_path / "run.safetensors")])
    with pytest.raises(ValueError, match="precision"):
        small("float32").fit(
            x, y, epochs=2, verbose=0, callbacks=[fl.Checkpoint(tmp_path / "run.safetensors")], resume=True
        )


def test_estimators_take_a_precision(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    from fastlstm import sklearn as estimators

    x, y = data(60)
    classifier = estimators.LSTMClassifier(8, precision="bfloat16", epochs=3, random_state=0).fit(x, y)
    assert classifier.model_.precision == "bfloat16"
    classifier.save(tmp_path / "classifier.safetensors")
    loaded = estimators.load(tmp_path / "classifier.safetensors")
    assert np.array_equal(loaded.predict_proba(x), classifier.predict_proba(x))
    for estimator in (
        estimators.LSTMRegressor(8, precision="bfloat16", epochs=2, random_state=0).fit(x, x[:, 0, 0]),
        estimators.LSTMFeatures(8, precision="bfloat16", epochs=2, random_state=0).fit(x),
        estimators.LSTMAnomalyDetector(hidden_size=8, precision="bfloat16", epochs=2, random_state=0).fit(x),
    ):
        assert estimator.model_.precision == "bfloat16"
    with pytest.raises(ValueError, match="'precision' parameter of LSTMClassifier must be a str among"):
        estimators.LSTMClassifier(precision="int8").fit(x, y)


def test_forecasters_take_a_precision(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    pytest.importorskip("narwhals")
    pytest.importorskip("utilsforecast")
    times = pd.date_range("2026-01-01", periods=300, freq="h")
    frame = pd.DataFrame({"unique_id": "a", "ds": times, "y": np.sin(np.arange(300) / 4)})
    given: dict[str, Any] = {"horizon": 4, "hidden_size": 8, "epochs": 1, "random_state": 0, "verbose": 0}
    rounded = fl.Forecaster(**given, precision="bfloat16").fit(frame)
    full = fl.Forecaster(**given).fit(frame)
    expected = rounded.predict()
    assert not expected.equals(full.predict())
    rounded.save(tmp_path / "forecaster.safetensors")
    assert fl.Forecaster.load(tmp_path / "forecaster.safetensors").predict().equals(expected)
    with pytest.raises(ValueError, match="precision must be"):
        fl.Forecaster(horizon=4, precision="half").fit(frame)
