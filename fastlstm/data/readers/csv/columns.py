"""One column of a CSV file: what its texts are, as a whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Any, Literal

import numpy as np

from ...._checks import short_repr
from ...._typing import Array
from .numbers import MISSING, Marks, is_number, looks_numeric, marks_of, plain_numbers, with_commas, with_marks
from .times import looks_like_time, parse_times

__all__ = ["GROUPS", "CsvColumn", "Kind", "decided", "typed"]

Kind = Literal["integer", "number", "boolean", "time", "text", "mixed", "empty"]
GROUPS = "groups of thousands"
"""Note of a column whose numbers have them."""
_DIGITS = 20
"""Length up to which a text can be an integer of 64 bits."""
_BOOLEANS = {"true": 1.0, "false": 0.0}


@dataclass(frozen=True, eq=False)
class CsvColumn:
    """A column of a CSV file."""

    name: str
    kind: Kind
    """What its values are; "mixed": not all the same; "empty": all missing."""
    values: Array | None
    """(rows,): int64, float64 with NaN for missing values, datetime64[ns] with NaT; None for texts."""
    texts: list[str | None] | None
    """The texts of kinds without values, and those of "boolean"; None for missing values."""
    missing: int = 0
    """Number of missing values."""
    problem: str = ""
    """Why the column has no values."""
    row: int = 0
    """The row in which the problem shows."""
    utc: bool = False
    """Whether times are given with an offset from UTC, so that the values are UTC."""
    note: str = ""
    """What a reader should know."""
    decimal: str = "."
    """The decimal mark of its numbers."""


@dataclass(frozen=True, eq=False)
class Undecided:
    """A column of numbers whose marks may be decimal or of thousands; the other columns decide."""

    name: str
    cells: list[str]
    present: list[bool]
    marks: Marks
    commas: Array | None
    """The numbers if the comma is the decimal mark and there are no others."""


def typed(name: str, cells: Sequence[str], day_first: bool | None, decimal: str | None) -> CsvColumn | Undecided:
    """Return a column with its type.

    Parameters
    ----------
    name : str
    cells : sequence of str
    day_first : bool or None
        As in `read_csv`.
    decimal : {".", ","} or None
        As in `read_csv`.
    """
    cells = list(map(str.strip, cells))
    found = cells
    if MISSING.isdisjoint(cells):
        present = [True] * len(cells)
    else:
        present = [cell not in MISSING for cell in cells]
        found = list(compress(cells, present))
    missing = len(cells) - len(found)
    if not found:
        return CsvColumn(name, "empty", np.full(len(cells), np.nan), None, missing)
    numbers = None if decimal == "," else plain_numbers(found)
    if numbers is not None:
        return _numeric(name, cells, present, found, numbers)
    if looks_like_time(found[0]):
        return _time(name, cells, present, found, day_first)
    commas = with_commas(found) if decimal != "." else None
    if commas is not None or all(map(looks_numeric, found)):
        if decimal is None:
            return Undecided(name, cells, present, marks_of(found, single=commas is not None), commas)
        return _marked(name, cells, present, found, decimal, commas)
    if all(cell.lower() in _BOOLEANS for cell in found):
        values = np.array([_BOOLEANS[cell.lower()] for cell in found])
        return CsvColumn(name, "boolean", _spread(values, present), _texts(cells, present), missing)
    return _text(name, cells, present, found)


def decided(columns: Sequence[CsvColumn | Undecided], cells_of: Callable[[int], Sequence[str]]) -> list[CsvColumn]:
    """Return columns of which every one has its type: marks that can mean two things are decided by other columns.

    Parameters
    ----------
    columns : sequence
        Results of `typed`.
    cells_of : callable
        Returns the cells of a column by its number.
    """
    if not any(isinstance(one, Undecided) for one in columns):
        return [one for one in columns if isinstance(one, CsvColumn)]
    comma = any(isinstance(one, Undecided) and one.marks.comma for one in columns)
    marks = {
        number: one.marks
        if isinstance(one, Undecided)
        else marks_of([cell for cell in map(str.strip, cells_of(number)) if cell not in MISSING])
        for number, one in enumerate(columns)
        if isinstance(one, Undecided) or one.kind == "number"
    }
    point = any(one.point for one in marks.values())
    result = []
    for number, one in enumerate(columns):
        if isinstance(one, Undecided):
            result.append(_decide(one, comma, point))
        elif comma and number in marks and marks[number].dots and not marks[number].point:
            cells = list(map(str.strip, cells_of(number)))
            present = [cell not in MISSING for cell in cells]
            result.append(_ambiguous(one.name, cells, present, "."))
        else:
            result.append(one)
    return result


def _decide(column: Undecided, comma: bool, point: bool) -> CsvColumn:
    own = column.marks
    found = list(compress(column.cells, column.present))
    if own.comma and own.point:
        row = _conflict(column, found)
        return _problem(column.name, column.cells, column.present, row, "decimal comma or point, unlike other values")
    if not (own.comma or own.point):
        if comma == point and (own.commas or own.dots):
            return _ambiguous(column.name, column.cells, column.present, "," if own.commas else ".")
        decimal = "," if comma else "."
    else:
        decimal = "," if own.comma else "."
    ready = column.commas if decimal == "," else None
    return _marked(column.name, column.cells, column.present, found, decimal, ready)


def _conflict(column: Undecided, found: list[str]) -> int:
    """Return the first row whose marks contradict those of earlier rows."""
    comma = point = False
    for row, cell in zip(np.flatnonzero(column.present).tolist(), found, strict=True):
        marks = marks_of([cell])
        comma, point = comma or marks.comma, point or marks.point
        if comma and point:
            return int(row)
    return 0


def _ambiguous(name: str, cells: list[str], present: list[bool], mark: str) -> CsvColumn:
    row = next(k for k, cell in enumerate(cells) if present[k] and mark in cell)
    return _problem(
        name,
        cells,
        present,
        row,
        "a number whose mark is decimal or of thousands: say decimal='.' (--decimal .) or decimal=',' (--decimal ,)",
    )


def _marked(
    name: str, cells: list[str], present: list[bool], found: list[str], decimal: str, ready: Array | None
) -> CsvColumn:
    values, wrong = (ready, None) if ready is not None else with_marks(found, decimal)
    if wrong is not None:
        row = int(np.flatnonzero(present)[wrong])
        mark = "comma" if decimal == "," else "point"
        return _problem(name, cells, present, row, f"not a number with a decimal {mark} below 1.8e308")
    joined = "".join(found)
    whole = decimal not in joined and bool((values == np.rint(values)).all())
    if whole and all(present) and bool((np.abs(values) < 2**53).all()):
        values = values.astype(np.int64)
    note = GROUPS if ("." if decimal == "," else ",") in joined else ""
    missing = len(cells) - len(found)
    mark = "," if decimal == "," and "," in joined else "."
    return CsvColumn(
        name, "integer" if whole else "number", _spread(values, present), None, missing, note=note, decimal=mark
    )


def _numeric(name: str, cells: list[str], present: list[bool], found: list[str], numbers: Array) -> CsvColumn:
    missing = len(cells) - len(found)
    joined = "".join(found)
    if "." in joined or "e" in joined or "E" in joined:
        return CsvColumn(name, "number", _spread(numbers, present), None, missing)
    if any(cell[0] == "0" and len(cell) > 1 for cell in found):
        column = CsvColumn(name, "text", None, _texts(cells, present), missing, note="digits with leading zeros")
        row = next(k for k, cell in enumerate(cells) if present[k] and cell[0] == "0" and len(cell) > 1)
        return replace(column, row=row, problem="digits with leading zeros, which a number would lose")
    exact = bool((np.abs(numbers) < 2**53).all())
    if exact:
        values = numbers.astype(np.int64) if not missing else numbers
        return CsvColumn(name, "integer", _spread(values, present), None, missing)
    if not missing and max(map(len, found)) <= _DIGITS:
        whole = [int(cell) for cell in found]
        if -(2**63) <= min(whole) and max(whole) < 2**63:
            return CsvColumn(name, "integer", np.array(whole, np.int64), None)
    row = int(np.flatnonzero(present)[int((np.abs(numbers) >= 2**53).argmax())])
    column = CsvColumn(name, "text", None, _texts(cells, present), missing, note="digits of large integers")
    return replace(column, row=row, problem="an integer that a floating-point number cannot hold exactly")


def _time(name: str, cells: list[str], present: list[bool], found: list[str], day_first: bool | None) -> CsvColumn:
    times = parse_times(found, day_first)
    if times.values is None:
        row = int(np.flatnonzero(present)[times.row])
        return _problem(name, cells, present, row, times.problem)
    values = np.full(len(cells), np.datetime64("NaT", "ns"))
    values[present] = times.values
    note = times.order if not times.note else f"{times.order}: {times.note}"
    missing = len(cells) - len(found)
    return CsvColumn(name, "time", values, None, missing, utc=times.utc, note=note)


def _text(name: str, cells: list[str], present: list[bool], found: list[str]) -> CsvColumn:
    timely = [looks_like_time(cell) for cell in found]
    numeric = [is_time or is_number(cell) or looks_numeric(cell) for cell, is_time in zip(found, timely, strict=True)]
    share = sum(numeric)
    if share == len(found) and any(timely):
        rare = timely.index(sum(timely) * 2 <= share)
        row = int(np.flatnonzero(present)[rare])
        what = "a time among numbers" if timely[rare] else "a number among times"
        return _problem(name, cells, present, row, what)
    if not share:
        return CsvColumn(name, "text", None, _texts(cells, present), len(cells) - len(found))
    rare = numeric.index(share * 2 < len(found))
    row = int(np.flatnonzero(present)[rare])
    what = "neither a number nor missing" if share * 2 >= len(found) else "a number or a time among texts"
    return _problem(name, cells, present, row, f"{what} ({share} of {len(found)} values are numbers or times)")


def _problem(name: str, cells: list[str], present: list[bool], row: int, what: str) -> CsvColumn:
    texts = _texts(cells, present)
    problem = f"got {short_repr(cells[row])}, {what}"
    return CsvColumn(name, "mixed", None, texts, len(cells) - sum(present), problem=problem, row=row)


def _texts(cells: Sequence[str], present: Sequence[bool]) -> list[str | None]:
    return [cell if here else None for cell, here in zip(cells, present, strict=True)]


def _spread(values: Array, present: list[bool]) -> Array:
    """Return the values with NaN where they are missing."""
    if all(present):
        return values
    spread: Any = np.full(len(present), np.nan)
    spread[present] = values
    return np.asarray(spread)
