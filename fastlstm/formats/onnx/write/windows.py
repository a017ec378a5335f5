"""Convolutions and pooling over windows of steps as ONNX nodes."""

from __future__ import annotations

import math
from typing import Any

from .builder import GraphBuilder, Value
from .placed import PlacedStage

__all__ = ["write_conv", "write_window_pool"]


def write_conv(graph: GraphBuilder, at: PlacedStage) -> Value:
    """Write a convolution, for which ONNX has (batch, features, time)."""
    weight, bias, settings = at.stage.weights["weight"], at.stage.weights.get("bias"), at.stage.settings
    span = (weight.shape[2] - 1) * settings["dilation"] + 1
    attributes, zeros = _window(graph, at, span)
    attributes.update(dilations=[settings["dilation"]], group=settings["groups"], kernel_shape=[weight.shape[2]])
    x = graph.arranged(at.x, time_major=False)
    name = graph.masked(x, 0.0) if zeros else x.name
    inputs = [graph.add("Transpose", [name], perm=[0, 2, 1]), graph.constant(weight, at.constant_name("weight"))]
    if bias is not None:
        inputs.append(graph.constant(bias, at.constant_name("bias")))
    y = graph.add("Transpose", [graph.add("Conv", inputs, **attributes)], perm=[0, 2, 1])
    return _regrouped(graph, at, y, span, zeros)


def write_window_pool(graph: GraphBuilder, at: PlacedStage) -> Value:
    """Write a maximum or a mean over windows, which leaves out the steps beyond the ends of each series."""
    settings = at.stage.settings
    span = settings["kernel_size"]
    attributes, zeros = _window(graph, at, span)
    attributes["kernel_shape"] = [span]
    x = graph.arranged(at.x, time_major=False)

    def pooled(op: str, name: str, **more: Any) -> str:
        turned = graph.add("Transpose", [name], perm=[0, 2, 1])
        return graph.add("Transpose", [graph.add(op, [turned], **attributes, **more)], perm=[0, 2, 1])

    if settings["method"] == "max":
        y = pooled("MaxPool", graph.masked(x, -math.inf))
    elif settings["count_include_pad"]:
        y = pooled("AveragePool", graph.masked(x, 0.0), count_include_pad=1)
    elif graph.lengths and zeros:
        total = pooled("AveragePool", graph.masked(x, 0.0), count_include_pad=1)
        share = pooled("AveragePool", graph.cast(graph.valid_steps(), graph.dtype), count_include_pad=1)
        y = graph.add("Div", [total, graph.add("Max", [share, graph.constant(1 / span)])])
    else:
        y = pooled("AveragePool", x.name)
    return _regrouped(graph, at, y, span, zeros)


def _window(graph: GraphBuilder, at: PlacedStage, span: int) -> tuple[dict[str, Any], int]:
    """Return the attributes that say where windows begin, and how many steps beyond the ends of a series they reach.

    The second is 0 or more; it does not matter where it depends on the number of steps, which needs no lengths.
    """
    stride, padding = at.stage.settings["stride"], at.stage.settings["padding"]
    attributes: dict[str, Any] = {"strides": [stride]}
    if padding == "same" and stride > 1:
        if graph.lengths:
            raise at.refusal(
                "the number of zeros before a series would depend on its length, which ONNX cannot express: use "
                "with_lengths=False, or numbers of zeros as the padding"
            )
        attributes["auto_pad"] = "SAME_UPPER"
        return attributes, 0
    if isinstance(padding, str):
        before = {"valid": 0, "same": (span - 1) // 2, "causal": span - 1}[padding]
        padding = before, span - 1 - before if padding == "same" else 0
    attributes["pads"] = list(padding)
    return attributes, sum(padding)


def _regrouped(graph: GraphBuilder, at: PlacedStage, y: str, span: int, zeros: int) -> Value:
    """Return the value of windows; the lengths become those in windows."""
    stride = at.stage.settings["stride"]
    if graph.lengths and (stride > 1 or zeros != span - 1):
        ends = graph.add("Cast", [graph.lengths], to=graph.onnx.TensorProto.INT64)
        # The sum is at least 0 for a series of at least `span` steps with its zeros, which the layer demands.
        room = graph.add(
            "Max", [graph.add("Add", [ends, graph.constant([zeros - span + stride])]), graph.constant([0])]
        )
        windows = graph.add("Div", [room, graph.constant([stride])])
        time = graph.add("Slice", [graph.add("Shape", [y]), graph.constant([1]), graph.constant([2])])
        graph.regroup(graph.add("Cast", [windows], to=graph.onnx.TensorProto.INT32), time)
    return Value(y)
