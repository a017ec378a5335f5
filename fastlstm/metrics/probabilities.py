"""Metrics of scores and probabilities: how well they rank, and how much can be believed of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from .. import _exact
from .._arrays import as_array, place_of
from .._typing import Array
from .arguments import binary_labels, check_same_shape, mean, values, weights
from .classification import labelled

__all__ = ["brier_score", "log_loss", "pr_auc", "roc_auc"]

_SUM_TOLERANCE = 1e-3
"""How far from 1 probabilities may sum up: those in half precision, of many classes, are off by some 1e-4."""


def roc_auc(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    positive: str | int | None = None,
    classes: Sequence[str] | Sequence[int] | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Return the area under the ROC curve: the probability that a positive case has a higher score than a negative one.

    Equal scores count one half (Hanley & McNeil 1982). 0.5 for scores that tell nothing.

    Parameters
    ----------
    y_true : array (N,) or (N, 1)
        0 or 1, bools, or labels of which `positive` is one; for three or more columns the labels of the classes.
    y_score : array (N,), (N, 1), (N, 2) or (N, K)
        Scores or probabilities of the positive class. Of two columns the second less the first is the score, which is
        right for the scores and the probabilities of a model with two outputs. Of three or more columns, which must be
        probabilities: the mean over the classes of the area of each class against the rest.
    positive : str or int, optional
        The positive class, if the labels are not 0 and 1.
    classes : sequence of str or int, optional
        The classes of three or more columns, by default 0 to K - 1.
    sample_weight : array (N,), optional
        Weight of each case, >= 0.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    TypeError, ValueError
        If labels or scores do not fit, or only one of the two classes occurs.

    Examples
    --------
    >>> import fastlstm as fl
    >>> fl.metrics.roc_auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    return _ranking(_roc_area, y_true, y_score, positive, classes, sample_weight)


def pr_auc(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    positive: str | int | None = None,
    classes: Sequence[str] | Sequence[int] | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Return the area under the precision-recall curve as average precision, ``sum_k (R_k - R_(k-1)) P_k``.

    P_k and R_k are precision and recall if the k highest different scores are taken for positive. Nothing is
    interpolated between them, since that would be too optimistic (Davis & Goadrich 2006). Scores that tell nothing
    have the share of the positive cases.

    Parameters
    ----------
    y_true, y_score, positive, classes, sample_weight
        As in `roc_auc`.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    TypeError, ValueError
        As in `roc_auc`.

    Examples
    --------
    >>> import fastlstm as fl
    >>> round(fl.metrics.pr_auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), 4)
    0.8333
    """
    return _ranking(_average_precision, y_true, y_score, positive, classes, sample_weight)


def _ranking(
    area: Callable[[Array, Array, Array], float],
    y_true: ArrayLike,
    y_score: ArrayLike,
    positive: str | int | None,
    classes: Sequence[str] | Sequence[int] | None,
    sample_weight: ArrayLike | None,
) -> float:
    score = values("y_score", y_score)
    if score.ndim == 2 and score.shape[1] > 2:
        return _one_against_rest(area, y_true, score, positive, classes, sample_weight)
    true = binary_labels("y_true", y_true, positive)
    if score.ndim == 2:
        score = score[:, -1] - (score[:, 0] if score.shape[1] == 2 else 0)
        true = true[:, 0] if true.ndim == 2 and true.shape[1] == 1 else true
    check_same_shape("y_true", true, "y_score", score)
    weight = weights(sample_weight, true.shape)
    return area(true.ravel(), score.ravel(), np.ones(true.size) if weight is None else weight.ravel())


def _one_against_rest(
    area: Callable[[Array, Array, Array], float],
    y_true: ArrayLike,
    score: Array,
    positive: str | int | None,
    classes: Sequence[str] | Sequence[int] | None,
    sample_weight: ArrayLike | None,
) -> float:
    if positive is not None:
        raise ValueError(
            f"positive is {positive!r} and y_score has {score.shape[1]} columns: pass the column of that class alone"
        )
    _check_sums("y_score", score)
    data = labelled(y_true, score, classes, sample_weight)
    weight = np.ones(len(data.true)) if data.weight is None else data.weight
    missing = [name for k, name in enumerate(data.classes) if not (data.true == k).any()]
    if missing:
        raise ValueError(f"y_true holds no case of the class {missing[0]!r}: its area against the rest is undefined")
    return float(np.mean([area(data.true == k, score[:, k], weight) for k in range(score.shape[1])]))


def _counts_from_above(true: Array, score: Array, weight: Array) -> tuple[Array, Array]:
    """Return the weights of the true and false positives above each of the different scores, from the highest on."""
    order = np.argsort(-score, kind="stable")
    sorted_score = score[order]
    last = np.append(np.flatnonzero(sorted_score[1:] != sorted_score[:-1]), len(score) - 1)
    positives = np.cumsum(np.where(true, weight, 0.0)[order])[last]
    negatives = np.cumsum(np.where(true, 0.0, weight)[order])[last]
    if positives[-1] == 0 or negatives[-1] == 0:
        only = "negative" if positives[-1] == 0 else "positive"
        raise ValueError(f"y_true holds {only} cases only, expected both classes: measure on more cases")
    return positives, negatives


def _roc_area(true: Array, score: Array, weight: Array) -> float:
    positives, negatives = _counts_from_above(true, score, weight)
    heights = positives + np.append(0.0, positives[:-1])
    return float(np.sum(np.diff(negatives, prepend=0.0) * heights) / (2 * positives[-1] * negatives[-1]))


