"""Processes of a run as threads, with the methods of an mpi4py communicator."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn


class Team:
    """What processes share: the messages from each to each, by tag."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.arrived: dict[tuple[int, int, int], deque[Any]] = defaultdict(deque)
        self.aborted = False


class Sent:
    """A message on its way from this process, which is copied at once."""

    def Test(self) -> bool:
        return True


class Expected:
    """A message to this process."""

    def __init__(self, buffer: Any, arrived: deque[Any]) -> None:
        self.buffer, self.arrived, self.done = buffer, arrived, False

    def Test(self) -> bool:
        if not self.done and self.arrived:
            self.buffer[...] = self.arrived.popleft()
            self.done = True
        return self.done


class Member:
    """A process, here a thread, with the methods of an mpi4py communicator that training uses."""

    def __init__(self, team: Team, rank: int) -> None:
        self.team, self.rank = team, rank

    def Get_rank(self) -> int:
        return self.rank

    def Get_size(self) -> int:
        return self.team.size

    def Isend(self, buf: Any, dest: int, tag: int) -> Sent:
        self.team.arrived[self.rank, dest, tag].append(buf.copy())
        return Sent()

    def Irecv(self, buf: Any, source: int, tag: int) -> Expected:
        return Expected(buf, self.team.arrived[source, self.rank, tag])

    def Iprobe(self, source: int | None = None, tag: int = 0) -> bool:
        sources = range(self.team.size) if source is None else [source]
        return any(self.team.arrived[rank, self.rank, tag] for rank in sources)

    def Abort(self, errorcode: int) -> NoReturn:
        raise SystemExit(errorcode)


def together(size: int, run: Callable[[Member], Any]) -> list[Any]:
    """Return what each process of a team returns, or the exception that it raises."""
    team = Team(size)

    def one(rank: int) -> Any:
        try:
            return run(Member(team, rank))
        except Exception as error:
            return error

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(one, range(size)))
