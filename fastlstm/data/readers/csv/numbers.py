"""Numbers as people write them: decimal points and commas, groups of thousands."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...._typing import Array

__all__ = ["MISSING", "Marks", "is_number", "looks_numeric", "marks_of", "plain_numbers", "with_commas", "with_marks"]

MISSING = frozenset(
    spelling
    for word in ("", "na", "n/a", "#n/a", "nan", "null", "-", "?", "nat")
    for spelling in (word, word.upper(), word.capitalize(), word.replace("nan", "NaN").replace("nat", "NaT"))
)
"""Texts that stand for a value that is missing."""
_PLAIN = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_GROUPS = {mark: re.compile(rf"[+-]?[0-9]{{1,3}}(?:\{mark}[0-9]{{3}})+") for mark in ".,"}
_MARKED = re.compile(
    r"[+-]?(?:[0-9]+(?:[.,][0-9]*)?|[.,][0-9]+)(?:[eE][+-]?[0-9]+)?"
    r"|[+-]?[0-9]{1,3}(?:\.[0-9]{3})+(?:,[0-9]*)?|[+-]?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]*)?"
)


class Marks(NamedTuple):
    """What the marks in the numbers of a column can mean."""

    point: bool
    """Whether a value can only be read with a decimal point."""
    comma: bool
    """Whether a value can only be read with a decimal comma."""
    dots: bool
    """Whether there are points at all."""
    commas: bool
    """Whether there are commas at all."""


def is_number(cell: str) -> bool:
    """Return whether a text is a number with a decimal point or none, and without groups."""
    return _PLAIN.fullmatch(cell) is not None


def looks_numeric(cell: str) -> bool:
    """Return whether a text is a number with some reading of its points and commas."""
    return _MARKED.fullmatch(cell) is not None


def plain_numbers(cells: Sequence[str]) -> Array | None:
    """Return numbers with a decimal point or none as float64; None if a text is something else, or too large."""
    joined = "".join(cells)
    # float takes digits of other scripts, 1_000 and inf too, which are more likely damage.
    if not joined.isascii() or "_" in joined:
        return None
    try:
        values = np.fromiter(map(float, cells), np.float64, len(cells))
    except ValueError:
        return None
    return values if np.isfinite(values).all() else None


def marks_of(cells: Sequence[str], single: bool = False) -> Marks:
    """Return what the marks in numbers can mean; `single`: none has more than one."""
    joined = "".join(cells)
    dots, commas = "." in joined, "," in joined
    if not (dots and commas):  # the first value that decides is enough
        point = dots and any("." in cell and _decides(cell, ".") for cell in cells)
        comma = commas and any("," in cell and _decides(cell, ",") for cell in cells)
        several = (
            any(cell.count("." if dots else ",") > 1 for cell in cells) if (dots or commas) and not single else False
        )
        return Marks(point or (several and commas), comma or (several and dots), dots, commas)
    point = comma = False
    for cell in cells:
        has_dot, has_comma = "." in cell, "," in cell
        if has_dot and has_comma:
            last_is_point = cell.rindex(".") > cell.rindex(",")
            point, comma = point or last_is_point, comma or not last_is_point
        elif has_dot or has_comma:
            mark = "." if has_dot else ","
            if cell.count(mark) > 1:  # groups: the decimal mark is the other one
                point, comma = point or has_comma, comma or has_dot
            elif _decides(cell, mark):
                point, comma = point or has_dot, comma or has_comma
    return Marks(point, comma, dots, commas)


def _decides(cell: str, mark: str) -> bool:
    """Return whether the only mark of a number cannot be one of thousands."""
    return not _GROUPS[mark].fullmatch(cell) or cell.lstrip("+-").startswith("0")


def with_commas(cells: Sequence[str]) -> Array | None:
    """Return numbers with a decimal comma or none, and no points; None if a text is something else."""
    joined = "\n".join(cells)
    if "." in joined:
        return None
    swapped = joined.replace(",", ".").split("\n")
    return plain_numbers(swapped) if len(swapped) == len(cells) else None


def with_marks(cells: Sequence[str], decimal: str) -> tuple[Array, int | None]:
    """Return numbers that are written with this decimal mark and perhaps groups of thousands with the other.

    Returns
    -------
    values : ndarray of float64
    wrong : int or None
        Number of the first text that cannot be read so.
    """
    group = "," if decimal == "." else "."
    values = np.empty(len(cells))
    for number, cell in enumerate(cells):
        whole, mark, rest = cell.partition(decimal)
        if group in whole:
            if not _GROUPS[group].fullmatch(whole):
                return values, number
            whole = whole.replace(group, "")
        text = f"{whole}.{rest}" if mark else whole
        if not is_number(text):
            return values, number
        values[number] = float(text)
        if not np.isfinite(values[number]):
            return values, number
    return values, None
