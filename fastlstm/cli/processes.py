"""The processes of ``mpiexec -n 4 fastlstm train ... --shards 8``."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from ..training.launched import disconnected
from .errors import CommandError, UsageError

__all__ = ["Processes", "processes"]

_STARTED = ("PMI_SIZE", "PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_SIZE")
"""Variables of the environment that mpiexec, or srun with an interface of MPI, sets."""


@dataclass(frozen=True)
class Processes:
    """The processes that train one model."""

    shards: int = 1
    communicator: Any = None
    """None: this process is the only one."""
    deadline: float = 600.0
    rank: int = 0

    def together(self) -> AbstractContextManager[None]:
        """Return a context that all processes leave together: if one leaves it by an exception, all do."""
        if self.communicator is None:
            return nullcontext()
        from ..training.ranks import Ranks

        return Ranks(self.shards, self.communicator, self.deadline).together()


def processes(configured: Any) -> Processes:
    """Return the processes that train together, as the launcher has started them; their number must suit the shards.

    Raises
    ------
    UsageError
        If several were started without shards, or with fewer than processes, or to read stdin.
    CommandError
        If mpi4py is missing, or belongs to another MPI than the launcher.
    """
    shards: int = configured.get("shards", 1)
    alone = Processes(shards)
    if not any(name in os.environ for name in _STARTED):
        if shards > 1 and (mistake := disconnected(1)) is not None:  # by srun, without an interface of MPI
            raise CommandError(mistake)
        return alone
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise CommandError(
            "this process was started by mpiexec or srun, and needs mpi4py: pip install 'fastlstm[mpi]'"
        ) from error
    communicator = MPI.COMM_WORLD
    size, rank = communicator.Get_size(), communicator.Get_rank()
    if size == 1:
        if (mistake := disconnected(size)) is not None:
            raise CommandError(mistake)
        return alone
    obstacle = _obstacle(configured, shards, size)
    if obstacle is not None:
        if rank:
            raise SystemExit(UsageError.status)  # rank 0 says why
        raise UsageError(f"{size} processes were started{obstacle}")
    return Processes(shards, communicator, float(configured.get("deadline", 600)), rank)


def _obstacle(configured: Any, shards: int, size: int) -> str | None:
    """Return why several processes cannot train together; None if they can."""
    if configured.data == "-":
        return ", and stdin goes to one of them: write the data to a file"
    if shards < size:
        return (
            f" with --shards {shards}, expected a part of each batch for every process: --shards {max(8, size)}; the "
            "result depends on this number, not on that of the processes"
        )
    return None
