"""Measure how much slower fastlstm runs directly after other libraries' thread pools have worked.

A program that alternates calls of fastlstm with NumPy, PyTorch or ONNX Runtime does not pause between them. The threads
of these libraries keep spinning for a while after their work and occupy the processors. For each library, it works for
`WORK` seconds, and `RUNS` timed runs of fastlstm follow at once; for comparison, in the same process, the same runs
follow `QUIET` seconds of sleep and a warm-up. The ratio of the medians is reported.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from .. import gemm
from ..cases import Case, Data, Problem
from ..peers import Peer, own
from ..timing import Figures, Plan, ratio, take_turn

__all__ = ["PROBLEMS", "busy", "measure", "others"]

PROBLEMS = (Problem(64, 100, 32, 128), Problem(1, 100, 32, 128))

WORK, QUIET, RUNS = 0.05, 0.3, 10

_QUIET_PLAN = Plan(pause=QUIET, warm_up=0.02, least=RUNS, most=RUNS)


def busy(work: Callable[[], Any], seconds: float = WORK) -> Callable[[], None]:
    """Return a function that repeats some work for this number of seconds."""

    def run() -> None:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            work()

    return run


def others(peers: Mapping[str, Peer], threads: int) -> dict[str, Callable[[], Any]]:
    """Return the work of each other thread pool, by name: a matrix product in NumPy, inference in other libraries."""
    work: dict[str, Callable[[], Any]] = {"NumPy (OpenBLAS)": busy(gemm.product())}
    problem = PROBLEMS[0]
    for name in ("PyTorch", "ONNX Runtime"):
        if name in peers:
            runners = peers[name].prepare(Case("interference", "infer", problem), Data.of(problem), threads)
            work[name] = partial(runners[name].turn, Plan(pause=0, warm_up=WORK, least=0, most=0))
    return work


def measure(peers: Mapping[str, Peer], threads: int, cycles: int) -> list[dict[str, Any]]:
    """Measure all ratios.

    Parameters
    ----------
    peers : mapping of name to Peer
        The installed peers.
    threads : int
        Number of threads of all libraries.
    cycles : int
        How often each library works; `RUNS` timed runs follow each time.

    Returns
    -------
    list of dict
        ``problem``, ``after``, ``quiet_ms``, ``after_ms``, ``ratio``, ``runs``.
    """
    records = []
    work = others(peers, threads)
    for problem in PROBLEMS:
        run = own.inference(problem, Data.of(problem), threads)
        quiet: list[float] = []
        after: dict[str, list[float]] = {name: [] for name in work}
        for _ in range(cycles):
            for name, disturb in work.items():
                quiet += take_turn(run, _QUIET_PLAN)
                disturb()
                for _ in range(RUNS):
                    start = time.perf_counter()
                    run()
                    after[name].append(time.perf_counter() - start)
        calm = Figures.of(quiet)
        for name, times in after.items():
            disturbed = Figures.of(times)
            records.append(
                {
                    "problem": problem.label,
                    "after": name,
                    "quiet_ms": calm.median_ms,
                    "after_ms": disturbed.median_ms,
                    "ratio": ratio(disturbed, calm),
                    "runs": disturbed.runs,
                }
            )
    return records
