"""Fill the report on a table that was read."""

from __future__ import annotations

from typing import Any

import numpy as np

from .axis import TimeAxis
from .grid import duration_text
from .panel import Columns
from .repair import Layout
from .report import GridReport
from .roles import LISTS
from .sources import Source
from .table import Table

__all__ = ["fill_report"]


def fill_report(
    source: Source, columns: Columns, table: Table, axis: TimeAxis, layout: Layout, values: list[Any]
) -> GridReport:
    """Return what was understood and repaired.

    Parameters
    ----------
    source : Source
    columns : Columns
    table : Table
    axis : TimeAxis
    layout : Layout
    values : list of arrays
        The columns of numbers by grid points: target, hist_exog, futr_exog.
    """
    rows = table.rows
    points = layout.points
    lengths = np.diff(layout.starts)
    report = GridReport(
        form=source.form,
        columns=_roles(source, columns),
        time_column=columns.time_col,
        times=table.what,
        time_zone=axis.zone,
        frequency=axis.grid.text,
        series=rows.series,
        rows=len(source.frame),
        points=points,
        start=rows.when(int(rows.times.min())),
        end=rows.when(int(rows.times.max())),
        duplicates=layout.duplicates,
        snapped=layout.snapped,
        largest_shift=duration_text(layout.largest_shift) if layout.snapped else "",
        tolerance=str(axis.grid.tolerance) if axis.counted else duration_text(axis.grid.tolerance),
        sorted_rows=layout.unsorted,
        repeated_hours=table.told_by_order,
        hours_taken_as_first=table.taken_as_first,
        skipped_hours=table.skipped,
        notes=list(table.notes),
    )
    names = (columns.target_col, *columns.hist_exog, *columns.futr_exog)
    report.missing = {name: int(np.isnan(column).sum()) for name, column in zip(names, values, strict=True)}
    if layout.places is not None:
        missing = np.diff(layout.places) - 1  # series begin and end with a row
        report.gaps = points - len(layout.places)
        report.longest_gap = int(missing.max(initial=0))
        present = np.bincount(np.searchsorted(layout.starts, layout.places, "right") - 1, minlength=rows.series)
        report.series_with_gaps = int((present < lengths).sum())
        worst = int((present / lengths).argmin())
        if present[worst] < 0.5 * lengths[worst]:
            report.notes.append(
                f"{rows.who(worst)} has rows at {present[worst]:,} of {lengths[worst]:,} points: its own step may be "
                "longer, or it has none at night or on weekends"
            )
    return report


def _roles(source: Source, columns: Columns) -> dict[str, str]:
    frame = source.frame
    role = {columns.id_col: "id", columns.time_col: "time", columns.target_col: "target"}
    for name in LISTS:
        role.update(dict.fromkeys(getattr(columns, name), name))
    return {str(column): f"{role[column]}, {frame[column].dtype}" for column in frame.columns}
