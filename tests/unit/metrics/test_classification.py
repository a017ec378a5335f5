"""Metrics of classes: values by hand and against scikit-learn, reports, what is refused."""

from __future__ import annotations

import json
import math
import warnings
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import fastlstm as fl

TRUE = [0, 0, 0, 1, 1, 2]
PREDICTED = [0, 0, 1, 1, 2, 2]


def problem(names: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels and decisions of 4 classes, one of which is never decided for and one never true, with weights."""
    rng = np.random.default_rng(3)
    y_true, y_pred = rng.integers(0, 3, 60), rng.integers(0, 3, 60)
    y_pred[y_pred == 2] = 3
    weight = rng.random(60)
    if names:
        labels = np.array(["b", "a", "d", "c"])
        return labels[y_true], labels[y_pred], weight
    return y_true, y_pred, weight


def test_values_by_hand() -> None:
    m = fl.metrics
    assert m.confusion_matrix(TRUE, PREDICTED).tolist() == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    assert m.confusion_matrix(TRUE, PREDICTED).dtype == np.int64
    assert m.accuracy(TRUE, PREDICTED) == 4 / 6
    assert m.recall(TRUE, PREDICTED, average=None).tolist() == [2 / 3, 1 / 2, 1]
    assert m.precision(TRUE, PREDICTED, average=None).tolist() == [1, 1 / 2, 1 / 2]
    assert m.f1(TRUE, PREDICTED, average=None).tolist() == [4 / 5, 2 / 4, 2 / 3]
    assert m.balanced_accuracy(TRUE, PREDICTED) == pytest.approx((2 / 3 + 1 / 2 + 1) / 3, rel=1e-15)
    assert m.f1(TRUE, PREDICTED) == pytest.approx((4 / 5 + 2 / 4 + 2 / 3) / 3, rel=1e-15)
    assert m.f1(TRUE, PREDICTED, average="weighted") == pytest.approx((3 * 4 / 5 + 2 * 2 / 4 + 2 / 3) / 6, rel=1e-15)
    assert m.f1(TRUE, PREDICTED, average="micro") == 4 / 6
    # c N - sum t p = 4 * 6 - (3*2 + 2*2 + 1*2) = 12; N^2 - sum p^2 = 36 - 12; N^2 - sum t^2 = 36 - 14
    assert m.matthews_corrcoef(TRUE, PREDICTED) == pytest.approx(12 / math.sqrt(24 * 22), rel=1e-15)


def test_weights_count_as_repeated_cases() -> None:
    weight = [1, 2, 0, 3, 1, 1]
    true, predicted = np.repeat(TRUE, weight), np.repeat(PREDICTED, weight)
    for name in ("accuracy", "balanced_accuracy", "f1", "precision", "recall", "matthews_corrcoef"):
        function: Any = getattr(fl.metrics, name)
        assert function(TRUE, PREDICTED, sample_weight=weight) == pytest.approx(function(true, predicted), rel=1e-14)
    weighted = fl.metrics.confusion_matrix(TRUE, PREDICTED, sample_weight=weight)
    assert weighted.tolist() == fl.metrics.confusion_matrix(true, predicted).tolist()


@pytest.mark.parametrize("names", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_values_are_those_of_scikit_learn(names: bool, weighted: bool) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    y_true, y_pred, weight = problem(names)
    w = weight if weighted else None
    m = fl.metrics
    assert np.allclose(m.confusion_matrix(y_true, y_pred, sample_weight=w),
                       sklearn.confusion_matrix(y_true, y_pred, sample_weight=w), rtol=1e-13)  # fmt: skip
    assert m.accuracy(y_true, y_pred, sample_weight=w) == pytest.approx(
        sklearn.accuracy_score(y_true, y_pred, sample_weight=w), rel=1e-13
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class that is never true
        expected = sklearn.balanced_accuracy_score(y_true, y_pred, sample_weight=w)
    assert m.balanced_accuracy(y_true, y_pred, sample_weight=w) == pytest.approx(expected, rel=1e-13)
    assert m.matthews_corrcoef(y_true, y_pred, sample_weight=w) == pytest.approx(
        sklearn.matthews_corrcoef(y_true, y_pred, sample_weight=w), rel=1e-12
    )
    for ours, theirs in ((m.f1, "f1_score"), (m.precision, "precision_score"), (m.recall, "recall_score")):
        score = getattr(sklearn, theirs)
        for average in ("macro", "micro", "weighted"):
            expected = score(y_true, y_pred, average=average, sample_weight=w, zero_division=0)
            assert ours(y_true, y_pred, average=average, sample_weight=w) == pytest.approx(expected, rel=1e-13)
        each = score(y_true, y_pred, average=None, sample_weight=w, zero_division=np.nan)
        assert np.allclose(ours(y_true, y_pred, average=None, sample_weight=w), each, rtol=1e-13, equal_nan=True)


def test_a_report_by_hand() -> None:
    report = fl.metrics.classification_report(TRUE, PREDICTED, ["a", "b", "c"])
    assert report.classes == ["a", "b", "c"]
    assert report.sensitivity.tolist() == [2 / 3, 1 / 2, 1]
    assert report.positive_predictive_value.tolist() == [1, 1 / 2, 1 / 2]
    assert report.specificity.tolist() == [1, 3 / 4, 4 / 5]
    assert report.support.tolist() == [3, 2, 1]
    assert report.accuracy == 4 / 6
    assert report.remarks == []
    assert report.to_dict()["classes"]["c"] == {
        "sensitivity": 1.0, "positive_predictive_value": 0.5, "specificity": 0.8, "f1": 2 / 3, "support": 1.0,
    }  # fmt: skip
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["confusion"] == report.confusion.tolist()
    assert "0.6667" in repr(report)


def test_what_is_undefined_in_a_report_is_named() -> None:
    report = fl.metrics.classification_report([0, 0, 1, 3], [0, 2, 1, 1], ["a", "b", "c", "d", "e"])
    assert np.isnan(report.sensitivity).tolist() == [False, False, True, False, True]
    assert np.isnan(report.positive_predictive_value).tolist() == [False, False, False, True, True]
    assert np.isnan(report.f1).tolist() == [False] * 4 + [True]
    assert [remark.split("'")[1] for remark in report.remarks] == ["e", "c", "d"]
    assert report.balanced_accuracy == pytest.approx((1 / 2 + 1 + 0) / 3)  # of a, b and d
    assert report.macro_f1 == pytest.approx((2 / 3 + 2 / 3 + 0 + 0) / 4)  # of all but e
    assert report.to_dict()["classes"]["e"]["f1"] is None
    lines = str(report).splitlines()
    assert lines[5].split() == ["e", "-", "-", "1.0000", "-", "0"]
    assert report.remarks[0] in lines


def test_the_table_of_a_report_is_aligned() -> None:
    report = fl.metrics.classification_report(["long name", "b"] * 5000, ["long name", "b"] * 5000)
    table = str(report).split("\n\n")[0].splitlines()
    assert len({len(line) for line in table}) == 1
    assert table[1].endswith("  5,000")
    assert "true / predicted" in str(report)
    many = [str(k) for k in range(60)]
    assert "true / predicted" not in str(fl.metrics.classification_report(many, many))  # too wide to read


def test_the_html_of_a_report_is_well_formed_and_escaped() -> None:
    report = fl.metrics.classification_report(["<b>", "a & b", "c"], ["<b>", "c", "c"])
    text = report._repr_html_()
    tree = ElementTree.fromstring(f"<div>{text}</div>")
    cells = [cell.text for cell in tree.iter("td")]
    assert "<b>" in cells and "a & b" in cells
    assert [len(table.findall("tbody/tr")) for table in tree.iter("table")] == [3, 3]
    assert any("a & b" in (one.text or "") for one in tree.iter("p"))


def test_scores_decide_by_the_largest_column() -> None:
    scores = np.array([[3.0, 1, 2], [0, 5, 1], [0, 0, 1]])
    assert fl.metrics.accuracy([0, 1, 1], scores) == pytest.approx(2 / 3)
    assert fl.metrics.accuracy(["x", "y", "y"], np.array(["x", "y", "z"])[scores.argmax(1)]) == pytest.approx(2 / 3)
    report = fl.metrics.classification_report(["x", "y", "y"], scores, classes=["x", "y", "z"])
    assert report.confusion.tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]
    assert fl.metrics.classification_report([0, 1, 1], scores).classes == [0, 1, 2]
    per_step = fl.metrics.confusion_matrix([[0, 1]], scores[None, :2], sample_weight=[2.0])
    assert per_step.tolist() == [[2, 0, 0], [0, 2, 0], [0, 0, 0]]


def test_classes_give_the_order_and_names() -> None:
    assert fl.metrics.confusion_matrix(["n", "v"], ["v", "v"], ["v", "n"]).tolist() == [[1, 0], [1, 0]]
    assert fl.metrics.confusion_matrix([5, -1], [5, 5], [5, -1]).tolist() == [[1, 0], [1, 0]]
    assert fl.metrics.classification_report([True, False], [True, True]).classes == [0, 1]
    assert fl.metrics.confusion_matrix(np.array(["a", "b"], object), ["a", "a"]).tolist() == [[1, 0], [1, 0]]


@pytest.mark.parametrize(
    ("y_true", "y_pred", "classes", "error", "words"),
    [
        ([0, 1], [0, 1, 1], None, ValueError, r"y_true has shape \(2,\) and y_pred \(3,\)"),
        ([[0], [1]], [0, 1], None, ValueError, r"pass numpy.asarray\(y_true\)\[..., 0\]"),
        ([], [], None, ValueError, "y_true is empty"),
        (1, [1], None, ValueError, r"y_true is a single value, 1, expected an array: pass \[y_true\]"),
        ("ab", ["ab"], None, ValueError, "y_true is a single value"),
        ([0, 1], ["a", "b"], None, TypeError, r"pass numpy.asarray\(classes\)\[y_true\]"),
        ([0, 1.5], [0, 1], None, TypeError, "expected integers"),
        ([0, np.nan], [0, 1], None, TypeError, r"y_true\[1\] is missing"),
        (["a", None], ["a", "b"], None, TypeError, r"y_true\[1\] is missing"),
        ([0, -100], [0, 1], None, ValueError, r"y_true\[1\] is -100"),
        ([0, 1], [0.2, 0.7], None, TypeError, r"numpy.asarray\(y_pred\) > 0.5 for probabilities"),
        ([0, 1], [[0.2], [0.7]], None, TypeError, r"numpy.asarray\(y_pred\)\[..., 0\] > 0 for scores"),
        ([0, 2], [[0.2, 0.8], [0.7, 0.3]], None, ValueError, r"y_true\[1\] is 2, which is not in classes"),
        (["a", "b"], [[0.2, 0.8], [0.7, 0.3]], None, ValueError, "classes=model.classes"),
        ([0, 1], [[0.2, 0.8], [0.7, np.nan]], None, ValueError, r"y_pred\[1, 1\] is nan"),
        ([0, 1], [[0.2, 0.8]], None, ValueError, r"expected \(2, 2\)"),
        ([0, 1], [[0.2, 0.8], [0.7, 0.3]], ["a"], ValueError, "has 2 columns"),
        (["a", "q"], ["a", "b"], ["a", "b"], ValueError, r"y_true\[1\] is 'q'"),
        ([0, 2], [0, 1], ["a", "b"], ValueError, r"y_true\[1\] is 2, expected an index into the 2 classes"),
        (["a", "b"], ["a", "b"], [0, 1], TypeError, "give classes as strings"),
        (["a", "b"], ["a", "b"], ["a", "a"], ValueError, "'a' twice"),
        (["a", "b"], ["a", "b"], "ab", TypeError, "classes must be a list"),
        (["a", "b"], ["a", "b"], ["a", 1], TypeError, "strings or of integers"),
        ([np.zeros(2, int), np.zeros(3, int)], [0, 1], None, ValueError, r"numpy.concatenate\(y_true\)"),
        (np.arange(5000), np.arange(5000), None, ValueError, "fl.metrics.rmse"),
    ],
)
def test_what_does_not_fit_is_refused(y_true: Any, y_pred: Any, classes: Any, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        fl.metrics.classification_report(y_true, y_pred, classes)


def test_the_cures_work_when_they_are_typed() -> None:
    y_true, y_pred = [0, 1, 1], [[0.2], [0.7], [0.9]]
    with pytest.raises(TypeError) as caught:
        fl.metrics.accuracy(y_true, y_pred)
    code = str(caught.value).partition("scores (logits) and ")[2].partition(" for probabilities")[0]
    assert fl.metrics.accuracy(y_true, eval(code, {"numpy": np, "y_pred": y_pred})) == 1
    y_true = [0, -100, 1]
    with pytest.raises(ValueError) as caught:
        fl.metrics.accuracy(y_true, [0, 1, 1])
    code = str(caught.value).partition("keep = ")[2].partition(", and index")[0]
    keep = eval(code, {"numpy": np, "y_true": y_true})
    assert fl.metrics.accuracy(np.array(y_true)[keep], np.array([0, 1, 1])[keep]) == 1


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        ([1.0], r"sample_weight has shape \(1,\), expected \(2,\)"),
        ([1.0, -1], r"sample_weight\[1\] is -1.0"),
        ([1.0, np.nan], r"sample_weight\[1\] is nan"),
        ([0, 0], "0 everywhere"),
        (1.0, r"sample_weight is a single value"),
    ],
)
def test_weights_that_do_not_fit_are_refused(weight: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fl.metrics.accuracy([0, 1], [0, 1], sample_weight=weight)


def test_an_unknown_average_is_refused() -> None:
    with pytest.raises(ValueError, match="'macro', 'micro' or 'weighted'"):
        fl.metrics.f1(TRUE, PREDICTED, average="binary")  # type: ignore[call-overload]


def test_constant_labels_have_no_correlation() -> None:
    assert fl.metrics.matthews_corrcoef([1, 1, 1], [1, 0, 1]) == 0
    assert fl.metrics.matthews_corrcoef([0, 1, 1], [1, 1, 1], sample_weight=[0.1, 0.2, 0.3]) == 0


def test_metrics_of_classes_in_fit_and_evaluate() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 6, 2))
    y = np.where(X[:, :, 0].sum(1) > 0, "up", "down")
    model = fl.Model([fl.LSTM(4), fl.Dense(2)])
    metrics = [fl.metrics.f1, fl.metrics.balanced_accuracy, fl.metrics.roc_auc, fl.metrics.pr_auc]
    history = model.fit(X, y, epochs=2, validation_data=(X, y), metrics=metrics, verbose=0)
    assert {"val_f1", "val_balanced_accuracy", "val_roc_auc", "val_pr_auc"} <= set(history.history)
    result = model.evaluate(X, y, metrics=metrics)
    decided = model.predict_classes(X)
    assert result["f1"] == fl.metrics.f1(y, decided)
    assert result["balanced_accuracy"] == fl.metrics.balanced_accuracy(y, decided)
    expected = fl.metrics.roc_auc(y, model.predict_proba(X), positive="up")
    assert result["roc_auc"] == pytest.approx(expected, abs=1e-12)  # down sorts first, so up is the class 1


def test_ranking_metrics_of_one_binary_output_in_evaluate() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 6, 2))
    y = (X[:, :, 0].sum(1) > 0).astype(int)
    model = fl.Model([fl.LSTM(4), fl.Dense(1)])
    model.fit(X, y, loss="binary_cross_entropy", epochs=1, verbose=0)
    result = model.evaluate(X, y, metrics=[fl.metrics.roc_auc, fl.metrics.pr_auc])
    assert result["roc_auc"] == fl.metrics.roc_auc(y, model.predict(X))
    assert result["pr_auc"] == fl.metrics.pr_auc(y, model.predict(X))
