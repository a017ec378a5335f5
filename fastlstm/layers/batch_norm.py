"""Batch normalisation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from .. import _core
from .._checks import real
from .._typing import Array
from .base import ParameterSpec
from .context import LayerCache, PassContext
from .initializers import ones, zeros
from .norm import Norm, as_steps
from .registry import register
from .stages import Stage

__all__ = ["BatchNorm"]


@register
class BatchNorm(Norm):
    """Normalise each feature by its mean and variance, for each case or each step (``torch.nn.BatchNorm1d``).

    In training these are the statistics of the batch: of all valid steps that are not masked. Running averages of them
    are kept, and take their place in everything else: `predict`, `evaluate`, streams, and training of a model in which
    the layer is not ``trainable``. There the layer is a multiplication and an addition for each number.

    Parameters
    ----------
    momentum : float, default 0.1
        Weight of a batch in the running statistics, as in PyTorch: ``(1 - momentum) * running + momentum * batch``.
        (Keras's ``momentum`` is one minus this.)
    eps : float, default 1e-5
        Added to the variance.
    weight, bias : bool, default True
        Whether the normalised features are multiplied by a ``weight``, and whether a ``bias`` is added.

    Raises
    ------
    TypeError, ValueError
        If momentum is not in (0, 1], or eps not positive. When the model is built, if the layer's input is token ids.

    Notes
    -----
    Parameters: ``weight`` (features,), ones at first; ``bias`` (features,), zeros; ``running_mean`` (features,), zeros;
    ``running_var`` (features,), ones. The last two are statistics: the optimizer does not touch them, `backward` moves
    them, and files hold them. ``running_var`` averages variances with the divisor n - 1, as PyTorch does; Keras's have
    n.

    In a training pass a case depends on the other cases of its batch, unlike with all other layers. Masked steps are
    normalised like others, but do not count in the statistics. A batch of one step alone has no variance: its
    normalised features are 0, and ``running_var`` stays as it is.

    Computed in float64 and rounded to the model's dtype; a quantized model leaves the layer as it is. Streams and
    `Model.to_c` take it, ``to_c(dtype="int8")`` does not.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> layers = [fl.Conv1D(8, 5, padding="same"), fl.BatchNorm(), fl.Activation("relu"), fl.LSTM(8), fl.Dense(3)]
    >>> model = fl.Model(layers, input_size=2)
    >>> model.parameters()["1.running_var"].tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """

    input_weight = "running_mean"
    statistics: ClassVar[tuple[str, ...]] = ("running_mean", "running_var")

    def __init__(self, *, momentum: float = 0.1, eps: float = 1e-5, weight: bool = True, bias: bool = True) -> None:
        super().__init__(eps, weight, bias)
        self.momentum = real("momentum", momentum)
        if not 0 < self.momentum <= 1:
            raise ValueError(f"momentum is {momentum}, expected a number above 0 and up to 1, such as 0.1")

    def parameter_specs(self) -> Iterator[ParameterSpec]:
        yield from super().parameter_specs()
        yield ParameterSpec("running_mean", (self.size,), zeros)
        yield ParameterSpec("running_var", (self.size,), ones)

    def forward(self, x: Array, ctx: PassContext, cache: LayerCache) -> Array:
        lengths, mask = (ctx.lengths, ctx.mask) if x.ndim == 3 else (None, None)
        rows = as_steps(x)
        y = cache.buffers.get("y", rows.shape, ctx.dtype)
        settings: dict[str, Any] = {"lengths": lengths, "n_threads": ctx.n_threads}
        mask = None if mask is None else np.ascontiguousarray(mask)
        mean = cache.buffers.get("mean", (self.size,), np.float64)
        if ctx.training and ctx.trainable and self.trainable:
            variance = cache.buffers.get("variance", (self.size,), np.float64)
            number = _core.batch_norm_statistics(rows, mean, variance, cache.workspace, mask=mask, **settings)
            inverse = 1 / np.sqrt(variance + self.eps)
            cache.saved["batch"] = mean, variance, number
            cache.saved["pass"] = rows, lengths, mask, mean, inverse, number
            _core.batch_norm_forward(rows, mean, self._times_weight(inverse), self._bias(), y, **settings)
        else:
            inverse, scale, shift = self._folded()
            cache.saved["batch"] = None
            if ctx.training:
                running = self.parameters["running_mean"].astype(np.float64)
                cache.saved["pass"] = rows, lengths, mask, running, inverse, 0
            mean.fill(0)
            _core.batch_norm_forward(rows, mean, scale, shift, y, **settings)
        return y.reshape(x.shape)

    def backward(self, dy: Array, ctx: PassContext, cache: LayerCache, need_dx: bool) -> Array | None:
        x, lengths, mask, mean, inverse, number = cache.saved["pass"]
        gradients = self.wanted_gradients
        dx = cache.buffers.get("dx", x.shape, ctx.dtype) if need_dx else None
        _core.batch_norm_backward(
            np.ascontiguousarray(dy).reshape(x.shape),
            x,
            mean,
            inverse,
            self.parameters.get("weight"),
            number,
            dx,
            gradients.get("weight"),
            gradients.get("bias"),
            cache.workspace,
            lengths=lengths,
            mask=mask,
            n_threads=ctx.n_threads,
        )
        self._average(cache)
        return None if dx is None else dx.reshape(dy.shape)

    def _average(self, cache: LayerCache) -> None:
        """Add the statistics of the last training pass to the running ones, once.

        Here and not in the forward pass, so that a pass whose loss was not finite, or that was interrupted, leaves no
        trace.
        """
        batch, cache.saved["batch"] = cache.saved["batch"], None
        if batch is None or not self.trainable:
            return
        mean, variance, number = batch
        moved = []
        for name, value in (("running_mean", mean), ("running_var", variance * (number / max(1, number - 1)))):
            running = self.parameters[name].astype(np.float64)
            running += self.momentum * (value - running)
            moved.append(running.astype(self.parameters[name].dtype))
        if all(np.isfinite(array).all() for array in moved):
            if number > 0:
                self.parameters["running_mean"][...] = moved[0]
            if number > 1:
                self.parameters["running_var"][...] = moved[1]

    def _times_weight(self, scale: Array) -> Array:
        weight = self.parameters.get("weight")
        return scale if weight is None else weight.astype(np.float64) * scale

    def _bias(self) -> Array:
        bias = self.parameters.get("bias")
        return np.zeros(self.size) if bias is None else bias.astype(np.float64)

    def _folded(self) -> tuple[Array, Array, Array]:
        """Return 1 / sqrt(running_var + eps), and scale and shift of the whole layer in inference, in float64."""
        variance = self.parameters["running_var"].astype(np.float64) + self.eps
        if (variance <= 0).any():
            raise ValueError(
                f"running_var of a BatchNorm holds {variance.min() - self.eps:.3g}, expected variances of at least 0: "
                "load the weights again, or set it"
            )
        inverse = 1 / np.sqrt(variance)
        scale = self._times_weight(inverse)
        return inverse, scale, self._bias() - self.parameters["running_mean"].astype(np.float64) * scale

    def stages(self) -> list[Stage]:
        _, scale, shift = self._folded()
        settings = {"eps": self.eps, "scale": scale, "shift": shift}
        return [Stage("batch_norm", self.size, dict(self.parameters), settings)]

    def get_config(self) -> dict[str, Any]:
        return {"momentum": self.momentum, **super().get_config()}
