"""The tasks of the paper: how their sequences are drawn, and how wrong an answer is.

A task draws batches; everything random comes from the `Draws` that it is given, so that a seed gives the same sequences
on every machine. Symbols are integers, one for each unit of the paper's local representation.
"""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

import numpy as np

import fastlstm as fl
from fastlstm import _exact
from fastlstm._draws import Draws

__all__ = ["Adding", "Batch", "Distractors", "Lag", "Multiplying", "Task", "TemporalOrder", "TwoSequences"]


class Batch(NamedTuple):
    """Sequences with their targets."""

    x: np.ndarray
    """Numbers (n, time, inputs) float32, or symbols (n, time) int64."""
    y: np.ndarray
    """Labels int64, (n,) or (n, time), or values (n, 1) float32."""
    lengths: np.ndarray | None = None
    """(n,) int64; None: all steps count."""


class Task:
    """What a network has to learn.

    Attributes
    ----------
    symbols : int
        Number of different symbols; 0 if the inputs are numbers.
    inputs : int
        Number of inputs of each step, if they are numbers.
    outputs : int
    per_step : bool
        Whether there is a target at every step, or one at the end.
    memory : int
        Most steps over which something must be remembered: the T of the chrono biases.
    loss : {"cross_entropy", "binary_cross_entropy", "mse"}
        Loss; its link (softmax, sigmoid or none) turns outputs into answers.
    """

    symbols: int = 0
    inputs: int = 0
    outputs: int = 1
    per_step: bool = False
    memory: int = 2
    loss: Literal["cross_entropy", "binary_cross_entropy", "mse"] = "cross_entropy"

    def draw(self, draws: Draws, n: int) -> Batch:
        """Draw n sequences."""
        raise NotImplementedError

    def answers(self, out: np.ndarray) -> np.ndarray:
        """Return the outputs as the paper's networks give them: probabilities, or values."""
        loss = fl.losses.get_loss(self.loss)
        return out if loss.link is None else loss.probabilities(out)

    def errors(self, out: np.ndarray, batch: Batch) -> np.ndarray:
        """Return the largest absolute error among the outputs of each sequence that count, (n,) float64."""
        answers = self.answers(out.astype(np.float64))
        if self.loss == "cross_entropy":
            wanted = np.eye(self.outputs)[np.maximum(batch.y, 0)]
        else:
            wanted = batch.y
        errors = np.abs(answers - wanted).max(axis=-1)
        if not self.per_step:
            return np.asarray(errors)
        counts = (batch.y if batch.y.ndim == 2 else batch.y[:, :, 0]) >= 0
        if batch.lengths is not None:
            counts &= np.arange(batch.y.shape[1]) < batch.lengths[:, None]
        return np.where(counts, errors, 0).max(axis=1)


class Lag(Task):
    """Experiments 2a and 2b: the first symbol, x or y, comes again at the end; the net predicts each next symbol.

    Parameters
    ----------
    p : int
        Number of steps between the two.
    random : bool
        Whether the p - 1 symbols between are random (2b) or always a1 to a(p-1) (2a).

    The errors are those at every step in 2a, and those at the end in 2b, where nothing else can be known.
    """

    per_step = True

    def __init__(self, p: int, random: bool) -> None:
        self.p = p
        self.random = random
        self.symbols = self.outputs = p + 1
        self.memory = p

    def draw(self, draws: Draws, n: int) -> Batch:
        ends = self.p - 1 + draws.integers(2, n)
        if self.random:
            between = draws.integers(self.p - 1, n * (self.p - 1)).reshape(n, self.p - 1)
        else:
            between = np.broadcast_to(np.arange(self.p - 1), (n, self.p - 1))
        whole = np.column_stack([ends, between, ends])
        return Batch(whole[:, :-1], whole[:, 1:].copy())

    def errors(self, out: np.ndarray, batch: Batch) -> np.ndarray:
        if not self.random:
            return super().errors(out, batch)
        return super().errors(out[:, -1:], Batch(batch.x, batch.y[:, -1:]))


