"""Nodes with graphs of their own: the known branch of an `If`, and the LSTM that a `Loop` is, take their place.

TorchScript writes ``squeeze(dim)`` of an axis of unknown size as an If over that size, and some files hold a network
for each setting, such as two sampling rates. The condition of such a node follows from constants and shapes; it is
computed by running the nodes that it needs on zeros. Where it needs the values of the data, or comes out differently
for data of other sizes, the file is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ...._typing import Array
from ..graph.nodes import Graph, GraphInput, Node, in_order, needed_nodes
from ..graph.operators import Run
from ..graph.program import Program
from .loops import Loop, lstm_of_loop, reads_of_loop

__all__ = ["MAX_DEPTH", "Body", "If", "without_subgraphs"]

MAX_DEPTH = 8
"""How many nodes If may stand one within the other."""

_SIZES = ((2, 3, 5), (7, 4, 9), (1, 1, 1), (3, 640, 16), (3, 512, 16), (2, 100, 8))
"""Sizes that are tried for the axes whose size a file leaves open."""


class Body(NamedTuple):
    """A branch: a graph without inputs, which also reads the values of the graphs around it."""

    nodes: tuple[Node | If | Loop, ...]
    constants: dict[str, Array]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class If:
    """A node If."""

    node: Node
    """Its name, input and outputs."""
    branches: tuple[Body, Body]
    """What is computed if the condition does not hold, and if it does."""


def without_subgraphs(
    nodes: Sequence[Node | If | Loop], inputs: Sequence[GraphInput], constants: Mapping[str, Array], opset: int
) -> tuple[list[Node], dict[str, Array]]:
    """Return nodes without graphs of their own, and the constants with those that come from these graphs.

    Each If is replaced by one of its branches, each Loop by a node LSTM.

    Raises
    ------
    ValueError
        If a condition is not known, a Loop is no LSTM, or the nodes are nested too deeply; the message names the node.
    """
    left: list[tuple[Node | If | Loop, int]] = [(one, 0) for one in nodes]
    found = dict(constants)
    made = 0
    while True:
        waiting = [(place, one, depth) for place, (one, depth) in enumerate(left) if not isinstance(one, Node)]
        if not waiting:
            return [one for one, _ in left if isinstance(one, Node)], found
        plain = [one for one, _ in left if isinstance(one, Node)]
        place, one, depth, needed = _next(waiting, plain)
        made += 1
        prefix = f"{one.node.name}/{made}/"
        if isinstance(one, Loop):
            shapes = [sizes for sizes, _ in _zeros(inputs)][:4]
            inlined, own = lstm_of_loop(one, needed, inputs, found, opset, shapes, prefix)
        else:
            if depth >= MAX_DEPTH:
                raise ValueError(f"{one.node} stands within {depth} others, and at most {MAX_DEPTH} are supported")
            body = one.branches[_condition(one.node, needed, inputs, found, opset)]
            inlined, own = _inlined(one.node, body, prefix)
        if own.keys() & found.keys():
            raise ValueError(f"{one.node}: a name of its graph is defined twice")
        found.update(own)
        left[place : place + 1] = [(each, depth + 1) for each in inlined]


def _next(waiting: Sequence[tuple[int, Any, int]], plain: Sequence[Node]) -> tuple[int, Any, int, tuple[Node, ...]]:
    """Return the first of the nodes that depends on no other of them, and the nodes that it depends on."""
    unknown = {name for _, one, _ in waiting for name in one.node.outputs}
    for place, one, depth in waiting:
        read = {one.node.inputs[0]} if isinstance(one, If) else reads_of_loop(one)
        needed = _needed(plain, read)
        if not unknown.intersection(read.union(*(node.inputs for node in needed))):
            return place, one, depth, needed
    what = "condition" if isinstance(waiting[0][1], If) else "body"
    raise ValueError(f"{waiting[0][1].node}: its {what} depends on itself")


def _needed(nodes: Sequence[Node], names: set[str]) -> tuple[Node, ...]:
    """Return the nodes that values depend on; the nodes come in any order."""
    producers = {name: index for index, node in enumerate(nodes) for name in node.outputs if name}
    waiting, kept = list(names), set()
    while waiting:
        index = producers.get(waiting.pop())
        if index is not None and index not in kept:
            kept.add(index)
            waiting += nodes[index].inputs
    return tuple(nodes[index] for index in sorted(kept))


def _inlined(node: Node, body: Body, prefix: str) -> tuple[list[Any], dict[str, Array]]:
    """Return the nodes and constants of a branch, with names of their own, and nodes that give the node's outputs."""
    if len(body.outputs) != len(node.outputs):
        raise ValueError(f"{node}: a branch gives {len(body.outputs)} values, expected {len(node.outputs)}")
    local = {name for name in body.constants}
    for one in body.nodes:
        local.update((one if isinstance(one, Node) else one.node).outputs)
    local.discard("")
    names = {name: prefix + name for name in local}
    nodes = [_renamed(one, names) for one in body.nodes]
    for source, target in zip(body.outputs, node.outputs, strict=True):
        if target:
            nodes.append(Node(f"{prefix}{target}", "Identity", node.opset, (names.get(source, source),), (target,)))
    return nodes, {names[name]: value for name, value in body.constants.items()}


