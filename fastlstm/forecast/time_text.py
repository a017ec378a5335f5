"""Read times from text: ISO 8601, and dates with slashes or dots whose order of day and month is certain."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._checks import short_repr
from .packages import pandas_package

__all__ = ["TextTimes", "read_text"]

_ISO = re.compile(
    r"\d{4}-\d{1,2}(-\d{1,2})?([T ]\d{1,2}:\d{2}(:\d{2}([.,]\d{1,9})?)?)?\s*(Z|z|UTC|[+-]\d{2}(:?\d{2})?)?"
)
_PLAIN = re.compile(r"(\d{4}|\d{8}|\d{8}[T ]\d{4,6})")
_SPLIT = re.compile(
    r"(\d{1,2})([/.-])(\d{1,2})\2(\d{4})((?:,?[ T]\s*\d{1,2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)?)\s*([aApP][mM])?"
)
_YEAR_FIRST = re.compile(r"(\d{4})[/.](\d{1,2})[/.](\d{1,2})((?:[ T]\d{1,2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)?)")
_ZONE = re.compile(r":\d{2}(?:[.,]\d+)?\s*(Z|z|UTC|[+-]\d{2}(?::?\d{2})?)$")


class TextTimes(NamedTuple):
    """Times that were text."""

    stamps: NDArray[np.datetime64]
    """(n,), datetime64[ns]; in UTC if there are offsets."""
    offsets: tuple[str, ...]
    """The offsets from UTC that occur, such as "+02:00"; empty if the texts have none."""
    note: str
    """How dates were read where that is not obvious; else empty."""


def read_text(texts: NDArray[Any], code: str, row: Any) -> TextTimes:
    """Read times.

    Parameters
    ----------
    texts : (n,) array of str
        None of them missing.
    code : str
        Code of the column, for messages.
    row : callable
        From the number of a text to the words that name its row.

    Raises
    ------
    ValueError
        If a text is no time, or day and month cannot be told apart.
    """
    pd = pandas_package()
    codes, unique = pd.factorize(texts)
    firsts = np.zeros(len(unique), np.int64)
    firsts[codes[::-1]] = np.arange(len(codes))[::-1]
    cleaned = [str(text).strip() for text in unique]
    normal, note = _normalised(cleaned, firsts, code, row)
    offsets = _offsets(normal, firsts, row)
    stamps = pd.to_datetime(pd.Series(normal, dtype=object), format="ISO8601", errors="coerce", utc=bool(offsets))
    bad = np.flatnonzero(stamps.isna().to_numpy())
    if len(bad):
        first = bad[firsts[bad].argmin()]
        raise ValueError(_no_time(cleaned[first], row(int(firsts[first])), code))
    if offsets:
        stamps = stamps.dt.tz_localize(None)
    return TextTimes(stamps.to_numpy().astype("M8[ns]")[codes], tuple(sorted(offsets)), note)


def _no_time(text: str, row: str, code: str) -> str:
    return (
        f"{row} has the time {short_repr(text)}, expected a time such as '2024-03-31 13:45' or "
        f"'2024-03-31T13:45:00+02:00': correct it, or convert the column with "
        f"pandas.to_datetime({code}, format='%d %b %Y %H:%M')"
    )


def _normalised(texts: list[str], firsts: NDArray[np.int64], code: str, row: Any) -> tuple[list[str], str]:
    """Return the texts in ISO 8601."""
    split = [_SPLIT.fullmatch(text) for text in texts]
    if not any(split):
        return [_one(text, int(first), code, row) for text, first in zip(texts, firsts, strict=True)], ""
    for text, match, first in zip(texts, split, firsts, strict=True):
        if match is None:
            raise ValueError(
                f"{row(int(first))} has the time {short_repr(text)} among times written like "
                f"{short_repr(next(m.group(0) for m in split if m))}: write all of them in one way"
            )
    matches = [match for match in split if match is not None]
    day_first = _day_first(matches, firsts, code, row)
    found = [_iso_of(match, day_first) for match in matches]
    return found, f"dates such as {matches[0].group(0)!r} were read {'day' if day_first else 'month'} first"


def _one(text: str, first: int, code: str, row: Any) -> str:
    if _ISO.fullmatch(text):
        date, *rest = re.split(r"[T ]", text.replace(",", ".").replace("z", "Z"), maxsplit=1)
        date = "-".join(part.zfill(2) for part in date.split("-"))
        rest = ["0" * (rest[0][1:2] == ":") + rest[0]] if rest else []
        return "T".join([date, *rest]).replace(" UTC", "Z").replace("UTC", "Z").replace(" ", "")
    if _PLAIN.fullmatch(text):
        return text
    match = _YEAR_FIRST.fullmatch(text)
    if match is None:
        raise ValueError(_no_time(text, row(first), code))
    year, month, day, clock = match.groups()
    return f"{year}-{month:0>2}-{day:0>2}{_clock(clock, None)}"


def _day_first(matches: list[re.Match[str]], firsts: NDArray[np.int64], code: str, row: Any) -> bool:
    """Return whether the day stands before the month; raise ValueError if the dates do not tell."""
    first_big = next((n for n, match in enumerate(matches) if int(match.group(1)) > 12), None)
    second_big = next((n for n, match in enumerate(matches) if int(match.group(3)) > 12), None)
    text = matches[0].group(0)
    if first_big is not None and second_big is not None:
        raise ValueError(
            f"{row(int(firsts[first_big]))} has the time {matches[first_big].group(0)!r} and "
            f"{row(int(firsts[second_big]))} has {matches[second_big].group(0)!r}, expected the day in the same place "
            "in "
            "all rows: correct them"
        )
    if first_big is None and second_big is None and matches[0].group(2) != ".":
        raise ValueError(
            f"{row(int(firsts[0]))} has the time {text!r}, of which day and month cannot be told apart: convert the "
            "column "
            f"with pandas.to_datetime({code}, dayfirst=True) or pandas.to_datetime({code}, dayfirst=False)"
        )
    return second_big is None  # dots: day first, wherever they are in use


def _iso_of(match: re.Match[str], day_first: bool) -> str:
    one, _, two, year, clock, half = match.groups()
    day, month = (one, two) if day_first else (two, one)
    return f"{year}-{month:0>2}-{day:0>2}{_clock(clock, half)}"


def _clock(text: str, half: str | None) -> str:
    text = text.lstrip(", T")
    if not text:
        return "" if half is None else "Tx"  # "pm" without a time: refused as no time
    hour, rest = text.split(":", 1)
    number = int(hour)
    if half is not None:
        if not 1 <= number <= 12:
            return "Tx"
        number = number % 12 + 12 * (half.lower() == "pm")
    return f"T{number:02}:{rest}"


def _offsets(texts: list[str], firsts: NDArray[np.int64], row: Any) -> set[str]:
    """Return the offsets that occur; raise ValueError if only some texts have one."""
    found = [match.group(1) if (match := _ZONE.search(text)) else "" for text in texts]
    kinds = {bool(one) for one in found}
    if len(kinds) > 1:
        places = [
            min(int(f) for f, one in zip(firsts, found, strict=True) if bool(one) == kind) for kind in (True, False)
        ]
        raise ValueError(
            f"{row(places[0])} has a time with an offset from UTC and {row(places[1])} one without: give all of them "
            "or "
            "none an offset"
        )
    return {_offset(one) for one in found if one}


def _offset(text: str) -> str:
    if text in ("Z", "z"):
        return "+00:00"
    digits = text[1:].replace(":", "").ljust(4, "0")
    return f"{text[0]}{digits[:2]}:{digits[2:]}"
