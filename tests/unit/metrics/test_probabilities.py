"""Metrics of scores and probabilities: values by hand and against scikit-learn, what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import fastlstm as fl


def binary(seed: int = 0, n: int = 200) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, scores with many ties, and weights, some of which are 0."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    return y, np.round(rng.normal(size=n) + y, 1), rng.integers(0, 4, n) / 2


def test_areas_by_hand() -> None:
    y, score = [1, 0, 1, 0, 1], [5.0, 4, 3, 3, 1]
    # pairs: 5 beats both; 3 loses to 4 and ties with 3; 1 loses twice
    assert fl.metrics.roc_auc(y, score) == pytest.approx((2 + 0.5) / 6, rel=1e-15)
    # recall 1/3 at precision 1; 2/3 at 2/4, since both 3 come together; 3/3 at 3/5
    assert fl.metrics.pr_auc(y, score) == pytest.approx((1 + 2 / 4 + 3 / 5) / 3, rel=1e-15)
    assert fl.metrics.roc_auc([0, 1], [1.0, 1.0]) == 0.5


@pytest.mark.parametrize("weighted", [False, True])
def test_areas_are_those_of_scikit_learn(weighted: bool) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    y, score, weight = binary()
    w = weight if weighted else None
    assert fl.metrics.roc_auc(y, score, sample_weight=w) == pytest.approx(
        sklearn.roc_auc_score(y, score, sample_weight=w), rel=1e-12
    )
    assert fl.metrics.pr_auc(y, score, sample_weight=w) == pytest.approx(
        sklearn.average_precision_score(y, score, sample_weight=w), rel=1e-12
    )


def test_areas_of_several_classes_are_those_of_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    y, p = rng.integers(0, 4, 100), rng.dirichlet(np.ones(4), 100)
    expected = sklearn.roc_auc_score(y, p, multi_class="ovr", average="macro")
    assert fl.metrics.roc_auc(y, p) == pytest.approx(expected, rel=1e-12)
    one_hot = np.arange(4) == y[:, None]
    expected = sklearn.average_precision_score(one_hot, p, average="macro")
    names = ["a", "b", "c", "d"]
    assert fl.metrics.pr_auc(np.array(names)[y], p, classes=names) == pytest.approx(expected, rel=1e-12)


def test_forms_of_binary_arguments() -> None:
    y, score, _ = binary()
    area = fl.metrics.roc_auc(y, score)
    assert fl.metrics.roc_auc(y.astype(bool), score[:, None]) == area
    assert fl.metrics.roc_auc(y.astype(float)[:, None], score[:, None]) == area
    assert fl.metrics.roc_auc(np.where(y == 1, "sick", "healthy"), score, positive="sick") == area
    assert fl.metrics.roc_auc(np.where(y == 1, 7, 3), score, positive=7) == area
    assert fl.metrics.roc_auc(y, np.stack([-score, score], 1)) == area
    # With a softmax over two scores the difference decides, not the second score alone.
    logits = np.random.default_rng(2).normal(size=(200, 2))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert fl.metrics.roc_auc(y, logits) == pytest.approx(fl.metrics.roc_auc(y, p), rel=1e-12)


def test_log_loss_and_brier_score_by_hand() -> None:
    p = [[0.5, 0.25, 0.25], [0.0, 0.5, 0.5]]
    assert fl.metrics.log_loss([0, 2], p) == pytest.approx(math.log(2), rel=1e-12)
    assert fl.metrics.log_loss(["x", "z"], p, classes=["x", "y", "z"]) == pytest.approx(math.log(2), rel=1e-12)
    assert fl.metrics.brier_score([0, 2], p) == pytest.approx((0.25 + 0.0625 * 2 + 0.25 * 2) / 2, rel=1e-15)
    assert fl.metrics.brier_score([0, 1], [0.25, 0.5]) == pytest.approx((0.0625 + 0.25) / 2, rel=1e-15)
    assert fl.metrics.brier_score([0, 1], [[0.25], [0.5]]) == pytest.approx((0.0625 + 0.25) / 2, rel=1e-15)
    assert fl.metrics.log_loss(["n", "p"], [0.25, 0.5], classes=["n", "p"]) == pytest.approx(
        -math.log(0.75 * 0.5) / 2, rel=1e-12
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weighted", [False, True])
def test_log_loss_and_brier_score_are_those_of_scikit_learn(dtype: str, weighted: bool) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    y, p = rng.integers(0, 3, 50), rng.dirichlet(np.ones(3), 50).astype(dtype)
    p[0], y[0] = [1, 0, 0], 1  # certain and wrong
    w = rng.random(50) if weighted else None
    tolerance = 1e-6 if dtype == "float32" else 1e-12  # in which scikit-learn computes
    assert fl.metrics.log_loss(y, p, sample_weight=w) == pytest.approx(
        sklearn.log_loss(y, p, sample_weight=w), rel=tolerance
    )
    binary_y = (y > 0).astype(int)
    assert fl.metrics.brier_score(binary_y, p[:, 0], sample_weight=w) == pytest.approx(
        sklearn.brier_score_loss(binary_y, p[:, 0], sample_weight=w), rel=tolerance
    )


@pytest.mark.parametrize(
    ("function", "y", "p", "words"),
    [
        ("roc_auc", [1, 1], [0.1, 0.2], "positive cases only"),
        ("pr_auc", [0, 0], [0.1, 0.2], "negative cases only"),
        ("roc_auc", ["a", "b"], [0.1, 0.2], "positive='a'"),
        ("roc_auc", [0, 2], [0.1, 0.2], "positive=2"),
        ("roc_auc", [0, 1], [0.1, np.inf], r"y_score\[1\] is inf"),
        ("roc_auc", [0, 1], [0.1, 0.2, 0.3], r"y_true has shape \(2,\)"),
        ("roc_auc", [0, 1], [[3.0, 1, 2], [0, 1, 0]], "sums up to 6, expected probabilities"),
        ("roc_auc", [0, 1], [[0.5, 0.5, 0], [0.5, 0, 0.5]], "no case of the class 2"),
        ("log_loss", [0, 1], [[3.0, 1.0], [0.0, 1.0]], r"y_proba\[0, 0\] is 3"),
        ("log_loss", [0, 1], [[0.3, 0.3], [0.0, 1.0]], "sums up to 0.6"),
        ("log_loss", [0, 2], [[0.5, 0.5], [0.0, 1.0]], "not in classes"),
        ("brier_score", [0, 1], [0.1, -0.2], "model.predict_proba"),
        ("brier_score", [0, 1], [[[0.1], [0.2]]], r"expected \(N,\) or \(N, K\)"),
    ],
)
def test_what_does_not_fit_is_refused(function: str, y: Any, p: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        getattr(fl.metrics, function)(y, p)


def test_the_positive_class_must_fit() -> None:
    with pytest.raises(TypeError, match="give one of the labels"):
        fl.metrics.roc_auc([0, 1], [0.1, 0.2], positive="1")
    with pytest.raises(ValueError, match="pass the column of that class alone"):
        fl.metrics.roc_auc([0, 1], [[0.5, 0.5, 0], [0.5, 0, 0.5]], positive=1)
    with pytest.raises(ValueError, match="one column, expected two"):
        fl.metrics.log_loss([0, 1], [0.1, 0.2], classes=["a", "b", "c"])
