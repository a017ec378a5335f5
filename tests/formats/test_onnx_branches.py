"""Nodes If whose branch shapes and constants decide, and the operator Pad."""

from __future__ import annotations

import io
import itertools
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
from helpers import numerical_gradient, relative_error  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx_graphs import model_of, op  # noqa: E402

import fastlstm as fl  # noqa: E402
from fastlstm import onnx_backend, reference  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.*from_onnx assumes:UserWarning")

Array = np.ndarray
X = {"x": ("float32", ["batch", "time", 3])}


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


def lstm(hidden: int = 4, features: int = 3) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    shapes = {"W": (1, 4 * hidden, features), "R": (1, 4 * hidden, hidden), "B": (1, 8 * hidden)}
    return {name: rng.uniform(-1, 1, shape).astype(np.float32) for name, shape in shapes.items()}


def branch(nodes: list[Any], output: str, constants: dict[str, Array] | None = None) -> Any:
    made = [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()]
    return helper.make_graph(
        nodes, "branch", [], [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)], made
    )


def squeezed(condition: list[Any], constants: dict[str, Array] | None = None, shape: Any = None) -> Any:
    """Return a graph whose LSTM's Y_h is squeezed within an If, as TorchScript writes squeeze(0)."""
    nodes = [
        op("Transpose", "x", "t", perm=[1, 0, 2]),
        op("LSTM", "t,W,R,B", "Y,Yh", hidden_size=4),
        *condition,
        helper.make_node(
            "If",
            ["cond"],
            ["y"],
            "choice",
            then_branch=branch([op("Squeeze", "Yh,axes", "inner")], "inner", {"axes": ints(0)}),
            else_branch=branch([op("Identity", "Yh", "inner")], "inner"),
        ),
    ]
    inputs = {"x": ("float32", shape or ["batch", "time", 3])}
    return model_of(nodes, inputs, ["y"], {**lstm(), "one": ints(1), **(constants or {})})


OF_SHAPE = [
    op("Shape", "Yh", "shape"),
    op("Gather", "shape,first", "size"),
    op("Equal", "size,one", "cond"),
]


def runtime(proto: Any, **feed: Array) -> Array:
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, feed)[0])


def test_a_squeeze_whose_axis_the_shape_decides() -> None:
    proto = squeezed(OF_SHAPE, {"first": ints(0)})
    x = np.random.default_rng(1).standard_normal((5, 7, 3)).astype(np.float32)
    model = fl.from_onnx(proto)
    assert [type(layer).__name__ for layer in model.layers] == ["LSTM"]
    np.testing.assert_allclose(model.predict(x), runtime(proto, x=x), atol=2e-6)
    (backend,) = onnx_backend.prepare(proto).run({"x": x})
    np.testing.assert_allclose(backend, runtime(proto, x=x), atol=2e-6)


