"""The layer that finds the steps which an LSTM is to skip."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._checks import real
from .._typing import Array
from .base import Layer, Signal
from .context import LayerCache, PassContext
from .registry import register
from .stages import Stage

__all__ = ["Masking"]


@register
class Masking(Layer):
    """Makes the LSTMs behind it skip the steps whose features all have a certain value, as Keras's layer of that name.

    An LSTM carries its state over a skipped step unchanged, wherever in the series it stands. With
    ``return_sequences=True`` its output there is that of the step before, or 0 before the first step that is not
    skipped; that of an LSTM with two directions is 0. All other layers treat such a step like any other. The mask ends
    where an LSTM keeps only the last step; another Masking replaces it.

    `lengths` does the same for padding at the end, and the losses leave such steps out. They do count the steps that
    this layer skips, where the model has an output for each step: give `fit` a sample_weight of 0 for them.

    Parameters
    ----------
    value : float, default 0
        A step is skipped if all of its features are equal to this, in the dtype of the model, where they reach the
        layer: behind the model's scaler, if it has one.

    Raises
    ------
    TypeError, ValueError
        If value is not a finite number.
    """

    masks_steps = True

    def __init__(self, value: float = 0.0) -> None:
        super().__init__()
        self.value = real("value", value)
        self._size = 0

    def build(self, signal: Signal) -> Signal:
        if signal.tokens:
            raise ValueError("Masking reads numbers and gets token ids: use fl.Embedding(..., mask_token=0)")
        if not signal.per_step:
            raise ValueError("Masking reads (batch, time, features) and gets (batch, features)")
        self._size = signal.features
        return signal

    def counts(self, x: Array) -> Array:
        """Whether each step counts: x (..., features) gives a boolean array (...)."""
        if x.ndim == 0:  # a stream's step of one feature, without its axis
            return np.ones((), bool)
        counts: Array = (x != x.dtype.type(self.value)).any(axis=-1)
        return counts

    def forward(self, x: Array, ctx: PassContext, cache: LayerCache) -> Array:
        mask = ctx.mask = self.counts(x)
        cache.saved["mask"] = mask if ctx.training else None
        y = cache.buffers.get("y", x.shape, ctx.dtype)
        np.copyto(y, x)
        y[~mask] = 0
        return y

    def backward(self, dy: Array, ctx: PassContext, cache: LayerCache, need_dx: bool) -> Array | None:
        if not need_dx:
            return None
        dx = cache.buffers.get("dx", dy.shape, ctx.dtype)
        np.copyto(dx, dy)
        dx[~cache.saved["mask"]] = 0
        return dx

    def stages(self) -> list[Stage]:
        return [Stage("mask", self._size, settings={"value": self.value})]

    def get_config(self) -> dict[str, Any]:
        return {"value": self.value}
