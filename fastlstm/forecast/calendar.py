"""Features of the calendar: sines and cosines of the hour, the day of the week, the day of the year."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._checks import as_list, short_repr
from .grid import Grid, Months
from .zones import DAY, HOUR

__all__ = ["CYCLES", "calendar_features", "calendar_names", "choose_cycles"]

_Times = NDArray[np.int64]


def _day_of_month(local: _Times) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return days since the first of the month, and the days of the month."""
    day = (local // DAY).astype("M8[D]")
    month = day.astype("M8[M]")
    first = month.astype("M8[D]")
    length = ((month + 1).astype("M8[D]") - first).astype(np.float64)
    return (day - first).astype(np.float64) + local % DAY / DAY, length


def _month(local: _Times) -> NDArray[np.float64]:
    part: NDArray[np.float64] = ((local // DAY).astype("M8[D]").astype("M8[M]").astype(np.int64) % 12) / 12
    return part


def _of_month(local: _Times) -> NDArray[np.float64]:
    day, length = _day_of_month(local)
    part: NDArray[np.float64] = day / length
    return part


def _of_year(local: _Times) -> NDArray[np.float64]:
    day = (local // DAY).astype("M8[D]")
    year = day.astype("M8[Y]")
    first = year.astype("M8[D]")
    length = ((year + 1).astype("M8[D]") - first).astype(np.float64)
    part: NDArray[np.float64] = ((day - first).astype(np.float64) + local % DAY / DAY) / length
    return part


CYCLES: dict[str, Callable[[_Times], NDArray[np.float64]]] = {
    "minute_of_hour": lambda local: local % HOUR / HOUR,
    "hour_of_day": lambda local: local % DAY / DAY,
    "day_of_week": lambda local: (local + 3 * DAY) % (7 * DAY) / (7 * DAY),  # 1970-01-01 was a Thursday
    "day_of_month": _of_month,
    "day_of_year": _of_year,
    "month_of_year": _month,
}
"""From local times to the part of the cycle that has passed, from 0 to below 1."""


def choose_cycles(calendar: Any, grid: Grid, span: int) -> tuple[str, ...]:
    """Return the names of the cycles of an argument `calendar`.

    "auto" takes a cycle if the step is at most half of it and the data hold it at least twice: the hour of the day from
    2 days of data, the day of the week from 14, the day of the year from 730; of monthly grids the month from 2 years.

    Parameters
    ----------
    calendar : "auto", None, or list of str
    grid : Grid
    span : int
        From the first to the last time of the data, in ns.

    Raises
    ------
    ValueError
        If a name is unknown.
    """
    if calendar is None:
        return ()
    if isinstance(calendar, str) and calendar == "auto":
        if isinstance(grid, Months):
            return ("month_of_year",) if grid.step < 12 and span >= 700 * DAY else ()
        cycles = (
            ("hour_of_day", DAY),
            ("day_of_week", 7 * DAY),
            ("day_of_year", 365 * DAY),
        )
        whole = span + grid.length
        return tuple(name for name, cycle in cycles if 2 * grid.length <= cycle and 2 * cycle <= whole)
    names = as_list("calendar", [calendar] if isinstance(calendar, str) else calendar, "names")
    for name in names:
        if name not in CYCLES:
            raise ValueError(
                f"calendar must be 'auto', None or a list of {', '.join(map(repr, CYCLES))}, got {short_repr(name)}"
            )
    if len(set(names)) < len(names):
        raise ValueError(f"calendar holds a name twice: {short_repr(names)}")
    return tuple(names)


def calendar_names(cycles: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the features."""
    return tuple(f"{name}_{wave}" for name in cycles for wave in ("sin", "cos"))


def calendar_features(cycles: tuple[str, ...], local: _Times, out: NDArray[np.float64]) -> None:
    """Write the features at local times into (n, 2 * cycles)."""
    for place, name in enumerate(cycles):
        angle = 2 * np.pi * CYCLES[name](local)
        np.sin(angle, out=out[:, 2 * place])
        np.cos(angle, out=out[:, 2 * place + 1])
