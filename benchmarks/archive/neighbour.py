"""The simple baseline of the archive: the label of the nearest training case."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np

from .sets import Problem, flat, longest

__all__ = ["nearest_by_dtw", "nearest_labels", "predict_euclidean"]

_DTW_CELLS = 2e10
"""Cells of all distance matrices up to which dynamic time warping is computed: some minutes."""


def nearest_labels(X_train: np.ndarray, y_train: np.ndarray, X_test: np.ndarray) -> np.ndarray:
    """Return the label of the training row with the smallest Euclidean distance to each test row; the first of equals.

    Parameters
    ----------
    X_train, X_test : float64 ndarray (n, values), (m, values)
    y_train : ndarray (n,)
    """
    found = np.empty(len(X_test), np.intp)
    block = max(1, 2**22 // max(1, X_train.size))
    for first in range(0, len(X_test), block):
        part = X_test[first : first + block]
        found[first : first + block] = np.square(part[:, None] - X_train[None]).sum(axis=2).argmin(axis=1)
    return y_train[found]


def predict_euclidean(problem: Problem) -> np.ndarray:
    """Return what the nearest neighbour says; series of other lengths are stretched to the longest training series."""
    steps = longest([problem.X_train])
    return nearest_labels(flat(problem.X_train, steps), problem.y_train, flat(problem.X_test, steps))


def nearest_by_dtw(problem: Problem) -> np.ndarray | None:
    """Return what the nearest neighbour under dynamic time warping says, with a window of a tenth of the series.

    None if aeon is not installed, or it would take long.
    """
    steps = longest([problem.X_train, problem.X_test])
    pairs = len(problem.X_train) * len(problem.X_test)
    if importlib.util.find_spec("aeon") is None or pairs * steps * (0.2 * steps + 1) > _DTW_CELLS:
        return None
    from aeon.classification.distance_based import KNeighborsTimeSeriesClassifier

    def channels_first(X: Any) -> Any:
        return X.transpose(0, 2, 1) if isinstance(X, np.ndarray) else [one.T for one in X]

    classifier = KNeighborsTimeSeriesClassifier(distance="dtw", distance_params={"window": 0.1})
    classifier.fit(channels_first(problem.X_train), problem.y_train)
    return np.asarray(classifier.predict(channels_first(problem.X_test)))
