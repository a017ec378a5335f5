"""Metrics of anomaly scores: a score for each step of a series, compared with labels of the steps.

A step is in alarm if its score is above the threshold, ``score > threshold``; a run of such steps is an alarm, a run of
steps with the label 1 an event. Nothing here is point-adjusted, that is, no event counts as found to its last step
because one of its steps is in alarm: with that, a random score reaches the F1 of published methods (Kim, Choi, Choi,
Lee & Yoon 2022, "Towards a rigorous evaluation of time-series anomaly detection").
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .._checks import MANY, count, positive, real, short_repr
from .._draws import Draws
from .._tables import aligned, html_table
from .._typing import Array
from .arguments import binary_labels, check_same_shape, one_series
from .probabilities import pr_auc as average_precision

__all__ = [
    "AnomalyMeasures",
    "AnomalyReport",
    "Event",
    "anomaly_report",
    "detection_delay",
    "event_recall",
    "events",
    "false_alarms_per_day",
    "pr_auc",
]

_DAY = 86400.0
Period = float | timedelta | np.timedelta64


class Event(NamedTuple):
    """A run of steps whose score is above the threshold."""

    start: int
    """Its first step."""
    stop: int
    """The step after its last one, so that ``scores[start:stop]`` are its scores."""
    peak: int
    """The step with the highest score, the first of equal ones."""
    score: float
    """This score."""


def events(scores: ArrayLike, threshold: float, *, min_gap: int = 1, min_length: int = 1) -> list[Event]:
    """Return the runs of steps whose score is above the threshold.

    A run is a longest sequence of steps with ``score > threshold``. Runs with fewer than `min_gap` steps between them
    become one event, from the first step of the first to the last step of the last; then events of fewer than
    `min_length` steps are dropped.

    Parameters
    ----------
    scores : array (T,)
        The score of each step, finite. The labels of a series, 0 and 1, with threshold 0.5 give its labelled events.
    threshold : float
        The threshold.
    min_gap : int, default 1
        Smallest number of steps between two events; 1 joins no runs.
    min_length : int, default 1
        Smallest number of steps of an event.

    Returns
    -------
    list of Event
        Tuples ``(start, stop, peak, score)`` in the order of time; `stop` is excluded.

    Raises
    ------
    TypeError, ValueError
        If the scores are no series of finite numbers, or an argument is out of range.

    Examples
    --------
    >>> import fastlstm as fl
    >>> scores = [0, 5, 0, 7, 6, 0, 0, 0, 9]
    >>> [tuple(event) for event in fl.metrics.anomaly.events(scores, 4, min_gap=2, min_length=2)]
    [(1, 5, 3, 7.0)]
    """
    score = one_series("scores", scores)
    min_gap, min_length = count("min_gap", min_gap), count("min_length", min_length)
    runs = _runs(score > real("threshold", threshold), min_gap, min_length)
    peaks = [start + int(np.argmax(score[start:stop])) for start, stop in runs]
    return [Event(start, stop, peak, float(score[peak])) for (start, stop), peak in zip(runs, peaks, strict=True)]


def _runs(inside: Array, min_gap: int = 1, min_length: int = 1) -> list[tuple[int, int]]:
    """Return first step and end of each run of true steps, as `events` joins and drops them."""
    edges = np.flatnonzero(np.diff(inside.astype(np.int8), prepend=0, append=0))
    starts, stops = edges[::2], edges[1::2]
    apart = starts[1:] - stops[:-1] >= min_gap
    starts, stops = starts[np.append(True, apart)[: len(starts)]], stops[np.append(apart, True)[: len(stops)]]
    long = stops - starts >= min_length
    return list(zip(starts[long].tolist(), stops[long].tolist(), strict=True))


class _Series(NamedTuple):
    """Scores, labels and threshold of one series, checked."""

    score: Array
    labels: Array
    alarms: list[tuple[int, int]]
    labelled: list[tuple[int, int]]

    @classmethod
    def of(cls, scores: ArrayLike, labels: ArrayLike, threshold: float, min_gap: int, min_length: int) -> _Series:
        score, true = _checked(scores, labels)
        runs = _runs(score > threshold, count("min_gap", min_gap), count("min_length", min_length))
        return cls(score, true, runs, _runs(true))

    def in_alarm(self) -> Array:
        """Return whether each step belongs to an alarm."""
        inside = np.zeros(len(self.score), bool)
        for start, stop in self.alarms:
            inside[start:stop] = True
        return inside

    def first_alarms(self) -> list[int | None]:
        """Return for each labelled event its first step in alarm, counted from its start; None: it was missed."""
        inside = self.in_alarm()
        steps = [np.flatnonzero(inside[start:stop]) for start, stop in self.labelled]
        return [int(found[0]) if len(found) else None for found in steps]

    def false_alarms(self) -> int:
        """Return the number of alarms without a labelled step."""
        return sum(not self.labels[start:stop].any() for start, stop in self.alarms)


def _checked(scores: ArrayLike, labels: ArrayLike) -> tuple[Array, Array]:
    """Return scores and boolean labels of one series, in which some steps are anomalous and some are not."""
    score, true = one_series("scores", scores), binary_labels("labels", labels)
    check_same_shape("scores", score, "labels", true)
    if not true.any() or true.all():
        what = "anomalous" if true.any() else "normal"
        raise ValueError(f"labels are {what} at every step, expected both: measure on a part with events and without")
    return score, true


def pr_auc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return the area under the precision-recall curve of the steps, over all thresholds.

    It is the average precision of `fastlstm.metrics.pr_auc`, with the scores first. A random score has about the share
    of the anomalous steps.

    Parameters
    ----------
    scores : array (T,)
        The score of each step; a higher one is more anomalous.
    labels : array (T,)
        1 for anomalous steps, 0 for normal ones.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    TypeError, ValueError
        If scores or labels do not fit, or all steps have the same label.

    Examples
    --------
    >>> import fastlstm as fl
    >>> fl.metrics.anomaly.pr_auc([0.1, 0.2, 0.9, 0.3], [0, 0, 1, 0])
    1.0
    """
    score, true = _checked(scores, labels)
    return average_precision(true, score)


