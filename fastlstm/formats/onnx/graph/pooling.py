"""The operators MaxPool and AveragePool over one axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .... import _core
from .convolving import Window, window_of
from .nodes import Node
from .operators import Back, Forward, Gradients, Inputs, Run, operator, require

__all__ = ["pool_window"]


def pool_window(node: Node) -> Window:
    """Return the window of a node, whose last one may be cut off by the end of the data (``ceil_mode``).

    Raises
    ------
    ValueError
        If it has more than one axis, or steps between those of a window.
    """
    window = window_of(node)
    require(window.kernel is not None, "kernel_shape is missing")
    require(window.dilation == 1, f"dilations is {window.dilation}, which is not supported")
    if node.attributes.get("ceil_mode", 0) and window.pads is not None:
        before, after = window.pads
        assert window.kernel is not None
        require(
            after + window.stride <= window.kernel,
            "ceil_mode is 1 with windows that might begin behind the data, which is not supported",
        )
        require(not node.attributes.get("count_include_pad", 0), "ceil_mode is 1 with count_include_pad, not supported")
        window = window._replace(pads=(before, after + window.stride - 1))
    return window


def _pool(node: Node) -> Forward:
    window = pool_window(node)
    method = "max" if node.op == "MaxPool" else "mean"
    kernel = window.kernel or 1

    def forward(inputs: Inputs, run: Run) -> tuple[list[Any], Back]:
        (x,) = inputs
        assert x is not None
        require(x.ndim == 3, f"reads the shape {x.shape}, expected (batch, features, steps)")
        require(x.dtype in (np.float32, np.float64), f"reads {x.dtype}, expected floating-point numbers")
        zeros = window.zeros(kernel, x.shape[2])
        require(max(zeros) < kernel, f"pads is {list(zeros)}, expected less than the window, {kernel}")
        room = x.shape[2] + sum(zeros) - kernel
        require(x.shape[2] > 0 and room >= 0, f"reads windows of {kernel} steps, and the data have {x.shape[2]}")
        steps = room // window.stride + 1
        run.take((len(x), x.shape[1], steps))
        turned = np.ascontiguousarray(x.swapaxes(1, 2))
        y = np.empty((len(x), steps, x.shape[1]), x.dtype)
        settings: dict[str, Any] = {
            "kernel": kernel,
            "stride": window.stride,
            "padding": zeros,
            "count_include_pad": bool(node.attributes.get("count_include_pad", 0)),
            "n_threads": run.n_threads,
        }
        _core.window_pool_forward(method, turned, y, **settings)

        def back(dy: Gradients, needs: Sequence[bool]) -> Gradients:
            if dy[0] is None:
                return [None]
            d, dx = np.ascontiguousarray(dy[0].swapaxes(1, 2)), np.empty_like(turned)
            _core.window_pool_backward(method, d, turned, dx, **settings)
            return [dx.swapaxes(1, 2)]

        return [y.swapaxes(1, 2)], back

    return forward


_WINDOW: dict[str, type] = {"auto_pad": str, "ceil_mode": int, "dilations": list, "kernel_shape": list}
_WINDOW.update(pads=list, strides=list)
operator("MaxPool", 1, storage_order=int, **_WINDOW)(_pool)
operator("AveragePool", 1, count_include_pad=int, **_WINDOW)(_pool)
