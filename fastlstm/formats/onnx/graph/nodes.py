"""A graph of ONNX operators as plain Python data, shared by the readers, the interpreter and the writer."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...._typing import Array

__all__ = [
    "DTYPES",
    "MAX_RANK",
    "METADATA",
    "Graph",
    "GraphInput",
    "Node",
    "element_count",
    "graph_from_json",
    "graph_to_json",
    "in_order",
    "needed_nodes",
]


DTYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(name)
    for name in (
        "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
        "bool",
    )
}  # fmt: skip
"""Element types of tensors by name."""

METADATA = "fastlstm"
"""Key of the metadata of a file that `Model.to_onnx` wrote: JSON that says what the outputs are."""

MAX_RANK = 16
"""Largest number of axes of a tensor. NumPy allows 64; no model of time series needs more than a few."""


@dataclass(frozen=True)
class Node:
    """One operator of a graph."""

    name: str
    op: str
    opset: int
    inputs: tuple[str, ...]
    """Names of values; an empty name for an omitted input."""
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """Integers, floats, strings, lists of these, and arrays."""

    def __str__(self) -> str:
        return f"node {self.name!r} (operator {self.op}, opset {self.opset})"


@dataclass(frozen=True)
class GraphInput:
    """A value that the caller passes to a graph."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...] | None
    """A variable size is a name or None; the whole shape is None if the number of axes is unknown."""


@dataclass(frozen=True)
class Graph:
    """Nodes in topological order, with the inputs and constants that they read."""

    nodes: tuple[Node, ...]
    inputs: tuple[GraphInput, ...]
    outputs: tuple[str, ...]
    constants: dict[str, Array]
    """Initializers and constants by name."""
    trainable: frozenset[str]
    """Names of the constants that are parameters: float initializers that are not scalars."""
    opset: int


def element_count(shape: Iterable[int], limit: int) -> int:
    """Return the product of the sizes, at most limit + 1: the sizes that a file claims may have any product.

    Raises
    ------
    ValueError
        If a size is negative.
    """
    total = 1
    sizes = [int(size) for size in shape]
    if any(size < 0 for size in sizes):
        raise ValueError(f"a size of the shape {sizes} is negative")
    if 0 in sizes:
        return 0
    for size in sizes:
        total *= size
        if total > limit:
            return limit + 1
    return total


def needed_nodes(nodes: Sequence[Node], outputs: Iterable[str]) -> tuple[Node, ...]:
    """Return the nodes that the outputs depend on, in the given order."""
    wanted = set(outputs)
    kept: list[Node] = []
    for node in reversed(nodes):
        if wanted.intersection(node.outputs):
            kept.append(node)
            wanted.update(node.inputs)
    return tuple(reversed(kept))


def in_order(nodes: Sequence[Node], given: Iterable[str]) -> tuple[Node, ...]:
    """Return the nodes in topological order: each one after the nodes whose outputs it reads.

    Parameters
    ----------
    nodes : sequence of Node
    given : iterable of str
        Names of the graph's inputs and constants.

    Raises
    ------
    ValueError
        If two values have the same name, a value is missing, or the nodes form a cycle.
    """
    known = set(given)
    producer: dict[str, int] = {}
    for index, node in enumerate(nodes):
        for name in node.outputs:
            if not name:
                continue
            if name in known or name in producer:
                raise ValueError(f"{node}: the value {name!r} is defined twice")
            producer[name] = index
    pending: list[int] = []
    readers: dict[int, list[int]] = {}
    for index, node in enumerate(nodes):
        sources = set()
        for name in node.inputs:
            if name and name not in known:
                if name not in producer:
                    raise ValueError(f"{node}: its input {name!r} is missing from the graph")
                sources.add(producer[name])
        pending.append(len(sources))
        for source in sources:
            readers.setdefault(source, []).append(index)
    if all(producer[name] < index for index, node in enumerate(nodes) for name in node.inputs if name in producer):
        return tuple(nodes)
    ready = [index for index, count in enumerate(pending) if count == 0]
    order: list[int] = []
    while ready:
        index = ready.pop()
        order.append(index)
        for reader in readers.get(index, ()):
            pending[reader] -= 1
            if pending[reader] == 0:
                ready.append(reader)
    if len(order) < len(nodes):
        stuck = nodes[next(index for index, count in enumerate(pending) if count > 0)]
        raise ValueError(f"{stuck}: the graph has a cycle, this node depends on its own result")
    return tuple(nodes[index] for index in order)


