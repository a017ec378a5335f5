"""Grids from arguments `freq`, and from their descriptions in files."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._checks import short_repr
from .grid import BusinessDays, Fixed, Grid, Months, Steps, Wall
from .infer import fixed_or_wall
from .packages import pandas_package
from .runs_of_times import Runs
from .zones import DAY

__all__ = ["grid_from_config", "grid_of_freq"]

_MONTHS = {
    "MonthBegin": (1, "start"),
    "MonthEnd": (1, "end"),
    "BusinessMonthBegin": (1, "business start"),
    "BusinessMonthEnd": (1, "business end"),
    "QuarterBegin": (3, "start"),
    "QuarterEnd": (3, "end"),
    "BQuarterBegin": (3, "business start"),
    "BQuarterEnd": (3, "business end"),
    "YearBegin": (12, "start"),
    "YearEnd": (12, "end"),
    "BYearBegin": (12, "business start"),
    "BYearEnd": (12, "business end"),
}
_OLD = {"M": "ME", "Q": "QE", "A": "YE", "Y": "YE", "H": "h", "T": "min", "S": "s", "L": "ms"}
_DAYS = ("start", "end", "business start", "business end")


def grid_of_freq(freq: Any, runs: Runs, zone: str | None, counted: bool, local_first: bool) -> Grid:
    """Return the grid of an argument `freq`: an alias of pandas such as "15min" or "MS", an offset, or a duration.

    Raises
    ------
    ValueError
        If it is no frequency, or one without a regular grid.
    """
    if counted:
        if isinstance(freq, (int, np.integer)) and not isinstance(freq, bool) and freq > 0:
            return Steps(int(freq))
        raise ValueError(f"times are whole numbers, so freq must be a whole number above 0, got {short_repr(freq)}")
    offset = _offset(freq)
    kind = type(offset).__name__
    if offset.n < 1:
        raise ValueError(f"freq must lead forward, got {short_repr(freq)}")
    if kind in _MONTHS:
        step, day = _MONTHS[kind]
        return Months(step * offset.n, day, zone)
    if kind in ("BusinessDay", "BDay") and offset.n == 1:
        return BusinessDays(zone)
    duration = _duration(offset, kind)
    if duration is None or duration < 1:
        raise ValueError(
            f"freq={short_repr(freq)} has no regular grid here, expected a duration such as '15min', 'h' or 'D', 'W', "
            "'B', "
            "'MS', 'ME', 'QS', 'QE', 'YS' or 'YE'"
        )
    return fixed_or_wall(duration, runs, zone, local_first)


def _offset(freq: Any) -> Any:
    pd = pandas_package()
    if isinstance(freq, np.timedelta64):
        freq = pd.Timedelta(freq)
    if isinstance(freq, (int, float, np.number)):
        raise ValueError(f"freq must be a text such as '15min' where times are dates, got {short_repr(freq)}")
    tries = [freq]
    if isinstance(freq, str):
        digits = freq[: len(freq) - len(freq.lstrip("0123456789"))]
        name, _, anchor = freq[len(digits) :].partition("-")
        if name in _OLD:  # pandas took these up to 2.2
            tries.insert(0, digits + _OLD[name] + ("-" + anchor if anchor else ""))
    for one in tries:
        try:
            offset = pd.tseries.frequencies.to_offset(one)
        except Exception:  # pandas raises errors of several types
            continue
        if offset is not None:
            return offset
    raise ValueError(
        f"freq must be a frequency such as '15min', 'h', 'D', 'B', 'W', 'MS' or 'ME', got {short_repr(freq)}"
    )


def _duration(offset: Any, kind: str) -> int | None:
    if kind == "Week":
        return int(7 * DAY * offset.n)
    if kind == "Day":
        return int(DAY * offset.n)
    nanos = None
    try:
        nanos = int(offset.nanos)
    except (ValueError, AttributeError):
        return None
    return nanos


def grid_from_config(config: Any, zone: str | None) -> Grid:
    """Return the grid that `Grid.to_config` described; raise ValueError if that is damaged."""
    if not isinstance(config, dict):
        raise ValueError(f"a grid must be an object, got {short_repr(config)}")
    kind, step = config.get("kind"), config.get("step")
    if kind == "business days" and set(config) == {"kind"}:
        return BusinessDays(zone)
    if type(step) is not int or not 0 < step < 2**62:
        raise ValueError(f"unknown grid: {short_repr(config)}")
    if kind == "months" and set(config) == {"kind", "step", "day"}:
        day = config["day"]
        if step <= 1200 and (day in _DAYS if isinstance(day, str) else type(day) is int and 2 <= day <= 28):
            return Months(step, day, zone)
    if set(config) == {"kind", "step"}:
        if kind == "steps":
            return Steps(step)
        if kind == "fixed":
            return Fixed(step, zone)
        if kind == "wall" and zone is not None:
            return Wall(step, zone)
    raise ValueError(f"unknown grid: {short_repr(config)}")
