"""`from_onnx`: files of PyTorch's exporters, graphs that are chains and graphs that are not; the models in use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
from helpers import FINITE_DIFFERENCE, numerical_gradient, relative_error  # noqa: E402
from onnx import helper, numpy_helper  # noqa: E402
from onnx_graphs import LSTMCase, model_of, op  # noqa: E402

import fastlstm as fl  # noqa: E402
from fastlstm import onnx_backend  # noqa: E402
from fastlstm.formats.onnx.graph.layer import OnnxGraph  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.*from_onnx assumes:UserWarning")

FOLDER = Path(__file__).parent / "data" / "onnx"
FILES = sorted(FOLDER.glob("*.onnx"))

FLOAT32 = 2e-6
"""Absolute, of outputs of size 1: 16 ulps. ONNX Runtime's tanh and exp are approximations."""

CHAINS = {
    "lstm": ["LSTM"],
    "lstm_time_first": ["LSTM"],
    "steps": ["LSTM", "Dense"],
    "steps_no_bias": ["LSTM", "Dense", "Activation", "Dense", "Activation"],
    "last": ["LSTM", "Dense"],
    "slice": ["LSTM", "Dense"],
    "stacked": ["LSTM", "LSTM", "Dense"],
    "bidirectional": ["LSTM", "LSTM", "Dense"],
    "bidirectional_last": ["LSTM", "LastStep", "Dense"],
    "bidirectional_steps": ["LSTM", "Dense", "Activation", "Dense", "Activation"],
    "time_first": ["LSTM", "Dense"],
    "time_first_steps": ["LSTM", "LSTM", "Dense"],
    "tokens": ["Embedding", "LSTM", "Dense"],
    "tokens_deep": ["Embedding", "LSTM", "Dense", "Activation", "Dense", "Activation"],
    "mean": ["LSTM", "MeanPool", "Dense"],
    "max": ["LSTM", "MaxPool", "Dense"],
    "norm": ["OnnxGraph"],
    "first": ["OnnxGraph"],
    "attention": ["OnnxGraph"],
    "scaled": ["LSTM", "Dense"],
    "packed": ["LSTM", "Dense"],
    "packed_both": ["LSTM", "LSTM", "Dense"],
}
"""The layers that each exported network becomes, by either exporter."""


def stored(path: Path) -> tuple[np.ndarray, np.ndarray | None, list[np.ndarray], bool]:
    """Return input as (batch, time, ...), lengths, outputs with the batch first, and whether the file is time-major."""
    time_first = "time_first" in path.stem
    with np.load(path.with_suffix(".npz")) as data:
        x, lengths = data["x"], data["lengths"] if "lengths" in data else None
        outputs = [data[f"out{k}"] for k in range(sum(name.startswith("out") for name in data))]
    if time_first:
        x = x.swapaxes(0, 1)
        outputs = [one.swapaxes(0, 1) if one.ndim == 3 and k == 0 else one for k, one in enumerate(outputs)]
    return x, lengths, outputs, time_first


def kinds(model: fl.Model) -> list[str]:
    return [type(layer).__name__ for layer in model.layers]


def test_the_files_are_there() -> None:
    assert len(FILES) == 42


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_exported_networks(path: Path, tmp_path: Path) -> None:
    """Check the layers that a file becomes, their results, and the same after save and load."""
    x, lengths, outputs, _ = stored(path)
    name = path.stem.rpartition("_")[0]
    model = fl.from_onnx(path)
    assert kinds(model) == CHAINS[name]
    got = model.predict(x, lengths)
    expected = outputs[0]
    if lengths is not None and model.per_step:
        expected = np.where((np.arange(x.shape[1]) < lengths[:, None])[..., None], expected, 0)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=FLOAT32)
    model.save(tmp_path / "m.safetensors")
    again = fl.load(tmp_path / "m.safetensors")
    assert again.predict(x, lengths).tobytes() == got.tobytes()


