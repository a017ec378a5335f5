"""The axis of time that all series of a forecaster share: the step of the grid, the zone, the calendar."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._checks import count, short_repr
from .._typing import Array
from .calendar import CYCLES, calendar_features, calendar_names, choose_cycles
from .grid import Grid, Steps
from .grid_files import grid_from_config
from .holiday_dates import HOLIDAY_NAMES, Holidays, as_holidays
from .horizon import horizon_bounds, horizon_steps
from .zones import DAY, to_local, zone_name

__all__ = ["TimeAxis"]


_KEYS = {"grid", "zone", "phase", "calendar", "holidays", "days"}


class TimeAxis:
    """Grid points after one another, and what the calendar says of them.

    Times are datetime64[ns] in UTC; int64 where time is counted in steps.

    Attributes
    ----------
    grid : Grid
    zone : str or None
        The zone whose clock the calendar follows.
    phase : int or None
        Where the points of all series lie; None if that differs.
    feature_names : tuple of str
        Names of the columns of `features`.
    """

    def __init__(
        self,
        grid: Grid,
        zone: str | None,
        phase: int | None = None,
        cycles: tuple[str, ...] = (),
        holidays: Holidays | None = None,
        days: tuple[int, int] = (0, 0),
    ) -> None:
        self.grid, self.zone, self.phase = grid, zone, phase
        self._cycles, self._holidays = cycles, holidays
        self._days = days
        self.feature_names = calendar_names(cycles) + (() if holidays is None else HOLIDAY_NAMES)

    @classmethod
    def fitted(
        cls, grid: Grid, zone: str | None, phase: int | None, calendar: Any, holidays: Any, ends: tuple[int, int]
    ) -> TimeAxis:
        """Return the axis of data from a first to a last time, with the calendar that they warrant."""
        first, last = ends
        if cls.counts(grid):
            if calendar not in (None, "auto") or holidays is not None:
                raise ValueError(
                    "times are whole numbers, which have no calendar: pass calendar=None and holidays=None, or times"
                )
            return cls(grid, zone, phase)
        chosen = as_holidays(holidays)
        if chosen is not None and grid.length > DAY:
            raise ValueError(f"holidays need steps of a day or less, got steps of {grid.text}: pass holidays=None")
        cycles = choose_cycles(calendar, grid, last - first)
        return cls(grid, zone, phase, cycles, chosen, (first // DAY, last // DAY))

    @staticmethod
    def counts(grid: Grid) -> bool:
        """Return whether a grid counts in whole numbers."""
        return type(grid) is Steps

    @property
    def counted(self) -> bool:
        """Whether time is counted in whole numbers."""
        return self.counts(self.grid)

    def as_numbers(self, times: Any) -> Any:
        """Return times as int64."""
        array = np.asarray(times)
        return array.astype(np.int64) if self.counted else array.astype("M8[ns]").astype(np.int64)

    def as_times(self, numbers: Any) -> Array:
        """Return int64 as times."""
        times: Array = numbers if self.counted else numbers.view("M8[ns]")
        return times

    def steps(self, end: Any, n: int) -> Array:
        """Return the n grid points after a time of the grid, (n,).

        Examples
        --------
        >>> import numpy as np
        >>> from fastlstm.forecast.grid import Months
        >>> axis = TimeAxis(Months(1, "end", None), None)
        >>> axis.steps(np.datetime64("2024-01-31", "ns"), 2).astype("M8[D]").astype(str).tolist()
        ['2024-02-29', '2024-03-31']
        """
        last = np.atleast_1d(self.as_numbers(end))
        phase = self.phase_at(last)
        index = self.grid.nearest(last, phase).points
        return self.as_times(self.grid.times(index + np.arange(1, count("n", n, least=0) + 1), phase))

    def steps_before(self, end: Any, n: int) -> Array:
        """Return the n grid points up to a time of the grid, (n,), the time itself the last one."""
        last = np.atleast_1d(self.as_numbers(end))
        phase = self.phase_at(last)
        index = self.grid.nearest(last, phase).points
        return self.as_times(self.grid.times(index + np.arange(1 - count("n", n), 1), phase))

    def phase_at(self, point: Any) -> Any:
        """Return the phase of the grid through a point, (1,).

        Where the clock skips a time, the point after the jump belongs to two phases: that of all series is meant.
        """
        if self.phase is not None and not self.grid.nearest(point, self.phase).off.any():
            return np.array([self.phase])
        return self.grid.phase_of(point)

    def steps_between(self, start: Any, end: Any) -> int:
        """Return the number of steps from one time of the grid to another; negative if it lies before."""
        ends = np.concatenate([np.atleast_1d(self.as_numbers(time)) for time in (start, end)])
        first, last = self.grid.nearest(ends, self.phase_at(ends[:1])).points
        return int(last - first)

    def horizon_steps(self, horizon: int | str, end: Any, name: str = "horizon") -> int:
        """Return the number of steps of a horizon after a time: 96, or "1D" until the same local time.

        See `horizon.horizon_steps`.
        """
        return horizon_steps(self.grid, self.zone, horizon, *self._end(end), name)

    def horizon_bounds(self, horizon: int | str, end: Any, name: str = "horizon") -> tuple[int, int]:
        """Return the least and the greatest number of steps of a horizon in the two years around a time."""
        return horizon_bounds(self.grid, self.zone, horizon, *self._end(end), name)

    def _end(self, end: Any) -> tuple[int, int]:
        point = np.atleast_1d(self.as_numbers(end))
        return int(point[0]), int(self.phase_at(point)[0])

    def local(self, times: Any) -> Array:
        """Return what the local clock shows, datetime64[ns] without zone."""
        numbers = self.as_numbers(times)
        return numbers if self.counted else to_local(numbers, self.zone).view("M8[ns]")

    def features(self, times: Any) -> Array:
        """Return the calendar at some times, (n, len(feature_names)), float64."""
        numbers = np.atleast_1d(self.as_numbers(times))
        out = np.empty((len(numbers), len(self.feature_names)))
        if self.counted or not self.feature_names:
            return out
        local = to_local(numbers, self.zone)
        waves = 2 * len(self._cycles)
        calendar_features(self._cycles, local, out[:, :waves])
        if self._holidays is not None:
            out[:, waves:] = self._holidays.columns(local // DAY)
        return out

    def to_config(self) -> dict[str, Any]:
        """Return a description for JSON."""
        return {
            "grid": self.grid.to_config(),
            "zone": self.zone,
            "phase": self.phase,
            "calendar": list(self._cycles),
            "holidays": None if self._holidays is None else self._holidays.to_config(*self._days),
            "days": list(self._days),
        }

    @classmethod
    def from_config(cls, config: Any) -> TimeAxis:
        """Return the axis that `to_config` described; raise ValueError if that is damaged."""
        if not isinstance(config, dict) or set(config) != _KEYS:
            raise ValueError(f"a time axis must have {', '.join(sorted(_KEYS))}, got {short_repr(config)}")
        if not isinstance(config["zone"], (str, type(None))):
            raise ValueError(f"the time zone of a time axis must be a name, got {short_repr(config['zone'])}")
        zone = zone_name(config["zone"])
        grid = grid_from_config(config["grid"], zone)
        cycles, days, phase = config["calendar"], config["days"], config["phase"]
        if phase is not None and (type(phase) is not int or not 0 <= phase < grid.period):
            raise ValueError(f"the phase of a time axis must be a whole number below its step, got {short_repr(phase)}")
        if not isinstance(cycles, list) or any(not isinstance(one, str) or one not in CYCLES for one in cycles):
            raise ValueError(f"unknown calendar: {short_repr(cycles)}")
        if (
            not isinstance(days, list)
            or len(days) != 2
            or any(type(day) is not int or abs(day) > 200_000 for day in days)
        ):
            raise ValueError(f"the days of a time axis must be two whole numbers, got {short_repr(days)}")
        holidays = None if config["holidays"] is None else Holidays.from_config(config["holidays"])
        if cls.counts(grid) and (cycles or holidays is not None):
            raise ValueError("an axis of whole numbers has no calendar")
        return cls(grid, zone, phase, tuple(cycles), holidays, (days[0], days[1]))
