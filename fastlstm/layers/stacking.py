"""Layer that stacks consecutive steps in one."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._checks import count
from .._typing import Array
from .base import Layer, Signal
from .context import LayerCache, PassContext
from .masked_steps import MaskedSteps
from .registry import register
from .stages import Stage

__all__ = ["StackSteps"]


@register
class StackSteps(Layer):
    """Stack consecutive steps: from (batch, time, features) to (batch, ceil(time / size), size * features).

    An LSTM after it reads a series in fewer, wider steps: it takes a fraction of the time, and has fewer steps to
    remember over. Speech recognizers stack frames so (Sak et al. 2015); for classes of long series it is as good as
    reading each step, or better, see docs/estimators.md.

    The last group of a case is filled up with the case's last valid step. Masked steps are left out before the steps
    are grouped, so that later layers know no mask. The layers after it see groups in the place of steps. One of them
    must reduce the groups to one vector, such as a pooling layer, because there are no targets for groups.

    Parameters
    ----------
    size : int
        Number of steps in a group.

    Raises
    ------
    TypeError, ValueError
        If size is not an integer of at least 1. When the model is built, if the layer's input is token ids or has no
        time axis, or no layer after it reduces the groups to one vector.

    Notes
    -----
    Feature j of step k of a group, both counted from 0, is feature ``k * features + j`` of the group.

    H. Sak, A. Senior, K. Rao, F. Beaufays, "Fast and accurate recurrent neural network acoustic models for speech
    recognition", Interspeech 2015, section 4.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> model = fl.Model([fl.StackSteps(2), fl.LastStep()], input_size=1)
    >>> X = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 0.0]])[:, :, None]
    >>> model.forward(X, lengths=[3, 2]).tolist()
    [[3.0, 3.0], [4.0, 5.0]]
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = count("size", size, bits=31)
        self._features = 0

    def build(self, signal: Signal) -> Signal:
        if signal.tokens:
            raise ValueError("StackSteps reads numbers and gets token ids: put it after the fl.Embedding")
        if not signal.per_step:
            raise ValueError(
                "StackSteps reads (batch, time, features) and gets (batch, features): set return_sequences=True before "
                "it, or leave it out"
            )
        self._features = signal.features
        steps, longest = (None if n is None else -(-n // self.size) for n in (signal.steps, signal.longest))
        return Signal(signal.features * self.size, True, False, steps, longest, signal.stride * self.size)

    def streaming_obstacle(self) -> str | None:
        return (
            "is a StackSteps: it has no value before the last of its steps has arrived, so that it cannot answer step "
            "by step; leave it out"
        )

    def mask_after(self, mask: Array, lengths: Array | None) -> Array | None:
        return None

    def forward(self, x: Array, ctx: PassContext, cache: LayerCache) -> Array:
        cache.saved["lengths"], cache.saved["masked"] = ctx.lengths, None
        lengths = ctx.lengths
        if ctx.mask is not None:
            steps = cache.saved["masked"] = MaskedSteps.of(ctx.mask, lengths, False)
            x, lengths, ctx.mask = steps.pack(x, "packed x", cache.buffers), steps.lengths, None
        batch, time, features = x.shape
        groups = -(-time // self.size)
        cache.saved["form"] = time, lengths
        y = cache.buffers.get("y", (batch, groups, self.size * features), ctx.dtype)
        of_step = y.reshape(batch, groups * self.size, features)
        of_step[:, :time] = x
        if lengths is None:
            of_step[:, time:] = x[:, -1:]
        else:
            rows = np.arange(batch)
            last = x[rows, np.maximum(lengths - 1, 0)]
            for step in self._filled(lengths):
                inside = step >= 0
                of_step[rows[inside], step[inside]] = last[inside]
            ctx.lengths = -(-lengths // self.size)
        return y

    def backward(self, dy: Array, ctx: PassContext, cache: LayerCache, need_dx: bool) -> Array | None:
        ctx.lengths = cache.saved["lengths"]
        if not need_dx:
            return None
        time, lengths = cache.saved["form"]
        batch, groups, width = dy.shape
        of_step = np.ascontiguousarray(dy).reshape(batch, groups * self.size, width // self.size)
        dx = cache.buffers.get("dx", (batch, time, of_step.shape[2]), ctx.dtype)
        np.copyto(dx, of_step[:, :time])
        rows = np.arange(batch)
        if lengths is None:
            for k in range(time, groups * self.size):
                dx[:, -1] += of_step[:, k]
        else:
            dx[np.arange(time) >= lengths[:, None]] = 0
            for step in self._filled(lengths):
                inside = step >= 0
                dx[rows[inside], lengths[inside] - 1] += of_step[rows[inside], step[inside]]
        masked: MaskedSteps | None = cache.saved["masked"]
        return dx if masked is None else masked.unpack(dx, "unpacked dx", cache.buffers)

    def _filled(self, lengths: Array) -> list[Array]:
        """Return the places that the last step of each case fills: the first of each case, the second; -1: none."""
        ends = -(-lengths // self.size) * self.size
        return [np.where(lengths + k < ends, lengths + k, -1) for k in range(self.size - 1)]

    def stages(self) -> list[Stage]:
        return [Stage("stack", self._features * self.size, settings={"size": self.size})]

    def get_config(self) -> dict[str, Any]:
        return {"size": self.size}
