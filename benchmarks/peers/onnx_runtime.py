"""The peer ONNX Runtime with ONNX's operator LSTM; inference only."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..cases import Array, Case, Data, Problem
from ..verify import Answer
from . import Runner, local

NAME = "ONNX Runtime"


def version() -> str:
    """Return the version."""
    import onnx  # noqa: F401  # needed to make the graphs
    import onnxruntime

    return str(onnxruntime.__version__)


def prepare(case: Case, data: Data, threads: int) -> dict[str, Runner]:
    """Return the runners for a case, with time-major arrays as the operator requires; see `benchmarks.peers.Peer`."""
    if case.kind == "infer":
        return {NAME: _infer(case.problem, data, threads)}
    if case.kind == "step":
        return {NAME: _step(case.problem, data, threads)}
    return {}


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


def _session(problem: Problem, data: Data, time: int, states: bool, threads: int) -> Any:
    """Create a session with inputs X (and lengths; h, c) and outputs Y, or Y_h and Y_c if states are inputs."""
    import onnxruntime
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
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _infer(problem: Problem, data: Data, threads: int) -> Runner:
    session = _session(problem, data, problem.time, False, threads)
    feed = {"X": np.ascontiguousarray(data.x.transpose(1, 0, 2))}
    if data.lengths is not None:
        feed["lengths"] = data.lengths.astype(np.int32)
    run = partial(session.run, None, feed)
    return local(run, lambda: {"output": run()[0].transpose(1, 0, 2)})


def _step(problem: Problem, data: Data, threads: int) -> Runner:
    session = _session(problem, data, 1, True, threads)

    def start() -> dict[str, Array]:
        zeros = np.zeros((1, 1, problem.hidden), np.float32)
        return {"X": data.x[:, :1].copy(), "h": zeros, "c": zeros}

    feed = start()

    def run() -> None:
        feed["h"], feed["c"] = session.run(None, feed)

    def answer() -> Answer:
        fed, outputs = start(), []
        for t in range(problem.time):
            fed["X"] = data.x[:, t : t + 1]
            fed["h"], fed["c"] = session.run(None, fed)
            outputs.append(fed["h"][0])
        return {"output": np.stack(outputs, axis=1)}

    return local(run, answer)
