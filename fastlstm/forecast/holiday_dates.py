"""Holidays: of a country, given as dates, or by a function."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._checks import short_repr
from .packages import holidays_package, pandas_package

__all__ = ["HOLIDAY_NAMES", "Holidays", "as_holidays"]

HOLIDAY_NAMES = ("holiday", "day_before_holiday", "day_after_holiday")
_YEARS_SAVED = 10


class Holidays:
    """Holidays as days since 1970.

    Parameters
    ----------
    country : str, optional
        A code such as "DE" or "DE-BY".
    days : array of int64, optional
        The holidays, in days since 1970, ascending.
    function : callable, optional
        From a date to a bool.
    until : int, optional
        The last day of which `days` tell; by default they tell of all.
    """

    def __init__(
        self,
        country: str | None = None,
        days: NDArray[np.int64] | None = None,
        function: Any = None,
        until: int | None = None,
    ) -> None:
        self.country, self._days, self._function, self._until = country, days, function, until
        self._years: dict[int, NDArray[np.int64]] = {}

    def columns(self, days: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return (n, 3) of 0 and 1 for days since 1970: holidays, days before one, days after one."""
        if not len(days):
            return np.zeros((0, 3))
        unique, where = np.unique(days, return_inverse=True)
        known = self._between(int(unique[0]) - 1, int(unique[-1]) + 1)
        table = np.stack([np.isin(unique + shift, known) for shift in (0, 1, -1)], axis=1).astype(np.float64)
        return table[where]

    def _between(self, first: int, last: int) -> NDArray[np.int64]:
        if self._days is not None:
            if self._until is not None and last - 1 > self._until:
                raise ValueError(
                    f"the holidays of a function were saved until {_date(self._until)}, and are needed until "
                    f"{_date(last - 1)}: "
                    "fit again with holidays=..."
                )
            return self._days
        years = range(_date(first).year, _date(last).year + 1)
        return np.concatenate([self._of_year(year) for year in years])

    def _of_year(self, year: int) -> NDArray[np.int64]:
        if year not in self._years:
            if self._function is not None:
                dates = self._called(year)
            else:
                dates = sorted(_of_country(str(self.country), year))
            self._years[year] = np.array(dates, "M8[D]").astype(np.int64)
        return self._years[year]

    def _called(self, year: int) -> list[datetime.date]:
        one = datetime.date(year, 1, 1)
        dates = [one + datetime.timedelta(number) for number in range(366)]
        return [date for date in dates if date.year == year and bool(self._function(date))]

    def to_config(self, first: int, last: int) -> dict[str, Any]:
        """Return a description for JSON; a function becomes its dates around the data and 10 years after them.

        Parameters
        ----------
        first, last : int
            The first and last day of the data.
        """
        if self.country is not None:
            return {"country": self.country}
        if self._function is None and self._days is not None:
            return {"dates": [str(day) for day in self._days.astype("M8[D]")], "until": _text(self._until)}
        end = _date(last).year + _YEARS_SAVED
        days = np.concatenate([self._of_year(year) for year in range(_date(first).year - 1, end + 1)])
        return {"dates": [str(day) for day in days.astype("M8[D]")], "until": f"{end}-12-31"}

    @classmethod
    def from_config(cls, config: Any) -> Holidays:
        """Return what `to_config` described; raise ValueError if that is damaged."""
        if isinstance(config, dict) and set(config) == {"country"} and isinstance(config["country"], str):
            return cls(country=config["country"])  # the package is needed, and the code checked, at the first use
        if not isinstance(config, dict) or set(config) != {"dates", "until"} or not isinstance(config["dates"], list):
            raise ValueError(f"holidays must be a country or dates, got {short_repr(config)}")
        until = None if config["until"] is None else int(_days([config["until"]])[0])
        return cls(days=_days(config["dates"]), until=until)


def _date(day: int) -> datetime.date:
    return datetime.date(1970, 1, 1) + datetime.timedelta(day)


def _text(day: int | None) -> str | None:
    return None if day is None else str(_date(day))


def as_holidays(value: Any) -> Holidays | None:
    """Return an argument `holidays`: None, a country code, a list of dates, or a function from a date to a bool.

    Raises
    ------
    ImportError
        If a country is asked for without the package holidays.
    ValueError
        If the country or a date is unknown.
    """
    if value is None:
        return None
    if isinstance(value, str):
        _of_country(value, 2024)
        return Holidays(country=value)
    if callable(value):
        return Holidays(function=value)
    if not isinstance(value, Iterable):
        raise TypeError(
            "holidays must be None, a country such as 'DE', a list of dates or a function of a date, got "
            f"{short_repr(value)}"
        )
    return Holidays(days=_days(list(value)))


def _days(values: list[Any]) -> NDArray[np.int64]:
    days = []
    for number, value in enumerate(values):
        if isinstance(value, str):
            try:
                days.append(np.datetime64(datetime.date.fromisoformat(value), "D"))
                continue
            except ValueError:
                raise ValueError(
                    f"holidays[{number}] is {short_repr(value)}, expected a date such as '2024-12-25'"
                ) from None
        if isinstance(value, (datetime.date, np.datetime64)):
            day = np.datetime64(pandas_package().Timestamp(value).date(), "D")
            days.append(day)
            continue
        raise ValueError(f"holidays[{number}] is {short_repr(value)}, expected a date such as '2024-12-25'")
    return np.unique(np.array(days, "M8[D]").astype(np.int64))


def _no_date(number: int, value: Any) -> str:
    return f"holidays[{number}] is {short_repr(value)}, expected a date such as '2024-12-25'"


def _of_country(code: str, year: int) -> list[datetime.date]:
    package = holidays_package(code)
    country, _, part = code.partition("-")
    try:
        return list(package.country_holidays(country, subdiv=part or None, years=year))
    except NotImplementedError as error:
        raise ValueError(
            f"holidays={code!r} is no country that the package holidays knows ({error}), expected a code such as "
            "'DE', 'US' "
            "or 'DE-BY', or a list of dates"
        ) from None