@pytest.mark.parametrize("name", ["lstm_ts", "lstm_export", "lstm_time_first_ts", "lstm_time_first_export"])
def test_each_output_of_an_lstm_alone(name: str) -> None:
    """y and h become the layer LSTM; the state c, which no layer outputs, becomes a graph."""
    x, _, (y, h, c), _ = stored(FOLDER / f"{name}.onnx")
    names = [one.name for one in onnx.load(FOLDER / f"{name}.onnx").graph.output]
    for output, expected, kind in zip(names, (y, h[0], c[0]), ("LSTM", "LSTM", "OnnxGraph"), strict=True):
        model = fl.from_onnx(FOLDER / f"{name}.onnx", output=output)
        assert kinds(model) == [kind]
        np.testing.assert_allclose(model.predict(x), expected, rtol=0, atol=FLOAT32)
    with pytest.raises(ValueError, match=r"output is 'z', expected one of"):
        fl.from_onnx(FOLDER / f"{name}.onnx", output="z")


def test_a_chain_streams_summarizes_and_has_a_scaler(capsys: pytest.CaptureFixture[str]) -> None:
    x, _, (expected,), _ = stored(FOLDER / "scaled_ts.onnx")
    model = fl.from_onnx(FOLDER / "scaled_ts.onnx")
    assert model.scaler is not None and model.target_scaler is None
    np.testing.assert_array_equal(model.scaler.mean_, [1, 2, 3])
    np.testing.assert_array_equal(model.scaler.scale_, [2, 0.5, 1.5])
    np.testing.assert_allclose(model.stream(len(x)).run(x)[:, -1], expected, rtol=0, atol=FLOAT32)
    model.summary()
    assert "1 Dense" in capsys.readouterr().out


# ---------------------------------------------------------------------------------------------- graphs


def test_a_graph_layer_is_a_layer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = FOLDER / "attention_ts.onnx"
    x, _, (expected,), _ = stored(path)
    model = fl.from_onnx(path)
    (layer,) = model.layers
    assert isinstance(layer, OnnxGraph) and "nodes, opset" in repr(layer)
    model.summary()
    assert "OnnxGraph" in capsys.readouterr().out
    with pytest.raises(ValueError, match="layer 0 is a graph of operators, any of which may read the whole series"):
        model.stream()
    # To ONNX again, and a copy.
    model.to_onnx(tmp_path / "again.onnx")
    assert kinds(fl.from_onnx(tmp_path / "again.onnx")) == ["OnnxGraph"]
    np.testing.assert_allclose(fl.from_onnx(tmp_path / "again.onnx").predict(x), expected, rtol=0, atol=FLOAT32)
    import copy

    assert copy.deepcopy(model).predict(x).tobytes() == model.predict(x).tobytes()
    frozen = model.predict(x)
    assert model.freeze().predict(x).tobytes() == frozen.tobytes()


