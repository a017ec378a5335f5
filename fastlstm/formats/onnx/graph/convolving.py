"""The operator Conv over one axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .... import _core
from ....layers import same_zeros
from .nodes import Node
from .operators import Back, Forward, Gradients, Inputs, Run, integer_list, operator, require

__all__ = ["Window", "window_of"]

_AUTO_PADS = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")


class Window(NamedTuple):
    """The attributes of a node that takes windows of one axis, interpreted."""

    kernel: int | None
    """Number of steps in a window, if the node says it."""
    stride: int
    dilation: int
    pads: tuple[int, int] | None
    """Zeros before and after; None if they follow from the number of steps."""
    upper: bool
    """Whether an odd zero is after the steps, if `pads` is None."""

    def zeros(self, kernel: int, time: int) -> tuple[int, int]:
        """Return the number of zeros before and after `time` steps."""
        if self.pads is not None:
            return self.pads
        less, more = same_zeros((kernel - 1) * self.dilation + 1, self.stride, time)
        return (less, more) if self.upper else (more, less)


def window_of(node: Node) -> Window:
    """Return the window of a node; raise ValueError if it has more than one axis."""

    def one(name: str, least: int) -> int:
        numbers = integer_list(node.attributes.get(name, [1]), name)
        require(len(numbers) == 1, f"{name} is {numbers}, expected one number: series have one axis of steps")
        require(least <= numbers[0] < 2**31, f"{name} is {numbers}, expected {least} or more")
        return numbers[0]

    automatic = node.attributes.get("auto_pad", "NOTSET")
    require(automatic in _AUTO_PADS, f"auto_pad is {automatic!r}, expected one of {', '.join(_AUTO_PADS)}")
    pads: tuple[int, int] | None = (0, 0)
    if automatic == "NOTSET":
        given = integer_list(node.attributes.get("pads", [0, 0]), "pads")
        require(len(given) == 2, f"pads is {given}, expected two numbers: series have one axis of steps")
        require(all(0 <= number < 2**31 for number in given), f"pads is {given}, expected 0 or more")
        pads = given[0], given[1]
    elif automatic != "VALID":
        pads = None
    kernel = one("kernel_shape", 1) if "kernel_shape" in node.attributes else None
    return Window(kernel, one("strides", 1), one("dilations", 1), pads, automatic == "SAME_UPPER")


@operator("Conv", (2, 3), auto_pad=str, dilations=list, group=int, kernel_shape=list, pads=list, strides=list)
def _conv(node: Node) -> Forward:
    window, groups = window_of(node), node.attributes.get("group", 1)
    require(groups >= 1, f"group is {groups}, expected 1 or more")

    def forward(inputs: Inputs, run: Run) -> tuple[list[Any], Back]:
        x, weight, bias = [*inputs, None][:3]
        assert x is not None and weight is not None
        require(x.ndim == 3, f"reads the shape {x.shape}, expected (batch, features, steps)")
        require(weight.ndim == 3 and 0 not in weight.shape, f"has weights of shape {weight.shape}, expected three axes")
        require(x.dtype.kind == "f" and weight.dtype == x.dtype, f"reads {x.dtype} and {weight.dtype}")
        require(bias is None or bias.dtype == x.dtype, "has a bias of another type")
        filters, _, kernel = weight.shape
        require(
            window.kernel in (None, kernel), f"kernel_shape is {window.kernel}, and the weights have {kernel} steps"
        )
        zeros = window.zeros(kernel, x.shape[2])
        span = (kernel - 1) * window.dilation + 1
        room = x.shape[2] + sum(zeros) - span
        require(x.shape[2] > 0 and room >= 0, f"reads windows of {span} steps, and the data have {x.shape[2]}")
        steps = room // window.stride + 1
        run.take((len(x), filters, steps))
        run.take((span + 8 * window.stride, max(filters, x.shape[1])))  # a window beyond an end
        turned = np.ascontiguousarray(x.swapaxes(1, 2))
        w = np.ascontiguousarray(weight)
        y = np.empty((len(x), steps, filters), x.dtype)
        settings: dict[str, Any] = {
            "stride": window.stride,
            "dilation": window.dilation,
            "groups": groups,
            "padding": zeros,
            "n_threads": run.n_threads,
        }
        b = None if bias is None else np.ascontiguousarray(bias)
        _core.conv_forward(turned, w, b, y, _core.Workspace(), **settings)

        def back(dy: Gradients, needs: Sequence[bool]) -> Gradients:
            if dy[0] is None:
                return [None] * len(inputs)
            wants = [*needs, False][:3]
            dx = np.empty_like(turned) if wants[0] else None
            dw = np.zeros_like(w) if wants[1] else None
            db = np.zeros_like(b) if wants[2] and b is not None else None
            d = np.ascontiguousarray(dy[0].swapaxes(1, 2))
            _core.conv_backward(d, turned, w, dx, dw, db, _core.Workspace(), **settings)
            return [None if dx is None else dx.swapaxes(1, 2), dw, db][: len(inputs)]

        return [np.ascontiguousarray(y.swapaxes(1, 2))], back

    return forward
