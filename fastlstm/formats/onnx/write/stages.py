"""From the stages of a layer to ONNX nodes: one function for each kind of stage, and the table of all kinds.

A new kind of stage is one function here and one line in `KINDS`; a new layer that consists of known kinds needs
neither.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ....activations import Activation
from ....layers import Layer, stages_describe_forward
from ..graph.elementwise import ACTIVATION_OPERATORS
from ..graph.lstm import TAKES_ALPHA, TAKES_BETA
from .builder import GraphBuilder, Value
from .frames import write_frame_conv, write_magnitude, write_pad, write_take
from .lstm import write_lstm
from .normalizing import write_batch_norm, write_layer_norm
from .placed import PlacedStage
from .scaling import standardize, unstandardize
from .smooth import SMOOTH_WRITERS
from .windows import write_conv, write_window_pool

__all__ = ["KINDS", "write_layer"]


def write_layer(graph: GraphBuilder, index: int, layer: Layer, x: Value) -> Value:
    """Write the stages of a layer, which reads x; return the value that the layer computes.

    Raises
    ------
    ValueError
        If ONNX cannot express a stage, or the layer has no stages; the message names the layer.
    """
    if not stages_describe_forward(layer):
        raise ValueError(
            f"layer {index}, {layer!r}, cannot be written as ONNX: its class does not define stages() for its forward()"
        )
    values = [x]
    for number, stage in enumerate(layer.stages()):
        write = KINDS.get(stage.kind)
        if write is None:
            raise ValueError(f"layer {index}, {layer!r}, cannot be written as ONNX: no operators for {stage.kind!r}")
        side = {name: graph.taps[k] if isinstance(k, str) else values[k] for name, k in stage.side.items()}
        values.append(write(graph, PlacedStage(index, layer, number, stage, values[stage.main], side)))
    return values[-1]


# ---------------------------------------------------------------------------------------------- the kinds


def _embedding(graph: GraphBuilder, at: PlacedStage) -> Value:
    if at.stage.settings["mask_token"] is not None:
        raise at.refusal(_NO_SKIPPING)
    table = graph.constant(at.stage.weights["weight"], at.constant_name("weight"))
    return at.x._replace(name=graph.add("Gather", [table, at.x.name], axis=0))


def _mask(graph: GraphBuilder, at: PlacedStage) -> Value:
    raise at.refusal(_NO_SKIPPING)


_NO_SKIPPING = "an LSTM in ONNX cannot skip steps; pass lengths instead"


def _dense(graph: GraphBuilder, at: PlacedStage) -> Value:
    weight, bias = at.stage.weights["weight"], at.stage.weights.get("bias")
    if at.x.per_step:
        y = graph.add("MatMul", [at.x.name, graph.constant(weight.T, at.constant_name("weight"))])
        if bias is not None:
            y = graph.add("Add", [y, graph.constant(bias, at.constant_name("bias"))])
    else:
        inputs = [at.x.name, graph.constant(weight, at.constant_name("weight"))]
        if bias is not None:
            inputs.append(graph.constant(bias, at.constant_name("bias")))
        y = graph.add("Gemm", inputs, transB=1)
    return at.x._replace(name=y)


def _activation(graph: GraphBuilder, at: PlacedStage) -> Value:
    function: Activation = at.stage.settings["function"]
    x = at.x.name
    if function.name == "affine":
        scaled = graph.add("Mul", [x, graph.constant(function.alpha)])
        return at.x._replace(name=graph.add("Add", [scaled, graph.constant(function.beta)]))
    if function.name == "scaled_tanh":
        y = graph.add("Tanh", [graph.add("Mul", [x, graph.constant(function.beta)])])
        return at.x._replace(name=graph.add("Mul", [y, graph.constant(function.alpha)]))
    if function.name in SMOOTH_WRITERS:
        return at.x._replace(name=SMOOTH_WRITERS[function.name](graph, function, x))
    attributes: dict[str, Any] = {}
    if function.name in TAKES_ALPHA:
        attributes["alpha"] = function.alpha
    if function.name in TAKES_BETA:
        attributes["beta"] = function.beta
    return at.x._replace(name=graph.add(ACTIVATION_OPERATORS[function.name], [x], **attributes))


def _softmax(graph: GraphBuilder, at: PlacedStage) -> Value:
    return at.x._replace(name=graph.add("Softmax", [at.x.name], axis=-1))


def _add(graph: GraphBuilder, at: PlacedStage) -> Value:
    addend = graph.arranged(at.side["addend"], at.x.time_major)
    return at.x._replace(name=graph.add("Add", [at.x.name, addend.name]))


def _multiply(graph: GraphBuilder, at: PlacedStage) -> Value:
    factor = graph.arranged(at.side["factor"], at.x.time_major)
    return at.x._replace(name=graph.add("Mul", [at.x.name, factor.name]))


def _tap(graph: GraphBuilder, at: PlacedStage) -> Value:
    graph.taps[at.stage.settings["name"]] = at.x
    return at.x


def _reverse(graph: GraphBuilder, at: PlacedStage) -> Value:
    x, axis = at.x.name, at.x.time_axis
    if graph.lengths:
        ends = graph.add("Cast", [graph.lengths], to=graph.onnx.TensorProto.INT64)
        y = graph.add("ReverseSequence", [x, ends], batch_axis=1 - axis, time_axis=axis)
    else:
        limits = [graph.constant([value]) for value in (-1, -(2**62), axis, -1)]
        y = graph.add("Slice", [x, *limits])
    return at.x._replace(name=y)


def _stack(graph: GraphBuilder, at: PlacedStage) -> Value:
    """Write groups of steps: Gather takes the last valid step in the place of the steps beyond it."""
    size, stride = at.stage.settings["size"], at.stage.settings["stride"]
    x = graph.arranged(at.x, time_major=False).name
    zero, one, of_stride, rest = (graph.constant([number]) for number in (0, 1, stride, stride - 1))
    time = graph.add("Slice", [graph.add("Shape", [x]), one, graph.constant([2])])
    groups = graph.add("Div", [graph.add("Add", [time, rest]), of_stride])
    numbers = graph.add("Range", [graph.constant(0), graph.add("Squeeze", [groups]), graph.constant(1)])
    starts = graph.add("Unsqueeze", [graph.add("Mul", [numbers, of_stride]), one])
    places = graph.add("Add", [starts, graph.constant(np.arange(size)[None])])
    steps = graph.add("Reshape", [places, graph.constant([-1])])
    if graph.lengths:
        ends = graph.add("Cast", [graph.lengths], to=graph.onnx.TensorProto.INT64)
        last = graph.add("Max", [graph.add("Sub", [ends, one]), zero])
        chosen = graph.add("Min", [graph.add("Unsqueeze", [last, one]), graph.add("Unsqueeze", [steps, zero])])
        cases = graph.add("Range", [graph.constant(0), graph.add("Squeeze", [graph.batch()]), graph.constant(1)])
        rows = graph.add("Add", [graph.add("Unsqueeze", [graph.add("Mul", [cases, time]), one]), chosen])
        flat = graph.add("Reshape", [x, graph.constant([-1, at.stage.output_size // size])])
        y = graph.add("Gather", [flat, rows], axis=0)
        group_ends = graph.add("Div", [graph.add("Add", [ends, rest]), of_stride])
        graph.regroup(graph.add("Cast", [group_ends], to=graph.onnx.TensorProto.INT32), groups)
    else:
        y = graph.add("Gather", [x, graph.add("Min", [steps, graph.add("Sub", [time, one])])], axis=1)
    return Value(graph.add("Reshape", [y, graph.constant([0, -1, at.stage.output_size])]))


def _differences(graph: GraphBuilder, at: PlacedStage) -> Value:
    x, axis = at.x.name, graph.constant([at.x.time_axis])
    first, rest = (graph.add("Slice", [x, graph.constant([0]), graph.constant([end]), axis]) for end in (1, -1))
    before = graph.add("Concat", [first, rest], axis=at.x.time_axis)
    scale = graph.constant(at.stage.settings["scale"], f"{at.index}.scale")
    changes = graph.add("Mul", [graph.add("Sub", [x, before]), scale])
    return at.x._replace(name=graph.add("Concat", [x, changes], axis=2))


def _deviations(graph: GraphBuilder, at: PlacedStage) -> Value:
    """Write deviations from a mean series; for the steps beyond it Gather takes a row of zeros, with a factor of 0."""
    center, scale = np.asarray(at.stage.settings["center"]), at.stage.settings["scale"]
    x = graph.arranged(at.x, time_major=False).name
    zero, one = graph.constant(0), graph.constant(1)
    time = graph.add("Slice", [graph.add("Shape", [x]), graph.constant([1]), graph.constant([2])])
    steps = graph.add("Range", [zero, graph.add("Squeeze", [time]), one])
    rows = np.concatenate([center, np.zeros_like(center[:1])])
    factors = np.tile(scale, (len(rows), 1))
    factors[-1] = 0.0
    chosen = graph.add("Min", [steps, graph.constant(len(center))])
    means = graph.add("Gather", [graph.constant(rows.astype(graph.dtype), f"{at.index}.center"), chosen], axis=0)
    by = graph.add("Gather", [graph.constant(factors.astype(graph.dtype), f"{at.index}.scale"), chosen], axis=0)
    deviations = graph.add("Mul", [graph.add("Sub", [x, means]), by])
    return Value(graph.add("Concat", [x, deviations], axis=2))


def _concat(graph: GraphBuilder, at: PlacedStage) -> Value:
    second = graph.arranged(at.side["second"], at.x.time_major)
    return at.x._replace(name=graph.add("Concat", [at.x.name, second.name], axis=-1))


def _repeat(graph: GraphBuilder, at: PlacedStage) -> Value:
    graph.lengths = ""  # of the series that ended before
    one_step = graph.add("Unsqueeze", [at.x.name, graph.constant([1])])
    return Value(graph.add("Tile", [one_step, graph.constant([1, at.stage.settings["steps"], 1])]))


def _flatten(graph: GraphBuilder, at: PlacedStage) -> Value:
    graph.lengths = ""  # each series has all steps
    return Value(graph.add("Flatten", [graph.arranged(at.x, time_major=False).name], axis=1), per_step=False)


def _final(graph: GraphBuilder, at: PlacedStage) -> Value:
    """Write the output of each direction at its own final step."""
    if at.stage.settings["bidirectional"]:
        first, second = (at.x._replace(name=half) for half in graph.add_several("Split", [at.x.name], 2, axis=2))
        y = graph.add("Concat", [graph.end_step(first), graph.end_step(second, first=True)], axis=1)
    else:
        y = graph.end_step(at.x, first=at.stage.settings["reverse"])
    return Value(y, per_step=False)


def _pool(graph: GraphBuilder, at: PlacedStage) -> Value:
    method = at.stage.settings["method"]
    if method not in _POOLING:
        raise at.refusal(f"ONNX has no counterpart of pooling by {method!r}")
    return Value(_POOLING[method](graph, at), per_step=False)


def _pool_last(graph: GraphBuilder, at: PlacedStage) -> str:
    return graph.end_step(at.x)


def _pool_max(graph: GraphBuilder, at: PlacedStage) -> str:
    return graph.add("ReduceMax", [graph.masked(at.x, -math.inf)], axes=[at.x.time_axis], keepdims=0)


def _pool_mean(graph: GraphBuilder, at: PlacedStage) -> str:
    axis = at.x.time_axis
    if not graph.lengths:
        return graph.add("ReduceMean", [at.x.name], axes=[axis], keepdims=0)
    total = graph.add("ReduceSum", [graph.masked(at.x, 0.0), graph.constant([axis])], keepdims=0)
    counts = graph.add("Cast", [graph.lengths], to=graph.onnx.helper.np_dtype_to_tensor_dtype(graph.dtype))
    return graph.add("Div", [total, graph.add("Unsqueeze", [counts, graph.constant([1])])])


def _pool_attention(graph: GraphBuilder, at: PlacedStage) -> str:
    axis = at.x.time_axis
    scores = graph.arranged(at.side["scores"], at.x.time_major)
    shares = graph.add("Softmax", [graph.masked(scores, -math.inf)], axis=axis)
    weighted = graph.add("Mul", [graph.masked(at.x, 0.0), shares])
    return graph.add("ReduceSum", [weighted, graph.constant([axis])], keepdims=0)


_POOLING: dict[str, Callable[[GraphBuilder, PlacedStage], str]] = {
    "last": _pool_last,
    "max": _pool_max,
    "mean": _pool_mean,
    "attention": _pool_attention,
}

KINDS: dict[str, Callable[[GraphBuilder, PlacedStage], Value]] = {
    "standardize": lambda graph, at: standardize(graph, at.x, at.stage.weights, at.constant_name),
    "unstandardize": lambda graph, at: unstandardize(graph, at.x, at.stage.weights, at.constant_name),
    "embedding": _embedding,
    "lstm": write_lstm,
    "dense": _dense,
    "conv": write_conv,
    "window_pool": write_window_pool,
    "batch_norm": write_batch_norm,
    "layer_norm": write_layer_norm,
    "flatten": _flatten,
    "activation": _activation,
    "softmax": _softmax,
    "add": _add,
    "multiply": _multiply,
    "tap": _tap,
    "magnitude": write_magnitude,
    "pad": write_pad,
    "frame_conv": write_frame_conv,
    "take": write_take,
    "pool": _pool,
    "final": _final,
    "mask": _mask,
    "reverse": _reverse,
    "stack": _stack,
    "differences": _differences,
    "deviations": _deviations,
    "concat": _concat,
    "repeat": _repeat,
}
"""Function that writes each kind of stage; `fastlstm.layers.stages` lists the kinds."""
