"""The node Pad as a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...graph.nodes import Node
from ...graph.padding import mode_of, pads_of
from .symbols import Known, NoChain, Signal, Size, fixed_vector
from .trace import Item, Trace

__all__ = ["read_pad"]


def read_pad(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    """Handle Pad of the steps."""
    x, of_pads, value, of_axes = [*inputs, None, None, None][:4]
    if not isinstance(x, Signal) or not (value is None or isinstance(value, Known)):
        raise NoChain(str(node))
    if trace.has_lengths:
        raise NoChain(f"{node} reads the padding of shorter series")
    numbers = node.attributes.get("pads") if of_pads is None else fixed_vector(of_pads, node)
    axes = None if of_axes is None else fixed_vector(of_axes, node)
    try:
        pads = pads_of(node, numbers or [], axes, len(x.axes))
    except ValueError as error:
        raise NoChain(f"{node}: {error}") from None
    padded = [axis for axis, two in enumerate(pads) if two != (0, 0)]
    if not padded:
        return [x]
    signal = trace.top(x, node)
    axis = padded[0]
    if len(padded) > 1 or signal.axes[axis] not in ("a0", "a1") or signal.axes[axis] != (trace.time or "a1"):
        raise NoChain(f"{node} pads other axes than that of the steps")
    filled = float(node.attributes.get("value", 0.0) if value is None else value.array.reshape(-1)[0])
    mode = mode_of(node)
    before, after = pads[axis]
    settings = {"before": before, "after": after, "mode": mode, "value": filled if mode == "constant" else 0.0}
    trace.time = signal.axes[axis]
    trace.items.append(Item("Pad1D", settings))
    known = trace.steps_of(signal, axis)
    steps = Size(signal.axes[axis], known + before + after) if trace.framed and known is not None else None
    sizes = (*signal.sizes[:axis], steps, *signal.sizes[axis + 1 :])
    return [Signal(signal.axes, sizes, ((len(trace.items) - 1, 0),))]
