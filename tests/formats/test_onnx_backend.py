"""The backend interface: ONNX's own tests, ONNX Runtime, and the reference in float64."""

from __future__ import annotations

import unittest
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # importing them computes examples of overflow
    import onnx.backend.test
    from onnx.backend.test.loader import load_node_model_tests

    NODE_TESTS = load_node_model_tests()
from onnx import helper  # noqa: E402
from onnx_graphs import LSTMCase, model_of  # noqa: E402

import fastlstm as fl  # noqa: E402
from fastlstm import onnx_backend, reference  # noqa: E402
from fastlstm.activations import KINDS, Activation  # noqa: E402
from fastlstm.cell import Cell, CellWeights  # noqa: E402
from fastlstm.formats.onnx.graph.lstm import ACTIVATION_NAMES, TAKES_ALPHA, TAKES_BETA  # noqa: E402
from fastlstm.formats.onnx.graph.operators import OPERATORS  # noqa: E402

FLOAT32, FLOAT64 = 2e-6, 1e-13
"""Absolute, of results of size 1 after at most 8 steps: 32 and 450 ulps. ONNX Runtime's tanh is an approximation."""

ALL_OUTPUTS = ("Y", "Y_h", "Y_c")


def session(model: Any) -> Any:
    ort = pytest.importorskip("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options)


# ---------------------------------------------------------------------------------------------- ONNX's own tests


def lstm_suite() -> unittest.TestSuite:
    tests = onnx.backend.test.BackendTest(onnx_backend.Backend, __name__)
    tests.include("^test_lstm_.*_cpu$")
    return tests.test_suite


def test_onnx_backend_tests_of_the_lstm() -> None:
    """Run all test_lstm_* of onnx.backend.test with its own runner."""
    result = unittest.TestResult()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lstm_suite().run(result)
    assert not result.failures and not result.errors, result.failures + result.errors
    assert result.testsRun - len(result.skipped) >= 6


# Unsupported, with the reason: other element types, random masks, sequences, convolutions of images; see docs/onnx.md.
REFUSED = (
    "element type", "training_mode is true", "is not a tensor", "uses opset", "is object", "is bfloat16",
    "the base is int", "reads bool", "reduces an axis of size 0", "output_mean",
    "series have one axis of steps", "has the outputs ['y', 'z']", "attribute 'alpha' is 0.5, expected 1",
    "expected one of constant, reflect, edge", "nothing is cut off",
)  # fmt: skip


def node_tests() -> Iterator[Any]:
    for case in NODE_TESTS:
        if {node.op_type for node in case.model.graph.node} <= set(OPERATORS):
            yield case


def test_onnx_backend_tests_of_all_other_operators() -> None:
    """A result is right, in dtype and shape, too, or refused by name. (Counts are those of onnx 1.16 and later.)"""
    right = 0
    for case in node_tests():
        for inputs, outputs in case.data_sets:
            try:
                got = onnx_backend.prepare(case.model).run(list(inputs))
            except ValueError as error:
                assert any(reason in str(error) for reason in REFUSED), (case.name, error)
                continue
            assert len(got) == len(outputs), case.name
            for one, expected in zip(got, outputs, strict=True):
                expected = np.asarray(expected)
                assert (one.dtype, one.shape) == (expected.dtype, expected.shape), case.name
                np.testing.assert_allclose(one, expected, case.rtol, case.atol, err_msg=case.name)
            right += 1
    assert right >= 300


# ---------------------------------------------------------------------------------------------- ONNX Runtime


def run_both(case: LSTMCase, weights_are_inputs: bool = False) -> tuple[list[np.ndarray], list[np.ndarray]]:
    feed = case.feed(weights_are_inputs)
    got = onnx_backend.run_model(case.model(weights_are_inputs), feed)
    case.attributes["hidden_size"] = case.hidden  # without it ONNX Runtime accepts no LSTM
    names = [name for name in case.outputs if name]
    return list(got), session(case.model(weights_are_inputs)).run(names, feed)


def worst(got: list[np.ndarray], expected: list[np.ndarray]) -> float:
    assert [one.shape for one in got] == [one.shape for one in expected]
    assert [one.dtype for one in got] == [one.dtype for one in expected]
    return max(float(np.abs(a - b).max()) for a, b in zip(got, expected, strict=True))


@pytest.mark.parametrize("block", range(4))
def test_random_nodes_against_onnx_runtime(block: int) -> None:
    """Draw 400 nodes with random directions, lengths, states, peepholes, coupled gates, absent inputs and outputs."""
    for seed in range(100 * block, 100 * (block + 1)):
        case = LSTMCase(np.random.default_rng(seed))
        got, expected = run_both(case, weights_are_inputs=seed % 3 == 0)
        assert worst(got, expected) <= FLOAT32, (seed, case.attributes, sorted(case.arrays))


def parameters_of(names: list[str], rng: np.random.Generator) -> dict[str, list[float]]:
    kinds = [ACTIVATION_NAMES[name.lower()] for name in names]
    return {
        "activation_alpha": [float(rng.uniform(0.2, 0.9)) for kind in kinds if kind in TAKES_ALPHA],
        "activation_beta": [float(rng.uniform(0.2, 0.9)) for kind in kinds if kind in TAKES_BETA],
    }


SPELLINGS = ["Relu", "TANH", "sigmoid", "Affine", "LeakyRelu", "THRESHOLDEDRELU", "ScaledTanh", "HardSigmoid", "elu",
             "Softsign", "SoftPlus"]  # fmt: skip


@pytest.mark.parametrize("name", SPELLINGS)
@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("given", [False, True])
def test_each_activation_in_each_place_against_onnx_runtime(name: str, place: int, given: bool) -> None:
    """Give each direction its own functions, with their parameters and without."""
    rng = np.random.default_rng(place)
    names = ["Sigmoid", "Tanh", "Tanh", "HardSigmoid", "Softsign", "ScaledTanh"]
    names[place] = name
    more = parameters_of(names, rng) if given else {}
    own = ("affine", "scaled_tanh", "thresholded_relu")
    if not given and any(ACTIVATION_NAMES[one.lower()] in own for one in names[:3]):
        # ONNX gives the first two no defaults; ours are 1 (and 0 for affine's beta). That of the third is 1, as in
        # ONNX's operator ThresholdedRelu; ONNX Runtime takes 0.
        alphas = [KINDS[ACTIVATION_NAMES[one.lower()]] for one in names]
        kinds = [ACTIVATION_NAMES[one.lower()] for one in names]
        more = {
            "activation_alpha": [a for (a, _), kind in zip(alphas, kinds, strict=True) if kind in TAKES_ALPHA],
            "activation_beta": [b for (_, b), kind in zip(alphas, kinds, strict=True) if kind in TAKES_BETA],
        }
    elif not given:
        names[5] = "Tanh"
    case = LSTMCase(
        rng,
        direction="bidirectional",
        activations=names,
        outputs=ALL_OUTPUTS,
        time=4,
        coupled=False,
        peepholes=False,
        **more,
    )
    got, expected = run_both(case)
    assert worst(got, expected) <= 5 * FLOAT32 * max(1.0, max(float(np.abs(one).max()) for one in expected))


def test_defaults_of_activations_are_those_of_the_operators() -> None:
    for name, more in (
        ("ThresholdedRelu", {"activation_alpha": [1.0]}),
        ("LeakyRelu", {"activation_alpha": [0.01]}),
        ("Elu", {"activation_alpha": [1.0]}),
        ("HardSigmoid", {"activation_alpha": [0.2], "activation_beta": [0.5]}),
    ):
        fixed = {"direction": "forward", "outputs": ("Y",), "activations": ["Sigmoid", name, "Tanh"]}
        given, default = (LSTMCase(np.random.default_rng(0), **fixed, **one) for one in (more, {}))
        (y,), (expected,) = (onnx_backend.run_model(one.model(), one.feed()) for one in (default, given))
        np.testing.assert_allclose(y, expected, rtol=0, atol=FLOAT32)


# ---------------------------------------------------------------------------------------------- the reference


def by_reference(case: LSTMCase, cells: list[Cell]) -> list[np.ndarray]:
    """Compute Y, Y_h and Y_c from the equations, step by step, in ONNX's layouts."""
    a = {key: value.astype(np.float64) for key, value in case.arrays.items() if key != "sequence_lens"}
    h, n = case.hidden, case.directions
    x = a["X"] if case.layout else a["X"].transpose(1, 0, 2)
    ys, hs, cs = [], [], []
    for k in range(n):
        coupled = cells[k].coupled

        def gates(stacked: np.ndarray, coupled: bool = coupled) -> np.ndarray:
            i, o, f, c = np.split(stacked, 4)
            return np.concatenate([i, c, o] if coupled else [i, f, c, o])

        bias = np.split(a["B"][k], 2) if "B" in a else [np.zeros(4 * h)] * 2
        cell_weights = CellWeights()
        if "P" in a:
            p_i, p_o, p_f = np.split(a["P"][k], 3)
            cell_weights = CellWeights(peepholes=np.stack([p_i, p_o] if coupled else [p_i, p_f, p_o]))
        zeros = np.zeros((case.batch, h))
        h0, c0 = (
            (a[name][:, k] if case.layout else a[name][k]) if name in a else zeros
            for name in ("initial_h", "initial_c")
        )
        reverse = case.direction == "reverse" or k == 1
        y, hn, cn, _ = reference.lstm_forward(
            x,
            gates(a["W"][k]),
            gates(a["R"][k]),
            gates(bias[0]),
            gates(bias[1]),
            lengths=case.arrays.get("sequence_lens"),
            h0=h0,
            c0=c0,
            reverse=reverse,
            cell=cells[k],
            cell_weights=cell_weights,
        )
        ys.append(y)
        hs.append(hn)
        cs.append(cn)
    y = np.stack(ys, 2)  # (B, T, D, H)
    if case.layout:
        return [y, np.stack(hs, 1), np.stack(cs, 1)]
    return [y.transpose(1, 2, 0, 3), np.stack(hs), np.stack(cs)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("block", range(2))
def test_random_nodes_against_the_reference(block: int, dtype: str) -> None:
    """Test what ONNX Runtime lacks: both layouts, lengths of 0, limits on every activation's input, float64."""
    names = list(ACTIVATION_NAMES)
    for seed in range(75 * block, 75 * (block + 1)):
        rng = np.random.default_rng(seed)
        chosen = [names[k] for k in rng.integers(0, len(names), 6)] if seed % 2 else ["sigmoid", "tanh", "tanh"] * 2
        direction = ("forward", "reverse", "bidirectional")[seed % 3]
        n = 2 if direction == "bidirectional" else 1
        more = parameters_of(chosen[: 3 * n], rng)
        clip = None if seed % 4 == 0 else float(rng.uniform(0.3, 1.5))
        case = LSTMCase(
            rng,
            dtype,
            direction=direction,
            layout=int(rng.integers(2)),
            least_length=0,
            clip=clip,
            activations=chosen[: 3 * n],
            outputs=ALL_OUTPUTS,
            time=5,
            **more,
        )
        alphas, betas = iter(more["activation_alpha"]), iter(more["activation_beta"])
        functions = []
        for name in chosen[: 3 * n]:
            kind = ACTIVATION_NAMES[name]
            alpha, beta = KINDS[kind]
            alpha = next(alphas) if kind in TAKES_ALPHA else alpha
            functions.append(Activation(kind, alpha, next(betas) if kind in TAKES_BETA else beta))
        limit = np.inf if clip is None else float(np.float32(clip))
        coupled = "input_forget" in case.attributes
        cells = [Cell(*functions[3 * k : 3 * k + 3], coupled, limit, np.inf, limit) for k in range(n)]
        expected = by_reference(case, cells)
        got = onnx_backend.run_model(case.model(), case.feed())
        for one, right in zip(got, expected, strict=True):
            assert one.shape == right.shape and one.dtype == dtype
            scale = max(1.0, float(np.abs(right).max()))
            # The file holds alpha and beta as float32.
            tolerance = 1e-4 if dtype == "float32" else 1e-5 if seed % 2 else FLOAT64
            np.testing.assert_allclose(one, right, rtol=0, atol=tolerance * scale, err_msg=str(seed))


def test_a_limit_holds_for_the_output_but_not_for_the_state() -> None:
    """The sum of ten inputs of 1 keeps growing, while the input of the output activation is at most the limit."""
    w = np.zeros((1, 4, 1), np.float32)
    b = np.array([[50, 50, 50, 0, 0, 0, 0, 0]], np.float32)  # gates i, o, f wide open
    w[0, 3] = 50  # the candidate: tanh of the limit
    model = model_of(
        [helper.make_node("LSTM", ["X", "W", "R", "B"], ["Y", "", "Y_c"], clip=3.0, hidden_size=1)],
        {"X": ("float32", [10, 1, 1])},
        ["Y", "Y_c"],
        {"W": w, "R": np.zeros((1, 4, 1), np.float32), "B": b},
    )
    y, c = onnx_backend.run_model(model, {"X": np.ones((10, 1, 1), np.float32)})
    gate, candidate = 1 / (1 + np.exp(-3.0)), np.tanh(3.0)
    state = 0.0
    for t in range(10):
        state = gate * state + gate * candidate
        assert y[t, 0, 0, 0] == pytest.approx(gate * np.tanh(min(state, 3.0)), rel=1e-6)
    assert state > 3.5 and c[0, 0, 0] == pytest.approx(state, rel=1e-6)


def test_rows_of_length_zero_keep_their_state() -> None:
    case = LSTMCase(np.random.default_rng(0), direction="bidirectional", batch=3, lengths=True, initial_h=True,
                    initial_c=True, outputs=ALL_OUTPUTS)  # fmt: skip
    case.arrays["sequence_lens"][:] = [0, case.time, 0]
    y, h, c = onnx_backend.run_model(case.model(), case.feed())
    for row in (0, 2):
        assert not y[:, :, row].any()
        np.testing.assert_array_equal(h[:, row], case.arrays["initial_h"][:, row])
        np.testing.assert_array_equal(c[:, row], case.arrays["initial_c"][:, row])
    assert y[:, :, 1].any()


@pytest.mark.parametrize(("batch", "time"), [(0, 3), (2, 0), (0, 0)])
def test_empty_inputs_give_empty_outputs(batch: int, time: int) -> None:
    case = LSTMCase(np.random.default_rng(1), direction="forward", lengths=False, outputs=ALL_OUTPUTS, initial_h=False,
                    initial_c=False)  # fmt: skip
    x = np.zeros((time, batch, case.size), np.float32)
    y, h, c = onnx_backend.run_model(case.model(), {"X": x})
    assert y.shape == (time, 1, batch, case.hidden) and h.shape == c.shape == (1, batch, case.hidden)
    assert not h.any() and not c.any()


def test_half_precision_is_computed_in_float32() -> None:
    case = LSTMCase(np.random.default_rng(2), "float16", lengths=False, outputs=ALL_OUTPUTS, coupled=False)
    got = onnx_backend.run_model(case.model(opset=22), case.feed())
    case.arrays = {name: value.astype(np.float32) for name, value in case.arrays.items()}
    for one, expected in zip(got, onnx_backend.run_model(case.model(), case.feed()), strict=True):
        assert one.dtype == np.float16
        np.testing.assert_array_equal(one, expected.astype(np.float16))


# ---------------------------------------------------------------------------------------------- the interface


def test_run_node_and_devices() -> None:
    node = helper.make_node("Gemm", ["a", "b"], ["y"], transB=1)
    a, b = np.ones((2, 3), np.float32), np.full((4, 3), 2, np.float32)
    (y,) = onnx_backend.run_node(node, [a, b])
    np.testing.assert_array_equal(y, np.full((2, 4), 6))
    (y,) = onnx_backend.run_node(helper.make_node("Squeeze", ["x"], ["y"], axes=[0]), [a[None]], opset_version=11)
    assert y.shape == (2, 3)
    assert onnx_backend.supports_device("CPU") and onnx_backend.supports_device("CPU:0")
    assert not onnx_backend.supports_device("CUDA:0")
    with pytest.raises(ValueError, match="CUDA.*runs on the CPU only"):
        onnx_backend.run_node(node, [a, b], device="CUDA")
    (y,) = onnx_backend.run_node(helper.make_node("Relu", ["x"], ["y"]), a)
    assert y.shape == (2, 3)
    for inputs, version, message in (
        ([a], 17, "got 1 inputs, expected"),
        ({"a": a}, 17, "inputs .'b'. are missing"),
        ({"a": a, "b": b, "c": b}, 17, "no inputs .'c'."),
        ([a, b], 5, "opset_version is 5, expected 7 to"),
    ):
        with pytest.raises(ValueError, match=message):
            onnx_backend.run_node(node, inputs, opset_version=version)
    assert fl.onnx_backend is onnx_backend


def test_inputs_by_place_and_by_name() -> None:
    model = model_of(
        [helper.make_node("Sub", ["a", "b"], ["y"])], {"a": ("float32", [None]), "b": ("float32", [2])}, ["y"]
    )
    prepared = onnx_backend.prepare(model)
    one, two = np.ones(2, np.float32), np.full(2, 2, np.float32)
    assert prepared.run([one, two])[0].tolist() == [-1, -1]
    assert prepared.run({"b": one, "a": two})[0].tolist() == [1, 1]
    assert onnx_backend.is_compatible(model)
    for inputs, message in (
        ([one], "got 1 inputs, expected 2"),
        ({"a": one}, "input 'b' is missing"),
        ({"a": one, "b": two, "c": one}, "no inputs .'c'."),
        ([one, two.astype(float)], "'b' is float64, expected float32"),
        ([one, np.ones(3, np.float32)], "'b' has shape .3,., expected .2,."),
        ([np.ones(3, np.float32), two], "node '#0' .operator Sub, opset 17.*broadcast"),
    ):
        with pytest.raises(ValueError, match=message):
            prepared.run(inputs)


def test_unsupported_operators_are_named() -> None:
    model = model_of([helper.make_node("LRN", ["x", "w"], ["y"], name="c1")], {"x": ("float32", None)}, ["y"],
                     {"w": np.ones((1, 1, 1), np.float32)})  # fmt: skip
    with pytest.raises(ValueError, match=r"node 'c1' \(operator LRN, opset 17\) is not supported; supported are Abs"):
        onnx_backend.prepare(model)
    assert not onnx_backend.is_compatible(model)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"hidden_size": 3}, "hidden_size is 3, but R has shape"),
        ({"hidden_size": -1}, "hidden_size is -1, expected at least 1"),
        ({"direction": "backward"}, "direction is 'backward', expected one of forward, reverse, bidirectional"),
        ({"layout": 2}, "layout is 2, expected 0 or 1"),
        ({"input_forget": 2}, "input_forget is 2"),
        ({"clip": -1.0}, "clip is -1.0, expected at least 0"),
        ({"activations": ["Sigmoid", "Tanh"]}, "has 2 activations, expected 3"),
        ({"activations": ["Sigmoid", "Tanh", "Gelu"]}, "activation 'Gelu' is not known"),
        ({"activation_alpha": [0.5]}, "activation_alpha has 1 values more than the activations"),
        ({"activation_beta": [float("nan")]}, "activation_beta must hold numbers"),
        ({"output_sequence": 1}, "attribute 'output_sequence' is not known"),
        ({"clip": "3"}, "attribute 'clip' is '3', expected float"),
    ],
)
def test_wrong_attributes_are_named(attributes: dict[str, Any], message: str) -> None:
    case = LSTMCase(np.random.default_rng(0), direction="forward", hidden=4)
    node = case.node()
    del node.attribute[:]
    node.attribute.extend(helper.make_node("LSTM", [], [], **attributes).attribute)
    arrays = [case.arrays[name] for name in node.input if name]
    with pytest.raises(ValueError, match=message):
        onnx_backend.run_node(node, arrays)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("W", lambda a: a[:, :-1], "W has shape"),
        ("R", lambda a: a[:, :, :-1], "W has shape|R has shape"),
        ("B", lambda a: a[:, :-1], "B has shape"),
        ("P", lambda a: a[0], "P has shape"),
        ("initial_h", lambda a: a[:, :0], "initial_h has shape"),
        ("initial_c", lambda a: a.astype(np.float64), "initial_c is float64 and X is float32"),
        ("sequence_lens", lambda a: a + 100, "sequence_lens holds 10., expected 0 to"),
        ("sequence_lens", lambda a: a - 100, "sequence_lens holds -.*, expected 0 to"),
        ("sequence_lens", lambda a: a[:-1], "sequence_lens has shape"),
        ("X", lambda a: a[0], "X has shape .*, expected three axes"),
        ("X", lambda a: a[:, :, :0], "X has no features"),
    ],
)
def test_inputs_that_do_not_fit_are_named(name: str, change: Any, message: str) -> None:
    rng = np.random.default_rng(0)
    case = LSTMCase(rng, hidden=4, **dict.fromkeys(("bias", "lengths", "initial_h", "initial_c", "peepholes"), True))
    case.arrays[name] = change(case.arrays[name])
    with pytest.raises(ValueError, match=message):
        onnx_backend.run_node(case.node(), case.arrays)
