"""The nodes Conv, MaxPool and AveragePool as layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .....layers import WindowLayer, layer_from_config
from ...graph.convolving import Window, window_of
from ...graph.nodes import Node
from ...graph.pooling import pool_window
from .symbols import Known, NoChain, Signal, Size
from .trace import Item, Trace

__all__ = ["read_conv", "read_pool"]


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
    plain = kernel == groups == window.stride == 1 and window.pads in (None, (0, 0))
    if plain and trace.carried and not trace.framed:
        return [_dense(trace, node, trace.top(x, node), array, bias)]
    signal = _series(trace, x, node)
    if signal.sizes[1] not in (None, features * groups) or (bias is not None and bias.array.shape != (filters,)):
        raise NoChain(str(node))
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
    return [_windows(trace, item, signal, filters, keeps_steps)]


def _dense(trace: Trace, node: Node, signal: Signal, weight: Any, bias: Any) -> Signal:
    """Read windows of one step: a dense layer."""
    filters, features, _ = weight.shape
    if len(signal.axes) != 3 or signal.axes[1] != "f" or signal.sizes[1] != features:
        raise NoChain(str(node))
    if bias is not None and bias.array.shape != (filters,):
        raise NoChain(str(node))
    item = Item("Dense", {"output_size": filters, "bias": bias is not None}, {"weight": weight[:, :, 0]})
    if bias is not None:
        item.weights["bias"] = bias.array
    trace.items.append(item)
    sizes = (signal.sizes[0], filters, signal.sizes[2])
    return Signal(signal.axes, sizes, ((len(trace.items) - 1, 0),))


def read_pool(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    """Handle MaxPool and AveragePool."""
    if trace.has_lengths:
        raise NoChain(f"{node} reads the padding of shorter series")
    if len([name for name in node.outputs if name]) != 1:
        raise NoChain(str(node))
    window, signal = pool_window(node), _series(trace, inputs[0], node)
    kernel = window.kernel or 1
    padding, keeps_steps = _padding(window, kernel, node)
    settings: dict[str, Any] = {"kernel_size": kernel, "stride": window.stride, "padding": padding}
    if node.op == "AveragePool":
        counted = bool(node.attributes.get("count_include_pad", 0))
        if counted and window.pads is None:
            raise NoChain(f"{node} counts zeros whose number depends on the number of steps")
        settings["count_include_pad"] = counted
    item = Item("MaxPool1D" if node.op == "MaxPool" else "AvgPool1D", settings)
    return [_windows(trace, item, signal, signal.sizes[1], keeps_steps)]


def _series(trace: Trace, value: Any, node: Node) -> Signal:
    """Return the signal if it has the axes (cases, features, steps)."""
    signal = trace.top(value, node)
    if trace.framed and "f" not in signal.axes and signal.axes[1:2] == ("1",):
        signal = replace(signal, axes=(signal.axes[0], "f", *signal.axes[2:]))  # one feature for each step of a frame
    if len(signal.axes) != 3 or signal.axes[1] != "f" or {signal.axes[0], signal.axes[2]} != {"a0", "a1"}:
        raise NoChain(f"{node} reads other axes than (cases, features, steps)")
    if trace.time not in (None, signal.axes[2]):
        raise NoChain(f"{node}: the batch and time axes are swapped compared with an earlier layer")
    trace.time = signal.axes[2]
    return signal


def _windows(trace: Trace, item: Item, signal: Signal, features: Any, keeps_steps: bool) -> Signal:
    """Append a layer that reads windows; return the signal after it."""
    steps = signal.sizes[2]
    if not keeps_steps:
        known = steps.known if isinstance(steps, Size) else steps
        try:
            layer = layer_from_config({"type": item.kind, **item.settings})
            assert isinstance(layer, WindowLayer)
            steps = None if known is None else int(layer.steps_after(np.array([known]))[0])
        except (TypeError, ValueError) as error:
            raise NoChain(f"no layer {item.kind}: {error}") from None
    after = trace.add(item, signal)
    return Signal(signal.axes, (signal.sizes[0], features, steps), after.parts)


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
