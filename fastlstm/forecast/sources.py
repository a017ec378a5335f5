"""What users pass, as one table with a column of ids, a column of times and columns of values."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .._arguments import closest
from .._checks import short_repr
from .._foreign import is_frame, type_name
from ..data import CsvTable, read_csv
from .csv_source import csv_frame
from .packages import narwhals_package, pandas_package

__all__ = ["Source", "as_source", "is_wide", "no_column", "plain_frame"]

_MANY_COLUMNS = 20


@dataclass(frozen=True, eq=False)
class Source:
    """A long table: a row for each series and time."""

    frame: Any
    """pandas.DataFrame with the columns of the user."""
    form: str
    """"long", "single series", "series" or "wide"."""
    package: str
    """The package of the user's frame: "pandas", "polars", ..."""
    name: str = "df"
    """Name of the argument, for messages."""
    file: CsvTable | None = None
    """The file of which this is the table."""

    def row(self, number: int) -> str:
        """Return the words that name a row."""
        if self.file is not None and self.form != "wide":
            return self.file.place(number)
        if self.form == "wide":
            # The rows of the wide frame were repeated for each of its series.
            number %= max(1, self.frame.attrs.get("rows", 1))
        return f"row {number} of {self.name}"

    def code(self, column: Any) -> str:
        """Return the code of a column."""
        return f"{self.name}[{column!r}]"

    def require(self, column: str, argument: str) -> None:
        """Raise ValueError unless there is a column."""
        if column not in self.frame.columns:
            raise ValueError(no_column(list(self.frame.columns), column, argument, self.name))


def no_column(columns: Sequence[Any], column: Any, argument: str, name: str) -> str:
    """Return the message about a column that does not exist."""
    near = closest(column, [one for one in columns if isinstance(one, str)]) if isinstance(column, str) else None
    there = ", ".join(map(repr, columns[:_MANY_COLUMNS])) + (", ..." if len(columns) > _MANY_COLUMNS else "")
    advice = "" if near is None else f"; did you mean {argument}={near!r}?"
    return f"{name} has no column {column!r}, which is {argument}, expected one of its columns: {there}{advice}"


def is_wide(df: Any, id_col: str, time_col: str, target_col: Any) -> bool:
    """Return whether a frame is wide: each column a series.

    That is so if `target_col` is a list of columns, or if the frame carries the name of the ids above its columns, as
    pivoted frames do.
    """
    if isinstance(target_col, (list, tuple)):
        return True
    return is_frame(df) and getattr(getattr(df, "columns", None), "name", None) == id_col and id_col is not None


def as_source(df: Any, id_col: str, time_col: str, target_col: Any, *, wide: bool = False, name: str = "df") -> Source:
    """Return what the user passed as a long table.

    Parameters
    ----------
    df : DataFrame, Series, mapping of columns, CsvTable, or path of a CSV file
    id_col, time_col : str
    target_col : str, or list of str for a wide frame
    wide : bool
        Whether the data that were fitted are wide.
    name : str
        Name of the argument.

    Raises
    ------
    TypeError
        If `df` is no table.
    ValueError
        If it is empty, or has no times.
    """
    if isinstance(df, (str, os.PathLike)):
        df = read_csv(df)
    if isinstance(df, CsvTable):
        frame = csv_frame(df, id_col, time_col)
        return replace(as_source(frame, id_col, time_col, target_col, wide=wide, name=name), file=df)
    frame, package = plain_frame(df, name, time_col, target_col)
    series = package == "series"
    if series:
        package = "pandas"
    _check_columns(frame, name)
    if not len(frame):
        raise ValueError(f"{name} has no rows, expected at least one")
    if is_wide(df, id_col, time_col, target_col) or (wide and id_col not in frame.columns):
        return Source(_melted(frame, id_col, time_col, target_col, name), "wide", package, name)
    frame = _with_time(frame, id_col, time_col, name)
    form = "series" if series else "long" if id_col in frame.columns else "single series"
    return Source(frame, form, package, name)


def plain_frame(df: Any, name: str, time_col: str, target_col: Any = "y") -> tuple[Any, str]:
    """Return a pandas frame of the user's columns, and the package of the user's."""
    pd = pandas_package()
    if isinstance(df, pd.DataFrame):
        return df, "pandas"
    if isinstance(df, pd.Series):
        if not isinstance(df.index, (pd.DatetimeIndex, pd.PeriodIndex)):
            raise TypeError(
                f"{name} is a Series whose index holds {df.index.dtype}, expected times: "
                f"{name}.index = pandas.to_datetime({name}.index)"
            )
        return pd.DataFrame({time_col: df.index, str(target_col): df.to_numpy()}), "series"
    if hasattr(type(df), "collect") and hasattr(type(df), "lazy"):
        raise TypeError(f"{name} is a {type_name(df)}, expected a frame: pass {name}.collect()")
    if isinstance(df, Mapping):
        try:
            return pd.DataFrame(dict(df)), "pandas"
        except ValueError as error:
            raise ValueError(f"{name} is a mapping of columns that do not fit together: {error}") from None
    if is_frame(df):
        return _of_narwhals(df, name)
    raise TypeError(
        f"{name} is a {type_name(df)}, expected a DataFrame of pandas or polars with columns of ids, times and "
        "values, a "
        "pandas.Series whose index holds times, or the path of a CSV file; for arrays, "
        "pandas.DataFrame({'ds': pandas.date_range('2024-01-01', periods=len(y), freq='15min'), 'y': y})"
    )


