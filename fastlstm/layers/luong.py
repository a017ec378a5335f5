"""Attention of a decoder over the steps of its encoder."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import _core
from .._checks import one_of
from .._typing import Array
from .base import Layer, ParameterSpec, Signal
from .context import LayerCache, PassContext
from .initializers import initializer
from .memory import Memory
from .registry import register

__all__ = ["LuongAttention"]


@register
class LuongAttention(Layer):
    """Attention of a decoder over the valid steps of its encoder (Luong, Pham & Manning 2015).

    For each step of the decoder, with features h, the context c is the mean of the encoder's outputs s_i weighted by
    the softmax of their scores over the valid steps; the output is c followed by h. The paper's attentional vector
    ``tanh(W [c; h])`` is a `Dense` and an ``Activation("tanh")`` after this layer. It belongs in the decoder of an
    `EncoderDecoder`, after the last LSTM, so that whole target sequences are computed at once.

    Parameters
    ----------
    score : {"general", "dot"}, default "general"
        ``h . W s_i`` with a matrix that is learnt, or ``h . s_i``, for which the encoder's outputs must have as many
        features as the decoder's.

    Raises
    ------
    TypeError, ValueError
        If there is no such score. When the model is built, if there is no encoder, or the sizes do not fit.

    Notes
    -----
    Parameter of ``"general"``: ``weight`` (decoder features, encoder features), drawn uniformly from +-1/sqrt(encoder
    features).

    Examples
    --------
    >>> import fastlstm as fl
    >>> decoder = [fl.Embedding(12, 8), fl.LSTM(16, return_sequences=True), fl.LuongAttention(), fl.Dense(12)]
    >>> model = fl.EncoderDecoder([fl.Embedding(20, 8), fl.LSTM(16, return_sequences=True)], decoder)
    >>> model.parameters()["decoder.2.weight"].shape
    (16, 16)
    """

    def __init__(self, score: str = "general") -> None:
        super().__init__()
        self.score = one_of("score", score, ("general", "dot"))
        self.size = 0
        self.memory_size = 0

    def build(self, signal: Signal) -> Signal:
        if signal.memory is None:
            raise ValueError(
                "LuongAttention reads the outputs of an encoder: put it into the decoder of an fl.EncoderDecoder whose "
                "encoder has an output at each step (return_sequences=True); fl.AttentionPool needs no encoder"
            )
        if signal.tokens:
            raise ValueError("LuongAttention reads numbers and gets token ids: put it after the LSTM")
        if not signal.per_step:
            raise ValueError(
                "LuongAttention reads every step of the decoder and gets one vector for each case: set "
                "return_sequences=True in the LSTM before it"
            )
        if self.score == "dot" and signal.memory != signal.features:
            raise ValueError(
                f'LuongAttention("dot") needs as many features in the encoder as in the decoder, got {signal.memory} '
                f"and {signal.features}: use score='general', or change a size"
            )
        self.size, self.memory_size = signal.features, signal.memory
        return Signal(self.memory_size + self.size, True)

    def parameter_specs(self) -> Iterator[ParameterSpec]:
        if self.score == "general":
            bound = 1 / math.sqrt(self.memory_size)
            yield ParameterSpec("weight", (self.size, self.memory_size), initializer("uniform", bound))

    def forward(self, x: Array, ctx: PassContext, cache: LayerCache) -> Array:
        memory, buffers = ctx.memory, cache.buffers
        assert memory is not None
        cases, time = memory.values.shape[:2]
        query = x.reshape(cases, -1, self.size)  # rows that share the memory of their case
        queries = query.shape[1]
        keys = self._keys(memory, ctx, cache)
        weights = buffers.get("weights", (cases, queries, time), ctx.dtype)
        context = buffers.get("context", (cases, queries, self.memory_size), ctx.dtype)
        _core.attention_forward(
            query,
            keys,
            memory.values,
            weights,
            context,
            lengths=memory.lengths,
            query_lengths=ctx.lengths,
            n_threads=ctx.n_threads,
        )
        y = buffers.get("y", (*x.shape[:2], self.memory_size + self.size), ctx.dtype)
        y[..., : self.memory_size] = context.reshape(*x.shape[:2], -1)
        y[..., self.memory_size :] = x
        cache.saved["weights"] = weights
        cache.saved["pass"] = (query, keys, memory) if ctx.training else None
        return y

    def _keys(self, memory: Memory, ctx: PassContext, cache: LayerCache) -> Array:
        """Return what the queries are compared with, (cases, steps, size), computed once for each memory."""
        if self.score == "dot":
            return memory.values
        keys = memory.keys.get(id(self))
        if keys is None:
            shape = (*memory.values.shape[:2], self.size)
            # A pass in training is followed by others of the same shapes; other memories may live longer.
            keys = cache.buffers.get("keys", shape, ctx.dtype) if ctx.training else np.empty(shape, ctx.dtype)
            memory.keys[id(self)] = keys
            _core.dense_forward(
                memory.values.reshape(-1, self.memory_size),
                self.parameters["weight"],
                None,
                keys.reshape(-1, self.size),
                cache.workspace,
                ctx.n_threads,
                ctx.packed,
            )
        return keys

    def backward(self, dy: Array, ctx: PassContext, cache: LayerCache, need_dx: bool) -> Array | None:
        query, keys, memory = cache.saved["pass"]
        buffers, gradients, weights = cache.buffers, self.wanted_gradients, cache.saved["weights"]
        d_context = buffers.get("d_context", (*dy.shape[:2], self.memory_size), ctx.dtype)
        np.copyto(d_context, dy[..., : self.memory_size])
        d_query = buffers.get("d_query", query.shape, ctx.dtype)
        d_keys = buffers.get("d_keys", keys.shape, ctx.dtype)
        d_values = buffers.get("d_values", memory.values.shape, ctx.dtype)
        _core.attention_backward(
            d_context,
            query,
            keys,
            memory.values,
            weights,
            buffers.get("d_scores", weights.shape, ctx.dtype),
            d_query,
            d_keys,
            d_values,
            lengths=memory.lengths,
            query_lengths=ctx.lengths,
            n_threads=ctx.n_threads,
        )
        if self.score == "dot":
            d_values += d_keys
        else:
            by_keys = buffers.get("d_values by the keys", memory.values.shape, ctx.dtype)
            _core.dense_backward(
                d_keys.reshape(-1, self.size),
                memory.values.reshape(-1, self.memory_size),
                self.parameters["weight"],
                by_keys.reshape(-1, self.memory_size),
                gradients.get("weight"),
                None,
                cache.workspace,
                ctx.n_threads,
            )
            d_values += by_keys
        memory.add_gradient(d_values)
        if not need_dx:
            return None
        d_query += dy[..., self.memory_size :]
        return d_query

    def get_config(self) -> dict[str, Any]:
        return {"score": self.score}
