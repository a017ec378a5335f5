"""Layer normalisation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import _core
from .._checks import as_bool, positive
from .._typing import Array
from .base import Layer, ParameterSpec, Signal
from .context import LayerCache, PassContext
from .initializers import ones, zeros
from .registry import register
from .stages import Stage

__all__ = ["LayerNorm"]


@register
class LayerNorm(Layer):
    """Normalise the features of each case or each step to mean 0 and variance 1 (``torch.nn.LayerNorm``).

    ``LSTM(layer_norm=True)`` normalises inside the cell instead.

    Parameters
    ----------
    eps : float, default 1e-5
        Added to the variance.
    weight, bias : bool, default True
        Whether the normalised features are multiplied by a ``weight``, and whether a ``bias`` is added.

    Raises
    ------
    TypeError, ValueError
        If eps is not positive. When the model is built, if the layer's input is token ids.

    Notes
    -----
    Parameters: ``weight`` (features,), ones at first; ``bias`` (features,), zeros.

    Computed in the model's dtype; a quantized model leaves the layer as it is. Streams take it, `Model.to_c` does not.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> model = fl.Model([fl.LastStep(), fl.LayerNorm()], input_size=2)
    >>> model.forward(np.array([[[1.0, 3.0]]])).round(3).tolist()
    [[-1.0, 1.0]]
    """

    touches_padding = False
    input_weight = "weight"

    def __init__(self, *, eps: float = 1e-5, weight: bool = True, bias: bool = True) -> None:
        super().__init__()
        self.eps = positive("eps", eps)
        self.weight = as_bool("weight", weight)
        self.bias = as_bool("bias", bias)
        self.size = 0

    def build(self, signal: Signal) -> Signal:
        if signal.tokens:
            raise ValueError("LayerNorm reads numbers and gets token ids: put it after the fl.Embedding")
        self.size = signal.features
        return Signal(signal.features, signal.per_step)

    def parameter_specs(self) -> Iterator[ParameterSpec]:
        if self.weight:
            yield ParameterSpec("weight", (self.size,), ones)
        if self.bias:
            yield ParameterSpec("bias", (self.size,), zeros)

    def input_size_of(self, weight: Array) -> int | None:
        return weight.shape[0] if weight.ndim == 1 else None

    def forward(self, x: Array, ctx: PassContext, cache: LayerCache) -> Array:
        lengths = ctx.lengths if x.ndim == 3 else None
        rows = np.ascontiguousarray(x if x.ndim == 3 else x[:, None])
        y = cache.buffers.get("y", rows.shape, ctx.dtype)
        weight, bias = self.parameters.get("weight"), self.parameters.get("bias")
        _core.layer_norm_forward(rows, weight, bias, self.eps, y, lengths=lengths, n_threads=ctx.n_threads)
        cache.saved["pass"] = (rows, lengths) if ctx.training else None
        return y.reshape(x.shape)

    def backward(self, dy: Array, ctx: PassContext, cache: LayerCache, need_dx: bool) -> Array | None:
        x, lengths = cache.saved["pass"]
        gradients = self.wanted_gradients
        dx = cache.buffers.get("dx", x.shape, ctx.dtype) if need_dx else None
        _core.layer_norm_backward(
            np.ascontiguousarray(dy).reshape(x.shape),
            x,
            self.parameters.get("weight"),
            self.eps,
            dx,
            gradients.get("weight"),
            gradients.get("bias"),
            cache.workspace,
            lengths=lengths,
            n_threads=ctx.n_threads,
        )
        return None if dx is None else dx.reshape(dy.shape)

    def stages(self) -> list[Stage]:
        return [Stage("layer_norm", self.size, dict(self.parameters), {"eps": self.eps})]

    def get_config(self) -> dict[str, Any]:
        return {"eps": self.eps, "weight": self.weight, "bias": self.bias}
