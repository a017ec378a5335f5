"""The command ``predict``: answers for a table, or for lines as they arrive."""

from __future__ import annotations

import argparse
from typing import Any

from .arguments import add_csv_options, add_threads
from .errors import UsageError

__all__ = ["add"]

_EPILOG = """examples:
  fastlstm predict beats.safetensors new.csv -o answers.csv
  cat new.csv | fastlstm predict beats.safetensors -
  tail -n 0 -F pump.csv | fastlstm predict pump.safetensors - --follow     one line in, one line out"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "predict",
        help="answers for a CSV file, or for lines as they arrive",
        description="Print an answer for each case, or for each line as it arrives, as CSV.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("model", metavar="MODEL", help="file that fastlstm train has written")
    parser.add_argument("data", nargs="?", metavar="DATA", help="CSV file, - for stdin; a forecast can do without")
    parser.add_argument(
        "-o", "--output", default="-", metavar="OUT", help="file for the answers, - for stdout (default)"
    )
    parser.add_argument("--future", metavar="FILE", help="known future inputs of a forecast, as CSV")
    parser.add_argument("--horizon", metavar="96|1D", help="how far to forecast, at most as far as in the training")
    parser.add_argument("--follow", action="store_true", help="answer each line of stdin at once")
    parser.add_argument("--history", metavar="FILE", help="with --follow: readings before the first line, as CSV")
    parser.add_argument("--json", action="store_true", help="print JSON, an object in each line, in place of CSV")
    parser.add_argument("--quiet", action="store_true", help="print nothing but answers and errors")
    add_threads(parser)
    add_csv_options(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from .model_file import is_forecaster
    from .output import check_output

    if arguments.output != "-":
        check_output(arguments.output)
    forecaster = is_forecaster(arguments.model)
    if arguments.follow:
        if arguments.data != "-":
            raise UsageError("--follow reads stdin: fastlstm predict MODEL - --follow")
        if arguments.output != "-":
            raise UsageError("--follow answers on stdout: leave out -o, and redirect the output")
        if arguments.future or arguments.horizon:
            raise UsageError("--future and --horizon are not for --follow, which answers with the whole horizon")
        from .follow import follow

        return follow(arguments, forecaster)
    if arguments.history is not None:
        raise UsageError("--history is for --follow: put all readings into one file and predict from it")
    if forecaster:
        from . import forecasts

        return forecasts.predict(arguments)
    if arguments.future or arguments.horizon:
        raise UsageError("--future and --horizon are for forecasts")
    if arguments.data is None:
        raise UsageError("name a CSV file, or - for stdin: fastlstm predict MODEL DATA")
    return _predict(arguments)


def _predict(arguments: argparse.Namespace) -> int:
    from .answers import answer, case_columns
    from .cases import read_cases
    from .model_file import load_model
    from .output import write_rows
    from .tables import csv_options, read_table

    saved = load_model(arguments.model)
    table = read_table(arguments.data, csv_options(arguments, _learnt(saved.layout)))
    cases = read_cases(table, saved.layout, target=False, missing=saved.takes_missing)
    if saved.task == "anomaly":
        columns, rows = _score_rows(saved, cases, arguments.threads)
    else:
        columns = case_columns(saved)
        answers = answer(saved, cases, arguments.threads)
        alone = saved.task == "regress" and saved.quantiles is None
        rows = [
            [name, label, *([] if alone else values)]
            for name, label, values in zip(cases.names, answers.labels, answers.values, strict=True)
        ]
    write_rows(arguments, columns, rows, "answers")
    return 0


def _learnt(layout: Any) -> dict[str, Any]:
    """Return what is taken from the training data if the new ones do not decide it."""
    return {} if layout.day_first is None else {"day_first": layout.day_first}


def _score_rows(saved: Any, cases: Any, threads: int | None) -> tuple[list[str], list[list[Any]]]:
    """Return the output of a detector: the score of each row, and whether it is above the threshold."""
    from .answers import scores_of

    layout = saved.layout
    columns = [*([layout.group] if layout.group else []), *([layout.time] if layout.time else []), "score", "anomaly"]
    if layout.time is None:
        columns = [*columns[:-2], "row", *columns[-2:]]
    rows = []
    for number, scores in enumerate(scores_of(saved, cases, threads)):
        for place, score in zip(cases.places(number), scores.tolist(), strict=True):
            head = [cases.names[number]] if layout.group else []
            rows.append([*head, place, score, int(score > saved.threshold)])
    return columns, rows
