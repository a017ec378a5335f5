"""Metrics of anomaly scores: events and measures by hand, the scores beside, what is refused."""

from __future__ import annotations

import datetime
import json
import math
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import fastlstm as fl

anomaly = fl.metrics.anomaly
SCORES = [0, 6, 0, 0, 9, 9, 0, 7, 0, 0, 0, 8, 0, 0]
LABELS = [0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 0, 0, 1]
"""Three events: one found after a step, two missed; alarms at step 1, 4 to 5, 7 and 11, of which three are false."""


def runs(scores: Any, threshold: float, **arguments: int) -> list[tuple[int, int]]:
    return [(event.start, event.stop) for event in anomaly.events(scores, threshold, **arguments)]


def test_events_by_hand() -> None:
    assert runs(SCORES, 5) == [(1, 2), (4, 6), (7, 8), (11, 12)]
    assert [(one.peak, one.score) for one in anomaly.events(SCORES, 5)] == [(1, 6), (4, 9), (7, 7), (11, 8)]
    assert runs(SCORES, 9) == []  # above, not at the threshold
    assert runs(SCORES, -1) == [(0, 14)]
    assert runs([9, 0, 9], 5) == [(0, 1), (2, 3)]
    assert runs([9], 5) == [(0, 1)]
    assert runs(LABELS, 0.5) == [(3, 6), (9, 11), (13, 14)]


def test_gaps_are_closed_before_short_events_are_dropped() -> None:
    assert runs(SCORES, 5, min_gap=1) == runs(SCORES, 5)
    assert runs(SCORES, 5, min_gap=2) == [(1, 2), (4, 8), (11, 12)]  # one step between 6 and 7
    assert runs(SCORES, 5, min_gap=3) == [(1, 8), (11, 12)]
    assert runs(SCORES, 5, min_length=2) == [(4, 6)]
    assert runs(SCORES, 5, min_gap=2, min_length=4) == [(4, 8)]
    assert runs(SCORES, 5, min_gap=2, min_length=5) == []


def test_events_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        scores = rng.random(40)
        gap, length = int(rng.integers(1, 5)), int(rng.integers(1, 5))
        found: list[list[int]] = []
        for t in np.flatnonzero(scores > 0.6):
            if found and t - found[-1][1] < gap + (t == found[-1][1]):
                found[-1][1] = t + 1
            else:
                found.append([t, t + 1])
        expected = [(a, b) for a, b in found if b - a >= length]
        assert runs(scores, 0.6, min_gap=gap, min_length=length) == expected


def test_measures_by_hand() -> None:
    assert anomaly.event_recall(SCORES, LABELS, 5) == 1 / 3
    # 8 normal steps of 6 hours are 2 days
    assert anomaly.false_alarms_per_day(SCORES, LABELS, 5, 6 * 3600) == pytest.approx(3 / 2)
    assert anomaly.detection_delay(SCORES, LABELS, 5, 60) == 60
    assert anomaly.event_recall(SCORES, LABELS, 5, min_length=2) == 1 / 3
    assert anomaly.false_alarms_per_day(SCORES, LABELS, 5, 6 * 3600, min_length=2) == 0
    assert math.isnan(anomaly.detection_delay(SCORES, LABELS, 10, 60))
    assert anomaly.event_recall(SCORES, LABELS, 10) == 0
    # An alarm that begins before the event has no delay.
    assert anomaly.detection_delay([9, 9, 9, 0], [0, 1, 1, 0], 5, 60) == 0
    assert anomaly.pr_auc(SCORES, LABELS) == fl.metrics.pr_auc(LABELS, SCORES)


@pytest.mark.parametrize("period", [90, 90.0, datetime.timedelta(seconds=90), np.timedelta64(90_000, "ms")])
def test_periods(period: Any) -> None:
    assert anomaly.detection_delay(SCORES, LABELS, 5, period) == 90


