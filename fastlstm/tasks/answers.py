"""What a trained network answers for series: probabilities of classes, values, quantiles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import _exact
from .._typing import Array
from ..losses import Loss, Quantile
from ..model import Model
from .series import Series

__all__ = ["REGRESSION_LOSSES", "class_probabilities", "median_of", "regression_loss", "sorted_quantiles"]

REGRESSION_LOSSES = {"squared_error": "mse", "absolute_error": "mae", "huber": "huber"}
"""Losses by the names that scikit-learn has for them."""


def regression_loss(name: str, quantiles: Sequence[float] | None) -> Loss | str:
    """Return the loss of a regression: that of the quantiles, if they are to be learnt."""
    return REGRESSION_LOSSES[name] if quantiles is None else Quantile([float(level) for level in quantiles])


def class_probabilities(model: Model, series: Series, n_threads: int | None) -> Array:
    """Return the probabilities of the classes, (n, classes), float64, whose sums are 1 beyond the digits of float32."""
    found = np.asarray(model.predict_proba(series.data, series.lengths, n_threads=n_threads), np.float64)
    return np.asarray(found / _exact.row_sums(found)[:, None])


def sorted_quantiles(out: Array) -> Array:
    """Return the quantiles that a network has predicted, (n, quantiles), in ascending order: none cross."""
    return np.asarray(np.sort(out, axis=1))


def median_of(loss: Quantile, quantiles: Array) -> Array:
    """Return the median of sorted quantiles (n, quantiles), (n,)."""
    return np.asarray(quantiles[:, sorted(loss.quantiles).index(0.5)])
