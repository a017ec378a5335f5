"""Padding, magnitudes, and stages that compute within the features of each step, as ONNX nodes."""

from __future__ import annotations

import numpy as np

from .builder import GraphBuilder, Value
from .placed import PlacedStage

__all__ = ["write_frame_conv", "write_magnitude", "write_pad", "write_take"]


def write_pad(graph: GraphBuilder, at: PlacedStage) -> Value:
    """Write steps added before and after each series."""
    settings = at.stage.settings
    if graph.lengths:
        raise at.refusal("ONNX cannot pad each series at its own end: use with_lengths=False")
    x = graph.arranged(at.x, time_major=False)
    pads = graph.constant([0, settings["before"], 0, 0, settings["after"], 0])
    filled = [graph.constant(settings["value"])] if settings["value"] else []
    return Value(graph.add("Pad", [x.name, pads, *filled], mode=settings["mode"]))


def _rows(graph: GraphBuilder, x: str, shape: list[int]) -> str:
    """Return x (..., features) with all axes but the last in one, and the features in several."""
    return graph.add("Reshape", [x, graph.constant([-1, *shape])])


def _as_before(graph: GraphBuilder, at: PlacedStage, rows: str) -> Value:
    """Return rows as the value of the stage, with the first axes of its input."""
    if not at.x.per_step:
        return at.x._replace(name=graph.add("Reshape", [rows, graph.constant([-1, at.stage.output_size])]))
    leading = graph.add("Slice", [graph.add("Shape", [at.x.name]), graph.constant([0]), graph.constant([2])])
    shape = graph.add("Concat", [leading, graph.constant([at.stage.output_size])], axis=0)
    return at.x._replace(name=graph.add("Reshape", [rows, shape]))


def write_frame_conv(graph: GraphBuilder, at: PlacedStage) -> Value:
    """Write a convolution within the features of each step."""
    weight, bias, settings = at.stage.weights["weight"], at.stage.weights.get("bias"), at.stage.settings
    features = weight.shape[1] * settings["groups"]
    x = graph.add("Transpose", [_rows(graph, at.x.name, [settings["steps"], features])], perm=[0, 2, 1])
    inputs = [x, graph.constant(weight, at.constant_name("weight"))]
    if bias is not None:
        inputs.append(graph.constant(bias, at.constant_name("bias")))
    y = graph.add(
        "Conv",
        inputs,
        strides=[settings["stride"]],
        dilations=[settings["dilation"]],
        group=settings["groups"],
        kernel_shape=[weight.shape[2]],
    )
    return _as_before(graph, at, graph.add("Transpose", [y], perm=[0, 2, 1]))


def write_magnitude(graph: GraphBuilder, at: PlacedStage) -> Value:
    """Write magnitudes of real and imaginary parts."""
    parts, eps = at.stage.settings["parts"], at.stage.settings["eps"]
    size = at.stage.output_size // parts
    pairs = _rows(graph, at.x.name, [parts, 2, size])
    squares = graph.add("ReduceSum", [graph.add("Mul", [pairs, pairs]), graph.constant([2])], keepdims=0)
    if eps:
        squares = graph.add("Add", [squares, graph.constant(eps)])
    return _as_before(graph, at, graph.add("Sqrt", [squares]))


def write_take(graph: GraphBuilder, at: PlacedStage) -> Value:
    """Write features in another order, and zeros."""
    index = np.asarray(at.stage.settings["index"])
    x = at.x.name
    if (index < 0).any():  # a feature of zeros before the others
        axis = 2 if at.x.per_step else 1
        pads = [0] * axis + [1] + [0] * (axis + 1)
        x, index = graph.add("Pad", [x, graph.constant(pads)]), index + 1
    return at.x._replace(name=graph.add("Gather", [x, graph.constant(index)], axis=-1))
