"""Lines of a CSV file that arrive one at a time: names, then values, each checked by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np

from .._checks import short_repr
from ..data.readers.csv.numbers import MISSING, is_number, looks_numeric, marks_of, with_marks
from ..data.readers.csv.text import find_separator, split_line
from ..data.readers.csv.times import are_dates, epoch_times, looks_like_time, parse_times
from .errors import UsageError
from .layout import Layout

__all__ = ["LineReader", "known", "lines_of"]


def lines_of(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield lines as soon as they are complete, with their numbers from 1; the last one may lack its end."""
    number = 0
    while line := stream.readline():
        number += 1
        yield number, line


class LineReader:
    """Values by column of lines that arrive one at a time.

    A first line that holds the names of all columns that are needed gives their order; without one the columns are
    those of the training data, or only those that are needed, in the order of the training data.

    Parameters
    ----------
    layout : Layout
    needed : list of str
        Columns that a line must hold.
    options : mapping
        Those of `read_csv` that the command line gives, which come before what the training data were like.
    """

    def __init__(self, layout: Layout, needed: list[str], options: Mapping[str, Any]) -> None:
        self._layout = layout
        self._needed = needed
        self._separator = options.get("separator", layout.separator)
        self._decimal = options.get("decimal", layout.decimal)
        self._day_first = options.get("day_first")
        self._encoding = options.get("encoding")
        self._header = options.get("header")
        self._columns: list[str] | None = None

    def read(self, line: bytes, where: str) -> dict[str, str] | None:
        """Return the texts of a line by column; None for a line of names or without values.

        Raises
        ------
        ValueError
            If the line does not hold what is needed.
        """
        text = self._decoded(line, where).strip("\r\n")
        if not text.strip():
            return None
        cells = [cell.strip() for cell in split_line(text, self._separator, where)]
        if self._columns is None and self._header is not False and self._take_names(text, cells, where):
            return None
        columns = self._columns_for(cells, where)
        return dict(zip(columns, cells, strict=True))

    def _decoded(self, line: bytes, where: str) -> str:
        if self._encoding is not None:
            try:
                return line.decode(self._encoding)
            except LookupError as error:
                raise UsageError(
                    f"--encoding {self._encoding}: expected one that Python knows, such as utf-8"
                ) from error
            except UnicodeError as error:
                raise ValueError(f"{where}: the bytes are no text in {self._encoding} ({error})") from error
        try:
            return line.decode("utf-8-sig")
        except UnicodeDecodeError:
            return line.decode("cp1252", "replace")

    def number(self, values: dict[str, str], name: str, where: str) -> float:
        """Return a value as a number, NaN if it is missing; raise ValueError if it is something else."""
        cell = values[name]
        if cell in MISSING:
            return float("nan")
        if is_number(cell) and not (self._decimal == "," and "." in cell):
            return float(cell)
        decimal = self._decimal or self._decided(cell, name, where)
        found, wrong = with_marks([cell], decimal)
        if wrong is not None:
            mark = "comma" if decimal == "," else "point"
            raise ValueError(f"{where}, column {name!r}: got {short_repr(cell)}, expected a number (decimal {mark})")
        return float(found[0])

    @staticmethod
    def _decided(cell: str, name: str, where: str) -> str:
        """Return the decimal mark of a number by itself; raise ValueError if it can be either."""
        marks = marks_of([cell])
        if "," in cell and looks_numeric(cell) and not (marks.comma or marks.point):
            raise ValueError(
                f"{where}, column {name!r}: got {short_repr(cell)}, a number whose mark is decimal or of thousands: "
                "say --decimal . or --decimal ,"
            )
        return "," if marks.comma else "."

    def time(self, values: dict[str, str], name: str, where: str) -> tuple[Any, bool]:
        """Return a value as a time: datetime64[ns] and whether it is UTC, or the number of a step.

        Raises
        ------
        ValueError
            If it is not of the kind that the training data had.
        """
        cell = values[name]
        counted = self._layout.counted
        got = f"{where}, column {name!r}: got {short_repr(cell)}"
        if cell.isascii() and cell.removeprefix("-").isdigit():
            number = int(cell)
            if counted:
                return number, False
            found = epoch_times(np.array([number])) if abs(number) < 2**63 else None
            if found is not None and not are_dates(np.array([number])):
                return found[0][0], True
            if counted is None:  # nothing is known of the times of the training data
                return number, False
            raise ValueError(f"{got}, expected a time such as 2026-03-31 14:15, as in the training data")
        if not looks_like_time(cell):
            raise ValueError(f"{got}, expected a {'step' if counted else 'time'}")
        if counted:
            raise ValueError(f"{got}, expected the number of a step, as in the training data")
        # A single date with points or slashes cannot decide its order: the training data did.
        times = parse_times([cell], self._day_first)
        if times.values is None:
            raise ValueError(f"{got}, {times.problem}")
        return times.values[0], times.utc

    def _take_names(self, text: str, cells: list[str], where: str) -> bool:
        """Take the names of the columns from the first line if it holds them."""
        for separator in (self._separator, find_separator(text, where)):
            names = cells if separator == self._separator else [c.strip() for c in split_line(text, separator, where)]
            if set(self._needed) <= set(names):
                self._separator, self._columns = separator, names
                return True
        held = [name for name in self._needed if name in cells]
        if self._header or (held and not any(map(is_number, cells))):
            missing = [name for name in self._needed if name not in cells]
            raise ValueError(f"{where}: the names lack {', '.join(map(repr, missing))}, which the model needs")
        return False

    def _columns_for(self, cells: list[str], where: str) -> list[str]:
        if self._columns is not None:
            if len(cells) != len(self._columns):
                raise ValueError(f"{where}: got {len(cells)} values, expected {len(self._columns)}")
            return self._columns
        every = list(self._layout.columns)
        needed = [name for name in every if name in self._needed]
        for columns in (every, needed):
            if len(cells) == len(columns):
                return columns
        raise ValueError(
            f"{where}: got {len(cells)} values, expected {len(every)}, as in the training data, or {len(needed)}: "
            f"{', '.join(needed)}"
        )


def known(values: list[float], names: tuple[str, ...], where: str, missing: bool) -> np.ndarray[Any, Any]:
    """Return values as an array; raise ValueError at one that is missing, unless the model reads such values."""
    if missing:
        return np.array(values)
    for name, value in zip(names, values, strict=True):
        if value != value:
            raise ValueError(f"{where}, column {name!r}: the value is missing, expected a number")
    return np.array(values)
