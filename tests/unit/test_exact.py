"""Sums and functions with the same bits everywhere."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastlstm import _core, _exact


@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 1000])
def test_sums_are_those_of_exact_addition(n: int) -> None:
    rng = np.random.default_rng(n)
    x, weights = rng.normal(size=n), rng.random(n)
    assert _exact.total(x) == pytest.approx(math.fsum(x), abs=1e-12)
    assert _exact.total(x, weights) == pytest.approx(math.fsum(x * weights), abs=1e-12)
    assert _exact.total(x > 0) == (x > 0).sum()


def test_the_order_is_that_of_sixteen_partial_sums() -> None:
    """Sixteen sums that are added at the end, which any rounding shows."""
    x = np.random.default_rng(1).normal(size=200) * 10.0 ** np.arange(200).clip(0, 12)
    parts = [0.0] * 16
    for k, value in enumerate(x.tolist()):
        parts[k % 16] += value
    expected = 0.0
    for part in parts:
        expected += part
    assert _exact.total(x) == expected


def test_rows_and_columns() -> None:
    x = np.random.default_rng(2).normal(size=(7, 5))
    center = x[0]
    np.testing.assert_allclose(_exact.row_sums(x), x.sum(axis=1), rtol=1e-14)
    np.testing.assert_allclose(_exact.column_sums(x), x.sum(axis=0), rtol=1e-13)
    np.testing.assert_allclose(_exact.column_squares(x, center), ((x - center) ** 2).sum(axis=0), rtol=1e-14)
    np.testing.assert_array_equal(_exact.row_sums(x[None].astype("f4")).shape, (1, 7))


def test_functions_agree_with_the_library() -> None:
    x = np.linspace(-700, 700, 10_001)
    np.testing.assert_allclose(_exact.exp(x), np.exp(x), rtol=3e-16)
    positive = np.exp(np.linspace(-600, 600, 10_001))
    np.testing.assert_allclose(_exact.log(positive), np.log(positive), rtol=3e-16, atol=1e-16)
    assert _exact.log([0.0, 1.0]).tolist() == [-math.inf, 0.0] and np.isnan(_exact.log([-1.0])[0])
    assert _core.power(0.5, 10) == 0.5**10 and _core.cosine(0.25) == 0.0
    with pytest.raises(ValueError, match="n is -1, expected 0 or more"):
        _core.power(0.5, -1)
    with pytest.raises(ValueError, match="turns is 0.6, expected 0 to 0.5"):
        _core.cosine(0.6)
