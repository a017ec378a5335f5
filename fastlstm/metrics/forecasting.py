"""Metrics of forecasts: errors relative to a naive forecast, quantiles and intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._arrays import place_of
from .._checks import as_list, count, inside_unit
from .._typing import Array
from .arguments import check_same_shape, mean, values, weights

__all__ = [
    "coverage", "crps_from_quantiles", "interval_pairs", "interval_width", "mase", "pinball", "rmsse", "winkler_score",
]  # fmt: skip


def mase(y_true: ArrayLike, y_pred: ArrayLike, y_train: ArrayLike | Sequence[ArrayLike], season: int = 1) -> float:
    """Return the mean absolute scaled error (Hyndman & Koehler 2006).

    ``mean |y - p| / mean |x_t - x_(t - season)|``, where x is the series up to the forecast: the error in units of that
    of the forecast "as a season ago" on the training part. For several series it is the mean of their values.

    Parameters
    ----------
    y_true, y_pred : arrays (H,), or (n, H) for n series
        True and predicted values.
    y_train : array (L,), or for n series an array (n, L) or a list of n arrays (L_i,)
        The values before the forecast, in the order of time.
    season : int, default 1
        Number of steps of a season, such as 24 for hourly values with a daily rhythm; 1: the last value.

    Returns
    -------
    float
        0 or more; 1 is as good as the naive forecast.

    Raises
    ------
    TypeError, ValueError
        If shapes do not fit, values are missing, a series is not longer than a season, or its naive forecast has no
        error.

    Examples
    --------
    >>> import fastlstm as fl
    >>> fl.metrics.mase([5.0, 7.0], [5.0, 6.0], [1.0, 2.0, 4.0, 3.0, 5.0])
    0.3333333333333333
    """
    return _scaled(y_true, y_pred, y_train, season, np.abs, lambda ratio: ratio)


def rmsse(y_true: ArrayLike, y_pred: ArrayLike, y_train: ArrayLike | Sequence[ArrayLike], season: int = 1) -> float:
    """Return the root mean squared scaled error, that of the M5 competition with season 1.

    ``sqrt(mean (y - p)^2 / mean (x_t - x_(t - season))^2)`` (Makridakis, Spiliotis & Assimakopoulos 2022). For several
    series it is the mean of their values.

    Parameters
    ----------
    y_true, y_pred, y_train, season
        As in `mase`.

    Returns
    -------
    float
        0 or more; 1 is as good as the naive forecast.

    Raises
    ------
    TypeError, ValueError
        As in `mase`.

    Examples
    --------
    >>> import fastlstm as fl
    >>> fl.metrics.rmsse([4.0, 7.0], [4.0, 4.0], [0.0, 3.0, 0.0, 3.0])
    0.7071067811865476
    """
    return _scaled(y_true, y_pred, y_train, season, np.square, math.sqrt)


def _scaled(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    y_train: Any,
    season: int,
    size: Callable[[Array], Array],
    of_ratio: Callable[[float], float],
) -> float:
    """Return the mean over the series of the size of the errors relative to that of the seasonal differences."""
    true, predicted, season = values("y_true", y_true), values("y_pred", y_pred), count("season", season)
    check_same_shape("y_true", true, "y_pred", predicted)
    if true.ndim not in (1, 2):
        raise ValueError(f"y_true has shape {true.shape}, expected (H,), or (n, H) for n series")
    if true.ndim == 1:
        series = [("y_train", y_train)]
    else:
        given = list(y_train) if isinstance(y_train, (list, tuple, np.ndarray)) else [y_train]
        if len(given) != len(true):
            raise ValueError(f"y_train holds {len(given)} series and y_true {len(true)}, expected one for each")
        series = [(f"y_train[{k}]", one) for k, one in enumerate(given)]
    errors = size(true - predicted).reshape(len(series), -1).mean(axis=1)
    scales = [_naive_error(name, one, season, size) for name, one in series]
    return float(np.mean([of_ratio(float(error) / scale) for error, scale in zip(errors, scales, strict=True)]))


def _naive_error(name: str, given: ArrayLike, season: int, size: Callable[[Array], Array]) -> float:
    """Return the mean size of the differences over a season in one training series."""
    train = values(name, given)
    if train.ndim != 1:
        raise ValueError(f"{name} has shape {train.shape}, expected one series (L,)")
    if len(train) <= season:
        raise ValueError(f"{name} has {len(train)} steps, expected more than a season, {season}")
    scale = float(size(train[season:] - train[:-season]).mean())
    if scale == 0:
        raise ValueError(
            f"{name} repeats itself after {season} step{'s' if season > 1 else ''}, so that the naive forecast has no "
            "error to compare with: leave this series out, or use fl.metrics.mae"
        )
    return scale


def pinball(
    y_true: ArrayLike,
    q_pred: ArrayLike,
    quantiles: float | Sequence[float],
    *,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Return the mean pinball (quantile) loss over all positions and levels (Koenker & Bassett 1978).

    ``max(q (y - p), (q - 1) (y - p))`` for the prediction p of the quantile of level q, as `fastlstm.Quantile` has it.

    Parameters
    ----------
    y_true : array, any shape
        True values.
    q_pred : array (..., Q), or of the shape of `y_true` for a single level
        Predicted quantiles, a column for each level.
    quantiles : float or sequence of Q floats
        The levels, each between 0 and 1.
    sample_weight : array of the shape of `y_true`, or of its first axes, optional
        Weight of each position, >= 0.

    Returns
    -------
    float
        In the unit of the values; for the level 0.5 half of the mean absolute error.

    Raises
    ------
    TypeError, ValueError
        If shapes do not fit, values are missing or infinite, or a level is not between 0 and 1.

    Examples
    --------
    >>> import fastlstm as fl
    >>> fl.metrics.pinball([10.0, 10.0], [[6.0, 12.0], [8.0, 18.0]], [0.25, 0.75])
    1.0
    """
    true, predicted, levels = _quantile_arguments(y_true, q_pred, quantiles)
    weight = weights(sample_weight, true.shape)
    return mean(_pinball_losses(true, predicted, levels).mean(axis=-1), weight)


