"""Read an ONNX file into a checked `Graph`. The file is not trusted, and no code from it is run."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ...._arrays import as_array
from ...._checks import path as checked_path
from ...._typing import Array
from ..graph.nodes import Graph, GraphInput, Node, in_order, needed_nodes
from ..graph.tensors import ELEMENT_TYPES, tensor_array
from ..package import import_onnx
from .branches import MAX_DEPTH, Body, If, without_subgraphs
from .loops import Loop
from .planes import as_series

__all__ = ["MAX_OPSET", "MIN_OPSET", "make_node", "read_graph", "read_proto"]


MIN_OPSET, MAX_OPSET = 7, 28
"""Supported versions of the operator set. Broadcasting had other rules before opset 7."""

_DOMAINS = ("", "ai.onnx")
# Values of onnx.AttributeProto.AttributeType, and the field that holds the value of each.
_ATTRIBUTES = {1: "f", 2: "i", 3: "s", 4: "t", 6: "floats", 7: "ints", 8: "strings"}
_SUBGRAPHS = (5, 10)


def read_proto(source: Any) -> tuple[Any, Path | None]:
    """Return the ``onnx.ModelProto`` of a path, of bytes or of a proto, and the folder of its external data.

    Raises
    ------
    TypeError
        If the source has another type.
    ValueError
        If the bytes are not an ONNX model.
    OSError
        If the file cannot be read.
    """
    onnx = import_onnx()
    if isinstance(source, onnx.ModelProto):
        return source, None
    folder = None
    if isinstance(source, (str, os.PathLike)):
        source = checked_path(source)
        info = os.stat(source)
        if not stat.S_ISREG(info.st_mode) and not stat.S_ISDIR(info.st_mode):
            raise ValueError("not an ONNX model: it is not a regular file")
        folder = Path(os.path.realpath(source)).parent
        with open(source, "rb") as file:
            data = file.read()
    elif isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
    else:
        raise TypeError(f"source must be a path, bytes or an onnx.ModelProto, got {type(source).__name__}")
    if not data:
        raise ValueError("not an ONNX model: the file is empty")
    try:
        return onnx.ModelProto.FromString(data), folder
    except Exception as error:  # google.protobuf.message.DecodeError, whose module need not be importable
        if type(error).__name__ != "DecodeError":
            raise
        raise ValueError(f"truncated, damaged, or not an ONNX model ({error})") from None


def read_graph(
    proto: Any,
    folder: Path | None = None,
    outputs: Sequence[str] | None = None,
    settings: Mapping[str, ArrayLike] | None = None,
) -> Graph:
    """Return the graph of an ``onnx.ModelProto``, pruned to what the outputs need, without nodes If and Loop.

    Parameters
    ----------
    proto : onnx.ModelProto
    folder : Path, optional
        Folder of the external data.
    outputs : sequence of str, optional
        Names of the outputs to keep; all by default.
    settings : mapping of str to array, optional
        Values of inputs, which are constants then.

    Raises
    ------
    ValueError
        If the graph is damaged or uses an unsupported feature: other domains, functions, subgraphs except branches that
        constants and shapes decide, sparse tensors, opsets outside `MIN_OPSET` to `MAX_OPSET`. The message gives the
        reason.
    """
    if not proto.HasField("graph"):
        raise ValueError("not an ONNX model: it holds no graph")
    opset = _opset(proto)
    if len(proto.functions):
        raise ValueError(f"the model defines its own functions ({proto.functions[0].name!r}), which is not supported")
    if len(proto.graph.sparse_initializer):
        raise ValueError("the model has sparse tensors, which are not supported")
    constants = _initializers(proto.graph, folder)
    inputs = [_input(value) for value in proto.graph.input]
    names = [one.name for one in inputs]
    if len(set(names)) < len(names):
        raise ValueError("two inputs of the graph have the same name")
    # Up to version 3 of the format, initializers are also listed among the inputs, as values that may be replaced.
    inputs = [one for one in inputs if one.name not in constants]
    constants.update(_settings(settings or {}, inputs))
    fixed = set(settings or ())
    inputs = [one for one in inputs if one.name not in fixed]
    nodes: list[Node | If | Loop] = []
    trainable = _trainable(constants, fixed)
    _read_nodes(proto.graph.node, opset, folder, nodes, constants, 0)
    if not all(isinstance(one, Node) for one in nodes):
        before = set(constants)
        plain, constants = without_subgraphs(nodes, inputs, constants, opset)
        trainable |= _trainable(constants, before)
        nodes = list(plain)
    flat = as_series([one for one in nodes if isinstance(one, Node)], constants, trainable)
    given = [one.name for one in inputs] + list(constants)
    if len(set(given)) < len(given):
        raise ValueError("an input and a constant of the graph have the same name")
    ordered = in_order(flat, given)
    declared = [_text(value.name, "the name of an output") for value in proto.graph.output]
    wanted = list(declared if outputs is None else outputs)
    computed = set(given).union(*(node.outputs for node in ordered)) if ordered else set(given)
    for name in wanted:
        if name not in declared or name not in computed or not name:
            raise ValueError(f"the output {name!r} is missing from the graph, which has {declared}")
    if not wanted:
        raise ValueError("the graph has no output")
    kept = needed_nodes(ordered, wanted)
    read = set(wanted).union(*(node.inputs for node in kept))
    constants = {name: value for name, value in constants.items() if name in read}
    return Graph(kept, tuple(inputs), tuple(wanted), constants, frozenset(trainable & constants.keys()), opset)


def _initializers(graph: Any, folder: Path | None) -> dict[str, Array]:
    constants: dict[str, Array] = {}
    for tensor in graph.initializer:
        name = _text(tensor.name, "the name of an initializer")
        if not name or name in constants:
            raise ValueError(f"the initializer {name!r} has no name" if not name else f"{name!r} is defined twice")
        constants[name] = tensor_array(tensor, folder, f"initializer {name!r}")
    return constants


def _trainable(constants: Mapping[str, Array], without: Collection[str]) -> set[str]:
    """Return which of the constants are parameters."""
    return {
        name for name, value in constants.items() if value.dtype.kind == "f" and value.ndim > 0 and name not in without
    }


def _settings(given: Mapping[str, ArrayLike], inputs: Sequence[GraphInput]) -> dict[str, Array]:
    """Return the values that the user gives for inputs, as the graph declares them."""
    declared = {one.name: one for one in inputs}
    result = {}
    for name, value in given.items():
        if name not in declared:
            raise ValueError(f"constants has {name!r}, and the inputs of the graph are {list(declared)}")
        array = as_array(value, f"constants[{name!r}]")
        if array.dtype.kind not in "fiub":
            raise ValueError(f"constants[{name!r}] is {array.dtype}, expected numbers")
        result[name] = array.astype(declared[name].dtype)
        shape = declared[name].shape
        if shape is not None and len(shape) == 1 and array.ndim == 0:
            result[name] = result[name].reshape(1)
    return result


def _read_nodes(
    protos: Any, opset: int, folder: Path | None, nodes: list[Node | If | Loop], constants: dict[str, Array], depth: int
) -> None:
    """Append the nodes of a graph, and add the values of its nodes Constant to `constants`."""
    for index, proto in enumerate(protos):
        if proto.op_type == "If" and proto.domain in _DOMAINS:
            nodes.append(_read_if(proto, index, opset, folder, depth))
            continue
        if proto.op_type == "Loop" and proto.domain in _DOMAINS:
            nodes.append(_read_loop(proto, index, opset, folder))
            continue
        one = _node_or_constant(proto, index, opset, folder, constants)
        if one is not None:
            nodes.append(one)


def _node_or_constant(
    proto: Any, index: int, opset: int, folder: Path | None, constants: dict[str, Array]
) -> Node | None:
    """Return a node; None if it is a Constant, whose value is added to `constants`."""
    node = make_node(proto, index, opset, folder)
    if node.op != "Constant":
        return node
    if len(node.outputs) != 1 or node.inputs or node.outputs[0] in constants:
        raise ValueError(f"{node}: expected no inputs and one output with a unique name")
    constants[node.outputs[0]] = _constant(node)
    return None


def _read_if(proto: Any, index: int, opset: int, folder: Path | None, depth: int) -> If:
    node = _named(proto, index, opset)
    if len(node.inputs) != 1 or not node.inputs[0] or not node.outputs:
        raise ValueError(f"{node}: has the inputs {list(node.inputs)}, expected one, the condition")
    if depth >= MAX_DEPTH:
        raise ValueError(f"{node} stands within {depth} others, and at most {MAX_DEPTH} are supported")
    graphs = {_text(one.name, "the name of an attribute"): one for one in proto.attribute}
    if len(proto.attribute) != 2 or set(graphs) != {"else_branch", "then_branch"}:
        raise ValueError(f"{node}: has the attributes {sorted(graphs)}, expected then_branch and else_branch")
    bodies = []
    for name in ("else_branch", "then_branch"):
        if graphs[name].type != 5 or len(graphs[name].g.input) or len(graphs[name].g.sparse_initializer):
            raise ValueError(f"{node}: attribute {name!r} is no graph without inputs")
        graph = graphs[name].g
        constants = _initializers(graph, folder)
        nodes: list[Node | If | Loop] = []
        _read_nodes(graph.node, opset, folder, nodes, constants, depth + 1)
        outputs = tuple(_text(one.name, "the name of an output") for one in graph.output)
        bodies.append(Body(tuple(nodes), constants, outputs))
    return If(node, (bodies[0], bodies[1]))


def _read_loop(proto: Any, index: int, opset: int, folder: Path | None) -> Loop:
    node = _named(proto, index, opset)
    if len(proto.attribute) != 1 or proto.attribute[0].name != "body" or proto.attribute[0].type != 5:
        raise ValueError(f"{node}: expected one attribute, the graph 'body'")
    graph = proto.attribute[0].g
    if len(graph.sparse_initializer):
        raise ValueError(f"{node}: its body has sparse tensors, which are not supported")
    constants = _initializers(graph, folder)
    nodes: list[Node] = []
    for number, one in enumerate(graph.node):
        if one.op_type in ("If", "Loop", "Scan"):
            raise ValueError(f"{node}: its body has a node {one.op_type}, and a Loop is only read if it is an LSTM")
        made = _node_or_constant(one, number, opset, folder, constants)
        if made is not None:
            nodes.append(made)
    inputs, outputs = (
        tuple(_text(one.name, "the name of a value") for one in side) for side in (graph.input, graph.output)
    )
    if len(inputs) < 2 or len(set(inputs)) < len(inputs) or len(node.inputs) < 2 or not outputs or not node.outputs:
        raise ValueError(f"{node}: its body has the inputs {list(inputs)} and the outputs {list(outputs)}")
    return Loop(node, inputs, tuple(nodes), constants, outputs)


def _named(proto: Any, index: int, opset: int) -> Node:
    """Return a node without its attributes."""
    return Node(
        _text(proto.name, "the name of a node") or f"#{index}",
        _text(proto.op_type, "the operator of a node"),
        opset,
        tuple(_text(one, "an input of a node") for one in proto.input),
        tuple(_text(one, "an output of a node") for one in proto.output),
    )


def make_node(proto: Any, index: int, opset: int, folder: Path | None = None) -> Node:
    """Return the node of an ``onnx.NodeProto``; raise ValueError if it has a foreign domain or a subgraph."""
    node = _named(proto, index, opset)
    if proto.domain not in _DOMAINS:
        raise ValueError(f"{node}: its domain {proto.domain!r} is not supported, only ONNX's standard operators are")
    attributes: dict[str, Any] = {}
    for attribute in proto.attribute:
        key = _text(attribute.name, "the name of an attribute")
        what = f"{node}: attribute {key!r}"
        if key in attributes:
            raise ValueError(f"{what} appears twice")
        if attribute.type in _SUBGRAPHS:
            raise ValueError(
                f"{what} is a graph: of the operators with subgraphs only If is supported, with a branch that "
                "constants and shapes decide, and Loop, if it is an LSTM (no Scan)"
            )
        if attribute.type not in _ATTRIBUTES or attribute.ref_attr_name:
            raise ValueError(f"{what} is of type {attribute.type}, which is not supported")
        value = getattr(attribute, _ATTRIBUTES[attribute.type])
        if attribute.type == 3:
            value = _text(value, what)
        elif attribute.type == 4:
            value = tensor_array(value, folder, what)
        elif attribute.type == 8:
            value = [_text(one, what) for one in value]
        elif attribute.type in (6, 7):
            value = list(value)
        attributes[key] = value
    return replace(node, attributes=attributes)


def _text(value: Any, what: str) -> str:
    """Return a string of the file, checked: protobuf's C++ parser lets bytes through that are not UTF-8."""
    try:
        text = value.decode() if isinstance(value, bytes) else str(value)
        text.encode()
    except UnicodeError:
        raise ValueError(f"{what} is not valid UTF-8") from None
    return text


