"""The package's own random numbers."""

from __future__ import annotations

import statistics

import numpy as np
import pytest

from fastlstm import _core, reference
from fastlstm._draws import Draws


def test_words_are_those_of_philox() -> None:
    draws = Draws(3, "weights", 0)
    four = reference.philox4x32(draws.seed, np.arange(3)).astype(np.uint64)
    expected = np.stack([four[:, 0] << np.uint64(32) | four[:, 1], four[:, 2] << np.uint64(32) | four[:, 3]], axis=1)
    # In parts of any size.
    got = np.concatenate([draws.words(1), draws.words(4), draws.words(1)])
    np.testing.assert_array_equal(got, expected.reshape(-1))


def test_each_key_has_its_own_numbers() -> None:
    keys = [(0, "a"), (0, "b"), (1, "a"), (2**64, "a"), (2**64 + 1, "a"), (0, "a", 0), (0, "a", 1)]
    assert len({Draws(*key).words(1)[0] for key in keys}) == len(keys)
    assert Draws(5, "a").words(2).tolist() == Draws(5, "a").words(2).tolist()


def test_normal_numbers_are_the_inverse_of_the_distribution() -> None:
    draws = Draws(1, "normal")
    chances = ((Draws(1, "normal").words(2000) >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    expected = [statistics.NormalDist().inv_cdf(chance) for chance in chances]
    np.testing.assert_allclose(draws.standard_normal((2000,)), expected, rtol=1e-14)
    numbers = draws.standard_normal((40, 5000))
    assert numbers.shape == (40, 5000) and abs(numbers.mean()) < 0.01 and abs(numbers.std() - 1) < 0.01
    assert abs((np.abs(numbers) < 1).mean() - 0.6827) < 0.005 and numbers.max() > 4 and numbers.min() < -4


def test_uniform_numbers_integers_and_orders() -> None:
    draws = Draws(2, "others")
    numbers = draws.uniform(-2.0, 3.0, (100, 1000))
    assert numbers.min() >= -2 and numbers.max() < 3 and abs(numbers.mean() - 0.5) < 0.02
    assert abs(numbers.std() - 5 / 12**0.5) < 0.02
    counts = np.bincount(draws.integers(7, 70_000), minlength=7)
    assert len(counts) == 7 and np.abs(counts - 10_000).max() < 500  # 5 standard deviations
    order = draws.permutation(1000)
    assert sorted(order.tolist()) == list(range(1000)) and abs(np.corrcoef(order, np.arange(1000))[0, 1]) < 0.15
    assert draws.permutation(0).tolist() == []


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="n is -1, expected 0 or more"):
        _core.random_words(1, 0, -1)
    with pytest.raises(TypeError, match="y must be a C-contiguous, aligned array of dtype float64"):
        _core.normals(1, 0, np.zeros(3, np.float32))
