"""Time zones: from the local clock to UTC and back.

Times are int64 nanoseconds since 1970, in UTC or as a local clock shows them. Twice a year a clock with summer time
jumps: in spring an hour of the local clock does not exist, in autumn one occurs twice.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._arguments import closest
from .._checks import short_repr
from .._foreign import type_name
from .packages import pandas_package
from .runs_of_times import BLOCK

__all__ = ["DAY", "HOUR", "NAT", "Localised", "clock_changes", "localise", "to_local", "to_utc", "zone_name"]

HOUR = 3_600_000_000_000
DAY = 24 * HOUR
NAT = np.iinfo(np.int64).min
"""What NumPy stores for a time that is missing."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+:-]*(/[A-Za-z0-9_+-]+)*")
_Times = NDArray[np.int64]


def zone_name(value: Any, name: str = "time_zone") -> str | None:
    """Return the name of a time zone, as the user gave it or as a tzinfo carries it; None for None."""
    if value is None:
        return None
    text = (
        value if isinstance(value, str) else str(getattr(value, "key", None) or getattr(value, "zone", None) or value)
    )
    try:
        if not _NAME.fullmatch(text) or text.startswith("dateutil"):  # pandas would look for a file
            raise ValueError
        pandas_package().Timestamp(0, tz=text)
    except ImportError:
        raise
    except Exception:  # pandas raises errors of several types
        known = zoneinfo.available_timezones()
        near = closest(text, sorted(known)) if isinstance(text, str) else None
        near = near or next((one for one in sorted(known) if one.lower().endswith("/" + text.lower())), None)
        advice = "" if near is None else f"; did you mean {near!r}?"
        what = short_repr(value) if isinstance(value, str) else f"a {type_name(value)}, {short_repr(value)}"
        raise ValueError(
            f"{name} must be the name of a time zone such as 'Europe/Berlin', got {what}{advice}"
        ) from None
    return text


def _stamps(times: _Times) -> Any:
    return pandas_package().DatetimeIndex(times.view("M8[ns]"))


def to_local(times: _Times, zone: str | None) -> _Times:
    """Return what the local clock shows at times in UTC."""
    if zone is None or zone == "UTC":
        return times
    local: _Times = _stamps(times).tz_localize("UTC").tz_convert(zone).tz_localize(None).asi8
    return local


def to_utc(local: _Times, zone: str | None) -> _Times:
    """Return times in UTC at which the local clock shows `local`.

    Of an hour that occurs twice it is the first one; a time that the clock skips becomes the first one after the jump.
    """
    if zone is None or zone == "UTC":
        return local
    first, _ = _both(local, zone, "shift_forward")
    return first


def _both(local: _Times, zone: str, nonexistent: str) -> tuple[_Times, _Times]:
    """Return the first and the last time in UTC at which the local clock shows `local`."""
    stamps = _stamps(local)
    ways = [
        stamps.tz_localize(zone, ambiguous=np.full(len(local), summer), nonexistent=nonexistent).asi8
        for summer in (True, False)
    ]
    return np.minimum(*ways), np.maximum(*ways)


def clock_changes(start: int, end: int, zone: str | None) -> list[int]:
    """Return by how much the clock jumps, in ns, at each change between two times; found hour by hour."""
    if zone is None or zone == "UTC":
        return []
    margin = 10 * 366 * DAY
    lowest, highest = NAT + margin, -(NAT + margin)
    hours = np.arange(max(start, lowest), min(end, highest), HOUR, dtype=np.int64)
    offsets = to_local(hours, zone) - hours
    jumps = np.diff(offsets)
    return [int(jump) for jump in jumps[jumps != 0]]


class Localised(NamedTuple):
    """Times of a local clock in UTC."""

    times: _Times
    """In UTC; `NAT` where the local time does not exist."""
    told_by_order: int
    """Number of rows in hours that occur twice, of which the order of the rows said which it is."""
    taken_as_first: int
    """Number of rows in such hours of which the data hold only one: it is taken as the first."""


