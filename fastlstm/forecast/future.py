"""What is known of the steps after the data: their times, the user's columns, the calendar."""

from __future__ import annotations

from dataclasses import dataclass
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
from .table import Table, check_kind, read_table, time_text
from .time_column import TimeKind

__all__ = ["Wanted", "next_points", "read_future"]

_Times = NDArray[np.int64]


def next_points(axis: TimeAxis, panel: Panel, steps: int | list[int]) -> list[Array]:
    """Return the times of the steps after each series; series that end together share an array."""
    if isinstance(steps, (int, np.integer)):
        each = [count("steps", steps)] * len(panel.series)
    else:
        each = [count("steps", one) for one in as_list("steps", steps, "whole numbers")]
    if len(each) != len(panel.series):
        raise ValueError(f"steps holds {len(each)} numbers, expected one for each of the {len(panel.series)} series")
    points: dict[tuple[int, int], Array] = {}
    found = []
    for one, number in zip(panel.series, each, strict=True):
        key = int(axis.as_numbers(one.times[-1:])[0]), number
        if key not in points:
            points[key] = axis.steps(one.times[-1], number)
        found.append(points[key])
    return found


@dataclass(eq=False)
class Wanted:
    """The steps of which futr_exog must be known."""

    axis: TimeAxis
    columns: Columns
    kind: TimeKind
    zone: str | None
    """The zone that the user gave."""
    panel: Panel
    points: list[Array]
    """The times after each series."""

    def text(self, time: Any) -> str:
        """Return a time as the user would write it."""
        return time_text(int(self.axis.as_numbers(np.atleast_1d(time))[0]), self.kind, self.axis.zone)

    def span(self, number: int) -> str:
        """Return the first and last step of a series in words."""
        points = self.points[number]
        first = self.text(points[0])
        return first if len(points) == 1 else f"{len(points)} from {first} to {self.text(points[-1])}"


def read_future(wanted: Wanted, future: Any) -> list[Array]:
    """Return futr_exog and the calendar of the steps after each series, see `FrameReader.read_future`."""
    cache: dict[int, Array] = {}
    calendar = [cache.setdefault(id(times), wanted.axis.features(times)) for times in wanted.points]
    columns = wanted.columns
    if not columns.futr_exog:
        if future is not None:
            raise ValueError(
                "future was given, but futr_exog names no column: name those of future in it, and fit again"
            )
        return calendar
    if future is None:
        raise ValueError(
            f"futr_exog={list(columns.futr_exog)} must be known for the steps of the forecast, {wanted.span(0)}: pass "
            "future=, a frame with these columns; make_future() makes its ids and times"
        )
    source = _source(columns, future, len(wanted.points))
    known = _values(wanted, source)
    return [np.concatenate([one, more], axis=1) for one, more in zip(known, calendar, strict=True)]


def _source(columns: Columns, future: Any, series: int) -> Source:
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
            f"future has the column {left[0]!r}, which the training data have not, expected {list(columns.futr_exog)}: "
            f"drop it with future.drop(columns={left!r})"
        )
    return source


def _values(wanted: Wanted, source: Source) -> list[NDArray[np.float64]]:
    """Return futr_exog at the points of each series."""
    axis, columns, series = wanted.axis, wanted.columns, wanted.panel.series
    after = {one.id: int(axis.as_numbers(one.times[-1:])[0]) for one in series}
    names = (columns.id_col, columns.time_col, columns.futr_exog)
    table = read_table(source, names, wanted.zone, series[0].id, after)
    check_kind(table, axis, wanted.kind, source.code(columns.time_col))
    numbers = {one: number for number, one in enumerate(table.ids)}
    strange = next((one for one in table.ids if one not in after), None)
    if strange is not None:
        raise ValueError(
            f"future has rows of {who(strange)}, which is not among the {len(after)} series of the forecast: drop them"
        )
    rows = table.rows
    order = np.lexsort((rows.times, rows.codes))
    starts = np.searchsorted(rows.codes[order], np.arange(rows.series + 1))
    found = []
    for place, one in enumerate(series):
        if one.id not in numbers:
            raise ValueError(f"future has no rows of {who(one.id)}, expected {wanted.span(place)}")
        number = numbers[one.id]
        found.append(_of_series(wanted, table, order[starts[number] : starts[number + 1]], place))
    return found


