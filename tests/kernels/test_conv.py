"""The kernels of convolutions against the reference, on every instruction set."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from helpers import FINITE_DIFFERENCE, TOLERANCE, numerical_gradient, relative_error

from fastlstm import _core, reference

Array = np.ndarray


class Case(NamedTuple):
    batch: int
    time: int
    features: int
    filters: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    padding: Any = "valid"
    lengths: Any = None

    @property
    def window(self) -> dict[str, Any]:
        return {"stride": self.stride, "dilation": self.dilation, "groups": self.groups, "padding": self.padding}

    @property
    def zeros(self) -> Any:
        if self.padding == "same":
            return None
        return reference.conv_padding(self.time, self.kernel, self.stride, self.dilation, self.padding)

    def steps(self, length: int) -> int:
        one_feature = np.zeros((1, length, 1)), np.zeros((1, 1, self.kernel))
        return reference.conv_forward(*one_feature, **{**self.window, "groups": 1}).shape[1]


CASES = {
    "one": Case(1, 1, 1, 1, 1),
    "valid": Case(3, 20, 2, 5, 3),
    "strided": Case(2, 60, 12, 70, 7, 2, 1, 1, (3, 3), [60, 41]),
    "groups": Case(4, 33, 6, 9, 4, 3, 2, 3, "same", [33, 0, 29, 1]),
    "causal": Case(5, 17, 4, 4, 3, 1, 2, 4, "causal", [17, 1, 3, 9, 2]),
    "dilated beyond the stride": Case(2, 40, 3, 33, 5, 4, 6, 1, (2, 7)),
    "wide": Case(3, 9, 130, 17, 2, 1, 1, 1, "same", [9, 1, 4]),
    "several blocks": Case(2, 700, 2, 3, 4, 1, 1, 1, (1, 2), [700, 333]),
    "stride beyond the window": Case(2, 30, 2, 6, 2, 5, 1, 2, "valid", [30, 2]),
    "long same": Case(2, 19, 3, 4, 9, 2, 3, 1, "same", [19, 4]),
}


class Problem:
    """A convolution with its results, on the active instruction set."""

    def __init__(self, case: Case, dtype: str) -> None:
        rng = np.random.default_rng(7)
        shape = case.filters, case.features // case.groups, case.kernel
        self.case = case
        self.lengths = None if case.lengths is None else np.array(case.lengths)
        self.ends = np.full(case.batch, case.time) if self.lengths is None else self.lengths
        self.x = rng.standard_normal((case.batch, case.time, case.features)).astype(dtype)
        self.weight = rng.standard_normal(shape).astype(dtype)
        self.bias = rng.standard_normal(case.filters).astype(dtype)
        self.counts = [case.steps(end) for end in self.ends]
        self.dy = rng.standard_normal((case.batch, max(self.counts) + 1, case.filters)).astype(dtype)
        for b, end in enumerate(self.ends):
            self.x[b, end:] = np.nan  # padding is never read
            self.dy[b, self.counts[b] :] = np.nan

    def window(self) -> dict[str, Any]:
        return {**self.case.window, "padding": self.case.zeros, "lengths": self.lengths}

    def forward(self, n_threads: int = 1) -> Array:
        y = np.full_like(self.dy, np.nan)
        _core.conv_forward(self.x, self.weight, self.bias, y, _core.Workspace(), n_threads=n_threads, **self.window())
        return y

    def backward(self, n_threads: int = 1) -> tuple[Array, Array, Array]:
        dx, dw, db = np.full_like(self.x, np.nan), np.ones_like(self.weight), np.ones_like(self.bias)
        _core.conv_backward(
            self.dy, self.x, self.weight, dx, dw, db, _core.Workspace(), n_threads=n_threads, **self.window()
        )
        return dx, dw - 1, db - 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_the_kernels_compute_the_reference(name: str, dtype: str, isa: str) -> None:
    case = CASES[name]
    problem = Problem(case, dtype)
    y = problem.forward()
    dx, dw, db = problem.backward()
    weight, total_w, total_b = problem.weight.astype("f8"), np.zeros(problem.weight.shape), np.zeros(case.filters)
    for b, (end, count) in enumerate(zip(problem.ends, problem.counts, strict=True)):
        one, of_one = problem.x[b : b + 1, :end].astype("f8"), problem.dy[b : b + 1, :count].astype("f8")
        if count:
            expected = reference.conv_forward(one, weight, problem.bias, **case.window)[0]
            gradients = reference.conv_backward(of_one, one, weight, **case.window)
            assert relative_error(y[b, :count], expected) <= TOLERANCE[dtype]
            assert relative_error(dx[b, :end], gradients["x"][0]) <= TOLERANCE[dtype]
            total_w += gradients["weight"]
            total_b += gradients["bias"]
        assert (y[b, count:] == 0).all() and (dx[b, end:] == 0).all()
    assert relative_error(dw, total_w) <= 4 * TOLERANCE[dtype]  # it has been added to ones
    assert relative_error(db, total_b) <= 4 * TOLERANCE[dtype]


@pytest.mark.parametrize("name", ["strided", "groups", "dilated beyond the stride", "several blocks"])
def test_the_reference_has_the_gradients_of_finite_differences(name: str) -> None:
    case = CASES[name]._replace(time=24, filters=6, lengths=None)
    rng = np.random.default_rng(8)
    x = rng.standard_normal((case.batch, case.time, case.features))
    weight = rng.standard_normal((case.filters, case.features // case.groups, case.kernel))
    bias = rng.standard_normal(case.filters)
    dy = rng.standard_normal(reference.conv_forward(x, weight, bias, **case.window).shape)
    gradients = reference.conv_backward(dy, x, weight, **case.window)

    def f() -> float:
        return float((reference.conv_forward(x, weight, bias, **case.window) * dy).sum())

    for key, array in (("x", x), ("weight", weight), ("bias", bias)):
        assert relative_error(gradients[key], numerical_gradient(f, array)) <= FINITE_DIFFERENCE, key


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_the_same_bits_for_any_threads_and_any_batch(name: str, dtype: str, isa: str) -> None:
    problem = Problem(CASES[name], dtype)
    y, gradients = problem.forward(), problem.backward()
    for n_threads in (2, 3):
        np.testing.assert_array_equal(problem.forward(n_threads), y)
        for other, one in zip(problem.backward(n_threads), gradients, strict=True):
            np.testing.assert_array_equal(other, one)
    for b in range(problem.case.batch):
        alone = Problem(problem.case, dtype)
        alone.x, alone.dy = problem.x[b : b + 1].copy(), problem.dy[b : b + 1].copy()
        alone.lengths = None if problem.lengths is None else problem.lengths[b : b + 1].copy()
        np.testing.assert_array_equal(alone.forward()[0], y[b])
        np.testing.assert_array_equal(alone.backward()[0][0], gradients[0][b])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_the_same_bits_on_every_fused_instruction_set(name: str, dtype: str) -> None:
    found = {}
    before = _core.isa()
    try:
        for isa in _core.available_isas():
            if isa == "portable":
                continue  # it rounds a multiply-add twice
            _core.set_isa(isa)
            problem = Problem(CASES[name], dtype)
            found[isa] = [problem.forward(), *problem.backward()]
    finally:
        _core.set_isa(before)
    first, *others = found.values()
    for other in others:
        for a, b in zip(first, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_gradients_that_are_not_wanted() -> None:
    problem = Problem(CASES["strided"], "float32")
    dx, _, db = problem.backward()
    only = np.full_like(problem.x, np.nan)
    args = problem.dy, problem.x, problem.weight
    _core.conv_backward(*args, only, None, None, _core.Workspace(), **problem.window())
    np.testing.assert_array_equal(only, dx)
    only_b = np.ones_like(problem.bias)
    _core.conv_backward(*args, None, None, only_b, _core.Workspace(), **problem.window())
    np.testing.assert_array_equal(only_b - 1, db)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": 5}, "5 groups do not divide 12 features and 70 filters"),
        ({"groups": 0}, "expected 1 or more of each"),
        ({"dilation": 2**31}, "spans more than 2147483647 steps"),
        ({"stride": 0}, "got stride 0"),
        ({"padding": (-1, 0)}, "got stride 2 and padding"),
        ({"padding": (30, 30)}, "y has 31 steps, fewer than series 0 gives"),
        ({"lengths": np.array([61, 1])}, r"lengths\[0\] is 61, expected 0 to 60"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    problem = Problem(CASES["strided"], "float32")
    y = np.zeros_like(problem.dy)
    with pytest.raises(ValueError, match=message):
        _core.conv_forward(
            problem.x, problem.weight, problem.bias, y, _core.Workspace(), **{**problem.window(), **change}
        )
    with pytest.raises(ValueError, match=r"weight has shape \(3, 4\), expected \(filters"):
        _core.conv_forward(problem.x, np.zeros((3, 4), "f4"), None, y, _core.Workspace())
    with pytest.raises(TypeError, match="weight must be a C-contiguous, aligned array of dtype float32"):
        _core.conv_forward(problem.x, problem.weight.astype("f8"), None, y, _core.Workspace(), **problem.window())
