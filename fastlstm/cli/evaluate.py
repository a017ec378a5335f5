"""The command ``evaluate``: measures of a model beside those of simple baselines."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

from .arguments import add_command, add_csv_options, add_threads, positive
from .errors import DataRefused, UsageError

__all__ = ["add"]

_EPILOG = """examples:
  fastlstm evaluate load.safetensors meter.csv --windows 8
  fastlstm evaluate beats.safetensors new.csv --fail-if 'accuracy<0.9' --plot confusion.png
  fastlstm evaluate wear.safetensors new.csv --fail-if 'mae>0.9*mae_median'"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "evaluate",
        _run,
        summary="measure a model, beside simple baselines",
        description="Print measures of a model on a CSV file with the answers, beside those of simple baselines.",
        epilog=_EPILOG,
    )
    parser.add_argument("model", metavar="MODEL", help="file that fastlstm train has written")
    parser.add_argument("data", metavar="DATA", help="CSV file with the target, - for stdin")
    parser.add_argument("--windows", type=positive, metavar="N", help="forecasts of a backtest (default: 8)")
    parser.add_argument(
        "--fail-if",
        action="append",
        default=[],
        metavar="CONDITION",
        help="end with status 4 if it holds, such as 'mase>1'; may be given several times",
    )
    parser.add_argument("--target", metavar="C", help="column with the answers, by default that of the training")
    parser.add_argument("--plot", metavar="FILE", help="picture, such as report.png")
    parser.add_argument("--json", action="store_true", help="print JSON on stdout in place of a table")
    add_threads(parser)
    add_csv_options(parser)


def _run(arguments: argparse.Namespace) -> int:
    from .conditions import check_conditions, parse_condition
    from .model_file import is_forecaster
    from .output import check_output, json_text

    for condition in arguments.fail_if:
        parse_condition(condition)  # before the work
    if arguments.plot:
        check_output(arguments.plot, "--plot")
    if is_forecaster(arguments.model):
        from . import forecasts

        measures = forecasts.evaluate(arguments)
    else:
        if arguments.windows:
            raise UsageError("--windows is for forecasts")
        measures = _measures(arguments)
    print(json_text(measures.values) if arguments.json else "\n".join(measures.lines()), flush=True)
    check_conditions(arguments.fail_if, measures.values)
    return 0


def _measures(arguments: argparse.Namespace) -> Any:
    from .cases import read_cases
    from .measures import measure
    from .model_file import load_model

    saved = load_model(arguments.model)
    if arguments.target is not None:
        saved = replace(saved, layout=replace(saved.layout, target=arguments.target))
    table = saved.layout.read(arguments.data, arguments)
    target = saved.task != "anomaly" or arguments.target is not None
    cases = read_cases(table, saved.layout, target=target, missing=saved.takes_missing)
    measures = measure(saved, cases, arguments.threads)
    if arguments.plot:
        _plot(saved, cases, arguments)
    return measures


def _plot(saved: Any, cases: Any, arguments: argparse.Namespace) -> None:
    import numpy as np

    from .. import plots
    from .answers import answer, scores_of

    if saved.task == "classify":
        from ..metrics import confusion_matrix

        names = [str(label) for label in saved.classes]
        codes = np.array([names.index(str(label)) for label in cases.labels])
        found = answer(saved, cases, arguments.threads).values.argmax(axis=1)
        matrix = confusion_matrix(codes, found, classes=list(range(len(names))))
        plots.confusion_matrix(matrix, names, path=arguments.plot)
    elif saved.task == "anomaly":
        if len(cases) > 1:
            raise DataRefused("--plot shows one series: give a file with one group")
        (scores,) = scores_of(saved, cases, arguments.threads)
        plots.anomaly(cases.series[0], scores, saved.threshold, path=arguments.plot)
    else:
        from ..plots.canvas import finish, new_figure

        true = np.array(cases.labels, np.float64)
        found = np.array(answer(saved, cases, arguments.threads).labels, np.float64)
        figure = new_figure("fastlstm evaluate --plot", 5.0, 5.0)
        axes = figure.subplots()
        axes.plot(true, found, ".")
        ends = [min(true.min(), found.min()), max(true.max(), found.max())]
        axes.plot(ends, ends, color="0.6", linewidth=1.0)
        axes.set_xlabel(saved.layout.target)
        axes.set_ylabel("predicted")
        finish(figure, arguments.plot, None)
