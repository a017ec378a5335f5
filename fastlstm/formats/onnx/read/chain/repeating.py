"""Nodes that repeat a vector at each step of a new series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...graph.nodes import Node
from .masks import read_filled
from .symbols import NoChain, Signal, fixed_vector, vector
from .trace import Item, Trace

__all__ = ["read_expand", "read_tile"]


def read_tile(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    """Handle Tile along an axis of size 1: tf2onnx writes Keras's RepeatVector so, and PyTorch's exporters `repeat`."""
    value, repeats = inputs[0], fixed_vector(inputs[1], node)
    if not isinstance(value, Signal) or len(repeats) != len(value.axes):
        raise NoChain(str(node))
    axes = [k for k, times in enumerate(repeats) if times != 1]
    if not axes and trace.time not in value.axes:  # one step
        axes = [k for k, label in enumerate(value.axes) if label == "1"]
    if len(axes) != 1:
        raise NoChain(str(node))
    return [_repeated(trace, value, axes[0], repeats[axes[0]], node)]


def read_expand(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    """Handle Expand of the data along an axis of size 1, as PyTorch's exporters write `expand`; and Expand of zeros."""
    value = inputs[0]
    if not isinstance(value, Signal):
        return read_filled(trace, node, inputs)
    target = vector(inputs[1], node)
    if len(target) > len(value.axes):
        raise NoChain(str(node))
    first = len(value.axes) - len(target)  # missing axes are aligned at the end
    for axis, wanted in enumerate(target, start=first):
        size = value.sizes[axis]
        if wanted == 1 or (wanted is not None and wanted == size):
            continue
        if not isinstance(wanted, int):
            raise NoChain(str(node))
        value = _repeated(trace, value, axis, wanted, node)
    return [value]


def _repeated(trace: Trace, signal: Signal, axis: int, times: int, node: Node) -> Signal:
    """Repeat along an axis of size 1, which becomes the time axis; the lengths of the input end here."""
    signal = trace.top(signal, node)
    trace.features(signal, node)
    cases = {"a0": "a1", "a1": "a0"}.get(trace.time or "")
    others = [label for k, label in enumerate(signal.axes) if k != axis and label != "1"]
    if trace.time is None or signal.axes[axis] != "1" or sorted(others) != [cases, "f"] or times < 1:
        raise NoChain(str(node))
    out = trace.add(Item("RepeatVector", {"n": times}), signal)
    trace.has_lengths = False
    axes = (*out.axes[:axis], trace.time, *out.axes[axis + 1 :])
    return Signal(axes, (*out.sizes[:axis], times, *out.sizes[axis + 1 :]), out.parts)