def test_a_graph_learns() -> None:
    """Learn from labels whether the first or the second half of a series is higher, by attention over an LSTM."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 10, 3)).astype(np.float32)
    y = rng.integers(0, 2, 64)
    x[:, :5, 0] += 2 * y[:, None]
    model = fl.from_onnx(FOLDER / "attention_export.onnx")
    history = model.fit(x, y, epochs=30, optimizer=fl.Adam(lr=0.02), verbose=0)
    assert history.history["loss"][-1] < 0.2 < history.history["loss"][0]
    before = fl.from_onnx(FOLDER / "attention_export.onnx").parameters()
    changed = {name for name, value in model.parameters().items() if not np.array_equal(value, before[name])}
    assert {"0.head.weight", "0.head.bias"} <= changed and len(changed) >= 5


@pytest.mark.parametrize("name", ["attention_ts", "first_export"])
def test_lengths_of_a_graph_without_lengths(name: str) -> None:
    """Each case gives the result that it has alone, at its own length."""
    model = fl.from_onnx(FOLDER / f"{name}.onnx", dtype="float64")
    rng = np.random.default_rng(1)
    x, lengths = rng.standard_normal((6, 6, 3)), np.array([6, 2, 6, 3, 2, 1])
    if name == "first_export":
        lengths[:] = 6  # this file accepts no other size
        lengths = lengths[:6]
    got = model.predict(x, lengths)
    for k, steps in enumerate(lengths):
        alone = model.predict(x[k : k + 1, :steps])
        np.testing.assert_allclose(got[k], alone[0], rtol=0, atol=1e-12)


def graph_model(nodes: list[Any], initializers: dict[str, np.ndarray], features: int = 3, **more: Any) -> fl.Model:
    shape = more.pop("shape", ["b", "t", features])
    proto = model_of(nodes, {"x": ("float64", shape)}, ["y"], initializers, more.pop("opset", 18))
    return fl.from_onnx(proto, **more)


def check_gradients(model: fl.Model, x: np.ndarray, lengths: np.ndarray | None = None) -> None:
    """Check gradients of a random linear function of the output with respect to all parameters and the input."""
    rng = np.random.default_rng(7)
    weight = rng.standard_normal(model.forward(x, lengths).shape)
    if lengths is not None and model.per_step:
        weight[np.arange(x.shape[1]) >= lengths[:, None]] = 0

    def value() -> float:
        return float((model.forward(x, lengths) * weight).sum())

    model.zero_grad()
    model.forward(x, lengths, training=True)
    dx = model.backward(weight)
    for name, gradient in model.gradients().items():
        if name in ("0.mean", "0.variance"):  # statistics, which are not trained
            assert not gradient.any()
            continue
        expected = numerical_gradient(value, model.parameters()[name])
        assert relative_error(gradient, expected) <= FINITE_DIFFERENCE, name
    expected = numerical_gradient(value, x)
    assert relative_error(dx, expected) <= FINITE_DIFFERENCE, "input"


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return 0.5 * np.random.default_rng(seed).standard_normal(shape)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


V, M = normal(3, seed=1), normal(3, 3, seed=2)

ELEMENTWISE = {
    "Add": [op("Add", "x,v")],
    "Sub": [op("Sub", "v,x")],
    "Mul": [op("Mul", "x,v")],
    "Div": [op("Exp", "v", "e"), op("Div", "x,e")],
    "Div by the data": [op("Exp", "x", "e"), op("Div", "v,e")],
    "Pow": [op("Exp", "x", "e"), op("Exp", "v", "f"), op("Pow", "e,f")],
    "Neg Abs Exp Log": [op("Neg", "x", "a"), op("Abs", "a", "b"), op("Exp", "b", "c"), op("Mul", "c,v", "d"),
                        op("Abs", "d", "e"), op("Log", "e")],
    "Sqrt Reciprocal": [op("Exp", "x", "a"), op("Sqrt", "a", "b"), op("Mul", "b,v", "c"), op("Reciprocal", "c")],
    "Max Min Sum": [op("Max", "x,v", "a"), op("Neg", "v", "n"), op("Min", "a,n", "b"), op("Sum", "a,b,x")],
    "Where": [op("Greater", "x,v", "c"), op("Where", "c,x,v")],
    "Clip": [op("Mul", "x,v", "a"), op("Clip", "a,low,high")],
    "Identity Dropout Cast": [op("Identity", "x", "a"), op("Dropout", "a", "b"), op("Cast", "b", "c", to=1),
                              op("Mul", "c,v")],
    **{
        name: [op("Add", "x,v", "a"), op(name, "a")]
        for name in ("Relu", "LeakyRelu", "Elu", "HardSigmoid", "Softplus", "Softsign", "Sigmoid", "Tanh",
                     "ThresholdedRelu")
    },
}  # fmt: skip
SHAPING = {
    "Transpose Reshape": [op("Transpose", "x", "a", perm=[0, 2, 1]), op("Mul", "v1,a", "b"),
                          op("Transpose", "b", "c", perm=[0, 2, 1]), op("Reshape", "c,like")],
    "Unsqueeze Squeeze Expand": [op("Unsqueeze", "x,one", "a"), op("Expand", "a,twice", "b"),
                                 op("ReduceSum", "b,one", "c", keepdims=0), op("Unsqueeze", "c,one", "d"),
                                 op("Squeeze", "d,one", "e"), op("Mul", "e,v")],
    "Slice Concat": [op("Slice", "x,begin,end,last,step", "a"), op("Concat", "a,x", "b", axis=2), op("Tanh", "b", "c"),
                     op("MatMul", "c,wide")],
    "Split": [op("Split", "x,sizes", "a,b", axis=2), op("Concat", "b,a,b", "c", axis=2), op("Mul", "c,c", "d"),
              op("MatMul", "d,wide")],
    "Split, one part": [op("Split", "x,sizes", "a,b", axis=2), op("Mul", "b,v2")],
    "Gather": [op("Gather", "x,turn", "a", axis=2), op("Mul", "a,v")],
    "Gather of a table": [op("Gather", "m,turn", "a"), op("MatMul", "x,a")],
    "ReverseSequence": [op("ReverseSequence", "x,lengths", "a", batch_axis=0, time_axis=1), op("Mul", "a,v")],
    "Tile": [op("Tile", "x,tiles", "a"), op("Mul", "a,a", "b"), op("MatMul", "b,wide6")],
    "Flatten": [op("Flatten", "x", "a", axis=2), op("MatMul", "a,m", "b"), op("Shape", "x", "s"), op("Reshape", "b,s")],
}  # fmt: skip
REDUCING = {
    "MatMul": [op("MatMul", "x,m", "a"), op("Tanh", "a", "b"), op("MatMul", "b,v", "c"), op("Unsqueeze", "c,last")],
    "MatMul of two data": [op("Transpose", "x", "t", perm=[0, 2, 1]), op("MatMul", "x,t", "a"),
                           op("MatMul", "a,x", "b"), op("Mul", "b,v")],
    "Gemm": [op("ReduceMean", "x,one", "a", keepdims=0), op("Gemm", "m,a", "b", transA=1, transB=1, alpha=0.5),
             op("Transpose", "b", "c"), op("Gemm", "c,m,v", "y", alpha=2.0, beta=0.25)],
    "ReduceSum": [op("ReduceSum", "x,one", "a", keepdims=0), op("Mul", "a,v")],
    "ReduceMean": [op("ReduceMean", "x,last", "a"), op("Mul", "a,x", "b"), op("Mul", "b,v")],
    "ReduceMax": [op("ReduceMax", "x,one", "a", keepdims=1), op("Mul", "a,x", "b"), op("Mul", "b,v")],
    "ReduceMin": [op("ReduceMin", "x,pair", "a", keepdims=0), op("Unsqueeze", "a,one", "b"), op("Mul", "b,v")],
    "ReduceProd": [op("ReduceProd", "x,pair", "a", keepdims=1), op("Mul", "a,x", "b"), op("Mul", "b,v")],
    "ReduceSumSquare": [op("ReduceSumSquare", "x,one", "a", keepdims=1), op("Mul", "a,x", "b"), op("Mul", "b,v")],
    "GlobalAveragePool": [op("GlobalAveragePool", "x", "a"), op("Mul", "a,x", "b"), op("Mul", "b,v")],
    "Pad": [op("Pad", "x,around", "a", mode="reflect"), op("MatMul", "a,wide")],
    "Softmax": [op("Mul", "x,v", "a"), op("Softmax", "a", "b", axis=1), op("Mul", "b,x")],
    "LogSoftmax": [op("Mul", "x,v", "a"), op("LogSoftmax", "a", "b", axis=-1), op("Mul", "b,x")],
    "LayerNormalization": [op("LayerNormalization", "x,v,w", "a"), op("Mul", "a,x")],
    "BatchNormalization": [op("Transpose", "x", "a", perm=[0, 2, 1]),
                           op("BatchNormalization", "a,v,w,mean,variance", "b"),
                           op("Transpose", "b", "c", perm=[0, 2, 1]), op("Tanh", "c")],
}  # fmt: skip
CONSTANTS = {
    "v": V, "w": normal(3, seed=3), "m": M, "v1": V[None, :, None], "v2": V[:2], "mean": normal(3, seed=6),
    "variance": np.abs(V) + 0.5,
    "wide": normal(5, 3, seed=4), "wide6": normal(6, 3, seed=5), "one": ints(1), "last": ints(2), "pair": ints(1, 2),
    "twice": ints(1, 2, 1, 1), "begin": ints(-1), "end": ints(-3), "step": ints(-1), "sizes": ints(1, 2),
    "turn": ints(2, 0, -1), "tiles": ints(1, 1, 2), "lengths": ints(3, 1), "like": ints(0, -1, 3),
    "around": ints(0, 0, 1, 0, 0, 1), "low": np.array(-0.3), "high": np.array(0.25),
}  # fmt: skip


@pytest.mark.parametrize("name", [*ELEMENTWISE, *SHAPING, *REDUCING])
def test_gradients_of_each_operator(name: str) -> None:
    """Compare with finite differences, for parameters and input, each operator alone and once before another."""
    nodes = {**ELEMENTWISE, **SHAPING, **REDUCING}[name]
    used = {one for node in nodes for one in node.input}
    # So that no operator alone is a chain of layers.
    nodes = [*nodes[:-1], helper.make_node(nodes[-1].op_type, nodes[-1].input, ["z"])]
    nodes[-1].attribute.extend({**ELEMENTWISE, **SHAPING, **REDUCING}[name][-1].attribute)
    nodes.append(op("Sum", "z,z"))
    constants = {key: value for key, value in CONSTANTS.items() if key in used}
    if "Split" in name or name == "Pad":
        constants["wide"] = CONSTANTS["wide"]
    model = graph_model(nodes, constants, dtype="float64")
    assert kinds(model) == ["OnnxGraph"]
    check_gradients(model, normal(2, 4, 3, seed=11))


@pytest.mark.parametrize("seed", range(8))
def test_gradients_of_the_operator_lstm(seed: int) -> None:
    """Check gradients with respect to X, W, R, B, P, initial_h, initial_c through all three outputs."""
    rng = np.random.default_rng(seed)
    case = LSTMCase(
        rng,
        "float64",
        direction=("forward", "reverse", "bidirectional", "bidirectional")[seed % 4],
        layout=seed % 2,
        hidden=3,
        size=3,
        batch=2,
        time=4,
        lengths=False,
        initial_h=True,
        initial_c=True,
        bias=seed % 3 > 0,
        outputs=("Y", "Y_h", "Y_c"),
        clip=1.0 if seed >= 6 else None,
        activations=["Sigmoid", "Tanh", "Softsign", "HardSigmoid", "Tanh", "Tanh"] if seed == 3 else None,
    )
    arrays = dict(case.arrays)
    del arrays["X"]
    n, h = case.directions, case.hidden
    nodes: list[Any] = []
    x = "x"
    if not case.layout:
        nodes.append(op("Transpose", "x", "xt", perm=[1, 0, 2]))
        x = "xt"
    node = case.node()
    node.input[0] = x
    nodes.append(node)
    if case.layout:
        nodes += [op("Reshape", "Y,flat", "f")]
        nodes += [op("Reshape", "Y_h,row", "hr"), op("Reshape", "Y_c,row", "cr")]
    else:
        nodes += [op("Transpose", "Y", "yt", perm=[2, 0, 1, 3]), op("Reshape", "yt,flat", "f")]
        nodes += [op("Transpose", "Y_h", "ht", perm=[1, 0, 2]), op("Reshape", "ht,row", "hr")]
        nodes += [op("Transpose", "Y_c", "ct", perm=[1, 0, 2]), op("Reshape", "ct,row", "cr")]
    nodes += [op("Mul", "f,hr", "g"), op("Add", "g,cr")]
    arrays |= {"flat": ints(0, 0, n * h), "row": ints(0, 1, n * h)}
    model = graph_model(nodes, arrays, dtype="float64", time_major=False, shape=[2, "t", 3])
    assert kinds(model) == ["OnnxGraph"]
    check_gradients(model, normal(2, 4, 3, seed=12))


def test_gradients_with_lengths_and_of_an_embedding() -> None:
    model = fl.from_onnx(FOLDER / "attention_ts.onnx", dtype="float64")
    check_gradients(model, normal(5, 4, 3), np.array([4, 2, 4, 1, 2]))
    nodes = [op("Gather", "table,x", "e"), op("Sigmoid", "e", "s"), op("Sub", "s,v")]
    proto = model_of(nodes, {"x": ("int64", ["b", "t"])}, ["y"], {"table": normal(5, 3), "v": V})
    model = fl.from_onnx(proto)
    assert model.takes_tokens and model.dtype == np.float64 and kinds(model) == ["OnnxGraph"]
    tokens = np.array([[0, 4, 4], [2, 0, 4]])
    weight = normal(2, 3, 3, seed=5)
    model.forward(tokens, training=True)
    assert model.backward(weight) is None
    expected = numerical_gradient(lambda: float((model.forward(tokens) * weight).sum()), model.parameters()["0.table"])
    assert relative_error(model.gradients()["0.table"], expected) <= FINITE_DIFFERENCE
    with pytest.raises(ValueError, match="operator Gather.*an index is 5, but the axis has size 5"):
        model.predict(np.array([[5]]))


def test_lengths_input_of_a_graph() -> None:
    """An input that the LSTM uses as sequence_lens is the model's lengths, in a graph as in a chain."""
    case = LSTMCase(np.random.default_rng(0), direction="forward", hidden=4, size=3, lengths=True, initial_h=False,
                    initial_c=False, peepholes=False, coupled=False, outputs=("Y", "", "Y_c"))  # fmt: skip
    nodes = [op("Cast", "n", "sequence_lens", to=6), case.node()]
    nodes[1].input[0] = "x"
    weights = {name: case.arrays[name] for name in ("W", "R", "B") if name in case.arrays}
    proto = model_of(nodes, {"x": ("float32", [None, None, 3]), "n": ("int64", [None])}, ["Y", "Y_c"], weights)
    rng = np.random.default_rng(1)
    x, lengths = rng.standard_normal((4, 5, 3)).astype(np.float32), np.array([5, 1, 3, 2])
    y, c = onnx_backend.run_model(proto, {"x": x.swapaxes(0, 1), "n": lengths})
    chain, graph = fl.from_onnx(proto), fl.from_onnx(proto, output="Y_c")
    assert (kinds(chain), kinds(graph)) == (["LSTM"], ["OnnxGraph"])
    np.testing.assert_allclose(chain.predict(x, lengths), y[:, 0].swapaxes(0, 1), rtol=0, atol=FLOAT32)
    np.testing.assert_allclose(graph.predict(x, lengths), c[0], rtol=0, atol=FLOAT32)
    full = onnx_backend.run_model(proto, {"x": x.swapaxes(0, 1), "n": np.full(4, 5)})[1]
    np.testing.assert_allclose(graph.predict(x), full[0], rtol=0, atol=FLOAT32)