def _opset(proto: Any) -> int:
    versions = {_text(one.domain, "a domain"): one.version for one in proto.opset_import}
    if len(versions) < len(proto.opset_import):
        raise ValueError("opset_import lists a domain twice")
    if {"", "ai.onnx"} <= versions.keys():
        raise ValueError("opset_import lists ONNX's standard operators twice")
    # The list may contain other domains although no node uses them.
    opset = versions.get("", versions.get("ai.onnx"))
    if opset is None:
        raise ValueError("opset_import does not give the version of ONNX's operators that the model uses")
    if not MIN_OPSET <= opset <= MAX_OPSET:
        raise ValueError(
            f"the model uses opset {opset}, supported are {MIN_OPSET} to {MAX_OPSET}: "
            "convert it with onnx.version_converter.convert_version"
        )
    return int(opset)


def _input(value: Any) -> GraphInput:
    name = _text(value.name, "the name of an input")
    if not name:
        raise ValueError("an input of the graph has no name")
    if not value.type.HasField("tensor_type"):
        raise ValueError(f"the input {name!r} is not a tensor")
    tensor = value.type.tensor_type
    kind = ELEMENT_TYPES.get(tensor.elem_type)
    if kind is None:
        raise ValueError(f"the input {name!r} has element type {tensor.elem_type}, which is not supported")
    shape: tuple[int | str | None, ...] | None = None
    if tensor.HasField("shape"):
        sizes: list[int | str | None] = []
        for size in tensor.shape.dim:
            if size.HasField("dim_value"):
                # Some exporters write 0 or -1 for a variable size.
                sizes.append(int(size.dim_value) if size.dim_value > 0 else None)
            else:
                sizes.append(_text(size.dim_param, f"a size of {name!r}") or None)
        shape = tuple(sizes)
    return GraphInput(name, "float32" if kind == "bfloat16" else kind, shape)


def _constant(node: Node) -> Array:
    """Return the value of a Constant node."""
    if len(node.attributes) != 1:
        raise ValueError(f"{node}: has {len(node.attributes)} attributes, expected one, which holds the value")
    ((key, value),) = node.attributes.items()
    expected: dict[str, tuple[type, Any]] = {
        "value": (np.ndarray, None),
        "value_float": (float, np.float32),
        "value_int": (int, np.int64),
        "value_floats": (list, np.float32),
        "value_ints": (list, np.int64),
    }
    if key not in expected or not isinstance(value, expected[key][0]):
        raise ValueError(f"{node}: attribute {key!r} is not supported, expected one of {', '.join(expected)}")
    try:
        return np.asarray(value, expected[key][1])
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{node}: attribute {key!r} holds elements of the wrong type") from None
