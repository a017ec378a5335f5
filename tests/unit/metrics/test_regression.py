"""Metrics of values: by hand, against scikit-learn, in evaluate, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import fastlstm as fl


def test_values_by_hand() -> None:
    y, p = [[1.0, -2.0], [4.0, 0.5]], [[2.0, -2.0], [1.0, 1.5]]
    assert fl.metrics.mae(y, p) == 5 / 4
    assert fl.metrics.rmse(y, p) == math.sqrt(11 / 4)
    assert fl.metrics.mape(y, p) == (1 + 0 + 3 / 4 + 2) / 4
    assert fl.metrics.smape(y, p) == (1 / 3 + 0 + 3 / 5 + 1 / 2) / 4
    assert fl.metrics.mae(y, p, sample_weight=[3, 1]) == (3 * 1 + 4) / 8
    assert fl.metrics.mae(y, p, sample_weight=[[1, 0], [0, 1]]) == 1
    assert fl.metrics.smape([0.0, 1.0], [0.0, -1.0]) == 0.5


def test_the_score_of_remaining_lives_by_hand() -> None:
    early, late = math.exp(26 / 13) - 1, math.exp(20 / 10) - 1
    assert fl.metrics.phm08_score([100, 50, 7], [74, 70, 7]) == pytest.approx(early + late, rel=1e-14)
    assert fl.metrics.phm08_score([100, 50], [74, 70], sample_weight=[2, 0]) == pytest.approx(2 * early, rel=1e-14)
    assert fl.metrics.phm08_score([0.0], [1e5]) == math.inf
    assert fl.metrics.phm08_score([0.0, 0.0], [1e5, 0.0], sample_weight=[0, 1]) == 0
    assert fl.metrics.phm08_score([1e5], [0.0]) == math.inf
    assert fl.metrics.phm08_score([0.0], [1e-9]) == pytest.approx(1e-10, rel=1e-6)  # exp(x) - 1 would be 1.00000008e-10


def test_values_are_those_of_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    y, p, w = rng.normal(size=30), rng.normal(size=30), rng.random(30)
    for weight in (None, w):
        for ours, theirs in (
            (fl.metrics.mae, sklearn.mean_absolute_error),
            (fl.metrics.rmse, sklearn.root_mean_squared_error),
            (fl.metrics.mape, sklearn.mean_absolute_percentage_error),
        ):
            assert ours(y, p, sample_weight=weight) == pytest.approx(theirs(y, p, sample_weight=weight), rel=1e-12)


def test_metrics_of_values_in_evaluate() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((20, 5, 2)), rng.random((20, 3)) + 1
    model = fl.Model([fl.LSTM(4), fl.Dense(3)])
    metrics = [fl.metrics.rmse, fl.metrics.mape, fl.metrics.smape, fl.metrics.phm08_score]
    history = model.fit(X, y, loss="mse", epochs=1, validation_data=(X, y), metrics=metrics, verbose=0)
    result = model.evaluate(X, y, metrics=metrics)
    assert result["rmse"] == history.history["val_rmse"][-1]
    for metric in metrics:  # evaluate rounds the targets to the model's float32
        expected = metric(y, model.predict(X))
        assert result[metric.__name__] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("y", "p", "error", "words"),
    [
        ([1.0, 2.0], [1.0], ValueError, r"y_true has shape \(2,\) and y_pred \(1,\)"),
        ([1.0, 2.0], [[1.0], [2.0]], ValueError, r"pass numpy.asarray\(y_pred\)\[..., 0\]"),
        ([1.0, np.nan], [1.0, 2.0], ValueError, r"keep = numpy.isfinite\(y_true\)"),
        ([1.0, 2.0], [1.0, np.inf], ValueError, r"y_pred\[1\] is inf"),
        ([[1.0, np.nan]], [[1.0, 2.0]], ValueError, r"y_true\[0, 1\] is nan"),
        ([], [], ValueError, "y_true is empty"),
        (1.0, 2.0, ValueError, "y_true is a single value"),
        (["a"], [1.0], TypeError, "y_true has type"),
        ([np.zeros(2), np.zeros(3)], [1.0], ValueError, r"numpy.concatenate\(y_true\)"),
    ],
)
@pytest.mark.parametrize("metric", ["mae", "rmse", "mape", "smape", "phm08_score"])
def test_what_does_not_fit_is_refused(metric: str, y: Any, p: Any, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        getattr(fl.metrics, metric)(y, p)


def test_a_relative_error_of_0_is_refused() -> None:
    with pytest.raises(ValueError, match=r"y_true\[1\] is 0.*fl.metrics.smape"):
        fl.metrics.mape([1.0, 0.0], [1.0, 1.0])
