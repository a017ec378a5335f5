"""Layer that reverses series in time."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._typing import Array
from .base import Layer, Signal
from .context import LayerCache, PassContext
from .registry import register
from .stages import Stage

__all__ = ["Reverse"]


@register
class Reverse(Layer):
    """Reverse the order of the valid steps of each series; padding stays at the end, as zeros.

    After an LSTM with ``reverse=True`` it gives the outputs in the order in which this LSTM computes them, as Keras's
    ``go_backwards=True`` does.

    Raises
    ------
    ValueError
        When the model is built, if the layer's input is token ids or has no time axis.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> model = fl.Model([fl.Reverse()], input_size=1)
    >>> X = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 0.0]])
    >>> model.forward(X[:, :, None], lengths=[3, 2])[:, :, 0].tolist()
    [[3.0, 2.0, 1.0], [5.0, 4.0, 0.0]]
    """

    commutes_with = ("sigmoid", "softmax")

    def __init__(self) -> None:
        super().__init__()
        self._size = 0

    def build(self, signal: Signal) -> Signal:
        signal.require_steps(self)
        self._size = signal.features
        return signal

    def streaming_obstacle(self) -> str | None:
        return (
            "reverses series: it begins at the end of a series, which is not known yet when the series arrives in "
            "segments; leave it out"
        )

    def forward(self, x: Array, ctx: PassContext, cache: LayerCache) -> Array:
        if ctx.mask is not None:
            ctx.mask = self.mask_after(ctx.mask, ctx.lengths)
        cache.saved["lengths"] = ctx.lengths
        return self._turned(x, cache.buffers.get("y", x.shape, ctx.dtype), ctx.lengths)

    def backward(self, dy: Array, ctx: PassContext, cache: LayerCache, need_dx: bool) -> Array | None:
        if not need_dx:
            return None
        return self._turned(dy, cache.buffers.get("dx", dy.shape, ctx.dtype), cache.saved["lengths"])

    def mask_after(self, mask: Array, lengths: Array | None) -> Array:
        return self._turned(mask, np.empty_like(mask), lengths)

    @staticmethod
    def _turned(x: Array, out: Array, lengths: Array | None) -> Array:
        """Write x (batch, time, ...) to `out` with each case's steps reversed; the gradient is the same function."""
        if lengths is None:
            np.copyto(out, x[:, ::-1])
        else:
            out[...] = 0
            for row, into, length in zip(x, out, lengths, strict=True):
                into[:length] = row[:length][::-1]
        return out

    def stages(self) -> list[Stage]:
        return [Stage("reverse", self._size)]

    def get_config(self) -> dict[str, Any]:
        return {}
