"""Read the tables that commands are given."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from ..data import CsvTable, read_csv
from .errors import UsageError, refusing

__all__ = ["csv_options", "read_table"]

_NAMED = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "bar": "|"}


def csv_options(arguments: argparse.Namespace, configured: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the options of `read_csv` that the command line gives, else those of a configuration."""
    options = dict(configured or {})
    for name in ("separator", "decimal", "encoding"):
        given = getattr(arguments, name, None)
        if given is not None:
            options[name] = given
    if getattr(arguments, "header", None) is not None:
        options["header"] = arguments.header == "yes"
    if getattr(arguments, "day_first", None):
        options["day_first"] = True
    if getattr(arguments, "month_first", None):
        options["day_first"] = False
    if "separator" in options:
        options["separator"] = _NAMED.get(options["separator"], options["separator"])
        if len(options["separator"]) != 1:
            raise UsageError(f"--separator {options['separator']}: expected one character such as ';', or tab")
    return options


def read_table(source: str, options: Mapping[str, Any]) -> CsvTable:
    """Read a file, or stdin for "-".

    Raises
    ------
    DataRefused
        If it is no table.
    OSError
        If it cannot be read.
    """
    with refusing():
        return read_csv(sys.stdin.buffer if source == "-" else source, **options)