def _renamed(one: Node | If | Loop, names: Mapping[str, str]) -> Any:
    if isinstance(one, Node):
        return _with_names(one, names)
    if isinstance(one, Loop):
        own = set(one.inputs) | set(one.constants) | {name for node in one.nodes for name in node.outputs}
        outer = {name: new for name, new in names.items() if name not in own}
        nodes = tuple(_with_names(node, outer) for node in one.nodes)
        outputs = tuple(outer.get(name, name) for name in one.outputs)
        return replace(one, node=_with_names(one.node, names), nodes=nodes, outputs=outputs)
    return If(_with_names(one.node, names), tuple(_body_renamed(body, names) for body in one.branches))  # type: ignore[arg-type]


def _with_names(node: Node, names: Mapping[str, str]) -> Node:
    inputs, outputs = (tuple(names.get(one, one) for one in side) for side in (node.inputs, node.outputs))
    return replace(node, inputs=inputs, outputs=outputs)


def _body_renamed(body: Body, names: Mapping[str, str]) -> Body:
    """Give the values of the graphs around a branch their new names, unless the branch has a value of this name."""
    own = set(body.constants).union(*((one if isinstance(one, Node) else one.node).outputs for one in body.nodes))
    outer = {name: new for name, new in names.items() if name not in own}
    return Body(
        tuple(_renamed(one, outer) for one in body.nodes),
        body.constants,
        tuple(outer.get(name, name) for name in body.outputs),
    )


# ---------------------------------------------------------------------------------------------- conditions


def _condition(
    node: Node,
    needed: Sequence[Node],
    inputs: Sequence[GraphInput],
    constants: Mapping[str, Array],
    opset: int,
) -> bool:
    """Return the condition of a node; raise ValueError if constants and shapes do not decide it."""
    name = node.inputs[0]
    given = {one.name for one in inputs} | set(constants)
    ordered = in_order(needed, given) if needed else ()
    if name not in given and name not in {output for one in ordered for output in one.outputs}:
        raise ValueError(f"{node}: its input {name!r} is missing from the graph")
    data = {one.name for one in inputs}
    for one in ordered:
        if one.op not in ("Shape", "Size") and data.intersection(one.inputs):
            data.update(one.outputs)
    if name in data:
        settings = [one.name for one in inputs if one.shape is not None and len(one.shape) <= 1]
        advice = ""
        if settings:
            advice = f"; if {settings[0]!r} is a setting, give its value: constants={{{settings[0]!r}: ...}}"
        raise ValueError(
            f"{node}: which of its branches is computed depends on the values of the inputs, and only what shapes and "
            f"constants decide is supported{advice}"
        )
    graph = Graph(needed_nodes(ordered, [name]), tuple(inputs), (name,), dict(constants), frozenset(), opset)
    program, found, error = Program(graph), {}, None
    for sizes, values in _zeros(inputs):
        try:
            result = program.forward({**constants, **values}, Run(2**20, 0))[0][0]
        except ValueError as problem:
            error = error or problem
            continue
        if result.size != 1:
            raise ValueError(f"{node}: its condition has {result.size} elements, expected one")
        found[bool(result.reshape(-1)[0])] = sizes
    if not found:
        raise error or ValueError(f"{node}: its condition cannot be computed")
    if len(found) > 1:
        raise ValueError(
            f"{node}: which of its branches is computed depends on the sizes of the inputs ({found[True]} and "
            f"{found[False]} differ): export the model with fixed sizes, or write an index or flatten() instead of "
            "squeeze()"
        )
    return next(iter(found))


def _zeros(inputs: Sequence[GraphInput]) -> Iterator[tuple[dict[str, tuple[int, ...]], dict[str, Array]]]:
    """Yield inputs of zeros of several sizes, which those that the files leave open have; and their shapes."""
    tried = set()
    for sizes in _SIZES:
        named: dict[str, int] = {}
        shapes = {}
        for one in inputs:
            if one.shape is None:
                continue
            shape = []
            for axis, size in enumerate(one.shape):
                if isinstance(size, str):
                    size = named.setdefault(size, sizes[len(named) % 3])
                shape.append(sizes[axis % 3] if size is None else size)
            shapes[one.name] = tuple(shape)
        key = tuple(shapes.values())
        total = sum(int(np.prod(shape, dtype=np.float64)) for shape in shapes.values())
        if key in tried or total > 2**22:
            continue
        tried.add(key)
        yield shapes, {one.name: np.zeros(shapes[one.name], one.dtype) for one in inputs if one.name in shapes}
