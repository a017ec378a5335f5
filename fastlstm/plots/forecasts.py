"""Pictures of forecasts: a fan chart, a backtest, errors and coverage by step of the horizon."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._arrays import as_numeric
from .._checks import as_list, inside_unit
from .._typing import Array
from ..metrics.forecasting import interval_pairs
from .canvas import finish, new_figure, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["backtest", "by_horizon", "fan"]

_PAST, _FORECAST, _TRUTH = "0.35", "C0", "C3"
_COLORS = ("C0", "C1", "0.55", "C2", "C4")
_MOST_PANELS = 6


def fan(
    times: Any,
    quantiles: Any,
    levels: Sequence[float],
    *,
    past_times: Any = None,
    past: Any = None,
    truth: Any = None,
    name: str | None = None,
    path: str | os.PathLike[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw a forecast with its intervals, after the values before it.

    Parameters
    ----------
    times : array (H,)
        Times of the forecast, datetime64 or numbers.
    quantiles : array (H, Q)
    levels : sequence of Q floats
        Levels of the quantiles in rising order: 0.5, which is the line, and pairs such as 0.05 and 0.95, which bound
        an interval.
    past_times, past : arrays (T,), optional
        The series before the forecast. Missing values (NaN) leave gaps.
    truth : array (H,), optional
        True values, if they are known.
    name : str, optional
        Name of the values, for the axis.
    path : path, optional
        File to save the picture to.
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        Without matplotlib.
    TypeError, ValueError
        If the arrays do not fit each other, or a level has no opposite.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> quantiles = np.arange(24)[:, None] ** 0.5 * [-1, 0, 1]
    >>> figure = fl.plots.fan(np.arange(24), quantiles, [0.05, 0.5, 0.95], path="fan.png")
    """
    values = as_numeric(quantiles, False, "quantiles").astype(np.float64)
    numbers = [inside_unit("each of levels", one) for one in as_list("levels", levels, "numbers")]
    at = np.asarray(times)
    if values.shape != (len(at), len(numbers)) or not len(at):
        raise ValueError(f"quantiles has shape {values.shape}, expected {(len(at), len(numbers))}: times, levels")
    bands = _bands(numbers)
    figure = new_figure("fl.plots.fan", 9.0, 3.6)
    axes = figure.subplots()
    if past is not None:
        before = as_numeric(past, False, "past").astype(np.float64)
        axes.plot(np.asarray(past_times), before, color=_PAST, linewidth=1.0, label="past")
    middle = next(number for number, one in enumerate(numbers) if math.isclose(one, 0.5, abs_tol=1e-9))
    _draw_forecast(axes, at, values[:, middle], [(name, values[:, low], values[:, high]) for name, low, high in bands])
    if truth is not None:
        known = as_numeric(truth, False, "truth").astype(np.float64)
        axes.plot(at, known, color=_TRUTH, linewidth=1.0, label="true values")
    _finish_axes(axes, name)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)
    return finish(figure, path, title)


def _bands(levels: list[float]) -> list[tuple[str, int, int]]:
    """Return percentage, lower and upper number of each interval, the widest first; refuse levels that bound none."""
    pairs = interval_pairs(levels)
    paired = {number for pair in pairs for number in pair}
    alone = [one for number, one in enumerate(levels) if number not in paired and not math.isclose(one, 0.5)]
    if levels != sorted(set(levels)) or len(levels) != 2 * len(pairs) + 1 or alone:
        raise ValueError(
            f"levels are {levels}, expected 0.5 and pairs such as 0.05 and 0.95 in rising order"
            + (f": {alone[0]:g} has no opposite, {1 - alone[0]:g}" if alone else "")
        )
    return [(f"{round(100 * (levels[high] - levels[low]), 6):g}", low, high) for low, high in pairs]


def _draw_forecast(
    axes: Any, times: Array, middle: Array, bands: Sequence[tuple[str, Array, Array]], labels: bool = True
) -> None:
    """Draw intervals (percentage, lower and upper bound), the widest first, and the line of a forecast."""
    from matplotlib.colors import to_rgb

    for place, (percentage, low, high) in enumerate(bands):
        # Opaque, since translucent bands that lie on each other are darker than the legend says.
        color = 1 - (0.2 + 0.25 * place / max(len(bands) - 1, 1)) * (1 - np.array(to_rgb(_FORECAST)))
        label = f"{percentage} % interval" if labels else None
        axes.fill_between(times, low, high, color=color, linewidth=0, label=label)
    axes.plot(times, middle, color=_FORECAST, linewidth=1.4, label="forecast" if labels else None)


