"""From tables to cases: a row each, the rows of a group, or one long series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._typing import Array
from ..data import CsvTable
from .errors import DataRefused, refusing
from .layout import Layout
from .output import time_text

__all__ = ["Cases", "read_cases"]


@dataclass(frozen=True, eq=False)
class Cases:
    """Series with what is known of each."""

    series: list[Array]
    """(T_i, channels), float64."""
    rows: list[Array]
    """Of each case the numbers of its rows in the table, in the order of its steps."""
    names: list[Any]
    """Of each case; None for the only series of a table."""
    labels: list[Any] | None
    """What is to be predicted, if the table says it."""
    together: list[Any] | None
    """Cases with the same value are not divided."""
    times: list[Array] | None
    """Of each case the times of its steps."""
    utc: bool = False
    """Whether they are UTC."""

    def __len__(self) -> int:
        return len(self.series)

    def subset(self, chosen: Array) -> Cases:
        """Return some of the cases."""

        def some(values: list[Any] | None) -> list[Any] | None:
            return None if values is None else [values[k] for k in chosen]

        return Cases(
            [self.series[k] for k in chosen],
            [self.rows[k] for k in chosen],
            [self.names[k] for k in chosen],
            some(self.labels),
            some(self.together),
            some(self.times),
            self.utc,
        )

    def places(self, number: int) -> list[Any]:
        """Return what the output says of where the steps of a case are: their times, else the numbers of their rows."""
        if self.times is None:
            return list((self.rows[number] + 1).tolist())
        times = self.times[number]
        if times.dtype.kind != "M":
            return list(times.tolist())
        return [time_text(one) + ("Z" if self.utc else "") for one in times]

    @property
    def equal(self) -> bool:
        """Whether all series have the same number of steps."""
        return len({len(one) for one in self.series}) == 1


def read_cases(table: CsvTable, layout: Layout, *, target: bool = False, missing: bool = False) -> Cases:
    """Return the cases of a table.

    Parameters
    ----------
    table : CsvTable
    layout : Layout
    target : bool, default False
        Whether what is to be predicted is needed; else it is read if the table has it and it is known everywhere.
    missing : bool, default False
        Whether values may be missing (NaN), which the model then reads.

    Raises
    ------
    DataRefused
        If columns are missing, values are missing or no numbers, or groups are not clear.
    """
    layout.check(table, target=target)
    if not len(table):
        raise DataRefused(f"{table.name} has names of columns, but no rows")
    with refusing():
        values = np.column_stack([table.numbers(name) for name in layout.features])
        if not (layout.wide or missing):
            _refuse_missing(table, layout, values)
        if layout.wide:
            return _wide(table, layout, values, target, missing)
        return _long(table, layout, values, target)


def _wide(table: CsvTable, layout: Layout, values: Array, target: bool, missing: bool) -> Cases:
    """Return a case for each row; missing values at its end are steps that it does not have."""
    known = ~np.isnan(values)
    lengths = values.shape[1] - known[:, ::-1].argmax(axis=1)
    series = []
    for row, (one, steps) in enumerate(zip(values, lengths.tolist(), strict=True)):
        if not known[row].any():
            raise ValueError(f"{table.place(row)}: the row has no values, expected at least one: leave it out")
        if not (missing or known[row, :steps].all()):
            step = int(known[row, :steps].argmin())
            raise ValueError(
                f"{table.place(row)}, column {layout.features[step]!r}: the value is missing, expected a number: fill "
                "it in, leave the row out, or train with --set missing=mask; without it only the last values of a row "
                "may be missing"
            )
        series.append(np.ascontiguousarray(one[:steps, None]))
    rows = [np.array([row]) for row in range(len(table))]
    names = table.labels(layout.id) if layout.id in table.columns else list(range(1, len(table) + 1))
    labels = _targets(table, layout, rows, target)
    return Cases(series, rows, names, labels, _together(table, layout, rows), None)


def _long(table: CsvTable, layout: Layout, values: Array, target: bool) -> Cases:
    """Return a case for each group, or one for the whole table; its rows in the order of time."""
    groups = _groups(table, layout)
    read = None if layout.time is None else table.times(layout.time)
    times = None if read is None else read.values
    if layout.time is not None and times is not None:
        for name, rows in groups.items():
            order = np.argsort(times[rows], kind="stable")
            rows = rows[order]
            same = np.flatnonzero(times[rows][1:] == times[rows][:-1])
            if len(same):
                within = "" if name is None else f" of {layout.group} {name!r}"
                raise ValueError(
                    f"{table.place(int(rows[same[0] + 1]))}: the time {table.text(layout.time, int(rows[same[0]]))} "
                    f"occurs twice{within}, expected each once: leave one of the rows out"
                )
            groups[name] = rows
    rows_of = list(groups.values())
    labels: list[Any] | None
    if layout.task == "anomaly":
        labels = _step_labels(table, layout, rows_of, target)
    else:
        labels = _targets(table, layout, rows_of, target)
    return Cases(
        [np.ascontiguousarray(values[rows]) for rows in rows_of],
        rows_of,
        list(groups),
        labels,
        _together(table, layout, rows_of),
        None if times is None else [times[rows] for rows in rows_of],
        read is not None and read.utc,
    )


def _refuse_missing(table: CsvTable, layout: Layout, values: Array) -> None:
    missing = np.isnan(values)
    if missing.any():
        row, column = np.unravel_index(int(missing.argmax()), missing.shape)
        raise ValueError(
            f"{table.place(int(row))}, column {layout.features[column]!r}: the value is missing, expected a number "
            f"({int(missing.any(axis=1).sum())} of {len(values)} rows have a missing value): fill them in, leave "
            "the rows out, or train with --set missing=mask, which reads them"
        )


def _groups(table: CsvTable, layout: Layout) -> dict[Any, Array]:
    if layout.group is None:
        return {None: np.arange(len(table))}
    found: dict[Any, list[int]] = {}
    for row, name in enumerate(table.labels(layout.group)):
        if name is None:
            raise ValueError(f"{table.place(row)}, column {layout.group!r}: the group is missing")
        found.setdefault(name, []).append(row)
    return {name: np.array(rows) for name, rows in found.items()}


def _targets(table: CsvTable, layout: Layout, rows: list[Array], needed: bool) -> list[Any] | None:
    """Return the target of each case, which must be the same in all its rows."""
    if layout.target is None or layout.target not in table.columns:
        return None
    if layout.task == "regress":
        if not needed and table.column(layout.target).kind not in ("integer", "number"):
            return None
        every: list[Any] = [None if value != value else value for value in table.numbers(layout.target).tolist()]
    else:
        every = table.labels(layout.target)
    labels = []
    for case in rows:
        first = every[case[0]]
        if first is None:
            if not needed:
                return None
            raise ValueError(
                f"{table.place(int(case[0]))}, column {layout.target!r}: the value is missing, which is to be "
                "predicted: leave the row out"
            )
        for row in case.tolist():
            if every[row] != first:
                raise ValueError(
                    f"{table.place(row)}, column {layout.target!r}: got {every[row]!r}, but the case begins with "
                    f"{first!r} in line {table.lines[int(case[0])]}, expected one value for all rows of a case"
                )
        labels.append(first)
    return labels


def _step_labels(table: CsvTable, layout: Layout, rows: list[Array], needed: bool) -> list[Any] | None:
    """Return 0 and 1 for the steps of each case."""
    if layout.target is None or layout.target not in table.columns:
        return None
    values = table.numbers(layout.target)
    wrong = np.flatnonzero(~np.isin(values, (0, 1)))
    if len(wrong):
        if not needed:
            return None
        raise ValueError(
            f"{table.place(int(wrong[0]))}, column {layout.target!r}: got {table.text(layout.target, int(wrong[0]))}, "
            "expected 1 where something is wrong, 0 where all is normal"
        )
    return [values[case].astype(np.int64) for case in rows]


def _together(table: CsvTable, layout: Layout, rows: list[Array]) -> list[Any] | None:
    if layout.keep_together is None or layout.keep_together not in table.columns:
        return None
    every = table.labels(layout.keep_together)
    for case in rows:
        for row in case.tolist():
            if every[row] is None or every[row] != every[case[0]]:
                raise ValueError(
                    f"{table.place(row)}, column {layout.keep_together!r}: got {every[row]!r}, expected one value for "
                    "all rows of a case"
                )
    return [every[case[0]] for case in rows]
