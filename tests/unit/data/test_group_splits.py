"""Splits that keep groups whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cures import message_of

import fastlstm as fl

RNG = np.random.default_rng(0)
SIZES = RNG.integers(1, 30, 60)
PATIENTS = np.repeat(np.arange(60), SIZES)
PATIENTS = RNG.permutation(PATIENTS)
N = len(PATIENTS)
CLASSES = (PATIENTS * 7919 % 10 < 2).astype(int) + (RNG.random(N) < 0.1)  # classes differ between patients


@pytest.mark.parametrize("method", ["random", "stratified"])
@pytest.mark.parametrize("fractions", [(0.7, 0.15, 0.15), (0.5, 0.5), (0.99, 0.01), (0.01, 0.99)])
@pytest.mark.parametrize("seed", range(3))
def test_groups_stay_whole_and_each_case_is_in_one_part(method: Any, fractions: Any, seed: int) -> None:
    parts = fl.split(N, fractions, method=method, y=CLASSES, groups=PATIENTS, seed=seed)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(N))
    groups = [set(PATIENTS[part].tolist()) for part in parts]
    assert all(groups) and sum(map(len, groups)) == 60
    assert all((np.diff(part) > 0).all() and part.dtype == np.int64 for part in parts)
    for part, fraction in zip(parts, fractions, strict=True):
        # The last groups even out what is missing: within the size of one group.
        assert abs(len(part) - fraction * N) <= SIZES.max()


def test_a_stratified_split_is_nearer_to_the_shares_of_classes() -> None:
    whole = np.bincount(CLASSES, minlength=3) / N

    def error(method: Any, seed: int) -> float:
        parts = fl.split(N, (0.7, 0.3), method=method, y=CLASSES, groups=PATIENTS, seed=seed)
        return max(float(np.abs(np.bincount(CLASSES[part], minlength=3) / len(part) - whole).max()) for part in parts)

    errors = {method: [error(method, seed) for seed in range(60)] for method in ("random", "stratified")}
    assert np.median(errors["stratified"]) < 0.01 < np.median(errors["random"])


def test_a_part_does_not_depend_on_the_size_of_a_group() -> None:
    """Over many seeds the largest group is in the test part about as often as the part's share."""
    groups = np.repeat(np.arange(40), [20] + [5] * 39)
    in_test = sum(0 in groups[fl.split(len(groups), (0.7, 0.3), groups=groups, seed=seed)[1]] for seed in range(300))
    # Binomial with p = 0.3 has a standard deviation of 7.9 here; 0 and 300 would be a rule.
    assert 90 - 40 < in_test < 90 + 40


def test_strings_the_seed_and_many_parts() -> None:
    names = np.array([f"p{number}" for number in PATIENTS])
    a, b = (fl.split(N, (0.6, 0.4), groups=groups, seed=5)[0] for groups in (names, names.tolist()))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, fl.split(N, (0.6, 0.4), groups=names, seed=6)[0])
    parts = fl.split(4, (0.97, 0.01, 0.01, 0.01), groups=[3, 1, 2, 0])
    assert sorted(len(part) for part in parts) == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"groups": [0, 1]}, "groups has shape (2,), expected (6,)"),
        ({"groups": [0, 0, 0, 0, 0, 0]}, "1 groups leave a part of fractions (0.5, 0.5) empty"),
        ({"groups": [0, 1, np.nan, 0, 1, 2]}, "groups[2] is missing (nan)"),
        ({"groups": range(6), "method": "time"}, "got groups with method = 'time'"),
        ({"groups": range(6), "gap": 1}, "gap = 1 with method = 'random'"),
        ({"groups": range(6), "method": "stratified"}, "a stratified split needs y=labels"),
    ],
)
def test_unfit_groups_are_refused(named: Any, message: str) -> None:
    assert message in message_of(lambda: fl.split(6, (0.5, 0.5), **named), ValueError)


@pytest.mark.parametrize("groups", [[0, 1, None, 0, 1, 2], ["a", "b", None, "a", "b", "c"], ["a", 1, "b", 2, 3, 4]])
def test_groups_of_several_types_or_missing(groups: Any) -> None:
    assert "groups[" in message_of(lambda: fl.split(6, (0.5, 0.5), groups=groups))


@pytest.mark.parametrize(("stride", "length", "horizon"), [(1, 5, 3), (2, 5, 3), (3, 6, 1), (4, 3, 2), (7, 3, 2)])
def test_the_gap_of_the_docstring_keeps_windows_apart(stride: int, length: int, horizon: int) -> None:
    series = np.arange(200)
    X, y = fl.windows(series, length, horizon, stride)
    gap = (length + horizon - 1) // stride

    def shared(gap: int) -> bool:
        train, test = fl.split(X, (0.5, 0.5), method="time", gap=gap)
        return bool(np.intersect1d(np.r_[X[train].ravel(), y[train].ravel()], X[test].ravel()).size)

    assert not shared(gap) and (gap == 0 or shared(gap - 1))  # no smaller gap suffices
