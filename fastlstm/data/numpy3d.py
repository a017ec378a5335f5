"""Arrays of aeon and sktime, whose axis of time is the last."""

from __future__ import annotations

import warnings
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arguments import explain_arguments
from .._arrays import as_numeric

__all__ = ["from_numpy3d", "to_numpy3d"]

_Series = list[NDArray[Any]]


@overload
def from_numpy3d(X: NDArray[Any]) -> NDArray[Any]: ...


@overload
def from_numpy3d(X: list[Any] | tuple[Any, ...]) -> _Series: ...


@explain_arguments
def from_numpy3d(X: ArrayLike) -> NDArray[Any] | _Series:
    """Turn time series of aeon or sktime, (n, channels, time), into those of this package, (n, time, channels).

    Parameters
    ----------
    X : ndarray, shape (n, channels, time), or list of ndarray, shape (channels, time_i)
        Their types "numpy3D" and, for series of different lengths, "np-list". Numbers of any real type.

    Returns
    -------
    ndarray, shape (n, time, channels), or list of ndarray, shape (time_i, channels)
        Views of `X`.

    Raises
    ------
    TypeError
        If `X` does not hold real numbers.
    ValueError
        If a shape does not fit.

    Warns
    -----
    UserWarning
        If there are more channels than steps, as there are if the array is (n, time, channels) already.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> fl.from_numpy3d(np.zeros((40, 6, 100))).shape
    (40, 100, 6)
    """
    series, is_list = _series(X, "channels, time")
    channels = series[0].shape[0] if is_list else series[0].shape[1]
    longest = max(one.shape[-1] for one in series)
    if channels > longest:
        warnings.warn(
            f"X has {channels} channels and {'at most ' if is_list else ''}{longest} steps, read as "
            f"{'(channels, time)' if is_list else '(n, channels, time)'}: if these are {longest} channels and "
            f"{channels} steps, pass X to fit as it is",
            stacklevel=3,
        )
    swapped = [np.swapaxes(one, -1, -2) for one in series]
    return swapped if is_list else swapped[0]


@overload
def to_numpy3d(X: NDArray[Any]) -> NDArray[Any]: ...


@overload
def to_numpy3d(X: list[Any] | tuple[Any, ...]) -> _Series: ...


@explain_arguments
def to_numpy3d(X: ArrayLike) -> NDArray[Any] | _Series:
    """Turn time series of this package, (n, time, channels), into those of aeon and sktime, (n, channels, time).

    Parameters
    ----------
    X : ndarray, shape (n, time, channels), or list of ndarray, shape (time_i, channels)
        Numbers of any real type.

    Returns
    -------
    ndarray, shape (n, channels, time), or list of ndarray, shape (channels, time_i)
        Views of `X`.

    Raises
    ------
    TypeError
        If `X` does not hold real numbers.
    ValueError
        If a shape does not fit.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> fl.to_numpy3d(np.zeros((40, 100, 6))).shape
    (40, 6, 100)
    """
    series, is_list = _series(X, "time, channels")
    swapped = [np.swapaxes(one, -1, -2) for one in series]
    return swapped if is_list else swapped[0]


def _series(X: Any, axes: str) -> tuple[_Series, bool]:
    """Return one array of 3 axes, or the arrays of a list; and whether it was a list."""
    if isinstance(X, (list, tuple)):
        if not X:
            raise ValueError(f"X is empty, expected a list of arrays ({axes})")
        series = [as_numeric(one, False, f"X[{number}]") for number, one in enumerate(X)]
        place = axes.split(", ").index("channels")
        for number, one in enumerate(series):
            if one.ndim != 2 or 0 in one.shape or one.shape[place] != series[0].shape[place]:
                raise ValueError(
                    f"X[{number}] has shape {one.shape}, expected ({axes}) with the channels of X[0], of shape "
                    f"{series[0].shape}"
                )
        return series, True
    array = as_numeric(X, False, "X")
    if array.ndim != 3 or 0 in array.shape:
        added = "X[:, None, :]" if axes == "channels, time" else "X[:, :, None]"
        advice = f": pass {added} if these are series (n, time) of one channel" if array.ndim == 2 else ""
        raise ValueError(f"X has shape {array.shape}, expected (n, {axes}){advice}")
    return [array], False