def _finish_axes(axes: Any, name: str | None) -> None:
    if name is not None:
        axes.set_ylabel(shortened(name))
    axes.grid(axis="y", color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(x=0.01)
    locator = axes.xaxis.get_major_locator()
    if type(locator).__name__ == "AutoDateLocator":
        from matplotlib.dates import ConciseDateFormatter

        formatter: Any = ConciseDateFormatter
        axes.xaxis.set_major_formatter(formatter(locator))


def backtest(
    table: Mapping[str, Any],
    *,
    target: str = "y",
    id_col: str = "unique_id",
    time_col: str = "ds",
    path: str | os.PathLike[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw the forecasts of `Forecaster.cross_validation` over the true values, a panel for each series.

    Parameters
    ----------
    table : DataFrame, or mapping of columns
        Result of `Forecaster.cross_validation`; columns such as ``fastlstm-lo-90`` and
        ``fastlstm-hi-90`` are drawn as bands.
    target, id_col, time_col : str
        Names of the columns.
    path, title
        As in `fan`.

    Returns
    -------
    matplotlib.figure.Figure
        With the first six series.

    Raises
    ------
    ImportError
        Without matplotlib.
    ValueError
        If a column is missing, or one bound of an interval.
    """
    names = [str(one) for one in table]
    for needed in (time_col, "cutoff", target, "fastlstm"):
        if needed not in names:
            raise ValueError(f"the table has no column {needed!r}, expected one of cross_validation: {names}")
    data = {one: np.asarray(table[one]) for one in names}
    ids = data[id_col] if id_col in data else np.zeros(len(data[target]), int)
    chosen = list(dict.fromkeys(ids.tolist()))[:_MOST_PANELS]
    levels = [one.removeprefix("fastlstm-lo-") for one in names if one.startswith("fastlstm-lo-")]
    lonely = next((one for one in levels if f"fastlstm-hi-{one}" not in names), None)
    if lonely is not None:
        raise ValueError(
            f"the table has fastlstm-lo-{lonely} without fastlstm-hi-{lonely}, expected both bounds: {names}"
        )
    levels.sort(key=float, reverse=True)
    figure = new_figure("fl.plots.backtest", 10.0, 1.2 + 2.2 * len(chosen))
    panels = figure.subplots(len(chosen), squeeze=False)[:, 0]
    for axes, one in zip(panels, chosen, strict=True):
        own = ids == one
        _draw_windows(axes, {name: values[own] for name, values in data.items()}, target, time_col, levels)
        _finish_axes(axes, str(one) if id_col in data else target)
    panels[0].legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, frameon=False, fontsize=8)
    return finish(figure, path, title)


def _draw_windows(axes: Any, data: dict[str, Array], target: str, time_col: str, levels: list[str]) -> None:
    """Draw the windows of a series, each a line of its own; bands of the intervals, the widest first."""
    times = data[time_col]
    order = np.argsort(times, kind="stable")
    axes.plot(times[order], data[target][order], color=_PAST, linewidth=1.0, label="true values")
    for number, cutoff in enumerate(np.unique(data["cutoff"])):
        rows = data["cutoff"] == cutoff
        bands = [(one, data[f"fastlstm-lo-{one}"][rows], data[f"fastlstm-hi-{one}"][rows]) for one in levels]
        _draw_forecast(axes, times[rows], data["fastlstm"][rows], bands, labels=not number)


def by_horizon(
    errors: Mapping[str, Any],
    *,
    coverage: Any = None,
    level: float | None = None,
    unit: str = "mean absolute error",
    step: str = "steps ahead",
    path: str | os.PathLike[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw the error of each method over the steps of the horizon, and the coverage of an interval.

    Parameters
    ----------
    errors : mapping of str to array (H,)
        Errors of the methods.
    coverage : array (H,), optional
        Share of true values inside the interval at each step.
    level : float, optional
        Percentage that the interval should cover.
    unit, step : str
        Labels of the axes.
    path, title
        As in `fan`.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import fastlstm as fl
    >>> figure = fl.plots.by_horizon({"network": [1, 2, 3], "naive": [1, 3, 5]}, coverage=[0.9, 0.91, 0.88], level=90)
    """
    panels = 1 if coverage is None else 2
    figure = new_figure("fl.plots.by_horizon", 4.6 * panels, 3.2)
    grid = figure.subplots(1, panels, squeeze=False)[0]
    for number, (name, values) in enumerate(errors.items()):
        line = as_numeric(values, False, "errors").astype(np.float64)
        color, marker = _COLORS[number % len(_COLORS)], "." if len(line) < 30 else None
        grid[0].plot(np.arange(1, len(line) + 1), line, color=color, marker=marker, label=shortened(name))
    grid[0].set_ylabel(unit)
    grid[0].set_ylim(bottom=0)
    grid[0].legend(frameon=False, fontsize=8)
    if coverage is not None:
        shares = as_numeric(coverage, False, "coverage").astype(np.float64)
        grid[1].plot(np.arange(1, len(shares) + 1), shares, color=_COLORS[0], marker="." if len(shares) < 30 else None)
        if level is not None:
            grid[1].axhline(level / 100, color="0.5", linestyle="--", linewidth=1.0)
        grid[1].set_ylim(min(0.7, np.nanmin(shares) - 0.03), 1.0)
        grid[1].set_ylabel("coverage" if level is None else f"coverage of the {level:g} % interval")
    for axes in grid:
        axes.set_xlabel(step)
        axes.grid(axis="y", color="0.92", linewidth=0.8)
        axes.set_axisbelow(True)
    return finish(figure, path, title)
