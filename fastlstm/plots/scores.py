"""Picture of an anomaly score over the signal, with its threshold and its events."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from .._checks import count, real
from .._typing import Array
from ..metrics.anomaly import Event, events
from ..metrics.arguments import binary_labels, one_series
from .canvas import finish, new_figure
from .series import as_signal, draw_signal, names_of, step_axis

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["anomaly"]

_ALARM, _LABEL = "tab:red", "tab:orange"
_MANY_PEAKS = 40
"""Number of events up to which each peak has a marker."""


def anomaly(
    signal: ArrayLike,
    scores: ArrayLike,
    threshold: float | None = None,
    *,
    labels: ArrayLike | None = None,
    min_gap: int = 1,
    min_length: int = 1,
    names: Sequence[str] | None = None,
    path: str | os.PathLike[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw a signal and below it its anomaly score, with the threshold, the events, and labels if there are any.

    It works without a display and needs matplotlib: ``pip install 'fastlstm[plot]'``.

    Parameters
    ----------
    signal : array (T, F) or (T,)
        The series; NaN leaves gaps.
    scores : array (T,)
        The score of each step.
    threshold : float, optional
        The steps above it are shown as events in both panels, with their peaks marked (of up to 40 events). By default
        the score is drawn alone.
    labels : array (T,), optional
        1 for anomalous steps, 0 for normal ones: a stripe at the top of the signal.
    min_gap, min_length : int, default 1
        How steps become events, see `fastlstm.metrics.anomaly.events`.
    names : sequence of str, optional
        Names of the channels, for a legend if there are at most 8.
    path : path, optional
        File to save the picture to; the suffix (``.png``, ``.pdf``, ``.svg``) selects the format. By default none.
    title : str, optional
        Title of the picture; by default none.

    Returns
    -------
    matplotlib.figure.Figure
        The figure, for changes or for display in a notebook.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If lengths differ, or scores, labels or names do not fit.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> signal = np.sin(np.arange(300) / 10)
    >>> signal[200:210] += 3
    >>> figure = fl.plots.anomaly(signal, abs(signal), threshold=1.5, path="anomaly.png")
    """
    series, score = as_signal("signal", signal), one_series("scores", scores)
    truth = None if labels is None else binary_labels("labels", labels)
    shown_names = names_of(names, series.shape[1])
    for name, array in (("scores", score), ("labels", truth)):
        if array is not None and array.shape != (len(series),):
            raise ValueError(
                f"signal has {len(series)} steps and {name} shape {array.shape}, expected ({len(series)},)"
            )
    found: list[Event] = []
    if threshold is not None:
        threshold = real("threshold", threshold)
        found = events(score, threshold, min_gap=min_gap, min_length=min_length)
    else:
        count("min_gap", min_gap), count("min_length", min_length)
    figure = new_figure("plots.anomaly", 10.0, 5.0)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    draw_signal(top, series, shown_names)
    _draw_score(bottom, score, threshold, found)
    for axes in (top, bottom):
        _shade(axes, found)
    if truth is not None and truth.any():
        _draw_labels(top, truth)
    entries = [axes.get_legend_handles_labels() for axes in (bottom, top)]
    legend = {text: handle for handles, texts in entries for handle, text in zip(handles, texts, strict=True)}
    if len(legend) > 1:
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.3)}
        bottom.legend(list(legend.values()), list(legend), ncols=len(legend), frameon=False, fontsize=9, **place)
    return finish(figure, path, title)


def _draw_score(axes: Any, score: Array, threshold: float | None, found: list[Event]) -> None:
    steps = len(score)
    axes.plot(score, color="0.25", linewidth=1.0 if steps <= 5000 else 0.5, label="score")
    if threshold is not None:
        axes.axhline(threshold, color=_ALARM, linewidth=1.0, linestyle="--", label=f"threshold {threshold:.4g}")
    if found and len(found) <= _MANY_PEAKS:
        axes.plot([one.peak for one in found], [one.score for one in found], "v", color=_ALARM, markersize=5)
    axes.set_xlabel("step")
    axes.set_ylabel("score")
    step_axis(axes, steps)
    axes.margins(y=0.12)


def _shade(axes: Any, found: list[Event]) -> None:
    """Shade the events, each at least a line wide, so that a single step among thousands can be seen."""
    for number, one in enumerate(found):
        label = f"event ({len(found)})" if number == 0 else None
        axes.axvspan(one.start - 0.5, one.stop - 0.5, color=_ALARM, alpha=0.25, linewidth=1.0, label=label)


def _draw_labels(axes: Any, truth: Array) -> None:
    """Draw a stripe at the top over the labelled steps."""
    for number, one in enumerate(events(truth, 0.5)):
        axes.axvspan(
            one.start - 0.5,
            one.stop - 0.5,
            ymin=0.955,
            color=_LABEL,
            linewidth=1.0,
            label="label" if number == 0 else None,
        )
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.08 * (high - low))  # so that the stripe hides nothing
