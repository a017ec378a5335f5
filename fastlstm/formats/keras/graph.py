"""Order the layers of a model's description as the data pass through them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .calls import MASKS, arguments_of, tensor_of

__all__ = ["chain"]

_Mask = tuple[str, str, float]
"""Rule that finds the valid steps: "tokens" or "features", the name of the layer that is compared, the masked value."""


class _Node(NamedTuple):
    """A layer with its inputs."""

    layer: Mapping[str, Any]
    sources: list[str]
    """Names of the layers whose outputs it reads."""
    values: list[Any]
    """Arguments that are not tensors."""
    mask: str | None
    """Name of the layer that computes its mask; None if the mask comes with the input."""


def chain(model: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the descriptions of the layers, from the input to the output.

    Parameters
    ----------
    model : mapping
        The result of ``model.to_json()``, parsed.

    Raises
    ------
    ValueError
        If the model is neither a Sequential nor a Functional model that is a chain of layers.
    """
    kind, config = model.get("class_name"), model.get("config")
    layers = config.get("layers") if isinstance(config, dict) else config
    if kind not in ("Sequential", "Functional", "Model"):
        raise ValueError(f"the model is a {str(kind)[:100]!r}, expected Keras's Sequential or Functional")
    if not isinstance(layers, list) or not layers or (kind != "Sequential" and not isinstance(config, dict)):
        raise ValueError("the model's description has no list of layers")
    for layer in layers:
        if not isinstance(layer, dict) or not isinstance(layer.get("config"), dict):
            raise ValueError("the model's description has a layer that is not an object with a class_name and a config")
        if not isinstance(layer.get("class_name"), str) or not isinstance(layer["config"].get("name", ""), str):
            raise ValueError(
                "the model's description has a layer without a class_name, or with a name that is not a string"
            )
    if kind == "Sequential":
        return layers
    assert isinstance(config, dict)
    return _functional(layers, config)


def _functional(layers: list[Mapping[str, Any]], config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    nodes = {_name(layer): _node(layer) for layer in layers}
    if len(nodes) < len(layers):
        raise ValueError("two layers have the same name")
    tensors = {name: node for name, node in nodes.items() if node.layer["class_name"] not in MASKS}
    readers: dict[str, list[str]] = {}
    for name, node in tensors.items():
        for source in node.sources:
            readers.setdefault(source, []).append(name)
    inputs = [name for name, node in tensors.items() if not node.sources]
    if len(inputs) != 1 or nodes[inputs[0]].layer["class_name"] != "InputLayer":
        raise ValueError(f"the model has the inputs {inputs}, expected one: only chains of layers are supported")
    order, name = [inputs[0]], inputs[0]
    while name in readers:
        if len(readers[name]) != 1:
            raise ValueError(f"the output of {name!r} goes to {readers[name]}: only chains of layers are supported")
        (name,) = readers[name]
        order.append(name)
        if len(order) > len(tensors):
            raise ValueError("the layers form a cycle")
    if len(order) < len(tensors):
        apart = sorted(set(tensors) - set(order))
        raise ValueError(f"the layers {apart} are not connected to the others: only chains of layers are supported")
    outputs = config.get("output_layers")
    if isinstance(outputs, list) and len(outputs) == 1:
        (outputs,) = outputs
    if not isinstance(outputs, list) or outputs[:1] != [order[-1]]:
        raise ValueError(f"the model's outputs are {str(outputs)[:200]}, expected only the last layer, {order[-1]!r}")
    _check_masks([nodes[name] for name in order], nodes)
    return [nodes[name].layer for name in order]


def _name(layer: Mapping[str, Any]) -> str:
    name = layer.get("name", layer["config"].get("name"))
    if not isinstance(name, str):
        raise ValueError(f"a layer of class {layer['class_name']!r} has no name")
    return name


def _node(layer: Mapping[str, Any]) -> _Node:
    name, calls = _name(layer), layer.get("inbound_nodes")
    if not isinstance(calls, list) or len(calls) > 1:
        raise ValueError(f"layer {name!r} is used more than once: only chains of layers are supported")
    if not calls:
        return _Node(layer, [], [], None)
    (call,) = calls
    if isinstance(call, dict):  # Keras 3
        arguments, options = arguments_of(name, call)
        read = [_tensor(argument) for argument in arguments]
        sources = [source for source in read if source is not None]
        values = [argument for argument, source in zip(arguments, read, strict=True) if source is None]
    else:  # Keras 2: [[layer, node, tensor, options]]
        if not (isinstance(call, list) and len(call) == 1 and isinstance(call[0], list) and len(call[0]) == 4):
            raise ValueError(f"layer {name!r} reads several layers: only chains of layers are supported")
        source, *_, options = call[0]
        if not isinstance(source, str) or not isinstance(options, dict):
            raise ValueError(f"layer {name!r}: its inbound node cannot be read")
        sources, values = [source], []
    mask = None
    for key, value in options.items():
        if key == "mask" and value is not None and _tensor(value) is not None:
            mask = _tensor(value)
        elif value not in (None, False) and layer["class_name"] not in MASKS:
            raise ValueError(f"layer {name!r} is called with {key}={str(value)[:100]}, which is not supported")
    if layer["class_name"] not in MASKS and (len(sources) != 1 or any(v is not None for v in values)):
        raise ValueError(f"layer {name!r} reads {sources or 'no layer'}: only chains of layers are supported")
    return _Node(layer, sources, values, mask)


def _tensor(argument: Any) -> str | None:
    """Return the name of the layer that computes an argument in Keras 3's format; None if it is not a tensor."""
    tensor = tensor_of(argument)
    return None if tensor is None else tensor[0]


def _check_masks(order: list[_Node], nodes: Mapping[str, _Node]) -> None:
    """Raise ValueError if a layer gets a mask other than the one that Keras would propagate to it."""
    present: _Mask | None = None
    for node in order:
        name = _name(node.layer)
        if node.mask is not None and _mask(node.mask, nodes) != present:
            raise ValueError(f"layer {name!r} is called with its own mask, which is not supported")
        kind, config = node.layer["class_name"], node.layer["config"]
        if kind == "Embedding" and config.get("mask_zero") is True:
            present = "tokens", node.sources[0], 0.0
        elif kind == "Masking":
            value = config.get("mask_value", 0.0)
            present = "features", node.sources[0], value


def _mask(name: str, nodes: Mapping[str, _Node]) -> _Mask | None:
    """Return the mask that these operations compute; None if they compute something else."""
    form = "tokens"
    node = nodes.get(name)
    if node is not None and node.layer["class_name"] == "Any" and len(node.sources) == 1:
        if node.layer["config"].get("axis") != -1:
            return None
        form, node = "features", nodes.get(node.sources[0])
    if node is None or node.layer["class_name"] != "NotEqual" or len(node.sources) != 1 or len(node.values) != 1:
        return None
    (value,) = node.values
    return (form, node.sources[0], value) if isinstance(value, (int, float)) else None
