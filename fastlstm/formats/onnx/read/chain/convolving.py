"""The node Conv as a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...graph.convolving import Window, window_of
from ...graph.nodes import Node
from .symbols import Known, NoChain, Signal
from .trace import Item, Trace

__all__ = ["read_conv"]


def read_conv(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    x, weight, bias = [*inputs, None][:3]
    if not isinstance(weight, Known) or not (bias is None or isinstance(bias, Known)):
        raise NoChain(str(node))
    if trace.has_lengths:
        raise NoChain(f"{node} reads the padding of shorter series")
    window, groups, array = window_of(node), node.attributes.get("group", 1), weight.array
    if array.ndim != 3 or 0 in array.shape or array.dtype.kind != "f" or window.kernel not in (None, array.shape[2]):
        raise NoChain(str(node))
    filters, features, kernel = array.shape
    signal = trace.top(x, node)
    if len(signal.axes) != 3 or signal.axes[1] != "f" or {signal.axes[0], signal.axes[2]} != {"a0", "a1"}:
        raise NoChain(f"{node} reads other axes than (cases, features, steps)")
    if trace.time not in (None, signal.axes[2]):
        raise NoChain(f"{node}: the batch and time axes are swapped compared with an earlier layer")
    if signal.sizes[1] not in (None, features * groups) or (bias is not None and bias.array.shape != (filters,)):
        raise NoChain(str(node))
    trace.time = signal.axes[2]
    if not trace.items and trace.input_size is None:
        trace.input_size = features * groups
    padding, keeps_steps = _padding(window, kernel, node)
    settings = {
        "filters": filters,
        "kernel_size": kernel,
        "stride": window.stride,
        "dilation": window.dilation,
        "groups": groups,
        "padding": padding,
        "bias": bias is not None,
    }
    item = Item("Conv1D", settings, {"weight": array})
    if bias is not None:
        item.weights["bias"] = bias.array
    trace.items.append(item)
    sizes = signal.sizes[0], filters, signal.sizes[2] if keeps_steps else None
    return [Signal(signal.axes, sizes, ((len(trace.items) - 1, 0),))]


def _padding(window: Window, kernel: int, node: Node) -> tuple[str | tuple[int, int], bool]:
    """Return the padding of a Conv1D, and whether there is a window for each step."""
    around = (kernel - 1) * window.dilation
    if window.pads is None:
        if not window.upper and (window.stride > 1 or around % 2):
            raise NoChain(f"{node} has auto_pad='SAME_LOWER' with an odd number of zeros")
        return "same", window.stride == 1
    keeps_steps = window.stride == 1 and sum(window.pads) == around
    if window.pads == (0, 0):
        return "valid", keeps_steps
    if window.pads == (around, 0):
        return "causal", keeps_steps
    if keeps_steps and window.pads[0] == around // 2:
        return "same", keeps_steps
    return window.pads, keeps_steps
