"""Dropout between layers."""

from __future__ import annotations

from typing import Any

from .. import _core
from .._checks import below_one
from .base import Array, Layer, LayerTape, Signal, Tape

__all__ = ["Dropout", "dropout_seed"]

_MASK = 2**64 - 1


def dropout_seed(*parts: int) -> int:
    """One 64-bit seed out of several numbers, by the finalizer of SplitMix64 (Steele, Lea & Flood 2014)."""
    seed = 0
    for part in parts:
        z = (seed + part + 0x9E3779B97F4A7C15) & _MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        seed = z ^ (z >> 31)
    return seed


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
