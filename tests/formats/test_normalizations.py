"""Normalisation, pooling over windows, Flatten and smooth activations of PyTorch and ONNX, both ways.

Those of Keras are among the files of test_keras.py.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm as fl
from fastlstm.formats.onnx.read.chain.fusing import fused
from fastlstm.formats.onnx.read.reader import read_graph
from fastlstm.layers import Layer

Array = np.ndarray


def kinds(model: fl.Model) -> list[str]:
    return [type(layer).__name__ for layer in model.layers]


def varied(model: fl.Model) -> fl.Model:
    model.flat_parameters[:] += np.random.default_rng(3).uniform(0, 0.3, model.flat_parameters.shape)
    return model


# ------------------------------------------------------------------ PyTorch


def module(front: list[Any], back: list[Any], features: int, last: str = "step") -> Any:
    """Return a module: `front` over (batch, features, time), an LSTM of 7, then `back`, and a linear layer."""
    torch = pytest.importorskip("torch")
    nn = torch.nn

    class Read(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.front = nn.Sequential(*front)
            self.lstm = nn.LSTM(features, 7, batch_first=True)
            self.back = nn.Sequential(*back)

        def forward(self, x: Any) -> Any:
            y, _ = self.lstm(self.front(x.transpose(1, 2)).transpose(1, 2))
            return self.back(y[:, -1] if last == "step" else y)

    made = Read()
    for one in made.modules():
        if isinstance(one, nn.BatchNorm1d) and one.track_running_stats:
            one.running_mean.uniform_(-1, 1)
            one.running_var.uniform_(0.5, 2)
    return made


def torch_modules() -> dict[str, Any]:
    nn = pytest.importorskip("torch").nn
    return {
        "batch norm": lambda: module(
            [nn.Conv1d(3, 6, 3, padding="same"), nn.BatchNorm1d(6, eps=1e-3), nn.ReLU()],
            [nn.BatchNorm1d(7, affine=False), nn.Linear(7, 2)],
            6,
        ),
        "layer norm": lambda: module([nn.Conv1d(3, 6, 3)], [nn.LayerNorm(7, eps=1e-3), nn.GELU(), nn.Linear(7, 2)], 6),
        "layer norm without bias": lambda: module(
            [nn.Conv1d(3, 6, 3), nn.SiLU()], [nn.LayerNorm(7, bias=False), nn.GELU("tanh"), nn.Linear(7, 2)], 6
        ),
        "max": lambda: module([nn.Conv1d(3, 6, 3), nn.SELU(), nn.MaxPool1d(3, 2, padding=1)], [nn.Linear(7, 2)], 6),
        "mean": lambda: module([nn.AvgPool1d(4, padding=2), nn.Conv1d(3, 5, 2)], [nn.Linear(7, 2)], 5),
        "mean of steps": lambda: module([nn.AvgPool1d(3, 1, padding=1, count_include_pad=False)], [nn.Linear(7, 2)], 3),
        "ceil": lambda: module([nn.MaxPool1d(3, 2, ceil_mode=True)], [nn.Linear(7, 2)], 3),
        "flatten": lambda: module([nn.MaxPool1d(2)], [nn.Flatten(), nn.Linear(35, 2)], 3, "all"),
        "flatten a vector": lambda: module([nn.MaxPool1d(2)], [nn.Flatten(), nn.Linear(7, 2)], 3),
    }


NAMES = (
    "batch norm", "layer norm", "layer norm without bias", "max", "mean", "mean of steps", "ceil", "flatten",
    "flatten a vector",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_modules_become_models_and_back(name: str) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    made = torch_modules()[name]().eval()
    model = fl.from_torch(made)
    x = np.random.default_rng(1).standard_normal((4, 10, 3)).astype("f4")
    with torch.no_grad():
        expected = made(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(model.predict(x), expected, atol=3e-6)
    holders = [key for key, one in made.named_modules() if one.state_dict() and not list(one.children())]
    again = torch_modules()[name]().eval()
    state = model.to_torch_state_dict(prefixes=holders)
    again.load_state_dict({key: torch.from_numpy(array) for key, array in state.items()})
    with torch.no_grad():
        np.testing.assert_array_equal(again(torch.from_numpy(x)).numpy(), expected)


def test_flatten_of_channels_turns_the_weights_that_follow() -> None:
    torch = pytest.importorskip("torch")
    nn = torch.nn
    torch.manual_seed(0)

    class Classifier(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(3, 4, 3)
            self.pool = nn.MaxPool1d(2)
            self.norm = nn.BatchNorm1d(4)
            self.flatten = nn.Flatten()
            self.fc = nn.Linear(16, 2)

        def forward(self, x: Any) -> Any:
            return self.fc(self.flatten(self.norm(self.pool(self.conv(x.transpose(1, 2))))))

    made = Classifier().eval()
    model = fl.from_torch(made)
    assert kinds(model) == ["Conv1D", "MaxPool1D", "BatchNorm", "Flatten", "Dense"]
    x = np.random.default_rng(1).standard_normal((4, 10, 3)).astype("f4")
    with torch.no_grad():
        np.testing.assert_allclose(model.predict(x), made(torch.from_numpy(x)).numpy(), atol=3e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda nn: nn.BatchNorm1d(3, track_running_stats=False), "track_running_stats=False is not supported"),
        (lambda nn: nn.BatchNorm1d(3, momentum=None), "momentum=None, an average over all batches"),
        (lambda nn: nn.LayerNorm((4, 3)), r"normalized_shape=\(4, 3\) is not supported"),
        (lambda nn: nn.MaxPool1d(3, dilation=2), "dilation=2 or return_indices is not supported"),
        (lambda nn: nn.MaxPool1d(2, 2, padding=1, ceil_mode=True), "ceil_mode=True with kernel_size=2"),
        (lambda nn: nn.Flatten(0), "start_dim=0, end_dim=-1 is not supported"),
    ],
)
def test_what_has_no_counterpart_in_pytorch(make: Any, message: str) -> None:
    nn = pytest.importorskip("torch").nn
    with pytest.raises(ValueError, match=message):
        fl.from_torch(module([make(nn)], [nn.Linear(7, 2)], 3))


def test_a_state_dict_does_not_tell_eps() -> None:
    nn = pytest.importorskip("torch").nn
    state = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2)).state_dict()
    with pytest.raises(ValueError, match="'0.weight' belongs to an nn.BatchNorm1d or nn.LayerNorm, whose eps"):
        fl.from_torch(state)


# ------------------------------------------------------------------ ONNX


def stacks() -> dict[str, list[Layer]]:
    return {
        "batch norm": [
            fl.BatchNorm(),
            fl.Conv1D(5, 3),
            fl.BatchNorm(weight=False, eps=0.01),
            fl.Activation("silu"),
            fl.LSTM(4),
            fl.BatchNorm(bias=False),
            fl.Dense(2),
        ],
        "layer norm": [
            fl.LayerNorm(),
            fl.LSTM(4, bidirectional=True),
            fl.LayerNorm(bias=False, eps=0.1),
            fl.Activation("gelu"),
            fl.Dense(2),
        ],
        "max": [fl.MaxPool1D(3, stride=2, padding=(1, 2)), fl.LSTM(4), fl.Activation("selu"), fl.Dense(2)],
        "max same": [fl.MaxPool1D(3, padding="same"), fl.LSTM(4), fl.Activation("gelu_tanh"), fl.Dense(2)],
        "mean": [fl.AvgPool1D(3, stride=1, padding="causal"), fl.LSTM(4), fl.Dense(2)],
        "mean with zeros": [fl.AvgPool1D(4, stride=2, padding=(3, 1), count_include_pad=True), fl.LSTM(4), fl.Dense(2)],
        "mean valid": [fl.LSTM(4, return_sequences=True), fl.AvgPool1D(3), fl.MeanPool(), fl.Dense(2)],
        "flatten": [fl.LSTM(4, return_sequences=True), fl.AvgPool1D(2), fl.Flatten(5), fl.Dense(2)],
    }


@pytest.mark.parametrize("lengths", [False, True], ids=["full", "lengths"])
@pytest.mark.parametrize("name", stacks())
def test_models_as_onnx_and_back(name: str, lengths: bool, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    model = varied(fl.Model(stacks()[name], input_size=3, seed=1))
    path = tmp_path / "m.onnx"
    x = np.random.default_rng(2).standard_normal((4, 10, 3)).astype("f4")
    ends = np.array([10, 7, 9, 8]) if lengths and name != "flatten" else np.full(4, 10)
    if lengths and name in ("max same",):
        with pytest.raises(ValueError, match="the number of zeros before a series would depend on its length"):
            model.to_onnx(path, with_lengths=True)
        return
    model.to_onnx(path, with_lengths=lengths)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    given = {"x": x, "lengths": ends.astype("i4")} if lengths else {"x": x}
    expected = model.predict(x, ends if lengths else None)
    np.testing.assert_allclose(session.run(None, given)[0], expected, atol=3e-6)
    if not lengths:
        again = fl.from_onnx(path)
        np.testing.assert_allclose(again.predict(x), expected, atol=3e-6)
        if name != "flatten":  # whose file does not tell the number of steps
            assert kinds(again) == kinds(model)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dynamo", [False, True], ids=["torchscript", "dynamo"])
def test_exports_of_pytorch(name: str, dynamo: bool, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    if dynamo:
        pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    made = torch_modules()[name]().eval()
    x = torch.from_numpy(np.random.default_rng(1).standard_normal((4, 10, 3)).astype("f4"))
    path = tmp_path / "m.onnx"
    options: dict[str, Any] = {"dynamo": dynamo, "input_names": ["x"]}
    if not dynamo:
        options.update(opset_version=17, dynamic_axes={"x": {0: "batch"}})
    else:
        options["dynamic_shapes"] = {"x": {0: "batch"}}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(made, (x,), path, **options)
        model = fl.from_onnx(path)
    with torch.no_grad():
        np.testing.assert_allclose(model.predict(x.numpy()), made(x).numpy(), atol=3e-6)
    assert kinds(model)[0] != "OnnxGraph"


def test_gelu_of_the_exporters_is_recognized() -> None:
    """In any order of the nodes: a function is told by its values. Another one that is close is not taken for it."""
    onnx = pytest.importorskip("onnx")
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    rng = np.random.default_rng(0)
    constants = {"w": rng.standard_normal((5, 3)).astype("f4"), "half": np.float32(0.5), "one": np.float32(1)}
    apart = ["Gemm", "Mul", "Erf", "Add", "Mul", "Mul"]
    for root, expected in ((0.70710678, ["Gemm", "Gelu"]), (0.7, apart)):
        nodes = [
            helper.make_node("Gemm", ["x", "w"], ["d"], transB=1),
            helper.make_node("Mul", ["root", "d"], ["s"]),
            helper.make_node("Erf", ["s"], ["e"]),
            helper.make_node("Add", ["one", "e"], ["a"]),
            helper.make_node("Mul", ["half", "a"], ["p"]),
            helper.make_node("Mul", ["p", "d"], ["y"]),
        ]
        made = helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", float32, ["n", 3])],
            [helper.make_tensor_value_info("y", float32, ["n", 5])],
            [
                onnx.numpy_helper.from_array(np.asarray(array), key)
                for key, array in {**constants, "root": np.float32(root)}.items()
            ],
        )
        proto = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        assert [node.op for node in fused(read_graph(proto)).nodes] == expected
