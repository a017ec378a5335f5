"""Arguments that several commands have."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

__all__ = ["add_answers", "add_command", "add_csv_options", "add_threads", "natural", "positive", "share", "words"]


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


def add_command(
    commands: Any,
    name: str,
    run: Callable[[argparse.Namespace], int],
    *,
    summary: str,
    description: str | None = None,
    epilog: str | None = None,
) -> Any:
    """Add a command; return its parser.

    Parameters
    ----------
    commands : subparsers of argparse
    name : str
    run : callable
        Does the work, and returns the exit status.
    summary : str
        For the list of commands.
    description, epilog : str, optional
        For the help of the command; line ends are kept.
    """
    parser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    return parser


def add_answers(parser: Any, what: str) -> None:
    """Add the options of a command that writes `what` as CSV."""
    parser.add_argument(
        "-o", "--output", default="-", metavar="OUT", help=f"file for the {what}, - for stdout (default)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, an object in each line, in place of CSV")
    parser.add_argument("--quiet", action="store_true", help=f"print nothing but {what} and errors")
    add_threads(parser)
    add_csv_options(parser)


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
