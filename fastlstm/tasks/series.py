"""Series as people have them: arrays of two or three axes, lists of arrays or tables, padding of NaN."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._arrays import as_numeric
from .._checks import short_repr
from .._foreign import is_frame
from .._typing import Array

__all__ = ["Series", "is_list_of_series", "listed_cases", "read_series", "warn_of_axes"]


@dataclass(frozen=True, eq=False)
class Series:
    """Cases in the form that a model takes."""

    data: Array | list[Array]
    """(n, time, channels), or a list of (T_i, channels)."""
    lengths: Array | None
    """(n,), int64: valid steps of each case of an array; None: all."""
    names: tuple[str, ...] | None = None
    """Names of the channels, if the cases are tables."""

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.data[0].shape[-1])

    @property
    def longest(self) -> int:
        """Number of steps of the longest case."""
        if isinstance(self.data, list):
            return max(map(len, self.data))
        return self.data.shape[1] if self.lengths is None else int(self.lengths.max())

    def __len__(self) -> int:
        return len(self.data)

    def subset(self, rows: Array) -> Series:
        """Return some of the cases."""
        data = [self.data[k] for k in rows] if isinstance(self.data, list) else self.data[rows]
        return Series(data, None if self.lengths is None else self.lengths[rows], self.names)


def is_list_of_series(X: Any) -> bool:
    """Return whether X is a list of series rather than of rows of equal length or of numbers.

    So is an array of objects that are arrays.
    """
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1:
        return len(X) > 0 and all(isinstance(one, np.ndarray) for one in X)
    if not isinstance(X, (list, tuple)) or not X:
        return False
    if is_frame(X[0]):
        return True
    shapes = [np.shape(one) if isinstance(one, (np.ndarray, list, tuple)) else _shape(one) for one in X]
    return any(len(shape) == 2 for shape in shapes) or (
        all(len(shape) == 1 for shape in shapes) and len(set(shapes)) > 1
    )


def _shape(one: Any) -> tuple[int, ...]:
    return tuple(getattr(one, "shape", ()))


def read_series(
    X: Any, lengths: ArrayLike | None = None, *, names: Sequence[str] | None = None, name: str = "X"
) -> Series:
    """Return cases in the form that a model takes.

    Parameters
    ----------
    X : array (n, time, channels) or (n, time), or list of series
        A series of a list is an array (T_i, channels) or (T_i,), or a table whose columns are the channels. Without
        `lengths`, steps at the end of a case of a 3-D array at which all channels are NaN are padding.
    lengths : int array (n,), optional
        Valid steps of each case of an array.
    names : sequence of str, optional
        Names of the channels in the training data. Tables give them in this order, whatever that of their columns.
    name : str, default "X"
        Name of X in messages.

    Raises
    ------
    TypeError, ValueError
        If X has another form, or columns are missing.
    """
    if is_list_of_series(X):
        if lengths is not None:
            raise ValueError(f"{name} is a list, whose series have their own lengths: leave out lengths")
        return _read_list(X, names, name)
    array = as_numeric(X, False, name)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3:
        raise ValueError(
            f"{name} has shape {array.shape}, expected (n, time) or (n, time, channels): for one series pass "
            f"{name}[None]"
        )
    if 0 in array.shape:
        raise ValueError(f"{name} has shape {array.shape}, expected at least one case, one step and one channel")
    if lengths is not None:
        return Series(array, np.asarray(as_numeric(lengths, True, "lengths"), np.int64))
    return Series(array, _padding(array, name) if getattr(X, "ndim", 2) == 3 else None)


def warn_of_axes(array: Array, name: str = "X") -> None:
    """Warn if an array may be (n, channels, time)."""
    if array.ndim == 3 and array.shape[1] < array.shape[2]:
        warnings.warn(
            f"{name} has shape {array.shape}: {array.shape[1]} steps of {array.shape[2]} channels, if it is (n, time, "
            f"channels). If it is (n, channels, time), as in aeon and sktime, pass fl.data.from_numpy3d({name})",
            UserWarning,
            stacklevel=4,
        )


def _read_list(X: Sequence[Any], names: Sequence[str] | None, name: str) -> Series:
    series: list[Array] = []
    found = None if names is None else tuple(names)
    for number, one in enumerate(X):
        place = f"{name}[{number}]"
        if is_frame(one):
            columns = tuple(map(str, one.columns))
            found = columns if found is None else found
            if set(columns) != set(found) or len(columns) != len(found):
                missing, unknown = sorted(set(found) - set(columns)), sorted(set(columns) - set(found))
                raise ValueError(
                    f"{place} has the columns {short_repr(list(columns))}, expected {short_repr(list(found))}"
                    f"{f': {missing} are missing' if missing else ''}{f': {unknown} are not known' if unknown else ''}"
                )
            table = one[list(found)]
            array = as_numeric(table.to_numpy() if hasattr(table, "to_numpy") else table, False, place)
        else:
            array = as_numeric(one, False, place)
        array = array[:, None] if array.ndim == 1 else array
        if array.ndim != 2 or 0 in array.shape:
            raise ValueError(f"{place} has shape {array.shape}, expected (time, channels) or (time,), not empty")
        if series and array.shape[1] != series[0].shape[1]:
            raise ValueError(f"{place} has {array.shape[1]} channels, expected {series[0].shape[1]}, as {name}[0] has")
        series.append(array)
    return Series(series, None, tuple(found) if found is not None and is_frame(X[0]) else None)


def _padding(array: Array, name: str) -> Array | None:
    """Return the valid steps of each case, without the steps of NaN at its end; None if there are none."""
    if array.dtype.kind != "f":
        return None
    # Most data have no NaN at the last step, so that nothing else need be read.
    if not np.isnan(array[:, -1]).all(axis=-1).any():
        return None
    lengths = np.full(len(array), array.shape[1])
    for row, case in enumerate(array):
        known = np.flatnonzero(~np.isnan(case).all(axis=-1))
        if not len(known):
            raise ValueError(
                f"{name}[{row}] holds only NaN, expected at least one step with a value: leave the case out"
            )
        lengths[row] = known[-1] + 1
    return lengths


def listed_cases(series: Series) -> list[Array]:
    """Return the valid steps of each case, (T_i, channels) of float32 or float64."""
    lengths = [len(one) for one in series.data] if series.lengths is None else series.lengths
    cases = [np.asarray(one[:steps]) for one, steps in zip(series.data, lengths, strict=True)]
    return [one if one.dtype in (np.float32, np.float64) else one.astype(np.float64) for one in cases]