def event_recall(
    scores: ArrayLike, labels: ArrayLike, threshold: float, *, min_gap: int = 1, min_length: int = 1
) -> float:
    """Return the share of the labelled events that have a step in alarm.

    Read it together with `false_alarms_per_day`: a score that is always above the threshold finds every event, and a
    random score most of the long ones.

    Parameters
    ----------
    scores, labels
        As in `pr_auc`.
    threshold, min_gap, min_length
        As in `events`, by which the alarms are made.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    TypeError, ValueError
        As in `pr_auc` and `events`.

    Examples
    --------
    >>> import fastlstm as fl
    >>> fl.metrics.anomaly.event_recall([0, 9, 0, 0, 0, 1], [1, 1, 0, 0, 1, 1], threshold=5)
    0.5
    """
    series = _Series.of(scores, labels, real("threshold", threshold), min_gap, min_length)
    return _event_recall(series)


def _event_recall(series: _Series) -> float:
    found = [first is not None for first in series.first_alarms()]
    return sum(found) / len(found)


def false_alarms_per_day(
    scores: ArrayLike,
    labels: ArrayLike,
    threshold: float,
    period: Period,
    *,
    min_gap: int = 1,
    min_length: int = 1,
) -> float:
    """Return the number of alarms without any labelled step, per day of normal time.

    ``alarms that touch no event / (number of steps with label 0 * period in days)``. An alarm that touches an event is
    no false one, however long it is; the report tells the share of normal time in alarm as well, which such alarms
    cannot hide from.

    Parameters
    ----------
    scores, labels
        As in `pr_auc`.
    threshold, min_gap, min_length
        As in `events`, by which the alarms are made.
    period : float, timedelta or numpy.timedelta64
        Time from one step to the next; a number is in seconds.

    Returns
    -------
    float
        Alarms per day.

    Raises
    ------
    TypeError, ValueError
        As in `pr_auc` and `events`, or if the period is not greater than 0.

    Examples
    --------
    >>> import fastlstm as fl
    >>> scores, labels = [9, 0, 0, 9, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0, 0, 0]
    >>> fl.metrics.anomaly.false_alarms_per_day(scores, labels, threshold=5, period=3600)
    4.0
    """
    series = _Series.of(scores, labels, real("threshold", threshold), min_gap, min_length)
    return _false_alarms_per_day(series, seconds(period))


def _false_alarms_per_day(series: _Series, period: float) -> float:
    return series.false_alarms() * _DAY / (int(np.count_nonzero(~series.labels)) * period)


