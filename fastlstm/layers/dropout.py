"""Dropout layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _core
from .._checks import as_bool, below_one
from .._typing import Array
from .base import Layer, Signal
from .context import LayerCache, PassContext
from .registry import register
from .stages import Stage

__all__ = ["Dropout"]


@register
class Dropout(Layer):
    """Set random inputs to zero in training and multiply the others by 1 / (1 - p) (Srivastava et al. 2014).

    In inference the layer is the identity. Which elements are dropped depends on the model's seed, the number of the
    training step and the element's position, not on the number of threads.

    Parameters
    ----------
    p : float in [0, 1), default 0.5
        Probability that an element is dropped.
    per_series : bool, default False
        Drop a feature in all steps of a series or in none (Tompson et al. 2015; Keras's SpatialDropout1D).

    Raises
    ------
    TypeError, ValueError
        If p is not a number in [0, 1), or per_series is not a bool.

    Examples
    --------
    >>> import fastlstm as fl
    >>> fl.Model([fl.LSTM(8), fl.Dropout(0.2), fl.Dense(3)]).layers[1]
    Dropout(p=0.2)
    """

    keeps_probabilities = True  # in inference

    def __init__(self, p: float = 0.5, *, per_series: bool = False) -> None:
        super().__init__()
        self.p = below_one("p", p)
        self.per_series = as_bool("per_series", per_series)
        self.is_stochastic = self.p > 0

    def build(self, signal: Signal) -> Signal:
        signal.require_numbers(self)
        return signal

    def forward(self, x: Array, ctx: PassContext, cache: LayerCache) -> Array:
        if not (ctx.training and self.p):
            return x
        return self._dropped(x, "y", ctx, cache)

    def _dropped(self, x: Array, name: str, ctx: PassContext, cache: LayerCache) -> Array:
        """Return x, or its gradient, with the elements that this pass drops set to zero."""
        y = cache.buffers.get(name, x.shape, ctx.dtype)
        if self.per_series and x.ndim == 3:
            factors = np.ones((x.shape[0], x.shape[2]), ctx.dtype)
            _core.dropout(factors, factors, self.p, cache.seed, ctx.n_threads, first_row=ctx.first_row)
            np.multiply(x, factors[:, None, :], out=y)
        else:
            _core.dropout(x, y, self.p, cache.seed, ctx.n_threads, first_row=ctx.first_row)
        return y

    def backward(self, dy: Array, ctx: PassContext, cache: LayerCache, need_dx: bool) -> Array | None:
        if not (need_dx and self.p):
            return dy if need_dx else None
        return self._dropped(dy, "dx", ctx, cache)

    def stages(self) -> list[Stage]:
        return []

    def get_config(self) -> dict[str, Any]:
        return {"p": self.p, "per_series": self.per_series}
