"""Layer that computes the absolute values of complex numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._checks import real
from .._typing import Array
from .base import Layer, Signal
from .context import LayerCache, PassContext
from .registry import register
from .stages import Stage

__all__ = ["Magnitude"]


@register
class Magnitude(Layer):
    """Compute the magnitudes of complex numbers: from 2 n features to n.

    The first half of the features are real parts, the second half imaginary parts: y = sqrt(re^2 + im^2 + eps). After a
    `Conv1D` whose filters are cosines and sines this is the spectrum of a short-time Fourier transform, with which many
    networks for sound begin.

    Parameters
    ----------
    eps : float, default 0.0
        Added under the root, 0 or more. With 0 the gradient of a magnitude of 0 is taken as 0.

    Raises
    ------
    TypeError, ValueError
        If eps is not a number of 0 or more. When the model is built, if the layer's input is token ids or has an odd
        number of features.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> fl.Model([fl.LastStep(), fl.Magnitude()], input_size=4).forward(np.array([[[3.0, 0.0, 4.0, 1.0]]])).tolist()
    [[5.0, 1.0]]
    """

    def __init__(self, eps: float = 0.0) -> None:
        super().__init__()
        self.eps = real("eps", eps)
        if self.eps < 0:
            raise ValueError(f"eps is {eps}, expected 0 or more: it is added under a square root")
        self._size = 0

    def build(self, signal: Signal) -> Signal:
        signal.require_numbers(self)
        if signal.features % 2:
            raise ValueError(
                f"Magnitude reads real and imaginary parts, an even number of features, and gets {signal.features}"
            )
        self._size = signal.features // 2
        return signal._replace(features=self._size)

    def forward(self, x: Array, ctx: PassContext, cache: LayerCache) -> Array:
        y = cache.buffers.get("y", (*x.shape[:-1], self._size), ctx.dtype)
        squares = cache.buffers.get("squares", y.shape, ctx.dtype)
        re, im = x[..., : self._size], x[..., self._size :]
        with np.errstate(over="ignore"):
            np.multiply(re, re, out=y)
            np.multiply(im, im, out=squares)
            y += squares
        if self.eps:
            y += ctx.dtype.type(self.eps)
        np.sqrt(y, out=y)
        cache.saved.update({"x": x, "y": y} if ctx.training else {"x": None, "y": None})
        return y

    def backward(self, dy: Array, ctx: PassContext, cache: LayerCache, need_dx: bool) -> Array | None:
        if not need_dx:
            return None
        x, y = cache.saved["x"], cache.saved["y"]
        factor = cache.buffers.get("factor", y.shape, ctx.dtype)
        factor.fill(0)
        np.divide(dy, y, out=factor, where=y > 0)
        dx = cache.buffers.get("dx", x.shape, ctx.dtype)
        np.multiply(x[..., : self._size], factor, out=dx[..., : self._size])
        np.multiply(x[..., self._size :], factor, out=dx[..., self._size :])
        return dx

    def stages(self) -> list[Stage]:
        return [Stage("magnitude", self._size, settings={"eps": self.eps, "parts": 1})]

    def get_config(self) -> dict[str, Any]:
        return {"eps": self.eps}
