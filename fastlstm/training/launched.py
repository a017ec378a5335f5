"""Processes that a launcher has started, but MPI does not connect."""

from __future__ import annotations

import os

__all__ = ["disconnected"]

_STARTED = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
"""Variables in which srun, Open MPI, and MPICH with its relatives say how many processes they have started."""


def disconnected(world: int) -> str | None:
    """Return what is wrong where a launcher has started several processes, and MPI's world has one; None if it fits.

    That happens where mpi4py belongs to another MPI than the launcher. Each process then believes that it is alone: all
    would train the same, and write the same files.
    """
    if world != 1:
        return None
    for name in _STARTED:
        count = os.environ.get(name, "")
        if count.isdecimal() and int(count) > 1:
            return (
                f"{count} processes were started ({name}={count}), but each is alone for MPI, which belongs to another "
                "launcher: start them by the mpiexec of mpi4py's MPI, or by srun --mpi=pmi2 (MPICH) or --mpi=pmix "
                f"(Open MPI); if each is to train by itself, leave out the communicator, or unset {name}"
            )
    return None
