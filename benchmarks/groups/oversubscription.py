"""Measure what several processes lose if each of them uses all processors.

If eight processes serve or train on one machine, each with as many threads as there are processors, there are more
threads than processors. Their total throughput is kept only if a thread that waits for another one lets it run. So
several processes do the same work at once, with fastlstm's default number of threads and with one thread, and the rate
of all processes together is measured. The cost of the default is the better rate divided by the rate of the default.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from ..cases import Case, Problem
from ..child import Child
from ..peers import OWN
from ..timing import Plan

__all__ = ["CASES", "PROCESSES", "measure"]

PROCESSES = 8

START = 0.1
"""Seconds of rest before a turn, so that all processes begin it at the same time."""

CASES = tuple(
    Case("oversubscription", kind, problem)
    for problem in (
        Problem(1, 100, 64, 256),  # the threads synchronise in every step
        Problem(8, 50, 32, 128),
        Problem(32, 100, 16, 64),
        Problem(64, 100, 32, 128),
    )
    for kind in ("train", "infer")
)


def measure(
    threads: int,
    *,
    processes: int = PROCESSES,
    cases: Sequence[Case] = CASES,
    seconds: float = 1.0,
    rounds: int = 2,
) -> list[dict[str, Any]]:
    """Measure the cost of the default number of threads for each case.

    Parameters
    ----------
    threads : int
        Default number of threads of each process, which is compared with one thread.
    processes : int, default 8
        Number of processes that run at once.
    cases : sequence of Case
    seconds : float, default 1
        Time of one turn.
    rounds : int, default 2
        Number of turns of each setting.

    Returns
    -------
    list of dict
        ``kind``, ``problem``, ``processes``, ``rate`` (runs of all processes together per second),
        ``rate_alone`` (the same with one thread each), ``cost``.
    """
    plan = Plan(pause=START, warm_up=0.3, least=1, most=10**6, seconds=seconds)
    counts = tuple(dict.fromkeys((threads, 1)))
    records = []
    with ExitStack() as stack:
        children = [stack.enter_context(Child([sys.executable])) for _ in range(processes)]
        pool = stack.enter_context(ThreadPoolExecutor(processes))

        def all_at_once(*request: Any) -> list[Any]:
            return list(pool.map(lambda child: child.ask(*request), children))

        for case in cases:
            rates = dict.fromkeys(counts, 0.0)
            for _ in range(rounds):
                for count in counts:
                    all_at_once("prepare", OWN, case, count)
                    for times in all_at_once("turn", OWN, plan):
                        rates[count] += len(times) / sum(times) / rounds
            records.append(
                {
                    "kind": case.kind,
                    "problem": case.label,
                    "processes": processes,
                    "rate": rates[threads],
                    "rate_alone": rates[1],
                    "cost": max(rates.values()) / rates[threads],
                }
            )
    return records
