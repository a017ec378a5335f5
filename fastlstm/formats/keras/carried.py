"""Functional models of Keras that give their states, or begin from given ones: the halves of an encoder and a decoder.

They become a `Model`, whose `predict` takes and returns states.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .calls import ADVICE, MASKS, Node, Tensor, functional_layers, nodes_if_readable, nodes_of

__all__ = ["carried_chain"]


def carried_chain(model: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    """Return the layers of a chain whose LSTM layers give or take states; None if no layer does.

    Parameters
    ----------
    model : mapping
        The result of ``model.to_json()``, parsed.

    Raises
    ------
    ValueError
        If states go anywhere else than from inputs to LSTM layers, and from these to outputs, in their order.
    """
    layers = functional_layers(model)
    if layers is None or not (any(map(_gives_states, layers)) or _takes_states(layers)):
        return None
    nodes = nodes_of(layers)
    states = [tensor for node in nodes.values() for tensor in node.states]
    of_states = {name for name, _ in states}
    inputs = [name for name, node in nodes.items() if node.kind == "InputLayer" and name not in of_states]
    if len(inputs) != 1:
        raise ValueError(f"the model has the inputs {inputs} besides states, expected one. {ADVICE}")
    chain = _chain(nodes, inputs[0])
    _check(nodes, chain, states, model["config"].get("output_layers"))
    return [_without_states(nodes[name]) for name in chain]


def _gives_states(layer: Any) -> bool:
    config = layer.get("config") if isinstance(layer, dict) else None
    return isinstance(config, dict) and layer.get("class_name") == "LSTM" and config.get("return_state") is True


def _takes_states(layers: list[Any]) -> bool:
    return any(node.states for node in nodes_if_readable(layers).values())


def _chain(nodes: Mapping[str, Node], name: str) -> list[str]:
    """Return the names of the layers from the input on, along the first output of each."""
    order = [name]
    while True:
        readers = [other for other, node in nodes.items() if (order[-1], 0) in node.sources and node.kind not in MASKS]
        if not readers:
            return order
        if len(readers) > 1 or len(order) > len(nodes):
            raise ValueError(f"the output of {order[-1]!r} goes to {readers}. {ADVICE}")
        order.append(readers[0])


def _check(nodes: Mapping[str, Node], chain: list[str], states: list[Tensor], outputs: Any) -> None:
    recurrent = [name for name in chain if nodes[name].kind == "LSTM"]
    if states:
        wanted = [name for name, node in nodes.items() if node.kind == "InputLayer" and name != chain[0]]
        given = [name for name, output in states if name in nodes and nodes[name].kind == "InputLayer" and output == 0]
        if wanted != given or any(len(nodes[name].states) != 2 for name in recurrent):
            raise ValueError(
                f"the LSTM layers {recurrent} do not begin with h, c from the inputs {wanted}, in this order. {ADVICE}"
            )
    rest = sorted(set(nodes) - {*chain, *(name for name, _ in states)})
    if any(nodes[name].kind not in MASKS for name in rest):
        raise ValueError(f"the layers {rest} are not in the chain from {chain[0]!r}. {ADVICE}")
    possible = [(chain[-1], 0), *((name, output) for name in recurrent for output in (1, 2))]
    if isinstance(outputs, list) and outputs and isinstance(outputs[0], str):  # a single one
        outputs = [outputs]
    listed = _listed(outputs)
    if len(recurrent) and listed[:1] != [(chain[-1], 0)]:
        possible = possible[1:]  # the states alone
        if nodes[chain[-1]].kind != "LSTM":
            listed = []
    if not listed or listed != possible[: len(listed)] or len(listed) not in (1, len(possible)):
        raise ValueError(
            f"the model's outputs are {str(outputs)[:200]}, expected {chain[-1]!r} and then h and c of {recurrent}, or "
            f"these alone. {ADVICE}"
        )


def _listed(outputs: Any) -> list[Tensor]:
    """Return the outputs of a model as tensors; none if they are described in another way."""
    if not isinstance(outputs, list) or not all(isinstance(one, list) and len(one) == 3 for one in outputs):
        return []
    return [(one[0], one[2]) for one in outputs]


def _without_states(node: Node) -> Mapping[str, Any]:
    return {**node.layer, "config": {**node.layer["config"], "return_state": None}}
