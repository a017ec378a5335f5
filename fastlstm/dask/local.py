"""Tasks shared out to processes of this machine, where the program has opened no cluster.

Not to threads, which are slower than a loop for small models: these spend their time in Python, and wait for each
other.
"""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from ..runtime.config import resolve_threads
from .packages import dask_module

__all__ = ["AHEAD", "by_processes"]

AHEAD = 4
"""Tasks for each worker that are given out at once: memory does not follow the number of series."""


def by_processes(run: Callable[[Any], Any], tasks: Iterable[Any], retries: int) -> Iterator[tuple[int, Any]]:
    """Yield what `run` returns for each task, with the number of the task, in the order in which they are done.

    There are as many processes as `get_num_threads` says. A task that raises is repeated up to `retries` times; so are
    those that were lost with a process, as long as others are done in between.

    Raises
    ------
    RuntimeError
        If processes are killed again and again, or cannot read a task.
    """
    workers = resolve_threads()
    if workers == 1 or multiprocessing.current_process().daemon:  # which may not start processes
        for number, part in enumerate(tasks):
            yield number, _of_task(run, part)
        return
    pool, waiting = _Pool(run, workers, retries), enumerate(tasks)
    while True:
        for number, part in itertools.islice(waiting, max(0, AHEAD * workers - len(pool.pending))):
            pool.submit(number, part)
        if not pool.pending:
            return
        yield from pool.done()


class _Pool:
    """Processes, of which new ones are started if one is killed."""

    def __init__(self, run: Callable[[Any], Any], workers: int, retries: int) -> None:
        self._run, self._workers, self._retries = run, workers, retries
        self._loky = dask_module("loky")
        self._tries: dict[int, int] = {}
        self._losses = 0
        """How often in a row processes were lost before a task was done."""
        self._executor = self._loky.get_reusable_executor(workers)
        self.pending: dict[Future[Any], tuple[int, Any, Any]] = {}
        """Tasks that are given out: number, task, executor."""

    def submit(self, number: int, part: Any) -> None:
        """Give out a task."""
        try:
            future = self._executor.submit(_of_task, self._run, part)
        except BrokenProcessPool:
            self._executor = self._loky.get_reusable_executor(self._workers)
            future = self._executor.submit(_of_task, self._run, part)
        self.pending[future] = number, part, self._executor

    def done(self) -> Iterator[tuple[int, Any]]:
        """Wait for tasks; yield the results of those that are done, and give out the others again."""
        for future in wait(self.pending, return_when=FIRST_COMPLETED).done:
            number, part, executor = self.pending.pop(future)
            error = future.exception()
            if error is None:
                self._losses = 0
                yield number, future.result()
                continue
            if isinstance(error, BrokenProcessPool):
                if not isinstance(error, self._loky.process_executor.TerminatedWorkerError):
                    raise _unreadable(error) from error
                if executor is self._executor:  # else another task has told of it
                    self._lost(error)
            elif self._tried(number) > self._retries:
                raise error
            self.submit(number, part)

    def _lost(self, error: BaseException) -> None:
        self._losses += 1
        if self._losses > self._retries:
            raise RuntimeError(
                f"a process that trained models was killed {self._losses} times in a row, probably for lack of memory: "
                "train fewer at a time, fl.set_num_threads(1), or in processes of a cluster with a limit of memory, "
                "distributed.Client()"
            ) from error
        self._executor = self._loky.get_reusable_executor(self._workers)

    def _tried(self, number: int) -> int:
        self._tries[number] = self._tries.get(number, 0) + 1
        return self._tries[number]


def _unreadable(error: BaseException) -> RuntimeError:
    cause = str(error.__cause__ or error).strip('"\n ').splitlines()[-1]  # the last line of a traceback in quotes
    return RuntimeError(
        f"a process cannot read what it is to train: {cause}. Put classes of your own into a module that can be "
        "imported anywhere, or train in this process alone, after fl.set_num_threads(1)"
    )


def _of_task(run: Callable[[Any], Any], part: Any) -> Any:
    return run(part.compute(scheduler="synchronous") if hasattr(part, "compute") else part)
