"""Infer the grid of series from their times: the step that occurs most, and where its points lie in each series."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .grid import BusinessDays, Fixed, Grid, Months, Steps, Wall, month_point
from .zones import DAY, HOUR, clock_changes, to_local

__all__ = ["Runs", "fixed_or_wall", "infer_grid", "phases"]

_Times = NDArray[np.int64]
_SECOND = 10**9
_UNITS = [
    *(k * u for u in (1, 1000, 10**6) for k in (1, 2, 5, 10, 20, 25, 40, 50, 100, 125, 200, 250, 500)),
    *(k * u for u in (_SECOND, 60 * _SECOND) for k in (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30)),
    *(k * HOUR for k in (1, 2, 3, 4, 6, 8, 12)),
    *(k * DAY for k in (1, 2, 7, 14)),
]
"""Durations that clocks are set to, in ns."""


class Runs(NamedTuple):
    """The times of several series, one after another."""

    times: _Times
    """(n,), ascending within each series, in UTC."""
    starts: _Times
    """(series + 1,): where each series begins, and n."""

    def steps(self, times: _Times) -> _Times:
        """Return the positive differences between neighbours of the same series, of times in the same order."""
        steps = np.diff(times)
        inside = np.ones(len(steps), bool)
        inside[self.starts[1:-1] - 1] = False
        return steps[inside & (steps > 0)]

    def spread(self, values: _Times) -> _Times:
        """Repeat a value per series for each of its rows."""
        return np.repeat(values, np.diff(self.starts))


def infer_grid(runs: Runs, zone: str | None, counted: bool, local_first: bool) -> Grid:
    """Return the grid on which the series lie.

    Parameters
    ----------
    runs : Runs
    zone : str or None
    counted : bool
        Times are whole numbers.
    local_first : bool
        Where a grid in UTC and one on the local clock fit equally, choose the latter.

    Raises
    ------
    ValueError
        If no series has two different times.
    """
    if counted:
        steps = runs.steps(runs.times)
        return Steps(_most_common(_some(steps)))
    local = to_local(runs.times, zone)
    steps = _some(runs.steps(local))
    if steps.min() >= 28 * DAY:
        months = _months(runs, local, zone)
        if months is not None:
            return months
    common = _most_common(steps)
    if common == DAY and _leaves_out_weekends(local, steps):
        return BusinessDays(zone)
    return _of_duration(runs, common, int(np.median(steps)), zone, local_first)


def _some(steps: _Times) -> _Times:
    if not len(steps):
        raise ValueError(
            "the step of the time grid cannot be inferred, because no series has two different times: pass freq, such "
            "as "
            "freq='15min', freq='D' or freq='MS'"
        )
    return steps


def _most_common(steps: _Times) -> int:
    values, counts = np.unique(steps, return_counts=True)
    return int(values[counts.argmax()])  # the smallest of those that occur equally often


def _leaves_out_weekends(local: _Times, steps: _Times) -> bool:
    weekdays = (local // DAY + 3) % 7  # 1970-01-01 was a Thursday
    return bool((weekdays < 5).all() and (steps == 3 * DAY).any() and not (local % DAY != local[0] % DAY).any())


def _months(runs: Runs, local: _Times, zone: str | None) -> Months | None:
    """Return the grid of months on which all times lie; None if there is none."""
    dates = local // DAY
    month = dates.astype("M8[D]").astype("M8[M]").astype(np.int64)
    first = month_point(month, "start")
    days: list[str | int] = ["start", "end", "business start", "business end"]
    same = dates[0] - first[0] + 1
    days += [int(same)] if same <= 28 else []
    for day in days:
        if (dates == month_point(month, day)).all():
            return Months(_most_common(runs.steps(month)), day, zone)
    return None


def _of_duration(runs: Runs, common: int, median: int, zone: str | None, local_first: bool) -> Grid:
    """Return the grid with the most common step, or the duration of a clock nearest to the median step."""
    exact = fixed_or_wall(common, runs, zone, local_first)
    off = _misfit(exact, runs)
    if off == 0:
        return exact
    near = min(_UNITS, key=lambda unit: abs(unit - median))
    if abs(near - median) <= 0.1 * near:
        nice = fixed_or_wall(near, runs, zone, local_first)
        if _misfit(nice, runs) <= nice.tolerance:
            return nice
    return exact


def fixed_or_wall(step: int, runs: Runs, zone: str | None, local_first: bool) -> Fixed:
    """Return the grid of a step that is regular in UTC or, if that fits better, on the local clock."""
    fixed = Fixed(step, zone)
    margin = 400 * DAY  # so that data of one winter know of the summer
    jumps = clock_changes(int(runs.times.min()) - margin, int(runs.times.max()) + margin, zone)
    if all(jump % step == 0 for jump in jumps):
        return fixed
    wall = Wall(step, zone)
    if step % DAY == 0:
        return wall
    of_fixed, of_wall = _misfit(fixed, runs), _misfit(wall, runs)
    return wall if of_wall < of_fixed or (of_wall == of_fixed and local_first) else fixed


def _misfit(grid: Grid, runs: Runs) -> int:
    """Return the largest distance of a time from the grid."""
    index_phase = runs.spread(phases(grid, runs))
    return int(np.abs(grid.nearest(runs.times, index_phase).off).max(initial=0))


def phases(grid: Grid, runs: Runs) -> _Times:
    """Return the phase of each series: the one most of its times agree on.

    Where clocks jitter and no phase has the majority, it is the roundest time within the jitter, such as the full
    minute.
    """
    found = grid.phase_of(runs.times)
    begins = runs.starts[:-1]
    chosen = found[begins]
    differs = np.logical_or.reduceat(found != runs.spread(chosen), begins)
    for number in np.flatnonzero(differs).tolist():
        chosen[number] = _phase(found[runs.starts[number] : runs.starts[number + 1]], grid.period)
    return chosen


def _phase(found: _Times, period: int) -> int:
    values, counts = np.unique(found, return_counts=True)
    best = int(values[counts.argmax()])
    if 2 * counts.max() > len(found):
        return best
    # Distances from one of the phases, from -period/2 to period/2, because phases are points on a circle.
    around = (found - best + period // 2) % period - period // 2
    middle, spread = best + int(np.median(around)), int(np.abs(around - np.median(around)).max())
    for unit in sorted({period, *(unit for unit in _UNITS if unit < period)}, reverse=True):
        nearest = (middle + unit // 2) // unit * unit
        if abs(nearest - middle) <= spread:
            return nearest % period
    return middle % period
