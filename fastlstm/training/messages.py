"""Messages between the processes (ranks) of a run, and what the others learn when one of them fails.

No process waits for another one longer than a deadline. One that gives up, or ends with an exception of its own, tells
all others why, by one message to each, and receives one of each: so all end together, and each knows which process was
the cause. A process that does not answer is one that hangs or is stopped; the program then cannot end in the regular
way, which waits for all, and is aborted when it exits.

A message that is being waited for is polled: at first without a pause, because most come within microseconds, then with
pauses of a fiftieth of the time waited so far.
"""

from __future__ import annotations

import atexit
import json
import pickle
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NoReturn, Protocol

import numpy as np

from .._typing import Array

__all__ = ["Communicator", "Messages", "RankError", "Request", "said_by_rank_0"]

_TAG, _TAG_OF_END = 20_011, 20_021
"""Tags of messages, apart from those that a program may use itself."""

_SIZE_OF_END = 4096
_LONGEST_TEXT = 512
"""Characters of an error that are told; JSON needs at most 6 bytes for each."""
_POLLS = 1000
"""Number of polls without a pause: about a millisecond."""
_SAID = "said_by_rank_0"
"""Attribute of an exception."""
_OWN = 0.2
"""Seconds for which a process goes on after it has heard of an end."""
_GRACE = 10.0
"""Seconds in which processes that wait answer the one that gives up."""

_lost: list[str] = []
"""What happened to the communicator of this program, if one of its processes does not answer any more."""

_under_way: list[Any] = []
"""Messages of the end and their requests: a process that is stopped takes its message later, or never."""


class Request(Protocol):
    """A message under way."""

    def Test(self) -> bool:
        """Return whether it has arrived."""


class Communicator(Protocol):
    """What training uses of an ``mpi4py.MPI.Comm``."""

    def Get_rank(self) -> int:
        """Return the number of this process."""

    def Get_size(self) -> int:
        """Return the number of processes."""

    def Isend(self, buf: Any, dest: int, tag: int) -> Request:
        """Begin to send an array."""

    def Irecv(self, buf: Any, source: int, tag: int) -> Request:
        """Begin to receive an array."""

    def Iprobe(self, source: int = ..., tag: int = ...) -> bool:
        """Return whether a message has arrived; by default from any process."""

    def Abort(self, errorcode: int) -> NoReturn:
        """End all processes."""


class RankError(RuntimeError):
    """Error raised in all processes of a run but the one that failed; the text names that one."""


def said_by_rank_0(error: BaseException) -> bool:
    """Return whether rank 0 has the same to say as this error, or the one that caused it, in another process."""
    cause: BaseException | None = error
    while cause is not None:
        if getattr(cause, _SAID, False):
            return True
        cause = cause.__cause__
    return False


class _Ended(Exception):
    """Another process has said that it ends the run."""


class Watch:
    """A wait for another process, which ends if any process has ended the run, or after a deadline.

    Parameters
    ----------
    messages : Messages
        What is waiting.
    """

    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        self._begin = time.monotonic()
        self._heard: float | None = None

    def restart(self) -> None:
        """Begin to wait now."""
        self._begin = time.monotonic()

    def check(self, other: int | None) -> float:
        """Return the seconds of the wait for a process so far; end it if need be. None: this one has work to do."""
        messages, now = self._messages, time.monotonic()
        if other is None:
            self._begin = now
        # An exception that all raise is this process's own, too, if it gets so far.
        if self._heard is None and messages._communicator.Iprobe(tag=_TAG_OF_END):
            self._heard = now
        if messages.cancelled or (self._heard is not None and now - self._heard > _OWN):
            raise _Ended
        if now - self._begin > messages._deadline:
            messages.late = other
            raise _Ended
        return now - self._begin


