"""The command ``init``: a commented TOML file for a training, from a look at the data."""

from __future__ import annotations

import argparse
from typing import Any

from .arguments import add_command, add_csv_options
from .options import TASKS

__all__ = ["add"]

_EPILOG = """examples:
  fastlstm init meter.csv                             prints the file
  fastlstm init meter.csv -o meter.toml               then: fastlstm train --config meter.toml -o meter.safetensors"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "init",
        _run,
        summary="a commented configuration for a CSV file, as TOML",
        description="Print a commented configuration for a CSV file, as TOML, to edit and pass to train --config.",
        epilog=_EPILOG,
    )
    parser.add_argument("data", metavar="DATA.csv", help="the training data")
    parser.add_argument("--task", choices=TASKS, help="what to learn; by default guessed")
    parser.add_argument("--target", metavar="C", help="column to predict; by default guessed")
    parser.add_argument("-o", "--output", default="-", metavar="FILE.toml", help="file, - for stdout (default)")
    add_csv_options(parser)


def _run(arguments: argparse.Namespace) -> int:
    from .output import check_output, write_text
    from .tables import csv_options, read_table
    from .template import template

    if arguments.output != "-":
        check_output(arguments.output)
    csv = csv_options(arguments)
    table = read_table(arguments.data, csv)
    write_text(arguments.output, [template(table, arguments.data, arguments.task, arguments.target, csv)])
    return 0
