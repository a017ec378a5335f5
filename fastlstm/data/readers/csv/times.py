"""Times as people write them: ISO 8601, day first, month first, seconds since 1970."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...._typing import Array

__all__ = ["Times", "are_dates", "epoch_times", "is_clock", "looks_like_time", "parse_times"]

_CLOCK = (
    r"(?:(?:[T ]|,? +)([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9}))?)?"
    r"(?: ?([AaPp])\.?[Mm]\.?)?(?: ?(Z|z|UTC|[+-][0-9]{2}(?::?[0-9]{2})?))?)?"
)
_YEAR_FIRST = re.compile(r"([0-9]{4})([-/.])([0-9]{1,2})\2([0-9]{1,2})" + _CLOCK)
_YEAR_LAST = re.compile(r"([0-9]{1,2})([-/.])([0-9]{1,2})\2([0-9]{4})" + _CLOCK)
_SHORT_YEAR = re.compile(r"[0-9]{1,2}([-/.])[0-9]{1,2}\1[0-9]{2}(?![0-9]).*")
_EITHER = "day and month equal"
_TIME_OF_DAY = re.compile(r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]+)?)?(?: ?[AaPp]\.?[Mm]\.?)?")
_UNITS = ((10**8, 10**11, "s", 10**9), (10**11, 10**14, "ms", 10**6), (10**14, 10**17, "us", 10**3))
_YEARS = (1700, 2250)
"""Years that datetime64[ns] can hold, with some room."""


class Times(NamedTuple):
    """Times, or what is wrong with them."""

    values: Array | None
    """datetime64[ns]; None if there is a problem."""
    utc: bool = False
    """Whether the texts name an offset from UTC, so that the values are UTC."""
    order: str = ""
    """"year first", "day first", "month first", or "day and month equal", which leaves open which comes first."""
    problem: str = ""
    """What is wrong."""
    row: int = 0
    """Number of the text that is wrong."""
    note: str = ""
    """What was assumed."""


def looks_like_time(cell: str) -> bool:
    """Return whether a text is a date, with or without a time of day."""
    return bool(_YEAR_FIRST.fullmatch(cell) or _YEAR_LAST.fullmatch(cell) or _SHORT_YEAR.fullmatch(cell))


def is_clock(cell: str) -> bool:
    """Return whether a text is a time of day without a date."""
    return _TIME_OF_DAY.fullmatch(cell) is not None


def parse_times(cells: Sequence[str], day_first: bool | None) -> Times:
    """Return texts as times.

    Parameters
    ----------
    cells : sequence of str
        At least one; the first is a date.
    day_first : bool or None
        Whether 3/4/2026 is the third of April; None: decide by days after the twelfth, and of dates with points by
        convention.
    """
    if _YEAR_FIRST.fullmatch(cells[0]):
        pattern = _YEAR_FIRST
    elif _YEAR_LAST.fullmatch(cells[0]):
        pattern = _YEAR_LAST
    else:
        return Times(None, problem="a year of two digits, expected four, as in 2026-03-31", row=0)
    fields = _uniform(cells, pattern) or _each(cells, pattern)
    if isinstance(fields, int):
        return Times(None, problem="not a time in the form of those before it", row=fields)
    first, second, third, *clock, nanoseconds = fields.numbers
    if pattern is _YEAR_FIRST:
        order, note, year, month, day = "year first", "", first, second, third
    else:
        order, note, row = _order(first, second, fields.marks, day_first)
        if not order:
            return Times(None, problem=note, row=row)
        year = third
        day, month = (first, second) if order == "day first" else (second, first)
    zoned = [zone is not None for zone in fields.zones]
    if any(zoned) and not all(zoned):
        row = zoned.index(not zoned[0])
        with_or_without = "without" if zoned[0] else "with"
        return Times(None, problem=f"a time {with_or_without} an offset from UTC, unlike those before it", row=row)
    wrong = _half_days(clock[0], fields.halves)
    wrong |= _impossible(year, month, day, *clock)
    if wrong.any():
        return Times(None, problem="not a time that exists", row=int(wrong.argmax()))
    values = _combined(year, month, day, clock, nanoseconds)
    if all(zoned):
        values = values - _offsets([zone for zone in fields.zones if zone is not None])
    return Times(values, all(zoned), order, note=note)


class _Fields(NamedTuple):
    """The parts of times."""

    numbers: list[Array]
    """The three of the date in their order, hour, minute, second, nanosecond."""
    marks: Sequence[str]
    """Between the parts of the date."""
    halves: Sequence[str | None]
    """The first letter of AM and PM."""
    zones: Sequence[str | None]
    """Offsets from UTC."""


def _uniform(cells: Sequence[str], pattern: re.Pattern[str]) -> _Fields | None:
    """Return the parts of times that have digits in the same places and are equal otherwise; None if they do not."""
    first = cells[0]
    match = pattern.fullmatch(first)
    size = len(first)
    if match is None or set(map(len, cells)) != {size} or not "".join(cells).isascii():
        return None
    table = np.array(cells, f"S{size}").view(np.uint8).reshape(len(cells), size)
    digits = np.array([one.isdigit() for one in first])
    codes = np.frombuffer(first.encode(), np.uint8)
    if not ((table[:, ~digits] == codes[~digits]).all() and (np.abs(table[:, digits] - 52.5) < 5).all()):
        return None
    values = table.astype(np.int64) - 48

    def number(group: int) -> Array:
        start, stop = match.span(group)
        return values[:, start:stop] @ (10 ** np.arange(stop - start)[::-1]) if stop > start else values[:, 0] * 0

    numbers = [number(group) for group in (1, 3, 4, 5, 6, 7)]
    nanoseconds = number(8) * 10 ** (9 - len(match.group(8) or "")) if match.group(8) else number(8)
    zone = match.span(10)
    zones = [cell[zone[0] : zone[1]] for cell in cells] if match.group(10) else [None] * len(cells)
    return _Fields([*numbers, nanoseconds], [match.group(2)] * len(cells), [match.group(9)] * len(cells), zones)


def _each(cells: Sequence[str], pattern: re.Pattern[str]) -> _Fields | int:
    """Return the parts of times one by one; the number of the first that has another form if there is one."""
    matches = [pattern.fullmatch(cell) for cell in cells]
    if None in matches:
        return matches.index(None)
    fields = list(zip(*(match.groups() for match in matches if match), strict=True))
    first, marks, second, third, hours, minutes, seconds, fractions, halves, zones = fields
    numbers = [_whole(field) for field in (first, second, third, hours, minutes, seconds)]
    return _Fields([*numbers, _nanoseconds(fractions)], marks, halves, zones)


def _order(one: Array, two: Array, marks: Sequence[str], day_first: bool | None) -> tuple[str, str, int]:
    """Return the order of day and month and a note; an empty order, the problem and its row if it is not known."""
    if day_first is not None:
        return ("day first" if day_first else "month first"), "", 0
    first, second = one > 12, two > 12
    if first.any() and second.any():
        row = max(int(first.argmax()), int(second.argmax()))
        return "", "neither day first nor month first, as other dates of this column show", row
    if first.any():
        return "day first", "", 0
    if second.any():
        return "month first", "", 0
    if set(marks) == {"."}:
        return "day first", "dates with points are taken as day.month.year", 0
    if (one == two).all():
        return _EITHER, "", 0  # the same times, but later dates must not be read by this order
    return (
        "",
        "either day first or month first, and no date of this column decides it: say day_first=True (--day-first) or "
        "day_first=False (--month-first)",
        int((one != two).argmax()),
    )


def _whole(texts: Sequence[str | None]) -> Array:
    return np.fromiter((int(text) if text else 0 for text in texts), np.int64, len(texts))


def _nanoseconds(texts: Sequence[str | None]) -> Array:
    if not any(texts):
        return np.zeros(len(texts), np.int64)
    return _whole([text and text.ljust(9, "0") for text in texts])


def _half_days(hours: Array, halves: Sequence[str | None]) -> Array:
    """Turn hours with AM and PM into those of 24, in place; return which are wrong."""
    wrong = np.zeros(len(hours), bool)
    if any(halves):
        marked = np.array([half is not None for half in halves])
        after_noon = np.array([half is not None and half in "Pp" for half in halves])
        wrong = marked & ((hours < 1) | (hours > 12))
        hours[marked] = hours[marked] % 12 + 12 * after_noon[marked]
    return wrong


def _impossible(year: Array, month: Array, day: Array, hour: Array, minute: Array, second: Array) -> Array:
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    days = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])[month.clip(0, 12)]
    days = days + (leap & (month == 2))
    wrong = (year < _YEARS[0]) | (year > _YEARS[1]) | (month < 1) | (month > 12) | (day < 1) | (day > days)
    midnight = (hour == 24) & (minute == 0) & (second == 0)  # the end of a day
    return np.asarray(wrong | ((hour > 23) & ~midnight) | (minute > 59) | (second > 59))


def _combined(year: Array, month: Array, day: Array, clock: Sequence[Array], nanosecond: Array) -> Array:
    hour, minute, second = clock
    months = (year - 1970) * 12 + month - 1
    days = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) + day - 1
    seconds = ((days * 24 + hour) * 60 + minute) * 60 + second
    return np.asarray((seconds * 10**9 + nanosecond).astype("datetime64[ns]"))


def _offsets(zones: Sequence[str]) -> Array:
    seconds = {zone: _offset(zone) for zone in set(zones)}
    return np.array([seconds[zone] * 10**9 for zone in zones], "timedelta64[ns]")


def _offset(zone: str) -> int:
    if zone in ("Z", "z", "UTC"):
        return 0
    digits = zone[1:].replace(":", "").ljust(4, "0")
    return (1 if zone[0] == "+" else -1) * (int(digits[:2]) * 3600 + int(digits[2:]) * 60)


def epoch_times(values: Array) -> tuple[Array, str] | None:
    """Return integers as times in UTC, and their unit, if all are seconds to nanoseconds since 1970; else None.

    Seconds are those from 1973 to 5138; smaller numbers are more likely to count steps.
    """
    low, high = (int(values.min()), int(values.max())) if len(values) else (0, 0)
    for least, most, unit, factor in (*_UNITS, (10**17, 2**63, "ns", 1)):
        if least <= low and high < most:
            if unit == "s" and high * factor >= 2**63:
                return None
            return (values * factor).astype("datetime64[ns]"), unit
    return None


def are_dates(values: Array) -> bool:
    """Return whether integers can be dates such as 20260331."""
    if not len(values):
        return False
    year, month, day = values // 10000, values // 100 % 100, values % 100
    every = (year >= 1900) & (year <= 2100) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    return bool(every.all())
