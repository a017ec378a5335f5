"""The command ``detect``: the events of a series that are not normal."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from .arguments import add_answers, add_command, positive
from .errors import CommandError

__all__ = ["add"]

_EPILOG = """examples:
  fastlstm detect pump.safetensors today.csv
  fastlstm detect pump.safetensors today.csv --min-gap 10 --threshold 20 -o events.csv"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "detect",
        _run,
        summary="events that are not normal: start, end, peak, score",
        description="Print the events of a CSV file that are not normal, as CSV.",
        epilog=_EPILOG,
    )
    parser.add_argument("model", metavar="MODEL", help="file that fastlstm train --task anomaly has written")
    parser.add_argument("data", nargs="?", default="-", metavar="DATA", help="CSV file, - for stdin (default)")
    parser.add_argument("--threshold", type=float, metavar="X", help="score above which a step is not normal")
    parser.add_argument("--min-gap", type=positive, default=1, metavar="N", help="events nearer than this are joined")
    parser.add_argument("--min-length", type=positive, default=1, metavar="N", help="shorter events are left out")
    add_answers(parser, "events")


def _run(arguments: argparse.Namespace) -> int:
    from ..metrics.anomaly import events
    from .answers import scores_of
    from .cases import read_cases
    from .errors import UsageError
    from .model_file import is_forecaster, load_model
    from .output import check_output, write_records

    if arguments.output != "-":
        check_output(arguments.output)
    if arguments.threshold is not None and not arguments.threshold > 0:
        raise UsageError(f"--threshold {arguments.threshold}: expected a number above 0")
    if is_forecaster(arguments.model):
        raise CommandError(f"{arguments.model} is a forecaster: train a detector with fastlstm train --task anomaly")
    saved = load_model(arguments.model)
    if saved.task != "anomaly":
        raise CommandError(f"{arguments.model} is a model for {saved.task}: train one with --task anomaly")
    layout = saved.layout
    cases = read_cases(layout.read(arguments.data, arguments), layout, missing=saved.takes_missing)
    limit = saved.threshold if arguments.threshold is None else arguments.threshold
    columns = [*([layout.group] if layout.group else []), "start", "end", "peak", "score", "steps"]
    rows: list[list[Any]] = []
    for number, scores in enumerate(scores_of(saved, cases, arguments.threads)):
        places = cases.places(number)
        for one in events(scores, limit, min_gap=arguments.min_gap, min_length=arguments.min_length):
            head = [cases.names[number]] if layout.group else []
            found = [places[one.start], places[one.stop - 1], places[one.peak], one.score, one.stop - one.start]
            rows.append([*head, *found])
    write_records(arguments.output, columns, rows, as_json=arguments.json)
    if not arguments.quiet:
        print(f"{len(rows)} events with a score above {limit:.6g}", file=sys.stderr)
    return 0
