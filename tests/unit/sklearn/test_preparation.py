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
from fastlstm.tasks.preparation import difference_scale, measure_alike, preparing_layers
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


# ------------------------------------------------------------------ deviations from the mean series

SHAPE = 10 * np.sin(np.arange(60) / 5)[:, None] * [1.0, 2.0]
ALIKE = (SHAPE + RNG.normal(0, 0.3, (20, 60, 2)) + np.where(Y == "a", 0.2, -0.2)[:, None, None]).astype(np.float32)


def test_deviations_are_measured_in_units_of_the_scaler() -> None:
    scaler = fl.Standardizer().fit(ALIKE)
    found = measure_alike(read_series(ALIKE), scaler)
    assert found is not None
    scaled = scaler.transform(ALIKE.astype("f8"))
    deviations = scaled - scaled.mean(axis=0)
    np.testing.assert_allclose(found.center, scaled.mean(axis=0), atol=1e-5)  # six digits
    rms = np.sqrt(np.square(deviations).mean())
    np.testing.assert_allclose([found.scale, found.share], [1 / rms, rms / scaled.std()], rtol=1e-4)
    changes = np.square(np.diff(deviations, axis=1)).mean(axis=(0, 1))
    np.testing.assert_allclose(
        found.difference_scale, np.sqrt(np.square(deviations).mean(axis=(0, 1)) / changes), rtol=1e-4
    )
    listed = measure_alike(read_series(list(ALIKE)), scaler)
    assert listed is not None and listed.scale == found.scale


@pytest.mark.parametrize(
    "data",
    [ALIKE[:1], [ALIKE[0], ALIKE[1, :50]], np.ones((3, 5, 1)), np.repeat(ALIKE[:1], 3, axis=0)],
    ids=["one", "unequal", "flat", "the same"],
)
def test_there_are_no_deviations_without_different_series_of_equal_length(data: Any) -> None:
    assert measure_alike(read_series(data), None) is None
    if len(data) > 1:
        labels = np.arange(len(data)) % 2
        assert not any(
            isinstance(one, fl.Deviations) for one in LSTMClassifier(**QUICK).fit(data, labels).model_.layers
        )
        with pytest.raises(ValueError, match="deviations=True needs at least two different series"):
            LSTMClassifier(**QUICK, deviations=True).fit(data, labels)


def test_series_that_are_nearly_alike_get_deviations(tmp_path: Path) -> None:
    fitted = LSTMClassifier(**QUICK).fit(ALIKE, Y)
    assert [type(one) for one in fitted.model_.layers[:3]] == [fl.Deviations, fl.Differences, fl.LSTM]
    assert not any(isinstance(one, fl.Deviations) for one in LSTMClassifier(**QUICK).fit(X, Y).model_.layers)
    for settings in ({"deviations": False}, {"bidirectional": False}, {"layers": [fl.LSTM(3)]}):
        layers = LSTMClassifier(**QUICK, **settings).fit(ALIKE, Y).model_.layers
        assert not any(isinstance(one, fl.Deviations) for one in layers)
    assert isinstance(LSTMClassifier(**QUICK, deviations=True).fit(X, Y).model_.layers[0], fl.Deviations)
    fitted.save(tmp_path / "alike.safetensors")
    np.testing.assert_array_equal(
        load(tmp_path / "alike.safetensors").predict_proba(ALIKE), fitted.predict_proba(ALIKE)
    )
    assert fitted.predict_proba(np.tile(ALIKE, (1, 2, 1))).shape == (20, 2)  # longer series are allowed


def test_series_with_holes_get_no_deviations() -> None:
    holes = ALIKE.copy()
    holes[::3, 5:9, 1] = np.nan
    fitted = LSTMClassifier(**QUICK, missing="mask").fit(holes, Y)
    assert not any(isinstance(one, fl.Deviations) for one in fitted.model_.layers)
    with pytest.raises(ValueError, match="without missing values: leave it out"):
        LSTMClassifier(**QUICK, missing="mask", deviations=True).fit(holes, Y)
    with pytest.raises(ValueError, match="nan at"):
        LSTMClassifier(**QUICK).fit(holes, Y)
    ready = LSTMClassifier(**QUICK, missing="mask-all").fit(ALIKE, Y)  # no holes yet
    first = ready.model_.layers[0]
    assert isinstance(first, fl.Deviations) and first.center.shape == (60, 4) and first.scale[2:] == [1.0, 1.0]
    assert np.isfinite(ready.predict_proba(holes)).all()


def test_what_is_nearly_alike_can_be_told_apart() -> None:
    settings: dict[str, Any] = {"hidden_size": 8, "epochs": 60, "random_state": 0}
    assert LSTMClassifier(**settings).fit(ALIKE, Y).score(ALIKE, Y) > 0.9


def test_pooling_follows_the_directions() -> None:
    assert isinstance(LSTMClassifier(**QUICK).fit(X, Y).model_.layers[-2], fl.ConcatPool)
    assert isinstance(LSTMClassifier(**QUICK, bidirectional=False).fit(X, Y).model_.layers[-2], fl.MaxPool)
    assert isinstance(LSTMClassifier(**QUICK, pooling="mean").fit(X, Y).model_.layers[-2], fl.MeanPool)


def test_the_scaler_is_fitted_once() -> None:
    class Counting(fl.Standardizer):
        fits = 0

        def fit(self, *arguments: Any) -> Any:
            Counting.fits += 1
            return super().fit(*arguments)

    scaler, series = Counting(), Series(ALIKE, None)
    layers = preparing_layers(series, scaler, deviations="auto", differences=True, stride=1, whole=True)
    assert isinstance(layers[0], fl.Deviations) and Counting.fits == 1
    assert scaler.fitted and scaler == Counting().fit(ALIKE)
