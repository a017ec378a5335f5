"""Deviations: how far each step is from the mean series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _checks
from .._arrays import as_numeric
from .._checks import short_repr
from .._typing import Array
from .base import Layer, Signal
from .context import LayerCache, PassContext
from .registry import register
from .stages import Stage

__all__ = ["Deviations"]


@register
class Deviations(Layer):
    """Append to each step its deviation from a mean series, times a scale: features x_t and scale (x_t - center_t).

    Where series begin at the same event and are nearly alike, as spectra and machine cycles are, what tells them apart
    is small beside what they share. The deviations show it.

    Steps beyond the last one of `center` have deviations of 0.

    Parameters
    ----------
    center : array (time, features)
        The mean series, in the units of the layer's input: in a model with a scaler those of scaled values.
    scale : float or sequence of float, default 1.0
        Factor of the deviations, or one for each feature; positive.

    Raises
    ------
    TypeError, ValueError
        If `center` does not consist of finite numbers, or `scale` of positive ones. When the model is built, if the
        layer's input is token ids, has no time axis, or another number of features than `center`.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> model = fl.Model([fl.Deviations([[1.0], [2.0]], scale=10.0)], input_size=1)
    >>> model.forward(np.array([[[1.0], [2.5], [4.0]]])).tolist()
    [[[1.0, 0.0], [2.5, 5.0], [4.0, 0.0]]]
    """

    def __init__(self, center: Any, scale: float | Sequence[float] = 1.0) -> None:
        super().__init__()
        array = np.array(as_numeric(center, False, "center"), np.float64)
        if array.ndim != 2 or 0 in array.shape:
            raise ValueError(f"center has shape {array.shape}, expected (time, features)")
        if not np.isfinite(array).all():
            raise ValueError(f"center must consist of finite numbers, got {short_repr(array.tolist())}")
        self.center: Array = array
        if isinstance(scale, (list, tuple, np.ndarray)):
            self.scale: float | list[float] = [_checks.positive(f"scale[{k}]", one) for k, one in enumerate(scale)]
            if len(self.scale) != array.shape[1]:
                raise ValueError(f"scale has {len(self.scale)} factors, expected {array.shape[1]}, one a feature")
        else:
            self.scale = _checks.positive("scale", scale)

    def build(self, signal: Signal) -> Signal:
        signal.require_steps(self)
        if self.center.shape[1] != signal.features:
            raise ValueError(
                f"Deviations has a center of {self.center.shape[1]} features and its input {signal.features}: give "
                "center one column for each feature"
            )
        return signal._replace(features=2 * signal.features)

    def streaming_obstacle(self) -> str | None:
        return "is a Deviations, which does not know the number of a step in a segment of a series; leave it out"

    def forward(self, x: Array, ctx: PassContext, cache: LayerCache) -> Array:
        batch, time, features = x.shape
        known = min(time, len(self.center))
        y = cache.buffers.get("y", (batch, time, 2 * features), ctx.dtype)
        y[..., :features] = x
        y[:, known:, features:] = 0
        part = y[:, :known, features:]
        np.subtract(x[:, :known], self.center[:known].astype(ctx.dtype), out=part)
        part *= np.asarray(self.scale, ctx.dtype)
        return y

    def backward(self, dy: Array, ctx: PassContext, cache: LayerCache, need_dx: bool) -> Array | None:
        if not need_dx:
            return None
        features, known = self.center.shape[1], min(dy.shape[1], len(self.center))
        dx = cache.buffers.get("dx", (*dy.shape[:2], features), ctx.dtype)
        np.copyto(dx, dy[..., :features])
        dx[:, :known] += dy[:, :known, features:] * np.asarray(self.scale, ctx.dtype)
        return dx

    def stages(self) -> list[Stage]:
        scale = np.array(np.broadcast_to(np.asarray(self.scale, np.float64), self.center.shape[1]))
        settings = {"center": self.center, "scale": scale}
        return [Stage("deviations", 2 * self.center.shape[1], settings=settings)]

    def get_config(self) -> dict[str, Any]:
        return {"center": self.center.tolist(), "scale": self.scale}

    def __repr__(self) -> str:
        return f"Deviations(center of {len(self.center)} steps, scale={self.scale})"
