"""The layer that turns series around."""

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
    """Puts the last step of each series first; padding beyond a case's length stays where it is, as zeros.

    Behind an LSTM with ``reverse=True`` it gives the outputs in the order in which that LSTM made them, which is what
    Keras's ``go_backwards=True`` does.

    Raises
    ------
    ValueError
        If token ids, or only the last step of each series, come in.
    """

    def __init__(self) -> None:
        super().__init__()
        self._size = 0

    def build(self, signal: Signal) -> Signal:
        if signal.tokens:
            raise ValueError("Reverse reads numbers and gets token ids: put it behind the fl.Embedding")
        if not signal.per_step:
            raise ValueError("Reverse reads (batch, time, features) and gets (batch, features)")
        self._size = signal.features
        return signal

    def streaming_obstacle(self) -> str | None:
        return (
            "turns series around: it begins at the end of a series, which is not there yet when the series comes piece "
            "by piece; leave it out"
        )

    def forward(self, x: Array, ctx: PassContext, cache: LayerCache) -> Array:
        if ctx.mask is not None:
            ctx.mask = self._turned(ctx.mask, np.empty_like(ctx.mask), ctx.lengths)
        cache.saved["lengths"] = ctx.lengths
        return self._turned(x, cache.buffers.get("y", x.shape, ctx.dtype), ctx.lengths)

    def backward(self, dy: Array, ctx: PassContext, cache: LayerCache, need_dx: bool) -> Array | None:
        if not need_dx:
            return None
        return self._turned(dy, cache.buffers.get("dx", dy.shape, ctx.dtype), cache.saved["lengths"])

    @staticmethod
    def _turned(x: Array, out: Array, lengths: Array | None) -> Array:
        """x (batch, time, ...) with the steps of each case in reverse order; its own inverse, and its own gradient."""
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