def crps_from_quantiles(
    y_true: ArrayLike, q_pred: ArrayLike, quantiles: Sequence[float], *, sample_weight: ArrayLike | None = None
) -> float:
    """Return the continuous ranked probability score, approximated by quantiles: twice the mean pinball loss.

    CRPS is ``2 * integral over q from 0 to 1 of the pinball loss at q`` (Gneiting & Ranjan 2011). The mean over the
    levels stands for the integral, as in GluonTS and utilsforecast; more levels make it more exact.

    Parameters
    ----------
    y_true, q_pred, sample_weight
        As in `pinball`.
    quantiles : sequence of Q floats
        The levels. They must be evenly spaced and symmetric about 0.5, such as 0.1, 0.2, ..., 0.9, because the mean
        over others is no integral.

    Returns
    -------
    float
        In the unit of the values; the mean absolute error if the only level is 0.5.

    Raises
    ------
    TypeError, ValueError
        As in `pinball`, or if the levels are not evenly spaced.

    Examples
    --------
    >>> import fastlstm as fl
    >>> round(fl.metrics.crps_from_quantiles([10.0], [[8.0, 9.0, 13.0]], [0.25, 0.5, 0.75]), 4)
    1.1667
    """
    true, predicted, levels = _quantile_arguments(y_true, q_pred, quantiles)
    in_order = np.sort(levels)
    if not (
        np.allclose(np.diff(in_order), np.diff(in_order)[:1], atol=1e-6)
        and np.allclose(in_order + in_order[::-1], 1, atol=1e-6)
    ):
        raise ValueError(
            f"quantiles are {levels.tolist()}, expected evenly spaced levels that are symmetric about 0.5, such as "
            "[0.1, 0.3, 0.5, 0.7, 0.9]: predict such levels, or take the mean over these, fl.metrics.pinball"
        )
    weight = weights(sample_weight, true.shape)
    return 2 * mean(_pinball_losses(true, predicted, levels).mean(axis=-1), weight)


def _quantile_arguments(
    y_true: ArrayLike, q_pred: ArrayLike, quantiles: float | Sequence[float]
) -> tuple[Array, Array, Array]:
    """Return the true values, the predictions (..., Q) and the levels (Q,)."""
    true, predicted = values("y_true", y_true), values("q_pred", q_pred)
    single = isinstance(quantiles, (int, float, np.number))
    given = [quantiles] if single else as_list("quantiles", quantiles, "levels")
    levels = np.array([inside_unit("each of quantiles", level) for level in given])
    if not len(levels) or len(set(levels.tolist())) < len(levels):
        raise ValueError(f"quantiles must hold different levels, at least one, got {levels.tolist()}")
    if single and predicted.shape == true.shape:
        predicted = predicted[..., None]
    expected = (*true.shape, len(levels))
    if predicted.shape != expected:
        raise ValueError(
            f"q_pred has shape {predicted.shape}, expected {expected}, a column for each of the {len(levels)} levels "
            f"of each value of y_true, {true.shape}"
        )
    return true, predicted, levels


