"""Masking layer: marks the steps that LSTMs skip."""

from __future__ import annotations

import math
from typing import Any, Literal

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
    """Make the following LSTMs skip steps in which all features equal a value, as Keras's layer of this name does.

    The values that are compared are those that you pass, before the model's scaler, and in the type of your array:
    ``Masking(0.1)`` masks a float32 array's float32(0.1), and a float64 array's 0.1. So it is for the first layer, or
    one that only `Dropout`, `GaussianNoise` or another Masking precedes; further inside, a Masking compares what the
    layers before it compute. A masked step counts in no statistic, loss or metric: a scaler that `Model.fit` fits
    leaves it out, and where the model has an output for each step, the outputs and targets of masked steps are not
    read.

    With the value nan these are the steps all of whose features are missing (NaN). Inputs may hold such steps only if
    this layer is the first one; a step of which only some features are NaN is refused as without this layer.

    An LSTM keeps its state unchanged over a masked step, anywhere in the series. With ``return_sequences=True`` its
    output there is the output of the previous step, or 0 before the first unmasked step; a bidirectional LSTM gives 0.
    Pooling layers skip masked steps as well; all other layers treat them like any step. The mask ends at a layer that
    keeps one vector per case; another Masking replaces it.

    `lengths` is the simpler choice for padding at the end.

    Parameters
    ----------
    value : float, or "nan", default 0
        A step is masked if all of its features are equal to this value.

    Raises
    ------
    TypeError, ValueError
        If value is neither a finite number nor nan.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> model = fl.Model([fl.Masking(), fl.LSTM(4)], input_size=1)
    >>> a, b = model.forward(np.array([[[3.0], [0.0], [5.0]], [[3.0], [5.0], [0.0]]]))
    >>> np.array_equal(a, b)
    True
    """

    masks_steps = True

    def __init__(self, value: float | Literal["nan"] = 0.0) -> None:
        super().__init__()
        text = isinstance(value, str) and value == "nan"
        self.masks_missing_steps = text or (isinstance(value, (float, np.floating)) and math.isnan(value))
        self.value = math.nan if self.masks_missing_steps else real("value", value)
        self._size = 0

    def build(self, signal: Signal) -> Signal:
        if signal.tokens:
            raise ValueError("Masking reads numbers and gets token ids: use fl.Embedding(..., mask_token=0)")
        if not signal.per_step:
            raise ValueError(
                "Masking reads (batch, time, features) and gets (batch, features): put it at the beginning"
            )
        self._size = signal.features
        return signal

    def counts(self, x: Array) -> Array:
        """Return which steps of x (..., features) are not masked, a boolean array (...)."""
        if self.masks_missing_steps:
            differs = ~np.isnan(x)
        elif x.dtype.kind == "f":
            with np.errstate(over="ignore"):
                differs = x != x.dtype.type(self.value)
        else:
            low, high = (0, 1) if x.dtype == bool else (np.iinfo(x.dtype).min, np.iinfo(x.dtype).max)
            if not (self.value.is_integer() and low <= self.value <= high):
                return np.ones(x.shape[:-1], bool)  # no integer of this type is equal
            differs = x != x.dtype.type(int(self.value))
        return np.asarray(differs.any(axis=-1))

    def forward(self, x: Array, ctx: PassContext, cache: LayerCache) -> Array:
        mask = ctx.mask = self.counts(x) if cache.mask_in is None else cache.mask_in
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
        return {"value": "nan" if self.masks_missing_steps else self.value}  # JSON has no nan
