"""Scaling by median and interquartile range."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .scaler import Measured, Rows, Scaler

__all__ = ["RobustScaler"]


class RobustScaler(Scaler):
    """Scale each feature by its median and its interquartile range: (x - median) / IQR, computed in float64.

    Outliers, such as the peaks of a sensor that fails now and then, hardly move these statistics. As in scikit-learn's
    scaler of this name, the scale is the IQR itself, the difference of the quartiles; a normal distribution then has
    the standard deviation 0.741.

    Parameters
    ----------
    missing : {"error", "mask", "mask-all"}, default "error"
        What happens to missing values (NaN) of the inputs, as in `Standardizer`; "mask" makes them the median.

    Attributes
    ----------
    center_, scale_ : ndarray of float64, shape (features,)
        Median and IQR, known after `fit`; the scale is 1 for a feature whose IQR is 0, as if at least half of its
        values are equal.
    indicator_ : ndarray of bool, shape (features,)
        Which features have an indicator channel; known after `fit`.
    missing : str
        The argument.

    Notes
    -----
    The quartiles are exact, with linear interpolation between two values. Up to 2**24 values (128 MB) are sorted in
    memory. Larger data, such as memory maps, are read in blocks, up to eight times: their quartiles are found by radix
    selection.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> scaler = fl.RobustScaler().fit(np.array([1.0, 2.0, 3.0, 4.0, 1000.0]))
    >>> scaler.center_.tolist(), scaler.scale_.tolist()
    ([3.0], [2.0])
    """

    center_: NDArray[np.float64]

    def _measure(self, rows: Rows, skip_missing: bool) -> Measured:
        from .quantiles import quantiles  # few programs need it

        found = quantiles(rows, (0.25, 0.5, 0.75), skip_missing)
        low, median, high = found.values
        scale = high - low if found.finite else np.full(low.shape, np.nan)
        return Measured(median, scale, found.counts, found.rows)
