"""Nodes `Loop` that compute an LSTM step by step: a node LSTM takes the place of the Loop.

tf2onnx writes so what it does not recognise itself, for instance Keras's LSTM with an activation other than tanh and
relu. What the body computes is found by running it: the weights are those that multiply the step and the state h; the
order of the gates and the activations are those that give the same numbers as the body. Then the whole Loop runs on
random series, and must give what the LSTM gives.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ...._typing import Array
from ....activations import Activation, as_activation
from ..graph.nodes import Graph, GraphInput, Node, in_order, needed_nodes
from ..graph.operators import Run, make_forward
from ..graph.program import Program

__all__ = ["Loop", "lstm_of_loop", "reads_of_loop"]

_MOST_STEPS = 1024
_TOLERANCE = 1e-4
"""Relative difference up to which two results of the same formula in float32 are taken as the same."""


@dataclass(frozen=True)
class Loop:
    """A node Loop with its body, a graph that also reads the values of the graphs around it."""

    node: Node
    inputs: tuple[str, ...]
    """Of the body: the number of the step, the condition, and the carried values."""
    nodes: tuple[Node, ...]
    constants: dict[str, Array]
    outputs: tuple[str, ...]
    """Of the body: the condition, the carried values, and those of which a Loop returns every step."""


class _Activation(NamedTuple):
    """A function as a node LSTM names it."""

    name: str
    alpha: float | None
    beta: float | None
    function: Activation


def _activation(name: str, kind: str, *numbers: float) -> _Activation:
    function = as_activation("kind", (kind, *numbers) if numbers else kind)
    alpha, beta = [*numbers, None, None][:2]
    return _Activation(name, alpha, beta, function)


_GATES = (
    _activation("Sigmoid", "sigmoid"),
    _activation("HardSigmoid", "hard_sigmoid", 1 / 6, 0.5),
    _activation("HardSigmoid", "hard_sigmoid", 0.2, 0.5),
)
_FUNCTIONS = (
    _activation("Tanh", "tanh"),
    _activation("Relu", "relu"),
    _activation("Elu", "elu", 1.0),
    _activation("Affine", "affine", 1.0, 0.0),
    _activation("Softsign", "softsign"),
    _activation("Softplus", "softplus"),
    _activation("LeakyRelu", "leaky_relu", 0.2),
    _activation("LeakyRelu", "leaky_relu", 0.3),
    _activation("LeakyRelu", "leaky_relu", 0.01),
    *_GATES,
)


class _Parts(NamedTuple):
    """What the body of a Loop consists of, by names and places."""

    h: int
    """Place among the carried values."""
    c: int
    series: str
    """Name of (steps, batch, features)."""
    kernel: str
    recurrent: str
    biases: list[str]


def reads_of_loop(loop: Loop) -> set[str]:
    """Return the values of the graphs around a Loop that the Loop and its body read."""
    own = set(loop.inputs) | set(loop.constants) | {name for node in loop.nodes for name in node.outputs}
    return {name for node in loop.nodes for name in node.inputs if name and name not in own} | set(loop.node.inputs) - {
        ""
    }


def lstm_of_loop(
    loop: Loop,
    needed: Sequence[Node],
    inputs: Sequence[GraphInput],
    constants: Mapping[str, Array],
    opset: int,
    sizes: Sequence[Mapping[str, tuple[int, ...]]],
    prefix: str,
) -> tuple[list[Node], dict[str, Array]]:
    """Return the nodes that take the place of a Loop, and their constants.

    Parameters
    ----------
    loop : Loop
    needed : sequence of Node
        The nodes that compute what the Loop reads.
    inputs, constants
        Of the graph.
    opset : int
    sizes : sequence of mapping of str to tuple
        Shapes of the inputs to try.
    prefix : str
        For new names.

    Raises
    ------
    ValueError
        If the Loop is no LSTM; the message says why.
    """
    for node in loop.nodes:
        make_forward(node)  # checks inputs, outputs and attributes
    carried = len(loop.inputs) - 2
    if carried < 0 or len(loop.node.inputs) != len(loop.inputs) or len(loop.outputs) < carried + 1:
        raise ValueError(f"{loop.node}: has {len(loop.node.inputs)} inputs, and its body {len(loop.inputs)}")
    loop, varying = _with_fixed_values(loop)
    read = sorted(reads_of_loop(loop))
    given = {one.name for one in inputs} | set(constants)
    ordered = in_order(needed, given)
    computed = given.union(*(node.outputs for node in ordered))
    missing = [name for name in read if name not in computed]
    if missing:
        raise ValueError(f"{loop.node}: its input {missing[0]!r} is missing from the graph")
    graph = Graph(needed_nodes(ordered, read), tuple(inputs), tuple(read), dict(constants), frozenset(), opset)
    outer, rng = Program(graph), np.random.default_rng(0)
    body = _body(loop, read, opset)
    found: tuple[_Parts, tuple[int, ...], list[_Activation], list[Array]] | None = None
    error: ValueError | None = None
    tried: list[Any] = []
    for shapes in sizes:
        if found is not None and len(tried) > 1:
            break
        feed = {one.name: _random(rng, shapes[one.name], one.dtype) for one in inputs if one.name in shapes}
        try:
            values = dict(zip(read, outer.forward({**constants, **feed}, Run(2**20))[0], strict=True))
        except ValueError as problem:
            error = error or problem
            continue
        try:
            with np.errstate(all="ignore"):
                if found is None:
                    parts = _parts(loop, varying, values, constants)
                    found = (parts, *_cell(loop, body, parts, varying, values, rng))
                _require_same(loop, body, found, varying, values)
        except (TypeError, IndexError, OverflowError, ZeroDivisionError) as problem:  # as NumPy raises for wrong shapes
            raise _not_an_lstm(loop, f"it cannot be run ({problem})") from problem
        tried.append(shapes)
    if found is None:
        raise error or ValueError(f"{loop.node}: cannot be run")
    return _replaced(loop, found, varying, opset, prefix)


def _random(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Array:
    kind = np.dtype(dtype)
    return rng.standard_normal(shape).astype(kind) if kind.kind == "f" else np.zeros(shape, kind)


def _not_an_lstm(loop: Loop, why: str) -> ValueError:
    return ValueError(f"{loop.node} is no LSTM that is recognised: {why}. Read the model from its Keras file instead")


def _with_fixed_values(loop: Loop) -> tuple[Loop, list[int]]:
    """Return a Loop whose body reads carried values that never change where they are; and the places of the others."""
    same = {node.outputs[0]: node.inputs[0] for node in loop.nodes if node.op == "Identity"}

    def source(name: str) -> str:
        for _ in loop.nodes:
            if name not in same:
                break
            name = same[name]
        return name

    names, varying = {}, []
    for place, (before, after) in enumerate(zip(loop.inputs[2:], loop.outputs[1:], strict=False)):
        if source(after) == before and loop.node.inputs[place + 2]:
            names[before] = loop.node.inputs[place + 2]
        else:
            varying.append(place)
    nodes = tuple(replace(node, inputs=tuple(names.get(name, name) for name in node.inputs)) for node in loop.nodes)
    outputs = tuple(names.get(name, name) for name in loop.outputs)
    return replace(loop, nodes=nodes, outputs=outputs), varying


def _body(loop: Loop, read: Sequence[str], opset: int) -> Program:
    given = [*loop.inputs, *loop.constants, *read]
    if len(set(given)) < len(given):
        raise ValueError(f"{loop.node}: a name of its body is defined twice")
    nodes = in_order(loop.nodes, given)
    known = set(given).union(*(node.outputs for node in nodes))
    missing = [name for name in loop.outputs if name not in known]
    if missing:
        raise ValueError(f"{loop.node}: its output {missing[0]!r} is missing from its body")
    outputs = tuple(dict.fromkeys(loop.outputs))
    return Program(Graph(needed_nodes(nodes, outputs), (), outputs, {}, frozenset(), opset))


def _parts(loop: Loop, varying: Sequence[int], values: Mapping[str, Array], constants: Mapping[str, Array]) -> _Parts:
    floats = [k for k in varying if values[loop.node.inputs[k + 2]].dtype.kind == "f"]
    others = [k for k in varying if k not in floats]
    shapes = {values[loop.node.inputs[k + 2]].shape for k in floats}
    if len(floats) != 2 or len(shapes) > 1 or len(next(iter(shapes))) != 2:
        raise _not_an_lstm(loop, f"it carries {len(floats)} arrays of numbers, expected h and c (a mask adds others)")
    if any(values[loop.node.inputs[k + 2]].size != 1 for k in others):
        raise _not_an_lstm(loop, "it carries integers other than the number of the step")
    names = {loop.inputs[k + 2]: k for k in floats}
    counters = {loop.inputs[0], *(loop.inputs[k + 2] for k in others)}
    steps = [n for n in loop.nodes if n.op == "Gather" and n.inputs[0] in values and counters & set(n.inputs[1:2])]
    if len(steps) != 1 or values[steps[0].inputs[0]].ndim != 3 or steps[0].attributes.get("axis", 0):
        raise _not_an_lstm(loop, "it does not read one step of one series")
    products = [node for node in loop.nodes if node.op == "MatMul"]
    of_x = [node for node in products if node.inputs[0] == steps[0].outputs[0]]
    of_h = [node for node in products if node.inputs[0] in names]
    every = {**loop.constants, **constants}
    if len(of_x) != 1 or len(of_h) != 1 or not all(n.inputs[1] in every for n in (*of_x, *of_h)):
        raise _not_an_lstm(loop, "it does not multiply the step and the state by one matrix each")
    h = names[of_h[0].inputs[0]]
    kernel, recurrent = of_x[0].inputs[1], of_h[0].inputs[1]
    hidden = next(iter(shapes))[1]
    used = dict.fromkeys(name for node in loop.nodes if node.op in ("Add", "Sum") for name in node.inputs)
    biases = [
        name for name in used if name in every and every[name].size == 4 * hidden > 1 and every[name].dtype.kind == "f"
    ]
    features = values[steps[0].inputs[0]].shape[2]
    if every[kernel].shape != (features, 4 * hidden) or every[recurrent].shape != (hidden, 4 * hidden):
        raise _not_an_lstm(loop, f"its matrices have the shapes {every[kernel].shape} and {every[recurrent].shape}")
    return _Parts(h, next(k for k in floats if k != h), steps[0].inputs[0], kernel, recurrent, biases)


def _step(
    loop: Loop, body: Program, values: Mapping[str, Array], number: int, carried: Mapping[int, Array]
) -> dict[str, Array]:
    """Run the body once; return its outputs by name."""
    given = {
        loop.inputs[0]: np.array(number, np.int64),
        loop.inputs[1]: np.array(True),
        **{loop.inputs[k + 2]: array for k, array in carried.items()},
    }
    outputs, _ = body.forward({**loop.constants, **values, **given}, Run(2**20))
    return dict(zip(body.graph.outputs, outputs, strict=True))


def _cell(
    loop: Loop,
    body: Program,
    parts: _Parts,
    varying: Sequence[int],
    values: Mapping[str, Array],
    rng: np.random.Generator,
) -> tuple[tuple[int, ...], list[_Activation], list[Array]]:
    """Return the places of the gates i, o, f, c, the activations of the gates, of c and of h, and the weights."""
    every = {**loop.constants, **values}
    kernel, recurrent = every[parts.kernel], every[parts.recurrent]
    hidden = recurrent.shape[0]
    bias = np.zeros(4 * hidden, kernel.dtype)
    for name in parts.biases:
        bias = bias + every[name].reshape(-1)
    x = 2 * rng.standard_normal((1, 16, kernel.shape[0])).astype(kernel.dtype)
    h, c = 2 * rng.standard_normal((2, 16, hidden)).astype(kernel.dtype)
    carried = {k: np.asarray(values[loop.node.inputs[k + 2]]) for k in varying}
    carried[parts.h], carried[parts.c] = h, c
    try:
        after = _step(loop, body, {**values, parts.series: x}, 0, carried)
    except ValueError as error:
        raise _not_an_lstm(loop, f"its body cannot be run on another batch ({error})") from None
    new_h, new_c = after[loop.outputs[parts.h + 1]], after[loop.outputs[parts.c + 1]]
    z = np.split(x[0] @ kernel + h @ recurrent + bias, 4, axis=1)
    for gate, function in itertools.product(_GATES, _FUNCTIONS):
        gates, cells = [gate.function(one) for one in z], [function.function(one) for one in z]
        for i, o, f, g in itertools.permutations(range(4)):
            if not _close(gates[f] * c + gates[i] * cells[g], new_c):
                continue
            for output in _FUNCTIONS:
                if _close(gates[o] * output.function(new_c), new_h):
                    return (i, o, f, g), [gate, function, output], [kernel, recurrent, bias]
    raise _not_an_lstm(loop, "no order of the gates and no activations that are known give what its body computes")


def _close(a: Array, b: Array) -> bool:
    return (
        a.shape == b.shape
        and a.size > 0
        and b.dtype.kind == "f"
        and bool(np.abs(a - b).max() <= _TOLERANCE * max(1.0, float(np.abs(b).max())))
    )


def _require_same(loop: Loop, body: Program, found: Any, varying: Sequence[int], values: Mapping[str, Array]) -> None:
    """Run a Loop to its end; raise ValueError if it gives something else than the LSTM for the whole series."""
    parts, order, (gate, function, output), (kernel, recurrent, bias) = found
    carried = {k: np.asarray(values[loop.node.inputs[k + 2]]) for k in varying}
    h, c = carried[parts.h], carried[parts.c]
    limit, going = loop.node.inputs[0], loop.node.inputs[1]
    most = int(values[limit].reshape(-1)[0]) if limit else _MOST_STEPS
    more = bool(values[going].reshape(-1)[0]) if going else True
    scans, number = [], 0
    while more and number < min(most, _MOST_STEPS):
        after = _step(loop, body, values, number, carried)
        more = bool(after[loop.outputs[0]].reshape(-1)[0])
        carried = {k: after[loop.outputs[k + 1]] for k in varying}
        scans.append([after[name] for name in loop.outputs[len(loop.inputs) - 1 :]])
        number += 1
    series = values[parts.series]
    if number != len(series):
        raise _not_an_lstm(loop, f"it computes {number} steps of a series of {len(series)}")
    for x, results in zip(series, scans, strict=True):
        z = np.split(x @ kernel + h @ recurrent + bias, 4, axis=1)
        i, o, f = (gate.function(z[k]) for k in order[:3])
        c = f * c + i * function.function(z[order[3]])
        h = o * output.function(c)
        if not all(_close(h, one) for one in results):
            raise _not_an_lstm(loop, "it returns something else for each step than h")
    if not (_close(h, carried[parts.h]) and _close(c, carried[parts.c])):
        raise _not_an_lstm(loop, "its states after the series are not those of an LSTM")


def _replaced(
    loop: Loop, found: Any, varying: Sequence[int], opset: int, prefix: str
) -> tuple[list[Node], dict[str, Array]]:
    parts, order, activations, (kernel, recurrent, bias) = found

    def arranged(weight: Array) -> Array:
        blocks = np.split(weight, 4, axis=-1)
        return np.concatenate([blocks[k] for k in order], axis=-1)

    weights = {
        f"{prefix}W": np.ascontiguousarray(arranged(kernel).T)[None],
        f"{prefix}R": np.ascontiguousarray(arranged(recurrent).T)[None],
        f"{prefix}B": np.concatenate([arranged(bias), np.zeros_like(bias)])[None],
    }
    nodes: list[Node] = []

    def moved(op: str, value: str, axis: int, name: str) -> str:
        if opset < 13:
            nodes.append(Node(name, op, opset, (value,), (name,), {"axes": [axis]}))
        else:
            weights[f"{prefix}axis{axis}"] = np.array([axis], np.int64)
            nodes.append(Node(name, op, opset, (value, f"{prefix}axis{axis}"), (name,)))
        return name

    states = [
        moved("Unsqueeze", loop.node.inputs[k + 2], 0, f"{prefix}{n}0") for k, n in ((parts.h, "h"), (parts.c, "c"))
    ]
    attributes: dict[str, Any] = {"hidden_size": len(recurrent), "activations": [one.name for one in activations]}
    for name in ("alpha", "beta"):
        numbers = [float(getattr(one, name)) for one in activations if getattr(one, name) is not None]
        if numbers:
            attributes[f"activation_{name}"] = numbers
    y, *ends = (f"{prefix}{name}" for name in ("Y", "Y_h", "Y_c"))
    inputs = (parts.series, f"{prefix}W", f"{prefix}R", f"{prefix}B", "", *states)
    nodes.append(Node(loop.node.name, "LSTM", opset, inputs, (y, *ends), attributes))
    for place, name in enumerate(loop.node.outputs):
        if not name:
            continue
        if place >= len(loop.inputs) - 2:
            moved("Squeeze", y, 1, name)
        elif place in (parts.h, parts.c):
            moved("Squeeze", ends[place != parts.h], 0, name)
        elif place not in varying:
            nodes.append(Node(name, "Identity", opset, (loop.node.inputs[place + 2],), (name,)))
    return nodes, weights