# ---------------------------------------------------------------------------------------------- JSON


def _array_to_json(array: Array) -> dict[str, Any]:
    data = array.astype(array.dtype.newbyteorder("<")).tobytes()
    return {"dtype": array.dtype.name, "shape": list(array.shape), "data": base64.b64encode(data).decode()}


def _array_from_json(value: Any, what: str) -> Array:
    try:
        dtype, shape = DTYPES[value["dtype"]], tuple(int(size) for size in value["shape"])
        data = base64.b64decode(value["data"], validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise ValueError(f"{what} is not an array ({error})") from None
    if len(shape) > MAX_RANK or element_count(shape, len(data)) * dtype.itemsize != len(data):
        raise ValueError(f"{what} has shape {shape} and {len(data)} bytes, which do not match")
    return np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype).reshape(shape)


def graph_to_json(graph: Graph, parameters: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return the description of a graph without its parameters' values; the inverse of `graph_from_json`.

    Parameters
    ----------
    graph : Graph
    parameters : mapping of str to tuple of int
        Shapes of the parameters by name.
    """
    return {
        "opset": graph.opset,
        "inputs": [
            {"name": i.name, "dtype": i.dtype, "shape": None if i.shape is None else list(i.shape)}
            for i in graph.inputs
        ],
        "outputs": list(graph.outputs),
        "nodes": [
            {
                "name": node.name,
                "op": node.op,
                "inputs": list(node.inputs),
                "outputs": list(node.outputs),
                "attributes": {
                    key: _array_to_json(value) if isinstance(value, np.ndarray) else value
                    for key, value in node.attributes.items()
                },
            }
            for node in graph.nodes
        ],
        "parameters": {name: list(shape) for name, shape in parameters.items()},
        "constants": {name: _array_to_json(value) for name, value in graph.constants.items() if name not in parameters},
    }


def _strings(value: Any, what: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError(f"{what} must be a list of strings, got {value!r}")
    return tuple(value)


def _attribute_from_json(value: Any, what: str) -> Any:
    if isinstance(value, dict):
        return _array_from_json(value, what)
    items = value if isinstance(value, list) else [value]
    if not all(isinstance(one, (int, float, str)) and not isinstance(one, bool) for one in items):
        raise ValueError(f"{what} is {value!r}, expected a number, a string, a list of these, or an array")
    return value


def graph_from_json(config: Any) -> tuple[Graph, dict[str, tuple[int, ...]]]:
    """Return the graph that `graph_to_json` described, without its parameters' values, and their shapes.

    Raises
    ------
    ValueError
        If the description is damaged.
    """
    try:
        opset = int(config["opset"])
        inputs = tuple(
            GraphInput(str(i["name"]), str(i["dtype"]), None if i["shape"] is None else tuple(i["shape"]))
            for i in config["inputs"]
        )
        outputs = _strings(config["outputs"], "outputs")
        nodes = tuple(
            Node(
                str(node["name"]),
                str(node["op"]),
                opset,
                _strings(node["inputs"], "inputs of a node"),
                _strings(node["outputs"], "outputs of a node"),
                {str(k): _attribute_from_json(v, f"attribute {k!r}") for k, v in dict(node["attributes"]).items()},
            )
            for node in config["nodes"]
        )
        shapes = {str(k): tuple(int(size) for size in v) for k, v in dict(config["parameters"]).items()}
        constants = {str(k): _array_from_json(v, f"constant {k!r}") for k, v in dict(config["constants"]).items()}
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"the description of the graph is damaged: {type(error).__name__} {error}") from None
    if any(size < 0 for shape in shapes.values() for size in shape) or any(len(s) > MAX_RANK for s in shapes.values()):
        raise ValueError("a parameter of the graph has an impossible shape")
    if any(i.dtype not in DTYPES for i in inputs):
        raise ValueError("an input of the graph has an unknown element type")
    given = [i.name for i in inputs] + list(shapes) + list(constants)
    if len(set(given)) < len(given):
        raise ValueError("two inputs or constants of the graph have the same name")
    nodes = in_order(nodes, given)
    computed = set(given).union(*(node.outputs for node in nodes)) if nodes else set(given)
    for name in outputs:
        if name not in computed:
            raise ValueError(f"the output {name!r} is missing from the graph")
    return Graph(nodes, inputs, outputs, constants, frozenset(shapes), opset), shapes
