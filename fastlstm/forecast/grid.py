"""Regular grids of time: the points at which a series has values, as a function of a whole number.

Times are int64: nanoseconds since 1970 in UTC, or whole numbers if time is counted in steps. A grid knows its step; a
`phase` says where the points of one series lie: 7 minutes past each quarter of an hour, or the second month of each
quarter at 06:00. For all grids ``times(index, phase)`` and ``nearest(times, phase)`` are inverse to each other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .zones import DAY, to_local, to_utc

__all__ = [
    "BusinessDays",
    "Fixed",
    "Grid",
    "Months",
    "Nearest",
    "Steps",
    "Wall",
    "alias",
    "duration_text",
    "month_point",
]

_Times = NDArray[np.int64]


class Nearest(NamedTuple):
    """The grid points nearest to some times."""

    points: _Times
    off: _Times
    """The times minus those of the points, in ns (or steps)."""


class Grid(ABC):
    """The step of a regular grid.

    Attributes
    ----------
    zone : str or None
        The time zone in whose clock the grid is regular, or whose calendar is meant.
    """

    zone: str | None = None

    @abstractmethod
    def times(self, index: _Times, phase: Any) -> _Times:
        """Return the times of points."""

    @abstractmethod
    def nearest(self, times: _Times, phase: Any) -> Nearest:
        """Return the nearest point to each time."""

    @abstractmethod
    def phase_of(self, times: _Times) -> _Times:
        """Return the phase of the grid that goes through each time exactly."""

    @property
    @abstractmethod
    def period(self) -> int:
        """Phases are numbers from 0 to below this, and meet at the ends."""

    @property
    @abstractmethod
    def length(self) -> int:
        """The length of a typical step, in ns (or steps)."""

    @property
    @abstractmethod
    def tolerance(self) -> int:
        """How far a time may lie from its point, in ns (or steps), to be snapped to it."""

    @property
    @abstractmethod
    def text(self) -> str:
        """The step in words, such as "15 min"."""

    @abstractmethod
    def to_config(self) -> dict[str, Any]:
        """Return a description for JSON."""


class Steps(Grid):
    """Time counted in whole numbers."""

    def __init__(self, step: int) -> None:
        self.step = step

    def times(self, index: _Times, phase: Any) -> _Times:
        times: _Times = index * self.step + phase
        return times

    def nearest(self, times: _Times, phase: Any) -> Nearest:
        index = (times - phase + self.step // 2) // self.step
        return Nearest(index, times - phase - index * self.step)

    def phase_of(self, times: _Times) -> _Times:
        return times % self.step

    @property
    def period(self) -> int:
        return self.step

    @property
    def length(self) -> int:
        return self.step

    @property
    def tolerance(self) -> int:
        return 0

    @property
    def text(self) -> str:
        return f"{self.step} (whole numbers)"

    def to_config(self) -> dict[str, Any]:
        return {"kind": "steps", "step": self.step}


class Fixed(Steps):
    """A step of a fixed duration, such as 15 minutes: regular in UTC."""

    def __init__(self, step: int, zone: str | None) -> None:
        super().__init__(step)
        self.zone = zone

    @property
    def tolerance(self) -> int:
        return min(self.step, DAY) // 4

    @property
    def text(self) -> str:
        return duration_text(self.step)

    def to_config(self) -> dict[str, Any]:
        return {"kind": "fixed", "step": self.step}


class Wall(Fixed):
    """A step that is regular on the local clock: days of 23, 24 or 25 hours, or 00:00, 06:00, 12:00 and 18:00 daily."""

    def times(self, index: _Times, phase: Any) -> _Times:
        return to_utc(super().times(index, phase), self.zone)

    def nearest(self, times: _Times, phase: Any) -> Nearest:
        index = super().nearest(to_local(times, self.zone), phase).points
        # A point that the clock skips is moved to the end of the jump, so the distance is measured in UTC.
        return Nearest(index, times - self.times(index, phase))

    def phase_of(self, times: _Times) -> _Times:
        return to_local(times, self.zone) % self.step

    @property
    def text(self) -> str:
        return f"{duration_text(self.step)} on the clock of {self.zone}"

    def to_config(self) -> dict[str, Any]:
        return {"kind": "wall", "step": self.step}


class _Calendar(Grid):
    """A grid of dates of the local calendar. A phase is days * DAY + the time of day."""

    @abstractmethod
    def _dates(self, index: _Times, part: Any) -> _Times:
        """Return the dates of points, in days since 1970."""

    @abstractmethod
    def _below(self, dates: _Times, part: Any) -> _Times:
        """Return an index near each date."""

    def times(self, index: _Times, phase: Any) -> _Times:
        return to_utc(self._dates(index, phase // DAY) * DAY + phase % DAY, self.zone)

    def nearest(self, times: _Times, phase: Any) -> Nearest:
        below = self._below(to_local(times, self.zone) // DAY, phase // DAY)
        best = below - 1
        off = times - self.times(best, phase)
        for index in (below, below + 1):
            other = times - self.times(index, phase)
            closer = np.abs(other) < np.abs(off)
            best, off = np.where(closer, index, best), np.where(closer, other, off)
        return Nearest(best, off)

    @property
    def tolerance(self) -> int:
        return DAY // 4


class BusinessDays(_Calendar):
    """Monday to Friday."""

    def __init__(self, zone: str | None) -> None:
        self.zone = zone

    def _dates(self, index: _Times, part: Any) -> _Times:
        # 1970-01-01 is a Thursday, the business day number 0.
        epoch = np.datetime64("1970-01-01")
        return np.busday_offset(epoch, index, roll="forward").astype(np.int64)

    def _below(self, dates: _Times, part: Any) -> _Times:
        epoch = np.datetime64("1970-01-01")
        return np.busday_count(epoch, dates.astype("M8[D]")).astype(np.int64)

    def phase_of(self, times: _Times) -> _Times:
        return to_local(times, self.zone) % DAY

    @property
    def period(self) -> int:
        return DAY

    @property
    def length(self) -> int:
        return DAY

    @property
    def text(self) -> str:
        return "business day"

    def to_config(self) -> dict[str, Any]:
        return {"kind": "business days"}


class Months(_Calendar):
    """Every n months: on the first or last day, the first or last business day, or a day from 2 to 28.

    Parameters
    ----------
    step : int
        Months from point to point.
    day : "start", "end", "business start", "business end" or int
    zone : str or None
    """

    def __init__(self, step: int, day: str | int, zone: str | None) -> None:
        self.step, self.day, self.zone = step, day, zone

    def _dates(self, index: _Times, part: Any) -> _Times:
        return month_point(index * self.step + part, self.day)

    def _below(self, dates: _Times, part: Any) -> _Times:
        months: _Times = dates.astype("M8[D]").astype("M8[M]").astype(np.int64)
        below: _Times = (months - part) // self.step
        return below

    def phase_of(self, times: _Times) -> _Times:
        local = to_local(times, self.zone)
        months = (local // DAY).astype("M8[D]").astype("M8[M]").astype(np.int64)
        phase: _Times = months % self.step * DAY + local % DAY
        return phase

    @property
    def period(self) -> int:
        return self.step * DAY

    @property
    def length(self) -> int:
        return self.step * 30 * DAY

    @property
    def text(self) -> str:
        every = {1: "month", 3: "quarter", 12: "year"}.get(self.step, f"{self.step} months")
        return f"{every}, on day {self.day}" if isinstance(self.day, int) else f"{every} {self.day}"

    def to_config(self) -> dict[str, Any]:
        return {"kind": "months", "step": self.step, "day": self.day}


def month_point(months: _Times, day: str | int) -> _Times:
    """Return a day of each month, in days since 1970; months are counted from January 1970."""
    first = months.astype("M8[M]").astype("M8[D]")
    following = (months + 1).astype("M8[M]").astype("M8[D]")
    if day == "start":
        dates = first
    elif day == "end":
        dates = following - 1
    elif day == "business start":
        dates = np.busday_offset(first, 0, roll="forward")
    elif day == "business end":
        dates = np.busday_offset(following, -1, roll="forward")
    else:
        dates = first + (int(day) - 1)
    days: _Times = dates.astype(np.int64)
    return days


def alias(step: int) -> str:
    """Return a duration in ns as an argument `freq`."""
    units = (("D", DAY), ("h", DAY // 24), ("min", 60 * 10**9), ("s", 10**9), ("ms", 10**6), ("us", 1000), ("ns", 1))
    unit, size = next((unit, size) for unit, size in units if step % size == 0)
    return f"{step // size}{unit}"


def duration_text(step: int) -> str:
    """Return a duration in ns in words, such as "15 min" or "1 h 30 min"."""
    parts = []
    for unit, size in (("d", DAY), ("h", DAY // 24), ("min", 60 * 10**9), ("s", 10**9), ("ms", 10**6), ("us", 1000)):
        count, step = divmod(step, size)
        parts += [f"{count} {unit}"] if count else []
    return " ".join(parts + ([f"{step} ns"] if step or not parts else []))
