"""Non-standard cells: the reference against finite differences, the kernels against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import FINITE_DIFFERENCE, numerical_gradient, relative_error

from fastlstm import _core, reference
from fastlstm.activations import KINDS, Activation, as_activation
from fastlstm.cell import Cell, CellWeights

Array = np.ndarray[Any, Any]

BOUNDS = {
    "float64": 1e-11,  # sums of some hundred products of numbers near 1, in another order
    "float32": 5e-5,  # the same, and functions with an error of some units in the last place, step after step
}


class Case:
    """Random weights, data and gradients of one cell."""

    def __init__(
        self,
        cell: Cell,
        *,
        batch: int = 3,
        time: int = 4,
        inputs: int = 2,
        hidden: int = 3,
        projection: int = 0,
        peepholes: bool = False,
        lengths: bool = True,
        reverse: bool = False,
        dtype: Any = np.float64,
        seed: int = 0,
        weights: float = 1.2,
    ) -> None:
        rng = np.random.default_rng(seed)
        self.cell, self.reverse, self.seed = cell, reverse, seed + 78
        gates, out = cell.gates, projection or hidden
        scale = weights / np.sqrt(hidden)

        def draw(*shape: int, by: float = 1.0) -> Array:
            return (by * rng.standard_normal(shape)).astype(dtype)

        self.weights = {
            "weight_ih": draw(gates * hidden, inputs, by=scale),
            "weight_hh": draw(gates * hidden, out, by=scale),
            "bias_ih": draw(gates * hidden, by=0.5),
            "bias_hh": draw(gates * hidden, by=0.5),
        }
        self.cell_weights: dict[str, Array] = {}
        if projection:
            self.cell_weights["weight_hr"] = draw(projection, hidden, by=scale)
        if peepholes:
            self.cell_weights["peepholes"] = draw(gates - 1, hidden, by=0.7)
        if cell.layer_norm:
            self.cell_weights |= {"gain_ih": draw(gates * hidden), "gain_hh": draw(gates * hidden)}
            self.cell_weights |= {"gain_c": draw(hidden), "bias_c": draw(hidden)}
        self.x = draw(batch, time, inputs)
        self.h0, self.c0 = draw(batch, out), draw(batch, hidden)
        self.dy, self.dhn, self.dcn = draw(batch, time, out), draw(batch, out), draw(batch, hidden)
        self.lengths = rng.integers(0, time + 1, batch) if lengths else None
        if self.lengths is not None and batch:
            self.lengths[0] = time

    def reference_forward(self, training: bool = True) -> tuple[Array, Array, Array, Any]:
        return reference.lstm_forward(
            self.x,
            **self.weights,
            lengths=self.lengths,
            h0=self.h0,
            c0=self.c0,
            reverse=self.reverse,
            cell=self.cell,
            cell_weights=CellWeights(**self.cell_weights),
            training=training,
            seed=self.seed,
        )

    def reference(self, training: bool = True) -> tuple[Array, Array, Array, dict[str, Array]]:
        y, hn, cn, trace = self.reference_forward(training)
        return y, hn, cn, reference.lstm_backward(trace, self.dy, self.dhn, self.dcn)

    def kernel(
        self, training: bool = True, n_threads: int = 1, recompute_every: int = 0, frozen: bool = False
    ) -> tuple[Array, Array, Array, dict[str, Array]]:
        lstm = _core.LSTMPass()
        y, hn, cn = np.full_like(self.dy, 7), np.full_like(self.dhn, 7), np.full_like(self.dcn, 7)
        lstm.forward(
            self.x,
            **self.weights,
            lengths=self.lengths,
            h0=self.h0,
            c0=self.c0,
            y=y,
            hn=hn,
            cn=cn,
            reverse=self.reverse,
            training=training,
            recompute_every=recompute_every,
            n_threads=n_threads,
            cell=self.cell,
            cell_weights=CellWeights(**self.cell_weights),
            seed=self.seed,
        )
        if not training:
            return y, hn, cn, {}
        g = {name: np.zeros_like(value) for name, value in {**self.weights, **self.cell_weights}.items()}
        g |= {"x": np.full_like(self.x, 7), "h0": np.full_like(self.h0, 7), "c0": np.full_like(self.c0, 7)}
        lstm.backward(
            dy=self.dy,
            dhn=self.dhn,
            dcn=self.dcn,
            dx=g["x"],
            dh0=g["h0"],
            dc0=g["c0"],
            n_threads=n_threads,
            d_cell_weights=CellWeights(**{name: g[name] for name in self.cell_weights}),
            **{"d" + name: g[name] for name in self.weights},
        )
        return y, hn, cn, g


def check(case: Case, training: bool = True) -> None:
    """Compare the kernel with the reference."""
    bound = BOUNDS[case.x.dtype.name]
    expected, got = case.reference(training), case.kernel(training)
    for name, a, b in zip(("y", "hn", "cn"), got[:3], expected[:3], strict=True):
        assert relative_error(a, b) <= bound, name
    for name, gradient in got[3].items():
        wanted = expected[3]["bias" if name in ("bias_ih", "bias_hh") else name]
        assert relative_error(gradient, wanted) <= bound, name


CELLS: dict[str, tuple[Cell, dict[str, Any]]] = {
    "projection": (Cell(), {"projection": 2}),
    "peepholes": (Cell(), {"peepholes": True}),
    "coupled": (Cell(coupled=True), {}),
    "coupled, peepholes": (Cell(coupled=True), {"peepholes": True}),
    "gate clip": (Cell(gate_clip=0.6), {"peepholes": True}),
    "cell clip": (Cell(cell_clip=0.4), {"peepholes": True}),
    "output clip": (Cell(output_clip=0.3), {}),
    "layer norm": (Cell(layer_norm=True), {}),
    "layer norm, coupled": (Cell(layer_norm=True, coupled=True), {"peepholes": True}),
    "recurrent dropout": (Cell(recurrent_dropout=0.4), {}),
    "variational dropout": (Cell(variational_dropout=0.4), {}),
    "zoneout": (Cell(zoneout_h=0.3, zoneout_c=0.4), {}),
    "zoneout of h, projection": (Cell(zoneout_h=0.3), {"projection": 2}),
    "all": (
        Cell(
            coupled=True,
            gate_clip=1.5,
            cell_clip=1.0,
            output_clip=0.9,
            layer_norm=True,
            recurrent_dropout=0.2,
            variational_dropout=0.3,
            zoneout_h=0.2,
            zoneout_c=0.3,
        ),
        {"projection": 2, "peepholes": True},
    ),
}
ACTIVATIONS = {name: as_activation("activation", name) for name in KINDS}
ACTIVATIONS["affine"] = Activation("affine", 0.3, 0.2)
ACTIVATIONS["thresholded_relu"] = Activation("thresholded_relu", 0.1, 0.0)
ACTIVATIONS["leaky_relu, falling"] = Activation("leaky_relu", -0.3, 0.0)
ACTIVATIONS["elu, falling"] = Activation("elu", -0.5, 0.0)
ACTIVATIONS["hard_sigmoid of Keras 3"] = Activation("hard_sigmoid", 1 / 6, 0.5)
ACTIVATIONS["scaled_tanh"] = Activation("scaled_tanh", 1.7, 0.6)
# Forget gates above 1 let the state grow with every step; small weights keep the compared values near 1.
CELLS |= {f"gates {name}": (Cell(gate_activation=a), {"weights": 0.3}) for name, a in ACTIVATIONS.items()}
CELLS |= {f"cell {name}": (Cell(cell_activation=a), {}) for name, a in ACTIVATIONS.items()}
CELLS |= {f"output {name}": (Cell(output_activation=a), {"weights": 0.6}) for name, a in ACTIVATIONS.items()}

each_cell = pytest.mark.parametrize("name", CELLS)
SHAPES: list[dict[str, int]] = [
    {"batch": 1, "time": 5, "inputs": 3, "hidden": 5},
    {"batch": 2, "time": 30, "inputs": 9, "hidden": 17},
    {"batch": 7, "time": 9, "inputs": 5, "hidden": 33},
    {"batch": 13, "time": 6, "inputs": 1, "hidden": 40},
    {"batch": 70, "time": 5, "inputs": 4, "hidden": 8},
]


def sized(name: str, shape: dict[str, int], **cell_weights: Any) -> Case:
    """Return one of CELLS at another size."""
    cell, options = CELLS[name]
    options = {**options, **shape, **cell_weights}
    if options.get("projection"):
        options["projection"] = max(1, shape["hidden"] * 2 // 3)
    return Case(cell, **options)


@each_cell
def test_the_reference_by_finite_differences(name: str) -> None:
    cell, options = CELLS[name]
    case = Case(cell, **options, reverse=len(name) % 2 == 1)

    def loss() -> float:
        y, hn, cn, _ = case.reference_forward()
        return float((y * case.dy).sum() + (hn * case.dhn).sum() + (cn * case.dcn).sum())

    gradients = case.reference()[3]
    inputs = {**case.weights, **case.cell_weights, "x": case.x, "h0": case.h0, "c0": case.c0}
    for key, array in inputs.items():
        wanted = gradients["bias" if key in ("bias_ih", "bias_hh") else key]
        assert relative_error(wanted, numerical_gradient(loss, array)) <= FINITE_DIFFERENCE, key


@each_cell
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_kernels_compute_the_reference(name: str, dtype: str, isa: str) -> None:
    for k, shape in enumerate(SHAPES):
        check(sized(name, shape, dtype=dtype, reverse=k % 2 == 1, seed=k))


@each_cell
def test_inference_draws_nothing_and_takes_the_expectation_of_zoneout(name: str) -> None:
    for k, shape in enumerate(SHAPES):
        case = sized(name, shape, seed=k)
        expected, got = case.reference(training=False), case.kernel(training=False)
        for a, b in zip(got[:3], expected[:3], strict=True):
            assert relative_error(a, b) <= BOUNDS["float64"]


@each_cell
def test_the_same_bits_for_any_threads_and_any_segments(name: str, isa: str) -> None:
    for k, shape in enumerate([*SHAPES, {"batch": 3, "time": 60, "inputs": 40, "hidden": 100}]):
        case = sized(name, shape, dtype="float32", seed=k)
        expected = case.kernel()
        for n_threads, every in ((2, 0), (3, 0), (1, 2), (3, 3), (1, 100)):
            got = case.kernel(n_threads=n_threads, recompute_every=every)
            for a, b in zip([*got[:3], *got[3].values()], [*expected[:3], *expected[3].values()], strict=True):
                np.testing.assert_array_equal(a, b)


@each_cell
def test_a_row_does_not_depend_on_its_neighbours(name: str) -> None:
    case = sized(name, {"batch": 9, "time": 7, "inputs": 4, "hidden": 20}, dtype="float32")
    y = case.kernel(training=False)[0]
    for b in range(9):
        alone = sized(name, {"batch": 9, "time": 7, "inputs": 4, "hidden": 20}, dtype="float32")
        assert case.lengths is not None
        alone.x, alone.h0, alone.c0 = case.x[b : b + 1], case.h0[b : b + 1], case.c0[b : b + 1]
        alone.dy, alone.dhn, alone.dcn = case.dy[b : b + 1], case.dhn[b : b + 1], case.dcn[b : b + 1]
        alone.lengths = case.lengths[b : b + 1]
        np.testing.assert_array_equal(alone.kernel(training=False)[0][0], y[b])


def random_case(rng: np.random.Generator, dtype: str) -> Case:
    """Return a case with any combination of features, at any size."""

    def some(*values: float) -> float:
        return values[rng.integers(len(values))]

    names = ["sigmoid", "tanh", "hard_sigmoid", "softsign", "hard_sigmoid of Keras 3"]
    cell = Cell(
        gate_activation=ACTIVATIONS[names[rng.integers(len(names))]],
        cell_activation=ACTIVATIONS[["tanh", "relu", "softsign", "elu"][rng.integers(4)]],
        output_activation=ACTIVATIONS[["tanh", "softsign", "scaled_tanh"][rng.integers(3)]],
        coupled=rng.random() < 0.4,
        gate_clip=some(np.inf, np.inf, 1.0),
        cell_clip=some(np.inf, 2.0, 0.8),
        output_clip=some(np.inf, np.inf, 0.7),
        layer_norm=rng.random() < 0.3,
        recurrent_dropout=some(0, 0, 0.3),
        variational_dropout=some(0, 0, 0.3),
        zoneout_h=some(0, 0, 0.2),
        zoneout_c=some(0, 0, 0.2),
    )
    hidden = int(rng.integers(1, 50))
    return Case(
        cell,
        batch=int(rng.integers(0, 12)),
        time=int(rng.integers(0, 15)),
        inputs=int(rng.integers(1, 20)),
        hidden=hidden,
        projection=int(rng.integers(1, 2 * hidden + 1)) if rng.random() < 0.4 else 0,
        peepholes=rng.random() < 0.4,
        lengths=rng.random() < 0.6,
        reverse=rng.random() < 0.5,
        dtype=np.dtype(dtype),
        seed=int(rng.integers(10**6)),
        weights=0.8,
    )


@pytest.mark.parametrize("number", range(60))
def test_features_combine_freely(number: int) -> None:
    case = random_case(np.random.default_rng(number), "float64")
    check(case)
    if case.x.size:
        expected = case.kernel()
        got = case.kernel(n_threads=2, recompute_every=3)
        for a, b in zip([*got[:3], *got[3].values()], [*expected[:3], *expected[3].values()], strict=True):
            np.testing.assert_array_equal(a, b)


def test_neutral_settings_give_the_plain_cell() -> None:
    """Limits that nothing reaches and peepholes of zero take another path through the kernels to the same numbers."""
    case = Case(Cell(), batch=5, time=20, inputs=3, hidden=30, dtype=np.float32)
    plain = _core.LSTMPass()
    y = np.empty_like(case.dy)
    plain.forward(case.x, **case.weights, lengths=case.lengths, h0=case.h0, c0=case.c0, y=y)
    np.testing.assert_array_equal(case.kernel(training=False)[0], y)


def test_masks_have_their_shares_and_stay_or_change_with_the_steps() -> None:
    """Zoneout of c by p keeps a share p of the units at each step, and other units at the next step."""
    hidden, p = 4000, 0.3
    zeros = np.zeros((4 * hidden, 1))
    kept = []
    for time in (1, 2):
        lstm, cn = _core.LSTMPass(), np.empty((1, hidden))
        x, weight_hh = np.zeros((1, time, 1)), np.zeros((4 * hidden, hidden))
        ones, cell = np.ones((1, hidden)), Cell(zoneout_c=p)
        lstm.forward(x, zeros, weight_hh, c0=ones, cn=cn, training=True, cell=cell, seed=3)
        kept.append(cn[0] == 1)  # with zero weights the gates halve c wherever it is not kept
    assert abs(kept[0].mean() - p) < 4 * np.sqrt(p * (1 - p) / hidden)
    assert abs(kept[1].mean() - p * p) < 4 * np.sqrt(p * p / hidden)
    assert (kept[1] <= kept[0]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cell": Cell(gate_clip=-1.0)}, "clipping limit is -1"),
        ({"cell": Cell(cell_clip=float("nan"))}, "clipping limit is nan"),
        ({"cell": Cell(zoneout_h=1.0)}, "probability of dropout or zoneout is 1"),
        ({"cell": Cell(recurrent_dropout=-0.1)}, "probability of dropout or zoneout is -0.1"),
        ({"cell": Cell(layer_norm=True)}, "layer normalisation needs gain_ih"),
        ({"cell": Cell(gate_activation=Activation("affine", float("inf"), 0.0))}, "must be finite"),
        ({"cell": Cell(), "cell_weights": CellWeights(peepholes=np.zeros((2, 3)))}, "peepholes has shape"),
        ({"cell": Cell(), "cell_weights": CellWeights(weight_hr=np.zeros((0, 3)))}, "weight_hr has shape"),
        ({"cell": Cell(), "cell_weights": CellWeights(weight_hr=np.zeros((2, 3)))}, r"\(12, 3\), expected \(12, 2\)"),
        ({"cell": Cell(coupled=True)}, r"weight_ih has shape \(12, 2\), expected \(9, 2\)"),
        ({"cell_weights": CellWeights(peepholes=np.zeros((3, 3)))}, "give the cell, too"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    case = Case(Cell())
    with pytest.raises(ValueError, match=message):
        _core.LSTMPass().forward(case.x, **case.weights, **change)
