"""Missing values (NaN) in the series and targets of estimators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", "1.6")

import fastlstm as fl
from fastlstm.sklearn import LSTMAnomalyDetector, LSTMClassifier, LSTMFeatures, LSTMRegressor, load


def series_with_holes(seed: int = 0) -> tuple[Any, Any]:
    """Return 40 series of 20 steps, of whose three channels the first two have holes, and their classes."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((40, 20, 3))
    y = np.where(X[:, :10, 0].sum(axis=1) > 0, "up", "down")
    X[..., :2][rng.random((40, 20, 2)) < 0.2] = np.nan
    return X, y


def test_holes_become_the_mean_and_a_channel() -> None:
    X, y = series_with_holes()
    classifier = LSTMClassifier(8, epochs=5, missing="mask", differences=False, pooling="max", random_state=0).fit(X, y)
    scaler = classifier.model_.scaler
    assert scaler is not None and scaler.indicator_.tolist() == [True, True, False]
    # The same by hand: a model without scaler that reads the scaled values, 0 where they are missing, and the channels.
    scaled = (X - np.nanmean(X, axis=(0, 1))) / np.nanstd(X, axis=(0, 1))
    by_hand = np.concatenate([np.nan_to_num(scaled), np.isnan(X[..., :2])], axis=2)
    twin = fl.Model([fl.LSTM(8, bidirectional=True, return_sequences=True), fl.MaxPool(), fl.Dense(2)], input_size=5)
    twin.load_state_dict(classifier.model_.state_dict())
    scores = np.exp(twin.predict(by_hand))
    # float32 probabilities of scaled values that were rounded once more
    np.testing.assert_allclose(classifier.predict_proba(X), scores / scores.sum(axis=1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize("scaler", ["standard", "robust"])
@pytest.mark.parametrize("missing", ["mask", "mask-all"])
def test_estimators_learn_from_series_with_holes(scaler: Any, missing: Any, tmp_path: Path) -> None:
    X, y = series_with_holes()
    settings: dict[str, Any] = {"missing": missing, "scaler": scaler, "epochs": 60, "random_state": 0}
    classifier = LSTMClassifier(8, **settings).fit(X, y)
    assert classifier.score(X, y) > 0.9
    unequal = [case[: 10 + k % 10] for k, case in enumerate(X)]
    assert LSTMClassifier(8, **settings).fit(unequal, y).score(unequal, y) > 0.9
    classifier.save(tmp_path / "classifier.safetensors")
    again = load(tmp_path / "classifier.safetensors")
    assert again.missing == missing and again.scaler == scaler
    np.testing.assert_array_equal(again.predict_proba(X), classifier.predict_proba(X))


def test_a_channel_without_holes_in_fit_must_have_none_later() -> None:
    X, y = series_with_holes()
    other = X.copy()
    other[3, 4, 2] = np.nan
    with pytest.raises(ValueError, match=r"\[3, 4, 2\].*feature 2 had no missing values.*mask-all"):
        LSTMClassifier(4, epochs=1, missing="mask").fit(X, y).predict(other)
    LSTMClassifier(4, epochs=1, missing="mask-all").fit(X, y).predict(other)


@pytest.mark.parametrize("estimator", [LSTMClassifier, LSTMRegressor, LSTMAnomalyDetector, LSTMFeatures])
def test_holes_are_refused_by_default(estimator: Any) -> None:
    X, _ = series_with_holes()
    target = np.arange(40) % 2
    with pytest.raises(ValueError, match=f"contains NaN.*missing='mask' in {estimator.__name__}"):
        estimator(epochs=1).fit(X[:, :, 0], target)
    with pytest.raises(ValueError, match="nan at .* estimator with missing='mask'"):
        estimator(epochs=1).fit(X, target)
    assert not estimator().__sklearn_tags__().input_tags.allow_nan
    assert estimator(missing="mask").__sklearn_tags__().input_tags.allow_nan


def test_a_scaler_is_needed() -> None:
    X, y = series_with_holes()
    with pytest.raises(ValueError, match="scaler is None: set scaler='standard' or 'robust'"):
        LSTMClassifier(4, epochs=1, missing="mask", scaler=None).fit(X, y)


def test_missing_targets_do_not_count() -> None:
    X, _ = series_with_holes()
    y = np.nan_to_num(X)[:, -5:, 0].sum(axis=1)
    y[::4] = np.nan
    settings: dict[str, Any] = {"hidden_size": 8, "epochs": 10, "batch_size": 40, "random_state": 0}
    # In one batch, so that leaving the cases out is the same.
    with_them = LSTMRegressor(missing="mask-all", **settings).fit(X, y)
    known = ~np.isnan(y)
    without = LSTMRegressor(missing="mask-all", **settings)
    without.fit(X, np.where(known, y, 0.0), sample_weight=known.astype(float))
    assert with_them.model_.target_scaler is not None
    assert with_them.model_.target_scaler.center()[0] == pytest.approx(np.nanmean(y), rel=1e-12)
    assert np.isfinite(with_them.predict(X)).all()
    with pytest.raises(ValueError, match="y contains NaN.*missing='mask' in LSTMRegressor"):
        LSTMRegressor(**settings).fit(np.nan_to_num(X), y)


@pytest.mark.parametrize("method", ["forecast", "reconstruction"])
def test_missing_values_are_not_scored(method: Any, tmp_path: Path) -> None:
    t = np.arange(1500)
    rng = np.random.default_rng(0)
    signal = np.stack([np.sin(t / 5), np.cos(t / 7)], axis=1) + rng.normal(0, 0.1, (1500, 2))
    signal[100:110, 0] = np.nan  # in the part that trains, and of the other channel in that which is held out
    signal[950:960, 1] = np.nan
    detector = LSTMAnomalyDetector(method, hidden_size=8, missing="mask", epochs=20, random_state=0)
    detector.fit(signal[None, :1000])
    scaler = detector.model_.scaler
    assert scaler is not None and scaler.indicator_.tolist() == [True, True]
    new = signal[1000:].copy()
    new[300:303] = 4
    new[200] = np.nan
    new[100:104, 1] = np.nan
    scores = detector.score_steps(new[None])[0]
    assert scores.argmax() in range(298, 306) and scores[200] == 0
    assert np.isfinite(scores).all() and (scores[100:104] > 0).all()
    detector.save(tmp_path / "detector.safetensors")
    np.testing.assert_array_equal(load(tmp_path / "detector.safetensors").score_steps(new[None])[0], scores)
    if method == "forecast":
        stream = detector.stream()
        np.testing.assert_array_equal([stream.step(one[None])[0] for one in new], scores)


def test_features_of_series_with_holes() -> None:
    X, _ = series_with_holes()
    features = LSTMFeatures(6, missing="mask", epochs=2, random_state=0).fit(X)
    assert features.transform(X).shape == (40, 6)
    filled = np.where(np.isnan(X), np.nanmean(X, axis=(0, 1)), X)
    assert np.abs(features.transform(X) - features.transform(filled)).max() > 1e-3  # the channels tell of the holes


def test_differences_do_not_count_holes() -> None:
    X, y = series_with_holes()
    scale = LSTMClassifier(4, epochs=1, missing="mask").fit(X, y).model_.layers[0].scale
    changes = np.diff(X, axis=1)
    expected = np.nanstd(X, axis=(0, 1)) / np.sqrt(np.nanmean(changes**2, axis=(0, 1)))
    np.testing.assert_allclose(scale, [*expected, 1, 1], rtol=1e-5)
