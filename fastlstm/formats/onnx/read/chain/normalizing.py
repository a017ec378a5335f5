"""The nodes BatchNormalization and LayerNormalization as layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...graph.nodes import Node
from ...graph.operators import axis_of
from .symbols import Known, NoChain, Signal
from .trace import Item, Trace

__all__ = ["read_batch_norm", "read_layer_norm"]


def read_batch_norm(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    signal = trace.top(inputs[0], node)
    if len(signal.axes) not in (2, 3) or signal.axes[1] != "f" or len([n for n in node.outputs if n]) != 1:
        raise NoChain(f"{node} reads other axes than (cases, features) or (cases, features, steps)")
    weights = dict(zip(("weight", "bias", "running_mean", "running_var"), _weights(inputs[1:], node), strict=True))
    settings = {"eps": node.attributes.get("epsilon", 1e-5)}
    return [_added(trace, Item("BatchNorm", settings, weights), signal, 1, node)]


def read_layer_norm(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    signal = trace.top(inputs[0], node)
    trace.features(signal, node)
    last = len(signal.axes) - 1
    if axis_of(node.attributes.get("axis", -1), len(signal.axes)) != last or len([n for n in node.outputs if n]) != 1:
        raise NoChain(str(node))
    weights = dict(
        zip(("weight", "bias"), _weights([one for one in inputs[1:] if one is not None], node), strict=False)
    )
    settings = {"eps": node.attributes.get("epsilon", 1e-5), "bias": "bias" in weights}
    return [_added(trace, Item("LayerNorm", settings, weights), signal, last, node)]


def _weights(inputs: Sequence[Any], node: Node) -> list[Any]:
    """Return vectors of one size."""
    if not all(isinstance(one, Known) and one.array.ndim == 1 and one.array.dtype.kind == "f" for one in inputs):
        raise NoChain(str(node))
    arrays = [one.array for one in inputs]
    if len({array.size for array in arrays}) != 1 or not arrays[0].size:
        raise NoChain(str(node))
    return arrays


def _added(trace: Trace, item: Item, signal: Signal, axis: int, node: Node) -> Signal:
    """Append the layer, whose features are this axis of the signal."""
    size = item.weights["weight"].size
    if signal.sizes[axis] not in (None, size):
        raise NoChain(str(node))
    if not trace.items and trace.input_size is None:
        trace.input_size = size
    after = trace.add(item, signal)
    return Signal(after.axes, (*signal.sizes[:axis], size, *signal.sizes[axis + 1 :]), after.parts)
