"""From rows at any times to series on regular grids: sorted, without duplicates, gaps filled."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .grid import Fixed, Grid, Steps, alias
from .infer import phases
from .runs_of_times import Runs

__all__ = ["Layout", "Rows", "arrange"]

_Times = NDArray[np.int64]


@dataclass(eq=False)
class Rows:
    """Rows of a table, in its order."""

    codes: _Times
    """(n,): number of the series."""
    times: _Times
    """(n,): in UTC, or whole numbers."""
    series: int
    values: list[NDArray[np.float64]]
    """Columns of numbers, each (n,)."""
    row: Callable[[int], str]
    """The words that name a row."""
    who: Callable[[int], str]
    """The words that name a series, by its number."""
    when: Callable[[int], str]
    """A time in words."""
    keys: list[str]
    """Names of the columns of ids and times."""


@dataclass(eq=False)
class Layout:
    """Where rows go: series follow each other, each with a place for every point of its grid."""

    phases: _Times
    """(series,)"""
    first: _Times
    """(series,): the index of the first point."""
    starts: _Times
    """(series + 1,): the place of the first point of each series, and the number of all points."""
    rows: _Times | None
    """The rows that are kept, sorted; None for all in their order."""
    places: _Times | None
    """The place of each of them; None if they fill all places."""
    unsorted: bool
    duplicates: int
    snapped: int
    largest_shift: int

    @property
    def points(self) -> int:
        """Number of all points."""
        return int(self.starts[-1])

    def spread(self, column: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a column by places; NaN where there is no row."""
        kept = column if self.rows is None else column[self.rows]
        if self.places is None:
            return kept
        full = np.full(self.points, np.nan)
        full[self.places] = kept
        return full


def arrange(rows: Rows, find_grid: Callable[[Runs], Grid], usual: int | None) -> tuple[Grid, Layout]:
    """Place rows on the grid that `find_grid` gives for their times.

    Parameters
    ----------
    rows : Rows
    find_grid : callable
    usual : int, optional
        The phase of data seen before.

    Raises
    ------
    ValueError
        If a time lies off the grid, rows contradict each other, or the gaps exceed the rows by far.
    """
    order, unsorted = _order(rows)
    codes = rows.codes if order is None else rows.codes[order]
    times = rows.times if order is None else rows.times[order]
    counts = np.bincount(codes, minlength=rows.series)
    runs = Runs(times, np.concatenate([[0], np.cumsum(counts)]))
    grid = find_grid(runs)
    phase = phases(grid, runs) if usual is None else np.full(rows.series, usual, np.int64)
    index, snapped, largest = _points(grid, runs, phase)
    if largest > grid.tolerance:
        raise ValueError(_off_grid(rows, order, times, grid.nearest(times, runs.spread(phase)).off, grid))
    order, codes, index = _without_duplicates(rows, order, codes, index, grid)
    counts = np.bincount(codes, minlength=rows.series)
    ends = np.cumsum(counts)
    first, last = index[ends - counts], index[ends - 1]
    lengths = last - first + 1
    _check_gaps(rows, order, index, lengths, ends)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    places = None
    if starts[-1] != len(index):
        places = index - np.repeat(first - starts[:-1], counts)
    layout = Layout(phase, first, starts, order, places, unsorted, len(rows.codes) - len(index), snapped, largest)
    return grid, layout


def _points(grid: Grid, runs: Runs, phase: _Times) -> tuple[_Times, int, int]:
    """Return the nearest point of each time, how many times are not on theirs, and the largest distance."""
    index = np.empty(len(runs.times), np.int64)
    snapped = largest = row = series = 0
    for block in runs.blocks():
        last = series + len(block.starts) - 1
        points, off = grid.nearest(block.times, block.spread(phase[series:last]))
        index[row : row + len(points)] = points
        snapped += int(np.count_nonzero(off))
        largest = max(largest, int(off.max(initial=0)), -int(off.min(initial=0)))
        row, series = row + len(points), last
    return index, snapped, largest


def _order(rows: Rows) -> tuple[_Times | None, bool]:
    """Return the order of the rows by series and time, None if they have it; and whether times were out of order."""
    codes, times = rows.codes, rows.times
    if _is_sorted(codes, times):
        return None, False
    low = int(times.min())
    width = int(times.max()) - low + 1
    if width * rows.series < 2**63:  # one number for both: sorted three times as fast
        order = np.argsort(codes * width + (times - low))
    else:
        order = np.lexsort((times, codes))
    codes, times = codes[order], times[order]
    back = (order[1:] < order[:-1]) & (codes[1:] == codes[:-1]) & (times[1:] != times[:-1])
    return order, bool(back.any())