def test_an_alarm_without_end_shows_in_the_report() -> None:
    report = anomaly.anomaly_report(np.ones(100), np.arange(100) // 50, threshold=0, period=1)
    always = report.measures["score"]
    assert always.event_recall == 1 and always.false_alarms_per_day == 0  # it touches the event
    assert always.normal_time_in_alarm == 1
    assert always.pr_auc == 0.5


def test_a_report_has_a_random_and_other_scores_beside() -> None:
    rng = np.random.default_rng(0)
    labels = np.zeros(5000, int)
    labels[1000:1100] = labels[3000:3050] = 1
    scores = rng.normal(size=5000) + 4 * labels
    weak = 1000 * (rng.normal(size=5000) + labels) + 77
    report = anomaly.anomaly_report(scores, labels, threshold=3, period=60, baselines={"untrained": weak}, seed=5)
    assert list(report.measures) == ["score", "random", "untrained"]
    best, chance, other = report.measures.values()
    assert best.pr_auc > 0.9 and best.event_recall == 1 and best.detection_delay < 600
    # The average precision of 150 cases in a random order is about their share, within some standard errors.
    assert chance.pr_auc == pytest.approx(report.anomalous_share, abs=0.01)
    assert report.anomalous_share == 0.03 and report.labelled_events == 2
    assert report.days == pytest.approx(5000 / 1440)
    assert chance.false_alarms_per_day > 10 * best.false_alarms_per_day
    assert chance.pr_auc < other.pr_auc < best.pr_auc
    in_alarm = np.count_nonzero(scores > 3)
    assert np.count_nonzero(weak > other.threshold) == in_alarm
    again = anomaly.anomaly_report(scores, labels, threshold=3, period=60, seed=5)
    assert again.measures["random"] == chance
    assert anomaly.anomaly_report(scores, labels, threshold=3, period=60, seed=6).measures["random"] != chance
    assert best.false_alarms_per_day == anomaly.false_alarms_per_day(scores, labels, 3, 60)
    assert best.event_recall == anomaly.event_recall(scores, labels, 3)


@pytest.mark.parametrize(("threshold", "alarms"), [(5, 3), (-1, 6), (9, 0)])
def test_a_baseline_has_no_more_alarms_than_the_score(threshold: float, alarms: int) -> None:
    scores, labels = [0, 6, 7, 0, 9, 0], [0, 0, 1, 0, 1, 0]
    tied = [1, 1, 2, 2, 2, 3]
    report = anomaly.anomaly_report(scores, labels, threshold=threshold, period=1, baselines={"tied": tied})
    assert np.count_nonzero(np.array(scores) > threshold) == alarms
    shown = report.measures["tied"].threshold
    assert shown == {3: 2, 6: -math.inf, 0: 3}[alarms]
    assert np.count_nonzero(np.array(tied) > shown) <= alarms


def test_how_a_report_is_shown() -> None:
    report = anomaly.anomaly_report(SCORES, LABELS, threshold=10, period=3600, baselines={"a <b>": SCORES})
    table, caption = str(report).split("\n\n")
    assert len({len(line) for line in table.splitlines()}) == 1
    assert table.splitlines()[0].split() == ["score", "random", "a", "<b>"]
    assert table.splitlines()[5].split()[-3:] == ["-", "-", "-"]
    assert caption.startswith("3 events in 0.5833 days, 42.86% of the steps anomalous")
    tree = ElementTree.fromstring(report._repr_html_())
    assert [cell.text for cell in tree.iter("th")][1:] == ["score", "random", "a <b>"]
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert data["measures"]["score"]["detection_delay"] is None
    assert "event_recall=0" in repr(report)


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"scores": [0.0, np.nan, 1]}, ValueError, r"scores\[1\] is nan"),
        ({"scores": [0.0, 1]}, ValueError, r"scores has shape \(2,\) and labels \(3,\)"),
        ({"scores": [[0.0], [1], [2]]}, ValueError, r"pass numpy.ravel\(scores\)"),
        ({"scores": [[0.0, 1], [1, 2], [2, 3]]}, ValueError, "call it for each series"),
        ({"labels": [0, 0, 0]}, ValueError, "normal at every step"),
        ({"labels": [1, 1, 1]}, ValueError, "anomalous at every step"),
        ({"labels": [0, 1, 2]}, ValueError, r"labels\[2\] is 2, expected 0 or 1"),
        ({"threshold": math.nan}, ValueError, "threshold must be finite"),
        ({"period": 0}, ValueError, "period must be greater than 0"),
        ({"period": "1min"}, TypeError, "datetime.timedelta"),
        ({"min_gap": 0}, ValueError, "min_gap must be at least 1"),
        ({"min_length": 1.5}, TypeError, "min_length must be an integer"),
        ({"seed": -1}, ValueError, "seed"),
        ({"baselines": [1, 2, 3]}, TypeError, "baselines must map names"),
        ({"baselines": {"random": [1, 2, 3]}}, ValueError, "must not be called 'random'"),
        ({"baselines": {"other": [1, 2]}}, ValueError, "other"),
    ],
)
def test_what_does_not_fit_is_refused(changed: dict[str, Any], error: type, words: str) -> None:
    arguments = {"scores": [0.0, 1, 2], "labels": [0, 1, 0], "threshold": 1, "period": 60} | changed
    with pytest.raises(error, match=words):
        anomaly.anomaly_report(arguments.pop("scores"), arguments.pop("labels"), **arguments)


def test_point_adjustment_would_praise_a_random_score() -> None:
    """Why nothing is point-adjusted: the F1 of a random score, with long events and the best of many thresholds."""
    labels = np.zeros(10_000, bool)
    labels[2000:2400] = labels[6000:6500] = labels[8000:8400] = True
    score = np.random.default_rng(0).random(10_000)

    def best_f1(adjusted: bool) -> float:
        found = []
        for threshold in np.linspace(0, 1, 1001)[:-1]:
            alarm = score > threshold
            if adjusted:
                alarm = alarm.copy()
                for event in anomaly.events(labels, 0.5):
                    alarm[event.start : event.stop] |= alarm[event.start : event.stop].any()
            found.append(fl.metrics.f1(labels, alarm, average=None)[-1])
        return max(found)

    assert best_f1(adjusted=False) < 0.25
    assert best_f1(adjusted=True) > 0.9
