"""Columns of numbers as float64, with errors that say what else a column holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arrays import as_numeric
from .._checks import short_repr
from .packages import pandas_package

__all__ = ["read_numbers"]


def read_numbers(column: Any, name: Any, code: str, row: Callable[[int], str]) -> NDArray[np.float64]:
    """Return a pandas Series of numbers or bools as float64; missing values are NaN.

    Raises
    ------
    TypeError
        If the column does not hold numbers.
    ValueError
        If a number is infinite.
    """
    pd = pandas_package()
    dtype = column.dtype
    types = pd.api.types
    if types.is_complex_dtype(dtype):
        raise TypeError(
            f"column {name!r} holds complex numbers, expected real ones: take {code}.abs() or their real parts"
        )
    if types.is_numeric_dtype(dtype) or types.is_bool_dtype(dtype):
        extended = types.is_extension_array_dtype(dtype)
        values = column.to_numpy(dtype=np.float64, **({"na_value": np.nan} if extended else {}))
    elif types.is_object_dtype(dtype) and column.isna().all():
        values = np.full(len(column), np.nan)
    elif types.is_object_dtype(dtype) and not _text(column):
        values = np.asarray(as_numeric(column.to_numpy(), False, code), np.float64)
    else:
        raise TypeError(_not_numbers(column, name, code, row))
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        raise ValueError(
            f"{row(int(infinite[0]))} has the value {values[infinite[0]]} in column {name!r} ({len(infinite)} in "
            f"all), expected finite numbers: {code} = {code}.replace([numpy.inf, -numpy.inf], numpy.nan) if they are "
            "missing"
        )
    found: NDArray[np.float64] = values
    return found


def _text(column: Any) -> bool:
    present = column.dropna()
    return bool(len(present)) and isinstance(present.iloc[0], str)


def _not_numbers(column: Any, name: Any, code: str, row: Callable[[int], str]) -> str:
    pd = pandas_package()
    types, dtype = pd.api.types, column.dtype
    start = f"column {name!r} holds "
    if types.is_datetime64_any_dtype(dtype):
        return (
            f"{start}times, expected numbers: name it with time_col={name!r}, or take a number such as {code}.dt.hour"
        )
    if types.is_timedelta64_dtype(dtype):
        return f"{start}durations, expected numbers: take {code}.dt.total_seconds()"
    if isinstance(dtype, pd.CategoricalDtype):
        return (
            f"{start}categories, expected numbers: name it in cat_exog if it does not change within a series, else "
            "make "
            f"columns of 0 and 1 with pandas.get_dummies(df, columns=[{name!r}])"
        )
    if not (types.is_object_dtype(dtype) or types.is_string_dtype(dtype)):
        return f"{start}values of type {dtype}, expected numbers"
    present = column.reset_index(drop=True).dropna().astype(str)
    numbers = pd.to_numeric(present, errors="coerce")
    odd = present[numbers.isna()]
    if not len(odd):
        return (
            f"{start}text such as {short_repr(present.iloc[0])}, expected numbers: {code} = pandas.to_numeric({code})"
        )
    where = f" ({row(int(odd.index[0]))})"
    if len(odd) < len(present):
        return (
            f"{start}the text {short_repr(odd.iloc[0])}{where} among numbers, expected numbers alone: correct it, or "
            f"{code} = pandas.to_numeric({code}, errors='coerce') if such values are missing"
        )
    comma = present.str.fullmatch(r"[+-]?\d+,\d+").all()
    if comma:
        return (
            f"{start}numbers with a decimal comma such as {short_repr(odd.iloc[0])}, expected numbers: read the file "
            "with "
            "decimal=','"
        )
    return (
        f"{start}text such as {short_repr(odd.iloc[0])}{where}, expected numbers: name it in cat_exog if it does not "
        "change "
        f"within a series, else make columns of 0 and 1 with pandas.get_dummies(df, columns=[{name!r}])"
    )
