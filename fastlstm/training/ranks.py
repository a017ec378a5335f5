"""Shards shared out to the processes (ranks) of an MPI communicator.

Rank r of R computes the shards from ``r * k // R`` to ``(r + 1) * k // R`` of k. A node of the tree whose children
belong to two ranks is computed by the rank of its first shard, which receives the other child. So each node is the same
sum of the same numbers, whatever R is, and the root goes to all ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .._checks import short_repr
from .._typing import Array
from .messages import Communicator, Messages
from .reduce import Reduce, Sums, add_mean, shard_bounds

__all__ = ["Ranks", "checked_communicator"]

_METHODS = ("Get_rank", "Get_size", "Isend", "Irecv", "Iprobe", "Abort")


def checked_communicator(communicator: Any, shards: int) -> Communicator | None:
    """Return the communicator, None if there is none; raise TypeError or ValueError if it does not fit."""
    if communicator is None:
        return None
    if not all(callable(getattr(communicator, name, None)) for name in _METHODS):
        raise TypeError(
            "communicator must be an mpi4py communicator such as MPI.COMM_WORLD (from mpi4py import MPI), got "
            f"{short_repr(communicator)}"
        )
    size = communicator.Get_size()
    if shards < size:
        raise ValueError(
            f"shards={shards} leaves some of the {size} processes of the communicator without work: give "
            f"shards={size} or more, for example {max(8, size)}; the result depends on shards, not on the processes"
        )
    checked: Communicator = communicator
    return checked


class Ranks(Reduce):
    """Sum over the shards of a batch that the processes of a communicator have computed.

    Parameters
    ----------
    shards : int
    communicator : Communicator
        All its processes call the same methods in the same order.
    deadline : float
        Seconds that a process waits for another one.
    """

    def __init__(self, shards: int, communicator: Communicator, deadline: float) -> None:
        super().__init__(shards)
        self._messages = Messages(communicator, deadline)
        self.rank, self._size = self._messages.rank, self._messages.size
        self.alone = self._size == 1
        bounds = [shard_bounds(shards, self._size, rank) for rank in range(self._size)]
        self._rank_of = [rank for rank, (begin, end) in enumerate(bounds) for _ in range(begin, end)]

    def __call__(self, compute: Callable[[int], Sums], gradients: Array) -> Sums:
        packed = np.array(super().__call__(compute, gradients))
        self._messages.broadcast(packed, self._rank_of[0])
        sums = Sums(*packed.tolist())
        if sums.weight > 0:
            self._messages.broadcast(gradients, self._rank_of[0])
        return sums

    def _node(self, begin: int, end: int, compute: Callable[[int], Sums], gradients: Array) -> Sums:
        first_rank, last_rank = self._rank_of[begin], self._rank_of[end - 1]
        if not first_rank <= self.rank <= last_rank:
            return Sums()
        middle = (begin + end) // 2
        if first_rank == last_rank or self._rank_of[middle] == first_rank:
            return super()._node(begin, end, compute, gradients)
        sums = self._node(begin, middle, compute, gradients)
        second = self._node(middle, end, compute, gradients)
        second_rank = self._rank_of[middle]
        if self.rank == second_rank:
            self._messages.send(np.array(second), first_rank)
            self._messages.send(gradients, first_rank)
        elif self.rank == first_rank:
            packed, received = np.empty(len(second)), self._kept(end - begin, gradients)
            self._messages.receive(packed, second_rank)
            self._messages.receive(received, second_rank)
            second = Sums(*packed.tolist())
            add_mean(gradients, sums.weight, received, second.weight)
            return sums.plus(second)
        return Sums()

    def joined(self, parts: dict[int, Any]) -> dict[int, Any]:
        return {key: value for of_rank in self._messages.gather(parts) for key, value in of_rank.items()}

    def any(self, flag: bool) -> bool:
        return any(self._messages.gather(flag))

    @contextmanager
    def together(self) -> Iterator[None]:
        try:
            yield
            self._messages.gather(None)  # so that no process leaves while another one can still fail
        except BaseException as error:
            told = self._messages.end(error)
            if told is None:
                raise
            raise told from None

    def agree(self, described: dict[str, Any]) -> None:
        found = self._messages.gather(described)
        for rank, other in enumerate(found):
            for name, value in found[0].items():
                if other.get(name) != value:
                    raise ValueError(
                        "the processes of the communicator must train the same model in the same way, and "
                        f"{name} differs between rank 0 and rank {rank}: {short_repr(value)} and "
                        f"{short_repr(other.get(name))}; give all ranks the same data and arguments"
                    )
