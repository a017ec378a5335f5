"""Sums and functions with the same bits everywhere: NumPy's own depend on its version and on the processor."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from . import _core
from ._typing import Array

__all__ = ["column_squares", "column_sums", "exp", "log", "mean", "row_sums", "total"]


def _plain(x: ArrayLike) -> Array:
    return np.ascontiguousarray(x, np.float64)


def total(x: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Return the sum of all elements, or of their products with weights of the same shape, in float64."""
    values = _plain(x).reshape(-1)
    return _core.total(values, None if weights is None else _plain(weights).reshape(-1))


def mean(x: ArrayLike) -> float:
    """Return the mean of all elements; NaN of none."""
    size = np.size(x)
    return total(x) / size if size else math.nan


def row_sums(x: ArrayLike) -> Array:
    """Return the sums over the last axis, in float64.

    Examples
    --------
    >>> from fastlstm import _exact
    >>> _exact.row_sums([[1, 2], [3, 4]]).tolist()
    [3.0, 7.0]
    """
    values = _plain(x)
    sums = np.empty(values.shape[:-1])
    _core.row_sums(values.reshape(sums.size, values.shape[-1]), sums.reshape(-1))
    return sums


def column_sums(x: Array) -> Array:
    """Return the sums over the rows of x (rows, columns), in float64."""
    sums = np.empty(x.shape[1])
    _core.column_sums(_plain(x), None, sums)
    return sums


def column_squares(x: Array, center: Array) -> Array:
    """Return the sums over the rows of x (rows, columns) of the squares of x - center, in float64."""
    sums = np.empty(x.shape[1])
    _core.column_sums(_plain(x), _plain(center), sums)
    return sums


def exp(x: ArrayLike) -> Array:
    """Return exp(x), element by element, in float64; numbers below the smallest normal one become 0."""
    values = _plain(x)
    result = np.empty_like(values)
    _core.exp(values, result)
    return result


def log(x: ArrayLike) -> Array:
    """Return log(x), element by element, in float64: -infinity of 0, NaN of negative numbers."""
    values = _plain(x)
    result = np.empty_like(values)
    _core.log(values, result)
    return result
