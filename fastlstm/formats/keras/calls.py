"""What each layer of a Functional model of Keras reads: tensors of other layers, and initial states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

__all__ = [
    "ADVICE",
    "MASKS",
    "Node",
    "Tensor",
    "arguments_of",
    "functional_layers",
    "nodes_if_readable",
    "nodes_of",
    "tensor_of",
]

Tensor = tuple[str, int]
"""Name of a layer, and number of its output."""
MASKS = ("NotEqual", "Any")
"""Operations that Keras 3 writes into a Functional model for the masks of an Embedding or of a Masking."""
ADVICE = (
    "from_keras reads an encoder and a decoder in the form of Keras's tutorial: LSTM layers whose states go, in their "
    "order, to those of the decoder as initial_state, and at most an Attention with a Concatenate"
)


class Node(NamedTuple):
    """A layer with what it reads."""

    layer: Mapping[str, Any]
    sources: list[Tensor]
    states: list[Tensor]
    """What it is given as initial_state."""

    @property
    def kind(self) -> str:
        return str(self.layer["class_name"])


def functional_layers(model: Mapping[str, Any]) -> list[Any] | None:
    """Return the descriptions of the layers of a Functional model; None if the model is another one."""
    config = model.get("config")
    layers = config.get("layers") if isinstance(config, dict) else None
    return layers if model.get("class_name") in ("Functional", "Model") and isinstance(layers, list) else None


def nodes_if_readable(layers: Sequence[Any]) -> dict[str, Node]:
    """Return `nodes_of` the layers, or nothing if they cannot be read: `chain` says what is wrong with them."""
    try:
        return nodes_of(layers)
    except ValueError:
        return {}


def nodes_of(layers: Sequence[Mapping[str, Any]]) -> dict[str, Node]:
    """Return the layers with what they read, in the order of the description."""
    nodes: dict[str, Node] = {}
    for layer in layers:
        if not isinstance(layer, dict) or not isinstance(layer.get("config"), dict):
            raise ValueError("the model's description has a layer that is not an object with a class_name and a config")
        name = layer.get("name", layer["config"].get("name"))
        if not isinstance(name, str) or not isinstance(layer.get("class_name"), str) or name in nodes:
            raise ValueError("the model's description has a layer without a name of its own, or without a class_name")
        calls = layer.get("inbound_nodes")
        if not isinstance(calls, list) or len(calls) > 1:
            raise ValueError(f"layer {name!r} is used more than once. {ADVICE}")
        sources, states = _read_by(name, calls[0]) if calls else ([], [])
        if layer["class_name"] == "LSTM" and len(sources) == 3:  # a list of the series and the states
            sources, states = sources[:1], sources[1:]
        nodes[name] = Node(layer, sources, states)
    return nodes


def _read_by(name: str, call: Any) -> tuple[list[Tensor], list[Tensor]]:
    """Return the tensors that a layer reads, and those of its initial state."""
    sources: list[Tensor] = []
    if isinstance(call, dict):  # Keras 3
        arguments, options = arguments_of(name, call)
        if arguments:
            sources = _tensors(arguments[0])
        states = _tensors(arguments[1]) if len(arguments) > 1 else []
        states += _tensors(options.get("initial_state"))
        return sources, states
    states = []
    if not isinstance(call, list):
        raise ValueError(f"layer {name!r}: its inbound node cannot be read")
    for one in call:  # Keras 2: [layer, node, tensor, options] for each tensor
        if not _is_reference(one) or len(one) != 4:
            raise ValueError(f"layer {name!r}: its inbound node cannot be read")
        sources.append((one[0], one[2]))
        given = one[3].get("initial_state") if isinstance(one[3], dict) else None
        if given is not None:
            if not isinstance(given, list) or not all(map(_is_reference, given)):
                raise ValueError(f"layer {name!r}: its initial_state cannot be read")
            states += [(state[0], state[2]) for state in given]
    return sources, states


def _is_reference(value: Any) -> bool:
    """Return whether a value stands for a tensor in Keras 2's format: [layer, node, tensor, ...]."""
    return isinstance(value, list) and [type(one) for one in value[:3]] == [str, int, int]


def arguments_of(name: str, call: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments with which a layer is called, by place and by name, in Keras 3's format."""
    arguments, options = call.get("args"), call.get("kwargs")
    if not isinstance(arguments, list) or not isinstance(options, dict):
        raise ValueError(f"layer {name!r}: its inbound node has no args and kwargs")
    return arguments, options


def _tensors(argument: Any) -> list[Tensor]:
    """Return the tensors of an argument in Keras 3's format: one, or a list of them."""
    if isinstance(argument, (list, tuple)):
        return [tensor for one in argument for tensor in _tensors(one)]
    tensor = tensor_of(argument)
    return [] if tensor is None else [tensor]


def tensor_of(argument: Any) -> Tensor | None:
    """Return what an argument in Keras 3's format stands for; None if it is not a tensor."""
    if not isinstance(argument, dict) or argument.get("class_name") != "__keras_tensor__":
        return None
    config = argument.get("config")
    history = config.get("keras_history") if isinstance(config, dict) else None
    if not isinstance(history, list) or [type(one) for one in history] != [str, int, int]:
        raise ValueError("a tensor in the model's description does not name the layer that computes it")
    return history[0], history[2]
