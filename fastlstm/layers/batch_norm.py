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
from .joined import Joining, JoiningLayer
from .norm import Norm, as_steps
from .registry import register
from .stages import Stage

__all__ = ["BatchNorm"]


@register
class BatchNorm(Norm, JoiningLayer):
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

    In a training pass a case depends on the other cases of its batch, unlike with all other layers; with
    ``fit(shards=)`` the statistics are those of the whole batch. Masked steps are normalised like others, but do not
    count in the statistics. A batch of one step alone has no variance: its normalised features are 0, and
    ``running_var`` stays as it is.

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
        if ctx.training and ctx.trainable and self.trainable:
            statistics = cache.saved["batch"] = self._measured(x, ctx, cache)
            return self._normalized(x, ctx, cache, *statistics)
        rows, lengths, mask = _steps_of(x, ctx)
        y = cache.buffers.get("y", rows.shape, ctx.dtype)
        inverse, scale, shift = self._folded()
        cache.saved["batch"] = None
        if ctx.training:
            running = self.parameters["running_mean"].astype(np.float64)
            cache.saved["pass"] = rows, lengths, mask, running, inverse, 0
        zero = np.zeros(self.size)
        _core.batch_norm_forward(rows, zero, scale, shift, y, lengths=lengths, n_threads=ctx.n_threads)
        return y.reshape(x.shape)

    def _measured(self, x: Array, ctx: PassContext, cache: LayerCache) -> tuple[Array, Array, int]:
        """Return mean and variance of the steps that count, and their number."""
        rows, lengths, mask = _steps_of(x, ctx)
        mean = cache.buffers.get("mean", (self.size,), np.float64)
        variance = cache.buffers.get("variance", (self.size,), np.float64)
        number = _core.batch_norm_statistics(
            rows, mean, variance, cache.workspace, mask=mask, lengths=lengths, n_threads=ctx.n_threads
        )
        return mean, variance, number

    def _normalized(
        self, x: Array, ctx: PassContext, cache: LayerCache, mean: Array, variance: Array, number: int
    ) -> Array:
        rows, lengths, mask = _steps_of(x, ctx)
        y = cache.buffers.get("y", rows.shape, ctx.dtype)
        inverse = 1 / np.sqrt(variance + self.eps)
        cache.saved["pass"] = rows, lengths, mask, mean, inverse, number
        scale = self._times_weight(inverse)
        _core.batch_norm_forward(rows, mean, scale, self._bias(), y, lengths=lengths, n_threads=ctx.n_threads)
        return y.reshape(x.shape)

    def backward(self, dy: Array, ctx: PassContext, cache: LayerCache, need_dx: bool) -> Array | None:
        gradients, number = self.wanted_gradients, cache.saved["pass"][-1]
        dx = self._back(dy, ctx, cache, need_dx, number, gradients.get("weight"), gradients.get("bias"))
        batch, cache.saved["batch"] = cache.saved["batch"], None
        if batch is not None and self.trainable:
            self._average(*batch)
        return dx

    def _back(
        self,
        dy: Array,
        ctx: PassContext,
        cache: LayerCache,
        need_dx: bool,
        number: int,
        d_weight: Array | None,
        d_bias: Array | None,
    ) -> Array | None:
        """Compute the gradients; `number` is 0 if mean and scale are constants."""
        x, lengths, mask, mean, inverse, _ = cache.saved["pass"]
        dx = cache.buffers.get("dx", x.shape, ctx.dtype) if need_dx else None
        _core.batch_norm_backward(
            np.ascontiguousarray(dy).reshape(x.shape),
            x,
            mean,
            inverse,
            self.parameters.get("weight"),
            number,
            dx,
            d_weight,
            d_bias,
            cache.workspace,
            lengths=lengths,
            mask=mask,
            n_threads=ctx.n_threads,
        )
        return None if dx is None else dx.reshape(dy.shape)

    # ------------------------------------------------------------------------------------ parts of a batch

    def forward_joined(self, x: Array, ctx: PassContext, cache: LayerCache) -> Joining[Array]:
        mean, variance, number = self._measured(x, ctx, cache)
        parts = yield mean.copy(), variance.copy(), number
        cache.saved["batch"] = None
        return self._normalized(x, ctx, cache, *_of_all(parts))

    def backward_joined(self, dy: Array, ctx: PassContext, cache: LayerCache, need_dx: bool) -> Joining[Array | None]:
        rows, lengths, mask, mean, inverse, number = cache.saved["pass"]
        sums = cache.buffers.get("sums", (2, self.size), ctx.dtype)  # of dy times the normalised x, and of dy
        sums.fill(0)
        dx = self._back(dy, ctx, cache, need_dx, 0, sums[0], sums[1])
        for name, own in zip(("weight", "bias"), sums, strict=True):
            gradient = self.wanted_gradients.get(name)
            if gradient is not None:
                gradient += own
        parts = yield sums.astype(np.float64)
        if dx is None or not number:
            return dx
        # dx is that of constant statistics; what is subtracted is linear in x.
        of_normed, of_dy = np.add.accumulate(parts)[-1] * (self._times_weight(inverse) / number)
        through = cache.buffers.get("through", rows.shape, ctx.dtype)
        slope = of_normed * inverse
        _core.batch_norm_forward(rows, mean, slope, of_dy, through, lengths=lengths, n_threads=ctx.n_threads)
        if mask is not None:
            through[~mask] = 0
        dx -= through.reshape(dx.shape)
        return dx

    def learn_statistics(self, parts: list[Any]) -> None:
        self._average(*_of_all(parts))

    # ------------------------------------------------------------------------------------ running statistics

    def _average(self, mean: Array, variance: Array, number: int) -> None:
        """Add the statistics of a training pass to the running ones.

        After the backward pass and not in the forward pass, so that a pass whose loss was not finite, or that was
        interrupted, leaves no trace.
        """
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


def _steps_of(x: Array, ctx: PassContext) -> tuple[Array, Array | None, Array | None]:
    """Return x as the kernels read it, with its lengths and the mask of its steps."""
    if x.ndim == 2:
        return as_steps(x), None, None
    return as_steps(x), ctx.lengths, None if ctx.mask is None else np.ascontiguousarray(ctx.mask)


def _of_all(parts: list[tuple[Array, Array, int]]) -> tuple[Array, Array, int]:
    """Return mean, variance and number of values from those of parts (Chan et al. 1979, STAN-CS-79-773)."""
    mean, squares, number = np.zeros(1), np.zeros(1), 0
    for of_mean, of_variance, count in parts:
        if count:
            together = number + count
            delta = of_mean - mean
            squares = squares + of_variance * count + delta**2 * (number * count / together)
            mean, number = mean + delta * (count / together), together
    return mean, squares / max(1, number), number