def _pinball_losses(true: Array, predicted: Array, levels: Array) -> Array:
    error = true[..., None] - predicted
    losses: Array = np.maximum(levels * error, (levels - 1) * error)
    return losses


def coverage(y_true: ArrayLike, lower: ArrayLike, upper: ArrayLike, *, sample_weight: ArrayLike | None = None) -> float:
    """Return the share of the true values that lie in their intervals, the bounds included.

    Parameters
    ----------
    y_true, lower, upper : arrays of one shape
        True values, and the bounds of the interval of each.
    sample_weight : array of this shape, or of its first axes, optional
        Weight of each value, >= 0.

    Returns
    -------
    float
        Between 0 and 1; for intervals of 90 % it should be about 0.9.

    Raises
    ------
    TypeError, ValueError
        If shapes differ, values are missing or infinite, or a lower bound is above its upper one.

    Examples
    --------
    >>> import fastlstm as fl
    >>> fl.metrics.coverage([1.0, 2.0, 3.0, 9.0], [0.0, 1.0, 3.0, 4.0], [2.0, 3.0, 5.0, 6.0])
    0.75
    """
    true, low, high = values("y_true", y_true), *_bounds(lower, upper)
    check_same_shape("y_true", true, "lower", low)
    return mean((low <= true) & (true <= high), weights(sample_weight, true.shape))


def interval_width(lower: ArrayLike, upper: ArrayLike, *, sample_weight: ArrayLike | None = None) -> float:
    """Return the mean width of the intervals, ``mean (upper - lower)``.

    Parameters
    ----------
    lower, upper, sample_weight
        As in `coverage`.

    Returns
    -------
    float
        In the unit of the values.

    Raises
    ------
    TypeError, ValueError
        As in `coverage`.

    Examples
    --------
    >>> import fastlstm as fl
    >>> fl.metrics.interval_width([0.0, 1.0], [2.0, 5.0])
    3.0
    """
    low, high = _bounds(lower, upper)
    return mean(high - low, weights(sample_weight, low.shape))


def winkler_score(
    y_true: ArrayLike, lower: ArrayLike, upper: ArrayLike, level: float = 0.9, *, sample_weight: ArrayLike | None = None
) -> float:
    """Return the mean interval score, which is small for intervals that are narrow and hold the true values.

    With alpha = 1 - level: the width, and for a value outside ``2 / alpha`` times its distance from the interval
    (Winkler 1972; Gneiting & Raftery 2007). The quantiles (1 - level) / 2 and (1 + level) / 2 minimise it.

    Parameters
    ----------
    y_true, lower, upper, sample_weight
        As in `coverage`.
    level : float, default 0.9
        Share of the values that the intervals should hold, between 0 and 1: 0.9 for 90 %.

    Returns
    -------
    float
        In the unit of the values.

    Raises
    ------
    TypeError, ValueError
        As in `coverage`, or if `level` is not between 0 and 1.

    Examples
    --------
    >>> import fastlstm as fl
    >>> fl.metrics.winkler_score([1.0, 7.0], [0.0, 1.0], [2.0, 5.0], level=0.5)
    7.0
    """
    true, low, high = values("y_true", y_true), *_bounds(lower, upper)
    check_same_shape("y_true", true, "lower", low)
    outside = np.maximum(low - true, 0) + np.maximum(true - high, 0)
    scores = high - low + 2 / (1 - inside_unit("level", level)) * outside
    return mean(scores, weights(sample_weight, true.shape))


def _bounds(lower: ArrayLike, upper: ArrayLike) -> tuple[Array, Array]:
    """Return the bounds of intervals, none of which is empty."""
    low, high = values("lower", lower), values("upper", upper)
    check_same_shape("lower", low, "upper", high)
    crossed = np.flatnonzero(low > high)
    if len(crossed):
        place = place_of(int(crossed[0]), low.shape)
        raise ValueError(
            f"lower{place} is {low.flat[crossed[0]]:.6g} and upper{place} {high.flat[crossed[0]]:.6g}, expected lower "
            "<= upper: sort quantiles that cross, numpy.sort(q_pred, axis=-1)"
        )
    return low, high


def interval_pairs(quantiles: Sequence[float]) -> list[tuple[int, int]]:
    """Return the pairs (lower, upper) of numbers of levels that bound a central interval, the widest first."""
    levels = list(quantiles)
    pairs = []
    for low, level in enumerate(levels):
        if level >= 0.5:
            break
        for high in range(low + 1, len(levels)):
            if math.isclose(levels[high], 1 - level, abs_tol=1e-9):
                pairs.append((low, high))
    return pairs
