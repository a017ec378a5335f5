"""Metrics of predicted values: absolute, squared and relative errors, and the score of remaining-life predictions."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from .._arrays import place_of
from .._typing import Array
from .arguments import check_same_shape, mean, values, weights

__all__ = ["mae", "mape", "phm08_score", "rmse", "smape"]


def _checked(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None
) -> tuple[Array, Array, Array | None]:
    """Return both arrays as float64, of one shape and without NaN, and the weight of each value."""
    true, predicted = values("y_true", y_true), values("y_pred", y_pred)
    check_same_shape("y_true", true, "y_pred", predicted)
    return true, predicted, weights(sample_weight, true.shape)


def mae(y_true: ArrayLike, y_pred: ArrayLike, *, sample_weight: ArrayLike | None = None) -> float:
    """Return the mean absolute error, ``mean |y - p|``, over all positions and outputs.

    Parameters
    ----------
    y_true, y_pred : arrays of one shape
        True and predicted values, in any unit; finite.
    sample_weight : array of this shape, or of its first axes, optional
        Weight of each value, >= 0.

    Returns
    -------
    float
        In the unit of the values.

    Raises
    ------
    TypeError, ValueError
        If shapes differ, or the arrays hold no numbers, NaN or infinity.

    Examples
    --------
    >>> import fastlstm as fl
    >>> fl.metrics.mae([1.0, 2.0, 3.0], [1.0, 4.0, 2.0])
    1.0
    """
    true, predicted, weight = _checked(y_true, y_pred, sample_weight)
    return mean(np.abs(true - predicted), weight)


def rmse(y_true: ArrayLike, y_pred: ArrayLike, *, sample_weight: ArrayLike | None = None) -> float:
    """Return the root of the mean squared error, ``sqrt(mean (y - p)^2)``, over all positions and outputs.

    For several outputs this is one root of one mean, not the mean of the outputs' roots; pass ``y[:, k]`` and
    ``p[:, k]`` for a single output.

    Parameters
    ----------
    y_true, y_pred, sample_weight
        As in `mae`.

    Returns
    -------
    float
        In the unit of the values.

    Raises
    ------
    TypeError, ValueError
        As in `mae`.

    Examples
    --------
    >>> import fastlstm as fl
    >>> fl.metrics.rmse([0.0, 0.0], [1.0, 7.0])
    5.0
    """
    true, predicted, weight = _checked(y_true, y_pred, sample_weight)
    return math.sqrt(mean((true - predicted) ** 2, weight))


def mape(y_true: ArrayLike, y_pred: ArrayLike, *, sample_weight: ArrayLike | None = None) -> float:
    """Return the mean absolute percentage error as a fraction, ``mean |y - p| / |y|``: 0.1 is 10 %.

    Parameters
    ----------
    y_true, y_pred, sample_weight
        As in `mae`; no true value may be 0.

    Returns
    -------
    float
        0 or more.

    Raises
    ------
    TypeError, ValueError
        As in `mae`, or if a true value is 0, for which the error is infinite.

    Examples
    --------
    >>> import fastlstm as fl
    >>> fl.metrics.mape([2.0, 4.0], [1.0, 5.0])
    0.375
    """
    true, predicted, weight = _checked(y_true, y_pred, sample_weight)
    zeros = np.flatnonzero(true == 0)
    if len(zeros):
        raise ValueError(
            f"y_true{place_of(int(zeros[0]), true.shape)} is 0, for which the relative error is not defined: use "
            "fl.metrics.smape or fl.metrics.mase"
        )
    return mean(np.abs((true - predicted) / true), weight)


def smape(y_true: ArrayLike, y_pred: ArrayLike, *, sample_weight: ArrayLike | None = None) -> float:
    """Return the symmetric mean absolute percentage error as a fraction, ``mean |y - p| / (|y| + |p|)``.

    It lies between 0 and 1, as in utilsforecast; the M competitions multiply it by 200. A position where both are 0
    counts 0.

    Parameters
    ----------
    y_true, y_pred, sample_weight
        As in `mae`.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    TypeError, ValueError
        As in `mae`.

    Examples
    --------
    >>> import fastlstm as fl
    >>> fl.metrics.smape([1.0, 0.0], [3.0, 0.0])
    0.25
    """
    true, predicted, weight = _checked(y_true, y_pred, sample_weight)
    sizes = np.abs(true) + np.abs(predicted)
    return mean(np.divide(np.abs(true - predicted), sizes, out=np.zeros(sizes.shape), where=sizes > 0), weight)


def phm08_score(y_true: ArrayLike, y_pred: ArrayLike, *, sample_weight: ArrayLike | None = None) -> float:
    """Return the score of predicted remaining useful lives, a sum over the units, of which late ones cost more.

    With d = predicted - true life: ``exp(-d / 13) - 1`` if d < 0, else ``exp(d / 10) - 1``, where the lives are in
    cycles. It is that of the PHM'08 challenge and of the turbofan data C-MAPSS (Saxena, Goebel, Simon & Eklund 2008,
    "Damage propagation modeling for aircraft engine run-to-failure simulation").

    Parameters
    ----------
    y_true, y_pred : arrays of one shape
        True and predicted lives in cycles, one for each unit.
    sample_weight : array of this shape, or of its first axes, optional
        Weight of each unit in the sum, >= 0.

    Returns
    -------
    float
        0 for perfect predictions; it grows with the number of units, and without bound: infinity for predictions that
        are some 7,100 cycles late.

    Raises
    ------
    TypeError, ValueError
        As in `mae`.

    Examples
    --------
    >>> import fastlstm as fl
    >>> round(fl.metrics.phm08_score([100, 100, 100], [87, 100, 110]), 4)
    3.4366
    """
    true, predicted, weight = _checked(y_true, y_pred, sample_weight)
    late = predicted - true
    with np.errstate(over="ignore"):  # infinity says what it is
        scores = np.expm1(np.where(late < 0, late / -13.0, late / 10.0))
    return float(np.sum(scores if weight is None else scores[weight > 0] * weight[weight > 0]))