class Distractors(Task):
    """Experiment 2c: b, then x or y, then at least q of p distractors, then e; which of x and y was it?

    Parameters
    ----------
    q : int
        Least number of distractors; each further one comes with probability 9/10, so that there are q + 9 on average.
    p : int
        Number of different distractors.
    """

    outputs = 2

    def __init__(self, q: int, p: int) -> None:
        self.q, self.p = q, p
        self.symbols = p + 4
        self.memory = q

    def draw(self, draws: Draws, n: int) -> Batch:
        e, b, x = self.p, self.p + 1, self.p + 2
        logs = _exact.log(np.append(1 - draws.uniform(0, 1, (n,)), 0.9))
        more = np.floor(logs[:-1] / logs[-1]).astype(np.int64)
        lengths = self.q + 3 + more
        label = draws.integers(2, n)
        longest = int(lengths.max())
        symbols = draws.integers(self.p, n * longest).reshape(n, longest)
        symbols[:, 0] = b
        symbols[:, 1] = x + label
        symbols[np.arange(n), lengths - 1] = e
        return Batch(symbols, label, lengths)


class TwoSequences(Task):
    """Experiment 3a: the first N numbers are 1 or -1 by class, the others noise of mean 0 and variance .2.

    Parameters
    ----------
    steps : int
        T; a sequence has T to 1.1 T steps.
    told : int
        N.
    """

    inputs = 1
    loss = "binary_cross_entropy"

    def __init__(self, steps: int, told: int) -> None:
        self.steps, self.told = steps, told
        self.memory = steps

    def draw(self, draws: Draws, n: int) -> Batch:
        lengths = _lengths(draws, self.steps, n)
        label = draws.integers(2, n)
        x = np.sqrt(0.2) * draws.standard_normal((n, int(lengths.max()), 1))
        x[:, : self.told, 0] = 2 * label[:, None] - 1
        return Batch(x.astype(np.float32), label[:, None].astype(np.float32), lengths)


class Adding(Task):
    """Experiment 4: the sum of the two marked numbers, as .5 + (X1 + X2) / 4.

    One of the first ten steps is marked, and then one of the first T/2 - 1 others. The first and the last step have the
    marker -1; if a mark falls on the first step its number counts as 0.

    Parameters
    ----------
    steps : int
        T; a sequence has T to 1.1 T steps.
    """

    inputs = 2
    loss = "mse"
    lowest, neutral = -1.0, 0.0

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.memory = steps

    def draw(self, draws: Draws, n: int) -> Batch:
        lengths = _lengths(draws, self.steps, n)
        longest = int(lengths.max())
        rows = np.arange(n)
        value = draws.uniform(self.lowest, 1.0, (n, longest))
        first = draws.integers(10, n)
        second = draws.integers(self.steps // 2 - 1, n)
        second += second >= first  # one that is not marked yet
        value[rows[first == 0], 0] = self.neutral
        value[rows[second == 0], 0] = self.neutral
        x = np.zeros((n, longest, 2), np.float32)
        x[:, :, 0] = value
        x[rows, first, 1] = x[rows, second, 1] = 1
        x[:, 0, 1] = x[rows, lengths - 1, 1] = -1
        y = self.target(x[rows, first, 0].astype(np.float64), x[rows, second, 0].astype(np.float64))
        return Batch(x, y[:, None].astype(np.float32), lengths)

    def target(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Return what the net has to answer for the two marked numbers."""
        return 0.5 + (first + second) / 4


class Multiplying(Adding):
    """Experiment 5: the product of the two marked numbers, which are in [0, 1]; otherwise as `Adding`."""

    lowest, neutral = 0.0, 1.0

    def target(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return first * second


class TemporalOrder(Task):
    """Experiment 6: in which order came the Xs and Ys? E, then a, b, c, d at random, with 2 or 3 of X and Y, then B.

    Parameters
    ----------
    marks : {2, 3}
        6a: two marks, four classes; 6b: three marks, eight classes.
    """

    symbols = 8
    memory = 110
    places: ClassVar = {2: ((10, 20), (50, 60)), 3: ((10, 20), (33, 43), (66, 76))}

    def __init__(self, marks: int) -> None:
        self.marks = marks
        self.outputs = 2**marks

    def draw(self, draws: Draws, n: int) -> Batch:
        e, b, x = 4, 5, 6
        lengths = 100 + draws.integers(11, n)
        symbols = draws.integers(4, n * int(lengths.max())).reshape(n, -1)
        rows = np.arange(n)
        label = np.zeros(n, np.int64)
        for low, high in self.places[self.marks]:
            mark = draws.integers(2, n)
            # Places are counted from 0, as the steps of the arrays: E is at place 0.
            symbols[rows, low + draws.integers(high - low + 1, n)] = x + mark
            label = 2 * label + mark
        symbols[:, 0] = e
        symbols[rows, lengths - 1] = b
        return Batch(symbols, label, lengths)


def _lengths(draws: Draws, steps: int, n: int) -> np.ndarray:
    return steps + draws.integers(steps // 10 + 1, n)
