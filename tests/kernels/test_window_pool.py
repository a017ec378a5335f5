"""The kernels of pooling over windows against the reference, on every instruction set."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from helpers import FINITE_DIFFERENCE, TOLERANCE, numerical_gradient, relative_error

from fastlstm import _core, reference

Array = np.ndarray


class Case(NamedTuple):
    method: str
    batch: int
    time: int
    features: int
    kernel: int
    stride: int = 1
    padding: Any = "valid"
    lengths: Any = None
    count_include_pad: bool = False

    @property
    def window(self) -> dict[str, Any]:
        return {"stride": self.stride, "padding": self.padding, "count_include_pad": self.count_include_pad}

    @property
    def zeros(self) -> Any:
        return None if self.padding == "same" else reference.conv_padding(9, self.kernel, padding=self.padding)


CASES = {
    "one": Case("max", 1, 1, 1, 1),
    "max": Case("max", 3, 20, 5, 3, 3),
    "mean": Case("mean", 3, 20, 17, 3, 3),
    "max same": Case("max", 4, 33, 31, 4, 2, "same", [33, 0, 29, 1]),
    "mean same": Case("mean", 4, 33, 70, 4, 3, "same", [33, 0, 29, 1]),
    "max causal": Case("max", 2, 17, 130, 5, 1, "causal", [17, 3]),
    "mean causal": Case("mean", 2, 17, 9, 5, 1, "causal", [17, 3]),
    "zeros count": Case("mean", 2, 40, 3, 5, 2, (2, 4), [40, 7], True),
    "zeros do not count": Case("mean", 2, 40, 3, 5, 2, (2, 4), [40, 7]),
    "beyond the window": Case("max", 2, 30, 6, 2, 5, "valid", [30, 2]),
}


class Problem:
    """A pooling with its results, on the active instruction set."""

    def __init__(self, case: Case, dtype: str) -> None:
        rng = np.random.default_rng(7)
        self.case = case
        self.lengths = None if case.lengths is None else np.array(case.lengths)
        self.ends = np.full(case.batch, case.time) if self.lengths is None else self.lengths
        # Few different numbers, so that windows hold a maximum twice.
        self.x = rng.integers(-4, 5, (case.batch, case.time, case.features)).astype(dtype) / 3
        self.counts = [self.expected(b).shape[1] for b in range(case.batch)]
        self.dy = rng.standard_normal((case.batch, max(self.counts) + 1, case.features)).astype(dtype)
        for b, end in enumerate(self.ends):
            self.x[b, end:] = np.nan  # padding is never read
            self.dy[b, self.counts[b] :] = np.nan

    def expected(self, b: int) -> Array:
        one = self.x[b : b + 1, : self.ends[b]].astype("f8")
        if not len(one[0]):
            return np.zeros((1, 0, self.case.features))
        return reference.window_pool_forward(one, self.case.method, self.case.kernel, **self.case.window)

    def window(self) -> dict[str, Any]:
        return {
            **self.case.window,
            "padding": self.case.zeros,
            "kernel": self.case.kernel,
            "lengths": self.lengths,
        }

    def forward(self, n_threads: int = 1) -> Array:
        y = np.full_like(self.dy, np.nan)
        _core.window_pool_forward(self.case.method, self.x, y, n_threads=n_threads, **self.window())
        return y

    def backward(self, n_threads: int = 1) -> Array:
        dx = np.full_like(self.x, np.nan)
        _core.window_pool_backward(self.case.method, self.dy, self.x, dx, n_threads=n_threads, **self.window())
        return dx


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_the_kernels_compute_the_reference(name: str, dtype: str, isa: str) -> None:
    case = CASES[name]
    problem = Problem(case, dtype)
    y, dx = problem.forward(), problem.backward()
    for b, (end, count) in enumerate(zip(problem.ends, problem.counts, strict=True)):
        if count:
            one, of_one = problem.x[b : b + 1, :end].astype("f8"), problem.dy[b : b + 1, :count].astype("f8")
            gradient = reference.window_pool_backward(of_one, one, case.method, case.kernel, **case.window)
            assert relative_error(y[b, :count], problem.expected(b)[0]) <= TOLERANCE[dtype]
            assert relative_error(dx[b, :end], gradient[0]) <= TOLERANCE[dtype]
        assert (y[b, count:] == 0).all() and (dx[b, end:] == 0).all()


@pytest.mark.parametrize("name", ["max same", "mean same", "zeros count", "beyond the window"])
def test_the_reference_has_the_gradients_of_finite_differences(name: str) -> None:
    case = CASES[name]
    rng = np.random.default_rng(8)
    x = rng.standard_normal((2, 24, 3))
    dy = rng.standard_normal(reference.window_pool_forward(x, case.method, case.kernel, **case.window).shape)
    gradient = reference.window_pool_backward(dy, x, case.method, case.kernel, **case.window)

    def f() -> float:
        return float((reference.window_pool_forward(x, case.method, case.kernel, **case.window) * dy).sum())

    assert relative_error(gradient, numerical_gradient(f, x)) <= FINITE_DIFFERENCE


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_the_same_bits_for_any_threads_any_batch_and_every_instruction_set(name: str, dtype: str) -> None:
    first: tuple[Array, Array] | None = None
    before = _core.isa()
    try:
        for isa in _core.available_isas():
            _core.set_isa(isa)
            problem = Problem(CASES[name], dtype)
            for n_threads in (1, 2, 3):
                results = problem.forward(n_threads), problem.backward(n_threads)
                first = results if first is None else first
                np.testing.assert_array_equal(results[0], first[0])
                np.testing.assert_array_equal(results[1], first[1])
            for b in range(problem.case.batch):
                alone = Problem(problem.case, dtype)
                alone.x, alone.dy = problem.x[b : b + 1].copy(), problem.dy[b : b + 1].copy()
                alone.lengths = None if problem.lengths is None else problem.lengths[b : b + 1].copy()
                np.testing.assert_array_equal(alone.forward()[0], results[0][b])
                np.testing.assert_array_equal(alone.backward()[0], results[1][b])
    finally:
        _core.set_isa(before)


def test_nan_is_a_maximum(isa: str) -> None:
    x = np.array([1.0, np.nan, 3.0, 2.0, 0.0], "f4").reshape(1, 5, 1)
    y = np.zeros((1, 4, 1), "f4")
    _core.window_pool_forward("max", x, y, kernel=2)
    np.testing.assert_array_equal(y.ravel(), [np.nan, np.nan, 3, 2])
    dx = np.zeros_like(x)
    _core.window_pool_backward("max", np.arange(1.0, 5.0, dtype="f4").reshape(y.shape), x, dx, kernel=2)
    assert dx.ravel().tolist() == [0, 3, 3, 4, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel": 0}, "got kernel 0 and stride 3"),
        ({"stride": 0}, "got kernel 3 and stride 0"),
        ({"padding": (3, 0)}, "expected None or two numbers of steps below the kernel, 3"),
        ({"stride": 1}, "y has 7 steps, fewer than series 0 gives"),
        ({"lengths": np.array([21, 1, 1])}, r"lengths\[0\] is 21, expected 0 to 20"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    problem = Problem(CASES["max"], "float32")
    with pytest.raises(ValueError, match=message):
        _core.window_pool_forward("max", problem.x, np.zeros_like(problem.dy), **{**problem.window(), **change})
    with pytest.raises(ValueError, match="the kind is 'last', expected 'mean' or 'max'"):
        _core.window_pool_forward("last", problem.x, np.zeros_like(problem.dy), **problem.window())
