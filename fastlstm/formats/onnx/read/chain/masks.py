"""Nodes that make zero states, and masks of the valid steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...graph.nodes import Node
from .symbols import Fill, Known, MaskPart, NoChain, Signal, Size, is_zero, vector
from .trace import Trace

__all__ = ["read_filled", "read_less", "read_range", "read_where"]


def read_filled(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    """Handle ConstantOfShape, and Expand of a constant."""
    if node.op == "ConstantOfShape":
        value = node.attributes.get("value", np.zeros(1, np.float32))
    elif isinstance(inputs[0], Fill):
        return [inputs[0]]
    elif isinstance(inputs[0], Known):
        value = inputs[0].array
    else:
        raise NoChain(str(node))
    if value.size == 0 or value.dtype.kind != "f" or not (value == value.flat[0]).all():
        raise NoChain(str(node))
    return [Fill(float(value.flat[0]))]


def read_range(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    """Handle Range: 0, 1, 2, ... are the indices of the steps."""
    start, limit, step = (vector(one, node) for one in inputs)
    if start != [0] or step != [1] or not isinstance(limit[0], Size) or limit[0].axis != trace.time:
        raise NoChain(str(node))
    return [MaskPart("steps", ("time",))]


def read_less(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    """Handle Less: step indices less than the lengths make the mask of valid steps."""
    steps, lengths = inputs
    if not isinstance(steps, MaskPart) or not isinstance(lengths, MaskPart) or len(steps.axes) != len(lengths.axes):
        raise NoChain(str(node))
    pairs = list(zip(steps.axes, lengths.axes, strict=True))
    if (steps.kind, lengths.kind) != ("steps", "lengths") or any("1" not in pair for pair in pairs):
        raise NoChain(str(node))
    return [MaskPart("valid", tuple(b if a == "1" else a for a, b in pairs))]


def read_where(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    """Handle Where that zeroes the padding, which is already zero in a model's outputs."""
    valid, signal, other = inputs
    if not isinstance(valid, MaskPart) or valid.kind != "valid" or not isinstance(signal, Signal):
        raise NoChain(str(node))
    if not trace.has_lengths:
        raise NoChain(f"{node} masks steps that are not those of the input")
    if not is_zero(other):
        raise NoChain(str(node))
    if not isinstance(other, Known) or other.array.size != 1 or len(valid.axes) != len(signal.axes):
        raise NoChain(str(node))
    names = {trace.time: "time", {"a0": "a1", "a1": "a0"}.get(trace.time or "", ""): "cases"}
    if any(mark not in ("1", names.get(axis)) for mark, axis in zip(valid.axes, signal.axes, strict=True)):
        raise NoChain(str(node))
    return [signal]
