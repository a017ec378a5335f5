"""Segments around peaks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cures import cure, message_of

import fastlstm as fl

SIGNAL = np.random.default_rng(0).standard_normal((50, 2))


@pytest.mark.parametrize("peaks", [[5, 20, 22, 49], [49, 0, 30, 5], [10], [10, 15, 20], [20, 15, 10], [7, 7]])
@pytest.mark.parametrize(("before", "after"), [(3, 4), (0, 1), (5, 1), (0, 9)])
def test_segments_equal_slices(peaks: list[int], before: int, after: int) -> None:
    X, kept = fl.data.segments(SIGNAL, peaks, before, after)
    whole = [i for i, peak in enumerate(peaks) if peak >= before and peak + after <= 50]
    assert kept.tolist() == whole and kept.dtype == np.int64
    for segment, number in zip(X, whole, strict=True):
        np.testing.assert_array_equal(segment, SIGNAL[peaks[number] - before : peaks[number] + after])
        np.testing.assert_array_equal(segment[before], SIGNAL[peaks[number]])


def test_evenly_spaced_peaks_give_views_and_nothing_can_be_written() -> None:
    for peaks, shared in [([10, 15, 20], True), ([10, 16, 20], False), ([20, 15, 10], False), ([9], True)]:
        X, _ = fl.data.segments(SIGNAL, peaks, 4, 4)
        assert np.shares_memory(X, SIGNAL) == shared
        assert not X.flags.writeable
    assert SIGNAL.flags.writeable


def test_one_channel_and_the_type_of_the_signal() -> None:
    X, _ = fl.data.segments(np.arange(9, dtype=np.int16), [4], 1, 2)
    assert X.tolist() == [[[3], [4], [5]]] and X.dtype == np.int16
    X, _ = fl.data.segments(np.arange(9, dtype=np.int16), [0, 8], 1, 2, pad="nan")
    np.testing.assert_array_equal(X[:, :, 0], [[np.nan, 0, 1], [7, 8, np.nan]])
    assert X.dtype == np.float64
    X, kept = fl.data.segments(np.arange(9, dtype=np.float32), [0, 4, 8], 2, 2, pad="edge")
    assert X[:, :, 0].tolist() == [[0, 0, 0, 1], [2, 3, 4, 5], [6, 7, 8, 8]]
    assert X.dtype == np.float32 and kept.tolist() == [0, 1, 2]
    X, _ = fl.data.segments(np.arange(3.0), [1], 4, 4, pad="edge")  # longer than the signal
    assert X[0, :, 0].tolist() == [0, 0, 0, 0, 1, 2, 2, 2]


def test_padding_changes_nothing_where_segments_are_whole() -> None:
    plain, _ = fl.data.segments(SIGNAL, [10, 17, 20], 4, 4)
    for pad in ("edge", "nan"):
        np.testing.assert_array_equal(fl.data.segments(SIGNAL, [10, 17, 20], 4, 4, pad=pad)[0], plain)


@pytest.mark.parametrize(
    ("arguments", "named", "message"),
    [
        ((SIGNAL, [50], 1, 1), {}, "peaks[0] is 50, expected a position from 0 to 49"),
        ((SIGNAL, [3, -1], 1, 1), {}, "peaks[1] is -1"),
        ((SIGNAL, [[3]], 1, 1), {}, "peaks has shape (1, 1)"),
        ((SIGNAL, [], 1, 1), {}, "none of 0 peaks"),
        ((SIGNAL, [1], 5, 5), {}, "none of 1 peaks has before = 5 steps before it and after = 5 from it on"),
        ((SIGNAL, [1], 1, 0), {}, "after must be at least 1"),
        ((SIGNAL, [1], -1, 2), {}, "before must be at least 0"),
        ((SIGNAL, [1], 1, 1), {"pad": "zero"}, "pad must be 'edge' or 'nan', got 'zero'"),
        ((SIGNAL[None], [1], 1, 1), {}, "signal has shape (1, 50, 2)"),
        ((np.zeros(0), [1], 1, 1), {}, "signal has shape (0,)"),
    ],
)
def test_unfit_arguments_are_refused(arguments: Any, named: Any, message: str) -> None:
    assert message in message_of(lambda: fl.data.segments(*arguments, **named), ValueError)


def test_peaks_that_are_no_integers() -> None:
    peaks = np.array([3.0, 4.0])
    message = message_of(lambda: fl.data.segments(SIGNAL, peaks, 1, 1), TypeError)
    assert fl.data.segments(SIGNAL, cure(message, "use ", peaks=peaks), 1, 1)[0].shape == (2, 2, 2)
