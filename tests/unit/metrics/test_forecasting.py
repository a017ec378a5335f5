"""Metrics of forecasts: by hand, against utilsforecast and scikit-learn, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import fastlstm as fl

LEVELS = [0.1, 0.3, 0.5, 0.7, 0.9]


def forecasts(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[np.ndarray]]:
    """Return values (3, 8), predictions, quantiles (3, 8, 5) and the series before, of different lengths."""
    rng = np.random.default_rng(seed)
    y = rng.normal(10, 3, (3, 8))
    quantiles = np.sort(rng.normal(10, 3, (3, 8, 5)), axis=-1)
    return y, rng.normal(10, 3, (3, 8)), quantiles, [rng.normal(10, 3, n) for n in (20, 33, 9)]


def test_scaled_errors_by_hand() -> None:
    train = [1.0, 3.0, 2.0, 6.0]  # differences 2, 1, 4; over 2 steps 1, 3
    y, p = [5.0, 5.0], [5.0, 8.0]
    assert fl.metrics.mase(y, p, train) == pytest.approx(1.5 / (7 / 3), rel=1e-15)
    assert fl.metrics.mase(y, p, train, season=2) == pytest.approx(1.5 / 2, rel=1e-15)
    assert fl.metrics.rmsse(y, p, train) == pytest.approx(math.sqrt(4.5 / (21 / 3)), rel=1e-15)
    assert fl.metrics.rmsse(y, p, train, 2) == pytest.approx(math.sqrt(4.5 / 5), rel=1e-15)
    both = fl.metrics.mase([y, y], [p, y], [train, train])
    assert both == pytest.approx(1.5 / (7 / 3) / 2, rel=1e-15)
    assert fl.metrics.mase([y, y], [p, y], np.array([train, train])) == both


def test_quantiles_by_hand() -> None:
    assert fl.metrics.pinball([10.0], [8.0], 0.9) == pytest.approx(1.8, rel=1e-15)
    assert fl.metrics.pinball([10.0], [12.0], 0.9) == pytest.approx(0.2, rel=1e-14)
    assert fl.metrics.pinball([10.0], [[12.0]], [0.9]) == pytest.approx(0.2, rel=1e-14)
    assert fl.metrics.pinball([10.0, 0.0], [[8.0, 12.0], [0.0, 0.0]], [0.9, 0.25]) == pytest.approx(
        (1.8 + 1.5) / 4, rel=1e-14
    )
    assert fl.metrics.pinball([10.0, 0.0], [8.0, 0.0], 0.9, sample_weight=[3, 1]) == pytest.approx(1.35, rel=1e-14)
    assert fl.metrics.crps_from_quantiles([10.0, 4.0], [[8.0], [5.0]], [0.5]) == 1.5  # the mean absolute error
    y, _, quantiles, _ = forecasts()
    shuffled = [3, 0, 4, 1, 2]
    assert fl.metrics.pinball(y, quantiles[..., shuffled], np.array(LEVELS)[shuffled]) == pytest.approx(
        fl.metrics.pinball(y, quantiles, LEVELS), rel=1e-13
    )
    assert fl.metrics.pinball(y, quantiles, LEVELS) == pytest.approx(
        fl.Quantile(LEVELS).value(quantiles, y[..., None])[0] / y.size, rel=1e-12
    )


def test_the_crps_of_many_quantiles_is_that_of_the_distribution() -> None:
    statistics = pytest.importorskip("statistics")
    levels = (np.arange(999) + 1) / 1000
    normal = statistics.NormalDist()
    quantiles = np.array([normal.inv_cdf(q) for q in levels])
    y = 0.7
    exact = y * (2 * normal.cdf(y) - 1) + 2 * normal.pdf(y) - 1 / math.sqrt(math.pi)  # Gneiting & Raftery 2007
    # The mean over 999 levels leaves out the tails, whose loss is about q log(1/q) below 1/1000.
    assert fl.metrics.crps_from_quantiles([y], quantiles[None], levels) == pytest.approx(exact, abs=2e-3)


def test_intervals_by_hand() -> None:
    y, low, high = [1.0, 5.0, 9.0, 3.0], [0.0, 6.0, 2.0, 3.0], [2.0, 8.0, 5.0, 3.0]
    assert fl.metrics.coverage(y, low, high) == 0.5
    assert fl.metrics.coverage(y, low, high, sample_weight=[3, 0, 1, 0]) == 0.75
    assert fl.metrics.interval_width(low, high) == 7 / 4
    assert fl.metrics.winkler_score(y, low, high, level=0.8) == pytest.approx((7 + 10 * 1 + 10 * 4) / 4, rel=1e-14)


def test_the_winkler_score_is_that_of_two_quantiles() -> None:
    y, _, quantiles, _ = forecasts()
    low, high = quantiles[..., 0], quantiles[..., -1]
    of_quantiles = fl.metrics.pinball(y, np.stack([low, high], -1), [0.1, 0.9])
    assert fl.metrics.winkler_score(y, low, high, 0.8) == pytest.approx(of_quantiles * 2 / 0.1, rel=1e-12)


def test_pinball_is_that_of_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    y, p, _, _ = forecasts()
    weight = np.random.default_rng(1).random(3)
    expected = sklearn.mean_pinball_loss(y.ravel(), p.ravel(), alpha=0.8, sample_weight=np.repeat(weight, 8))
    assert fl.metrics.pinball(y, p, 0.8, sample_weight=weight) == pytest.approx(expected, rel=1e-12)


def test_values_are_those_of_utilsforecast() -> None:
    losses = pytest.importorskip("utilsforecast.losses")
    pandas = pytest.importorskip("pandas")
    y, p, quantiles, train = forecasts()
    frame = pandas.DataFrame({"unique_id": np.repeat([0, 1, 2], 8), "ds": list(range(100, 108)) * 3})
    frame["y"], frame["p"] = y.ravel(), p.ravel()
    for k, level in enumerate(LEVELS):
        frame[f"q{level}"] = quantiles[..., k].ravel()
    frame["p-lo-80"], frame["p-hi-80"] = frame["q0.1"], frame["q0.9"]
    before = pandas.concat(
        pandas.DataFrame({"unique_id": k, "ds": np.arange(len(one)), "y": one}) for k, one in enumerate(train)
    )
    columns = {"p": [f"q{level}" for level in LEVELS]}
    m = fl.metrics
    each = {
        "mae": [m.mae(y[k], p[k]) for k in range(3)],
        "rmse": [m.rmse(y[k], p[k]) for k in range(3)],
        "mape": [m.mape(y[k], p[k]) for k in range(3)],
        "smape": [m.smape(y[k], p[k]) for k in range(3)],
    }
    for name, ours in each.items():
        assert getattr(losses, name)(frame, ["p"])["p"].tolist() == pytest.approx(ours, rel=1e-12)
    for season in (1, 7):
        theirs = losses.mase(frame, ["p"], season, before)["p"]
        assert theirs.tolist() == pytest.approx([m.mase(y[k], p[k], train[k], season) for k in range(3)], rel=1e-12)
        assert theirs.mean() == pytest.approx(m.mase(y, p, train, season), rel=1e-12)
        theirs = losses.rmsse(frame, ["p"], season, before)["p"]
        assert theirs.mean() == pytest.approx(m.rmsse(y, p, train, season), rel=1e-12)
    theirs = losses.quantile_loss(frame, {"p": "q0.3"}, 0.3)["p"]
    assert theirs.mean() == pytest.approx(m.pinball(y, quantiles[..., 1], 0.3), rel=1e-12)
    theirs = losses.mqloss(frame, columns, np.array(LEVELS))["p"]
    assert theirs.mean() == pytest.approx(m.pinball(y, quantiles, LEVELS), rel=1e-12)
    theirs = losses.coverage(frame, ["p"], 80)["p"]
    assert theirs.mean() == pytest.approx(m.coverage(y, quantiles[..., 0], quantiles[..., -1]), rel=1e-12)
    # Theirs is divided by the mean absolute value of the series.
    theirs = losses.scaled_crps(frame, columns, np.array(LEVELS))["p"]
    ours = [m.crps_from_quantiles(y[k], quantiles[k], LEVELS) / np.abs(y[k]).mean() for k in range(3)]
    assert sorted(theirs.tolist()) == pytest.approx(sorted(ours), rel=1e-12)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: m.mase([1.0], [1.0], [1.0, 2.0], season=2), "y_train has 2 steps, expected more than a season, 2"),
        (lambda m: m.mase([1.0], [1.0], [2.0, 2.0]), "y_train repeats itself after 1 step"),
        (lambda m: m.mase([1.0], [1.0], [2.0, np.nan]), r"y_train\[1\] is nan"),
        (lambda m: m.mase([1.0], [1.0], [[2.0, 3.0]]), r"expected one series \(L,\)"),
        (lambda m: m.mase([[1.0]], [[1.0]], [[1.0, 2], [3, 4]]), "y_train holds 2 series and y_true 1"),
        (lambda m: m.mase([[1.0], [1.0]], [[1.0], [1.0]], [[1.0, 2], [4, 4]]), r"y_train\[1\] repeats itself"),
        (lambda m: m.mase([[[1.0]]], [[[1.0]]], [[1.0, 2]]), r"expected \(H,\), or \(n, H\)"),
        (lambda m: m.pinball([1.0], [1.0, 2.0], 0.5), r"q_pred has shape \(2,\), expected \(1, 1\)"),
        (lambda m: m.pinball([1.0], [[1.0, 2.0]], [0.1, 0.5, 0.9]), r"expected \(1, 3\)"),
        (lambda m: m.pinball([1.0], [[1.0, 2.0]], [0.1, 90]), "between 0 and 1"),
        (lambda m: m.pinball([1.0], [[1.0, 2.0]], [0.1, 0.1]), "different levels"),
        (lambda m: m.crps_from_quantiles([1.0], [[1.0, 2.0, 3.0]], [0.1, 0.5, 0.8]), "evenly spaced"),
        (lambda m: m.crps_from_quantiles([1.0], [[1.0, 2.0]], [0.5, 0.9]), "symmetric about 0.5"),
        (lambda m: m.coverage([1.0], [2.0], [1.0]), r"numpy.sort\(q_pred, axis=-1\)"),
        (lambda m: m.coverage([1.0, 2.0], [2.0], [3.0]), "y_true has shape"),
        (lambda m: m.winkler_score([1.0], [0.0], [1.0], 90), "level must lie between 0 and 1"),
        (lambda m: m.interval_width([0.0, np.inf], [1.0, 2.0]), r"lower\[1\] is inf"),
    ],
)
def test_what_does_not_fit_is_refused(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call(fl.metrics)
