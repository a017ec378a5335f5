"""What a series leaves behind: enough to forecast from its end, and to continue with later rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import _exact
from .._typing import Array, State
from .panel import Panel, SeriesData
from .series import ReadySeries, Scale, ready

__all__ = ["Memory", "ends_panel", "memory_of", "naive_error", "padded", "ready_from"]


@dataclass(eq=False)
class Memory:
    """The end of a series."""

    id: Any
    end: Any
    """Time of the last row, datetime64[ns] or int64."""
    rows: int
    """Number of rows so far."""
    scale: Scale
    static: Array
    tail: Array
    """(k,), float64: the last values, NaN if missing; as many as the layout keeps, or all rows."""
    last: float
    """The last value that was observed; NaN if there was none."""
    context: Array
    """(context_size,): input of the head."""
    states: list[State]
    naive_error: float
    """Mean absolute error of the seasonal naive forecast one season ahead, the unit of MASE; NaN if it is not known."""

    def tail_series(self, future: Array | None = None) -> ReadySeries:
        """Return the last rows as a series, of which only `y` is known."""
        k = len(self.tail)
        times = np.full(k, self.end)
        data = SeriesData(self.id, times, self.tail, np.empty((k, 0)), _no_futr(k, future), self.static)
        filled = self.tail.copy()
        filled[-1] = self.last
        return ReadySeries(data, self.scale, filled, None, future)


def _no_futr(rows: int, future: Array | None) -> Array:
    return np.full((rows, 0 if future is None else future.shape[1]), np.nan)


def memory_of(series: ReadySeries, context: Array, states: list[State], tail: int, naive_error: float) -> Memory:
    """Return what is left of a series after its last row."""
    return Memory(
        series.data.id,
        series.data.times[-1],
        len(series),
        series.scale,
        series.data.static,
        series.data.y[-tail:].copy(),
        float(series.filled[-1]),
        context.copy(),
        states,
        naive_error,
    )


def naive_error(y: Array, season: int) -> float:
    """Return the mean absolute difference of values (T,) over a season; NaN if there is none."""
    differences = np.abs(y[season:] - y[:-season])
    known = differences[~np.isnan(differences)]
    return _exact.mean(known)


def ready_from(memory: Memory, data: SeriesData) -> ReadySeries:
    """Return the tail and later rows as one series; the columns of the tail's rows are not known."""
    k = len(memory.tail)

    def before(columns: int) -> Array:
        return np.full((k, columns), np.nan)

    joined = SeriesData(
        memory.id,
        np.concatenate([np.full(k, memory.end), data.times]),
        np.concatenate([memory.tail, data.y]),
        np.concatenate([before(data.hist.shape[1]), data.hist]),
        np.concatenate([before(data.futr.shape[1]), data.futr]),
        memory.static,
    )
    series = ready(joined, memory.scale)
    if series.observed is not None and not np.isnan(memory.last):
        filled = np.where(np.isnan(series.filled), memory.last, series.filled)  # observed before the tail
        return replace(series, filled=filled)
    return series


def ends_panel(memories: Sequence[Memory]) -> Panel:
    """Return a panel of the last rows alone, for functions that ask for ids and times."""
    none = np.zeros((1, 0))
    return Panel([SeriesData(one.id, np.array([one.end]), one.tail[-1:], none, none, one.static) for one in memories])


def padded(future: Array, steps: int) -> Array:
    """Return rows (steps, m): the last one is repeated for steps of a horizon that are not asked for."""
    if len(future) == steps:
        return future
    return np.concatenate([future, np.repeat(future[-1:], steps - len(future), axis=0)])
