"""What several processes lose that each take all processors.

A machine on which eight processes serve or train, each with as many threads as there are processors, has more threads
than processors. They compute as much as before only if a thread that waits for another one lets it run. So a number of
processes do the same work at once, with fastlstm's default number of threads and with fewer; all runs of all processes
within `SECONDS` are counted. The cost of the default is the best count of any setting divided by that of the default.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from . import machine
from .cases import Case, Data, Problem
from .peers import own

__all__ = ["CASES", "PROCESSES", "measure", "settings"]

PROCESSES = 8

SECONDS = 1.0
"""Of one turn of one setting."""

CASES = tuple(
    Case("oversubscription", kind, problem)
    for problem in (
        Problem(1, 100, 64, 256),  # the team meets in every step
        Problem(8, 50, 32, 128),
        Problem(32, 100, 16, 64),
        Problem(64, 100, 32, 128),
    )
    for kind in ("train", "infer")
)


def settings(cores: int) -> tuple[int, ...]:
    """The numbers of threads that are compared: the default first."""
    return (cores, 1) if cores > 1 else (1,)


def _work(link: Connection) -> None:
    """A process: makes the case that it is sent, then runs for as long as it is told, and tells how often."""
    while (request := link.recv()) is not None:
        if request[0] == "prepare":
            case, counts = request[1:]
            data = Data.of(case.problem)
            runs = {threads: own.runs(case, data, threads) for threads in counts}
            link.send(None)
        else:
            threads, start, seconds = request[1:]
            run = runs[threads]
            run()
            time.sleep(max(0.0, start - time.monotonic()))
            count, end = 0, start + seconds
            while time.monotonic() < end:
                run()
                count += 1
            link.send(count / (time.monotonic() - start))


def measure(
    processes: int = PROCESSES, cases: Sequence[Case] = CASES, seconds: float = SECONDS, rounds: int = 2
) -> list[dict[str, Any]]:
    """The cost of the default for each case.

    Parameters
    ----------
    processes : int, default 8
        How many run at once.
    cases : sequence of Case
    seconds : float, default 1
        Time of one turn.
    rounds : int, default 2
        Turns of each setting.

    Returns
    -------
    list of dict
        ``kind``, ``problem``, ``rates`` (threads to the runs of all processes in a second), ``cost``.
    """
    counts = settings(machine.cores())
    context = multiprocessing.get_context("spawn")
    links, workers = [], []
    for _ in range(processes):
        here, there = context.Pipe()
        worker = context.Process(target=_work, args=(there,), daemon=True)
        worker.start()
        there.close()
        links.append(here)
        workers.append(worker)
    records = []
    try:
        for case in cases:
            _ask(links, ("prepare", case, counts))
            rates = dict.fromkeys(counts, 0.0)
            for _ in range(rounds):
                for threads in counts:
                    start = time.monotonic() + 0.1
                    rates[threads] += sum(_ask(links, ("run", threads, start, seconds))) / rounds
            records.append(
                {
                    "kind": case.kind,
                    "problem": case.label,
                    "rates": rates,
                    "cost": max(rates.values()) / rates[counts[0]],
                }
            )
    finally:
        for link in links:
            link.send(None)
        for worker in workers:
            worker.join()
    return records


def _ask(links: Sequence[Connection], request: tuple[Any, ...]) -> list[Any]:
    for link in links:
        link.send(request)
    return [link.recv() for link in links]
