"""The functions of `_core` accept valid arguments and refuse all others: no argument can crash the process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from odd_inputs import NIGHTLY, arrays, checked, st

from fastlstm import _core
from fastlstm.cell import PLAIN, Cell, CellWeights
from fastlstm.layers import Stage, StageState

Make = Callable[[int, int, int, type], dict[str, Any]]


def floats(dtype: type, *shape: int) -> np.ndarray:
    return np.full(shape, 0.5, dtype)


def ints(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.int64)


def doubles(*shape: int) -> np.ndarray:
    return np.full(shape, 0.5)


def lstm(cell: Cell | None = None, cell_weights: CellWeights | None = None, **arguments: Any) -> None:
    """Run a forward pass and its backward pass, whose arguments begin with a d."""
    back = {name: arguments.pop(name) for name in list(arguments) if name[0] == "d"}
    kernel = _core.LSTMPass()
    try:
        kernel.forward(cell=cell, cell_weights=cell_weights, **arguments)
    except (TypeError, ValueError):
        with pytest.raises(RuntimeError, match="needs a forward"):
            kernel.backward()
        raise
    if arguments["training"]:
        kernel.backward(**back)
    with pytest.raises(RuntimeError, match="needs a forward"):
        kernel.backward()


def lstm_arguments(batch: int, time: int, size: int, dtype: type) -> dict[str, Any]:
    hidden, inputs = size, time + 1
    shapes = {
        "x": (batch, time, inputs),
        "weight_ih": (4 * hidden, inputs),
        "weight_hh": (4 * hidden, hidden),
        "bias_ih": (4 * hidden,),
        "h0": (batch, hidden),
        "y": (batch, time, hidden),
        "hn": (batch, hidden),
        "dy": (batch, time, hidden),
        "dx": (batch, time, inputs),
        "dweight_hh": (4 * hidden, hidden),
        "dh0": (batch, hidden),
    }
    arrays = {name: floats(dtype, *shape) for name, shape in shapes.items()}
    return {**arrays, "lengths": np.arange(batch) % (time + 1), "training": True, "recompute_every": 1}


def projected(**arguments: Any) -> None:
    cell_weights = CellWeights(*(arguments.pop(name, None) for name in CellWeights._fields))
    lstm(Cell(layer_norm=True), cell_weights, **arguments)


def projected_arguments(batch: int, time: int, size: int, dtype: type) -> dict[str, Any]:
    gates = {name: floats(dtype, 4 * size) for name in ("gain_ih", "gain_hh")}
    cell = {name: floats(dtype, size) for name in ("gain_c", "bias_c")}
    peepholes = {"peepholes": floats(dtype, 3, size), "weight_hr": floats(dtype, size, size)}
    return {**lstm_arguments(batch, time, size, dtype), **gates, **cell, **peepholes}


def pool_both(**arguments: Any) -> None:
    dy, dx = arguments.pop("dy"), arguments.pop("dx")
    _core.pool_forward("max", **arguments)
    arguments.pop("counts"), arguments.pop("sums")
    _core.pool_backward("max", dy=dy, dx=dx, **arguments)


def attend(**arguments: Any) -> None:
    _core.pool_forward("attention", **arguments)


def stream(
    table: Any, mean: Any, scale: Any, weight_ih: Any, weight_hh: Any, h0: Any, c0: Any, weight: Any, x: Any, out: Any,
    dtype: Any,
) -> None:  # fmt: skip
    states = StageState("h", np.size(h0), h0), StageState("c", np.size(c0), c0)
    stages = [
        Stage("embedding", 0, {"weight": table}, main=0),
        Stage("standardize", 0, {"mean": mean, "scale": scale}, main=1),
        Stage("lstm", 0, {"weight_ih": weight_ih, "weight_hh": weight_hh}, LSTM_SETTINGS, main=2, states=states),
        Stage("add", 0, main=3, side={"addend": 2}),
        Stage("dense", 0, {"weight": weight}, main=4),
    ]
    batch = len(x) if isinstance(x, np.ndarray) and x.ndim else 1
    _core.Stream(_core.Chain(stages, 0, dtype), batch).run(x, out)


LSTM_SETTINGS = {"cell": PLAIN, "bidirectional": False, "reverse": False}


KERNELS: dict[str, tuple[Callable[..., Any], Make]] = {
    # Functions and valid arguments for them, for sizes n, m, k and a dtype.
    "dense_forward": (
        _core.dense_forward,
        lambda n, m, k, t: {
            "x": floats(t, n, m), "weight": floats(t, k, m), "bias": floats(t, k), "y": floats(t, n, k),
            "workspace": _core.Workspace(), "n_threads": 2,
        },
    ),
    "dense_backward": (
        _core.dense_backward,
        lambda n, m, k, t: {
            "dy": floats(t, n, k), "x": floats(t, n, m), "weight": floats(t, k, m), "dx": floats(t, n, m),
            "dweight": floats(t, k, m), "dbias": floats(t, k), "workspace": _core.Workspace(), "n_threads": 2,
        },
    ),
    "embedding_forward": (
        _core.embedding_forward,
        lambda n, m, k, t: {"index": ints(n), "table": floats(t, m, k), "out": floats(t, n, k)},
    ),
    "embedding_backward": (
        _core.embedding_backward,
        lambda n, m, k, t: {"index": ints(n), "dout": floats(t, n, k), "dtable": floats(t, m, k)},
    ),
    "dropout": (_core.dropout, lambda n, m, k, t: {"x": floats(t, n, m), "y": floats(t, n, m), "p": 0.5, "seed": 1}),
    "activation": (
        _core.activation,
        lambda n, m, k, t: {"number": k, "alpha": 1.0, "beta": 0.0, "x": floats(t, n), "y": floats(t, n)},
    ),
    "activation_backward": (
        _core.activation_backward,
        lambda n, m, k, t: {
            "number": k, "alpha": 1.0, "beta": 0.0, "x": floats(t, n), "y": floats(t, n), "dy": floats(t, n),
            "dx": floats(t, n),
        },
    ),
    "softmax": (_core.softmax, lambda n, m, k, t: {"logits": floats(t, n, m), "out": floats(t, n, m)}),
    "softmax_backward": (
        _core.softmax_backward,
        lambda n, m, k, t: {"p": floats(t, n, m), "dy": floats(t, n, m), "dx": floats(t, n, m)},
    ),
    "softmax_cross_entropy": (
        _core.softmax_cross_entropy,
        lambda n, m, k, t: {
            "logits": floats(t, n, m), "labels": ints(n), "weights": floats(t, n), "dlogits": floats(t, n, m),
            "losses": doubles(n),
        },
    ),
    "ctc": (
        _core.ctc,
        lambda n, m, k, t: {
            "logits": floats(t, n, m, k + 1), "labels": ints(n, m) + k, "label_lengths": ints(n) + 1, "blank": 0,
            "weights": doubles(n), "dlogits": floats(t, n, m, k + 1), "losses": doubles(n),
            "workspace": _core.Workspace(), "lengths": ints(n) + 1,
        },
    ),
    "ctc_beam_search": (
        _core.ctc_beam_search,
        lambda n, m, k, t: {
            "log_p": doubles(n, m), "blank": 0, "beam_width": k, "workspace": _core.Workspace(),
        },
    ),
    "edit_distance": (_core.edit_distance, lambda n, m, k, t: {"a": ints(n), "b": ints(m)}),
    "pool": (
        pool_both,
        lambda n, m, k, t: {
            "x": floats(t, n, m, k), "counts": np.zeros((n, _core.POOL_COUNTS)), "sums": np.zeros((n, k)),
            "y": floats(t, n, k), "lengths": ints(n) + 1, "index": ints(n, k), "dy": floats(t, n, k),
            "dx": floats(t, n, m, k),
        },
    ),
    "attention": (
        attend,
        lambda n, m, k, t: {
            "x": floats(t, n, m, k), "counts": np.zeros((n, _core.POOL_COUNTS)), "sums": np.zeros((n, k)),
            "y": floats(t, n, k), "scores": floats(t, n, m), "weights": floats(t, n, m),
        },
    ),
    "sgd_step": (
        _core.sgd_step,
        lambda n, m, k, t: {
            "p": floats(t, n), "g": floats(t, n), "m": floats(t, n), "lr": 0.1, "momentum": 0.5, "nesterov": False,
            "weight_decay": 0.0,
        },
    ),
    "rmsprop_step": (
        _core.rmsprop_step,
        lambda n, m, k, t: {
            "p": floats(t, n), "g": floats(t, n), "v": floats(t, n), "m": floats(t, n), "lr": 0.1, "alpha": 0.9,
            "eps": 1e-8, "momentum": 0.5, "weight_decay": 0.0,
        },
    ),
    "adam_step": (
        _core.adam_step,
        lambda n, m, k, t: {
            "p": floats(t, n), "g": floats(t, n), "m": floats(t, n), "v": floats(t, n), "lr": 0.1, "beta1": 0.9,
            "beta2": 0.9, "eps": 1e-8, "weight_decay": 0.0, "decoupled": False, "step": 1,
        },
    ),
    "grad_norm": (_core.grad_norm, lambda n, m, k, t: {"g": floats(t, n)}),
    "scale": (_core.scale, lambda n, m, k, t: {"g": floats(t, n), "factor": 0.5}),
    "clip_value": (_core.clip_value, lambda n, m, k, t: {"g": floats(t, n), "limit": 0.5}),
    "first_nonfinite": (_core.first_nonfinite, lambda n, m, k, t: {"x": floats(t, n)}),
    "LSTMPass": (lstm, lstm_arguments),
    "LSTMPass of another cell": (projected, projected_arguments),
    "Stream": (
        stream,
        lambda n, m, k, t: {
            "table": floats(t, m, k), "weight_ih": floats(t, 4 * k, k), "weight_hh": floats(t, 4 * k, k),
            "mean": floats("f8", k), "scale": floats("f8", k), "h0": floats(t, k), "c0": floats(t, k),
            "weight": floats(t, m, k), "x": ints(n, 2), "out": floats(t, n, 2, m), "dtype": t,
        },
    ),
}  # fmt: skip

wrong = st.one_of(
    arrays, arrays, arrays, st.none(), st.integers(-3, 20), st.integers(-(2**31), 2**31), st.floats(),
    st.text(max_size=2), st.lists(st.floats(), max_size=2),
)  # fmt: skip


def check(name: str, nightly: bool) -> None:
    function, make = KERNELS[name]

    def run(n: int, m: int, k: int, dtype: type, odd: dict[int, Any]) -> None:
        arguments = make(n, m, k, dtype)
        names = sorted(arguments)
        replaced = {names[place % len(names)]: value for place, value in odd.items()}
        replaced.pop("dtype", None)
        try:
            function(**{**arguments, **replaced})
        except (
            TypeError,
            ValueError,
            MemoryError,
            OverflowError,
        ) as error:  # the last: an integer that C cannot hold
            assert replaced, f"{error!r}, though everything fits"
            assert len(str(error)) > 15

    places = st.dictionaries(st.integers(0, 29), wrong, max_size=2)
    size = st.integers(1, 4)
    number = 40 * NIGHTLY if nightly else 40
    checked(run, (size, size, size, st.sampled_from([np.float32, np.float64]), places), number, nightly)


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_take_what_fits_and_refuse_the_rest(name: str) -> None:
    check(name, nightly=False)


@pytest.mark.nightly
@pytest.mark.parametrize("name", KERNELS)
def test_kernels_with_many_examples(name: str) -> None:
    check(name, nightly=True)


@pytest.mark.parametrize("lengths", [np.ones(2), np.ones(2, bool), np.zeros(0), np.zeros(0, "c8")])
def test_lengths_that_are_not_integers(lengths: np.ndarray) -> None:
    weights = np.zeros((4, 1), "f4")
    with pytest.raises(TypeError, match=f"lengths has dtype {lengths.dtype}, expected integers"):
        _core.LSTMPass().forward(np.zeros((2, 3, 1), "f4"), weights, weights, lengths=lengths)


@pytest.mark.parametrize(("batch", "time"), [(1, 2**60), (2**20, 2**40), (2**40, 2**20), (2**60, 1)])
def test_sizes_whose_product_does_not_fit(batch: int, time: int) -> None:
    """Arrays with strides of 0, whose workspace would exceed the address space."""
    x = np.lib.stride_tricks.as_strided(np.zeros(1, "f4"), (batch, time, 1), (0, 0, 4))
    weights = np.zeros((4, 1), "f4")
    with pytest.raises(MemoryError):
        _core.LSTMPass().forward(x, weights, weights, training=True)
