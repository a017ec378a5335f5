"""Nodes that compute each step from the same step: dense layers, activations, scalers, dropout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ....._typing import Array
from ...graph.elementwise import activation_of
from ...graph.nodes import Node
from ...graph.operators import axis_of
from ...graph.smooth import SMOOTH, smooth_of
from .spectra import read_energy
from .symbols import Channels, Energy, Known, Merged, NoChain, Signal, Size, Sizes, objects
from .trace import Item, Trace

__all__ = ["read_activation", "read_arithmetic", "read_dropout", "read_gemm", "read_matmul"]


def read_arithmetic(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    """Handle Add, Sub, Mul and Div: a bias, a scaler, or arithmetic on sizes."""
    if any(isinstance(one, Sizes) for one in inputs):
        a, b = (objects(one, node) for one in inputs)
        if a.size != 1 or b.size != 1:
            raise NoChain(str(node))
        x, y = a.reshape(-1)[0], b.reshape(-1)[0]
        result: Any = None
        if isinstance(x, int) and isinstance(y, int) and node.op != "Div":
            result = {"Add": x + y, "Sub": x - y, "Mul": x * y}[node.op]
        elif node.op == "Mul" and 1 in (x, y):
            result = y if x == 1 else x
        filled = np.empty(np.broadcast_shapes(a.shape, b.shape), object)
        filled.fill(result)
        return [Sizes(filled)]
    if any(isinstance(one, (Channels, Energy)) for one in inputs):
        return read_energy(trace, node, inputs)
    if all(isinstance(one, Signal) for one in inputs):
        return [_merged(trace, node, *inputs)]
    swapped = isinstance(inputs[0], Known)
    value, constant = inputs[::-1] if swapped else inputs
    if not isinstance(constant, Known) or (swapped and node.op in ("Sub", "Div")):
        raise NoChain(str(node))
    signal = trace.top(value, node)
    if node.op == "Add" and _adds_bias(trace, signal, constant.array):
        return [signal]
    trace.features(signal, node)
    array, size = constant.array, signal.sizes[-1]
    flat = array.reshape(-1)
    if array.dtype.kind != "f" or not isinstance(size, int) or array.shape[-1:] not in ((size,), (1,), ()):
        raise NoChain(str(node))
    if flat.size != (array.shape[-1] if array.ndim else 1) or array.ndim > len(signal.axes):
        raise NoChain(str(node))
    last = trace.items[-1] if trace.items else None
    if node.op == "Add" and last is not None and last.kind == "Dense" and not last.settings["bias"]:
        last.settings["bias"] = True
        last.weights["bias"] = np.broadcast_to(flat, size)
        return [signal]
    return [trace.add(Item("affine", {"op": node.op, "by": flat}), signal)]


def _adds_bias(trace: Trace, signal: Signal, array: Array) -> bool:
    """Give the last item, a convolution without a bias, these numbers as its bias, if there is one for each filter."""
    last = trace.items[-1] if trace.items else None
    if last is None or last.kind != "Conv1D" or last.settings["bias"] or "f" not in signal.axes:
        return False
    axis = signal.axes.index("f") - len(signal.axes)
    filters = last.settings["filters"]
    if array.dtype.kind != "f" or array.size != filters or -axis > array.ndim or array.shape[axis] != filters:
        return False
    last.settings["bias"] = True
    last.weights["bias"] = array.reshape(-1)
    return True


def _merged(trace: Trace, node: Node, a: Signal, b: Signal) -> Signal:
    """Read the product or the sum of the last item's output and that of an earlier one."""
    mode = {"Mul": "multiply", "Add": "add"}.get(node.op)
    last = len(trace.items) - 1
    of_last = [one for one in (a, b) if one.parts[0][0] == last]
    if mode is None or len(of_last) != 1 or a.axes != b.axes or a.sizes != b.sizes:
        raise NoChain(f"{node} joins two values in a way that no layer has")
    signal = trace.top(of_last[0], node)
    name = trace.tapped(b if signal is a else a, node)
    trace.items.append(Item("Merge", {"tap": name, "mode": mode}))
    return Signal(signal.axes, signal.sizes, ((len(trace.items) - 1, 0),))


def read_matmul(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    value, weight = inputs
    if not isinstance(weight, Known) or weight.array.ndim != 2 or weight.array.dtype.kind != "f":
        raise NoChain(str(node))
    signal = trace.top(value, node)
    trace.features(signal, node)
    if signal.sizes[-1] != weight.array.shape[0] or 0 in weight.array.shape:
        raise NoChain(str(node))
    return [_dense(trace, signal, trace.straightened(weight.array.T), None)]


def read_gemm(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    get = node.attributes.get
    if not all(isinstance(one, Known) or one is None for one in inputs[1:]) or get("transA", 0):
        raise NoChain(str(node))
    signal = trace.top(inputs[0], node)
    trace.features(signal, node)
    weight = inputs[1].array if inputs[1] is not None else np.zeros(0)
    if weight.ndim != 2 or weight.dtype.kind != "f" or len(signal.axes) != 2:
        raise NoChain(str(node))
    if not isinstance(signal.sizes[0], (Merged, Size)):
        raise NoChain(str(node))
    weight = (weight if get("transB", 0) else weight.T) * weight.dtype.type(get("alpha", 1.0))
    if weight.shape[1] != signal.sizes[1] or 0 in weight.shape:
        raise NoChain(str(node))
    bias = None
    if len(inputs) > 2 and inputs[2] is not None:
        given = inputs[2].array
        if given.size not in (1, weight.shape[0]) or given.shape[-1:] not in ((), (1,), (weight.shape[0],)):
            raise NoChain(str(node))
        bias = np.broadcast_to(given.reshape(-1) * given.dtype.type(get("beta", 1.0)), weight.shape[0])
    return [_dense(trace, signal, trace.straightened(weight), bias)]


def _dense(trace: Trace, signal: Signal, weight: Array, bias: Array | None) -> Signal:
    item = Item("Dense", {"output_size": weight.shape[0], "bias": bias is not None}, {"weight": weight})
    if bias is not None:
        item.weights["bias"] = bias
    return trace.add(item, signal, weight.shape[0])


def read_activation(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    signal = trace.top(inputs[0], node)
    if node.op == "Softmax":
        trace.features(signal, node)
        axis = axis_of(node.attributes.get("axis", 1 if node.opset < 13 else -1), len(signal.axes))
        if axis != len(signal.axes) - 1:
            raise NoChain(str(node))
        return [trace.add(Item("Activation", {"kind": "softmax"}), signal)]
    if "f" not in signal.axes:
        raise NoChain(f"{node}: the features are no axis of their own")
    function = smooth_of(node) if node.op in SMOOTH else activation_of(node)
    return [trace.add(Item("Activation", {"kind": function}), signal)]


def read_dropout(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    ratio = node.attributes.get("ratio", 0.5)
    if len(inputs) > 1 and inputs[1] is not None:
        if not isinstance(inputs[1], Known) or inputs[1].array.size != 1:
            raise NoChain(str(node))
        ratio = float(inputs[1].array.reshape(()))
    if len(node.outputs) > 1 and node.outputs[1]:
        raise NoChain(str(node))
    if not isinstance(inputs[0], Signal) or not 0 < ratio < 1:
        return [inputs[0]]
    return [trace.add(Item("Dropout", {"p": ratio}), trace.top(inputs[0], node))]
