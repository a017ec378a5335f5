"""Gaussian noise layer."""

from __future__ import annotations

from typing import Any

from .. import _core
from .._checks import non_negative
from .._typing import Array
from .base import Layer, Signal
from .context import LayerCache, PassContext
from .registry import register
from .stages import Stage

__all__ = ["GaussianNoise"]


@register
class GaussianNoise(Layer):
    """Add normal noise to the inputs in training, so that the model never sees exactly the same input twice.

    In inference the layer is the identity. As the first layer of a model with a scaler, the unit of the noise is the
    standard deviation of each feature. Training with noise on the inputs is a form of Tikhonov regularization (Bishop
    1995); the name is Keras's. The noise depends on the model's seed, the number of the training step and the place of
    the element in the batch, not on the number of threads.

    Parameters
    ----------
    stddev : float
        Standard deviation of the noise, >= 0.

    Raises
    ------
    TypeError, ValueError
        If stddev is not a number of at least 0.

    Examples
    --------
    >>> import fastlstm as fl
    >>> fl.Model([fl.GaussianNoise(0.1), fl.LSTM(8), fl.Dense(1)], scaler=fl.Standardizer()).layers[0]
    GaussianNoise(stddev=0.1)
    """

    keeps_probabilities = True  # in inference

    def __init__(self, stddev: float) -> None:
        super().__init__()
        self.stddev = non_negative("stddev", stddev)
        self.is_stochastic = self.stddev > 0

    def build(self, signal: Signal) -> Signal:
        signal.require_numbers(self)
        return signal

    def forward(self, x: Array, ctx: PassContext, cache: LayerCache) -> Array:
        if not (ctx.training and self.stddev):
            return x
        y = cache.buffers.get("y", x.shape, ctx.dtype)
        _core.noise(x, y, self.stddev, cache.seed, ctx.n_threads, first_row=ctx.first_row)
        return y

    def backward(self, dy: Array, ctx: PassContext, cache: LayerCache, need_dx: bool) -> Array | None:
        return dy if need_dx else None

    def stages(self) -> list[Stage]:
        return []

    def get_config(self) -> dict[str, Any]:
        return {"stddev": self.stddev}
