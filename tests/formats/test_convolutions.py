"""Convolutions of PyTorch and ONNX as `Conv1D`; those of Keras are among the files of test_keras.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm as fl

Array = np.ndarray


def kinds(model: fl.Model) -> list[str]:
    return [type(layer).__name__ for layer in model.layers]


# ------------------------------------------------------------------ PyTorch


def detector(**options: Any) -> Any:
    """Return a module: convolutions between two transpositions, an LSTM, a linear layer."""
    nn = pytest.importorskip("torch").nn

    class Detector(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Sequential(
                nn.Conv1d(3, 8, 5, stride=2, padding=2),
                nn.ReLU(),
                nn.Conv1d(8, 6, 3, **options),
                nn.ELU(),
            )
            self.lstm = nn.LSTM(6, 7, batch_first=True)
            self.fc = nn.Linear(7, 2)

        def forward(self, x: Any) -> Any:
            y, _ = self.lstm(self.conv(x.transpose(1, 2)).transpose(1, 2))
            return self.fc(y[:, -1])

    return Detector()


@pytest.mark.parametrize(
    "options",
    [{}, {"padding": "same", "dilation": 3}, {"groups": 2, "bias": False, "stride": 3}, {"padding": 4, "dilation": 2}],
    ids=str,
)
def test_modules_with_convolutions(options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = detector(**options)
    model = fl.from_torch(module)
    assert kinds(model) == ["Conv1D", "Activation", "Conv1D", "Activation", "LSTM", "Dense"]
    x = np.random.default_rng(1).standard_normal((4, 40, 3)).astype("f4")
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(model.predict(x), expected, atol=2e-6)
    back = detector(**options)
    names = [name for name, _ in module.named_children()]
    assert names == ["conv", "lstm", "fc"]
    state = model.to_torch_state_dict(prefixes=["conv.0", "conv.2", "lstm", "fc"])
    back.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    with torch.no_grad():
        np.testing.assert_array_equal(back(torch.from_numpy(x)).numpy(), expected)


def test_windows_of_many_steps_are_compared_on_longer_series() -> None:
    torch = pytest.importorskip("torch")

    class Wide(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, wrong: bool) -> None:
            super().__init__()
            self.conv = torch.nn.Conv1d(2, 4, 40)
            self.lstm = torch.nn.LSTM(4, 3, batch_first=True)
            self.wrong = wrong

        def forward(self, x: Any) -> Any:
            y = self.conv(x.transpose(1, 2)).transpose(1, 2)
            return self.lstm(y.relu() if self.wrong else y)[0][:, -1]

    assert kinds(fl.from_torch(Wide(False))) == ["Conv1D", "LSTM"]
    with pytest.raises(ValueError, match="the module computes something else than the layers Conv1d 'conv', LSTM"):
        fl.from_torch(Wide(True))


def test_what_has_no_counterpart_in_pytorch() -> None:
    pytest.importorskip("torch")
    with pytest.raises(ValueError, match=r"Conv1d 'conv.2': padding_mode='reflect' is not supported"):
        fl.from_torch(detector(padding=1, padding_mode="reflect"))
    state = {"conv.weight": np.zeros((4, 3, 5), "f4"), "lstm.weight_ih_l0": np.zeros((8, 4), "f4")}
    with pytest.raises(ValueError, match=r"'conv.weight' has shape \(4, 3, 5\), that of an nn.Conv1d, whose stride"):
        fl.from_torch(state)


# ------------------------------------------------------------------ ONNX


def graph(nodes: list[Any], constants: dict[str, Array], shape: list[Any], output: list[Any]) -> bytes:
    onnx = pytest.importorskip("onnx")
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", float32, shape)],
        [helper.make_tensor_value_info("y", float32, output)],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


PADS: list[dict[str, Any]] = [
    {},
    {"pads": [2, 2]},
    {"pads": [4, 0], "dilations": [2]},
    {"pads": [1, 3], "strides": [3]},
    {"auto_pad": "SAME_UPPER", "strides": [2]},
    {"auto_pad": "SAME_LOWER"},
    {"auto_pad": "VALID", "group": 2},
]


def convolution(attributes: dict[str, Any], time: Any = "time") -> bytes:
    """Return a graph with a convolution, a relu, an LSTM and its last state."""
    helper = pytest.importorskip("onnx").helper
    rng = np.random.default_rng(2)
    groups = attributes.get("group", 1)
    constants = {
        "w": rng.standard_normal((6, 4 // groups, 3)).astype("f4"),
        "b": rng.standard_normal(6).astype("f4"),
        "W": rng.standard_normal((1, 20, 6)).astype("f4"),
        "R": rng.standard_normal((1, 20, 5)).astype("f4"),
        "axis": np.array([0]),
    }
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 2, 1]),
        helper.make_node("Conv", ["t", "w", "b"], ["c"], kernel_shape=[3], **attributes),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Transpose", ["r"], ["s"], perm=[2, 0, 1]),
        helper.make_node("LSTM", ["s", "W", "R"], ["", "h"], hidden_size=5),
        helper.make_node("Squeeze", ["h", "axis"], ["y"]),
    ]
    return graph(nodes, constants, ["n", time, 4], ["n", 5])


@pytest.mark.parametrize("attributes", PADS, ids=str)
def test_graphs_with_convolutions_become_layers(attributes: dict[str, Any], tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    path = tmp_path / "m.onnx"
    path.write_bytes(convolution(attributes))
    model = fl.from_onnx(path)
    assert kinds(model) == ["Conv1D", "Activation", "LSTM"]
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    model.to_onnx(tmp_path / "again.onnx")
    again = runtime.InferenceSession(str(tmp_path / "again.onnx"), providers=["CPUExecutionProvider"])
    for time in (9, 20):
        x = np.random.default_rng(time).standard_normal((3, time, 4)).astype("f4")
        expected = session.run(None, {"x": x})[0]
        np.testing.assert_allclose(model.predict(x), expected, atol=3e-6)
        np.testing.assert_allclose(again.run(None, {"x": x})[0], expected, atol=3e-6)
        np.testing.assert_allclose(fl.from_onnx(tmp_path / "again.onnx").predict(x), expected, atol=3e-6)


@pytest.mark.parametrize("attributes", PADS, ids=str)
def test_graphs_that_are_no_chain_convolve_too(attributes: dict[str, Any], tmp_path: Path) -> None:
    """A square of the convolution's output is no layer: the graph runs operator by operator, and can be trained."""
    helper = pytest.importorskip("onnx").helper
    runtime = pytest.importorskip("onnxruntime")
    rng = np.random.default_rng(3)
    weight = rng.standard_normal((6, 4 // attributes.get("group", 1), 3)).astype("f4")
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 2, 1]),
        helper.make_node("Conv", ["t", "w"], ["c"], **attributes),
        helper.make_node("Mul", ["c", "c"], ["q"]),
        helper.make_node("ReduceMean", ["q"], ["y"], axes=[2], keepdims=0),
    ]
    path = tmp_path / "m.onnx"
    path.write_bytes(graph(nodes, {"w": weight}, ["n", "time", 4], ["n", 6]))
    model = fl.from_onnx(path, dtype="float64")
    assert kinds(model) == ["OnnxGraph"]
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    x = rng.standard_normal((3, 9, 4))
    np.testing.assert_allclose(model.predict(x), session.run(None, {"x": x.astype("f4")})[0], rtol=1e-4, atol=1e-5)
    d = rng.standard_normal((3, 6))
    model.forward(x, training=True)
    model.zero_grad()
    dx = model.backward(d)
    for array, gradient in ((x, dx), (next(iter(model.parameters().values())), next(iter(model.gradients().values())))):
        place = tuple(np.array(array.shape) // 2)
        before = array[place]
        sides = []
        for step in (1e-6, -1e-6):
            array[place] = before + step
            sides.append(float((model.forward(x) * d).sum()))
        array[place] = before
        assert gradient is not None
        np.testing.assert_allclose(gradient[place], (sides[0] - sides[1]) / 2e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"pads": [1, 1, 1, 1]}, "expected two numbers"),
        ({"strides": [0]}, "strides is .0., expected 1 or more"),
        ({"auto_pad": "FULL"}, "auto_pad is 'FULL'"),
        ({"group": 0}, "group is 0"),
        ({"pads": [2**31 - 1, 0]}, "would take more memory"),
        ({"dilations": [2**30]}, "windows of 2147483649 steps"),
    ],
)
def test_hostile_convolutions_are_refused(attributes: dict[str, Any], message: str, tmp_path: Path) -> None:
    helper = pytest.importorskip("onnx").helper
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 2, 1]),
        helper.make_node("Conv", ["t", "w"], ["c"], **attributes),
        helper.make_node("Mul", ["c", "c"], ["q"]),
        helper.make_node("ReduceMean", ["q"], ["y"], axes=[2], keepdims=0),
    ]
    path = tmp_path / "m.onnx"
    path.write_bytes(graph(nodes, {"w": np.ones((6, 4, 3), "f4")}, ["n", "time", 4], ["n", 6]))
    with pytest.raises(ValueError, match=message):
        fl.from_onnx(path).predict(np.zeros((2, 9, 4), "f4"))


def test_padding_that_depends_on_the_length_is_not_written_with_lengths(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    model = fl.Model([fl.Conv1D(4, 3, stride=2, padding="same"), fl.LSTM(3)], input_size=2)
    with pytest.raises(ValueError, match="layer 0, Conv1D.*: the number of zeros before a series would depend"):
        model.to_onnx(tmp_path / "m.onnx", with_lengths=True)
