"""Forecasts for lines as they arrive: readings, and lines of what is known in advance."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .._typing import Array
from ..forecast.stream import ForecastStream
from .errors import CommandError, UsageError, refusing
from .forecasting import NO_ID
from .forecasts import SavedForecaster
from .layout import Layout
from .lines import LineReader
from .output import time_text

__all__ = ["responder"]

_AHEAD = 4096
"""Number of steps, besides those of a forecast, up to which values can be known in advance."""


def responder(
    arguments: argparse.Namespace,
) -> tuple[list[str], LineReader, Callable[[dict[str, str], str], list[Any] | None]]:
    """Return the output's columns, the reader of lines, and the function that answers a line with all quantiles."""
    saved = SavedForecaster(arguments.model, arguments.threads)
    forecaster, layout = saved.forecaster, saved.layout
    if layout is None:
        raise CommandError(f"{arguments.model} was not written by fastlstm train: --follow needs its columns")
    if arguments.future is not None and not forecaster.futr_exog:
        raise UsageError("--future is for models with --futr-exog, and this one has none: leave it out")
    if arguments.history is not None:
        with refusing():
            forecaster.update(saved.read(arguments.history, arguments))
    lines = _Lines(saved, layout, layout.csv_options(arguments))
    if arguments.future is not None:
        lines.read_future(arguments)
    steps = [f"{step}:q{level:g}" for step in range(1, forecaster.horizon_steps_ + 1) for level in forecaster.quantiles]
    return [*([layout.id or NO_ID] if layout.id else []), lines.time, *steps], lines.reader, lines.respond


class _Lines:
    """The series of a forecaster, each with its stream and what is known of it in advance."""

    def __init__(self, saved: SavedForecaster, layout: Layout, options: Mapping[str, Any]) -> None:
        assert layout.time is not None and layout.target is not None
        self._saved, self._layout = saved, layout
        self.time, self._target = layout.time, layout.target
        self._hist, self._futr = list(layout.features[1:]), list(saved.forecaster.futr_exog)
        roles = [*([layout.id] if layout.id else []), self.time, self._target]
        self.reader = LineReader(layout, [*roles, *self._hist, *self._futr], options)
        self._ids: Mapping[str, Any] = {str(one): one for one in saved.forecaster.ids_}
        self._series: dict[str, _Series] = {}

    def respond(self, values: dict[str, str], where: str) -> list[Any] | None:
        """Return the answer to a reading; None for a line of what is known in advance."""
        name = self._name(values, where)
        y, *hist = self._numbers([self._target, *self._hist], values, where)
        futr = self._numbers(self._futr, values, where)
        time, utc = self.reader.time(values, self.time, where)
        series = self._series_of(name)
        try:
            if self._futr and y != y and all(one != one for one in hist):
                series.know(time, utc, futr)
                return None
            answers = series.read(time, utc, y, hist, futr)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{where}: {error}") from error
        return [*([name] if self._layout.id else []), values[self.time], *answers.ravel().tolist()]

    def read_future(self, arguments: argparse.Namespace) -> None:
        """Take the rows of the file of ``--future`` as known in advance; earlier ones are left out."""
        table = self._saved.read(arguments.future, arguments, future=True)
        with refusing():
            found = table.times(self.time)
            names = [self._only] * len(table) if self._layout.id is None else map(str, table.labels(self._layout.id))
            rows = np.column_stack([table.numbers(name) for name in self._futr])
            for number, (name, time, row) in enumerate(zip(names, found.values, rows, strict=True)):
                if name not in self._ids:
                    raise ValueError(f"{table.place(number)}: the series {name!r} was not in the training data")
                try:
                    self._series_of(name).know(time, found.utc, row.tolist(), earlier=True)
                except ValueError as error:
                    raise ValueError(f"{table.place(number)}: {error}") from error

    @property
    def _only(self) -> str:
        return next(iter(self._ids))

    def _name(self, values: dict[str, str], where: str) -> str:
        if self._layout.id is None:
            return self._only
        name = values[self._layout.id]
        if name not in self._ids:
            raise ValueError(f"{where}, column {self._layout.id!r}: got {name!r}, which was not in the training data")
        return name

    def _numbers(self, names: list[str], values: dict[str, str], where: str) -> list[float]:
        return [self.reader.number(values, name, where) for name in names]

    def _series_of(self, name: str) -> _Series:
        if name not in self._series:
            self._series[name] = _Series(self._saved.forecaster.stream([self._ids[name]]), self._target, self._futr)
        return self._series[name]


