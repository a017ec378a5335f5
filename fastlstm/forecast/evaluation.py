"""Errors of forecasts, always next to those of the naive and the seasonal naive forecast."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._tables import aligned, html_table
from .._typing import Array
from ..metrics.forecasting import interval_pairs
from .layout import Layout
from .levels import NAME, at_levels
from .series import ReadySeries

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["METHODS", "Evaluation", "Tally", "naive_forecasts"]

METHODS = (NAME, "seasonal naive", "naive")
_HOURS = 24


def naive_forecasts(layout: Layout, series: ReadySeries, origins: Array) -> tuple[Array, Array]:
    """Return the seasonal naive and the naive forecast, (origins, horizon) each, in the units of the series.

    NaN where there is no value yet.
    """
    steps = layout.gap + 1 + np.arange(layout.horizon)
    rows = origins[:, None] + steps - layout.base_lags
    last = np.broadcast_to(series.filled[origins][:, None], rows.shape)
    seasonal = np.where(rows >= 0, series.filled[np.maximum(rows, 0)], np.nan)
    return seasonal, last


class Tally:
    """Sums of errors by method, step of the horizon and hour of the day.

    Parameters
    ----------
    horizon : int
    quantiles : tuple of float
    series : int
    """

    def __init__(self, horizon: int, quantiles: tuple[float, ...], series: int) -> None:
        self.quantiles = np.asarray(quantiles)
        pairs = interval_pairs(quantiles)
        self.pair = pairs[0] if pairs else None
        shape = (len(METHODS), horizon, _HOURS)
        self.absolute, self.pinball, self.count = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        self.inside, self.width = np.zeros(shape[1:]), np.zeros(shape[1:])
        self.of_series = np.zeros((series, len(METHODS), 2))

    def add(self, number: int, answers: Array, naive: Sequence[Array], truth: Array, hours: Array) -> None:
        """Add forecasts of a series: answers (n, horizon, quantiles), naive ones, true values, hours of the targets."""
        known = ~np.isnan(truth)
        for one in naive:
            known &= ~np.isnan(one)
        steps = np.broadcast_to(np.arange(truth.shape[1]), truth.shape)[known]
        places = (steps, hours[known])
        median = at_levels(answers, self.quantiles.tolist(), [0.5])[..., 0]
        y = truth[known]
        for method, point in enumerate((median, *naive)):
            error = np.abs(point[known] - y)
            # Quantiles of a forecast that has none are all equal to it.
            spread = answers[known] if method == 0 else point[known][:, None]
            over = y[:, None] - spread
            pinball = np.maximum(self.quantiles * over, (self.quantiles - 1) * over).mean(axis=1)
            for sums, values in ((self.absolute, error), (self.pinball, pinball), (self.count, 1.0)):
                np.add.at(sums[method], places, values)
            self.of_series[number, method] += error.sum(), len(error)
        if self.pair is not None:
            low, high = answers[known][:, self.pair[0]], answers[known][:, self.pair[1]]
            np.add.at(self.inside, places, (low <= y) & (y <= high))
            np.add.at(self.width, places, high - low)


class Evaluation:
    """Errors of a forecaster on a table, beside those of the naive and the seasonal naive forecast.

    The mean pinball loss is that over the quantiles for which the network was trained; a naive forecast takes its one
    value for all of them. `coverage` is the share of true values in the widest interval, `width` its mean width, in the
    units of the values.

    Attributes
    ----------
    scores : DataFrame
        A row for each method: ``mae``, ``mase`` (Hyndman & Koehler 2006; NaN if a series repeats itself), ``pinball``,
        ``coverage``, ``width``, and ``n``, the number of values compared.
    by_horizon : DataFrame
        The same for each step of the horizon, without ``mase``.
    by_hour : DataFrame or None
        The same for each hour of the local clock to which the forecasts belong; None if time is counted in steps.
    level : float or None
        Percentage of the interval of `coverage`.
    """

    def __init__(self, tally: Tally, naive_errors: Sequence[float], hours: bool) -> None:
        import pandas as pd

        levels = tally.quantiles
        self.level = (
            None if tally.pair is None else round(100 * float(levels[tally.pair[1]] - levels[tally.pair[0]]), 6)
        )
        self.scores = pd.DataFrame(_table(tally, ()), index=pd.Index(METHODS, name="method"))
        self.scores.insert(1, "mase", _mase(tally, naive_errors))
        self.by_horizon = _long(tally, (2,), "step", range(1, tally.count.shape[1] + 1))
        self.by_hour = _long(tally, (1,), "hour", range(_HOURS)) if hours else None

    def __repr__(self) -> str:
        return "\n".join(aligned(self._rows()))

    def _repr_html_(self) -> str:
        header, *rows = self._rows()
        return html_table(header, rows, caption="Forecasts of rows that were not trained on")

    def _rows(self) -> list[list[str]]:
        """Return header and rows of the scores as text."""
        columns = list(self.scores.columns)
        names = [f"coverage-{self.level:g}" if one == "coverage" and self.level else one for one in columns]
        rows = [["", *names]]
        for method, values in zip(METHODS, self.scores.to_numpy(), strict=True):
            cells = [f"{int(one)}" if name == "n" else f"{one:.4g}" for name, one in zip(columns, values, strict=True)]
            rows.append([method, *("" if cell == "nan" else cell for cell in cells)])
        return rows

    def plot(self, path: str | os.PathLike[str] | None = None, *, title: str | None = None) -> Figure:
        """Draw the errors of all methods and the coverage over the steps of the horizon; needs matplotlib."""
        from ..plots import by_horizon

        frame = self.by_horizon
        own = frame[frame["method"] == NAME]
        errors = {one: frame[frame["method"] == one]["mae"].to_numpy() for one in METHODS}
        coverage = None if self.level is None else own["coverage"].to_numpy()
        return by_horizon(errors, coverage=coverage, level=self.level, path=path, title=title)

    def to_dict(self) -> dict[str, Any]:
        """Return all as data for JSON, with None for what is not known."""

        def records(frame: Any) -> Any:
            return None if frame is None else [
                {key: None if isinstance(value, float) and np.isnan(value) else value for key, value in row.items()}
                for row in frame.reset_index(drop=False).to_dict("records")
            ]  # fmt: skip

        parts = {name: records(getattr(self, name)) for name in ("scores", "by_horizon", "by_hour")}
        return {"level": self.level, **parts}


def _table(tally: Tally, kept: tuple[int, ...]) -> dict[str, Array]:
    """Return the means over step and hour, except over the axis that is kept."""
    axes = tuple(axis for axis in (1, 2) if axis not in kept)

    def total(sums: Array) -> Array:
        return np.asarray(sums.sum(axis=axes))

    with np.errstate(invalid="ignore", divide="ignore"):
        count = total(tally.count)
        columns = {"mae": total(tally.absolute) / count, "pinball": total(tally.pinball) / count}
        for name, sums in (("coverage", tally.inside), ("width", tally.width)):
            of_network = np.asarray(sums.sum(axis=tuple(axis - 1 for axis in axes))) / count[0]
            columns[name] = np.full(count.shape, np.nan)
            if tally.pair is not None:
                columns[name][0] = of_network
    return {**columns, "n": count.astype(np.int64)}


def _long(tally: Tally, summed: tuple[int, ...], name: str, labels: Iterable[int]) -> Any:
    import pandas as pd

    kept = tuple(axis for axis in (1, 2) if axis not in summed)
    table = _table(tally, kept)
    numbers = list(labels)
    data = {name: np.tile(numbers, len(METHODS)), "method": np.repeat(METHODS, len(numbers))}
    frame = pd.DataFrame({**data, **{key: value.reshape(-1) for key, value in table.items()}})
    return frame[frame["n"] > 0].reset_index(drop=True)


def _mase(tally: Tally, naive_errors: Sequence[float]) -> Array:
    """Return the mean over the series of the error relative to that of the seasonal naive forecast in the training."""
    units = np.asarray(naive_errors, float)
    seen = tally.of_series[:, 0, 1] > 0
    if not seen.any() or not (units[seen] > 0).all():
        return np.full(len(METHODS), np.nan)
    errors = tally.of_series[seen]
    ratios: Array = (errors[:, :, 0] / errors[:, :, 1] / units[seen][:, None]).mean(axis=0)
    return ratios
