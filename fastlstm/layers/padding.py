"""Layer that adds steps before and after each series."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._checks import count, real, short_repr
from .._typing import Array
from .base import Layer, Signal
from .context import LayerCache, PassContext
from .masked import leave_out_masked, with_masked
from .registry import register
from .stages import Stage

__all__ = ["Pad1D", "padded_places"]

_MODES = ("constant", "reflect", "edge")


def padded_places(lengths: Array, before: int, after: int, mode: str) -> Array:
    """Return which step stands at each place of padded series, (series, places); -1: a constant, or nothing.

    Parameters
    ----------
    lengths : int64 ndarray (series,)
        Steps of each series; reflections need more steps than they add on a side.
    before, after : int
        Numbers of steps that are added.
    mode : {"constant", "reflect", "edge"}
    """
    last = lengths[:, None] - 1
    steps = np.arange(-before, int(lengths.max(initial=0)) + after)[None, :]
    inside = (steps >= 0) & (steps <= last)
    if mode == "constant":
        return np.where(inside, steps, -1)
    if mode == "edge":
        places = np.clip(steps, 0, np.maximum(last, 0))
    else:
        places = np.abs(steps)
        places = np.where(places > last, 2 * last - places, places)
    return np.where((steps <= last + after) & (last >= 0), places, -1)


@register
class Pad1D(Layer):
    """Add steps before and after each series: from (batch, time, features) to (batch, before + time + after, features).

    What Keras calls ``ZeroPadding1D`` and PyTorch ``ConstantPad1d``, ``ReflectionPad1d`` and ``ReplicationPad1d``; ONNX
    has the operator Pad. Windows of a `Conv1D` after it then reach beyond the ends of a series, for instance those of a
    short-time Fourier transform. For zeros in front of a single convolution the argument `padding` of `Conv1D` is
    faster.

    Each series is padded at its own ends; `lengths` grow by ``before + after``. Masked steps are left out before steps
    are added, so that later layers know no mask.

    Parameters
    ----------
    before, after : int
        Numbers of steps that are added.
    mode : {"constant", "reflect", "edge"}, default "constant"
        What they hold: `value`; the steps of the series in mirrored order, without the first or last step itself; or
        copies of the first or last step.
    value : float, default 0.0
        The constant.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range. When the model is built, if the layer's input is token ids or has no time
        axis. When data come, if a series has too few steps to be reflected.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> model = fl.Model([fl.Pad1D(1, 2, "reflect"), fl.LastStep()], input_size=1)
    >>> model.forward(np.array([[[1.0], [2.0], [3.0]]])).tolist()  # of 2 1 2 3 2 1
    [[1.0]]
    """

    def __init__(self, before: int, after: int, mode: str = "constant", value: float = 0.0) -> None:
        super().__init__()
        self.before = count("before", before, 0, bits=31)
        self.after = count("after", after, 0, bits=31)
        if mode not in _MODES:
            raise ValueError(f"mode is {short_repr(mode)}, expected one of {', '.join(map(repr, _MODES))}")
        self.mode = mode
        self.value = real("value", value)
        if self.value and mode != "constant":
            raise ValueError(f"value={value} is for mode='constant' and mode is {mode!r}: leave value out")
        self._features = 0

    def build(self, signal: Signal) -> Signal:
        signal.require_steps(self)
        self._features = signal.features
        if signal.steps is not None:
            self.steps_after(np.array([signal.steps]))
        added = self.before + self.after
        steps, longest = (None if n is None else n + added for n in (signal.steps, signal.longest))
        return Signal(signal.features, True, False, steps, longest, signal.stride, False)

    def streaming_obstacle(self) -> str | None:
        return (
            "is a Pad1D, which adds steps at the ends of a series, and an end is not known when the series arrives in "
            "segments; leave it out"
        )

    def steps_after(self, lengths: Array) -> Array:
        if self.mode == "reflect":
            needed = max(self.before, self.after) + 1
            short = np.flatnonzero((lengths < needed) & (lengths > 0))
            if len(short):
                case = int(short[0])
                raise ValueError(
                    f"Pad1D reflects {needed - 1} steps, which takes series of {needed} steps or more, and series "
                    f"{case} has {lengths[case]}: leave such series out, or use mode='edge'"
                )
        return np.where(lengths > 0, lengths + self.before + self.after, 0)

    def mask_after(self, mask: Array, lengths: Array | None) -> Array | None:
        return None

    def forward(self, x: Array, ctx: PassContext, cache: LayerCache) -> Array:
        cache.saved["lengths"] = ctx.lengths
        x, lengths = leave_out_masked(x, ctx, cache)
        batch, time, features = x.shape
        ends = np.full(batch, time) if lengths is None else lengths
        counts = self.steps_after(ends)
        places = padded_places(ends, self.before, self.after, self.mode)
        steps = max(1, int(counts.max(initial=0)))
        y = cache.buffers.get("y", (batch, steps, features), ctx.dtype)
        y.fill(0)
        y[:, : places.shape[1]] = x[np.arange(batch)[:, None], np.maximum(places, 0)]
        valid = np.arange(steps) < counts[:, None]
        if self.mode == "constant":
            y[:, : places.shape[1]][(places < 0) & valid[:, : places.shape[1]]] = self.value
        y[~valid] = 0
        cache.saved["pass"] = time, ends, places
        ctx.lengths = counts if (counts < steps).any() else None
        return y

    def backward(self, dy: Array, ctx: PassContext, cache: LayerCache, need_dx: bool) -> Array | None:
        ctx.lengths = cache.saved["lengths"]
        if not need_dx:
            return None
        time, ends, places = cache.saved["pass"]
        dx = cache.buffers.get("dx", (len(dy), time, dy.shape[2]), ctx.dtype)
        dx.fill(0)
        longest = int(ends.max(initial=0))
        dx[:, :longest] = dy[:, self.before : self.before + longest]
        dx[np.arange(time) >= ends[:, None]] = 0
        # Place by place, because a step may stand at several: so the order of the additions is the same in any batch.
        for place in () if self.mode == "constant" else range(places.shape[1]):
            step = place - self.before
            rows = np.flatnonzero((places[:, place] >= 0) & ((step < 0) | (step >= ends)))
            if len(rows):
                dx[rows, places[rows, place]] += dy[rows, place]
        return with_masked(dx, cache)

    def stages(self) -> list[Stage]:
        return [Stage("pad", self._features, settings=self.get_config())]

    def get_config(self) -> dict[str, Any]:
        return {"before": self.before, "after": self.after, "mode": self.mode, "value": self.value}
