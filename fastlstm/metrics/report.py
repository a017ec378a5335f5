"""Report of a classifier: its confusion matrix, measures of each class and of all."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from .._tables import aligned, html_table
from .._typing import Array
from .classification import Counts, average_of, labelled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ClassificationReport", "classification_report"]

_WIDEST = 100
"""Characters of a line up to which the confusion matrix is printed below the table."""


class ClassificationReport:
    """Report of a classifier, returned by `classification_report`; ``print(report)`` shows it as a table.

    Attributes
    ----------
    classes : list of str or of int
        The classes, in the order of all arrays.
    confusion : ndarray (K, K), float64
        Element (i, j) is the number (with weights: the weight) of cases of class i that were taken for class j.
    sensitivity : ndarray (K,)
        Recall, TP / (TP + FN); nan for a class without cases.
    positive_predictive_value : ndarray (K,)
        Precision, +P, TP / (TP + FP); nan for a class that was never predicted.
    specificity : ndarray (K,)
        TN / (TN + FP); nan if there are no cases of other classes.
    f1 : ndarray (K,)
        2 TP / (2 TP + FP + FN); nan for a class that occurs neither in the true nor in the predicted labels.
    support : ndarray (K,)
        Number of cases of each class, TP + FN.
    accuracy : float
        Share of the cases that were recognised.
    balanced_accuracy : float
        Mean sensitivity of the classes that have cases.
    macro_f1 : float
        Mean F1 of the classes that occur in the true or the predicted labels.
    remarks : list of str
        What is undefined, and what became of it.
    """

    def __init__(self, confusion: Array, classes: list[str] | list[int]) -> None:
        counts = Counts(confusion)
        self.classes = classes
        self.confusion = confusion
        self.sensitivity = counts.recall()
        self.positive_predictive_value = counts.precision()
        self.specificity = counts.specificity()
        self.f1 = counts.f1()
        self.support = counts.support
        self.accuracy = counts.accuracy()
        self.balanced_accuracy = counts.balanced_accuracy()
        self.macro_f1 = average_of(counts, self.f1, "macro")
        self.remarks = _remarks(counts, classes)

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as data for JSON; None stands for what is undefined.

        Returns
        -------
        dict
            ``"accuracy"``, ``"balanced_accuracy"``, ``"macro_f1"``; ``"classes"``, a dict with the measures of each
            class; ``"labels"`` and ``"confusion"``, the rows of the matrix; ``"remarks"``.
        """
        columns = (self.sensitivity, self.positive_predictive_value, self.specificity, self.f1, self.support)
        names = ("sensitivity", "positive_predictive_value", "specificity", "f1", "support")
        measures = {
            label: {name: _or_none(float(column[k])) for name, column in zip(names, columns, strict=True)}
            for k, label in enumerate(self.classes)
        }
        return {
            "accuracy": self.accuracy,
            "balanced_accuracy": self.balanced_accuracy,
            "macro_f1": self.macro_f1,
            "classes": measures,
            "labels": list(self.classes),
            "confusion": self.confusion.tolist(),
            "remarks": list(self.remarks),
        }

    def plot(self, path: str | os.PathLike[str] | None = None, *, title: str | None = None) -> Figure:
        """Draw the confusion matrix; see `fastlstm.plots.confusion_matrix`.

        Parameters
        ----------
        path : path, optional
            File to save the picture to; the suffix (``.png``, ``.pdf``, ``.svg``) selects the format.
        title : str, optional
            Title of the picture.

        Returns
        -------
        matplotlib.figure.Figure
            The figure.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        from ..plots.confusion import confusion_matrix

        return confusion_matrix(self, path=path, title=title)

    def _header(self) -> tuple[str, ...]:
        return ("class", "sensitivity", "+P", "specificity", "F1", "support")

    def _rows(self) -> list[tuple[str, ...]]:
        columns = (self.sensitivity, self.positive_predictive_value, self.specificity, self.f1)
        return [
            (str(label), *(_share(float(column[k])) for column in columns), _count(float(self.support[k])))
            for k, label in enumerate(self.classes)
        ]

    def _totals(self) -> list[tuple[str, str]]:
        return [
            ("accuracy", _share(self.accuracy)),
            ("balanced accuracy", _share(self.balanced_accuracy)),
            ("macro F1", _share(self.macro_f1)),
            ("cases", _count(float(self.support.sum()))),
        ]

    def _matrix(self) -> list[tuple[str, ...]]:
        return [
            (str(label), *(_count(float(number)) for number in row))
            for label, row in zip(self.classes, self.confusion, strict=True)
        ]

    def __str__(self) -> str:
        lines = [*aligned([self._header(), *self._rows()]), "", *aligned(self._totals())]
        matrix = aligned([("true / predicted", *map(str, self.classes)), *self._matrix()])
        if max(map(len, matrix)) <= _WIDEST:
            lines += ["", *matrix]
        return "\n".join([*lines, *(f"\n{remark}" for remark in self.remarks)])

    def __repr__(self) -> str:
        return (
            f"ClassificationReport({len(self.classes)} classes, accuracy={self.accuracy:.4g}, "
            f"balanced_accuracy={self.balanced_accuracy:.4g}, macro_f1={self.macro_f1:.4g})"
        )

    def _repr_html_(self) -> str:
        from html import escape

        caption = ", ".join(f"{name} {number}" for name, number in self._totals())
        tables = [
            html_table(self._header(), self._rows(), caption=caption),
            html_table(("true / predicted", *map(str, self.classes)), self._matrix(), caption="confusion matrix"),
        ]
        return "\n".join([*tables, *(f"<p>{escape(remark)}</p>" for remark in self.remarks)])


def classification_report(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    classes: Sequence[str] | Sequence[int] | None = None,
    *,
    sample_weight: ArrayLike | None = None,
) -> ClassificationReport:
    """Measure the decisions of a classifier, class by class and in all.

    Parameters
    ----------
    y_true : array of int, bool or str, any shape
        True labels, for example (N,) or (N, T).
    y_pred : array of the shape of `y_true`, or float array (..., K)
        Predicted labels, as `Model.predict_classes` gives them; or scores or probabilities with a column for each
        class, of which the largest decides.
    classes : sequence of str or int, optional
        The classes, which give the order; with integer labels names may stand for the classes 0, 1, ... By default the
        sorted labels that occur in `y_true` or `y_pred`; for scores 0 to K - 1.
    sample_weight : array of the shape of `y_true`, or of its first axes, optional
        Weight of each position, >= 0.

    Returns
    -------
    ClassificationReport
        The confusion matrix; of each class sensitivity, positive predictive value (+P), specificity, F1 and support;
        accuracy, balanced accuracy and macro F1.

    Raises
    ------
    TypeError, ValueError
        If labels are of different kinds or missing, or not in `classes`, or shapes differ.

    Notes
    -----
    What is 0 / 0 for a class is nan, printed as "-", and a remark below the table names it. In the means it is treated
    as scikit-learn does by default: macro F1 is the mean over the classes that occur in `y_true` or `y_pred`, balanced
    accuracy over those in `y_true`. A class of `classes` that occurs in neither takes part in no mean.

    Examples
    --------
    >>> import fastlstm as fl
    >>> report = fl.metrics.classification_report([0, 0, 0, 1, 1], [0, 0, 1, 1, 1], ["normal", "fault"])
    >>> print(report)
    class   sensitivity      +P  specificity      F1  support
    normal       0.6667  1.0000       1.0000  0.8000        3
    fault        1.0000  0.6667       0.6667  0.8000        2
    <BLANKLINE>
    accuracy           0.8000
    balanced accuracy  0.8333
    macro F1           0.8000
    cases                   5
    <BLANKLINE>
    true / predicted  normal  fault
    normal                 2      1
    fault                  0      2
    """
    data = labelled(y_true, y_pred, classes, sample_weight)
    return ClassificationReport(Counts.of(data).confusion, data.classes)


def _remarks(counts: Counts, classes: list[str] | list[int]) -> list[str]:
    """Return sentences about the classes for which a measure is undefined."""
    support, predicted = counts.support, counts.predicted
    kinds = (
        ((support == 0) & (predicted == 0), "no case is or was taken for {}: left out of the means"),
        ((support == 0) & (predicted > 0), "no case is {}: sensitivity undefined, left out of the balanced accuracy"),
        ((support > 0) & (predicted == 0), "no case was taken for {}: +P undefined"),
    )
    return [
        sentence.format(", ".join(repr(classes[k]) for k in chosen.nonzero()[0]))
        for chosen, sentence in kinds
        if chosen.any()
    ]


def _or_none(number: float) -> float | None:
    return None if math.isnan(number) else number


def _share(number: float) -> str:
    return "-" if math.isnan(number) else f"{number:.4f}"


def _count(number: float) -> str:
    return f"{int(number):,}" if number.is_integer() else f"{number:,.2f}"
