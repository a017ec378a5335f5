"""Layer that adds the differences of consecutive steps to the features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _checks
from .._typing import Array
from .base import Layer, Signal
from .context import LayerCache, PassContext
from .registry import register
from .stages import Stage

__all__ = ["Differences"]


@register
class Differences(Layer):
    """Append to each step its difference from the step before, times a scale: features x_t and scale (x_t - x_{t-1}).

    The differences show small and fast changes that are lost beside a large slow one. Speech recognizers know them as
    delta features (Furui 1986). In a smooth series they are much smaller than the values; a `scale` that brings their
    standard deviation to 1 makes the network see them as well as these.

    The difference of the first step is 0. If steps are masked, it is that from the last step that is not masked.

    Parameters
    ----------
    scale : float or sequence of float, default 1.0
        Factor of the differences, or one for each feature; positive. In a model with a scaler it applies to the scaled
        values.

    Raises
    ------
    TypeError, ValueError
        If scale does not consist of positive numbers. When the model is built, if the layer's input is token ids or has
        no time axis, or the number of features is not that of the factors.

    Notes
    -----
    S. Furui, "Speaker-independent isolated word recognition using dynamic features of speech spectrum", IEEE
    Transactions on Acoustics, Speech, and Signal Processing 34(1), 1986.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> model = fl.Model([fl.Differences(scale=10.0)], input_size=1)
    >>> model.forward(np.array([[[1.0], [1.5], [1.25]]])).tolist()
    [[[1.0, 0.0], [1.5, 5.0], [1.25, -2.5]]]
    """

    supports_mask = True

    def __init__(self, scale: float | Sequence[float] = 1.0) -> None:
        super().__init__()
        if isinstance(scale, (list, tuple, np.ndarray)):
            self.scale: float | list[float] = [_checks.positive(f"scale[{k}]", one) for k, one in enumerate(scale)]
        else:
            self.scale = _checks.positive("scale", scale)
        self._features = 0

    def build(self, signal: Signal) -> Signal:
        signal.require_steps(self)
        if isinstance(self.scale, list) and len(self.scale) != signal.features:
            raise ValueError(
                f"Differences has {len(self.scale)} factors and its input {signal.features} features: give scale one "
                "number, or one for each feature"
            )
        self._features = signal.features
        return signal._replace(features=2 * signal.features)

    def streaming_obstacle(self) -> str | None:
        return "is a Differences, which keeps no step for the next segment of a series; leave it out"

    def forward(self, x: Array, ctx: PassContext, cache: LayerCache) -> Array:
        features = self._features
        cache.saved["lengths"] = ctx.lengths
        y = cache.buffers.get("y", (*x.shape[:2], 2 * features), ctx.dtype)
        y[..., :features] = x
        y[:, 0, features:] = 0
        change = y[:, 1:, features:]
        np.subtract(x[:, 1:], x[:, :-1], out=change)
        change *= np.asarray(self.scale, ctx.dtype)
        return y

    def backward(self, dy: Array, ctx: PassContext, cache: LayerCache, need_dx: bool) -> Array | None:
        if not need_dx:
            return None
        features, lengths = self._features, cache.saved["lengths"]
        dx = cache.buffers.get("dx", (*dy.shape[:2], features), ctx.dtype)
        np.copyto(dx, dy[..., :features])
        change = dy[:, 1:, features:] * np.asarray(self.scale, ctx.dtype)
        if lengths is not None:  # the first step of the padding reads the last valid one
            change[np.arange(1, dy.shape[1]) >= lengths[:, None]] = 0
        dx[:, 1:] += change
        dx[:, :-1] -= change
        return dx

    def stages(self) -> list[Stage]:
        scale = np.array(np.broadcast_to(np.asarray(self.scale, np.float64), self._features))
        return [Stage("differences", 2 * self._features, settings={"scale": scale})]

    def get_config(self) -> dict[str, Any]:
        return {"scale": self.scale}