def detection_delay(
    scores: ArrayLike,
    labels: ArrayLike,
    threshold: float,
    period: Period,
    *,
    min_gap: int = 1,
    min_length: int = 1,
) -> float:
    """Return the mean time from the start of an event to its first step in alarm, in seconds.

    The mean is over the events that are found (see `event_recall`); an event that begins in an alarm has the delay 0.

    Parameters
    ----------
    scores, labels
        As in `pr_auc`.
    threshold, min_gap, min_length
        As in `events`, by which the alarms are made.
    period : float, timedelta or numpy.timedelta64
        Time from one step to the next; a number is in seconds.

    Returns
    -------
    float
        Seconds; nan if no event is found.

    Raises
    ------
    TypeError, ValueError
        As in `pr_auc` and `events`, or if the period is not greater than 0.

    Examples
    --------
    >>> import fastlstm as fl
    >>> fl.metrics.anomaly.detection_delay([0, 0, 0, 9, 0], [0, 1, 1, 1, 0], threshold=5, period=60)
    120.0
    """
    series = _Series.of(scores, labels, real("threshold", threshold), min_gap, min_length)
    return _detection_delay(series, seconds(period))


def _detection_delay(series: _Series, period: float) -> float:
    found = [first for first in series.first_alarms() if first is not None]
    return period * sum(found) / len(found) if found else math.nan


def seconds(period: Any) -> float:
    """Return a sampling period in seconds."""
    if isinstance(period, np.timedelta64):
        period = period / np.timedelta64(1, "s")
    elif isinstance(period, timedelta):
        period = period.total_seconds()
    elif isinstance(period, str):
        raise TypeError(
            f"period must be seconds or a timedelta, got {short_repr(period)}: give for example period=60 or "
            "period=datetime.timedelta(minutes=1)"
        )
    return positive("period", period)


class AnomalyMeasures(NamedTuple):
    """Measures of one score."""

    pr_auc: float
    """Area under the precision-recall curve of the steps; see `fastlstm.metrics.anomaly.pr_auc`."""
    event_recall: float
    """Share of the labelled events with a step in alarm."""
    false_alarms_per_day: float
    """Alarms without a labelled step, per day of normal time."""
    normal_time_in_alarm: float
    """Share of the steps with label 0 that are in alarm."""
    detection_delay: float
    """Mean time from the start of an event that is found to its first step in alarm, in seconds; nan if none is."""
    threshold: float
    """Threshold above which a step is in alarm."""


