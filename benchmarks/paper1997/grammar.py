"""Experiment 1: predict the next symbol of strings of the embedded Reber grammar, from a fixed set of strings."""

from __future__ import annotations

import numpy as np

from fastlstm._draws import Draws

from .reber import LEGAL, SYMBOLS, Strings, states_after
from .tasks import Batch, Task

__all__ = ["Grammar", "all_legal"]


class Grammar(Task):
    """Training and test strings of the embedded Reber grammar.

    Parameters
    ----------
    seed : int
        Which strings.
    count : int, default 256
        Number of training strings, and of test strings; no test string is a training string.

    Attributes
    ----------
    training, test : Batch
        All strings of a set.
    """

    symbols = outputs = len(SYMBOLS)
    per_step = True
    memory = 20

    def __init__(self, seed: int, count: int = 256) -> None:
        strings = Strings(Draws(seed, "strings"))
        training = [strings.draw() for _ in range(count)]
        known, test = set(training), []
        while len(test) < count:
            one = strings.draw()
            if one not in known:
                test.append(one)
        self.training, self.test = _batch(training), _batch(test)

    def draw(self, draws: Draws, n: int) -> Batch:
        x, y, lengths = self.training
        assert lengths is not None
        chosen = draws.integers(len(x), n)
        longest = int(lengths[chosen].max())
        return Batch(x[chosen, :longest], y[chosen, :longest], lengths[chosen])

    def errors(self, out: np.ndarray, batch: Batch) -> np.ndarray:
        """Return 1 for each string in which a symbol that may come next is not among the most active, else 0."""
        assert batch.lengths is not None
        rows = zip(out, batch.x, batch.lengths, strict=True)
        return np.array([float(not all_legal(one[:length], x[:length]).all()) for one, x, length in rows])


def all_legal(out: np.ndarray, symbols: np.ndarray, start: int = 0) -> np.ndarray:
    """Return for each step whether all symbols that may come next are more active than all others, (time,) bool."""
    legal = LEGAL[states_after(symbols, start)]
    least = np.where(legal, out, np.inf).min(axis=-1)
    greatest = np.where(legal, -np.inf, out).max(axis=-1)
    return np.asarray(least > greatest)


def _batch(strings: list[tuple[int, ...]]) -> Batch:
    lengths = np.array([len(one) - 1 for one in strings], np.int64)
    x, y = (np.full((len(strings), int(lengths.max())), filler, np.int64) for filler in (0, -100))
    for row, one in enumerate(strings):
        x[row, : len(one) - 1], y[row, : len(one) - 1] = one[:-1], one[1:]
    return Batch(x, y, lengths)