class _Series:
    """One series: its stream, and the values that are known for times to come.

    Steps are counted from the first that the stream has not read when this is made.
    """

    def __init__(self, stream: ForecastStream, target: str, names: list[str]) -> None:
        self._stream, self._target, self._names = stream, target, names
        self._known: dict[int, list[float]] = {}
        self._latest = -1
        """Step of the line of known values before."""
        self._next = 0
        """The step to be read next."""
        self._first = 0
        self._utc, self._local = stream.next_times(0)
        """Times from the step `_first` on."""

    def know(self, time: Any, utc: bool, values: list[float], *, earlier: bool = False) -> None:
        """Note the values of a step to come; with `earlier` leave out a step that was read.

        Raises
        ------
        ValueError
            If a value is missing, or the time is not one of the steps to come.
        """
        for name, value in zip(self._names, values, strict=True):
            if value != value:
                raise ValueError(
                    f"{self._target} and {name} are empty: expected {self._target} for a reading, or the values of "
                    f"{', '.join(self._names)} that are known in advance"
                )
        steps = self._steps_at(time, utc)
        if not len(steps) and earlier and time < self._times(utc)[0]:
            return
        if not len(steps):
            raise ValueError(f"the time is not on the grid, or not among the {_AHEAD} after the last reading")
        # Where the clock is set back, a time without its offset is that of two steps: lines follow each other.
        step = self._latest + 1 if self._latest + 1 in steps else int(steps[0])
        self._known[step] = values
        self._latest = step

    def read(self, time: Any, utc: bool, y: float, hist: list[float], futr: list[float]) -> Array:
        """Return the forecasts after a reading.

        Raises
        ------
        TypeError, ValueError
            If something is missing that is known in advance, or the stream refuses the reading, which changes nothing.
        """
        past = hist or None
        if not self._names:
            return self._stream.step(_for_stream(time, utc), y, hist=past)
        steps = self._steps_at(time, utc)
        if not len(steps):  # the stream explains it
            return self._stream.step(_for_stream(time, utc), y, hist=past, futr=futr, future=self._zeros())
        step = int(steps[0])
        future = self._future_after(step)
        known = self._known.get(step, futr)
        own = [other if one != one else one for one, other in zip(futr, known, strict=True)]
        at = _for_stream(time, utc)
        if self._passes(step):
            for passed in range(self._next, step):  # without a reading, but not without what was known of them
                nothing = [float("nan")] * len(self._names)
                given = self._known.get(passed, nothing)
                missing = [float("nan")] * len(hist) or None
                self._stream.step(None, float("nan"), hist=missing, futr=given, future=future)
            at = None
        answers = self._stream.step(at, y, hist=past, futr=own, future=future)
        self._next = step + 1
        self._known = {one: values for one, values in self._known.items() if one > step}
        return answers

    def _passes(self, step: int) -> bool:
        """Return whether values are known of steps between the last reading and a later one."""
        return any(self._next <= one < step for one in self._known)

    def _zeros(self) -> Array:
        return np.zeros((self._stream.n_ahead, len(self._names)))

    def _future_after(self, step: int) -> Array:
        """Return the values of the steps after one; raise ValueError with the first time of which they are missing."""
        ahead = range(step + 1, step + 1 + self._stream.n_ahead)
        missing = [one for one in ahead if one not in self._known]
        if missing:
            local = self._local[missing[0] - self._first]
            when = time_text(local) if local.dtype.kind == "M" else str(local)
            raise ValueError(
                f"{', '.join(self._names)} must be known of the {len(ahead)} steps after this reading, and "
                f"{len(missing)} are missing, the first at {when}: send a line for each before the reading, with the "
                f"time and {', '.join(self._names)}, and {self._target} empty; or give --future FILE"
            )
        return np.array([self._known[one] for one in ahead])

    def _times(self, utc: bool) -> Array:
        """Return the times of the steps from the next one on."""
        if len(self._utc) - (self._next - self._first) < _AHEAD + self._stream.n_ahead:
            self._utc, self._local = self._stream.next_times(2 * _AHEAD + self._stream.n_ahead)
            self._first = self._next
        return (self._utc if utc else self._local)[self._next - self._first :]

    def _steps_at(self, time: Any, utc: bool) -> Array:
        """Return the steps of a time, from the next one on: none, one, or two where the clock is set back."""
        if utc:
            self._stream.check_zone(f"{time_text(time)} in UTC")
        times = self._times(utc)[: _AHEAD + self._stream.n_ahead]
        return self._next + np.flatnonzero(times == time)


def _for_stream(time: Any, utc: bool) -> Any:
    """Return a time as a stream takes it."""
    if not utc:
        return time
    import pandas as pd

    return pd.Timestamp(time, tz="UTC")
