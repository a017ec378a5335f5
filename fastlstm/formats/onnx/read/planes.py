"""Windows of two axes, one of which has size 1, as windows of one axis: tf2onnx writes Keras's Conv1D so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...._typing import Array
from ..graph.nodes import Node

__all__ = ["as_series"]

_POOLS = ("MaxPool", "AveragePool")


def as_series(nodes: Sequence[Node], constants: dict[str, Array], trainable: set[str]) -> list[Node]:
    """Return nodes in which windows (1, k) and (k, 1) are windows of one axis, between a Squeeze and an Unsqueeze.

    The weights of such windows are added to `constants`, and to `trainable` if the former ones are there.
    """
    result: list[Node] = []
    for node in nodes:
        axis = _flat_axis(node, constants)
        if axis is None:
            result.append(node)
            continue
        inputs = list(node.inputs)
        if node.op == "Conv":
            name = f"{inputs[1]}/series"
            if name not in constants:
                constants[name] = constants[inputs[1]].squeeze(axis)
                if inputs[1] in trainable:
                    trainable.add(name)
            inputs[1] = name
        before, after = f"{node.outputs[0]}/series/x", f"{node.outputs[0]}/series/y"
        result.append(_moved("Squeeze", node, inputs[0], before, axis, constants))
        attributes = {key: _of_one_axis(key, value, axis - 2) for key, value in node.attributes.items()}
        result.append(replace(node, inputs=(before, *inputs[1:]), outputs=(after,), attributes=attributes))
        result.append(_moved("Unsqueeze", node, after, node.outputs[0], axis, constants))
    return result


def _flat_axis(node: Node, constants: dict[str, Array]) -> int | None:
    """Return the axis, 2 or 3, along which windows have one element and nothing around them; None if there is none."""
    get = node.attributes.get
    if len(node.outputs) != 1 or not node.outputs[0] or not node.inputs:
        return None
    if node.op == "Conv":
        weight = constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
        kernel: Any = list(weight.shape[2:]) if weight is not None and weight.ndim == 4 else None
        if get("kernel_shape", kernel) != kernel:
            return None
    else:
        kernel = get("kernel_shape") if node.op in _POOLS else None
    lists = {"strides": 2, "dilations": 2, "pads": 4}
    if not isinstance(kernel, list) or len(kernel) != 2 or 1 not in kernel:
        return None
    if any(not isinstance(get(key, [0] * n), list) or len(get(key, [0] * n)) != n for key, n in lists.items()):
        return None
    for place in (0, 1) if kernel[0] == 1 else (1,):
        pads = get("pads", [0] * 4)
        if kernel[place] == 1 and pads[place] == 0 == pads[place + 2] and get("strides", [1, 1])[place] == 1:
            return place + 2
    return None


def _of_one_axis(key: str, value: Any, place: int) -> Any:
    """Return an attribute without what it says of the axis of size 1."""
    if key in ("kernel_shape", "strides", "dilations"):
        return [value[1 - place]]
    return [value[1 - place], value[3 - place]] if key == "pads" else value


def _moved(op: str, node: Node, value: str, name: str, axis: int, constants: dict[str, Array]) -> Node:
    if node.opset < 13:
        return Node(name, op, node.opset, (value,), (name,), {"axes": [axis]})
    axes = f"fastlstm/axis{axis}"
    constants.setdefault(axes, np.array([axis], np.int64))
    return Node(name, op, node.opset, (value, axes), (name,))
