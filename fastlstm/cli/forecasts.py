"""What a forecaster's file is used for: ``predict``, ``evaluate``, ``info``."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

from .._checks import real
from ..data import CsvTable
from ..forecast.files import KEY
from ..forecast.forecaster import Forecaster
from ..runtime.config import set_num_threads
from .errors import CommandError, DataRefused, UsageError, refusing
from .forecasting import check_numbers, save_forecaster
from .layout import Layout, layout_from
from .measures import Measures
from .model_file import TABLE, read_config
from .output import json_text, write_rows
from .tables import csv_options, read_table

__all__ = ["SavedForecaster", "evaluate", "info", "predict"]

_METHODS = {"seasonal naive": "seasonal_naive", "naive": "naive"}
"""Methods of an evaluation, and their names here."""


class SavedForecaster:
    """A forecaster, and what the command line knows of it if it has trained it."""

    def __init__(self, path: str, threads: int | None = None) -> None:
        if threads is not None:
            set_num_threads(threads)
        try:
            self.forecaster = Forecaster.load(path)
            self._table = table = read_config(path)[1].get(TABLE)
            self.layout: Layout | None = None if table is None else layout_from(table["layout"])
            self.columns: list[str] | None = None if table is None else [str(one) for one in table["columns"]]
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise CommandError(str(error)) from error

    def save(self, forecaster: Forecaster, path: str) -> None:
        """Write another forecaster of the same columns."""
        if self._table is None:
            forecaster.save(path)
        else:
            save_forecaster(path, forecaster, self._table)

    def read(self, source: str, arguments: argparse.Namespace, *, future: bool = False) -> CsvTable:
        """Return a table with the columns of the forecaster; others are ignored."""
        if self.layout is None or self.columns is None:
            return read_table(source, csv_options(arguments))
        table = self.layout.read(source, arguments)
        if not future:
            missing = [name for name in self.columns if name not in table.columns]
            if missing:
                raise DataRefused(
                    f"{table.name} has no column {', '.join(map(repr, missing))}, which the model needs; it has "
                    f"{', '.join(map(repr, table))}"
                )
        names = [*self.layout.features, *self.forecaster.futr_exog, *self.forecaster.stat_exog]
        check_numbers(table, [name for name in names if not (future and name in self.layout.features)])
        return replace(table, columns={name: table.columns[name] for name in table if name in self.columns})


def predict(arguments: argparse.Namespace) -> int:
    """Write forecasts: ids, times, the median, the quantiles; return the exit status."""
    saved = SavedForecaster(arguments.model, arguments.threads)
    forecaster = saved.forecaster
    data = None if arguments.data is None else saved.read(arguments.data, arguments)
    future = None if arguments.future is None else saved.read(arguments.future, arguments, future=True)
    horizon: Any = arguments.horizon
    if horizon is not None and horizon.isascii() and horizon.isdigit():
        horizon = int(horizon)
    with refusing():
        frame = forecaster.predict(data, future=future, horizon=horizon, quantiles=list(forecaster.quantiles))
    columns = [str(name) for name in frame.columns]
    rows = list(zip(*(_plain_column(frame[name]) for name in frame.columns), strict=True))
    write_rows(arguments, columns, rows, "forecasts")
    return 0


def _plain_column(column: Any) -> list[Any]:
    """Return a column as numbers and strings; times as 2026-03-31 14:15:00, with the offset if they have a zone."""
    values = column.tolist()
    return [str(value) if hasattr(value, "isoformat") else value for value in values]


def evaluate(arguments: argparse.Namespace) -> Measures:
    """Return the errors on rows after the training data, beside those of naive forecasts."""
    saved = SavedForecaster(arguments.model, arguments.threads)
    if arguments.target is not None:
        raise UsageError("--target is not for forecasts, whose target is that of the training")
    table = saved.read(arguments.data, arguments)
    with refusing():
        found = saved.forecaster.evaluate(table)
        if arguments.windows is not None:
            # As many origins as there are, then so many of them, evenly spaced.
            origins = max(1, int(found.scores["n"].iloc[0]) // saved.forecaster.horizon_steps_)
            found = saved.forecaster.evaluate(table, step_size=-(-origins // arguments.windows))
    measures = Measures()
    scores = found.scores.to_dict("index")
    model = next(name for name in scores if name not in _METHODS)
    for name in ("mae", "mase", "pinball", "coverage", "width"):
        others = {key: scores[method][name] for method, key in _METHODS.items() if method in scores}
        measures.add(name, scores[model][name], **{key: one for key, one in others.items() if one == one})
    measures.add("values", scores[model]["n"])
    measures.notes.append("naive: the last value; seasonal_naive: that of the same time of the season before")
    if found.level is not None:
        measures.notes.append(f"coverage, width: of the interval of {found.level:g} %")
    if arguments.plot:
        found.plot(arguments.plot)
    return measures


def info(arguments: argparse.Namespace) -> int:
    """Print what a forecaster was trained on; return the exit status."""
    config = read_config(arguments.model)[1]
    table = config.get(TABLE)
    if arguments.json:
        described = config[KEY]
        print(json_text({"table": table, "forecaster": {"parameters": described.get("parameters")}}))
        return 0
    saved = SavedForecaster(arguments.model)
    print(arguments.model)
    if table is not None:
        grid = table["data"]["grid"]
        print(f"task: forecast, written by fastlstm {table['fastlstm']}")
        print(f"columns: {', '.join(saved.columns or [])}; target {table['layout']['target']!r}")
        print(
            f"trained on {table['data']['file']}: {table['data']['rows']} rows, {grid['series']} series from "
            f"{grid['start']} to {grid['end']}, a step is {grid['frequency']}"
        )
    for level, shares in saved.forecaster.coverage_.items():
        print(f"{level} % interval: {real('coverage', shares['corrected']):.1%} inside at the end of the training data")
    print(repr(saved.forecaster))
    if saved.forecaster.quantized_:
        print("the weights have 8 bits")
    return 0
