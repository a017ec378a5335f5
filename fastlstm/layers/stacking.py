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
    """Stack consecutive steps: from (batch, time, features) to (batch, ceil(time / stride), size * features).

    An LSTM after it reads a series in fewer, wider steps: it takes a fraction of the time, and has fewer steps to
    remember over. Speech recognizers stack frames so (Sak et al. 2015); for classes of long series it is as good as
    reading each step, or better, see docs/estimators.md. With a stride of half the size each step is in two groups, so
    that it matters less where the groups begin.

    Places of a group beyond the last valid step of a case are filled with that step. Masked steps are left out before
    the steps are grouped, so that later layers know no mask. The layers after it see groups in the place of steps. One
    of them must reduce the groups to one vector, such as a pooling layer, because there are no targets for groups.

    Parameters
    ----------
    size : int
        Number of steps in a group.
    stride : int, optional
        Number of steps from the beginning of a group to that of the next, at most `size`; by default `size`, so that
        each step is in one group.

    Raises
    ------
    TypeError, ValueError
        If an argument is not an integer of at least 1, or stride is above size. When the model is built, if the layer's
        input is token ids or has no time axis, or no layer after it reduces the groups to one vector.

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

    def __init__(self, size: int, *, stride: int | None = None) -> None:
        super().__init__()
        self.size = count("size", size, bits=31)
        self.stride = self.size if stride is None else count("stride", stride, bits=31)
        if self.stride > self.size:
            raise ValueError(f"stride is {self.stride}, expected at most the size, {self.size}: no step is left out")
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
        steps, longest = (None if n is None else -(-n // self.stride) for n in (signal.steps, signal.longest))
        return Signal(signal.features * self.size, True, False, steps, longest, signal.stride * self.stride)

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
        groups = -(-time // self.stride)
        cache.saved["form"] = time, lengths
        y = cache.buffers.get("y", (batch, groups, self.size * features), ctx.dtype)
        of_step = y.reshape(batch, groups * self.size, features)
        places = self._places(groups).reshape(-1)
        if lengths is None:
            np.take(x, np.minimum(places, time - 1), axis=1, out=of_step)
        else:
            last = np.maximum(lengths - 1, 0)[:, None]
            of_step[...] = x[np.arange(batch)[:, None], np.minimum(places, last)]
            ctx.lengths = -(-lengths // self.stride)
        return y

    def backward(self, dy: Array, ctx: PassContext, cache: LayerCache, need_dx: bool) -> Array | None:
        ctx.lengths = cache.saved["lengths"]
        if not need_dx:
            return None
        time, lengths = cache.saved["form"]
        batch, groups, width = dy.shape
        by_place = dy.reshape(batch, groups, self.size, width // self.size)
        dx = cache.buffers.get("dx", (batch, time, by_place.shape[3]), ctx.dtype)
        dx.fill(0)
        for place in range(self.size):
            steps = dx[:, place :: self.stride]
            steps += by_place[:, : steps.shape[1], place]
        ends = np.full(batch, time) if lengths is None else lengths
        dx[np.arange(time) >= ends[:, None]] = 0
        self._add_copies(dx, by_place, ends)
        masked: MaskedSteps | None = cache.saved["masked"]
        return dx if masked is None else masked.unpack(dx, "unpacked dx", cache.buffers)

    def _places(self, groups: int) -> Array:
        """Return the step at each place of each group, (groups, size)."""
        return np.arange(groups)[:, None] * self.stride + np.arange(self.size)

    def _add_copies(self, dx: Array, by_place: Array, ends: Array) -> None:
        """Add the gradient of the places that the last valid step of each case fills to that of this step."""
        rows = np.arange(len(dx))
        groups = -(-ends // self.stride)
        for back in range(1, -(-self.size // self.stride) + 1):
            group = groups - back
            for place in range(self.size):
                inside = (group >= 0) & (group * self.stride + place >= ends)
                chosen = rows[inside]
                dx[chosen, ends[inside] - 1] += by_place[chosen, group[inside], place]

    def stages(self) -> list[Stage]:
        return [Stage("stack", self._features * self.size, settings={"size": self.size, "stride": self.stride})]

    def get_config(self) -> dict[str, Any]:
        return {"size": self.size, "stride": None if self.stride == self.size else self.stride}
