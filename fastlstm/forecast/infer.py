"""Infer the grid of series from their times: the step that occurs most, and where its points lie in each series."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .grid import BusinessDays, Fixed, Grid, Months, Steps, Wall, month_point
from .runs_of_times import Runs, Tally
from .zones import DAY, HOUR, clock_changes, to_local

__all__ = ["fixed_or_wall", "infer_grid", "phases"]

_Times = NDArray[np.int64]
_SECOND = 10**9
_UNITS = [
    *(k * u for u in (1, 1000, 10**6) for k in (1, 2, 5, 10, 20, 25, 40, 50, 100, 125, 200, 250, 500)),
    *(k * u for u in (_SECOND, 60 * _SECOND) for k in (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30)),
    *(k * HOUR for k in (1, 2, 3, 4, 6, 8, 12)),
    *(k * DAY for k in (1, 2, 7, 14)),
]
"""Durations that clocks are set to, in ns."""


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
        return Steps(_tally(runs, lambda times: times).most_common)
    steps = _tally(runs, lambda times: to_local(times, zone))
    if steps.values[0] >= 28 * DAY:
        months = _months(runs, zone)
        if months is not None:
            return months
    common = steps.most_common
    if common == DAY and (steps.values == 3 * DAY).any() and _leaves_out_weekends(runs, zone):
        return BusinessDays(zone)
    return _of_duration(runs, steps, zone, local_first)


def _tally(runs: Runs, clock: Callable[[_Times], _Times]) -> Tally:
    """Count the steps from time to time, as a clock shows them; raise ValueError if there are none."""
    found = [np.unique(block.steps(clock(block.times)), return_counts=True) for block in runs.blocks()]
    values, where = np.unique(np.concatenate([values for values, _ in found]), return_inverse=True)
    if not len(values):
        raise ValueError(
            "the step of the time grid cannot be inferred, because no series has two different times: pass freq, such "
            "as "
            "freq='15min', freq='D' or freq='MS'"
        )
    counts = np.bincount(where, weights=np.concatenate([counts for _, counts in found]))
    return Tally(values, counts.astype(np.int64))


def _leaves_out_weekends(runs: Runs, zone: str | None) -> bool:
    """Return whether all times are at the same time of day from Monday to Friday."""
    at = to_local(runs.times[:1], zone) % DAY
    for block in runs.blocks():
        local = to_local(block.times, zone)
        if ((local // DAY + 3) % 7 > 4).any() or (local % DAY != at).any():  # 1970-01-01 was a Thursday
            return False
    return True


def _months(runs: Runs, zone: str | None) -> Months | None:
    """Return the grid of months on which all times lie; None if there is none."""
    dates = to_local(runs.times, zone) // DAY
    month = dates.astype("M8[D]").astype("M8[M]").astype(np.int64)
    first = month_point(month, "start")
    days: list[str | int] = ["start", "end", "business start", "business end"]
    same = dates[0] - first[0] + 1
    days += [int(same)] if same <= 28 else []
    for day in days:
        if (dates == month_point(month, day)).all():
            values, counts = np.unique(runs.steps(month), return_counts=True)
            return Months(Tally(values, counts).most_common, day, zone)
    return None


def _of_duration(runs: Runs, steps: Tally, zone: str | None, local_first: bool) -> Grid:
    """Return the grid with the most common step, or the duration of a clock nearest to the median step."""
    exact = fixed_or_wall(steps.most_common, runs, zone, local_first)
    if _misfit(exact, runs) == 0:
        return exact
    _check_summer_time(exact, runs)
    median = steps.median
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


def _check_summer_time(grid: Grid, runs: Runs) -> None:
    """Raise ValueError if times lie off the grid by the hour of a clock with summer time, which is no jitter."""
    if grid.zone not in (None, "UTC") or grid.tolerance < HOUR:
        return
    shifted = 0
    for block in runs.blocks():
        off = np.abs(grid.nearest(block.times, block.spread(phases(grid, block))).off)
        if ((off != 0) & (off != HOUR)).any():
            return
        shifted += int((off == HOUR).sum())
    if shifted > 1:
        raise ValueError(
            f"{shifted} of {len(runs.times)} times lie exactly 1 h off the grid of {grid.text}, as those of a clock "
            "with "
            "summer time do: pass its zone, such as time_zone='Europe/Berlin'; if they are late by chance, pass freq, "
            "such as freq='D'"
        )


def _misfit(grid: Grid, runs: Runs) -> int:
    """Return the largest distance of a time from the grid."""
    return max(
        int(np.abs(grid.nearest(block.times, block.spread(phases(grid, block))).off).max(initial=0))
        for block in runs.blocks()
    )


def phases(grid: Grid, runs: Runs) -> _Times:
    """Return the phase of each series: the one most of its times agree on.

    Where clocks jitter and no phase has the majority, it is the roundest time within the jitter, such as the full
    minute.
    """
    return np.concatenate([_phases_of_block(grid, block) for block in runs.blocks()])


def _phases_of_block(grid: Grid, runs: Runs) -> _Times:
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
