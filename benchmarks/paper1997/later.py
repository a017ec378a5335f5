"""Tasks for long memories that came after the paper."""

from __future__ import annotations

import numpy as np

from fastlstm._draws import Draws

from .tasks import Batch, Task

__all__ = ["CopyMemory", "LongAdding", "SpikeSpacing", "TimedSpikes"]


class LongAdding(Task):
    """The adding problem as it is posed today: numbers in [0, 1], one mark in each half, the target is the sum.

    The errors are squares: 1/6 on average for an answer of 1 (Bai et al. 2018).

    Parameters
    ----------
    steps : int
    """

    inputs = 2
    loss = "mse"

    def __init__(self, steps: int) -> None:
        self.steps = self.memory = steps

    def draw(self, draws: Draws, n: int) -> Batch:
        half, rows = self.steps // 2, np.arange(n)
        x = np.zeros((n, self.steps, 2), np.float32)
        x[:, :, 0] = draws.uniform(0, 1, (n, self.steps))
        places = draws.integers(half, n), half + draws.integers(self.steps - half, n)
        for place in places:
            x[rows, place, 1] = 1
        return Batch(x, (x[rows, places[0], :1] + x[rows, places[1], :1]))

    def errors(self, out: np.ndarray, batch: Batch) -> np.ndarray:
        """Return the squared errors, (n,)."""
        return np.square(out.astype(np.float64) - batch.y)[:, 0]


class CopyMemory(Task):
    """Ten of eight symbols, then `steps` blanks, of which the last asks for the ten in their order.

    The errors are the shares of the ten that are wrong; the blanks between are not judged (Hochreiter & Schmidhuber
    1997 have no such task; Arjovsky et al. 2016, Bai et al. 2018).

    Parameters
    ----------
    steps : int
    """

    symbols = 10
    outputs = 9
    per_step = True
    told = 10

    def __init__(self, steps: int) -> None:
        self.steps = self.memory = steps

    def draw(self, draws: Draws, n: int) -> Batch:
        x = np.zeros((n, self.steps + 2 * self.told), np.int64)
        y = np.full(x.shape, -100, np.int64)
        y[:, -self.told :] = x[:, : self.told] = 1 + draws.integers(8, n * self.told).reshape(n, -1)
        x[:, self.told + self.steps - 1] = 9
        return Batch(x, y)

    def errors(self, out: np.ndarray, batch: Batch) -> np.ndarray:
        wrong = out[:, -self.told :].argmax(axis=-1) != batch.y[:, -self.told :]
        return np.asarray(wrong.mean(axis=1))


class SpikeSpacing(Task):
    """Two spikes, `steps` or `steps` - 1 steps apart; which was it? There are no shorter spacings to learn from.

    Parameters
    ----------
    steps : int
    """

    inputs = 1
    loss = "binary_cross_entropy"

    def __init__(self, steps: int) -> None:
        self.steps = self.memory = steps

    def draw(self, draws: Draws, n: int) -> Batch:
        label, first, rows = draws.integers(2, n), draws.integers(self.steps, n), np.arange(n)
        last = first + self.steps - 1 + label
        x = np.zeros((n, int(last.max()) + 1, 1), np.float32)
        x[rows, first] = x[rows, last] = 1
        return Batch(x, label[:, None].astype(np.float32), last + 1)


class TimedSpikes(Task):
    """A spike begins; then the network has to give one each `steps` steps, without any further input.

    Parameters
    ----------
    steps : int
    spikes : int
        Spikes of a sequence.
    """

    inputs = 1
    per_step = True
    loss = "binary_cross_entropy"

    def __init__(self, steps: int, spikes: int) -> None:
        self.steps, self.spikes = steps, spikes
        self.memory = steps

    def draw(self, draws: Draws, n: int) -> Batch:
        x = np.zeros((n, self.steps * self.spikes + 1, 1), np.float32)
        x[:, 0] = 1
        y = np.zeros_like(x)
        y[:, self.steps :: self.steps] = 1
        return Batch(x, y)
