"""Layer that stacks consecutive steps in one."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._checks import as_bool, count
from .._draws import Draws
from .._typing import Array
from .base import Layer, Signal
from .context import LayerCache, PassContext
from .masked import leave_out_masked, with_masked
from .registry import register
from .stages import Stage

__all__ = ["StackSteps"]


@register
class StackSteps(Layer):
    """Stack consecutive steps: from (batch, time, features) to (batch, ceil(time / stride), size * features).

    An LSTM after it reads a series in fewer, wider steps: it takes a fraction of the time, and has fewer steps to
    remember over. Speech recognizers stack frames so (Sak et al. 2015). With a stride of half the size each step is in
    two groups, so that it matters less where the groups begin; docs/estimators.md has figures for classes of series.

    Places of a group beyond the last valid step of a case are filled with that step, and with `random_start` places
    before the first step with the first one. Masked steps are left out before
    the steps are grouped, so that later layers know no mask. The layers after it see groups in the place of steps. One
    of them must reduce the groups to one vector, such as a pooling layer, because there are no targets for groups.

    Parameters
    ----------
    size : int
        Number of steps in a group.
    stride : int, optional
        Number of steps from the beginning of a group to that of the next, at most `size`; by default `size`, so that
        each step is in one group.
    random_start : bool, default False
        Whether in training the first group of a case begins up to ``stride - 1`` steps before the case, drawn anew each
        time: so the network does not learn where exactly the groups begin, a form of data augmentation for series
        whose events may come a little earlier or later. The numbers depend on the model's seed, the number of the
        training step and the size of the batch. In inference the first group begins at the first step.

    Raises
    ------
    TypeError, ValueError
        If size or stride is not an integer of at least 1, stride is above size, or random_start is no bool. When the
        model is built, if the layer's input is token ids or has no time axis, or no layer after it reduces the groups
        to one vector.

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

    def __init__(self, size: int, *, stride: int | None = None, random_start: bool = False) -> None:
        super().__init__()
        self.size = count("size", size, bits=31)
        self.stride = self.size if stride is None else count("stride", stride, bits=31)
        if self.stride > self.size:
            raise ValueError(f"stride is {self.stride}, expected at most the size, {self.size}: no step is left out")
        self.random_start = as_bool("random_start", random_start)
        self.is_stochastic = self.random_start and self.stride > 1
        self._features = 0

    def build(self, signal: Signal) -> Signal:
        signal.require_steps(self)
        self._features = signal.features
        steps, longest = (None if n is None else -(-n // self.stride) for n in (signal.steps, signal.longest))
        stride = signal.stride * self.stride
        return Signal(signal.features * self.size, True, False, steps, longest, stride, signal.keeps_steps)

    def steps_after(self, lengths: Array) -> Array:
        return -(-lengths // self.stride)

    def streaming_obstacle(self) -> str | None:
        return (
            "is a StackSteps: it has no value before the last of its steps has arrived, so that it cannot answer step "
            "by step; leave it out"
        )

    def mask_after(self, mask: Array, lengths: Array | None) -> Array | None:
        return None

    def forward(self, x: Array, ctx: PassContext, cache: LayerCache) -> Array:
        cache.saved["lengths"] = ctx.lengths
        x, lengths = leave_out_masked(x, ctx, cache)
        batch, time, features = x.shape
        ends = np.full(batch, time) if lengths is None else lengths
        early = self._early(batch, ctx, cache) if ctx.training and self.is_stochastic else np.zeros(batch, np.int64)
        counts = np.where(ends > 0, -(-(ends + early) // self.stride), 0)
        groups = max(1, int(counts.max()))
        places = (np.arange(groups)[:, None] * self.stride + np.arange(self.size)).reshape(-1)
        steps = np.clip(places - early[:, None], 0, np.maximum(ends - 1, 0)[:, None])
        y = cache.buffers.get("y", (batch, groups, self.size * features), ctx.dtype)
        y.reshape(batch, -1, features)[...] = x[np.arange(batch)[:, None], steps]
        cache.saved["pass"] = time, steps, counts
        if (counts < groups).any():
            ctx.lengths = counts
        else:
            ctx.lengths = None
        return y

    def _early(self, batch: int, ctx: PassContext, cache: LayerCache) -> Array:
        """Draw how many steps before each case its first group begins, (batch,)."""
        return Draws(cache.seed, "early").integers(self.stride, ctx.first_row + batch)[ctx.first_row :]

    def backward(self, dy: Array, ctx: PassContext, cache: LayerCache, need_dx: bool) -> Array | None:
        ctx.lengths = cache.saved["lengths"]
        if not need_dx:
            return None
        time, steps, counts = cache.saved["pass"]
        batch, groups, width = dy.shape
        by_place = dy.reshape(batch, groups * self.size, width // self.size)
        valid = np.repeat(np.arange(groups) < counts[:, None], self.size, axis=1)
        dx = cache.buffers.get("dx", (batch, time, by_place.shape[2]), ctx.dtype)
        dx.fill(0)
        # Place by place, because a step may have several: so the order of the additions does not depend on the batch.
        for place in range(groups * self.size):
            rows = np.flatnonzero(valid[:, place])
            dx[rows, steps[rows, place]] += by_place[rows, place]
        return with_masked(dx, cache)

    def stages(self) -> list[Stage]:
        return [Stage("stack", self._features * self.size, settings={"size": self.size, "stride": self.stride})]

    def get_config(self) -> dict[str, Any]:
        stride = None if self.stride == self.size else self.stride
        return {"size": self.size, "stride": stride, "random_start": self.random_start}