@pytest.mark.filterwarnings("ignore")  # PyTorch's older exporter has many
def test_torch_squeeze_of_an_axis_of_unknown_size() -> None:
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.lstm = torch.nn.LSTM(3, 4, batch_first=True)
            self.fc = torch.nn.Linear(4, 2)

        def forward(self, x: Any) -> Any:
            _, (h, _) = self.lstm(x)
            return self.fc(h.squeeze(0))

    net = Net().eval()
    file = io.BytesIO()
    names = {"x": {0: "batch", 1: "time"}}
    torch.onnx.export(net, (torch.zeros(2, 5, 3),), file, input_names=["x"], dynamic_axes=names, dynamo=False)
    x = np.random.default_rng(1).standard_normal((4, 6, 3)).astype(np.float32)
    with torch.no_grad():
        expected = net(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(fl.from_onnx(file.getvalue()).predict(x), expected, atol=2e-6)


def test_branches_within_branches_and_names_that_occur_twice() -> None:
    def nested(depth: int) -> Any:
        """Multiply by 2 in each branch; the names within are the same at every depth."""
        inner = (
            [op("Mul", "x,two", "v")]
            if depth == 0
            else [
                helper.make_node("If", ["yes"], ["u"], then_branch=nested(depth - 1), else_branch=branch([], "x")),
                op("Mul", "u,two", "v"),
            ]
        )
        return branch(inner, "v", {"two": np.float32([2])})

    for depth in (0, 3, 6):
        node = helper.make_node("If", ["yes"], ["w"], then_branch=nested(depth), else_branch=branch([], "x"))
        proto = model_of([node, op("Sum", "w,w", "y")], X, ["y"], {"yes": np.array(True)})
        x = np.ones((2, 3, 3), np.float32)
        expected = 2.0 ** (depth + 2)
        assert (fl.from_onnx(proto).predict(x) == expected).all()
    node = helper.make_node("If", ["yes"], ["w"], then_branch=nested(12), else_branch=branch([], "x"))
    with pytest.raises(ValueError, match="stands within 8 others, and at most 8 are supported"):
        fl.from_onnx(model_of([node, op("Sum", "w,w", "y")], X, ["y"], {"yes": np.array(True)}))


VALUES = [op("ReduceSum", "x", "total", keepdims=0), op("Greater", "total,zero", "cond")]
BATCH = [op("Shape", "x", "shape"), op("Gather", "shape,first", "size"), op("Equal", "size,one", "cond")]


@pytest.mark.parametrize(
    ("condition", "constants", "message"),
    [
        (VALUES, {"zero": np.float32(0)}, "depends on the values of the inputs, and only what shapes"),
        (BATCH, {"first": ints(0)}, "depends on the sizes of the inputs .*export the model with fixed sizes"),
        ([op("Shape", "x", "cond")], {}, "its condition has 3 elements, expected one"),
        ([op("Identity", "y", "cond")], {}, "its condition depends on itself"),
        ([op("Identity", "none", "cond")], {}, "'none' is missing from the graph"),
        ([], {}, "'cond' is missing from the graph"),
    ],
)
def test_branches_that_nothing_decides(condition: list[Any], constants: dict[str, Array], message: str) -> None:
    for read in (fl.from_onnx, onnx_backend.prepare):
        with pytest.raises(ValueError, match=f"node 'choice'.*{message}" if "missing" not in message else message):
            read(squeezed(condition, constants))


def test_a_batch_of_fixed_size_decides() -> None:
    proto = squeezed(BATCH, {"first": ints(0)}, [1, "time", 3])
    x = np.random.default_rng(1).standard_normal((1, 7, 3)).astype(np.float32)
    np.testing.assert_allclose(fl.from_onnx(proto).predict(x), runtime(proto, x=x), atol=2e-6)


def damaged(change: Any) -> Any:
    proto = squeezed(OF_SHAPE, {"first": ints(0)})
    change(proto.graph.node[-1])
    return proto


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda node: node.attribute.__delitem__(0), "expected then_branch and else_branch"),
        (lambda node: node.attribute.append(node.attribute[0]), "expected then_branch and else_branch"),
        (lambda node: setattr(node.attribute[0], "type", 1), "is no graph without inputs"),
        (lambda node: node.attribute[1].g.input.add(name="q"), "is no graph without inputs"),
        (lambda node: [a.g.output.add(name="Yh") for a in node.attribute], "a branch gives 2 values, expected 1"),
        (lambda node: node.input.append("x"), "expected one, the condition"),
        (lambda node: node.input.__delitem__(0), "expected one, the condition"),
        (lambda node: setattr(node, "domain", "com.microsoft"), "domain 'com.microsoft' is not supported"),
        (lambda node: [setattr(a.g.node[0], "op_type", "Loop") for a in node.attribute], "operator Loop"),
        (lambda node: [a.g.initializer.add(name="axes") for a in node.attribute], "axes"),
        (lambda node: [setattr(a.g.output[0], "name", "none") for a in node.attribute], "'none' is missing"),
    ],
    ids=itertools.count(),
)
def test_damaged_branches_are_refused(change: Any, message: str) -> None:
    for read in (fl.from_onnx, onnx_backend.prepare):
        with pytest.raises(ValueError, match=message):
            read(damaged(change))


# ------------------------------------------------------------------ Pad

MODES = [("constant", 0.0), ("constant", 2.5), ("reflect", 0.0), ("edge", 0.0)]


