"""Decoders that run step by step, with their states in the hands of the caller."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .._arrays import as_array
from .._typing import Array, State
from ..layers import checked_states
from .decoding import Decoder
from .network import Encoded, PairNetwork

__all__ = ["DecoderStream"]


class DecoderStream:
    """A decoder that is given one token at a time, for several sources side by side; made by `EncoderDecoder.stream`.

    Do not train the model while a stream of it is in use.

    Attributes
    ----------
    batch_size : int
        Number of sources.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> model = fl.EncoderDecoder(
    ...     [fl.Embedding(9, 4), fl.LSTM(8, return_sequences=True)],
    ...     [fl.Embedding(7, 4), fl.LSTM(8, return_sequences=True), fl.LuongAttention(), fl.Dense(7)],
    ... )
    >>> stream = model.stream([[3, 4, 5]])
    >>> scores = [stream.step([token])[0] for token in (model.bos, 2, 6)]
    >>> np.array_equal(scores, model.forward([[3, 4, 5]], [[2, 6]])[0])
    True
    """

    def __init__(self, network: PairNetwork, encoded: Encoded, n_threads: int | None) -> None:
        self._network = network
        self._decoder = Decoder(network, n_threads)
        self._begin = encoded
        self._states = encoded.states
        self.batch_size = encoded.states[0][0].shape[1]

    def step(self, tokens: npt.ArrayLike) -> Array:
        """Read a token of each target, the model's ``bos`` first; return the scores of the tokens that may follow.

        Parameters
        ----------
        tokens : int array (batch_size,)

        Returns
        -------
        ndarray, shape (batch_size, number of tokens)
            Scores (logits), of which the softmax are the probabilities: the bits of `EncoderDecoder.forward` at this
            step, if the decoder ends with scores.

        Raises
        ------
        TypeError, ValueError
            If there is not one token of the decoder's table for each source.
        """
        given = as_array(tokens, "tokens")
        if given.shape != (self.batch_size,) or given.dtype.kind not in "iu":
            raise ValueError(
                f"tokens have shape {given.shape} and type {given.dtype}, expected {self.batch_size} integers, one "
                "for each source"
            )
        limit = self._network.num_tokens
        wrong = np.flatnonzero((given < 0) | (given >= limit))
        if len(wrong):
            raise ValueError(f"tokens hold {given[wrong[0]]}, expected ids in [0, {limit})")
        encoded = Encoded(self._states, self._begin.memory)
        scores, self._states = self._decoder.step(given.astype(np.int64), encoded)
        own: Array = scores.copy()
        return own

    @property
    def state(self) -> list[State]:
        """The states (h, c) after the last step, copies, for each LSTM object of the decoder; it can be set."""
        return [(h.copy(), c.copy()) for h, c in self._states]

    @state.setter
    def state(self, value: Sequence[State]) -> None:
        dtype = self._network.dtype
        expected = [(h.shape, c.shape, dtype) for h, c in self._states]
        self._states = [(h.copy(), c.copy()) for h, c in checked_states(value, expected, "LSTM objects")]

    def reset(self) -> None:
        """Go back to the beginning of the targets."""
        self._states = self._begin.states
