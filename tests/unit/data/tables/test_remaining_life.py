"""Targets of run-to-failure data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cures import message_of

import fastlstm as fl

ENGINES = np.repeat([7, 3, 5], [200, 1, 60])


def test_rul_counts_down_to_the_failure() -> None:
    left = fl.data.rul(ENGINES)
    expected = np.r_[np.minimum(np.arange(200)[::-1], 125), 0, np.arange(60)[::-1]]
    np.testing.assert_array_equal(left, expected)
    assert left.dtype == np.float64
    np.testing.assert_array_equal(fl.data.rul(ENGINES, cap=None)[:200], np.arange(200)[::-1])


def test_rows_of_a_group_need_not_be_together() -> None:
    assert fl.data.rul(["a", "b", "a", "b", "a"]).tolist() == [2, 1, 1, 0, 0]
    times = [0.0, 10.0, 0.5, 30.0, 4.0]
    assert fl.data.rul(["a", "b", "a", "b", "a"], time=times).tolist() == [4, 20, 3.5, 0, 0]
    assert fl.data.will_fail(["a", "b", "a", "b", "a"], time=times, within=3.5).tolist() == [0, 0, 1, 1, 1]


def test_what_is_left_at_the_last_row() -> None:
    groups = [2, 2, 1, 1]
    for at_end in ({1: 30, 2: 10}, [10, 30], np.array([10, 10, 30, 30])):
        assert fl.data.rul(groups, at_end=at_end).tolist() == [11, 10, 31, 30]
    assert fl.data.rul(groups, at_end=7.5, cap=8).tolist() == [8, 7.5, 8, 7.5]
    assert fl.data.will_fail(groups, at_end={1: 30, 2: 10}, within=10).tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize(
    "failed", [{7: False, 3: True, 5: True}, [False, True, True], np.repeat([0, 1, 1], [200, 1, 60])]
)
def test_a_group_without_failure_is_known_as_far_as_it_was_seen(failed: Any) -> None:
    left = fl.data.rul(ENGINES, failed=failed)
    # Row 74 has 125 rows after it: its remaining life is more than 125, so the capped value is known.
    assert (left[:75] == 125).all() and np.isnan(left[75:200]).all()
    np.testing.assert_array_equal(left[200:], fl.data.rul(ENGINES)[200:])
    assert np.isnan(fl.data.rul(ENGINES, failed=failed, cap=None)[:200]).all()
    labels = fl.data.will_fail(ENGINES, within=48, failed=failed)
    assert (labels[:152] == 0).all() and (labels[152:200] == -100).all()
    np.testing.assert_array_equal(labels[200:], fl.data.will_fail(ENGINES, within=48)[200:])


def test_what_is_known_of_a_cut_series_agrees_with_the_whole() -> None:
    """Cut each series off: what is then known must be what the whole series says."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        n, cut, cap = 80, int(rng.integers(1, 80)), int(rng.integers(1, 80))
        whole = fl.data.rul(np.zeros(n, int), cap=cap)[:cut]
        known = fl.data.rul(np.zeros(cut, int), cap=cap, failed=False)
        assert ((known == whole) | np.isnan(known)).all() and np.isnan(known[-1])
        labels, of_cut = (
            fl.data.will_fail(np.zeros(n, int), within=cap)[:cut],
            fl.data.will_fail(np.zeros(cut, int), within=cap, failed=False),
        )
        assert ((of_cut == labels) | (of_cut == -100)).all()


def test_will_fail_is_the_remaining_life_within_a_limit() -> None:
    labels = fl.data.will_fail(ENGINES)
    np.testing.assert_array_equal(labels, fl.data.rul(ENGINES, cap=None) <= 48)
    assert labels.dtype == np.int64
    assert fl.data.will_fail([1, 1, 1], within=0).tolist() == [0, 0, 1]


def test_labels_that_are_not_known_are_ignored_in_training() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((6, 4, 2)), np.array([0, 1, 0, 1, -100, -100])
    weights = []
    for cases in (slice(0, 6), slice(0, 4)):
        model = fl.Model([fl.LSTM(3), fl.Dense(2)], seed=0)
        model.fit(X[cases], y[cases], epochs=1, batch_size=6, shuffle=False, verbose=0)
        weights.append(model.predict(X))
    np.testing.assert_allclose(weights[0], weights[1], rtol=1e-6)  # sums over 6 rows and over 4


def test_a_series_of_pandas_is_read_by_its_index() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"unit": ENGINES, "broken": np.repeat([False, True, True], [200, 1, 60])})
    by_group = frame.groupby("unit")["broken"].max()  # in the order 3, 5, 7
    np.testing.assert_array_equal(
        fl.data.rul(frame["unit"], failed=by_group), fl.data.rul(ENGINES, failed={7: False, 3: True, 5: True})
    )
    left = pandas.Series([1, 2, 3])  # its index holds no groups: in the order of first appearance
    assert fl.data.rul(ENGINES, at_end=left)[[199, 200, 260]].tolist() == [1, 2, 3]
    np.testing.assert_array_equal(
        fl.data.rul(frame["unit"], failed=frame["broken"]), fl.data.rul(ENGINES, failed=by_group)
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cap": 0}, "cap must be greater than 0"),
        ({"failed": {7: True, 3: False}}, "failed has no value for the group 5"),
        ({"failed": [True, False]}, "failed has shape (2,), expected one value, a dict of group: value, (3,)"),
        ({"failed": [True, False, 2]}, "failed holds 2, expected True or False"),
        ({"failed": np.r_[np.ones(100), np.zeros(161)]}, "failed is 1.0 in row 0 and 0.0 in row 100 of the group 7"),
        ({"at_end": -1}, "at_end holds -1.0"),
        ({"at_end": {7: 1, 3: np.nan, 5: 1}}, "at_end holds nan"),
        ({"time": np.zeros(261)}, "row 1 of the group 7 has the time 0.0, that of row 0"),
        ({"time": -np.arange(261)}, "row 1 of the group 7 has the time -1, which is before 0 of row 0"),
        ({"time": np.zeros(3)}, "time has shape (3,), expected (261,)"),
    ],
)
def test_unfit_arguments_are_refused(arguments: Any, message: str) -> None:
    assert message in message_of(lambda: fl.data.rul(ENGINES, **arguments), ValueError)


def test_groups_that_are_none() -> None:
    for groups in (np.zeros((3, 2)), [], np.zeros(())):
        assert "groups has shape" in message_of(lambda groups=groups: fl.data.rul(groups), ValueError)
    times = np.array(["2026-01-01", "2026-01-02"], "M8[D]")
    message = message_of(lambda: fl.data.rul([1, 1], time=times), TypeError)
    assert "give times as numbers" in message
    assert message_of(lambda: fl.data.rul(group=[1]), TypeError).endswith("write groups=[1]")
