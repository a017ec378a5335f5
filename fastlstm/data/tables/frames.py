"""Frames of pandas and polars as arrays with the names of their columns."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..._arguments import closest, explain_arguments
from ..._arrays import as_array, as_numeric
from ..._checks import as_list, short_repr
from ..._foreign import is_frame, type_name
from ..groups import as_groups, check_increasing
from .columns import not_numbers

__all__ = ["FrameSeries", "Table", "as_table", "from_frame"]

_MANY_COLUMNS = 20


class FrameSeries(NamedTuple):
    """The series of a frame."""

    X: NDArray[Any] | list[NDArray[Any]]
    """(T, features) for one series; a list of (T_i, features) if there is a column of groups."""
    features: tuple[str, ...]
    """Names of the features, in the order of the last axis."""
    groups: NDArray[Any] | None
    """(n,): the group of each series; None for one series."""


@explain_arguments
def from_frame(
    df: Any, *, group: Hashable | None = None, time: Hashable | None = None, features: Any = None
) -> FrameSeries:
    """Turn a frame of pandas or polars into arrays, and keep the names of its columns.

    Frames need narwhals (``pip install 'fastlstm[frames]'``); a dict of columns needs nothing.

    Parameters
    ----------
    df : DataFrame of pandas or polars, or dict of str: array of shape (rows,)
        Each row is a step. Columns of integers, floats, decimals and bools are taken, nullable ones too; missing values
        become NaN.
    group : str, optional
        Column that says to which series a row belongs. By default all rows are one series.
    time : str, optional
        Column of times, which must increase within each series. By default the order of the rows.
    features : list of str, optional
        Columns to take, in this order. By default all but `group` and `time`.

    Returns
    -------
    FrameSeries
        `X`, one array (T, features) or, with `group`, a list of arrays (T_i, features), of float32 if all columns are,
        else of float64; `features`, the names of the columns; `groups`, the group of each series in the order of
        first appearance, or None.

    Raises
    ------
    ImportError
        If the frame needs narwhals, and it is not installed.
    TypeError
        If a column does not hold numbers; the message says what to do with dates, texts and categories.
    ValueError
        If a column does not exist, a group is missing, or times do not increase.

    Examples
    --------
    >>> import fastlstm as fl
    >>> table = {"engine": [1, 1, 2], "cycle": [1, 2, 1], "speed": [9.0, 8.0, 7.0], "hot": [False, True, True]}
    >>> X, features, groups = fl.data.from_frame(table, group="engine", time="cycle")
    >>> [one.tolist() for one in X], features, groups.tolist()
    ([[[9.0, 0.0], [8.0, 1.0]], [[7.0, 1.0]]], ('speed', 'hot'), [1, 2])
    """
    table = as_table(df)
    keys = table.features(features, [key for key in (group, time) if key is not None])
    values = table.numbers(keys)
    of_rows = np.zeros(table.rows, np.int64) if group is None else table.column(group)
    every = as_groups(of_rows, table.rows, table.code(group))
    if time is not None:
        check_increasing(
            table.column(time), every, table.code(time), table.sorting([group, time]), named=group is not None
        )
    names = table.names(keys)
    if group is None:
        return FrameSeries(values, names, None)
    order = every.order()
    if not (order[:-1] < order[1:]).all():
        values = values[order]
    return FrameSeries(np.split(values, np.cumsum(every.counts)[:-1]), names, every.names)


class Table:
    """Columns of the same length by name.

    Attributes
    ----------
    keys : list
        Names of the columns; their numbers for an array.
    rows : int
        Number of rows, at least 1.
    """

    keys: list[Any]
    rows: int

    def column(self, key: Any) -> NDArray[Any]:
        """Return a column as it is, (rows,)."""
        raise NotImplementedError

    def numeric(self, key: Any) -> NDArray[Any]:
        """Return a column of numbers as float32 or float64, (rows,); missing values are NaN."""
        return _as_float(as_numeric(self.column(key), False, self.code(key)))

    def code(self, key: Any) -> str:
        """Return the code of a column."""
        return f"df[{key!r}]"

    def sorting(self, keys: list[Any]) -> str:
        """Return the advice to sort by some columns."""
        return f"sort the rows by {' and '.join(short_repr(key) for key in keys if key is not None)}"

    def names(self, keys: list[Any]) -> tuple[str, ...]:
        """Return the names of columns as strings."""
        return tuple(map(str, keys))

    def has(self, key: Any) -> bool:
        """Return whether a value names a column."""
        return isinstance(key, Hashable) and key in self.keys

    def check(self, key: Any, argument: str) -> None:
        """Raise ValueError unless a value names a column."""
        if self.has(key):
            return
        near = closest(key, [one for one in self.keys if isinstance(one, str)]) if isinstance(key, str) else None
        there = ", ".join(map(repr, self.keys[:_MANY_COLUMNS])) + (", ..." if len(self.keys) > _MANY_COLUMNS else "")
        advice = "" if near is None else f"; did you mean {near!r}?"
        raise ValueError(f"got {argument} = {short_repr(key)}, expected a column of df: {there}{advice}")

    def features(self, chosen: Any, left_out: list[Any]) -> list[Any]:
        """Return the columns that are features: the chosen ones, by default all but some."""
        for key in left_out:
            self.check(key, "group or time")
        if chosen is None:
            keys = [key for key in self.keys if key not in left_out]
        else:
            keys = [chosen] if isinstance(chosen, str) else as_list("features", chosen, "names of columns")
            for key in keys:
                self.check(key, "features")
        if not keys or len(set(keys)) < len(keys):
            raise ValueError(f"got features = {short_repr(keys)}, expected at least one column, and each once")
        return keys

    def numbers(self, keys: list[Any]) -> NDArray[Any]:
        """Return columns of numbers as one array, (rows, columns)."""
        columns = [self.numeric(key) for key in keys]
        values = np.empty((self.rows, len(keys)), np.result_type(*columns))
        for place, column in enumerate(columns):
            values[:, place] = column
        return values


class _Frame(Table):
    """A frame of pandas or polars."""

    def __init__(self, frame: Any) -> None:
        try:
            import narwhals.stable.v1 as narwhals
        except ImportError as error:
            raise ImportError(
                f"df is a {type_name(frame)}, which needs narwhals: pip install 'fastlstm[frames]', or pass "
                f"{'{name: df[name].to_numpy() for name in df.columns}'}"
            ) from error
        self._package = type_name(frame).partition(".")[0]
        self._narwhals: Any = narwhals
        try:
            self._frame: Any = narwhals.from_native(frame, eager_only=True)
        except (TypeError, ValueError) as error:  # a frame of a package that narwhals does not know; names twice
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"df is a {type_name(frame)} that narwhals cannot read: {error}") from error
        self.keys = list(self._frame.columns)
        self.rows = len(self._frame)

    def column(self, key: Any) -> NDArray[Any]:
        array: NDArray[Any] = np.asarray(self._series(key).to_numpy())
        return array

    def _series(self, key: Any) -> Any:
        return self._frame[:, self.keys.index(key)]  # by number: names may be numbers too

    def numeric(self, key: Any) -> NDArray[Any]:
        series = self._series(key)
        kind = series.dtype
        if kind == self._narwhals.Float32:
            return _as_float(np.asarray(series.to_numpy()))
        if kind.is_numeric() or kind == self._narwhals.Boolean:
            return np.asarray(series.cast(self._narwhals.Float64).to_numpy(), np.float64)
        if kind == self._narwhals.Object:
            return super().numeric(key)
        raise TypeError(not_numbers(key, kind, self._package, self.code(key)))

    def sorting(self, keys: list[Any]) -> str:
        names = [key for key in keys if key is not None]
        return f"pass df.{'sort' if self._package == 'polars' else 'sort_values'}({names!r})"


class _Columns(Table):
    """A dict of columns."""

    def __init__(self, columns: Mapping[Any, Any]) -> None:
        self.keys = list(columns)
        self._columns = {key: as_array(column, self.code(key)) for key, column in columns.items()}
        shapes = {key: column.shape for key, column in self._columns.items()}
        self.rows = next((shape[0] for shape in shapes.values() if shape), 0)
        for key, shape in shapes.items():
            if shape != (self.rows,):
                raise ValueError(
                    f"{self.code(key)} has shape {shape}, expected ({self.rows},): a column has one value for each row"
                )

    def column(self, key: Any) -> NDArray[Any]:
        return self._columns[key]


class _Array(Table):
    """An array whose columns have numbers."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.rows, columns = array.shape
        self.keys = list(range(columns))
        self._array = array

    def column(self, key: Any) -> NDArray[Any]:
        return self._array[:, key]

    def code(self, key: Any) -> str:
        return f"df[:, {key}]"

    def names(self, keys: list[Any]) -> tuple[str, ...]:
        return tuple(f"x{key}" for key in keys)


def as_table(df: Any) -> Table:
    """Return a frame, a dict of columns or an array (rows, columns) as a table."""
    table: Table
    if hasattr(type(df), "collect") and hasattr(type(df), "lazy"):
        raise TypeError(f"df is a {type_name(df)}, expected a frame: pass df.collect()")
    if hasattr(type(df), "to_frame"):
        raise TypeError(f"df is a {type_name(df)}, expected a frame: pass df.to_frame()")
    if is_frame(df):
        table = _Frame(df)
    elif isinstance(df, Mapping):
        table = _Columns(df)
    else:
        array = as_numeric(df, False, "df")
        if array.ndim != 2:
            raise ValueError(
                f"df has shape {array.shape}, expected a frame, a dict of columns, or an array of shape (rows, columns)"
            )
        table = _Array(array)
    if not table.rows or not table.keys:
        raise ValueError(f"df has {table.rows} rows and {len(table.keys)} columns, expected at least one of each")
    return table


def _as_float(column: NDArray[Any]) -> NDArray[Any]:
    return column if column.dtype in (np.float32, np.float64) else column.astype(np.float64)
