"""Which column is what: the lists of the user against the columns of a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .._checks import as_list, short_repr
from .packages import pandas_package
from .panel import Columns
from .sources import Source, no_column

__all__ = ["LISTS", "as_columns", "check_roles", "names_of"]

LISTS = {
    "hist_exog": "numbers known up to the present",
    "futr_exog": "numbers known in advance",
    "stat_exog": "numbers that do not change within a series",
    "cat_exog": "categories that do not change within a series",
}


def names_of(name: str, value: Any) -> tuple[str, ...]:
    """Return an argument that lists columns."""
    if value is None:
        return ()
    names = [value] if isinstance(value, str) else as_list(name, value, "names of columns")
    for one in names:
        if not isinstance(one, str):
            raise TypeError(f"{name} must be a list of names of columns, got {short_repr(one)} in it")
    if len(set(names)) < len(names):
        raise ValueError(f"{name} holds a name twice: {short_repr(names)}")
    return tuple(names)


def as_columns(id_col: Any, time_col: Any, target_col: Any, lists: dict[str, tuple[str, ...]]) -> Columns:
    """Return the names of all columns; raise ValueError if one has two roles."""
    for name, value in (("id_col", id_col), ("time_col", time_col), ("target_col", target_col)):
        if not isinstance(value, str) or not value:
            raise TypeError(f"{name} must be the name of a column, got {short_repr(value)}")
    roles = [(id_col, "id_col"), (time_col, "time_col"), (target_col, "target_col")]
    roles += [(one, name) for name, names in lists.items() for one in names]
    seen: dict[str, str] = {}
    for one, role in roles:
        if one in seen:
            raise ValueError(f"column {one!r} is both {seen[one]} and in {role}, expected one role for each column")
        seen[one] = role
    return Columns(id_col, time_col, target_col, **lists)


def check_roles(source: Source, columns: Columns, static_names: Iterable[str]) -> None:
    """Raise ValueError if a column is missing, or in no list.

    Parameters
    ----------
    source : Source
    columns : Columns
    static_names : iterable of str
        Static columns that are known from elsewhere.
    """
    there = list(source.frame.columns)
    if columns.target_col not in there:
        raise ValueError(_no_target(source, columns))
    elsewhere = set(static_names)
    for name in LISTS:
        for column in getattr(columns, name):
            if column not in there and column not in elsewhere:
                raise ValueError(no_column(there, column, f"in {name}", source.name))
    known = {columns.id_col, columns.time_col, columns.target_col}
    known.update(*(getattr(columns, name) for name in LISTS))
    left = [column for column in there if column not in known]
    if left:
        raise ValueError(_in_no_list(source, columns, left))


def _no_target(source: Source, columns: Columns) -> str:
    text = no_column(list(source.frame.columns), columns.target_col, "target_col", source.name)
    if source.form != "single series":
        return text
    others = [column for column in source.frame.columns if column != columns.time_col]
    if not others:
        return text
    return (
        f"{text}; name it, as in target_col={others[0]!r}, or pass target_col={short_repr(others)} "
        "if each "
        "column is a series"
    )


def _in_no_list(source: Source, columns: Columns, left: list[Any]) -> str:
    frame = source.frame
    advice = [f"{column!r} ({_could_be(frame, columns, column)})" for column in left[:10]]
    more = f" and {len(left) - 10} more" if len(left) > 10 else ""
    lists = "; ".join(f"{name}: {what}" for name, what in LISTS.items())
    return (
        f"{source.name} has columns that are in no list: {', '.join(advice)}{more}. Name each in one ({lists}), or "
        "drop it: "
        f"{source.name}.drop(columns={left[:10]!r})"
    )


def _could_be(frame: Any, columns: Columns, column: Any) -> str:
    """Return the arguments that a column could belong to."""
    types = pandas_package().api.types
    values = frame[column]
    if types.is_datetime64_any_dtype(values.dtype):
        return "times: time_col"
    number = types.is_numeric_dtype(values.dtype) or types.is_bool_dtype(values.dtype)
    if columns.id_col in frame.columns:
        constant = int(values.groupby(frame[columns.id_col], observed=True).nunique(dropna=False).max()) <= 1
    else:
        constant = values.nunique(dropna=False) <= 1
    if number:
        return "constant within each series: stat_exog" if constant and len(values) > 1 else "hist_exog or futr_exog"
    if constant:
        return "cat_exog"
    return "text: id_col, or columns of 0 and 1 by pandas.get_dummies"
