"""Read CSV files: columns with their types, and a report of what was understood."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...._arguments import closest, explain_arguments
from ...._checks import one_of, short_repr
from ...._checks import path as as_path
from ...._typing import Array
from .columns import GROUPS, CsvColumn, decided, typed
from .names import has_header, shaped
from .numbers import looks_numeric
from .text import decoded, find_separator, read_rows, separator_name
from .times import are_dates, epoch_times, is_clock, looks_like_time

__all__ = ["CsvTable", "TimeValues", "read_csv"]

_MOST_LINES = 40
"""Number of columns up to which a report has a line for each."""


@dataclass(frozen=True, eq=False)
class TimeValues:
    """The times of a column."""

    values: Array
    """(rows,): datetime64[ns], or int64 if time is counted in steps."""
    utc: bool
    """Whether they are UTC; else they are those of a local clock that the file does not name."""


@dataclass(frozen=True, eq=False)
class CsvTable:
    """What `read_csv` returns: columns by name, and what was understood of the file.

    ``table["load"]`` is the array of a column, ``print(table)`` the report.
    """

    name: str
    """The file, in messages."""
    columns: dict[str, CsvColumn]
    """In the order of the file."""
    encoding: str
    separator: str
    header: bool
    """Whether the first row gives the names."""
    lines: Sequence[int]
    """The line of each row."""
    notes: tuple[str, ...]
    """What was assumed or left out."""

    def __len__(self) -> int:
        return len(self.lines)

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __getitem__(self, name: str) -> Array:
        """Return the values of a column: int64, float64, datetime64[ns], or objects: strings and None.

        Raises
        ------
        ValueError
            If there is no such column, or its values are of several types.
        """
        column = self.column(name)
        if column.values is not None:
            return column.values
        if column.kind == "mixed":
            raise ValueError(self._refusal(column))
        values = np.empty(len(self), object)
        values[:] = column.texts
        return values

    def column(self, name: str) -> CsvColumn:
        """Return a column; raise ValueError with the names of all if there is none of this name."""
        if name in self.columns:
            return self.columns[name]
        near = closest(str(name), self.columns)
        advice = "" if near is None else f": did you mean {near!r}?"
        if len(self) and len(self.columns) == 1 and str(name) in next(iter(self.columns)).split(" "):
            advice = ": if spaces divide the columns, pass separator=' ' (--separator ' ' on the command line)"
        raise ValueError(
            f"{self.name} has no column {name!r}, expected one of {short_repr(list(self.columns))}{advice}"
        )

    def numbers(self, name: str) -> Array:
        """Return a column as float64, NaN for missing values; raise ValueError with the line otherwise."""
        column = self.column(name)
        if column.kind in ("integer", "number", "boolean", "empty") and column.values is not None:
            return np.asarray(column.values, np.float64)
        if column.problem:
            raise ValueError(self._refusal(column))
        first = 0 if column.texts is None else next((k for k, text in enumerate(column.texts) if text is not None), 0)
        text = None if column.texts is None else column.texts[first]
        got = "a time" if column.texts is None else short_repr(text)
        alone = " without units, spaces or other signs" if text and text.lstrip("+-")[:1].isdigit() else ""
        raise ValueError(f"{self.place(first)}, column {name!r}: got {got}, expected numbers{alone}")

    def times(self, name: str) -> TimeValues:
        """Return a column as times; of integers seconds to nanoseconds since 1970 if they can be, else steps.

        Raises
        ------
        ValueError
            If the column holds no times, or some are missing; the message names the line.
        """
        column = self.column(name)
        if column.problem:
            raise ValueError(self._refusal(column))
        if column.missing:
            row = int(np.isnat(np.asarray(column.values)).argmax()) if column.kind == "time" else _first_missing(column)
            raise ValueError(f"{self.place(row)}, column {name!r}: the time is missing: leave such lines out")
        values = column.values
        if column.kind == "time" and values is not None:
            return TimeValues(values, column.utc)
        if column.kind == "integer" and values is not None:
            if are_dates(values):
                raise ValueError(
                    f"{self.place(0)}, column {name!r}: got {int(values[0])}, which may be a date or the number of a "
                    "step: write dates as 2026-03-31"
                )
            found = epoch_times(values)
            return TimeValues(values, False) if found is None else TimeValues(found[0], True)
        got = short_repr(column.texts[0]) if column.texts else self.text(name, 0) if len(self) else column.kind
        advice = ""
        if column.texts and is_clock(str(column.texts[0])):
            advice = ": write the date and the time of day into one column"
        elif column.kind == "number":
            advice = ": in a spreadsheet, format the column as date and time before it is written"
        raise ValueError(
            f"{self.place(0)}, column {name!r}: got {got}, expected times such as 2026-03-31 14:15, or integers{advice}"
        )

    def labels(self, name: str) -> list[Any]:
        """Return a column as integers, floats or strings, None for missing values: names of classes or groups."""
        column = self.column(name)
        if column.texts is not None:
            return list(column.texts)
        values = column.values
        assert values is not None
        if column.kind == "time":
            texts: list[str] = np.datetime_as_string(values, "auto").tolist()
            return [None if text == "NaT" else text for text in texts]
        if values.dtype == np.int64:
            return list(values.tolist())
        known = [None if value != value else value for value in values.tolist()]
        return [None if value is None else int(value) for value in known] if column.kind == "integer" else known

    @property
    def decimal(self) -> str:
        """The decimal mark: a comma if a column can only be read with it."""
        return "," if any(column.decimal == "," for column in self.columns.values()) else "."

    @property
    def shows_decimal(self) -> bool:
        """Whether a number has a mark, by which `decimal` is known rather than assumed."""
        return any(column.kind == "number" or column.note == GROUPS for column in self.columns.values())

    def day_first(self, name: str | None) -> bool | None:
        """Return whether the days come first in the times of a column; None if that is no question."""
        order = "" if name is None else self.column(name).note
        return True if order.startswith("day first") else False if order.startswith("month first") else None

    def text(self, name: str, row: int) -> str:
        """Return a value as text, for messages."""
        column = self.column(name)
        if column.texts is not None:
            return str(column.texts[row])
        assert column.values is not None
        value = column.values[row]
        return str(value).replace("T", " ").removesuffix(".000000000") if column.kind == "time" else str(value)

    def place(self, row: int) -> str:
        """Return file and line of a row, for messages."""
        return f"{self.name}, line {self.lines[row]}" if len(self) else self.name

    def _refusal(self, column: CsvColumn) -> str:
        problem = column.problem
        if not problem.startswith("got ") and column.texts is not None:
            problem = f"got {short_repr(column.texts[column.row])}: {problem}"
        if column.kind == "mixed" and column.row == 0 and self._begins_with_words():
            line = f"line {self.lines[0]}"
            problem += f"; {line} holds no number: remove it if it holds units, or the lines above it if it holds names"
        return f"{self.place(column.row)}, column {column.name!r}: {problem}"

    def _begins_with_words(self) -> bool:
        """Return whether the first row holds neither numbers nor times, as one of units or of names does."""
        for column in self.columns.values():
            text = None if column.texts is None else column.texts[0]
            if text is not None and (looks_numeric(text) or looks_like_time(text)):
                return False
            if column.values is not None and column.texts is None and not _is_missing(column.values[0]):
                return False
        return True

    def describe(self) -> list[str]:
        """Return the report as lines: how the file is written, and the type of each column."""
        from ...._tables import aligned  # only reports need it

        every = list(self.columns.values())
        shown = every if len(every) <= _MOST_LINES else every[: _MOST_LINES // 2]
        rows = [["column", "type", "missing", "range"]]
        rows += [[one.name, _kind_text(one), str(one.missing or ""), _range(one)] for one in shown]
        lines = [
            f"{self.name}: {len(self)} rows, {len(every)} columns, {self.encoding}, separator: "
            f"{separator_name(self.separator)}",
            *(f"  {note}" for note in self.notes),
            *(f"  {line}" for line in aligned(rows)),
        ]
        if rest := every[len(shown) :]:
            kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(one.kind for one in rest).items())
            lines.append(f"  and {len(rest)} more, to {rest[-1].name!r}: {kinds}")
        lines += [f"  {self._refusal(column)}" for column in self.columns.values() if column.kind == "mixed"]
        return lines

    def __str__(self) -> str:
        return "\n".join(self.describe())

    def to_dict(self) -> dict[str, Any]:
        """Return the report as data for JSON."""
        return {
            "file": self.name,
            "rows": len(self),
            "encoding": self.encoding,
            "separator": self.separator,
            "header": self.header,
            "notes": list(self.notes),
            "columns": [
                {
                    "name": column.name,
                    "type": column.kind,
                    "missing": column.missing,
                    **({"utc": column.utc} if column.kind == "time" else {}),
                    **({"note": column.note} if column.note else {}),
                    **({"problem": self._refusal(column)} if column.kind == "mixed" else {}),
                }
                for column in self.columns.values()
            ],
        }


@explain_arguments
def read_csv(
    source: Any,
    *,
    separator: str | None = None,
    decimal: str | None = None,
    encoding: str | None = None,
    header: bool | None = None,
    day_first: bool | None = None,
) -> CsvTable:
    r"""Read a CSV file, with NumPy alone; whatever is not clear is refused with its line and what to say.

    Parameters
    ----------
    source : path, or binary file
        A binary file is read to its end.
    separator : str, optional
        By default the first of tab, semicolon, bar and comma that divides all rows into as many parts.
    decimal : {".", ","}, optional
        Decimal mark; by default decided by the numbers: "1,5" can only be a decimal comma, "1,234" can be either, and
        is refused if no other number decides. The other mark is taken for that of thousands.
    encoding : str, optional
        By default that of a byte-order mark, else UTF-8, UTF-16 if every second byte is 0, or Windows-1252.
    header : bool, optional
        Whether the first row gives the names of the columns. By default it does unless it holds a number or a time;
        numbers that count up from 0 or 1 are names. Without names columns are c1, c2, ...
    day_first : bool, optional
        Whether 3/4/2026 is the third of April. By default decided by days after the twelfth, and refused if there is
        none; dates with points are day.month.year.

    Returns
    -------
    CsvTable
        The columns: integers as int64, numbers as float64, times as datetime64[ns] (UTC if they have an offset), true
        and false as 1 and 0, anything else as strings. Missing are empty values, NA, N/A, NaN, NaT, null, ``-`` and
        ``?``.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no table: empty, rows of unequal length, a quote that does not end; the message names the line. A
        column with values of several types, or dates that can be read in two ways, is refused when it is used.

    Notes
    -----
    Digits with leading zeros, such as 007, and integers beyond 64 bits stay strings. Lines without values are left
    out, and so is an empty last column that a trailing separator makes.

    Examples
    --------
    >>> from pathlib import Path
    >>> import fastlstm as fl
    >>> _ = Path("meter.csv").write_text("time;load\n31.03.2026 00:00;1,5\n31.03.2026 00:15;-\n")
    >>> table = fl.data.read_csv("meter.csv")
    >>> table["load"].tolist(), str(table["time"][1])
    ([1.5, nan], '2026-03-31T00:15:00.000000000')
    >>> print(table)
    meter.csv: 2 rows, 2 columns, utf-8, separator: semicolon
      column              type  missing                                      range
      time    time (day first)           2026-03-31 00:00:00 - 2026-03-31 00:15:00
      load              number        1                                  1.5 - 1.5
    """
    if decimal is not None:
        one_of("decimal", decimal, (".", ","))
    if separator is not None and (not isinstance(separator, str) or len(separator) != 1 or separator in '"\r\n'):
        raise ValueError(f"separator must be one character such as ';', got {short_repr(separator)}")
    name, data = _bytes_of(source)
    text, found_encoding = decoded(data, name, encoding)
    text, said = _without_separator_line(text)
    mark = separator or said or find_separator(text, name)
    rows = read_rows(text, mark, name)
    if not rows.cells:
        raise ValueError(f"{name} is empty, expected a table: names in the first line, values in the others")
    with_names = has_header(rows.cells) if header is None else header
    names, body, lines, notes = shaped(rows, with_names, mark, name)
    if empty := rows.empty - (said is not None):
        notes.append(f"{empty} line{'s' if empty > 1 else ''} without values {'are' if empty > 1 else 'is'} left out")
    transposed = list(zip(*body, strict=True)) if body else [() for _ in names]
    first = [typed(one, cells, day_first, decimal) for one, cells in zip(names, transposed, strict=True)]
    columns = decided(first, lambda number: transposed[number])
    return CsvTable(name, {one.name: one for one in columns}, found_encoding, mark, with_names, lines, tuple(notes))


def _bytes_of(source: Any) -> tuple[str, bytes]:
    if hasattr(source, "read"):
        data = source.read()
        if not isinstance(data, bytes):
            raise TypeError("source is a text file, expected a path or a file opened with mode 'rb'")
        name = getattr(source, "name", None)
        return (name if isinstance(name, str) else "the input"), data
    name = as_path(source)
    with open(name, "rb") as file:
        return name, file.read()


def _without_separator_line(text: str) -> tuple[str, str | None]:
    """Return a text with its line "sep=;", which Excel writes, made empty, and the separator that it names."""
    start, end, rest = text.partition("\n")
    line = start.strip().strip('"')
    if end and len(line) == 5 and line.lower().startswith("sep="):
        return end + rest, line[4]
    return text, None


def _first_missing(column: CsvColumn) -> int:
    if column.texts is not None:
        return column.texts.index(None)
    return int(np.isnan(np.asarray(column.values, np.float64)).argmax())


def _is_missing(value: Any) -> bool:
    return bool(np.isnat(value) if isinstance(value, np.datetime64) else value != value)


def _kind_text(column: CsvColumn) -> str:
    more = [*(["UTC"] if column.utc else []), *([column.note] if column.note else [])]
    return f"{column.kind} ({', '.join(more)})" if more else column.kind


def _range(column: CsvColumn) -> str:
    """Return the smallest and largest value, or how many different texts there are."""
    values = column.values
    if column.kind in ("empty", "mixed"):
        return ""
    if column.kind in ("text", "boolean") and column.texts is not None:
        different = len({text for text in column.texts if text is not None})
        return f"{different} different"
    assert values is not None
    if column.kind == "time":
        known = values[~np.isnat(values)]
        low, high = (str(one.astype("datetime64[s]")).replace("T", " ") for one in (known.min(), known.max()))
        return f"{low} - {high}"
    known = values[~np.isnan(values)] if values.dtype.kind == "f" else values
    low, high = known.min(), known.max()
    return f"{low:.6g} - {high:.6g}" if column.kind == "number" else f"{int(low)} - {int(high)}"
