"""The kernels of batch and layer normalisation against the reference, on every instruction set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import FINITE_DIFFERENCE, TOLERANCE, numerical_gradient, relative_error

from fastlstm import _core, reference

Array = np.ndarray
EPS = 1e-3

# Batch, time, features, lengths, whether there is a mask; features that straddle the widths of vectors.
CASES: dict[str, tuple[int, int, int, Any, bool]] = {
    "one": (1, 1, 1, None, False),
    "rows": (9, 1, 16, None, False),
    "steps": (3, 20, 5, None, False),
    "lengths": (4, 33, 17, [33, 0, 29, 1], False),
    "mask": (3, 12, 31, None, True),
    "both": (5, 17, 70, [17, 1, 3, 9, 2], True),
    "wide": (2, 9, 130, [9, 4], False),
}


class Problem:
    """Numbers to normalise, whose padding is NaN."""

    def __init__(self, name: str, dtype: str) -> None:
        batch, time, features, lengths, masked = CASES[name]
        rng = np.random.default_rng(5)
        self.lengths = None if lengths is None else np.array(lengths)
        self.valid = np.ones((batch, time), bool)
        if self.lengths is not None:
            self.valid &= np.arange(time) < self.lengths[:, None]
        self.mask = rng.random((batch, time)) < 0.7 if masked else None
        self.counts = self.valid if self.mask is None else self.valid & self.mask
        self.x = (3 + 2 * rng.standard_normal((batch, time, features))).astype(dtype)
        self.dy = rng.standard_normal((batch, time, features)).astype(dtype)
        self.x[~self.valid] = self.dy[~self.valid] = np.nan
        self.weight = rng.uniform(0.5, 2, features).astype(dtype)
        self.bias = rng.standard_normal(features).astype(dtype)

    def batch_norm(self, n_threads: int = 1) -> list[Array]:
        """Return mean, variance, y, dx, dweight and dbias."""
        mean, variance = np.full(self.x.shape[2], np.nan), np.full(self.x.shape[2], np.nan)
        settings: dict[str, Any] = {"lengths": self.lengths, "n_threads": n_threads}
        workspace = _core.Workspace()
        number = _core.batch_norm_statistics(self.x, mean, variance, workspace, mask=self.mask, **settings)
        assert number == self.counts.sum()
        scale = 1 / np.sqrt(variance + EPS)
        y, dx = np.full_like(self.x, np.nan), np.full_like(self.x, np.nan)
        shift = self.bias.astype("f8")
        _core.batch_norm_forward(self.x, mean, scale * self.weight, shift, y, **settings)
        dw, db = np.ones_like(self.weight), np.ones_like(self.bias)
        _core.batch_norm_backward(
            self.dy, self.x, mean, scale, self.weight, number, dx, dw, db, workspace, mask=self.mask, **settings
        )
        return [mean, variance, y, dx, dw - 1, db - 1]

    def layer_norm(self, n_threads: int = 1) -> list[Array]:
        """Return y, dx, dweight and dbias."""
        y, dx = np.full_like(self.x, np.nan), np.full_like(self.x, np.nan)
        dw, db = np.ones_like(self.weight), np.ones_like(self.bias)
        settings: dict[str, Any] = {"lengths": self.lengths, "n_threads": n_threads}
        _core.layer_norm_forward(self.x, self.weight, self.bias, EPS, y, **settings)
        _core.layer_norm_backward(self.dy, self.x, self.weight, EPS, dx, dw, db, _core.Workspace(), **settings)
        return [y, dx, dw - 1, db - 1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_batch_norm_computes_the_reference(name: str, dtype: str, isa: str) -> None:
    problem = Problem(name, dtype)
    mean, variance, y, dx, dw, db = problem.batch_norm()
    valid, x, dy = problem.valid, problem.x.astype("f8"), problem.dy.astype("f8")
    counts = problem.counts[valid]  # the rows are the valid steps
    weight = problem.weight.astype("f8")
    of_y, of_mean, of_variance = reference.batch_norm_forward(x[valid], weight, problem.bias, EPS, counts)
    gradients = reference.batch_norm_backward(dy[valid], x[valid], weight, EPS, counts)
    np.testing.assert_allclose(mean, of_mean, rtol=1e-13)
    np.testing.assert_allclose(variance, of_variance, rtol=1e-12, atol=1e-30)
    assert relative_error(y[valid], of_y) <= TOLERANCE[dtype]
    if counts.sum() > 1:
        assert relative_error(dx[valid], gradients["x"]) <= TOLERANCE[dtype]
    else:
        np.testing.assert_allclose(dx, 0, atol=1e-30)
    assert relative_error(dw, gradients["weight"]) <= 4 * TOLERANCE[dtype] or name == "one"
    assert relative_error(db, gradients["bias"]) <= 4 * TOLERANCE[dtype]
    assert (y[~valid] == 0).all() and (dx[~valid] == 0).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_layer_norm_computes_the_reference(name: str, dtype: str, isa: str) -> None:
    problem = Problem(name, dtype)
    y, dx, dw, db = problem.layer_norm()
    valid, x, dy = problem.valid, problem.x.astype("f8"), problem.dy.astype("f8")
    weight = problem.weight.astype("f8")
    gradients = reference.feature_norm_backward(dy[valid], x[valid], weight, EPS)
    expected = reference.feature_norm_forward(x[valid], weight, problem.bias, EPS)
    assert relative_error(y[valid], expected) <= TOLERANCE[dtype]
    if problem.x.shape[2] > 1:
        assert relative_error(dx[valid], gradients["x"]) <= TOLERANCE[dtype]
        assert relative_error(dw, gradients["weight"]) <= 4 * TOLERANCE[dtype]
    else:
        assert (dx == 0).all() and (dw == 0).all()  # one feature is its own mean
    assert relative_error(db, gradients["bias"]) <= 4 * TOLERANCE[dtype]
    assert (y[~valid] == 0).all() and (dx[~valid] == 0).all()


def test_the_references_have_the_gradients_of_finite_differences() -> None:
    rng = np.random.default_rng(6)
    x, dy = rng.standard_normal((3, 5, 4)), rng.standard_normal((3, 5, 4))
    weight, bias = rng.uniform(0.5, 2, 4), rng.standard_normal(4)
    counts = rng.random((3, 5)) < 0.7
    arrays = {"x": x, "weight": weight, "bias": bias}

    def of_batch() -> float:
        return float((reference.batch_norm_forward(x, weight, bias, EPS, counts)[0] * dy).sum())

    def of_features() -> float:
        return float((reference.feature_norm_forward(x, weight, bias, EPS) * dy).sum())

    for f, gradients in (
        (of_batch, reference.batch_norm_backward(dy, x, weight, EPS, counts)),
        (of_features, reference.feature_norm_backward(dy, x, weight, EPS)),
    ):
        for key, array in arrays.items():
            assert relative_error(gradients[key], numerical_gradient(f, array)) <= FINITE_DIFFERENCE, key


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_the_same_bits_for_any_threads(name: str, dtype: str, isa: str) -> None:
    problem = Problem(name, dtype)
    for results in (problem.batch_norm, problem.layer_norm):
        first = results()
        for n_threads in (2, 3):
            for other, one in zip(results(n_threads), first, strict=True):
                np.testing.assert_array_equal(other, one)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_the_same_bits_on_every_instruction_set(name: str, dtype: str) -> None:
    found = {}
    before = _core.isa()
    try:
        for isa in _core.available_isas():
            _core.set_isa(isa)
            problem = Problem(name, dtype)
            # Batch normalisation has no fused multiply-adds, so that the portable kernels give the same bits.
            found[isa] = problem.batch_norm(), problem.layer_norm() if isa != "portable" else None
    finally:
        _core.set_isa(before)
    fused = [layer for _, layer in found.values() if layer is not None]
    for group in ([batch for batch, _ in found.values()], fused):
        for other in group[1:]:
            for a, b in zip(group[0], other, strict=True):
                np.testing.assert_array_equal(a, b)


def test_a_mean_far_from_0_does_not_drown_the_deviations() -> None:
    """Float32 holds 1e6 + k / 16 exactly; a variance computed from squares of float32 would be wrong by 100 %."""
    x = (1e6 + np.arange(32).reshape(2, 16, 1) / 16).astype("f4")
    mean, variance = np.zeros(1), np.zeros(1)
    _core.batch_norm_statistics(x, mean, variance, _core.Workspace())
    np.testing.assert_allclose(mean, 1e6 + 31 / 32, rtol=1e-15)
    np.testing.assert_allclose(variance, (np.arange(32) / 16).var(), rtol=1e-12)
    y = np.zeros_like(x)
    _core.batch_norm_forward(x, mean, 1 / np.sqrt(variance), np.zeros(1), y)
    np.testing.assert_allclose(y.std(), 1, rtol=1e-6)


@pytest.mark.parametrize(("dtype", "large"), [("float32", 2.0**100), ("float64", 2.0**700)])
def test_layer_norm_of_numbers_whose_squares_overflow(dtype: str, large: float) -> None:
    rng = np.random.default_rng(4)
    x = rng.standard_normal((1, 3, 20)).astype(dtype)
    y, of_large = np.zeros_like(x), np.zeros_like(x)
    _core.layer_norm_forward(x, None, None, 1e-30, y)
    _core.layer_norm_forward((x * large).astype(dtype), None, None, 1e-30, of_large)
    np.testing.assert_allclose(of_large, y, rtol=4 * float(np.finfo(dtype).eps))  # a power of 2 changes no digit


def test_what_does_not_fit_is_refused() -> None:
    problem = Problem("both", "float32")
    y, numbers = np.zeros_like(problem.x), np.zeros(70)
    with pytest.raises(TypeError, match="mask must be a C-contiguous boolean array"):
        _core.batch_norm_statistics(problem.x, numbers, numbers, _core.Workspace(), mask=np.ones((5, 17)))
    with pytest.raises(ValueError, match=r"mask has shape \(5, 16\), expected \(5, 17\)"):
        _core.batch_norm_statistics(problem.x, numbers, numbers, _core.Workspace(), mask=np.ones((5, 16), bool))
    with pytest.raises(ValueError, match=r"scale has shape \(69,\), expected \(70,\)"):
        _core.batch_norm_forward(problem.x, numbers, numbers[1:].copy(), numbers, y)
    with pytest.raises(ValueError, match="eps is 0.0, expected a positive number"):
        _core.layer_norm_forward(problem.x, None, None, 0.0, y)
    with pytest.raises(ValueError, match=r"lengths\[0\] is 18, expected 0 to 17"):
        _core.layer_norm_forward(problem.x, None, None, EPS, y, lengths=np.full(5, 18))