@pytest.mark.parametrize("seed", range(40))
def test_any_lstm_node_becomes_a_model(seed: int) -> None:
    """Random nodes without states give the same result whether they become a layer or a graph."""
    rng = np.random.default_rng(seed)
    case = LSTMCase(
        rng, initial_h=False, initial_c=False, lengths=False, layout=seed % 2, outputs=("Y", "Y_h", "Y_c"),
        clip=0.8 if seed % 5 == 4 else None,
    )  # fmt: skip
    x = case.arrays["X"]
    ours = x if case.layout else x.swapaxes(0, 1)
    y, h, c = onnx_backend.run_model(case.model(), case.feed())
    b, t, width = case.batch, case.time, case.directions * case.hidden
    if not case.layout:
        y, h, c = y.transpose(2, 0, 1, 3), h.transpose(1, 0, 2), c.transpose(1, 0, 2)
    for output, expected in (
        ("Y", y.reshape(b, t, width)),
        ("Y_h", h.reshape(b, width)),
        ("Y_c", c.reshape(b, width)),
    ):
        model = fl.from_onnx(case.model(), output=output)
        np.testing.assert_allclose(model.predict(ours), expected, rtol=0, atol=FLOAT32, err_msg=output)


def test_time_major_is_detected_or_given() -> None:
    """If no LSTM shows the order of the axes, the user has to say it."""
    nodes = [op("LogSoftmax", "x", "a", axis=2), op("CumMul", "a")]
    nodes[1] = op("ReduceMax", "a,zero", "y", keepdims=0)
    proto = model_of(nodes, {"x": ("float32", ["t", "b", 3])}, ["y"], {"zero": ints(0)}, 18)
    x = normal(4, 5, 3).astype(np.float32)
    model = fl.from_onnx(proto, time_major=True)
    expected = x - x.max(-1, keepdims=True)
    expected = (expected - np.log(np.exp(expected).sum(-1, keepdims=True))).max(1)
    np.testing.assert_allclose(model.predict(x), expected, rtol=0, atol=FLOAT32)
    with pytest.raises(ValueError, match="time_major is True, but the graph"):
        fl.from_onnx(FOLDER / "last_ts.onnx", time_major=True)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"x": ("float32", [1, 2, 3]), "h": ("float32", [1, 2, 3])}, r"inputs \['x', 'h'\]; .*onnx_backend.prepare"),
        ({"x": ("float32", [1, 2]), "h": ("float32", None)}, r"inputs \['x', 'h'\]"),
    ],
)
def test_unsupported_inputs(inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fl.from_onnx(model_of([op("Add", "x,h")], inputs, ["y"]))


def test_unsupported_shapes() -> None:
    for inputs, message in (
        ({"x": ("float32", [1, 2])}, "'x' is float32 with 2 axes, expected floating-point numbers .batch, time"),
        ({"x": ("bool", [1, 2, 3])}, "'x' is bool"),
        ({"x": ("float32", [1, 2, None])}, "does not determine how many features"),
    ):
        with pytest.raises(ValueError, match=message):
            fl.from_onnx(model_of([op("Neg", "x")], inputs, ["y"]))
    with pytest.raises(ValueError, match="'v' holds NaN or infinity"):
        fl.from_onnx(model_of([op("Add", "x,v")], {"x": ("float32", [1, 2, 2])}, ["y"],
                              {"v": np.array([1, np.nan], np.float32)}))  # fmt: skip
    with pytest.raises(TypeError, match="source must be a path, bytes or an onnx.ModelProto, got int"):
        fl.from_onnx(3)


def test_a_file_for_one_size_says_so() -> None:
    model = fl.from_onnx(FOLDER / "first_export.onnx")
    assert model.predict(np.zeros((9, 6, 3))).shape == (9, 2)
    nodes = [op("Reshape", "x,shape", "a"), op("LogSoftmax", "a")]
    proto = model_of(nodes, {"x": ("float32", [2, 4, 3])}, ["y"], {"shape": ints(2, 4, 3)})
    model = fl.from_onnx(proto)
    assert model.predict(np.zeros((2, 4, 3))).shape == (2, 4, 3)
    with pytest.raises(ValueError, match=r"operator Reshape, opset 17\): \(3, 4, 3\) cannot be reshaped to"):
        model.predict(np.zeros((3, 4, 3)))


def test_bytes_protos_and_paths_give_the_same_model() -> None:
    path = FOLDER / "last_ts.onnx"
    expected = fl.from_onnx(path).flat_parameters.tobytes()
    for source in (str(path), path.read_bytes(), onnx.load(path)):
        assert fl.from_onnx(source).flat_parameters.tobytes() == expected
    assert fl.from_onnx(path, dtype="float64").dtype == np.float64


def test_half_precision_files() -> None:
    proto = onnx.load(FOLDER / "steps_ts.onnx")
    for tensor in proto.graph.initializer:
        half = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
    for node in proto.graph.node:
        for attribute in node.attribute:
            if attribute.name == "value" and attribute.t.data_type == 1:
                half = numpy_helper.to_array(attribute.t).astype(np.float16)
                attribute.t.CopyFrom(numpy_helper.from_array(half))
    proto.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    x, _, (expected,), _ = stored(FOLDER / "steps_ts.onnx")
    model = fl.from_onnx(proto)
    assert model.dtype == np.float32
    np.testing.assert_allclose(model.predict(x), expected, rtol=0, atol=2e-3)  # weights of 11 bits
