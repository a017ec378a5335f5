"""From the quantiles of the network to those that users ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _exact
from .._checks import as_list, inside_unit, real, short_repr
from .._typing import Array

__all__ = ["NAME", "at_levels", "bounds_of", "columns_of", "percentages", "probability_below"]

NAME = "fastlstm"
"""Name of the column with the forecasts, as Nixtla's packages name theirs after the model."""


def at_levels(answers: Array, known: Sequence[float], wanted: Sequence[float]) -> Array:
    """Return quantiles at other levels, by interpolation between those known, (..., levels).

    Raises
    ------
    ValueError
        If a level lies beyond those known.
    """
    levels = np.asarray(known)
    result = np.empty((*answers.shape[:-1], len(wanted)))
    for place, level in enumerate(wanted):
        high = int(np.searchsorted(levels, level - 1e-9))
        if high == len(levels) or level < levels[0] - 1e-9:
            raise ValueError(
                f"the quantile {level:g} lies outside those that the network was trained for, {known[0]:g} to "
                f"{known[-1]:g}: fit with quantiles=(..., {level:g}, ...)"
            )
        if abs(levels[high] - level) <= 1e-9:
            result[..., place] = answers[..., high]
            continue
        share = (level - levels[high - 1]) / (levels[high] - levels[high - 1])
        result[..., place] = (1 - share) * answers[..., high - 1] + share * answers[..., high]
    return result


def columns_of(answers: Array, known: Sequence[float], level: Any, quantiles: Any) -> dict[str, Array]:
    """Return the columns of a table of forecasts: the median, bounds of intervals, quantiles, each (...)."""
    columns = {NAME: at_levels(answers, known, [0.5])[..., 0]}
    for one in percentages(level):
        bounds = at_levels(answers, known, bounds_of(one))
        columns[f"{NAME}-lo-{one:g}"], columns[f"{NAME}-hi-{one:g}"] = bounds[..., 0], bounds[..., 1]
    for one in _quantiles(quantiles):
        columns[f"{NAME}-q-{one:g}"] = at_levels(answers, known, [one])[..., 0]
    return columns


def bounds_of(level: float) -> tuple[float, float]:
    """Return the quantiles that bound a central interval of this percentage."""
    return 0.5 - level / 200, 0.5 + level / 200


def percentages(given: Any) -> list[float]:
    """Return the argument `level`, one percentage or several or None, as a list."""
    if given is None:
        return []
    listed = [given] if isinstance(given, (int, float, np.number)) else as_list("level", given, "numbers such as 90")
    for one in listed:
        if not 1 <= real("level", one) < 100:
            raise ValueError(f"level must be percentages of intervals such as [80, 90], got {short_repr(one)}")
    return [float(one) for one in listed]


def _quantiles(given: Any) -> list[float]:
    if given is None:
        return []
    if isinstance(given, (int, float, np.number)):
        given = [given]
    return [inside_unit("each of quantiles", one) for one in as_list("quantiles", given, "levels")]


def probability_below(answers: Array, known: Sequence[float], value: float) -> Array:
    """Return the probability that the true value is less than `value`, (...), by interpolation between quantiles.

    Below the first and above the last quantile the density is taken to fall as it does between these and the next
    ones, an exponential tail, so that the probability neither is 0 nor jumps.
    """
    levels = np.asarray(known)
    flat = answers.reshape(-1, len(levels))
    result = np.empty(len(flat))
    for row, quantiles in enumerate(flat):
        result[row] = _probability(quantiles, levels, value)
    return result.reshape(answers.shape[:-1])


def _probability(quantiles: Array, levels: Array, value: float) -> float:
    if value <= quantiles[0]:
        return _tail(quantiles[0] - value, quantiles[-1] - quantiles[0], levels[0])
    if value > quantiles[-1]:
        return 1.0 - _tail(value - quantiles[-1], quantiles[-1] - quantiles[0], 1.0 - levels[-1])
    return float(np.interp(value, quantiles, levels))


def _tail(distance: float, width: float, share: float) -> float:
    """Return the part of a tail with this share that lies beyond a distance."""
    if distance == 0:
        return float(share)
    # An exponential tail: the width of an interval with levels a to 1 - a spans log(1 / (2 a)) units on each side.
    unit = width / (2 * float(_exact.log(1 / (2 * share))[0])) if share < 0.5 else width
    return float(share * _exact.exp(-distance / unit)[0]) if unit > 0 else 0.0
