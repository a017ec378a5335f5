"""An LSTM as a graph of ONNX's operator, for the peers that read such graphs."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..cases import Array, Data, Problem

__all__ = ["lstm_graph"]


def _tensors(problem: Problem, data: Data, layer: int) -> dict[str, Array]:
    """Return W, R and B of the operator: directions stacked, gates in the order i, o, f, c."""
    parts: dict[str, list[Array]] = {name: [] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    for k, _, suffix in problem.layer_directions():
        if k == layer:
            for name, directions in parts.items():
                i, f, g, o = np.split(data.state[f"{name}_{suffix}"], 4)
                directions.append(np.concatenate([i, o, f, g]))
    bias = [np.concatenate(pair) for pair in zip(parts["bias_ih"], parts["bias_hh"], strict=True)]
    return {"W": np.stack(parts["weight_ih"]), "R": np.stack(parts["weight_hh"]), "B": np.stack(bias)}


def lstm_graph(problem: Problem, data: Data, time: int, states: bool = False) -> Any:
    """Return a graph as a ModelProto.

    Parameters
    ----------
    problem, data
        Sizes and weights.
    time : int
        Number of steps of the input X (time, batch, inputs).
    states : bool, default False
        Whether h and c are inputs and the outputs are Y_h and Y_c; otherwise the output is Y (time, batch,
        directions * hidden).
    """
    from onnx import TensorProto, helper, numpy_helper

    batch, width = problem.batch, problem.directions * problem.hidden
    nodes, constants = [], {}
    inputs = [helper.make_tensor_value_info("X", TensorProto.FLOAT, [time, batch, problem.inputs])]
    lengths = ""
    if data.lengths is not None:
        lengths = "lengths"
        inputs.append(helper.make_tensor_value_info(lengths, TensorProto.INT32, [batch]))
    state_shape = [problem.directions, batch, problem.hidden]
    if states:
        inputs += [helper.make_tensor_value_info(name, TensorProto.FLOAT, state_shape) for name in ("h", "c")]
        outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, state_shape) for name in ("Y_h", "Y_c")]
    else:
        outputs = [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [time, batch, width])]
    constants["merged"] = np.array([time, batch, width], np.int64)
    x = "X"
    for layer in range(problem.layers):
        constants |= {f"{name}{layer}": value for name, value in _tensors(problem, data, layer).items()}
        direction = "bidirectional" if problem.bidirectional else "forward"
        operands = [x, f"W{layer}", f"R{layer}", f"B{layer}", lengths, *(("h", "c") if states else ())]
        results = ["", "Y_h", "Y_c"] if states else [f"y{layer}"]
        nodes.append(helper.make_node("LSTM", operands, results, hidden_size=problem.hidden, direction=direction))
        if not states:
            # (time, directions, batch, hidden) to (time, batch, directions * hidden)
            last = layer == problem.layers - 1
            source = f"y{layer}"
            if problem.bidirectional:
                nodes.append(helper.make_node("Transpose", [source], [f"t{layer}"], perm=[0, 2, 1, 3]))
                source = f"t{layer}"
            x = "Y" if last else f"x{layer}"
            nodes.append(helper.make_node("Reshape", [source, "merged"], [x]))
    if states:
        del constants["merged"]
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "lstm", inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
