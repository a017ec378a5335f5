"""Inputs and outputs of a graph that hold the states of its LSTMs from call to call.

A graph that reads a series frame by frame takes the states of its LSTMs and returns them, often stacked in one array.
Between these inputs and outputs and the LSTMs there are only nodes that move numbers. So the nodes run on the numbers
of the elements instead of their values, and where an element ends up tells what it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ...._typing import Array
from ..graph.nodes import Graph, Node, needed_nodes
from ..graph.operators import Run, make_forward

__all__ = ["Carried", "without_states"]

_MOVES = frozenset(
    ("Concat", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze")
)
_SAME = ("Cast", "CastLike", "Dropout")
_MOST = 2**21
"""Elements of the inputs that may be states, of one series."""


class Carried(NamedTuple):
    """A graph whose LSTMs carry their states by themselves."""

    graph: Graph
    """Without the inputs and outputs of the states."""
    inputs: tuple[str, ...]
    """Names of the inputs that held states."""
    outputs: tuple[str, ...]
    """Names of the outputs that held them."""


def without_states(graph: Graph, output: str | None) -> Carried | None:
    """Return the graph without the inputs and outputs that hold states; None if no input holds states.

    Parameters
    ----------
    graph : Graph
        With all its outputs.
    output : str or None
        The output to keep; None: the first that holds no state.

    Raises
    ------
    ValueError
        If the states do not go from call to call as those of LSTM layers do; the message says why.
    """
    codes: dict[str, Array] = {}
    next_code = 1
    for one in graph.inputs:
        if np.dtype(one.dtype).kind != "f" or one.shape is None:
            continue
        shape = tuple(size if isinstance(size, int) else 1 for size in one.shape)
        size = int(np.prod(shape, dtype=np.float64))
        if next_code + size > _MOST:
            continue
        codes[one.name] = np.arange(next_code, next_code + size, dtype=np.int64).reshape(shape)
        next_code += size
    moved = _moved(graph, codes)
    lstms = [node for node in graph.nodes if node.op == "LSTM"]
    states: dict[str, Array] = {}
    """Numbers of the elements of the states before the steps, by the names of the states after them."""
    without: dict[str, Node] = {}
    for node in lstms:
        given = [node.inputs[k] if len(node.inputs) > k else "" for k in (5, 6)]
        if not any(name in moved for name in given):
            continue
        if not all(name in moved for name in given):
            raise ValueError(f"{node}: only one of its two initial states is an input of the graph")
        if node.attributes.get("direction", "forward") != "forward":
            raise ValueError(f"{node}: an LSTM that reads a series from its end cannot be continued from call to call")
        for k, name in enumerate(given, start=1):
            if len(node.outputs) > k and node.outputs[k]:
                states[node.outputs[k]] = moved[name]
        inputs = [name if k not in (5, 6) else "" for k, name in enumerate(node.inputs)]
        while not inputs[-1]:
            inputs.pop()
        without[node.outputs[0] or node.outputs[-1]] = replace(node, inputs=tuple(inputs))
    if not without:
        return None
    if len(without) < len(lstms):
        plain = next(node for node in lstms if (node.outputs[0] or node.outputs[-1]) not in without)
        raise ValueError(
            f"{plain}: its states begin anew in each call, while those of other LSTMs are inputs of the graph"
        )
    after = _moved(graph, states)
    nodes = [without.get(node.outputs[0] or node.outputs[-1], node) for node in graph.nodes]
    held = {
        name
        for name, array in codes.items()
        if any(np.isin(array, states[of]).any() for of in states) or _feeds(array, lstms, moved)
    }
    results = {}
    for name in held:
        same = [one for one in graph.outputs if one in after and np.array_equal(after[one], codes[name])]
        if not same:
            raise ValueError(
                f"the input {name!r} holds states of LSTMs, and no output holds the same states after the steps in the "
                "same arrangement"
            )
        results[name] = same[0]
    rest = [name for name in graph.outputs if name not in results.values()]
    wanted = output if output is not None else (rest[0] if rest else graph.outputs[0])
    kept = needed_nodes(nodes, [wanted])
    read = {wanted}.union(*(node.inputs for node in kept))
    if read & held:
        raise ValueError(
            f"the graph computes with the states in the input {sorted(read & held)[0]!r} in other ways than an LSTM"
        )
    stateless = replace(
        graph,
        nodes=kept,
        inputs=tuple(one for one in graph.inputs if one.name not in held),
        outputs=(wanted,),
        constants={name: value for name, value in graph.constants.items() if name in read},
        trainable=frozenset(graph.trainable & read),
    )
    order = [one.name for one in graph.inputs if one.name in held]
    return Carried(stateless, tuple(order), tuple(results[name] for name in order))


def _feeds(array: Array, lstms: Sequence[Node], moved: Mapping[str, Array]) -> bool:
    return any(
        np.isin(moved[name], array).any() for node in lstms for name in node.inputs[5:7] if name and name in moved
    )


def _moved(graph: Graph, codes: Mapping[str, Array]) -> dict[str, Array]:
    """Return the values that consist of the elements of these, moved, by name; constants take part as they are."""
    found = dict(codes)
    folding = Run()
    known: dict[str, Array] = {name: value for name, value in graph.constants.items() if value.dtype.kind in "iub"}
    for node in graph.nodes:
        names = [name for name in node.inputs if name]
        first = node.inputs[0] if node.inputs else ""
        if node.op in _SAME and first in found and node.outputs[0]:
            found[node.outputs[0]] = found[first]
            continue
        of_codes = any(name in found for name in names)
        if of_codes and node.op not in _MOVES:
            continue
        if not names or not all(name in found or name in known for name in names):
            continue
        if of_codes and not all(name in found for name in (names if node.op == "Concat" else names[:1])):
            continue
        try:
            arrays = [(found.get(name, known.get(name))) if name else None for name in node.inputs]
            results, _ = make_forward(node)(arrays, folding)
        except (ValueError, TypeError, IndexError, OverflowError, ZeroDivisionError):
            continue
        folding.held += sum(one.size for one in results if one.base is None)
        for name, value in zip(node.outputs, results, strict=False):
            if name and of_codes:
                found[name] = value
            elif name and value.dtype.kind in "iub":
                known[name] = value
    return found
