"""Shards shared out to the processes (ranks) of an MPI communicator.

Rank r of R computes the shards from ``r * k // R`` to ``(r + 1) * k // R`` of k. A node of the tree whose children
belong to two ranks is computed by the rank of its first shard, which receives the other child. So each node is the same
sum of the same numbers, whatever R is, and the root goes to all ranks.

That sends a gradient 2 log2(R) times, one after the other. Large gradients are divided instead: each rank computes the
upper nodes of the tree for its R-th of the gradient, of which it receives the lower nodes, those of the shards of one
rank, from all others, and sends the root to all. Every rank then sends and receives two gradients in all, and adds a
part; each number is still the same sum of the same numbers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from .._checks import short_repr
from .._typing import Array
from .early import EarlySum
from .launched import disconnected
from .messages import Communicator, Messages
from .reduce import Reduce, Sums, add_mean, shard_bounds

__all__ = ["Ranks", "checked_communicator", "new_reduce"]

_LEAST_SLICE = 2**10
"""Bytes of a rank's part of a gradient from which on it is divided: messages that are smaller cost their latency."""

_LEAST_EARLY = 2**20
"""Bytes of a gradient from which on its parts are sent early: smaller ones take no longer than the thread's pauses."""

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
    mpi = sys.modules.get("mpi4py.MPI")  # not there with a communicator of another kind
    obstacle = None if mpi is None or size > 1 else disconnected(mpi.COMM_WORLD.Get_size())
    if obstacle is not None:
        raise ValueError(obstacle)
    if shards < size:
        raise ValueError(
            f"shards={shards} leaves some of the {size} processes of the communicator without work: give "
            f"shards={size} or more, for example {max(8, size)}; the result depends on shards, not on the processes"
        )
    checked: Communicator = communicator
    return checked


def new_reduce(shards: int, communicator: Communicator | None, deadline: float) -> Reduce:
    """Return the sum over the shards of a batch, in this process or in those of a checked communicator."""
    return Reduce(shards) if communicator is None else Ranks(shards, communicator, deadline)


