"""Nodes that join the features of a fixed number of steps, as a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...graph.nodes import Node
from .symbols import NoChain, Signal, Size
from .trace import Item, Trace

__all__ = ["flattened"]


def flattened(trace: Trace, value: Signal, target: Sequence[Any], node: Node) -> Signal | None:
    """Return the signal after a Flatten layer if the node reshapes a series to `target` as that layer does, else None.

    The features may be the second axis, as after a convolution: then the first dense layer that follows is turned.
    """
    if len(target) != 2 or len(value.axes) != 3 or value.axes[0] not in ("a0", "a1"):
        return None
    cases, others = value.axes[0], value.axes[1:]
    time = "a1" if cases == "a0" else "a0"
    if set(others) != {time, "f"}:
        return None
    at = 1 + others.index(time)
    steps, features = value.sizes[at], value.sizes[3 - at]
    steps = steps.known if isinstance(steps, Size) else steps
    if not isinstance(steps, int) or not isinstance(features, int):
        return None
    first, second = target
    size = value.sizes[0]
    known = size.known if isinstance(size, Size) else size
    if first not in (0, size, known, -1) or second not in (steps * features, -1) or (first == -1 and second == -1):
        return None
    if first == -1 and steps == 1:
        return None
    if trace.has_lengths:
        raise NoChain(f"{node} joins steps beyond the lengths of the series")
    if trace.time not in (None, time):
        raise NoChain(f"{node}: the batch and time axes are swapped compared with an earlier layer")
    signal = trace.top(value, node)
    trace.time = time
    item = Item("Flatten", {"steps": steps}, ends_series=True)
    after = trace.add(item, signal)
    trace.turned = steps if at == 2 and steps > 1 and features > 1 else 0
    return Signal((cases, "f"), (size, steps * features), after.parts)
