"""CSV files as pandas frames."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data import CsvTable
from ..data.readers.csv.numbers import looks_numeric
from .packages import pandas_package

__all__ = ["csv_frame"]


def csv_frame(table: CsvTable, id_col: str, time_col: str) -> Any:
    """Return the columns of a CSV file as a pandas frame.

    Parameters
    ----------
    table : CsvTable
    id_col, time_col : str
        Columns of ids, which keep their type, and of times, of which a missing or unclear one is refused with its line.
    """
    pd = pandas_package()
    if not len(table):
        raise ValueError(f"{table.name} has no rows, expected at least one below the names of the columns")
    columns = {}
    for name in table:
        column = table.columns[name]
        if name == time_col:
            times = table.times(name)
            columns[name] = pd.Series(times.values)
            if times.utc:
                columns[name] = columns[name].dt.tz_localize("UTC")
        elif name == id_col:
            columns[name] = pd.Series(table.labels(name))
        elif column.values is not None:
            columns[name] = pd.Series(column.values, copy=False)
        elif column.kind == "mixed" and all(looks_numeric(text) for text in column.texts or () if text is not None):
            table.numbers(name)  # raises: the marks of the numbers can mean two things
        else:
            texts = np.empty(len(table), object)
            texts[:] = column.texts
            columns[name] = pd.Series(texts)
    return pd.DataFrame(columns, copy=False)
