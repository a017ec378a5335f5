"""Shards shared out to the processes (ranks) of an MPI communicator.

Rank r of R computes the shards from ``r * k // R`` to ``(r + 1) * k // R`` of k. A node of the tree whose children
belong to two ranks is computed by the rank of its first shard, which receives the other child. So each node is the same
sum of the same numbers, whatever R is, and the root goes to all ranks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from .._checks import short_repr
from .._typing import Array
from .reduce import Reduce, Sums, add_mean, shard_bounds

__all__ = ["Communicator", "Ranks", "checked_communicator"]


class Communicator(Protocol):
    """What training uses of an ``mpi4py.MPI.Comm``."""

    def Get_rank(self) -> int:
        """Return the number of this process."""

    def Get_size(self) -> int:
        """Return the number of processes."""

    def Send(self, buf: Any, dest: int) -> None:
        """Send an array."""

    def Recv(self, buf: Any, source: int) -> Any:
        """Receive an array."""

    def Bcast(self, buf: Any, root: int) -> None:
        """Give the array of one process to all."""

    def allgather(self, sendobj: Any) -> list[Any]:
        """Return an object of each process, by rank."""


_METHODS = ("Get_rank", "Get_size", "Send", "Recv", "Bcast", "allgather")


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
    """

    def __init__(self, shards: int, communicator: Communicator) -> None:
        super().__init__(shards)
        self._communicator = communicator
        self.rank, self._size = communicator.Get_rank(), communicator.Get_size()
        bounds = [shard_bounds(shards, self._size, rank) for rank in range(self._size)]
        self._rank_of = [rank for rank, (begin, end) in enumerate(bounds) for _ in range(begin, end)]

    def __call__(self, compute: Callable[[int], Sums], gradients: Array) -> Sums:
        packed = np.array(super().__call__(compute, gradients))
        self._communicator.Bcast(packed, root=self._rank_of[0])
        sums = Sums(*packed.tolist())
        if sums.weight > 0:
            self._communicator.Bcast(gradients, root=self._rank_of[0])
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
            self._communicator.Send(np.array(second), dest=first_rank)
            self._communicator.Send(gradients, dest=first_rank)
        elif self.rank == first_rank:
            packed, received = np.empty(len(second)), self._kept(end - begin, gradients)
            self._communicator.Recv(packed, source=second_rank)
            self._communicator.Recv(received, source=second_rank)
            second = Sums(*packed.tolist())
            add_mean(gradients, sums.weight, received, second.weight)
            return sums.plus(second)
        return Sums()

    def joined(self, parts: dict[int, Any]) -> dict[int, Any]:
        return {key: value for of_rank in self._communicator.allgather(parts) for key, value in of_rank.items()}

    def any(self, flag: bool) -> bool:
        return any(self._communicator.allgather(flag))

    def failed(self, error: Exception) -> None:
        self._communicator.allgather(f"{type(error).__name__}: {error}")

    def agree(self, described: dict[str, Any]) -> None:
        found = self._communicator.allgather(described)
        for rank, other in enumerate(found):
            if isinstance(other, str):
                raise RuntimeError(f"rank {rank} of the communicator cannot begin the training: {other}")
        for rank, other in enumerate(found):
            for name, value in found[0].items():
                if other.get(name) != value:
                    raise ValueError(
                        "the processes of the communicator must train the same model in the same way, and "
                        f"{name} differs between rank 0 and rank {rank}: {short_repr(value)} and "
                        f"{short_repr(other.get(name))}; give all ranks the same data and arguments"
                    )
