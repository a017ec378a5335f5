"""The first row of a CSV file, names or values, and the width of the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from .numbers import MISSING, looks_numeric
from .text import Rows, separator_name
from .times import looks_like_time

__all__ = ["has_header", "shaped"]


def has_header(cells: list[list[str]]) -> bool:
    """Return whether the first row gives names."""
    first = [cell.strip() for cell in cells[0]]
    values = [cell for cell in first if cell not in MISSING and (looks_numeric(cell) or looks_like_time(cell))]
    if not values:
        return True
    # A table with a column for each step names them 0, 1, 2, ...
    if len(values) > 2 and all(value.isascii() and value.isdigit() for value in values):
        numbers = [int(value) for value in values if len(value) < 9]
        return numbers[:1] in ([0], [1]) and numbers == list(range(numbers[0], numbers[0] + len(values)))
    return False


def shaped(
    rows: Rows, with_names: bool, separator: str, name: str
) -> tuple[list[str], list[list[str]], Sequence[int], list[str]]:
    """Return names, rows of equal length and their lines, and notes."""
    notes = []
    body, lines = rows.cells[with_names:], rows.lines[with_names:]
    head = rows.cells[0]
    width = len(head)
    counts = Counter(map(len, body))
    widest = used = max([width, *counts])
    while used > 1 and all(not row[used - 1].strip() for row in (head, *body) if len(row) >= used):
        used -= 1
    if rest := widest - used:
        head, width = head[:used], min(width, used)
        body = [row[:used] for row in body]
        counts = Counter(map(len, body))
        which = "column has neither a name" if rest == 1 else f"{rest} columns have neither names"
        notes.append(f"the last {which} nor values: {'it is' if rest == 1 else 'they are'} left out")
    if set(counts) - {width}:
        number = next(k for k, row in enumerate(body) if len(row) != width)
        advice = "put a value that holds it in quotes"
        if counts.most_common(1)[0][0] > width:
            advice += ", or remove the lines above the names of the columns"
        raise ValueError(
            f"{name}, line {lines[number]}: got {len(body[number])} values, expected {width}, as in line "
            f"{rows.lines[0]} (the separator is a {separator_name(separator)}): {advice}"
        )
    if not with_names:
        notes.append(f"the first line holds values: the columns are c1 to c{width}")
        return [f"c{number + 1}" for number in range(width)], body, lines, notes
    names = [cell.strip() for cell in head]
    unnamed = [number for number, one in enumerate(names) if not one]
    for number in unnamed:
        names[number] = f"c{number + 1}"
        notes.append(f"column {number + 1} has no name: it is c{number + 1}")
    twice = [one for one, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{name}, line {rows.lines[0]}: got the name {twice[0]!r} twice, expected each column once")
    return names, body, lines, notes
