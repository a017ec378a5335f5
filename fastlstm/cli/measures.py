"""Measures of predictions beside those of simple baselines."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from .. import metrics
from .._tables import aligned
from .._typing import Array
from ..metrics.anomaly import anomaly_report, events
from .answers import Answers, answer, scores_of
from .cases import Cases
from .errors import DataRefused, refusing
from .fitting import classes_of
from .layout import Layout
from .model_file import SavedModel

__all__ = ["Measures", "baseline_of", "measure"]


class Measures:
    """Named numbers: each of the model, and those of the baselines as ``name_baseline``."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, float]] = {}
        self.notes: list[str] = []

    def add(self, name: str, value: float, **baselines: float) -> None:
        """Add a measure of the model and of the baselines."""
        self._rows[name] = {"model": float(value), **{key: float(one) for key, one in baselines.items()}}

    @property
    def values(self) -> dict[str, float]:
        """All numbers by name."""
        return {
            name if who == "model" else f"{name}_{who}": value
            for name, row in self._rows.items()
            for who, value in row.items()
        }

    def lines(self) -> list[str]:
        """Return a table: a row for each measure, a column for the model and for each baseline."""
        columns = list(dict.fromkeys(who for row in self._rows.values() for who in row))
        rows = [["", *columns]]
        for name, row in self._rows.items():
            rows.append([name, *(f"{row[who]:.6g}" if who in row else "" for who in columns)])
        return [*aligned(rows), *self.notes]


def baseline_of(layout: Layout, cases: Cases) -> dict[str, Any]:
    """Return what the baselines need to know of the training data."""
    if layout.task == "classify":
        assert cases.labels is not None
        counts = Counter(str(label) for label in cases.labels)
        return {"counts": [counts[str(label)] for label in classes_of(cases.labels).tolist()]}
    if layout.task == "regress":
        values = np.array(cases.labels, np.float64)
        levels = np.linspace(0, 1, 101)
        return {"mean": float(values.mean()), "quantiles": np.quantile(values, levels).tolist()}
    return {}


def measure(saved: SavedModel, cases: Cases, n_threads: int | None) -> Measures:
    """Return the measures of a model on cases whose answers are known.

    Raises
    ------
    DataRefused
        If they are not known, or are not those of the model.
    """
    if saved.task == "anomaly":
        return _of_anomalies(saved, cases, n_threads)
    if cases.labels is None:
        raise DataRefused(f"the column {saved.layout.target!r} is needed, which the answers are compared with")
    answers = answer(saved, cases, n_threads)
    with np.errstate(over="ignore"):  # values beyond 1e154 have infinite squares, which the report shows
        return (_of_classes if saved.task == "classify" else _of_values)(saved, cases, answers)


def _of_classes(saved: SavedModel, cases: Cases, answers: Answers) -> Measures:
    assert saved.classes is not None and cases.labels is not None
    names = [str(label) for label in saved.classes]
    true = [str(label) for label in cases.labels]
    unknown = [label for label in true if label not in names]
    if unknown:
        raise DataRefused(
            f"the column {saved.layout.target!r} holds {unknown[0]!r}, which is none of the model's {names}"
        )
    codes = np.array([names.index(label) for label in true])
    predicted = answers.values.argmax(axis=1)
    counts = np.array(saved.table["baseline"]["counts"], np.float64)
    rates = (counts / counts.sum()).clip(1e-12)
    often = np.full(len(codes), int(counts.argmax()))
    known = Measures()
    known.add("accuracy", (codes == predicted).mean(), most_frequent=(codes == often).mean())
    known.add(
        "balanced_accuracy",
        metrics.balanced_accuracy(codes, predicted),
        most_frequent=metrics.balanced_accuracy(codes, often),
    )
    known.add(
        "f1_macro",
        metrics.f1(codes, predicted, average="macro"),
        most_frequent=metrics.f1(codes, often, average="macro"),
    )
    true_p = answers.values[np.arange(len(codes)), codes]
    known.add("log_loss", -np.log(true_p.clip(1e-15)).mean(), most_frequent=-np.log(rates[codes]).mean())
    known.add("cases", len(codes))
    known.notes.append("most_frequent: always the most frequent class of the training data, with its frequencies")
    return known


