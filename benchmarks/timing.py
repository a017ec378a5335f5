"""Fair timing: turns of several peers, interleaved, and the statistics of their times.

What would be unfair, and what is done about it:

- The machine's speed drifts (clock rates, neighbours). So everybody has a short turn in every round, round after round,
  and medians over all rounds are compared.
- The threads of other libraries' pools go on spinning after their work, for some milliseconds or, with OpenBLAS, up to
  100 ms, and would take the processors from whoever comes next. So each turn begins with a pause: 20 ms, and 150 ms
  after a turn that used OpenBLAS.
- After a pause caches are cold, clocks are low, and the system needs a while to spread a pool that wakes over the
  processors. So the pause is followed by 20 ms of runs that do not count.
- A clock cannot see a microsecond. So what is shorter than 50 microseconds is called in a loop within each timing,
  which gives the mean of the loop's calls.
- Each turn makes at least three timed runs, and every peer has at least three turns (but for those that take part in
  some of the rounds only).
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Protocol

__all__ = ["PAUSE", "PAUSE_AFTER_BLAS", "Figures", "Plan", "Turns", "interleave", "ratio", "take_turn"]

PAUSE = 0.02
"""Seconds of rest before a turn."""

PAUSE_AFTER_BLAS = 0.15
"""The same after a turn that used OpenBLAS."""

SHORTEST = 50e-6
"""Seconds that one timing must last at least."""


@dataclass(frozen=True)
class Plan:
    """How a turn goes.

    Parameters
    ----------
    pause, warm_up : float
        Seconds of rest, then seconds of runs that do not count (at least one run).
    least, most : int
        Bounds of the number of timings.
    seconds : float
        Timings are made for about so long, within the bounds.
    """

    pause: float = PAUSE
    warm_up: float = 0.02
    least: int = 3
    most: int = 30
    seconds: float = 0.01


class Turns(Protocol):
    """Who can be timed: see `benchmarks.peers.Runner`."""

    @property
    def turn(self) -> Callable[[Plan], list[float]]:
        """Takes one turn and gives its times in seconds."""

    @property
    def settle(self) -> float:
        """Seconds of pause that the next one needs."""

    @property
    def every(self) -> int:
        """Takes part in the first round and then in every so many."""


@dataclass(frozen=True)
class Figures:
    """Statistics of times, in milliseconds.

    Attributes
    ----------
    median_ms, min_ms : float
    runs : int
        Number of timings.
    """

    median_ms: float
    min_ms: float
    runs: int

    @classmethod
    def of(cls, times: Sequence[float]) -> Figures:
        """From times in seconds.

        Raises
        ------
        ValueError
            If there are none.
        """
        if not times:
            raise ValueError("no times: a peer that is timed needs at least one turn")
        return cls(1e3 * statistics.median(times), 1e3 * min(times), len(times))


def ratio(theirs: Figures, ours: Figures) -> float:
    """Ratio of the medians: above 1, ours is faster."""
    return theirs.median_ms / ours.median_ms


def take_turn(run: Callable[[], Any], plan: Plan) -> list[float]:
    """Pause, warm up, time.

    Parameters
    ----------
    run : callable
        The work.
    plan : Plan

    Returns
    -------
    list of float
        Seconds of one run, for each timing.
    """
    clock = time.perf_counter
    time.sleep(plan.pause)
    start = clock()
    calls = 0
    while True:
        run()
        calls += 1
        spent = clock() - start
        if spent >= plan.warm_up:
            break
    one = max(spent / calls, 1e-9)
    # Twice what the warm-up suggests, because its first runs were slow.
    loop = math.ceil(2 * SHORTEST / one) if one < SHORTEST else 1
    count = min(max(int(plan.seconds / (one * loop)), plan.least), plan.most)
    times = []
    for _ in range(count):
        if loop == 1:
            start = clock()
            run()
            times.append(clock() - start)
        else:
            start = clock()
            for _ in repeat(None, loop):
                run()
            times.append((clock() - start) / loop)
    return times


def interleave(runners: Mapping[str, Turns], seconds: float, rounds: int = 3, least: int = 3) -> dict[str, Figures]:
    """Times all runners in turn, round after round.

    Parameters
    ----------
    runners : mapping of name to runner
    seconds : float
        Rounds begin until so much time has passed, pauses included.
    rounds : int, default 3
        Rounds to make at least.
    least : int, default 3
        Timings of a turn at least.

    Returns
    -------
    dict of name to Figures
    """
    times: dict[str, list[float]] = {name: [] for name in runners}
    end = time.perf_counter() + seconds
    pause = PAUSE_AFTER_BLAS  # the verification used NumPy's matrix products
    number = 0
    while number < rounds or time.perf_counter() < end:
        for name, runner in runners.items():
            if number % runner.every == 0:
                times[name] += runner.turn(Plan(pause=pause, least=least))
                pause = runner.settle
        number += 1
    return {name: Figures.of(mine) for name, mine in times.items()}
