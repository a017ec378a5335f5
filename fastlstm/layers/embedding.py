"""The layer that turns token ids into vectors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import _core
from .._checks import count
from .base import Array, Layer, LayerTape, ParameterSpec, Signal, Tape

__all__ = ["Embedding"]


class Embedding(Layer):
    """A table with one trainable vector for each token; the first layer of a model that reads integers.

    Parameters
    ----------
    num_embeddings : int
        Number of tokens; inputs are integers from 0 to num_embeddings - 1.
    embedding_dim : int
        Features of a token's vector.

    Notes
    -----
    Parameter: ``weight`` (num_embeddings, embedding_dim), as in ``torch.nn.Embedding``; it starts normal with standard
    deviation 1.

    Raises
    ------
    TypeError, ValueError
        If a size is not an integer of at least 1.
    """

    takes_tokens = True

    def __init__(self, num_embeddings: int, embedding_dim: int) -> None:
        super().__init__()
        self.num_embeddings = count("num_embeddings", num_embeddings)
        self.embedding_dim = count("embedding_dim", embedding_dim)

    def build(self, signal: Signal) -> Signal:
        if not signal.tokens:
            raise ValueError("an Embedding reads token ids: it must be the first layer")
        return Signal(self.embedding_dim, True)

    def parameter_specs(self) -> Iterator[ParameterSpec]:
        def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
            return rng.standard_normal(shape)

        yield ParameterSpec("weight", (self.num_embeddings, self.embedding_dim), normal)

    def forward(self, x: Array, tape: Tape, mine: LayerTape) -> Array:
        index = np.ascontiguousarray(x).reshape(-1)
        y = mine.buffers.get("y", (*x.shape, self.embedding_dim), tape.dtype)
        _core.embedding_forward(index, self.parameters["weight"], y.reshape(-1, self.embedding_dim), tape.n_threads)
        mine.saved["index"] = index if tape.training else None
        return y

    def backward(self, dy: Array, tape: Tape, mine: LayerTape, need_dx: bool) -> Array | None:
        _core.embedding_backward(
            mine.saved["index"], dy.reshape(-1, self.embedding_dim), self.gradients["weight"], tape.n_threads
        )
        return None

    def get_config(self) -> dict[str, Any]:
        return {"num_embeddings": self.num_embeddings, "embedding_dim": self.embedding_dim}