def _of_series(wanted: Wanted, table: Table, mine: _Times, number: int) -> NDArray[np.float64]:
    """Return futr_exog of a series, (steps, m), from its rows in the order of time."""
    one, points = wanted.panel.series[number], wanted.points[number]
    places = _places(wanted, table, mine, number)
    inside = (places >= 0) & (places < len(points))
    places, chosen = places[inside], mine[inside]
    values = np.full((len(points), len(wanted.columns.futr_exog)), np.nan)
    for place, column in enumerate(table.rows.values):
        values[places, place] = column[chosen]
    again = np.flatnonzero(np.diff(places) == 0)
    for place, column in enumerate(table.rows.values):
        a, b = column[chosen[again]], column[chosen[again + 1]]
        differ = np.flatnonzero(~((a == b) | (np.isnan(a) & np.isnan(b))))
        if len(differ):
            pair = sorted(chosen[again[differ[0]] : again[differ[0]] + 2].tolist())
            raise ValueError(
                f"{table.rows.row(pair[0])} and {table.rows.row(pair[1])}: future has two rows of {who(one.id)} for "
                f"{table.rows.when(int(table.rows.times[pair[0]]))} with different values of "
                f"{wanted.columns.futr_exog[place]!r}: keep one"
            )
    present = np.zeros(len(points), bool)
    present[places] = True
    _check_filled(wanted, number, values, present)
    return values


def _places(wanted: Wanted, table: Table, mine: _Times, number: int) -> _Times:
    """Return the steps after the series of rows, from 0; rows after the last wanted step have higher numbers."""
    axis, rows, one = wanted.axis, table.rows, wanted.panel.series[number]
    end = axis.as_numbers(one.times[-1:])
    times = rows.times[mine]
    phase = axis.phase_at(end)
    points, off = axis.grid.nearest(times, phase)
    wrong = np.flatnonzero(np.abs(off) > axis.grid.tolerance)
    if len(wrong):
        raise ValueError(
            f"{rows.row(int(mine[wrong[0]]))}: future has the time {rows.when(int(times[wrong[0]]))} for "
            f"{who(one.id)}, "
            f"which is between two steps of {axis.grid.text}, expected {wanted.span(number)}"
        )
    places: _Times = points - axis.grid.nearest(end, phase).points - 1
    early = mine[places < 0]
    if len(early):
        raise ValueError(
            f"{rows.row(int(early.min()))}: future has {len(early)} rows of {who(one.id)} up to its last reading at "
            f"{wanted.text(one.times[-1])}, expected {wanted.span(number)}: drop them"
        )
    return places


def _check_filled(wanted: Wanted, number: int, values: NDArray[np.float64], present: NDArray[np.bool_]) -> None:
    """Raise ValueError if a row or a cell is missing."""
    one, points = wanted.panel.series[number], wanted.points[number]
    absent = np.flatnonzero(~present)
    if len(absent):
        raise ValueError(
            f"future has no row of {who(one.id)} for {wanted.text(points[absent[0]])} ({len(absent)} of {len(points)} "
            f"are missing), expected {wanted.span(number)}; make_future() makes their ids and times"
        )
    for place, name in enumerate(wanted.columns.futr_exog):
        missing = np.flatnonzero(np.isnan(values[:, place]))
        if len(missing):
            raise ValueError(
                f"future has no value of {name!r} for {who(one.id)} at {wanted.text(points[missing[0]])} "
                f"({len(missing)} of {len(points)} are missing): fill them, or name {name!r} in hist_exog and fit again"
            )
