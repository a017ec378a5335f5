"""Frames for the user: of the user's package, with the user's kind of ids and times."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .packages import narwhals_package, pandas_package
from .panel import Columns
from .time_column import TimeKind, write_times

__all__ = ["PACKAGES", "OutputKind", "as_frame"]

PACKAGES = ("pandas", "polars", "pyarrow")
"""Packages of which frames are made; a file names one, so it must be one of these before it is imported."""


@dataclass(frozen=True)
class OutputKind:
    """What the user's frames are like."""

    package: str
    """One of `PACKAGES`; frames of others become pandas."""
    columns: Columns
    id_dtype: str | None
    """None if there is no column of ids."""
    kind: TimeKind
    zone: str | None
    """The zone of the clock that naive times follow."""


def as_frame(output: OutputKind, ids: Any, times: NDArray[np.int64], columns: dict[str, Any]) -> Any:
    """Return a frame of ids, times in UTC and further columns."""
    pd = pandas_package()
    data: dict[str, Any] = {}
    if output.id_dtype is not None:
        data[output.columns.id_col] = _ids(ids, output.id_dtype)
    data[output.columns.time_col] = write_times(times, output.kind, output.zone)
    for name in data:
        if name in columns:
            raise ValueError(f"a column of results is called {name!r} like one of the table: rename that of the table")
    frame = pd.DataFrame({**data, **columns})
    return frame if output.package == "pandas" or output.package not in PACKAGES else _of_package(frame, output)


def _ids(ids: Any, dtype: str) -> Any:
    pd = pandas_package()
    column = pd.Series(list(ids), dtype=object)
    try:
        return column.astype(dtype)
    except (TypeError, ValueError):  # of a type that this pandas has not, or ids of another one
        return column.infer_objects()


def _of_package(frame: Any, output: OutputKind) -> Any:
    """Return a pandas frame as one of another package, without pyarrow."""
    narwhals = narwhals_package(f"output for {output.package}")
    try:
        package = importlib.import_module(output.package)
    except ImportError:  # of a file that was saved elsewhere
        return frame
    time_col, kind = output.columns.time_col, output.kind
    data: dict[str, Any] = {}
    for name in frame.columns:
        column = frame[name]
        if name == time_col and kind.form == "aware":
            data[name] = column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()
        elif column.dtype == object or not isinstance(column.dtype, np.dtype):
            data[name] = column.tolist()
        else:
            data[name] = column.to_numpy()
    made = narwhals.from_dict(data, backend=package)
    if kind.form == "aware":
        stamp = narwhals.col(time_col).dt.replace_time_zone("UTC").dt.convert_time_zone(kind.zone)
        made = made.with_columns(stamp)
    if output.id_dtype == "category":
        made = made.with_columns(narwhals.col(output.columns.id_col).cast(narwhals.Categorical))
    return narwhals.to_native(made)
