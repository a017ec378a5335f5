"""Batches of prediction and evaluation: every case once, and a bound on the padding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastlstm.data import as_sequences
from fastlstm.data.batching import SMALL_BATCH, bounded_batches, sequential_batches

RANDOM = np.random.default_rng(0)
LENGTHS = {
    "equal": [70] * 11,
    "small": [1, 90, 3, 2, 50],
    "one long": [10] * 255 + [20_000],
    "one long in front": [20_000] + [10] * 255,
    "one alone": [40_000],
    "half long": [5, 9_000] * 20,
    "exponential": (2 ** RANDOM.uniform(0, 15, 300)).astype(int).tolist(),
    "uniform": RANDOM.integers(500, 2_000, 300).tolist(),
}


def series(lengths: list[int]) -> Any:
    return as_sequences([np.zeros(n) for n in lengths])


def numbers(inputs: Any, batch_size: int) -> list[list[int]]:
    return [np.arange(len(inputs))[chosen].tolist() for chosen in bounded_batches(inputs, batch_size)]


@pytest.mark.parametrize("name", LENGTHS)
@pytest.mark.parametrize("batch_size", [1, 7, 256, 1000])
def test_each_case_is_in_one_bounded_batch(name: str, batch_size: int) -> None:
    lengths = np.array(LENGTHS[name])
    batches = numbers(series(LENGTHS[name]), batch_size)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) <= batch_size
        padded = len(batch) * lengths[batch].max()
        assert padded <= max(2 * lengths[batch].sum(), SMALL_BATCH)


def test_the_division_is_the_documented_one() -> None:
    assert numbers(series(LENGTHS["one long"]), 256) == [[255], list(range(255))]
    assert numbers(series([9_000, 4, 4_600, 4_500, 3]), 8) == [[0, 2], [3, 1, 4]]


@pytest.mark.parametrize("name", ["equal", "small", "uniform", "one alone"])
def test_what_padding_does_not_double_stays_in_order(name: str) -> None:
    inputs = series(LENGTHS[name])
    assert list(bounded_batches(inputs, 64)) == list(sequential_batches(len(inputs), 64))


def test_few_batches() -> None:
    """Each division halves the longest series, until the rest is small."""
    lengths = LENGTHS["exponential"]
    batches = numbers(series(lengths), 300)
    assert len(batches) <= np.log2(max(lengths) * len(lengths) / SMALL_BATCH) + 1