class Messages:
    """Messages between the processes of a communicator.

    Parameters
    ----------
    communicator : Communicator
        All its processes call the same methods in the same order.
    deadline : float
        Seconds that a process waits for a message.
    """

    def __init__(self, communicator: Communicator, deadline: float) -> None:
        if _lost:
            raise RankError(f"the communicator cannot be used any more: {_lost[0]}; start the program again")
        self._communicator = communicator
        self._deadline = deadline
        self.rank, self.size = communicator.Get_rank(), communicator.Get_size()
        self.late: int | None = None
        """The process for which this one has waited too long."""
        self.cancelled = False
        """Set to end the waits of another thread of this process."""

    # ------------------------------------------------------------------------------------ messages

    def send(self, values: Array, dest: int) -> None:
        """Send an array to another process."""
        self._wait(self.begin_send(values, dest), dest)

    def receive(self, values: Array, source: int) -> None:
        """Receive an array of the same shape and dtype from another process."""
        self._wait(self.begin_receive(values, source), source)

    def begin_send(self, values: Array, dest: int) -> Request:
        """Begin to send an array, which must not change until it has been sent."""
        return self._communicator.Isend(values, dest=dest, tag=_TAG)

    def begin_receive(self, values: Array, source: int) -> Request:
        """Begin to receive an array; of two from one process the first arrives first."""
        return self._communicator.Irecv(values, source=source, tag=_TAG)

    def broadcast(self, values: Array, root: int) -> None:
        """Give the array of one process to all: in round i, 2**i processes pass it on."""
        place, step = (self.rank - root) % self.size, 1
        pending: list[tuple[Request, int]] = []
        while step < self.size:
            if place < step:
                if place + step < self.size:
                    dest = (self.rank + step) % self.size
                    pending.append((self.begin_send(values, dest), dest))
            elif place < 2 * step:
                self.receive(values, (self.rank - step) % self.size)
            step *= 2
        for request, dest in pending:
            self._wait(request, dest)

    def exchange(self, sent: Iterable[tuple[int, Array]], received: Iterable[tuple[int, Array]]) -> None:
        """Send arrays to other processes, and receive others of them, all at once.

        Several arrays between the same two processes arrive in the order in which they are listed.
        """
        pending = [(self.begin_receive(values, rank), rank) for rank, values in received]
        pending += [(self.begin_send(values, rank), rank) for rank, values in sent]
        for request, rank in pending:
            self._wait(request, rank)

    def gather(self, thing: Any) -> list[Any]:
        """Return what each process gives, by rank."""
        if self.size == 1:
            return [thing]
        packed = _packed(thing)
        if self.rank:
            self.send(np.array([packed.size]), 0)
            self.send(packed, 0)
        else:
            packed = _packed([thing, *(self._receive_thing(rank) for rank in range(1, self.size))])
        size = np.array([packed.size])
        self.broadcast(size, 0)
        if self.rank:
            packed = np.empty(int(size[0]), np.uint8)
        self.broadcast(packed, 0)
        things: list[Any] = pickle.loads(packed.tobytes())
        return things

    def _receive_thing(self, source: int) -> Any:
        size = np.zeros(1, np.int64)
        self.receive(size, source)
        packed = np.empty(int(size[0]), np.uint8)
        self.receive(packed, source)
        return pickle.loads(packed.tobytes())

    def _wait(self, request: Request, other: int) -> None:
        """Wait for a message to or from another process."""
        for _ in range(_POLLS):
            if request.Test():
                return
        watch = self.watch()
        while not request.Test():
            time.sleep(min(watch.check(other) / 50, 1e-3))

    def watch(self) -> Watch:
        """Return what tells a wait that begins now that it has lasted too long."""
        return Watch(self)

    # ------------------------------------------------------------------------------------ the end after a failure

    def end(self, error: BaseException) -> RankError | None:
        """Tell the other processes that this one ends the run, and hear why they do.

        Returns
        -------
        RankError or None
            What to raise in place of `error`; None if it is this process's own.
        """
        told = isinstance(error, _Ended)
        mine = {"rank": self.rank, "raised": None if told else _described(error), "late": self.late}
        ends = self._exchange_ends(mine, _GRACE if self.late is not None else self._deadline)
        missing = [rank for rank in range(self.size) if rank not in ends]
        text = self._reason(ends, missing)
        if missing:
            _lost.append(text)
            atexit.register(self._abort)
        result = RankError(text) if told else None
        if self.rank and 0 in ends and (told or ends[0]["raised"] == mine["raised"]):
            with suppress(AttributeError):  # of a class with slots
                setattr(result or error, _SAID, True)
        return result

    def _exchange_ends(self, mine: dict[str, Any], seconds: float) -> dict[int, dict[str, Any]]:
        """Send one message to each other process, and receive one of each that answers."""
        packed = np.zeros(_SIZE_OF_END, np.uint8)
        data = np.frombuffer(json.dumps(mine, ensure_ascii=False).encode(errors="surrogatepass"), np.uint8)
        packed[: data.size] = data
        others = [rank for rank in range(self.size) if rank != self.rank]
        _under_way.extend((self._communicator.Isend(packed, dest=rank, tag=_TAG_OF_END), packed) for rank in others)
        ends = {self.rank: mine}
        limit = time.monotonic() + min(seconds, self._deadline)
        while len(ends) < self.size and time.monotonic() < limit:
            arrived = [
                rank for rank in others if rank not in ends and self._communicator.Iprobe(source=rank, tag=_TAG_OF_END)
            ]
            for rank in arrived:
                received = np.empty(_SIZE_OF_END, np.uint8)
                request = self._communicator.Irecv(received, source=rank, tag=_TAG_OF_END)
                while not request.Test():  # it has arrived
                    pass
                ends[rank] = json.loads(received.tobytes().rstrip(b"\0"))
            if not arrived:
                time.sleep(1e-3)
        return ends

    def _reason(self, ends: dict[int, dict[str, Any]], missing: list[int]) -> str:
        raised = [(rank, end["raised"]) for rank, end in sorted(ends.items()) if end["raised"] is not None]
        late = sorted({end["late"] for end in ends.values() if end["late"] is not None})
        if raised:
            rank, what = raised[0]
            return f"rank {rank} of the {self.size} processes of the communicator has ended the training: {what}"
        ranks = missing or late
        named = f"rank {ranks[0]} has" if len(ranks) == 1 else f"ranks {', '.join(map(str, ranks))} have"
        return (
            f"{named} not answered for {self._deadline:g} seconds, the deadline of the {self.size} processes of the "
            "communicator: hanging, stopped, or busy for longer; a larger deadline waits longer"
        )

    def _abort(self) -> None:
        time.sleep(1.0)  # so that the other processes have written what they have to say
        self._communicator.Abort(1)


def _packed(thing: Any) -> Array:
    packed: Array = np.frombuffer(pickle.dumps(thing), np.uint8).copy()
    return packed


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:_LONGEST_TEXT]
