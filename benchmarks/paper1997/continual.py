"""The continual embedded Reber grammar (Gers, Schmidhuber & Cummins 2000): streams of strings that are never reset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastlstm._draws import Draws

from .grammar import all_legal
from .reber import SYMBOLS, Strings, states_after
from .recipe import RECIPE, Recipe
from .tasks import Task
from .trial import Clock, Progress

__all__ = ["Continual", "ContinualTrial"]

_STREAMS, _SYMBOLS = 10, 100_000
"""A perfect network makes no mistake in this number of test streams, each of this number of symbols."""
_BLOCK = 2000
"""Symbols of each stream that are predicted at a time."""


class _Symbols(Task):
    symbols = outputs = len(SYMBOLS)
    per_step = True
    memory = 20


class ContinualTrial:
    """A network that reads streams, learns by truncated backpropagation through time, and is tested on long streams.

    Parameters
    ----------
    recipe : Recipe
    seed : int
    cell : dict, optional
        Further arguments of the LSTM layer.
    """

    chunk = 1000
    """Symbols of each stream for which `fit` is called once; the streams of the next call are new ones."""
    tbptt_steps = 50

    def __init__(self, recipe: Recipe, seed: int, cell: dict[str, Any] | None = None) -> None:
        self.recipe, self.seed = recipe, seed
        self.model = recipe.model(_Symbols(), seed, **(cell or {}))
        self.optimizer = recipe.optimizer()
        self.losses: list[float] = []

    def learn(self, strings: list[Strings]) -> None:
        """Learn from the next symbols of each stream."""
        streams = np.stack([one.stream(self.chunk + 1) for one in strings])
        history = self.model.fit(
            streams[:, :-1],
            streams[:, 1:],
            epochs=1,
            batch_size=len(strings),
            optimizer=self.optimizer,
            tbptt_steps=self.tbptt_steps,
            shuffle=False,
            verbose=0,
        )
        self.losses.append(float(history.history["loss"][-1]))

    def first_mistake(self, streams: int, symbols: int, name: str) -> int | None:
        """Return the step of the first wrong prediction in new streams without resets; None if there is none.

        A prediction is right if all symbols that may come next are more active than all others.
        """
        strings = [Strings(Draws(self.seed, name, k)) for k in range(streams)]
        automata = np.zeros(streams, int)
        states: Any = None
        for start in range(0, symbols, _BLOCK):
            x = np.stack([one.stream(_BLOCK) for one in strings])
            out, states = self.model.predict(x, state=states, return_state=True)
            wrong = np.zeros(_BLOCK, bool)
            for row in range(streams):
                wrong |= ~all_legal(out[row], x[row], int(automata[row]))
                automata[row] = states_after(x[row], int(automata[row]))[-1]
            if wrong.any():
                return start + int(wrong.argmax())
        return None

    def run(self, limit: int, progress: Progress = lambda presented, error: None) -> dict[str, Any]:
        """Learn until the network is perfect or has read `limit` symbols; return the record."""
        clock = Clock()
        strings = [Strings(Draws(self.seed, "training", k)) for k in range(self.recipe.batch)]
        read = tests = 0
        solved = False
        while not solved and read < limit:
            self.learn(strings)
            read += self.chunk * len(strings)
            progress(read, self.losses[-1])
            # A short test first: most networks fail soon.
            tests += 1
            if self.first_mistake(2, 5 * _BLOCK, f"short test {tests}") is None:
                solved = self.first_mistake(_STREAMS, _SYMBOLS, f"test {tests}") is None
        return {
            "solved": solved,
            "presented": read,
            "milestones": {"solved": read} if solved else {},
            **clock.as_dict(),
            "curve": {"each": self.chunk * len(strings), "errors": [round(one, 6) for one in self.losses]},
        }


@dataclass(frozen=True)
class Continual:
    """The experiment; its record counts symbols, not sequences."""

    name: str = "continual"
    title: str = "continual embedded Reber grammar"
    limit: int = 5_000_000
    recipe: Recipe = RECIPE

    def settings(self) -> dict[str, Any]:
        """Return the settings on which the results depend, as data for JSON."""
        trial = ContinualTrial
        return {**self.recipe.as_dict(), "limit": self.limit, "chunk": trial.chunk, "tbptt_steps": trial.tbptt_steps}

    def trial(self, seed: int, progress: Progress) -> tuple[dict[str, Any], Any]:
        """Run a trial; return its record and the model."""
        trial = ContinualTrial(self.recipe, seed)
        return trial.run(self.limit, progress), trial.model
