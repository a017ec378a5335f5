"""Layer normalisation."""

from __future__ import annotations

import numpy as np

from .. import _core
from .._typing import Array
from .context import LayerCache, PassContext
from .norm import Norm, as_steps
from .registry import register
from .stages import Stage

__all__ = ["LayerNorm"]


@register
class LayerNorm(Norm):
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

    input_weight = "weight"

    def __init__(self, *, eps: float = 1e-5, weight: bool = True, bias: bool = True) -> None:
        super().__init__(eps, weight, bias)

    def forward(self, x: Array, ctx: PassContext, cache: LayerCache) -> Array:
        lengths = ctx.lengths if x.ndim == 3 else None
        rows = as_steps(x)
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