def _of_narwhals(df: Any, name: str) -> tuple[Any, str]:
    narwhals = narwhals_package(f"{name}, a {type_name(df)},")
    try:
        frame = narwhals.from_native(df, eager_only=True)
    except TypeError as error:
        raise TypeError(f"{name} is a {type_name(df)} that narwhals cannot read: {error}") from error
    pd = pandas_package()
    columns = {column: _column(frame[column], narwhals) for column in frame.columns}
    return pd.DataFrame(columns, copy=False), type_name(df).partition(".")[0]


def _column(column: Any, narwhals: Any) -> Any:
    """Return a column of narwhals as one of pandas, without pyarrow."""
    pd = pandas_package()
    kind = column.dtype
    if kind == narwhals.Datetime and getattr(kind, "time_zone", None):
        utc = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None).to_numpy()
        return pd.Series(utc).dt.tz_localize("UTC").dt.tz_convert(kind.time_zone)
    if kind == narwhals.Date:
        return pd.Series(column.to_list(), dtype=object)
    if kind in (narwhals.Categorical, narwhals.Enum):
        return pd.Series(column.cast(narwhals.String).to_list()).astype("category")
    if kind.is_integer() and column.null_count():
        return pd.Series(column.cast(narwhals.Float64).to_numpy())
    if kind == narwhals.Boolean and column.null_count():
        return pd.Series(column.to_list(), dtype="boolean")
    if kind == narwhals.String:
        return pd.Series(column.to_list(), dtype=object)
    if kind.is_decimal():
        return pd.Series(column.cast(narwhals.Float64).to_numpy())
    return pd.Series(column.to_numpy(), copy=False)


def _check_columns(frame: Any, name: str) -> None:
    if frame.columns.has_duplicates:
        twice = list(frame.columns[frame.columns.duplicated()])
        raise ValueError(f"{name} has the column {twice[0]!r} more than once, expected each name once")
    odd = [column for column in frame.columns if isinstance(column, tuple)]
    if odd:
        raise ValueError(f"{name} has columns of several levels such as {odd[0]!r}, expected plain names")


def _with_time(frame: Any, id_col: str, time_col: str, name: str) -> Any:
    """Return a frame with a column of times, which may be the index."""
    pd = pandas_package()
    if time_col in frame.columns:
        return frame.reset_index() if _extra_level(frame, id_col) else frame
    levels = list(frame.index.names)
    if time_col in levels:
        return frame.reset_index()
    if isinstance(frame.index, (pd.DatetimeIndex, pd.PeriodIndex)):
        frame = frame.copy(deep=False)
        frame.insert(0, time_col, frame.index)
        return frame.reset_index(drop=True)
    raise ValueError(
        no_column(list(frame.columns), time_col, "time_col", name) + ", or an index of times: name it with time_col=..."
    )


def _extra_level(frame: Any, id_col: str) -> bool:
    return id_col in frame.index.names and id_col not in frame.columns


def _melted(frame: Any, id_col: str, time_col: str, target_col: Any, name: str) -> Any:
    """Return a wide frame as a long one."""
    frame = _with_time(frame, id_col, time_col, name)
    others = [column for column in frame.columns if column != time_col]
    chosen = list(target_col) if isinstance(target_col, (list, tuple)) else others
    for column in chosen:
        if column not in others:
            raise ValueError(no_column(others, column, "target_col", name))
    left = [column for column in others if column not in chosen]
    if left:
        raise ValueError(
            f"{name} is wide, each column of target_col a series, but has the column {left[0]!r} too: put it into "
            f"target_col, or drop it with {name}.drop(columns={left!r})"
        )
    if not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(f"got target_col = {short_repr(target_col)}, expected at least one column, and each once")
    # melt refuses the name of a column as that of the values, although that column goes.
    long = frame.melt(id_vars=[time_col], value_vars=chosen, var_name=id_col, value_name="\0value")
    long = long.rename(columns={"\0value": target_col if isinstance(target_col, str) else "y"})
    long.attrs = {"rows": len(frame)}
    return long
