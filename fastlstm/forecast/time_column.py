"""Read a column of times of any kind, and write times back in the same kind."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._checks import short_repr
from .._foreign import type_name
from .packages import pandas_package
from .time_text import read_text
from .zones import to_local, zone_name

__all__ = ["TimeColumn", "TimeKind", "read_times", "write_times"]

_FORMS = ("naive", "aware", "integer", "period", "date")
_UNITS = ("s", "ms", "us", "ns")


@dataclass(frozen=True)
class TimeKind:
    """What the times of a column are."""

    form: str
    """"naive", "aware", "integer", "period" or "date"."""
    zone: str | None = None
    """The zone in which the user has the times, of aware ones."""
    unit: str = "ns"
    """The unit in which the user has them."""
    period: str | None = None
    """The frequency of periods, as pandas writes it."""

    def to_config(self) -> dict[str, Any]:
        """Return a description for JSON."""
        return asdict(self)

    @classmethod
    def from_config(cls, config: Any) -> TimeKind:
        """Return the kind that `to_config` described; raise ValueError if that is damaged."""
        if not isinstance(config, dict) or set(config) != {"form", "zone", "unit", "period"}:
            raise ValueError(f"the kind of times must have form, zone, unit and period, got {short_repr(config)}")
        form, zone, unit, period = (config[name] for name in ("form", "zone", "unit", "period"))
        if form not in _FORMS or unit not in _UNITS:
            raise ValueError(f"unknown kind of times: {short_repr(config)}")
        if not (zone is None or isinstance(zone, str)) or (form == "aware") != (zone is not None):
            raise ValueError(f"the kind of times {form!r} has the zone {short_repr(zone)}")
        if (form == "period") != isinstance(period, str) or not isinstance(period, (str, type(None))):
            raise ValueError(f"the kind of times {form!r} has the period {short_repr(period)}")
        if period is not None:
            try:
                pandas_package().PeriodIndex([], freq=period)
            except ImportError:
                raise
            except Exception:  # pandas raises errors of several types
                raise ValueError(f"unknown period {short_repr(period)}") from None
        return cls(form, zone_name(zone, "the zone of times"), unit, period)


class TimeColumn(NamedTuple):
    """Times as numbers."""

    values: NDArray[np.int64]
    """Nanoseconds since 1970, in UTC or of the local clock; or whole numbers."""
    kind: TimeKind
    what: str
    """The kind in words."""
    notes: list[str]


def read_times(column: Any, code: str, row: Callable[[int], str], has_zone: bool) -> TimeColumn:
    """Read a pandas Series of times.

    Parameters
    ----------
    column : pandas.Series
    code : str
        Code of the column, for messages.
    row : callable
        From the number of a row to the words that name it.
    has_zone : bool
        Whether the user gave a time zone.

    Raises
    ------
    ValueError
        If a time is missing or cannot be read.
    TypeError
        If the column does not hold times.
    """
    pd = pandas_package()
    missing = np.flatnonzero(column.isna().to_numpy())
    if len(missing):
        raise ValueError(f"{row(int(missing[0]))} has no time ({len(missing)} in all): drop such rows, {_drop(code)}")
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return read_times(column.astype(dtype.categories.dtype), code, row, has_zone)
    if isinstance(dtype, pd.PeriodDtype):
        starts = column.dt.to_timestamp().to_numpy().astype("M8[ns]")
        kind = TimeKind("period", unit="ns", period=str(dtype)[len("period[") : -1])
        return TimeColumn(starts.view(np.int64), kind, f"periods ({kind.period})", [])
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return _of_datetimes(column, code, row)
    if pd.api.types.is_bool_dtype(dtype):
        raise TypeError(
            f"{code} holds {dtype}, expected times or whole numbers: name the column of times with time_col"
        )
    if pd.api.types.is_integer_dtype(dtype) or pd.api.types.is_float_dtype(dtype):
        return _of_numbers(column, code, row)
    return _of_objects(column, code, row, has_zone)


def _drop(code: str) -> str:
    frame = code.partition("[")[0]
    return f"{frame}[{code}.notna()]"


def _in_ns(column: Any, code: str) -> NDArray[np.int64]:
    """Return datetimes in ns, in UTC if they have a zone."""
    try:
        stamps = pandas_package().DatetimeIndex(column).as_unit("ns")
    except ValueError as error:
        raise ValueError(f"{code} has times outside the years 1678 to 2261: {error}") from None
    values: NDArray[np.int64] = stamps.asi8
    return values


def _of_datetimes(column: Any, code: str, row: Callable[[int], str]) -> TimeColumn:
    dtype = column.dtype
    unit = np.datetime_data(dtype)[0] if isinstance(dtype, np.dtype) else str(getattr(dtype, "unit", "ns"))
    pyarrow = getattr(dtype, "pyarrow_dtype", None)
    zone = getattr(dtype, "tz", None) if pyarrow is None else pyarrow.tz
    if pyarrow is not None:
        unit = str(pyarrow.unit)
        column = column.astype(f"datetime64[{unit}]" if zone is None else f"datetime64[{unit}, {zone}]")
    if zone is None:
        return TimeColumn(_in_ns(column, code), TimeKind("naive", unit=unit), "naive times", [])
    name = zone_name(zone, f"the time zone of {code}")
    return TimeColumn(_in_ns(column, code), TimeKind("aware", name, unit), f"times in {name}", [])


def _of_numbers(column: Any, code: str, row: Callable[[int], str]) -> TimeColumn:
    values = column.to_numpy(dtype=np.float64)
    odd = np.flatnonzero((values != np.floor(values)) | (np.abs(values) > 2**53))
    if len(odd) and str(column.dtype).lower().startswith("float"):
        raise ValueError(
            f"{row(int(odd[0]))} has the time {float(values[odd[0]])!r}, expected a whole number or a date: convert "
            f"seconds since 1970 with pandas.to_datetime({code}, unit='s')"
        )
    whole = column.to_numpy(dtype=np.int64)
    if len(whole) and np.abs(whole).max() > 2**62:
        raise ValueError(
            f"{code} has whole numbers beyond 2**62, expected times: pandas.to_datetime({code}, unit='ns')"
        )
    notes = []
    if len(whole) and whole.min() > 10**8:
        unit = next(
            unit
            for unit, limit in (("s", 10**11), ("ms", 10**14), ("us", 10**17), ("ns", 2**63))
            if whole.min() < limit
        )
        notes = [
            f"{code} holds whole numbers such as {int(whole[0])}, counted as steps; if they are times since 1970, pass "
            f"pandas.to_datetime({code}, unit={unit!r})"
        ]
    return TimeColumn(whole, TimeKind("integer"), "whole numbers, counted as steps", notes)


def _beyond(code: str) -> str:
    return f"{code} has whole numbers beyond 2**62, expected times: pandas.to_datetime({code}, unit='ns')"


def _of_objects(column: Any, code: str, row: Callable[[int], str], has_zone: bool) -> TimeColumn:
    values = column.to_numpy(dtype=object)
    kinds = {type(value) for value in values.tolist()}
    if kinds <= {str, np.str_}:
        text = read_text(values, code, row)
        notes = [text.note] if text.note else []
        if not text.offsets:
            return TimeColumn(text.stamps.view(np.int64), TimeKind("naive"), "text, naive times", notes)
        if len(text.offsets) > 1 and not has_zone:
            raise ValueError(_several(list(text.offsets), code))
        name = "UTC" if text.offsets == ("+00:00",) or has_zone else f"UTC{text.offsets[0]}"
        return TimeColumn(text.stamps.view(np.int64), TimeKind("aware", name), "text with offsets from UTC", notes)
    if kinds == {datetime.date}:
        stamps = values.astype("M8[D]").astype("M8[ns]")
        return TimeColumn(stamps.view(np.int64), TimeKind("date"), "dates", [])
    if all(issubclass(kind, (datetime.datetime, np.datetime64)) for kind in kinds):
        return _of_datetime_objects(values, code, row, has_zone)
    if all(issubclass(kind, (int, np.integer)) and not issubclass(kind, bool) for kind in kinds):
        try:
            return _of_numbers(column.astype(np.int64), code, row)
        except OverflowError:
            raise ValueError(_beyond(code)) from None
    odd = next(n for n, value in enumerate(values) if type(value) is not type(values[0])) if len(kinds) > 1 else 0
    raise TypeError(
        f"{row(odd)} has the time {short_repr(values[odd])}, a {type_name(values[odd])}"
        f"{'' if not odd else f' among values of type {type_name(values[0])}'}, expected times of one kind: convert "
        f"{code} with pandas.to_datetime"
    )


def _of_datetime_objects(values: NDArray[Any], code: str, row: Callable[[int], str], has_zone: bool) -> TimeColumn:
    zones = [getattr(value, "tzinfo", None) for value in values]
    aware = np.array([zone is not None for zone in zones])
    if aware.any() and not aware.all():
        one, other = int(np.flatnonzero(aware)[0]), int(np.flatnonzero(~aware)[0])
        raise ValueError(
            f"{row(one)} has a time with a time zone and {row(other)} one without: give all of them or none a zone"
        )
    pd = pandas_package()
    stamps = pd.to_datetime(pd.Series(values, dtype=object), utc=bool(aware.any()))
    if not aware.any():
        return TimeColumn(_in_ns(stamps, code), TimeKind("naive"), "naive times", [])
    names = sorted({str(zone_name(zone, f"the time zone of {code}")) for zone in set(zones)})
    if len(names) > 1 and not has_zone:
        raise ValueError(_several(names, code))
    name = names[0] if len(names) == 1 else "UTC"
    return TimeColumn(_in_ns(stamps, code), TimeKind("aware", name), f"times in {name}", [])


def _several(zones: list[str], code: str) -> str:
    return (
        f"{code} has times of several zones or offsets ({', '.join(zones[:4])}{', ...' if len(zones) > 4 else ''}): "
        "pass "
        "time_zone='Europe/Berlin', with the zone whose clock the series follow, or time_zone='UTC'"
    )


def write_times(times: NDArray[np.int64], kind: TimeKind, zone: str | None) -> Any:
    """Return times in UTC (or whole numbers) in the user's kind, as an array of pandas."""
    pd = pandas_package()
    if kind.form == "integer":
        return np.asarray(times)
    if kind.form == "aware":
        index = pd.DatetimeIndex(times.view("M8[ns]")).as_unit(kind.unit)
        return index.tz_localize("UTC").tz_convert(kind.zone)
    local = pd.DatetimeIndex(to_local(times, zone).view("M8[ns]"))
    if kind.form == "period":
        return local.to_period(kind.period)
    if kind.form == "date":
        return np.array(local.date, object)
    return local.as_unit(kind.unit)