def localise(
    local: _Times, codes: NDArray[np.int64], zone: str, after: _Times | None, name: Callable[[int], str]
) -> Localised:
    """Turn times of the local clock into UTC.

    Parameters
    ----------
    local : (n,) int64
        In the order of the rows.
    codes : (n,) int64
        The number of the series of each row.
    zone : str
    after : (series,) int64 or None
        The last time that is known already of each series, `NAT` for none: an hour that occurs twice and appears once
        is the second one if the first lies before that.
    name : callable
        From the number of a row to the words that name it.

    Raises
    ------
    ValueError
        If the two occurrences of an hour cannot be told apart.
    """
    times = np.empty(len(local), np.int64)
    found = []
    for row in range(0, len(local), BLOCK):  # or the temporary arrays would take more memory than the table
        first, last = _both(local[row : row + BLOCK], zone, "NaT")
        times[row : row + BLOCK] = first
        found.append(row + np.flatnonzero(first != last))
    twice = np.concatenate([np.zeros(0, np.int64), *found])
    if not len(twice):
        return Localised(times, 0, 0)
    told = alone = 0
    order = twice[np.lexsort((twice, local[twice] // DAY, codes[twice]))]
    keys = np.stack([codes[order], local[order] // DAY])
    groups = np.split(order, 1 + np.flatnonzero((keys[:, 1:] != keys[:, :-1]).any(0)))
    directions = _directions(local, codes, twice, np.unique(codes[twice]))
    for group in groups:
        code = int(codes[group[0]])
        direction = directions[code]
        rows = group[:: direction or 1]
        second = _second_ones(local[rows])
        repeated = len(np.unique(local[rows])) < len(rows)
        if second is None or (direction == 0 and repeated):
            raise ValueError(_not_told(local[rows], zone, name(int(group[0]))))
        if second.any():
            told += len(rows)
        else:
            alone += len(rows)
            if after is not None and after[code] >= times[rows].min():
                second[:] = True
        times[rows[second]] = _both(local[rows[second]], zone, "NaT")[1]
    return Localised(times, told, alone)


def _directions(
    local: _Times, codes: NDArray[np.int64], twice: NDArray[np.int64], chosen: NDArray[np.int64]
) -> dict[int, int]:
    """Return of each chosen series 1 if its rows are in the order of time, -1 if in the reverse order, else 0.

    Rows in hours that occur twice do not count.
    """
    once = np.ones(len(local), bool)
    once[twice] = False
    rows = np.flatnonzero(once)
    if (np.diff(codes[rows]) < 0).any():
        rows = rows[np.argsort(codes[rows], kind="stable")]
    sorted_codes = codes[rows]
    starts = np.searchsorted(sorted_codes, chosen, "left")
    ends = np.searchsorted(sorted_codes, chosen, "right")
    directions = {}
    for code, start, end in zip(chosen.tolist(), starts, ends, strict=True):
        steps = np.diff(local[rows[start:end]])
        directions[code] = 1 if (steps >= 0).all() else -1 if (steps <= 0).all() else 0
    return directions


def _second_ones(stamps: _Times) -> NDArray[np.bool_] | None:
    """Return which of the stamps of an hour that occurs twice, in the order of time, belong to its second occurrence.

    None if that cannot be told: a clock goes back once.
    """
    steps = np.diff(stamps)
    back, same = np.flatnonzero(steps < 0), np.flatnonzero(steps == 0)
    second = np.zeros(len(stamps), bool)
    if len(back) == 1:
        second[back[0] + 1 :] = True
    elif len(back) > 1 or (len(same) and len(stamps) > 2):
        return None
    elif len(same):
        second[1] = True
    return second


def _not_told(stamps: _Times, zone: str, row: str) -> str:
    start = str(stamps.min().view("M8[ns]").astype("M8[s]")).replace("T", " ")
    return (
        f"{row}: the hour of {start} occurs twice in {zone}, and the order of the {len(stamps)} rows in it does not "
        "tell "
        "which is which: sort the rows by true time, or give times in UTC, such as "
        f"df['ds'].dt.tz_localize({zone!r}, ambiguous=[...])"
    )
