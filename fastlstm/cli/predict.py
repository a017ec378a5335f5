"""The command ``predict``: answers for a table, or for lines as they arrive."""

from __future__ import annotations

import argparse
from typing import Any

from .arguments import add_answers, add_command
from .errors import UsageError

__all__ = ["add"]

_EPILOG = """examples:
  fastlstm predict beats.safetensors new.csv -o answers.csv
  cat new.csv | fastlstm predict beats.safetensors -
  tail -n 0 -F pump.csv | fastlstm predict pump.safetensors - --follow     one line in, one line out"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "predict",
        _run,
        summary="answers for a CSV file, or for lines as they arrive",
        description="Print an answer for each case, or for each line as it arrives, as CSV.",
        epilog=_EPILOG,
    )
    parser.add_argument("model", metavar="MODEL", help="file that fastlstm train has written")
    parser.add_argument("data", nargs="?", metavar="DATA", help="CSV file, - for stdin; a forecast can do without")
    parser.add_argument("--future", metavar="FILE", help="inputs of a forecast that are known in advance, as CSV")
    parser.add_argument("--horizon", metavar="96|1D", help="how far to forecast, at most as far as in the training")
    parser.add_argument("--follow", action="store_true", help="answer each line of stdin at once")
    parser.add_argument("--history", metavar="FILE", help="with --follow: readings before the first line, as CSV")
    add_answers(parser, "answers")


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
        if arguments.horizon:
            raise UsageError("--horizon is not for --follow, which answers with the whole horizon")
        if arguments.future and not forecaster:
            raise UsageError("--future is for forecasts")
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

    saved = load_model(arguments.model)
    cases = read_cases(saved.layout.read(arguments.data, arguments), saved.layout, missing=saved.takes_missing)
    if saved.task == "anomaly":
        columns, rows = _scores(saved, cases, arguments.threads)
    else:
        columns, rows = case_columns(saved), answer(saved, cases, arguments.threads).rows(cases.names)
    write_rows(arguments, columns, rows, "answers")
    return 0


def _scores(saved: Any, cases: Any, threads: int | None) -> tuple[list[str], list[list[Any]]]:
    """Return the output of a detector: the score of each row, and whether it is above the threshold."""
    from .answers import score_columns, score_row, scores_of

    rows = [
        score_row(saved, cases.names[number], place, score)
        for number, scores in enumerate(scores_of(saved, cases, threads))
        for place, score in zip(cases.places(number), scores.tolist(), strict=True)
    ]
    return score_columns(saved.layout), rows
