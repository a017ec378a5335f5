"""Arguments that several commands have."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = ["add_csv_options", "add_threads", "natural", "positive", "share", "words"]


def natural(text: str) -> int:
    """Return an integer from 0 that fits in 64 bits."""
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise argparse.ArgumentTypeError(f"{text!r}; expected an integer, 0 or more")
    return int(text)


def positive(text: str) -> int:
    """Return an integer from 1."""
    number = natural(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; expected an integer, 1 or more")
    return number


def share(text: str) -> float | str:
    """Return a number between 0 and 1; anything else is the name of a file."""
    try:
        number = float(text)
    except ValueError:
        return text
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; expected a number between 0 and 1, or a file")
    return number


def words(text: str) -> list[str]:
    """Return names that are separated by commas."""
    found = [word.strip() for word in text.split(",")]
    if not all(found):
        raise argparse.ArgumentTypeError(f"{text!r}; expected names separated by commas")
    return found


def add_csv_options(parser: Any) -> None:
    """Add how CSV files are written; by default this is found out."""
    group = parser.add_argument_group("CSV files", "how they are written; by default this is found out")
    group.add_argument("--separator", metavar="CHAR", help="between values: ',', ';', '|' or tab")
    group.add_argument("--decimal", choices=[".", ","], help="decimal mark")
    group.add_argument("--encoding", metavar="NAME", help="such as utf-8 or latin-1")
    group.add_argument("--header", choices=["yes", "no"], help="whether the first line holds names")
    order = group.add_mutually_exclusive_group()
    order.add_argument("--day-first", action="store_true", default=None, help="3/4/2026 is the third of April")
    order.add_argument("--month-first", action="store_true", default=None, help="3/4/2026 is the fourth of March")


def add_threads(parser: Any) -> None:
    """Add the number of threads."""
    parser.add_argument("--threads", type=positive, metavar="N", help="number of threads; results do not depend on it")
