"""Dropout between layers."""

from __future__ import annotations

from typing import Any

from .. import _core
from .._checks import below_one
from .base import Array, Layer, LayerTape, Signal, Tape

__all__ = ["Dropout"]


class Dropout(Layer):
    """Sets a share of its inputs to zero in training and scales the rest up (Srivastava et al. 2014).

    It does nothing in inference. Which elements are dropped depends on the model's seed, the number of the training
    step and the element's place, not on the number of threads.

    Parameters
    ----------
    p : float in [0, 1)
        Probability that an element is dropped.

    Raises
    ------
    TypeError, ValueError
        If p is not a number in [0, 1).
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = below_one("p", p)
        self.draws = self.p > 0

    def build(self, signal: Signal) -> Signal:
        if signal.tokens:
            raise ValueError("Dropout reads numbers and gets token ids: put it behind the fl.Embedding")
        return signal

    def forward(self, x: Array, tape: Tape, mine: LayerTape) -> Array:
        if not (tape.training and self.p):
            return x
        y = mine.buffers.get("y", x.shape, tape.dtype)
        _core.dropout(x, y, self.p, mine.seed, tape.n_threads)
        return y

    def backward(self, dy: Array, tape: Tape, mine: LayerTape, need_dx: bool) -> Array | None:
        if not (need_dx and self.p):
            return dy if need_dx else None
        dx = mine.buffers.get("dx", dy.shape, tape.dtype)
        _core.dropout(dy, dx, self.p, mine.seed, tape.n_threads)
        return dx

    def get_config(self) -> dict[str, Any]:
        return {"p": self.p}
