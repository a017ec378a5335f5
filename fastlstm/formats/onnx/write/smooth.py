"""The activations selu, silu and gelu as ONNX nodes."""

from __future__ import annotations

import math
from collections.abc import Callable

from ....activations import Activation
from .builder import GraphBuilder

__all__ = ["SMOOTH_WRITERS"]


def _selu(graph: GraphBuilder, function: Activation, x: str) -> str:
    return graph.add("Selu", [x], alpha=function.alpha, gamma=function.beta)


def _silu(graph: GraphBuilder, function: Activation, x: str) -> str:
    return graph.add("Mul", [x, graph.add("Sigmoid", [x])])


def _gelu(graph: GraphBuilder, function: Activation, x: str) -> str:
    """Write the nodes that PyTorch writes, and that runtimes recognize; the operator Gelu is of opset 20."""
    inner = graph.add("Erf", [graph.add("Div", [x, graph.constant(math.sqrt(2))])])
    outer = graph.add("Mul", [x, graph.add("Add", [inner, graph.constant(1.0)])])
    return graph.add("Mul", [outer, graph.constant(0.5)])


def _gelu_tanh(graph: GraphBuilder, function: Activation, x: str) -> str:
    cube = graph.add("Mul", [x, graph.add("Mul", [x, x])])
    inner = graph.add("Add", [x, graph.add("Mul", [cube, graph.constant(0.044715)])])
    tanh = graph.add("Tanh", [graph.add("Mul", [inner, graph.constant(math.sqrt(2 / math.pi))])])
    outer = graph.add("Mul", [x, graph.add("Add", [tanh, graph.constant(1.0)])])
    return graph.add("Mul", [outer, graph.constant(0.5)])


SMOOTH_WRITERS: dict[str, Callable[[GraphBuilder, Activation, str], str]] = {
    "selu": _selu,
    "silu": _silu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
}
