"""The features of all steps as one vector."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._checks import count
from .._typing import Array
from .base import Layer, Signal
from .context import LayerCache, PassContext
from .registry import register
from .stages import Stage

__all__ = ["Flatten"]


@register
class Flatten(Layer):
    """Return the features of all steps of each case, one step after the other, as one vector.

    A pooling layer takes series of any length; this layer needs the same number of steps in each.

    Parameters
    ----------
    steps : int
        Number of steps that each series has where it reaches the layer.

    Raises
    ------
    TypeError, ValueError
        If steps is not an integer of at least 1. When the model is built, if the layer's input is token ids, or has no
        time axis or another number of steps. In a pass, if a series has another number of steps.

    Notes
    -----
    Shapes: (batch, steps, features) to (batch, steps * features), element ``t * features + k`` being feature k of step
    t. Masked steps are kept like others.

    No number is changed, nor in a quantized model. Neither streams nor `Model.to_c` have the layer, since its output
    needs all steps.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> model = fl.Model([fl.LSTM(4, return_sequences=True), fl.Flatten(10), fl.Dense(3)], input_size=2)
    >>> model.predict(np.zeros((5, 10, 2))).shape
    (5, 3)
    """

    commutes_with = ("sigmoid",)

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = count("steps", steps, bits=31)
        self._features = 0

    def build(self, signal: Signal) -> Signal:
        signal.require_numbers(self)
        if not signal.per_step:
            raise ValueError(
                "Flatten reads every step and gets one vector for each case: leave it out, or set "
                "return_sequences=True in the LSTM before it"
            )
        if signal.steps is not None and signal.steps != self.steps:
            raise ValueError(
                f"Flatten(steps={self.steps}) gets series of {signal.steps} steps: use fl.Flatten({signal.steps})"
            )
        self._features = signal.features
        return Signal(self.steps * signal.features, False)

    def steps_after(self, lengths: Array) -> Array:
        wrong = np.flatnonzero(lengths != self.steps)
        if len(wrong):
            case = int(wrong[0])
            raise ValueError(
                f"Flatten reads series of {self.steps} steps, and series {case} has {lengths[case]} there: use "
                "fl.Flatten with this number, or a pooling layer such as fl.MeanPool() for series of any length"
            )
        return lengths

    def streaming_obstacle(self) -> str | None:
        return (
            f"is a Flatten, whose output needs all {self.steps} steps, which are not known yet when the series arrives "
            "in segments; put a pooling layer such as fl.LastStep() in its place"
        )

    def forward(self, x: Array, ctx: PassContext, cache: LayerCache) -> Array:
        self.steps_after(np.full(len(x), x.shape[1]) if ctx.lengths is None else ctx.lengths)
        ctx.mask = None
        cache.saved["shape"] = x.shape
        y = cache.buffers.get("y", (len(x), self.steps * self._features), ctx.dtype)
        np.copyto(y.reshape(len(x), self.steps, self._features), x[:, : self.steps])
        return y

    def backward(self, dy: Array, ctx: PassContext, cache: LayerCache, need_dx: bool) -> Array | None:
        if not need_dx:
            return None
        dx = cache.buffers.get("dx", cache.saved["shape"], ctx.dtype)
        dx[:, self.steps :] = 0
        np.copyto(dx[:, : self.steps], dy.reshape(len(dy), self.steps, self._features))
        return dx

    def stages(self) -> list[Stage]:
        return [Stage("flatten", self.steps * self._features, settings={"steps": self.steps})]

    def get_config(self) -> dict[str, Any]:
        return {"steps": self.steps}
