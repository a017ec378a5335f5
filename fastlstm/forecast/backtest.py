"""Backtests: which rows forecasts are made at, and a table of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._typing import Array
from .engine import Engine
from .frames import FrameReader
from .levels import columns_of
from .panel import Panel, SeriesData
from .settings import Settings

__all__ = ["Window", "backtest", "cut_panel", "cutoffs_of", "table_of"]


@dataclass(frozen=True, eq=False)
class Window:
    """Forecasts of one series from one cutoff."""

    data: SeriesData
    origin: int
    """Row of the cutoff, the last one that is known."""
    answers: Array
    """(horizon, quantiles), in the units of the series."""


def cutoffs_of(panel: Panel, reach: int, n_windows: int, step_size: int) -> list[Any]:
    """Return the times of the cutoffs, in rising order; after the last one the longest series has `reach` rows.

    Raises
    ------
    ValueError
        If the series are too short.
    """
    newest = max(panel.series, key=lambda one: one.times[-1])
    last = len(newest) - 1 - reach
    rows = [last - step_size * k for k in reversed(range(n_windows))]
    if rows[0] < reach:
        raise ValueError(
            f"the series have {len(newest)} rows, and {n_windows} windows of gap + horizon = {reach} rows, {step_size} "
            f"rows apart, leave {max(rows[0] + 1, 0)} rows before the first cutoff, expected more than {reach}: give "
            "longer series, fewer windows, or a smaller step_size"
        )
    return [newest.times[row] for row in rows]


def cut_panel(panel: Panel, end: Any) -> Panel:
    """Return the rows up to a time, as views; series that begin later are left out."""
    kept = []
    for one in panel.series:
        stop = int(np.searchsorted(one.times, end, side="right"))
        if stop and not np.isnan(one.y[:stop]).all():
            kept.append(
                SeriesData(one.id, one.times[:stop], one.y[:stop], one.hist[:stop], one.futr[:stop], one.static)
            )
    return Panel(kept, panel.hist_names, panel.futr_names, panel.static_names)


def backtest(settings: Settings, panel: Panel, cutoffs: Sequence[Any], refit: bool) -> list[Window]:
    """Return the forecasts at cutoffs of networks that know nothing of later rows.

    One network, trained on the rows up to the first cutoff, answers at all of them in one pass; with `refit` there is
    one for each cutoff.
    """
    if refit:
        return [
            window
            for cutoff in cutoffs
            for window in _answered(_fitted(settings, cut_panel(panel, cutoff)), panel, [cutoff])
        ]
    return _answered(_fitted(settings, cut_panel(panel, cutoffs[0])), panel, cutoffs)


def _fitted(settings: Settings, panel: Panel) -> Engine:
    engine = Engine(settings)
    engine.fit(panel)
    return engine


def _answered(engine: Engine, panel: Panel, cutoffs: Sequence[Any]) -> list[Window]:
    """Return the answers at cutoffs; series of which nothing is known at the first one are left out."""
    reach = engine.settings.gap + engine.settings.horizon
    known_series = [one for one in panel.series if one.id in engine.scales]
    panel = Panel(known_series, panel.hist_names, panel.futr_names, panel.static_names)
    origins = []
    for one in panel.series:
        rows = np.unique(np.searchsorted(one.times, np.asarray(cutoffs), side="right") - 1)
        origins.append(rows[(rows >= 0) & (rows + reach < len(one))])
    answers = engine.at_origins(engine.ready(panel), origins)
    return [
        Window(one, int(row), block)
        for one, rows, blocks in zip(panel.series, origins, answers, strict=True)
        for row, block in zip(rows, blocks, strict=True)
    ]


def table_of(
    windows: Sequence[Window], settings: Settings, reader: FrameReader, horizon: int | str, level: Any, quantiles: Any
) -> Any:
    """Return the forecasts of a backtest as a frame: ids, times, cutoffs, true values, and the columns of predict."""
    times, ids, cuts, truth, blocks = [], [], [], [], []
    lengths: dict[Any, int] = {}  # that of a day differs, and takes a look at the clock
    for window in windows:
        one, origin = window.data, window.origin
        start = origin + 1 + settings.gap
        before = one.times[start - 1]
        if before not in lengths:
            lengths[before] = reader.axis.horizon_steps(horizon, before)
        steps = lengths[before]
        times.append(one.times[start : start + steps])
        ids += [one.id] * steps
        cuts.append(np.full(steps, one.times[origin]))
        truth.append(one.y[start : start + steps])
        blocks.append(window.answers[:steps])
    columns = columns_of(np.concatenate(blocks), settings.quantiles, level, quantiles)
    target = reader.columns.target_col
    frame = reader.frame(ids, np.concatenate(times), {target: np.concatenate(truth), **columns})
    return _with_column(frame, "cutoff", reader.frame(ids, np.concatenate(cuts), {}), reader.columns.time_col)


def _with_column(frame: Any, name: str, other: Any, of_other: str) -> Any:
    """Return a frame with a column of another one of the same kind, after the column `of_other`."""
    columns = list(frame.columns)
    place = columns.index(of_other) + 1
    if hasattr(frame, "iloc"):
        frame.insert(place, name, other[of_other])
        return frame
    import narwhals as nw

    column = nw.from_native(other)[of_other].alias(name)
    return nw.to_native(nw.from_native(frame).with_columns(column).select(*columns[:place], name, *columns[place:]))