def _several_threads() -> bool:
    """Return whether threads other than the main one may send messages, one at a time."""
    mpi = sys.modules.get("mpi4py.MPI")
    return mpi is None or bool(mpi.Query_thread() >= mpi.THREAD_SERIALIZED)


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
        self._messages = self.exchange = Messages(communicator, deadline)
        self.rank, self.size = self._messages.rank, self._messages.size
        bounds = [shard_bounds(shards, self.size, rank) for rank in range(self.size)]
        self._rank_of = [rank for rank, (begin, end) in enumerate(bounds) for _ in range(begin, end)]

        self._early: EarlySum | None = None
        self._own: dict[int, int] = {}  # the largest nodes of the shards of one rank: rank by first shard
        self._find_own(0, shards)

    def _find_own(self, begin: int, end: int) -> None:
        if self._rank_of[begin] == self._rank_of[end - 1]:
            self._own[begin] = self._rank_of[begin]
            return
        middle = (begin + end) // 2
        self._find_own(begin, middle)
        self._find_own(middle, end)

    def __call__(self, compute: Callable[[int], Sums], gradients: Array) -> Sums:
        if not self.alone and gradients.nbytes >= _LEAST_SLICE * self.size:
            large = gradients.nbytes >= _LEAST_EARLY
            if large and self.sends_early and self.shards == self.size and _several_threads():
                return self._begun_early(compute, gradients)
            return self._divided(compute, gradients)
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

    def _slices_of(self, gradients: Array) -> list[slice]:
        """Return the part of the gradient that each rank adds."""
        return [slice(*shard_bounds(gradients.size, self.size, rank)) for rank in range(self.size)]

    def _divided(self, compute: Callable[[int], Sums], gradients: Array) -> Sums:
        """Do the same with the gradient divided among the ranks."""
        sums, lower = self._lower_nodes(compute, gradients)
        total = self._sums(0, self.shards, sums)
        if total.weight == 0:
            return total
        bounds = self._slices_of(gradients)
        others = [(self.rank + step) % self.size for step in range(1, self.size)]  # each begins with another one
        mine = bounds[self.rank]
        size = mine.stop - mine.start
        slices = {begin: nodes[mine] for begin, nodes in lower.items()}
        for begin, rank in self._own.items():
            if rank != self.rank:
                slices[begin] = self._buffers.get(f"slice {begin}", (size,), gradients.dtype)
        self._messages.exchange(
            [(rank, nodes[bounds[rank]]) for rank in others for nodes in lower.values()],
            [(rank, slices[begin]) for begin, rank in self._own.items() if rank != self.rank],
        )
        gradients[mine] = self._upper_node(0, self.shards, sums, slices)
        self._messages.exchange(
            [(rank, gradients[mine]) for rank in others], [(rank, gradients[bounds[rank]]) for rank in others]
        )
        return total

    def _begun_early(self, compute: Callable[[int], Sums], gradients: Array) -> Sums:
        """Do the same for processes of one shard each, while it is computed; see `early`."""
        bounds = self._slices_of(gradients)

        def total_of(own: Sums) -> tuple[Sums, dict[int, Sums]]:
            each = self.joined({self.rank: own})
            return self._sums(0, self.shards, each), each

        def add(each: Mapping[int, Sums], parts: dict[int, Array]) -> Array:
            return self._upper_node(0, self.shards, each, parts)

        early = self._early = EarlySum(self._messages, gradients, bounds, total_of, add, self._buffers)
        try:
            early.begin(compute(self.rank))  # with what it returns, if there was nothing to compute
        except BaseException:
            early.cancel()
            raise
        finally:
            self._early = None
        return early.result()

    def early_sum(self, sums: Sums) -> Callable[[int], None] | None:
        if self._early is None:
            return None
        self._early.begin(sums)
        return self._early.known_from

    def _lower_nodes(
        self, compute: Callable[[int], Sums], gradients: Array
    ) -> tuple[dict[int, Sums], dict[int, Array]]:
        """Return the sums of the largest nodes of one rank each, and the gradients of those of this rank."""
        ends = dict(zip(self._own, [*list(self._own)[1:], self.shards], strict=True))
        mine = [begin for begin, rank in self._own.items() if rank == self.rank]
        sums: dict[int, Sums] = {}
        lower: dict[int, Array] = {}
        for begin in mine:
            sums[begin] = self._node(begin, ends[begin], compute, gradients)
            lower[begin] = self._buffers.get(f"node {begin}", gradients.shape, gradients.dtype)
            np.copyto(lower[begin], gradients)
        return self.joined(sums), lower

    def _sums(self, begin: int, end: int, sums: Mapping[int, Sums]) -> Sums:
        if self._rank_of[begin] == self._rank_of[end - 1]:
            return sums[begin]
        middle = (begin + end) // 2
        return self._sums(begin, middle, sums).plus(self._sums(middle, end, sums))

    def _upper_node(self, begin: int, end: int, sums: Mapping[int, Sums], slices: dict[int, Array]) -> Array:
        """Return this rank's part of the gradient of a node; the slices of its children are overwritten."""
        if self._rank_of[begin] == self._rank_of[end - 1]:
            return slices[begin]
        middle = (begin + end) // 2
        first = self._upper_node(begin, middle, sums, slices)
        second = self._upper_node(middle, end, sums, slices)
        add_mean(second, self._sums(middle, end, sums).weight, first, self._sums(begin, middle, sums).weight)
        return second

    @property
    def shards_here(self) -> range:
        return range(*shard_bounds(self.shards, self.size, self.rank))

    def rows(self, count: int) -> tuple[int, int]:
        here = self.shards_here
        return shard_bounds(count, self.shards, here[0])[0], shard_bounds(count, self.shards, here[-1])[1]

    def largest(self, number: int) -> int:
        return int(max(self._messages.gather(number)))

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
                    advice = "give all ranks the same data and arguments"
                    if name == "data":
                        advice = "give all ranks the same data, or partitioned=True if each has a part of them"
                    raise ValueError(
                        "the processes of the communicator must train the same model in the same way, and "
                        f"{name} differs between rank 0 and rank {rank}: {short_repr(value)} and "
                        f"{short_repr(other.get(name))}; {advice}"
                    )
