"""``train --task forecast``, with `fastlstm.Forecaster` (extra ``forecast``)."""

from __future__ import annotations

import argparse
import inspect
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from .._arguments import closest
from .._version import __version__
from ..data import CsvTable
from ..data.readers.csv.times import is_clock, looks_like_time
from ..forecast.arguments import check_arguments
from ..forecast.forecaster import Forecaster
from ..forecast.frames import FrameReader
from ..formats import safetensors
from ..training.loop import TrainingDiverged
from .checkpoints import checkpoint_path, resume_command
from .config import Configuration
from .errors import CommandError, DataRefused, UsageError, refusing
from .layout import Layout, time_is_counted
from .model_file import TABLE
from .output import Say, json_text, say
from .processes import Processes
from .tables import read_table

__all__ = ["NO_ID", "check_numbers", "forecast_columns", "save_forecaster", "settings", "train"]

NO_ID = "unique_id"
"""Name of the column of ids where the command line names none."""
_LISTS = ("hist_exog", "futr_exog", "stat_exog", "cat_exog")
_OPTIONS = ("horizon", "gap", "freq", "time_zone", "holidays", "quantiles", "epochs", *_LISTS)
"""Options of ``train`` that are parameters of the forecaster."""
_HIDDEN = ("layers", "random_state", "n_jobs", "verbose")


def settings() -> dict[str, Any]:
    """Return the settings of a forecaster with their default values."""
    parameters = inspect.signature(Forecaster.__init__).parameters
    left_out = {"self", "horizon", *_OPTIONS, *_HIDDEN}
    return {name: one.default for name, one in parameters.items() if name not in left_out}


def forecast_columns(configured: Mapping[str, Any]) -> list[str]:
    """Return the columns that a forecaster reads."""
    roles = [configured.get("id"), configured["time"], configured["target"]]
    return [
        *(name for name in roles if name is not None),
        *(name for key in _LISTS for name in configured.get(key) or ()),
    ]


def train(arguments: argparse.Namespace, configured: Configuration, team: Processes, told: Say) -> int:
    """Train a forecaster, or say what it would be trained on; return the exit status."""
    with team.together():
        table = read_table(configured.data, configured.csv)
        _set_roles(table, configured)
        forecaster = _new_forecaster(arguments, configured)
        names = tuple(table)
        table = _chosen(table, configured)
        columns = {
            "id_col": configured.get("id") or NO_ID,
            "time_col": configured.get("time"),
            "target_col": configured.get("target"),
        }
        report, lines = _understood(table, configured, forecaster, columns)
    if arguments.dry_run:
        if team.rank == 0:
            print(json_text({**report, "table": table.to_dict()}) if arguments.json else "\n".join(lines))
        return 0
    for line in lines:
        told(line)
    seconds = _fit(arguments, configured, forecaster, table, columns, team, told)
    if team.rank:
        return 0  # the rest is done once
    assert configured.output is not None
    _save(configured.output, forecaster, configured, table, names, report)
    epochs = forecaster.history_.epochs
    for level, shares in forecaster.coverage_.items():
        told(f"of the {level} % interval, {shares['corrected']:.1%} of the last part of the data lies inside")
    told(f"{epochs} epochs in {seconds:.1f} s; the model is in {configured.output}")
    if arguments.json:
        coverage = forecaster.coverage_
        print(json_text({"model": configured.output, "epochs": epochs, "seconds": seconds, "coverage": coverage}))
    return 0


def _set_roles(table: CsvTable, configured: Configuration) -> None:
    """Find the columns of times and targets if only one can be meant; raise UsageError if they are not clear."""
    options = configured.options
    if "horizon" not in options:
        raise UsageError("--horizon is missing: how far to forecast, in steps (96) or as a time (1D)")
    if "time" not in options:
        times = [name for name, column in table.columns.items() if column.kind == "time"]
        if not times:
            _refuse_damaged_times(table)
        if len(times) != 1:
            raise UsageError(f"--time is missing: the column of times, one of {', '.join(times or table)}")
        options["time"] = times[0]
    if "target" not in options:
        raise UsageError(f"--target is missing: the column to forecast, one of {', '.join(table)}")
    listed = [*(options[key] for key in ("id", "time", "target") if key in options)]
    listed += [name for key in (*_LISTS, "ignore") for name in options.get(key) or ()]
    with refusing():
        for name in listed:
            table.column(name)
    left = [name for name in table if name not in listed]
    for name in left:
        if (texts := table.columns[name].texts) and is_clock(str(texts[0])):
            raise DataRefused(
                f"{table.place(0)}, column {name!r}: got {texts[0]!r}, a time of day in a column of its own: write the "
                "date and the time of day into one column, as in 2026-03-31 14:15"
            )
    if left:
        raise DataRefused(
            f"{table.name} has columns that are in no list: {', '.join(left)}. Name each in one (--hist-exog: known up "
            "to the present; --futr-exog: known in advance; --stat-exog, --cat-exog: the same in a whole series), or "
            f"leave it out: --ignore {','.join(left)}"
        )


def _refuse_damaged_times(table: CsvTable) -> None:
    """Raise DataRefused with the line if a column of times holds something else."""
    with refusing():
        for name, column in table.columns.items():
            if column.kind == "mixed" and any(looks_like_time(text or "") for text in column.texts or ()):
                table.times(name)