def _of_values(saved: SavedModel, cases: Cases, answers: Answers) -> Measures:
    true = np.array(cases.labels, np.float64)
    predicted = np.array(answers.labels, np.float64)
    baseline = saved.table["baseline"]
    table = np.array(baseline["quantiles"], np.float64)
    mean, median = np.full(len(true), baseline["mean"]), np.full(len(true), table[50])
    known = Measures()
    for name, function in (("mae", metrics.mae), ("rmse", metrics.rmse)):
        known.add(name, function(true, predicted), mean=function(true, mean), median=function(true, median))
    spread = float(np.square(true - true.mean()).sum())
    if spread > 0:
        known.add("r2", 1 - np.square(true - predicted).sum() / spread, mean=1 - np.square(true - mean).sum() / spread)
    levels = saved.quantiles
    if levels is not None:
        constant = np.tile(np.interp(levels, np.linspace(0, 1, len(table)), table), (len(true), 1))
        known.add(
            "pinball",
            metrics.pinball(true, answers.values, levels),
            quantiles=metrics.pinball(true, constant, levels),
        )
        known.add(
            "coverage",
            metrics.coverage(true, answers.values[:, 0], answers.values[:, -1]),
            quantiles=metrics.coverage(true, constant[:, 0], constant[:, -1]),
        )
        known.notes.append(f"coverage: of the interval from q{levels[0]:g} to q{levels[-1]:g}; quantiles: those of y")
    known.add("cases", len(true))
    known.notes.append("mean, median: those of the training data for every case")
    return known


def _of_anomalies(saved: SavedModel, cases: Cases, n_threads: int | None) -> Measures:
    scores = scores_of(saved, cases, n_threads)
    limit, warmup = saved.threshold, saved.window[1]
    known = Measures()
    found = [events(one, limit) for one in scores]
    rest = np.concatenate([one[warmup:] for one in scores])
    known.add("events", sum(map(len, found)))
    known.add("share_above", (rest > limit).mean(), normal=1 - saved.parameters["quantile"])
    known.add("mean_score", rest.mean(), normal=1.0)
    known.notes.append("normal: what is expected where nothing is wrong")
    labels = cases.labels
    if labels is not None and len({int(one) for part in labels for one in part}) == 2:
        _add_labelled(known, cases, scores, limit)
    known.add("steps", len(rest))
    return known


def _add_labelled(known: Measures, cases: Cases, scores: list[Array], limit: float) -> None:
    assert cases.labels is not None
    period = _period(cases)
    # A normal step between two series, so that no event spans both.
    apart = [np.append(one, 0.0) for one in scores[:-1]] + scores[-1:]
    labels = [np.append(one, 0) for one in cases.labels[:-1]] + cases.labels[-1:]
    with refusing():
        report = anomaly_report(np.concatenate(apart), np.concatenate(labels), threshold=limit, period=period or 1.0)
    model, random = report.measures["score"], report.measures["random"]
    known.add("pr_auc", model.pr_auc, random=random.pr_auc)
    known.add("event_recall", model.event_recall, random=random.event_recall)
    if period:
        known.add("false_alarms_per_day", model.false_alarms_per_day, random=random.false_alarms_per_day)
        known.add("detection_delay", model.detection_delay, random=random.detection_delay)
    known.add("normal_time_in_alarm", model.normal_time_in_alarm, random=random.normal_time_in_alarm)
    known.notes.append("random: the same scores in a random order")


def _period(cases: Cases) -> float | None:
    """Return the seconds of a step; None if there are no times."""
    if cases.times is None or cases.times[0].dtype.kind != "M":
        return None
    steps = np.concatenate([np.diff(one) for one in cases.times]).astype(np.int64)
    return float(np.median(steps)) / 1e9 if len(steps) else None
