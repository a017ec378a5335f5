"""Pooling layers: one vector from the valid steps of each case."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from .. import _core, _exact
from .._checks import count
from .._draws import Draws
from .._typing import Array
from ..activations import TANH
from .base import Layer, ParameterSpec, Signal
from .context import LayerCache, PassContext
from .registry import register
from .stages import Stage, StageState

__all__ = ["AttentionPool", "LastStep", "MaxPool", "MeanPool", "Pool"]


class Pool(Layer):
    """Base of the pooling layers, from (batch, time, features) to (batch, features)."""

    kind: ClassVar[str]
    """Name of the method in ``csrc/kernels/pooling.h``, if it is one method."""
    supports_mask = True

    def __init__(self) -> None:
        super().__init__()
        self.size = 0

    def build(self, signal: Signal) -> Signal:
        signal.require_numbers(self)
        if not signal.per_step:
            raise ValueError(
                f"{type(self).__name__} reads every step and gets one vector for each case: set return_sequences=True "
                "in the LSTM before it"
            )
        self.size = signal.features
        return Signal(signal.features, False)

    def forward(self, x: Array, ctx: PassContext, cache: LayerCache) -> Array:
        arrays = self._method_arrays(x, ctx, cache)
        y = self._pooled(self.kind, x, ctx, cache, arrays)
        cache.saved["pass"] = (x, y, arrays) if ctx.training else None
        return y

    def _pooled(self, kind: str, x: Array, ctx: PassContext, cache: LayerCache, arrays: dict[str, Array]) -> Array:
        """Return the result of one method, (batch, size), in a buffer of its own for each method."""
        y = cache.buffers.get(kind, (len(x), self.size), ctx.dtype)
        sums = cache.buffers.get("sums", (len(x), self.size), np.float64)
        counts = cache.buffers.get("counts", (len(x), _core.POOL_COUNTS), np.float64)
        sums.fill(0)
        counts.fill(0)
        _core.pool_forward(kind, x, counts, sums, y, lengths=ctx.lengths, n_threads=ctx.n_threads, **arrays)
        return y

    def backward(self, dy: Array, ctx: PassContext, cache: LayerCache, need_dx: bool) -> Array | None:
        if not need_dx:
            return None
        x, y, arrays = cache.saved["pass"]
        dx = cache.buffers.get("dx", x.shape, ctx.dtype)
        _core.pool_backward(
            self.kind, x, y, np.ascontiguousarray(dy), dx, lengths=ctx.lengths, n_threads=ctx.n_threads, **arrays
        )
        return dx

    def _method_arrays(self, x: Array, ctx: PassContext, cache: LayerCache) -> dict[str, Array]:
        """Return further arrays that the kernels need, by argument name."""
        return {}

    def stages(self) -> list[Stage]:
        return [self._pool_stage()]

    def _pool_stage(self) -> Stage:
        states = (
            StageState("sums", self.size, dtype="float64"),
            StageState("counts", _core.POOL_COUNTS, dtype="float64"),
        )
        return Stage("pool", self.size, settings={"method": self.kind}, states=states)

    def get_config(self) -> dict[str, Any]:
        return {}


@register
class LastStep(Pool):
    """Return the last valid step of each case.

    After a one-directional LSTM with ``return_sequences=True`` the result is that of ``return_sequences=False``; other
    layers that work step by step can be put in between.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> X = np.array([[1.0, 2.0, 6.0], [4.0, 5.0, 0.0]])[:, :, None]
    >>> fl.Model([fl.LastStep()], input_size=1).forward(X, lengths=[3, 2])[:, 0].tolist()
    [6.0, 5.0]
    """

    kind = "last"
    commutes_with = ("sigmoid", "softmax")

    def stages(self) -> list[Stage]:
        return [Stage("pool", self.size, settings={"method": self.kind})]


@register
class MeanPool(Pool):
    """Return the mean over the valid steps of each case, summed in float64.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> X = np.array([[1.0, 2.0, 6.0], [4.0, 5.0, 0.0]])[:, :, None]
    >>> fl.Model([fl.MeanPool()], input_size=1).forward(X, lengths=[3, 2])[:, 0].tolist()
    [3.0, 4.5]
    """

    kind = "mean"
    keeps_probabilities = True


@register
class MaxPool(Pool):
    """Return the maximum of each feature over the valid steps of each case.

    The gradient goes to the first step that has the maximum.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> X = np.array([[1.0, 2.0, 6.0], [4.0, 5.0, 9.0]])[:, :, None]
    >>> fl.Model([fl.MaxPool()], input_size=1).forward(X, lengths=[3, 2])[:, 0].tolist()
    [6.0, 5.0]
    """

    kind = "max"
    commutes_with = ("sigmoid",)  # which increases

    def _method_arrays(self, x: Array, ctx: PassContext, cache: LayerCache) -> dict[str, Array]:
        return {"index": cache.buffers.get("index", (len(x), self.size), np.int64)} if ctx.training else {}


@register
class AttentionPool(Pool):
    """Return a weighted mean of the valid steps of each case, with weights computed from the steps by attention.

    The weights are the softmax, over the valid steps of a case, of the scores ``vector . tanh(weight x_t + bias)``:
    additive attention (Bahdanau, Cho & Bengio 2015) without a query (Raffel & Ellis 2016).

    Parameters
    ----------
    size : int
        Size of the hidden vector from which the score is computed.

    Raises
    ------
    TypeError, ValueError
        If size is not an integer of at least 1.

    Notes
    -----
    Parameters: ``weight`` (size, features), ``bias`` (size,), ``vector`` (size,). The first two are drawn uniformly
    from +-1/sqrt(features), the last from +-1/sqrt(size).

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> model = fl.Model([fl.LSTM(8, return_sequences=True), fl.AttentionPool(4), fl.Dense(3)], input_size=2)
    >>> model.forward(np.zeros((5, 10, 2))).shape
    (5, 3)
    """

    kind = "attention"
    keeps_probabilities = True

    def __init__(self, size: int) -> None:
        super().__init__()
        self.attention_size = count("size", size)

    def parameter_specs(self) -> Iterator[ParameterSpec]:
        def uniform(draws: Draws, shape: tuple[int, ...]) -> Array:
            return draws.uniform(-1, 1, shape) / math.sqrt(self.size)

        def uniform_vector(draws: Draws, shape: tuple[int, ...]) -> Array:
            return draws.uniform(-1, 1, shape) / math.sqrt(self.attention_size)

        yield ParameterSpec("weight", (self.attention_size, self.size), uniform)
        yield ParameterSpec("bias", (self.attention_size,), uniform)
        yield ParameterSpec("vector", (self.attention_size,), uniform_vector)

    def _workspaces(self, cache: LayerCache) -> tuple[_core.Workspace, _core.Workspace]:
        """Return the workspaces of the products with `weight` and with `vector`."""
        pair: tuple[_core.Workspace, _core.Workspace] | None = cache.saved.get("workspaces")
        if pair is None:
            pair = cache.saved["workspaces"] = _core.Workspace(), _core.Workspace()
        return pair

    def _method_arrays(self, x: Array, ctx: PassContext, cache: LayerCache) -> dict[str, Array]:
        batch, time = x.shape[:2]
        rows, size, buffers = batch * time, self.attention_size, cache.buffers
        first, second = self._workspaces(cache)
        z = buffers.get("z", (rows, size), ctx.dtype)
        u = buffers.get("u", (rows, size), ctx.dtype)
        scores = buffers.get("scores", (batch, time), ctx.dtype)
        weight, bias, vector = self.parameters["weight"], self.parameters["bias"], self.parameters["vector"]
        _core.dense_forward(x.reshape(rows, self.size), weight, bias, z, first, ctx.n_threads, ctx.packed)
        _core.activation(TANH.number, 0.0, 0.0, z, u, ctx.n_threads)
        column = scores.reshape(rows, 1)
        _core.dense_forward(u, vector.reshape(1, size), None, column, second, ctx.n_threads, ctx.packed)
        cache.saved["scores"] = scores, ctx.lengths
        if not ctx.training:
            return {"scores": scores}
        return {"scores": scores, "weights": buffers.get("weights", (batch, time), ctx.dtype)}

    def attention_weights(self, cache: LayerCache) -> Array:
        """Return the weights of the steps in the last pass, float64 (batch, time); 0 for padding and masked steps."""
        scores, lengths = cache.saved["scores"]
        valid = np.ones(scores.shape, bool)
        if lengths is not None:
            valid &= np.arange(scores.shape[1]) < lengths[:, None]
        logits = np.where(valid, scores.astype(np.float64), -np.inf)
        highest = logits.max(axis=1, keepdims=True, initial=-np.inf)
        powers = _exact.exp(logits - np.where(np.isfinite(highest), highest, 0))
        sums = _exact.row_sums(powers)[:, None]
        packed: Array = powers / np.where(sums > 0, sums, 1)  # a series without valid steps has no weights
        steps = cache.masked_steps
        if steps is None:
            return packed
        weights = np.zeros(steps.valid.shape)
        weights[steps.valid] = packed[steps.packed]
        return weights

    def backward(self, dy: Array, ctx: PassContext, cache: LayerCache, need_dx: bool) -> Array | None:
        x, y, arrays = cache.saved["pass"]
        batch, time = x.shape[:2]
        rows, size, buffers, gradients = batch * time, self.attention_size, cache.buffers, self.wanted_gradients
        first, second = self._workspaces(cache)
        z = buffers.get("z", (rows, size), ctx.dtype)
        u = buffers.get("u", (rows, size), ctx.dtype)
        du = buffers.get("du", (rows, size), ctx.dtype)
        dscores = buffers.get("dscores", (batch, time), ctx.dtype)
        dx = buffers.get("dx", x.shape, ctx.dtype) if need_dx else None
        _core.pool_backward(
            self.kind,
            x,
            y,
            np.ascontiguousarray(dy),
            dx,
            lengths=ctx.lengths,
            dscores=dscores,
            n_threads=ctx.n_threads,
            **arrays,
        )
        _core.dense_backward(
            dscores.reshape(rows, 1),
            u,
            self.parameters["vector"].reshape(1, size),
            du,
            gradients["vector"].reshape(1, size) if gradients else None,
            None,
            second,
            ctx.n_threads,
        )
        _core.activation_backward(TANH.number, 0.0, 0.0, z, u, du, du, ctx.n_threads)
        by_scores = buffers.get("dx by the scores", (rows, self.size), ctx.dtype) if need_dx else None
        _core.dense_backward(
            du,
            x.reshape(rows, self.size),
            self.parameters["weight"],
            by_scores,
            gradients.get("weight"),
            gradients.get("bias"),
            first,
            ctx.n_threads,
        )
        if dx is not None and by_scores is not None:
            dx += by_scores.reshape(x.shape)
        return dx

    def stages(self) -> list[Stage]:
        parameters = self.parameters
        return [
            Stage("dense", self.attention_size, {name: parameters[name] for name in ("weight", "bias")}),
            Stage("activation", self.attention_size, settings={"function": TANH}),
            Stage("dense", 1, {"weight": parameters["vector"].reshape(1, -1)}),
            self._pool_stage()._replace(main=0, side={"scores": 3}),
        ]

    def get_config(self) -> dict[str, Any]:
        return {"size": self.attention_size}
