"""Scaling of each series by its own mean and standard deviation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .. import _core, _exact

__all__ = ["scaled_series", "series_statistics"]


def scaled_series(
    x: NDArray[Any],
    dtype: DTypeLike,
    missing: NDArray[np.int64] | None,
    lengths: NDArray[np.int64] | None,
    masks: NDArray[np.bool_] | None,
) -> NDArray[Any]:
    """Scale each series of a batch, in float64.

    A series is computed by itself, so that its result has the same bits in any batch.

    Parameters
    ----------
    x : ndarray of float32 or float64, (batch, time, features)
        C-contiguous.
    dtype : dtype
        float32 or float64, of the result.
    missing : ndarray of int64 (k,), or None
        Features with an indicator channel; None: NaN is refused.
    lengths : ndarray of int64 (batch,), or None
        Valid steps of each series; None: all.
    masks : ndarray of bool (batch, time, m), or None
        The steps that are not masked, which alone count in the statistics.

    Returns
    -------
    ndarray
        (batch, time, features + k), 0 in padding.

    Raises
    ------
    ValueError
        If a series holds infinity, NaN that is refused, or values too large to square.
    """
    batch, time, features = x.shape
    index = np.zeros(0, np.int64) if missing is None else missing
    y = np.zeros((batch, time, features + len(index)), dtype)
    ends = np.full(batch, time) if lengths is None else lengths
    for case, end in enumerate(ends.tolist()):
        series = x[case, :end]
        counted = series if masks is None else series[masks[case, :end].all(axis=-1)]
        mean, scale = series_statistics(counted, missing is not None)
        if len(index):
            _core.standardize_missing(series, mean, scale, index, y[case, :end])
        else:
            _core.standardize(series, mean, scale, y[case, :end])
    return y


def series_statistics(series: NDArray[Any], skip_missing: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation (features,) of a series (time, features); 1 for a constant feature.

    With `skip_missing`, NaN does not count, and a feature without values has the mean 0 and the scale 1.
    """
    values = series.astype(np.float64)
    if len(values) == 0:
        return np.zeros(values.shape[1]), np.ones(values.shape[1])
    absent = np.isnan(values) if skip_missing else np.zeros(values.shape, bool)
    some = bool(absent.any())
    count = np.maximum(len(values) - absent.sum(axis=0), 1) if some else len(values)
    low, high = (values, values) if not some else (np.where(absent, one, values) for one in (np.inf, -np.inf))
    low, high = low.min(axis=0), high.max(axis=0)
    values[absent] = 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        mean = _exact.column_sums(values) / count
        values -= mean
        values[absent] = 0.0
        scale = np.sqrt(_exact.column_sums(np.square(values, out=values)) / count)
    if not np.isfinite(scale).all():
        raise ValueError(
            "a series holds NaN, infinity or values too large to square, expected finite numbers: "
            "fl.Standardizer(missing='mask') takes NaN; divide by a constant if they are too large"
        )
    constant = low == high
    return np.where(constant, low, mean), np.where(constant | (scale == 0), 1.0, scale)
