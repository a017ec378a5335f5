"""Layer that repeats one vector at each step of a new series."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._checks import count
from .._typing import Array
from .base import Layer, Signal
from .context import LayerCache, PassContext
from .registry import register
from .stages import Stage

__all__ = ["RepeatVector"]


@register
class RepeatVector(Layer):
    """Repeat the vector of each case at n steps: from (batch, features) to (batch, n, features).

    As Keras's layer of this name it stands between an encoder, which ends with one vector, and a decoder: in LSTM
    autoencoders (Srivastava, Mansimov & Salakhutdinov 2015) and in forecasters of n steps.

    The layer begins new series, each of n valid steps, whatever the lengths of the input: `lengths` and masks end here.
    If every later layer keeps the steps, the model's output is (batch, n, outputs), and so are the targets of `fit`.
    A ``sample_weight`` (cases, n) leaves out steps that should not count.

    Parameters
    ----------
    n : int
        Number of steps.

    Raises
    ------
    TypeError, ValueError
        If n is not an integer of at least 1. When the model is built, if the layer's input has a time axis.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> decoder = [fl.RepeatVector(6), fl.LSTM(8, return_sequences=True), fl.Dense(2)]
    >>> model = fl.Model([fl.LSTM(8), *decoder], input_size=2)
    >>> model.predict(np.zeros((5, 10, 2))).shape
    (5, 6, 2)
    """

    commutes_with = ("sigmoid", "softmax")

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = count("n", n, bits=31)
        self._size = 0

    def build(self, signal: Signal) -> Signal:
        if signal.tokens:
            raise ValueError(
                "RepeatVector reads one vector for each case and gets token ids: put it after the fl.Embedding and an "
                "fl.LSTM"
            )
        if signal.per_step:
            raise ValueError(
                "RepeatVector reads one vector for each case, (batch, features), and gets one for each step, "
                "(batch, time, features): set return_sequences=False in the LSTM before it, or put a pooling layer "
                "such as fl.LastStep() between"
            )
        self._size = signal.features
        return Signal(signal.features, True, steps=self.n)

    def streaming_obstacle(self) -> str | None:
        return (
            "is a RepeatVector: the series that it begins follows the end of the series before, which is not known yet "
            "when the series arrives in segments; leave it out"
        )

    def forward(self, x: Array, ctx: PassContext, cache: LayerCache) -> Array:
        cache.saved["lengths"] = ctx.lengths
        ctx.lengths = ctx.mask = None
        y = cache.buffers.get("y", (len(x), self.n, self._size), ctx.dtype)
        np.copyto(y, x[:, None])
        return y

    def backward(self, dy: Array, ctx: PassContext, cache: LayerCache, need_dx: bool) -> Array | None:
        ctx.lengths = cache.saved["lengths"]
        if not need_dx:
            return None
        # Step by step in float64: the order of the additions depends neither on the batch nor on NumPy's loops.
        total = cache.buffers.get("total", (len(dy), self._size), np.float64)
        total.fill(0)
        for step in range(self.n):
            total += dy[:, step]
        dx = cache.buffers.get("dx", total.shape, ctx.dtype)
        np.copyto(dx, total, casting="same_kind")
        return dx

    def stages(self) -> list[Stage]:
        return [Stage("repeat", self._size, settings={"steps": self.n})]

    def get_config(self) -> dict[str, Any]:
        return {"n": self.n}
