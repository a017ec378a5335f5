"""``predict - --follow``: an answer for each line, as soon as it has arrived."""

from __future__ import annotations

import argparse
import sys
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from .._typing import Array
from ..tasks.anomaly import StepScorer
from .answers import answer_series, case_columns, score_columns, score_row
from .cases import read_cases
from .errors import UsageError
from .layout import Layout
from .lines import LineReader, known, lines_of
from .model_file import SavedModel, load_model
from .output import record_text, row_text, say

__all__ = ["follow", "follow_lines"]

_MOST_CASES = 1000
"""Number of groups whose state is kept: those that were heard of last."""

Responder = Callable[[dict[str, str], str], "list[Any] | None"]
"""Answers the values of a line by column; None: there is no answer to the line."""


def follow(arguments: argparse.Namespace, forecaster: bool) -> int:
    """Answer the lines of stdin until it ends; return the exit status."""
    if forecaster:
        from . import forecast_lines

        columns, reader, respond = forecast_lines.responder(arguments)
    else:
        saved = load_model(arguments.model)
        reader = LineReader(saved.layout, saved.layout.needed(target=False), saved.layout.csv_options(arguments))
        if saved.task == "anomaly":
            columns, respond = _detector(saved, reader, arguments)
        else:
            if arguments.history is not None:
                raise UsageError("--history is for forecasts and detectors, whose state goes on from line to line")
            columns, respond = _cases(saved, reader, arguments.threads)
    return follow_lines(reader, columns, respond, as_json=arguments.json)


def follow_lines(reader: LineReader, columns: list[str], respond: Responder, *, as_json: bool) -> int:
    """Print the answer to each line of stdin; a line that is refused gets a message on stderr.

    Returns
    -------
    int
        0, or 3 if lines were refused.
    """
    if not as_json:
        _print(row_text(columns))
    refused = 0
    for number, line in lines_of(sys.stdin.buffer):
        where = f"line {number}"
        try:
            values = reader.read(line, where)
            if values is None:
                continue
            answer = respond(values, where)
        except ValueError as error:
            refused += 1
            say(f"fastlstm: {error}")
            continue
        if answer is not None:
            _print(record_text(columns, answer, as_json=as_json))
    if refused:
        say(f"fastlstm: {refused} line{'s were' if refused > 1 else ' was'} refused")
    return 3 if refused else 0


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()  # the reader waits for each line


class _Clock:
    """The last time of each group: lines must arrive in their order."""

    def __init__(self, reader: LineReader, layout: Layout) -> None:
        self._reader = reader
        self._layout = layout
        self._last: dict[str, tuple[Any, bool]] = {}

    def check(self, values: dict[str, str], where: str) -> None:
        """Raise ValueError if the time of a line is no time, or not after that of the line before."""
        name = self._layout.time
        if name is None:
            return
        time, utc = self._reader.time(values, name, where)
        group = values[self._layout.group] if self._layout.group else ""
        last, was_utc = self._last.get(group, (None, utc))
        got = f"{where}, column {name!r}: got {values[name]!r}, expected"
        if utc != was_utc:
            clock = "in UTC, or with an offset from it" if was_utc else "without an offset from UTC"
            raise ValueError(f"{got} a time {clock}, as before")
        if last is not None and not time > last:
            raise ValueError(f"{got} a time after that of the line before")
        self.set(group, time, utc)

    def set(self, group: str, time: Any, utc: bool) -> None:
        """Set the last time of a group, and whether it is UTC."""
        self._last[group] = time, utc
        if len(self._last) > _MOST_CASES:
            del self._last[next(iter(self._last))]


class _Latest:
    """What is kept of each group, of so many groups that were heard of last."""

    def __init__(self, new: Callable[[], Any]) -> None:
        self._new = new
        self._kept: OrderedDict[str, Any] = OrderedDict()
        self._dropped = False

    def of(self, group: str) -> Any:
        """Return what is kept of a group, new if there is nothing."""
        if group not in self._kept:
            self._kept[group] = self._new()
            if len(self._kept) > _MOST_CASES:
                self._kept.popitem(last=False)
                if not self._dropped:
                    say(f"fastlstm: more than {_MOST_CASES} groups: those not heard of for longest begin anew")
                self._dropped = True
        self._kept.move_to_end(group)
        return self._kept[group]


def _scorers(saved: SavedModel, threads: int | None) -> _Latest:
    """Return the scorers of the groups: they give the scores of `detect` to the bit."""
    scaler = saved.model.scaler
    assert scaler is not None
    warmup, error = saved.window[1], saved.normal_error
    return _Latest(lambda: StepScorer(saved.model.stream(n_threads=threads), scaler, warmup, error))


def _detector(saved: SavedModel, reader: LineReader, arguments: argparse.Namespace) -> tuple[list[str], Responder]:
    """Answer each reading with its score."""
    layout = saved.layout
    if saved.parameters["method"] != "forecast":
        raise UsageError("--follow needs a detector that forecasts: train it with --set method=forecast")
    scorers, clock = _scorers(saved, arguments.threads), _Clock(reader, layout)
    seen = [0]
    if arguments.history is not None:
        _read_history(saved, arguments, scorers, clock)

    def respond(values: dict[str, str], where: str) -> list[Any]:
        numbers = [reader.number(values, name, where) for name in layout.features]
        step = known(numbers, layout.features, where, saved.takes_missing)[None]
        clock.check(values, where)
        group = values[layout.group] if layout.group else ""
        score = float(scorers.of(group).step(step)[0])
        seen[0] += 1
        place = values[layout.time] if layout.time else seen[0]
        return score_row(saved, group, place, score)

    return score_columns(layout), respond


def _read_history(saved: SavedModel, arguments: argparse.Namespace, scorers: _Latest, clock: _Clock) -> None:
    """Let a detector read what came before the first line."""
    layout = saved.layout
    cases = read_cases(layout.read(arguments.history, arguments), layout, missing=saved.takes_missing)
    for number, series in enumerate(cases.series):
        group = "" if layout.group is None else str(cases.names[number])
        for step in series:
            scorers.of(group).step(step[None])
        if cases.times is not None:
            last = cases.times[number][-1]
            clock.set(group, last if last.dtype.kind == "M" else int(last), cases.utc)


def _cases(saved: SavedModel, reader: LineReader, threads: int | None) -> tuple[list[str], Responder]:
    """Answer each row: as a case of its own, or with the answer for the rows of its group so far."""
    layout = saved.layout
    kept = _Latest(list)
    clock = _Clock(reader, layout)
    seen = [0]

    def series_of(values: dict[str, str], where: str) -> tuple[Any, Array]:
        numbers = [reader.number(values, name, where) for name in layout.features]
        if layout.group is not None:
            row = known(numbers, layout.features, where, saved.takes_missing)
            clock.check(values, where)
            rows = kept.of(values[layout.group])
            rows.append(row)
            return values[layout.group], np.stack(rows)
        while numbers and numbers[-1] != numbers[-1]:
            numbers.pop()
        if not numbers:
            raise ValueError(f"{where}: the line has no values, expected at least one")
        series = known(numbers, layout.features[: len(numbers)], where, saved.takes_missing)[:, None]
        seen[0] += 1
        return (values[layout.id] if layout.id in values else seen[0]), series

    def respond(values: dict[str, str], where: str) -> list[Any]:
        name, series = series_of(values, where)
        return answer_series(saved, [series], threads).rows([name])[0]

    return case_columns(saved), respond
