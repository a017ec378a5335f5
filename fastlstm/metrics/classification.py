"""Metrics of classes: how often decisions agree with the true labels, in all and class by class.

With a confusion matrix C, whose element (i, j) counts the cases of class i that were taken for class j, and one class
against the rest: TP = C[k, k], FN = the rest of row k, FP = the rest of column k, TN = all others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, overload

import numpy as np
from numpy.typing import ArrayLike

from .._arrays import as_array, place_of
from .._checks import as_list, one_of, short_repr
from .._typing import Array
from .arguments import check_same_shape, labels, mean, values, weights

__all__ = [
    "Average",
    "Counts",
    "Labelled",
    "accuracy",
    "average_of",
    "balanced_accuracy",
    "class_names",
    "confusion_matrix",
    "f1",
    "labelled",
    "matthews_corrcoef",
    "precision",
    "recall",
]

Average = Literal["macro", "micro", "weighted"]

_MANY_CLASSES = 4096  # whose confusion matrix takes 128 MB


class Labelled(NamedTuple):
    """Labels and decisions as indices of classes."""

    true: Array
    """(N,): the true class of each position."""
    predicted: Array
    """(N,): the class that it was taken for."""
    weight: Array | None
    """(N,): the weight of each position; None: all 1."""
    classes: list[str] | list[int]
    """The names of the classes, or the labels themselves."""


def labelled(
    y_true: ArrayLike, y_pred: ArrayLike, classes: Sequence[str] | Sequence[int] | None, sample_weight: ArrayLike | None
) -> Labelled:
    """Check labels and decisions, or the scores (..., K) from which the largest decides, and number their classes."""
    true = labels("y_true", y_true)
    names = None if classes is None else class_names(classes)
    scores = _as_scores(y_pred, true)
    if scores is None:
        predicted = labels("y_pred", y_pred)
        check_same_shape("y_true", true, "y_pred", predicted)
        if (true.dtype.kind == "U") != (predicted.dtype.kind == "U"):
            strings, numbers = ("y_true", "y_pred") if true.dtype.kind == "U" else ("y_pred", "y_true")
            raise TypeError(
                f"{strings} holds strings and {numbers} integers, expected labels of one kind: if the integers are "
                f"indices into a list of classes, pass numpy.asarray(classes)[{numbers}]"
            )
        if names is None:
            names = _occurring(true, predicted)
    else:
        names = _names_of_columns(scores, true, names)
        predicted = scores.argmax(axis=-1)
    weight = weights(sample_weight, true.shape)
    if scores is None:
        predicted = _index_of("y_pred", predicted, names)
    return Labelled(
        _index_of("y_true", true, names).ravel(),
        predicted.ravel(),
        None if weight is None else weight.ravel(),
        names,
    )


def _as_scores(y_pred: ArrayLike, true: Array) -> Array | None:
    """Return `y_pred` as scores (..., K) if it has an axis more than the labels and holds floats; else None."""
    if isinstance(y_pred, (list, tuple)) and y_pred and isinstance(y_pred[0], str):
        return None
    array = as_array(y_pred, "y_pred")
    if array.dtype.kind != "f" or array.ndim not in (true.ndim, true.ndim + 1):
        return None
    if array.ndim == true.ndim or array.shape[-1] == 1:
        column = "numpy.asarray(y_pred)" + ("" if array.ndim == true.ndim else "[..., 0]")
        raise TypeError(
            f"y_pred holds floats of shape {array.shape}, expected labels, or scores with a column for each class: "
            f"if these are labels, pass {column}.astype(int); if scores of the class 1, decide first, {column} > 0 for "
            f"scores (logits) and {column} > 0.5 for probabilities"
        )
    if array.shape[:-1] != true.shape:
        raise ValueError(
            f"y_true has shape {true.shape} and y_pred {array.shape}, expected {(*true.shape, array.shape[-1])}, a "
            "score for each position and class: pass both for the same cases"
        )
    return values("y_pred", array)


def class_names(classes: Sequence[str] | Sequence[int]) -> list[str] | list[int]:
    """Return `classes` as a list of different strings, or of different integers."""
    names = [one.item() if isinstance(one, np.generic) else one for one in as_list("classes", classes, "labels")]
    strings = all(isinstance(one, str) for one in names)
    if not names or not (strings or all(isinstance(one, int) and not isinstance(one, bool) for one in names)):
        raise TypeError(f"classes must be a list of strings or of integers, got {short_repr(classes)}")
    if len(set(names)) < len(names):
        twice = next(one for one in names if names.count(one) > 1)
        raise ValueError(f"classes holds {twice!r} twice, expected each class once")
    return names


def _occurring(true: Array, predicted: Array) -> list[str] | list[int]:
    """Return the sorted labels that occur."""
    names: list[str] | list[int] = np.union1d(true, predicted).tolist()
    return names


def _names_of_columns(scores: Array, true: Array, names: list[str] | list[int] | None) -> list[str] | list[int]:
    """Return the classes of the columns of scores: `names`, or the integers from 0."""
    columns = scores.shape[-1]
    if names is None:
        if true.dtype.kind == "U":
            raise ValueError(
                "y_true holds strings and y_pred scores, whose columns are not named: give the classes in the order of "
                "the columns, classes=model.classes"
            )
        return list(range(columns))
    if len(names) != columns:
        raise ValueError(f"classes names {len(names)} classes and y_pred has {columns} columns, expected one for each")
    return names


def _index_of(name: str, array: Array, names: list[str] | list[int]) -> Array:
    """Return the index of each label in `names`; integers are indices themselves if `names` are strings."""
    if array.dtype.kind != "U" and isinstance(names[0], str):
        outside = np.flatnonzero((array < 0) | (array >= len(names)))
        if len(outside):
            raise ValueError(
                f"{name}{place_of(int(outside[0]), array.shape)} is {array.flat[outside[0]]}, expected an index into "
                f"the {len(names)} classes, 0 to {len(names) - 1}: give the names of all classes"
            )
        return array
    if array.dtype.kind == "U" and not isinstance(names[0], str):
        raise TypeError(
            f"{name} holds strings and classes integers, expected labels of one kind: give classes as strings"
        )
    known = np.asarray(names)
    order = np.argsort(known)
    places = np.searchsorted(known, array, sorter=order).clip(max=len(names) - 1)
    index: Array = order[places]
    outside = np.flatnonzero(known[index] != array)
    if len(outside):
        label = array.flat[outside[0]].item()
        raise ValueError(
            f"{name}{place_of(int(outside[0]), array.shape)} is {label!r}, which is not in classes, "
            f"{short_repr(names)}: add it there, or leave such cases out"
        )
    return index


class Counts(NamedTuple):
    """Weighted counts of cases."""

    confusion: Array
    """(K, K), float64: rows are the true classes, columns the predicted ones."""

    @classmethod
    def of(cls, data: Labelled) -> Counts:
        """Count labels and decisions."""
        size = len(data.classes)
        if size > _MANY_CLASSES:
            raise ValueError(
                f"there are {size} different labels, expected at most {_MANY_CLASSES} classes: if these are values "
                "rather than classes, use fl.metrics.rmse or fl.metrics.mae"
            )
        flat = np.bincount(data.true * size + data.predicted, data.weight, minlength=size * size)
        return cls(flat.reshape(size, size).astype(np.float64))

    @property
    def hits(self) -> Array:
        """(K,): cases of each class that were recognised, TP."""
        return np.diagonal(self.confusion)

    @property
    def support(self) -> Array:
        """(K,): cases of each class, TP + FN."""
        return np.asarray(self.confusion.sum(axis=1))

    @property
    def predicted(self) -> Array:
        """(K,): cases that were taken for each class, TP + FP."""
        return np.asarray(self.confusion.sum(axis=0))

    @property
    def occurring(self) -> Array:
        """(K,), boolean: classes that are in the true or the predicted labels."""
        return np.asarray((self.support > 0) | (self.predicted > 0))

    def recall(self) -> Array:
        """Return TP / (TP + FN) of each class; nan for a class without cases."""
        return _ratio(self.hits, self.support)

    def precision(self) -> Array:
        """Return TP / (TP + FP) of each class; nan for a class that was never predicted."""
        return _ratio(self.hits, self.predicted)

    def specificity(self) -> Array:
        """Return TN / (TN + FP) of each class; nan if there are no cases of other classes."""
        others = self.confusion.sum() - self.support
        return _ratio(others - (self.predicted - self.hits), others)

    def f1(self) -> Array:
        """Return 2 TP / (2 TP + FP + FN) of each class; nan for a class that does not occur."""
        return _ratio(2 * self.hits, self.support + self.predicted)

    def accuracy(self) -> float:
        """Return the share of the cases that were recognised."""
        return float(self.hits.sum() / self.confusion.sum())

    def balanced_accuracy(self) -> float:
        """Return the mean of the recall of the classes that have cases."""
        return float(np.nanmean(self.recall()))


def _ratio(above: Array, below: Array) -> Array:
    """Return above / below, nan where it is 0 / 0."""
    ratio: Array = np.divide(above, below, out=np.full(below.shape, np.nan), where=below > 0)
    return ratio


def average_of(counts: Counts, each: Array, average: str) -> float:
    """Return the mean of a measure of each class over the classes that occur; what is undefined counts as 0."""
    known = np.nan_to_num(each)
    if average == "weighted":
        return float(np.sum(known * counts.support) / counts.support.sum())
    if average == "micro":  # FP and FN of one-label problems are the same errors, so every ratio is the accuracy
        return counts.accuracy()
    return float(known[counts.occurring].mean())


def confusion_matrix(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    classes: Sequence[str] | Sequence[int] | None = None,
    *,
    sample_weight: ArrayLike | None = None,
) -> Array:
    """Count how often each class was taken for each class.

    Parameters
    ----------
    y_true : array of int, bool or str, any shape
        True labels, for example (N,) or (N, T).
    y_pred : array of the shape of `y_true`, or float array (..., K)
        Predicted labels; or scores or probabilities with a column for each class, of which the largest decides.
    classes : sequence of str or int, optional
        The classes, which give the order of rows and columns. With integer labels names may stand for the classes 0,
        1, ... By default the sorted labels that occur in `y_true` or `y_pred`; for scores 0 to K - 1.
    sample_weight : array of the shape of `y_true`, or of its first axes, optional
        Weight of each position, >= 0.

    Returns
    -------
    ndarray (K, K)
        Element (i, j) counts the positions of class i that were taken for class j: int64, or float64 with weights.

    Raises
    ------
    TypeError, ValueError
        If labels are of different kinds or missing, or not in `classes`, or shapes differ.

    Examples
    --------
    >>> import fastlstm as fl
    >>> fl.metrics.confusion_matrix(["b", "a", "b"], ["b", "b", "b"]).tolist()
    [[0, 1], [0, 2]]
    """
    data = labelled(y_true, y_pred, classes, sample_weight)
    counts = Counts.of(data).confusion
    return counts.astype(np.int64) if data.weight is None else counts


def accuracy(y_true: ArrayLike, y_pred: ArrayLike, *, sample_weight: ArrayLike | None = None) -> float:
    """Return the share of the positions whose class was recognised.

    Parameters
    ----------
    y_true, y_pred, sample_weight
        As in `confusion_matrix`.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    TypeError, ValueError
        As in `confusion_matrix`.

    Examples
    --------
    >>> import fastlstm as fl
    >>> fl.metrics.accuracy([0, 1, 1, 2], [0, 1, 2, 2])
    0.75
    """
    data = labelled(y_true, y_pred, None, sample_weight)
    return mean(data.true == data.predicted, data.weight)


def balanced_accuracy(y_true: ArrayLike, y_pred: ArrayLike, *, sample_weight: ArrayLike | None = None) -> float:
    """Return the mean of the classes' recall, so that rare classes count as much as frequent ones.

    Classes that are in `y_pred` only have no recall and are left out of the mean, as in scikit-learn.

    Parameters
    ----------
    y_true, y_pred, sample_weight
        As in `confusion_matrix`.

    Returns
    -------
    float
        Between 0 and 1; 1 / K for a constant decision among K classes.

    Raises
    ------
    TypeError, ValueError
        As in `confusion_matrix`.

    Examples
    --------
    >>> import fastlstm as fl
    >>> fl.metrics.balanced_accuracy([0, 0, 0, 1], [0, 0, 0, 0])
    0.5
    """
    return Counts.of(labelled(y_true, y_pred, None, sample_weight)).balanced_accuracy()


@overload
def recall(
    y_true: ArrayLike, y_pred: ArrayLike, *, average: Average = ..., sample_weight: ArrayLike | None = ...
) -> float: ...
@overload
def recall(y_true: ArrayLike, y_pred: ArrayLike, *, average: None, sample_weight: ArrayLike | None = ...) -> Array: ...
def recall(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    average: Average | None = "macro",
    sample_weight: ArrayLike | None = None,
) -> float | Array:
    """Return the recall, or sensitivity: the share of the cases of a class that were recognised, TP / (TP + FN).

    Parameters
    ----------
    y_true, y_pred, sample_weight
        As in `confusion_matrix`.
    average : {"macro", "micro", "weighted"} or None, default "macro"
        How the values of the classes become one, see `f1`.

    Returns
    -------
    float or ndarray (K,)
        The average; or with None the value of each class, nan for a class that is in `y_pred` only.

    Raises
    ------
    TypeError, ValueError
        As in `confusion_matrix`.

    Examples
    --------
    >>> import fastlstm as fl
    >>> fl.metrics.recall(["a", "a", "b"], ["a", "b", "b"], average=None).tolist()
    [0.5, 1.0]
    """
    return _averaged("recall", y_true, y_pred, average, sample_weight)


@overload
def precision(
    y_true: ArrayLike, y_pred: ArrayLike, *, average: Average = ..., sample_weight: ArrayLike | None = ...
) -> float: ...
@overload
def precision(
    y_true: ArrayLike, y_pred: ArrayLike, *, average: None, sample_weight: ArrayLike | None = ...
) -> Array: ...
def precision(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    average: Average | None = "macro",
    sample_weight: ArrayLike | None = None,
) -> float | Array:
    """Return the precision, or positive predictive value: the share of right ones among the decisions for a class.

    It is TP / (TP + FP).

    Parameters
    ----------
    y_true, y_pred, sample_weight
        As in `confusion_matrix`.
    average : {"macro", "micro", "weighted"} or None, default "macro"
        How the values of the classes become one, see `f1`.

    Returns
    -------
    float or ndarray (K,)
        The average; or with None the value of each class, nan for a class that was never predicted.

    Raises
    ------
    TypeError, ValueError
        As in `confusion_matrix`.

    Examples
    --------
    >>> import fastlstm as fl
    >>> fl.metrics.precision(["a", "a", "b"], ["a", "b", "b"], average=None).tolist()
    [1.0, 0.5]
    """
    return _averaged("precision", y_true, y_pred, average, sample_weight)


@overload
def f1(
    y_true: ArrayLike, y_pred: ArrayLike, *, average: Average = ..., sample_weight: ArrayLike | None = ...
) -> float: ...
@overload
def f1(y_true: ArrayLike, y_pred: ArrayLike, *, average: None, sample_weight: ArrayLike | None = ...) -> Array: ...
def f1(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    average: Average | None = "macro",
    sample_weight: ArrayLike | None = None,
) -> float | Array:
    """Return F1, the harmonic mean of recall and precision: 2 TP / (2 TP + FP + FN).

    Parameters
    ----------
    y_true, y_pred, sample_weight
        As in `confusion_matrix`.
    average : {"macro", "micro", "weighted"} or None, default "macro"
        "macro": the mean over the classes that occur in `y_true` or `y_pred`. "weighted": weighted by the classes'
        numbers of cases. "micro": computed from the sums of TP, FP and FN over the classes, which is the accuracy. What
        is undefined for a class, 0 / 0, counts as 0 in these means, as in scikit-learn. None: a value for each class.

    Returns
    -------
    float or ndarray (K,)
        The average; or with None the value of each class that occurs, in sorted order.

    Raises
    ------
    TypeError, ValueError
        As in `confusion_matrix`.

    Examples
    --------
    >>> import fastlstm as fl
    >>> round(fl.metrics.f1([0, 0, 1, 1], [0, 1, 1, 1]), 4)
    0.7333
    """
    return _averaged("f1", y_true, y_pred, average, sample_weight)


def _averaged(
    measure: str, y_true: ArrayLike, y_pred: ArrayLike, average: str | None, sample_weight: ArrayLike | None
) -> float | Array:
    if average is not None:
        one_of("average", average, ("macro", "micro", "weighted"))
    counts = Counts.of(labelled(y_true, y_pred, None, sample_weight))
    each: Array = getattr(counts, measure)()
    return each if average is None else average_of(counts, each, average)


def matthews_corrcoef(y_true: ArrayLike, y_pred: ArrayLike, *, sample_weight: ArrayLike | None = None) -> float:
    """Return the correlation of labels and decisions, Matthews' coefficient, for two or more classes.

    With the N cases, their numbers t_k in the classes, the numbers p_k of decisions for them and c right decisions:
    ``(c N - sum t_k p_k) / sqrt((N^2 - sum p_k^2) (N^2 - sum t_k^2))`` (Gorodkin 2004); 0 if all labels or all
    decisions are one class.

    Parameters
    ----------
    y_true, y_pred, sample_weight
        As in `confusion_matrix`.

    Returns
    -------
    float
        1 for perfect decisions, about 0 for guesses, negative for decisions that are worse.

    Raises
    ------
    TypeError, ValueError
        As in `confusion_matrix`.

    Examples
    --------
    >>> import fastlstm as fl
    >>> round(fl.metrics.matthews_corrcoef([0, 0, 1, 1], [0, 1, 1, 1]), 4)
    0.5774
    """
    counts = Counts.of(labelled(y_true, y_pred, None, sample_weight))
    total, true, predicted = counts.confusion.sum(), counts.support, counts.predicted
    spread = (total**2 - predicted @ predicted) * (total**2 - true @ true)
    if math.isclose(spread, 0, abs_tol=1e-12 * total**4):
        return 0.0
    return float((counts.hits.sum() * total - true @ predicted) / math.sqrt(spread))
