"""Ranges of all values of a model on calibration data, computed in float64."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...._typing import Array
from ....layers import Stage
from ..numbers import divisors

__all__ = ["value_ranges"]


def value_ranges(stages: Sequence[Stage], series: Sequence[Array]) -> tuple[Array, Array]:
    """Return the largest magnitude of each stage's value, and of each stage's cell state (0 where there is none).

    Parameters
    ----------
    stages : sequence of Stage
        Those of the part that becomes integer.
    series : sequence of ndarray (batch, time, features), or (batch, time) of token ids
        Inputs in raw units.
    """
    values, cells = np.zeros(len(stages)), np.zeros(len(stages))
    for x in series:
        results: list[Array] = [x]
        for index, stage in enumerate(stages):
            given = [results[stage.main], *(results[value] for value in stage.side.values())]
            out, cell = _stage_value(stage, given)
            results.append(out)
            values[index] = max(values[index], float(np.abs(out).max(initial=0)))
            cells[index] = max(cells[index], cell)
    return values, cells


def _stage_value(stage: Stage, given: list[Array]) -> tuple[Array, float]:
    """Return the value of a stage, and the largest magnitude of its cell state."""
    x = given[0]
    if stage.kind == "lstm":
        return _lstm(stage, x)
    if stage.kind == "standardize":
        return _standardized(stage, x), 0.0
    if stage.kind == "embedding":
        return np.asarray(stage.weights["weight"], np.float64)[x], 0.0
    if stage.kind == "dense":
        return x @ stage.weights["weight"].T.astype(np.float64) + stage.weights.get("bias", 0.0), 0.0
    if stage.kind == "activation":
        return stage.settings["function"](x), 0.0
    if stage.kind == "add":
        return x + given[1], 0.0
    if stage.settings["method"] == "max":
        return np.maximum.accumulate(x, axis=1), 0.0
    return np.cumsum(x, axis=1) / np.arange(1, x.shape[1] + 1)[:, None], 0.0


def _standardized(stage: Stage, x: Array) -> Array:
    y = (x.astype(np.float64) - stage.weights["mean"]) / divisors(stage.weights["scale"])
    missing = stage.weights.get("missing")
    if missing is None:
        return np.asarray(np.nan_to_num(y))
    absent = np.isnan(y[..., missing])
    return np.asarray(np.nan_to_num(np.concatenate([y, absent], axis=-1)))


def _lstm(stage: Stage, x: Array) -> tuple[Array, float]:
    w = {name: np.asarray(array, np.float64) for name, array in stage.weights.items()}
    sums = x @ w["weight_ih"].T + w.get("bias_ih", 0.0) + w.get("bias_hh", 0.0)
    h, c = (np.zeros((len(x), one.size)) + (0.0 if one.initial is None else one.initial) for one in stage.states)
    outputs, largest = np.empty((*x.shape[:2], h.shape[1])), float(np.abs(c).max(initial=0))
    for t in range(x.shape[1]):
        i, f, g, o = np.split(sums[:, t] + h @ w["weight_hh"].T, 4, axis=-1)
        c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
        h = outputs[:, t] = _sigmoid(o) * np.tanh(c)
        largest = max(largest, float(np.abs(c).max(initial=0)))
    return outputs, largest


def _sigmoid(x: Array) -> Array:
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * x))
