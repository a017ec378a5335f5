"""ONNX graphs that several test files build."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

OPSET, IR_VERSION = 17, 8


def model_of(
    nodes: Sequence[Any],
    inputs: Mapping[str, tuple[str, Sequence[Any] | None]],
    outputs: Sequence[str],
    initializers: Mapping[str, np.ndarray] | None = None,
    opset: int = OPSET,
) -> Any:
    """Return a model of these nodes; inputs by name, with element type and shape."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)
            for name, (dtype, shape) in inputs.items()
        ],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.array(value, order="C"), name) for name, value in (initializers or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSION)


def op(name: str, inputs: str, outputs: str = "y", **attributes: Any) -> Any:
    """Return a node; its inputs and outputs are names separated by commas."""
    return helper.make_node(name, inputs.split(","), outputs.split(","), **attributes)


class LSTMCase:
    """One LSTM node with all its inputs, small enough to run hundreds of them."""

    def __init__(self, rng: np.random.Generator, dtype: str = "float32", **given: Any) -> None:
        def choose(name: str, *values: Any) -> Any:
            return given[name] if name in given else values[int(rng.integers(len(values)))]

        self.direction = choose("direction", "forward", "reverse", "bidirectional")
        self.directions = 2 if self.direction == "bidirectional" else 1
        self.batch, self.time, self.size, self.hidden = (
            given.get(name, int(rng.integers(1, top)))
            for name, top in (("batch", 6), ("time", 8), ("size", 5), ("hidden", 10))
        )
        self.layout = choose("layout", 0)
        n, b, t, i, h = self.directions, self.batch, self.time, self.size, self.hidden
        states = (n, b, h) if self.layout == 0 else (b, n, h)

        def normal(*shape: int) -> np.ndarray:
            return (0.7 * rng.standard_normal(shape)).astype(dtype)

        self.arrays: dict[str, np.ndarray] = {
            "X": normal(*((t, b, i) if self.layout == 0 else (b, t, i))) * 2,
            "W": normal(n, 4 * h, i),
            "R": normal(n, 4 * h, h),
        }
        if choose("bias", True, False):
            self.arrays["B"] = normal(n, 8 * h)
        if choose("lengths", True, False):
            least = given.get("least_length", 1)
            self.arrays["sequence_lens"] = rng.integers(least, t + 1, b).astype(np.int32)
        if choose("initial_h", True, False):
            self.arrays["initial_h"] = normal(*states)
        if choose("initial_c", True, False):
            self.arrays["initial_c"] = normal(*states)
        if choose("peepholes", True, False):
            self.arrays["P"] = normal(n, 3 * h)
        self.attributes: dict[str, Any] = {"direction": self.direction}
        if choose("hidden_size", True, False):
            self.attributes["hidden_size"] = h
        if choose("coupled", True, False):
            self.attributes["input_forget"] = 1
        if self.layout:
            self.attributes["layout"] = 1
        clip = choose("clip", None)
        if clip is not None:
            self.attributes["clip"] = clip
        names = given.get("activations")
        if names is not None:
            self.attributes["activations"] = list(names)
        for key in ("activation_alpha", "activation_beta"):
            if given.get(key):
                self.attributes[key] = list(given[key])
        self.outputs = choose(
            "outputs", ("Y", "Y_h", "Y_c"), ("Y", "", ""), ("", "Y_h", "Y_c"), ("", "Y_h"), ("", "", "Y_c"), ("Y",)
        )

    def node(self) -> Any:
        order = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
        names = [name if name in self.arrays else "" for name in order]
        while names[-1] == "":
            names.pop()
        return helper.make_node("LSTM", names, list(self.outputs), **self.attributes)

    def model(self, weights_are_inputs: bool = False, opset: int = OPSET) -> Any:
        fixed = () if weights_are_inputs else ("W", "R", "B", "P")
        inputs = {
            name: (value.dtype.name, [None] * value.ndim) for name, value in self.arrays.items() if name not in fixed
        }
        initializers = {name: value for name, value in self.arrays.items() if name in fixed}
        return model_of([self.node()], inputs, [name for name in self.outputs if name], initializers, opset)

    def feed(self, weights_are_inputs: bool = False) -> dict[str, np.ndarray]:
        fixed = () if weights_are_inputs else ("W", "R", "B", "P")
        return {name: value for name, value in self.arrays.items() if name not in fixed}