@pytest.mark.parametrize(("mode", "value"), MODES)
def test_the_operator_pad(mode: str, value: float) -> None:
    """As in ONNX Runtime, also of several axes and with the input `axes`; the gradient is that of the reference."""
    x = np.random.default_rng(2).standard_normal((3, 5, 3)).astype(np.float32)
    for opset, pads, axes in ((17, [1, 2, 1, 0, 3, 2], None), (18, [2, 1, 3, 0], [1, -1]), (18, [0, 0], [1])):
        inputs = f"x,pads,value{',axes' if axes else ''}"
        constants = {"pads": ints(*pads), "value": np.float32(value), **({"axes": ints(*axes)} if axes else {})}
        proto = model_of([op("Pad", inputs, mode=mode)], X, ["y"], constants, opset)
        (got,) = onnx_backend.prepare(proto).run({"x": x})
        np.testing.assert_array_equal(got, runtime(proto, x=x))
    old = model_of([op("Pad", "x", mode=mode, value=value, pads=[0, 1, 0, 0, 2, 0])], X, ["y"], {}, 10)
    (got,) = onnx_backend.prepare(old).run({"x": x})
    np.testing.assert_array_equal(got, reference.pad_forward(x, 1, 2, mode, value))


@pytest.mark.parametrize(("mode", "value"), MODES)
def test_pad_as_a_layer_and_in_a_graph(mode: str, value: float) -> None:
    constants = {"pads": ints(0, 0, 2, 0, 0, 3), "value": np.float32(value), **lstm(4, 6)}
    constants["K"] = np.random.default_rng(3).uniform(-1, 1, (6, 3, 4)).astype(np.float32)
    nodes = [
        op("Transpose", "x", "a", perm=[0, 2, 1]),
        op("Pad", "a,pads,value", "b", mode=mode),
        op("Conv", "b,K", "c", strides=[2]),
        op("Transpose", "c", "d", perm=[2, 0, 1]),
        op("LSTM", "d,W,R,B", "Y,Yh", hidden_size=4),
        op("Squeeze", "Yh,zero", "y"),
    ]
    proto = model_of(nodes, X, ["y"], {**constants, "zero": ints(0)})
    x = np.random.default_rng(1).standard_normal((5, 9, 3)).astype(np.float32)
    model = fl.from_onnx(proto)
    assert [type(layer).__name__ for layer in model.layers] == ["Pad1D", "Conv1D", "LSTM"]
    np.testing.assert_allclose(model.predict(x), runtime(proto, x=x), atol=2e-6)
    nodes.insert(2, op("Exp", "b", "e"))  # which no layer has
    nodes[3] = op("Conv", "e,K", "c", strides=[2])
    graph = fl.from_onnx(model_of(nodes, X, ["y"], {**constants, "zero": ints(0)}), dtype="float64")
    assert type(graph.layers[0]).__name__ == "OnnxGraph"
    small = x[:2, :6].astype(np.float64)
    out = graph.forward(small, training=True)
    weight = np.random.default_rng(0).standard_normal(out.shape)
    graph.zero_grad()
    dx = graph.backward(weight)
    found = numerical_gradient(lambda: float((graph.forward(small) * weight).sum()), small)
    assert relative_error(dx, found) < 1e-6


@pytest.mark.parametrize(
    ("pads", "mode", "message"),
    [
        ([0, 0, 0, 0, -1, 0], "constant", "expected 0 or more: nothing is cut off"),
        ([0, 0, 0, 0, 1], "constant", "expected two numbers for each of 3 axes"),
        ([0, 9, 0, 0, 0, 0], "reflect", "reflects 9 elements of an axis that has"),
        ([0, 1, 0, 0, 0, 0], "wrap", "mode is 'wrap'"),
        ([0, 2**40, 0, 0, 0, 0], "constant", "expected 0 or more"),
        ([0, 2**30, 0, 0, 0, 0], "edge", "would take more memory"),
    ],
)
def test_pads_that_are_refused(pads: list[int], mode: str, message: str) -> None:
    proto = model_of([op("Pad", "x,pads", "p", mode=mode), op("Sum", "p,p")], X, ["y"], {"pads": ints(*pads)}, 19)
    with pytest.raises(ValueError, match=message):
        onnx_backend.prepare(proto).run({"x": np.ones((2, 4, 3), np.float32)})
    if mode != "reflect":  # a layer that takes longer series
        with pytest.raises(ValueError, match=r"Pad|memory"):
            fl.from_onnx(proto)
