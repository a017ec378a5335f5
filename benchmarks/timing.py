"""Time several peers fairly, in interleaved turns, and compute the statistics of their times.

Sources of unfairness, and the measures against them:

- The machine's speed drifts (clock rates, neighbours). So every peer has a short turn in every round, round after
  round, and medians over all rounds are compared.
- The threads of other libraries' pools keep spinning after their work, for some milliseconds or, with OpenBLAS, up to
  100 ms, and would take the processors from the next peer. So each turn begins with a pause: 20 ms, and 150 ms after a
  turn that used OpenBLAS.
- After a pause caches are cold, clock rates are low, and the system needs a while to spread the waking threads over the
  processors. So the pause is followed by 20 ms of runs that do not count.
- A clock cannot resolve a microsecond. So work that is shorter than 50 microseconds is called in a loop within each
  timing, and the mean of the calls counts.
- Each turn makes at least three timed runs, and every peer has at least three turns (except those that take part in
  only some of the rounds).
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
"""Seconds of rest after a turn that used OpenBLAS."""

SHORTEST = 50e-6
"""Minimum duration of one timing in seconds."""


@dataclass(frozen=True)
class Plan:
    """The schedule of a turn.

    Parameters
    ----------
    pause, warm_up : float
        Seconds of rest, then seconds of runs that do not count (at least one run).
    least, most : int
        Bounds of the number of timings.
    seconds : float
        Total time of the timings, approximately and within the bounds.
    """

    pause: float = PAUSE
    warm_up: float = 0.02
    least: int = 3
    most: int = 30
    seconds: float = 0.01


class Turns(Protocol):
    """An object that can be timed: see `benchmarks.peers.Runner`."""

    @property
    def turn(self) -> Callable[[Plan], list[float]]:
        """A function that takes one turn and returns its times in seconds."""

    @property
    def settle(self) -> float:
        """Seconds of pause that the next runner needs."""

    @property
    def every(self) -> int:
        """The interval, in rounds, at which the runner takes part, from the first round on."""


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
        """Compute the statistics of times in seconds.

        Raises
        ------
        ValueError
            If there are no times.
        """
        if not times:
            raise ValueError("no times: a peer that is timed needs at least one turn")
        return cls(1e3 * statistics.median(times), 1e3 * min(times), len(times))


def ratio(figures: Figures, base: Figures) -> float:
    """Return the ratio of the medians; above 1 `base` is faster."""
    return figures.median_ms / base.median_ms


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
    """Time all runners in turn, round after round.

    Parameters
    ----------
    runners : mapping of name to runner
    seconds : float
        New rounds begin until this time has passed, pauses included.
    rounds : int, default 3
        Minimum number of rounds.
    least : int, default 3
        Minimum number of timings in a turn.

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
    return {name: Figures.of(measured) for name, measured in times.items()}
