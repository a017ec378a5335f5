"""Arrays of aeon and sktime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cures import cure, message_of

import fastlstm as fl

X = np.random.default_rng(0).standard_normal((5, 2, 7))


def test_there_and_back() -> None:
    ours = fl.from_numpy3d(X)
    assert ours.shape == (5, 7, 2) and np.shares_memory(ours, X)
    assert all(ours[n, t, c] == X[n, c, t] for n in range(5) for t in range(7) for c in range(2))
    np.testing.assert_array_equal(fl.to_numpy3d(ours), X)
    assert fl.data.from_numpy3d is fl.from_numpy3d and fl.data.to_numpy3d is fl.to_numpy3d


def test_lists_of_series_of_different_lengths() -> None:
    theirs = [X[0], X[1, :, :4]]
    ours = fl.from_numpy3d(theirs)
    assert [one.shape for one in ours] == [(7, 2), (4, 2)]
    for one, other in zip(fl.to_numpy3d(ours), theirs, strict=True):
        np.testing.assert_array_equal(one, other)


def test_more_channels_than_steps_are_doubted() -> None:
    with pytest.warns(UserWarning, match=r"7 channels and 2 steps, read as \(n, channels, time\)") as caught:
        fl.from_numpy3d(np.swapaxes(X, 1, 2))
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="7 channels and at most 4 steps"):
        fl.from_numpy3d([np.zeros((7, 2)), np.zeros((7, 4))])
    fl.from_numpy3d(np.zeros((2, 3, 3)))
    fl.to_numpy3d(X)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros((0, 2, 3)), "X has shape (0, 2, 3), expected (n, channels, time)"),
        (np.zeros(3), "X has shape (3,)"),
        ([], "X is empty"),
        ([np.zeros((2, 3)), np.zeros((3, 3))], "X[1] has shape (3, 3), expected (channels, time) with the channels of"),
        ([np.zeros((2, 3, 1))], "X[0] has shape (2, 3, 1)"),
    ],
)
def test_other_shapes_are_refused(value: Any, message: str) -> None:
    assert message in message_of(lambda: fl.from_numpy3d(value), ValueError)


def test_two_axes() -> None:
    flat = X[:, 0]
    message = message_of(lambda: fl.from_numpy3d(flat), ValueError)
    assert fl.from_numpy3d(cure(message, "pass ", X=flat)).shape == (5, 7, 1)
    message = message_of(lambda: fl.to_numpy3d(flat), ValueError)
    assert fl.to_numpy3d(cure(message, "pass ", X=flat)).shape == (5, 1, 7)
