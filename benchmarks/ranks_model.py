"""The time of an update by many processes: a formula, and a simulation of the messages that are sent.

    python -m benchmarks.ranks_model [--step-ms 400] [--gradient-mb 4.2] [--bandwidth-gbit 10] [--latency-us 20]
        [--shards 1024] [--jitter 0.05] [--ranks 1,2,4,...]

`--step-ms` is the time of an update of the whole batch by one process, which `python -m benchmarks.ranks` measures;
`--gradient-mb` the size of the gradient, which it prints. The table has for each number of processes the time of an
update by the formula, by the simulation, what of the time is computing, in percent (the efficiency), and the same if
gradients went up and down the tree as a whole, without being divided among the processes, or if those of the upper
layers (of `--layers`) are sent while the last shard of a process computes the backward pass of the lowest one.

The formula, with R processes, k shards, the time C of the batch in one process, a gradient of G bytes, a network of
latency a and B bytes per second, o seconds of a process for each message, and A bytes per second at which it adds, is

    C * ceil(k / R) / k + 2 * (R - 1) * o + 2 * a + (2 * G / B + G / A) * (R - 1) / R        if divided
    C * ceil(k / R) / k + ceil(log2(R)) * (2 * a + 2 * G / B + G / A)                        as a whole

Gradients are divided if each process has 1 KB of them or more, as `fastlstm.training.ranks` does. The simulation
follows each message that `fastlstm.training.ranks` and `fastlstm.training.messages` send: a process computes its shards
one by one, each for a time that varies by `--jitter` (relative standard deviation), waits for what it needs, and its
network card sends one message at a time. The sums of losses, which are some bytes, and a busy network are left out.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

import numpy as np

from fastlstm.training.ranks import _LEAST_SLICE
from fastlstm.training.reduce import shard_bounds


@dataclass(frozen=True)
class Setting:
    """What the time of an update depends on, apart from the number of processes."""

    step: float
    """Seconds of the whole batch in one process."""
    gradient: float
    """Bytes."""
    bandwidth: float
    """Bytes per second, in each direction."""
    latency: float
    """Seconds."""
    shards: int
    jitter: float = 0.0
    adding: float = 4e9
    """Bytes per second at which two gradients are added."""
    message: float = 5e-6
    """Seconds of a process for each message."""


def divided(setting: Setting, ranks: int) -> bool:
    """Return whether the gradient is divided among the processes."""
    return ranks > 1 and setting.gradient >= _LEAST_SLICE * ranks


def formula(setting: Setting, ranks: int, in_parts: bool | None = None) -> float:
    """Return the seconds of an update; `in_parts` says whether the gradient is divided, by default as it is."""
    computing = setting.step * math.ceil(setting.shards / ranks) / setting.shards
    transfer, adding = setting.gradient / setting.bandwidth, setting.gradient / setting.adding
    if divided(setting, ranks) if in_parts is None else in_parts:
        messages = 2 * (ranks - 1) * setting.message + 2 * setting.latency
        return computing + messages + (2 * transfer + adding) * (ranks - 1) / ranks
    return computing + math.ceil(math.log2(ranks)) * (2 * setting.latency + 2 * transfer + adding)


def overlapped(setting: Setting, ranks: int, layers: int) -> float:
    """Return the seconds of an update whose gradients are sent as soon as they are known, at best.

    The weights of a layer have their gradient at the end of its backward pass, which is two thirds of its time: so
    those of the upper layers are under way in the last shard, while the lowest layer is computed. Their sum is sent
    when all is computed, which is the other half of the messages. `fastlstm.training.early` does it where each process
    has one shard.
    """
    seconds = formula(setting, ranks)
    computing = setting.step * math.ceil(setting.shards / ranks) / setting.shards
    sending = (seconds - computing) / 2 * (layers - 1) / layers
    return seconds - min(sending, setting.step / setting.shards * 2 / 3 / layers)


class Simulation:
    """Clocks of the processes during one update."""

    def __init__(self, setting: Setting, ranks: int, rng: np.random.Generator) -> None:
        self.setting, self.ranks, self.rng = setting, ranks, rng
        bounds = [shard_bounds(setting.shards, ranks, rank) for rank in range(ranks)]
        self.rank_of = [rank for rank, (begin, end) in enumerate(bounds) for _ in range(begin, end)]
        self.clock = np.zeros(ranks)

    def seconds(self) -> float:
        """Return when the last process has the sum."""
        if divided(self.setting, self.ranks):
            self._compute()
            self._exchange()
            self.clock += self.setting.gradient / self.setting.adding * (self.ranks - 1) / self.ranks
            self._exchange()
        else:
            self._node(0, self.setting.shards)
            self._broadcast()
        return float(self.clock.max())

    def _compute(self) -> None:
        """Let each process compute its shards."""
        for rank, count in enumerate(np.bincount(self.rank_of)):
            self._shards(rank, int(count))

    def _shards(self, rank: int, count: int) -> None:
        jitter = self.setting.jitter
        varied = self.rng.normal(1.0, jitter / math.sqrt(count)) if jitter else 1.0
        self.clock[rank] += self.setting.step / self.setting.shards * count * max(varied, 0.1)

    def _exchange(self) -> None:
        """Let each process send an R-th of a gradient to each other one, as `Ranks._divided` does."""
        setting, ranks = self.setting, self.ranks
        seconds = max(setting.gradient / ranks / setting.bandwidth, setting.message)
        arrived = self.clock.copy()
        for step in range(1, ranks):  # each begins with another one: no two send to the same one at a time
            sent = self.clock + step * seconds
            np.maximum(arrived, np.roll(sent, step) + setting.latency, out=arrived)
        self.clock = np.maximum(arrived, self.clock + (ranks - 1) * seconds)

    def _node(self, begin: int, end: int) -> None:
        """Let the processes of some shards compute and add them, as `Ranks._node` does."""
        setting, first = self.setting, self.rank_of[begin]
        if self.rank_of[end - 1] == first:
            self._shards(first, end - begin)
            return
        middle = (begin + end) // 2
        second = self.rank_of[middle]
        self._node(begin, middle)
        self._node(middle, end)
        if second != first:
            self.clock[second] += setting.gradient / setting.bandwidth
            self.clock[first] = max(self.clock[first], self.clock[second] + setting.latency)
        self.clock[first] += setting.gradient / setting.adding

    def _broadcast(self) -> None:
        """Send the sum to all, as `Messages.broadcast` does from rank 0."""
        has = np.full(self.ranks, np.inf)
        has[0] = self.clock[0]
        card = has.copy()  # when the network card of a process is free
        step = 1
        while step < self.ranks:
            for place in range(min(step, self.ranks - step)):
                sent = max(card[place], has[place]) + self.setting.gradient / self.setting.bandwidth
                card[place] = sent
                has[place + step] = card[place + step] = max(sent + self.setting.latency, self.clock[place + step])
            step *= 2
        self.clock = np.maximum(has, np.where(np.isfinite(card), card, 0.0))


def simulated(setting: Setting, ranks: int, repetitions: int = 5) -> float:
    """Return the mean seconds of an update over some repetitions."""
    rng = np.random.default_rng(0)
    return float(np.mean([Simulation(setting, ranks, rng).seconds() for _ in range(repetitions)]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step-ms", type=float, default=400.0, help="update of the whole batch in one process")
    parser.add_argument("--gradient-mb", type=float, default=4.2, help="size of the gradient")
    parser.add_argument("--bandwidth-gbit", type=float, default=10.0, help="of the network, in each direction")
    parser.add_argument("--latency-us", type=float, default=20.0, help="of a message")
    parser.add_argument("--shards", type=int, default=1024)
    parser.add_argument("--jitter", type=float, default=0.05, help="relative deviation of the time of a shard")
    parser.add_argument("--layers", type=int, default=2, help="LSTM layers")
    parser.add_argument("--ranks", default="1,2,4,8,16,32,64,128,256,512,1000")
    arguments = parser.parse_args()
    setting = Setting(
        arguments.step_ms / 1e3,
        arguments.gradient_mb * 1e6,
        arguments.bandwidth_gbit * 1e9 / 8,
        arguments.latency_us / 1e6,
        arguments.shards,
        arguments.jitter,
    )
    print("ranks  formula ms  simulated ms  efficiency %  as a whole %  sent early %")
    for ranks in map(int, arguments.ranks.split(",")):
        seconds = simulated(setting, ranks)
        ideal = setting.step / ranks
        whole = ideal / formula(setting, ranks, in_parts=False)
        print(
            f"{ranks:5}  {1e3 * formula(setting, ranks):10.2f}  {1e3 * seconds:12.2f}  {100 * ideal / seconds:12.0f}  "
            f"{100 * whole:12.0f}  {100 * ideal / overlapped(setting, ranks, arguments.layers):12.0f}"
        )


if __name__ == "__main__":
    main()
