"""Activations that exporters write as several nodes, as one node each.

Such nodes compute a function of one number from one value and scalar constants, in some order that depends on the
exporter. They are recognized by what they compute: on a few numbers they give what the activation gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ....._typing import Array
from .....activations import Activation
from ...graph.nodes import Graph, Node, needed_nodes
from ...graph.operators import Run, make_forward

__all__ = ["fused"]

_ELEMENTWISE = {"Add", "Div", "Erf", "Identity", "Mul", "Neg", "Pow", "Reciprocal", "Exp", "Sigmoid", "Sub", "Tanh"}
_AT = np.concatenate([np.linspace(-9, 9, 61), [0.0, 1e-3, -1e-3]])
_NODES: dict[str, tuple[str, dict[str, str]]] = {
    "silu": ("Swish", {}),
    "gelu": ("Gelu", {}),
    "gelu_tanh": ("Gelu", {"approximate": "tanh"}),
}
_EXPECTED = {name: Activation(name, 0.0, 0.0)(_AT) for name in _NODES}
_TOLERANCE = 2e-6
"""Of values up to 9; constants in the file are rounded to float32. The two forms of gelu differ by 4.7e-4."""
_MOST = 16
"""Earlier values that are tried as the argument of a function, for each node."""


def fused(graph: Graph) -> Graph:
    """Return the graph with one node for each activation that several nodes compute."""
    functions: dict[str, dict[str, Array]] = {}  # of each value: its numbers as a function of some earlier values
    nodes: list[Node] = []
    for node in graph.nodes:
        found = None
        if node.op in _ELEMENTWISE and len(node.outputs) == 1:
            functions[node.outputs[0]] = of = _function(graph.constants, functions, node)
            if node.op == "Mul":
                found = next((pair for source in of if (pair := _known(source, of[source]))), None)
        if found is None:
            nodes.append(node)
        else:
            source, name = found
            op, attributes = _NODES[name]
            opset = max(node.opset, 24)  # that of the operator
            nodes.append(replace(node, op=op, inputs=(source,), attributes=attributes, opset=opset))
    return replace(graph, nodes=needed_nodes(nodes, graph.outputs))


def _known(source: str, numbers: Array) -> tuple[str, str] | None:
    for name, expected in _EXPECTED.items():
        if np.allclose(numbers, expected, rtol=0, atol=_TOLERANCE):
            return source, name
    return None


def _function(
    constants: Mapping[str, Array], functions: Mapping[str, dict[str, Array]], node: Node
) -> dict[str, Array]:
    """Return the numbers of a node's output as a function of each value from which alone it is computed."""
    varying = [name for name in dict.fromkeys(node.inputs) if name not in constants]
    fixed = {name: constants[name] for name in node.inputs if name in constants}
    if not varying or any(array.size != 1 or array.dtype.kind != "f" for array in fixed.values()):
        return {}
    candidates = [{name: _AT, **functions.get(name, {})} for name in varying]
    forward, result = make_forward(node), {}
    for source in list(candidates[0])[:_MOST]:
        if all(source in one for one in candidates):
            numbers = {name: one[source] for name, one in zip(varying, candidates, strict=True)}
            arrays = [numbers[n] if n in numbers else fixed[n].astype(np.float64).reshape(()) for n in node.inputs]
            with np.errstate(all="ignore"):
                try:
                    result[source] = forward(arrays, Run())[0][0]
                except (ValueError, TypeError):
                    return {}
    return result
