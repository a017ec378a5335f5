"""What is known of the steps after the data: their times, the user's columns, the calendar."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._checks import as_list, count
from .._typing import Array
from .axis import TimeAxis
from .ids import who
from .panel import Columns, Panel
from .roles import LISTS
from .sources import Source, as_source, no_column
from .table import Table, read_table, time_text
from .time_column import TimeKind

__all__ = ["next_points", "read_future"]


def _steps_of(steps: int | list[int], panel: Panel) -> list[int]:
    if isinstance(steps, (int, np.integer)):
        return [count("steps", steps)] * len(panel.series)
    each = [count("steps", one) for one in as_list("steps", steps, "whole numbers")]
    if len(each) != len(panel.series):
        raise ValueError(f"steps holds {len(each)} numbers, expected one for each of the {len(panel.series)} series")
    return each


def next_points(axis: TimeAxis, panel: Panel, steps: int | list[int]) -> list[Array]:
    """Return the times of the steps after each series."""
    points: dict[tuple[int, int], Array] = {}
    found = []
    for one, number in zip(panel.series, _steps_of(steps, panel), strict=True):
        key = int(axis.as_numbers(one.times[-1:])[0]), number
        if key not in points:
            points[key] = axis.steps(one.times[-1], number)
        found.append(points[key])
    return found


def read_future(
    axis: TimeAxis, columns: Columns, kind: TimeKind, wide: bool, future: Any, panel: Panel, steps: int | list[int]
) -> list[Array]:
    """Return futr_exog and the calendar of the steps after each series, see `FrameReader.read_future`."""
    points = next_points(axis, panel, steps)
    if not columns.futr_exog:
        cache: dict[int, Array] = {}
        return [cache.setdefault(id(times), axis.features(times)) for times in points]
    if future is None:
        raise ValueError(
            f"futr_exog={list(columns.futr_exog)} must be known for the {len(points[0])} steps of the forecast: pass "
            "future=, a frame with these columns, made by make_future() for example"
        )
    source = _source(columns, wide, future, len(panel.series))
    known = _values(axis, columns, kind, source, panel, points)
    return [np.concatenate([one, axis.features(times)], axis=1) for one, times in zip(known, points, strict=True)]


def _source(columns: Columns, wide: bool, future: Any, series: int) -> Source:
    source = as_source(future, columns.id_col, columns.time_col, columns.futr_exog[0], name="future")
    there = list(source.frame.columns)
    for name in columns.futr_exog:
        source.require(name, "in futr_exog")
    if series > 1 and columns.id_col not in there:
        raise ValueError(no_column(there, columns.id_col, "id_col", "future"))
    known = {columns.id_col, columns.time_col, columns.target_col}
    known.update(name for one in LISTS for name in getattr(columns, one))
    left = [column for column in there if column not in known]
    if left:
        raise ValueError(
            f"future has the column {left[0]!r}, which the training data have not, expected "
            f"{list(columns.futr_exog)}: drop "
            f"it with future.drop(columns={left!r})"
        )
    return source


def _values(
    axis: TimeAxis, columns: Columns, kind: TimeKind, source: Source, panel: Panel, points: list[Array]
) -> list[NDArray[np.float64]]:
    """Return futr_exog at the points of each series."""
    after = {one.id: int(axis.as_numbers(one.times[-1:])[0]) for one in panel.series}
    single = panel.series[0].id
    zone = axis.zone if not axis.counted else None
    names = (columns.id_col, columns.time_col, columns.futr_exog)
    table = read_table(source, names, zone, single, after, required=False)
    _check_kind(table, axis, source)
    known = {one: number for number, one in enumerate(table.ids)}
    strange = next((one for one in table.ids if one not in after), None)
    if strange is not None:
        raise ValueError(
            f"future has rows of {who(strange)}, which is not among the {len(after)} series of the forecast: drop them"
        )
    rows = table.rows
    order = np.lexsort((rows.times, rows.codes))
    starts = np.searchsorted(rows.codes[order], np.arange(rows.series + 1))
    found = []
    for one, times in zip(panel.series, points, strict=True):
        if one.id not in known:
            raise ValueError(
                f"future has no rows of {who(one.id)}, expected {len(times)} from {_text(axis, kind, times[0])}"
            )
        number = known[one.id]
        mine = order[starts[number] : starts[number + 1]]
        found.append(_of_series(axis, columns, kind, table, mine, one.id, after[one.id], times))
    return found


def _check_kind(table: Table, axis: TimeAxis, source: Source) -> None:
    if (table.kind.form == "integer") != axis.counted:
        here, there = ("whole numbers", "times") if axis.counted else ("times", "whole numbers")
        raise ValueError(f"the column of times of {source.name} holds {there}, expected {here} as in the training data")
    if not axis.counted and axis.zone is None and table.kind.form == "aware":
        raise ValueError(
            f"{source.name} has times in {table.kind.zone}, the training data have times without a zone: give both a "
            "zone or none"
        )


def _text(axis: TimeAxis, kind: TimeKind, time: Any) -> str:
    return time_text(int(axis.as_numbers(np.atleast_1d(time))[0]), kind, axis.zone)


def _of_series(
    axis: TimeAxis,
    columns: Columns,
    kind: TimeKind,
    table: Table,
    mine: NDArray[np.int64],
    one: Any,
    last: int,
    points: Array,
) -> NDArray[np.float64]:
    """Return futr_exog of a series, (steps, m)."""
    rows = table.rows
    wanted = axis.as_numbers(points)
    first_text, last_text = (_text(axis, kind, points[place]) for place in (0, -1))
    times = rows.times[mine]
    early = mine[times <= last]
    if len(early):
        raise ValueError(
            f"{rows.row(int(early.min()))}: future has {len(early)} rows of {who(one)} up to its last reading at "
            f"{_text(axis, kind, np.int64(last) if axis.counted else np.int64(last).view('M8[ns]'))}, expected "
            f"{len(wanted)} from "
            f"{first_text} to {last_text}: drop them"
        )
    phase = axis.phase_at(np.array([last]))
    index, off = axis.grid.nearest(times, phase)
    wrong = np.flatnonzero(np.abs(off) > axis.grid.tolerance)
    if len(wrong):
        raise ValueError(
            f"{rows.row(int(mine[wrong[0]]))}: future has the time {rows.when(int(times[wrong[0]]))} for {who(one)}, "
            "which is "
            f"between two steps of {axis.grid.text}, expected {first_text} to {last_text}"
        )
    start = int(axis.grid.nearest(wanted[:1], phase).points[0])
    inside = (index - start >= 0) & (index - start < len(wanted))
    places, chosen = (index - start)[inside], mine[inside]
    values = np.full((len(wanted), len(columns.futr_exog)), np.nan)
    twice = np.flatnonzero(np.diff(places) == 0)
    for column, numbers in enumerate(rows.values):
        here = numbers[chosen]
        values[places, column] = here
        a, b = here[twice], here[twice + 1]
        differ = np.flatnonzero(~((a == b) | (np.isnan(a) & np.isnan(b))))
        if len(differ):
            pair = sorted(chosen[twice[differ[0]] : twice[differ[0]] + 2].tolist())
            raise ValueError(
                f"{rows.row(pair[0])} and {rows.row(pair[1])}: future has two rows of {who(one)} for "
                f"{rows.when(int(rows.times[pair[0]]))} with different values of {columns.futr_exog[column]!r}: keep "
                "one"
            )
    _check_filled(axis, columns, kind, one, values, np.isin(np.arange(len(wanted)), places), points)
    return values


def _check_filled(
    axis: TimeAxis,
    columns: Columns,
    kind: TimeKind,
    one: Any,
    values: NDArray[np.float64],
    present: NDArray[np.bool_],
    points: Array,
) -> None:
    """Raise ValueError if a cell is missing."""
    absent = np.flatnonzero(~present)
    if len(absent):
        raise ValueError(
            f"future has no row of {who(one)} for {_text(axis, kind, points[absent[0]])} ({len(absent)} of "
            f"{len(points)} rows are "
            f"missing), expected one for each step from {_text(axis, kind, points[0])} to "
            f"{_text(axis, kind, points[-1])}; "
            "make_future() makes a frame of them"
        )
    for place, name in enumerate(columns.futr_exog):
        missing = np.flatnonzero(np.isnan(values[:, place]))
        if len(missing):
            raise ValueError(
                f"future has no value of {name!r} for {who(one)} at {_text(axis, kind, points[missing[0]])} "
                f"({len(missing)} of {len(points)} are missing): fill them, or name {name!r} in hist_exog and fit again"
            )
