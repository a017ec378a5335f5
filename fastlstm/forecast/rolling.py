"""Forecasts at all origins of later rows, and their errors: what `Forecaster.evaluate` does."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._typing import Array, State
from .axis import TimeAxis
from .engine import Engine
from .evaluation import Evaluation, Tally, naive_forecasts
from .memory import naive_error, ready_from
from .panel import Panel, SeriesData
from .series import ReadySeries

__all__ = ["evaluate"]


class _Read(NamedTuple):
    """How a series is read."""

    series: ReadySeries
    start: int
    """Row with which the network begins, in the state below."""
    states: list[State] | None
    first: int
    """First origin."""


def evaluate(engine: Engine, axis: TimeAxis, panel: Panel, step: int, in_sample: bool) -> Evaluation:
    """Return the errors at each `step`-th origin that the training has not seen, or with `in_sample` of all.

    Raises
    ------
    ValueError
        If there is no such origin.
    """
    settings = engine.settings
    reads = [_read(engine, axis, one, in_sample) for one in panel.series]
    origins, units = [], []
    for one, read in zip(panel.series, reads, strict=True):
        last = len(read.series) - settings.gap - settings.horizon
        origins.append(np.arange(read.first, max(read.first, last), step))
        memory = engine.memories.get(one.id)
        units.append(naive_error(one.y, settings.season) if memory is None else memory.naive_error)
    if not any(len(rows) for rows in origins):
        raise ValueError(
            f"df has no origin whose {settings.gap + settings.horizon} steps of gap and horizon lie after the "
            "training data, expected later rows: in_sample=True measures the training data themselves"
        )
    tally = Tally(settings.horizon, settings.quantiles, len(reads))
    series, starts, states, _ = zip(*reads, strict=True)
    clocks = [_hours(axis, one) for one in series]
    for k, block, answers in engine.blocks_at(series, origins, starts, states):
        rows = origins[k][block]
        steps = rows[:, None] + settings.gap + 1 + np.arange(settings.horizon)
        naive = naive_forecasts(engine.layout, series[k], rows)
        tally.add(k, answers, naive, series[k].data.y[steps], clocks[k][steps])
    return Evaluation(tally, units, not axis.counted)


def _read(engine: Engine, axis: TimeAxis, one: SeriesData, in_sample: bool) -> _Read:
    memory = engine.memories.get(one.id)
    trained = engine.trained_until.get(one.id)
    if trained is None or in_sample:
        return _Read(engine.ready(Panel([one]))[0], 0, None, min(engine.settings.warm_up, len(one) // 4))
    if memory is not None and axis.steps_between(memory.end, one.times[0]) == 1:
        engine.settings.check_panel(Panel([one]), training=False, known=engine.memories)
        joined = ready_from(memory, one)
        return _Read(joined, len(joined) - len(one), memory.states, len(joined) - len(one))
    after = int(np.searchsorted(one.times, trained, side="right"))
    return _Read(engine.ready(Panel([one]))[0], 0, None, max(after - 1, 0))


def _hours(axis: TimeAxis, series: ReadySeries) -> Array:
    """Return the hour of the day of each row on the local clock, (T,), int8; 0 if time is counted in steps."""
    if axis.counted:
        return np.zeros(len(series), np.int8)
    return (axis.local(series.data.times).astype("M8[h]").astype(np.int64) % 24).astype(np.int8)