class AnomalyReport:
    """Report of an anomaly score and of others beside it, returned by `anomaly_report`.

    Attributes
    ----------
    measures : dict of str to AnomalyMeasures
        Measures of ``"score"``, ``"random"``, and of each of the other scores.
    anomalous_share : float
        Share of the anomalous steps, which is about the PR-AUC of a random score.
    labelled_events : int
        Number of labelled events.
    days : float
        Length of the series in days.
    """

    def __init__(
        self, measures: dict[str, AnomalyMeasures], anomalous_share: float, labelled_events: int, days: float
    ) -> None:
        self.measures = measures
        self.anomalous_share = anomalous_share
        self.labelled_events = labelled_events
        self.days = days

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as data for JSON; None stands for a delay that is undefined, or a threshold below all.

        Returns
        -------
        dict
            ``"measures"``, the measures of each score by name; ``"anomalous_share"``, ``"labelled_events"``,
            ``"days"``.
        """
        return {
            "measures": {
                name: {key: value if math.isfinite(value) else None for key, value in one._asdict().items()}
                for name, one in self.measures.items()
            },
            "anomalous_share": self.anomalous_share,
            "labelled_events": self.labelled_events,
            "days": self.days,
        }

    def _rows(self) -> list[tuple[str, ...]]:
        formats = (
            ("PR-AUC of the steps", "pr_auc", ".4f"),
            ("event recall", "event_recall", ".4f"),
            ("false alarms a day", "false_alarms_per_day", ",.3f"),
            ("normal time in alarm", "normal_time_in_alarm", ".4f"),
            ("mean delay in s", "detection_delay", ",.1f"),
            ("threshold", "threshold", ".6g"),
        )
        return [
            (title, *(_shown(float(getattr(one, name)), form) for one in self.measures.values()))
            for title, name, form in formats
        ]

    def _caption(self) -> str:
        plural = "" if self.labelled_events == 1 else "s"
        return (
            f"{self.labelled_events} event{plural} in {self.days:.4g} days, {self.anomalous_share:.2%} of the steps "
            "anomalous; not point-adjusted"
        )

    def __str__(self) -> str:
        return "\n".join([*aligned([("", *self.measures), *self._rows()]), "", self._caption()])

    def __repr__(self) -> str:
        score, chance = self.measures["score"], self.measures["random"]
        return (
            f"AnomalyReport(pr_auc={score.pr_auc:.4g} (random {chance.pr_auc:.4g}), "
            f"event_recall={score.event_recall:.4g}, false_alarms_per_day={score.false_alarms_per_day:.4g})"
        )

    def _repr_html_(self) -> str:
        return html_table(("", *self.measures), self._rows(), caption=self._caption())


def anomaly_report(
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    threshold: float,
    period: Period,
    min_gap: int = 1,
    min_length: int = 1,
    seed: int = 0,
    baselines: Mapping[str, ArrayLike] | None = None,
) -> AnomalyReport:
    """Measure an anomaly score, and beside it a random score and others, such as that of an untrained model.

    What a method is worth is its distance from the others: many sets of labels can be met by a score that tells
    nothing.

    Parameters
    ----------
    scores : array (T,)
        The score of each step; a higher one is more anomalous.
    labels : array (T,)
        1 for anomalous steps, 0 for normal ones.
    threshold : float
        A step is in alarm if its score is above it. It should come from normal data that are not in `scores`.
    period : float, timedelta or numpy.timedelta64
        Time from one step to the next; a number is in seconds.
    min_gap, min_length : int, default 1
        How alarms are made of steps, see `events`; for all scores.
    seed : int, default 0
        Seed of the random score: the scores in a random order, so that as many steps are above the threshold.
    baselines : dict of str to array (T,), optional
        Other scores of the same steps by name, on any scale. The threshold of each is the least for which no more of
        its steps are in alarm than of `scores`, before joining and dropping.

    Returns
    -------
    AnomalyReport
        Of each score PR-AUC of the steps, event recall, false alarms a day, share of normal time in alarm, and mean
        detection delay; ``print(report)`` shows them as a table.

    Raises
    ------
    TypeError, ValueError
        If scores or labels do not fit, all steps have the same label, or an argument is out of range.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> labels = np.zeros(2000, int)
    >>> labels[500:520] = labels[1500:1540] = 1
    >>> scores = np.random.default_rng(0).normal(size=2000) + 3 * labels
    >>> report = fl.metrics.anomaly.anomaly_report(scores, labels, threshold=3, period=60)
    >>> print(report)
                           score  random
    PR-AUC of the steps   0.8527  0.0328
    event recall          1.0000  0.5000
    false alarms a day     0.742  18.557
    normal time in alarm  0.0005  0.0134
    mean delay in s          0.0   960.0
    threshold                  3       3
    <BLANKLINE>
    2 events in 1.389 days, 3.00% of the steps anomalous; not point-adjusted
    """
    score, true = _checked(scores, labels)
    limit, step = real("threshold", threshold), seconds(period)
    others = {} if baselines is None else baselines
    if not isinstance(others, Mapping):
        raise TypeError(f"baselines must map names to scores, got {short_repr(others)}: give {{'untrained': scores}}")
    reserved = {"score", "random"} & set(others)
    if reserved:
        raise ValueError(f"a baseline must not be called {reserved.pop()!r}, which the report has already: rename it")
    order = Draws(count("seed", seed, least=0, bits=MANY), "random score").permutation(len(score))
    compared = {"score": (score, limit), "random": (score[order], limit)}
    in_alarm = int(np.count_nonzero(score > limit))
    for name, given in others.items():
        other = one_series(f"baselines[{name!r}]", given)
        check_same_shape("scores", score, f"baselines[{name!r}]", other)
        compared[str(name)] = other, _limit_for(other, in_alarm)
    measures = {
        name: _measures(_Series.of(one, true, at, min_gap, min_length), at, step)
        for name, (one, at) in compared.items()
    }
    return AnomalyReport(measures, float(true.mean()), len(_runs(true)), len(score) * step / _DAY)


def _limit_for(score: Array, in_alarm: int) -> float:
    """Return the least threshold above which there are at most `in_alarm` steps."""
    if in_alarm == len(score):
        return -math.inf
    return float(np.partition(score, len(score) - 1 - in_alarm)[len(score) - 1 - in_alarm])


def _measures(series: _Series, threshold: float, period: float) -> AnomalyMeasures:
    return AnomalyMeasures(
        average_precision(series.labels, series.score),
        _event_recall(series),
        _false_alarms_per_day(series, period),
        float(series.in_alarm()[~series.labels].mean()),
        _detection_delay(series, period),
        threshold,
    )


def _shown(number: float, form: str) -> str:
    return "-" if math.isnan(number) else format(number, form)