def check_numbers(table: CsvTable, names: Iterable[str]) -> None:
    """Raise DataRefused with the line, and what to type, if columns do not hold numbers."""
    with refusing():
        for name in names:
            if name in table.columns:
                table.numbers(name)


def _new_forecaster(arguments: argparse.Namespace, configured: Configuration) -> Forecaster:
    known = settings()
    given = {name: value for name, value in configured.settings.items() if name != "list"}
    for name in given:
        if name not in known:
            near = closest(name, known)
            advice = f": did you mean {near}?" if near else ""
            raise UsageError(f"--task forecast has no setting {name!r}, expected one of {', '.join(known)}{advice}")
    parameters = {**given, **{key: configured.options[key] for key in _OPTIONS if key in configured.options}}
    validation = configured.get("validation")
    if isinstance(validation, str):
        raise UsageError("--validation is a share of the rows for a forecast, the last ones in time, such as 0.15")
    if validation is not None:
        parameters["validation"] = validation
    try:
        forecaster = Forecaster(
            **parameters,
            random_state=configured.get("seed", 0),
            n_jobs=arguments.threads,
            verbose=0 if arguments.quiet else 1,
        )
        check_arguments(forecaster)
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from error
    return forecaster


def _chosen(table: CsvTable, configured: Configuration) -> CsvTable:
    """Return the table without the columns that are ignored."""
    names = set(forecast_columns(configured.options))
    return replace(table, columns={name: column for name, column in table.columns.items() if name in names})


def _understood(
    table: CsvTable, configured: Configuration, forecaster: Forecaster, columns: dict[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Return what was understood of the data, as data for JSON and as lines."""
    reader = FrameReader(
        freq=forecaster.freq,
        time_zone=forecaster.time_zone,
        hist_exog=forecaster.hist_exog,
        futr_exog=forecaster.futr_exog,
        stat_exog=forecaster.stat_exog,
        cat_exog=forecaster.cat_exog,
        calendar=forecaster.calendar,
        holidays=forecaster.holidays,
    )
    lists = (configured.get(key) or () for key in ("hist_exog", "futr_exog", "stat_exog"))
    check_numbers(table, [columns["target_col"], *(name for names in lists for name in names)])
    with refusing():
        reader.fit(table, **columns)
    changed = {name: value for name, value in forecaster.get_params().items() if name not in _HIDDEN}
    shown = ", ".join(f"{name}={value}" for name, value in changed.items() if value is not None and value != ())
    lines = [*table.describe(), "", *str(reader.report).splitlines(), "", f"settings: {shown}"]
    return {"grid": reader.report.to_dict(), "configuration": configured.to_dict()}, lines


def _fit(
    arguments: argparse.Namespace,
    configured: Configuration,
    forecaster: Forecaster,
    table: CsvTable,
    columns: dict[str, Any],
    team: Processes,
    told: Say,
) -> float:
    """Train, and return the seconds that it took."""
    assert configured.output is not None
    checkpoint = checkpoint_path(configured.output)
    if arguments.resume and not os.path.exists(checkpoint):
        told(f"there is no {checkpoint}: the training starts from the beginning")
    begin = time.perf_counter()
    try:
        forecaster.fit(
            table,
            **columns,
            checkpoint=checkpoint,
            resume=arguments.resume,
            shards=team.shards,
            communicator=team.communicator,
            deadline=team.deadline,
        )
    except KeyboardInterrupt:
        if team.rank == 0 and os.path.exists(checkpoint):
            say(
                f"fastlstm: the training so far is in {checkpoint}; to continue, to the same result:\n"
                f"  {resume_command(arguments.given)}"
            )
        raise
    except TrainingDiverged as error:
        raise CommandError(f"{error}: try --set learning_rate={forecaster.learning_rate / 10:g}") from error
    except (TypeError, ValueError) as error:
        raise DataRefused(str(error)) from error
    return time.perf_counter() - begin


def _save(
    path: str,
    forecaster: Forecaster,
    configured: Configuration,
    table: CsvTable,
    names: tuple[str, ...],
    report: dict[str, Any],
) -> None:
    """Write the forecaster with what the command line knows of its columns.

    `names` are all columns of the file, those that are ignored among them: later lines hold them, too.
    """
    options = configured.options
    layout = Layout(
        task="forecast",
        target=options["target"],
        time=options["time"],
        id=options.get("id"),
        group=None,
        keep_together=None,
        features=(options["target"], *(options.get("hist_exog") or ())),
        columns=names,
        separator=table.separator,
        decimal=table.decimal if table.shows_decimal else None,
        day_first=table.day_first(options["time"]),
        counted=time_is_counted(table, options["time"]),
    )
    known = {
        "version": 1,
        "fastlstm": __version__,
        "layout": layout.to_dict(),
        "columns": forecast_columns(options),
        "configuration": {**configured.to_dict(), "output": None},
        "data": {"file": table.name, "rows": len(table), "grid": report["grid"]},
    }
    save_forecaster(path, forecaster, known)


def save_forecaster(path: str, forecaster: Forecaster, known: dict[str, Any]) -> None:
    """Write a forecaster, and beside it what the command line knows of its columns."""
    forecaster.save(path)
    tensors, config = safetensors.load(path)
    safetensors.save(path, tensors, {**config, TABLE: known})
