"""What readers of the archives' files have in common: their results, lines, numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..._checks import short_repr

__all__ = ["LabelledSeries", "SeriesMeta", "lines_of", "numbers_of", "place", "text_of"]


class SeriesMeta(NamedTuple):
    """What a file says about its series."""

    name: str
    """Name of the problem."""
    classes: tuple[str, ...] | None
    """All class labels, for `Model(classes=...)`; None if the targets are numbers, or there are none."""
    missing: bool
    """Whether `X` holds NaN, for missing values."""
    header: dict[str, str]
    """The tags of the header as they are in the file, without the @ and in lower case; empty for .tsv."""


class LabelledSeries(NamedTuple):
    """The series of a file with their labels."""

    X: NDArray[np.float64] | list[NDArray[np.float64]]
    """(n, T, channels), or a list of (T_i, channels) if lengths differ."""
    y: NDArray[Any] | None
    """(n,): class labels as strings, or targets as float64; None if there are none."""
    meta: SeriesMeta
    """Name, classes, and what else the file says."""


def lines_of(path: str) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file that are not blank, with their numbers from 1; no line ends, no byte-order mark."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if number == 1:
                if line.startswith((b"\xff\xfe", b"\xfe\xff")):
                    raise ValueError(f"{path} is UTF-16, expected UTF-8: save it in this encoding")
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.strip():
                yield number, line.rstrip(b"\r\n")


def text_of(line: bytes, where: str) -> str:
    """Return a line as text."""
    if b"\0" in line:  # NumPy cuts it off the end of a string
        raise ValueError(f"{where}: got a null character, expected labels and numbers")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: got bytes that are no UTF-8 text, expected labels and numbers") from error


def place(path: str, line: int, *more: str) -> str:
    """Return the place at which an error message says that something is wrong."""
    return ", ".join([f"{path}, line {line}", *more])


def numbers_of(text: str, separator: str, where: str) -> NDArray[np.float64]:
    """Return the numerals of a text as numbers, at least one; "?" and "NaN" become NaN.

    Parameters
    ----------
    text : str
        Numerals.
    separator : str
        What is between them.
    where : str
        Place of the text in the file.
    """
    tokens = text.split(separator)
    try:
        values = np.fromiter(map(float, tokens), np.float64, len(tokens))
    except ValueError:
        values = np.fromiter(map(_number, tokens), np.float64, len(tokens))
    # float takes digits of other scripts and 1_000 too, which are more likely damage.
    if text.isascii() and "_" not in text and np.isfinite(values).all():
        return values
    for number, (token, value) in enumerate(zip(tokens, values.tolist(), strict=True), start=1):
        token = token.strip()
        if token == "?" or token.lower() == "nan":
            continue
        if not math.isfinite(value) or not token.isascii() or "_" in token:
            raise ValueError(
                f"{where}: value {number} is {short_repr(token)}, expected a finite number, or ? for a missing one"
            )
    return values


def _number(token: str) -> float:
    """Return a numeral as a number; NaN for what is none."""
    try:
        return float(token)
    except ValueError:
        return math.nan
