"""What `LSTMClassifier` puts before its LSTM: differences, and groups of steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", "1.6")

from sklearn.base import clone

import fastlstm as fl
from fastlstm.sklearn import LSTMClassifier, load
from fastlstm.tasks.preparation import difference_scale
from fastlstm.tasks.series import Series, read_series

RNG = np.random.default_rng(5)
QUICK: dict[str, Any] = {"hidden_size": 4, "epochs": 2, "random_state": 0}
X = RNG.normal(size=(20, 350, 2)).cumsum(axis=1).astype(np.float32)
Y = np.resize(["a", "b"], 20)


def test_the_scale_brings_differences_to_the_deviation_of_the_values() -> None:
    scale = difference_scale(read_series(X))
    assert isinstance(scale, list)
    expected = X.std(axis=(0, 1), dtype="f8") / np.sqrt(np.square(np.diff(X.astype("f8"), axis=1)).mean(axis=(0, 1)))
    np.testing.assert_allclose(scale, expected, rtol=1e-5)  # six digits
    lengths = RNG.integers(2, 350, 20)
    padded = X.copy()
    padded[np.arange(350) >= lengths[:, None]] = np.nan
    listed = [one[:end] for one, end in zip(X, lengths, strict=True)]
    assert difference_scale(read_series(padded, lengths)) == difference_scale(read_series(listed))


@pytest.mark.parametrize(
    "data",
    [np.ones((3, 5, 1)), np.arange(3.0).reshape(3, 1, 1), np.full((3, 5, 1), np.nan)],
    ids=["flat", "one", "nan"],
)
def test_there_is_a_scale_for_data_without_changes(data: np.ndarray) -> None:
    assert difference_scale(Series(data, None)) == 1.0


def test_auto_takes_about_a_hundred_steps() -> None:
    fitted = LSTMClassifier(**QUICK).fit(X, Y)
    differences, groups, lstm = fitted.model_.layers[:3]
    assert isinstance(differences, fl.Differences) and isinstance(lstm, fl.LSTM)
    assert isinstance(groups, fl.StackSteps) and (groups.size, groups.stride) == (8, 4) and groups.random_start
    short = LSTMClassifier(**QUICK).fit(X[:, :149], Y)
    assert [type(layer) for layer in short.model_.layers[:2]] == [fl.Differences, fl.LSTM]
    lengths = np.full(20, 149)
    assert len(LSTMClassifier(**QUICK).fit(X, Y, lengths=lengths).model_.layers) == len(short.model_.layers)


def test_settings_are_followed() -> None:
    fitted = LSTMClassifier(**QUICK, differences=False, stride=10).fit(X, Y)
    assert repr(fitted.model_.layers[0]) == "StackSteps(size=20, stride=10, random_start=True)"
    assert clone(fitted).get_params()["stride"] == 10
    own = [fl.LSTM(4, return_sequences=True), fl.MaxPool()]
    assert len(LSTMClassifier(**QUICK, layers=own).fit(X, Y).model_.layers) == 3
    assert len(LSTMClassifier(**QUICK, layers=own, differences=True, stride=2).fit(X, Y).model_.layers) == 5
    for wrong in ({"stride": 0}, {"stride": "all"}, {"differences": 2.0}):
        (name,) = wrong
        with pytest.raises(ValueError, match=f"The '{name}' parameter of LSTMClassifier must be"):
            LSTMClassifier(**QUICK, **wrong).fit(X, Y)


def test_one_direction_can_stream() -> None:
    fitted = LSTMClassifier(**QUICK, bidirectional=False).fit(X, Y)
    stream = fitted.stream(20)
    for step in range(350):
        out = stream.step(X[:, step])
    np.testing.assert_array_equal(out, fitted.model_.predict(X))
    with pytest.raises(ValueError, match="layer 0 is a StackSteps.* leave it out"):
        LSTMClassifier(**QUICK, bidirectional=False, stride=2).fit(X, Y).stream()


def test_the_model_alone_has_the_same_answers(tmp_path: Path) -> None:
    listed = [one[:end] for one, end in zip(X, RNG.integers(200, 351, 20), strict=True)]
    for data in (X, X[:, :, 0], listed):
        fitted = LSTMClassifier(**QUICK).fit(data, Y)
        fitted.save(tmp_path / "m.safetensors")
        expected = fitted.predict_proba(data)
        np.testing.assert_array_equal(load(tmp_path / "m.safetensors").predict_proba(data), expected)
        raw = data[:, :, None] if isinstance(data, np.ndarray) and data.ndim == 2 else data
        alone = fl.load(tmp_path / "m.safetensors").predict_proba(raw)
        np.testing.assert_allclose(alone, expected, atol=1e-6)
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    fitted = LSTMClassifier(**QUICK).fit(X, Y)
    fitted.to_onnx(tmp_path / "m.onnx", with_lengths=True)
    session = runtime.InferenceSession(tmp_path / "m.onnx")
    lengths = np.array([len(one) for one in listed], np.int32)
    (scores,) = session.run(None, {"x": X, "lengths": lengths})
    np.testing.assert_allclose(scores, fitted.model_.predict(listed), atol=1e-4)  # float32 throughout
