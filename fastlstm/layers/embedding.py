"""Embedding layer: vectors of token ids."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import _core
from .._checks import count
from .._draws import Draws
from .._typing import Array
from .base import Layer, ParameterSpec, Signal
from .context import LayerCache, PassContext
from .registry import register
from .stages import Stage

__all__ = ["Embedding"]


@register
class Embedding(Layer):
    """Table of one trainable vector for each token; the first layer of a model that reads integers.

    Parameters
    ----------
    num_embeddings : int
        Number of tokens; inputs are integers from 0 to num_embeddings - 1.
    embedding_dim : int
        Size of a token's vector.
    mask_token : int, optional
        Token whose steps the following LSTMs skip and the losses leave out, as described at `Masking`; 0 corresponds to
        Keras's ``mask_zero=True``.

    Raises
    ------
    TypeError, ValueError
        If a size is not an integer of at least 1, or mask_token is not a token of the table.

    Notes
    -----
    Parameter: ``weight`` (num_embeddings, embedding_dim), as in ``torch.nn.Embedding``; it is drawn from the standard
    normal distribution.

    Examples
    --------
    >>> import fastlstm as fl
    >>> model = fl.Model([fl.Embedding(1000, 16, mask_token=0), fl.LSTM(8), fl.Dense(2)])
    >>> model.forward([[5, 3, 0, 0]]).shape
    (1, 2)
    """

    takes_tokens = True

    def __init__(self, num_embeddings: int, embedding_dim: int, *, mask_token: int | None = None) -> None:
        super().__init__()
        self.num_embeddings = self.num_tokens = count("num_embeddings", num_embeddings)
        self.embedding_dim = count("embedding_dim", embedding_dim)
        self.mask_token = None if mask_token is None else count("mask_token", mask_token, least=0)
        if self.mask_token is not None and self.mask_token >= self.num_embeddings:
            raise ValueError(f"mask_token must be one of the tokens 0 to {num_embeddings - 1}, got {mask_token}")

        self.masks_steps = self.mask_token is not None

    def counts(self, x: Array) -> Array:
        return np.asarray(x != self.mask_token)

    def build(self, signal: Signal) -> Signal:
        if not signal.tokens:
            raise ValueError("an Embedding reads token ids: it must be the first layer")
        return Signal(self.embedding_dim, True)

    def parameter_specs(self) -> Iterator[ParameterSpec]:
        def normal(draws: Draws, shape: tuple[int, ...]) -> Array:
            return draws.standard_normal(shape)

        yield ParameterSpec("weight", (self.num_embeddings, self.embedding_dim), normal)

    def forward(self, x: Array, ctx: PassContext, cache: LayerCache) -> Array:
        if self.masks_steps:
            ctx.mask = self.counts(x) if cache.mask_in is None else cache.mask_in
        index = np.ascontiguousarray(x).reshape(-1)
        y = cache.buffers.get("y", (*x.shape, self.embedding_dim), ctx.dtype)
        _core.embedding_forward(index, self.parameters["weight"], y.reshape(-1, self.embedding_dim), ctx.n_threads)
        cache.saved["index"] = index if ctx.training else None
        return y

    def backward(self, dy: Array, ctx: PassContext, cache: LayerCache, need_dx: bool) -> Array | None:
        if self.trainable:
            _core.embedding_backward(
                cache.saved["index"], dy.reshape(-1, self.embedding_dim), self.gradients["weight"], ctx.n_threads
            )
        return None

    def stages(self) -> list[Stage]:
        settings = {"mask_token": self.mask_token}
        return [Stage("embedding", self.embedding_dim, dict(self.parameters), settings)]

    def get_config(self) -> dict[str, Any]:
        return {
            "num_embeddings": self.num_embeddings,
            "embedding_dim": self.embedding_dim,
            "mask_token": self.mask_token,
        }
