"""ONNX graphs that read sound frame by frame: a voice-activity detector and a two-stage noise suppressor.

They have the form of well-known networks, with random weights. The detector reads 512 samples: reflected at the end, a
short-time Fourier transform as a convolution, magnitudes, four convolutions, an LSTM, a sigmoid (the form of Silero
VAD, whose file also has a network for another sampling rate, in the other branch of an If). The suppressor reads a
spectrum: two LSTMs give a mask that multiplies it, and two more give a second mask, of an encoding of the result (the
form of DTLN).
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

__all__ = ["detector", "detector_of_two_rates", "suppressor"]

Array = np.ndarray
FRAME = 512


class Nodes:
    """A graph under construction."""

    def __init__(self, seed: int, prefix: str = "") -> None:
        self.rng = np.random.default_rng(seed)
        self.prefix = prefix
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._count = 0

    def constant(self, value: Any) -> str:
        from onnx import numpy_helper

        self._count += 1
        name = f"{self.prefix}c{self._count}"
        self.constants.append(numpy_helper.from_array(np.array(value, order="C"), name))
        return name

    def weight(self, *shape: int) -> str:
        terms = int(np.prod(shape[1:]))
        return self.constant(self.rng.uniform(-1, 1, shape).astype(np.float32) * np.float32(np.sqrt(4 / terms)))

    def add(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        from onnx import helper

        self._count += 1
        names = [f"{self.prefix}v{self._count}_{k}" for k in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def name(self, value: str, name: str) -> None:
        from onnx import helper

        self.nodes.append(helper.make_node("Identity", [value], [name]))


def _spectrum(nodes: Nodes, x: str, window: int, hop: int, pad: int) -> str:
    """Write magnitudes of a short-time Fourier transform, (batch, window / 2 + 1, frames), of x (batch, samples)."""
    bins = window // 2 + 1
    angles = 2 * np.pi * np.arange(bins)[:, None] * np.arange(window) / window
    shape = np.hanning(window + 1)[:-1]
    basis = np.concatenate([np.cos(angles) * shape, -np.sin(angles) * shape]).astype(np.float32)[:, None]
    padded = nodes.add("Pad", x, nodes.constant(np.array([0, 0, 0, pad])), mode="reflect")
    one = nodes.add("Unsqueeze", padded, nodes.constant(np.array([1])))
    y = nodes.add("Conv", one, nodes.constant(basis), strides=[hop])
    axis, zero, middle, end = (nodes.constant(np.array([k])) for k in (1, 0, bins, 2**62))
    two = nodes.constant(np.float32(2))
    re = nodes.add("Pow", nodes.add("Slice", y, zero, middle, axis), two)
    im = nodes.add("Pow", nodes.add("Slice", y, middle, end, axis), two)
    return str(nodes.add("Sqrt", nodes.add("Add", re, im)))


def _lstm(nodes: Nodes, x: str, h: str, c: str, features: int, hidden: int) -> list[str]:
    """Write an LSTM that reads x (steps, batch, features); return every output (steps, batch, hidden), h and c."""
    weights = [nodes.weight(1, 4 * hidden, features), nodes.weight(1, 4 * hidden, hidden), nodes.weight(1, 8 * hidden)]
    y, hn, cn = nodes.add("LSTM", x, *weights, "", h, c, outputs=3, hidden_size=hidden)
    return [nodes.add("Squeeze", y, nodes.constant(np.array([1]))), hn, cn]


def _detect(nodes: Nodes, window: int) -> None:
    y = _spectrum(nodes, "input", window, window // 2, window // 4)
    sizes = [window // 2 + 1, 128, 64, 64, 128]
    for k, (features, filters) in enumerate(itertools.pairwise(sizes)):
        stride = 2 if k in (1, 2) else 1
        bias = nodes.constant(nodes.rng.uniform(-0.1, 0.1, filters).astype(np.float32))
        y = nodes.add(
            "Relu", nodes.add("Conv", y, nodes.weight(filters, features, 3), bias, strides=[stride], pads=[1, 1])
        )
    steps = nodes.add("Transpose", y, perm=[2, 0, 1])
    states = [
        nodes.add(
            "Unsqueeze",
            nodes.add("Gather", "state", nodes.constant(np.array(k)), axis=0),
            nodes.constant(np.array([0])),
        )
        for k in (0, 1)
    ]
    y, hn, cn = _lstm(nodes, steps, *states, 128, 128)
    y = nodes.add("Relu", nodes.add("Transpose", y, perm=[1, 2, 0]))
    score = nodes.add("Conv", y, nodes.weight(1, 128, 1), nodes.constant(np.zeros(1, np.float32)))
    probability = nodes.add("ReduceMean", nodes.add("Sigmoid", score), axes=[2], keepdims=0)
    nodes.name(probability, f"{nodes.prefix}output")
    nodes.name(nodes.add("Concat", hn, cn, axis=0), f"{nodes.prefix}stateN")


def _model(graph: Any) -> Any:
    from onnx import helper

    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _values(*values: tuple[str, str, list[Any] | None]) -> list[Any]:
    from onnx import TensorProto, helper

    return [helper.make_tensor_value_info(name, getattr(TensorProto, kind), shape) for name, kind, shape in values]


def detector(seed: int = 0) -> Any:
    """Return the graph of a voice-activity detector as an ``onnx.ModelProto``: input, state -> output, stateN."""
    from onnx import helper

    nodes = Nodes(seed)
    _detect(nodes, 256)
    inputs = _values(("input", "FLOAT", ["batch", FRAME]), ("state", "FLOAT", [2, "batch", 128]))
    outputs = _values(("output", "FLOAT", ["batch", 1]), ("stateN", "FLOAT", [2, "batch", 128]))
    return _model(helper.make_graph(nodes.nodes, "detector", inputs, outputs, nodes.constants))


def detector_of_two_rates(seed: int = 0) -> Any:
    """Return the graph of a detector that holds a network for each of two sampling rates, in the branches of an If."""
    from onnx import helper

    branches = {}
    for name, window in (("then_branch", 256), ("else_branch", 128)):
        nodes = Nodes(seed, name[:4])
        _detect(nodes, window)
        outputs = _values((f"{name[:4]}output", "FLOAT", None), (f"{name[:4]}stateN", "FLOAT", None))
        branches[name] = helper.make_graph(nodes.nodes, name, [], outputs, nodes.constants)
    outer = Nodes(seed, "outer")
    outer.nodes.append(helper.make_node("Equal", ["sr", outer.constant(np.array(16000))], ["fast"]))
    outer.nodes.append(helper.make_node("If", ["fast"], ["output", "stateN"], **branches))
    inputs = _values(("input", "FLOAT", [None, None]), ("state", "FLOAT", [2, None, 128]), ("sr", "INT64", []))
    outputs = _values(("output", "FLOAT", None), ("stateN", "FLOAT", None))
    return _model(helper.make_graph(outer.nodes, "detector", inputs, outputs, outer.constants))


def _dense(nodes: Nodes, x: str, features: int, outputs: int) -> str:
    y = nodes.add(
        "MatMul", x, nodes.constant(nodes.rng.uniform(-1, 1, (features, outputs)).astype("f4") / np.float32(16))
    )
    return str(nodes.add("Add", y, nodes.constant(nodes.rng.uniform(-0.1, 0.1, outputs).astype(np.float32))))


def suppressor(seed: int = 0, *, bins: int = 257, code: int = 256, hidden: int = 128) -> Any:
    """Return the graph of a two-stage noise suppressor: input, h, c -> output, hN, cN; h is (4, batch, hidden)."""
    from onnx import helper

    nodes = Nodes(seed)
    after: dict[str, list[str]] = {"h": [], "c": []}

    def masked(x: str, features: int, first: int) -> str:
        y = nodes.add("Transpose", x, perm=[1, 0, 2])
        for k in (first, first + 1):
            bounds = [nodes.constant(np.array([n])) for n in (k, k + 1, 0)]
            states = [nodes.add("Slice", name, *bounds) for name in ("h", "c")]
            y, hn, cn = _lstm(nodes, y, *states, features if k == first else hidden, hidden)
            after["h"].append(hn)
            after["c"].append(cn)
        mask = nodes.add("Sigmoid", _dense(nodes, nodes.add("Transpose", y, perm=[1, 0, 2]), hidden, features))
        return str(nodes.add("Mul", mask, x))

    first = masked("input", bins, 0)
    encoded = nodes.add("Conv", nodes.add("Transpose", first, perm=[0, 2, 1]), nodes.weight(code, bins, 1))
    second = masked(nodes.add("Transpose", encoded, perm=[0, 2, 1]), code, 2)
    decoded = nodes.add("Conv", nodes.add("Transpose", second, perm=[0, 2, 1]), nodes.weight(512, code, 1))
    nodes.name(nodes.add("Transpose", decoded, perm=[0, 2, 1]), "output")
    for name in ("h", "c"):
        nodes.name(nodes.add("Concat", *after[name], axis=0), f"{name}N")
    states = [(name, "FLOAT", [4, "batch", hidden]) for name in ("h", "c")]
    inputs = _values(("input", "FLOAT", ["batch", "time", bins]), *states)
    outputs = _values(("output", "FLOAT", None), *((f"{name}N", "FLOAT", None) for name, _, _ in states))
    return _model(helper.make_graph(nodes.nodes, "suppressor", inputs, outputs, nodes.constants))
