"""The node Conv as a layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ...graph.convolving import Window, window_of
from ...graph.nodes import Node
from .symbols import Known, NoChain, Signal, Size
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
    if trace.framed and "f" not in signal.axes and signal.axes[1:2] == ("1",):
        signal = replace(signal, axes=(signal.axes[0], "f", *signal.axes[2:]))  # one feature for each step of a frame
    plain = kernel == 1 and groups == 1 and window.stride == 1 and window.pads in (None, (0, 0))
    if plain and len(signal.axes) == 3 and signal.axes[1] == "f" and trace.carried and not trace.framed:
        return [_dense(trace, node, signal, array, bias)]
    if len(signal.axes) != 3 or signal.axes[1] != "f" or {signal.axes[0], signal.axes[2]} != {"a0", "a1"}:
        raise NoChain(f"{node} reads other axes than (cases, features, steps)")
    if trace.time not in (None, signal.axes[2]):
        raise NoChain(f"{node}: the batch and time axes are swapped compared with an earlier layer")
    if signal.sizes[1] not in (None, features * groups) or (bias is not None and bias.array.shape != (filters,)):
        raise NoChain(str(node))
    trace.time = signal.axes[2]
    if not trace.items and trace.input_size is None:
        trace.input_size = features * groups
    known = trace.steps_of(signal, 2)
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
    steps: Any = signal.sizes[2] if keeps_steps else None
    if trace.framed and known is not None:
        zeros = sum(window.zeros(kernel, known))
        steps = Size("a1", (known + zeros - (kernel - 1) * window.dilation - 1) // window.stride + 1)
    return [Signal(signal.axes, (signal.sizes[0], filters, steps), ((len(trace.items) - 1, 0),))]


def _dense(trace: Trace, node: Node, signal: Signal, weight: Any, bias: Any) -> Signal:
    """Read windows of one step: a dense layer."""
    filters, features, _ = weight.shape
    if signal.sizes[1] != features or (bias is not None and bias.array.shape != (filters,)):
        raise NoChain(str(node))
    item = Item("Dense", {"output_size": filters, "bias": bias is not None}, {"weight": weight[:, :, 0]})
    if bias is not None:
        item.weights["bias"] = bias.array
    trace.items.append(item)
    sizes = (signal.sizes[0], filters, signal.sizes[2])
    return Signal(signal.axes, sizes, ((len(trace.items) - 1, 0),))


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
