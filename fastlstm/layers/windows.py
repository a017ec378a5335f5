"""What layers have in common that read windows of consecutive steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._checks import count, short_repr
from .._typing import Array
from .base import Layer, Signal
from .context import LayerCache, PassContext
from .masked import leave_out_masked, with_masked

__all__ = ["WindowLayer", "same_zeros"]

_PADDINGS = ("valid", "same", "causal")
_MOST_STEPS = 2**31 - 1


def same_zeros(span: int, stride: int, steps: int) -> tuple[int, int]:
    """Return the numbers of steps before and after a series of `steps` that windows reach with padding "same"."""
    total = max(0, (-(-steps // stride) - 1) * stride + span - steps)
    return total // 2, total - total // 2


class WindowLayer(Layer):
    """Base of the layers whose output has a step for each window of steps of their input.

    Parameters
    ----------
    kernel_size, stride, dilation : int
    padding : {"valid", "same", "causal"}, int or (int, int)
        As those of `Conv1D`.

    Attributes
    ----------
    span : int
        Number of steps from the first step of a window to its last.
    zeros : (int, int) or None
        Number of steps before and after a series that windows may reach; None: "same".
    is_causal : bool
        Whether the output at each step depends on this step and earlier ones.
    keeps_steps : bool
        Whether the output has a step for each step of the input.
    """

    def __init__(self, kernel_size: int, stride: int, dilation: int, padding: str | int | tuple[int, int]) -> None:
        super().__init__()
        self.kernel_size = count("kernel_size", kernel_size, bits=31)
        self.stride = count("stride", stride, bits=31)
        self.dilation = count("dilation", dilation, bits=31)
        self.span = (self.kernel_size - 1) * self.dilation + 1
        if self.span > _MOST_STEPS:
            raise ValueError(
                f"a window of {kernel_size} steps, {dilation} apart, spans {self.span} steps, more than {_MOST_STEPS}: "
                "use a smaller dilation"
            )
        self.padding = _checked_padding(padding)
        self.zeros = None if self.padding == "same" else (0, 0)
        if self.padding == "causal":
            self.zeros = (self.span - 1, 0)
        elif not isinstance(self.padding, str):
            self.zeros = self.padding
        zeros = self.zeros
        self.is_causal = self.stride == 1 and (self.span == 1 if zeros is None else zeros == (self.span - 1, 0))
        self.keeps_steps = self.stride == 1 and (zeros is None or sum(zeros) == self.span - 1)
        self.supports_mask = self.keeps_steps

    def windows_of(self, signal: Signal, features: int) -> Signal:
        """Return the signal of windows of another one."""
        if self.keeps_steps:
            return Signal(features, True)
        steps, longest = (
            None if n is None else int(self.steps_after(np.array([n]))[0]) for n in (signal.steps, signal.longest)
        )
        return Signal(features, True, False, steps, longest, signal.stride * self.stride, False)

    def streaming_obstacle(self) -> str | None:
        if self.is_causal:
            return None
        name = type(self).__name__
        if self.stride > 1:
            return (
                f"is a {name} with stride {self.stride}, which has no output at the steps between its windows; use "
                "stride=1 and padding='causal'"
            )
        return (
            f"is a {name} with padding {self.padding!r}, whose windows reach steps that are not known yet when the "
            "series arrives in segments; use padding='causal'"
        )

    def segment_obstacle(self) -> str | None:
        if self.is_causal and self.span > 1:
            return (
                f"is a {type(self).__name__}, which reads the {self.span - 1} steps before each step, also those of "
                "the segment before; leave it out"
            )
        return self.streaming_obstacle()

    def steps_after(self, lengths: Array) -> Array:
        zeros = self.zeros
        if zeros is None:
            return -(-lengths // self.stride)
        room = lengths + (sum(zeros) - self.span)
        short = np.flatnonzero((room < 0) & (lengths > 0))
        if len(short):
            case = int(short[0])
            raise ValueError(
                f"{type(self).__name__} reads windows of {self.span} steps, and series {case} has {lengths[case]}"
                + (f" and {sum(zeros)} zeros around them" if sum(zeros) else "")
                + ": leave such series out, or use padding='same' or padding='causal'"
            )
        return np.where(lengths > 0, room // self.stride + 1, 0)

    def mask_after(self, mask: Array, lengths: Array | None) -> Array | None:
        return mask if self.keeps_steps else None

    def enter(self, x: Array, ctx: PassContext, cache: LayerCache) -> tuple[Array, Array | None, int]:
        """Prepare a forward pass: return x without masked steps, its lengths, and the number of steps of the output.

        The context's lengths become those of the output.
        """
        cache.saved["lengths"] = ctx.lengths
        if self.keeps_steps:
            return np.ascontiguousarray(x), ctx.lengths, x.shape[1]
        x, lengths = leave_out_masked(x, ctx, cache)
        batch, steps, _ = x.shape
        counts = self.steps_after(np.full(batch, steps) if lengths is None else lengths)
        steps = max(1, int(counts.max(initial=0)))
        ctx.lengths = counts if (counts < steps).any() else None
        return np.ascontiguousarray(x), lengths, steps

    def leave(self, dx: Array | None, cache: LayerCache) -> Array | None:
        """Finish a backward pass: return dx with the masked steps."""
        return dx if dx is None or self.keeps_steps else with_masked(dx, cache)

    def described_padding(self) -> str | list[int]:
        """Return the padding as data for JSON."""
        return self.padding if isinstance(self.padding, str) else list(self.padding)


def _checked_padding(padding: Any) -> str | tuple[int, int]:
    if isinstance(padding, str):
        if padding not in _PADDINGS:
            raise ValueError(
                f"padding is {padding!r}, expected one of {', '.join(map(repr, _PADDINGS))}, or numbers of zeros"
            )
        return padding
    pair = tuple(padding) if isinstance(padding, (list, tuple)) else (padding, padding)
    if len(pair) != 2:
        raise ValueError(
            f"padding is {short_repr(padding)}, expected two numbers, of zeros before and after each series"
        )
    before, after = (count("padding", one, 0, bits=31) for one in pair)
    return before, after
