"""Forecasting windows: views of one long series."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from .._arguments import explain_arguments
from .._arrays import as_numeric
from .._checks import count

__all__ = ["windows"]


@explain_arguments
def windows(
    series: ArrayLike,
    length: int,
    horizon: int = 1,
    stride: int = 1,
    *,
    target: int | slice | list[int] | None = None,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Cut a long series into forecasting windows, without copying it.

    Window i holds the steps i * stride to i * stride + length - 1; its target holds the next `horizon` steps.

    Parameters
    ----------
    series : array or memory map, shape (steps,) or (steps, features)
        Numbers of any real type.
    length : int
        Steps of a window, at least 1.
    horizon : int, default 1
        Steps to forecast. With 0 the windows reach to the very end of the series, to forecast steps that are not known
        yet, and `y` is empty.
    stride : int, default 1
        Steps from one window to the next.
    target : int, slice or list of int, optional
        Columns to forecast, by default all. A list must be evenly spaced, such as [0, 2, 4], because a view of other
        columns does not exist.

    Returns
    -------
    X : ndarray, shape (n, length, features)
        Read-only view of the series, with n = (steps - length - horizon) // stride + 1.
    y : ndarray, shape (n, horizon) or (n, horizon, targets)
        Read-only view. The last axis is absent for a 1-D series and for an integer `target`.

    Raises
    ------
    TypeError
        If the series does not hold real numbers, or a parameter is not an integer.
    ValueError
        If the series is too short, or a parameter is out of range.

    Notes
    -----
    Neighbouring windows share steps: split them by time (`split(..., method="time", gap=...)`), not at
    random. Otherwise the model sees steps of the validation part in training.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> X, y = fl.windows(np.arange(6.0), length=3, horizon=2)
    >>> X[:, :, 0].tolist(), y.tolist()
    ([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]], [[3.0, 4.0], [4.0, 5.0]])
    """
    length, horizon, stride = count("length", length), count("horizon", horizon, 0), count("stride", stride)
    array = as_numeric(series, False, "series")
    if array.ndim not in (1, 2) or 0 in array.shape[1:]:
        advice = ": pass series[0]" if array.ndim == 3 and len(array) == 1 else ""
        raise ValueError(f"series has shape {array.shape}, expected (steps,) or (steps, features){advice}")
    if len(array) < length + horizon:
        raise ValueError(
            f"series has {len(array)} steps, expected at least length + horizon = {length + horizon}: "
            "shorten the window"
        )
    columns = array[:, None] if array.ndim == 1 else array
    if target is None:
        wanted = array
    elif isinstance(target, list):
        wanted = columns[:, _evenly_spaced(target, columns.shape[1])]
    else:
        if not isinstance(target, slice) and count("target", target, 0) >= columns.shape[1]:
            raise ValueError(f"got target = {target}, expected a column from 0 to {columns.shape[1] - 1}")
        wanted = columns[:, target]
    X = sliding_window_view(columns[: len(columns) - horizon], length, axis=0)[::stride]
    y = sliding_window_view(wanted[length:], horizon, axis=0)[::stride]
    return np.moveaxis(X, -1, 1), y if y.ndim == 2 else np.moveaxis(y, -1, 1)


def _evenly_spaced(columns: list[int], n: int) -> slice:
    if not columns or not all(count("each of target", column, 0) < n for column in columns):
        raise ValueError(f"got target = {columns}, expected columns from 0 to {n - 1}")
    steps = set(np.diff(columns).tolist())
    if len(steps) > 1 or steps == {0}:
        raise ValueError(
            f"got target = {columns}, expected evenly spaced columns, because y is a view: reorder "
            "the columns of the series, or call windows once for each target"
        )
    step = steps.pop() if steps else 1
    stop = columns[-1] + step
    return slice(columns[0], None if stop < 0 else stop, step)
