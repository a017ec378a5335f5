"""The options of ``train``: one list for the parser, the TOML file and its template."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .arguments import add_csv_options, add_threads, natural, positive, share, words

__all__ = ["CSV_KEYS", "OPTIONS", "TASKS", "Option", "add_options"]

TASKS = ("forecast", "classify", "regress", "anomaly")


@dataclass(frozen=True)
class Option:
    """An option of ``train``, on the command line ``--key`` and in a file ``key``."""

    key: str
    read: Callable[[str], Any]
    metavar: str
    help: str
    tasks: tuple[str, ...] = TASKS
    example: str = ""
    """For the template, as TOML."""

    @property
    def flag(self) -> str:
        """The option on the command line."""
        return "--" + self.key.replace("_", "-")


def _levels(text: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}; expected numbers separated by commas") from None


def _steps(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdigit() else text


_CASES = ("classify", "regress")
_FORECAST = ("forecast",)
_FITTED = (*_CASES, "anomaly")

OPTIONS = (
    Option("target", str, "C", "column to predict; for anomaly known labels, 1 where something was wrong"),
    Option("time", str, "C", "column of times, by which rows are ordered"),
    Option("id", str, "C", "column of names: of the series (forecast) or of the cases", ("forecast", *_CASES)),
    Option("group", str, "C", "column of cases: the rows of one value are one series", _FITTED),
    Option("features", words, "C,..", "columns that are read; by default all others", _FITTED, '["a", "b"]'),
    Option("ignore", words, "C,..", "columns that are left out", TASKS, '["comment"]'),
    Option(
        "keep_together", str, "C", "column such as a patient: cases of one value are not divided", _CASES, '"patient"'
    ),
    Option("horizon", _steps, "96|1D", "how far to forecast: steps, or a time", _FORECAST, '"1D"'),
    Option("gap", _steps, "14h", "from the last reading to the first forecast: steps, or a time", _FORECAST, '"14h"'),
    Option("freq", str, "15min", "step of the time grid; by default inferred", _FORECAST, '"15min"'),
    Option("time_zone", str, "ZONE", "of local times, such as Europe/Berlin", _FORECAST, '"Europe/Berlin"'),
    Option("hist_exog", words, "C,..", "inputs that are known up to the present", _FORECAST, '["voltage"]'),
    Option("futr_exog", words, "C,..", "inputs that are known in advance", _FORECAST, '["temperature"]'),
    Option("stat_exog", words, "C,..", "numbers of a series that do not change", _FORECAST, '["peak_load"]'),
    Option("cat_exog", words, "C,..", "categories of a series that do not change", _FORECAST, '["region"]'),
    Option("holidays", str, "DE", "country whose holidays count", _FORECAST, '"DE"'),
    Option("quantiles", _levels, "Q,..", "quantiles to predict", ("forecast", "regress"), "[0.05, 0.5, 0.95]"),
    Option("validation", share, "SHARE|FILE", "part or file by which the training stops", TASKS, "0.15"),
    Option("test", share, "SHARE|FILE", "part or file that is kept out and measured at the end", _CASES, "0.2"),
    Option("seed", natural, "N", "seed of all that is random (default: 0)", TASKS, "0"),
    Option("epochs", positive, "N", "passes over the data", TASKS, "50"),
    Option("shards", positive, "N", "parts of a batch, computed one by one or by N processes of mpiexec", TASKS, "8"),
    Option("deadline", positive, "SECONDS", "that a process waits for another one (default: 600)", TASKS, "600"),
)

CSV_KEYS = {"separator": str, "decimal": str, "encoding": str, "header": bool, "day_first": bool}
"""Keys of the table [csv] of a file, and their types."""


def add_options(parser: Any) -> None:
    """Add the options of ``train`` to its parser."""
    parser.add_argument("--task", choices=TASKS, help="what to learn")
    roles = parser.add_argument_group("columns and training")
    for option in OPTIONS:
        only = "" if option.tasks == TASKS else f" ({', '.join(option.tasks)})"
        roles.add_argument(option.flag, type=option.read, metavar=option.metavar, help=option.help + only)
    roles.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the network or its training, such as hidden_size=128; --set list prints all",
    )
    add_threads(roles)
    add_csv_options(parser)
