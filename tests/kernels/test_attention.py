"""The kernels of attention over a memory against the reference, on every instruction set."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from helpers import FINITE_DIFFERENCE, TOLERANCE, numerical_gradient, relative_error

from fastlstm import _core, reference

Array = np.ndarray


class Case(NamedTuple):
    batch: int
    queries: int
    time: int
    key_size: int
    width: int
    lengths: Any = None
    query_lengths: Any = None


CASES = {
    "one": Case(1, 1, 1, 1, 1),
    "small": Case(3, 2, 5, 3, 4),
    "lanes": Case(2, 5, 17, 16, 32, [17, 3]),
    "beyond lanes": Case(4, 7, 33, 17, 35, [33, 0, 1, 20], [7, 3, 0, 1]),
    "wide": Case(2, 9, 10, 130, 67, [10, 9], [4, 9]),
    "many steps": Case(2, 3, 300, 8, 9, [300, 257]),
}


class Problem:
    """An attention with its results, on the active instruction set."""

    def __init__(self, case: Case, dtype: str) -> None:
        rng = np.random.default_rng(3)
        self.query = rng.standard_normal((case.batch, case.queries, case.key_size)).astype(dtype)
        self.keys = rng.standard_normal((case.batch, case.time, case.key_size)).astype(dtype)
        self.values = rng.standard_normal((case.batch, case.time, case.width)).astype(dtype)
        self.dy = rng.standard_normal((case.batch, case.queries, case.width)).astype(dtype)
        self.lengths = None if case.lengths is None else np.array(case.lengths)
        self.query_lengths = None if case.query_lengths is None else np.array(case.query_lengths)
        self.ends = np.full(case.batch, case.time) if self.lengths is None else self.lengths
        self.stops = np.full(case.batch, case.queries) if self.query_lengths is None else self.query_lengths
        for b in range(case.batch):  # padding is never read
            self.keys[b, self.ends[b] :] = self.values[b, self.ends[b] :] = np.nan
            self.query[b, self.stops[b] :] = self.dy[b, self.stops[b] :] = np.nan

    def row(self, b: int) -> Problem:
        """Return the problem of one case alone."""
        alone = Problem.__new__(Problem)
        alone.__dict__.update({k: v if v is None else v[b : b + 1].copy() for k, v in self.__dict__.items()})
        return alone

    def options(self, n_threads: int) -> dict[str, Any]:
        return {"lengths": self.lengths, "query_lengths": self.query_lengths, "n_threads": n_threads}

    def run(self, n_threads: int = 1) -> dict[str, Array]:
        scores = (*self.query.shape[:2], self.keys.shape[1])
        weights, y = np.full(scores, np.nan, self.query.dtype), np.full_like(self.dy, np.nan)
        _core.attention_forward(self.query, self.keys, self.values, weights, y, **self.options(n_threads))
        lent = np.full(scores, np.nan, self.query.dtype)
        dq, dk, dv = (np.full_like(one, np.nan) for one in (self.query, self.keys, self.values))
        _core.attention_backward(
            self.dy, self.query, self.keys, self.values, weights, lent, dq, dk, dv, **self.options(n_threads)
        )
        return {"y": y, "weights": weights, "query": dq, "keys": dk, "values": dv}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_the_kernels_compute_the_reference(name: str, dtype: str, isa: str) -> None:
    problem = Problem(CASES[name], dtype)
    found = problem.run()
    for b, (end, stop) in enumerate(zip(problem.ends, problem.stops, strict=True)):
        q, k, v, dy = (
            one[b : b + 1, :valid].astype("f8")
            for one, valid in ((problem.query, stop), (problem.keys, end), (problem.values, end), (problem.dy, stop))
        )
        if end and stop:
            y, weights = reference.attention_forward(q, k, v)
            expected = {"y": y, "weights": weights, **reference.attention_backward(dy, q, k, v, weights)}
            for key, value in expected.items():
                of_case = found[key][b, : value.shape[1]]
                of_case = of_case[:, :end] if key == "weights" else of_case
                assert relative_error(of_case, value[0]) <= TOLERANCE[dtype], key
        for key in ("y", "weights", "query"):
            assert (found[key][b, stop:] == 0).all()
        assert (found["weights"][b, :, end:] == 0).all()
        assert (found["keys"][b, end:] == 0).all() and (found["values"][b, end:] == 0).all()
        if not end:
            assert (found["y"][b] == 0).all() and (found["query"][b] == 0).all()


def test_the_reference_has_the_gradients_of_finite_differences() -> None:
    rng = np.random.default_rng(4)
    arrays = {
        "query": rng.standard_normal((2, 3, 4)),
        "keys": rng.standard_normal((2, 5, 4)),
        "values": rng.standard_normal((2, 5, 6)),
    }
    lengths, dy = np.array([5, 2]), rng.standard_normal((2, 3, 6))

    def f() -> float:
        return float((reference.attention_forward(*arrays.values(), lengths)[0] * dy).sum())

    _, weights = reference.attention_forward(*arrays.values(), lengths)
    gradients = reference.attention_backward(dy, *arrays.values(), weights)
    for key, array in arrays.items():
        assert relative_error(gradients[key], numerical_gradient(f, array)) <= FINITE_DIFFERENCE, key


def test_a_case_without_memory_gives_zeros_in_the_reference() -> None:
    y, weights = reference.attention_forward(np.ones((1, 2, 3)), np.ones((1, 4, 3)), np.ones((1, 4, 5)), np.array([0]))
    assert (y == 0).all() and (weights == 0).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_the_same_bits_for_any_threads_batch_and_number_of_queries(name: str, dtype: str, isa: str) -> None:
    problem = Problem(CASES[name], dtype)
    found = problem.run()
    for n_threads in (2, 3):
        for key, value in problem.run(n_threads).items():
            np.testing.assert_array_equal(value, found[key])
    for b in range(len(problem.query)):
        for key, value in problem.row(b).run().items():
            np.testing.assert_array_equal(value[0], found[key][b])
    for u in range(problem.query.shape[1]):  # as a decoder that runs step by step
        weights = np.empty((len(problem.query), 1, problem.keys.shape[1]), dtype)
        y = np.empty((len(problem.query), 1, problem.values.shape[2]), dtype)
        one = np.nan_to_num(problem.query[:, u : u + 1])
        _core.attention_forward(one, problem.keys, problem.values, weights, y, lengths=problem.lengths)
        counts = problem.stops > u
        np.testing.assert_array_equal(y[counts, 0], found["y"][counts, u])


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
            found[isa] = Problem(CASES[name], dtype).run()
    finally:
        _core.set_isa(before)
    first, *others = found.values()
    for other in others:
        for key, value in other.items():
            np.testing.assert_array_equal(value, first[key])


def test_arrays_that_do_not_fit_are_refused() -> None:
    problem = Problem(CASES["small"], "float32")
    weights, y = np.empty((3, 2, 5), "f4"), np.empty((3, 2, 4), "f4")
    with pytest.raises(ValueError, match=r"keys has shape \(3, 4, 3\), expected \(3, 5, 3\)"):
        _core.attention_forward(problem.query, problem.keys[:, :4].copy(), problem.values, weights, y)
    with pytest.raises(ValueError, match=r"lengths\[0\] is 6, expected 0 to 5"):
        _core.attention_forward(problem.query, problem.keys, problem.values, weights, y, lengths=np.array([6, 1, 1]))
    with pytest.raises(ValueError, match=r"y has shape"):
        _core.attention_forward(problem.query, problem.keys, problem.values, weights, y[:, :1].copy())
