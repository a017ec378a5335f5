"""What to do with a column of a frame that does not hold numbers."""

from __future__ import annotations

from typing import Any

__all__ = ["not_numbers"]


def not_numbers(key: Any, kind: Any, package: str, code: str) -> str:
    """Return the message about a column whose type in narwhals is no number.

    Parameters
    ----------
    key : str
        Name of the column.
    kind : narwhals.DType
        Its type.
    package : str
        "pandas", "polars" or another package of the frame.
    code : str
        Code of the column.
    """
    polars = package == "polars"
    name = type(kind).__name__ if not isinstance(kind, type) else kind.__name__
    what = {"Datetime": "times", "Date": "dates", "Time": "times of day", "Duration": "durations", "String": "texts"}
    if name in ("Datetime", "Date"):
        year = "weekday()" if polars else "weekday"
        part = f"{code}.dt.{year}" if name == "Date" else f"{code}.dt.{'hour()' if polars else 'hour'}"
        advice = f"name it as time={key!r}, leave it out of features=[...], or take numbers of it, such as {part}"
    elif name == "Duration":
        advice = f"take numbers of it, such as {code}.dt.total_seconds()"
    elif name == "String":
        number = f"{code}.cast(polars.Float64)" if polars else f"pandas.to_numeric({code})"
        advice = f"if these are numerals, take {number}; if they are words, {_one_hot(key, polars)}"
    elif name in ("Categorical", "Enum"):
        advice = _one_hot(key, polars)
    else:
        advice = "leave it out of features=[...], or make one column of numbers for each of its values"
    return f"column {key!r} holds {what.get(name, f'values of type {kind}')}, expected numbers: {advice}"


def _one_hot(key: Any, polars: bool) -> str:
    code = f"df.to_dummies({key!r})" if polars else f"pandas.get_dummies(df, columns=[{key!r}])"
    return f"make a column of 0 and 1 for each category, {code}, or leave it out of features=[...]"
