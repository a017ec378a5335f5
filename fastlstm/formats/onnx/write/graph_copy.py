"""Write the graph of an `OnnxGraph` unchanged, with nodes before and after it that transpose and reshape its axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..graph.layer import OnnxGraph
from ..graph.nodes import Node
from ..graph.tensors import ELEMENT_TYPES
from .builder import GraphBuilder, Value

__all__ = ["copy_graph"]


def copy_graph(graph: GraphBuilder, layer: OnnxGraph, x: Value) -> Value:
    """Copy the nodes and constants of the layer's graph, which reads x; return its output."""
    copied = layer.graph
    graph.opset = copied.opset
    data = next(one for one in copied.inputs if one.name != layer.lengths_input)
    names = _new_names(graph, layer)
    source = x.name
    if layer.time_major:
        source = graph.add("Transpose", [source], perm=[1, 0] if layer.takes_tokens else [1, 0, 2])
    wanted = _element(data.dtype) if layer.takes_tokens else 0
    if wanted not in (0, 7):
        source = graph.add("Cast", [source], to=wanted)
    graph.add("Identity", [source], names.get(data.name, data.name))
    for one in copied.inputs:
        if one.name == layer.lengths_input:
            graph.takes_lengths, graph.lengths = True, "lengths"
            graph.add("Cast", ["lengths"], names.get(one.name, one.name), to=_element(one.dtype))
    for name, value in {**copied.constants, **layer.parameters}.items():
        graph.constants[names.get(name, name)] = value.astype(graph.dtype) if value.dtype.kind == "f" else value
    for node in copied.nodes:
        graph.nodes.append(_copied(graph, node, names))
    return _arranged(graph, names.get(copied.outputs[0], copied.outputs[0]), layer)


def _new_names(graph: GraphBuilder, layer: OnnxGraph) -> dict[str, str]:
    """Return new names for the names of the copied graph that the file has, or may get, for other values."""
    copied = layer.graph
    own = {one.name for one in copied.inputs} | {name for node in copied.nodes for name in node.outputs}
    own |= {*copied.constants, *layer.parameters}
    used = {"x", "y", "lengths", *graph.constants, *(name for node in graph.nodes for name in node.output)}
    reserved = ("const/", "scaler", "target_scaler", "output/", f"{graph.scope}/")
    names: dict[str, str] = {}
    for name in sorted(own):
        if name in used or name.startswith(reserved):
            stem, number = f"graph/{name}", 1
            names[name] = stem
            while names[name] in own | used:
                number += 1
                names[name] = f"{stem}_{number}"
            used.add(names[name])
    return names


def _copied(graph: GraphBuilder, node: Node, names: dict[str, str]) -> Any:
    attributes = dict(node.attributes)
    for key, value in attributes.items():
        if isinstance(value, np.ndarray):
            array = value.astype(graph.dtype) if value.dtype.kind == "f" else value
            attributes[key] = graph.onnx.numpy_helper.from_array(array)
    if node.op == "Cast" and ELEMENT_TYPES.get(attributes.get("to", 0)) in ("float16", "float32", "float64"):
        attributes["to"] = _element(graph.dtype.name)
    inputs, outputs = ([names.get(one, one) for one in some] for some in (node.inputs, node.outputs))
    return graph.onnx.helper.make_node(node.op, inputs, outputs, name=f"graph/{node.name}", **attributes)


def _arranged(graph: GraphBuilder, output: str, layer: OnnxGraph) -> Value:
    """Return the output of the layer's graph as (batch, time, features) or (batch, features)."""
    axes = [layer.batch_axis, *([] if layer.time_axis is None else [layer.time_axis])]
    rank = layer.output_rank
    order = axes + [k for k in range(rank) if k not in axes]
    if order != sorted(order):
        output = graph.add("Transpose", [output], perm=order)
    if rank != len(axes) + 1:
        output = graph.add("Reshape", [output, graph.constant([0] * len(axes) + [layer.output_size])])
    return Value(output, per_step=layer.time_axis is not None)


def _element(name: str) -> int:
    """Return the number of an element type."""
    return next(number for number, known in ELEMENT_TYPES.items() if known == name)
