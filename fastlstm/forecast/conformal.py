"""Split-conformal correction of quantiles, for each step of the horizon.

Conformalized quantile regression (Romano, Patterson & Candès 2019): on data that the training has not seen, the score
of an interval [l, u] is ``max(l - y, y - u)``, how far the true value lies outside, negative inside. Both bounds move
outwards by the quantile of the scores at ``level * (1 + 1 / n)``.

The n of this formula counts scores that can be exchanged. Those of neighbouring origins cannot: the forecasts share
nearly all of their horizon and their errors. So n is the number of horizons without overlap that the scores fill, as in
conformal prediction by blocks (Chernozhukov, Wüthrich & Zhu 2018, Exact and robust conformal inference methods for
predictive machine learning with dependent data): fewer than there are scores, which makes intervals wider.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from .._typing import Array
from ..metrics.forecasting import interval_pairs

__all__ = ["Corrections"]

_LEAST = 20
"""Number of scores below which a step of the horizon takes the correction of an earlier step."""


class Corrections:
    """Corrections of quantiles in units of the network.

    Parameters
    ----------
    shifts : ndarray (horizon, quantiles)
        What is added to each quantile; 0 for one that is in no pair.
    counts : ndarray (horizon,)
        Number of true values on which they are based.
    """

    def __init__(self, shifts: Array, counts: Array) -> None:
        self.shifts, self.counts = shifts, counts

    @classmethod
    def of(
        cls, quantiles: Sequence[float], blocks: Iterable[tuple[Array, Array]], horizon: int, overlap: float = 1.0
    ) -> Corrections | None:
        """Return the corrections for answers (n, horizon, quantiles) and true values (n, horizon), NaN if missing.

        Scores of `overlap` neighbouring origins count as one. None if there are too few true values.
        """
        pairs = interval_pairs(quantiles)
        scores: list[list[Array]] = [[] for _ in pairs]
        for answers, targets in blocks:
            for found, (low, high) in zip(scores, pairs, strict=True):
                found.append(np.maximum(answers[:, :, low] - targets, targets - answers[:, :, high]))
        shifts, counts = np.zeros((horizon, len(quantiles))), np.zeros(horizon, np.int64)
        for found, (low, high) in zip(scores, pairs, strict=True):
            if not found:
                return None
            level = quantiles[high] - quantiles[low]
            score = np.concatenate(found)
            counts[:] = (~np.isnan(score)).sum(axis=0)
            if counts.max(initial=0) < _LEAST:
                return None
            for step in range(horizon):
                known = score[~np.isnan(score[:, step]), step]
                if len(known) < _LEAST and step:
                    move = shifts[step - 1, high]
                else:
                    move = _upper_quantile(known, level, max(overlap, 1.0))
                shifts[step, low], shifts[step, high] = -move, move
        return cls(shifts, counts)

    def apply(self, answers: Array) -> Array:
        """Return corrected answers (n, horizon, quantiles), sorted."""
        corrected: Array = answers + self.shifts
        corrected.sort(axis=-1)
        return corrected


def _upper_quantile(scores: Array, level: float, overlap: float) -> float:
    """Return the quantile of scores, of which each `overlap` count as one; the largest score if there are too few."""
    n = len(scores)
    if not n:
        return 0.0
    place = min(math.ceil(level * (n + overlap)), n)
    return float(np.partition(scores, place - 1)[place - 1])