def _is_sorted(codes: _Times, times: _Times) -> bool:
    step = codes[1:] - codes[:-1]
    return bool((step >= 0).all() and ((times[1:] >= times[:-1]) | (step > 0)).all())


def _off_grid(rows: Rows, order: _Times | None, times: _Times, off: _Times, grid: Grid) -> str:
    bad = np.flatnonzero(np.abs(off) > grid.tolerance)
    places = bad if order is None else order[bad]
    number, place = int(places.min()), int(bad[places.argmin()])
    time, point = int(times[place]), int(times[place] - off[place])
    finer = math.gcd(grid.length, time - point)
    freq = f"freq={finer}" if type(grid) is Steps else f"freq={(alias(finer) if isinstance(grid, Fixed) else 'D')!r}"
    return (
        f"{rows.row(number)}: {rows.who(int(rows.codes[number]))} has the time {rows.when(time)}, which is not on the "
        "grid "
        f"of {grid.text} (nearest point {rows.when(point)}; {len(bad)} in all): correct or drop such rows, "
        "pass "
        f"a finer step, such as {freq}, so that points between are missing, or average the data over the step first"
    )


def _without_duplicates(
    rows: Rows, order: _Times | None, codes: _Times, index: _Times, grid: Grid
) -> tuple[_Times | None, _Times, _Times]:
    """Drop rows that equal the one before; raise ValueError if two rows of one point differ."""
    same = (index[1:] == index[:-1]) & (codes[1:] == codes[:-1])
    if not same.any():
        return order, codes, index
    again = np.flatnonzero(same) + 1
    one, other = (again - 1, again) if order is None else (order[again - 1], order[again])
    for column in rows.values:
        a, b = column[one], column[other]
        differ = np.flatnonzero(~((a == b) | (np.isnan(a) & np.isnan(b))))
        if len(differ):
            pair = sorted((int(one[differ[0]]), int(other[differ[0]])))
            raise ValueError(_contradiction(rows, pair, len(differ), grid))
    kept = np.concatenate([[True], ~same])
    chosen = np.flatnonzero(kept) if order is None else order[kept]
    return chosen, codes[kept], index[kept]


def _contradiction(rows: Rows, pair: list[int], count: int, grid: Grid) -> str:
    one, other = (rows.when(int(rows.times[number])) for number in pair)
    start = f"{rows.row(pair[0])} and {rows.row(pair[1])}: {rows.who(int(rows.codes[pair[0]]))} has two rows for "
    if one != other:
        return (
            f"{start}one step of {grid.text}, at {one} and {other}, with different values ({count} in all): keep "
            "one, "
            "average the data over the step first, or pass a shorter step as freq"
        )
    return (
        f"{start}{one} with different values ({count} in all): keep one, df.drop_duplicates({rows.keys}, "
        f"keep='last'), or their mean, df.groupby({rows.keys}, as_index=False).mean(); if this is the hour that occurs "
        "twice when summer time ends, pass time_zone='Europe/Berlin'"
    )


def _check_gaps(rows: Rows, order: _Times | None, index: _Times, lengths: _Times, ends: Any) -> None:
    total = int(np.minimum(lengths, 2**40).sum())
    if total <= 50 * len(index) + 100_000:
        return
    worst = int(lengths.argmax())
    begin = int(ends[worst - 1]) if worst else 0
    gap = begin + int(np.diff(index[begin : ends[worst]]).argmax())
    pair = [gap, gap + 1] if order is None else [int(order[gap]), int(order[gap + 1])]
    times = [rows.when(int(rows.times[number])) for number in pair]
    raise ValueError(
        f"{rows.who(worst)} would have {int(lengths[worst]):,} points for {int(ends[worst]) - begin:,} rows, most of "
        "them in the "
        f"gap from {times[0]} ({rows.row(pair[0])}) to {times[1]} ({rows.row(pair[1])}): correct a wrong time, split "
        "the "
        "series at the gap by giving its parts different ids, or pass a longer step, such as freq='h'"
    )
