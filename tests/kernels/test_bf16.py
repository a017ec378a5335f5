"""Kernels whose operands have 16 bits against the reference, in each way of computing their products."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from helpers import Shape, numerical_gradient, relative_error

from fastlstm import _core, reference
from fastlstm.cell import Cell, CellWeights

Array = np.ndarray[Any, Any]

WAYS = ["wide", "dots", "tiles"]

# Sums of some hundred products, in another order.
_CLOSE = 5e-6
# Numbers that differ in the last place may round to neighbours, which are 1/256 apart: of single elements of h and dz.
_NEIGHBOURS = 4e-3


# Odd sizes, sizes around the chunks of 32 terms and the tiles of 16 and 32 rows of AMX; few rows, whose products with x
# are computed in advance; more pairs than are summed in one go.
SHAPES = [
    Shape(1, 1, 1, 1),
    Shape(3, 2, 5, 7),
    Shape(1, 40, 33, 20),
    Shape(2, 17, 17, 33),
    Shape(7, 5, 6, 50),
    Shape(15, 3, 31, 16),
    Shape(16, 3, 32, 32),
    Shape(17, 4, 65, 40),
    Shape(33, 3, 2, 65),
    Shape(70, 9, 40, 48),
    Shape(300, 2, 3, 17),
]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, isa: str) -> Iterator[str]:
    """Compute in one way, if the processor has it."""
    _core.choose_bf16(request.param)
    if _core.bf16_way() != request.param:
        _core.choose_bf16("tiles")
        pytest.skip(f"{isa} on this processor does not have {request.param}")
    yield request.param
    _core.choose_bf16("tiles")


class Problem:
    """A layer of random weights, data and gradients, and what the kernels and the reference make of them."""

    def __init__(
        self, shape: Shape, *, cell: Cell | None = None, lengths: bool = False, reverse: bool = False, **sizes: Any
    ) -> None:
        rng = np.random.default_rng(sum(shape))
        self.cell, self.reverse = cell, reverse
        hidden, gates = shape.hidden, 4 if cell is None else cell.gates
        out = sizes.get("projection") or hidden

        def draw(*size: int, by: float = 1.0) -> Array:
            return (by * rng.standard_normal(size)).astype("f4")

        self.weights = {
            "weight_ih": draw(gates * hidden, shape.inputs, by=shape.inputs**-0.5),
            "weight_hh": draw(gates * hidden, out, by=hidden**-0.5),
            "bias_ih": draw(gates * hidden, by=0.3),
            "bias_hh": draw(gates * hidden, by=0.3),
        }
        self.cell_weights: dict[str, Array] = {}
        if sizes.get("projection"):
            self.cell_weights["weight_hr"] = draw(out, hidden, by=hidden**-0.5)
        if sizes.get("peepholes"):
            self.cell_weights["peepholes"] = draw(gates - 1, hidden, by=0.5)
        if cell is not None and cell.layer_norm:
            self.cell_weights |= {"gain_ih": draw(gates * hidden), "gain_hh": draw(gates * hidden)}
            self.cell_weights |= {"gain_c": draw(hidden), "bias_c": draw(hidden)}
        self.x = draw(*shape[:3])
        self.h0, self.c0 = draw(shape.batch, out, by=0.5), draw(shape.batch, hidden)
        self.dy = draw(shape.batch, shape.time, out)
        self.dhn, self.dcn = draw(shape.batch, out), draw(shape.batch, hidden)
        self.lengths = rng.integers(0, shape.time + 1, shape.batch) if lengths else None
        if self.lengths is not None:
            self.lengths[0] = shape.time

    def rows(self, chosen: slice) -> dict[str, Any]:
        """Return the arguments of a pass over some cases."""
        return {
            "x": self.x[chosen],
            **self.weights,
            "lengths": None if self.lengths is None else self.lengths[chosen],
            "h0": self.h0[chosen],
            "c0": self.c0[chosen],
            "reverse": self.reverse,
            "cell": self.cell,
            "cell_weights": CellWeights(**self.cell_weights) if self.cell is not None else None,
            "seed": 5,
            "first_row": chosen.start or 0,
        }

    def kernel(
        self, *, n_threads: int = 1, recompute_every: int = 0, chosen: slice = slice(None), training: bool = True
    ) -> dict[str, Array]:
        lstm = _core.LSTMPass()
        out = {
            "y": np.full_like(self.dy[chosen], 7),
            "hn": np.full_like(self.dhn[chosen], 7),
            "cn": np.full_like(self.dcn[chosen], 7),
        }
        lstm.forward(
            **self.rows(chosen),
            **out,
            training=training,
            recompute_every=recompute_every,
            n_threads=n_threads,
            bf16=True,
        )
        if not training:
            return out
        for name, value in {**self.weights, **self.cell_weights}.items():
            out["d" + name] = np.zeros_like(value)
        for name in ("x", "h0", "c0"):
            out["d" + name] = np.full_like(getattr(self, name)[chosen], 7)
        of_cell = CellWeights(**{name: out["d" + name] for name in self.cell_weights})
        lstm.backward(
            dy=self.dy[chosen],
            dhn=self.dhn[chosen],
            dcn=self.dcn[chosen],
            n_threads=n_threads,
            d_cell_weights=of_cell,
            **{name: out[name] for name in ("dx", "dh0", "dc0")},
            **{"d" + name: out["d" + name] for name in self.weights},
        )
        return out

    def reference(self) -> dict[str, Array]:
        given = self.rows(slice(None))
        del given["first_row"]
        if self.cell is None:
            del given["cell"], given["cell_weights"]
        y, hn, cn, trace = reference.lstm_forward(**given, training=True, precision="bfloat16")
        gradients = reference.lstm_backward(trace, self.dy, self.dhn, self.dcn)
        bias = gradients.pop("bias")
        gradients |= {"bias_ih": bias, "bias_hh": bias}
        return {"y": y, "hn": hn, "cn": cn, **{"d" + name: value for name, value in gradients.items()}}


def check(problem: Problem, bound: float) -> None:
    """Compare the kernels with the reference."""
    expected = problem.reference()
    for name, got in problem.kernel(n_threads=2).items():
        assert relative_error(got, expected[name]) <= bound, name


def test_rounding_is_to_the_nearest_halves_to_even() -> None:
    x = np.array([1, 1 + 2.0**-8, 1 + 3 * 2.0**-8, 1 + 2.0**-8 + 2.0**-20, -3.14159, np.inf, np.nan, 3.4e38], "f4")
    expected = np.array([1, 1, 1 + 2.0**-6, 1 + 2.0**-7, -3.140625, np.inf, np.nan, np.inf], "f4")
    np.testing.assert_array_equal(reference.bfloat16(x), expected)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("lengths", [False, True], ids=["full", "lengths"])
def test_kernels_equal_the_reference(way: str, shape: Shape, lengths: bool) -> None:
    check(Problem(shape, lengths=lengths, reverse=lengths), _NEIGHBOURS)


@pytest.mark.parametrize("shape", [Shape(9, 1, 40, 24), Shape(40, 1, 7, 70)], ids=str)
def test_one_step_equals_the_reference_but_for_the_order_of_sums(way: str, shape: Shape) -> None:
    problem = Problem(shape)
    got, expected = problem.kernel(), problem.reference()
    for name in ("y", "hn", "cn", "dbias_ih", "dc0"):  # no rounded number depends on a computed one
        assert relative_error(got[name], expected[name]) <= _CLOSE, name


CELLS: dict[str, tuple[Cell, dict[str, Any]]] = {
    "projection": (Cell(), {"projection": 6}),
    "peepholes": (Cell(), {"peepholes": True}),
    "coupled": (Cell(coupled=True), {}),
    "norm": (Cell(layer_norm=True), {}),
    "masks": (Cell(recurrent_dropout=0.3, variational_dropout=0.4, zoneout_h=0.2, zoneout_c=0.1), {}),
    "all": (Cell(coupled=True, layer_norm=True, zoneout_h=0.2, variational_dropout=0.3), {"projection": 5}),
}


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("shape", [Shape(3, 4, 5, 20), Shape(20, 3, 33, 18)], ids=str)
def test_other_cells_equal_the_reference(way: str, name: str, shape: Shape) -> None:
    cell, sizes = CELLS[name]
    check(Problem(shape, cell=cell, lengths=True, **sizes), _NEIGHBOURS * (3 if cell.layer_norm else 1))


@pytest.mark.parametrize("name", ["plain", *CELLS])
def test_bits_depend_neither_on_threads_nor_on_rows_nor_on_recomputation(way: str, name: str) -> None:
    cell, sizes = CELLS.get(name, (None, {}))
    problem = Problem(Shape(37, 11, 9, 40), cell=cell, lengths=True, **sizes)
    expected = problem.kernel()
    for other in (problem.kernel(n_threads=2), problem.kernel(n_threads=3), problem.kernel(recompute_every=7)):
        for key, value in expected.items():
            assert np.array_equal(other[key], value), key
    for chosen in (slice(0, 1), slice(3, 20)):
        part = problem.kernel(chosen=chosen, n_threads=2)
        for key in ("y", "hn", "cn", "dx", "dh0", "dc0"):
            assert np.array_equal(part[key], expected[key][chosen]), key


@pytest.mark.parametrize("batch", [1, 3, 6, 30])
def test_by_units_and_by_rows_give_the_same_bits(way: str, batch: int) -> None:
    problem = Problem(Shape(batch, 21, 70, 150))
    expected = problem.kernel()
    for key, value in problem.kernel(n_threads=2).items():
        assert np.array_equal(value, expected[key]), key


def test_wide_and_dots_give_the_same_bits_on_all_instruction_sets() -> None:
    results = []
    before = _core.isa()
    try:
        for isa, way in (("avx2", "wide"), ("avx512", "wide"), ("avx512", "dots"), ("neon", "wide")):
            if isa not in _core.available_isas():
                continue
            _core.set_isa(isa)
            _core.choose_bf16(way)
            if _core.bf16_way() == way:
                results.append(Problem(Shape(19, 7, 33, 40), lengths=True).kernel())
    finally:
        _core.set_isa(before)
        _core.choose_bf16("tiles")
    for other in results[1:]:
        for key, value in results[0].items():
            assert np.array_equal(other[key], value), key


def test_streaming_gives_the_bits_of_a_whole_pass(way: str) -> None:
    problem = Problem(Shape(2, 9, 20, 40))
    whole = problem.kernel(training=False)
    h, c = problem.h0, problem.c0
    for t in range(9):
        given = {**problem.rows(slice(None)), "x": problem.x[:, t : t + 1], "h0": h, "c0": c}
        y, h, c = np.empty((2, 1, 40), "f4"), np.empty_like(h), np.empty_like(c)
        _core.LSTMPass().forward(**given, y=y, hn=h, cn=c, bf16=True)
        assert np.array_equal(y[:, 0], whole["y"][:, t])
    assert np.array_equal(c, whole["cn"])


@pytest.mark.parametrize("name", ["bias_ih", "c0"])
def test_float32_parts_have_the_gradients_of_finite_differences(name: str) -> None:
    # Of one step: what the biases and c0 change is rounded no more. In float64, so that differences are exact enough.
    problem = Problem(Shape(4, 1, 5, 6))
    given = {key: value.astype("f8") for key, value in {**problem.weights, "h0": problem.h0, "c0": problem.c0}.items()}
    x, dy, dcn = problem.x.astype("f8"), problem.dy.astype("f8"), problem.dcn.astype("f8")

    def loss() -> float:
        y, _, cn, _ = reference.lstm_forward(x, **given, precision="bfloat16")
        return float((y * dy).sum() + (cn * dcn).sum())

    *_, trace = reference.lstm_forward(x, **given, precision="bfloat16")
    gradient = reference.lstm_backward(trace, dy, None, dcn)["bias" if name == "bias_ih" else name]
    assert relative_error(gradient, numerical_gradient(loss, given[name])) <= 1e-7  # rounding of the differences


@pytest.mark.parametrize("shape", [Shape(0, 3, 2, 5), Shape(3, 0, 2, 5), Shape(0, 0, 1, 1)], ids=str)
@pytest.mark.parametrize("n_threads", [1, 2])
def test_no_rows_and_no_steps(way: str, shape: Shape, n_threads: int) -> None:
    problem = Problem(shape)
    got, expected = problem.kernel(n_threads=n_threads), problem.reference()
    for name, value in got.items():
        assert np.array_equal(value, expected[name]), name


def test_rows_without_steps(way: str) -> None:
    problem = Problem(Shape(6, 4, 3, 20))
    problem.lengths = np.zeros(6, np.int64)
    for n_threads in (1, 2):
        got = problem.kernel(n_threads=n_threads)
        assert np.array_equal(got["hn"], problem.h0) and np.array_equal(got["cn"], problem.c0)
        assert not got["y"].any() and not got["dweight_hh"].any() and not got["dx"].any()


def test_infinity_and_nan_stay_in_their_rows(way: str) -> None:
    problem = Problem(Shape(5, 4, 3, 20))
    clean = problem.kernel(training=False)["y"]
    problem.x[1, 2, 0], problem.x[3, 1, 1] = np.nan, np.inf
    y = problem.kernel(training=False)["y"]
    assert np.isnan(y[1, 2:]).all() and np.array_equal(y[1, :2], clean[1, :2])
    assert np.array_equal(y[[0, 2, 4]], clean[[0, 2, 4]])


@pytest.mark.parametrize("dtype", ["f8"])
def test_float64_is_refused(dtype: str) -> None:
    problem = Problem(Shape(2, 2, 2, 2))
    with pytest.raises(TypeError, match="16 bits belong to float32"):
        _core.LSTMPass().forward(
            problem.x.astype(dtype), *(v.astype(dtype) for v in problem.weights.values()), bf16=True
        )
