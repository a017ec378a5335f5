"""Where commands write: data to stdout or a file, messages to stderr."""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .errors import UsageError

__all__ = [
    "Say",
    "cell",
    "check_output",
    "json_text",
    "record_text",
    "row_text",
    "say",
    "silent",
    "time_text",
    "write_records",
    "write_rows",
    "write_text",
]

Say = Callable[[str], None]


def say(text: str) -> None:
    """Print a message on stderr."""
    print(text, file=sys.stderr, flush=True)


def silent(text: str) -> None:
    """Print nothing."""


def cell(value: Any) -> str:
    """Return a value as a cell of a CSV file: numbers with all their digits, nothing for missing ones."""
    if value is None:
        return ""
    if isinstance(value, np.datetime64):
        return time_text(value)
    if isinstance(value, (float, np.floating)):
        if math.isnan(value):
            return ""
        return str(value) if isinstance(value, np.float32) else repr(float(value))
    return str(value)


def time_text(value: np.datetime64) -> str:
    """Return a time without the digits that are 0."""
    whole = value.astype("datetime64[s]")
    return str(whole if whole == value else value).replace("T", " ")


def row_text(values: Iterable[Any]) -> str:
    """Return a line of a CSV file, with its line end."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow([cell(value) for value in values])
    return text.getvalue()


def json_text(value: Any) -> str:
    """Return JSON; what is not a number becomes null."""
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False)


def record_text(columns: Sequence[str], row: Sequence[Any], *, as_json: bool) -> str:
    """Return an answer as a line of CSV, or as a line of JSON with the names of the columns; with its line end."""
    return json_text(dict(zip(columns, row, strict=True))) + "\n" if as_json else row_text(row)


def write_records(path: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, as_json: bool) -> None:
    """Write answers as CSV with a line of names, or as lines of JSON; to stdout for "-"."""
    names = [] if as_json else [row_text(columns)]
    write_text(path, [*names, *(record_text(columns, row, as_json=as_json) for row in rows)])


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, np.datetime64):
        return time_text(value)
    if isinstance(value, np.generic):
        value = float(str(value)) if isinstance(value, np.float32) else value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def check_output(path: str, option: str = "-o") -> None:
    """Raise UsageError if a file cannot be written because its folder does not exist, or because it is a folder."""
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise UsageError(f"{option} {path}: there is no folder {folder!r}: create it first")
    if os.path.isdir(path):
        raise UsageError(f"{option} {path}: it is a folder, expected the name of a file")


def write_text(path: str, lines: Sequence[str]) -> None:
    """Write lines to stdout for "-", else to a file, which appears as a whole or not at all."""
    if path == "-":
        for line in lines:
            sys.stdout.write(line)
        sys.stdout.flush()
        return
    from ..formats import atomic

    atomic.write(path, ["".join(lines).encode("utf-8")])


def write_rows(arguments: argparse.Namespace, columns: Sequence[str], rows: Sequence[Sequence[Any]], what: str) -> None:
    """Write answers as the arguments say; tell on stderr how many of `what` a file holds."""
    write_records(arguments.output, columns, rows, as_json=arguments.json)
    if arguments.output != "-" and not arguments.quiet:
        say(f"{len(rows)} {what} in {arguments.output}")
