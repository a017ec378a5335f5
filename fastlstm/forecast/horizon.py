"""Horizons and gaps as steps or as times: 96, "1D", "14h"."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from .._checks import count, short_repr
from .grid import BusinessDays, Fixed, Grid, Months, Steps, duration_text
from .zones import DAY, HOUR, clock_changes, to_local, to_utc

__all__ = ["horizon_bounds", "horizon_steps"]

_UNITS = {
    "ns": 1, "us": 1000, "ms": 10**6, "s": 10**9, "S": 10**9, "sec": 10**9, "min": 60 * 10**9, "T": 60 * 10**9,
    "h": HOUR, "H": HOUR, "d": DAY, "D": DAY, "w": 7 * DAY, "W": 7 * DAY,
}  # fmt: skip
_MONTHS = {"M": 1, "MS": 1, "ME": 1, "Q": 3, "QS": 3, "QE": 3, "Y": 12, "YS": 12, "YE": 12, "A": 12}
_PATTERN = re.compile(r"\s*(\d*)\s*([A-Za-z]+)\s*")


def _parts(horizon: Any, name: str) -> tuple[int, str]:
    """Return number and unit of a horizon that is a text."""
    match = _PATTERN.fullmatch(horizon) if isinstance(horizon, str) else None
    if match is None or (match.group(2) not in _UNITS and match.group(2) not in _MONTHS and match.group(2) != "B"):
        raise ValueError(
            f"{name} must be a number of steps or a time such as '1D', '14h' or '30min', got {short_repr(horizon)}"
        )
    number = int(match.group(1) or 1)
    if number > 10**9:
        raise ValueError(f"{name} is too long: {short_repr(horizon)}")
    return number, match.group(2)


def horizon_steps(grid: Grid, zone: str | None, horizon: Any, end: int, phase: int, name: str = "horizon") -> int:
    """Return the number of steps of a horizon after a time.

    Parameters
    ----------
    grid : Grid
    zone : str or None
        The zone of the local clock.
    horizon : int or str
        Steps; or a number and a unit. Hours and less are times that pass; days (D) and weeks (W) lead to the same local
        time, so that "1D" is 92, 96 or 100 quarters of an hour; months (M), quarters (Q) and years (Y) need a grid of
        months, business days (B) one of business days.
    end, phase : int
        A point of the grid and its phase.
    name : str
        Name of the argument.

    Raises
    ------
    ValueError
        If the horizon ends between two points; the message says which are nearest.
    """
    if not isinstance(horizon, str):
        return count(name, horizon, least=0)
    number, unit = _parts(horizon, name)
    if type(grid) is Steps:
        raise ValueError(f"times are whole numbers, so {name} must be a number of steps, got {short_repr(horizon)}")
    if number == 0:
        return 0
    if unit == "B" or unit in _MONTHS:
        return _of_calendar(grid, number, unit, horizon, name)
    # On a grid that is regular on the local clock, such as days, hours are those of the clock too.
    clock = zone if unit.lower() in ("d", "w") or type(grid) is not Fixed else None
    return _of_duration(grid, clock, number * _UNITS[unit], horizon, (end, phase), name)


def _of_calendar(grid: Grid, number: int, unit: str, horizon: str, name: str) -> int:
    if unit == "B" and isinstance(grid, BusinessDays):
        return number
    if unit == "B" or not isinstance(grid, Months):
        need = "business days" if unit == "B" else "months"
        raise ValueError(
            f"{name}={horizon!r} needs a grid of {need}, the grid here has steps of {grid.text}: pass a number of steps"
        )
    steps, rest = divmod(number * _MONTHS[unit], grid.step)
    if rest:
        low = f"{steps * grid.step}M or " if steps else ""
        raise ValueError(
            f"{name}={horizon!r} is no multiple of the step, {grid.text}: nearest are {low}{(steps + 1) * grid.step}M"
        )
    return steps


def _of_duration(grid: Grid, zone: str | None, duration: int, horizon: str, at: tuple[int, int], name: str) -> int:
    start, phase = np.array([at[0]]), at[1]
    if duration > 200 * 366 * DAY:
        raise ValueError(f"{name} is too long: {horizon!r}")
    target = to_utc(to_local(start, zone) + duration, zone)
    first = grid.nearest(start, phase).points
    index, off = grid.nearest(target, phase)
    if not off[0] and index[0] > first[0]:
        return int(index[0] - first[0])
    if not isinstance(grid, Fixed):
        raise ValueError(
            f"{name}={horizon!r} does not end on the grid, whose step is a {grid.text}: pass a number of steps"
        )
    low = duration // grid.step
    choices = [number for number in (low, low + 1) if number > 0]
    texts = [f"{duration_text(number * grid.step)} ({number} step{'s' * (number > 1)})" for number in choices]
    raise ValueError(f"{name}={horizon!r} is no multiple of the step, {grid.text}: nearest are {' and '.join(texts)}")


def horizon_bounds(
    grid: Grid, zone: str | None, horizon: Any, end: int, phase: int, name: str = "horizon"
) -> tuple[int, int]:
    """Return the least and the greatest number of steps that a horizon has, at any time of the two years around `end`.

    With 15 minutes and "1D" in a zone with summer time that is (92, 100).
    """
    steps = horizon_steps(grid, zone, horizon, end, phase, name)
    if not isinstance(horizon, str) or not steps or type(grid) is not Fixed:
        return steps, steps
    number, unit = _parts(horizon, name)
    duration = number * _UNITS[unit]
    if unit.lower() not in ("d", "w"):
        return steps, steps
    jumps = clock_changes(end - 366 * DAY, end + 366 * DAY, zone)
    usual = duration // grid.step
    # A horizon of months may hold both changes, which cancel, or only one of them.
    return usual - max([*jumps, 0]) // grid.step, usual - min([*jumps, 0]) // grid.step