def _average_precision(true: Array, score: Array, weight: Array) -> float:
    positives, negatives = _counts_from_above(true, score, weight)
    gained = np.diff(positives, prepend=0.0)
    counted = gained > 0
    precision = positives[counted] / (positives + negatives)[counted]
    return float(np.sum(gained[counted] * precision) / positives[-1])


def log_loss(
    y_true: ArrayLike,
    y_proba: ArrayLike,
    *,
    classes: Sequence[str] | Sequence[int] | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Return the mean of ``-log p`` of the true classes, in nats: the cross-entropy.

    Probabilities of 0 count as the smallest step of their dtype from 1, so that the result is finite, as in
    scikit-learn.

    Parameters
    ----------
    y_true : array (N,)
        Labels of the columns: 0 to K - 1, or those in `classes`; 0 and 1 for one column.
    y_proba : array (N, K), (N,) or (N, 1)
        Probabilities of the classes; or of class 1. Not scores: pass what `Model.predict_proba` gives.
    classes : sequence of str or int, optional
        The classes of the columns, by default 0 to K - 1.
    sample_weight : array (N,), optional
        Weight of each case, >= 0.

    Returns
    -------
    float
        0 for certain and right predictions; ``log(K)`` for equal probabilities.

    Raises
    ------
    TypeError, ValueError
        If labels or probabilities do not fit, or the numbers are no probabilities.

    Examples
    --------
    >>> import fastlstm as fl
    >>> round(fl.metrics.log_loss([0, 1], [[0.9, 0.1], [0.4, 0.6]]), 4)
    0.3081
    """
    tiny = float(np.finfo(_float_type(y_proba)).eps)
    true, p, weight = _probabilities(y_true, y_proba, classes, sample_weight)
    p = p.clip(tiny, 1 - tiny)
    right = p[np.arange(len(p)), true] / p.sum(axis=1)
    return mean(-_exact.log(right), weight)


def brier_score(
    y_true: ArrayLike,
    y_proba: ArrayLike,
    *,
    classes: Sequence[str] | Sequence[int] | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Return the mean squared difference of probabilities and outcomes (Brier 1950).

    For one column ``(p - y)^2`` with y 0 or 1; for K columns ``sum_k (p_k - y_k)^2`` with y_k 1 for the true class and
    0 for the others, which for K = 2 is twice as much.

    Parameters
    ----------
    y_true, y_proba, classes, sample_weight
        As in `log_loss`.

    Returns
    -------
    float
        Between 0 and 1 for one column, between 0 and 2 for several.

    Raises
    ------
    TypeError, ValueError
        As in `log_loss`.

    Examples
    --------
    >>> import fastlstm as fl
    >>> round(fl.metrics.brier_score([0, 1, 1], [0.1, 0.8, 0.4]), 4)
    0.1367
    """
    true, p, weight = _probabilities(y_true, y_proba, classes, sample_weight)
    squares = ((p - (np.arange(p.shape[1]) == true[:, None])) ** 2).sum(axis=1)
    one_column = as_array(y_proba, "y_proba").shape[-1:] == (1,) or as_array(y_proba, "y_proba").ndim == 1
    return mean(squares / 2 if one_column else squares, weight)


def _float_type(y_proba: ArrayLike) -> np.dtype[np.floating]:
    dtype = as_array(y_proba, "y_proba").dtype
    return np.dtype(dtype if dtype.kind == "f" else np.float64)


def _probabilities(
    y_true: ArrayLike,
    y_proba: ArrayLike,
    classes: Sequence[str] | Sequence[int] | None,
    sample_weight: ArrayLike | None,
) -> tuple[Array, Array, Array | None]:
    """Return the true column of each case, the probabilities (N, K) with K >= 2, and the weights."""
    p = values("y_proba", y_proba)
    outside = np.flatnonzero((p < 0) | (p > 1))
    if len(outside):
        raise ValueError(
            f"y_proba{place_of(int(outside[0]), p.shape)} is {p.flat[outside[0]]:.6g}, expected a probability, 0 to 1: "
            "pass model.predict_proba(X)"
        )
    if p.ndim == 2 and p.shape[1] > 1:
        _check_sums("y_proba", p)
        data = labelled(y_true, p, classes, sample_weight)
        return data.true, p, data.weight
    if p.ndim == 2:
        p = p[:, 0]
    if p.ndim != 1:
        raise ValueError(f"y_proba has shape {p.shape}, expected (N,) or (N, K): join the positions of all cases")
    positive = None
    if classes is not None:
        positive = list(classes)[-1]
        if len(list(classes)) != 2:
            raise ValueError(f"classes names {len(list(classes))} classes and y_proba has one column, expected two")
    true = binary_labels("y_true", y_true, positive)
    true = true[:, 0] if true.ndim == 2 and true.shape[1] == 1 else true
    check_same_shape("y_true", true, "y_proba", p)
    return true.astype(np.int64), np.stack([1 - p, p], axis=1), weights(sample_weight, true.shape)


def _check_sums(name: str, p: Array) -> None:
    """Raise ValueError unless the rows are probabilities of exclusive classes."""
    sums = p.sum(axis=1)
    wrong = np.flatnonzero((np.abs(sums - 1) > _SUM_TOLERANCE) | (p < 0).any(axis=1))
    if len(wrong):
        raise ValueError(
            f"{name}[{wrong[0]}] sums up to {sums[wrong[0]]:.6g}, expected probabilities, with the sum 1: pass "
            "model.predict_proba(X)"
        )
