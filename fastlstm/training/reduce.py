"""Shards of a batch, and the fixed tree in which their gradients and sums are added."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np

from .._typing import Array
from ..data.parted import Exchange
from ..runtime.buffers import Buffers

__all__ = ["Reduce", "Sums", "add_mean", "shard_bounds"]


class Sums(NamedTuple):
    """Sums over the positions of a batch, or of a part of it."""

    loss: float = 0.0
    weight: float = 0.0
    positions: float = 0.0
    """Number of positions that count; 0 if the run does not need it."""
    metric: float = 0.0
    metric_weight: float = 0.0
    interrupted: float = 0.0
    """Above 0 if Ctrl-C was noted."""

    def plus(self, other: Sums) -> Sums:
        """Return the sums of two parts together."""
        return Sums(*(a + b for a, b in zip(self, other, strict=True)))


def shard_bounds(rows: int, shards: int, index: int) -> tuple[int, int]:
    """Return the first row of a shard and the one after its last: sizes differ by at most 1, and may be 0."""
    return rows * index // shards, rows * (index + 1) // shards


class Reduce:
    """Sum over the shards of a batch, up a tree that depends on their number alone.

    A node of the tree stands for some consecutive shards, and its children for the first half of them and the rest. It
    has the gradient of the mean loss of its shards: the mean of its children's, weighted by their weights.

    Parameters
    ----------
    shards : int

    Attributes
    ----------
    rank : int
        Number of this process among those of the run, 0 if it is the only one. Rank 0 prints and writes.
    size : int
        Number of these processes.
    """

    rank = 0
    size = 1
    sends_early = False
    """Whether to add gradients while others are still computed, if each process has one shard."""
    exchange: Exchange | None = None
    """Messages to and from the other processes; None if there are none."""

    @property
    def alone(self) -> bool:
        """Whether this process is the only one."""
        return self.size == 1

    def __init__(self, shards: int) -> None:
        self.shards = shards
        self._buffers = Buffers()

    def __call__(self, compute: Callable[[int], Sums], gradients: Array) -> Sums:
        """Compute all shards; return their sums, and leave the gradient of the mean loss in `gradients`.

        `compute` leaves the gradient of one shard in `gradients`, unless the weight of the shard is 0. That of several
        shards whose weight is 0 is undefined.
        """
        return self._node(0, self.shards, compute, gradients)

    def _node(self, begin: int, end: int, compute: Callable[[int], Sums], gradients: Array) -> Sums:
        if end - begin == 1:
            return compute(begin)
        middle = (begin + end) // 2
        first = self._node(begin, middle, compute, gradients)
        kept = self._kept(end - begin, gradients)
        np.copyto(kept, gradients)
        second = self._node(middle, end, compute, gradients)
        add_mean(gradients, second.weight, kept, first.weight)
        return first.plus(second)

    @property
    def shards_here(self) -> range:
        """The shards that this process computes."""
        return range(self.shards)

    def rows(self, count: int) -> tuple[int, int]:
        """Return the first row of this process's shards in a batch of `count` cases, and the one after the last."""
        return 0, count

    def largest(self, number: int) -> int:
        """Return the largest of the numbers that the processes give."""
        return number

    def early_sum(self, sums: Sums) -> Callable[[int], None] | None:
        """Begin to add, if gradients are added early; return a function to say from which element on they are known.

        `sums` are those of the shard whose gradient is computed next.
        """
        return None

    def joined(self, parts: dict[int, Any]) -> dict[int, Any]:
        """Return the entries of all processes together."""
        return parts

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in any process."""
        return flag

    def together(self) -> AbstractContextManager[None]:
        """Return a context that all processes leave together: if one leaves it by an exception, all do."""
        return nullcontext()

    def agree(self, described: dict[str, Any]) -> None:
        """Check that all processes begin the run that is described; raise ValueError if not."""

    def _kept(self, shards: int, gradients: Array) -> Array:
        """Return the buffer of a node of this number of shards, of which there is one on the way to any shard."""
        return self._buffers.get(f"of {shards}", gradients.shape, gradients.dtype)


def add_mean(gradients: Array, weight: float, first: Array, first_weight: float) -> None:
    """Replace gradients by the weighted mean of `first`, which is overwritten, and them."""
    if first_weight == 0:
        return
    if weight == 0:
        np.copyto(gradients, first)
        return
    # Shares of at most 1, so that no weight overflows the dtype of the gradients.
    np.multiply(first, first_weight / (first_weight + weight), out=first)
    np.multiply(gradients, weight / (first_weight + weight), out=gradients)
    np.add(first, gradients, out=gradients)
