"""Layout of the network's numbers: what is read at each step, and at each step of the horizon.

Rows are numbered from 0. From the origin t, the last row that is known, the forecast is for the rows t + gap + 1 to
t + gap + horizon.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from .._typing import Array
from .series import ColumnScales, ReadySeries

__all__ = ["Layout", "ResidualOf"]

ResidualOf = Literal["auto", "naive", "seasonal_naive"]

_FALLBACKS = 3
"""Number of seasons in which a value for the seasonal naive forecast is looked for, before the last value takes its
place."""


@dataclass(frozen=True, eq=False)
class Layout:
    """Which numbers the network reads, and what it forecasts."""

    horizon: int
    gap: int
    seasons: tuple[tuple[int, int], ...]
    """Pairs (season, n): each step of the horizon reads the n latest known values that lie whole seasons before it."""
    hist_flags: tuple[int, ...]
    """Numbers of the hist columns whose missing values have an indicator."""
    residual_of: ResidualOf | None
    season: int
    scales: ColumnScales
    reads_ahead: bool = True
    """Whether the inputs of a row hold the earlier values of the first step of the horizon; not so in old files."""

    @cached_property
    def lags(self) -> Array:
        """(horizon, n), int64: for each step of the horizon, how many rows before it the known values lie."""
        columns = [season * (-(-self._steps // season) + k) for season, count in self.seasons for k in range(count)]
        return np.stack(columns, axis=1) if columns else np.zeros((self.horizon, 0), np.int64)

    @cached_property
    def base_lags(self) -> Array:
        """(horizon,), int64: how many rows before each step the value of the seasonal naive forecast lies."""
        return np.asarray(self.season * -(-self._steps // self.season))

    @cached_property
    def _steps(self) -> Array:
        """(horizon,), int64: how many rows after an origin each step of the horizon lies."""
        return self.gap + 1 + np.arange(self.horizon)

    @cached_property
    def _earlier(self) -> Array:
        """(horizon, n), int64: how many rows after an origin the earlier values of each step lie."""
        return self._steps[:, None] - self.lags

    @cached_property
    def _season_before(self) -> Array:
        """(horizon,), int64: how many rows after an origin the value of the seasonal naive forecast lies."""
        return np.asarray(self._steps - self.base_lags)

    @cached_property
    def fallbacks(self) -> tuple[int, ...]:
        """Numbers of rows before `base_lags` at which a value for the seasonal naive forecast is looked for."""
        return tuple(self.season * k for k in range(_FALLBACKS))

    @cached_property
    def memory(self) -> int:
        """Number of last rows of a series that a forecast from its end reads directly."""
        reach: int = np.max(-self._earlier, initial=0).item()
        if self.residual_of in ("auto", "seasonal_naive"):
            reach = max(reach, int(-self._season_before.min()) + self.fallbacks[-1])
        return reach + 1

    @property
    def kept(self) -> int:
        """Number of last rows that are kept of a series: those that a forecast reads, and two horizons to show."""
        return max(self.memory, 2 * self.horizon)

    @property
    def n_inputs(self) -> int:
        """Number of inputs of each step."""
        scales = self.scales
        columns = sum(len(one[0]) for one in (scales.hist, scales.futr, scales.static))
        return 2 + len(self.next_lags) + columns + len(self.hist_flags)

    @cached_property
    def next_lags(self) -> Array:
        """(n,), int64: how many rows before a row lie the earlier values of the first step of its horizon."""
        return self.lags[0] - self.gap - 1 if self.reads_ahead else np.zeros(0, np.int64)

    @property
    def gate(self) -> int | None:
        """Number of the last value among the inputs of a step of the horizon, if the network adds a share of it."""
        return len(self.scales.futr[0]) if self.residual_of == "auto" else None

    @property
    def n_ahead(self) -> int:
        """Number of inputs of each step of the horizon."""
        return len(self.scales.futr[0]) + 1 + 2 * int(self.lags.shape[1])

    # ------------------------------------------------------------------------------------ inputs

    def inputs(self, series: ReadySeries, start: int, stop: int, out: Array) -> None:
        """Write the inputs of the rows from `start` to `stop` to `out` (stop - start, n_inputs)."""
        data, rows = series.data, slice(start, stop)
        out[:, 0] = series.level[rows]
        out[:, 1] = 0.0 if series.observed is None else np.isnan(data.y[rows])
        at = 2 + len(self.next_lags)
        if at > 2:
            self.write_next(_values_at(series, np.arange(start, stop)[:, None] - self.next_lags), out)
        for values, scales in ((data.hist[rows], self.scales.hist), (data.futr[rows], self.scales.futr)):
            if values.shape[1]:
                out[:, at : at + values.shape[1]] = _in_units(values, scales)
                at += values.shape[1]
        if len(data.static):
            out[:, at : at + len(data.static)] = _in_units(data.static[None], self.scales.static)
            at += len(data.static)
        if self.hist_flags:
            out[:, at:] = np.isnan(data.hist[rows][:, self.hist_flags])

    def write_next(self, values: Array, out: Array) -> None:
        """Write the earlier values (n, lags) of the first step of the horizon to the inputs of rows (n, n_inputs).

        They are relative to the value of the row, so that one that is missing says that nothing will change.
        """
        out[:, 2 : 2 + values.shape[1]] = np.where(np.isnan(values), 0.0, values - out[:, :1])

    def ahead(self, series: ReadySeries, origins: Array, out: Array, clip: bool = False) -> Array:
        """Write the inputs of the steps of the horizon to `out` (origins, horizon, n_ahead); return `base`.

        With `clip` steps after the series take what is known in advance of its last row.
        """
        futr = len(self.scales.futr[0])
        if futr:
            steps = origins[:, None] + self._steps
            out[:, :, :futr] = _in_units(self._known_futr(series, steps, clip), self.scales.futr)
        values = _values_at(series, origins[:, None, None] + self._earlier)
        base = self.base(series, origins)
        self.write_earlier(values, self.last(series, origins), base, out[:, :, futr:])
        return base

    def write_earlier(self, values: Array, last: Array, base: Array, out: Array) -> None:
        """Write the last value (n, 1), and earlier ones (n, horizon, lags) with their indicators, to `out`.

        They are relative to what the forecast is relative to, `base` (n, horizon) or (n, 1).
        """
        lags = values.shape[2]
        missing = np.isnan(values)
        out[:, :, 0] = last - base
        if missing.any():
            out[:, :, 1 : 1 + lags] = np.where(missing, 0.0, values - base[:, :, None])
            out[:, :, 1 + lags :] = ~missing
        else:
            np.subtract(values, base[:, :, None], out=out[:, :, 1 : 1 + lags], casting="same_kind")
            out[:, :, 1 + lags :] = 1.0

    def _known_futr(self, series: ReadySeries, steps: Array, clip: bool) -> Array:
        rows = len(series)
        steps = np.minimum(steps, rows - 1) if clip else steps
        if steps.max() < rows:
            known: Array = series.data.futr[steps]
            return known
        assert series.future is not None
        inside = steps < rows
        values = np.empty((*steps.shape, series.data.futr.shape[1]))
        values[inside] = series.data.futr[steps[inside]]
        values[~inside] = series.future[steps[~inside] - rows]
        return values

    # ------------------------------------------------------------------------------------ outputs

    def base(self, series: ReadySeries, origins: Array) -> Array:
        """Return in the units of the network what forecasts are relative to, (origins, horizon) or (origins, 1)."""
        if self.residual_of is None:
            return np.zeros((len(origins), 1))
        last = self.last(series, origins)
        if self.residual_of == "naive":
            return last
        return self.seasonal(series, origins, last)

    @staticmethod
    def last(series: ReadySeries, origins: Array) -> Array:
        """Return the naive forecast in units of the network, (origins, 1)."""
        return series.level[origins][:, None]

    def seasonal(self, series: ReadySeries, origins: Array, last: Array) -> Array:
        """Return the seasonal naive forecast in units of the network, (origins, horizon)."""
        rows = origins[:, None] + self._season_before
        base = _values_at(series, rows)
        for back in self.fallbacks[1:]:
            missing = np.isnan(base)
            if not missing.any():
                return base
            base = np.where(missing, _values_at(series, rows - back), base)
        return np.where(np.isnan(base), last, base)

    def targets(self, series: ReadySeries, origins: Array) -> Array:
        """Return the values of the steps of the horizon in units of the network, NaN if missing, (origins, horizon)."""
        steps, rows = origins[:, None] + self._steps, len(series)
        values = series.units[np.minimum(steps, rows - 1)]
        return np.where(steps < rows, values, np.nan)


def _values_at(series: ReadySeries, rows: Array) -> Array:
    """Return values in units of the network, NaN if they are missing or lie before the series."""
    if rows.size and rows.min() >= 0:
        return series.units.take(rows)
    return np.where(rows < 0, np.nan, series.units[np.maximum(rows, 0)])


def _in_units(values: Array, scales: tuple[Array, Array]) -> Array:
    """Return values (..., n) in units of the network; a missing one becomes the mean."""
    scaled = (values - scales[0]) / scales[1]
    return np.where(np.isnan(scaled), 0.0, scaled)
