"""Ids of series."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._checks import short_repr
from .._foreign import is_missing, type_name
from .packages import pandas_package

__all__ = ["Ids", "check_id", "id_dtype", "plain_value", "read_ids", "who"]


class Ids(NamedTuple):
    """The series of a table."""

    codes: NDArray[np.int64]
    """(n,): the number of the series of each row."""
    ids: list[Any]
    """The id of each series, sorted."""
    dtype: str
    """The type of the column, as pandas writes it."""


def who(one: Any) -> str:
    """Return the words that name a series."""
    return f"series {short_repr(one)}"


def plain_value(value: Any) -> Any:
    """Return a scalar of NumPy as one of Python, and a text of another type as str."""
    if isinstance(value, np.generic) and not isinstance(value, (np.datetime64, np.timedelta64)):
        value = value.item()
    return str(value) if isinstance(value, str) else value


def check_id(one: Any, row: str) -> None:
    """Raise ValueError if an id is missing."""
    if is_missing(one):
        raise ValueError(f"{row} has no id, expected the id of its series")


def read_ids(column: Any, code: str, row: Callable[[int], str]) -> Ids:
    """Read a pandas Series of ids.

    Raises
    ------
    ValueError
        If an id is missing.
    TypeError
        If ids cannot be sorted or are no ids.
    """
    pd = pandas_package()
    missing = np.flatnonzero(column.isna().to_numpy())
    if len(missing):
        raise ValueError(
            f"{row(int(missing[0]))} has no id ({len(missing)} in all): fill it, or drop them with "
            f"{code.partition('[')[0]}[{code}.notna()]"
        )
    name = id_dtype(column.dtype)
    if isinstance(column.dtype, pd.CategoricalDtype):
        codes = column.cat.codes.to_numpy()
        used = np.flatnonzero(np.bincount(codes, minlength=len(column.cat.categories)))
        inner = read_ids(pd.Series(column.cat.categories.take(used)), code, row)
        numbers = np.zeros(len(column.cat.categories), np.int64)
        numbers[used] = inner.codes
        return Ids(numbers[codes], inner.ids, name)
    try:
        codes, unique = pd.factorize(column)
        ids = [plain_value(one) for one in unique]
        kinds = sorted({type_name(one) for one in ids})
        order = sorted(range(len(ids)), key=ids.__getitem__) if len(kinds) < 2 else []
    except (TypeError, ValueError):  # ids without a hash or an order
        kinds = sorted({type_name(value) for value in column.tolist()})
        raise TypeError(
            f"{code} holds ids that cannot be told apart or sorted ({', '.join(kinds)}), expected texts or numbers: "
            f"{code} = {code}.astype(str)"
        ) from None
    if len(kinds) > 1:
        raise TypeError(
            f"{code} holds ids of several types ({', '.join(kinds)}), expected one: {code} = {code}.astype(str)"
        )
    ranks = np.empty(len(ids), np.int64)
    ranks[order] = np.arange(len(ids))
    return Ids(ranks[codes], [ids[number] for number in order], name)


def id_dtype(dtype: Any) -> str:
    """Return the name of the type of a column of ids."""
    return "category" if isinstance(dtype, pandas_package().CategoricalDtype) else str(dtype)
